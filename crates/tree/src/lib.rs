//! A root file system in memory: the metadata of every entry, and where its bytes lie.
//!
//! This is the type on which the two halves of a build meet: the left half writes a staging tree
//! out as a tarball, the right half reads the tarball as a [`Tree`], lays an [`Overlay`] over it
//! for each node, and makes images of the result. Nothing here knows of packages or of disks.
//!
//! [`tar`] reads and writes archives; [`tarball`] says what their entries mean for a root file
//! system, and writes a directory always as the same bytes.
//!
//! ```
//! use fam_tree::tar::{EntryKind, Header, TarWriter};
//! use fam_tree::{Kind, Timestamp, tarball};
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("root.tar");
//!
//! let mut writer = TarWriter::new(fs_err::File::create(&path)?);
//! writer.header(&Header {
//!     path: b"./etc/hostname".to_vec(),
//!     kind: EntryKind::File(8),
//!     mode: 0o644,
//!     uid: 0,
//!     gid: 0,
//!     mtime: Timestamp::default(),
//!     xattrs: Default::default(),
//!     offset: 0,
//! })?;
//! writer.contents(&mut &b"fabric1\n"[..], 8)?;
//! writer.finish()?;
//!
//! // Contents stay in the tarball; directories that it does not have are there all the same.
//! let tree = tarball::index(&fs_err::File::open(&path)?)?;
//! assert_eq!(tree.get(&"etc".parse()?).unwrap().kind, Kind::Directory);
//! assert!(matches!(&tree.get(&"etc/hostname".parse()?).unwrap().kind, Kind::File(content) if content.len() == 8));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod overlay;
mod path;
mod store;
pub mod tar;
pub mod tarball;

pub use overlay::{Change, Overlay};
pub(crate) use path::shown;
pub use path::{InvalidPath, MAX_NAME_BYTES, MAX_PATH_BYTES, RootPath};
pub use store::Store;

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

/// A point in time: seconds since 1970-01-01 UTC, and nanoseconds below a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// Where the bytes of a regular file lie.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// In memory, as what a plugin wrote is.
    Inline(Arc<[u8]>),
    /// In the [`Store`] that the tree comes with, as a tarball is: `len` bytes at `offset`.
    Stored {
        /// Offset of the first byte there.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
}

impl Content {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Stored { len, .. } => *len,
        }
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes, which are in `store` where they are not in memory. The caller bounds their length.
    ///
    /// # Errors
    /// When they cannot be read, or have no room in an address space.
    pub fn read(&self, store: &dyn Store) -> io::Result<Vec<u8>> {
        match self {
            Self::Inline(bytes) => Ok(bytes.to_vec()),
            Self::Stored { offset, len } => {
                let mut bytes = vec![0; usize::try_from(*len).map_err(|_| io::ErrorKind::FileTooLarge)?];
                store.fill(&mut bytes, *offset)?;
                Ok(bytes)
            }
        }
    }
}

/// What an entry is. In a tree a file has its [`Content`], and a hard link is another name of the
/// regular file at its path, which is in the same tree and is itself no hard link. In a tar archive
/// they have less: see [`tar::EntryKind`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind<F = Content, L = RootPath> {
    /// A directory.
    Directory,
    /// A regular file.
    File(F),
    /// Another name of a file.
    HardLink(L),
    /// A symbolic link, with its target as written.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

impl<F, L> Kind<F, L> {
    /// The same with other contents of files and other targets of hard links.
    ///
    /// # Errors
    /// That of `file` or `link`.
    pub fn try_map<'a, G, M, E>(
        &'a self,
        file: impl FnOnce(&'a F) -> Result<G, E>,
        link: impl FnOnce(&'a L) -> Result<M, E>,
    ) -> Result<Kind<G, M>, E> {
        Ok(match self {
            Self::Directory => Kind::Directory,
            Self::File(contents) => Kind::File(file(contents)?),
            Self::HardLink(target) => Kind::HardLink(link(target)?),
            Self::Symlink(target) => Kind::Symlink(target.clone()),
            &Self::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            &Self::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            Self::Fifo => Kind::Fifo,
        })
    }
}

/// One name of a tree with its metadata. For a [`Kind::HardLink`] the metadata equals that of its
/// target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes by full name (`security.capability`), values as the system calls give
    /// them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A whole root file system. Iterates in byte order of the paths, so a directory comes before what
/// is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tree {
    entries: BTreeMap<RootPath, Entry>,
}

impl Tree {
    /// The entry at `path`, taken literally: no symbolic link is followed.
    #[must_use]
    pub fn get(&self, path: &RootPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Puts `entry` at `path`, and gives back what was there.
    pub fn insert(&mut self, path: RootPath, entry: Entry) -> Option<Entry> {
        self.entries.insert(path, entry)
    }

    /// Takes the entry at `path` out, and nothing under it.
    pub fn remove(&mut self, path: &RootPath) -> Option<Entry> {
        self.entries.remove(path)
    }

    /// All entries, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&RootPath, &Entry)> {
        self.entries.iter()
    }

    /// All entries under `path`, however deep, without itself.
    pub fn under<'a>(&'a self, path: &'a RootPath) -> impl Iterator<Item = (&'a RootPath, &'a Entry)> {
        under(&self.entries, path)
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Length of all files in bytes, each counted once, whatever number of names it has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().map(|(_, length)| length).fold(0, u64::saturating_add)
    }

    /// The largest file and its length in bytes.
    #[must_use]
    pub fn largest(&self) -> Option<(&RootPath, u64)> {
        self.files().max_by_key(|(_, length)| *length)
    }

    fn files(&self) -> impl Iterator<Item = (&RootPath, u64)> {
        self.iter().filter_map(|(path, entry)| match &entry.kind {
            Kind::File(content) => Some((path, content.len())),
            _ => None,
        })
    }
}

/// What lies under `path`, however deep, without what is at the path itself.
fn under<'a, T>(by_path: &'a BTreeMap<RootPath, T>, path: &'a RootPath) -> impl Iterator<Item = (&'a RootPath, &'a T)> {
    // In byte order, names such as `a-b` stand between `a` and `a/b`: so this begins behind them.
    let slash: &[u8] = if path.is_root() { b"" } else { b"/" };
    let beginning = [path.as_bytes(), slash].concat();
    by_path
        .range::<[u8], _>((Bound::Excluded(&beginning[..]), Bound::Unbounded))
        .take_while(|(other, _)| other.starts_with(path))
}

impl FromIterator<(RootPath, Entry)> for Tree {
    fn from_iter<T: IntoIterator<Item = (RootPath, Entry)>>(entries: T) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

impl IntoIterator for Tree {
    type Item = (RootPath, Entry);
    type IntoIter = std::collections::btree_map::IntoIter<RootPath, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}
