//! Reports and failures as text.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use crate::credentials::redact;
use crate::report::{Artifact, BuildReport, DoctorReport, Failure, PlanReport, Purpose, Verdict};

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

/// What failed, why, and what to do.
pub(super) fn failure(failure: &Failure, style: Style, out: &mut impl Write) -> io::Result<()> {
    let mut text = format!("{} {failure}\n", style.paint("1;31", "error:"));
    if let Some(hint) = &failure.hint {
        let _ = writeln!(text, "{} {hint}", style.paint("1;36", "hint:"));
    }
    out.write_all(redact(&text).as_bytes())
}

/// Bytes as people compare them: three digits and a unit.
pub(super) fn bytes(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
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

/// A plan. `every` package is listed, or only how many there are.
pub(super) fn planned(report: &PlanReport, every: bool) -> String {
    let mut text = String::from("Settings\n");
    let width = report.settings.iter().map(|line| line.name.len()).max().unwrap_or(0);
    for line in &report.settings {
        let _ = writeln!(text, "  {:width$}  {}  ({})", line.name, line.value, line.origin);
    }
    if report.reuses_template {
        text.push_str("\nNothing is fetched or installed: the template is there, and nothing changed since\n");
    } else {
        let count = report.packages.len();
        let _ = writeln!(text, "\nPackages: {count}, {} when installed", bytes(report.bytes_installed()));
        if every {
            let width = report.packages.iter().map(|package| package.name.len()).max().unwrap_or(0);
            for package in &report.packages {
                let cached = if package.is_cached { ", cached" } else { "" };
                let size = bytes(package.download_bytes);
                let _ = writeln!(text, "  {:width$}  {}  ({size}{cached})", package.name, package.version);
            }
        } else {
            text.push_str("  (--verbose lists them)\n");
        }
        let (fetch, cached) = (bytes(report.bytes_to_fetch()), bytes(report.bytes_cached()));
        let _ = writeln!(text, "\nTo fetch: {fetch}; in the cache: {cached}");
    }
    text.push_str("\nTo write\n");
    artifacts(&mut text, &report.artifacts);
    text
}

/// What a build has made, and what to do with it.
pub(super) fn built(report: &BuildReport) -> String {
    let template = if report.reused_template { ", from the template that was there" } else { "" };
    let nodes = if report.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", report.nodes) };
    let mut text = format!("Built {nodes} in {:.1} s{template}: {}\n", report.seconds, report.output);
    artifacts(&mut text, &report.artifacts);
    let _ = writeln!(text, "Start them: {}/fabric_emulation.bash", report.output.trim_end_matches('/'));
    text
}

/// What was found about a host: a line for each thing, and beneath it the command that mends it.
pub(super) fn examined(report: &DoctorReport, style: Style) -> String {
    let mut text = String::new();
    let width = report.findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
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
            let _ = writeln!(text, "  {verdict}  {:width$}  {}", finding.what, finding.says);
            if let Some(mend) = &finding.mend {
                let _ = writeln!(text, "           {:width$}  {} {mend}", "", style.paint("1;36", "mend:"));
            }
        }
    }
    text
}

fn artifacts(text: &mut String, artifacts: &[Artifact]) {
    let width = artifacts.iter().map(|artifact| artifact.name.len()).max().unwrap_or(0);
    for Artifact { name, what, bytes: size } in artifacts {
        let size = size.map(|size| format!("  ({})", bytes(size))).unwrap_or_default();
        let _ = writeln!(text, "  {name:width$}  {what}{size}");
    }
}
