//! A large artifact that becomes durable while the build goes on.

use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};

use fam_isolation::supervisor::Artifact;
use fs_err::File;

use super::Error;
use super::disk_turn::DiskTurn;
use super::file_state::Watched;

/// An artifact whose bytes are on their way to the disk. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Unfinished {
    artifact: Artifact,
    disk_turn: DiskTurn,
    writing: JoinHandle<Result<Watched, Error>>,
}

impl Unfinished {
    /// Has a thread write the bytes of the artifact by `write`, and send them to the disk.
    ///
    /// # Errors
    /// When the process has too many files open, or the host allows no more threads.
    pub(super) fn new(
        artifact: Artifact,
        write: impl FnOnce(&File) -> Result<(), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let file = artifact.file().try_clone()?;
        let disk_turn = DiskTurn::default();
        let turn = disk_turn.clone();
        let writing = thread::Builder::new().spawn(move || {
            let _turn = turn.take();
            write(&file)?;
            file.sync_all()?;
            Ok(Watched::new(file)?)
        })?;
        Ok(Self { artifact, disk_turn, writing })
    }

    /// The turn that its thread takes, and has until the bytes are durable.
    pub(super) fn disk_turn(&self) -> &DiskTurn {
        &self.disk_turn
    }

    /// Waits until the bytes are durable, and gives them their name. Returns the file.
    ///
    /// # Errors
    /// When the system fails to do so; the artifact is removed then.
    pub(super) fn finish(self) -> Result<Watched, Error> {
        // The system says only once what could not be written.
        let mut file = self.writing.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        self.artifact.finish()?;
        file.was_renamed();
        Ok(file)
    }
}
