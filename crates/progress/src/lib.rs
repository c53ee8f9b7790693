//! What a run says while it works, and how it fails. The library never prints: it reports
//! [`Event`]s to a [`Reporter`], and the command line decides what of them reaches the screen and
//! what only the log.
//!
//! A [`Failure`] is how a run ends that did not succeed; an error that implements [`Hint`] knows
//! what a person can do about it.
//!
//! Both cross the socket between worker and supervisor as JSON lines, so they hold plain data only.

mod failure;
mod hint;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

pub use failure::{Failure, line_and_column, panic_text};
pub use hint::Hint;

/// A part of the work long enough to deserve a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Indexes and packages from the mirror, in bytes.
    Download,
    /// Packages into the staging tree, in bytes of the `.deb` files.
    Unpack,
    /// Maintainer scripts, in packages.
    Configure,
    /// Disk images, in bytes written.
    Images,
}

/// One event of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A step of the build, shown on the screen and in the log.
    Step {
        /// One sentence, present participle, no full stop.
        message: String,
    },
    /// A detail for the log, and for the screen with `--verbose`.
    Detail {
        /// One line of text.
        message: String,
    },
    /// Something the user should know of, which does not stop the build.
    Warning {
        /// What was noticed.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A line that a program inside the new system printed.
    Output {
        /// Which program: a package and script, or a plugin.
        source: String,
        /// The line, without its newline.
        line: String,
    },
    /// A task begins.
    Begin {
        /// The task that begins.
        task: Task,
        /// How much of it there is, in the unit of the task.
        total: u64,
    },
    /// More of a task is done.
    Advance {
        /// The task of which more is done.
        task: Task,
        /// How much is done in all.
        done: u64,
    },
    /// A task began to work on an item.
    At {
        /// The task that works on the item.
        task: Task,
        /// What is being worked on: a package and its script.
        item: String,
    },
    /// A task is over.
    End {
        /// The task that is over.
        task: Task,
    },
}

/// Takes the events of a build, from any thread.
pub trait Reporter: Send + Sync {
    /// Takes one event. Must not block for long and cannot fail: a broken screen stops no build.
    fn report(&self, event: Event);
}

/// The handle through which the library reports; cheap to clone.
#[derive(Clone)]
pub struct Progress(Arc<dyn Reporter>);

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

struct Silent;

impl Reporter for Silent {
    fn report(&self, _: Event) {}
}

impl Progress {
    /// Reports to `reporter`.
    pub fn new(reporter: impl Reporter + 'static) -> Self {
        Self(Arc::new(reporter))
    }

    /// Drops all events.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(Silent)
    }

    /// Passes on an event that came from elsewhere.
    pub fn event(&self, event: Event) {
        self.0.report(event);
    }

    /// Reports a step.
    pub fn step(&self, message: impl Into<String>) {
        self.event(Event::Step { message: message.into() });
    }

    /// Reports a detail.
    pub fn detail(&self, message: impl Into<String>) {
        self.event(Event::Detail { message: message.into() });
    }

    /// Reports a warning with what to do about it.
    pub fn warning(&self, message: impl Into<String>, hint: Option<String>) {
        self.event(Event::Warning { message: message.into(), hint });
    }

    /// Reports a line printed by a program inside the new system.
    pub fn output(&self, source: impl Into<String>, line: impl Into<String>) {
        self.event(Event::Output { source: source.into(), line: line.into() });
    }

    /// Begins a task; it ends when the returned handle is dropped.
    #[must_use]
    pub fn task(&self, task: Task, total: u64) -> TaskHandle {
        self.event(Event::Begin { task, total });
        TaskHandle { progress: self.clone(), task, done: AtomicU64::new(0) }
    }
}

/// A task that has begun, and ends when this is dropped. Threads share it by reference.
#[derive(Debug)]
pub struct TaskHandle {
    progress: Progress,
    task: Task,
    done: AtomicU64,
}

impl TaskHandle {
    /// Says what is being worked on.
    pub fn at(&self, item: impl Into<String>) {
        self.progress.event(Event::At { task: self.task, item: item.into() });
    }

    /// Adds `amount`, in the unit of the task, to what is done.
    pub fn advance(&self, amount: u64) {
        // Nothing but this number depends on it, so the order of other memory need not be kept.
        let done = self.done.fetch_add(amount, Ordering::Relaxed) + amount;
        self.progress.event(Event::Advance { task: self.task, done });
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        self.progress.event(Event::End { task: self.task });
    }
}
