//! The first process of a sandbox. It starts the [runner](super::runner), and then does nothing but
//! wait for its end, which is the end of the sandbox.
//!
//! Programs recognize a chroot by comparing their root with that of process 1 (ischroot(1),
//! systemctl(1)). So this process stays above: its root is an empty directory with the tree in it.
//! For that comparison it must let itself be looked at by /proc, which shows the program that it
//! executes, its environment, its memory and its descriptors. It has nothing there: the control
//! socket is the runner's.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitCode};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::CapabilitySet;

use super::runner::{keep_capabilities, leave_terminal};
use crate::supervisor::Role;
use crate::supervisor::init::{begin_first_process, reap_until};
use crate::supervisor::launch::Step;
use crate::supervisor::protocol::Sender;
use crate::supervisor::sealed;

/// The role's main function.
pub(crate) fn sandbox_init() -> ExitCode {
    let control = match begin_first_process() {
        Ok(control) => control,
        Err(code) => return code,
    };
    let Ok(copy) = control.try_clone() else { return ExitCode::FAILURE };
    let (runner, not_ready) = match start_runner(control) {
        Ok(started) => started,
        Err(step) => {
            let _ = Sender::new(copy).send(&step.answer());
            return ExitCode::FAILURE;
        }
    };
    if give_up_everything(copy).is_err() {
        return ExitCode::FAILURE;
    }
    // Not before: programs that the runner starts can look at this process from then on.
    drop(not_ready);
    let _ = reap_until(runner.id());
    ExitCode::SUCCESS
}

/// Starts the runner, which waits until the other end of the pipe is closed.
fn start_runner(control: UnixStream) -> Result<(Child, io::PipeWriter), Step> {
    // Where the runner changes the root, the kernel takes along only who is at the old one.
    rustix::process::chdir("/").map_err(|error| Step::new("go to the root directory", error))?;
    let start = || {
        let (ready, not_ready) = io::pipe()?;
        let runner = Role::RUNNER.command().stdin(OwnedFd::from(control)).stderr(ready).spawn()?;
        Ok((runner, not_ready))
    };
    start().map_err(|error: io::Error| Step::from_io("start the process that runs programs", &error))
}

/// Gives up all that programs should not find here.
fn give_up_everything(control: UnixStream) -> io::Result<()> {
    drop(control);
    leave_terminal()?;
    // Looking at a process takes all capabilities that it has.
    keep_capabilities(CapabilitySet::empty())?;
    let behavior = match sealed::is_this_process() {
        true => DumpableBehavior::Dumpable,
        // Programs will not know that they are in a chroot; at least they do not get at the program
        // itself.
        false => DumpableBehavior::NotDumpable,
    };
    Ok(set_dumpable_behavior(behavior)?)
}
