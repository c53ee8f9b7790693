//! What a process of this program is there for, and the command that starts it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// How a hidden role is asked for: the first argument, this and the role's name.
pub(crate) const ROLE_PREFIX: &str = "--fam-build-role=";

/// The variables that the processes of a build inherit. `HOME` tells which directory is kept from
/// plugins in files.
const INHERITED: &[&str] =
    &["HOME", "PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "RUST_BACKTRACE", "SSL_CERT_DIR", "SSL_CERT_FILE"];

/// Those that the processes of a sandbox inherit, whose environment programs of the new system can
/// read.
const INHERITED_INSIDE: &[&str] = &["LD_LIBRARY_PATH", "RUST_BACKTRACE"];

/// What a process of this program is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    name: &'static str,
    inherited: &'static [&'static str],
    /// Whether its launcher may live on when the thread that started it has ended: then the socket
    /// alone is the lifeline.
    outlives_thread: bool,
}

/// The main function of a role, with the arguments after the role's own.
pub type RoleMain = fn(&[OsString]) -> ExitCode;

impl Role {
    /// A role by its name, a word without blanks. It ends with the thread that started it.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, inherited: INHERITED, outlives_thread: false }
    }

    /// Lets a process of this role live on when the thread that started it has ended. It ends when
    /// the other side of its control socket is closed.
    #[must_use]
    pub const fn outlives_thread(self) -> Self {
        Self { outlives_thread: true, ..self }
    }

    /// A role whose environment programs of the new system can read.
    const fn inside(self) -> Self {
        Self { inherited: INHERITED_INSIDE, ..self }
    }

    /// Enters namespaces and starts another role there.
    pub(crate) const LAUNCHER: Self = Self::new("launcher");
    /// The first process around a worker.
    pub(crate) const INIT: Self = Self::new("init");
    /// Does a build.
    pub(crate) const WORKER: Self = Self::new("worker");
    /// Tries what a build needs.
    pub(crate) const PROBE: Self = Self::new("probe");
    /// Removes a tree of files with subordinate owners.
    pub(crate) const REMOVE: Self = Self::new("remove");
    /// The first process around programs of the new system.
    pub(crate) const SANDBOX: Self = Self::new("sandbox").inside().outlives_thread();
    /// Runs programs of the new system.
    pub(crate) const RUNNER: Self = Self::new("runner").inside();

    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    pub(crate) fn ends_with_thread(self) -> bool {
        !self.outlives_thread
    }

    /// The command that runs this program in this role. Of the environment it inherits only what
    /// libraries read: all else is in the messages, and a variable as MIRROR may hold a password,
    /// which a plugin could read of the process around it.
    #[must_use]
    pub fn command(self) -> Command {
        // Not current_exe(): the name may be gone (replaced while this runs) or hidden by a mount;
        // the link never is.
        self.command_of("/proc/self/exe".as_ref())
    }

    /// As [`Role::command`], with the program at `path`.
    pub(crate) fn command_of(self, path: &Path) -> Command {
        let mut command = Command::new(path);
        command.arg0("fam-build").arg(format!("{ROLE_PREFIX}{}", self.name));
        command
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| self.inherited.iter().any(|kept| name == kept)));
        command
    }
}
