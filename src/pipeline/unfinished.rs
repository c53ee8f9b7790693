//! A large artifact that becomes durable while the build goes on.

use std::io;
use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};

use fam_isolation::supervisor::Artifact;

use super::Error;

/// An artifact with all its bytes, which are on their way to the disk. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Unfinished {
    artifact: Artifact,
    /// Sends them there; `None` if the host allows no more threads.
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl Unfinished {
    /// Begins to send the bytes to the disk.
    ///
    /// # Errors
    /// When the process has too many files open.
    pub(super) fn new(artifact: Artifact) -> io::Result<Self> {
        let file = artifact.file().try_clone()?;
        let syncing = thread::Builder::new().spawn(move || file.sync_all()).ok();
        Ok(Self { artifact, syncing })
    }

    /// Waits until the bytes are durable, and gives them their name.
    ///
    /// # Errors
    /// When the system fails to do so; the artifact is removed then.
    pub(super) fn finish(self) -> Result<(), Error> {
        if let Some(syncing) = self.syncing {
            // The system says only once what could not be written.
            syncing.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        self.artifact.finish()?;
        Ok(())
    }
}
