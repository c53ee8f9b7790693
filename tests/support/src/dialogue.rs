//! A program at the other end of a terminal: what it prints is read as it comes, and lines are
//! typed to it.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A running program. Dropping it ends the program.
#[derive(Debug)]
pub struct Dialogue {
    name: String,
    child: Child,
    input: ChildStdin,
    printed: Arc<(Mutex<Printed>, Condvar)>,
    /// How much of what was printed was waited for.
    read: usize,
}

#[derive(Debug, Default)]
struct Printed {
    bytes: Vec<u8>,
    /// Whether there will be no more.
    ended: bool,
}

impl Dialogue {
    /// Starts the program; what it prints is read from the first byte on. `name` is for messages.
    pub fn start(name: String, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let printed: Arc<(Mutex<Printed>, Condvar)> = Arc::default();
        let mut output = child.stdout.take().unwrap();
        let sink = Arc::clone(&printed);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut chunk) {
                sink.0.lock().unwrap().bytes.extend_from_slice(&chunk[..n]);
                sink.1.notify_all();
            }
            sink.0.lock().unwrap().ended = true;
            sink.1.notify_all();
        });
        let input = child.stdin.take().unwrap();
        Self { name, child, input, printed, read: 0 }
    }

    /// Waits until `pattern` appears after what was read so far; gives back what came before it.
    #[track_caller]
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration) -> String {
        self.wait_for_any(&[pattern], timeout).1
    }

    /// Waits until one of `patterns` appears after what was read so far; returns which, and what
    /// came before it.
    #[track_caller]
    pub fn wait_for_any(&mut self, patterns: &[&str], timeout: Duration) -> (usize, String) {
        let deadline = Instant::now() + timeout;
        let mut printed = self.printed.0.lock().unwrap();
        loop {
            let new = &printed.bytes[self.read..];
            let find = |pattern: &str| new.windows(pattern.len()).position(|window| window == pattern.as_bytes());
            let found = patterns.iter().enumerate().filter_map(|(which, pattern)| Some((find(pattern)?, which))).min();
            if let Some((at, which)) = found {
                let before = String::from_utf8_lossy(&new[..at]).into_owned();
                self.read += at + patterns[which].len();
                return (which, before);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || printed.ended {
                let tail = &printed.bytes[printed.bytes.len().saturating_sub(3000)..];
                let until = if printed.ended { "until its end".into() } else { format!("within {timeout:?}") };
                let tail = String::from_utf8_lossy(tail);
                panic!("{}: none of {patterns:?} {until}; the last it printed:\n{tail}", self.name);
            }
            printed = self.printed.1.wait_timeout(printed, left).unwrap().0;
        }
    }

    /// Types a line and the key that ends it.
    pub fn type_line(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).unwrap();
        self.input.write_all(b"\n").unwrap();
        self.input.flush().unwrap();
    }

    /// Waits until the program ends by itself.
    #[track_caller]
    pub fn wait_for_end(mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "{}: still runs after {timeout:?}", self.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
