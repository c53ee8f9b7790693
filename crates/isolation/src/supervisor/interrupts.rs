//! The signals that ask a build to stop: SIGINT, SIGTERM, SIGHUP.

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// What a signal does.
#[derive(Default)]
enum Mode {
    /// What it would do without us.
    #[default]
    Default,
    /// Tells whoever runs a worker.
    Tell(Box<dyn Fn(i32) + Send>),
    /// Is only noted: work goes on that must not be cut off, and that is short.
    Shielded,
}

#[derive(Default)]
struct State {
    mode: Mode,
    received: Option<i32>,
}

/// Takes the signals of this process from when it is made. Between workers they end the process as
/// ever; while a worker runs, the worker and all its processes are ended first; while a
/// [`SignalGuard`] is held they are noted.
pub struct Interrupts {
    state: Arc<Mutex<State>>,
    handle: Handle,
}

impl std::fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupts").field("received", &self.received()).finish_non_exhaustive()
    }
}

/// While it lives, signals are noted and do nothing else.
#[must_use = "signals are held back only while it lives"]
pub struct SignalGuard<'a> {
    interrupts: &'a Interrupts,
    before: Mode,
}

impl Interrupts {
    /// Begins to take signals. A SIGHUP that is ignored (`nohup`) stays ignored.
    ///
    /// # Errors
    /// The kernel refused a handler or a thread.
    pub fn install() -> io::Result<Self> {
        let mut wanted = vec![SIGINT, SIGTERM];
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        let mut signals = Signals::new(wanted)?;
        let handle = signals.handle();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                let mut state = lock(&shared);
                state.received.get_or_insert(signal);
                match &state.mode {
                    Mode::Default => {
                        // The handler has taken the signal, so what it does without one has to be
                        // done here.
                        let _ = signal_hook::low_level::emulate_default_handler(signal);
                    }
                    Mode::Tell(tell) => tell(signal),
                    Mode::Shielded => {}
                }
            }
        })?;
        Ok(Self { state, handle })
    }

    /// The first signal received so far.
    #[must_use]
    pub fn received(&self) -> Option<i32> {
        lock(&self.state).received
    }

    /// Holds signals back for work that must not be cut off, such as cleaning up.
    pub fn shield(&self) -> SignalGuard<'_> {
        let before = std::mem::replace(&mut lock(&self.state).mode, Mode::Shielded);
        SignalGuard { interrupts: self, before }
    }

    /// As [`Interrupts::shield`], and passes each signal to `note`; one that came before, at once.
    pub(crate) fn forward_to<M: Send + 'static>(&self, to: Sender<M>, note: fn(i32) -> M) -> SignalGuard<'_> {
        let mut state = lock(&self.state);
        if let Some(signal) = state.received {
            let _ = to.send(note(signal));
        }
        let tell = Mode::Tell(Box::new(move |signal| {
            let _ = to.send(note(signal));
        }));
        let before = std::mem::replace(&mut state.mode, tell);
        drop(state);
        SignalGuard { interrupts: self, before }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl Drop for SignalGuard<'_> {
    fn drop(&mut self) {
        lock(&self.interrupts.state).mode = std::mem::take(&mut self.before);
    }
}

impl std::fmt::Debug for SignalGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignalGuard")
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_ignored(signal: i32) -> bool {
    fs_err::read_to_string("/proc/self/status").is_ok_and(|status| ignored_in(&status, signal))
}

fn ignored_in(status: &str, signal: i32) -> bool {
    status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_nohup_did() {
        assert!(ignored_in("SigBlk:\t0\nSigIgn:\t0000000000001001\n", SIGHUP));
        assert!(!ignored_in("SigIgn:\t0000000000001000\n", SIGHUP));
        assert!(!ignored_in("", SIGHUP));
    }
}
