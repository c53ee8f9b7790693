//! Where the tests take place: a small root with a shell, and the isolation.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fam_build::hints;
use fam_isolation::sandbox::Settings;
use fam_isolation::supervisor::{Error, ExitStatus, Ids, Interrupts, Isolation, run};
use fam_progress::Progress;
use support::bare::copy_with_libraries;
use support::harness::is_root;

use super::{Job, Ran};
use crate::roles::{self, Done};

/// What the tests share: a small root with a shell, and the isolation.
pub struct Place {
    pub directory: tempfile::TempDir,
    pub isolation: Isolation,
    pub interrupts: Interrupts,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("fam-root").tempdir().unwrap();
        let place = Self {
            directory,
            isolation: Isolation::detect().unwrap_or_else(|error| panic!("{error}\nhint: {:?}", hints::hint(&error))),
            interrupts: Interrupts::install().unwrap(),
        };
        assert_eq!(*place.isolation.ids() == Ids::Own, is_root());
        make_root(&place.root());
        place
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub fn scripts(&self, settings: Settings, scripts: &[&str]) -> Result<Ran, Error> {
        let scripts = scripts.iter().map(ToString::to_string).collect();
        self.run(Job::Scripts { root: self.root(), settings, scripts })
    }

    pub fn run(&self, job: Job) -> Result<Ran, Error> {
        self.run_in(&self.isolation, job)
    }

    pub fn run_in(&self, isolation: &Isolation, job: Job) -> Result<Ran, Error> {
        match run(&roles::Job::Sandbox(job), isolation, &Progress::silent(), &self.interrupts)? {
            Done::Sandbox(ran) => Ok(ran),
            other => unreachable!("the answer to another job: {other:?}"),
        }
    }

    /// The lines of a script that must succeed.
    pub fn script(&self, script: &str) -> Vec<String> {
        let ran = self.scripts(Settings::default(), &[script]).unwrap();
        assert_eq!(ran.ended, [ExitStatus::Exited(0)], "{ran:?}");
        ran.lines
    }
}

/// A root with the host's shell and a few programs, and the libraries they need.
fn make_root(root: &Path) {
    for directory in ["usr/bin", "usr/sbin", "proc", "sys", "dev", "run", "tmp", "etc"] {
        fs_err::create_dir_all(root.join(directory)).unwrap();
    }
    for name in ["bin", "sbin"] {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    let programs =
        "sh cat chmod chown env grep id ls ln mkdir mknod mount mv readlink rm sleep stat touch tr umount uname wc";
    for program in programs.split(' ') {
        copy_with_libraries(format!("/bin/{program}").as_ref(), root);
    }
}
