//! The ids that programs of a sandbox have on the host.
//!
//! In a build of a normal user they are subordinate ids, in the worker's user namespace. In a build
//! of root's they get a user namespace of their own, in which the ids from 0 on are ids of the host
//! that belong to no user: a program that breaks out owns nothing there, and has no capability. The
//! files of the tree keep their owners, as the tree is mounted with ids translated.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mount::MountAttrFlags;
use rustix::process::geteuid;

use super::{NAMESPACES, mounts};
use crate::supervisor::launch::launch;
use crate::supervisor::{Extent, Ids, Role, parse_map};

/// The first id on the host: the highest range of 65536 below 2^31, far from those that /etc/subuid
/// gives by default.
const FIRST: u32 = 0x7fff_0000;
const COUNT: u32 = 0x1_0000;

/// Whether it was found that this host cannot do it.
static IMPOSSIBLE: AtomicBool = AtomicBool::new(false);

/// The ids for a sandbox, other than the worker's; `None` where it has to be those.
pub(super) fn of_programs() -> Option<Ids> {
    let possible = !cfg!(fam_build_unprotected) && is_root_of_host() && !IMPOSSIBLE.load(Ordering::Relaxed);
    let extents = || vec![Extent { inside: 0, outside: FIRST, count: COUNT }];
    possible.then(|| Ids::Direct { uids: extents(), gids: extents() })
}

/// Tries whether programs can have ids of their own, with a file system in memory as the tree;
/// `None` where they are to have the worker's.
pub(crate) fn try_own() -> Option<io::Result<()>> {
    let ids = of_programs()?;
    let attempt = || {
        let tree = mounts::detached("tmpfs", &[], MountAttrFlags::empty())
            .map_err(|step| io::Error::from_raw_os_error(step.errno))?;
        // Its first process stays until it is dropped here.
        let launched = launch(Role::SANDBOX, NAMESPACES, &ids).map_err(io::Error::other)?;
        translate(&tree, launched.user_namespace()?)
    };
    Some(attempt())
}

/// Who programs are on the host. `own` says that they have the ids of [`of_programs`].
pub(crate) fn describe(own: bool) -> &'static str {
    match (own, is_root_of_host()) {
        (true, _) => "programs of the new system run with ids that belong to no user of this host",
        (false, true) => "programs of the new system run as root of this host, which cannot translate ids of the tree",
        (false, false) => "programs of the new system run as users of the build's user namespace",
    }
}

fn is_root_of_host() -> bool {
    let maps = ["/proc/self/uid_map", "/proc/self/gid_map"];
    geteuid().is_root() && maps.iter().all(|map| fs_err::read_to_string(map).is_ok_and(|map| has_range(&map)))
}

/// Has [`of_programs`] give none from now on.
pub(super) fn give_up() {
    IMPOSSIBLE.store(true, Ordering::Relaxed);
}

/// Whether the range is part of this user namespace, by its map (`user_namespaces(7)`).
fn has_range(map: &str) -> bool {
    let has = |Extent { inside, count, .. }| {
        inside <= FIRST && u64::from(FIRST - inside) + u64::from(COUNT) <= u64::from(count)
    };
    parse_map(map).into_iter().any(has)
}

/// Translates the ids of a mount that is attached nowhere yet: what has id 0 in the file system
/// belongs to the root of the user namespace, and so on (`MOUNT_ATTR_IDMAP` of `mount_setattr(2)`).
///
/// # Errors
/// The kernel or the file system cannot do so: it takes Linux 5.12, and 6.3 for memory.
#[allow(unsafe_code)]
pub(super) fn translate(mount: impl AsFd, user_namespace: impl AsFd) -> io::Result<()> {
    let userns_fd = user_namespace.as_fd().as_raw_fd();
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(userns_fd.unsigned_abs()),
    };
    // SAFETY: the kernel reads an empty path and `size_of_val` bytes of attributes, which both
    // outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_part_of_the_hosts_own_namespace_and_of_few_others() {
        for (map, expected) in [
            ("         0          0 4294967295\n", true),
            ("0 100000 65536\n", false),
            ("0 1000 1\n1 100000 65536\n", false),
            ("0 0 2147418112\n", false),
            ("0 0 2147483648\n", true),
            ("2147418112 0 65535\n", false),
            ("2147418112 0 65536\n", true),
            ("", false),
        ] {
            assert_eq!(has_range(map), expected, "{map}");
        }
    }
}
