//! File systems that a test mounts.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::succeed;

/// A mounted file system, unmounted in the end.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// A file system in memory, with options as `size=64M`.
    #[track_caller]
    pub fn in_memory(at: &Path, options: &str) -> Self {
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", options, "fam-build-test"]).arg(at));
        Self(at.to_owned())
    }

    /// The file system in the file `image`.
    #[track_caller]
    pub fn image(image: &Path, at: &Path) -> Self {
        succeed(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at));
        Self(at.to_owned())
    }

    /// Changes it by options as `ro`.
    #[track_caller]
    pub fn remount(&self, options: &str) {
        succeed(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0));
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
