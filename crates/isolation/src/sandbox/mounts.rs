//! What is mounted inside a sandbox.
//!
//! The tree is untrusted: any of its directories may be a symbolic link out of it. So every file
//! system is made detached from any path, the root is changed, and only then are they attached, by
//! names that can lead nowhere but into the tree.
//!
//! The root of the namespace, in which the [first process](super::init) stays, is a directory in
//! memory with the tree in it. A program may break out of its chroot as far as there, and finds
//! nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_remount, move_mount, open_tree, unmount,
};

use super::limits::{DIRECTORY_BYTES, Room};
use super::{StandIn, hardware};
use crate::supervisor::launch::Step;

/// Devices that any program may expect, and what of the host's stands for them. Without a terminal
/// of its own a program must find a console that swallows everything.
const DEVICES: [(&str, &str); 7] = [
    ("null", "/dev/null"),
    ("zero", "/dev/zero"),
    ("full", "/dev/full"),
    ("random", "/dev/random"),
    ("urandom", "/dev/urandom"),
    ("tty", "/dev/tty"),
    ("console", "/dev/null"),
];

/// Where the stand-ins' bytes are; on the tmpfs of /run, so never in the tree.
const STAND_INS: &str = "/run/fam-build";

/// Where the stand-ins of links are: see [`StandIn`]. First in the PATH of programs.
pub(super) const STAND_INS_OF_LINKS: &str = "/run/fam-build/bin";

/// Where the tree is, in the root of the namespace.
const TREE: &str = "tree";

/// Beside it, what lies over files of /proc, by their names; and over its directories.
const COVERS: &str = "proc";
const EMPTY: &str = "empty";

/// Everything that gets mounted, made while the host's mounts are still there.
pub(super) struct Mounts {
    outer: OwnedFd,
    tree: OwnedFd,
    proc: OwnedFd,
    sys: OwnedFd,
    dev: OwnedFd,
    pts: OwnedFd,
    shm: OwnedFd,
    run: OwnedFd,
    tmp: OwnedFd,
    devices: Vec<(&'static str, OwnedFd)>,
}

/// A page: less than that no file takes that has anything in it.
const BYTES_A_FILE: u64 = 4096;

/// The host has 4096 in all by default (`kernel.pty.max`).
const TERMINALS: &str = "64";

const NOTHING_SPECIAL: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

pub(super) fn detached(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, Step> {
    let make = || {
        let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (name, value) in options {
            fsconfig_set_string(&fs, *name, *value)?;
        }
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    make().map_err(|error| Step::new(format!("make a file system {kind}"), error))
}

/// A tmpfs for `bytes`. Each file takes some memory of the kernel's as well, even an empty one: so
/// their number is limited, too.
fn memory(mode: &str, bytes: u64, attributes: MountAttrFlags) -> Result<OwnedFd, Step> {
    let (size, files) = (bytes.to_string(), (bytes / BYTES_A_FILE).to_string());
    detached("tmpfs", &[("mode", mode), ("size", &size), ("nr_inodes", &files)], attributes)
}

fn clone_of(directory: impl AsFd, path: &str, flags: OpenTreeFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(directory, path, flags)
}

/// The tree at `root`, for which the caller vouches, as a mount of its own that is attached
/// nowhere.
pub(super) fn clone_tree(root: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    clone_of(rustix::fs::open(root, flags, Mode::empty())?, "", OpenTreeFlags::AT_EMPTY_PATH)
}

/// The directory of such a mount as what a process can have as its output: [`clone_tree`] opens it
/// for its path alone.
pub(super) fn open_tree_directory(tree: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(tree, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

impl Mounts {
    /// Makes them around the `tree` of [`clone_tree`].
    pub(super) fn make(tree: OwnedFd, room: &Room) -> Result<Self, Step> {
        let mut devices = Vec::new();
        for (name, host) in DEVICES {
            match clone_of(CWD, host, OpenTreeFlags::empty()) {
                Ok(device) => devices.push((name, device)),
                // A container need not have it, and only programs with a terminal miss it.
                Err(Errno::NOENT) if name == "tty" => {}
                Err(error) => return Err(Step::new(format!("take over {host}"), error)),
            }
        }
        let outer = memory("0555", DIRECTORY_BYTES, NOTHING_SPECIAL | MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
        populate_outer(&outer).map_err(|error| Step::new("make the directory around the tree", error))?;
        // The host's hardware must not shape the image.
        let sys = memory("0555", DIRECTORY_BYTES, NOTHING_SPECIAL | MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
        populate_sys(&sys).map_err(|error| Step::new("make /sys", error))?;
        Ok(Self {
            outer,
            tree,
            // Read-only, since root may write /proc/sys and /proc/sysrq-trigger without any
            // capability.
            proc: detached(
                "proc",
                &[],
                NOTHING_SPECIAL | MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_RDONLY,
            )?,
            sys,
            dev: memory("0755", DIRECTORY_BYTES, MountAttrFlags::MOUNT_ATTR_NOSUID)?,
            pts: detached(
                "devpts",
                // Group 5 is `tty` in every Debian (base-passwd).
                &[("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5"), ("max", TERMINALS)],
                MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            )?,
            shm: memory("1777", room.shm_bytes, NOTHING_SPECIAL)?,
            run: memory("0755", room.run_bytes, NOTHING_SPECIAL)?,
            tmp: memory("1777", room.tmp_bytes, NOTHING_SPECIAL)?,
            devices,
        })
    }

    /// Changes the root of the namespace, lets go of the host's, changes this process's root to the
    /// tree, and mounts everything else.
    pub(super) fn enter(self) -> Result<(), Step> {
        self.change_root().map_err(|error| Step::new("change the root", error))?;
        // They lie in the root of the namespace, which this process cannot reach once its root is
        // the tree.
        let covers = covers().map_err(|error| Step::new("prepare what covers files of /proc", error))?;
        let go_to_tree = || {
            rustix::process::chdir(TREE)?;
            rustix::process::chroot(".")
        };
        go_to_tree().map_err(|error| Step::new("change the root to the tree", error))?;
        forbid_devices()?;
        attach(&self.proc, "/proc")?;
        for (path, cover) in &covers {
            // Which of them there are depends on the kernel.
            if rustix::fs::lstat(path.as_str()).is_ok() {
                move_onto(cover, path)?;
            }
        }
        attach(&self.sys, "/sys")?;
        make_read_only("/sys").map_err(|error| Step::new("make /sys read-only", error))?;
        attach(&self.dev, "/dev")?;
        attach(&self.pts, "/dev/pts")?;
        attach(&self.shm, "/dev/shm")?;
        attach(&self.run, "/run")?;
        attach(&self.tmp, "/tmp")?;
        for (name, device) in &self.devices {
            let path = format!("/dev/{name}");
            // Files to mount the host's nodes on: root of a user namespace cannot make nodes.
            create_at(CWD, &path, Mode::from_raw_mode(0o666))
                .map_err(|error| Step::new(format!("create {path}"), error))?;
            move_onto(device, &path)?;
        }
        let links =
            [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx")];
        for (name, target) in links {
            let path = format!("/dev/{name}");
            rustix::fs::symlink(target, &path).map_err(|error| Step::new(format!("create {path}"), error))?;
        }
        // Made at boot on a running system, with this mode.
        let lock = "/run/lock";
        rustix::fs::mkdir(lock, Mode::from_raw_mode(0o777))
            .and_then(|()| rustix::fs::chmod(lock, Mode::from_raw_mode(0o1777)))
            .map_err(|error| Step::new(format!("create {lock}"), error))
    }

    fn change_root(&self) -> Result<(), Errno> {
        let from = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        // It covers nothing: the old root stays the root of all processes until it is changed.
        move_mount(&self.outer, "", CWD, "/", from)?;
        move_mount(&self.tree, "", &self.outer, TREE, from)?;
        rustix::process::fchdir(&self.outer)?;
        // The old root comes to lie over the new one, and is taken off from there (pivot_root(2),
        // NOTES).
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        make_read_only("/")
    }
}

/// Makes what the root of the namespace has in it.
fn populate_outer(outer: impl AsFd) -> Result<(), Errno> {
    for name in [TREE, COVERS, EMPTY] {
        rustix::fs::mkdirat(&outer, name, Mode::from_raw_mode(0o555))?;
    }
    for (name, content) in hardware::PROC_FILES {
        write_at(&outer, format!("{COVERS}/{name}"), content, Mode::from_raw_mode(0o444))?;
    }
    Ok(())
}

fn populate_sys(sys: impl AsFd) -> Result<(), Errno> {
    for path in hardware::SYS_DIRECTORIES {
        rustix::fs::mkdirat(&sys, *path, Mode::from_raw_mode(0o755))?;
    }
    for (path, content) in hardware::SYS_FILES {
        write_at(&sys, path, content, Mode::from_raw_mode(0o444))?;
    }
    for (path, target) in hardware::SYS_LINKS {
        rustix::fs::symlinkat(*target, &sys, *path)?;
    }
    Ok(())
}

/// What is to be mounted in /proc, and where. The root is that of the namespace.
fn covers() -> Result<Vec<(String, OwnedFd)>, Errno> {
    let files = hardware::PROC_FILES.iter().map(|(name, _)| (*name, format!("{COVERS}/{name}")));
    let directories = hardware::PROC_DIRECTORIES.iter().map(|name| (*name, EMPTY.to_owned()));
    let clone =
        |(name, source): (&str, String)| Ok((format!("/proc/{name}"), clone_of(CWD, &source, OpenTreeFlags::empty())?));
    files.chain(directories).map(clone).collect()
}

/// Makes one of the mounts of [`NOTHING_SPECIAL`] and no execution read-only.
fn make_read_only(path: &str) -> Result<(), Errno> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    mount_remount(path, MountFlags::BIND | flags, "")
}

/// Keeps device nodes of the tree from being opened: a package could bring one of the host's disk.
fn forbid_devices() -> Result<(), Step> {
    let step = |error| Step::new("remount the tree without devices", error);
    let status = rustix::fs::statvfs("/").map_err(step)?;
    // Those that a more privileged namespace has set may not be taken away.
    let kept = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let flags =
        kept.iter().filter(|(has, _)| status.f_flag.contains(*has)).fold(MountFlags::NODEV, |all, (_, f)| all | *f);
    mount_remount("/", MountFlags::BIND | flags, "").map_err(step)
}

/// The flag of the tree's mount that makes it useless, if there is one.
pub(super) fn useless_flag() -> io::Result<Option<&'static str>> {
    let flags = rustix::fs::statvfs("/")?.f_flag;
    Ok(match flags {
        _ if flags.contains(StatVfsMountFlags::RDONLY) => Some("ro"),
        _ if flags.contains(StatVfsMountFlags::NOEXEC) => Some("noexec"),
        _ => None,
    })
}

fn attach(mount: &OwnedFd, path: &str) -> Result<(), Step> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => move_onto(mount, path),
        Err(error) => Err(Step::new(format!("create {path}"), error)),
    }
}

pub(super) fn move_onto(mount: &OwnedFd, path: impl AsRef<Path>) -> Result<(), Step> {
    let path = path.as_ref();
    // Without MOVE_MOUNT_T_SYMLINKS a link in the last place is an error.
    move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| Step::new(format!("mount {}", path.display()), error))
}

fn create_at(directory: impl AsFd, path: impl AsRef<Path>, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, path.as_ref(), flags, mode)
}

/// A file of the inside as a mount that is attached nowhere.
pub(super) fn clone_of_file(path: &str) -> Result<OwnedFd, Errno> {
    clone_of(CWD, path, OpenTreeFlags::empty())
}

/// Makes the directory of what stands in for files of the tree.
pub(super) fn make_stand_in_directory() -> Result<(), Errno> {
    match rustix::fs::mkdir(STAND_INS, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// Puts the stand-ins in place, after [`Mounts::enter`]. Gives back the paths of those that were
/// put into the tree itself.
pub(super) fn place_stand_ins(stand_ins: &[StandIn]) -> Result<Vec<String>, Step> {
    if stand_ins.is_empty() {
        return Ok(Vec::new());
    }
    let mut placed = Vec::new();
    make_stand_in_directory().map_err(|error| not_placed(STAND_INS, error))?;
    rustix::fs::mkdir(STAND_INS_OF_LINKS, Mode::from_raw_mode(0o755))
        .map_err(|error| not_placed(STAND_INS_OF_LINKS, error))?;
    for (number, stand_in) in stand_ins.iter().enumerate() {
        let path = stand_in.path.as_str();
        match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) if rustix::fs::FileType::from_raw_mode(status.st_mode).is_symlink() => {
                let name = path.rsplit('/').next().unwrap_or_default();
                write(&format!("{STAND_INS_OF_LINKS}/{name}"), &stand_in.content)
                    .map_err(|error| not_placed(path, error))?;
            }
            Ok(_) => {
                let source = format!("{STAND_INS}/{number}");
                let written = write(&source, &stand_in.content);
                let mount = written.and_then(|()| clone_of_file(&source));
                move_onto(&mount.map_err(|error| not_placed(path, error))?, path)?;
            }
            Err(Errno::NOENT) => {
                let directory = Path::new(path).parent().is_some_and(|parent| rustix::fs::stat(parent).is_ok());
                if stand_in.even_if_missing && directory {
                    write(path, &stand_in.content).map_err(|error| not_placed(path, error))?;
                    placed.push(stand_in.path.clone());
                }
            }
            Err(error) => return Err(not_placed(path, error)),
        }
    }
    Ok(placed)
}

fn not_placed(stand_in: &str, error: Errno) -> Step {
    Step::new(format!("put a stand-in at {stand_in}"), error)
}

fn write(path: &str, content: &str) -> Result<(), Errno> {
    write_at(CWD, path, content, Mode::from_raw_mode(0o755))
}

pub(super) fn write_at(directory: impl AsFd, path: impl AsRef<Path>, content: &str, mode: Mode) -> Result<(), Errno> {
    let file = create_at(directory, path, mode)?;
    let mut rest = content.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    Ok(())
}
