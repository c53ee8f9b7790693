//! What the entries of a tarball, one after another, make of a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;

use fs_err::File;

use super::TarballError;
use crate::tree::tar_reader::{EntryKind, Header, TarReader};
use crate::tree::{Content, Entry, Kind, RootPath, Timestamp, Tree};

/// Headers are read, contents are seeked over: a larger buffer would be thrown away.
const BUFFER_BYTES: usize = 4096;
/// Mode of directories that no entry describes.
const UNDESCRIBED_MODE: u16 = 0o755;

/// Reads the uncompressed tarball `file` from its beginning. Contents stay where they are: the tree points to them.
///
/// Later entries replace earlier ones of the same name, as unpacking would; directories that are missing are made.
///
/// # Errors
/// When the archive is damaged, or is no root file system.
pub fn index(file: &File) -> Result<Tree, TarballError> {
    let tarball = || file.path().display().to_string();
    let mut reader = TarReader::seekable(BufReader::with_capacity(BUFFER_BYTES, file));
    let mut index = Index::default();
    while let Some(header) = reader.next_entry().map_err(|source| TarballError::Tar { tarball: tarball(), source })? {
        index.entry(header).map_err(|refusal| refusal.of(tarball()))?;
    }
    Ok(index.finish())
}

/// An error that does not yet know its tarball.
enum Refusal {
    Path(crate::tree::InvalidPath),
    NotADirectory { path: RootPath, parent: RootPath },
    DanglingHardLink { path: RootPath, target: RootPath },
}

impl Refusal {
    fn of(self, tarball: String) -> TarballError {
        match self {
            Self::Path(source) => TarballError::Path { tarball, source },
            Self::NotADirectory { path, parent } => TarballError::NotADirectory { tarball, path, parent },
            Self::DanglingHardLink { path, target } => TarballError::DanglingHardLink { tarball, path, target },
        }
    }
}

impl From<crate::tree::InvalidPath> for Refusal {
    fn from(source: crate::tree::InvalidPath) -> Self {
        Self::Path(source)
    }
}

#[derive(Default)]
struct Index {
    tree: Tree,
    /// Names that are hard links, by the first name of their file.
    links: BTreeMap<RootPath, BTreeSet<RootPath>>,
}

impl Index {
    fn entry(&mut self, header: Header) -> Result<(), Refusal> {
        let path = RootPath::new(&header.path)?;
        let mut entry = Entry {
            kind: kind(&header),
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            mtime: header.mtime,
            xattrs: header.xattrs,
        };
        if header.kind == EntryKind::HardLink {
            let target = RootPath::new(&header.link)?;
            if target == path {
                return Ok(());
            }
            self.parents(&path, entry.mtime)?;
            self.remove(&path);
            entry = self.linked(&path, &target)?;
            if let Kind::HardLink(first) = &entry.kind {
                self.links.entry(first.clone()).or_default().insert(path.clone());
            }
        } else {
            self.parents(&path, entry.mtime)?;
            let still_directory = entry.kind == Kind::Directory
                && self.tree.get(&path).is_some_and(|before| before.kind == Kind::Directory);
            if !still_directory {
                self.remove(&path);
            }
        }
        self.tree.insert(path, entry);
        Ok(())
    }

    /// The entry of another name of `target`.
    fn linked(&self, path: &RootPath, target: &RootPath) -> Result<Entry, Refusal> {
        let found = self.tree.get(target).filter(|entry| entry.kind != Kind::Directory);
        let mut entry =
            found.cloned().ok_or_else(|| Refusal::DanglingHardLink { path: path.clone(), target: target.clone() })?;
        // What is no regular file has no contents to share, and is as good as its copy.
        if matches!(entry.kind, Kind::File(_)) {
            entry.kind = Kind::HardLink(target.clone());
        }
        Ok(entry)
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
                    self.tree.insert(directory, undescribed_directory(mtime));
                }
                Ok(())
            }
        }
    }

    /// Takes out what stands at `path`, and all beneath it. A file that has further names lives on under those.
    fn remove(&mut self, path: &RootPath) {
        let beneath: Vec<RootPath> = self.tree.beneath(path).map(|(path, _)| path.clone()).collect();
        for path in beneath.iter().chain([path]) {
            let Some(removed) = self.tree.remove(path) else { continue };
            match &removed.kind {
                Kind::HardLink(first) => {
                    if let Some(names) = self.links.get_mut(first) {
                        names.remove(path);
                    }
                }
                Kind::File(_) => self.pass_on(path, removed),
                _ => {}
            }
        }
    }

    /// Makes the next name of a file that lost its first one the first.
    fn pass_on(&mut self, lost: &RootPath, file: Entry) {
        let mut names = self.links.remove(lost).unwrap_or_default();
        let Some(heir) = names.pop_first() else { return };
        for name in &names {
            self.tree.insert(name.clone(), Entry { kind: Kind::HardLink(heir.clone()), ..file.clone() });
        }
        self.tree.insert(heir.clone(), file);
        self.links.insert(heir, names);
    }

    fn finish(mut self) -> Tree {
        if self.tree.get(&RootPath::root()).is_none() {
            self.tree.insert(RootPath::root(), undescribed_directory(Timestamp::default()));
        }
        self.tree
    }
}

fn kind(header: &Header) -> Kind {
    match header.kind {
        EntryKind::Directory => Kind::Directory,
        EntryKind::File => Kind::File(Content::InTarball { offset: header.offset, len: header.size }),
        // Replaced by what the target is.
        EntryKind::HardLink => Kind::HardLink(RootPath::root()),
        EntryKind::Symlink => Kind::Symlink(header.link.clone()),
        EntryKind::CharDevice { major, minor } => Kind::CharDevice { major, minor },
        EntryKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
        EntryKind::Fifo => Kind::Fifo,
    }
}

fn undescribed_directory(mtime: Timestamp) -> Entry {
    Entry { kind: Kind::Directory, mode: UNDESCRIBED_MODE, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(path: &str, kind: EntryKind, link: &str) -> Header {
        Header {
            path: path.into(),
            kind,
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime: Timestamp { seconds: 7, nanoseconds: 0 },
            link: link.into(),
            size: 3,
            xattrs: BTreeMap::new(),
            offset: 512,
        }
    }

    /// The tree that entries make, one line an entry: path, kind, and where a link leads.
    fn tree(entries: &[(&str, EntryKind, &str)]) -> Result<Vec<String>, String> {
        let mut index = Index::default();
        for (number, (path, kind, link)) in entries.iter().enumerate() {
            let header = Header { offset: number as u64, ..header(path, *kind, link) };
            index.entry(header).map_err(|refusal| refusal.of("t.tar".to_owned()).to_string())?;
        }
        let shown = |(path, entry): (&RootPath, &Entry)| match &entry.kind {
            Kind::Directory => format!("{path} dir"),
            Kind::File(Content::InTarball { offset, .. }) => format!("{path} file {offset}"),
            Kind::HardLink(target) => format!("{path} = {target}"),
            Kind::Symlink(target) => format!("{path} -> {}", String::from_utf8_lossy(target)),
            other => format!("{path} {other:?}"),
        };
        Ok(index.finish().iter().map(shown).collect())
    }

    use EntryKind::{Directory, File as Regular, HardLink, Symlink};

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
            &[("b", Directory, ""), ("a", HardLink, "b")],
            &[("a", HardLink, "../b")],
        ] {
            assert!(tree(entries).unwrap_err().starts_with("read t.tar: "), "{entries:?}");
        }
    }
}
