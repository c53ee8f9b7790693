//! The log of a build: every event with its time, whatever the screen shows. The log of the build
//! before is kept.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fam_progress::{Event, Hint, Reporter, Task};
use fs_err as fs;
use jiff::{Timestamp, Unit};

use super::text::visible;

/// The name of the log in the output directory.
pub const NAME: &str = "fabric_emulation.log";
/// The name under which the log of the build before is kept.
pub const OLD_NAME: &str = "fabric_emulation.log.old";

/// How many bytes one program may print into the log, and all of them together: one that prints
/// without end must not fill the disk.
const MAX_OUTPUT_OF_ONE: u64 = 4 << 20;
const MAX_OUTPUT: u64 = 64 << 20;

/// The log cannot be begun.
#[derive(Debug, thiserror::Error)]
#[error("begin the log: {0}")]
pub struct Error(#[from] io::Error);

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some("artifacts go to --output DIR, else to TMPDIR, else to /tmp: name a directory of yours".to_owned())
    }
}

/// Writes events to `fabric_emulation.log`, one line each, as they come.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    file: fs::File,
    output: Output,
}

impl LogFile {
    /// Creates the log in `directory`, and the directory if it is not there; renames the log of the
    /// build before. The caller holds the directory's lock: else this would rename the log of a
    /// build that still runs.
    ///
    /// # Errors
    /// The directory or the file cannot be made, or the old log cannot be renamed.
    pub fn create(directory: &Path) -> Result<Self, Error> {
        fs::create_dir_all(directory)?;
        let path = directory.join(NAME);
        match fs::rename(&path, directory.join(OLD_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        // The directory may be /tmp: a link that somebody puts there meanwhile is not followed.
        let file = fs::OpenOptions::new().append(true).create_new(true).open(&path)?;
        Ok(Self { path, log: Mutex::new(Log { file, output: Output::default() }) })
    }

    /// The path of the log file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Reporter for LogFile {
    fn report(&self, event: Event) {
        let Ok(mut log) = self.log.lock() else { return };
        let text = match &event {
            Event::Output { source, line } if !log.output.has_room(source, line) => log.output.drop_line(source),
            event => line(event),
        };
        if let Some(text) = text {
            log.write(&text);
        }
    }
}

impl Log {
    fn write(&mut self, text: &str) {
        let time = Timestamp::now().round(Unit::Millisecond).unwrap_or_default();
        // A log on a full disk stops no build; the build finds out by itself.
        let _ = self.file.write_all(format!("{time} {text}\n").as_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        for line in self.output.dropped() {
            self.write(&line);
        }
    }
}

/// How much each program has printed into the log.
#[derive(Debug, Default)]
struct Output {
    of: BTreeMap<String, Printed>,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Printed {
    bytes: u64,
    /// Lines that are not in the log.
    dropped: u64,
}

impl Output {
    /// Counts a line, if it keeps within the limits; else returns false.
    fn has_room(&mut self, source: &str, line: &str) -> bool {
        let len = line.len() as u64 + 1;
        let printed = self.of.entry(source.to_owned()).or_default();
        // After a line that is missing, no later one makes sense.
        if printed.dropped > 0 || printed.bytes + len > MAX_OUTPUT_OF_ONE || self.bytes + len > MAX_OUTPUT {
            return false;
        }
        printed.bytes += len;
        self.bytes += len;
        true
    }

    /// Counts a line that is dropped. For the first of a program, returns a line that says so.
    fn drop_line(&mut self, source: &str) -> Option<String> {
        let dropped = &mut self.of.entry(source.to_owned()).or_default().dropped;
        *dropped += 1;
        (*dropped == 1).then(|| format!("output   {}: [what it prints from here on is dropped]", visible(source)))
    }

    /// Lines for the end of the log that say how many lines of each program were dropped.
    fn dropped(&self) -> Vec<String> {
        let dropped = self.of.iter().filter(|(_, printed)| printed.dropped > 0);
        dropped
            .map(|(source, Printed { dropped, .. })| format!("dropped  {dropped} lines of {}", visible(source)))
            .collect()
    }
}

fn line(event: &Event) -> Option<String> {
    let text = match event {
        Event::Step { message } => format!("step     {message}"),
        Event::Detail { message } => format!("detail   {message}"),
        Event::Warning { message, hint: None } => format!("warning  {message}"),
        Event::Warning { message, hint: Some(hint) } => format!("warning  {message} (hint: {hint})"),
        Event::Output { source, line } => format!("output   {source}: {line}"),
        Event::Begin { task, total } => format!("begin    {}: {total} {}", name(*task), unit(*task)),
        Event::End { task } => format!("end      {}", name(*task)),
        // These are for progress bars alone.
        Event::At { .. } | Event::Advance { .. } => return None,
    };
    // A log is read in a terminal, too, and what it shows may come from a package. Indented,
    // further lines cannot pass for events of their own.
    Some(visible(&text).replace('\n', "\n  "))
}

pub(super) fn name(task: Task) -> &'static str {
    match task {
        Task::Download => "download",
        Task::Unpack => "unpack",
        Task::Configure => "configure",
        Task::Images => "images",
    }
}

fn unit(task: Task) -> &'static str {
    match task {
        Task::Configure => "packages",
        Task::Download | Task::Unpack | Task::Images => "bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_progress::Progress;

    #[test]
    fn every_event_is_kept_with_its_time_and_the_log_before() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("new/output");
        drop(LogFile::create(&output).unwrap());
        fs::write(output.join(NAME), "first\n").unwrap();
        let progress = Progress::new(LogFile::create(&output).unwrap());
        progress.step("unpacking");
        progress.output("postinst of vim", "Setting up http://ann:secret@host");
        progress.warning("no security archive", Some("name one".to_owned()));
        progress.task(Task::Configure, 3).advance(3);
        progress.detail("two\nlines \x1b[31m\u{202e}");
        let text = fs::read_to_string(output.join(NAME)).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once("Z ").map_or(line, |(_, rest)| rest)).collect();
        assert_eq!(
            lines,
            [
                "step     unpacking",
                "output   postinst of vim: Setting up http://***@host",
                "warning  no security archive (hint: name one)",
                "begin    configure: 3 packages",
                "end      configure",
                "detail   two",
                "  lines \\u001b[31m\\u202e"
            ]
        );
        assert!(text.starts_with("20") && text.as_bytes()[10] == b'T', "{text}");
        assert_eq!(fs::read_to_string(output.join(OLD_NAME)).unwrap(), "first\n");
    }

    #[test]
    fn a_program_that_prints_without_end_does_not_fill_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let progress = Progress::new(LogFile::create(directory.path()).unwrap());
        let line = "x".repeat(4000);
        for _ in 0..2000 {
            progress.output("postinst of evil", &line);
        }
        progress.output("postinst of vim", "done");
        drop(progress);
        let text = fs::read_to_string(directory.path().join(NAME)).unwrap();
        let kept = text.lines().filter(|logged| logged.ends_with(&line)).count();
        assert_eq!(kept as u64, MAX_OUTPUT_OF_ONE / 4001);
        let last: Vec<_> = text.lines().rev().take(3).map(|line| line.split_once("Z ").unwrap().1).collect();
        assert_eq!(
            last,
            [
                format!("dropped  {} lines of postinst of evil", 2000 - kept).as_str(),
                "output   postinst of vim: done",
                "output   postinst of evil: [what it prints from here on is dropped]",
            ]
        );
    }

    #[test]
    fn a_directory_that_cannot_be_written() {
        let error = LogFile::create(Path::new("/proc/nowhere")).unwrap_err();
        assert!(error.to_string().contains("/proc/nowhere"), "{error}");
        assert!(error.hint().is_some());
    }
}
