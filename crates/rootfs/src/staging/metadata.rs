//! What the file system tells of an entry.

use fam_tree::Timestamp;
use rustix::fs::Stat;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A socket.
    Socket,
}

/// Owner, permissions and time of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
}

/// What the file system tells of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub file_type: FileType,
    /// Owner, permissions and time.
    pub attributes: Attributes,
    /// Length in bytes.
    pub size: u64,
    /// The number of names it has.
    pub links: u64,
    /// Which entry it is: two names with the same identity are hard links.
    pub identity: (u64, u64),
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

impl Metadata {
    #[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
    pub(super) fn new(stat: &Stat) -> Self {
        let file_type = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::Directory => FileType::Directory,
            rustix::fs::FileType::Symlink => FileType::Symlink,
            rustix::fs::FileType::Fifo => FileType::Fifo,
            rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
            rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
            rustix::fs::FileType::Socket => FileType::Socket,
            _ => FileType::File,
        };
        let mtime = Timestamp { seconds: stat.st_mtime as i64, nanoseconds: stat.st_mtime_nsec as u32 };
        Self {
            file_type,
            attributes: Attributes { mode: (stat.st_mode & 0o7777) as u16, uid: stat.st_uid, gid: stat.st_gid, mtime },
            size: stat.st_size as u64,
            links: stat.st_nlink as u64,
            identity: (stat.st_dev as u64, stat.st_ino as u64),
            device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
        }
    }
}
