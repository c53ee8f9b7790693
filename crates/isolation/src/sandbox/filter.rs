//! The system calls that programs of a sandbox may make, enforced by filters of the kernel
//! (seccomp(2)).
//!
//! There are three filters, each a list of calls with one answer. Where they differ, the kernel
//! takes the strictest answer:
//!
//! 1. What [`calls::ALLOWED`] does not list fails with `ENOSYS`. To programs and libc that is an
//!    older kernel, for which they have other ways.
//! 2. What [`calls::DENIED`] lists fails with `EPERM`, as it does without the capability for it. So
//!    do allowed calls with arguments that would make a namespace or type into a terminal.
//! 3. Sockets of other families than those needed fail with `EAFNOSUPPORT`, as on a kernel without
//!    them. `EPERM` from the socket for audit records would make useradd and its like give up.
//!
//! Where programs have the [host's network](Reach::HostNetwork), there are fewer sockets still, and
//! none to which anyone could connect.
//!
//! A program that enters the kernel by the calls of 32 bits, whose numbers mean something else, is
//! killed. The numbers of x32 are not listed. The filters hold for this process and all that it
//! starts, whichever program or user that becomes.

use std::io;

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction as Action, SeccompCmpArgLen as Width, SeccompCmpOp as Is,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule,
};

use super::calls;

pub use super::calls::DENIED;

/// All flags of clone(2) that make a namespace. `CLONE_NEWTIME` is not among its flags: there these
/// bits are the signal.
pub const NEW_NAMESPACES: [c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// `TIOCSTI` puts characters into a terminal's input, `TIOCLINUX` pastes into a console. The type
/// of libc's own numbers differs between C libraries.
const TERMINAL_INPUT: [u32; 2] = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32];

/// The netlink families that scripts were seen to need: addresses and routes for libc and `ip`; the
/// list of sockets for `ss` (nginx); netfilter for `iptables --version` (ufw). The last only
/// refuses: the kernel looks into no message of a process without `CAP_NET_ADMIN`, and no process
/// here can get it.
const NETLINK: [c_int; 3] = [libc::NETLINK_ROUTE, libc::NETLINK_SOCK_DIAG, libc::NETLINK_NETFILTER];

/// Of these, what is for addresses and routes alone.
const NETLINK_ON_HOST: [c_int; 1] = [libc::NETLINK_ROUTE];

/// Which network programs are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// One of their own, in which there is nothing but themselves.
    Itself,
    /// That of the host, to which they may connect by IPv4 and IPv6. Sockets of files and names in
    /// memory lead to services of the host, many of which trust whoever connects; so there are
    /// none, but connected pairs. And nobody is to take a program inside for a service of the host:
    /// none listens.
    HostNetwork,
}

/// The kernel reads the argument of this number as a `u32` or `int`, so the upper half must not
/// matter here either.
fn argument(number: u8, is: Is, value: impl Into<u64>) -> Result<Condition, BackendError> {
    Condition::new(number, Width::Dword, is, value.into())
}

/// A call, and the arguments with which the filter is meant: any of the rules, or always where
/// there is none.
type Call = (c_long, Vec<Rule>);

fn denied(reach: Reach) -> Result<Vec<Call>, BackendError> {
    let mut calls: Vec<Call> = DENIED.iter().map(|&number| (number, Vec::new())).collect();
    if reach == Reach::HostNetwork {
        calls.push((libc::SYS_listen, Vec::new()));
    }
    let namespace = |flag: c_int| {
        let bit = u64::from(flag.cast_unsigned());
        Rule::new(vec![argument(0, Is::MaskedEq(bit), bit)?])
    };
    // A rule for each flag: one with the mask of all would fit only where all are asked for at
    // once.
    calls.push((libc::SYS_clone, NEW_NAMESPACES.into_iter().map(namespace).collect::<Result<_, _>>()?));
    let input = |request: u32| Rule::new(vec![argument(1, Is::Eq, request)?]);
    calls.push((libc::SYS_ioctl, TERMINAL_INPUT.into_iter().map(input).collect::<Result<_, _>>()?));
    Ok(calls)
}

/// The sockets that are left: of files, of the loopback interface, and the netlink families below.
/// Each other family is much code of the kernel's, and `AF_VSOCK` leads out of the network
/// namespace.
fn other_sockets(reach: Reach) -> Result<Vec<Call>, BackendError> {
    const DOMAIN: u8 = 0;
    const TYPE: u8 = 1;
    const PROTOCOL: u8 = 2;
    let all_others = |number: u8, known: &[c_int]| -> Result<Vec<Condition>, BackendError> {
        known.iter().map(|known| argument(number, Is::Ne, known.cast_unsigned())).collect()
    };
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_UNIX];
    let mut pairs = vec![Rule::new(all_others(DOMAIN, &[libc::AF_UNIX])?)?];
    let (families, protocols) = match reach {
        Reach::Itself => (&families[..], &NETLINK[..]),
        Reach::HostNetwork => {
            // Datagrams of a pair can be sent to any name. The kernel takes "raw" for the same.
            for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
                pairs.push(Rule::new(vec![argument(TYPE, Is::MaskedEq(0xf), kind.cast_unsigned())?])?);
            }
            (&families[..3], &NETLINK_ON_HOST[..])
        }
    };
    let mut netlink = all_others(PROTOCOL, protocols)?;
    netlink.push(argument(DOMAIN, Is::Eq, libc::AF_NETLINK.cast_unsigned())?);
    Ok(vec![
        (libc::SYS_socket, vec![Rule::new(all_others(DOMAIN, families)?)?, Rule::new(netlink)?]),
        (libc::SYS_socketpair, pairs),
    ])
}

fn programs(reach: Reach) -> Result<[BpfProgram; 3], BackendError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let errno = |number: c_int| Action::Errno(number.cast_unsigned());
    let program = |calls: Vec<Call>, others, listed| {
        SeccompFilter::new(calls.into_iter().collect(), others, listed, architecture)?.try_into()
    };
    let allowed = calls::ALLOWED.iter().copied().flatten().map(|&number| (number, Vec::new())).collect();
    Ok([
        program(allowed, errno(libc::ENOSYS), Action::Allow)?,
        // Of two errors the kernel takes that of the later filter.
        program(denied(reach)?, Action::Allow, errno(libc::EPERM))?,
        program(other_sockets(reach)?, Action::Allow, errno(libc::EAFNOSUPPORT))?,
    ])
}

/// Binds this thread, and all that it starts from now on. It must have `CAP_SYS_ADMIN` in its user
/// namespace: without that the kernel asks for `no_new_privs`, which would leave setuid programs,
/// which scripts run (su, sudo), and file capabilities without effect.
///
/// # Errors
/// The kernel has no filters, or does not allow them.
pub(crate) fn install(reach: Reach) -> io::Result<()> {
    if cfg!(fam_build_unprotected) {
        return Ok(());
    }
    programs(reach).map_err(io::Error::other)?.iter().try_for_each(install_program)
}

#[allow(unsafe_code)]
fn install_program(program: &BpfProgram) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> =
        program.iter().map(|step| libc::sock_filter { code: step.code, jt: step.jt, jf: step.jf, k: step.k }).collect();
    let len = instructions.len().try_into().map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    // Kernels before 5.16 would else slow all programs down by guarding them against speculation,
    // which keeps threads of one process apart from each other: nothing that is needed here.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the kernel copies `len` instructions from the vector, which outlives the call, and
    // writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: &str = "killed";
    const FINE: &str = "fine";

    /// What the kernel would do: it runs all programs, and takes the strictest answer, of two
    /// errors the later program's.
    fn answer(number: c_long, arguments: &[u64], architecture: u32) -> &'static str {
        answer_in(Reach::Itself, number, arguments, architecture)
    }

    fn answer_in(reach: Reach, number: c_long, arguments: &[u64], architecture: u32) -> &'static str {
        let mut data = vec![0_u32; 16];
        (data[0], data[1]) = (u32::try_from(number).unwrap(), architecture);
        for (at, argument) in arguments.iter().enumerate() {
            data[4 + 2 * at] = *argument as u32;
            data[5 + 2 * at] = (*argument >> 32) as u32;
        }
        let answers = programs(reach).unwrap().map(|program| execute(&program, &data));
        let strictest = answers.into_iter().rev().min_by_key(|answer| (answer & 0xffff_0000).cast_signed()).unwrap();
        match (strictest & 0xffff_0000, (strictest & 0xffff).cast_signed()) {
            (libc::SECCOMP_RET_ALLOW, _) => FINE,
            (libc::SECCOMP_RET_KILL_PROCESS, _) => KILLED,
            (libc::SECCOMP_RET_ERRNO, libc::ENOSYS) => "ENOSYS",
            (libc::SECCOMP_RET_ERRNO, libc::EPERM) => "EPERM",
            (libc::SECCOMP_RET_ERRNO, libc::EAFNOSUPPORT) => "EAFNOSUPPORT",
            _ => panic!("{strictest:#x}"),
        }
    }

    /// Executes a program of classic BPF (linux/Documentation/networking/filter.rst), as far as
    /// filters use it.
    fn execute(program: &BpfProgram, data: &[u32]) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            let jump = |condition| usize::from(if condition { step.jt } else { step.jf });
            match u32::from(step.code) {
                0x20 => accumulator = data[step.k as usize / 4],
                0x54 => accumulator &= step.k,
                0x05 => at += step.k as usize,
                0x15 => at += jump(accumulator == step.k),
                0x25 => at += jump(accumulator > step.k),
                0x35 => at += jump(accumulator >= step.k),
                0x06 => return step.k,
                code => panic!("{code:#x}"),
            }
        }
    }

    /// `AUDIT_ARCH_` of linux/audit.h: machine, 64 bits, little endian.
    const THIS: u32 = if cfg!(target_arch = "x86_64") { 62 } else { 183 } | 0xc000_0000;
    const I386: u32 = 3 | 0x4000_0000;

    #[test]
    fn answers_by_number_and_arguments() {
        let flag = |flag: c_int| u64::from(flag.cast_unsigned());
        let thread = flag(libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_CHILD_CLEARTID);
        let fork = flag(libc::CLONE_CHILD_SETTID | libc::SIGCHLD);
        let high = 1 << 32;
        let cases: &[(c_long, &[u64], &str)] = &[
            (libc::SYS_read, &[], FINE),
            (libc::SYS_execve, &[], FINE),
            (libc::SYS_clone, &[thread], FINE),
            (libc::SYS_clone, &[fork], FINE),
            (libc::SYS_clone, &[fork | flag(libc::CLONE_NEWUSER)], "EPERM"),
            (libc::SYS_clone, &[fork | flag(libc::CLONE_NEWNS)], "EPERM"),
            (libc::SYS_clone, &[thread | flag(libc::CLONE_NEWCGROUP)], "EPERM"),
            (libc::SYS_clone, &[high | flag(libc::CLONE_NEWNET)], "EPERM"),
            (libc::SYS_clone3, &[], "ENOSYS"),
            (libc::SYS_unshare, &[0], "EPERM"),
            (libc::SYS_mount, &[], "EPERM"),
            (libc::SYS_keyctl, &[], "EPERM"),
            (libc::SYS_ptrace, &[0], "EPERM"),
            (libc::SYS_io_uring_setup, &[], "ENOSYS"),
            (libc::SYS_memfd_secret, &[], "ENOSYS"),
            (9999, &[], "ENOSYS"),
            (libc::SYS_ioctl, &[0, libc::TCGETS], FINE),
            (libc::SYS_ioctl, &[0, libc::TIOCSTI], "EPERM"),
            (libc::SYS_ioctl, &[0, high | libc::TIOCSTI], "EPERM"),
            (libc::SYS_ioctl, &[0, libc::TIOCLINUX], "EPERM"),
            (libc::SYS_socket, &[flag(libc::AF_UNIX), 1, 0], FINE),
            (libc::SYS_socket, &[flag(libc::AF_INET), 1, 6], FINE),
            (libc::SYS_socket, &[flag(libc::AF_INET6), 2, 17], FINE),
            (libc::SYS_socket, &[flag(libc::AF_NETLINK), 3, flag(libc::NETLINK_ROUTE)], FINE),
            (libc::SYS_socket, &[flag(libc::AF_NETLINK), 3, flag(libc::NETLINK_AUDIT)], "EAFNOSUPPORT"),
            (libc::SYS_socket, &[flag(libc::AF_NETLINK), 3, flag(libc::NETLINK_NETFILTER)], FINE),
            (libc::SYS_socket, &[flag(libc::AF_NETLINK), 3, high | flag(libc::NETLINK_GENERIC)], "EAFNOSUPPORT"),
            (libc::SYS_socket, &[high | flag(libc::AF_VSOCK), 1, 0], "EAFNOSUPPORT"),
            (libc::SYS_socket, &[flag(libc::AF_PACKET), 3, 0], "EAFNOSUPPORT"),
            (libc::SYS_socket, &[flag(libc::AF_ALG), 5, 0], "EAFNOSUPPORT"),
            (libc::SYS_socketpair, &[flag(libc::AF_UNIX), 1, 0], FINE),
            (libc::SYS_socketpair, &[flag(libc::AF_TIPC), 1, 0], "EAFNOSUPPORT"),
        ];
        for (number, arguments, expected) in cases {
            assert_eq!(answer(*number, arguments, THIS), *expected, "{number} {arguments:x?}");
        }
    }

    #[test]
    fn in_the_network_of_the_host_programs_connect_by_addresses_alone() {
        let flag = |flag: c_int| u64::from(flag.cast_unsigned());
        let (stream, datagram, closed) = (flag(libc::SOCK_STREAM), flag(libc::SOCK_DGRAM), flag(libc::SOCK_CLOEXEC));
        let cases: &[(c_long, &[u64], &str)] = &[
            (libc::SYS_socket, &[flag(libc::AF_INET), stream, 6], FINE),
            (libc::SYS_socket, &[flag(libc::AF_INET6), datagram, 17], FINE),
            (libc::SYS_socket, &[flag(libc::AF_NETLINK), 3, flag(libc::NETLINK_ROUTE)], FINE),
            (libc::SYS_socket, &[flag(libc::AF_NETLINK), 3, flag(libc::NETLINK_SOCK_DIAG)], "EAFNOSUPPORT"),
            (libc::SYS_socket, &[flag(libc::AF_NETLINK), 3, flag(libc::NETLINK_NETFILTER)], "EAFNOSUPPORT"),
            (libc::SYS_socket, &[flag(libc::AF_UNIX), stream, 0], "EAFNOSUPPORT"),
            (libc::SYS_socket, &[1 << 32 | flag(libc::AF_UNIX), datagram, 0], "EAFNOSUPPORT"),
            (libc::SYS_socket, &[flag(libc::AF_VSOCK), stream, 0], "EAFNOSUPPORT"),
            (libc::SYS_socketpair, &[flag(libc::AF_UNIX), stream | closed, 0], FINE),
            (libc::SYS_socketpair, &[flag(libc::AF_UNIX), flag(libc::SOCK_SEQPACKET), 0], FINE),
            (libc::SYS_socketpair, &[flag(libc::AF_UNIX), datagram | closed, 0], "EAFNOSUPPORT"),
            (libc::SYS_socketpair, &[flag(libc::AF_UNIX), flag(libc::SOCK_RAW), 0], "EAFNOSUPPORT"),
            (libc::SYS_socketpair, &[flag(libc::AF_INET), stream, 0], "EAFNOSUPPORT"),
            (libc::SYS_connect, &[], FINE),
            (libc::SYS_listen, &[], "EPERM"),
            (libc::SYS_unshare, &[0], "EPERM"),
            (libc::SYS_io_uring_setup, &[], "ENOSYS"),
        ];
        for (number, arguments, expected) in cases {
            assert_eq!(answer_in(Reach::HostNetwork, *number, arguments, THIS), *expected, "{number} {arguments:x?}");
        }
        assert_eq!(answer(libc::SYS_listen, &[], THIS), FINE);
        assert_eq!(answer(libc::SYS_socketpair, &[flag(libc::AF_UNIX), datagram, 0], THIS), FINE);
    }

    #[test]
    fn other_entries_into_the_kernel_are_closed() {
        for number in [libc::SYS_read, libc::SYS_mount, libc::SYS_unshare] {
            assert_eq!(answer(number, &[], I386), KILLED, "{number}");
            // As x32 numbers them.
            assert_eq!(answer(number | 0x4000_0000, &[], THIS), "ENOSYS", "{number}");
        }
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut all: Vec<c_long> = calls::ALLOWED.iter().copied().flatten().chain(DENIED).copied().collect();
        all.sort_unstable();
        let mut once = all.clone();
        once.dedup();
        assert_eq!(all, once);
    }
}
