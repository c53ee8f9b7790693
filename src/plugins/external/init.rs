//! The first process around a plugin. It lives in namespaces of its own: no network, no process but
//! the plugin's, and of the host's files only what [`super::view`] decides. It starts the plugin,
//! without privileges, and tells how it ended; its own end, which is also that of the caller, is
//! the end of every process that the plugin left.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fam_isolation::sandbox::keep_capabilities;
use fam_isolation::supervisor::ExitStatus;
use fam_isolation::supervisor::init::{begin_first_process, reap_until};
use fam_isolation::supervisor::launch::Step;
use fam_isolation::supervisor::limits::{Expendable, be_expendable, limit_processes};
use fam_isolation::supervisor::protocol::{halves, lifeline};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, set_no_new_privs};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::mounts::{self, TEMPORARY};
use super::view::{Environment, HostFiles, View};
use super::{Form, LIBRARY, restrict};

/// What to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    file: Vec<u8>,
    form: Form,
    environment: Vec<(String, String)>,
    readable: Vec<Vec<u8>>,
    hidden: Vec<Vec<u8>>,
}

impl Start {
    /// The plugin in `file`, with variables beside those that every plugin gets.
    pub(super) fn new(file: &Path, form: Form, environment: Vec<(String, String)>, files: &HostFiles) -> Self {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let all = |paths: &[PathBuf]| paths.iter().map(|path| bytes(path)).collect();
        let (readable, hidden) = (all(&files.readable), all(&files.hidden));
        Self { file: bytes(file), form, environment, readable, hidden }
    }

    fn view(&self) -> View {
        let paths = |all: &[Vec<u8>]| all.iter().cloned().map(path).collect();
        let files = HostFiles { readable: paths(&self.readable), hidden: paths(&self.hidden) };
        View::new(&path(self.file.clone()), self.form == Form::Executable, &files, &Environment::of_process())
    }
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
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
    Ended(ExitStatus),
}

/// The step at which the plugin itself is started.
pub(super) const START: &str = "execute it";

/// The role's main function.
pub(crate) fn init() -> ExitCode {
    let control = match begin_first_process() {
        Ok(control) => control,
        Err(code) => return code,
    };
    let Ok((mut receiver, sender)) = halves(control) else { return ExitCode::FAILURE };
    let Ok(Some(start)) = receiver.receive::<Start>() else { return ExitCode::FAILURE };
    let plugin = confine(start.view()).and_then(|()| spawn(start));
    let answer = match plugin {
        Ok(pid) => {
            lifeline(receiver, |IgnoredAny| true);
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

fn confine(view: View) -> Result<(), Step> {
    // This and the next write to /proc, which is another one, and read-only, once the mounts are
    // entered.
    limit_processes();
    be_expendable(Expendable::Code).map_err(|error| Step::from_io("be the first to be ended", &error))?;
    mounts::enter(view)?;
    // One byte and not none: with none the kernel still starts a program of the host that
    // `core_pattern` names (core(5)).
    let a_byte = Rlimit { current: Some(1), maximum: Some(1) };
    setrlimit(Resource::Core, a_byte).map_err(|error| Step::new("forbid core dumps", error))?;
    let some = Rlimit { current: Some(1024), maximum: Some(1024) };
    setrlimit(Resource::Nofile, some).map_err(|error| Step::new("limit open files", error))?;
    // Landlock and the filter ask for it; and setuid programs of the host stay without their
    // rights.
    set_no_new_privs(true).map_err(|error| Step::new("forbid new privileges", error))?;
    // Root may have put the plugin where only root reads it.
    keep_capabilities(CapabilitySet::DAC_READ_SEARCH).map_err(|error| Step::from_io("drop capabilities", &error))?;
    if cfg!(fam_build_unprotected) {
        return Ok(());
    }
    restrict::confine_writes().map_err(|error| Step::from_io("forbid writing by Landlock", &error))?;
    restrict::filter_calls().map_err(|error| Step::from_io("filter system calls", &error))
}

fn spawn(start: Start) -> Result<u32, Step> {
    let file = path(start.file);
    let mut command = match start.form {
        Form::Library => {
            let mut command = LIBRARY.command();
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
