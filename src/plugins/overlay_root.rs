//! Files in memory: a tree that is only read, and an overlay that takes every change. So are those of
//! a node, and those of the system until a program has to run in it.
//!
//! Nothing here depends on the clock or the order of hashing: what is written gets the time that
//! the build gives, and so the same changes make the same overlay. Hard links behave as on a real
//! file system: what is written replaces the file under one name and leaves the other names the old
//! bytes, whichever name the tree keeps them under; a changed mode, owner or attribute shows under
//! all names. A directory keeps its time, whatever becomes of what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fam_plugin::{Attributes, FileDigest, FileType, Metadata, Problem, Result, RootFs};
use fam_tree::{Change, Content, Entry, Kind, Overlay, RootPath, Store, Timestamp, Tree};

use super::copied_files::CopiedFiles;

/// The largest file that a plugin may read or write: both are held in memory.
pub(super) const MAX_FILE_BYTES: u64 = 256 << 20;
/// How much all plugins together may write.
const MAX_WRITTEN_BYTES: u64 = 512 << 20;

/// The attribute that holds the capabilities of a program, capabilities(7); changing the file takes
/// it away.
pub(super) const CAPABILITY: &[u8] = b"security.capability";

/// Whether a file that is written keeps this attribute. Labels of security modules are not for a plugin to
/// keep, and capabilities do not survive a change of the file.
pub(super) fn outlives_writing(attribute: &[u8]) -> bool {
    !attribute.starts_with(b"security.") && !attribute.starts_with(b"trusted.")
}

/// A tree under an overlay, as files that plugins change.
#[derive(Debug)]
pub struct OverlayRoot {
    tree: Arc<Tree>,
    store: Arc<dyn Store>,
    overlay: Overlay,
    /// The other names of files that have several, by the name under which the bytes are.
    other_names: BTreeMap<RootPath, BTreeSet<RootPath>>,
    mtime: Timestamp,
    written: u64,
    /// What plugins may copy; `None` at the node stage.
    copied: Option<CopiedFiles>,
}

impl OverlayRoot {
    /// The files of `tree`, whose bytes are in `store`. What is written has the time `source_date_epoch`,
    /// in seconds since 1970.
    pub fn new(tree: Arc<Tree>, store: Arc<dyn Store>, source_date_epoch: i64) -> Self {
        let mut other_names = BTreeMap::<_, BTreeSet<_>>::new();
        for (path, entry) in tree.iter() {
            if let Kind::HardLink(first) = &entry.kind {
                other_names.entry(first.clone()).or_default().insert(path.clone());
            }
        }
        let mtime = Timestamp { seconds: source_date_epoch, nanoseconds: 0 };
        Self { tree, store, overlay: Overlay::default(), other_names, mtime, written: 0, copied: None }
    }

    /// Lets plugins copy these files, which lie beside the recipe.
    #[must_use]
    pub fn with_copied_files(self, copied: CopiedFiles) -> Self {
        Self { copied: Some(copied), ..self }
    }

    /// What was changed.
    #[must_use]
    pub fn into_overlay(self) -> Overlay {
        self.overlay
    }

    /// The tree with what was changed.
    #[must_use]
    pub fn changed_tree(&self) -> Tree {
        self.overlay.apply(&self.tree)
    }

    /// How many bytes were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether what is at `path`, or its directory, has ACLs, by which the kernel decides of modes (acl(5)).
    #[must_use]
    pub fn has_acl_near(&self, path: &Path) -> bool {
        let Ok(path) = literal("look at", path) else { return false };
        let has_acl = |entry: &Entry| entry.xattrs.keys().any(|name| name.starts_with(b"system."));
        [Some(&path), path.parent().as_ref()].into_iter().flatten().any(|path| self.get(path).is_some_and(has_acl))
    }

    /// Whether setting an attribute of this name changes nothing else.
    #[must_use]
    pub fn is_plain(attribute: &[u8]) -> bool {
        attribute.starts_with(b"user.") || attribute == CAPABILITY
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

    /// The paths under `path`, as things are now.
    fn under<'s>(&'s self, path: &'s RootPath) -> impl Iterator<Item = &'s RootPath> {
        let tree = self.tree.under(path).map(|(path, _)| path).filter(|path| self.overlay.get(path).is_none());
        let is_put = |(path, change): (&'s RootPath, &Change)| matches!(change, Change::Put(_)).then_some(path);
        tree.chain(self.overlay.under(path).filter_map(is_put))
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

    /// Every name of the file at `path`.
    fn names(&self, path: &RootPath, entry: &Entry) -> BTreeSet<RootPath> {
        let keeper = if let Kind::HardLink(keeper) = &entry.kind { keeper } else { path };
        let mut names = self.other_names.get(keeper).cloned().unwrap_or_default();
        names.insert(keeper.clone());
        names
    }

    /// Puts `entry` at `path`, where nothing is or a file or link. Other names of that keep what it was.
    fn replace(&mut self, path: RootPath, entry: Entry) {
        self.part_from_other_names(&path);
        self.put(path, entry);
    }

    /// Before what is at `path` goes: where other names of it stay, the first of them keeps the bytes.
    fn part_from_other_names(&mut self, path: &RootPath) {
        match self.get(path).cloned() {
            Some(Entry { kind: Kind::HardLink(keeper), .. }) => {
                if let Some(names) = self.other_names.get_mut(&keeper) {
                    names.remove(path);
                }
            }
            Some(entry) => {
                let mut names = self.other_names.remove(path).unwrap_or_default();
                let Some(keeper) = names.pop_first() else { return };
                for name in &names {
                    self.put(name.clone(), Entry { kind: Kind::HardLink(keeper.clone()), ..entry.clone() });
                }
                self.put(keeper.clone(), entry);
                self.other_names.insert(keeper, names);
            }
            None => {}
        }
    }

    fn put(&mut self, path: RootPath, entry: Entry) {
        self.overlay.set(path, Change::Put(entry));
    }

    /// Puts a regular file of `size` bytes, which `read` reads, at `path`.
    fn put_file(
        &mut self,
        operation: &str,
        path: &Path,
        size: u64,
        attributes: Attributes,
        read: impl FnOnce() -> Result<Arc<[u8]>, Problem>,
    ) -> Result<()> {
        if size > MAX_FILE_BYTES {
            return Err(Problem::TooLarge(MAX_FILE_BYTES).at(operation, path));
        }
        if self.written.saturating_add(size) > MAX_WRITTEN_BYTES {
            let problem = format!("all plugins together may write {MAX_WRITTEN_BYTES} bytes");
            return Err(Problem::Other(problem).at(operation, path));
        }
        check_names(operation, path, None)?;
        let (literal, mut entry) = match self.entry(operation, path) {
            Ok((literal, present)) if matches!(present.kind, Kind::File(_) | Kind::HardLink(_)) => {
                let mut entry = Entry { mtime: self.mtime, ..present.clone() };
                entry.xattrs.retain(|name, _| outlives_writing(name));
                (literal, entry)
            }
            Ok(_) => return Err(Problem::NotAFile.at(operation, path)),
            Err(error) if error.is_not_found() => {
                let empty = Kind::File(Content::Inline(Arc::default()));
                (self.vacant(operation, path)?, self.new_entry(empty, 0o644))
            }
            Err(error) => return Err(error),
        };
        entry.kind = Kind::File(Content::Inline(read().map_err(|problem| problem.at(operation, path))?));
        if let Some(mode) = attributes.mode {
            entry.mode = permissions(mode);
        }
        if let Some(owner) = attributes.owner {
            (entry.uid, entry.gid) = owner;
        }
        self.replace(literal, entry);
        self.written += size;
        Ok(())
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

impl RootFs for OverlayRoot {
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
            content => content.read(&*self.store).map_err(|error| Problem::Other(error.to_string()).at("read", path)),
        }
    }

    fn write(&mut self, path: &Path, contents: &[u8], attributes: Attributes) -> Result<()> {
        self.put_file("write", path, contents.len() as u64, attributes, || Ok(contents.into()))
    }

    fn copy(&mut self, file: &FileDigest, path: &Path, attributes: Attributes) -> Result<()> {
        let Some(copied) = self.copied.clone() else {
            let problem = "files beside the recipe can be copied at the system stage only";
            return Err(Problem::Other(problem.into()).at("copy", path));
        };
        self.put_file("copy", path, file.size, attributes, || {
            let mut bytes = Vec::new();
            copied.copy(file, &mut bytes)?;
            Ok(bytes.into())
        })
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let literal = literal("list", path)?;
        match self.get(&literal).map(|entry| &entry.kind) {
            Some(Kind::Directory) => {}
            // A tarball need not list its top.
            None if literal.is_root() => {}
            Some(_) => return Err(Problem::NotADirectory.at("list", path)),
            None => return Err(Problem::NotFound.at("list", path)),
        }
        let names: BTreeSet<&[u8]> = self
            .under(&literal)
            .filter(|entry| entry.parent().is_some_and(|parent| parent == literal))
            .map(RootPath::file_name)
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
        let mut going: Vec<RootPath> = self.under(&literal).cloned().collect();
        going.push(literal);
        // Each by itself: a name that stays now, and goes later, hands over what it kept.
        for path in going {
            self.part_from_other_names(&path);
            self.overlay.set(path, Change::Remove);
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
