//! The GUID partition table with its protective MBR (UEFI specification 2.10, chapter 5).
//!
//! It is some hundred fixed bytes of a few partitions, so they are encoded here; a library that
//! edits tables on devices would need a device made up for it.

use uuid::{Uuid, uuid};

use super::disk::{DiskLayout, Partition, SECTOR_BYTES};
use super::layout::Identity;
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
const TABLE_SECTORS: u64 = (ENTRIES * ENTRY_BYTES) as u64 / SECTOR_BYTES;
const HEADER_BYTES: u32 = 92;

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
    let sectors = layout.size_bytes / SECTOR_BYTES;
    let entries = encode_entries(layout, identity, volumes);
    let backup_lba = sectors - 1;
    let header = |own_lba, other_lba, entries_lba| {
        encode_header(own_lba, other_lba, entries_lba, sectors, &identity.disk_guid, &entries)
    };
    let mut head = protective_mbr(sectors).to_vec();
    head.extend(header(1, backup_lba, 2));
    head.extend(&entries);
    let mut tail = entries.clone();
    tail.extend(header(backup_lba, 1, backup_lba - TABLE_SECTORS));
    Table { head, tail }
}

/// One partition of type 0xEE over the whole disk, so that tools which know no GPT keep off. Its
/// CHS fields are those of the specification's table 5.4.
fn protective_mbr(sectors: u64) -> [u8; SECTOR_BYTES as usize] {
    let mut mbr = [0; SECTOR_BYTES as usize];
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
        entry[32..40].copy_from_slice(&partition.first_lba().to_le_bytes());
        entry[40..48].copy_from_slice(&partition.last_lba().to_le_bytes());
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
    own_lba: u64,
    other_lba: u64,
    entries_lba: u64,
    sectors: u64,
    disk_guid: &Uuid,
    entries: &[u8],
) -> [u8; SECTOR_BYTES as usize] {
    let mut header = [0; SECTOR_BYTES as usize];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    // Offsets of the specification's table of the header.
    put(0, b"EFI PART");
    put(8, &0x0001_0000_u32.to_le_bytes());
    put(12, &HEADER_BYTES.to_le_bytes());
    put(24, &own_lba.to_le_bytes());
    put(32, &other_lba.to_le_bytes());
    // The first and the last sector that partitions may take.
    put(40, &(2 + TABLE_SECTORS).to_le_bytes());
    put(48, &(sectors - 2 - TABLE_SECTORS).to_le_bytes());
    put(56, &disk_guid.to_bytes_le());
    put(72, &entries_lba.to_le_bytes());
    put(80, &(ENTRIES as u32).to_le_bytes());
    put(84, &(ENTRY_BYTES as u32).to_le_bytes());
    put(88, &crc32(entries).to_le_bytes());
    // The checksum is made with zeros in its own place.
    let checksum = crc32(&header[..HEADER_BYTES as usize]);
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
        let layout = DiskLayout::new(1 << 30, 0, &[]).unwrap();
        let table = encode(&layout, &Identity::for_tests(), &[]);
        assert_eq!(table.head.len(), 34 * 512);
        assert_eq!(table.tail.len(), 33 * 512);
        assert_eq!(&table.head[512..520], b"EFI PART");
        assert_eq!(&table.tail[32 * 512..32 * 512 + 8], b"EFI PART");
        assert_eq!(table.head[1024..], table.tail[..32 * 512]);
    }

    #[test]
    fn the_protective_partition_stops_at_what_an_mbr_can_say() {
        assert_eq!(protective_mbr(1 << 33)[458..462], [0xff; 4]);
        assert_eq!(protective_mbr(2048)[458..462], 2047_u32.to_le_bytes());
    }
}
