//! A tree in memory as a tarball.

use std::collections::BTreeMap;
use std::io::Write;

use super::{Error, LEFT_EMPTY, Summary, header_of, settled};
use crate::store::StoredFile;
use crate::tar::TarWriter;
use crate::{Content, Entry, Kind, RootPath, Store, Tree};

/// The tree as its tarball has it: nothing in [`LEFT_EMPTY`], no time later than `latest`, in seconds since
/// 1970, and `devices` in place of whatever stands there.
#[must_use]
pub fn finished(tree: Tree, devices: &BTreeMap<RootPath, Entry>, latest: i64) -> Tree {
    let is_left_out = |path: &RootPath| {
        let first = path.as_bytes().split(|&byte| byte == b'/').next().unwrap_or_default();
        first.len() < path.as_bytes().len() && LEFT_EMPTY.contains(&first)
    };
    let staying = tree.into_iter().filter(|(path, _)| !is_left_out(path));
    let devices = devices.iter().map(|(path, entry)| (path.clone(), entry.clone()));
    let settle = |(path, entry): (RootPath, Entry)| {
        let mtime = settled(entry.mtime, latest);
        (path, Entry { mtime, ..entry })
    };
    staying.chain(devices).map(settle).collect()
}

/// Writes a tarball of `tree` into `out`. The bytes of its files are in `store`, where they are not in
/// memory. Names are `./path`, owners are numbers, times are whole seconds. A `comment` stands before everything
/// else.
///
/// # Errors
/// When `store` cannot be read, or the tarball cannot be written.
pub fn write(tree: &Tree, store: &dyn Store, comment: Option<&str>, out: impl Write) -> Result<Summary, Error> {
    let mut writer = TarWriter::new(out);
    if let Some(text) = comment {
        writer.comment(text)?;
    }
    for (path, entry) in tree.iter() {
        writer.header(&header_of(path, entry, i64::MAX))?;
        match &entry.kind {
            Kind::File(Content::Inline(bytes)) => writer.contents(&mut &bytes[..], bytes.len() as u64)?,
            Kind::File(Content::Stored { offset, len }) => {
                writer.contents(&mut StoredFile::new(store, *offset, *len), *len)?;
            }
            _ => {}
        }
    }
    let bytes = writer.finish()?;
    Ok(Summary { entries: tree.len() as u64, bytes })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use fam_host::read_at::ReadAt;
    use fs_err::{self as fs, File};

    use super::super::{index, read_directory};
    use super::*;
    use crate::{Change, Overlay, Timestamp};

    const LATEST: i64 = 1000;

    fn path(text: &str) -> RootPath {
        text.parse().unwrap()
    }

    fn file(bytes: &[u8]) -> Entry {
        let mtime = Timestamp { seconds: LATEST + 5, nanoseconds: 7 };
        let kind = Kind::File(Content::Inline(bytes.into()));
        Entry { kind, mode: 0o600, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }

    /// The tree of a directory, and the tarball of both.
    fn tarball_of(directory: &Path, devices: &BTreeMap<RootPath, Entry>) -> (Tree, File) {
        let (tree, files) = read_directory(File::open(directory).unwrap(), LATEST).unwrap();
        let tree = finished(tree, devices, LATEST);
        let out = File::from_parts(tempfile::tempfile().unwrap(), "directory.tar");
        write(&tree, &files, Some("key"), &out).unwrap();
        (tree, out)
    }

    fn bytes_of(file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut ReadAt::new(file, 0), &mut bytes).unwrap();
        bytes
    }

    /// Without where the bytes of files lie.
    fn without_places(tree: Tree) -> Vec<(RootPath, Entry)> {
        let without = |(path, entry): (RootPath, Entry)| {
            let length = |content: &Content| Content::Stored { offset: 0, len: content.len() };
            let kind = if let Kind::File(content) = &entry.kind { Kind::File(length(content)) } else { entry.kind };
            (path, Entry { kind, ..entry })
        };
        tree.into_iter().map(without).collect()
    }

    #[test]
    fn a_changed_tree_and_a_changed_directory_have_the_same_tarball() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["usr/bin", "usr/sub", "run", "tmp", "dev"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("usr/bin/z"), vec![7; 3_000_000]).unwrap();
        fs::hard_link(at("usr/bin/z"), at("usr/a")).unwrap();
        fs::set_permissions(at("usr/bin/z"), PermissionsExt::from_mode(0o4755)).unwrap();
        rustix::fs::setxattr(at("usr/a"), "user.x", b"\n\0=\xff", rustix::fs::XattrFlags::empty()).unwrap();
        symlink("bin/z", at("usr/link")).unwrap();
        fs::write(at("usr").join("n".repeat(200)), "long").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("usr/pipe"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
        let (tree, before) = tarball_of(directory.path(), &BTreeMap::new());
        let mut indexed = index(&before).unwrap();
        assert_eq!(without_places(indexed.clone()), without_places(tree));

        let mut overlay = Overlay::default();
        let devices =
            BTreeMap::from([(path("dev/null"), Entry { kind: Kind::CharDevice { major: 1, minor: 3 }, ..file(b"") })]);
        for (name, bytes) in
            [("usr/new", &b"new"[..]), ("usr/link", b""), ("run/x", b"x"), ("tmp/x", b"x"), ("dev/null", b"x")]
        {
            overlay.set(path(name), Change::Put(file(bytes)));
            let _ = fs::remove_file(at(name));
            fs::write(at(name), bytes).unwrap();
            fs::set_permissions(at(name), PermissionsExt::from_mode(0o600)).unwrap();
        }
        overlay.set(path("usr/sub"), Change::Remove);
        fs::remove_dir(at("usr/sub")).unwrap();
        let mtime = Timestamp { seconds: LATEST, nanoseconds: 0 };
        let top = Entry { mtime, ..indexed.get(&path("usr")).unwrap().clone() };
        indexed.insert(path("usr"), top);

        let tree = finished(overlay.apply(&indexed), &devices, LATEST);
        assert_eq!((tree.bytes(), tree.largest()), (3_000_007, Some((&path("usr/a"), 3_000_000))));
        let out = File::from_parts(tempfile::tempfile().unwrap(), "tree.tar");
        let summary = write(&tree, &before, Some("key"), &out).unwrap();
        let (_, expected) = tarball_of(directory.path(), &devices);
        assert!(bytes_of(&out) == bytes_of(&expected));
        assert_eq!(summary, Summary { entries: tree.len() as u64, bytes: bytes_of(&out).len() as u64 });
        assert_eq!(without_places(index(&out).unwrap()), without_places(tree));
    }
}
