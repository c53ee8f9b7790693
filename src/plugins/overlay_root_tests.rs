//! Tests of the files of a node.

use std::io::Write;

use fam_plugin::Root;

use super::*;

/// A tree in which /etc/a, /etc/b and /usr/c are one file, its bytes in a tarball.
struct Image {
    tree: Arc<Tree>,
    tarball: Arc<fs_err::File>,
    changed: BTreeSet<RootPath>,
}

fn path(text: &str) -> RootPath {
    text.parse().unwrap()
}

fn entry(kind: Kind) -> Entry {
    let mtime = Timestamp { seconds: 1, nanoseconds: 2 };
    Entry { kind, mode: 0o640, uid: 7, gid: 8, mtime, xattrs: BTreeMap::from([(CAPABILITY.to_vec(), vec![1])]) }
}

impl Image {
    fn new() -> Self {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"....shared....").unwrap();
        let mut tree = Tree::default();
        for dir in ["", "etc", "usr", "usr/sub"] {
            tree.insert(path(dir), entry(Kind::Directory));
        }
        tree.insert(path("etc/a"), entry(Kind::File(Content::Stored { offset: 4, len: 6 })));
        for link in ["etc/b", "usr/c"] {
            tree.insert(path(link), entry(Kind::HardLink(path("etc/a"))));
        }
        tree.insert(path("etc/link"), entry(Kind::Symlink(b"/etc/../../../usr/c".to_vec())));
        let tarball = Arc::new(fs_err::File::from_parts(file, "template.tar"));
        Self { tree: Arc::new(tree), tarball, changed: BTreeSet::new() }
    }

    fn files(&self) -> OverlayRoot {
        OverlayRoot::new(Arc::clone(&self.tree), self.tarball.clone(), 1000)
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Root<'_>) -> T) -> T {
        let mut files = self.files();
        let done = act(&mut Root::new(&mut files));
        let overlay = files.into_overlay();
        self.changed.extend(overlay.iter().map(|(path, _)| path.clone()));
        self.tree = Arc::new(overlay.apply(&self.tree));
        done
    }

    fn changed(&self) -> Vec<String> {
        self.changed.iter().map(ToString::to_string).collect()
    }

    /// Every hard link of the tree leads to a file of the same metadata, as the tree promises.
    fn check(&self) -> &Tree {
        for (path, entry) in self.tree.iter() {
            if let Kind::HardLink(target) = &entry.kind {
                let file = self.tree.get(target).unwrap_or_else(|| panic!("{path} leads nowhere"));
                assert!(matches!(file.kind, Kind::File(_)), "{path}");
                assert_eq!(
                    (entry.mode, entry.uid, entry.mtime, &entry.xattrs),
                    (file.mode, file.uid, file.mtime, &file.xattrs)
                );
            }
        }
        &self.tree
    }
}

#[test]
fn reads_the_tarball_through_links() {
    let mut image = Image::new();
    for name in ["/etc/a", "/etc/b", "/usr/c", "etc/link", "../../etc/a"] {
        assert_eq!(image.with(|root| root.read_text(name)).unwrap(), "shared", "{name}");
    }
    assert_eq!(image.with(|root| root.metadata("/usr/c")).unwrap().size, 6);
    assert_eq!(image.changed(), Vec::<String>::new());
}

#[test]
fn writing_leaves_the_other_names_alone() {
    for written in ["/etc/a", "/etc/b", "/usr/c"] {
        let mut image = Image::new();
        image.with(|root| root.write(written, "mine")).unwrap();
        for name in ["/etc/a", "/etc/b", "/usr/c"] {
            let expected = if name == written { "mine" } else { "shared" };
            assert_eq!(image.with(|root| root.read_text(name)).unwrap(), expected, "{name} after {written}");
        }
        let tree = image.check();
        let entry = tree.get(&path(written)).unwrap();
        assert_eq!((entry.mode, entry.uid, entry.mtime.seconds), (0o640, 7, 1000));
        assert!(entry.xattrs.is_empty(), "capabilities do not survive a change");
    }
}

#[test]
fn metadata_shows_under_all_names() {
    let mut image = Image::new();
    image.with(|root| root.set_mode("/etc/b", 0o600)).unwrap();
    image.with(|root| root.set_owner("/usr/c", 1, 2)).unwrap();
    let tree = image.check();
    for name in ["etc/a", "etc/b", "usr/c"] {
        let entry = tree.get(&path(name)).unwrap();
        assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime.seconds), (0o600, 1, 2, 1), "{name}");
    }
}

#[test]
fn removing_keeps_what_has_another_name() {
    let mut image = Image::new();
    assert!(image.with(|root| root.remove("/etc")).unwrap());
    assert_eq!(image.with(|root| root.read_text("/usr/c")).unwrap(), "shared");
    let tree = image.check();
    let left: Vec<String> = tree.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(left, ["/", "/usr", "/usr/c", "/usr/sub"]);
    assert!(image.with(|root| root.read("/etc/a")).unwrap_err().is_not_found());
    image.with(|root| root.create_dir_all("/etc/new")).unwrap();
    assert_eq!(image.with(|root| root.list("/etc")).unwrap(), ["new"]);
}

#[test]
fn writes_with_the_time_of_the_build() {
    let mut image = Image::new();
    image.with(|root| {
        root.write_with("/etc/new", "x", Attributes::mode(0o600).owner(3, 4)).unwrap();
        root.symlink("/etc/new", "/usr/sub/link").unwrap();
        root.append("/usr/sub/link", "y").unwrap();
        root.set_xattr("/etc/new", "user.k", "v").unwrap();
    });
    let tree = image.check();
    let new = tree.get(&path("etc/new")).unwrap();
    let seconds = 1000;
    let expected = Entry {
        kind: Kind::File(Content::Inline((*b"xy").into())),
        mode: 0o600,
        uid: 3,
        gid: 4,
        mtime: Timestamp { seconds, nanoseconds: 0 },
        xattrs: BTreeMap::from([(b"user.k".to_vec(), b"v".to_vec())]),
    };
    assert_eq!(*new, expected);
    assert_eq!(image.changed(), ["/etc/new", "/usr/sub/link"]);
}

#[test]
fn refuses() {
    let mut image = Image::new();
    image.with(|root| {
        assert!(root.write("/etc", "x").is_err());
        assert!(root.write("/missing/x", "x").unwrap_err().is_not_found());
        assert!(root.write("/etc/a/x", "x").is_err());
        assert!(root.create_dir("/etc", 0o755).is_err());
        assert!(root.list("/etc/a").is_err());
        let huge = vec![0; (MAX_FILE_BYTES + 1) as usize];
        assert!(root.write("/etc/huge", huge).unwrap_err().to_string().contains("larger than the limit"));
        let error = root.run(&fam_plugin::Command::new("true")).unwrap_err();
        assert_eq!(error.to_string(), "run true: programs can be run at the system stage only");
    });
    assert_eq!(image.changed(), Vec::<String>::new());
}

#[test]
fn makes_nothing_that_no_image_can_hold() {
    use std::ffi::OsStr;
    let image = Image::new();
    let mut root = image.files();
    let name = Path::new(OsStr::from_bytes(b"/etc/caf\xe9"));
    let attributes = Attributes::default();
    for (made, shown) in [
        (root.write(name, b"", attributes), r"write /etc/caf\xe9: "),
        (root.create_dir(name, 0o755), r"create directory /etc/caf\xe9: "),
        (root.symlink(Path::new("x"), name), r"link /etc/caf\xe9: "),
        (root.symlink(name, Path::new("/etc/new")), "link /etc/new: "),
    ] {
        let error = made.unwrap_err().to_string();
        assert!(error.starts_with(shown) && error.ends_with("is not UTF-8, and no image can hold that"), "{error}");
    }
}
