//! The root that a plugin lives in: a file system in memory, with mounts of what it may see of the
//! host and of what every program expects. All of it is made while the host's mounts are there,
//! then these are let go of.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use fam_isolation::supervisor::init::make_mounts_private;
use fam_isolation::supervisor::launch::Step;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

use super::view::{Place, View};

/// The devices that there are: none of them is of any hardware, or changes anything.
pub(super) const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// The one file system that a plugin may write to, for temporary files; it is gone with the plugin.
pub(super) const TEMPORARY: &str = "/dev/shm";

/// What holds for every mount. A device node that a package or a user made is not one here, and no
/// program gets another user's rights.
const READ_ONLY: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_RDONLY.union(MountAttrFlags::MOUNT_ATTR_NOSUID).union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Everything that gets mounted.
struct Mounts {
    root: OwnedFd,
    proc: OwnedFd,
    temporary: OwnedFd,
    devices: Vec<(PathBuf, OwnedFd)>,
    places: Vec<(PathBuf, OwnedFd)>,
    links: BTreeMap<PathBuf, PathBuf>,
}

/// Gives this process, and all that it will start, a root with nothing but `view` in it.
pub(super) fn enter(view: View) -> Result<(), Step> {
    make_mounts_private().map_err(|(what, error)| Step::from_io(what, &error))?;
    let mounts = Mounts::make(view)?;
    mounts.change_root()?;
    mounts.attach()
}

fn in_memory(options: &[(&str, &str)]) -> Result<OwnedFd, Step> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    detached("tmpfs", options, flags).map_err(|error| Step::new("make a tmpfs", error))
}

fn detached(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(&fs, *name, *value)?;
    }
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A mount of the same files, with all further mounts inside.
fn clone_of(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    open_tree(CWD, path, flags)
}

impl Mounts {
    fn make(view: View) -> Result<Self, Step> {
        let at = |what: &str, path: &Path| format!("{what} {}", path.display());
        let mut devices = Vec::new();
        // Before the restriction below: a device on a mount with NODEV cannot be opened.
        for device in DEVICES.map(PathBuf::from) {
            let mount = clone_of(&device).map_err(|error| Step::new(at("take over", &device), error))?;
            let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            restrict(&mount, flags).map_err(|error| Step::from_io(at("restrict", &device), &error))?;
            devices.push((device, mount));
        }
        // All at once; what is cloned below has it from here, and even what this process still
        // holds of the host has it.
        restrict_all().map_err(|error| Step::from_io("make the file systems read-only", &error))?;
        let mut places = Vec::new();
        for (path, place) in view.places {
            match (place, clone_of(&path)) {
                (Place::Shown, Ok(mount)) => places.push((path, mount)),
                (Place::Hidden, Ok(mount)) => places.push((path, empty_instead_of(&mount)?)),
                // A directory of the PATH that the user cannot read, or that is gone again:
                // programs will say what they miss.
                (_, Err(Errno::NOENT | Errno::ACCESS)) => {}
                (_, Err(error)) => return Err(Step::new(at("take over", &path), error)),
            }
        }
        Ok(Self {
            root: in_memory(&[("mode", "0755"), ("size", "4m")])?,
            proc: proc().map_err(|error| Step::new("make /proc of a new PID namespace", error))?,
            temporary: in_memory(&[("mode", "1777"), ("size", "64m")])?,
            devices,
            places,
            links: view.links,
        })
    }

    /// Changes the root to the empty one, and lets go of the host's.
    fn change_root(&self) -> Result<(), Step> {
        let change = || {
            // It must be somewhere for a moment, and /proc exists everywhere.
            move_mount(&self.root, "", CWD, "/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            rustix::process::fchdir(&self.root)?;
            // The old root comes to lie over the new one, and is taken off from there
            // (pivot_root(2), NOTES).
            rustix::process::pivot_root(".", ".")?;
            unmount(".", UnmountFlags::DETACH)?;
            rustix::process::chdir("/")
        };
        change().map_err(|error| Step::new("change the root", error))
    }

    fn attach(&self) -> Result<(), Step> {
        let own = [("/proc", &self.proc), (TEMPORARY, &self.temporary)];
        for (path, mount) in own.into_iter().map(|(path, mount)| (Path::new(path), mount)) {
            attach(mount, path)?;
        }
        for (path, mount) in self.devices.iter().chain(&self.places) {
            attach(mount, path)?;
        }
        let of_every_program =
            [("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "fd/0"), ("/dev/stdout", "fd/1"), ("/dev/stderr", "fd/2")];
        let of_every_program = of_every_program.map(|(path, target)| (Path::new(path), Path::new(target)));
        let of_the_host = self.links.iter().map(|(path, target)| (path.as_path(), target.as_path()));
        for (path, target) in of_every_program.into_iter().chain(of_the_host) {
            let made = make_directories(path).and_then(|()| rustix::fs::symlink(target, path));
            match made {
                // In a place that is shown it is there.
                Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
                Err(error) => return Err(Step::new(format!("create {}", path.display()), error)),
            }
        }
        let made = self.places.iter().map(|(_, mount)| mount).chain([&self.root]);
        made.into_iter()
            .try_for_each(|mount| restrict(mount, READ_ONLY))
            .map_err(|error| Step::from_io("make the root read-only", &error))
    }
}

/// Without what is about the whole machine, where the kernel can leave that out (Linux 5.8):
/// settings, keys, addresses, hardware. And read-only, since root may write settings without any
/// capability.
fn proc() -> Result<OwnedFd, Errno> {
    let flags = READ_ONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    detached("proc", &[("subset", "pid")], flags).or_else(|_| detached("proc", &[], flags))
}

/// Nothing, of the kind of what is to be hidden.
fn empty_instead_of(mount: &OwnedFd) -> Result<OwnedFd, Step> {
    if is_directory(mount) {
        in_memory(&[("mode", "0755"), ("size", "4m")])
    } else {
        clone_of(Path::new("/dev/null")).map_err(|error| Step::new("take over /dev/null", error))
    }
}

fn is_directory(mount: &OwnedFd) -> bool {
    rustix::fs::fstat(mount).is_ok_and(|status| FileType::from_raw_mode(status.st_mode).is_dir())
}

fn attach(mount: &OwnedFd, path: &Path) -> Result<(), Step> {
    let put = || {
        make_directories(path)?;
        let made = if is_directory(mount) {
            rustix::fs::mkdir(path, Mode::from_raw_mode(0o755))
        } else {
            rustix::fs::open(path, OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC, Mode::from_raw_mode(0o444))
                .map(drop)
        };
        match made {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(error) => return Err(error),
        }
        move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    };
    put().map_err(|error| Step::new(format!("mount {}", path.display()), error))
}

/// Makes the directories above `path`. They are new, or come from what is shown, and so no symbolic
/// links.
fn make_directories(path: &Path) -> Result<(), Errno> {
    let above: Vec<&Path> = path.ancestors().skip(1).collect();
    for directory in above.into_iter().rev().skip(1) {
        match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Adds `flags` to one mount.
fn restrict(mount: &OwnedFd, flags: MountAttrFlags) -> io::Result<()> {
    set_attributes(mount, c"", libc::AT_EMPTY_PATH, flags)
}

/// Makes every mount [`READ_ONLY`].
fn restrict_all() -> io::Result<()> {
    /// Of `linux/fcntl.h`.
    const AT_RECURSIVE: libc::c_int = 0x8000;
    set_attributes(CWD, c"/", AT_RECURSIVE, READ_ONLY)
}

/// `mount_setattr(2)` of Linux 5.12, which rustix lacks.
#[allow(unsafe_code)]
fn set_attributes(
    directory: impl AsFd,
    path: &std::ffi::CStr,
    how: libc::c_int,
    flags: MountAttrFlags,
) -> io::Result<()> {
    /// `struct mount_attr`.
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let attributes = Attributes { set: flags.bits().into(), clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: the descriptor is borrowed and so open, the path ends with a NUL, and the kernel
    // reads as many bytes of the attributes as it is told there are.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_fd().as_raw_fd(),
            path.as_ptr(),
            how,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
