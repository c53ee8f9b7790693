//! Hyper-V's virtual hard disks of the second kind, of which only used blocks are stored (Microsoft,
//! MS-VHDX 7.0).
//!
//! ```text
//! identifier, headers, region tables | log | metadata | block allocation table | used blocks
//! ```
//!
//! Each part begins at a multiple of 1 MiB. The log is empty: the image was closed.

use fs_err::File;
use uuid::{Uuid, uuid};

use crate::error::Error;
use crate::output;
use crate::sector::SectorSize;
use crate::sparse::{OnBytes, SparseDisk, for_each_block};

const MIB: u64 = 1 << 20;
/// The smallest that there is: it wastes least on what is scattered.
const BLOCK_BYTES: u64 = MIB;
const PHYSICAL_SECTOR_BYTES: u32 = 4096;
const MOST_DISK_BYTES: u64 = 64 << 40;
/// A bitmap tells of so many sectors.
const SECTORS_PER_BITMAP: u64 = 1 << 23;

/// States of blocks in the allocation table (2.5.1.1).
const ALL_ZEROS: u64 = 2;
const FULLY_PRESENT: u64 = 6;

/// What the parts before the allocation table take, and where they are.
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const LOG_OFFSET: u64 = MIB;
const METADATA_OFFSET: u64 = 2 * MIB;
const TABLE_OFFSET: u64 = 3 * MIB;

/// Writes `disk`, which has sectors of `sector_size`, into the empty `file`. `id` is the disk's own,
/// by which systems tell disks apart.
///
/// # Errors
/// When the disk cannot be read or is too large, or the file cannot be written.
pub fn write(
    disk: &mut dyn SparseDisk,
    sector_size: SectorSize,
    file: &File,
    id: Uuid,
    on_bytes: OnBytes<'_>,
) -> Result<(), Error> {
    let table_index = |block| table_index(block, sector_size);
    let size_bytes = disk.size_bytes();
    if size_bytes > MOST_DISK_BYTES {
        return Err(Error::DiskTooLarge { format: "vhdx", most: "64 TiB" });
    }
    let blocks = size_bytes.div_ceil(BLOCK_BYTES);
    let entries = table_index(blocks - 1) + 1;
    let table_bytes = (entries * 8).next_multiple_of(MIB);
    let mut table = vec![0; entries as usize];
    for block in 0..blocks {
        table[table_index(block) as usize] = ALL_ZEROS;
    }
    let mut end = TABLE_OFFSET + table_bytes;
    output::write(&[file], |output| {
        output.set_len(0)?;
        for_each_block(disk, BLOCK_BYTES, on_bytes, &mut |number, block| {
            output.write_all_at(block, end)?;
            // The state has the lower bits, and the offset, in MiB, those from 20 on.
            table[table_index(number) as usize] = FULLY_PRESENT | end;
            end += BLOCK_BYTES;
            Ok(())
        })?;
        output.set_len(end)?;
        let table: Vec<u8> = table.iter().flat_map(|entry: &u64| entry.to_le_bytes()).collect();
        output.write_all_at(&table, TABLE_OFFSET)?;
        output.write_all_at(&metadata(size_bytes, sector_size, id), METADATA_OFFSET)?;
        let regions = region_table(table_bytes);
        for offset in REGION_TABLES {
            output.write_all_at(&regions, offset)?;
        }
        for (sequence, offset) in HEADERS.into_iter().enumerate() {
            output.write_all_at(&header(sequence as u64, id), offset)?;
        }
        output.write_all_at(&identifier(), 0)?;
        Ok(())
    })
}

/// The entry of a block in the allocation table. After the blocks of which a bitmap of sectors would
/// tell there is an entry for that, which only images that stand on another have.
fn table_index(block: u64, sector_size: SectorSize) -> u64 {
    block + block / (SECTORS_PER_BITMAP * sector_size.bytes() / BLOCK_BYTES)
}

/// The file type identifier (2.2.1).
fn identifier() -> Vec<u8> {
    let creator = concat!("fam-build ", env!("CARGO_PKG_VERSION"));
    let mut bytes = b"vhdxfile".to_vec();
    bytes.extend(creator.encode_utf16().flat_map(u16::to_le_bytes));
    bytes
}

/// One of the two headers (2.2.2); the one with the larger number counts.
fn header(sequence: u64, id: Uuid) -> Vec<u8> {
    const VERSION: u16 = 1;
    let mut bytes = b"head\0\0\0\0".to_vec();
    bytes.extend(sequence.to_le_bytes());
    // Each tells two states of an image apart, and whoever writes to it next puts another there.
    bytes.extend(id.to_bytes_le()); // of the file
    bytes.extend(id.to_bytes_le()); // of what a guest sees
    bytes.extend([0; 16]); // nothing in the log counts
    bytes.extend(0_u16.to_le_bytes()); // the version of the log
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((MIB as u32).to_le_bytes()); // the length of the log
    bytes.extend(LOG_OFFSET.to_le_bytes());
    bytes.resize(4096, 0);
    with_checksum(bytes)
}

/// A region table (2.2.3).
fn region_table(table_bytes: u64) -> Vec<u8> {
    const ALLOCATION_TABLE: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
    const METADATA: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");
    let regions = [(ALLOCATION_TABLE, TABLE_OFFSET, table_bytes), (METADATA, METADATA_OFFSET, MIB)];
    let mut bytes = b"regi\0\0\0\0".to_vec();
    bytes.extend((regions.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    for (kind, offset, len) in regions {
        bytes.extend(kind.to_bytes_le());
        bytes.extend(offset.to_le_bytes());
        bytes.extend((len as u32).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes()); // who does not know it must not open the file
    }
    bytes.resize(64 << 10, 0);
    with_checksum(bytes)
}

/// The metadata region: its table and the items that a disk must have (2.6).
fn metadata(size_bytes: u64, sector_size: SectorSize, id: Uuid) -> Vec<u8> {
    const TABLE_BYTES: usize = 64 << 10;
    const IS_DISK: u32 = 1 << 1;
    const IS_REQUIRED: u32 = 1 << 2;
    const FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
    const DISK_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
    const DISK_ID: Uuid = uuid!("beca12ab-b2e6-4523-93ef-c309e000c746");
    const LOGICAL_SECTOR: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");
    const PHYSICAL_SECTOR: Uuid = uuid!("cda348c7-445d-4471-9cc9-e9885251c556");
    let mut parameters = (BLOCK_BYTES as u32).to_le_bytes().to_vec();
    parameters.extend(0_u32.to_le_bytes()); // blocks come and go, and it stands on no other
    let items = [
        (FILE_PARAMETERS, IS_REQUIRED, parameters),
        (DISK_SIZE, IS_REQUIRED | IS_DISK, size_bytes.to_le_bytes().to_vec()),
        (LOGICAL_SECTOR, IS_REQUIRED | IS_DISK, (sector_size.bytes() as u32).to_le_bytes().to_vec()),
        (PHYSICAL_SECTOR, IS_REQUIRED | IS_DISK, PHYSICAL_SECTOR_BYTES.to_le_bytes().to_vec()),
        (DISK_ID, IS_REQUIRED | IS_DISK, id.to_bytes_le().to_vec()),
    ];
    let mut bytes = b"metadata\0\0".to_vec();
    bytes.extend((items.len() as u16).to_le_bytes());
    bytes.extend([0; 20]);
    let mut contents = Vec::new();
    for (kind, flags, item) in items {
        bytes.extend(kind.to_bytes_le());
        bytes.extend(((TABLE_BYTES + contents.len()) as u32).to_le_bytes());
        bytes.extend((item.len() as u32).to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend([0; 4]);
        contents.extend(item);
    }
    bytes.resize(TABLE_BYTES, 0);
    bytes.extend(contents);
    bytes
}

/// Puts the sum of the bytes into the field for it, the second four bytes, which are zeros.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32c(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// CRC-32 with Castagnoli's polynomial (RFC 3720, appendix B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    // Bit by bit: it is used on a few kilobytes.
    let by_bit = |sum: u32, _| if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), by_bit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparse::testing::Pieces;
    use crate::testing::{assert_qemu_reads, written_to_file};

    fn written(disk: &mut Pieces, sector_size: SectorSize) -> Vec<u8> {
        written_to_file(|file| write(disk, sector_size, file, Uuid::from_u128(9), &|_| ()))
    }

    #[test]
    fn qemu_reads_what_is_written() {
        let mut disk = Pieces::example();
        let bytes = written(&mut disk, SectorSize::Bytes512);
        assert_qemu_reads("vhdx", &bytes, &disk);
        // Of six blocks four are used.
        assert_eq!(bytes.len() as u64, 8 * MIB);
        assert_eq!(bytes, written(&mut disk, SectorSize::Bytes512));
    }

    /// QEMU refuses all but 512, so the one field that tells it is changed back for it: what a disk
    /// of less than 4 GiB has of them elsewhere is the same.
    #[test]
    fn the_size_of_sectors_is_in_the_metadata() {
        let mut disk = Pieces { size_bytes: 5 * MIB, ..Pieces::example() };
        disk.pieces.truncate(3);
        let mut bytes = written(&mut disk, SectorSize::Bytes4096);
        let with_512 = written(&mut disk, SectorSize::Bytes512);
        let differing: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != with_512[at]).collect();
        let [field] = differing[..] else { panic!("{differing:?}") };
        assert_eq!(bytes[field - 1..field + 3], 4096_u32.to_le_bytes());
        // The items that are told of before it: parameters, and the size of the disk.
        assert_eq!(field as u64 - 1, METADATA_OFFSET + (64 << 10) + 8 + 8);
        bytes[field] = 2;
        assert_qemu_reads("vhdx", &bytes, &disk);
    }

    #[test]
    fn the_table_leaves_out_entries_of_bitmaps() {
        for (sector_size, blocks) in [(SectorSize::Bytes512, 4096), (SectorSize::Bytes4096, 32768)] {
            let index = |block| table_index(block, sector_size);
            let found = [0, blocks - 1, blocks, 2 * blocks - 1, 2 * blocks].map(index);
            assert_eq!(found, [0, blocks - 1, blocks + 1, 2 * blocks, 2 * blocks + 2]);
        }
        // On either side of the first one.
        let pieces = vec![(4095 * MIB, vec![1; 512]), (4096 * MIB, vec![2; 512])];
        let mut disk = Pieces { size_bytes: 4097 * MIB, pieces };
        assert_qemu_reads("vhdx", &written(&mut disk, SectorSize::Bytes512), &disk);
    }

    #[test]
    fn sums_are_those_of_the_rfc() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
