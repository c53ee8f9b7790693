//! The processes of a build against a real kernel: what programs inside a sandbox can see and do,
//! and that nothing is left of a build, however any of its processes dies.
//!
//! Each test runs as root, and once more as a normal user with subordinate ids.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fam_build::hints;
use fam_isolation::sandbox::{self, Command as Inside, Sandbox, Settings, StandIn};
use fam_isolation::supervisor::{ExitStatus, Failure, Isolation, OutputLock};
use fam_progress::Progress;
use serde::{Deserialize, Serialize};
use support::harness::{Test, as_root_and_as_user, is_root};

pub mod builds;
mod place;
mod processes;

use builds::{interrupt, read_to_end, start_supervisor, wait_for_line};
use place::Place;
use processes::{assert_gone, marker, only_child_of, running, uid_of, wait_for};

/// The name of a test, and what it does.
type Case = (&'static str, fn(&Place));

const CASES: &[Case] = &[
    ("sees_nothing_of_the_host", sees_nothing_of_the_host),
    ("shows_no_hardware", shows_no_hardware),
    ("is_recognized_as_a_chroot", is_recognized_as_a_chroot),
    ("can_do_nothing_to_the_host", can_do_nothing_to_the_host),
    ("has_ids_of_no_user", has_ids_of_no_user),
    ("leaves_no_daemon", leaves_no_daemon),
    ("leaves_the_mounts_alone", leaves_the_mounts_alone),
    ("gives_a_clean_environment", gives_a_clean_environment),
    ("stand_ins_come_and_go", stand_ins_come_and_go),
    ("says_what_could_not_run", says_what_could_not_run),
    ("links_in_the_tree_lead_nowhere", links_in_the_tree_lead_nowhere),
    ("results_failures_and_panics_cross", results_failures_and_panics_cross),
    ("any_process_killed_ends_all", any_process_killed_ends_all),
    ("interrupts_end_all", interrupts_end_all),
    ("removes_files_of_subordinate_users", removes_files_of_subordinate_users),
    ("works_without_namespaces", works_without_namespaces),
];

/// What a worker does for these tests.
#[derive(Debug, Serialize, Deserialize)]
pub enum Job {
    /// Runs scripts one after another in a sandbox, for how they end and what they print.
    Scripts {
        root: PathBuf,
        settings: Settings,
        scripts: Vec<String>,
    },
    /// Makes a tree with owners as a system has them, and waits to be killed.
    Litter {
        directory: PathBuf,
    },
    Add(u64, u64),
    Fail,
    Panic,
    Abort,
}

/// How scripts ended, and what they printed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ran {
    ended: Vec<ExitStatus>,
    lines: Vec<String>,
}

/// Does a job in the worker.
pub fn work(job: Job, progress: &Progress) -> Result<Ran, Failure> {
    let failure = |error: sandbox::Error| hints::failure(&error);
    match job {
        Job::Scripts { root, settings, scripts } => {
            let mut ran = Ran { ended: Vec::new(), lines: Vec::new() };
            let mut sandbox = Sandbox::enter(&root, &settings).map_err(failure)?;
            for script in scripts {
                progress.step("running");
                let command = Inside::new("/bin/sh").args(["-c", script.as_str()]);
                ran.ended.push(sandbox.run(&command, |line| ran.lines.push(line.to_owned())).map_err(failure)?);
            }
            sandbox.leave().map_err(failure)?;
            Ok(ran)
        }
        Job::Litter { directory } => {
            let secret = directory.join("staging/var/secret");
            fs_err::create_dir_all(&secret).unwrap();
            fs_err::write(secret.join("file"), "x").unwrap();
            for path in [secret.join("file"), secret.clone()] {
                std::os::unix::fs::chown(&path, Some(33), Some(65534)).unwrap();
            }
            std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
            progress.step("running");
            std::thread::sleep(Duration::from_secs(600));
            Err(Failure::message("not killed"))
        }
        Job::Add(a, b) => Ok(Ran { ended: Vec::new(), lines: vec![(a + b).to_string()] }),
        Job::Fail => Err(Failure { causes: vec!["b".into()], hint: Some("c".into()), ..Failure::message("a") }),
        Job::Panic => panic!("about {}", 1),
        Job::Abort => std::process::abort(),
    }
}

/// Each case as root, and as a user.
pub fn tests() -> Vec<Test> {
    as_root_and_as_user(module_path!(), CASES, &[], |_, case| case(&Place::new()))
}

fn sees_nothing_of_the_host(place: &Place) {
    let processes = place.script("cd /proc; echo [0-9]*");
    let processes: Vec<_> = processes[0].split(' ').collect();
    assert!(processes.len() == 3 && processes[..2] == ["1", "2"], "the sandbox's two and the shell: {processes:?}");
    let mounts = place.script("cat /proc/self/mounts");
    let points: Vec<&str> = mounts.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    let (covers, points): (Vec<_>, Vec<_>) = points.into_iter().partition(|point| point.starts_with("/proc/"));
    assert!(covers.contains(&"/proc/swaps") && covers.contains(&"/proc/cmdline"), "{covers:?}");
    let expected = [
        "/",
        "/dev",
        "/dev/console",
        "/dev/full",
        "/dev/null",
        "/dev/pts",
        "/dev/random",
        "/dev/shm",
        "/dev/tty",
        "/dev/urandom",
        "/dev/zero",
        "/proc",
        "/run",
        "/sys",
        "/tmp",
    ];
    assert_eq!(points.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    assert_eq!(points.len(), expected.len(), "nothing is hidden under another mount: {points:?}");
    let interfaces = place.script("grep : /proc/net/dev");
    assert_eq!(interfaces.len(), 1, "{interfaces:?}");
    assert!(interfaces[0].trim_start().starts_with("lo:"));
    assert_eq!(place.script("ls -A /tmp; uname -n; cat /proc/cmdline"), ["localhost", ""]);
    // No terminal, no descriptor of the host's through its own or the runner's.
    let ran = place
        .scripts(Settings::default(), &["echo > /dev/tty", "cat /proc/2/fd/0", "exec ls -l /proc/self/fd/"])
        .unwrap();
    assert!(!ran.ended[0].success() && !ran.ended[1].success(), "{ran:?}");
    let descriptors: Vec<_> = ran.lines.iter().filter(|line| line.contains(" -> ")).collect();
    assert_eq!(descriptors.len(), 4, "0, 1, 2 and the directory being listed: {descriptors:?}");
    assert!(descriptors[0].ends_with("0 -> /dev/null"), "{descriptors:?}");
    // The kernel answers on the loopback interface.
    assert_eq!(place.script("grep -c 0100007F /proc/net/fib_trie /proc/net/route || true").len(), 2);
}

/// What every machine has in /sys is there, and no device but the loopback interface.
fn shows_no_hardware(place: &Place) {
    let devices = "for d in /sys/block /sys/class/* /sys/bus/*/devices /sys/dev/*; do ls -A $d; done";
    assert_eq!(place.script(devices), ["lo"]);
    assert_eq!(place.script("cat /sys/class/net/lo/address"), ["00:00:00:00:00:00"]);
    assert_eq!(place.script("ls -A /sys/devices"), ["platform", "system", "virtual"]);
    assert_eq!(place.script("cat /proc/swaps /proc/partitions | wc -l"), ["3"]);
    let ran = place.scripts(Settings::default(), &["echo x > /proc/swaps", "echo x > /sys/class/net/lo/mtu"]).unwrap();
    assert!(ran.lines.iter().all(|line| line.contains("Read-only file system")) && ran.lines.len() == 2, "{ran:?}");
}

/// By the way that systemctl and ischroot ask, and what the process they ask about lets be seen.
fn is_recognized_as_a_chroot(place: &Place) {
    let roots = place.script("stat -L -c %d:%i / /proc/1/root; ls -A /proc/1/root/ /proc/1/cwd/");
    assert_ne!(roots[0], roots[1]);
    let above = ["/proc/1/cwd/:", "empty", "proc", "tree", "", "/proc/1/root/:", "empty", "proc", "tree"];
    assert_eq!(roots[2..], above);
    let descriptors = place.script("ls -l /proc/1/fd | grep -v ^total");
    let null = |line: &String| line.ends_with(" -> /dev/null") || line.ends_with(" -> /null");
    assert!(descriptors.len() == 3 && descriptors.iter().all(null), "{descriptors:?}");
    assert_eq!(place.script("tr '\\0' '\\n' < /proc/1/environ | grep -cv -e ^LD_LIBRARY_PATH= -e ^RUST || :"), ["0"]);
    assert_eq!(place.script("grep ^CapPrm /proc/1/status"), ["CapPrm:\t0000000000000000"]);
    // Its program is no file of the host's.
    let program = fs_err::metadata("/proc/self/exe").unwrap();
    let attempts =
        ["chmod 4777 /proc/1/exe", "echo x > /proc/1/exe", "echo x > /proc/1/mem", "echo x > /proc/1/root/x"];
    let ran = place.scripts(Settings::default(), &attempts).unwrap();
    assert!(ran.ended[1..].iter().all(|ended| !ended.success()), "{ran:?}");
    assert_eq!(fs_err::metadata("/proc/self/exe").unwrap().permissions(), program.permissions());
}

fn can_do_nothing_to_the_host(place: &Place) {
    let denied = [
        "mknod /tmp/disk b 8 0",
        "mount -t tmpfs none /tmp",
        "umount /proc",
        "echo 1 > /proc/sys/kernel/printk",
        "echo h > /proc/sysrq-trigger",
        "echo x > /sys/file",
        "echo -17 > /proc/1/oom_score_adj",
        "kill -9 1; cat /proc/2/maps",
    ];
    let ran = place.scripts(Settings::default(), &denied).unwrap();
    for (script, ended) in denied.iter().zip(&ran.ended) {
        assert!(matches!(ended, ExitStatus::Exited(code) if *code != 0), "{script}: {ran:?}");
    }
    // Out of the root by every classical way.
    let outside = place.directory.path().join("outside");
    fs_err::write(&outside, "untouched").unwrap();
    let ways = format!(
        "for up in /.. /../.. /proc/1/root /proc/1/cwd /proc/self/root/..; do echo out > $up{} || :; done; ls -a /..",
        outside.display()
    );
    let listing = place.script(&ways);
    assert!(listing.iter().any(|line| line == "usr"), "{listing:?}");
    assert_eq!(fs_err::read_to_string(&outside).unwrap(), "untouched");
    // What maintainer scripts do must work: every owner and mode.
    let owners =
        place.script("touch /etc/f; chown 33:65534 /etc/f; chmod 6755 /etc/f; stat -c '%u:%g %a' /etc/f; rm /etc/f");
    assert_eq!(owners, ["33:65534 6755"]);
}

/// As the host sees it: root inside is not root outside.
fn has_ids_of_no_user(place: &Place) {
    let marker = marker();
    let script = format!("touch /etc/owned; chown 33 /etc/owned; sleep {marker}");
    let job = Job::Scripts { root: place.root(), settings: Settings::default(), scripts: vec![script] };
    let output = tempfile::tempdir().unwrap();
    let mut child = start_supervisor(&job, output.path());
    wait_for(&marker);
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(uid_of(&marker), if is_root() { 0x7fff_0000 } else { own });
    let owner = std::os::unix::fs::MetadataExt::uid(&fs_err::metadata(place.root().join("etc/owned")).unwrap());
    assert_eq!(owner == 33, is_root(), "the tree's files keep their owners");
    interrupt(&child);
    child.wait().unwrap();
}

fn leaves_no_daemon(place: &Place) {
    let marker = marker();
    let start = Instant::now();
    let script = format!("(sleep {marker} & sleep {marker} &) ; sleep {marker} > /dev/null 2>&1 & echo started");
    let ran = place.scripts(Settings::default(), &[&script, "cd /proc; echo [0-9]*; exit 3", "kill -9 $$"]).unwrap();
    assert_eq!(ran.lines[0], "started");
    assert_eq!(ran.lines[1].split(' ').count(), 3, "the next program already finds them gone: {ran:?}");
    assert_eq!(ran.ended, [ExitStatus::Exited(0), ExitStatus::Exited(3), ExitStatus::Signaled(9)]);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_gone(&marker);
}

fn leaves_the_mounts_alone(place: &Place) {
    let mentions = || {
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.lines().filter(|line| line.contains(place.directory.path().to_str().unwrap())).count()
    };
    let marker = marker();
    let job = Job::Scripts {
        root: place.root(),
        settings: Settings { stand_ins: StandIn::no_services(), ..Settings::default() },
        scripts: vec![format!("sleep {marker}")],
    };
    let output = tempfile::tempdir().unwrap();
    let mut child = start_supervisor(&job, output.path());
    wait_for(&marker);
    assert_eq!(mentions(), 0, "while a sandbox is there");
    interrupt(&child);
    child.wait().unwrap();
    assert_eq!(mentions(), 0);
    // A killed build throws its tree away, with the stand-in that was put into it.
    fs_err::remove_file(place.root().join("usr/sbin/policy-rc.d")).unwrap();
}

fn gives_a_clean_environment(place: &Place) {
    let settings = Settings { source_date_epoch: Some(1_700_000_000), ..Settings::default() };
    let ran = place.scripts(settings, &["env; umask; readlink /proc/self/cwd; id; ls -l /dev"]).unwrap();
    let lines = &ran.lines;
    for expected in
        ["SOURCE_DATE_EPOCH=1700000000", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "0022", "/"]
    {
        assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("CARGO") || line.starts_with("USER=")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("uid=0") && !line.contains(',')), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("crw-rw-rw-") && line.ends_with(" null")), "{lines:?}");
}

fn stand_ins_come_and_go(place: &Place) {
    let real = place.root().join("usr/sbin/start-stop-daemon");
    fs_err::write(&real, "#!/bin/sh\necho real\n").unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o755)).unwrap();
    let settings = Settings { stand_ins: StandIn::no_services(), ..Settings::default() };
    let script = "start-stop-daemon --start; /usr/sbin/policy-rc.d; echo $?";
    let ran = place.scripts(settings, &[script]).unwrap();
    assert_eq!(ran.lines, ["101"]);
    assert!(!place.root().join("usr/sbin/policy-rc.d").exists());
    assert_eq!(fs_err::read_to_string(&real).unwrap(), "#!/bin/sh\necho real\n");
    let lines = place.script("start-stop-daemon");
    assert_eq!(lines, ["real"]);
    fs_err::remove_file(real).unwrap();
}

fn says_what_could_not_run(place: &Place) {
    let job = Job::Scripts { root: place.root().join("missing"), settings: Settings::default(), scripts: Vec::new() };
    let error = place.run(job).unwrap_err().to_string();
    assert!(error.contains("root/missing") && error.contains("No such file"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let job = Job::Scripts { root: empty.path().into(), settings: Settings::default(), scripts: vec![":".into()] };
    let error = place.run(job).unwrap_err().to_string();
    assert!(error.contains("start /bin/sh: No such file"), "{error}");
}

fn links_in_the_tree_lead_nowhere(place: &Place) {
    for name in ["dev", "proc", "run", "tmp"] {
        let outer = tempfile::tempdir().unwrap();
        let (root, victim) = (outer.path().join("root"), outer.path().join("victim"));
        fs_err::create_dir_all(&root).unwrap();
        fs_err::create_dir_all(&victim).unwrap();
        symlink(&victim, root.join(name)).unwrap();
        let job = Job::Scripts { root, settings: Settings::default(), scripts: vec![":".into()] };
        let error = place.run(job).unwrap_err().to_string();
        assert!(error.contains(&format!("mount /{name}")), "{error}");
        assert_eq!(fs_err::read_dir(&victim).unwrap().count(), 0);
    }
}

fn results_failures_and_panics_cross(place: &Place) {
    assert_eq!(place.run(Job::Add(40, 2)).unwrap().lines, ["42"]);
    let error = place.run(Job::Fail).unwrap_err();
    assert_eq!((error.to_string().as_str(), hints::hint(&error).as_deref()), ("a\n  because: b", Some("c")));
    let error = place.run(Job::Panic).unwrap_err().to_string();
    assert!(error.starts_with("internal error: about 1 (tests/plain/sandbox.rs:"), "{error}");
    let error = place.run(Job::Abort).unwrap_err().to_string();
    assert_eq!(error, "the worker was killed by signal 6");
}

fn any_process_killed_ends_all(place: &Place) {
    // Counted from the supervisor down: launcher, first process, worker, the sandbox's three, and
    // the program.
    let processes = ["supervisor", "launcher", "init", "worker", "launcher", "sandbox", "runner", "sleep"];
    for (depth, who) in processes.iter().enumerate() {
        let marker = marker();
        let output = tempfile::tempdir().unwrap();
        let script = format!("sleep {marker}; true");
        let job = Job::Scripts { root: place.root(), settings: Settings::default(), scripts: vec![script] };
        let mut child = start_supervisor(&job, output.path());
        wait_for(&marker);
        let mut pid = child.id();
        for _ in 0..depth {
            pid = only_child_of(pid);
        }
        if *who == "sleep" {
            // Below the shell; the shell goes on, and so the build succeeds.
            pid = only_child_of(pid);
        }
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        assert_gone(&marker);
        let said = read_to_end(&mut child);
        let status = child.wait().unwrap();
        let expected = match *who {
            "supervisor" => None,
            "sleep" => Some("done"),
            "sandbox" | "runner" | "launcher" if depth > 3 => {
                Some("error: the sandbox ended while /bin/sh ran (out of memory?)")
            }
            _ => Some("error: the worker was killed by signal 9 (out of memory?)"),
        };
        assert_eq!(said.lines().last().filter(|line| *line != "running"), expected, "{who} at depth {depth}: {status}");
        if *who != "supervisor" {
            assert_eq!(fs_err::read_dir(output.path()).unwrap().count(), 0, "{who}");
        }
        // And the next build can begin.
        OutputLock::acquire(output.path(), &place.isolation).unwrap().release().unwrap();
        assert_eq!(fs_err::read_dir(output.path()).unwrap().count(), 0, "{who}");
    }
}

fn interrupts_end_all(place: &Place) {
    use rustix::process::{Pid, Signal, kill_process_group};
    for (signal, times, name) in [
        (Signal::INT, 1, "ctrl-C"),
        (Signal::INT, 2, "ctrl-C"),
        (Signal::TERM, 1, "SIGTERM"),
        (Signal::HUP, 1, "SIGHUP: its terminal is gone"),
    ] {
        let marker = marker();
        let output = tempfile::tempdir().unwrap();
        let script = format!("trap '' INT TERM HUP; sleep {marker} & wait; wait");
        let job = Job::Scripts { root: place.root(), settings: Settings::default(), scripts: vec![script] };
        let mut child = start_supervisor(&job, output.path());
        wait_for(&marker);
        let group = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        for _ in 0..times {
            // As the terminal does it.
            let _ = kill_process_group(group, signal);
        }
        let said = read_to_end(&mut child);
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert_eq!(said.lines().last(), Some(format!("error: interrupted by {name}").as_str()));
        assert!(!running(&marker), "when the supervisor is gone, all are gone");
        assert_eq!(fs_err::read_dir(output.path()).unwrap().count(), 0);
    }
}

fn removes_files_of_subordinate_users(place: &Place) {
    let output = tempfile::tempdir().unwrap();
    let work = output.path().join(".fam-build");
    let job = Job::Litter { directory: work.clone() };
    // Killed: the next build removes it.
    let mut child = start_supervisor(&job, output.path());
    wait_for_line(&mut child, "running");
    child.kill().unwrap();
    child.wait().unwrap();
    let secret = work.join("staging/var/secret");
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::symlink_metadata(&secret).unwrap());
    assert_eq!(owner == 33, is_root(), "a normal user's tree has subordinate owners");
    let lock = OutputLock::acquire(output.path(), &place.isolation).unwrap();
    assert!(!work.join("staging").exists());
    lock.release().unwrap();
    // Interrupted: it does so itself.
    let mut child = start_supervisor(&job, output.path());
    wait_for_line(&mut child, "running");
    interrupt(&child);
    child.wait().unwrap();
    assert_eq!(fs_err::read_dir(output.path()).unwrap().count(), 0);
}

fn works_without_namespaces(place: &Place) {
    let ran = place.run_in(&Isolation::none(), Job::Add(1, 2)).unwrap();
    assert_eq!(ran.lines, ["3"]);
    assert_eq!(Isolation::none().protections(), []);
}
