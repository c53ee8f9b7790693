//! Starts this program again as the first process of new namespaces, and ends it with everything
//! inside.
//!
//! A process with threads cannot enter a user or mount namespace, and forking one is unsound; so
//! the program executes itself in a hidden role instead. The *launcher*, single-threaded, unshares,
//! waits until its id maps are written, and starts the *first process* inside, whose death ends the
//! whole PID namespace:
//!
//! ```text
//! caller -> launcher (new user, mount, IPC, UTS namespaces) -> first process (PID 1 of the new PID namespace)
//! ```
//!
//! All three share one control socket (see [`super::protocol`]). The caller's death ends the
//! launcher by signal and closes the socket; the launcher's death ends the first process by signal.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitCode, Stdio};

use fam_progress::Hint;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
};
use rustix::thread::UnshareFlags;

use super::diagnose;
use super::idmap::{self, Ids};
use super::protocol::{
    ExitStatus, FromWorker, Launching, Receiver, Sender, await_go, control_of_this_process, send_go,
};
use super::role::Role;
use super::sealed;

/// Why a process could not be started in new namespaces.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel, or what confines this process, forbids it.
    #[error("{step}: {source}{}", diagnosis.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Refused {
        /// What was tried.
        step: String,
        /// The error number.
        source: io::Error,
        /// What was found out about it.
        diagnosis: diagnose::Diagnosis,
    },
    /// There are no ids to map.
    #[error("{0}")]
    Ids(#[from] idmap::Error),
    /// The process could not be started, or died at once.
    #[error("start {role} process: {source}")]
    Start {
        /// Name of the role that it was to have.
        role: &'static str,
        /// What the system said, or how the process ended.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn refused(step: impl Into<String>, errno: i32) -> Self {
        let source = io::Error::from_raw_os_error(errno);
        Self::Refused { step: step.into(), diagnosis: diagnose::diagnose(&source), source }
    }

    pub(crate) fn not_started(role: Role, source: io::Error) -> Self {
        Self::Start { role: role.name(), source }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { diagnosis, .. } => diagnosis.hint.clone(),
            _ => None,
        }
    }
}

/// Something that a process inside tried and could not do, as it crosses to the one outside.
#[derive(Debug)]
pub struct Step {
    /// What it tried.
    pub what: String,
    /// The number of the error.
    pub errno: i32,
}

impl Step {
    /// `what` was tried and ended in `error`.
    pub fn new(what: impl Into<String>, error: rustix::io::Errno) -> Self {
        Self { what: what.into(), errno: error.raw_os_error() }
    }

    /// As [`Step::new`], with an error of the standard library.
    pub fn from_io(what: impl Into<String>, error: &io::Error) -> Self {
        Self { what: what.into(), errno: io_errno(error) }
    }
}

/// A first process with everything in its namespaces.
#[derive(Debug)]
pub struct Launched {
    launcher: Child,
    /// Refers to the first process even after its number has been given to another.
    first: OwnedFd,
    /// The socket that leads to the first process.
    pub control: UnixStream,
}

/// A launcher that has been asked for new namespaces.
struct Launcher {
    /// Until the first process is known, dropping this ends it.
    child: EndOnDrop,
    control: UnixStream,
    receiver: Receiver,
}

/// Starts the launcher of `role`.
fn begin(role: Role, namespaces: UnshareFlags, stdout: Stdio, stderr: Stdio) -> io::Result<Launcher> {
    let (control, theirs) = UnixStream::pair()?;
    let mut launcher = if role == Role::SANDBOX {
        // What the launcher is, its first process is as well: programs of the new system can open
        // that file.
        Role::LAUNCHER.command_of(&sealed::this_program())
    } else {
        Role::LAUNCHER.command()
    };
    let child = launcher
        .args([role.name(), &namespaces.bits().to_string()])
        .stdin(OwnedFd::from(theirs))
        .stdout(stdout)
        .stderr(stderr)
        .spawn()?;
    let receiver = Receiver::new(control.try_clone()?);
    Ok(Launcher { child: EndOnDrop(Some(child)), control, receiver })
}

/// Tries whether this process may make `namespaces`, and a user namespace to own them, whatever ids
/// there are for it.
pub(crate) fn try_namespaces(namespaces: UnshareFlags) -> Result<(), Error> {
    let role = Role::PROBE;
    let begun = begin(role, namespaces | UnshareFlags::NEWUSER, Stdio::null(), Stdio::inherit());
    // The launcher waits for id maps then, and ends when it is dropped here.
    let answer = begun.and_then(|mut launcher| launcher.receiver.receive());
    match answer.map_err(|source| Error::not_started(role, source))? {
        Some(Launching::Refused { step, errno }) => Err(Error::refused(step, errno)),
        Some(_) => Ok(()),
        None => Err(Error::not_started(role, io::Error::other("it died"))),
    }
}

/// Starts `role` in new `namespaces` with the ids of `ids`.
pub(crate) fn launch(role: Role, namespaces: UnshareFlags, ids: &Ids) -> Result<Launched, Error> {
    launch_with(role, namespaces, ids, Stdio::null(), Stdio::inherit())
}

/// As [`launch`], with other outputs than none and this process's standard error.
pub fn launch_with(
    role: Role,
    namespaces: UnshareFlags,
    ids: &Ids,
    stdout: Stdio,
    stderr: Stdio,
) -> Result<Launched, Error> {
    let not_started = |source| Error::not_started(role, source);
    let mut namespaces = namespaces;
    if ids.needs_user_namespace() {
        namespaces |= UnshareFlags::NEWUSER;
    }
    let Launcher { child: mut launcher, control, mut receiver } =
        begin(role, namespaces, stdout, stderr).map_err(not_started)?;
    loop {
        match receiver.receive().map_err(not_started)? {
            Some(Launching::Unshared) => {
                ids.write_maps(launcher.pid())?;
                send_go(&control).map_err(not_started)?;
            }
            Some(Launching::Refused { step, errno }) => return Err(Error::refused(step, errno)),
            Some(Launching::Started { pid }) => {
                let pid = i32::try_from(pid)
                    .ok()
                    .and_then(Pid::from_raw)
                    .ok_or_else(|| not_started(io::ErrorKind::Other.into()))?;
                // Before it goes on: it cannot end until then, so the number is still its own.
                let first = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| not_started(error.into()))?;
                // It waits for this, so nothing of it can be in the receiver's buffer.
                send_go(&control).map_err(not_started)?;
                let Some(launcher) = launcher.0.take() else { return Err(not_started(io::ErrorKind::Other.into())) };
                return Ok(Launched { launcher, first, control });
            }
            None => {
                let status = launcher.wait();
                return Err(not_started(io::Error::other(
                    status.map_or_else(|| "it died".into(), |ended| format!("it {ended}")),
                )));
            }
        }
    }
}

/// Kills and reaps a launcher that came to nothing.
struct EndOnDrop(Option<Child>);

impl EndOnDrop {
    fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        self.0.take().and_then(|mut child| ended(&mut child))
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ended(child: &mut Child) -> Option<ExitStatus> {
    use std::os::unix::process::ExitStatusExt;
    let status = child.wait().ok()?;
    status.code().map(ExitStatus::Exited).or_else(|| status.signal().map(ExitStatus::Signaled))
}

impl Launched {
    /// Kills the first process, and with it everything in its PID namespace.
    pub fn kill(&self) {
        // It may be gone already.
        let _ = pidfd_send_signal(&self.first, Signal::KILL);
    }

    /// The user namespace that everything is in.
    pub(crate) fn user_namespace(&self) -> io::Result<OwnedFd> {
        Ok(fs_err::File::open(format!("/proc/{}/ns/user", self.launcher.id()))?.into_file().into())
    }

    /// Waits until the first process and all others of its PID namespace are gone, and says how the
    /// launcher ended.
    pub fn wait(&mut self) -> Option<ExitStatus> {
        let ended = ended(&mut self.launcher);
        // The launcher waits for the first process unless it was killed itself.
        while let Err(rustix::io::Errno::INTR) = poll(&mut [PollFd::new(&self.first, PollFlags::IN)], None) {}
        ended
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}

/// The launcher's main function. `arguments` are the role to start, one of `roles`, and the
/// namespaces to enter.
pub(crate) fn launcher(arguments: &[OsString], roles: &[Role]) -> ExitCode {
    let Ok(control) = control_of_this_process() else { return super::reject_direct_invocation() };
    let Ok(copy) = control.try_clone() else { return ExitCode::FAILURE };
    let sender = Sender::new(copy);
    match start_inside(arguments, roles, &control, &sender) {
        Ok(ended) => {
            let _ = sender.send_after_interruption(&FromWorker::<()>::Ended(ended));
            ExitCode::SUCCESS
        }
        Err(refused) => {
            let _ = sender.send(&refused);
            ExitCode::FAILURE
        }
    }
}

fn start_inside(
    arguments: &[OsString],
    roles: &[Role],
    control: &UnixStream,
    sender: &Sender,
) -> Result<ExitStatus, Launching> {
    let words: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let (role, namespaces) = match words[..] {
        [name, bits] => (
            roles.iter().copied().find(|role| role.name() == name),
            bits.parse().ok().and_then(UnshareFlags::from_bits),
        ),
        _ => (None, None),
    };
    let (Some(role), Some(namespaces)) = (role, namespaces) else {
        return Err(Launching::refused("read the launcher's arguments", &io::ErrorKind::InvalidInput.into()));
    };
    close_stray_descriptors().map_err(|error| Launching::refused("close stray descriptors", &error))?;
    leave_session_keyring().map_err(|error| Launching::refused("begin a session keyring", &error))?;
    // Out of the terminal's foreground group: its ctrl-C is for the supervisor, and scripts find no
    // terminal to ask.
    let _ = rustix::process::setsid();
    die_with_caller(role)?;
    enter(namespaces)
        .map_err(|error| Launching::refused(format!("create new {} namespaces", names(namespaces)), &error))?;
    // Again: the credentials of a new user namespace have cleared it.
    die_with_caller(role)?;
    sender.send(&Launching::Unshared).map_err(|error| Launching::refused("report to the parent", &error))?;
    await_go(control).map_err(|error| Launching::refused("wait for id maps", &error))?;
    if namespaces.contains(UnshareFlags::NEWUSER) {
        // The user that this process was may have no id inside.
        become_root().map_err(|error| Launching::refused("become root of the user namespace", &error))?;
    }
    if !namespaces.is_empty() && may_set_groups() {
        // The caller's supplementary groups mean nothing inside.
        rustix::thread::set_thread_groups(&[])
            .map_err(|error| Launching::refused("drop supplementary groups", &error.into()))?;
    }
    let first = role.command().spawn().map_err(|error| Launching::refused("start the first process", &error))?;
    let pid = first.id();
    sender.send(&Launching::Started { pid }).map_err(|error| Launching::refused("report to the parent", &error))?;
    loop {
        let waited = rustix::process::wait(WaitOptions::empty())
            .map_err(|error| Launching::refused("wait for the first process", &error.into()))?;
        if let Some((child, status)) = waited
            && u32::try_from(child.as_raw_nonzero().get()) == Ok(pid)
            && let Some(ended) = ExitStatus::from_wait(status)
        {
            return Ok(ended);
        }
    }
}

impl Launching {
    fn refused(step: impl Into<String>, error: &io::Error) -> Self {
        Self::Refused { step: step.into(), errno: io_errno(error) }
    }
}

/// Has the kernel end this process when the thread that started it ends, where `role` wants that.
/// A sandbox or a plugin would be ended by a thread that has done its part: there the socket alone
/// is the lifeline.
fn die_with_caller(role: Role) -> Result<(), Launching> {
    if role.ends_with_thread() {
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| Launching::refused("tie the launcher to its parent", &error.into()))?;
    }
    Ok(())
}

fn become_root() -> io::Result<()> {
    let (user, group) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    // The group first: once the user is another, that may no longer be allowed.
    rustix::thread::set_thread_res_gid(group, group, group)?;
    Ok(rustix::thread::set_thread_res_uid(user, user, user)?)
}

/// Whether this user namespace lets its root set groups; one whose maps were written without
/// privilege does not.
fn may_set_groups() -> bool {
    !fs_err::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"))
}

fn io_errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Keeps what the user's shell left open from the processes to come, lest a maintainer script find
/// the host's files there.
#[allow(unsafe_code)]
fn close_stray_descriptors() -> io::Result<()> {
    for entry in fs_err::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if number > 2 {
            // SAFETY: the descriptor is open, since it is listed and nothing else runs in this
            // process; at worst it is the listing's own.
            let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
            // Closed by the execution of the next role; some of them are this process's own.
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}

/// Joins a session keyring of this process's own, empty, for all that it starts: no namespace
/// covers the caller's, and what runs as the caller's user could read the keys in it
/// (session-keyring(7)).
#[allow(unsafe_code)]
fn leave_session_keyring() -> io::Result<()> {
    /// Of `linux/keyctl.h`.
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_ulong = 1;
    // SAFETY: a null name asks for a keyring without one, and nothing else of this process's memory
    // is read or written.
    let serial =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    if serial != -1 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // A kernel without keyrings, or a container whose filter forbids them to whatever is
        // started from here as well.
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        error => Err(error),
    }
}

/// Enters new namespaces. Only for the single-threaded roles.
#[allow(unsafe_code)]
pub(crate) fn enter(namespaces: UnshareFlags) -> io::Result<()> {
    // SAFETY: CLONE_FILES, which could take descriptors away from other threads, is left out.
    unsafe { rustix::thread::unshare_unsafe(namespaces.difference(UnshareFlags::FILES)) }.map_err(io::Error::from)
}

fn names(namespaces: UnshareFlags) -> String {
    let known = [
        (UnshareFlags::NEWUSER, "user"),
        (UnshareFlags::NEWNS, "mount"),
        (UnshareFlags::NEWPID, "PID"),
        (UnshareFlags::NEWIPC, "IPC"),
        (UnshareFlags::NEWUTS, "UTS"),
        (UnshareFlags::NEWNET, "network"),
    ];
    let names: Vec<_> = known.iter().filter(|(flag, _)| namespaces.contains(*flag)).map(|(_, name)| *name).collect();
    names.join(", ")
}
