//! Threads that write what is in buffers.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use fam_host::parallel::spawn;
use fs_err::File;

use super::buffers::Lent;

/// Files that are written to at the same time: a disk is faster with several requests at once.
const FILES_AT_ONCE: usize = 4;

/// Threads that write, each to files of its own, so that a file gets everything in its order.
#[derive(Debug, Default)]
pub(super) struct Writers<'scope>(Vec<Writer<'scope>>);

#[derive(Debug)]
struct Writer<'scope> {
    to_write: Sender<Arc<Lent>>,
    thread: ScopedJoinHandle<'scope, io::Result<()>>,
}

impl<'scope> Writers<'scope> {
    /// Starts threads for these files.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        files: &[&'env File],
        past_cache: bool,
    ) -> io::Result<Self> {
        let writers = (0..files.len().min(FILES_AT_ONCE)).map(|first| {
            let own: Vec<&File> = files.iter().skip(first).step_by(FILES_AT_ONCE).copied().collect();
            let (to_write, lent) = channel::<Arc<Lent>>();
            let write = move || {
                lent.iter()
                    .try_for_each(|lent| own.iter().try_for_each(|file| lent.filled().write_to(file, past_cache)))
            };
            Ok(Writer { to_write, thread: spawn(scope, write)? })
        });
        writers.collect::<io::Result<_>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Has `lent` written to all files after what was sent before. An error may be that of something before.
    pub(super) fn send(&mut self, lent: Lent) -> io::Result<()> {
        let lent = Arc::new(lent);
        // One that has failed takes nothing any more, and says why when it is asked.
        let all_take = self.0.iter().all(|writer| writer.to_write.send(Arc::clone(&lent)).is_ok());
        if all_take { Ok(()) } else { self.finish() }
    }

    /// Waits until everything is written; there are no threads then.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let results = self.join().into_iter().map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)));
        results.fold(Ok(()), io::Result::and)
    }

    fn join(&mut self) -> Vec<thread::Result<io::Result<()>>> {
        let (queues, threads): (Vec<_>, Vec<_>) =
            self.0.drain(..).map(|Writer { to_write, thread }| (to_write, thread)).unzip();
        drop(queues);
        threads.into_iter().map(ScopedJoinHandle::join).collect()
    }
}

impl Drop for Writers<'_> {
    fn drop(&mut self) {
        // Threads are left only where another error is being returned.
        drop(self.join());
    }
}
