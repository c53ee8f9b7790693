//! ext4 file systems: a tree declared to mkext4, whose layout becomes pieces of the disk.
//!
//! mkext4 decides the place of every block and makes the metadata. What it does not do is done
//! here: access control lists are brought into ext4's own form, times outside its range are
//! clamped, a second `/lost+found` and a last block group too short for its inode table are left
//! out, and a node's UUID goes into finished metadata.

mod acl;
mod sink;

use std::collections::{BTreeSet, HashMap};

use fam_tree::{Content, Entry, Kind, RootPath, Timestamp, Tree};
use mkext4::{FsBuilder, InodeCount, InodeHandle, Meta, Options, ROOT, SpecialKind};
use uuid::Uuid;

use super::disk::Partition;
use super::error::Error;
use super::esp;
use super::map::MapBuilder;
use sink::MetadataSink;

const BLOCK_BYTES: u64 = 4096;
const GROUP_BLOCKS: u64 = 32768;
/// A last block group shorter than this is left out: it might not hold its own bitmaps and inode
/// table.
const SHORTEST_GROUP_BLOCKS: u64 = 4096;
/// mke2fs's default: one inode for so many bytes.
const BYTES_PER_INODE: u64 = 16384;
const INODE_BYTES: u64 = 256;
/// Inodes that ext4 has for itself, `/lost+found` among them.
const RESERVED_INODES: u64 = 11;
const LABEL_BYTES: usize = 16;

/// What a file system has beside its files.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileSystem<'a> {
    /// Its label, 16 bytes at most; empty for none.
    pub(super) label: &'a str,
    /// Its UUID.
    pub(super) fs_uuid: Uuid,
    /// The UUID that every checksum of it is seeded with.
    pub(super) layout_uuid: Uuid,
    /// Seconds since 1970 for its creation.
    pub(super) timestamp: i64,
}

/// Lays out what `holds` of `tree`, and puts metadata and contents into `builder`.
pub(super) fn emit(
    tree: &Tree,
    holds: &dyn Fn(&RootPath) -> bool,
    laid_last: &BTreeSet<RootPath>,
    partition: Partition,
    file_system: &FileSystem<'_>,
    builder: &mut MapBuilder,
) -> Result<(), Error> {
    let size_bytes = file_system_bytes(partition.len);
    // Also the little that the ESP has: the number of inodes of a small disk follows from this, and
    // the same tree is to give the same disk as ever.
    let counts = |path: &RootPath| holds(path) || path.starts_with(&esp::MOUNT_POINT);
    let needs = Needs::of(tree.iter().filter(|(path, _)| counts(path)).map(|(_, entry)| entry), size_bytes);
    if needs.bytes > size_bytes {
        return Err(Error::TooSmall { needed_bytes: needs.bytes, available_bytes: size_bytes });
    }
    let mut declared = Declaration::new(options(size_bytes, &needs, file_system))?;
    declared.tree(tree, holds, laid_last)?;
    let Declaration { fs, files, .. } = declared;
    let layout = fs.seal().map_err(|error| {
        // The estimate is a lower bound; near it, lack of room is the only thing that sealing can
        // fail for.
        if needs.bytes + needs.bytes / 10 > size_bytes {
            Error::TooSmall { needed_bytes: size_bytes + needs.bytes / 10, available_bytes: size_bytes }
        } else {
            Error::Ext4 { reason: error.to_string() }
        }
    })?;
    let sink = MetadataSink::new(builder, partition.offset, file_system.layout_uuid, file_system.fs_uuid);
    layout.writer(sink).map_err(|error| Error::Ext4 { reason: error.to_string() })?;
    for DeclaredFile { handle, content, private } in files {
        let mut done = 0;
        for (offset, len) in layout.extents(handle) {
            builder.put_content(partition.offset + offset, content, done, len, private);
            done += len;
        }
    }
    Ok(())
}

/// The part of a partition that is used: whole blocks, and no last block group that would be too
/// short.
fn file_system_bytes(partition_bytes: u64) -> u64 {
    let blocks = partition_bytes / BLOCK_BYTES;
    let last_group = blocks % GROUP_BLOCKS;
    let left_out = if blocks > GROUP_BLOCKS && last_group < SHORTEST_GROUP_BLOCKS { last_group } else { 0 };
    (blocks - left_out) * BLOCK_BYTES
}

/// What a tree takes at least.
struct Needs {
    bytes: u64,
    inodes: u64,
}

impl Needs {
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>, size_bytes: u64) -> Self {
        let (mut blocks, mut inodes) = (0, RESERVED_INODES);
        for entry in entries {
            match &entry.kind {
                Kind::File(content) => blocks += content.len().div_ceil(BLOCK_BYTES),
                Kind::Directory => blocks += 1,
                // Another name of an inode that is counted already.
                Kind::HardLink(_) => continue,
                _ => {}
            }
            inodes += 1;
        }
        let inode_tables = inodes.max(size_bytes / BYTES_PER_INODE) * INODE_BYTES;
        Self { bytes: blocks * BLOCK_BYTES + inode_tables, inodes }
    }
}

fn options(size_bytes: u64, needs: &Needs, file_system: &FileSystem<'_>) -> Options {
    // The superblock has its times as 32 bits without a sign.
    let timestamp = file_system.timestamp.clamp(0, i64::from(u32::MAX));
    let mut options = Options::new(size_bytes, *file_system.layout_uuid.as_bytes(), timestamp);
    // mke2fs's ratio would leave the guest hardly any inode for files of its own.
    if needs.inodes + needs.inodes / 10 > size_bytes / BYTES_PER_INODE {
        options.inodes = InodeCount::Exact(u32::try_from(needs.inodes + needs.inodes / 4).unwrap_or(u32::MAX));
    }
    if !file_system.label.is_empty() {
        let mut label = file_system.label.to_owned();
        // Between characters, so that what is left is still UTF-8.
        label.truncate(label.floor_char_boundary(LABEL_BYTES));
        options.label = Some(label);
    }
    options
}

/// A regular file that was declared to mkext4, with its contents.
struct DeclaredFile<'a> {
    handle: InodeHandle,
    content: &'a Content,
    private: bool,
}

/// A tree on its way into mkext4's builder.
struct Declaration<'a> {
    fs: FsBuilder,
    directories: HashMap<RootPath, InodeHandle>,
    /// Where hard links can lead.
    inodes: HashMap<&'a RootPath, InodeHandle>,
    files: Vec<DeclaredFile<'a>>,
}

impl<'a> Declaration<'a> {
    fn new(options: Options) -> Result<Self, Error> {
        let fs = FsBuilder::new(options).map_err(|error| Error::Ext4 { reason: error.to_string() })?;
        let directories = HashMap::from([(RootPath::root(), ROOT)]);
        Ok(Self { fs, directories, inodes: HashMap::new(), files: Vec::new() })
    }

    /// Declares everything in the order in which it shall lie on the disk: contents follow the
    /// order of declaration, and directories precede all contents whenever they are declared. Hard
    /// links have no place and need their targets, so they are last.
    fn tree(
        &mut self,
        tree: &'a Tree,
        holds: &dyn Fn(&RootPath) -> bool,
        laid_last: &BTreeSet<RootPath>,
    ) -> Result<(), Error> {
        let held = || tree.iter().filter(|(path, _)| holds(path));
        let comes_last = |path: &RootPath, entry: &Entry| entry.kind != Kind::Directory && laid_last.contains(path);
        let is_link = |entry: &Entry| matches!(entry.kind, Kind::HardLink(_));
        for (path, entry) in held().filter(|(path, entry)| !is_link(entry) && !comes_last(path, entry)) {
            self.entry(path, entry, false)?;
        }
        for (path, entry) in held().filter(|(path, entry)| !is_link(entry) && comes_last(path, entry)) {
            self.entry(path, entry, true)?;
        }
        for (path, entry) in held() {
            if let Kind::HardLink(target) = &entry.kind {
                self.hard_link(tree, path, entry, target, laid_last.contains(path))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &'a RootPath, entry: &'a Entry, private: bool) -> Result<(), Error> {
        if is_lost_and_found(path) {
            // mkext4 makes its own; anything in it would be lost, and is refused.
            let ours = path.parent().is_some_and(|parent| parent.is_root()) && entry.kind == Kind::Directory;
            return if ours { Ok(()) } else { Err(Error::LostAndFound { path: path.clone() }) };
        }
        let meta = meta(entry);
        if path.is_root() {
            self.fs.set_meta(ROOT, meta).map_err(|error| refused(path, &error))?;
            return self.xattrs(path, entry, ROOT);
        }
        let parent = self.parent(path)?;
        let name = utf8(path, path.file_name())?;
        let handle = match &entry.kind {
            Kind::Directory => self.fs.mkdir(parent, name, meta),
            Kind::File(content) => self.fs.file(parent, name, meta, content.len()).inspect(|&handle| {
                self.files.push(DeclaredFile { handle, content, private });
            }),
            Kind::Symlink(target) => self.fs.symlink(parent, name, utf8(path, target)?, meta),
            &Kind::CharDevice { major, minor } => self.fs.mknod(parent, name, meta, SpecialKind::Char { major, minor }),
            &Kind::BlockDevice { major, minor } => {
                self.fs.mknod(parent, name, meta, SpecialKind::Block { major, minor })
            }
            Kind::Fifo => self.fs.mknod(parent, name, meta, SpecialKind::Fifo),
            Kind::HardLink(_) => unreachable!("hard links are declared by hard_link"),
        }
        .map_err(|error| refused(path, &error))?;
        if entry.kind == Kind::Directory {
            self.directories.insert(path.clone(), handle);
        } else {
            self.inodes.insert(path, handle);
        }
        self.xattrs(path, entry, handle)
    }

    fn hard_link(
        &mut self,
        tree: &'a Tree,
        path: &'a RootPath,
        entry: &'a Entry,
        target: &'a RootPath,
        private: bool,
    ) -> Result<(), Error> {
        if is_lost_and_found(path) {
            return Err(Error::LostAndFound { path: path.clone() });
        }
        let parent = self.parent(path)?;
        let name = utf8(path, path.file_name())?;
        if let Some(&handle) = self.inodes.get(target) {
            return self.fs.hardlink(parent, name, handle).map_err(|error| refused(path, &error));
        }
        // A link into another file system cannot be one: the first such name holds the file, others
        // join it.
        let Some(Entry { kind: Kind::File(content), .. }) = tree.get(target) else {
            return Err(Error::DanglingHardLink { path: path.clone(), target: target.clone() });
        };
        let file = self.fs.file(parent, name, meta(entry), content.len());
        let handle = file.map_err(|error| refused(path, &error))?;
        self.files.push(DeclaredFile { handle, content, private });
        self.inodes.insert(target, handle);
        self.xattrs(path, entry, handle)
    }

    fn xattrs(&mut self, path: &RootPath, entry: &Entry, handle: InodeHandle) -> Result<(), Error> {
        for (name, value) in &entry.xattrs {
            let name = utf8(path, name)?;
            let converted = if acl::is_acl(name) {
                let acl = acl::to_disk(value);
                Some(acl.ok_or_else(|| Error::MalformedAcl { path: path.clone(), name: name.to_owned() })?)
            } else {
                None
            };
            let value = converted.as_deref().unwrap_or(value);
            self.fs.set_xattr(handle, name, value).map_err(|error| refused(path, &error))?;
        }
        Ok(())
    }

    fn parent(&self, path: &RootPath) -> Result<InodeHandle, Error> {
        let parent = path.parent().and_then(|parent| self.directories.get(&parent).copied());
        parent.ok_or_else(|| Error::NoParent { path: path.clone() })
    }
}

fn is_lost_and_found(path: &RootPath) -> bool {
    path.components().next() == Some(b"lost+found")
}

fn utf8<'b>(path: &RootPath, bytes: &'b [u8]) -> Result<&'b str, Error> {
    str::from_utf8(bytes).map_err(|_| Error::NotUtf8 { path: path.clone() })
}

fn refused(path: &RootPath, error: &mkext4::Error) -> Error {
    Error::Ext4Entry { path: path.clone(), reason: error.to_string() }
}

fn meta(entry: &Entry) -> Meta {
    Meta::new(entry.mode & 0o7777, entry.uid, entry.gid, clamped(entry.mtime))
}

/// What an inode's 34 bits of seconds and 30 of nanoseconds can say: 1901 to 2446.
fn clamped(time: Timestamp) -> (i64, u32) {
    const FIRST: i64 = i32::MIN as i64;
    const LAST: i64 = FIRST + (1 << 34) - 1;
    (time.seconds.clamp(FIRST, LAST), time.nanoseconds.min(999_999_999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_in_the_range_of_an_inode() {
        for (given, expected) in [
            ((0, 0), (0, 0)),
            ((i64::MAX, 5), (15_032_385_535, 5)),
            ((i64::MIN, 0), (-2_147_483_648, 0)),
            ((1, 4_000_000_000), (1, 999_999_999)),
        ] {
            assert_eq!(clamped(Timestamp { seconds: given.0, nanoseconds: given.1 }), expected);
        }
    }

    #[test]
    fn a_short_last_group_is_left_out() {
        let group = GROUP_BLOCKS * BLOCK_BYTES;
        for (given, expected) in [
            (group / 2, group / 2),
            (64 * group, 64 * group),
            (64 * group + (1 << 20), 64 * group),
            (64 * group + group / 2, 64 * group + group / 2),
            (group + 4095, group),
        ] {
            assert_eq!(file_system_bytes(given), expected);
        }
    }
}
