use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use std::collections::BTreeMap;

use fam_tree::{Kind, Timestamp};

use super::*;

fn path(text: &str) -> RootPath {
    text.parse().unwrap()
}

/// A root, and beside it a file that no operation may reach.
fn fixture() -> (tempfile::TempDir, Staging) {
    let temp = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(temp.path().join("root/dir")).unwrap();
    fs_err::create_dir(temp.path().join("outside")).unwrap();
    fs_err::write(temp.path().join("outside/secret"), "untouched").unwrap();
    let staging = Staging::open(&temp.path().join("root")).unwrap();
    (temp, staging)
}

#[test]
fn links_lead_nowhere_but_beneath_the_root() {
    let (temp, staging) = fixture();
    let outside = temp.path().join("outside");
    symlink(&outside, temp.path().join("root/absolute")).unwrap();
    symlink("../../../../../../outside", temp.path().join("root/dir/dots")).unwrap();
    symlink(outside.join("secret"), temp.path().join("root/file")).unwrap();
    symlink("/proc/self/root", temp.path().join("root/magic")).unwrap();

    for escape in ["absolute/x", "dir/dots/x", "magic/etc/x"] {
        assert_eq!(
            staging.write(&path(escape), b"evil", 0o644).unwrap_err().kind(),
            io::ErrorKind::NotFound,
            "{escape}"
        );
    }
    assert!(staging.read(&path("file")).is_err());
    staging.write(&path("file"), b"replaced the link", 0o644).unwrap();
    assert_eq!(staging.read(&path("file")).unwrap(), b"replaced the link");
    assert_eq!(fs_err::read_to_string(outside.join("secret")).unwrap(), "untouched");
    assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 1);
    staging.remove(&path("absolute")).unwrap();
    assert!(outside.exists());
}

#[test]
fn absolute_links_resolve_as_in_the_finished_system() {
    let (temp, staging) = fixture();
    symlink("/dir", temp.path().join("root/link")).unwrap();
    staging.write(&path("link/x"), b"1", 0o600).unwrap();
    assert_eq!(fs_err::read(temp.path().join("root/dir/x")).unwrap(), b"1");
    assert_eq!(staging.list(&path("link")).unwrap(), [b"x"]);
    staging.write(&path("link/x"), b"2", 0o600).unwrap();
    assert_eq!(staging.read(&path("dir/x")).unwrap(), b"2");
}

#[test]
fn names_are_single_components() {
    let (_temp, staging) = fixture();
    let root = staging.directory(&RootPath::root()).unwrap();
    for name in [&b""[..], b".", b"..", b"../outside/x", b"dir/x", b"a\0b"] {
        assert_eq!(root.create_file(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
        assert!(root.symlink(name, b"x").is_err());
        assert!(root.create_directory(name, 0o755).is_err());
        assert!(root.unlink(name).is_err());
        assert!(root.hard_link(b"new", &root, name).is_err());
    }
}

#[test]
fn sets_attributes_in_the_order_that_keeps_them() {
    let (temp, staging) = fixture();
    let root = staging.directory(&RootPath::root()).unwrap();
    let me = root.own_metadata().unwrap().attributes;
    let attributes =
        Attributes { mode: 0o4751, uid: me.uid, gid: me.gid, mtime: Timestamp { seconds: 1_000_000, nanoseconds: 5 } };
    let mut file = root.create_file(b"setuid").unwrap();
    file.write_all(b"x").unwrap();
    root.finish_file(b"setuid", &file, &attributes, &BTreeMap::new()).unwrap();
    assert_eq!(root.metadata(b"setuid").unwrap().attributes, attributes);

    root.fifo(b"pipe").unwrap();
    root.symlink(b"link", b"/nowhere").unwrap();
    for name in [&b"pipe"[..], b"link", b"dir"] {
        root.set_attributes(name, &attributes, &BTreeMap::new()).unwrap();
        let found = root.metadata(name).unwrap().attributes;
        assert_eq!(found.mtime, attributes.mtime);
        if name != b"link" {
            assert_eq!(found.mode, attributes.mode);
        }
    }
    assert_eq!(root.read_link(b"link").unwrap(), b"/nowhere");
    assert_eq!(fs_err::metadata(temp.path().join("root/dir")).unwrap().permissions().mode() & 0o7777, 0o4751);
    root.hard_link(b"second", &root, b"setuid").unwrap();
    assert_eq!(fs_err::metadata(temp.path().join("root/second")).unwrap().nlink(), 2);
    assert_eq!(root.metadata(b"second").unwrap().identity, root.metadata(b"setuid").unwrap().identity);
}

#[test]
fn makes_and_removes_whole_trees() {
    let (temp, staging) = fixture();
    staging.create_dir_all(&path("a/b/c")).unwrap().write_file(b"f", b"", 0o644).unwrap();
    symlink(temp.path().join("outside"), temp.path().join("root/a/b/link")).unwrap();
    assert!(staging.exists(&path("a/b/link")).unwrap());
    staging.remove(&path("a")).unwrap();
    staging.remove(&path("a/b")).unwrap();
    assert!(!staging.exists(&path("a/b")).unwrap());
    assert!(temp.path().join("outside/secret").exists());
}

#[test]
fn devices_are_noted_and_not_made() {
    let (_temp, staging) = fixture();
    let entry = |minor| Entry {
        kind: Kind::CharDevice { major: 1, minor },
        mode: 0o666,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: BTreeMap::new(),
    };
    staging.device(path("dev/zero"), entry(5));
    staging.device(path("dev/null"), entry(4));
    staging.device(path("dev/null"), entry(3));
    assert_eq!(staging.devices(), [(path("dev/null"), entry(3)), (path("dev/zero"), entry(5))].into());
    assert!(!staging.exists(&path("dev")).unwrap());
}

#[test]
fn a_directory_has_one_real_path() {
    let (temp, staging) = fixture();
    symlink("dir", temp.path().join("root/link")).unwrap();
    symlink(temp.path().join("root"), temp.path().join("another")).unwrap();
    let by_link = Staging::open(&temp.path().join("another")).unwrap();
    for (staging, by) in [(&staging, "dir"), (&staging, "link"), (&by_link, "link")] {
        assert_eq!(staging.real_path(&staging.directory(&path(by)).unwrap()).unwrap(), path("dir"));
    }
    assert_eq!(staging.real_path(&staging.directory(&RootPath::root()).unwrap()).unwrap(), RootPath::root());
    let directory = staging.directory(&path("dir")).unwrap();
    assert!(staging.is_directory(&path("link")).unwrap() && !staging.is_directory(&path("none")).unwrap());
    let linked = |link, target: &str| staging.linked_directory(&path(link), target.as_bytes()).unwrap();
    for (link, target) in [("x", "dir"), ("dir/x", "../link"), ("dir/x", "/link/."), ("dir/x", "../../../dir")] {
        assert_eq!(linked(link, target), Some(path("dir")), "{link} {target}");
    }
    assert_eq!([linked("x", "none"), linked("dir/x", "dir")], [None, None]);
    fs_err::rename(temp.path().join("root/dir"), temp.path().join("outside/dir")).unwrap();
    assert_eq!(staging.real_path(&directory).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(!staging.is_directory(&path("link")).unwrap());
}
