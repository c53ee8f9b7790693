//! Files in memory and in a directory: whatever is done to both, they say the same, and the same tarball comes of
//! them.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use fam_image::write_stream;
use fam_isolation::sandbox::Settings;
use fam_plugin::{Attributes, Root, RootFs};
use fam_progress::Progress;
use fam_rootfs::layer;
use fam_rootfs::staging::Staging;
use fam_tree::{Store, Tree, tarball};
use fs_err::{self as fs, File};
use proptest::prelude::*;

use super::{OverlayRoot, StagingRoot};

/// The time of the build, which all entries of the base are older than.
const TIME: i64 = 2000;

/// Of files with several names, directories, links to each of them, and what is not there.
const PATHS: [&str; 22] = [
    "/etc",
    "/etc/a",
    "/etc/b",
    "/etc/b/x",
    "/etc/to-sub",
    "/etc/to-sub/x",
    "/etc/to-file",
    "/etc/nowhere",
    "/etc-a",
    "/usr",
    "/usr/c",
    "/usr/sub",
    "/usr/sub/x",
    "/usr/sub/y",
    "/usr/sub/deep/z",
    "/usr/sub-a",
    "/usr/shared",
    "/tmp/t",
    "/new",
    "/new/er",
    "/new/er/est",
    "/etc/../usr/new",
];

#[derive(Debug, Clone)]
enum Act {
    Write(&'static str, Vec<u8>, Option<u32>),
    Append(&'static str),
    CreateDir(&'static str, u32),
    CreateDirAll(&'static str),
    Symlink(&'static str, &'static str),
    Remove(&'static str),
    SetMode(&'static str, u32),
    SetOwner(&'static str),
    SetXattr(&'static str),
    Look(&'static str),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let path = || prop::sample::select(&PATHS[..]);
    let mode = || prop::sample::select(&[0o600, 0o644, 0o4755, 0o2770, 0o1777][..]);
    let act = prop_oneof![
        3 => (path(), prop::collection::vec(any::<u8>(), 0..600), prop::option::of(mode()))
            .prop_map(|(path, bytes, mode)| Act::Write(path, bytes, mode)),
        1 => path().prop_map(Act::Append),
        1 => (path(), mode()).prop_map(|(path, mode)| Act::CreateDir(path, mode)),
        1 => path().prop_map(Act::CreateDirAll),
        1 => (path(), path()).prop_map(|(target, path)| Act::Symlink(target, path)),
        2 => path().prop_map(Act::Remove),
        2 => (path(), mode()).prop_map(|(path, mode)| Act::SetMode(path, mode)),
        1 => path().prop_map(Act::SetOwner),
        1 => path().prop_map(Act::SetXattr),
        4 => path().prop_map(Act::Look),
    ];
    prop::collection::vec(act, 1..25)
}

/// Does it, and tells all that is to be known of it.
fn act(files: &mut dyn RootFs, act: &Act) -> String {
    let mut root = Root::new(files);
    match act {
        Act::Write(path, bytes, mode) => {
            format!("{:?}", root.write_with(path, bytes, Attributes { mode: *mode, owner: None }))
        }
        Act::Append(path) => format!("{:?}", root.append(path, "more")),
        Act::CreateDir(path, mode) => format!("{:?}", root.create_dir(path, *mode)),
        Act::CreateDirAll(path) => format!("{:?}", root.create_dir_all(path)),
        Act::Symlink(target, path) => format!("{:?}", root.symlink(target, path)),
        Act::Remove(path) => format!("{:?}", root.remove(path)),
        Act::SetMode(path, mode) => format!("{:?}", root.set_mode(path, *mode)),
        Act::SetOwner(path) => format!("{:?}", root.set_symlink_owner(path, ids().0, ids().1)),
        Act::SetXattr(path) => match root.metadata(path) {
            // Of others there are none.
            Ok(metadata) if metadata.is_file() => format!("{:?}", root.set_xattr(path, "user.x", path.as_bytes())),
            other => format!("{other:?}"),
        },
        Act::Look(path) => format!(
            "{:?} {:?} {:?} {:?} {:?}",
            root.metadata(path),
            root.symlink_metadata(path),
            root.read(path),
            root.list(path),
            root.xattrs(path)
        ),
    }
}

/// Of this process: others have their files only with privileges.
fn ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// The tree of a directory.
fn read(directory: &Path, latest: i64) -> (Tree, tarball::StagedFiles) {
    tarball::read_directory(File::open(directory).unwrap(), latest).unwrap()
}

/// A tarball of the base.
fn base(directory: &Path) -> File {
    let at = |name: &str| directory.join(name);
    for name in ["etc", "usr/sub/deep", "tmp"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    for name in ["etc/a", "usr/sub/x", "usr/sub/y", "usr/sub/deep/z"] {
        fs::write(at(name), name.repeat(100)).unwrap();
    }
    for name in ["etc/b", "usr/c", "usr/shared"] {
        fs::hard_link(at("etc/a"), at(name)).unwrap();
    }
    fs::hard_link(at("usr/sub/x"), at("usr/sub-a")).unwrap();
    symlink("/../usr/sub", at("etc/to-sub")).unwrap();
    symlink("b", at("etc/to-file")).unwrap();
    symlink("../missing", at("etc/nowhere")).unwrap();
    let out = File::from_parts(tempfile::tempfile().unwrap(), "base.tar");
    let (tree, files) = read(directory, TIME - 1000);
    tarball::write(&tree, &files, None, &out).unwrap();
    out
}

fn written(tree: &Tree, store: &dyn Store) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = File::options().write(true).open(file.path()).unwrap();
    write_stream(&out, |stream| tarball::write(tree, store, Some("key"), stream)).unwrap();
    fs::read(file.path()).unwrap()
}

proptest! {
    #[test]
    fn files_in_memory_are_as_those_in_a_directory(acts in acts()) {
        let [from, to] = [(); 2].map(|()| tempfile::tempdir_in(std::env::temp_dir()).unwrap());
        let tarball = Arc::new(base(from.path()));
        let tree: Arc<Tree> = Arc::new(tarball::index(&tarball).unwrap());
        let staging = Arc::new(Staging::open(to.path()).unwrap());
        layer::extract(&tree, &*tarball, &staging).unwrap();
        let mut in_memory = OverlayRoot::new(tree, tarball.clone(), TIME);
        let mut on_disk = StagingRoot::new(Arc::clone(&staging), Settings::default(), Progress::silent(), TIME);
        for done in &acts {
            let (ours, kernels) = (act(&mut in_memory, done), act(&mut on_disk, done));
            prop_assert_eq!(ours, kernels, "{:?}", done);
        }
        let changed = tarball::finished(in_memory.changed_tree(), &staging.devices(), TIME);
        let (tree, files) = read(to.path(), TIME);
        let kernels = tarball::finished(tree, &staging.devices(), TIME);
        prop_assert!(written(&changed, &*tarball) == written(&kernels, &files), "the tarballs differ");
    }
}
