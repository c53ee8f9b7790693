//! What a machine has beside the three partitions of its disk: further partitions and further disks,
//! with a file system, swap space or nothing in each.
//!
//! What the tree has under a volume's mount point lies in the volume and not in the root file
//! system, as what it has under `/boot/efi` lies in the ESP: nothing of the tree is hidden when all
//! is mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fam_tree::{Entry, Kind, RootPath, Timestamp, Tree};
use uuid::Uuid;

use super::disk::Partition;
use super::error::Error;
use super::fat::{self, VolumeLabel};
use super::map::MapBuilder;
use super::sector::SectorSize;
use super::{esp, ext4, swap};

/// What is in a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Zeros.
    None,
    /// Swap space.
    Swap,
    /// ext4, which has 16 MiB at least.
    Ext4,
    /// FAT32, which has [`SectorSize::least_fat_bytes`] at least.
    Vfat,
}

/// A partition beside those that every disk has, or a disk without a partition table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Volume {
    /// The label of its file system, cut to the 16 bytes that ext4 takes or the 11 that FAT does,
    /// and the name of the partition.
    pub label: String,
    /// Its size in bytes, rounded up to whole MiB.
    pub size_bytes: u64,
    /// What is in it.
    pub format: Format,
    /// Where it is mounted, if it is: what the tree has under this directory lies in it.
    pub mount: Option<RootPath>,
    /// More that lies in it, over what the tree has.
    pub source: Option<Arc<Tree>>,
    /// As that of the root file system, [`ImageSettings::layout_uuid`](super::ImageSettings).
    pub layout_uuid: Uuid,
}

/// The numbers that tell one volume from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VolumeIdentity {
    /// GUID of the partition.
    pub guid: Uuid,
    /// UUID of the file system or swap space. A FAT has its first four bytes for a serial number.
    pub fs_uuid: Uuid,
}

impl VolumeIdentity {
    /// The serial number of a FAT.
    #[must_use]
    pub fn volume_id(&self) -> u32 {
        let [a, b, c, d, ..] = *self.fs_uuid.as_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

/// The directories under which a tree belongs to other file systems than the root's.
#[derive(Debug)]
pub(super) struct MountPoints<'a>(Vec<&'a RootPath>);

impl<'a> MountPoints<'a> {
    /// Those of `volumes`, and that of the ESP.
    pub(super) fn of(volumes: impl Iterator<Item = &'a Volume>) -> Self {
        Self(volumes.filter_map(|volume| volume.mount.as_ref()).chain([&*esp::MOUNT_POINT]).collect())
    }

    /// The mount point of the file system that has the entry at `path`; `None` for the root file
    /// system. The mount point itself belongs to the file system that it is in.
    pub(super) fn above(&self, path: &RootPath) -> Option<&'a RootPath> {
        let above = self.0.iter().copied().filter(|mount| path.starts_with(mount) && path != *mount);
        above.max_by_key(|mount| mount.as_bytes().len())
    }

    /// Whether the tree can be divided so: a mount point that is a link leads elsewhere.
    pub(super) fn check(&self, tree: &Tree) -> Result<(), Error> {
        for &mount in &self.0 {
            let mut path = Some(mount.clone());
            while let Some(place) = path {
                if tree.get(&place).is_some_and(|entry| entry.kind != Kind::Directory) {
                    return Err(Error::MountPoint { path: mount.clone(), place });
                }
                path = place.parent();
            }
        }
        Ok(())
    }
}

/// A tree, with what of it is a node's own and therefore laid out last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'a> {
    pub(super) tree: &'a Tree,
    pub(super) laid_last: &'a BTreeSet<RootPath>,
    pub(super) mounts: &'a MountPoints<'a>,
    /// That of the disk.
    pub(super) sector_size: SectorSize,
}

impl Volume {
    /// Puts the volume at its place on a disk.
    ///
    /// # Errors
    /// [`Error::Volume`] with what cannot be laid out.
    pub(super) fn emit(
        &self,
        whole: Whole<'_>,
        place: Partition,
        identity: &VolumeIdentity,
        timestamp: i64,
        builder: &mut MapBuilder,
    ) -> Result<(), Error> {
        let emitted = match self.format {
            Format::None => Ok(()),
            Format::Swap => {
                builder.put_bytes(place.offset, &swap::header(place.len, identity.fs_uuid, &self.label));
                Ok(())
            }
            Format::Ext4 => self.part(whole, timestamp).and_then(|(tree, laid_last)| {
                let file_system = ext4::FileSystem {
                    label: &self.label,
                    fs_uuid: identity.fs_uuid,
                    layout_uuid: self.layout_uuid,
                    timestamp,
                };
                ext4::emit(&tree, &|_| true, &laid_last, place, &file_system, builder)
            }),
            Format::Vfat => self.part(whole, timestamp).and_then(|(tree, laid_last)| {
                let plan = fat::Plan::new(&tree, &RootPath::root(), VolumeLabel::new(&self.label), &laid_last)?;
                plan.emit(place, whole.sector_size, identity.volume_id(), timestamp, builder)
            }),
        };
        emitted.map_err(|source| Error::Volume { label: self.label.clone(), source: Box::new(source) })
    }

    /// What lies in it, by paths from its own root directory.
    fn part(&self, whole: Whole<'_>, timestamp: i64) -> Result<(Tree, BTreeSet<RootPath>), Error> {
        let Whole { tree, laid_last, mounts, .. } = whole;
        let mut part = Tree::default();
        let mut part_last = BTreeSet::new();
        let root = self.mount.as_ref().and_then(|mount| tree.get(mount)).cloned();
        part.insert(RootPath::root(), root.unwrap_or_else(|| empty_directory(timestamp)));
        if let Some(mount) = &self.mount {
            let inside = |path: &RootPath| mounts.above(path) == Some(mount);
            for (path, entry) in tree.under(mount).filter(|(path, _)| inside(path)) {
                let kind = match &entry.kind {
                    Kind::HardLink(target) if inside(target) => Kind::HardLink(below(mount, target)),
                    // There are no links across file systems: each name gets the contents.
                    Kind::HardLink(target) => match tree.get(target).map(|entry| &entry.kind) {
                        Some(Kind::File(content)) => Kind::File(content.clone()),
                        _ => return Err(Error::DanglingHardLink { path: path.clone(), target: target.clone() }),
                    },
                    kind => kind.clone(),
                };
                let stripped = below(mount, path);
                if laid_last.contains(path) {
                    part_last.insert(stripped.clone());
                }
                part.insert(stripped, Entry { kind, ..entry.clone() });
            }
        }
        let is_directory = |entry: &Entry| entry.kind == Kind::Directory;
        for (path, entry) in self.source.iter().flat_map(|source| source.iter()) {
            // A directory that the tree has keeps its owner and mode.
            if !(is_directory(entry) && part.get(path).is_some_and(is_directory)) {
                part.insert(path.clone(), entry.clone());
            }
        }
        Ok((part, part_last))
    }
}

/// The path of what is under `directory`, as seen from there.
fn below(directory: &RootPath, path: &RootPath) -> RootPath {
    let rest = &path.as_bytes()[directory.as_bytes().len()..];
    RootPath::new(rest).expect("a part of a path is one")
}

fn empty_directory(timestamp: i64) -> Entry {
    let mtime = Timestamp { seconds: timestamp, nanoseconds: 0 };
    Entry { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RootPath {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_belongs_to_the_deepest_mount_point_above_it() {
        let mounts = [path("srv"), path("srv/a/b"), path("home")];
        let points = MountPoints(mounts.iter().collect());
        for (entry, mount) in [
            ("srv", None),
            ("srv/a", Some("srv")),
            ("srv/a/b", Some("srv")),
            ("srv/a/b/c", Some("srv/a/b")),
            ("srv/a/bc", Some("srv")),
            ("srvx/a", None),
            ("home/x/y", Some("home")),
            ("", None),
        ] {
            assert_eq!(points.above(&path(entry)), mount.map(path).as_ref(), "{entry}");
        }
    }

    #[test]
    fn a_serial_number_is_the_beginning_of_the_uuid() {
        let id = VolumeIdentity { guid: Uuid::nil(), fs_uuid: Uuid::from_u128(0x0a1b_002c << 96) };
        assert_eq!(id.volume_id(), 0x0a1b_002c);
    }
}
