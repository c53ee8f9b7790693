//! Places that cannot be written to, files that cannot be read, users who lack something, packages that fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive::{Deb, serve};
use crate::support::{self, directory_of, succeed};
use crate::world::{Who, assert_fails, assert_nothing_left, build, build_with_cache, names, of_recipe, scratch, world};

/// A memory file system, unmounted in the end.
struct Mounted(PathBuf);

impl Mounted {
    fn new(directory: &Path, options: &str) -> Self {
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", options, "fam-build-test"]).arg(directory));
        Self(directory.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_too_small_is_refused_before_the_work() {
    let directory = tempfile::tempdir_in(scratch()).unwrap();
    let _disk = Mounted::new(directory.path(), "size=64M");
    let mut command = build(Who::Root, directory.path());
    let error = ["0.1 GiB free", "takes 0.2 GiB", directory.path().to_str().unwrap()];
    assert_fails(command.args(of_recipe()), 1, &error, "free some space");
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_disk_too_small_for_a_tarballs_images_is_refused_at_once() {
    let world = world();
    let directory = tempfile::tempdir_in(scratch()).unwrap();
    let _disk = Mounted::new(directory.path(), "size=300M");
    let mut command = build(Who::Root, directory.path());
    command.args(of_recipe()).args(["--nodes", "6", "--from-tarball"]).arg(world.template());
    assert_fails(&mut command, 1, &["0.3 GiB free", "raw image, 6 nodes"], "free some space");
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_disk_that_fills_up_while_images_are_written() {
    let directory = tempfile::tempdir_in(scratch()).unwrap();
    let (random, tarball) = (directory.path().join("random"), directory.path().join("random.tar"));
    let output = directory.path().join("output");
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
    let _disk = Mounted::new(&output, "size=900M");
    let mut command = build(Who::Root, &output);
    command.args(of_recipe()).args(["--nodes", "6", "--from-tarball"]).arg(&tarball);
    assert_fails(&mut command, 1, &[], "free some space");
    let left = names(&output);
    assert!(left.contains(&"fabric_emulation.log".to_owned()), "it began: {left:?}");
    assert!(!left.iter().any(|name| name == "fabric6.qcow2" || name == ".fam-build"), "{left:?}");
}

#[test]
fn places_that_cannot_be_written_to() {
    let directory = directory_of("root");
    let read_only = directory.path().join("mounted");
    fs_err::create_dir(&read_only).unwrap();
    let _disk = Mounted::new(&read_only, "ro,size=1M");
    let writable = "a directory that you may write to";
    assert_fails(build(Who::Root, &read_only).args(of_recipe()), 1, &["mounted", "Read-only file system"], writable);

    let others = directory.path().join("others");
    fs_err::create_dir(&others).unwrap();
    let cache = directory_of(support::user());
    let mut command = build_with_cache(Who::User, &others, cache.path());
    assert_fails(command.args(of_recipe()), 1, &["others", "Permission denied"], writable);
    assert!(names(&others).is_empty());

    let file = directory.path().join("file");
    fs_err::write(&file, "in the way").unwrap();
    assert_fails(build(Who::Root, &file).args(of_recipe()), 1, &["file", "File exists"], "takes a directory");
    let beneath = file.join("output");
    assert_fails(
        build(Who::Root, &beneath).args(of_recipe()),
        1,
        &["file/output", "Not a directory"],
        "takes a directory",
    );
    assert_eq!(fs_err::read_to_string(file).unwrap(), "in the way");
}

#[test]
fn tarballs_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("output");
    for (name, bytes, error) in [
        ("text", b"this is no archive, whatever its name says".repeat(100), "no tar archive"),
        ("empty", Vec::new(), "tar"),
        ("gzip", [b"\x1f\x8b\x08".as_slice(), &[0xff; 2000]].concat(), "gzip"),
    ] {
        let path = directory.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        let mut command = build(Who::Root, &output);
        command.args(of_recipe()).arg("--from-tarball").arg(&path);
        assert_fails(&mut command, 1, &[path.to_str().unwrap(), error], "archive");
        assert_nothing_left(&output);
    }
    let mut command = build(Who::Root, &directory.path().join("never"));
    command.args(of_recipe()).args(["--from-tarball", "/nowhere.tar"]);
    assert_fails(&mut command, 2, &["/nowhere.tar", "No such file"], "--from-tarball");
    assert!(!directory.path().join("never").exists());
}

#[test]
fn a_user_without_subordinate_ids() {
    let directory = directory_of("nobody");
    let output = directory.path().join("output");
    let program = support::public_binary();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--reset-env", "--"]).arg(program);
    command.arg("--output").arg(&output).args(of_recipe());
    let error = ["/etc/subuid grants user nobody 0 ids"];
    assert_fails(&mut command, 1, &error, "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 nobody");
    assert!(!output.exists());
}

#[test]
fn a_maintainer_script_that_fails() {
    let world = world();
    let directory = directory_of("root");
    let broken = Deb::new("fam-broken", b"", "echo the moon is gone >&2; exit 3");
    let server = serve([(format!("/{}", broken.filename()), broken.bytes.clone())].into());
    let lock = world.lock_with(&server.url(), &[&broken], directory.path());
    let output = directory.path().join("output");
    let mut command = build(Who::Root, &output);
    let error = ["post-installation script", "package fam-broken", "exit status 3", "\n  the moon is gone"];
    assert_fails(command.args(of_recipe()).arg("--locked").arg(lock), 1, &error, "fabric_emulation.log");
    assert_nothing_left(&output);
    let log = fs_err::read_to_string(output.join("fabric_emulation.log")).unwrap();
    assert!(log.contains("the moon is gone") && log.contains("failed: "), "{log}");
}
