//! Why a tar stream cannot be read, and the bounds that it is held to.

use std::io;

use fam_progress::Hint;

use crate::MAX_PATH_BYTES;

/// No long name or set of PAX records is larger than this in honest archives: the kernel's limits
/// are 4 KiB for a path and 64 KiB for all attributes of a file.
pub(super) const MAX_EXTENSION: u64 = 1 << 20;
/// The longest target of a link that Linux takes: `PATH_MAX` counts a NUL at its end.
pub(super) const MAX_LINK_BYTES: usize = MAX_PATH_BYTES - 1;
/// All names and values of an entry's extended attributes. Linux takes 64 KiB for one; ext4, where
/// they are to go, has room for 4 KiB in all.
pub(super) const MAX_XATTR_BYTES: usize = 64 << 10;

/// Why a tar stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream itself failed.
    #[error("read tar at byte {offset}: {source}")]
    Read {
        /// Offset in the stream, in bytes.
        offset: u64,
        /// What the stream said.
        source: io::Error,
    },
    /// The stream ends before the end-of-archive mark.
    #[error("tar is cut off at byte {0}")]
    Truncated(u64),
    /// A header does not add up.
    #[error("tar header at byte {0} has a wrong checksum: this is no tar archive, or a damaged one")]
    Checksum(u64),
    /// A numeric field holds no number, or one out of range.
    #[error("tar entry {path}: {field} is not a usable number")]
    Number {
        /// The entry.
        path: String,
        /// Which field or record.
        field: &'static str,
    },
    /// A name or link target is empty or holds a NUL byte.
    #[error("tar header at byte {0} has an empty name, or a NUL byte in a name")]
    Name(u64),
    /// PAX records are not in the form `length key=value newline`.
    #[error("tar header at byte {0} has malformed PAX records")]
    Pax(u64),
    /// The long names and PAX records of one entry are unreasonably large.
    #[error(
        "tar extension header at byte {offset} brings those of an entry to {size} bytes, {MAX_EXTENSION} are allowed"
    )]
    TooLarge {
        /// Offset in the stream, in bytes.
        offset: u64,
        /// What it claims.
        size: u64,
    },
    /// PAX records for all entries that follow, which make sense for one only.
    #[error("tar header at byte {0} gives one name, size or extended attribute to all entries")]
    Global(u64),
    /// Readers differ in whether data follows such an entry, so each could find other entries.
    #[error("tar entry {0} has a size, and is no regular file")]
    Sized(String),
    /// A file in a package by its type, and a directory by its name.
    #[error("tar entry {0} is a file whose name ends with a slash")]
    SlashedFile(String),
    /// PAX records in an archive that must have none.
    #[error("tar header at byte {0} is one of PAX, which dpkg does not take in a package")]
    PaxInPackage(u64),
    /// A long name or PAX records, and then the end of the archive.
    #[error("tar header at byte {0} describes an entry that does not follow")]
    Dangling(u64),
    /// The target of a link is longer than the kernel takes.
    #[error("tar entry {path} links to a name of {len} bytes, more than the {MAX_LINK_BYTES} that Linux takes")]
    LinkTooLong {
        /// The entry.
        path: String,
        /// The length of the target.
        len: usize,
    },
    /// Extended attributes of unreasonable size.
    #[error("tar entry {path} has {size} bytes of extended attributes, {MAX_XATTR_BYTES} are allowed")]
    Attributes {
        /// The entry.
        path: String,
        /// What they take.
        size: usize,
    },
    /// The file has holes that are described in the archive.
    #[error("tar entry {0} is a sparse file, which is not supported")]
    Sparse(String),
    /// An entry of a type that means nothing in a root file system.
    #[error("tar entry {path} has unsupported type {flag:?}")]
    Unsupported {
        /// The entry.
        path: String,
        /// The type flag.
        flag: char,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::Sparse(_) => Some("write the archive again without tar's --sparse".into()),
            Self::PaxInPackage(_) | Self::SlashedFile(_) => {
                Some("build the package again with dpkg-deb, which writes no such entries".into())
            }
            Self::Unsupported { .. } => {
                Some("write the archive again with `tar --format=pax` or `--format=gnu`".into())
            }
            _ => Some("the archive is damaged: get it again".into()),
        }
    }
}
