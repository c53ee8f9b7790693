//! The process of a plugin seen from outside: started, spoken to and ended, within a time.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fam_isolation::sandbox::{Tail, read_lines};
use fam_isolation::supervisor::launch::{self, Launched, launch_with};
use fam_isolation::supervisor::protocol::{Receiver, Sender};
use fam_isolation::supervisor::{ExitStatus, Ids};
use fam_plugin::protocol::MAX_LINE_BYTES;
use rustix::thread::{CapabilitySet, UnshareFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::PLUGIN;
use super::init::{self, Guarded, Start};
use crate::hints;

const NAMESPACES: UnshareFlags = UnshareFlags::NEWNS
    .union(UnshareFlags::NEWPID)
    .union(UnshareFlags::NEWIPC)
    .union(UnshareFlags::NEWUTS)
    .union(UnshareFlags::NEWNET);

/// How many of the last lines that a plugin printed go into an error.
const LAST_LINES: usize = 5;

/// What went wrong between this program and a plugin.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot be confined: {0}")]
    Launch(#[from] launch::Error),
    #[error("cannot be started: {step}: {source}")]
    Start { step: String, source: io::Error },
    #[error("could not be talked to: {0}")]
    Io(#[from] io::Error),
    #[error("took longer than {} s and was ended", limit.as_secs_f64())]
    TooSlow { limit: Duration },
    #[error("sent a line of more than {} bytes", MAX_LINE_BYTES)]
    TooLong,
    #[error("{0}")]
    LimitExceeded(String),
    #[error("sent what is no request, {line}: {error}")]
    Malformed { line: String, error: String },
    #[error("{how} before it was done{}", indented(printed))]
    Ended { how: ExitStatus, printed: Vec<String> },
    /// What the plugin itself said.
    #[error("{0}")]
    Plugin(fam_plugin::Error),
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {line}")).collect()
}

impl From<Error> for fam_plugin::Error {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::Plugin(error) => return error.clone(),
            Error::Launch(error) => hints::hint(error),
            Error::Start { step, source } if step == init::START => Some(match source.raw_os_error() {
                Some(libc::ENOEXEC) => "begin a script with a line like #!/bin/sh".into(),
                Some(libc::ENOENT) => "is the interpreter that its first line names installed, and where plugins see it? (docs/plugins.md)".into(),
                _ => "can you execute it yourself?".into(),
            }),
            Error::TooSlow { .. } => Some("if it needs longer, say `time-limit` in its [[plugin]] table".into()),
            Error::TooLong => Some("write a large file in pieces, with append".into()),
            Error::Malformed { .. } => Some(
                "only requests belong on standard output, others on standard error; see docs/plugins/protocol.md".into(),
            ),
            Error::LimitExceeded(_) | Error::Ended { .. } => {
                Some("this is a fault of the plugin: tell its author".into())
            }
            Error::Start { .. } | Error::Io(_) => None,
        };
        Self::Crashed { message: error.to_string(), hint }
    }
}

/// A plugin that runs.
#[derive(Debug)]
pub(super) struct Process {
    launched: Launched,
    control: Receiver,
    lines: Lines,
    printed: Arc<Mutex<Tail>>,
    printer: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a plugin; what it prints to standard error goes to `print`. Everything must be done
    /// within `limit`.
    pub(super) fn start(start: &Start, limit: Duration, print: impl Fn(&str) + Send + 'static) -> Result<Self, Error> {
        let clock = Clock { deadline: Instant::now() + limit, limit };
        // What makes namespaces is root's; anyone may make a user namespace with nothing but
        // himself in it, first.
        let may = rustix::thread::capabilities(None).map_err(io::Error::from)?.effective;
        let ids = if may.contains(CapabilitySet::SYS_ADMIN) { Ids::Own } else { Ids::Single };
        let (ours, theirs) = UnixStream::pair()?;
        let (stderr, their_stderr) = io::pipe()?;
        let launched = launch_with(PLUGIN, NAMESPACES, &ids, OwnedFd::from(theirs).into(), their_stderr.into())?;
        Sender::new(launched.control.try_clone()?).send(start)?;
        let control = Receiver::new(launched.control.try_clone()?);
        let printed = Arc::new(Mutex::new(Tail::default()));
        let last = Arc::clone(&printed);
        // On a thread, from the beginning: else a plugin that prints much would wait for room in
        // the pipe, and this one for its answer.
        let keep = move || {
            let _ = read_lines(stderr, |line| {
                print(&line);
                last.lock().unwrap_or_else(PoisonError::into_inner).push(&line);
            });
        };
        let printer = thread::Builder::new().name("plugin's errors".into()).spawn(keep)?;
        let mut process = Self { launched, control, lines: Lines::new(ours, clock), printed, printer: Some(printer) };
        match process.guarded()? {
            Some(Guarded::Ready) => Ok(process),
            Some(Guarded::Refused { step, errno }) => {
                Err(Error::Start { step, source: io::Error::from_raw_os_error(errno) })
            }
            Some(Guarded::Ended(_)) | None => Err(process.why_it_ended(None)),
        }
    }

    /// How long is left.
    pub(super) fn time_left(&self) -> Result<Duration, Error> {
        self.lines.clock.left()
    }

    /// Sends a line.
    pub(super) fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(message).map_err(io::Error::from)?;
        line.push(b'\n');
        match self.lines.write(&line) {
            // It is gone: what it said before counts, and then how it ended.
            Err(Error::Io(error)) if is_end(&error) => Ok(()),
            written => written,
        }
    }

    /// The next line, read as a message.
    pub(super) fn receive<M: DeserializeOwned>(&mut self) -> Result<M, Error> {
        match self.lines.read() {
            Ok(Some(line)) => serde_json::from_slice(&line)
                .map_err(|error| Error::Malformed { line: excerpt(&line), error: error.to_string() }),
            Ok(None) => Err(self.why_it_ended(None)),
            Err(Error::Io(error)) if is_end(&error) => Err(self.why_it_ended(Some(error))),
            Err(trouble) => Err(trouble),
        }
    }

    fn guarded(&mut self) -> Result<Option<Guarded>, Error> {
        self.launched.control.set_read_timeout(Some(self.lines.clock.left()?))?;
        match self.control.receive() {
            Err(error) if is_timeout(&error) => Err(self.lines.clock.over()),
            received => Ok(received?),
        }
    }

    /// What the end of its output means.
    fn why_it_ended(&mut self, error: Option<io::Error>) -> Error {
        let how = loop {
            match self.guarded() {
                Ok(Some(Guarded::Ended(how))) => break how,
                Ok(Some(Guarded::Refused { step, errno })) => {
                    return Error::Start { step, source: io::Error::from_raw_os_error(errno) };
                }
                Ok(Some(Guarded::Ready)) => {}
                Ok(None) => return error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()).into(),
                Err(trouble) => return trouble,
            }
        };
        // All that held the pipe are gone with it.
        if let Some(printer) = self.printer.take() {
            let _ = printer.join();
        }
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone().into_lines();
        Error::Ended { how, printed: printed[printed.len().saturating_sub(LAST_LINES)..].to_vec() }
    }
}

impl Drop for Process {
    /// Ends it, and waits for the last of what it printed.
    fn drop(&mut self) {
        self.launched.kill();
        self.launched.wait();
        if let Some(printer) = self.printer.take() {
            let _ = printer.join();
        }
    }
}

/// The beginning of a line, for messages.
fn excerpt(line: &[u8]) -> String {
    const SHOWN: usize = 60;
    let text = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned();
    let more = if line.len() > SHOWN { "…" } else { "" };
    format!("{text:?}{more}")
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    deadline: Instant,
    limit: Duration,
}

impl Clock {
    fn left(&self) -> Result<Duration, Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.over()) } else { Ok(left) }
    }

    fn over(&self) -> Error {
        Error::TooSlow { limit: self.limit }
    }
}

/// Lines over a socket, whose other end may be slow, or never end one.
#[derive(Debug)]
struct Lines {
    stream: UnixStream,
    clock: Clock,
    /// Read, and not yet given out.
    buffer: Vec<u8>,
}

impl Lines {
    fn new(stream: UnixStream, clock: Clock) -> Self {
        Self { stream, clock, buffer: Vec::new() }
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, Error> {
        // Where the search for the end goes on, so that a long line is not searched from its
        // beginning with each piece of it.
        let mut searched = 0;
        let mut chunk = [0; 64 << 10];
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + end).collect();
                line.pop();
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if searched > MAX_LINE_BYTES {
                return Err(Error::TooLong);
            }
            self.stream.set_read_timeout(Some(self.clock.left()?))?;
            match self.stream.read(&mut chunk) {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                // A last line without its newline is one, too.
                Ok(0) => return Ok(Some(std::mem::take(&mut self.buffer))),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted || is_timeout(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.clock.left()?))?;
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted || is_timeout(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limit: Duration) -> (Lines, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Lines::new(ours, Clock { deadline: Instant::now() + limit, limit }), theirs)
    }

    #[test]
    fn reads_lines_in_pieces() {
        let (mut lines, mut theirs) = lines(Duration::from_secs(10));
        theirs.write_all(b"one\ntw").unwrap();
        assert_eq!(lines.read().unwrap().unwrap(), b"one");
        theirs.write_all(b"o\n\nthree").unwrap();
        drop(theirs);
        for expected in [&b"two"[..], b"", b"three"] {
            assert_eq!(lines.read().unwrap().unwrap(), expected);
        }
        assert!(lines.read().unwrap().is_none());
    }

    #[test]
    fn waits_neither_for_a_trickle_nor_for_a_reader() {
        let (mut slow, mut theirs) = lines(Duration::from_millis(200));
        thread::spawn(move || {
            while theirs.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        assert!(matches!(slow.read(), Err(Error::TooSlow { .. })));
        let (mut deaf, _theirs) = lines(Duration::from_millis(200));
        assert!(matches!(deaf.write(&vec![0; 16 << 20]), Err(Error::TooSlow { .. })));
    }

    #[test]
    fn takes_no_endless_line() {
        let (mut lines, mut theirs) = lines(Duration::from_secs(60));
        thread::spawn(move || while theirs.write_all(&[b'x'; 1 << 16]).is_ok() {});
        assert!(matches!(lines.read(), Err(Error::TooLong)));
    }
}
