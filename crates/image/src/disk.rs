//! Where the partitions of a disk lie.
//!
//! BIOS boot partition first (GRUB's core image), then the EFI system partition, then the root file
//! system, which is last so that it can grow with the disk. All begin on a MiB boundary, as every
//! partitioning tool of the last decade does.

use super::Error;

/// Logical sector size of the disk; GPT and GRUB count in these.
pub const SECTOR_BYTES: u64 = 512;

const MIB: u64 = 1 << 20;
/// A core image has some 30 KiB; the space between partitions is counted in MiB.
const BIOS_BOOT_BYTES: u64 = MIB;
/// Smallest ESP: FAT32 with 512-byte clusters needs more than 33 MiB, and a kernel or two should
/// fit.
const ESP_MIN_BYTES: u64 = 64 * MIB;
/// Sectors of the backup table at the end: 32 of entries, one header.
const GPT_TAIL_BYTES: u64 = 33 * SECTOR_BYTES;
/// The number of the root partition in the table, from 1.
pub const ROOT_PARTITION: u32 = 3;
/// The smallest root file system that ext4 makes sense of, with a journal.
const ROOT_MIN_BYTES: u64 = 16 * MIB;

/// A partition: a stretch of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// First byte, a multiple of 1 MiB.
    pub offset: u64,
    /// Length in bytes, a multiple of 1 MiB.
    pub len: u64,
}

impl Partition {
    /// The first sector.
    #[must_use]
    pub fn first_lba(&self) -> u64 {
        self.offset / SECTOR_BYTES
    }

    /// The last sector, which is part of it.
    #[must_use]
    pub fn last_lba(&self) -> u64 {
        (self.offset + self.len) / SECTOR_BYTES - 1
    }
}

/// The three partitions of a disk, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskLayout {
    /// The whole disk in bytes, a multiple of the sector size.
    pub size_bytes: u64,
    /// GRUB's core image for BIOS.
    pub bios_boot: Partition,
    /// The EFI system partition.
    pub esp: Partition,
    /// The root file system.
    pub root: Partition,
}

impl DiskLayout {
    /// Places the partitions on a disk of `size_bytes`, with an ESP that holds `esp_content_bytes`.
    ///
    /// # Errors
    /// [`Error::DiskTooSmall`].
    pub fn new(size_bytes: u64, esp_content_bytes: u64) -> Result<Self, Error> {
        let size_bytes = size_bytes / SECTOR_BYTES * SECTOR_BYTES;
        let bios_boot = Partition { offset: MIB, len: BIOS_BOOT_BYTES };
        // A quarter more than the content, for the two FATs, the directories and growth.
        let esp_bytes = ESP_MIN_BYTES.max((esp_content_bytes.saturating_mul(5) / 4).next_multiple_of(MIB));
        let esp = Partition { offset: bios_boot.offset + bios_boot.len, len: esp_bytes };
        let root_offset = esp.offset.saturating_add(esp.len);
        // The backup of the partition table takes the last sectors of the disk (UEFI 5.3).
        let end = size_bytes.saturating_sub(GPT_TAIL_BYTES) / MIB * MIB;
        let len = end.saturating_sub(root_offset);
        if len < ROOT_MIN_BYTES {
            return Err(Error::DiskTooSmall { size_bytes });
        }
        Ok(Self { size_bytes, bios_boot, esp, root: Partition { offset: root_offset, len } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_aligned_and_leave_room_for_the_backup_table() {
        for size in [8 << 30, (8 << 30) + 513, 200 << 20, 1 << 41] {
            let layout = DiskLayout::new(size, 0).unwrap();
            for partition in [layout.bios_boot, layout.esp, layout.root] {
                assert_eq!(partition.offset % MIB, 0);
                assert_eq!(partition.len % MIB, 0);
            }
            assert_eq!(layout.bios_boot.offset + layout.bios_boot.len, layout.esp.offset);
            assert_eq!(layout.esp.offset + layout.esp.len, layout.root.offset);
            assert!(layout.root.offset + layout.root.len + GPT_TAIL_BYTES <= layout.size_bytes);
        }
    }

    #[test]
    fn the_esp_grows_with_its_content() {
        assert_eq!(DiskLayout::new(8 << 30, 1 << 20).unwrap().esp.len, 64 * MIB);
        assert_eq!(DiskLayout::new(8 << 30, 200 * MIB).unwrap().esp.len, 250 * MIB);
    }

    #[test]
    fn refuses_a_disk_without_room_for_a_root() {
        for (size, esp) in [(0, 0), (64 * MIB, 0), (8 << 30, 1 << 40), (1 << 30, u64::MAX)] {
            assert!(matches!(DiskLayout::new(size, esp), Err(Error::DiskTooSmall { .. })));
        }
    }
}
