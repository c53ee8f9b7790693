//! Root tarballs: indexed into a [`Tree`](crate::Tree) whose files point into the tarball, and
//! written from such a tree or from that of a staging directory, always the same bytes for the same entries.
//!
//! How tar is encoded is the matter of [`tar`](crate::tar); here is
//! what entries mean for a tree: what replaces what, which name of a file is the first, what a root
//! file system leaves out.

mod comment;
mod directory;
#[cfg(test)]
mod hostile_tests;
mod index;
mod open;
mod write;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;

use fam_progress::Hint;

pub use comment::comment;
pub use directory::{StagedFiles, read as read_directory};
pub use index::index;
pub use open::{is_compressed, open};
pub use write::{finished, write};

use crate::tar::{self, EntryKind, Header};
use crate::{Entry, InvalidPath, RootPath, Timestamp};

/// Directories that are filled when a system runs: what stands in them now belongs to the build, and no
/// tarball has it.
pub const LEFT_EMPTY: [&[u8]; 5] = [b"dev", b"proc", b"run", b"sys", b"tmp"];

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Number of entries.
    pub entries: u64,
    /// Length of the tarball.
    pub bytes: u64,
}

/// A time as a tarball has it: whole seconds, and none later than `latest`.
#[must_use]
pub fn settled(time: Timestamp, latest: i64) -> Timestamp {
    // A number of the header has no sign, so nothing is older than 1970.
    Timestamp { seconds: time.seconds.min(latest).max(0), nanoseconds: 0 }
}

/// `./path`, with a slash behind directories, as tar(1) writes `.`.
fn written_name(path: &RootPath, is_directory: bool) -> Vec<u8> {
    let slash: &[u8] = if is_directory && !path.is_root() { b"/" } else { b"" };
    [b"./", path.as_bytes(), slash].concat()
}

/// The header of an entry in memory.
fn header_of(path: &RootPath, entry: &Entry, latest_mtime: i64) -> Header {
    let kind: Result<EntryKind, Infallible> =
        entry.kind.try_map(|content| Ok(content.len()), |target| Ok(written_name(target, false)));
    let Ok(kind) = kind;
    // Those of a file stand under its first name.
    let is_other_name = matches!(kind, EntryKind::HardLink(_));
    let xattrs = if is_other_name { BTreeMap::new() } else { entry.xattrs.clone() };
    Header {
        path: written_name(path, kind == EntryKind::Directory),
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: settled(entry.mtime, latest_mtime),
        xattrs,
        offset: 0,
    }
}

/// Why a root tarball cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive itself is not readable.
    #[error("read {tarball}: {source}")]
    Tar {
        /// The tarball.
        tarball: String,
        /// What is wrong, and at which byte.
        source: tar::Error,
    },
    /// An entry's name, or the target of a hard link, leads out of the root.
    #[error("read {tarball}: {source}")]
    Path {
        /// The tarball.
        tarball: String,
        /// The path, and why it names no place in a root.
        source: InvalidPath,
    },
    /// The entry of the root itself is no directory.
    #[error("read {tarball}: / is no directory")]
    RootIsNoDirectory {
        /// The tarball.
        tarball: String,
    },
    /// An entry lies under something that is no directory.
    #[error("read {tarball}: {path} lies beneath {parent}, which is no directory")]
    NotADirectory {
        /// The tarball.
        tarball: String,
        /// The entry.
        path: RootPath,
        /// What it lies under.
        parent: RootPath,
    },
    /// A hard link to nothing, or to a directory.
    #[error("read {tarball}: {path} is a hard link to {target}, which is no file before it")]
    DanglingHardLink {
        /// The tarball.
        tarball: String,
        /// The link.
        path: RootPath,
        /// What it names.
        target: RootPath,
    },
    /// So many entries that the tree would take unreasonable memory.
    #[error("read {tarball}: more than {limit} entries")]
    TooManyEntries {
        /// The tarball.
        tarball: String,
        /// How many there may be.
        limit: usize,
    },
    /// Entries that are small in the tarball, and would be large in the tree.
    #[error(
        "read {tarball}: with {path}, more than {limit} bytes of directories that have no entry, or of metadata that hard \
         links copy"
    )]
    TooMuchImplied {
        /// The tarball.
        tarball: String,
        /// The entry with which it was too much.
        path: RootPath,
        /// How much there may be.
        limit: usize,
    },
    /// A system call on an entry of the staging directory failed.
    #[error("{action} {path}: {source}")]
    Staging {
        /// What was being done.
        action: &'static str,
        /// The entry.
        path: RootPath,
        /// Why it failed.
        source: io::Error,
    },
    /// Compressed data that does not decompress.
    #[error("decompress {tarball}: {source}")]
    Compression {
        /// The tarball.
        tarball: String,
        /// What the decoder said.
        source: io::Error,
    },
    /// Reading or writing the tarball; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Compression { .. } => Some("the archive is damaged: get it again".to_owned()),
            Self::Path { .. }
            | Self::RootIsNoDirectory { .. }
            | Self::NotADirectory { .. }
            | Self::DanglingHardLink { .. }
            | Self::TooManyEntries { .. } => Some(
                "the tarball must hold one root file system, as `mmdebstrap` or `docker export` write it".to_owned(),
            ),
            Self::TooMuchImplied { .. } => {
                Some("write the tarball again with all directories in it, as tar does".to_owned())
            }
            Self::Io(error) if error.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or choose another directory with `--output`".to_owned())
            }
            _ => None,
        }
    }
}
