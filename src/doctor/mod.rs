//! Examines whether this host can build, and can run what was built; names the command that changes
//! what is in the way.
//!
//! Things are tried rather than looked for, as far as a trial leaves nothing behind. Unlike a
//! build, this may run programs of the host. [`examine`] returns what it found; the command line
//! shows it.

mod building;
mod distribution;
mod probe;
mod running;

use crate::recipe::Settings;
use crate::report::{DoctorReport, Finding, Purpose, Verdict};
use distribution::Distribution;

/// Examines the host for what `settings` ask for.
#[must_use]
pub fn examine(settings: &Settings) -> DoctorReport {
    let distribution = Distribution::of_host();
    let mut findings = building::examine(settings);
    findings.extend(running::examine(settings, distribution));
    DoctorReport { findings }
}

/// The findings about one purpose, as they are gathered.
#[derive(Debug)]
struct Findings {
    purpose: Purpose,
    all: Vec<Finding>,
}

impl Findings {
    fn new(purpose: Purpose) -> Self {
        Self { purpose, all: Vec::new() }
    }

    fn add(&mut self, check: &str, verdict: Verdict, detail: impl Into<String>, hint: Option<String>) {
        self.all.push(Finding { purpose: self.purpose, check: check.to_owned(), verdict, detail: detail.into(), hint });
    }

    fn ok(&mut self, check: &str, detail: impl Into<String>) {
        self.add(check, Verdict::Ok, detail, None);
    }

    fn warning(&mut self, check: &str, detail: impl Into<String>, hint: impl Into<String>) {
        self.add(check, Verdict::Warning, detail, Some(hint.into()));
    }

    /// Something that keeps the host from its purpose. `hint` is a hint of the error that shows it,
    /// where it has one.
    fn fault(&mut self, check: &str, detail: impl Into<String>, hint: Option<String>) {
        self.add(check, Verdict::Fault, detail, hint);
    }
}

/// Bytes in the unit that people compare memory and disks by.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
