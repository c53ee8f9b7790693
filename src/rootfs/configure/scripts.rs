//! Runs the maintainer scripts, by themselves and by dpkg, and says of which package it is that something happens.

use std::collections::BTreeSet;

use super::packages::Package;
use super::transcript::{Line, Transcript};
use super::{Error, in_tree};
use crate::progress::{Progress, Running};
use crate::rootfs::sandbox::{self, Command, Heard, Part, Sandbox, Tail, TimeLimits, time};
use crate::rootfs::staging::Staging;
use crate::supervisor::Ended;

pub(super) fn dpkg() -> Command {
    // The tree is thrown away if anything fails, so nothing needs to reach a disk on the way; and the first failure is
    // the one to tell of, where dpkg would go on to fail for all that depends on it.
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
    fn is_of(&self, package: &Package) -> bool {
        // dpkg adds the architecture to some names.
        self.package.split(':').next() == Some(package.name.as_str())
    }

    /// The error for a script during which the sandbox reports `error`.
    fn stopped_by(self, error: sandbox::Error, last_lines: Vec<String>) -> Error {
        let Self { package, kind } = self;
        let script = kind.to_owned();
        match error {
            error @ (sandbox::Error::TooSlow { .. } | sandbox::Error::Silent { .. }) => {
                Error::Stuck { package, script, how: error.to_string(), last_lines }
            }
            sandbox::Error::Start { source, .. } => {
                Error::Script { package, script, how: format!("could not be started: {source}"), last_lines }
            }
            sandbox::Error::Died { .. } => Error::Killed { program: "the sandbox".into(), package, script, last_lines },
            other => other.into(),
        }
    }
}

/// The run of all scripts.
pub(super) struct Scripts<'a> {
    sandbox: Sandbox,
    limits: TimeLimits,
    packages: &'a [Package],
    task: &'a Running,
    progress: &'a Progress,
    /// The parts of dpkg's work that have begun, by the names of [`Transcript::source`]. Each counts once, whatever a
    /// script prints in dpkg's words.
    begun: BTreeSet<String>,
}

impl<'a> Scripts<'a> {
    /// Of `packages`, in this sandbox.
    pub(super) fn new(
        sandbox: Sandbox,
        limits: TimeLimits,
        packages: &'a [Package],
        task: &'a Running,
        progress: &'a Progress,
    ) -> Self {
        Self { sandbox, limits, packages, task, progress, begun: BTreeSet::new() }
    }

    /// The sandbox as the scripts left it.
    pub(super) fn into_sandbox(self) -> Sandbox {
        self.sandbox
    }

    /// Runs the preinst script of `package`, if it has one, as dpkg does before it unpacks a package that was never
    /// there (Debian Policy 6.5 and 6.7, and what dpkg sets before it executes a script).
    pub(super) fn preinst(&mut self, staging: &Staging, package: &Package) -> Result<(), Error> {
        let info = |member: &str| in_tree(&format!("var/lib/dpkg/info/{}.{member}", package.file_name()));
        if !staging.exists(&info("preinst"))? {
            return Ok(());
        }
        // Where dpkg has the control files at this point: debconf looks there for whose script asks.
        let control = in_tree("var/lib/dpkg/tmp.ci");
        staging.remove(&control)?;
        staging.create_dir_all(&control)?;
        let member = |name: &str| in_tree(&format!("var/lib/dpkg/tmp.ci/{name}"));
        staging.write(&member("control"), package.control().as_bytes(), 0o644)?;
        for (name, mode) in [("preinst", 0o755), ("config", 0o755), ("templates", 0o644)] {
            if staging.exists(&info(name))? {
                staging.write(&member(name), &staging.read(&info(name))?, mode)?;
            }
        }
        let source = format!("{} preinst", package.name);
        self.task.at(&source);
        let path = member("preinst").to_string();
        let (mut ended, mut last_lines) = self.run_preinst(Command::new(&path), package, &source);
        if let Err(sandbox::Error::Start { source: error, .. }) = &ended
            && error.raw_os_error() == Some(libc::ENOEXEC)
        {
            // An empty file, or one without an interpreter: a script of the shell to execvp(3), by which dpkg runs it.
            (ended, last_lines) = self.run_preinst(Command::new("/bin/sh").arg(path), package, &source);
        }
        staging.remove(&control)?;
        let script = Script { package: package.name.clone(), kind: "pre-installation" };
        match ended {
            Ok(ended) if ended.success() => Ok(()),
            Ok(ended) => Err(Error::Script {
                package: script.package,
                script: script.kind.into(),
                how: ended.to_string(),
                last_lines,
            }),
            Err(error) => Err(script.stopped_by(error, last_lines)),
        }
    }

    /// Runs a preinst script by `command`. Returns how that ended, and the last lines that it printed.
    fn run_preinst(
        &mut self,
        command: Command,
        package: &Package,
        source: &str,
    ) -> (Result<Ended, sandbox::Error>, Vec<String>) {
        let dpkg = self.packages.iter().find(|package| package.name == "dpkg");
        let command = command
            .arg("install")
            .env("PERL_DL_NONLAZY", "1")
            .env("DPKG_MAINTSCRIPT_NAME", "preinst")
            .env("DPKG_MAINTSCRIPT_PACKAGE", &package.name)
            .env("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1")
            .env("DPKG_MAINTSCRIPT_ARCH", &package.architecture)
            .env("DPKG_MAINTSCRIPT_DEBUG", "0")
            .env("DPKG_RUNNING_VERSION", dpkg.map_or("", |dpkg| dpkg.version.as_str()))
            .env("DPKG_ADMINDIR", "/var/lib/dpkg")
            .env("DPKG_ROOT", "")
            .within(self.limits);
        let mut tail = Tail::default();
        let Self { sandbox, limits, progress, .. } = self;
        let ended = sandbox.follow(&command, |heard| {
            match heard {
                Heard::Line(line) => {
                    tail.push(line);
                    progress.output(source, line);
                }
                Heard::Silence(silence) => warn_of_silence(progress, source, silence, *limits),
            }
            Part::Same
        });
        (ended, tail.into_lines())
    }

    /// Runs dpkg, and reports each package that it begins with.
    pub(super) fn dpkg(&mut self, command: Command) -> Result<(), Error> {
        let mut transcript = Transcript::default();
        let Self { sandbox, limits, packages, task, progress, begun } = self;
        let ended = sandbox.follow(&command.within(*limits), |heard| match heard {
            Heard::Line(text) => {
                let line = transcript.read(text);
                let source = transcript.source();
                progress.output(source.as_str(), text);
                let known = |script: Script| packages.iter().any(|package| script.is_of(package));
                let begins = line != Line::Other && transcript.script().is_some_and(known);
                if begins {
                    task.at(&source);
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
            Ok(ended) if ended.success() => Ok(()),
            Ok(ended) => Err(transcript.into_error(ended)),
            Err(error) => match transcript.script() {
                Some(script) => Err(script.stopped_by(error, transcript.into_last_lines())),
                None => Err(failed("dpkg --configure", error, transcript.into_last_lines())),
            },
        }
    }
}

fn warn_of_silence(progress: &Progress, source: &str, silence: std::time::Duration, limits: TimeLimits) {
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
    let mut tail = Tail::default();
    let ended = sandbox.run(command, |line| {
        tail.push(line);
        progress.output(source, line);
    });
    let last_lines = tail.into_lines();
    match ended {
        Ok(ended) if ended.success() => Ok(()),
        Ok(ended) => Err(Error::Program { program: name.into(), how: ended.to_string(), last_lines }),
        Err(error) => Err(failed(name, error, last_lines)),
    }
}

/// The error for the program `name`, during which the sandbox reports `error`.
fn failed(name: &str, error: sandbox::Error, last_lines: Vec<String>) -> Error {
    match error {
        sandbox::Error::TooSlow { .. } | sandbox::Error::Silent { .. } => {
            Error::Program { program: name.into(), how: format!("failed: {error}"), last_lines }
        }
        other => other.into(),
    }
}
