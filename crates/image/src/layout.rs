//! From a tree to the map of a whole disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use fam_tree::{RootPath, Tree};
use fs_err::File;
use uuid::Uuid;

use super::disk::DiskLayout;
use super::error::Error;
use super::map::{DiskMap, MapBuilder};
use super::{boot, esp, ext4, gpt};

/// The numbers that tell one disk from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// What all disks of one build have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSettings {
    /// Size of the disk, rounded down to whole sectors.
    pub size_bytes: u64,
    /// Label of the root file system, 16 bytes at most; empty for none.
    pub label: String,
    /// The UUID that every checksum of the root file system is seeded with: the template's own. A
    /// node whose `fs_uuid` is another one keeps this seed in its superblock (ext4's
    /// `metadata_csum_seed`), so its metadata equals the template's.
    pub layout_uuid: Uuid,
    /// Seconds since 1970 for what has no time of its own, such as the file system's creation.
    pub timestamp: i64,
}

/// Decides the place of every byte of a disk: GPT, BIOS boot code, ESP with what the tree has under
/// `/boot/efi`, and ext4 with everything else.
///
/// Entries whose paths are in `laid_last` come behind all others, so that their sizes move nothing
/// else; the contents of such files are this node's own and count as private in the map.
///
/// # Errors
/// When the tree does not fit, or holds what the file systems cannot.
pub fn lay_out(
    tree: &Tree,
    tarball: Arc<File>,
    laid_last: &BTreeSet<RootPath>,
    identity: &Identity,
    settings: &ImageSettings,
) -> Result<DiskMap, Error> {
    let esp_plan = esp::Plan::new(tree, laid_last)?;
    let layout = DiskLayout::new(settings.size_bytes, esp_plan.content_bytes())?;
    let mut builder = MapBuilder::new(layout.size_bytes, tarball);

    let gpt::Table { mut head, tail } = gpt::encode(&layout, identity);
    let boot_code = boot::install(tree, &layout, &mut head, &mut builder)?;
    builder.set_boot_code(boot_code);
    builder.put_bytes(0, &head);
    builder.put_bytes(layout.size_bytes - tail.len() as u64, &tail);
    esp_plan.emit(layout.esp, identity.esp_volume_id, settings.timestamp, &mut builder)?;
    ext4::emit(tree, laid_last, layout.root, identity.fs_uuid, settings, &mut builder)?;
    builder.finish()
}

#[cfg(test)]
impl Identity {
    /// Numbers that differ from each other.
    pub(super) fn for_tests() -> Self {
        let [disk_guid, bios_guid, esp_guid, root_guid, fs_uuid] =
            [1, 2, 3, 4, 5].map(|n| Uuid::from_u128(0x1000_4000_8000_0000_0000_0000_u128 + n));
        Self { disk_guid, bios_guid, esp_guid, root_guid, fs_uuid, esp_volume_id: 0x1234_abcd }
    }
}
