//! What can go wrong between a tree and its images.

use std::io;

use fam_progress::Hint;
use fam_tree::RootPath;

use super::sector::SectorSize;

/// Why an image could not be laid out or written.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tree does not fit the disk.
    #[error("the tree needs {needed_bytes} bytes but its partition has {available_bytes}")]
    TooSmall {
        /// What contents and metadata take at least.
        needed_bytes: u64,
        /// The size of the partition.
        available_bytes: u64,
    },
    /// The disk cannot even hold the partition table and the smallest partitions.
    #[error("a disk of {size_bytes} bytes is too small for its partitions, which take {needed_bytes}")]
    DiskTooSmall {
        /// The requested size.
        size_bytes: u64,
        /// What the partitions take at least.
        needed_bytes: u64,
    },
    /// A further partition or disk cannot be laid out.
    #[error("the volume {label}: {source}")]
    Volume {
        /// Its label.
        label: String,
        /// Why not.
        #[source]
        source: Box<Error>,
    },
    /// A volume is to be mounted where no directory is.
    #[error("a volume cannot be mounted on {path}: {place} is no directory")]
    MountPoint {
        /// The mount point.
        path: RootPath,
        /// Itself, or what is above it.
        place: RootPath,
    },
    /// ext4 names are bytes, but the layout engine takes UTF-8 only.
    #[error("lay out {path}: its name or link target is not UTF-8")]
    NotUtf8 { path: RootPath },
    /// An entry whose directory is not in the tree, or is no directory.
    #[error("lay out {path}: there is no directory to hold it")]
    NoParent { path: RootPath },
    /// A hard link to something that is no regular file of the tree.
    #[error("lay out {path}: a hard link to {target}, which is no regular file")]
    DanglingHardLink { path: RootPath, target: RootPath },
    /// Something at `/lost+found` other than an empty directory.
    #[error("lay out {path}: ext4 keeps /lost+found for itself")]
    LostAndFound { path: RootPath },
    /// A POSIX ACL that does not have the form of acl(5)'s extended attribute.
    #[error("lay out {path}: malformed access control list in {name}")]
    MalformedAcl { path: RootPath, name: String },
    /// The ext4 layout engine refuses an entry.
    #[error("lay out {path}: {reason}")]
    Ext4Entry { path: RootPath, reason: String },
    /// The ext4 layout engine refuses the whole.
    #[error("lay out the ext4 file system: {reason}")]
    Ext4 { reason: String },
    /// An entry that FAT cannot hold: under `/boot/efi`, or in a volume.
    #[error("lay out {path}: its file system is FAT and cannot hold it: {reason}")]
    Fat { path: RootPath, reason: &'static str },
    /// GRUB's files in the tree are not what they should be.
    #[error("install GRUB from {path}: {reason}")]
    BootCode { path: RootPath, reason: String },
    /// The only boot loader of the tree is that for BIOS, which such a disk is not started by.
    #[error("GRUB is there for BIOS alone, which does not boot from disks with sectors of {sector_size} bytes")]
    BiosOnly { sector_size: SectorSize },
    /// Two parts of the layout claim the same bytes: a defect of this program.
    #[error("layout overlaps itself at byte {offset}")]
    Overlap {
        /// Where on the disk.
        offset: u64,
    },
    /// The name of a backing file does not fit the qcow2 header.
    #[error("backing file name of {len} bytes is longer than the 1023 that qcow2 allows")]
    BackingName { len: usize },
    /// A format cannot hold a disk of this size.
    #[error("a disk of this size is too large for {format}, which holds at most {most}")]
    DiskTooLarge { format: &'static str, most: &'static str },
    /// An image that is there already cannot be read.
    #[error("{0}")]
    Read(#[from] crate::qcow2::reader::Error),
    /// Maps that were made from different stores or sizes cannot share bulk data.
    #[error("images of different trees cannot share data")]
    Unrelated,
    /// Reading contents or writing an image; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Whether the tree is of a kind that no disk of these settings could hold, however large it were.
    #[must_use]
    pub fn is_of_tree(&self) -> bool {
        match self {
            Self::Volume { source, .. } => source.is_of_tree(),
            Self::TooSmall { .. }
            | Self::DiskTooSmall { .. }
            | Self::DiskTooLarge { .. }
            | Self::BackingName { .. }
            | Self::Read(_)
            | Self::Io(_) => false,
            _ => true,
        }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::TooSmall { needed_bytes, .. } => {
                let gib = (needed_bytes.saturating_mul(5) / 4).div_ceil(1 << 30) + 1;
                Some(format!("give the disk more room, for example `--size {gib}G`"))
            }
            Self::DiskTooSmall { needed_bytes, .. } => {
                let gib = needed_bytes.saturating_add(256 << 20).div_ceil(1 << 30);
                Some(format!("give the disk room for the system, too: more than `--size {gib}G`"))
            }
            Self::Volume { source, .. } => match &**source {
                Self::TooSmall { needed_bytes, .. } => {
                    let mib = (needed_bytes.saturating_mul(5) / 4).div_ceil(1 << 20) + 16;
                    Some(format!("give it more room in the recipe, for example size = \"{mib}M\""))
                }
                Self::Fat { .. } => Some("keep only directories and regular files in it, or make it ext4".to_owned()),
                _ => None,
            },
            Self::MountPoint { .. } => Some("mount it on a directory, or on a path that is not there".to_owned()),
            Self::NotUtf8 { .. } => Some("rename it in the tarball, or leave out the package that has it".to_owned()),
            Self::Fat { .. } => Some("keep only directories and regular files under /boot/efi".to_owned()),
            Self::LostAndFound { .. } => Some("remove /lost+found from the tarball".to_owned()),
            Self::BootCode { .. } => {
                Some("install the package grub-pc-bin in the tree, and build it afresh".to_owned())
            }
            Self::BiosOnly { .. } => {
                Some("include grub-efi-amd64-bin, or leave out `sector-size` under [disk]".to_owned())
            }
            Self::Io(error) if error.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or choose another directory with `--output`".to_owned())
            }
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Some("it changed while it was read; build again".to_owned())
            }
            _ => None,
        }
    }
}
