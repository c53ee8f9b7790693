//! Places that cannot be written to, files that cannot be read, users who lack something, packages
//! that fail or take long.

use std::path::Path;
use std::process::Command;

use support::archive::Deb;
use support::mounted::Mounted;
use support::{directory_of, succeed};

use crate::small::{Bench, Who, archive, assert_fails, assert_nothing_left, names, program_with};

support::tests! {
    needs [support::harness::ROOT, "gpg", "dpkg-deb"];
    a_disk_that_is_too_small_is_refused_before_the_work,
    a_disk_too_small_for_a_tarballs_images_is_refused_at_once,
    files_with_holes_count_in_full,
    a_disk_that_fills_up_while_images_are_written,
    places_that_cannot_be_written_to,
    tarballs_that_are_none,
    a_user_without_subordinate_ids,
    a_maintainer_script_that_fails,
    maintainer_scripts_that_take_long,
}

fn a_disk_that_is_too_small_is_refused_before_the_work() {
    let bench = Bench::new(archive());
    let disk = bench.directory.path().join("disk");
    fs_err::create_dir(&disk).unwrap();
    let _disk = Mounted::in_memory(&disk, "size=64M");
    let mut command = bench.build(&[]);
    let error = ["0.1 GiB free", "takes 0.2 GiB", disk.to_str().unwrap()];
    assert_fails(command.arg("--output").arg(&disk), 1, &error, "free some space");
    assert!(names(&disk).is_empty());
}

fn a_disk_too_small_for_a_tarballs_images_is_refused_at_once() {
    let bench = Bench::new(archive());
    let tarball = bench.write("root.tar", "");
    fs_err::OpenOptions::new().write(true).open(&tarball).unwrap().set_len(100 << 20).unwrap();
    fs_err::create_dir(bench.output()).unwrap();
    let _disk = Mounted::in_memory(&bench.output(), "size=300M");
    let mut command = bench.build(&["--nodes", "6", "--from-tarball", tarball.to_str().unwrap()]);
    assert_fails(&mut command, 1, &["0.3 GiB free", "raw image, 6 nodes"], "free some space");
    assert!(names(&bench.output()).is_empty());
}

/// Holes take nothing until the tree is written out, where they are zeros.
fn files_with_holes_count_in_full() {
    let holes =
        "mkdir /var/holes\nexec perl -e 'for (1 .. 9000) { open F, \">/var/holes/$_\"; truncate F, 500 << 20 }'";
    let bench = Bench::new(archive().with(Deb::new("holes").script("postinst", holes)));
    let error = ["takes 1098", "largest file of the system is /var/holes/", "with 500 MiB"];
    assert_fails(&mut bench.build(&["--include", "holes"]), 1, &error, "free some space");
    assert_nothing_left(&bench.output());
}

fn a_disk_that_fills_up_while_images_are_written() {
    let bench = Bench::new(archive());
    let directory = &bench.directory;
    let (random, tarball) = (directory.path().join("random"), directory.path().join("random.tar"));
    let output = bench.output();
    fs_err::create_dir(&output).unwrap();
    // Random bytes do not become half as large, which is all that a build can expect beforehand.
    let bytes = Command::new("head").args(["--bytes=150M", "/dev/urandom"]).output().unwrap().stdout;
    fs_err::write(&random, bytes).unwrap();
    fs_err::create_dir(directory.path().join("etc")).unwrap();
    succeed(Command::new("tar").arg("--create").arg("--file").arg(&tarball).arg("--directory").args([
        directory.path(),
        Path::new("random"),
        Path::new("etc"),
    ]));
    let _disk = Mounted::in_memory(&output, "size=900M");
    let mut command = bench.build(&["--nodes", "6", "--from-tarball", tarball.to_str().unwrap()]);
    assert_fails(&mut command, 1, &[], "free some space");
    let left = names(&output);
    assert!(left.contains(&"fabric_emulation.log".to_owned()), "it began: {left:?}");
    assert!(!left.iter().any(|name| name == "fabric6.qcow2" || name == ".fam-build"), "{left:?}");
}

fn places_that_cannot_be_written_to() {
    let bench = Bench::new(archive());
    let directory = &bench.directory;
    let into = |output: &Path| {
        let mut command = bench.build(&[]);
        command.arg("--output").arg(output);
        command
    };
    let read_only = directory.path().join("mounted");
    fs_err::create_dir(&read_only).unwrap();
    let _disk = Mounted::in_memory(&read_only, "ro,size=1M");
    let writable = "a directory that you may write to";
    assert_fails(&mut into(&read_only), 1, &["mounted", "Read-only file system"], writable);

    let others = directory.path().join("others");
    fs_err::create_dir(&others).unwrap();
    let cache = directory_of(support::user());
    let mut command = program_with(Who::User, &others, cache.path());
    assert_fails(&mut command, 1, &["others", "Permission denied"], writable);
    assert!(names(&others).is_empty());

    let file = bench.write("file", "in the way");
    assert_fails(&mut into(&file), 1, &["file", "File exists"], "takes a directory");
    assert_fails(&mut into(&file.join("output")), 1, &["file/output", "Not a directory"], "takes a directory");
    assert_eq!(fs_err::read_to_string(file).unwrap(), "in the way");
}

fn tarballs_that_are_none() {
    let bench = Bench::new(archive());
    let directory = &bench.directory;
    for (name, bytes, error) in [
        ("text", b"this is no archive, whatever its name says".repeat(100), "no tar archive"),
        ("empty", Vec::new(), "tar"),
        ("gzip", [b"\x1f\x8b\x08".as_slice(), &[0xff; 2000]].concat(), "gzip"),
    ] {
        let path = directory.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        let mut command = bench.build(&["--from-tarball", path.to_str().unwrap()]);
        assert_fails(&mut command, 1, &[path.to_str().unwrap(), error], "archive");
        assert_nothing_left(&bench.output());
    }
    let never = directory.path().join("never");
    let mut command = bench.build(&["--from-tarball", "/nowhere.tar"]);
    assert_fails(command.arg("--output").arg(&never), 2, &["/nowhere.tar", "No such file"], "--from-tarball");
    assert!(!never.exists());
}

fn a_user_without_subordinate_ids() {
    let directory = directory_of("nobody");
    let output = directory.path().join("output");
    let program = support::public_program();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--reset-env", "--"]).arg(program);
    command.arg("--output").arg(&output);
    let error = ["/etc/subuid grants user nobody 0 ids"];
    assert_fails(&mut command, 1, &error, "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 nobody");
    assert!(!output.exists());
}

fn a_maintainer_script_that_fails() {
    let broken = |script: &str| Deb::new("broken").script(script, "echo the moon is gone >&2; exit 3");
    for (script, error) in [
        ("preinst", "pre-installation script of package broken failed: it exited with status 3; its last lines:"),
        (
            "postinst",
            "post-installation script of package broken failed: it returned error exit status 3; its last lines:",
        ),
    ] {
        let bench = Bench::new(archive().with(broken(script)));
        let output = bench.output();
        let error = [&format!("{error}\n  the moon is gone") as &str];
        assert_fails(&mut bench.build(&["--include", "broken"]), 1, &error, "a build without broken");
        assert_nothing_left(&output);
        let log = fs_err::read_to_string(output.join("fabric_emulation.log")).unwrap();
        assert!(log.contains("the moon is gone") && log.contains("failed: "), "{log}");
    }
}

fn maintainer_scripts_that_take_long() {
    // What it prints last stands before dpkg's words about the next package, in one line.
    let triggered = "case $1 in triggered) sleep 0.4 ;; configure) printf 'no end of line' ;; esac";
    let archive = archive()
        .with(Deb::new("early").script("preinst", "sleep 0.4"))
        .with(Deb::new("late").field("Depends", "watching").script("postinst", "dpkg-trigger slow; sleep 0.4"))
        .with(Deb::new("watching").control_file("triggers", "interest slow\n").script("postinst", triggered));
    let bench = Bench::new(archive);
    succeed(&mut bench.build(&["--include", "early,late"]));
    let log = fs_err::read_to_string(bench.output().join("fabric_emulation.log")).unwrap();
    for work in ["preinst of early", "configuring late", "triggers of watching"] {
        let took =
            log.lines().find_map(|line| line.split_once(&format!(" detail   {work} took "))?.1.strip_suffix(" s"));
        let seconds: f64 = took.unwrap_or_else(|| panic!("{work}: {log}")).parse().unwrap();
        assert!(seconds >= 0.4, "{work}: {seconds}");
    }
}
