//! Trees that are made again, beside what tar(1) makes of their tarball.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use fam_tree::Timestamp;
use fam_tree::tarball::{self, StagedFiles};
use fs_err::{self as fs, File};
use rustix::fs::XattrFlags;

use super::*;

const LATEST: i64 = 1_700_000_000;

/// A tree with everything that its tarball does not have.
fn original() -> (tempfile::TempDir, Staging) {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for directory in ["usr/bin", "usr/a", "proc/1", "run/lock/deep", "tmp", "usr/empty", "data"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for (name, text) in
        [("usr/bin/z", "hello"), ("run/pid", "1"), ("run/lock/deep/x", "x"), ("tmp/y", ""), ("usr/a-b", "")]
    {
        fs::write(at(name), text).unwrap();
    }
    fs::hard_link(at("usr/bin/z"), at("usr/a/z")).unwrap();
    fs::set_permissions(at("usr/bin/z"), PermissionsExt::from_mode(0o4755)).unwrap();
    fs::set_permissions(at("usr/empty"), PermissionsExt::from_mode(0o1700)).unwrap();
    symlink("/usr/bin/z", at("usr/link")).unwrap();
    fs::hard_link(at("usr/link"), at("usr/other-link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("usr/pipe"), rustix::fs::Mode::from_raw_mode(0o640)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("usr/socket")).unwrap();
    rustix::fs::setxattr(at("usr/bin/z"), "user.binary", b"\n\0=\xff", XattrFlags::empty()).unwrap();
    let sparse = fs::File::create(at("data/sparse")).unwrap();
    sparse.set_len(300 << 10).unwrap();
    sparse.file().write_all_at(b"middle", 150 << 10).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_234_567_890_123_456_789);
    fs::File::open(at("usr/a-b")).unwrap().file().set_modified(old).unwrap();
    let staging = Staging::open(place.path()).unwrap();
    let entry = Entry {
        kind: Kind::CharDevice { major: 1, minor: 3 },
        mode: 0o666,
        uid: 0,
        gid: 0,
        mtime: Timestamp { seconds: 5, nanoseconds: 0 },
        xattrs: BTreeMap::new(),
    };
    staging.device("data/null".parse().unwrap(), entry);
    (place, staging)
}

fn read(staging: &Staging) -> (Tree, StagedFiles) {
    let (tree, files) = tarball::read_directory(File::open(staging.host_path()).unwrap(), LATEST).unwrap();
    (tarball::finished(tree, &staging.devices(), LATEST), files)
}

fn written(staging: &Staging, path: &Path) -> Vec<u8> {
    let (tree, files) = read(staging);
    tarball::write(&tree, &files, None, File::create(path).unwrap()).unwrap();
    fs::read(path).unwrap()
}

/// Type, mode, owner, length, number of names, time as a tarball has it, and extended attributes of everything in a
/// directory that a tarball has.
fn listing(root: &Path) -> Vec<String> {
    let list = Command::new("find").arg(root).args(["-printf", "%P %y %m %U %G %s %n %T@ %l\n"]).output().unwrap();
    assert!(list.status.success());
    let text = String::from_utf8(list.stdout).unwrap();
    let is_left_out = |line: &&str| ["run/", "tmp/", "proc/1", "usr/socket"].iter().any(|it| line.starts_with(it));
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !is_left_out(line))
        .map(|line| {
            let mut fields: Vec<&str> = line.split(' ').collect();
            // The length of a directory is the file system's own affair, and it has a name more for each in it.
            if fields[1] == "d" {
                (fields[5], fields[6]) = ("-", "-");
            }
            let seconds = fields[7].split('.').next().unwrap().parse::<i64>().unwrap().min(LATEST).to_string();
            fields[7] = &seconds;
            let path = root.join(fields[0]);
            let mut value = [0; 16];
            let attribute =
                rustix::fs::lgetxattr(&path, "user.binary", &mut value[..]).map(|len| value[..len].to_vec());
            format!("{} {attribute:?}", fields.join(" "))
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_tree_is_made_again_as_tar_does() {
    let (place, staging) = original();
    let scratch = tempfile::tempdir().unwrap();
    let tarball = scratch.path().join("layer.tar");
    let before = written(&staging, &tarball);
    let [of_tarball, of_directory, of_tar] =
        ["of_tarball", "of_directory", "of_tar"].map(|name| scratch.path().join(name));
    for directory in [&of_tarball, &of_directory, &of_tar] {
        fs::create_dir(directory).unwrap();
    }
    let file = File::open(&tarball).unwrap();
    let (tree, files) = read(&staging);
    let stores: [(&Path, Tree, &dyn Store); 2] =
        [(&of_tarball, tarball::index(&file).unwrap(), &file), (&of_directory, tree, &files)];
    for (again, tree, store) in stores {
        let copy = Staging::open(again).unwrap();
        extract(&tree, store, &copy).unwrap();
        assert_eq!(copy.devices(), staging.devices());
        assert!(written(&copy, &scratch.path().join("again.tar")) == before);
        let sparse = fs::metadata(again.join("data/sparse")).unwrap();
        assert!(sparse.blocks() * 512 < sparse.len(), "zeros are a hole");
    }
    // tar makes device nodes, which a staging tree only knows of.
    let tar = Command::new("tar")
        .args([
            "--extract",
            "--same-owner",
            "--preserve-permissions",
            "--xattrs",
            "--xattrs-include=*",
            "--exclude=null",
        ])
        .arg("--file")
        .arg(&tarball)
        .arg("--directory")
        .arg(&of_tar)
        .status()
        .unwrap();
    assert!(tar.success());
    // tar 1.34 leaves a directory another time. Ours are compared with those of the first tree below.
    let without_directories =
        |lines: Vec<String>| -> Vec<String> { lines.into_iter().filter(|line| !line.contains(" d ")).collect() };
    // A link of two names is as good as its copy.
    let one_name = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().map(|line| line.replace(" l 777 0 0 10 2 ", " l 777 0 0 10 1 ")).collect()
    };
    for again in [&of_tarball, &of_directory] {
        assert_eq!(without_directories(listing(again)), without_directories(listing(&of_tar)));
        assert_eq!(one_name(listing(again)), one_name(listing(place.path())));
    }
}

#[test]
fn a_tarball_that_is_cut_off_is_an_error() {
    let (_place, staging) = original();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("layer.tar");
    written(&staging, &path);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let tree = tarball::index(&file).unwrap();
    file.set_len(2048).unwrap();
    let root = scratch.path().join("root");
    fs::create_dir(&root).unwrap();
    let error = extract(&tree, &file, &Staging::open(&root).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("copy ") && error.contains("layer.tar ends before its contents do"), "{error}");
}
