//! What is made once and used by many tests, each of which is a process of its own.

use std::path::{Path, PathBuf};

use fs_err::File;
use rustix::fs::{FlockOperation, flock};

use crate::scratch;

/// Holds others off as long as it lives; the kernel lets go when the process ends.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "it is what holds the lock")] File);

/// Waits until no other test has the turn of this name.
#[must_use]
pub fn take_turn(name: &str) -> Turn {
    let file = File::create(scratch().join(format!("{name}.turn"))).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    Turn(file)
}

/// A directory in [`scratch`] that `make` fills, once: the first test that asks makes it, and
/// others wait for that. Where `make` panics, the next one that asks begins anew. The content is
/// read, not changed.
pub fn shared(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let directory = scratch().join(name);
    let complete = scratch().join(format!("{name}.complete"));
    // Looked at first without a lock, which only the user of the scratch directory may take.
    if complete.exists() {
        return directory;
    }
    let _turn = take_turn(name);
    if !complete.exists() {
        let _ = fs_err::remove_dir_all(&directory);
        fs_err::create_dir(&directory).unwrap();
        crate::allow_everyone_through(&directory);
        make(&directory);
        fs_err::write(&complete, "").unwrap();
    }
    directory
}
