//! Runs programs of the new system: with its tree as their root, and nothing else of the host than
//! the kernel and a few devices. They see no process, mount, network or terminal of the host, can
//! raise no privilege beyond the tree, and nothing of them runs on when they are done.
//!
//! A [`Sandbox`] is a set of mount, PID, IPC, UTS and network namespaces (the last one not where
//! programs are to have the host's [`Network`]) in which one program after another is run. Inside there are two processes of this program: the first, which only waits, and
//! the runner, which sets everything up and obeys the [`Sandbox`] through a socket.
//!
//! To programs this is a chroot, as under debootstrap and mmdebstrap: many ask, and then leave
//! services alone. What they see of hardware is the same on every host.

mod calls;
mod clock;
pub mod filter;
mod hardware;
mod ids;
mod init;
mod limits;
mod mounts;
mod network;
mod output;
mod runner;
mod stand_in;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use fam_progress::Hint;
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use self::clock::{Clock, Due};
use crate::supervisor::launch::{self, Launched, launch_with};
use crate::supervisor::protocol::{Receiver, Sender};
use crate::supervisor::{ExitStatus, Ids, Role};

pub use clock::TimeLimits;
pub(crate) use ids::{describe as describe_ids, try_own as try_own_ids};
pub(crate) use init::sandbox_init;
pub use network::{Network, RESOLV_CONF};
pub use output::Tail;
pub use output::read_lines;
pub use runner::keep_capabilities;
pub(crate) use runner::{be_a_machine_of_its_own, runner};
pub use stand_in::StandIn;

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The namespaces could not be made.
    #[error("{0}")]
    Launch(#[from] launch::Error),
    /// The inside could not be set up.
    #[error("prepare the sandbox of {}: {step}: {source}", root.display())]
    Prepare {
        /// The tree.
        root: PathBuf,
        /// What was tried.
        step: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The tree lies where programs cannot be executed.
    #[error("{} is on a file system mounted {flag}", root.display())]
    Mounted {
        /// The tree.
        root: PathBuf,
        /// `noexec` or `ro`.
        flag: String,
    },
    /// The program could not be started.
    #[error("start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The sandbox ended under the program.
    #[error("the sandbox ended while {program} ran (out of memory?)")]
    Died {
        /// The program.
        program: String,
    },
    /// The program was still running when its time was over.
    #[error("it was still running after {}, and was ended", time(*limit))]
    TooSlow {
        /// How long it had.
        limit: Duration,
    },
    /// The program had printed nothing for too long.
    #[error("it had printed nothing for {}, and was ended", time(*limit))]
    Silent {
        /// How long it might have been silent.
        limit: Duration,
    },
    /// The socket failed.
    #[error("talk to the sandbox: {0}")]
    Control(#[from] io::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Mounted { flag, .. } => {
                Some(format!("choose a directory on a file system without {flag}, with --output or TMPDIR"))
            }
            Self::Died { .. } => Some(crate::supervisor::OUT_OF_MEMORY_HINT.to_owned()),
            _ => None,
        }
    }
}

/// A length of time for people.
pub fn time(time: Duration) -> String {
    match time.as_secs() {
        0..120 => format!("{} s", time.as_secs_f64()),
        seconds => format!("{} minutes", seconds / 60),
    }
}

/// A program to run, by the new system's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    #[serde(skip)]
    limits: TimeLimits,
}

impl Command {
    /// Runs `program`, looked up in the PATH of the inside unless it has a slash.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            limits: TimeLimits::default(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable beside those that every program gets.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Gives it other limits than [`TimeLimits::default`]. When one is reached, the sandbox is of
    /// no further use.
    #[must_use]
    pub fn within(mut self, limits: TimeLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// What programs find inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `SOURCE_DATE_EPOCH`: the time that programs which make files should put into them.
    pub source_date_epoch: Option<i64>,
    /// Files that differ from the tree's.
    pub stand_ins: Vec<StandIn>,
    /// The host's network, where programs are to have it; else they have one of their own, with
    /// nothing but the loopback interface.
    pub network: Option<Network>,
}

/// What the runner is asked.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Enter { settings: Settings },
    Run(Command),
    Leave,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Ready,
    Unprepared { step: String, errno: i32 },
    Mounted { flag: String },
    Line(String),
    NotStarted { errno: i32 },
    Ended(ExitStatus),
}

/// What is heard of a program that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A line that it or a child of it printed.
    Line(&'a str),
    /// Nothing, for this long. Said once of each silence of some minutes.
    Silence(Duration),
}

/// Which part of its work a program is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The same as before.
    Same,
    /// Another, just begun.
    New,
}

/// Namespaces around a tree. Dropping it ends every process inside.
#[derive(Debug)]
pub struct Sandbox {
    launched: Launched,
    requests: Sender,
    answers: Receiver,
    has_own_ids: bool,
}

const NAMESPACES: UnshareFlags = UnshareFlags::NEWNS
    .union(UnshareFlags::NEWPID)
    .union(UnshareFlags::NEWIPC)
    .union(UnshareFlags::NEWUTS)
    .union(UnshareFlags::NEWNET);

impl Sandbox {
    /// Makes a sandbox around the tree at `root`. The caller is root, of the host or of the
    /// worker's user namespace.
    ///
    /// # Errors
    /// [`Error`].
    pub fn enter(root: &Path, settings: &Settings) -> Result<Self, Error> {
        if let Some(ids) = ids::of_programs() {
            match Self::enter_with(&ids, root, settings) {
                // Should something else be wrong, it is so without a user namespace as well.
                Err(Error::Launch(_) | Error::Prepare { .. }) => ids::give_up(),
                entered => return entered,
            }
        }
        Self::enter_with(&Ids::Own, root, settings)
    }

    /// Who programs are on the host, for the log.
    #[must_use]
    pub fn describe_ids(&self) -> &'static str {
        ids::describe(self.has_own_ids)
    }

    fn enter_with(ids: &Ids, root: &Path, settings: &Settings) -> Result<Self, Error> {
        let prepare = |step: &str, source| Error::Prepare { root: root.to_owned(), step: step.to_owned(), source };
        let tree = mounts::clone_tree(root).map_err(|error| prepare("open it", error.into()))?;
        let output = mounts::open_tree_directory(&tree).map_err(|error| prepare("open it", error.into()))?;
        // The tree crosses as a descriptor, since a mount that is attached nowhere has no path.
        // Standard input is the control socket, so standard output takes it.
        let namespaces =
            if settings.network.is_some() { NAMESPACES.difference(UnshareFlags::NEWNET) } else { NAMESPACES };
        let launched = launch_with(Role::SANDBOX, namespaces, ids, output.into(), Stdio::inherit())?;
        let has_own_ids = *ids != Ids::Own;
        if has_own_ids {
            let translated = launched.user_namespace().and_then(|namespace| ids::translate(&tree, namespace));
            translated.map_err(|error| prepare("translate its owners", error))?;
        }
        let requests = Sender::new(launched.control.try_clone()?);
        let answers = Receiver::new(launched.control.try_clone()?);
        let mut sandbox = Self { launched, requests, answers, has_own_ids };
        sandbox.requests.send(&Request::Enter { settings: settings.clone() })?;
        let answer = sandbox.answers.receive()?;
        // Not before: a mount that is attached nowhere goes with its last descriptor (open_tree(2)).
        drop(tree);
        match answer {
            Some(Answer::Ready) => Ok(sandbox),
            Some(Answer::Unprepared { step, errno }) => Err(prepare(&step, io::Error::from_raw_os_error(errno))),
            Some(Answer::Mounted { flag }) => Err(Error::Mounted { root: root.to_owned(), flag }),
            _ => Err(prepare("start", io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Runs `command` and waits for it. Each line that it or its children print, on either output,
    /// goes to `line`: at most 4 KiB of it, invalid UTF-8 and control characters replaced. What it
    /// left running is killed.
    ///
    /// # Errors
    /// [`Error`] if it did not run, or not to its end; how it ended is the result.
    pub fn run(&mut self, command: &Command, mut line: impl FnMut(&str)) -> Result<ExitStatus, Error> {
        self.follow(command, |heard| {
            if let Heard::Line(text) = heard {
                line(text);
            }
            Part::Same
        })
    }

    /// As [`Sandbox::run`], for a program that does one thing after another: where `hear` says that
    /// a line begins another part, the time limits count from there. It hears of long silences,
    /// too.
    ///
    /// # Errors
    /// As [`Sandbox::run`].
    pub fn follow(&mut self, command: &Command, hear: impl FnMut(Heard<'_>) -> Part) -> Result<ExitStatus, Error> {
        let ended = self.requests.send(&Request::Run(command.clone())).map_err(|_| died(command));
        let ended = ended.and_then(|()| self.listen(command, hear));
        self.answers.set_read_timeout(None)?;
        ended
    }

    fn listen(&mut self, command: &Command, mut hear: impl FnMut(Heard<'_>) -> Part) -> Result<ExitStatus, Error> {
        let mut clock = Clock::start(command.limits, Instant::now());
        loop {
            // To the socket no time at all means no limit.
            let left = clock.left(Instant::now()).max(Duration::from_millis(1));
            self.answers.set_read_timeout(Some(left))?;
            match self.answers.receive() {
                Ok(Some(Answer::Line(text))) => {
                    clock.hear(Instant::now());
                    if hear(Heard::Line(&text)) == Part::New {
                        clock.start_again(Instant::now());
                    }
                }
                Ok(Some(Answer::Ended(ended))) => return Ok(ended),
                Ok(Some(Answer::NotStarted { errno })) => {
                    let source = io::Error::from_raw_os_error(errno);
                    return Err(Error::Start { program: command.program.clone(), source });
                }
                Ok(_) => return Err(died(command)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            let over = match clock.due(Instant::now()) {
                Due::Nothing => continue,
                Due::Notice(silence) => {
                    hear(Heard::Silence(silence));
                    continue;
                }
                Due::Silent => Error::Silent { limit: command.limits.silent },
                Due::Whole => Error::TooSlow { limit: command.limits.whole },
            };
            self.launched.kill();
            return Err(over);
        }
    }

    /// Ends the sandbox, its stand-ins taken away.
    ///
    /// # Errors
    /// [`Error`].
    pub fn leave(mut self) -> Result<(), Error> {
        self.requests.send(&Request::Leave)?;
        match self.answers.receive()? {
            Some(Answer::Ready) => {}
            Some(Answer::Unprepared { step, errno }) => {
                return Err(Error::Control(io::Error::other(format!(
                    "{step}: {}",
                    io::Error::from_raw_os_error(errno)
                ))));
            }
            _ => return Err(Error::Control(io::ErrorKind::UnexpectedEof.into())),
        }
        self.launched.wait();
        Ok(())
    }
}

fn died(command: &Command) -> Error {
    Error::Died { program: command.program.clone() }
}
