//! Boot sector, allocation table and cluster geometry of FAT32.

use super::directory::{Place, VolumeLabel};
use super::{Partition, SectorSize};

/// As the specification has it for FAT32 (`BPB_RsvdSecCnt`).
const RESERVED_SECTORS: u64 = 32;
const TABLES: u64 = 2;
const ENTRY_BYTES: u64 = 4;
const FIRST_CLUSTER: u32 = 2;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
/// Media descriptor of a fixed disk, in the boot sector and in the table's first entry.
const MEDIA: u8 = 0xf8;
const INFO_SECTOR: u64 = 1;
const BACKUP_SECTOR: u64 = 6;

/// No cluster is larger, whatever the size of the partition.
pub(super) const LARGEST_CLUSTER_BYTES: u64 = 32 << 10;

/// Where things lie in the partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    partition: Partition,
    sector_size: SectorSize,
    sectors_per_cluster: u64,
    table_sectors: u64,
    clusters: u64,
}

impl Geometry {
    /// Chooses the cluster size as the FAT specification's table does, so that there are more than
    /// the 65,525 clusters which make a FAT32.
    pub(super) fn of(partition: Partition, sector_size: SectorSize) -> Self {
        let sector_bytes = sector_size.bytes();
        let sectors = partition.len / sector_bytes;
        let cluster_bytes = match partition.len >> 20 {
            0..=260 => 512,
            261..=8192 => 4 << 10,
            8193..=16384 => 8 << 10,
            16385..=32768 => 16 << 10,
            _ => LARGEST_CLUSTER_BYTES,
        };
        // A cluster has a sector at least.
        let sectors_per_cluster = (cluster_bytes / sector_bytes).max(1);
        // Each table sector tells of 128 clusters (or 1024, in one of 4096 bytes), and costs a sector
        // for each table.
        let entries_per_sector = sector_bytes / ENTRY_BYTES;
        // One more, since the first two entries stand for no cluster.
        let table_sectors =
            (sectors - RESERVED_SECTORS).div_ceil(entries_per_sector * sectors_per_cluster + TABLES) + 1;
        let clusters = (sectors - RESERVED_SECTORS - TABLES * table_sectors) / sectors_per_cluster;
        Self { partition, sector_size, sectors_per_cluster, table_sectors, clusters }
    }

    fn cluster_bytes(&self) -> u64 {
        self.sectors_per_cluster * self.sector_size.bytes()
    }

    /// Whether all that was allocated lies in the partition; else how many bytes there are for it,
    /// and how many it takes.
    pub(super) fn check(&self, table: &Table) -> Result<(), (u64, u64)> {
        let used = table.entries.len() as u64 - u64::from(FIRST_CLUSTER);
        if used <= self.clusters {
            return Ok(());
        }
        Err((self.clusters * self.cluster_bytes(), used * self.cluster_bytes()))
    }

    /// The place on the disk of what was allocated.
    pub(super) fn offset_of(&self, place: Place) -> u64 {
        let data = RESERVED_SECTORS + TABLES * self.table_sectors;
        let cluster = u64::from(place.first_cluster.saturating_sub(FIRST_CLUSTER));
        self.partition.offset + data * self.sector_size.bytes() + cluster * self.cluster_bytes()
    }

    /// An empty allocation table.
    pub(super) fn table(&self) -> Table {
        // The first two entries stand for no clusters.
        Table { entries: vec![0x0fff_ff00 | u32::from(MEDIA), END_OF_CHAIN], cluster_bytes: self.cluster_bytes() }
    }

    /// Boot sector, information sector, their backups and both tables, each with its offset on the
    /// disk.
    pub(super) fn metadata(&self, table: &Table, volume_id: u32, label: VolumeLabel) -> Vec<(u64, Vec<u8>)> {
        let boot = self.boot_sector(volume_id, label);
        let info = self.info_sector(table);
        let entries: Vec<u8> = table.entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let sectors = [
            (0, boot.clone()),
            (INFO_SECTOR, info.clone()),
            (BACKUP_SECTOR, boot),
            (BACKUP_SECTOR + INFO_SECTOR, info),
            (RESERVED_SECTORS, entries.clone()),
            (RESERVED_SECTORS + self.table_sectors, entries),
        ];
        sectors.map(|(sector, bytes)| (self.partition.offset + sector * self.sector_size.bytes(), bytes)).into()
    }

    fn boot_sector(&self, volume_id: u32, label: VolumeLabel) -> Vec<u8> {
        let sector_bytes = self.sector_size.bytes();
        let mut sector = vec![0; sector_bytes as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        // A jump to code that returns to the firmware by int 18h: BIOS does not boot from here.
        put(0, &[0xeb, 0x58, 0x90]);
        // The name that the specification recommends: some drivers look for it.
        put(3, b"MSWIN4.1");
        put(11, &(sector_bytes as u16).to_le_bytes());
        put(13, &[self.sectors_per_cluster as u8]);
        put(14, &(RESERVED_SECTORS as u16).to_le_bytes());
        put(16, &[TABLES as u8]);
        put(21, &[MEDIA]);
        // Sectors a track and heads, which only int 13h asks for.
        put(24, &63_u16.to_le_bytes());
        put(26, &255_u16.to_le_bytes());
        // What lies before it, which only int 13h asks for, too.
        put(28, &u32::try_from(self.partition.first_lba(self.sector_size)).unwrap_or(0).to_le_bytes());
        put(32, &((self.partition.len / sector_bytes) as u32).to_le_bytes());
        put(36, &(self.table_sectors as u32).to_le_bytes());
        put(44, &FIRST_CLUSTER.to_le_bytes());
        put(48, &(INFO_SECTOR as u16).to_le_bytes());
        put(50, &(BACKUP_SECTOR as u16).to_le_bytes());
        // The first hard disk; 0x29 announces the volume id, the label and the type behind it.
        put(64, &[0x80, 0, 0x29]);
        put(67, &volume_id.to_le_bytes());
        put(71, &label.0);
        put(82, b"FAT32   ");
        put(90, &[0xcd, 0x18, 0xeb, 0xfe]);
        // Here in larger sectors, too.
        put(510, &[0x55, 0xaa]);
        sector
    }

    fn info_sector(&self, table: &Table) -> Vec<u8> {
        let used = table.entries.len() as u64 - u64::from(FIRST_CLUSTER);
        let free = (self.clusters - used) as u32;
        let mut sector = vec![0; self.sector_size.bytes() as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"RRaA");
        put(484, b"rrAa");
        // Free clusters, and where to look for the next one.
        put(488, &free.to_le_bytes());
        put(492, &(table.entries.len() as u32).to_le_bytes());
        put(510, &[0x55, 0xaa]);
        sector
    }
}

/// The allocation table, filled from its beginning: every chain is contiguous.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<u32>,
    cluster_bytes: u64,
}

impl Table {
    /// Gives the next clusters to `len_bytes`; what is empty gets none. The partition was made
    /// large enough for all.
    pub(super) fn allocate(&mut self, len_bytes: u64) -> Place {
        let count = len_bytes.div_ceil(self.cluster_bytes) as u32;
        if count == 0 {
            return Place::default();
        }
        let first_cluster = self.entries.len() as u32;
        self.entries.extend(first_cluster + 1..first_cluster + count);
        self.entries.push(END_OF_CHAIN);
        Place { first_cluster, len_bytes: len_bytes as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_a_fat32_with_large_enough_tables() {
        for sector_size in [SectorSize::Bytes512, SectorSize::Bytes4096] {
            let least = sector_size.least_fat_bytes() >> 20;
            let sizes = [64, 65, 259, 260, 261, 512, 4096, 8193, 20000, 40000].into_iter();
            for mib in sizes.filter(|&mib| mib >= least) {
                let geometry = Geometry::of(Partition { offset: 2 << 20, len: mib << 20 }, sector_size);
                assert!(geometry.clusters >= 65525, "{mib} MiB");
                assert!(geometry.clusters < 0x0fff_fff5, "{mib} MiB");
                assert!(geometry.cluster_bytes() <= LARGEST_CLUSTER_BYTES, "{mib} MiB");
                let entries = geometry.table_sectors * sector_size.bytes() / ENTRY_BYTES;
                assert!(entries >= geometry.clusters + 2, "{mib} MiB");
                let clusters = geometry.clusters * geometry.sectors_per_cluster;
                let end = RESERVED_SECTORS + 2 * geometry.table_sectors + clusters;
                assert!(end * sector_size.bytes() <= mib << 20);
            }
        }
    }

    #[test]
    fn chains_are_contiguous() {
        let mut table = Table { entries: vec![0, 0], cluster_bytes: 512 };
        assert_eq!(table.allocate(1025).first_cluster, 2);
        assert_eq!(table.allocate(0).first_cluster, 0);
        assert_eq!(table.allocate(512).first_cluster, 5);
        assert_eq!(table.entries[2..], [3, 4, END_OF_CHAIN, END_OF_CHAIN]);
    }
}
