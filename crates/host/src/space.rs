//! How much room there is, on a file system and in memory.

use std::io;
use std::path::{Path, PathBuf};

use fam_progress::Hint;

/// Why something has no room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system is too full.
    #[error("{} has {:.1} GiB free; {what} takes {:.1} GiB", path.display(), gib(*available), gib(*needed))]
    TooLittle {
        /// Where it would go.
        path: PathBuf,
        /// What would go there.
        what: String,
        /// Bytes free for this user.
        available: u64,
        /// Bytes that it takes.
        needed: u64,
    },
    /// The file system would not say.
    #[error("query the free space of {}: {source}", path.display())]
    Query {
        /// A path on the file system.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::TooLittle { .. } => Some("free some space, or choose another place with --output or TMPDIR".into()),
            Self::Query { .. } => None,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // one digit after the point is shown
fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Bytes that this user may still write to the file system of `path`.
///
/// # Errors
/// [`Error::Query`].
pub fn free_space(path: &Path) -> Result<u64, Error> {
    let status =
        rustix::fs::statvfs(path).map_err(|error| Error::Query { path: path.to_owned(), source: error.into() })?;
    // Not `f_bfree`, which counts what is reserved for root.
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Checks that `needed` bytes for `what` go onto the file system of `path`.
///
/// # Errors
/// [`Error`].
pub fn require_space(path: &Path, what: &str, needed: u64) -> Result<(), Error> {
    let available = free_space(path)?;
    if available >= needed {
        return Ok(());
    }
    Err(Error::TooLittle { path: path.to_owned(), what: what.to_owned(), available, needed })
}

/// Bytes of memory that a build may take without swapping: what the kernel calls available, or what
/// the control group of this process still allows, if that is less. `None` where /proc does not
/// say.
#[must_use]
pub fn available_memory() -> Option<u64> {
    let meminfo = fs_err::read_to_string("/proc/meminfo").ok()?;
    let host = meminfo_bytes(&meminfo, "MemAvailable:")?;
    Some(control_group_room().map_or(host, |room| host.min(room)))
}

fn meminfo_bytes(meminfo: &str, field: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least that any control group of memory, from this process's up to the root, still allows.
pub fn control_group_room() -> Option<u64> {
    let groups = fs_err::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .filter_map(memory_group)
        // A group is held to the limits of all groups above it as well. In a container the path may
        // be one that is not there; its ancestors are.
        .flat_map(|(hierarchy, own)| own.ancestors().filter_map(move |group| hierarchy.room(group)))
        .min()
}

/// The two forms of control groups (cgroups(7)); a host has one of them, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ControlGroups {
    V1,
    V2,
}

impl ControlGroups {
    fn root(self) -> &'static Path {
        Path::new(match self {
            Self::V1 => "/sys/fs/cgroup/memory",
            Self::V2 => "/sys/fs/cgroup",
        })
    }

    /// The bytes that `group` still allows; `None` where it has no limit.
    fn room(self, group: &Path) -> Option<u64> {
        let (limit, used) = self.files();
        let group = self.root().join(group);
        Some(read_number(&group.join(limit))?.saturating_sub(read_number(&group.join(used))?))
    }

    /// The files with the limit and with what is used.
    fn files(self) -> (&'static str, &'static str) {
        match self {
            Self::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            Self::V2 => ("memory.max", "memory.current"),
        }
    }
}

/// The number in a file. The word `max`, for no limit, is none.
fn read_number(path: &Path) -> Option<u64> {
    fs_err::read_to_string(path).ok()?.trim().parse().ok()
}

/// The path, without its first slash, in a line of /proc/self/cgroup that is about memory.
fn memory_group(line: &str) -> Option<(ControlGroups, &Path)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(":/")?;
    let hierarchy = match controllers {
        "" => ControlGroups::V2,
        _ if controllers.split(',').any(|controller| controller == "memory") => ControlGroups::V1,
        _ => return None,
    };
    Some((hierarchy, Path::new(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_there_and_what_is_needed() {
        let error =
            Error::TooLittle { path: "/tmp".into(), what: "four images".into(), available: 3 << 29, needed: 5 << 30 };
        assert_eq!(error.to_string(), "/tmp has 1.5 GiB free; four images takes 5.0 GiB");
        assert!(matches!(require_space(Path::new("/"), "all", u64::MAX), Err(Error::TooLittle { .. })));
        require_space(Path::new("/"), "nothing", 0).unwrap();
        assert!(matches!(free_space(Path::new("/nonexistent")), Err(Error::Query { .. })));
    }

    #[test]
    fn reads_memory() {
        assert_eq!(meminfo_bytes("MemTotal:  9 kB\nMemAvailable:   12 kB\n", "MemAvailable:"), Some(12288));
        assert_eq!(meminfo_bytes("MemAvailable: lots\n", "MemAvailable:"), None);
        assert!(available_memory().unwrap() > 1 << 20);
    }

    #[test]
    fn knows_the_control_group_of_memory_by_either_form() {
        for (line, expected) in [
            ("0::/user.slice/a", Some((ControlGroups::V2, "user.slice/a"))),
            ("0::/", Some((ControlGroups::V2, ""))),
            ("9:memory:/docker/7", Some((ControlGroups::V1, "docker/7"))),
            ("4:cpu,memory:/x", Some((ControlGroups::V1, "x"))),
            ("4:cpu,cpuacct:/x", None),
            ("1:name=systemd:/x", None),
        ] {
            assert_eq!(memory_group(line), expected.map(|(form, path)| (form, Path::new(path))), "{line}");
        }
    }
}
