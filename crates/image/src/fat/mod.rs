//! FAT32 file systems (Microsoft's FAT specification 1.03) of a tree, or of what it has under one
//! directory.
//!
//! It is written by hand because all of it is known beforehand: clusters are handed out in one
//! ascending pass, contents are pieces that point into their store, and no byte depends on a clock.
//! Owners, modes and extended attributes have no place in FAT and are dropped; symbolic links and
//! special files are refused.

mod directory;
mod geometry;

use std::collections::{BTreeMap, BTreeSet};

use fam_tree::{Content, Kind, RootPath, Timestamp, Tree};

use super::disk::Partition;
use super::error::Error;
use super::map::MapBuilder;
use super::sector::SectorSize;
pub(super) use directory::VolumeLabel;
use directory::{DirectoryBuilder, Place};
use geometry::Geometry;

/// What a file system will hold.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// The directory of the tree that becomes the root directory.
    top: RootPath,
    label: VolumeLabel,
    /// By path, the root directory included, so that parents precede children.
    directories: BTreeMap<RootPath, Directory<'a>>,
    files: Vec<File<'a>>,
}

#[derive(Debug, Default)]
struct Directory<'a> {
    mtime: Timestamp,
    children: Vec<(&'a RootPath, Child)>,
}

#[derive(Debug, Clone, Copy)]
enum Child {
    Directory,
    /// Index into the plan's files.
    File(usize),
}

#[derive(Debug)]
struct File<'a> {
    content: &'a Content,
    mtime: Timestamp,
    private: bool,
}

impl<'a> Plan<'a> {
    /// Takes what is under `top`.
    ///
    /// # Errors
    /// [`Error::Fat`] for what FAT cannot hold.
    pub(super) fn new(
        tree: &'a Tree,
        top: &RootPath,
        label: VolumeLabel,
        laid_last: &BTreeSet<RootPath>,
    ) -> Result<Self, Error> {
        let directories = BTreeMap::from([(top.clone(), Directory::default())]);
        let mut plan = Self { top: top.clone(), label, directories, files: Vec::new() };
        for (path, entry) in tree.iter().filter(|(path, _)| path.starts_with(top) && *path != top) {
            let child = match &entry.kind {
                Kind::Directory => {
                    plan.directories.insert(path.clone(), Directory { mtime: entry.mtime, children: Vec::new() });
                    Child::Directory
                }
                kind => {
                    let content = contents(tree, path, kind)?;
                    let private = laid_last.contains(path);
                    plan.files.push(File { content, mtime: entry.mtime, private });
                    Child::File(plan.files.len() - 1)
                }
            };
            let parent = path.parent().and_then(|parent| plan.directories.get_mut(&parent));
            parent.ok_or_else(|| Error::NoParent { path: path.clone() })?.children.push((path, child));
        }
        Ok(plan)
    }

    /// The room that files and directories take at most, for the size of the partition.
    pub(super) fn content_bytes(&self) -> u64 {
        let files = self.files.iter().map(|file| file.content.len());
        // An entry with the longest name has 21 parts of 32 bytes. `.`, `..` and the label take 96.
        let directories = self.directories.values().map(|directory| directory.children.len() as u64 * 21 * 32 + 96);
        files.chain(directories).map(|len| len.next_multiple_of(geometry::LARGEST_CLUSTER_BYTES)).sum()
    }

    /// Puts the file system at its place on a disk with such sectors, which are its own as well:
    /// Linux mounts none that has smaller ones.
    ///
    /// # Errors
    /// [`Error::TooSmall`].
    pub(super) fn emit(
        &self,
        partition: Partition,
        sector_size: SectorSize,
        volume_id: u32,
        timestamp: i64,
        builder: &mut MapBuilder,
    ) -> Result<(), Error> {
        let geometry = Geometry::of(partition, sector_size);
        let mut table = geometry.table();

        let mut directories = BTreeMap::new();
        for (path, directory) in &self.directories {
            let encoded = self.directory(path, directory)?;
            let place = table.allocate(encoded.len_bytes());
            directories.insert(path, (encoded, place));
        }
        // Directories come first, since their sizes follow from names alone; their bytes are made
        // when all places are known.
        let mut places = vec![Place::default(); self.files.len()];
        // Private files last: their sizes then move nothing that nodes share.
        for private in [false, true] {
            for (file, place) in self.files.iter().zip(&mut places).filter(|(file, _)| file.private == private) {
                *place = table.allocate(file.content.len());
                builder.put_content(geometry.offset_of(*place), file.content, 0, file.content.len(), private);
            }
        }
        geometry
            .check(&table)
            .map_err(|(available_bytes, needed_bytes)| Error::TooSmall { needed_bytes, available_bytes })?;
        for (path, directory) in &self.directories {
            let (encoded, place) = &directories[path];
            // The root directory is 0 in the ".." of its children, and has no such entries itself.
            let above = match path.parent() {
                Some(parent) if *path != self.top && parent != self.top => directories[&parent].1.without_len(),
                _ => Place::default(),
            };
            let children = directory.children.iter().map(|&(child, kind)| match kind {
                Child::Directory => directories[child].1.without_len(),
                Child::File(index) => places[index],
            });
            let bytes = encoded.encode(place.without_len(), above, children, directory.mtime, timestamp);
            builder.put_bytes(geometry.offset_of(*place), &bytes);
        }
        for (offset, bytes) in geometry.metadata(&table, volume_id, self.label) {
            builder.put_bytes(offset, &bytes);
        }
        Ok(())
    }

    fn directory(&self, path: &RootPath, directory: &Directory<'_>) -> Result<DirectoryBuilder, Error> {
        let mut builder = DirectoryBuilder::new((*path == self.top).then_some(self.label));
        for (child, kind) in &directory.children {
            let mtime = match *kind {
                Child::Directory => self.directories[*child].mtime,
                Child::File(index) => self.files[index].mtime,
            };
            builder
                .add(child.file_name(), matches!(kind, Child::Directory), mtime)
                .map_err(|reason| Error::Fat { path: (*child).clone(), reason })?;
        }
        Ok(builder)
    }
}

fn contents<'a>(tree: &'a Tree, path: &RootPath, kind: &'a Kind) -> Result<&'a Content, Error> {
    let refused = |reason| Error::Fat { path: path.clone(), reason };
    let content = match kind {
        Kind::File(content) => content,
        Kind::HardLink(target) => match tree.get(target).map(|entry| &entry.kind) {
            // FAT has no links: each name gets the contents.
            Some(Kind::File(content)) => content,
            _ => return Err(Error::DanglingHardLink { path: path.clone(), target: target.clone() }),
        },
        Kind::Symlink(_) => return Err(refused("it is a symbolic link")),
        _ => return Err(refused("it is neither a directory nor a regular file")),
    };
    if u32::try_from(content.len()).is_err() {
        return Err(refused("it is larger than 4 GiB"));
    }
    Ok(content)
}
