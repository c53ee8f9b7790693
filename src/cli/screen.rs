//! What a build says while it runs: bars and steps on a terminal, plain lines elsewhere, JSON lines
//! on request.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Mutex;

use fam_progress::{Event, Reporter, Task};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::log::name;
use super::text::{self, Style};

/// Shows events in the form that was asked for, or that standard error can show. Text goes to
/// standard error, JSON to standard output.
pub struct Screen {
    form: Form,
    style: Style,
    is_verbose: bool,
}

enum Form {
    Bars { all: MultiProgress, running: Mutex<HashMap<Task, ProgressBar>> },
    Lines(Mutex<Lines>),
    Json,
}

/// Writes plain lines.
struct Lines {
    out: Box<dyn Write + Send>,
    /// The total of each running task, and the last quarter of it that got a line.
    running: HashMap<Task, (u64, u64)>,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Screen")
    }
}

impl Screen {
    /// The screen of this process.
    #[must_use]
    pub fn of_process(is_verbose: bool, is_json: bool) -> Self {
        let form = if is_json {
            Form::Json
        } else if super::stderr_is_rich_terminal() {
            Form::Bars { all: MultiProgress::new(), running: Mutex::default() }
        } else {
            return Self::lines(Box::new(io::stderr()), is_verbose);
        };
        Self { form, style: Style::of_stderr(), is_verbose }
    }

    /// Plain lines to `out`.
    #[must_use]
    pub fn lines(out: Box<dyn Write + Send>, is_verbose: bool) -> Self {
        let lines = Lines { out, running: HashMap::new() };
        Self { form: Form::Lines(Mutex::new(lines)), style: Style::Plain, is_verbose }
    }

    /// Formats an event as a line of text. Events of tasks have none, details and output only with
    /// `--verbose`.
    fn line(&self, event: &Event) -> Option<String> {
        Some(match event {
            Event::Step { message } => format!("{} {}", self.style.paint("1;32", "==>"), text::message(message)),
            Event::Warning { message, hint } => {
                let warning = format!("{} {}", self.style.paint("1;33", "warning:"), text::message(message));
                match hint {
                    Some(hint) => format!("{warning}\n{} {}", self.style.paint("1;36", "hint:"), text::message(hint)),
                    None => warning,
                }
            }
            Event::Detail { message } if self.is_verbose => {
                self.style.paint("2", &format!("    {}", text::message(message)))
            }
            Event::Output { source, line } if self.is_verbose => {
                self.style.paint("2", &format!("    {}: {}", text::message(source), text::message(line)))
            }
            _ => return None,
        })
    }

    fn bar(&self, task: Task, total: u64) -> ProgressBar {
        let amount = match task {
            Task::Configure => "{pos}/{len} packages",
            Task::Download => "{binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}",
            Task::Unpack | Task::Images => "{binary_bytes}/{binary_total_bytes}",
        };
        let bar = if self.style == Style::Coloured { "{bar:30.green/dim}" } else { "{bar:30}" };
        let template = format!("    {{prefix:9}} {bar} {amount}  {{elapsed}}  {{wide_msg}}");
        // A test shows that each template is valid.
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(total).with_style(style.progress_chars("━╸─")).with_prefix(name(task))
    }
}

impl Reporter for Screen {
    fn report(&self, event: Event) {
        match &self.form {
            Form::Json => json_line(&event),
            Form::Lines(lines) => {
                // Another thread's panic while it printed must not silence this one.
                let mut lines = lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(line) = self.line(&event).or_else(|| lines.milestone(&event)) {
                    let _ = writeln!(lines.out, "{line}");
                }
            }
            Form::Bars { all, running } => {
                let mut running = running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match &event {
                    Event::Begin { task, total } => {
                        running.insert(*task, all.add(self.bar(*task, *total)));
                    }
                    Event::Advance { task, done } => {
                        if let Some(bar) = running.get(task) {
                            bar.set_position(*done);
                        }
                    }
                    Event::At { task, item } => {
                        if let Some(bar) = running.get(task) {
                            bar.set_message(text::word(item));
                        }
                    }
                    Event::End { task } => {
                        if let Some(bar) = running.remove(task) {
                            bar.finish_and_clear();
                            all.remove(&bar);
                        }
                    }
                    other => {
                        if let Some(line) = self.line(other) {
                            // Prints above the bars, which stay at the bottom.
                            let _ = all.println(line);
                        }
                    }
                }
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Form::Bars { all, .. } = &self.form {
            let _ = all.clear();
        }
    }
}

impl Lines {
    /// Returns a line for the beginning and for each quarter of a task: enough to see that it
    /// advances, too few to fill the log of a CI.
    fn milestone(&mut self, event: &Event) -> Option<String> {
        match *event {
            Event::Begin { task, total } => {
                self.running.insert(task, (total, 0));
                (total > 0).then(|| format!("    {}: {}", name(task), amount(task, total)))
            }
            Event::Advance { task, done } => {
                let (total, shown) = self.running.get_mut(&task)?;
                let quarter = (u128::from(done) * 4).checked_div(u128::from(*total))?.min(4) as u64;
                if quarter <= *shown {
                    return None;
                }
                *shown = quarter;
                Some(format!("    {}: {} % of {}", name(task), quarter * 25, amount(task, *total)))
            }
            Event::End { task } => {
                self.running.remove(&task);
                None
            }
            _ => None,
        }
    }
}

/// Formats an amount in the unit that the task counts.
fn amount(task: Task, amount: u64) -> String {
    match task {
        Task::Configure if amount == 1 => "1 package".to_owned(),
        Task::Configure => format!("{amount} packages"),
        Task::Download | Task::Unpack | Task::Images => text::bytes(amount),
    }
}

/// Prints a value as one line of JSON on standard output.
pub(super) fn json_line(value: &impl Serialize) {
    if let Ok(line) = as_json(value) {
        let mut stdout = io::stdout().lock();
        // The reader may have closed the pipe, which is no reason to stop a build.
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    }
}

/// Serializes a value to one line. JSON requires escapes for only some of the characters that act
/// on a terminal; here all of them are escaped, which changes no value.
fn as_json(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(format!("{}\n", text::visible(&serde_json::to_string(value)?)))
}

/// Hands each event to two reporters.
#[derive(Debug)]
pub struct Tee<A, B>(A, B);

impl<A, B> Tee<A, B> {
    /// Passes each event to `first`, then to `second`.
    pub fn new(first: A, second: B) -> Self {
        Self(first, second)
    }
}

impl<A: Reporter, B: Reporter> Reporter for Tee<A, B> {
    fn report(&self, event: Event) {
        self.0.report(event.clone());
        self.1.report(event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use fam_progress::Progress;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(is_verbose: bool) -> String {
        let paper = Paper::default();
        let progress = Progress::new(Screen::lines(Box::new(paper.clone()), is_verbose));
        progress.step("fetching packages");
        let task = progress.task(Task::Download, 8 << 20);
        for _ in 0..8 {
            task.advance(1 << 20);
        }
        drop(task);
        progress.detail("cache hit");
        progress.output("postinst of vim", "\x1b]0;title\x07done http://ann:secret@host");
        progress.step("writing /a\u{9b}31m");
        progress.warning("no security archive", Some("name one with --security-mirror".to_owned()));
        progress.warning("plugin: \x1b[2J\nerror: none", Some("\u{202e}x".to_owned()));
        drop(progress.task(Task::Configure, 0));
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_without_a_terminal() {
        insta::assert_snapshot!("lines", shown(false));
    }

    #[test]
    fn verbose_lines_and_no_control_characters() {
        let text = shown(true);
        assert!(
            text.contains("    cache hit\n    postinst of vim: \\u001b]0;title\\u0007done http://***@host\n"),
            "{text}"
        );
        let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(acts), "{text:?}");
        assert!(!shown(false).contains(acts));
    }

    #[test]
    fn json_keeps_its_values() {
        let event = Event::Warning { message: "\x1b\x7f\u{9b}\u{202e}\n\"ä\"".to_owned(), hint: None };
        let line = as_json(&event).unwrap();
        assert_eq!(line.trim_end(), r#"{"event":"warning","message":"\u001b\u007f\u009b\u202e\n\"ä\"","hint":null}"#);
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[test]
    fn bars_take_events_in_any_order() {
        let form = Form::Bars {
            all: MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden()),
            running: Mutex::default(),
        };
        let screen = Screen { form, style: Style::Plain, is_verbose: true };
        for task in [Task::Download, Task::Unpack, Task::Configure, Task::Images] {
            screen.report(Event::Advance { task, done: 1 });
            screen.report(Event::End { task });
            screen.report(Event::Begin { task, total: 2 });
            screen.report(Event::Advance { task, done: 3 });
            screen.report(Event::At { task, item: "vim postinst".into() });
            // A template with a fault would fall back to the default bar, which has no prefix.
            let bar = screen.bar(task, 2);
            assert_eq!(bar.prefix(), name(task));
        }
    }
}
