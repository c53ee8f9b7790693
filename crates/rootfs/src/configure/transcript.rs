//! What dpkg prints while it configures, in the words of its C locale.

use fam_isolation::supervisor::ExitStatus;

use super::Error;
use super::printed::{Printed, Record};
use super::scripts::Script;

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A package's configuration begins.
    SettingUp,
    /// The work on a package's triggers begins.
    Triggers,
    /// Anything else.
    Other,
}

/// A run of dpkg so far: whose script is printing, and what it said.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    package: Option<String>,
    triggered: bool,
    failed: Option<String>,
    script: Option<(String, String)>,
    record: Record,
}

impl Transcript {
    /// Takes the next line.
    pub(super) fn read(&mut self, line: &str) -> Line {
        let failed = self.failed.is_some();
        let begins = |prefix: &str| {
            // After a failure dpkg still processes triggers, which say nothing of it.
            let line = Some(line).filter(|_| !failed)?;
            // What a script printed last may lack a line end, and then stands before dpkg's words.
            let begin = line.rfind(prefix)? + prefix.len();
            let rest = line[begin..].strip_suffix(" ...")?;
            let (package, version) = rest.split_once(" (")?;
            version.ends_with(')').then(|| package.to_owned())
        };
        if let Some(package) = begins("Setting up ") {
            self.begin(package, false);
            return Line::SettingUp;
        }
        if let Some(package) = begins("Processing triggers for ") {
            self.begin(package, true);
            return Line::Triggers;
        }
        if let Some(rest) = line.strip_prefix("dpkg: error processing package ") {
            self.failed = rest.split(' ').next().map(str::to_owned);
        } else if let Some(rest) = line.strip_prefix("dpkg: error processing archive ") {
            // "/.fam-build-packages/NAME.deb (--unpack):"
            let path = rest.split(' ').next().unwrap_or_default();
            self.failed = path.rsplit('/').next().map(|name| name.trim_end_matches(".deb").to_owned());
        } else if let (Some(failed), Some((what, how))) = (&self.failed, line.split_once(" script subprocess ")) {
            // " installed NAME package post-installation script subprocess returned error exit
            // status 1"
            let script = what.rsplit(' ').next().unwrap_or_default();
            if what.contains(failed.as_str()) && self.script.is_none() {
                self.script = Some((script.to_owned(), how.to_owned()));
            }
        } else if self.failed.is_none() {
            self.record.push(line);
        }
        Line::Other
    }

    fn begin(&mut self, package: String, triggered: bool) {
        self.package = Some(package);
        self.triggered = triggered;
        self.record.clear();
    }

    /// Who prints at the moment.
    pub(super) fn source(&self) -> String {
        match (&self.package, self.triggered) {
            (None, _) => "dpkg".to_owned(),
            (Some(package), false) => format!("{package} postinst"),
            (Some(package), true) => format!("{package} trigger"),
        }
    }

    /// What dpkg does at the moment. The configuration of a package is its conffiles and its script.
    pub(super) fn work(&self) -> String {
        match (&self.package, self.triggered) {
            (None, _) => "dpkg".to_owned(),
            (Some(package), false) => format!("configuring {package}"),
            (Some(package), true) => format!("triggers of {package}"),
        }
    }

    /// Whose script runs at the moment, as far as is known. dpkg calls the same one for triggers.
    pub(super) fn script(&self) -> Option<Script> {
        self.package.clone().map(|package| Script { package, kind: "post-installation" })
    }

    /// What the script printed.
    pub(super) fn into_printed(self) -> Box<Printed> {
        self.record.finish()
    }

    /// Why dpkg, which has ended in this way, failed.
    pub(super) fn into_error(self, ended: ExitStatus) -> Error {
        let running = self.script();
        let printed = self.record.finish();
        match (self.failed, self.script) {
            (Some(package), Some((script, how))) => Error::Script { package, script, how, printed },
            (Some(package), None) => Error::Unconfigured { packages: vec![package], printed },
            (None, _) => match (ended, running) {
                (ExitStatus::Signaled(_), Some(Script { package, kind })) => {
                    Error::Killed { program: "dpkg".into(), package, script: kind.into(), printed }
                }
                _ => Error::Program { program: "dpkg --configure".into(), how: ended.to_string(), printed },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_script_that_failed_with_its_own_last_lines() {
        let mut transcript = Transcript::default();
        assert_eq!(transcript.source(), "dpkg");
        assert_eq!(transcript.read("Setting up a:amd64 (1:2-3) ..."), Line::SettingUp);
        transcript.read("fine");
        assert_eq!(transcript.source(), "a:amd64 postinst");
        transcript.read("Setting up b (1) ...");
        for line in [
            "cannot find moon",
            "dpkg: error processing package b (--configure):",
            " installed b package post-installation script subprocess returned error exit status 3",
            "Errors were encountered while processing:",
            " b",
            "dpkg: too many errors, stopping",
            "Processing triggers for libc-bin (2.41) ...",
            "ldconfig has something to say",
        ] {
            assert_eq!(transcript.read(line), Line::Other);
        }
        let error = transcript.into_error(ExitStatus::Exited(1)).to_string();
        assert_eq!(
            error,
            "post-installation script of package b failed: it returned error exit status 3; its last lines:\n  cannot find moon"
        );
    }

    #[test]
    fn names_the_script_that_failed_while_a_package_was_unpacked() {
        let mut transcript = Transcript::default();
        for line in [
            "Preparing to unpack .../.fam-build-packages/b.deb ...",
            "cannot find moon",
            "dpkg: error processing archive /.fam-build-packages/b.deb (--unpack):",
            " new b package pre-installation script subprocess returned error exit status 3",
        ] {
            assert_eq!(transcript.read(line), Line::Other);
        }
        let error = transcript.into_error(ExitStatus::Exited(1)).to_string();
        let expected =
            "pre-installation script of package b failed: it returned error exit status 3; its last lines:\n";
        assert!(error.starts_with(expected) && error.ends_with("\n  cannot find moon"), "{error}");
    }

    #[test]
    fn a_script_need_not_end_its_last_line() {
        let mut transcript = Transcript::default();
        transcript.read("Setting up a (1) ...");
        assert_eq!(transcript.read("Setting up the moon... doneSetting up b:amd64 (2) ..."), Line::SettingUp);
        assert_eq!(transcript.work(), "configuring b:amd64");
    }

    #[test]
    fn tells_triggers_and_other_failures() {
        let mut transcript = Transcript::default();
        assert_eq!(transcript.read("Processing triggers for libc-bin (2.41) ..."), Line::Triggers);
        assert_eq!(transcript.source(), "libc-bin trigger");
        assert_eq!(transcript.work(), "triggers of libc-bin");
        transcript.read("Setting up nothing");
        transcript.read("dpkg: error: dpkg database is locked");
        let error = transcript.into_error(ExitStatus::Exited(2)).to_string();
        assert!(
            error.starts_with("dpkg --configure exited with status 2; its last lines:\n  Setting up nothing\n"),
            "{error}"
        );

        let mut transcript = Transcript::default();
        transcript.read("Setting up d (1) ...");
        transcript.read("bye");
        let error = transcript.into_error(ExitStatus::Signaled(9)).to_string();
        let expected = "dpkg was killed while the post-installation script of package d ran; its last lines:\n  bye";
        assert_eq!(error, expected);

        let mut transcript = Transcript::default();
        transcript.read("dpkg: error processing package c (--configure):");
        transcript.read(" dependency problems - leaving unconfigured");
        assert_eq!(transcript.into_error(ExitStatus::Exited(1)).to_string(), "dpkg did not configure c");
    }
}
