//! Limits of a process, or of all processes together, that are too low for a build: it says which
//! and what to raise, and the next one works.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Place, said};
use crate::small::{Who, archive, assert_failed};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "gpg", "dpkg-deb", "prlimit"];
    size_of_files,
    open_files,
    address_space,
    processes,
    memory_of_a_control_group,
}

/// A command under a limit of prlimit(1).
fn limited(limit: &str, command: &Command) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(limit).arg(command.get_program()).args(command.get_args()).stdin(std::process::Stdio::null());
    limited
}

impl Place {
    #[track_caller]
    fn fails_under(&self, limit: &str, hint: &str) {
        self.clear();
        let output = limited(limit, &self.build()).output().unwrap();
        assert_failed(&output, 1, &[], hint);
        assert!(!self.bench.output().join(".fam-build").exists(), "{limit}: {}", said(&output));
        self.assert_whole(limit);
        self.assert_works(limit);
    }
}

fn size_of_files() {
    for who in [Who::Root, Who::User] {
        let place = Place::new(who, archive(), &[]);
        let template = fs_err::metadata(place.bench.output().join("fabric_template.tar")).unwrap().len();
        for bytes in [1, 100, 5000, 100_000, template / 2, template + 1] {
            place.fails_under(&format!("--fsize={bytes}"), "`ulimit -f`");
        }
    }
}

fn open_files() {
    let place = Place::new(Who::Root, archive(), &[]);
    for number in [8, 10, 12, 16, 20] {
        place.fails_under(&format!("--nofile={number}"), "`ulimit -n`");
    }
}

/// What needs memory first differs; what is said must help in each case.
fn address_space() {
    let place = Place::new(Who::Root, archive(), &[]);
    let mut failed = 0;
    // Of 30 MiB the program itself takes so much that nothing can be said.
    for mib in [36, 40, 50, 60, 80] {
        place.clear();
        let output = limited(&format!("--as={}", mib << 20), &place.build()).output().unwrap();
        if !output.status.success() {
            failed += 1;
            let stderr = said(&output);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.contains("\nhint: ") && stderr.contains("ulimit -v"), "{mib} MiB: {stderr}");
        }
        assert!(!place.bench.output().join(".fam-build").exists(), "{mib} MiB");
        place.assert_whole("little memory");
        place.assert_works("little memory");
    }
    assert!(failed > 1, "{failed} of them failed");
}

/// Of a user, whose processes are counted; root's are not.
fn processes() {
    let place = Place::new(Who::User, archive(), &[]);
    for number in [1, 2, 4, 6] {
        place.clear();
        let build = place.build();
        // As the user already: `setpriv` and what it needs come before the limit.
        let arguments: Vec<_> = build.get_args().collect();
        let at = arguments.iter().position(|argument| *argument == "/usr/bin/env").unwrap();
        let mut command = Command::new(build.get_program());
        command.args(&arguments[..at]).arg("prlimit").arg(format!("--nproc={number}")).args(&arguments[at..]);
        let output = command.output().unwrap();
        assert_failed(&output, 1, &[], "`ulimit -u`");
        assert!(!place.bench.output().join(".fam-build").exists(), "{}", said(&output));
        place.assert_works("few processes");
    }
}

/// A control group with a limit, removed in the end.
struct Group(PathBuf);

impl Group {
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("fam-build-test-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/memory");
        let (group, file) = match old.join("memory.limit_in_bytes").exists() {
            true => (old.join(name), "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup").join(name), "memory.max"),
        };
        fs_err::create_dir(&group).ok()?;
        let group = Self(group);
        fs_err::write(group.0.join(file), bytes.to_string()).ok()?;
        Some(group)
    }

    /// A command in it.
    fn run(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        inside.arg(command.get_program()).args(command.get_args()).stdin(std::process::Stdio::null());
        inside
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs_err::remove_dir(&self.0);
    }
}

fn memory_of_a_control_group() {
    let place = Place::new(Who::Root, archive(), &[]);
    let mut failed = 0;
    for mib in [28, 32, 36, 40] {
        let group = Group::new(mib << 20).expect("a control group can be made with a limit of memory");
        place.clear();
        let output = group.run(&place.build()).output().unwrap();
        let stderr = said(&output);
        if output.status.success() {
            place.assert_whole("enough memory after all");
            continue;
        }
        failed += 1;
        assert_eq!(output.status.code(), Some(1), "{mib} MiB: {stderr}");
        // The kernel chooses: programs of the sandbox first, then the worker.
        assert!(stderr.contains("(out of memory?)") && stderr.contains("dmesg"), "{stderr}");
        assert!(!place.bench.output().join(".fam-build").exists(), "{stderr}");
        place.assert_whole("little memory");
        place.assert_works("little memory");
    }
    assert!(failed > 0, "28 MiB are enough for a build");
}
