//! Limits for code from outside, scripts of packages and plugins in files: its processes, and its
//! memory.
//!
//! The memory that programs allocate has the limit of the control group that the build runs in, if
//! that has one. A limit for each process would not help, as some programs reserve far more than
//! they use. So where memory ends, the kernel ends these programs before any other.

use std::io;

/// Processes and threads at a time. A configuration has some ten, and a program in Java some
/// hundred threads.
pub const PROCESSES: u64 = 8192;

/// Limits the number of processes by the highest process number of this PID namespace, which binds
/// root as well. Only for the first process of one, while its /proc is writable.
pub fn limit_processes() {
    // On an older kernel root would change the machine's number.
    if has_process_limit_of_namespaces() {
        // Where /proc is held read-only all the same, `RLIMIT_NPROC` is left, for users.
        let _ = fs_err::write("/proc/sys/kernel/pid_max", PROCESSES.to_string());
    }
}

/// Whether PID namespaces have a number of their own on this kernel.
pub(crate) fn has_process_limit_of_namespaces() -> bool {
    has_pid_max_per_namespace(&rustix::system::uname().release().to_string_lossy())
}

/// Whether this release of Linux is 6.14 or later.
fn has_pid_max_per_namespace(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 14))
}

/// Which process the kernel ends where memory ends: first code from outside, then the worker, so
/// that the supervisor is left to clean up.
#[derive(Debug, Clone, Copy)]
pub enum Expendable {
    /// Scripts of packages and plugins in files, the first to be ended.
    Code,
    /// The worker, which is ended before the supervisor.
    Worker,
}

/// Says so of this process and its descendants (`proc_pid_oom_score_adj(5)`). Only who has
/// `CAP_SYS_RESOURCE` on the host can take it back.
///
/// # Errors
/// /proc is not there, or does not take it.
pub fn be_expendable(process: Expendable) -> io::Result<()> {
    let score = match process {
        Expendable::Code => "1000",
        Expendable::Worker => "500",
    };
    fs_err::write("/proc/self/oom_score_adj", score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_the_machine_its_highest_process_number() {
        for (release, expected) in [
            ("6.14.0", true),
            ("6.18.44-fc-v669", true),
            ("7.0-rc1", true),
            ("6.12.43+deb13-amd64", false),
            ("5.15.0-91-generic", false),
            ("6", false),
            ("", false),
            ("unknown", false),
        ] {
            assert_eq!(has_pid_max_per_namespace(release), expected, "{release}");
        }
    }
}
