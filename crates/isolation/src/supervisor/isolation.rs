//! How a build is kept apart from the host, and the trial that shows whether it can be.

use std::io;
use std::process::ExitCode;

use landlock::{AccessFs, LandlockStatus, Ruleset, RulesetAttr};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsmount, fsopen, mount};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::idmap::Ids;
use super::init::begin_role;
use super::launch::{Error, Step, launch};
use super::protocol::{Receiver, Sender};
use super::role::Role;
use crate::sandbox::{be_a_machine_of_its_own, filter};

/// The namespaces of a worker, beside the user namespace where ids must be mapped.
pub(crate) const WORKER_NAMESPACES: UnshareFlags =
    UnshareFlags::NEWNS.union(UnshareFlags::NEWPID).union(UnshareFlags::NEWIPC).union(UnshareFlags::NEWUTS);

/// How a worker is kept apart from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    pub(crate) namespaces: UnshareFlags,
    pub(crate) ids: Ids,
    /// The version of Landlock that a trial found.
    pub(super) landlock: Option<i32>,
}

/// What a trial found.
#[derive(Debug, Serialize, Deserialize)]
enum Probed {
    Works { landlock: Option<i32> },
    Refused { step: String, errno: i32 },
}

impl Isolation {
    /// Namespaces with the ids that the caller may use, tried: a process in them mounted a tmpfs
    /// and /proc, gave files to the first and the last id, made a network namespace and filtered
    /// its system calls.
    ///
    /// # Errors
    /// [`Error`] with the step that failed and a hint.
    pub fn detect() -> Result<Self, Error> {
        let isolation = Self { namespaces: WORKER_NAMESPACES, ids: Ids::detect()?, landlock: None };
        Ok(Self { landlock: isolation.check()?, ..isolation })
    }

    /// Tries only whether this process may make the namespaces, whatever ids there are for them.
    ///
    /// # Errors
    /// [`Error`] with a hint.
    pub fn try_namespaces() -> Result<(), Error> {
        super::launch::try_namespaces(WORKER_NAMESPACES)
    }

    /// No namespaces and no further ids, for work that runs no program and keeps no foreign owners
    /// on disk, such as images from a tarball.
    #[must_use]
    pub fn none() -> Self {
        Self { namespaces: UnshareFlags::empty(), ids: Ids::Own, landlock: None }
    }

    /// Where the ids come from.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Tries it, and returns the version of Landlock that there is. See [`Isolation::detect`].
    fn check(&self) -> Result<Option<i32>, Error> {
        let mut launched = launch(Role::PROBE, self.namespaces, &self.ids)?;
        let received = launched.control.try_clone().and_then(|control| Receiver::new(control).receive());
        let probed = received.map_err(|source| Error::not_started(Role::PROBE, source))?;
        launched.wait();
        match probed {
            Some(Probed::Works { landlock }) => Ok(landlock),
            Some(Probed::Refused { step, errno }) => Err(Error::refused(step, errno)),
            None => Err(Error::not_started(Role::PROBE, io::Error::other("it died"))),
        }
    }
}

/// The role's main function: tries in turn what a build will do.
pub(crate) fn probe() -> ExitCode {
    let control = match begin_role() {
        Ok(control) => control,
        Err(code) => return code,
    };
    let probed = match attempt() {
        Ok(landlock) => Probed::Works { landlock },
        Err(Step { what, errno }) => Probed::Refused { step: what, errno },
    };
    let _ = Sender::new(control).send(&probed);
    ExitCode::SUCCESS
}

fn attempt() -> Result<Option<i32>, Step> {
    super::init::make_mounts_private().map_err(|(step, error)| Step::from_io(step, &error))?;
    // Over /proc, which exists everywhere; the namespace goes away with this process.
    mount("tmpfs", "/proc", "tmpfs", MountFlags::NODEV, Some(c"mode=0755"))
        .map_err(|error| Step::new("mount a tmpfs", error))?;
    for id in [0, 65534] {
        give_file_to(id).map_err(|error| Step::new("give a file to another user", error))?;
    }
    rustix::mount::unmount("/proc", rustix::mount::UnmountFlags::DETACH)
        .map_err(|error| Step::new("unmount a tmpfs", error))?;
    super::init::mount_proc().map_err(|(step, error)| Step::from_io(step, &error))?;
    make_detached_mount().map_err(|error| Step::new("mount a tmpfs by the mount interface of Linux 5.2", error))?;
    rustix::fs::openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), rustix::fs::ResolveFlags::IN_ROOT)
        .map_err(|error| Step::new("open a file by openat2 of Linux 5.6", error))?;
    // As the sandbox around maintainer scripts does, one level down.
    super::launch::enter(WORKER_NAMESPACES | UnshareFlags::NEWNET)
        .map_err(|error| Step::from_io("create mount, PID, IPC, UTS, network namespaces inside", &error))?;
    be_a_machine_of_its_own()?;
    // Last, since these forbid all of the above.
    let landlock = try_landlock();
    filter::install(filter::Reach::Itself)
        .map_err(|error| Step::from_io("install a filter of system calls", &error))?;
    Ok(landlock)
}

/// Gives a file in the tmpfs that lies over /proc to the user and the group `id`.
fn give_file_to(id: u32) -> rustix::io::Result<()> {
    let file = rustix::fs::open("/proc/file", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?;
    rustix::fs::fchown(&file, Some(rustix::fs::Uid::from_raw(id)), Some(rustix::fs::Gid::from_raw(id)))
}

/// Makes a tmpfs that is attached nowhere, and lets it go.
fn make_detached_mount() -> rustix::io::Result<()> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(drop)
}

/// The version of Landlock that this kernel has, found by forbidding this process to execute
/// anything. `None` where it has none.
fn try_landlock() -> Option<i32> {
    let rules = Ruleset::default().handle_access(AccessFs::Execute).ok()?.create().ok()?;
    match rules.restrict_self().ok()?.landlock {
        LandlockStatus::Available { effective_abi, .. } => Some(effective_abi as i32),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    }
}
