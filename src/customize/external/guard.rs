//! The first process around a plugin. It lives in namespaces of its own: no network, no process but the plugin's, and every
//! file system of the host read-only. It starts the plugin, without privileges, and tells how it ended; its own end, which
//! is also that of the caller, is the end of every process that the plugin left.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use rustix::mount::{MountAttrFlags, MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, set_no_new_privs};
use serde::{Deserialize, Serialize};

use super::Form;
use crate::rootfs::sandbox::keep_capabilities;
use crate::supervisor::Ended;
use crate::supervisor::init::{begin_first_process, make_mounts_private, mount_proc, reap_until};
use crate::supervisor::launch::{Role, Step};
use crate::supervisor::protocol::Receiver;

/// What to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) file: Vec<u8>,
    pub(super) form: Form,
    pub(super) environment: Vec<(String, String)>,
}

/// What the guard says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Guarded {
    /// The plugin runs.
    Ready,
    /// It does not.
    Refused { step: String, errno: i32 },
    /// It did, and does no more.
    Ended(Ended),
}

/// The step at which the plugin itself is started.
pub(super) const START: &str = "execute it";

/// The one file system that a plugin may write to, for temporary files; it is gone with the plugin.
const TEMPORARY: &str = "/dev/shm";

/// The role's main function.
pub(crate) fn guard() -> ExitCode {
    let (mut receiver, sender) = match begin_first_process() {
        Ok(ends) => ends,
        Err(code) => return code,
    };
    let Ok(Some(start)) = receiver.receive::<Start>() else { return ExitCode::FAILURE };
    let plugin = confine().and_then(|()| spawn(start));
    let answer = match plugin {
        Ok(pid) => {
            end_with_the_caller(receiver);
            match sender.send(&Guarded::Ready).and_then(|()| reap_until(pid)) {
                Ok(ended) => Guarded::Ended(ended),
                Err(_) => return ExitCode::FAILURE,
            }
        }
        Err(Step { what, errno }) => Guarded::Refused { step: what, errno },
    };
    let _ = sender.send(&answer);
    ExitCode::SUCCESS
}

fn confine() -> Result<(), Step> {
    make_mounts_private().map_err(|(what, error)| Step::from_io(what, &error))?;
    make_read_only().map_err(|error| Step::from_io("make the file systems read-only", &error))?;
    mount_proc().map_err(|(what, error)| Step::from_io(what, &error))?;
    if Path::new(TEMPORARY).is_dir() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", TEMPORARY, "tmpfs", flags, Some(c"mode=1777,size=64m"))
            .map_err(|error| Step::new("mount a tmpfs", error))?;
    }
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|error| Step::new("forbid core dumps", error))?;
    let some = Rlimit { current: Some(1024), maximum: Some(1024) };
    setrlimit(Resource::Nofile, some).map_err(|error| Step::new("limit open files", error))?;
    set_no_new_privs(true).map_err(|error| Step::new("forbid new privileges", error))?;
    // Root may have put the plugin where only root reads it.
    keep_capabilities(CapabilitySet::DAC_READ_SEARCH).map_err(|error| Step::from_io("drop capabilities", &error))
}

/// Every mount at once, by `mount_setattr(2)` of Linux 5.12.
#[allow(unsafe_code)]
fn make_read_only() -> io::Result<()> {
    /// Of `linux/fcntl.h`.
    const AT_RECURSIVE: libc::c_int = 0x8000;
    /// `struct mount_attr`.
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let set = MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into();
    let attributes = Attributes { set, clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: the path ends with a NUL, and the kernel reads as many bytes of the attributes as it is told there are.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            AT_RECURSIVE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn spawn(start: Start) -> Result<u32, Step> {
    let file = PathBuf::from(std::ffi::OsString::from_vec(start.file));
    let mut command = match start.form {
        Form::Library => {
            let mut command = Role::Library.command();
            command.arg(&file);
            command
        }
        Form::Executable => Command::new(&file),
    };
    // This process's standard output is the socket to whoever calls the plugin.
    let socket = rustix::stdio::stdout();
    let socket = || rustix::io::fcntl_dupfd_cloexec(socket, 3).map_err(|error| Step::new("share the socket", error));
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH"));
    command.env("LC_ALL", "C.UTF-8").env("HOME", "/").env("TMPDIR", TEMPORARY).envs(start.environment);
    command.current_dir(file.parent().unwrap_or(Path::new("/"))).stdin(socket()?).stdout(socket()?);
    let child = command.spawn().map_err(|error| Step::from_io(START, &error))?;
    // The caller is to see the end of the stream when the plugin closes it.
    if let Ok(null) = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()) {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    Ok(child.id())
}

/// Ends this process, and the namespace with it, when the caller closes the control socket.
fn end_with_the_caller(mut receiver: Receiver) {
    let watch = move || {
        while let Ok(Some(serde::de::IgnoredAny)) = receiver.receive() {}
        std::process::exit(1);
    };
    let _ = thread::Builder::new().name("lifeline".into()).spawn(watch);
}
