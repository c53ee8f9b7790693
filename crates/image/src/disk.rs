//! Where the partitions of a disk lie.
//!
//! BIOS boot partition first (GRUB's core image), then the EFI system partition, then whatever
//! partitions there are beside, then the root file system, which is last so that it can grow with
//! the disk. All begin on a MiB boundary, as every partitioning tool of the last decade does, and
//! have the same numbers whatever the size of the sectors.

use super::Error;
use super::gpt;
use super::sector::SectorSize;

const MIB: u64 = 1 << 20;
/// A core image has some 30 KiB; the space between partitions is counted in MiB.
const BIOS_BOOT_BYTES: u64 = MIB;
/// The number of the root partition in the table, from 1: the same with and without partitions that
/// lie before it, since GRUB's core image names it.
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
    pub fn first_lba(&self, sector_size: SectorSize) -> u64 {
        self.offset / sector_size.bytes()
    }

    /// The last sector, which is part of it.
    #[must_use]
    pub fn last_lba(&self, sector_size: SectorSize) -> u64 {
        (self.offset + self.len) / sector_size.bytes() - 1
    }
}

/// The partitions of a disk, in the order in which they lie on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLayout {
    /// The whole disk in bytes, a multiple of the sector size.
    pub size_bytes: u64,
    /// The size of its sectors.
    pub sector_size: SectorSize,
    /// GRUB's core image for BIOS. It is empty where sectors have 4096 bytes.
    pub bios_boot: Partition,
    /// The EFI system partition.
    pub esp: Partition,
    /// Partitions beside these three.
    pub further: Vec<Partition>,
    /// The root file system.
    pub root: Partition,
}

impl DiskLayout {
    /// Places the partitions on a disk of `size_bytes` in sectors of `sector_size`, with an ESP that
    /// holds `esp_content_bytes` and further ones that are `further` bytes long, rounded up to whole
    /// MiB.
    ///
    /// # Errors
    /// [`Error::DiskTooSmall`].
    pub fn new(
        size_bytes: u64,
        sector_size: SectorSize,
        esp_content_bytes: u64,
        further: &[u64],
    ) -> Result<Self, Error> {
        let size_bytes = size_bytes / sector_size.bytes() * sector_size.bytes();
        let bios_boot = Partition { offset: MIB, len: BIOS_BOOT_BYTES };
        // A quarter more than the content, for the two FATs, the directories and growth. The smallest
        // FAT has room for a kernel or two.
        let esp_bytes = (esp_content_bytes.saturating_mul(5) / 4).next_multiple_of(MIB);
        let esp_bytes = sector_size.least_fat_bytes().max(esp_bytes);
        let esp = Partition { offset: bios_boot.offset + bios_boot.len, len: esp_bytes };
        let mut root_offset = esp.offset.saturating_add(esp.len);
        let mut place = |bytes: u64| {
            // One that has no room is refused below, wherever it begins.
            let len = bytes.div_ceil(MIB).saturating_mul(MIB);
            let offset = root_offset;
            root_offset = offset.saturating_add(len);
            Partition { offset, len }
        };
        let further: Vec<Partition> = further.iter().map(|&bytes| place(bytes)).collect();
        // The backup of the partition table takes the last sectors of the disk (UEFI 5.3).
        let end = size_bytes.saturating_sub(gpt::tail_bytes(sector_size)) / MIB * MIB;
        let len = end.saturating_sub(root_offset);
        if len < ROOT_MIN_BYTES {
            let needed_bytes = root_offset.saturating_add(ROOT_MIN_BYTES + MIB);
            return Err(Error::DiskTooSmall { size_bytes, needed_bytes });
        }
        let root = Partition { offset: root_offset, len };
        Ok(Self { size_bytes, sector_size, bios_boot, esp, further, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [SectorSize; 2] = [SectorSize::Bytes512, SectorSize::Bytes4096];

    #[test]
    fn partitions_are_aligned_and_leave_room_for_the_backup_table() {
        let disks = [8 << 30, (8 << 30) + 513, 400 << 20, 1 << 41].map(|size| SIZES.map(|sectors| (size, sectors)));
        for (size, sectors) in disks.into_iter().flatten() {
            for further in [&[][..], &[16 << 20], &[20 << 20, (5 << 20) + 1]] {
                let layout = DiskLayout::new(size, sectors, 0, further).unwrap();
                assert_eq!(layout.further.len(), further.len());
                let mut end = MIB;
                let beside = layout.further.iter();
                for partition in [&layout.bios_boot, &layout.esp].into_iter().chain(beside).chain([&layout.root]) {
                    assert_eq!(partition.len % MIB, 0);
                    assert_eq!(partition.offset, end);
                    end += partition.len;
                }
                assert!(layout.further.iter().zip(further).all(|(partition, &bytes)| partition.len >= bytes));
                assert!(end + gpt::tail_bytes(sectors) <= layout.size_bytes);
                assert!(layout.size_bytes.is_multiple_of(sectors.bytes()) && size - layout.size_bytes < 4096);
            }
        }
    }

    #[test]
    fn the_esp_grows_with_its_content() {
        for (sectors, content, esp) in [
            (SectorSize::Bytes512, 1 << 20, 64),
            (SectorSize::Bytes512, 200 * MIB, 250),
            (SectorSize::Bytes4096, 1 << 20, 260),
            (SectorSize::Bytes4096, 400 * MIB, 500),
        ] {
            assert_eq!(DiskLayout::new(8 << 30, sectors, content, &[]).unwrap().esp.len, esp * MIB);
        }
    }

    #[test]
    fn refuses_a_disk_without_room_for_a_root() {
        let refused = [
            (0, 0, 0),
            (64 * MIB, 0, 0),
            (8 << 30, 1 << 40, 0),
            (1 << 30, u64::MAX, 0),
            (1 << 30, 0, 1 << 30),
            (1 << 30, 0, u64::MAX),
            (1 << 30, u64::MAX, u64::MAX),
        ];
        for sectors in SIZES {
            for (size, esp, further) in refused {
                let layout = DiskLayout::new(size, sectors, esp, &[further]);
                assert!(matches!(layout, Err(Error::DiskTooSmall { .. })));
            }
            let Err(Error::DiskTooSmall { needed_bytes, .. }) = DiskLayout::new(1 << 30, sectors, 0, &[1 << 30]) else {
                panic!("a disk is no larger than itself");
            };
            assert!(DiskLayout::new(needed_bytes, sectors, 0, &[1 << 30]).is_ok());
        }
        // Here it is the larger ESP that has no room.
        assert!(DiskLayout::new(200 * MIB, SectorSize::Bytes512, 0, &[]).is_ok());
        assert!(DiskLayout::new(200 * MIB, SectorSize::Bytes4096, 0, &[]).is_err());
    }
}
