//! Removes from a configured tree what belongs to its making and not to the system: what would
//! differ from one build to the next, what must differ from one machine to the next, and what is
//! only bulk.

use std::collections::BTreeMap;

use fam_tree::RootPath;

use super::in_tree;
use crate::staging::{self, Attributes, FileType, Metadata, Staging};

/// Files that go.
const REMOVED: [&str; 16] = [
    // Programs make them anew.
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/cache/ldconfig/aux-cache",
    // Of this making.
    "var/log/alternatives.log",
    "var/log/apt/eipp.log.xz",
    "var/log/apt/history.log",
    "var/log/apt/term.log",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
    "var/log/fontconfig.log",
    "usr/sbin/policy-rc.d",
    // One a machine: dbus, systemd and the boot make them.
    "var/lib/dbus/machine-id",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
    "var/lib/urandom/random-seed",
    "root/.bash_history",
];

/// Directories of which only the directories stay: packages have them on their lists of files.
const EMPTIED: [&str; 7] =
    ["run", "tmp", "var/cache/apt/archives", "var/lib/apt/lists", "var/log/journal", "var/tmp", "var/cache/man"];

/// The user and the group that files show in a user namespace in which their owner has no id
/// (`user_namespaces(7)`): also the files of /proc/sys, which are the host's root's.
const OVERFLOW_ID: u32 = 65534;
/// Length of what /proc/sys/kernel/random/uuid holds (`random(4)`).
const UUID_LINE: u64 = 37;

/// Removes the leftovers of making the tree. Every file of /var/log that is not removed is emptied.
///
/// /etc/machine-id, if there is one, becomes empty: so systemd gives each machine its own
/// (machine-id(5)).
///
/// # Errors
/// [`staging::Error`].
pub fn clean(staging: &Staging) -> Result<(), staging::Error> {
    for path in REMOVED {
        // A link, such as dbus's to /etc/machine-id, is part of the system.
        if kind(staging, &in_tree(path))?.is_some_and(|kind| kind != FileType::Symlink) {
            staging.remove(&in_tree(path))?;
        }
    }
    for path in EMPTIED {
        each_file(staging, &in_tree(path), &mut |path| staging.remove(path))?;
    }
    each_file(staging, &in_tree("var/log"), &mut |path| truncate(staging, path))?;
    for directory in ["etc", "var"] {
        each_file(staging, &in_tree(directory), &mut |path| give_secret_to_root(staging, path))?;
    }
    // Empty rather than gone: without the file systemd takes the next boot for the first, and
    // applies its presets to all units again (machine-id(5), "First Boot Semantics").
    let machine_id = in_tree("etc/machine-id");
    if kind(staging, &machine_id)? == Some(FileType::File) {
        staging.write(&machine_id, b"", 0o644)?;
    }
    // Host keys, which must not be the same on two machines; and copies of debconf's and dpkg's
    // databases and of initramfs images, as they were in the midst of the build.
    for (directory, leftover) in [
        ("etc/ssh", (|name: &str| name.starts_with("ssh_host_") && !name.ends_with("_config")) as fn(&str) -> bool),
        ("var/cache/debconf", |name| name.ends_with("-old")),
        ("var/lib/dpkg", |name| name.ends_with("-old")),
        ("boot", |name| name.ends_with(".dpkg-bak")),
    ] {
        let directory = in_tree(directory);
        if kind(staging, &directory)? != Some(FileType::Directory) {
            continue;
        }
        for name in staging.list(&directory)? {
            if std::str::from_utf8(&name).is_ok_and(leftover)
                && let Ok(path) = directory.join(&name)
            {
                staging.remove(&path)?;
            }
        }
    }
    Ok(())
}

/// What is at `path`, if anything.
fn kind(staging: &Staging, path: &RootPath) -> Result<Option<FileType>, staging::Error> {
    if staging.exists(path)? { Ok(Some(staging.metadata(path)?.file_type)) } else { Ok(None) }
}

/// Does `what` to everything under `directory` that is no directory.
fn each_file(
    staging: &Staging,
    directory: &RootPath,
    what: &mut impl FnMut(&RootPath) -> Result<(), staging::Error>,
) -> Result<(), staging::Error> {
    if kind(staging, directory)? != Some(FileType::Directory) {
        return Ok(());
    }
    for name in staging.list(directory)? {
        let Ok(path) = directory.join(&name) else { continue };
        match kind(staging, &path)? {
            Some(FileType::Directory) => each_file(staging, &path, what)?,
            Some(_) => what(&path)?,
            None => {}
        }
    }
    Ok(())
}

/// Empties the regular file at `path`, if there is one with bytes in it.
fn truncate(staging: &Staging, path: &RootPath) -> Result<(), staging::Error> {
    if kind(staging, path)? != Some(FileType::File) {
        return Ok(());
    }
    let metadata = staging.metadata(path)?;
    if metadata.size == 0 {
        return Ok(());
    }
    let parent = staging.parent(path)?;
    parent.write_file(path.file_name(), b"", metadata.attributes.mode)?;
    // The new file is root's; /var/log/btmp, for one, belongs to the group utmp.
    parent.set_attributes(path.file_name(), &metadata.attributes, &BTreeMap::new())
}

/// Gives the file at `path` to root, if it is a secret copied from /proc/sys/kernel/random/uuid
/// with its owner, as tmpfiles.d(5) and `cp -p` do: on a machine that is root.
fn give_secret_to_root(staging: &Staging, path: &RootPath) -> Result<(), staging::Error> {
    let Metadata { file_type, size, attributes, .. } = staging.metadata(path)?;
    let is_nobodys = (attributes.uid, attributes.gid) == (OVERFLOW_ID, OVERFLOW_ID);
    if file_type != FileType::File || size != UUID_LINE || !is_nobodys || !is_uuid_line(&staging.read(path)?) {
        return Ok(());
    }
    // Left as it is, the file would be that of `nobody`, whom it is to be kept from.
    let attributes = Attributes { uid: 0, gid: 0, ..attributes };
    staging.parent(path)?.set_attributes(path.file_name(), &attributes, &BTreeMap::new())
}

/// Whether this is a line with a UUID (RFC 9562, 4).
fn is_uuid_line(bytes: &[u8]) -> bool {
    let Some(uuid) = bytes.strip_suffix(b"\n") else { return false };
    let groups =
        uuid.split(|&byte| byte == b'-').map(|group| group.iter().all(u8::is_ascii_hexdigit).then_some(group.len()));
    groups.eq([8, 4, 4, 4, 12].map(Some))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_the_kernel_writes() {
        for (line, expected) in [
            ("4498829f-e08a-4417-a308-bbd460ef0a12\n", true),
            ("4498829f-e08a-4417-a308-bbd460ef0a12", false),
            ("4498829fe08a44-17-a308-bbd460ef-0a12\n", false),
            ("4498829g-e08a-4417-a308-bbd460ef0a12\n", false),
            ("", false),
        ] {
            assert_eq!(is_uuid_line(line.as_bytes()), expected, "{line:?}");
        }
        let kernels = fs_err::read("/proc/sys/kernel/random/uuid").unwrap();
        assert!(is_uuid_line(&kernels));
        assert_eq!(kernels.len() as u64, UUID_LINE);
    }
}
