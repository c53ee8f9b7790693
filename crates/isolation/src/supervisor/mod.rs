//! The processes of a build. The supervisor owns the terminal, the signals, the output directory's
//! lock and the clean-up; the worker is this program again, inside new user, mount, PID, IPC and
//! UTS namespaces, and does all the work. Whatever happens to either, no process and no mount of a
//! build outlives them.
//!
//! `main` calls [`enter_role`] before anything else, since every process of a build begins there.

mod artifact;
mod diagnose;
pub mod idmap;
pub mod init;
mod interrupts;
mod isolation;
pub mod launch;
pub mod limits;
pub mod output;
mod protections;
pub mod protocol;
pub(crate) mod role;
pub(crate) mod sealed;
mod worker;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use fam_progress::Progress;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sandbox::{runner, sandbox_init};

pub use artifact::Artifact;
pub use diagnose::Diagnosis;
pub(crate) use idmap::parse_map;
pub use idmap::{Extent, Ids, Kind as IdKind};
pub use interrupts::{Interrupts, SignalGuard};
pub use isolation::Isolation;
pub use output::{OutputDir, OutputLock, check_output, nearest_writable};
pub use protections::{Inactive, Protection, programs_ids};
pub use protocol::{ExitStatus, Failure};
pub use role::{Role, RoleMain};
pub(crate) use worker::OUT_OF_MEMORY_HINT;
pub use worker::{Error, run};

/// Does what the process was started for, if this program started it; `None` if a person did. A
/// worker decodes its job and does `work` with it; the result crosses back to [`run`]. `roles` are
/// those that the program has beside the ones of this crate.
pub fn enter_role<J, T>(
    work: impl FnOnce(J, Progress) -> Result<T, Failure>,
    roles: &[(Role, RoleMain)],
) -> Option<ExitCode>
where
    J: DeserializeOwned,
    T: Serialize,
{
    // Without a handler, a process that writes beyond `ulimit -f` is killed, and cannot say why;
    // with one, the write fails. Programs that are executed have none.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, Arc::default());
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next()?;
    let name = first.to_str()?.strip_prefix(role::ROLE_PREFIX)?;
    let arguments: Vec<OsString> = arguments.collect();
    let own: [(Role, RoleMain); 5] = [
        (Role::INIT, |_| init::init()),
        (Role::PROBE, |_| isolation::probe()),
        (Role::REMOVE, |_| output::remove()),
        (Role::SANDBOX, |_| sandbox_init()),
        (Role::RUNNER, |_| runner()),
    ];
    let mut all = own.iter().chain(roles);
    if name == Role::LAUNCHER.name() {
        let roles: Vec<Role> = all.map(|(role, _)| *role).collect();
        return Some(launch::launcher(&arguments, &roles));
    }
    if name == Role::WORKER.name() {
        return Some(worker::worker(work));
    }
    all.find(|(role, _)| role.name() == name).map(|(_, main)| main(&arguments))
}

/// Someone typed a role's name by hand.
#[allow(clippy::print_stderr)]
pub fn reject_direct_invocation() -> ExitCode {
    eprintln!("fam-build: this argument is for fam-build's own use");
    ExitCode::from(2)
}
