//! The first process around a worker: it makes the mount namespace private, mounts /proc of the PID
//! namespace, starts the worker, and reaps every process whose parent died. Its end is the end of
//! all of them.

use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Signal, WaitOptions, getpid, set_parent_process_death_signal};

use super::protocol::{ExitStatus, Failure, FromWorker, Sender, await_go, control_of_this_process};
use super::reject_direct_invocation;
use super::role::Role;

/// The role's main function.
pub(crate) fn init() -> ExitCode {
    // The parent has told the supervisor who this is, when this goes on.
    let control = match begin_role() {
        Ok(control) => control,
        Err(code) => return code,
    };
    let sender = Sender::new(control);
    let worker = prepare().and_then(|()| {
        Role::WORKER.command().spawn().map_err(|error| Failure::message(format!("start the worker: {error}")))
    });
    match worker {
        Ok(worker) => {
            let ended = reap_until(worker.id()).unwrap_or(ExitStatus::Exited(1));
            let _ = sender.send_after_interruption(&FromWorker::<()>::Ended(ended));
        }
        Err(failure) => {
            let _ = sender.send(&FromWorker::<()>::Outcome(Err(failure)));
        }
    }
    ExitCode::SUCCESS
}

/// What a hidden role begins with: it ends with its parent, and waits until its ids are mapped and
/// it may go on. Gives back the channel to its parent.
///
/// # Errors
/// The exit code of a process that was not started for this, or whose parent is gone.
pub(super) fn begin_role() -> Result<UnixStream, ExitCode> {
    let control = control_of_this_process().map_err(|_| reject_direct_invocation())?;
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    await_go(&control).map_err(|_| ExitCode::FAILURE)?;
    Ok(control)
}

/// As [`begin_role`], for what must be the first process of its namespaces.
///
/// # Errors
/// As [`begin_role`].
pub fn begin_first_process() -> Result<UnixStream, ExitCode> {
    // Killing and mounting are only for one's own namespaces.
    if !is_first_of_namespace() {
        return Err(reject_direct_invocation());
    }
    begin_role()
}

/// Whether this process is the first of a PID namespace; not so where a build runs without
/// namespaces.
fn is_first_of_namespace() -> bool {
    getpid() == Pid::INIT
}

fn prepare() -> Result<(), Failure> {
    if !is_first_of_namespace() {
        return Ok(());
    }
    make_mounts_private()
        .and_then(|()| mount_proc())
        .map_err(|(step, error)| Failure::message(format!("{step}: {error}")))
}

/// Cuts the mount namespace off from the host's: nothing mounted here shows there, nor the other
/// way.
pub fn make_mounts_private() -> Result<(), (&'static str, io::Error)> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| ("make the mounts private", error.into()))
}

/// Mounts /proc of this PID namespace over the host's.
pub(crate) fn mount_proc() -> Result<(), (&'static str, io::Error)> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).map_err(|error| ("mount /proc of a new PID namespace", error.into()))
}

/// Reaps children until the one numbered `pid` has ended, and says how.
pub fn reap_until(pid: u32) -> io::Result<ExitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((child, status))) if u32::try_from(child.as_raw_nonzero().get()) == Ok(pid) => {
                if let Some(ended) = ExitStatus::from_wait(status) {
                    return Ok(ended);
                }
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
