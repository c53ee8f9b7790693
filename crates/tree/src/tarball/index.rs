//! What the entries of a tarball, one after another, make of a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;

use fam_host::read_at::ReadAt;
use fs_err::File;

use super::Error;
use crate::tar::{EntryKind, Header, TarReader};
use crate::{Content, Entry, InvalidPath, Kind, RootPath, Timestamp, Tree};

/// Headers are read, contents are seeked over: a larger buffer would be thrown away.
const BUFFER_BYTES: usize = 4096;
/// Mode of directories that no entry describes.
const UNDESCRIBED_MODE: u16 = 0o755;
/// The most entries of a tree. ext4 by default has as many inodes on a disk of 64 GiB.
const MAX_ENTRIES: usize = 4 << 20;
/// The most bytes of names and metadata that are in the tree and not in the tarball. All others the
/// tarball must have; these grow with the square of a path's depth: a directory for each level of a
/// name, with all levels above it in its own. Half a million directories of usual length have room.
const MAX_IMPLIED_BYTES: usize = 64 << 20;

/// Reads the uncompressed tarball `file` from its beginning, whatever its position. Contents stay where they are: the tree
/// points to them.
///
/// Later entries replace earlier ones of the same name, as unpacking would; directories that are
/// missing are made.
///
/// # Errors
/// When the archive is damaged, or is no root file system.
pub fn index(file: &File) -> Result<Tree, Error> {
    let tarball = || file.path().display().to_string();
    let mut reader = TarReader::seekable(BufReader::with_capacity(BUFFER_BYTES, ReadAt::new(file, 0)));
    let mut index = Index::default();
    while let Some(header) = reader.next_entry().map_err(|source| Error::Tar { tarball: tarball(), source })? {
        index.entry(header).map_err(|refusal| refusal.of(tarball()))?;
    }
    Ok(index.finish())
}

/// An error that does not yet know its tarball.
enum Refusal {
    Path(InvalidPath),
    RootIsNoDirectory,
    NotADirectory { path: RootPath, parent: RootPath },
    DanglingHardLink { path: RootPath, target: RootPath },
    TooManyEntries,
    TooMuchImplied { path: RootPath },
}

impl Refusal {
    fn of(self, tarball: String) -> Error {
        match self {
            Self::Path(source) => Error::Path { tarball, source },
            Self::RootIsNoDirectory => Error::RootIsNoDirectory { tarball },
            Self::NotADirectory { path, parent } => Error::NotADirectory { tarball, path, parent },
            Self::DanglingHardLink { path, target } => Error::DanglingHardLink { tarball, path, target },
            Self::TooManyEntries => Error::TooManyEntries { tarball, limit: MAX_ENTRIES },
            Self::TooMuchImplied { path } => Error::TooMuchImplied { tarball, path, limit: MAX_IMPLIED_BYTES },
        }
    }
}

impl From<InvalidPath> for Refusal {
    fn from(source: InvalidPath) -> Self {
        Self::Path(source)
    }
}

#[derive(Default)]
struct Index {
    /// Until the end, each name of a file that has several is a file of its own here.
    tree: Tree,
    /// How many entries were put into it.
    entries: usize,
    /// What [`MAX_IMPLIED_BYTES`] bounds.
    implied_bytes: usize,
    /// Names of files that have or had several, and which of `files` is meant.
    file_of: BTreeMap<RootPath, usize>,
    files: Vec<Names>,
}

/// The names of one file.
struct Names {
    first: RootPath,
    others: BTreeSet<RootPath>,
}

impl Index {
    fn entry(&mut self, header: Header) -> Result<(), Refusal> {
        let path = RootPath::new(&header.path)?;
        if path == RootPath::root() && header.kind != EntryKind::Directory {
            return Err(Refusal::RootIsNoDirectory);
        }
        if let EntryKind::HardLink(target) = &header.kind {
            return self.hard_link(path, target, header.mtime);
        }
        let entry = Entry {
            kind: header.kind.try_map(|&len| Ok(Content::Stored { offset: header.offset, len }), RootPath::new)?,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            mtime: header.mtime,
            xattrs: header.xattrs,
        };
        // Directories without an entry get the time of what they were made for, so that no clock
        // has a part in it.
        self.parents(&path, entry.mtime)?;
        // A directory that is described again keeps what is in it, as when it is unpacked; all else
        // is replaced with all under it.
        let still_directory =
            entry.kind == Kind::Directory && self.tree.get(&path).is_some_and(|before| before.kind == Kind::Directory);
        if !still_directory {
            self.remove(&path);
        }
        self.insert(path, entry)
    }

    /// Makes `path` another name of what came before it under the name `target`.
    fn hard_link(&mut self, path: RootPath, target: &[u8], mtime: Timestamp) -> Result<(), Refusal> {
        let target = RootPath::new(target)?;
        if target != path {
            self.parents(&path, mtime)?;
            self.remove(&path);
        }
        let Some(entry) = self.tree.get(&target).filter(|entry| entry.kind != Kind::Directory).cloned() else {
            return Err(Refusal::DanglingHardLink { path, target });
        };
        // tar writes such a link for a file that it was given twice.
        if target == path {
            return Ok(());
        }
        // What is no regular file has no contents to share, and is as good as its copy.
        if matches!(entry.kind, Kind::File(_)) {
            let number = *self.file_of.entry(target.clone()).or_insert_with(|| {
                self.files.push(Names { first: target, others: BTreeSet::new() });
                self.files.len() - 1
            });
            self.files[number].others.insert(path.clone());
            self.file_of.insert(path.clone(), number);
        }
        let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let target_bytes = if let Kind::Symlink(target) = &entry.kind { target.len() } else { 0 };
        self.imply(&path, xattrs + target_bytes)?;
        self.insert(path, entry)
    }

    fn insert(&mut self, path: RootPath, entry: Entry) -> Result<(), Refusal> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(Refusal::TooManyEntries);
        }
        self.tree.insert(path, entry);
        Ok(())
    }

    /// Counts `bytes` in the tree that the tarball does not have, which `path` is the reason for.
    fn imply(&mut self, path: &RootPath, bytes: usize) -> Result<(), Refusal> {
        self.implied_bytes += bytes;
        if self.implied_bytes > MAX_IMPLIED_BYTES {
            return Err(Refusal::TooMuchImplied { path: path.clone() });
        }
        Ok(())
    }

    /// Makes sure that there are directories down to `path`.
    fn parents(&mut self, path: &RootPath, mtime: Timestamp) -> Result<(), Refusal> {
        let Some(parent) = path.parent() else { return Ok(()) };
        match self.tree.get(&parent) {
            Some(entry) if entry.kind == Kind::Directory => Ok(()),
            Some(_) => Err(Refusal::NotADirectory { path: path.clone(), parent }),
            None => {
                // Not by recursion: the depth of a path is for the tarball's author to choose.
                let mut missing = vec![parent];
                while let Some(above) = missing.last().and_then(RootPath::parent) {
                    match self.tree.get(&above) {
                        Some(entry) if entry.kind == Kind::Directory => break,
                        Some(_) => return Err(Refusal::NotADirectory { path: path.clone(), parent: above }),
                        None => missing.push(above),
                    }
                }
                for directory in missing {
                    self.imply(path, directory.as_bytes().len() + size_of::<Entry>())?;
                    self.insert(directory, undescribed_directory(mtime))?;
                }
                Ok(())
            }
        }
    }

    /// Takes out what stands at `path`, and all under it. A file that has further names lives on
    /// under those.
    fn remove(&mut self, path: &RootPath) {
        // Where there is no entry, none is below it either.
        let Some(removed) = self.tree.remove(path) else { return };
        self.forget(path);
        if removed.kind == Kind::Directory {
            let inside: Vec<RootPath> = self.tree.under(path).map(|(path, _)| path.clone()).collect();
            for path in &inside {
                self.tree.remove(path);
                self.forget(path);
            }
        }
    }

    /// Takes a name from the file that it is one of. Where that was the first, the next one is.
    fn forget(&mut self, name: &RootPath) {
        let Some(names) = self.file_of.remove(name).map(|number| &mut self.files[number]) else { return };
        if names.first != *name {
            names.others.remove(name);
        } else if let Some(next) = names.others.pop_first() {
            names.first = next;
        }
    }

    fn finish(mut self) -> Tree {
        if self.tree.get(&RootPath::root()).is_none() {
            self.tree.insert(RootPath::root(), undescribed_directory(Timestamp::default()));
        }
        for Names { first, others } in self.files {
            for name in others {
                if let Some(entry) = self.tree.entries.get_mut(&name) {
                    entry.kind = Kind::HardLink(first.clone());
                }
            }
        }
        self.tree
    }
}

fn undescribed_directory(mtime: Timestamp) -> Entry {
    Entry { kind: Kind::Directory, mode: UNDESCRIBED_MODE, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use fam_progress::Hint as _;

    use super::*;
    use support::handmade::tar::{archive, file, member, record};

    /// A kind without what a link leads to.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum What {
        Directory,
        Regular,
        HardLink,
        Symlink,
    }
    use What::{Directory, HardLink, Regular, Symlink};

    fn kind(what: What, link: &str) -> EntryKind {
        match what {
            Directory => EntryKind::Directory,
            Regular => EntryKind::File(3),
            HardLink => EntryKind::HardLink(link.into()),
            Symlink => EntryKind::Symlink(link.into()),
        }
    }

    fn header(path: &str, kind: EntryKind) -> Header {
        Header {
            path: path.into(),
            kind,
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime: Timestamp { seconds: 7, nanoseconds: 0 },
            xattrs: BTreeMap::new(),
            offset: 512,
        }
    }

    /// The tree that entries make, one line an entry: path, kind, and where a link leads.
    fn tree(entries: &[(&str, What, &str)]) -> Result<Vec<String>, String> {
        let mut index = Index::default();
        for (number, (path, what, link)) in entries.iter().enumerate() {
            let header = Header { offset: number as u64, ..header(path, kind(*what, link)) };
            index.entry(header).map_err(|refusal| refusal.of("t.tar".to_owned()).to_string())?;
        }
        let shown = |(path, entry): (&RootPath, &Entry)| match &entry.kind {
            Kind::Directory => format!("{path} dir"),
            Kind::File(Content::Stored { offset, .. }) => format!("{path} file {offset}"),
            Kind::HardLink(target) => format!("{path} = {target}"),
            Kind::Symlink(target) => format!("{path} -> {}", String::from_utf8_lossy(target)),
            other => format!("{path} {other:?}"),
        };
        Ok(index.finish().iter().map(shown).collect())
    }

    #[test]
    fn missing_directories_are_made() {
        let made = tree(&[("./a/b/c", Regular, ""), ("d", Regular, "")]).unwrap();
        assert_eq!(made, ["/ dir", "/a dir", "/a/b dir", "/a/b/c file 0", "/d file 1"]);
    }

    #[test]
    fn the_last_of_a_name_wins() {
        let replaced = tree(&[
            ("a", Regular, ""),
            ("a", Symlink, "b"),
            ("d/x", Regular, ""),
            ("d-e", Regular, ""),
            ("d/", Directory, ""),
            ("e/x", Regular, ""),
            ("e", Regular, ""),
        ]);
        assert_eq!(replaced.unwrap(), ["/ dir", "/a -> b", "/d dir", "/d-e file 3", "/d/x file 2", "/e file 6"]);
    }

    #[test]
    fn hard_links_lead_to_the_first_name() {
        let linked = tree(&[
            ("z", Regular, ""),
            ("b", HardLink, "./z"),
            ("a", HardLink, "b"),
            ("a", HardLink, "a"),
            ("z", HardLink, "z"),
            ("s", Symlink, "t"),
            ("s2", HardLink, "s"),
        ]);
        assert_eq!(linked.unwrap(), ["/ dir", "/a = /z", "/b = /z", "/s -> t", "/s2 -> t", "/z file 0"]);
    }

    #[test]
    fn a_file_outlives_its_first_name() {
        let linked = tree(&[
            ("z", Regular, ""),
            ("c", HardLink, "z"),
            ("b", HardLink, "z"),
            ("z", Regular, ""),
            ("y", HardLink, "c"),
        ]);
        assert_eq!(linked.unwrap(), ["/ dir", "/b file 0", "/c = /b", "/y = /b", "/z file 3"]);
        let swapped = tree(&[("z", Regular, ""), ("b", HardLink, "z"), ("z", HardLink, "b")]);
        assert_eq!(swapped.unwrap(), ["/ dir", "/b file 0", "/z = /b"]);
    }

    #[test]
    fn refuses_what_cannot_be_unpacked() {
        for entries in [
            &[("../x", Regular, "")][..],
            &[("a", Regular, ""), ("a/b", Regular, "")],
            &[("a", Symlink, "b"), ("a/b/c", Regular, "")],
            &[("a", HardLink, "b")],
            &[("a", HardLink, "a")],
            &[("a", Directory, ""), ("a", HardLink, "a")],
            &[("b", Directory, ""), ("a", HardLink, "b")],
            &[("a", HardLink, "../b")],
        ] {
            assert!(tree(entries).unwrap_err().starts_with("read t.tar: "), "{entries:?}");
        }
    }

    /// What is read of a whole tarball.
    fn read(members: &[Vec<u8>]) -> Result<Tree, Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, &archive(members)).unwrap();
        index(&File::open(file.path()).unwrap())
    }

    fn with_long_name(name: &str) -> [Vec<u8>; 2] {
        [member(b"x", b'x', &record("path", name.as_bytes()), |_| {}), file("short", b"")]
    }

    #[test]
    fn memory_does_not_grow_with_the_square_of_a_depth() {
        let error = read(&with_long_name(&"a/".repeat(400_000))).unwrap_err();
        assert!(error.to_string().contains("has 799999 bytes, more than the 4096 that Linux takes"), "{error}");
        let deep = |number| with_long_name(&format!("{number}/{}", "a/".repeat(2000)));
        let members: Vec<_> = (0..3).flat_map(deep).collect();
        assert_eq!(read(&members).unwrap().len(), 1 + 3 * 2001);
        let members: Vec<_> = (0..30).flat_map(deep).collect();
        let error = read(&members).unwrap_err();
        assert!(error.to_string().contains("more than 67108864 bytes of directories"), "{error}");
        assert!(error.hint().unwrap().contains("directories"), "{error}");
    }

    #[test]
    fn a_file_may_have_many_names_and_lose_its_first_again_and_again() {
        let mut entries: Vec<(String, What, String)> = vec![("z".into(), Regular, String::new())];
        entries.extend((0..20_000).map(|number| (format!("{number:05}"), HardLink, "z".to_owned())));
        entries.push(("z".into(), Symlink, "x".into()));
        entries.extend((0..19_999).map(|number| (format!("{number:05}"), Symlink, "x".to_owned())));
        let entries: Vec<_> = entries.iter().map(|(path, what, link)| (path.as_str(), *what, link.as_str())).collect();
        let tree = tree(&entries).unwrap();
        assert_eq!(tree.iter().filter(|line| !line.ends_with("-> x")).collect::<Vec<_>>(), ["/ dir", "/19999 file 0"]);
    }
}
