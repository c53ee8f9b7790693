//! Whose turn it is to keep the disk busy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What writes much and computes little is written one after another. All at once, it would leave the disk no time for
/// what is compressed meanwhile, and the processors would have nothing to do.
#[derive(Debug, Clone, Default)]
pub(super) struct DiskTurn(Arc<Mutex<()>>);

impl DiskTurn {
    /// Waits for the turn, which ends when what is returned is dropped.
    pub(super) fn take(&self) -> MutexGuard<'_, ()> {
        // Whose turn ended in a panic holds up nobody.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
