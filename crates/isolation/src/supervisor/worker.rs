//! A job from both sides: the supervisor starts a worker, listens, and ends it when asked to; the
//! worker does the work.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Sender as Notes, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fam_progress::{Hint, Progress, panic_text};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::interrupts::Interrupts;
use super::isolation::Isolation;
use super::launch::{self, launch};
use super::limits::{Expendable, be_expendable};
use super::protocol::{
    ExitStatus, Failure, FromWorker, Receiver, Sender, control_of_this_process, lifeline, remote_progress,
};
use super::reject_direct_invocation;
use super::role::Role;

/// What to do where the kernel may have ended a process for lack of memory.
pub(crate) const OUT_OF_MEMORY_HINT: &str =
    "see `dmesg` for the kernel's out-of-memory killer; with little memory, --jobs 1 or a TMPDIR on disk needs less";

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The worker could not be started.
    #[error("{0}")]
    Launch(#[from] launch::Error),
    /// The job itself failed.
    #[error("{0}")]
    Failed(Failure),
    /// A signal asked to stop. Every process of the job is gone.
    #[error("interrupted by {}", name_of(*signal))]
    Interrupted {
        /// Number of the signal.
        signal: i32,
    },
    /// The worker ended without a last word.
    #[error("the worker {0}")]
    Died(ExitStatus),
    /// The supervisor could not talk to it.
    #[error("talk to the worker: {0}")]
    Control(#[from] io::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Failed(failure) => failure.hint.clone(),
            Self::Died(ExitStatus::Signaled(9)) => Some(OUT_OF_MEMORY_HINT.into()),
            Self::Died(ExitStatus::Signaled(libc::SIGABRT)) => Some(
                "where a line above says that memory could not be allocated, raise the limit (`ulimit -v`), or try --jobs 1; \
                 else this is a fault of fam-build: please report it with fabric_emulation.log"
                    .into(),
            ),
            Self::Interrupted { .. } => {
                Some("nothing unfinished is left, and what was fetched stays in the cache: run it again to go on".into())
            }
            _ => None,
        }
    }
}

/// The signal as people know it.
fn name_of(signal: i32) -> String {
    match signal {
        libc::SIGINT => "ctrl-C".into(),
        libc::SIGTERM => "SIGTERM".into(),
        libc::SIGHUP => "SIGHUP: its terminal is gone".into(),
        other => format!("signal {other}"),
    }
}

/// What the supervisor learns while a worker runs.
enum Note<T> {
    Message(FromWorker<T>),
    Closed(io::Result<()>),
    Signal(i32),
}

/// Has a worker do `job` and passes its progress on. Returns when every process of it is gone,
/// whatever the outcome.
///
/// # Errors
/// [`Error`].
pub fn run<J, T>(job: &J, isolation: &Isolation, progress: &Progress, interrupts: &Interrupts) -> Result<T, Error>
where
    J: Serialize,
    T: DeserializeOwned + Send + 'static,
{
    let (notes, inbox) = channel();
    // Before the launch: a signal in the midst of it must not kill the supervisor and nobody else.
    let _shield = interrupts.forward_to(notes.clone(), Note::<T>::Signal);
    let mut launched = launch(Role::INIT, isolation.namespaces, &isolation.ids)?;
    let receiver = Receiver::new(launched.control.try_clone()?);
    let listener = thread::Builder::new().name("worker's messages".into()).spawn(move || listen(receiver, &notes))?;
    let sent = Sender::new(launched.control.try_clone()?).send(job);

    let (mut outcome, mut ended, mut interrupted, mut control) = (None, None, None, Ok(()));
    for note in inbox {
        match note {
            Note::Message(FromWorker::Event(event)) => progress.event(event),
            Note::Message(FromWorker::Outcome(result)) => outcome = Some(result),
            // The first is the worker's own, the second that of the process around it.
            Note::Message(FromWorker::Ended(how)) => {
                ended.get_or_insert(how);
            }
            Note::Signal(signal) => {
                interrupted.get_or_insert(signal);
                launched.kill();
            }
            // Launcher, first process and worker share the socket: its end is the end of all three.
            Note::Closed(result) => {
                control = result;
                break;
            }
        }
    }
    let launcher = launched.wait();
    // It has sent its last note.
    let _ = listener.join();
    match (interrupted, outcome) {
        // A job that was done already when the signal came is done.
        (_, Some(Ok(result))) => Ok(result),
        (Some(signal), _) => Err(Error::Interrupted { signal }),
        (None, Some(Err(failure))) => Err(Error::Failed(failure)),
        (None, None) => {
            control?;
            match ended.or(launcher) {
                Some(ended) => Err(Error::Died(ended)),
                None => Err(Error::Control(sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))),
            }
        }
    }
}

fn listen<T: DeserializeOwned>(mut receiver: Receiver, notes: &Notes<Note<T>>) {
    loop {
        let note = match receiver.receive() {
            Ok(Some(message)) => Note::Message(message),
            Ok(None) => Note::Closed(Ok(())),
            Err(error) => Note::Closed(Err(error)),
        };
        let last = matches!(note, Note::Closed(_));
        if notes.send(note).is_err() || last {
            return;
        }
    }
}

/// The role's main function.
pub(crate) fn worker<J, T>(work: impl FnOnce(J, Progress) -> Result<T, Failure>) -> ExitCode
where
    J: DeserializeOwned,
    T: Serialize,
{
    let Ok(control) = control_of_this_process() else { return reject_direct_invocation() };
    let Ok(copy) = control.try_clone() else { return ExitCode::FAILURE };
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // Without it a build is as good, while there is memory.
    let _ = be_expendable(Expendable::Worker);
    let mut receiver = Receiver::new(copy);
    let sender = Arc::new(Sender::new(control));
    let outcome = match receiver.receive::<J>() {
        Ok(Some(job)) => {
            // The job was all that the supervisor has to say.
            lifeline(receiver, |IgnoredAny| true);
            catching_panics(|| work(job, remote_progress(Arc::clone(&sender))))
        }
        Ok(None) => return ExitCode::FAILURE,
        Err(error) => Err(Failure::message(format!("read the job: {error}"))),
    };
    match sender.send(&FromWorker::Outcome(outcome)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Turns a panic into a failure that says where it was, instead of a trace on someone's screen.
fn catching_panics<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let place = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&place);
    std::panic::set_hook(Box::new(move |panic| {
        *noted.lock().unwrap_or_else(PoisonError::into_inner) = panic.location().map(ToString::to_string);
    }));
    // Nothing that `work` may have left half done is used after a panic: the process ends.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic_text(&*panic).unwrap_or("panic");
        let place = place.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        Err(Failure {
            hint: Some("this is a fault of fam-build: please report it with fabric_emulation.log".into()),
            ..Failure::message(format!("internal error: {text} ({place})"))
        })
    })
}
