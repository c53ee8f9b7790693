//! The files of one node: a tree that is only read, and an overlay that takes every change.
//!
//! Nothing here depends on the clock or the order of hashing: what is written gets the time that
//! the build gives, and so the same changes make the same overlay. Hard links behave as on a real
//! file system: what is written replaces the file under one name and leaves the other names the old
//! bytes, whichever name the tree keeps them under; a changed mode, owner or attribute shows under
//! all names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use fam_plugin::{Attributes, FileType, Metadata, Problem, Result, RootFs};
use fam_tree::{Change, Content, Entry, Kind, Overlay, RootPath, Timestamp, Tree};
use fs_err::os::unix::fs::FileExt;

/// The largest file that a plugin may read or write: both are held in memory.
pub(super) const MAX_FILE_BYTES: u64 = 256 << 20;
/// How much all plugins together may write into one node.
const MAX_WRITTEN_BYTES: u64 = 512 << 20;

/// The attribute that holds the capabilities of a program, capabilities(7); changing the file takes
/// it away.
pub(super) const CAPABILITY: &[u8] = b"security.capability";

/// A tree under an overlay, as files that plugins change.
#[derive(Debug)]
pub struct OverlayRoot<'a> {
    tree: &'a Tree,
    tarball: &'a fs_err::File,
    overlay: &'a mut Overlay,
    mtime: Timestamp,
    written: u64,
}

impl<'a> OverlayRoot<'a> {
    /// The files of `tree`, whose bytes are in `tarball`, with the changes of `overlay`, to which
    /// others are added. What is written has the time `source_date_epoch`, in seconds since 1970.
    pub fn new(tree: &'a Tree, tarball: &'a fs_err::File, overlay: &'a mut Overlay, source_date_epoch: i64) -> Self {
        let mtime = Timestamp { seconds: source_date_epoch, nanoseconds: 0 };
        Self { tree, tarball, overlay, mtime, written: 0 }
    }

    fn get(&self, path: &RootPath) -> Option<&Entry> {
        match self.overlay.get(path) {
            Some(Change::Put(entry)) => Some(entry),
            Some(Change::Remove) => None,
            None => self.tree.get(path),
        }
    }

    fn entry(&self, operation: &str, path: &Path) -> Result<(RootPath, &Entry)> {
        let literal = literal(operation, path)?;
        match self.get(&literal) {
            Some(entry) => Ok((literal, entry)),
            None => Err(Problem::NotFound.at(operation, path)),
        }
    }

    /// All entries as they are now: the tree's that nothing covers, and the overlay's.
    fn entries(&self) -> impl Iterator<Item = (&RootPath, &Entry)> {
        let tree = self.tree.iter().filter(|(path, _)| self.overlay.get(path).is_none());
        tree.chain(self.overlay.iter().filter_map(|(path, change)| match change {
            Change::Put(entry) => Some((path, entry)),
            Change::Remove => None,
        }))
    }

    /// The bytes of the regular file that `entry` is or is another name of.
    fn content<'e>(&'e self, entry: &'e Entry) -> Option<&'e Content> {
        match &entry.kind {
            Kind::File(content) => Some(content),
            Kind::HardLink(target) => match &self.get(target)?.kind {
                Kind::File(content) => Some(content),
                _ => None,
            },
            _ => None,
        }
    }

    /// The other names of the file that the tree keeps at `path`.
    fn links_to(&self, path: &RootPath) -> BTreeSet<RootPath> {
        let is_link = |entry: &Entry| matches!(&entry.kind, Kind::HardLink(target) if target == path);
        self.entries().filter(|(_, entry)| is_link(entry)).map(|(name, _)| name.clone()).collect()
    }

    /// Every name of the file at `path`.
    fn names(&self, path: &RootPath, entry: &Entry) -> BTreeSet<RootPath> {
        let keeper = match &entry.kind {
            Kind::HardLink(target) => target,
            Kind::File(_) => path,
            _ => return BTreeSet::from([path.clone()]),
        };
        let mut names = self.links_to(keeper);
        names.insert(keeper.clone());
        names
    }

    /// Before the entry at `path` goes or is replaced: where other names of it stay, the first of
    /// them keeps the bytes.
    fn hand_over(&mut self, path: &RootPath, going: impl Fn(&RootPath) -> bool) {
        let Some(entry) = self.get(path).filter(|entry| matches!(entry.kind, Kind::File(_))).cloned() else { return };
        let mut staying = self.links_to(path).into_iter().filter(|name| !going(name));
        let Some(keeper) = staying.next() else { return };
        for name in staying {
            self.put(name, Entry { kind: Kind::HardLink(keeper.clone()), ..entry.clone() });
        }
        self.put(keeper, entry);
    }

    fn put(&mut self, path: RootPath, entry: Entry) {
        self.overlay.set(path, Change::Put(entry));
    }

    /// Changes metadata under every name of the file.
    fn change(&mut self, operation: &str, path: &Path, change: impl Fn(&mut Entry)) -> Result<()> {
        let (literal, entry) = self.entry(operation, path)?;
        for name in self.names(&literal, entry) {
            if let Some(mut entry) = self.get(&name).cloned() {
                change(&mut entry);
                self.put(name, entry);
            }
        }
        Ok(())
    }

    /// The path of something new: nothing is there, and its directory is.
    fn vacant(&self, operation: &str, path: &Path) -> Result<RootPath> {
        let literal = literal(operation, path)?;
        let Some(parent) = literal.parent() else { return Err(Problem::AlreadyExists.at(operation, path)) };
        match self.get(&parent).map(|entry| &entry.kind) {
            Some(Kind::Directory) => {}
            // A tarball need not list its top.
            None if parent.is_root() => {}
            Some(_) => return Err(Problem::NotADirectory.at(operation, path)),
            None => return Err(Problem::NotFound.at(operation, path)),
        }
        if self.get(&literal).is_some() { Err(Problem::AlreadyExists.at(operation, path)) } else { Ok(literal) }
    }

    fn new_entry(&self, kind: Kind, mode: u32) -> Entry {
        Entry { kind, mode: permissions(mode), uid: 0, gid: 0, mtime: self.mtime, xattrs: BTreeMap::new() }
    }
}

impl RootFs for OverlayRoot<'_> {
    fn metadata(&self, path: &Path) -> Result<Metadata> {
        let literal = literal("look at", path)?;
        let Some(entry) = self.get(&literal) else {
            if literal.is_root() {
                return Ok(Metadata { file_type: FileType::Directory, mode: 0o755, uid: 0, gid: 0, size: 0 });
            }
            return Err(Problem::NotFound.at("look at", path));
        };
        let file_type = match &entry.kind {
            Kind::Directory => FileType::Directory,
            Kind::File(_) | Kind::HardLink(_) => FileType::File,
            Kind::Symlink(target) => FileType::Symlink(PathBuf::from(OsString::from_vec(target.clone()))),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => FileType::Special,
        };
        let size = self.content(entry).map_or(0, Content::len);
        Ok(Metadata { file_type, mode: entry.mode.into(), uid: entry.uid, gid: entry.gid, size })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let (_, entry) = self.entry("read", path)?;
        match self.content(entry).ok_or_else(|| Problem::NotAFile.at("read", path))? {
            content if content.len() > MAX_FILE_BYTES => Err(Problem::TooLarge(MAX_FILE_BYTES).at("read", path)),
            Content::Inline(bytes) => Ok(bytes.to_vec()),
            Content::InTarball { offset, len } => {
                let len = usize::try_from(*len).map_err(|_| Problem::TooLarge(MAX_FILE_BYTES).at("read", path))?;
                let mut bytes = vec![0; len];
                let read = self.tarball.read_exact_at(&mut bytes, *offset);
                read.map_err(|error| Problem::Other(error.to_string()).at("read", path))?;
                Ok(bytes)
            }
        }
    }

    fn write(&mut self, path: &Path, contents: &[u8], attributes: Attributes) -> Result<()> {
        let size = contents.len() as u64;
        if size > MAX_FILE_BYTES {
            return Err(Problem::TooLarge(MAX_FILE_BYTES).at("write", path));
        }
        if self.written.saturating_add(size) > MAX_WRITTEN_BYTES {
            let problem = format!("all plugins together may write {MAX_WRITTEN_BYTES} bytes into a node");
            return Err(Problem::Other(problem).at("write", path));
        }
        check_names("write", path, None)?;
        let kind = Kind::File(Content::Inline(contents.into()));
        let (literal, mut entry) = match self.entry("write", path) {
            Ok((literal, present)) if matches!(present.kind, Kind::File(_) | Kind::HardLink(_)) => {
                let mut entry = Entry { kind, mtime: self.mtime, ..present.clone() };
                // As the kernel does when a file is written.
                entry.xattrs.remove(CAPABILITY);
                (literal, entry)
            }
            Ok(_) => return Err(Problem::NotAFile.at("write", path)),
            Err(error) if error.is_not_found() => (self.vacant("write", path)?, self.new_entry(kind, 0o644)),
            Err(error) => return Err(error),
        };
        if let Some(mode) = attributes.mode {
            entry.mode = permissions(mode);
        }
        if let Some(owner) = attributes.owner {
            (entry.uid, entry.gid) = owner;
        }
        self.hand_over(&literal, |name| *name == literal);
        self.put(literal, entry);
        self.written += size;
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        if !self.metadata(path)?.is_dir() {
            return Err(Problem::NotADirectory.at("list", path));
        }
        let literal = literal("list", path)?;
        let names: BTreeSet<&[u8]> = self
            .entries()
            .filter(|(entry, _)| entry.parent().is_some_and(|parent| parent == literal))
            .map(|(entry, _)| entry.file_name())
            .collect();
        Ok(names.into_iter().map(|name| OsString::from_vec(name.to_vec())).collect())
    }

    fn create_dir(&mut self, path: &Path, mode: u32) -> Result<()> {
        check_names("create directory", path, None)?;
        let literal = self.vacant("create directory", path)?;
        let entry = self.new_entry(Kind::Directory, mode);
        self.put(literal, entry);
        Ok(())
    }

    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()> {
        check_names("link", path, Some(target))?;
        let literal = self.vacant("link", path)?;
        let entry = self.new_entry(Kind::Symlink(target.as_os_str().as_bytes().to_vec()), 0o777);
        self.put(literal, entry);
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        let (literal, _) = self.entry("remove", path)?;
        let beneath: Vec<RootPath> =
            self.entries().map(|(entry, _)| entry).filter(|entry| entry.starts_with(&literal)).cloned().collect();
        for going in beneath {
            self.hand_over(&going, |name| name.starts_with(&literal));
            self.overlay.set(going, Change::Remove);
        }
        Ok(())
    }

    fn set_mode(&mut self, path: &Path, mode: u32) -> Result<()> {
        self.change("change mode of", path, |entry| entry.mode = permissions(mode))
    }

    fn set_owner(&mut self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        self.change("change owner of", path, |entry| (entry.uid, entry.gid) = (uid, gid))
    }

    fn xattrs(&self, path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        Ok(self.entry("read attributes of", path)?.1.xattrs.clone())
    }

    fn set_xattr(&mut self, path: &Path, name: &[u8], value: &[u8]) -> Result<()> {
        self.change("set attribute of", path, |entry| drop(entry.xattrs.insert(name.into(), value.into())))
    }
}

/// Refuses to make what no image can hold: something at `path`, which is a link if it has a target.
pub(super) fn check_names(operation: &str, path: &Path, target: Option<&Path>) -> Result<()> {
    if [Some(path), target].into_iter().flatten().all(|name| name.to_str().is_some()) {
        return Ok(());
    }
    Err(unfit(operation, &literal(operation, path)?))
}

/// The error for something that no image can hold (see [`fam_rootfs::names`]).
pub(super) fn unfit(operation: &str, path: &RootPath) -> fam_plugin::Error {
    Problem::Malformed("its name or link target is not UTF-8, and no image can hold that".into())
        .at(operation, path.to_string())
}

pub(super) fn literal(operation: &str, path: &Path) -> Result<RootPath> {
    RootPath::new(path.as_os_str().as_bytes()).map_err(|_| Problem::BadPath.at(operation, path))
}

pub(super) fn permissions(mode: u32) -> u16 {
    // Masked to twelve bits, it fits.
    (mode & 0o7777) as u16
}

#[cfg(test)]
#[path = "overlay_root_tests.rs"]
mod tests;
