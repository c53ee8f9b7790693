//! What a plugin may not ask of the kernel: to write anywhere but to its temporary files (Landlock,
//! where the kernel has it), and what a program that reads and writes files has no use for (a
//! seccomp filter). The root that it lives in has little to reach; this is for what no mount keeps
//! out: sockets and FIFOs in directories that it may read, namespaces and keyrings, and the parts
//! of the kernel in which most faults are found.

use std::collections::BTreeMap;
use std::io;

use fam_isolation::sandbox::filter::{DENIED, NEW_NAMESPACES};
use landlock::{ABI, Access, AccessFs, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope};
use rustix::fs::{Mode, OFlags};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::mounts::{DEVICES, TEMPORARY};

/// Denied with `EPERM`, each with what it would be for, beside what programs of a sandbox are
/// denied.
#[rustfmt::skip]
const ALSO_DENIED: &[libc::c_long] = &[
    // The root that it lives in. `clone`, which could make namespaces, is looked at below.
    libc::SYS_chroot,
    // Sockets: there is no network, and a path or a name in memory may lead to one of the host.
    // Pairs are looked at below.
    libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen,
    // Calls that pass filters by, memory that the kernel cannot see.
    libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_memfd_secret,
];

/// Lets this process, and all that it will start, write to the temporary files alone. A kernel
/// without Landlock does nothing.
///
/// # Errors
/// Where a path is not there, or the kernel has Landlock and refuses.
pub(super) fn confine_writes() -> io::Result<()> {
    // The newest that there is; of older kernels each takes what it knows.
    const KNOWN: ABI = ABI::V10;
    let open = |path: &str| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let mut paths = vec![
        (open("/")?, AccessFs::from_read(KNOWN)),
        (open(TEMPORARY)?, AccessFs::from_all(KNOWN)),
        // This program, which loads libraries, and is outside the root.
        (open("/proc/self/exe")?, AccessFs::Execute | AccessFs::ReadFile),
    ];
    for device in DEVICES {
        paths.push((open(device)?, AccessFs::from_file(KNOWN)));
    }
    let restrict = || -> Result<(), RulesetError> {
        let mut rules =
            Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?.scope(Scope::from_all(KNOWN))?.create()?;
        for (path, access) in paths {
            rules = rules.add_rule(PathBeneath::new(path, access))?;
        }
        rules.restrict_self().map(drop)
    };
    restrict().map_err(io::Error::other)
}

/// Filters the system calls of this process, and of all that it will start.
///
/// # Errors
/// Where the kernel has no filters, or another architecture than this program.
pub(super) fn filter_calls() -> io::Result<()> {
    let programs = || -> Result<[BpfProgram; 2], BackendError> {
        // Its flags lie in memory, where no filter sees them. Without it, the C library calls
        // `clone`.
        let missing = BTreeMap::from_iter(every_abi(libc::SYS_clone3).map(|number| (number, Vec::new())));
        Ok([program(denied()?, libc::EPERM)?, program(missing, libc::ENOSYS)?])
    };
    for program in programs().map_err(io::Error::other)? {
        seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<BpfProgram, BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let errno = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, errno, architecture)?.try_into()
}

/// What is denied: without rules always, else where one of them holds.
fn denied() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let holds = |argument, operator, value: libc::c_int| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.unsigned_abs().into())
    };
    let mut clone = Vec::new();
    for flag in NEW_NAMESPACES {
        let has = SeccompCmpOp::MaskedEq(flag.unsigned_abs().into());
        clone.push(SeccompRule::new(vec![holds(0, has, flag)?])?);
    }
    // Datagrams of a pair can be sent to any path. The kernel takes "raw" for the same.
    let of_type = || SeccompCmpOp::MaskedEq(0xf);
    let pair = vec![
        SeccompRule::new(vec![holds(0, SeccompCmpOp::Ne, libc::AF_UNIX)?])?,
        SeccompRule::new(vec![holds(1, of_type(), libc::SOCK_DGRAM)?])?,
        SeccompRule::new(vec![holds(1, of_type(), libc::SOCK_RAW)?])?,
    ];
    let always = DENIED.iter().chain(ALSO_DENIED).map(|call| (*call, Vec::new()));
    let sometimes = [(libc::SYS_clone, clone), (libc::SYS_socketpair, pair)];
    let mut rules = BTreeMap::new();
    for (call, conditions) in always.chain(sometimes) {
        rules.extend(every_abi(call).map(|number| (number, conditions.clone())));
    }
    Ok(rules)
}

/// The numbers of a system call. On x86-64 those of the x32 ABI, where a kernel has that, reach the
/// same.
fn every_abi(call: libc::c_long) -> impl Iterator<Item = i64> {
    /// `__X32_SYSCALL_BIT` of `asm/unistd.h`.
    const X32: i64 = 0x4000_0000;
    /// Those that have another number there.
    const OTHERWISE: [(libc::c_long, i64); 4] = [
        (libc::SYS_ptrace, 521),
        (libc::SYS_kexec_load, 528),
        (libc::SYS_process_vm_readv, 539),
        (libc::SYS_process_vm_writev, 540),
    ];
    let otherwise = OTHERWISE.iter().find(|(number, _)| *number == call).map(|(_, number)| X32 | number);
    let x32 = [Some(X32 | call), otherwise].into_iter().flatten().filter(|_| cfg!(target_arch = "x86_64"));
    std::iter::once(call).chain(x32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_fit_the_kernel() {
        let program = program(denied().unwrap(), libc::EPERM).unwrap();
        assert!(program.len() < 1000, "the kernel takes 4096 instructions, and runs them at each call");
    }

    #[test]
    fn x32_is_no_way_around() {
        let numbers: Vec<i64> = every_abi(libc::SYS_ptrace).collect();
        let expected = [101, 0x4000_0000 | 101, 0x4000_0000 | 521];
        assert_eq!(numbers, if cfg!(target_arch = "x86_64") { expected.to_vec() } else { vec![libc::SYS_ptrace] });
    }
}
