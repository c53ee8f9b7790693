//! Maintainer scripts that mean harm, or hang, against a real kernel: none of it reaches the host,
//! and errors name the package.
//!
//! Each test runs as root, and once more as a normal user with subordinate ids. Scripts make system
//! calls by perl.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fam_archive::deb::{ControlArchive, ControlFile};
use fam_build::hints;
use fam_isolation::sandbox::{self, Command as Inside, Sandbox, Settings, TimeLimits};
use fam_isolation::supervisor::{Error, ExitStatus, Failure, Interrupts, Isolation, run};
use fam_progress::{Event, Progress, Reporter};
use fam_rootfs::configure::{Configuration, Configurator};
use fam_rootfs::dpkg::Package;
use fam_rootfs::staging::Staging;
use fam_tree::Timestamp;
use serde::{Deserialize, Serialize};
use support::bare::copy_with_libraries;
use support::harness::{Test, as_root_and_as_user};
use support::succeed;

use crate::roles::{self, Done};

/// The name of a test, and what it does.
type Case = (&'static str, fn(&Place));

const CASES: &[Case] = &[
    ("system_calls_are_denied", system_calls_are_denied),
    ("sockets_are_of_the_machine_itself", sockets_are_of_the_machine_itself),
    ("other_entries_into_the_kernel_kill", other_entries_into_the_kernel_kill),
    ("privileges_of_files_hold", privileges_of_files_hold),
    ("keys_of_the_host_are_out_of_reach", keys_of_the_host_are_out_of_reach),
    ("file_systems_in_memory_have_sizes", file_systems_in_memory_have_sizes),
    ("processes_and_files_have_limits", processes_and_files_have_limits),
    ("what_hangs_is_ended", what_hangs_is_ended),
    ("errors_name_package_and_script", errors_name_package_and_script),
    ("progress_names_the_script", progress_names_the_script),
];

/// What a worker does for these tests.
#[derive(Debug, Serialize, Deserialize)]
pub enum Job {
    /// Runs scripts one after another in a sandbox, and says how they ended and what they printed.
    Inside { root: PathBuf, silent: Duration, scripts: Vec<String> },
    /// Runs one in the worker, around a sandbox.
    Around { script: String },
    /// Configures the packages of a root.
    Configure { root: PathBuf, silent: Duration, whole: Duration },
}

/// How scripts ended, and what they printed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    ended: Vec<ExitStatus>,
    lines: Vec<String>,
}

/// Does a job in the worker.
pub fn work(job: Job, progress: &Progress) -> Result<Ran, Failure> {
    let failure = |error: sandbox::Error| hints::failure(&error);
    let mut ran = Ran::default();
    match job {
        Job::Inside { root, silent, scripts } => {
            let mut sandbox = Sandbox::enter(&root, &Settings::default()).map_err(failure)?;
            for script in scripts {
                // Without locales perl would complain.
                let command = Inside::new("/bin/sh").args(["-c", script.as_str()]).env("PERL_BADLANG", "0");
                let command = command.within(TimeLimits { silent, ..TimeLimits::default() });
                ran.ended.push(sandbox.run(&command, |line| ran.lines.push(line.to_owned())).map_err(failure)?);
            }
            sandbox.leave().map_err(failure)?;
        }
        Job::Around { script } => {
            let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
            ran.lines.extend(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned));
        }
        Job::Configure { root, silent, whole } => {
            let staging = Staging::open(&root).unwrap();
            let limits = TimeLimits { whole, silent };
            let configuration = Configuration { limits, ..Configuration::default() };
            let mut configurator = Configurator::new(&staging, &configuration, 1, progress);
            let evil = evil(fs_err::read(root.join("var/lib/dpkg/info/evil.preinst")).ok());
            let configured = configurator.preinst(&evil).and_then(|()| configurator.finish());
            configured.map_err(|error| hints::failure(&error))?;
        }
    }
    Ok(ran)
}

/// Each case as root, and as a user.
pub fn tests() -> Vec<Test> {
    as_root_and_as_user(module_path!(), CASES, &["dpkg", "perl"], run_case)
}

/// Runs a case in a process whose session keyring has a key.
fn run_case(name: &str, case: fn(&Place)) {
    if std::env::var_os(WITH_KEY).is_none() {
        again_with_key(name);
    } else {
        case(&Place::new());
    }
}

/// For texts as arguments of `syscall`, which must be variables.
const TEXT: &str = "sub t { my $text = shift; $text }";

/// Says to this program that its session keyring has a key.
const WITH_KEY: &str = "FAM_TEST_WITH_KEY";

/// Runs a test again with a key in its session keyring, as a login leaves tickets there.
fn again_with_key(test: &str) {
    let script = format!(
        "{TEXT} syscall({keyctl}, 1, 0); syscall({add_key}, t('user'), t('fam-canary'), t('secret'), 6, -3) > 0 or die; exec @ARGV",
        keyctl = libc::SYS_keyctl,
        add_key = libc::SYS_add_key
    );
    let mut command = Command::new("perl");
    command.args(["-e", &script, "--"]).arg(std::env::current_exe().unwrap());
    println!("{}", succeed(command.args(["--exact", test, "--nocapture"]).env(WITH_KEY, "1")));
}

/// A small root with a shell, perl and dpkg, and the isolation.
struct Place {
    directory: tempfile::TempDir,
    isolation: Isolation,
    interrupts: Interrupts,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("fam-root").tempdir().unwrap();
        let isolation = Isolation::detect().unwrap_or_else(|error| panic!("{error}\nhint: {:?}", hints::hint(&error)));
        let place = Self { directory, isolation, interrupts: Interrupts::install().unwrap() };
        make_root(&place.root());
        place
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn run(&self, job: Job, progress: &Progress) -> Result<Ran, Error> {
        match run(&roles::Job::HostileScripts(job), &self.isolation, progress, &self.interrupts)? {
            Done::HostileScripts(ran) => Ok(ran),
            other => unreachable!("the answer to another job: {other:?}"),
        }
    }

    fn inside(&self, scripts: &[&str]) -> Result<Ran, Error> {
        let scripts = scripts.iter().map(ToString::to_string).collect();
        self.run(Job::Inside { root: self.root(), silent: Duration::from_secs(20), scripts }, &Progress::silent())
    }

    /// The lines of a script of perl that must succeed.
    fn perl(&self, script: &str) -> Vec<String> {
        let ran = self.inside(&[&format!("exec perl -e '{script}'")]).unwrap();
        assert_eq!(ran.ended, [ExitStatus::Exited(0)], "{ran:?}");
        ran.lines
    }

    /// Configures a system of the one package `evil`, with this script.
    fn configure(&self, member: &str, script: &str, limits: TimeLimits, log: &Log) -> Result<Ran, Error> {
        let database = self.root().join("var/lib/dpkg");
        let _ = fs_err::remove_dir_all(&database);
        for directory in ["info", "updates", "triggers"] {
            fs_err::create_dir_all(database.join(directory)).unwrap();
        }
        fs_err::write(database.join("status"), format!("{EVIL}Status: install ok unpacked\n")).unwrap();
        fs_err::write(database.join("info/evil.list"), "/.\n").unwrap();
        support::write_executable(&database.join(format!("info/evil.{member}")), script);
        let job = Job::Configure { root: self.root(), silent: limits.silent, whole: limits.whole };
        self.run(job, &Progress::new(log.clone()))
    }
}

/// The package whose scripts mean harm.
const EVIL: &str = "Package: evil\nMaintainer: Nobody <nobody@example.org>\nArchitecture: all\nVersion: 1\n\
    Description: means harm\n";

/// It as it is before it is unpacked.
fn evil(preinst: Option<Vec<u8>>) -> Package {
    let mtime = Timestamp { seconds: 0, nanoseconds: 0 };
    let preinst = preinst.map(|bytes| ("preinst".to_owned(), ControlFile { bytes, mode: 0o755, mtime }));
    Package::new(ControlArchive { stanza: EVIL.into(), files: preinst.into_iter().collect() }).unwrap()
}

fn make_root(root: &Path) {
    let directories = "usr/bin usr/sbin proc sys dev run tmp etc var/log boot/efi";
    for directory in directories.split(' ') {
        fs_err::create_dir_all(root.join(directory)).unwrap();
    }
    for name in ["bin", "sbin"] {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    let programs = "cat chmod chown cp dpkg dpkg-deb dpkg-split diff grep id ls mkdir mount perl rm sh sleep stat tar";
    for program in programs.split(' ') {
        copy_with_libraries(format!("/usr/bin/{program}").as_ref(), root);
    }
    // dpkg wants to see these in its PATH, and does not call them here.
    for program in ["ldconfig", "start-stop-daemon"] {
        support::write_executable(&root.join("usr/sbin").join(program), "#!/bin/sh\n");
    }
}

/// Takes the events of a build for its assertions.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Event>>>);

impl Reporter for Log {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Arguments are those with which the call would do something, were it allowed.
fn system_calls_are_denied(place: &Place) {
    use libc::{ENOSYS, EPERM};
    let cases: &[(&str, libc::c_long, &str, i32)] = &[
        ("a user namespace", libc::SYS_unshare, "0x10000000", EPERM),
        ("a user namespace by clone", libc::SYS_clone, "0x10000011, 0, 0, 0, 0", EPERM),
        ("mount and control group namespaces by clone", libc::SYS_clone, "0x02020011, 0, 0, 0, 0", EPERM),
        ("clone3, whose flags no filter sees", libc::SYS_clone3, "$zeros, 64", ENOSYS),
        ("the namespace of another process", libc::SYS_setns, "0, 0", EPERM),
        ("control groups", libc::SYS_mount, r#"t("none"), t("/tmp"), t("cgroup2"), 0, 0"#, EPERM),
        ("control groups by the newer call", libc::SYS_fsopen, r#"t("cgroup2"), 0"#, EPERM),
        ("a copy of a mount", libc::SYS_open_tree, r#"-100, t("/"), 1"#, EPERM),
        ("a mount's attributes", libc::SYS_mount_setattr, r#"-100, t("/proc"), 0, $zeros, 32"#, EPERM),
        ("unmount", libc::SYS_umount2, r#"t("/proc"), 2"#, EPERM),
        ("pivot_root", libc::SYS_pivot_root, r#"t("."), t(".")"#, EPERM),
        ("a session keyring", libc::SYS_keyctl, "1, 0", EPERM),
        ("a key", libc::SYS_add_key, r#"t("user"), t("fam-evil"), t("x"), 1, -4"#, EPERM),
        ("a key from the host's helper", libc::SYS_request_key, r#"t("user"), t("fam-canary"), 0, 0"#, EPERM),
        ("io_uring", libc::SYS_io_uring_setup, "4, $zeros", ENOSYS),
        ("BPF", libc::SYS_bpf, "0, $zeros, 48", EPERM),
        ("perf", libc::SYS_perf_event_open, "$zeros, 0, -1, -1, 0", EPERM),
        ("userfaultfd", libc::SYS_userfaultfd, "1", EPERM),
        ("secret memory", libc::SYS_memfd_secret, "0", ENOSYS),
        ("a handle of a file", libc::SYS_name_to_handle_at, r#"-100, t("/etc"), $zeros, $zeros, 0"#, EPERM),
        ("a file by its handle", libc::SYS_open_by_handle_at, "-100, $zeros, 0", EPERM),
        ("ptrace", libc::SYS_ptrace, "0, 0, 0, 0", EPERM),
        ("another process's memory", libc::SYS_process_vm_readv, "1, $zeros, 1, $zeros, 1, 0", EPERM),
        ("a module", libc::SYS_init_module, "$zeros, 1, $zeros", EPERM),
        ("kexec", libc::SYS_kexec_load, "0, 0, 0, 0", EPERM),
        ("quotas", libc::SYS_quotactl, r#"0x800001, t("/"), 0, 0"#, EPERM),
        ("process accounting", libc::SYS_acct, "0", EPERM),
        ("swap", libc::SYS_swapon, r#"t("/tmp/swap"), 0"#, EPERM),
        ("the clock", libc::SYS_clock_settime, "0, $zeros", EPERM),
        ("the clock's speed", libc::SYS_adjtimex, "$zeros", EPERM),
        ("the kernel's log", libc::SYS_syslog, "3, $zeros, 256", EPERM),
        ("typing into a terminal", libc::SYS_ioctl, r#"0, 0x5412, t("x")"#, EPERM),
        ("pasting into a console", libc::SYS_ioctl, r#"0, 0x541c, t("x")"#, EPERM),
        ("a call of x32", 0x4000_0000 + libc::SYS_unshare, "0x10000000", ENOSYS),
        ("a call that no kernel has", 9999, "0", ENOSYS),
    ];
    let mut script = format!("{TEXT} my $zeros = \"\\0\" x 256;");
    for (_, number, arguments, _) in cases {
        script.push_str(&format!("$r = syscall({number}, {arguments}); print $r < 0 ? $! + 0 : \"done\", \"\\n\";"));
    }
    let lines = place.perl(&script);
    assert_eq!(lines.len(), cases.len(), "{lines:?}");
    for ((what, .., expected), line) in cases.iter().zip(lines) {
        assert_eq!(line, expected.to_string(), "{what}");
    }
    // A user of the sandbox gets the same answers.
    let lines = place.perl(&format!("$> = $< = 1000; {script}"));
    assert!(cases.iter().zip(&lines).all(|((.., expected), line)| *line == expected.to_string()), "{lines:?}");
}

fn sockets_are_of_the_machine_itself(place: &Place) {
    let cases: &[(&str, [i32; 3], bool)] = &[
        ("unix", [libc::AF_UNIX, libc::SOCK_STREAM, 0], true),
        ("IPv4", [libc::AF_INET, libc::SOCK_STREAM, 0], true),
        ("IPv6", [libc::AF_INET6, libc::SOCK_DGRAM, 0], true),
        ("addresses and routes", [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE], true),
        ("audit", [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT], false),
        ("events of devices", [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT], false),
        ("netfilter, for iptables' version", [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER], true),
        ("generic netlink", [libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_GENERIC], false),
        ("packets", [libc::AF_PACKET, libc::SOCK_RAW, 0], false),
        ("vsock", [libc::AF_VSOCK, libc::SOCK_STREAM, 0], false),
        ("ciphers of the kernel", [libc::AF_ALG, libc::SOCK_SEQPACKET, 0], false),
    ];
    let mut script = String::new();
    for (_, [family, kind, protocol], _) in cases {
        script.push_str(&format!("print socket(my $s, {family}, {kind}, {protocol}) ? 0 : $! + 0, \"\\n\";"));
    }
    for ((what, _, allowed), line) in cases.iter().zip(place.perl(&script)) {
        let expected = if *allowed { 0 } else { libc::EAFNOSUPPORT };
        assert_eq!(line, expected.to_string(), "{what}");
    }
    // nf_tables asked for the number of its rules' generation (NFT_MSG_GETGEN): the answer is an
    // error, of this number.
    let lines = place.perl(
        r#"socket(my $s, 16, 3, 12) or die $!; my $request = pack "LSSLLCCS", 20, 0x0a10, 5, 1, 0, 0, 0, 0;
           send $s, $request, 0, pack("SSLL", 16, 0, 0, 0) or die $!; recv $s, my $answer, 4096, 0;
           my ($length, $type, $flags, $number, $port, $error) = unpack "LSSLLl", $answer; print "$type $error""#,
    );
    assert_eq!(lines, [format!("2 {}", -libc::EPERM)]);
}

/// By programs of a few bytes, for amd64 and i386, that ask for a user namespace by the call of
/// i386, and exit with 0.
fn other_entries_into_the_kernel_kill(place: &Place) {
    // mov eax, 310 (unshare); mov ebx, CLONE_NEWUSER; int 0x80; mov eax, 1 (exit); xor ebx, ebx;
    // int 0x80
    let code = "b836010000bb00000010cd80b80100000031dbcd80";
    let header_64 = "pack(\"A4C5x7vvVQ<Q<Q<Vvvvvvv VVQ<Q<Q<Q<Q<Q<\", \"\\x7fELF\",2,1,1,0,0, 2,62,1,0x400078,64,0,0,64,56,1,0,0,0, \
        1,5,0,0x400000,0x400000,4096,4096,4096)";
    let header_32 = "pack(\"A4C5x7vvVVVVVvvvvvv VVVVVVVV\", \"\\x7fELF\",1,1,1,0,0, 2,3,1,0x400054,52,0,0,52,32,1,0,0,0, \
        1,0,0x400000,0x400000,4096,4096,5,4096)";
    for (name, header) in [("amd64", header_64), ("i386", header_32)] {
        let write = format!(
            "open F, \">\", \"/usr/bin/{name}\"; print F {header} . pack(\"H*\", \"{code}\") . (\"\\0\" x 4096); close F; \
             chmod 0755, \"/usr/bin/{name}\""
        );
        place.perl(&write);
        let ran = place.inside(&[&format!("exec /usr/bin/{name}")]).unwrap();
        assert_eq!(ran.ended, [ExitStatus::Signaled(libc::SIGSYS)], "{name}: {ran:?}");
    }
}

/// su and sudo work in scripts: the filter came without `no_new_privs`.
fn privileges_of_files_hold(place: &Place) {
    let lines = place.perl(
        r#"open F, "/proc/self/status"; print grep /^(NoNewPrivs|Seccomp):/, <F>; $| = 1;
           system "cp /usr/bin/id /usr/bin/id-of-root; chmod 4755 /usr/bin/id-of-root; cp /usr/bin/cat /usr/bin/able-cat";
           my $bind = pack "V5", 0x02000001, 1 << 10, 0, 0, 0;
           my ($cat, $name) = ("/usr/bin/able-cat", "security.capability"); syscall(188, $cat, $name, $bind, 20, 0) == 0 or die $!;
           $> = $< = 1000;
           system "id-of-root -u; able-cat /proc/self/status | grep CapEff""#,
    );
    assert_eq!(lines, ["NoNewPrivs:\t0", "Seccomp:\t2", "0", "CapEff:\t0000000000000400"]);
}

fn keys_of_the_host_are_out_of_reach(place: &Place) {
    // Of the session, and of the user whom all sessions share.
    let search = format!(
        "perl -e '{TEXT} for (-3, -4) {{ $k = syscall({}, 10, $_, t(\"user\"), t(\"fam-canary\"), 0); print $k > 0 ? \"found\" : $! + 0, \"\\n\" }}'",
        libc::SYS_keyctl
    );
    let here = Command::new("/bin/sh").args(["-c", &search]).output().unwrap();
    assert!(here.stdout.starts_with(b"found\n"), "the test's own session has the key: {here:?}");
    let around = place.run(Job::Around { script: search.clone() }, &Progress::silent()).unwrap();
    assert_eq!(
        around.lines[0],
        libc::ENOKEY.to_string(),
        "nor has the worker, or a plugin, which come of the launcher"
    );
    let inside = place.inside(&[&search]).unwrap();
    assert_eq!(inside.lines, [libc::EPERM.to_string(), libc::EPERM.to_string()]);
}

fn file_systems_in_memory_have_sizes(place: &Place) {
    let ran = place.inside(&["cat /proc/mounts", "cat /dev/zero > /dev/full-of-it"]).unwrap();
    let size_kib = |point: &str| -> u64 {
        let line = ran.lines.iter().find(|line| line.split(' ').nth(1) == Some(point)).unwrap();
        let options = line.split(' ').nth(3).unwrap().split(',');
        assert!(options.clone().any(|option| option.starts_with("nr_inodes=")), "{line}");
        let size = options.clone().find_map(|option| option.strip_prefix("size=")?.strip_suffix('k')).unwrap();
        size.parse().unwrap()
    };
    assert_eq!(size_kib("/dev"), 1024);
    let memory = fs_err::read_to_string("/proc/meminfo").unwrap();
    let total_kib: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    let all = size_kib("/tmp") + size_kib("/dev/shm") + size_kib("/run");
    assert!(all < total_kib * 4 / 5, "{all} of {total_kib} KiB");
    assert!(ran.lines.last().unwrap().contains("No space left on device"), "{:?}", ran.lines);
}

fn processes_and_files_have_limits(place: &Place) {
    let host = || fs_err::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let before = host();
    let ran = place
        .inside(&[
            "cat /proc/self/limits /proc/sys/kernel/pid_max",
            "echo oom $(cat /proc/self/oom_score_adj); (echo 0 > /proc/self/oom_score_adj) 2> /dev/null || echo kept",
            "exec perl -e 'open F, \">/var/sparse\"; truncate F, 1 << 40'",
            "perl -e '$SIG{XFSZ} = \"IGNORE\"; open F, \">/var/sparse\"; truncate(F, 1 << 40) or print $! + 0, \"\\n\"'",
        ])
        .unwrap();
    let limit = |name: &str| {
        let line = ran.lines.iter().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max processes")[..2], ["8192", "8192"]);
    assert_eq!(limit("Max core file size")[..2], ["1", "1"]);
    assert!(limit("Max file size")[0].parse::<u64>().unwrap() < 1 << 40);
    assert!(["oom 1000", "kept"].iter().all(|line| ran.lines.iter().any(|printed| printed == line)), "{ran:?}");
    assert_eq!(ran.ended[2], ExitStatus::Signaled(libc::SIGXFSZ), "{ran:?}");
    assert_eq!(ran.lines.last().unwrap(), &libc::EFBIG.to_string());
    // The namespace has its own number from Linux 6.14 on. The machine's stays as it is.
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) >= (Some(6), Some(14)) {
        assert!(ran.lines.iter().any(|line| line == "8192"), "{:?}", ran.lines);
    } else {
        println!("Linux {release} does not limit the processes of root");
    }
    assert_eq!(host(), before);
}

fn what_hangs_is_ended(place: &Place) {
    for script in ["while :; do sleep 1; done", "kill -STOP $$", "trap '' TERM INT HUP; sleep 1000 & wait; wait"] {
        let start = Instant::now();
        let scripts = vec![script.to_owned()];
        let job = Job::Inside { root: place.root(), silent: Duration::from_secs(1), scripts };
        let error = place.run(job, &Progress::silent()).unwrap_err().to_string();
        assert_eq!(error, "it had printed nothing for 1 s, and was ended", "{script}");
        assert!(start.elapsed() < Duration::from_secs(30), "{script}");
    }
    // A script that prints now and then may take longer.
    let scripts = vec!["for i in 1 2 3; do sleep 0.7; echo $i; done".to_owned()];
    let job = Job::Inside { root: place.root(), silent: Duration::from_secs(2), scripts };
    assert_eq!(place.run(job, &Progress::silent()).unwrap().lines, ["1", "2", "3"]);
}

fn errors_name_package_and_script(place: &Place) {
    let limits = TimeLimits { whole: Duration::from_secs(24), silent: Duration::from_secs(12) };
    // Script, its text, and what the error says of it; nothing where dpkg has nothing against it.
    let cases = [
        ("preinst", "", ""),
        ("preinst", "echo a script without a first line\n", ""),
        ("preinst", "#!/no/such/shell\n", "it could not be started: No such file or directory"),
        ("preinst", "#!/bin/sh\nperl -e 'kill 9, -1'\nsleep 10\n", "the sandbox was killed while"),
        (
            "preinst",
            "#!/bin/sh\necho waiting\nsleep 1000\n",
            "it had printed nothing for 12 s, and was ended; its last",
        ),
        ("postinst", "", ""),
        ("postinst", "#!/bin/sh\nkill -9 -1\n", "the sandbox was killed while"),
        ("postinst", "#!/bin/sh\nkill -STOP $$\n", "it had printed nothing for 12 s, and was ended"),
        // In dpkg's words, with which the time of another package begins, once.
        ("postinst", "#!/bin/sh\nwhile sleep 0.5; do echo 'Setting up evil (1) ...'; done\n", "running after 24 s"),
    ];
    for (member, script, expected) in cases {
        let start = Instant::now();
        match place.configure(member, script, limits, &Log::default()) {
            Ok(_) => assert_eq!(expected, "", "{member} {script}"),
            Err(error) => {
                let name = member.replace("inst", "-installation script of package evil");
                let text = error.to_string();
                assert!(
                    !expected.is_empty() && text.contains(&name) && text.contains(expected),
                    "{member} {script}: {text}"
                );
                assert!(hints::hint(&error).unwrap().contains("without evil"), "{:?}", hints::hint(&error));
            }
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{member} {script}");
    }
}

fn progress_names_the_script(place: &Place) {
    for member in ["preinst", "postinst"] {
        let log = Log::default();
        place.configure(member, "#!/bin/sh\necho hello\n", TimeLimits::default(), &log).unwrap();
        let expected = format!("evil {member}");
        let events = log.0.lock().unwrap();
        let at = events.iter().position(|event| matches!(event, Event::At { item, .. } if *item == expected));
        let output = events.iter().position(|event| matches!(event, Event::Output { line, .. } if line == "hello"));
        assert!(at.is_some() && at < output, "{events:?}");
    }
}
