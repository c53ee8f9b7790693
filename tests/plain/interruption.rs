//! Builds that are interrupted: ctrl-C and kill -9 in every stage leave no process, no mount, no
//! unfinished artifact, and a cache that is still good.

use std::os::unix::fs::chown;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use support::archive::{Archive, Deb, Fault};
use support::succeed;

use crate::running::{Run, Victim};
use crate::small::{Bench, Who, archive, assert_failed, assert_fails};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "gpg", "dpkg-deb"];
    in_every_stage_nothing_is_left,
    builds_of_users_leave_nothing_either,
    files_of_subordinate_users_are_removed_by_the_next_run,
    one_build_at_a_time_in_a_directory,
}

impl Bench {
    /// Asserts how a killed build ended and what it left, and that the next run clears that away.
    #[track_caller]
    fn assert_clean(&self, victim: Victim, ended: &Output, artifacts: &[String]) {
        let said = String::from_utf8_lossy(&ended.stderr);
        match victim {
            Victim::CtrlC => assert_failed(ended, 1, &["interrupted by ctrl-C"], "nothing unfinished is left"),
            Victim::Supervisor | Victim::Group => assert_eq!(ended.status.signal(), Some(9), "{said}"),
            Victim::Worker => assert_failed(ended, 1, &["the worker was killed by signal 9"], "fabric_emulation.log"),
            Victim::Around(_) => assert_failed(ended, 1, &[], "fabric_emulation.log"),
            Victim::Script(name) => {
                let package = name.split('.').next().unwrap();
                assert_failed(ended, 1, &[package, "killed"], "fabric_emulation.log");
            }
        }
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.directory.path().to_str().unwrap()), "{mounts}");
        if !matches!(victim, Victim::Supervisor | Victim::Group) {
            assert!(!self.output().join(".fam-build").exists(), "{victim:?}");
        }
        succeed(&mut self.build(&["lock"]));
        assert!(!self.output().join(".fam-build").exists(), "{victim:?}");
        assert_eq!(self.artifacts(), artifacts, "{victim:?}: {said}");
    }

    /// Starts a build that waits in the postinst script of the package `slow`, and returns when it
    /// is there.
    fn run_to_script(&self) -> Run {
        let run = Run::start(&mut self.build(&["--include", "slow"]));
        run.wait_for_process("slow.postinst");
        run
    }
}

/// An archive with a package whose configuration takes ten minutes, and one that takes a while to
/// come.
fn with_slow_packages() -> Archive {
    // No pattern, lest a compressing transport or a sparse file make it small.
    let noise: Vec<u8> = (0..4_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let slow = Deb::new("slow").script("postinst", "sleep 600");
    archive().with(slow).with(Deb::new("large").file("/usr/share/noise", noise))
}

const LARGE: &str = "/pool/large_1_all.deb";

/// What is mounted on the host at the places that builds mount over in their own namespaces.
/// Elsewhere others may mount what they like meanwhile.
fn mounts() -> Vec<String> {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let at = |line: &&str| {
        line.split(' ').nth(4).is_some_and(|at| ["/", "/proc", "/sys", "/dev", "/tmp", "/run"].contains(&at))
    };
    mounts.lines().filter(at).map(ToOwned::to_owned).collect()
}

fn in_every_stage_nothing_is_left() {
    let before = mounts();
    let bench = Bench::new(with_slow_packages());
    let with_large = || bench.build(&["--include", "large"]);
    let all = [Victim::CtrlC, Victim::Supervisor, Victim::Group, Victim::Worker];

    // While a package is fetched. The second and third find half of it in the cache.
    bench.mirror.fault(LARGE, Fault::Stalled(2 << 20));
    for victim in all {
        let asked = bench.mirror.requests_of(LARGE);
        let run = Run::start(&mut with_large());
        // Half of it has come, now or before, and the rest has been asked for.
        wait_until(|| bench.mirror.requests_of(LARGE) > asked && bench.unfinished_bytes() == 2 << 20);
        let ended = run.kill(victim);
        bench.assert_clean(victim, &ended, &[]);
    }
    let around = ["role=launcher init", "role=init", "role=launcher sandbox", "role=sandbox"].map(Victim::Around);
    for victim in all.into_iter().chain(around).chain([Victim::Script("slow.postinst")]) {
        let ended = bench.run_to_script().kill(victim);
        bench.assert_clean(victim, &ended, &[]);
    }

    // What was interrupted goes on where it was.
    bench.mirror.repair();
    succeed(&mut with_large());
    let last = bench.mirror.server.requests().into_iter().rfind(|request| request.target == LARGE).unwrap();
    assert_eq!(last.range(), Some(2 << 20));
    let artifacts = bench.artifacts();
    assert!(artifacts.contains(&"fabric1.qcow2".to_owned()), "{artifacts:?}");

    // While images are written, in place of others.
    let image = fs_err::read(bench.output().join("fabric1.qcow2")).unwrap();
    for victim in all {
        // They stay as they are unless something happened to them.
        for name in ["fabric1.qcow2", "fabric_template.img"] {
            succeed(Command::new("touch").arg(bench.output().join(name)));
        }
        let mut run = Run::start(&mut with_large());
        run.wait_for("==> Making disks");
        let ended = run.kill(victim);
        assert!(String::from_utf8_lossy(&ended.stderr).contains("==> Reusing"));
        bench.assert_clean(victim, &ended, &artifacts);
        assert!(fs_err::read(bench.output().join("fabric1.qcow2")).unwrap() == image, "{victim:?}");
    }
    succeed(&mut with_large());
    assert_eq!(mounts(), before);
}

#[track_caller]
fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "it took longer than a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Bench {
    /// The bytes of packages in the cache that have not come as a whole.
    fn unfinished_bytes(&self) -> u64 {
        // The build goes on: a file that `find` has seen may have been completed, and be gone.
        let mut find = Command::new("find");
        find.arg(self.cache()).args(["-ignore_readdir_race", "-path", "*/part/*", "-printf", "%s\n"]);
        succeed(&mut find).lines().map(|size| size.parse::<u64>().unwrap()).sum()
    }
}

fn builds_of_users_leave_nothing_either() {
    let before = mounts();
    let bench = Bench::of(Who::User, with_slow_packages().serve());
    for victim in [Victim::CtrlC, Victim::Supervisor, Victim::Worker, Victim::Script("slow.postinst")] {
        let ended = bench.run_to_script().kill(victim);
        bench.assert_clean(victim, &ended, &[]);
    }
    assert_eq!(mounts(), before);
}

/// A killed build whose staging tree was on disk leaves files of subordinate users, which are not
/// the user's to remove without a user namespace. The next run, whatever it does, removes them.
fn files_of_subordinate_users_are_removed_by_the_next_run() {
    let bench = Bench::of(Who::User, archive().serve());
    let ranges = fs_err::read_to_string("/etc/subuid").unwrap();
    let range = ranges.lines().find_map(|line| line.strip_prefix(&format!("{}:", support::user()))).unwrap();
    let first: u32 = range.split(':').next().unwrap().parse().unwrap();
    succeed(&mut bench.build(&[]));
    let tarball = bench.directory.path().join("root.tar");
    fs_err::rename(bench.output().join("fabric_template.tar"), &tarball).unwrap();
    let of_tarball = ["--from-tarball", tarball.to_str().unwrap()];
    for verb in [&["lock"][..], &of_tarball] {
        let directory = bench.output().join(".fam-build/staging/var/secret");
        fs_err::create_dir_all(&directory).unwrap();
        fs_err::write(directory.join("file"), "x").unwrap();
        succeed(Command::new("chown").args(["--recursive", support::user()]).arg(bench.output()));
        succeed(Command::new("chmod").arg("0700").arg(bench.output().join(".fam-build")));
        chown(&directory, Some(first + 32), Some(first + 32)).unwrap();
        succeed(Command::new("chmod").arg("0700").arg(&directory));
        succeed(&mut bench.build(verb));
        assert!(!bench.output().join(".fam-build").exists(), "{verb:?}");
    }
}

fn one_build_at_a_time_in_a_directory() {
    let bench = Bench::new(with_slow_packages());
    let run = bench.run_to_script();
    let error = format!("another fam-build (process {}) is working in {}", run.pid(), bench.output().display());
    for verb in [&[][..], &["lock"]] {
        assert_fails(&mut bench.build(verb), 1, &[&error], "--output");
    }
    // A plan only looks.
    succeed(&mut bench.build(&["plan"]));
    assert!(bench.output().join(".fam-build").exists());
    let ended = run.kill(Victim::CtrlC);
    bench.assert_clean(Victim::CtrlC, &ended, &[]);
}
