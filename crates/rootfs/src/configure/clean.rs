//! Removes from a configured tree what belongs to its making and not to the system: what would
//! differ from one build to the next, what must differ from one machine to the next, and what is
//! only bulk.

use std::path::{Path, PathBuf};

use fam_plugin::{Attributes, FileType, Metadata, Problem, Result, RootFs};

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
/// [`fam_plugin::Error`]
pub fn clean(files: &mut dyn RootFs) -> Result<()> {
    for path in REMOVED {
        // A link, such as dbus's to /etc/machine-id, is part of the system.
        if let Some((path, metadata)) = find(files, path)?
            && !matches!(metadata.file_type, FileType::Symlink(_))
        {
            files.remove(&path)?;
        }
    }
    for path in EMPTIED {
        each_file(files, path, |files, path, _| files.remove(path))?;
    }
    each_file(files, "var/log", truncate)?;
    for directory in ["etc", "var"] {
        each_file(files, directory, give_secret_to_root)?;
    }
    // Empty rather than gone: without the file systemd takes the next boot for the first, and
    // applies its presets to all units again (machine-id(5), "First Boot Semantics").
    if let Some((path, metadata)) = find(files, "etc/machine-id")?
        && metadata.is_file()
    {
        files.write(&path, b"", Attributes::mode(0o644).owner(0, 0))?;
    }
    // Host keys, which must not be the same on two machines; and copies of debconf's and dpkg's
    // databases and of initramfs images, as they were in the midst of the build.
    for (directory, leftover) in [
        ("etc/ssh", (|name: &str| name.starts_with("ssh_host_") && !name.ends_with("_config")) as fn(&str) -> bool),
        ("var/cache/debconf", |name| name.ends_with("-old")),
        ("var/lib/dpkg", |name| name.ends_with("-old")),
        ("boot", |name| name.ends_with(".dpkg-bak")),
    ] {
        let Some((directory, metadata)) = find(files, directory)? else { continue };
        if metadata.is_dir() {
            for name in files.list(&directory)?.iter().filter(|name| name.to_str().is_some_and(leftover)) {
                files.remove(&directory.join(name))?;
            }
        }
    }
    Ok(())
}

/// What is at `path`, if anything, and the path without links before its last component.
fn find(files: &dyn RootFs, path: &str) -> Result<Option<(PathBuf, Metadata)>> {
    let path = match files.resolve(path.as_ref(), false) {
        Err(Problem::NotFound | Problem::NotADirectory) => return Ok(None),
        found => found.map_err(|problem| problem.at("find", path))?,
    };
    match files.metadata(&path) {
        Err(error) if error.is_not_found() => Ok(None),
        metadata => Ok(Some((path, metadata?))),
    }
}

/// Does `what` to everything under `directory` that is no directory.
fn each_file(
    files: &mut dyn RootFs,
    directory: &str,
    mut what: impl FnMut(&mut dyn RootFs, &Path, &Metadata) -> Result<()>,
) -> Result<()> {
    let top = find(files, directory)?.filter(|(_, metadata)| metadata.is_dir());
    let mut directories: Vec<PathBuf> = top.into_iter().map(|(path, _)| path).collect();
    while let Some(directory) = directories.pop() {
        for name in files.list(&directory)? {
            let path = directory.join(name);
            let metadata = files.metadata(&path)?;
            if metadata.is_dir() {
                directories.push(path);
            } else {
                what(files, &path, &metadata)?;
            }
        }
    }
    Ok(())
}

/// Empties the regular file at `path`, if it is one with bytes in it.
fn truncate(files: &mut dyn RootFs, path: &Path, metadata: &Metadata) -> Result<()> {
    // Owner and mode stay: /var/log/btmp, for one, belongs to the group utmp.
    if metadata.is_file() && metadata.size > 0 { files.write(path, b"", Attributes::default()) } else { Ok(()) }
}

/// Gives the file at `path` to root, if it is a secret copied from /proc/sys/kernel/random/uuid
/// with its owner, as tmpfiles.d(5) and `cp -p` do: on a machine that is root.
fn give_secret_to_root(files: &mut dyn RootFs, path: &Path, metadata: &Metadata) -> Result<()> {
    let is_nobodys = (metadata.uid, metadata.gid) == (OVERFLOW_ID, OVERFLOW_ID);
    if !metadata.is_file() || metadata.size != UUID_LINE || !is_nobodys || !is_uuid_line(&files.read(path)?) {
        return Ok(());
    }
    // Left as it is, the file would be that of `nobody`, whom it is to be kept from.
    files.set_owner(path, 0, 0)
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
