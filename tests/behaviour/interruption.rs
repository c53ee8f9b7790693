//! Builds that are interrupted: ctrl-C and kill -9 in every stage leave no process, no mount, no unfinished artifact, and
//! a cache that is still good.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::archive::Deb;
use crate::running::{Run, Victim};
use crate::server::{Reply, Server};
use crate::support::{self, succeed};
use crate::world::{
    NO_ARTIFACTS, Who, assert_failed, assert_fails, build_with_cache, cache, names, of_recipe, scratch, world,
};

/// A place for builds of one user, with a copy of the cache.
struct Place {
    who: Who,
    directory: tempfile::TempDir,
}

impl Place {
    fn new(who: Who) -> Self {
        world();
        let directory = tempfile::tempdir_in(scratch()).unwrap();
        fs_err::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        succeed(Command::new("cp").args(["--recursive", "--link"]).arg(cache()).arg(directory.path().join("shared")));
        // Links would let one user's build spoil another's test.
        succeed(
            Command::new("cp")
                .arg("--recursive")
                .arg(directory.path().join("shared"))
                .arg(directory.path().join("cache")),
        );
        succeed(Command::new("rm").arg("-r").arg(directory.path().join("shared")));
        if who == Who::User {
            succeed(Command::new("chown").args(["--recursive", support::user()]).arg(directory.path()));
        }
        Self { who, directory }
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join("output")
    }

    /// A build of what `lock` locks, or what the arguments say.
    fn build(&self, lock: &Path) -> Command {
        let mut command = self.command();
        command.args(of_recipe()).arg("--locked").arg(lock);
        command
    }

    fn command(&self) -> Command {
        build_with_cache(self.who, &self.output(), &self.directory.path().join("cache"))
    }

    /// The system's own lock.
    fn lock(&self) -> PathBuf {
        let path = self.directory.path().join("own.lock");
        fs_err::write(&path, &world().lock).unwrap();
        path
    }

    /// Looks at a killed build and at what it left, and has the next run clear that away.
    #[track_caller]
    fn assert_clean(&self, victim: Victim, ended: &Output, artifacts: &[String]) {
        let said = String::from_utf8_lossy(&ended.stderr);
        match victim {
            Victim::CtrlC => assert_failed(ended, 1, &["interrupted by ctrl-C"], "nothing unfinished is left"),
            Victim::Supervisor => assert_eq!(ended.status.signal(), Some(9), "{said}"),
            Victim::Worker => assert_failed(ended, 1, &["the worker was killed by signal 9"], "fabric_emulation.log"),
            Victim::Around(_) => assert_failed(ended, 1, &[], "fabric_emulation.log"),
            Victim::Script(name) => {
                let package = name.split('.').next().unwrap();
                assert_failed(ended, 1, &[package, "killed"], "fabric_emulation.log");
            }
        }
        let output = self.output();
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.directory.path().to_str().unwrap()), "{mounts}");
        if victim != Victim::Supervisor {
            assert!(!output.join(".fam-build").exists(), "{victim:?}");
        }
        succeed(self.command().arg("lock").args(of_recipe()).arg("--locked").arg(self.lock()));
        let now: Vec<_> = names(&output)
            .into_iter()
            .filter(|name| !NO_ARTIFACTS.contains(&name.as_str()) && name != "fabric.lock")
            .collect();
        assert_eq!(now, artifacts, "{victim:?}: {said}");
    }
}

/// What is mounted on the host at the places that builds mount over in their own namespaces. Elsewhere others may mount
/// what they like meanwhile.
fn mounts() -> Vec<String> {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let at = |line: &&str| {
        line.split(' ').nth(4).is_some_and(|at| ["/", "/proc", "/sys", "/dev", "/tmp", "/run"].contains(&at))
    };
    mounts.lines().filter(at).map(ToOwned::to_owned).collect()
}

#[test]
fn in_every_stage_nothing_is_left() {
    let before = mounts();
    let place = Place::new(Who::Root);
    let slow = Deb::new("fam-slow", b"", "sleep 600");
    // No pattern, lest a compressing transport or a sparse file make it small.
    let noise: Vec<u8> = (0..4_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let large = Deb::new("fam-large", &noise, "");
    let stalls = Arc::new(AtomicBool::new(true));
    let (path, bytes, stalling) = (format!("/{}", large.filename()), large.bytes.clone(), Arc::clone(&stalls));
    let (slow_path, slow_bytes) = (format!("/{}", slow.filename()), slow.bytes.clone());
    let server = Server::start(move |target| match target {
        target if target == slow_path => Reply::File(slow_bytes.clone()),
        target if target == path && stalling.load(Ordering::Relaxed) => Reply::Half(bytes.clone()),
        target if target == path => Reply::File(bytes.clone()),
        _ => Reply::Status("404 Not Found"),
    });
    let with_large = world().lock_with(&server.url(), &[&large], place.directory.path());
    let with_slow = world().lock_with(&server.url(), &[&slow], place.directory.path());
    let all = [Victim::CtrlC, Victim::Supervisor, Victim::Worker];

    // While a package is fetched. The second and third find half of it in the cache.
    for victim in all {
        let asked = server.requests().len();
        let mut run = Run::start(&mut place.build(&with_large));
        // Part of it is there, fetched now or before, and the rest has been asked for.
        run.wait_for_one_of(&["download: 25 % of", "download: 50 % of"]);
        while server.requests().len() == asked {
            std::thread::sleep(Duration::from_millis(5));
        }
        let ended = run.kill(victim);
        place.assert_clean(victim, &ended, &[]);
    }
    for victim in all {
        let mut run = Run::start(&mut place.build(&with_slow));
        run.wait_for("    unpack: ");
        let ended = run.kill(victim);
        place.assert_clean(victim, &ended, &[]);
    }
    let around = ["role=launcher init", "role=init", "role=launcher sandbox", "role=sandbox"].map(Victim::Around);
    for victim in all.into_iter().chain(around).chain([Victim::Script("fam-slow.postinst")]) {
        let run = Run::start(&mut place.build(&with_slow));
        run.wait_for_process("fam-slow.postinst");
        let ended = run.kill(victim);
        place.assert_clean(victim, &ended, &[]);
    }

    // What was interrupted goes on where it was.
    stalls.store(false, Ordering::Relaxed);
    succeed(&mut place.build(&with_large));
    let last = server.requests().into_iter().rfind(|request| request.target.contains("fam-large")).unwrap();
    assert!(last.first > 0 && last.first < large.bytes.len(), "continued at byte {}", last.first);
    let artifacts: Vec<_> = names(&place.output())
        .into_iter()
        .filter(|name| !NO_ARTIFACTS.contains(&name.as_str()) && name != "fabric.lock")
        .collect();
    assert!(artifacts.contains(&"fabric1.qcow2".to_owned()), "{artifacts:?}");

    // While images are written, in place of others.
    let image = fs_err::read(place.output().join("fabric1.qcow2")).unwrap();
    for victim in all {
        let mut run = Run::start(&mut place.build(&with_large));
        run.wait_for("==> Making disks");
        let ended = run.kill(victim);
        assert!(String::from_utf8_lossy(&ended.stderr).contains("==> Reusing"));
        place.assert_clean(victim, &ended, &artifacts);
        assert!(fs_err::read(place.output().join("fabric1.qcow2")).unwrap() == image, "{victim:?}");
    }
    succeed(&mut place.build(&with_large));
    assert_eq!(mounts(), before);
}

#[test]
fn builds_of_users_leave_nothing_either() {
    let before = mounts();
    let place = Place::new(Who::User);
    let slow = Deb::new("fam-slow", b"", "sleep 600");
    let server = crate::archive::serve([(format!("/{}", slow.filename()), slow.bytes.clone())].into());
    let with_slow = world().lock_with(&server.url(), &[&slow], place.directory.path());
    for victim in [Victim::CtrlC, Victim::Supervisor, Victim::Worker, Victim::Script("fam-slow.postinst")] {
        let run = Run::start(&mut place.build(&with_slow));
        run.wait_for_process("fam-slow.postinst");
        let ended = run.kill(victim);
        place.assert_clean(victim, &ended, &[]);
    }
    assert_eq!(mounts(), before);
}

/// A killed build whose staging tree was on disk leaves files of subordinate users, which are not the user's to remove
/// without a user namespace. Whatever comes next removes them.
#[test]
fn files_of_subordinate_users_are_removed_by_whatever_comes_next() {
    let place = Place::new(Who::User);
    let ranges = fs_err::read_to_string("/etc/subuid").unwrap();
    let range = ranges.lines().find_map(|line| line.strip_prefix(&format!("{}:", support::user()))).unwrap();
    let first: u32 = range.split(':').next().unwrap().parse().unwrap();
    let tarball = world().template();
    // It is for its owner alone, who is root.
    succeed(Command::new("chmod").arg("0644").arg(&tarball));
    let verbs: [&[&str]; 2] = [&["lock", "--locked"], &["--from-tarball"]];
    for verb in verbs {
        let directory = place.output().join(".fam-build/staging/var/secret");
        fs_err::create_dir_all(&directory).unwrap();
        fs_err::write(directory.join("file"), "x").unwrap();
        succeed(Command::new("chown").args(["--recursive", support::user()]).arg(place.output()));
        succeed(Command::new("chmod").arg("0700").arg(place.output().join(".fam-build")));
        chown(&directory, Some(first + 32), Some(first + 32)).unwrap();
        succeed(Command::new("chmod").arg("0700").arg(&directory));
        let file = if verb[0] == "lock" { place.lock() } else { tarball.clone() };
        succeed(place.command().args(verb).arg(file).args(of_recipe()));
        assert!(!place.output().join(".fam-build").exists(), "{verb:?}");
    }
}

#[test]
fn one_build_at_a_time_in_a_directory() {
    let place = Place::new(Who::Root);
    let slow = Deb::new("fam-slow", b"", "sleep 600");
    let server = crate::archive::serve([(format!("/{}", slow.filename()), slow.bytes.clone())].into());
    let with_slow = world().lock_with(&server.url(), &[&slow], place.directory.path());
    let mut run = Run::start(&mut place.build(&with_slow));
    run.wait_for("==> Taking");
    let error = format!("another fam-build (process {}) is working in {}", run.pid(), place.output().display());
    for verb in [&[][..], &["lock"]] {
        assert_fails(place.command().args(verb).args(of_recipe()), 1, &[&error], "--output");
    }
    // A plan only looks.
    succeed(place.command().arg("plan").args(of_recipe()).arg("--locked").arg(place.lock()));
    assert!(place.output().join(".fam-build").exists());
    let ended = run.kill(Victim::CtrlC);
    place.assert_clean(Victim::CtrlC, &ended, &[]);
}
