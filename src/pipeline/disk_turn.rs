//! Whose turn it is to keep the disk busy.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Large files that take no computing are written one after another. Written at once, they would keep the disk from the
/// images that are being compressed, and the processors would wait.
#[derive(Debug, Clone, Default)]
pub(super) struct DiskTurn(Arc<Mutex<()>>);

impl DiskTurn {
    /// Waits for the turn, which ends when what is returned is dropped.
    pub(super) fn take(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data, so a panic during a turn left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
