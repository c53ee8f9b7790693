//! The tools that images are examined with, and partitions and file systems as these see them.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Runs a tool, which must succeed, and returns what it printed.
#[track_caller]
pub fn run(program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("run {program}: {error}"));
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program}: {}\n{printed}", output.status);
    printed
}

/// A mounted file system; unmounted at the end whatever happens.
pub struct Mounted(pub TempDir);

impl Mounted {
    #[track_caller]
    pub fn new(image: &Path, kind: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        run("mount", &[&"-t", &kind, &"-o", &"loop,ro", &image, &directory.path()]);
        Self(directory)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}
