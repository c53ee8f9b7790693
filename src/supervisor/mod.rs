//! The processes of a build. The supervisor owns the terminal, the signals, the output directory's
//! lock and the clean-up; the worker is this program again, inside new user, mount, PID, IPC and
//! UTS namespaces, and does all the work. Whatever happens to either, no process and no mount of a
//! build outlives them.
//!
//! `main` calls [`enter_role`] before anything else, since every process of a build begins there.

mod artifact;
mod diagnose;
mod idmap;
pub(crate) mod init;
mod interrupts;
mod isolation;
pub(crate) mod launch;
pub(crate) mod limits;
mod output;
mod protections;
pub(crate) mod protocol;
pub(crate) mod sealed;
mod space;
mod worker;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::progress::Progress;

pub use artifact::Artifact;
pub use diagnose::Diagnosis;
pub(crate) use idmap::parse_map;
pub use idmap::{Error as IdError, Extent, Ids, Kind as IdKind};
pub use interrupts::{Interrupts, SignalGuard};
pub use isolation::Isolation;
pub use launch::Error as LaunchError;
pub use output::{Error as OutputError, OutputDir, OutputLock, check_output, nearest_writable};
pub use protections::{Inactive, Protection, programs_ids};
pub use protocol::{Ended, Failure};
pub use space::{Error as SpaceError, available_memory, free_space, require_space};
pub(crate) use worker::OUT_OF_MEMORY_HINT;
pub use worker::{Error, run};

/// Does what the process was started for, if this program started it; `None` if a person did. A
/// worker decodes its job and does `work` with it; the result crosses back to [`run`].
pub fn enter_role<J, T>(work: impl FnOnce(J, Progress) -> Result<T, Failure>) -> Option<ExitCode>
where
    J: DeserializeOwned,
    T: Serialize,
{
    // Without a handler, a process that writes beyond `ulimit -f` is killed, and cannot say why; with one,
    // the write fails. Programs that are executed have none.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, Arc::default());
    let mut arguments = std::env::args_os().skip(1);
    let role = launch::Role::from_argument(&arguments.next()?.to_string_lossy())?;
    let arguments: Vec<OsString> = arguments.collect();
    Some(match role {
        launch::Role::Launcher => launch::launcher(&arguments),
        launch::Role::Init => init::init(),
        launch::Role::Worker => worker::worker(work),
        launch::Role::Probe => isolation::probe(),
        launch::Role::Remove => output::remove(),
        launch::Role::Sandbox => crate::rootfs::sandbox::sandbox_init(),
        launch::Role::Runner => crate::rootfs::sandbox::runner(),
        launch::Role::Plugin => crate::plugins::plugin_init(),
        launch::Role::Library => crate::plugins::plugin_library(&arguments),
    })
}

/// Someone typed a role's name by hand.
#[allow(clippy::print_stderr)]
pub(crate) fn reject_direct_invocation() -> ExitCode {
    eprintln!("fam-build: this argument is for fam-build's own use");
    ExitCode::from(2)
}
