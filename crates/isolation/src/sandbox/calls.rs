//! The lists of system calls for [`super::filter`], each group with the reason why it is there.
//!
//! What stands in neither list fails with `ENOSYS`. Left out on purpose are `clone3` (its flags lie
//! in memory, where no filter sees them; libc falls back on `clone`), those of `io_uring` (it makes
//! other calls, past every filter; programs fall back on those calls), `memfd_secret`, NUMA
//! policies, and all that is newer than the lists.

use libc::*;

/// What programs may call.
pub(super) const ALLOWED: &[&[c_long]] = &[
    FILES,
    NAMES,
    ATTRIBUTES,
    MEMORY,
    PROCESSES,
    SIGNALS,
    SCHEDULING,
    USERS,
    TIME,
    WAITING,
    SOCKETS,
    IPC,
    SELF_RESTRICTION,
    OF_THIS_ARCHITECTURE,
];

/// Bytes of files: read, written, copied, locked, synced. `ioctl` is also for terminals, chattr and
/// reflinks.
#[rustfmt::skip]
const FILES: &[c_long] = &[
    SYS_close, SYS_close_range, SYS_copy_file_range, SYS_dup, SYS_dup3, SYS_fadvise64, SYS_fallocate, SYS_fcntl,
    SYS_fdatasync, SYS_flock, SYS_fsync, SYS_ftruncate, SYS_io_cancel, SYS_io_destroy, SYS_io_getevents, SYS_io_setup,
    SYS_io_submit, SYS_ioctl, SYS_lseek, SYS_openat, SYS_openat2, SYS_pread64, SYS_preadv, SYS_preadv2, SYS_pwrite64,
    SYS_pwritev, SYS_pwritev2, SYS_read, SYS_readahead, SYS_readv, SYS_sendfile, SYS_splice, SYS_sync, SYS_syncfs, SYS_tee,
    SYS_truncate, SYS_vmsplice, SYS_write, SYS_writev,
];

/// Names and directories. `mknodat` makes FIFOs and sockets; devices need a capability that is not
/// there. `chroot` is for scripts that set a jail up.
#[rustfmt::skip]
const NAMES: &[c_long] = &[
    SYS_chdir, SYS_chroot, SYS_faccessat, SYS_faccessat2, SYS_fchdir, SYS_fstat, SYS_fstatfs, SYS_getcwd, SYS_getdents64,
    SYS_inotify_add_watch, SYS_inotify_init1, SYS_inotify_rm_watch, SYS_linkat, SYS_mkdirat, SYS_mknodat, SYS_newfstatat,
    SYS_readlinkat, SYS_renameat2, SYS_statfs, SYS_statx, SYS_symlinkat, SYS_umask, SYS_unlinkat,
];

/// Owners, modes, times and extended attributes: dpkg-statoverride, setcap, ACLs.
#[rustfmt::skip]
const ATTRIBUTES: &[c_long] = &[
    SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_fgetxattr, SYS_flistxattr, SYS_fremovexattr, SYS_fsetxattr,
    SYS_getxattr, SYS_lgetxattr, SYS_listxattr, SYS_llistxattr, SYS_lremovexattr, SYS_lsetxattr, SYS_removexattr,
    SYS_setxattr, SYS_utimensat,
];

/// Memory, with what just-in-time compilers (Java, Mono, PCRE) and databases do to it.
#[rustfmt::skip]
const MEMORY: &[c_long] = &[
    SYS_brk, SYS_madvise, SYS_membarrier, SYS_memfd_create, SYS_mincore, SYS_mlock, SYS_mlock2, SYS_mlockall, SYS_mmap,
    SYS_mprotect, SYS_mremap, SYS_mseal, SYS_msync, SYS_munlock, SYS_munlockall, SYS_munmap, SYS_pkey_alloc, SYS_pkey_free,
    SYS_pkey_mprotect,
];

/// Processes and threads: begun, executed, waited for, limited, asked about. The filter looks at
/// the flags of `clone`.
#[rustfmt::skip]
const PROCESSES: &[c_long] = &[
    SYS_clone, SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_futex, SYS_futex_waitv, SYS_get_robust_list,
    SYS_getpgid, SYS_getpid, SYS_getppid, SYS_getrandom, SYS_getrusage, SYS_getsid, SYS_gettid, SYS_personality,
    SYS_pidfd_open, SYS_prctl, SYS_prlimit64, SYS_rseq, SYS_set_robust_list, SYS_set_tid_address, SYS_setpgid, SYS_setsid,
    SYS_sysinfo, SYS_times, SYS_uname, SYS_wait4, SYS_waitid,
];

/// Signals, to processes of the sandbox: there are no others in its PID namespace.
#[rustfmt::skip]
const SIGNALS: &[c_long] = &[
    SYS_kill, SYS_pidfd_send_signal, SYS_restart_syscall, SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask,
    SYS_rt_sigqueueinfo, SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_rt_tgsigqueueinfo, SYS_sigaltstack,
    SYS_signalfd4, SYS_tgkill, SYS_tkill,
];

/// Priorities and processors: nice, ionice, chrt, taskset. Raising them needs a capability that is
/// not there.
#[rustfmt::skip]
const SCHEDULING: &[c_long] = &[
    SYS_getcpu, SYS_getpriority, SYS_ioprio_get, SYS_ioprio_set, SYS_sched_get_priority_max, SYS_sched_get_priority_min,
    SYS_sched_getaffinity, SYS_sched_getattr, SYS_sched_getparam, SYS_sched_getscheduler, SYS_sched_rr_get_interval,
    SYS_sched_setaffinity, SYS_sched_setattr, SYS_sched_setparam, SYS_sched_setscheduler, SYS_sched_yield, SYS_setpriority,
];

/// Users, groups and capabilities: su, sudo, runuser, setpriv, and daemons that make their files as
/// their own users.
#[rustfmt::skip]
const USERS: &[c_long] = &[
    SYS_capget, SYS_capset, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getgroups, SYS_getresgid, SYS_getresuid, SYS_getuid,
    SYS_setfsgid, SYS_setfsuid, SYS_setgid, SYS_setgroups, SYS_setregid, SYS_setresgid, SYS_setresuid, SYS_setreuid,
    SYS_setuid,
];

/// Reading clocks, sleeping, timers.
#[rustfmt::skip]
const TIME: &[c_long] = &[
    SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_getitimer, SYS_gettimeofday, SYS_nanosleep, SYS_setitimer,
    SYS_timer_create, SYS_timer_delete, SYS_timer_getoverrun, SYS_timer_gettime, SYS_timer_settime, SYS_timerfd_create,
    SYS_timerfd_gettime, SYS_timerfd_settime,
];

/// Waiting for several things at once, and pipes.
#[rustfmt::skip]
const WAITING: &[c_long] = &[
    SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_pipe2, SYS_ppoll, SYS_pselect6,
];

/// Sockets. The filter looks at their families.
#[rustfmt::skip]
const SOCKETS: &[c_long] = &[
    SYS_accept, SYS_accept4, SYS_bind, SYS_connect, SYS_getpeername, SYS_getsockname, SYS_getsockopt, SYS_listen,
    SYS_recvfrom, SYS_recvmmsg, SYS_recvmsg, SYS_sendmmsg, SYS_sendmsg, SYS_sendto, SYS_setsockopt, SYS_shutdown,
    SYS_socket, SYS_socketpair,
];

/// Message queues, semaphores and shared memory of the IPC namespace: fakeroot, initdb, Python's
/// multiprocessing.
#[rustfmt::skip]
const IPC: &[c_long] = &[
    SYS_mq_getsetattr, SYS_mq_notify, SYS_mq_open, SYS_mq_timedreceive, SYS_mq_timedsend, SYS_mq_unlink, SYS_msgctl,
    SYS_msgget, SYS_msgrcv, SYS_msgsnd, SYS_semctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_shmat, SYS_shmctl, SYS_shmdt,
    SYS_shmget,
];

/// What programs give up by themselves: mandb, file, xz and apt have filters of their own.
const SELF_RESTRICTION: &[c_long] =
    &[SYS_landlock_add_rule, SYS_landlock_create_ruleset, SYS_landlock_restrict_self, SYS_seccomp];

/// Older forms of the calls above, which newer architectures never had.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OF_THIS_ARCHITECTURE: &[c_long] = &[
    SYS_access, SYS_alarm, SYS_arch_prctl, SYS_chmod, SYS_chown, SYS_creat, SYS_dup2, SYS_epoll_create, SYS_epoll_wait,
    SYS_eventfd, SYS_fchmodat2, SYS_fork, SYS_futimesat, SYS_getdents, SYS_getpgrp, SYS_getrlimit, SYS_inotify_init,
    SYS_lchown, SYS_link, SYS_lstat, SYS_mkdir, SYS_mknod, SYS_open, SYS_pause, SYS_pipe, SYS_poll, SYS_readlink,
    SYS_rename, SYS_renameat, SYS_rmdir, SYS_select, SYS_setrlimit, SYS_signalfd, SYS_stat, SYS_symlink,
    SYS_sync_file_range, SYS_time, SYS_unlink, SYS_utime, SYS_utimes, SYS_vfork,
];

/// Older forms of the calls above, which newer architectures never had.
#[cfg(not(target_arch = "x86_64"))]
const OF_THIS_ARCHITECTURE: &[c_long] = &[];

/// What fails with `EPERM`: that is how each of these fails for want of a capability, so programs
/// know what to make of it.
#[rustfmt::skip]
pub const DENIED: &[c_long] = &[
    // Namespaces: in a user namespace of its own a program has every capability, and more of the
    // kernel takes its calls.
    SYS_setns, SYS_unshare,
    // Mounts, by the old calls and the new: control groups, overlays, /proc.
    SYS_fsconfig, SYS_fsmount, SYS_fsopen, SYS_fspick, SYS_mount, SYS_mount_setattr, SYS_move_mount, SYS_open_tree,
    SYS_pivot_root, SYS_umount2,
    // Keyrings are not namespaced: a key of root's is the host's.
    SYS_add_key, SYS_keyctl, SYS_request_key,
    // Files by handle lead past any root; fanotify watches whole file systems.
    SYS_fanotify_init, SYS_fanotify_mark, SYS_name_to_handle_at, SYS_open_by_handle_at,
    // Other processes' memory and descriptors: for debuggers. fakeroot does without.
    SYS_kcmp, SYS_pidfd_getfd, SYS_process_madvise, SYS_process_mrelease, SYS_process_vm_readv, SYS_process_vm_writev,
    SYS_ptrace,
    // Programs for the kernel itself, and what stops it in the midst of a page fault.
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd,
    // The machine: its kernel, modules, clock, names, accounts, quotas, swap and log.
    SYS_acct, SYS_adjtimex, SYS_clock_adjtime, SYS_clock_settime, SYS_delete_module, SYS_finit_module, SYS_init_module,
    SYS_kexec_file_load, SYS_kexec_load, SYS_lookup_dcookie, SYS_nfsservctl, SYS_quotactl, SYS_quotactl_fd, SYS_reboot,
    SYS_setdomainname, SYS_sethostname, SYS_settimeofday, SYS_swapoff, SYS_swapon, SYS_syslog, SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    SYS_iopl,
];
