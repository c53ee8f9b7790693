//! What the processes of a build say to each other: JSON lines over one socket pair per process,
//! its standard input.
//!
//! The socket is also the lifeline: each side takes the end of the stream for the death of the
//! other.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use fam_progress::{Event, Progress, Reporter};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use fam_progress::Failure;

/// The longest message taken from another process: a job may hold 256 MiB of files for plugins,
/// which JSON makes six times as long at the worst. They are all ours; this only keeps a stray
/// stream from eating memory.
const MAX_MESSAGE_BYTES: u64 = 2 << 30;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl ExitStatus {
    /// Whether the process says it did what it should.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The end that `status` tells of; `None` if the process only stopped or went on.
    pub(crate) fn from_wait(status: rustix::process::WaitStatus) -> Option<Self> {
        status.exit_status().map(Self::Exited).or_else(|| status.terminating_signal().map(Self::Signaled))
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with status {code}"),
            Self::Signaled(9) => f.write_str("was killed by signal 9 (out of memory?)"),
            Self::Signaled(libc::SIGXFSZ) => f.write_str("was killed by signal 25 (a file larger than allowed)"),
            Self::Signaled(libc::SIGSYS) => {
                f.write_str("was killed by signal 31 (a system call of another architecture)")
            }
            Self::Signaled(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// What a launcher says while it starts a process in new namespaces.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Launching {
    /// It is in the new namespaces and waits for its id maps.
    Unshared,
    /// It could not.
    Refused {
        /// What was tried.
        step: String,
        /// The number of the error.
        errno: i32,
    },
    /// The first process inside was started, under this number in the launcher's PID namespace.
    Started {
        /// That number.
        pid: u32,
    },
}

/// What comes out of a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FromWorker<T> {
    /// Progress.
    Event(Event),
    /// The last word of a job.
    Outcome(Result<T, Failure>),
    /// The worker, or the process that watched it, is gone. Said by whoever saw it.
    Ended(ExitStatus),
}

/// The writing half of a control socket; threads share it.
#[derive(Debug)]
pub struct Sender(Mutex<UnixStream>);

impl Sender {
    /// Writes to `stream`.
    pub fn new(stream: UnixStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// Sends one message.
    pub fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }

    /// Begins a new line first: whoever wrote before may have died within one.
    pub(crate) fn send_after_interruption(&self, message: &impl Serialize) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(b"\n")?;
        self.send(message)
    }
}

/// The reading half of a control socket.
#[derive(Debug)]
pub struct Receiver {
    stream: BufReader<UnixStream>,
    /// The message that is being read.
    line: Vec<u8>,
}

impl Receiver {
    /// Reads from `stream`.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream), line: Vec::new() }
    }

    /// Has [`Receiver::receive`] give up with [`io::ErrorKind::WouldBlock`] after this long without
    /// a byte. It may be called again then.
    pub fn set_read_timeout(&self, limit: Option<std::time::Duration>) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(limit)
    }

    /// The next message; `None` at the end of the stream. Lines that hold no such message (cut off
    /// by a death) are skipped.
    pub fn receive<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        loop {
            let room = MAX_MESSAGE_BYTES.saturating_sub(self.line.len() as u64);
            let read = self.stream.by_ref().take(room).read_until(b'\n', &mut self.line);
            match read {
                Ok(0) => return Ok(None),
                // Unread data of ours at the death of the peer resets the connection.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            let line = std::mem::take(&mut self.line);
            if let Ok(message) = serde_json::from_slice(&line) {
                return Ok(Some(message));
            }
        }
    }
}

/// Makes `receiver` the lifeline of this process. When the process at the other side ends, the
/// stream ends, and this process exits at once, whatever it does then; if it is the first of a PID
/// namespace, that ends with it. Until then messages go to `take`, on a thread, until `take`
/// returns `false`.
///
/// Where no thread can be started, `take` is dropped, and only the death of the parent ends this
/// process.
pub fn lifeline<M: DeserializeOwned>(mut receiver: Receiver, mut take: impl FnMut(M) -> bool + Send + 'static) {
    let watch = move || {
        while let Ok(Some(message)) = receiver.receive() {
            if !take(message) {
                return;
            }
        }
        std::process::exit(1);
    };
    let _ = std::thread::Builder::new().name("lifeline".into()).spawn(watch);
}

/// The two halves of a control socket.
pub fn halves(control: UnixStream) -> io::Result<(Receiver, Sender)> {
    Ok((Receiver::new(control.try_clone()?), Sender::new(control)))
}

/// The control socket of this process, if its standard input is one.
pub fn control_of_this_process() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    // An error where it is no socket, as when a person has typed the name of a role.
    rustix::net::sockopt::socket_type(&socket)?;
    Ok(UnixStream::from(socket))
}

/// Waits for the one byte with which the other side lets this process go on.
pub(crate) fn await_go(mut control: &UnixStream) -> io::Result<()> {
    control.read_exact(&mut [0])
}

/// Lets the other side go on.
pub(crate) fn send_go(mut control: &UnixStream) -> io::Result<()> {
    control.write_all(b"\n")
}

/// Reports into a control socket.
struct Remote(std::sync::Arc<Sender>);

impl Reporter for Remote {
    fn report(&self, event: Event) {
        // Without a supervisor there is nobody to tell; the lifeline ends this process.
        let _ = self.0.send(&FromWorker::<()>::Event(event));
    }
}

/// A [`Progress`] that crosses over to the supervisor.
pub(crate) fn remote_progress(sender: std::sync::Arc<Sender>) -> Progress {
    Progress::new(Remote(sender))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_what_a_death_cut_off() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(b"{\"event\":{\"event\":\"st").unwrap();
        Sender::new(theirs).send_after_interruption(&FromWorker::<()>::Ended(ExitStatus::Signaled(9))).unwrap();
        let mut receiver = Receiver::new(ours);
        let message = receiver.receive::<FromWorker<()>>().unwrap();
        assert!(matches!(message, Some(FromWorker::Ended(ExitStatus::Signaled(9)))), "{message:?}");
        assert!(receiver.receive::<FromWorker<()>>().unwrap().is_none());
    }

    #[test]
    fn a_message_may_come_in_parts_with_a_long_wait_between_them() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut receiver = Receiver::new(ours);
        receiver.set_read_timeout(Some(std::time::Duration::from_millis(1))).unwrap();
        (&theirs).write_all(b"[1, ").unwrap();
        assert_eq!(receiver.receive::<Vec<u8>>().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        (&theirs).write_all(b"2]\n").unwrap();
        assert_eq!(receiver.receive::<Vec<u8>>().unwrap(), Some(vec![1, 2]));
    }

    #[test]
    fn outcomes_cross_whole() {
        let outcome = FromWorker::Outcome(Result::<u32, Failure>::Err(Failure::message("no")));
        let text = serde_json::to_string(&outcome).unwrap();
        let back: FromWorker<u32> = serde_json::from_str(&text).unwrap();
        assert!(matches!(back, FromWorker::Outcome(Err(failure)) if failure == Failure::message("no")));
        assert_eq!(ExitStatus::Signaled(9).to_string(), "was killed by signal 9 (out of memory?)");
    }
}
