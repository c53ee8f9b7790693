//! The process that runs programs of the new system: it sets the inside up, gives up its
//! privileges, and then starts one program after another as the sandbox asks for them.
//!
//! It holds the socket to the outside, so programs can open nothing of it by /proc: see
//! [`super::init`] for the process that they look at to find out where they are.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command as StdCommand, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Inbox, channel};
use std::thread;

use rustix::process::{DumpableBehavior, WaitOptions, set_child_subreaper, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities};

use super::filter::{self, Reach};
use super::limits::{self, Room};
use super::mounts::{self, Mounts};
use super::network::{self, Placed};
use super::output::read_lines;
use super::{Answer, Command, Request, Settings};
use crate::supervisor::ExitStatus;
use crate::supervisor::init::{make_mounts_private, reap_until};
use crate::supervisor::launch::Step;
use crate::supervisor::limits::{Expendable, be_expendable, limit_processes};
use crate::supervisor::protocol::{Sender, control_of_this_process, halves, lifeline};
use crate::supervisor::reject_direct_invocation;

/// The number of this process: the first one starts it before anything else.
const NUMBER: i32 = 2;

/// The environment of every program inside; what Debian's own installers give to maintainer
/// scripts.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("SHELL", "/bin/sh"),
    ("TERM", "dumb"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
];

/// Where programs are looked for, by this process and by those it runs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What maintainer scripts need of root's power. Not among it: `MKNOD` and `SYS_ADMIN`, with which
/// root of the host could reach its disks, `DAC_READ_SEARCH`, which opens files by handle past any
/// root, and whatever else is for the machine and not for files. A user namespace would not give
/// most of it anyway: so builds of root and of users are alike.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::AUDIT_WRITE);

/// The role's main function.
pub(crate) fn runner() -> ExitCode {
    // Killing everything is only for a namespace of one's own.
    if rustix::process::getpid().as_raw_nonzero().get() != NUMBER {
        return reject_direct_invocation();
    }
    let Ok(control) = control_of_this_process() else { return reject_direct_invocation() };
    if wait_for_first_process().is_err() {
        return ExitCode::FAILURE;
    }
    let Ok((mut requests, answers)) = halves(control) else { return ExitCode::FAILURE };
    let answers = Arc::new(answers);
    let Ok(Some(Request::Enter { settings })) = requests.receive() else { return ExitCode::FAILURE };
    let ready = set_up(&settings);
    let answer = match &ready {
        Ok(_) => Answer::Ready,
        Err(Refusal::Mounted(flag)) => Answer::Mounted { flag: (*flag).to_owned() },
        Err(Refusal::Step(step)) => step.answer(),
    };
    match (ready, answers.send(&answer)) {
        (Ok(placed), Ok(())) => {
            let (pass, inbox) = channel();
            // When the process that made the sandbox ends, the sandbox ends too, even while a program runs.
            lifeline(requests, move |request| pass.send(request).is_ok());
            serve(&inbox, &answers, &settings);
            let _ = answers.send(&take_away(&placed).map_or_else(|step| step.answer(), |()| Answer::Ready));
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

/// Waits until the first process has nothing left that programs should not reach, which is the end
/// of the pipe that it has given this process as its standard error.
fn wait_for_first_process() -> io::Result<()> {
    while rustix::io::read(rustix::stdio::stderr(), &mut [0; 1])? != 0 {}
    Ok(())
}

/// The mount of the tree, which the sandbox has given this process as its standard output.
fn take_tree() -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?)
}

enum Refusal {
    Step(Step),
    Mounted(&'static str),
}

impl From<Step> for Refusal {
    fn from(step: Step) -> Self {
        Self::Step(step)
    }
}

impl Step {
    pub(super) fn answer(&self) -> Answer {
        Answer::Unprepared { step: self.what.clone(), errno: self.errno }
    }
}

/// What was put into the tree.
struct InTree {
    stand_ins: Vec<String>,
    resolv_conf: Option<Placed>,
}

/// Makes the inside; returns the files that it put into the tree.
fn set_up(settings: &Settings) -> Result<InTree, Refusal> {
    make_mounts_private().map_err(|(what, error)| Step::from_io(what, &error))?;
    rustix::process::umask(rustix::fs::Mode::empty());
    // This and the next write to /proc, which is read-only once the mounts are entered.
    limit_processes();
    be_expendable(Expendable::Code).map_err(|error| Step::from_io("be the first to be ended", &error))?;
    let tree = take_tree().map_err(|error| Step::from_io("take the tree over", &error))?;
    Mounts::make(tree, &Room::now())?.enter()?;
    if let Some(flag) = mounts::useless_flag().map_err(|error| Step::from_io("look at the tree's mount", &error))? {
        return Err(Refusal::Mounted(flag));
    }
    // What a program leaves running becomes a child of this process when its parent has ended.
    set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| Step::new("adopt processes", error))?;
    let stand_ins = mounts::place_stand_ins(&settings.stand_ins)?;
    let resolv_conf = settings.network.as_ref().and_then(|network| network.resolv_conf.as_deref());
    let resolv_conf = resolv_conf.map(network::place_resolv_conf).transpose()?.flatten();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    set_host_name()?;
    let (reach, capabilities) = match settings.network {
        None => {
            raise_loopback().map_err(|error| Step::from_io(LOOPBACK, &error))?;
            (Reach::Itself, CAPABILITIES)
        }
        // Of the host no port is taken that is root's alone.
        Some(_) => (Reach::HostNetwork, CAPABILITIES.difference(CapabilitySet::NET_BIND_SERVICE)),
    };
    hide_this_process().map_err(|error| Step::from_io("hide the process that runs programs", &error))?;
    limits::limit_resources().map_err(|error| Step::new("set the limits of programs", error))?;
    // While CAP_SYS_ADMIN is there, which [`filter::install`] needs, and after all that the filter
    // denies.
    filter::install(reach).map_err(|error| Step::from_io("install the filter of system calls", &error))?;
    keep_capabilities(capabilities).map_err(|error| Step::from_io("drop capabilities", &error))?;
    Ok(InTree { stand_ins, resolv_conf })
}

/// Keeps the programs that this process will run from its descriptors and its memory.
fn hide_this_process() -> io::Result<()> {
    leave_terminal()?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Lets go of the host's terminal.
pub(super) fn leave_terminal() -> io::Result<()> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}

/// Gives up all capabilities but `kept`, for this thread and all that it will execute.
pub fn keep_capabilities(kept: CapabilitySet) -> io::Result<()> {
    // The bounding set first, since to take from it takes CAP_SETPCAP. It is what setuid programs
    // could get back.
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Beyond the last that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let own = rustix::thread::capabilities(None)?.permitted.intersection(kept);
    set_capabilities(None, CapabilitySets { effective: own, permitted: own, inheritable: CapabilitySet::empty() })?;
    Ok(())
}

fn serve(requests: &Inbox<Request>, answers: &Arc<Sender>, settings: &Settings) {
    while let Ok(Request::Run(command)) = requests.recv() {
        let answer = match run(&command, answers, settings) {
            Ok(ended) => Answer::Ended(ended),
            Err(error) => Answer::NotStarted { errno: error.raw_os_error().unwrap_or(libc::EIO) },
        };
        if answers.send(&answer).is_err() {
            return;
        }
    }
}

fn run(command: &Command, answers: &Arc<Sender>, settings: &Settings) -> io::Result<ExitStatus> {
    let (reader, writer) = io::pipe()?;
    let mut program = StdCommand::new(&command.program);
    program
        .args(&command.arguments)
        .env_clear()
        .envs(ENVIRONMENT)
        .env("PATH", path(settings))
        .envs(settings.network.iter().flat_map(|network| &network.environment))
        .envs(settings.source_date_epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch.to_string())))
        .envs(&command.environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let spawned = program.spawn();
    // It holds the writing end.
    drop(program);
    let child = spawned?;
    let lines = Arc::clone(answers);
    let printer = thread::Builder::new().name("output".into()).spawn(move || {
        let _ = read_lines(reader, |line| {
            let _ = lines.send(&Answer::Line(line));
        });
    });
    let ended = reap_until(child.id());
    // Whoever is left may hold the pipe, so this comes before its end is waited for.
    kill_everything();
    if let Ok(printer) = printer {
        let _ = printer.join();
    }
    ended
}

fn path(settings: &Settings) -> String {
    if settings.stand_ins.is_empty() { PATH.to_owned() } else { format!("{}:{PATH}", mounts::STAND_INS_OF_LINKS) }
}

/// Kills and reaps every other process of the PID namespace.
#[allow(unsafe_code)]
fn kill_everything() {
    loop {
        // SAFETY: a plain system call. This process is the second of its PID namespace (checked at
        // its start), so -1 means the others of the namespace, except the first.
        unsafe { libc::kill(-1, libc::SIGKILL) };
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn take_away(placed: &InTree) -> Result<(), Step> {
    if let Some(resolv_conf) = &placed.resolv_conf {
        network::take_resolv_conf_away(resolv_conf)?;
    }
    for path in &placed.stand_ins {
        match rustix::fs::unlink(path.as_str()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(Step::new(format!("take away {path}"), error)),
        }
    }
    Ok(())
}

/// Gives the namespaces for host name and network what programs expect there, and nothing of the
/// host's.
pub(crate) fn be_a_machine_of_its_own() -> Result<(), Step> {
    set_host_name()?;
    raise_loopback().map_err(|error| Step::from_io(LOOPBACK, &error))
}

const LOOPBACK: &str = "bring the loopback interface up";

fn set_host_name() -> Result<(), Step> {
    rustix::system::sethostname(b"localhost").map_err(|error| Step::new("set the host name", error))
}

/// Programs that talk to themselves expect 127.0.0.1 to answer (netdevice(7)).
#[allow(unsafe_code)]
fn raise_loopback() -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: all zeros is a valid ifreq, a structure of plain numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
