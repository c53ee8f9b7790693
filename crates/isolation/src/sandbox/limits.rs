//! How much programs of a sandbox may take of the machine, beside what
//! [`limits`](crate::supervisor::limits) says: memory as files, the size of a file, core dumps.

use fam_host::space::available_memory;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::supervisor::limits::PROCESSES;

/// For file systems that hold directories, links and mount points, as /dev and /sys.
pub(super) const DIRECTORY_BYTES: u64 = 1 << 20;

/// The sizes of the file systems in memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Of /tmp.
    pub(super) tmp_bytes: u64,
    /// Of /dev/shm.
    pub(super) shm_bytes: u64,
    /// Of /run.
    pub(super) run_bytes: u64,
}

impl Room {
    /// By the memory that is available at this moment.
    pub(super) fn now() -> Self {
        Self::of(available_memory().unwrap_or(1 << 30))
    }

    /// A half for /tmp, where compilers work, and an eighth for each of the others, so that a
    /// quarter is left when all are full. At least 64 MiB each, the size of /dev/shm under Docker.
    fn of(available_bytes: u64) -> Self {
        let share = |divisor: u64| (available_bytes / divisor).max(64 << 20);
        Self { tmp_bytes: share(2), shm_bytes: share(8), run_bytes: share(8) }
    }
}

/// Limits what each process may take, after the root is changed.
pub(super) fn limit_resources() -> rustix::io::Result<()> {
    // Programs that close or count every descriptor they might have take minutes where a host
    // allows a billion.
    lower(Resource::Nofile, 1024, 1024 * 1024)?;
    // One byte and not none: with none the kernel still starts a program of the host that
    // `core_pattern` names (core(5)).
    lower(Resource::Core, 1, 1)?;
    // For a user's builds on kernels where PID namespaces have no number of their own.
    lower(Resource::Nproc, PROCESSES, PROCESSES)?;
    // A file that is larger than its file system has holes, and would be written out in full.
    let tree = rustix::fs::statvfs("/")?;
    match tree.f_blocks.saturating_mul(tree.f_frsize) {
        // Some network file systems do not say.
        0 => Ok(()),
        bytes => lower(Resource::Fsize, bytes, bytes),
    }
}

/// Sets a limit, or leaves it where it is lower already.
fn lower(resource: Resource, soft: u64, hard: u64) -> rustix::io::Result<()> {
    let hard = getrlimit(resource).maximum.map_or(hard, |maximum| maximum.min(hard));
    setrlimit(resource, Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_a_quarter_of_the_memory() {
        let room = Room::of(16 << 30);
        assert_eq!(room, Room { tmp_bytes: 8 << 30, shm_bytes: 2 << 30, run_bytes: 2 << 30 });
        let least = 64 << 20;
        assert_eq!(Room::of(100 << 20), Room { tmp_bytes: least, shm_bytes: least, run_bytes: least });
    }
}
