//! The GUID partition table with its protective MBR (UEFI specification 2.10, chapter 5).
//!
//! It is some hundred fixed bytes of a few partitions, so they are encoded here; a library that
//! edits tables on devices would need a device made up for it.

use uuid::{Uuid, uuid};

use super::disk::{DiskLayout, Partition};
use super::layout::Identity;
use super::sector::SectorSize;
use super::volume::{Format, Volume};

const BIOS_BOOT_TYPE: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
const ESP_TYPE: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// Root of x86-64, from the Discoverable Partitions Specification.
const LINUX_ROOT_TYPE: Uuid = uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");

/// Swap and any file system of Linux, from the same; what Windows calls basic data, for FAT.
const SWAP_TYPE: Uuid = uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f");
const LINUX_TYPE: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
const BASIC_DATA_TYPE: Uuid = uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");

/// The least: UEFI 5.3 demands 16 KiB for the entries.
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;
const TABLE_BYTES: u64 = (ENTRIES * ENTRY_BYTES) as u64;
const HEADER_BYTES: usize = 92;
/// A master boot record, whatever the size of the sector that it is in.
const MBR_BYTES: usize = 512;

/// What the backup at the end of a disk takes: the entries, and the header in a sector of its own.
pub(super) fn tail_bytes(sector_size: SectorSize) -> u64 {
    TABLE_BYTES + sector_size.bytes()
}

/// The encoded table: the bytes for the beginning of the disk and those for its end.
#[derive(Debug)]
pub(super) struct Table {
    /// Protective MBR, header and entries, from byte 0.
    pub(super) head: Vec<u8>,
    /// Entries and backup header, up to the end of the disk.
    pub(super) tail: Vec<u8>,
}

/// Encodes the table of `layout`, whose further partitions are `volumes`.
pub(super) fn encode(layout: &DiskLayout, identity: &Identity, volumes: &[Volume]) -> Table {
    let sector_bytes = layout.sector_size.bytes();
    let (sectors, table_sectors) = (layout.size_bytes / sector_bytes, TABLE_BYTES / sector_bytes);
    let entries = encode_entries(layout, identity, volumes);
    let backup_lba = sectors - 1;
    // The MBR and each header have a sector, of which they fill the beginning.
    let in_sector = |bytes: &[u8]| {
        let mut sector = bytes.to_vec();
        sector.resize(sector_bytes as usize, 0);
        sector
    };
    let header = |own_lba, other_lba, entries_lba| {
        // The first and the last sector that partitions may take.
        let usable = [2 + table_sectors, backup_lba - 1 - table_sectors];
        in_sector(&encode_header([own_lba, other_lba], usable, entries_lba, &identity.disk_guid, &entries))
    };
    let mut head = in_sector(&protective_mbr(sectors));
    head.extend(header(1, backup_lba, 2));
    head.extend(&entries);
    let mut tail = entries.clone();
    tail.extend(header(backup_lba, 1, backup_lba - table_sectors));
    Table { head, tail }
}

/// One partition of type 0xEE over the whole disk, so that tools which know no GPT keep off. Its
/// CHS fields are those of the specification's table 5.4.
fn protective_mbr(sectors: u64) -> [u8; MBR_BYTES] {
    let mut mbr = [0; MBR_BYTES];
    // All ones where the disk is larger than the field can say (UEFI 5.2.3).
    let size = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    mbr[446..454].copy_from_slice(&[0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff]);
    mbr[454..458].copy_from_slice(&1_u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&size.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

fn encode_entries(layout: &DiskLayout, identity: &Identity, volumes: &[Volume]) -> Vec<u8> {
    let own: [(&str, Uuid, Uuid, Partition); 3] = [
        ("BIOS boot", BIOS_BOOT_TYPE, identity.bios_guid, layout.bios_boot),
        ("EFI system", ESP_TYPE, identity.esp_guid, layout.esp),
        ("root", LINUX_ROOT_TYPE, identity.root_guid, layout.root),
    ];
    let further = volumes.iter().zip(&identity.partitions).zip(&layout.further);
    let further =
        further.map(|((volume, id), &partition)| (volume.label.as_str(), type_of(volume), id.guid, partition));
    let partitions = own.into_iter().chain(further);
    let mut entries = vec![0; ENTRIES * ENTRY_BYTES];
    for (entry, (name, kind, guid, partition)) in entries.chunks_exact_mut(ENTRY_BYTES).zip(partitions) {
        entry[..16].copy_from_slice(&kind.to_bytes_le());
        entry[16..32].copy_from_slice(&guid.to_bytes_le());
        entry[32..40].copy_from_slice(&partition.first_lba(layout.sector_size).to_le_bytes());
        entry[40..48].copy_from_slice(&partition.last_lba(layout.sector_size).to_le_bytes());
        for (unit, place) in name.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
    }
    entries
}

fn type_of(volume: &Volume) -> Uuid {
    match volume.format {
        Format::Swap => SWAP_TYPE,
        Format::Vfat => BASIC_DATA_TYPE,
        Format::Ext4 | Format::None => LINUX_TYPE,
    }
}

fn encode_header(
    [own_lba, other_lba]: [u64; 2],
    [first_usable, last_usable]: [u64; 2],
    entries_lba: u64,
    disk_guid: &Uuid,
    entries: &[u8],
) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    // Offsets of the specification's table of the header.
    put(0, b"EFI PART");
    put(8, &0x0001_0000_u32.to_le_bytes());
    put(12, &(HEADER_BYTES as u32).to_le_bytes());
    put(24, &own_lba.to_le_bytes());
    put(32, &other_lba.to_le_bytes());
    put(40, &first_usable.to_le_bytes());
    put(48, &last_usable.to_le_bytes());
    put(56, &disk_guid.to_bytes_le());
    put(72, &entries_lba.to_le_bytes());
    put(80, &(ENTRIES as u32).to_le_bytes());
    put(84, &(ENTRY_BYTES as u32).to_le_bytes());
    put(88, &crc32(entries).to_le_bytes());
    // The checksum is made with zeros in its own place.
    let checksum = crc32(&header);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_tail_have_their_places() {
        for (sector_size, table_sectors) in [(SectorSize::Bytes512, 32), (SectorSize::Bytes4096, 4)] {
            let sector = sector_size.bytes() as usize;
            let layout = DiskLayout::new(1 << 30, sector_size, 0, &[]).unwrap();
            let table = encode(&layout, &Identity::for_tests(), &[]);
            assert_eq!(table.head.len(), (2 + table_sectors) * sector);
            assert_eq!(table.tail.len(), (table_sectors + 1) * sector);
            assert_eq!(table.tail.len() as u64, tail_bytes(sector_size));
            assert_eq!(table.head[510..512], [0x55, 0xaa]);
            assert_eq!(&table.head[sector..sector + 8], b"EFI PART");
            let backup = &table.tail[table_sectors * sector..];
            assert_eq!(&backup[..8], b"EFI PART");
            assert_eq!(table.head[2 * sector..], table.tail[..table_sectors * sector]);
            let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            let sectors = (1 << 30) / sector as u64;
            let first = table_sectors as u64 + 2;
            assert_eq!(
                [24, 32, 40, 48, 72].map(|at| number(backup, at)),
                [sectors - 1, 1, first, sectors - first, sectors + 1 - first,]
            );
            // The ESP is the second, and begins at 2 MiB.
            let esp = 2 * sector + ENTRY_BYTES;
            assert_eq!(number(&table.head, esp + 32), (2 << 20) / sector as u64);
            assert_eq!(number(&table.head, esp + 40), ((2 << 20) + layout.esp.len) / sector as u64 - 1);
            // The MBR says how many sectors there are, too.
            assert_eq!(table.head[458..462], (sectors as u32 - 1).to_le_bytes());
        }
    }

    #[test]
    fn the_protective_partition_stops_at_what_an_mbr_can_say() {
        assert_eq!(protective_mbr(1 << 33)[458..462], [0xff; 4]);
        assert_eq!(protective_mbr(2048)[458..462], 2047_u32.to_le_bytes());
    }
}
