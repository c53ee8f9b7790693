//! A place where tests make plugins and build with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{SMALL_SYSTEM, directory_of, mirror, program, succeed};

/// A directory for plugins, recipes and builds, which everyone may pass through.
#[derive(Debug)]
pub struct Workshop(tempfile::TempDir);

impl Workshop {
    /// An empty one. It goes when this is dropped.
    pub fn new() -> Self {
        let directory = directory_of("root");
        crate::allow_everyone_through(directory.path());
        Self(directory)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A directory in it, which everyone may write to.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs_err::create_dir_all(&path).unwrap();
        fs_err::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        path
    }

    /// `fam-build` with this output directory, a cache in the workshop, the machine's mirror, and
    /// nothing of the caller's environment but what finds programs.
    pub fn fam_build(&self, output: &Path) -> Command {
        let mut command = Command::new(program());
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("MIRROR", mirror()).env("TMPDIR", output);
        command.env("XDG_CACHE_HOME", self.path().join("cache")).env("XDG_DATA_HOME", self.path().join("data"));
        command
    }

    /// A recipe of the small real system with these plugins, and what they make use of.
    pub fn recipe(&self, name: &str, plugins: &str) -> PathBuf {
        let path = self.path().join(format!("{name}.toml"));
        let include = "include = [\"openssh-server\", \"passwd\", \"tzdata\"]\n";
        fs_err::write(&path, format!("{include}{SMALL_SYSTEM}{plugins}")).unwrap();
        path
    }

    /// A root tarball with a few directories: images of it take no time and no network.
    pub fn tarball(&self) -> PathBuf {
        let (root, tarball) = (self.path().join("root"), self.path().join("root.tar"));
        for name in ["etc", "usr/bin", "var"] {
            fs_err::create_dir_all(root.join(name)).unwrap();
        }
        fs_err::write(root.join("etc/motd"), "").unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "--owner=0", "--group=0", "-cf"]).arg(&tarball).arg("-C").arg(root).arg(".");
        succeed(&mut tar);
        tarball
    }
}

impl Default for Workshop {
    fn default() -> Self {
        Self::new()
    }
}
