//! Runs the maintainer scripts, by themselves and by dpkg, and says of which package it is that
//! something happens.

use std::collections::BTreeSet;
use std::time::Duration;

use fam_isolation::sandbox::{self, Command, Heard, Part, Sandbox, TimeLimits, time};
use fam_isolation::supervisor::ExitStatus;
use fam_progress::{Progress, Task, TaskHandle};

use super::printed::{Printed, Record};
use super::stopwatch::Stopwatch;
use super::transcript::{Line, Transcript};
use super::{Error, in_tree};
use crate::dpkg::Package;
use crate::staging::Staging;

pub(super) fn dpkg() -> Command {
    // The tree is thrown away if anything fails, so nothing needs to reach a disk on the way; and
    // the first failure is the one to tell of, where dpkg would go on to fail for all that depends
    // on it.
    Command::new("dpkg").args(["--force-unsafe-io", "--abort-after=1"])
}

/// A maintainer script, as errors name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) package: String,
    /// `pre-installation`, `post-installation`.
    pub(super) kind: &'static str,
}

impl Script {
    /// The error for a script during which the sandbox reports `error`.
    fn stopped_by(self, error: sandbox::Error, printed: Box<Printed>) -> Error {
        let Self { package, kind } = self;
        let script = kind.to_owned();
        match error {
            error @ (sandbox::Error::TooSlow { .. } | sandbox::Error::Silent { .. }) => {
                Error::Stuck { package, script, how: error.to_string(), printed }
            }
            sandbox::Error::Start { source, .. } => {
                Error::Script { package, script, how: format!("could not be started: {source}"), printed }
            }
            sandbox::Error::Died { .. } => Error::Killed { program: "the sandbox".into(), package, script, printed },
            other => other.into(),
        }
    }
}

/// The run of all scripts, in one sandbox after another.
#[derive(Debug)]
pub(super) struct Scripts<'a> {
    limits: TimeLimits,
    /// How many packages there will be.
    count: usize,
    progress: &'a Progress,
    task: Option<TaskHandle>,
    /// The names of the packages whose scripts may run.
    known: BTreeSet<String>,
    /// The parts of dpkg's work that have begun, by the names of [`Transcript::source`]. Each
    /// counts once, whatever a script prints in dpkg's words.
    begun: BTreeSet<String>,
    dpkg_version: String,
}

impl<'a> Scripts<'a> {
    /// Of `count` packages.
    pub(super) fn new(limits: TimeLimits, count: usize, progress: &'a Progress) -> Self {
        Self {
            limits,
            count,
            progress,
            task: None,
            known: BTreeSet::new(),
            begun: BTreeSet::new(),
            dpkg_version: String::new(),
        }
    }

    /// Takes note of a package whose scripts may run from now on.
    pub(super) fn add(&mut self, name: &str, version: &str) {
        self.known.insert(name.to_owned());
        if name == "dpkg" {
            version.clone_into(&mut self.dpkg_version);
        }
    }

    fn task(&mut self) -> &TaskHandle {
        self.task.get_or_insert_with(|| self.progress.task(Task::Configure, self.count as u64))
    }

    /// Runs the preinst script of `package`, if it has one, as dpkg does before it unpacks a
    /// package that was never there (Debian Policy 6.5 and 6.7, and what dpkg sets before it
    /// executes a script).
    pub(super) fn preinst(&mut self, sandbox: &mut Sandbox, staging: &Staging, package: &Package) -> Result<(), Error> {
        // Where dpkg has the control files at this point: debconf looks there for whose script
        // asks.
        let control = in_tree("var/lib/dpkg/tmp.ci");
        staging.remove(&control)?;
        let directory = staging.create_dir_all(&control)?;
        directory.write_file(b"control", package.control.stanza.as_bytes(), 0o644)?;
        for (name, file) in &package.control.files {
            let mode = if matches!(name.as_str(), "preinst" | "config") { 0o755 } else { file.mode };
            directory.write_file(name.as_bytes(), &file.bytes, mode)?;
        }
        let source = format!("{} preinst", package.name);
        self.task().at(&source);
        let mut stopwatch = Stopwatch::new(self.progress);
        stopwatch.begin(format!("preinst of {}", package.name));
        let path = "/var/lib/dpkg/tmp.ci/preinst";
        let (mut ended, mut printed) = self.run_preinst(sandbox, Command::new(path), package, &source);
        if let Err(sandbox::Error::Start { source: error, .. }) = &ended
            && error.raw_os_error() == Some(libc::ENOEXEC)
        {
            // An empty file, or one without an interpreter: a script of the shell to execvp(3), by
            // which dpkg runs it.
            (ended, printed) = self.run_preinst(sandbox, Command::new("/bin/sh").arg(path), package, &source);
        }
        stopwatch.end();
        staging.remove(&control)?;
        let script = Script { package: package.name.clone(), kind: "pre-installation" };
        match ended {
            Ok(ended) if ended.success() => Ok(()),
            Ok(ended) => Err(Error::Script {
                package: script.package,
                script: script.kind.into(),
                how: ended.to_string(),
                printed,
            }),
            Err(error) => Err(script.stopped_by(error, printed)),
        }
    }

    /// Runs a preinst script by `command`. Returns how that ended, and what it printed.
    fn run_preinst(
        &self,
        sandbox: &mut Sandbox,
        command: Command,
        package: &Package,
        source: &str,
    ) -> (Result<ExitStatus, sandbox::Error>, Box<Printed>) {
        let command = command
            .arg("install")
            .env("PERL_DL_NONLAZY", "1")
            .env("DPKG_MAINTSCRIPT_NAME", "preinst")
            .env("DPKG_MAINTSCRIPT_PACKAGE", &package.name)
            .env("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1")
            .env("DPKG_MAINTSCRIPT_ARCH", &package.architecture)
            .env("DPKG_MAINTSCRIPT_DEBUG", "0")
            .env("DPKG_RUNNING_VERSION", &self.dpkg_version)
            .env("DPKG_ADMINDIR", "/var/lib/dpkg")
            .env("DPKG_ROOT", "")
            .within(self.limits);
        let mut record = Record::default();
        let Self { limits, progress, .. } = self;
        let ended = sandbox.follow(&command, |heard| {
            match heard {
                Heard::Line(line) => {
                    record.push(line);
                    progress.output(source, line);
                }
                Heard::Silence(silence) => warn_of_silence(progress, source, silence, *limits),
            }
            Part::Same
        });
        (ended, record.finish())
    }

    /// Runs dpkg, and reports each package that it begins with.
    pub(super) fn dpkg(&mut self, sandbox: &mut Sandbox, command: Command) -> Result<(), Error> {
        let mut transcript = Transcript::default();
        let mut stopwatch = Stopwatch::new(self.progress);
        self.task();
        let Self { limits, known, task: Some(task), progress, begun, .. } = self else { return Ok(()) };
        let ended = sandbox.follow(&command.within(*limits), |heard| match heard {
            Heard::Line(text) => {
                let line = transcript.read(text);
                let source = transcript.source();
                progress.output(source.as_str(), text);
                // dpkg adds the architecture to some names.
                let is_known = |script: Script| known.contains(script.package.split(':').next().unwrap_or_default());
                let begins = line != Line::Other && transcript.script().is_some_and(is_known);
                if begins {
                    task.at(&source);
                    stopwatch.begin(transcript.work());
                }
                if !begins || !begun.insert(source) {
                    return Part::Same;
                }
                if line == Line::SettingUp {
                    task.advance(1);
                }
                Part::New
            }
            Heard::Silence(silence) => {
                warn_of_silence(progress, &transcript.source(), silence, *limits);
                Part::Same
            }
        });
        match ended {
            Ok(ended) if ended.success() => {
                stopwatch.end();
                Ok(())
            }
            Ok(ended) => Err(transcript.into_error(ended)),
            Err(error) => match transcript.script() {
                Some(script) => Err(script.stopped_by(error, transcript.into_printed())),
                None => Err(failed("dpkg --configure", error, transcript.into_printed())),
            },
        }
    }
}

fn warn_of_silence(progress: &Progress, source: &str, silence: Duration, limits: TimeLimits) {
    progress.warning(
        format!("{source} has printed nothing for {}", time(silence)),
        Some(format!("it may be waiting for something; after {} of silence the build is ended", time(limits.silent))),
    );
}

/// Runs a program that is no maintainer script, and of which an error says `name`.
pub(super) fn run_program(
    sandbox: &mut Sandbox,
    command: &Command,
    name: &str,
    source: &str,
    progress: &Progress,
) -> Result<(), Error> {
    run_program_and_hear(sandbox, command, name, |line| progress.output(source, line))
}

/// As [`run_program`], but each line of the output goes to `hear`.
pub(super) fn run_program_and_hear(
    sandbox: &mut Sandbox,
    command: &Command,
    name: &str,
    mut hear: impl FnMut(&str),
) -> Result<(), Error> {
    let mut record = Record::default();
    let ended = sandbox.run(command, |line| {
        record.push(line);
        hear(line);
    });
    let printed = record.finish();
    match ended {
        Ok(ended) if ended.success() => Ok(()),
        Ok(ended) => Err(Error::Program { program: name.into(), how: ended.to_string(), printed }),
        Err(error) => Err(failed(name, error, printed)),
    }
}

/// The error for the program `name`, during which the sandbox reports `error`.
fn failed(name: &str, error: sandbox::Error, printed: Box<Printed>) -> Error {
    match error {
        sandbox::Error::TooSlow { .. } | sandbox::Error::Silent { .. } => {
            Error::Program { program: name.into(), how: format!("failed: {error}"), printed }
        }
        other => other.into(),
    }
}
