//! What the doctor finds: as root, as users who have what a build needs and who lack it, on a host
//! that has nothing.
//!
//! Needs root, to be others; and QEMU, so that there is something to find.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::archive::{Archive, Mirror};
use support::bare::{bare_root, command_in};
use support::mounted::Mounted;
use support::{as_user, directory_of, public_program, succeed, user};

support::tests! {
    needs [support::harness::ROOT, "gpg", "qemu-system-x86_64", "setpriv", "unshare"];
    a_host_that_has_all_is_sound_for_root_and_users,
    people_read_a_line_for_each_thing,
    a_user_without_ids_is_told_the_command_that_gives_them,
    places_and_suites_that_cannot_be_used,
    too_little_room_is_shown_as_a_build_would_refuse_it,
    forbidden_user_namespaces_are_explained,
    a_host_without_any_tool_can_build_and_learns_what_running_needs,
}

/// What was found, by what was examined.
struct Examined {
    code: i32,
    findings: BTreeMap<String, serde_json::Value>,
    stderr: String,
}

impl Examined {
    /// Has `doctor` examine the host for a build into `output`.
    fn of(mut program: Command, output: &Path, more: &[&str]) -> Self {
        let mirror = mirror();
        program.args(["doctor", "--json", "--cache-dir"]).arg(output.join("cache")).arg("--output").arg(output);
        if !more.contains(&"--mirror") {
            program.args(["--mirror", mirror.url()]);
        }
        let output = program.args(more).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let line = stdout.lines().next().unwrap_or_else(|| panic!("{stderr}"));
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["event"], "examined");
        let findings = event["report"]["findings"].as_array().unwrap().iter();
        let findings = findings.map(|finding| (finding["check"].as_str().unwrap().to_owned(), finding.clone()));
        Self { code: output.status.code().unwrap(), findings: findings.collect(), stderr }
    }

    /// Asserts that `what` was found to be so, that `says` is part of what it says, and `hint` of
    /// its hint.
    #[track_caller]
    fn shows(&self, what: &str, verdict: &str, says: &str, hint: &str) {
        let finding = self.findings.get(what).unwrap_or_else(|| panic!("nothing on {what}: {:#?}", self.findings));
        assert_eq!(finding["verdict"], verdict, "{finding:#}");
        assert!(finding["detail"].as_str().unwrap().contains(says), "{finding:#}");
        assert!(finding["hint"].as_str().unwrap_or_default().contains(hint), "{finding:#}");
    }

    fn faults(&self) -> Vec<&str> {
        let faults = self.findings.iter().filter(|(_, finding)| finding["verdict"] == "fault");
        faults.map(|(what, _)| what.as_str()).collect()
    }
}

/// A mirror that has the suite of the default recipe.
fn mirror() -> Mirror {
    Archive::new("trixie").serve()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn a_host_that_has_all_is_sound_for_root_and_users() {
    let output = directory_of(user());
    for (program, ids, programs) in [
        (Command::new(public_program()), "root's own, without a user namespace", "belong to no user of this host"),
        (as_user(public_program()), "of /etc/subuid and /etc/subgid, through", "users of the build's user namespace"),
    ] {
        let examined = Examined::of(program, output.path(), &["--nodes", "2"]);
        assert_eq!((examined.faults(), examined.code), (vec![], 0));
        examined.shows("ids", "ok", ids, "");
        examined.shows("namespaces", "ok", "did all that a build does", "");
        examined.shows("programs' ids", "ok", programs, "");
        examined.shows("programs' memory", "ok", "are ended first", "");
        // What these come to depends on the kernel.
        for what in ["plugins' files", "processes"] {
            let finding = &examined.findings[what];
            assert_eq!(finding["verdict"] == "warning", finding["hint"].is_string(), "{finding:#}");
        }
        examined.shows("output directory", "ok", "may be written", "");
        examined.shows("mirror", "ok", "answers, and has trixie", "");
        examined.shows("fabric ivshmem", "ok", "qemu-system-x86_64", "");
        assert!(examined.findings.contains_key("KVM") && examined.findings.contains_key("libvirt"));
    }
    assert_eq!(names(output.path()), Vec::<String>::new(), "the doctor leaves nothing");
}

fn people_read_a_line_for_each_thing() {
    let output = directory_of("root");
    let mut doctor = Command::new(public_program());
    doctor.args(["doctor", "--mirror", "http://127.0.0.1:1/debian", "--output"]).arg(output.path());
    let said = doctor.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(said.stdout).unwrap(), String::from_utf8(said.stderr).unwrap());
    assert_eq!(said.status.code(), Some(1), "{stdout}{stderr}");
    let mut lines = stdout.lines().skip_while(|line| !line.starts_with("  fault    mirror"));
    assert!(
        lines.next().is_some_and(|line| line.contains("http://127.0.0.1:1/debian (flag --mirror): connect to")),
        "{stdout}"
    );
    assert!(lines.next().is_some_and(|line| line.trim().starts_with("hint: check that the mirror is up")), "{stdout}");
    assert!(stdout.contains("\nTo run what was built\n  ok       bash"), "{stdout}");
    assert_eq!(stderr.lines().next(), Some("error: this host cannot build what was asked for"));
    assert!(stderr.contains("hint: change each fault"), "{stderr}");
}

fn a_user_without_ids_is_told_the_command_that_gives_them() {
    let output = directory_of("4711");
    let mut program = Command::new("setpriv");
    program.args(["--reuid", "4711", "--regid", "4711", "--clear-groups", "--"]).arg(public_program());
    program.env_remove("USER").env_remove("LOGNAME");
    let examined = Examined::of(program, output.path(), &[]);
    assert_eq!((examined.faults(), examined.code), (vec!["ids"], 1));
    examined.shows("ids", "fault", "/etc/subuid grants user 4711 0 ids", "usermod --add-subuids 100000-165535");
    examined.shows("namespaces", "ok", "this user may make user, mount, PID", "");
    assert!(examined.stderr.contains("cannot build"), "{}", examined.stderr);
}

fn places_and_suites_that_cannot_be_used() {
    let output = directory_of("root");
    let examined = Examined::of(as_user(public_program()), output.path(), &["--suite", "no-such-suite"]);
    assert_eq!((examined.faults(), examined.code), (vec!["cache", "mirror", "output directory"], 1));
    examined.shows("output directory", "fault", "Permission denied", "--output");
    examined.shows("cache", "fault", "Permission denied", "--cache-dir");
    examined.shows("mirror", "fault", "has no suite no-such-suite", "--mirror");
}

fn too_little_room_is_shown_as_a_build_would_refuse_it() {
    let output = directory_of("root");
    let tarball = output.path().join("root.tar");
    fs_err::File::create(&tarball).unwrap().set_len(400 << 20).unwrap();
    let small = output.path().join("small");
    fs_err::create_dir(&small).unwrap();
    let _small = Mounted::in_memory(&small, "size=600M");
    let program = || Command::new(public_program());
    let of_packages = Examined::of(program(), &small, &[]);
    let of_tarball = Examined::of(program(), &small, &["--nodes", "1", "--from-tarball", tarball.to_str().unwrap()]);
    assert_eq!(of_packages.code, 0, "only the indexes tell how much a build takes");
    of_packages.shows(
        "output directory",
        "warning",
        "600 MiB free; with the packages of the default recipe",
        "--output",
    );
    assert_eq!((of_tarball.faults(), of_tarball.code), (vec!["output directory"], 1));
    of_tarball.shows(
        "output directory",
        "fault",
        "has 0.6 GiB free; the build (raw image, 1 nodes)",
        "free some space",
    );
    assert!(!of_tarball.findings.contains_key("mirror"), "images of a tarball need none");
}

/// A user namespace with all ids of the host that allows none under it. It ends when this is
/// dropped.
struct Forbidding(Child);

impl Forbidding {
    fn new() -> Self {
        let mut child = Command::new("unshare").args(["--user", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
        let own = |pid: u32| fs_err::read_link(format!("/proc/{pid}/ns/user")).unwrap();
        while own(child.id()) == own(std::process::id()) {
            assert!(child.try_wait().unwrap().is_none(), "unshare ended");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        for map in ["uid_map", "gid_map"] {
            fs_err::write(format!("/proc/{}/{map}", child.id()), "0 0 4294967295\n").unwrap();
        }
        let forbidding = Self(child);
        succeed(forbidding.command("sh").args(["-c", "echo 0 >/proc/sys/user/max_user_namespaces"]));
        forbidding
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--user=/proc/{}/ns/user", self.0.id())).arg("--").arg(program);
        command
    }
}

impl Drop for Forbidding {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn forbidden_user_namespaces_are_explained() {
    let output = directory_of(user());
    let forbidding = Forbidding::new();
    let as_user = as_user(public_program());
    let mut program = forbidding.command(as_user.get_program().to_str().unwrap());
    program.args(as_user.get_args());
    let examined = Examined::of(program, output.path(), &[]);
    assert_eq!((examined.faults(), examined.code), (vec!["namespaces"], 1));
    examined.shows("ids", "ok", "/etc/subuid", "");
    examined.shows("namespaces", "fault", "(user.max_user_namespaces is 0)", "sysctl -w user.max_user_namespaces=");

    // A user who lacks the ids as well learns both at once.
    let mut program = forbidding.command("setpriv");
    program.args(["--reuid", "4711", "--regid", "4711", "--clear-groups", "--"]).arg(public_program());
    let output = directory_of("4711");
    let examined = Examined::of(program, output.path(), &[]);
    assert_eq!(examined.faults(), ["ids", "namespaces"]);
    examined.shows("namespaces", "fault", "(user.max_user_namespaces is 0)", "sysctl -w user.max_user_namespaces=");
}

fn a_host_without_any_tool_can_build_and_learns_what_running_needs() {
    let root = directory_of("root");
    bare_root(root.path());
    let examined = Examined::of(command_in(root.path(), "fam-build"), Path::new("/output"), &[]);
    assert_eq!((examined.faults(), examined.code), (vec!["bash"], 1));
    assert!(examined.stderr.contains("error: this host cannot run what would be built"), "{}", examined.stderr);
    examined.shows("namespaces", "ok", "did all that a build does", "");
    examined.shows("mirror", "ok", "(flag --mirror) answers", "");
    examined.shows("bash", "fault", "it is not installed", "Fedora: dnf install bash");
    fs_err::remove_file(root.path().join("usr/bin/newuidmap")).unwrap();
    let examined = Examined::of(command_in(root.path(), "fam-build"), Path::new("/output"), &[]);
    examined.shows("newuidmap", "fault", "newuidmap is not installed", "package uidmap on Debian");
    assert!(examined.stderr.contains("can neither build"), "{}", examined.stderr);
}
