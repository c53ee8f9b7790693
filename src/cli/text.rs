//! Formats reports and failures as text, and makes text from elsewhere safe for a terminal or the
//! log.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use fam_archive::credentials::redact;

use crate::report::{
    Artifact, BuildReport, DoctorReport, ExportReport, Failure, PlanReport, PlannedLayer, Purpose, Verdict,
};

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Coloured,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    pub(super) fn of_stderr() -> Self {
        Self::of(&io::stderr())
    }

    /// As [`Style::of_stderr`], for what goes to standard output.
    pub(super) fn of_stdout() -> Self {
        Self::of(&io::stdout())
    }

    fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if super::is_rich_terminal(stream) && !refused { Self::Coloured } else { Self::Plain }
    }

    /// `text` in the colour of an SGR parameter (ECMA-48).
    pub(super) fn paint(self, parameter: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{parameter}m{text}\x1b[0m"),
        }
    }
}

/// Whether a character changes the terminal, or the order in which text is read, instead of being
/// seen: the control characters of ISO 6429, and the marks, embeddings, overrides and isolates of
/// the bidirectional algorithm (UAX 9).
fn acts(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    directs || c.is_control()
}

/// Text from anywhere (recipes, plugins, packages, tarballs, file names), without logins in URLs,
/// and in which each character that [`acts`] is written as JSON and TOML escape it. Newlines and
/// tabs stay. All that is printed or logged goes through here.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let text = redact(text);
    let must_escape = |c| acts(c) && c != '\n' && c != '\t';
    if !text.contains(must_escape) {
        return text;
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if must_escape(c) {
            let _ = write!(visible, "\\u{:04x}", u32::from(c));
        } else {
            visible.push(c);
        }
    }
    Cow::Owned(visible)
}

/// As [`visible`], for a part of a line: newlines are escaped, too.
pub(super) fn word(text: &str) -> String {
    visible(text).replace('\n', "\\n")
}

/// As [`visible`], for what stands behind a word such as "error:". Further lines are indented, so
/// that none of them looks like an error or a hint of this program.
pub(super) fn message(text: &str) -> String {
    let mut lines = text.split('\n').map(visible);
    let mut message = lines.next().unwrap_or_default().into_owned();
    for line in lines {
        let is_indented = line.is_empty() || line.starts_with([' ', '\t']);
        message.push_str(if is_indented { "\n" } else { "\n  " });
        message.push_str(&line);
    }
    message
}

/// Writes what failed, why, and what to do.
pub(super) fn failure(failure: &Failure, style: Style, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{} {}", style.paint("1;31", "error:"), message(&failure.to_string()))?;
    match &failure.hint {
        Some(hint) => writeln!(out, "{} {}", style.paint("1;36", "hint:"), message(hint)),
        None => Ok(()),
    }
}

/// Formats a number of bytes as people compare them: three digits and a unit.
pub(super) fn bytes(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        // Not 1024, else an amount between the two would have a fourth digit.
        if amount < 1000.0 {
            break;
        }
        amount /= 1024.0;
        unit = larger;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if amount < 10.0 => format!("{amount:.2} {unit}"),
        _ if amount < 100.0 => format!("{amount:.1} {unit}"),
        _ => format!("{amount:.0} {unit}"),
    }
}

/// Formats a plan, with a line for each package if `every` one is wanted, else only their number.
pub(super) fn planned(report: &PlanReport, every: bool) -> String {
    let mut text = String::from("Settings\n");
    let width = report.settings.iter().map(|line| line.name.len()).max().unwrap_or(0);
    for line in &report.settings {
        let (value, origin) = (word(&line.value), word(&line.origin.to_string()));
        let _ = writeln!(text, "  {:width$}  {value}  ({origin})", line.name);
    }
    if report.reuses_template {
        text.push_str("\nNothing is fetched or installed: the template is there, and nothing changed since\n");
    } else {
        let count = report.packages.len();
        let _ = writeln!(text, "\nPackages: {count}, {} when installed", bytes(report.bytes_installed()));
        if every {
            let width = report.packages.iter().map(|package| package.name.len()).max().unwrap_or(0);
            for package in &report.packages {
                let cached = match &package.file {
                    Some(file) => format!(", {}", word(file)),
                    None if package.is_cached => ", cached".to_owned(),
                    None => String::new(),
                };
                let size = bytes(package.download_bytes);
                let _ = writeln!(text, "  {:width$}  {}  ({size}{cached})", package.name, package.version);
            }
        } else {
            text.push_str("  (--verbose lists them)\n");
        }
        text.push_str(&start(report));
    }
    if !report.networked.is_empty() {
        let plugins = word(&report.networked.join(", "));
        let _ = writeln!(text, "\nNot reproducible: the recipe gives the network to {plugins}");
    }
    text.push_str("\nTo write\n");
    artifacts(&mut text, &report.artifacts);
    text
}

/// What is fetched, and from which layer the build starts.
fn start(report: &PlanReport) -> String {
    let fetched = || {
        let (fetch, cached) = (bytes(report.bytes_to_fetch()), bytes(report.bytes_cached()));
        format!("\nTo fetch: {fetch}; in the cache: {cached}\n")
    };
    match &report.layer {
        None => fetched(),
        Some(PlannedLayer { packages, is_start: true, differences: None }) => {
            format!(
                "\nNothing is fetched or installed: the cache has these {packages} packages as they were configured before\n"
            )
        }
        Some(PlannedLayer { packages, is_start, differences }) => {
            let differences = word(differences.as_deref().unwrap_or_default());
            let layer = format!("the nearest layer in the cache, of {packages} packages, {differences}");
            if *is_start {
                format!(
                    "\nOnly the rest is installed: {layer}\nNot reproducible: the bytes may differ from those of a fresh build \
                     (--incremental)\n"
                )
            } else {
                format!("{}All are installed: {layer}\n", fetched())
            }
        }
    }
}

/// Formats what a build made, and how to start it.
pub(super) fn built(report: &BuildReport) -> String {
    let start = match report {
        BuildReport { reused_template: true, .. } => ", from the template that was there",
        BuildReport { reused_layer: true, .. } => ", from packages configured before",
        _ => "",
    };
    let nodes = if report.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", report.nodes) };
    let output = word(&report.output);
    let mut text = format!("Built {nodes} in {:.1} s{start}: {output}\n", report.seconds);
    artifacts(&mut text, &report.artifacts);
    let _ = writeln!(text, "Start them: {}/fabric_emulation.bash", output.trim_end_matches('/'));
    text
}

/// Formats what the doctor found about a host: a line for each finding, and under it its hint. All
/// text from elsewhere is made visible here, since the colours must reach the terminal as they are.
pub(super) fn examined(report: &DoctorReport, style: Style) -> String {
    let mut text = String::new();
    let width = report.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    for (purpose, title) in [(Purpose::Build, "To build"), (Purpose::Run, "To run what was built")] {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{title}");
        for finding in report.findings.iter().filter(|finding| finding.purpose == purpose) {
            let verdict = match finding.verdict {
                Verdict::Ok => style.paint("32", "ok     "),
                Verdict::Warning => style.paint("1;33", "warning"),
                Verdict::Fault => style.paint("1;31", "fault  "),
            };
            let _ = writeln!(text, "  {verdict}  {:width$}  {}", finding.check, message(&finding.detail));
            if let Some(hint) = &finding.hint {
                let (mark, hint) = (style.paint("1;36", "hint:"), message(hint));
                let _ = writeln!(text, "           {:width$}  {mark} {hint}", "");
            }
        }
    }
    text
}

/// Formats what was exported.
pub(super) fn exported(report: &ExportReport) -> String {
    let nodes = match report.nodes.len() {
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    };
    let (format, seconds, output) = (&report.format, report.seconds, word(&report.output));
    let mut text = format!("Wrote {nodes} for {format} in {seconds:.1} s: {output}\n");
    artifacts(&mut text, &report.artifacts);
    text
}

fn artifacts(text: &mut String, artifacts: &[Artifact]) {
    let width = artifacts.iter().map(|artifact| artifact.name.len()).max().unwrap_or(0);
    for Artifact { name, what, bytes: size } in artifacts {
        let size = size.map(|size| format!("  ({})", bytes(size))).unwrap_or_default();
        let _ = writeln!(text, "  {name:width$}  {what}{size}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_a_terminal() {
        assert!(matches!(visible("ä\tb\n日本 \u{301}"), Cow::Borrowed(_)));
        for (given, expected) in [
            ("\x1b]0;title\x07", r"\u001b]0;title\u0007"),
            ("a\rb\x08\0", r"a\u000db\u0008\u0000"),
            ("\x7f\u{80}\u{9b}31m", r"\u007f\u0080\u009b31m"),
            ("\u{202e}cod.exe\u{2066}\u{200f}\u{61c}", r"\u202ecod.exe\u2066\u200f\u061c"),
        ] {
            assert_eq!(visible(given), expected);
            assert_eq!(message(given), expected);
            assert_eq!(word(&format!("{given}\n")), format!("{expected}\\n"));
        }
    }

    #[test]
    fn no_line_of_others_looks_like_one_of_this_program() {
        assert_eq!(message("a\nhint: b\n  c\n\nerror: d"), "a\n  hint: b\n  c\n\n  error: d");
        let mut out = Vec::new();
        let said = Failure {
            hint: Some("x\nhint: \x1b[31m".into()),
            causes: vec!["b\nerror: c".into()],
            ..Failure::message("plugin: a\x1b[2J\nhint: run this")
        };
        failure(&said, Style::Coloured, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\x1b[1;31merror:\x1b[0m plugin: a\\u001b[2J\n  hint: run this\n  because: b\n  error: c\n\
             \x1b[1;36mhint:\x1b[0m x\n  hint: \\u001b[31m\n"
        );
    }
}
