//! From a tree to the map of a whole disk.

use fam_tree::{RootPath, Tree};
use std::collections::BTreeSet;
use uuid::Uuid;

use super::disk::{DiskLayout, Partition};
use super::error::Error;
use super::map::{Contents, DiskMap, MapBuilder};
use super::sector::SectorSize;
use super::volume::{MountPoints, Volume, VolumeIdentity, Whole};
use super::{boot, esp, ext4, gpt};

/// The numbers that tell one machine's disks from another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// GUID of the disk.
    pub disk_guid: Uuid,
    /// GUID of the BIOS boot partition.
    pub bios_guid: Uuid,
    /// GUID of the EFI system partition.
    pub esp_guid: Uuid,
    /// GUID of the root partition, which Linux calls PARTUUID.
    pub root_guid: Uuid,
    /// UUID of the root file system.
    pub fs_uuid: Uuid,
    /// Volume serial number of the ESP's FAT.
    pub esp_volume_id: u32,
    /// Those of further partitions, in the order of [`ImageSettings::partitions`].
    pub partitions: Vec<VolumeIdentity>,
    /// Those of further disks, in the order of [`ImageSettings::disks`].
    pub disks: Vec<VolumeIdentity>,
}

/// What all disks of one build have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageSettings {
    /// Size of the disk, rounded down to whole sectors.
    pub size_bytes: u64,
    /// The size of the sectors of this disk and of those beside it.
    pub sector_size: SectorSize,
    /// Label of the root file system, 16 bytes at most; empty for none.
    pub label: String,
    /// The UUID that every checksum of the root file system is seeded with: the template's own. A
    /// node whose `fs_uuid` is another one keeps this seed in its superblock (ext4's
    /// `metadata_csum_seed`), so its metadata equals the template's.
    pub layout_uuid: Uuid,
    /// Seconds since 1970 for what has no time of its own, such as the file system's creation.
    pub timestamp: i64,
    /// Partitions in addition to those that every disk has.
    pub partitions: Vec<Volume>,
    /// Disks beside this one.
    pub disks: Vec<Volume>,
}

impl ImageSettings {
    fn mount_points(&self) -> MountPoints<'_> {
        MountPoints::of(self.partitions.iter().chain(&self.disks))
    }
}

/// Decides the place of every byte of a disk: GPT, BIOS boot code, ESP with what the tree has under
/// `/boot/efi`, further partitions with what it has under their mount points, and ext4 with
/// everything else.
///
/// Entries whose paths are in `laid_last` come behind all others, so that their sizes move nothing
/// else; the contents of such files are this node's own and count as private in the map.
///
/// # Errors
/// When the tree does not fit, or holds what the file systems cannot.
pub fn lay_out(
    tree: &Tree,
    contents: impl Into<Contents>,
    laid_last: &BTreeSet<RootPath>,
    identity: &Identity,
    settings: &ImageSettings,
) -> Result<DiskMap, Error> {
    let mounts = &settings.mount_points();
    mounts.check(tree)?;
    let esp_plan = esp::plan(tree, laid_last)?;
    let further: Vec<u64> = settings.partitions.iter().map(|volume| volume.size_bytes).collect();
    let layout = DiskLayout::new(settings.size_bytes, settings.sector_size, esp_plan.content_bytes(), &further)?;
    let mut builder = MapBuilder::new(layout.size_bytes, contents);

    let gpt::Table { mut head, tail } = gpt::encode(&layout, identity, &settings.partitions);
    let boot_code = boot::install(tree, &layout, &mut head, &mut builder)?;
    builder.set_boot_code(boot_code);
    builder.put_bytes(0, &head);
    builder.put_bytes(layout.size_bytes - tail.len() as u64, &tail);
    esp_plan.emit(layout.esp, settings.sector_size, identity.esp_volume_id, settings.timestamp, &mut builder)?;
    let file_system = ext4::FileSystem {
        label: &settings.label,
        fs_uuid: identity.fs_uuid,
        layout_uuid: settings.layout_uuid,
        timestamp: settings.timestamp,
    };
    let on_root = |path: &RootPath| mounts.above(path).is_none();
    ext4::emit(tree, &on_root, laid_last, layout.root, &file_system, &mut builder)?;
    let whole = Whole { tree, laid_last, mounts, sector_size: settings.sector_size };
    for ((volume, id), &place) in settings.partitions.iter().zip(&identity.partitions).zip(&layout.further) {
        volume.emit(whole, place, id, settings.timestamp, &mut builder)?;
    }
    builder.finish()
}

/// As [`lay_out`], of the further disk at `index` of the settings, which has no partitions.
///
/// # Errors
/// When what belongs on it does not fit, or is what its file system cannot hold.
pub fn lay_out_further(
    index: usize,
    tree: &Tree,
    contents: impl Into<Contents>,
    laid_last: &BTreeSet<RootPath>,
    identity: &Identity,
    settings: &ImageSettings,
) -> Result<DiskMap, Error> {
    let (volume, mounts) = (&settings.disks[index], &settings.mount_points());
    mounts.check(tree)?;
    let mut builder = MapBuilder::new(volume.size_bytes, contents);
    let place = Partition { offset: 0, len: volume.size_bytes };
    let whole = Whole { tree, laid_last, mounts, sector_size: settings.sector_size };
    volume.emit(whole, place, &identity.disks[index], settings.timestamp, &mut builder)?;
    builder.finish()
}

#[cfg(test)]
impl Identity {
    /// Numbers that differ from each other.
    pub(super) fn for_tests() -> Self {
        let [disk_guid, bios_guid, esp_guid, root_guid, fs_uuid] =
            [1, 2, 3, 4, 5].map(|n| Uuid::from_u128(0x1000_4000_8000_0000_0000_0000_u128 + n));
        let (partitions, disks) = (Vec::new(), Vec::new());
        Self { disk_guid, bios_guid, esp_guid, root_guid, fs_uuid, esp_volume_id: 0x1234_abcd, partitions, disks }
    }
}
