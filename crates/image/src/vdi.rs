//! VirtualBox's disk images, version 1.1, of which only used blocks are stored (VirtualBox,
//! src/VBox/Storage/VDICore.h).
//!
//! ```text
//! header | block map | used blocks of 1 MiB, in the order of the disk
//! ```

use std::io;

use fs_err::File;
use uuid::Uuid;

use crate::error::Error;
use crate::output::{self, Output};
use crate::sparse::{OnBytes, SparseDisk, for_each_block};

const BLOCK_BYTES: u64 = 1 << 20;
/// The header fills the first sector, and the block map follows it.
const MAP_OFFSET: u64 = 512;
const UNUSED: u32 = u32::MAX;
/// So many entries as fit a map of whose end 32 bits tell.
const MOST_BLOCKS: u64 = (u32::MAX as u64 - BLOCK_BYTES - MAP_OFFSET) / 4;

/// Writes `disk` into the empty `file`. By `uuid` VirtualBox tells disks apart: it takes no second
/// one with the same.
///
/// # Errors
/// When the disk cannot be read or is too large, or the file cannot be written.
pub fn write(disk: &mut dyn SparseDisk, file: &File, uuid: Uuid, on_bytes: OnBytes<'_>) -> Result<(), Error> {
    let size_bytes = disk.size_bytes();
    let blocks = size_bytes.div_ceil(BLOCK_BYTES);
    if blocks > MOST_BLOCKS {
        return Err(Error::DiskTooLarge { format: "vdi", most: "1023 TiB" });
    }
    let data_offset = (MAP_OFFSET + blocks * 4).next_multiple_of(BLOCK_BYTES);
    let mut map = vec![UNUSED; blocks as usize];
    let mut used = 0_u32;
    output::write(&[file], |output| {
        output.set_len(0)?;
        for_each_block(disk, BLOCK_BYTES, on_bytes, &mut |number, block| {
            output.write_all_at(block, data_offset + u64::from(used) * BLOCK_BYTES)?;
            map[number as usize] = used;
            used += 1;
            Ok(())
        })?;
        output.set_len(data_offset + u64::from(used) * BLOCK_BYTES)?;
        let map: Vec<u8> = map.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        output.write_all_at(&map, MAP_OFFSET)?;
        Ok(write_header(output, size_bytes, blocks as u32, used, data_offset as u32, uuid)?)
    })
}

fn write_header(
    output: &mut Output<'_, '_>,
    size_bytes: u64,
    blocks: u32,
    used: u32,
    data_offset: u32,
    uuid: Uuid,
) -> io::Result<()> {
    const SIGNATURE: u32 = 0xbeda_107f;
    const VERSION: u32 = 0x0001_0001;
    /// From this field to the end.
    const HEADER_BYTES: u32 = 400;
    const DYNAMIC: u32 = 1;
    let mut bytes = b"<<< Oracle VM VirtualBox Disk Image >>>\n".to_vec();
    bytes.resize(64, 0);
    let numbers = |bytes: &mut Vec<u8>, numbers: &[u32]| {
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    };
    numbers(&mut bytes, &[SIGNATURE, VERSION, HEADER_BYTES, DYNAMIC, 0]);
    bytes.extend([0; 256]); // no comment
    numbers(&mut bytes, &[MAP_OFFSET as u32, data_offset]);
    // No geometry: VirtualBox finds one when it attaches the disk.
    numbers(&mut bytes, &[0, 0, 0, 512, 0]);
    bytes.extend(size_bytes.to_le_bytes());
    numbers(&mut bytes, &[BLOCK_BYTES as u32, 0, blocks, used]);
    bytes.extend(uuid.to_bytes_le());
    // Of its contents, which nothing has changed yet.
    bytes.extend(uuid.to_bytes_le());
    // Of an image on which it stands, and of that one's contents: there is none.
    bytes.extend([0; 2 * 16]);
    numbers(&mut bytes, &[0, 0, 0, 512]);
    bytes.resize(MAP_OFFSET as usize, 0);
    output.write_all_at(&bytes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparse::testing::Pieces;
    use crate::testing::{assert_qemu_reads, written_to_file};

    #[test]
    fn qemu_reads_what_is_written() {
        let mut disk = Pieces::example();
        let bytes = written_to_file(|file| write(&mut disk, file, Uuid::from_u128(7), &|_| ()));
        assert_qemu_reads("vdi", &bytes, &disk);
        // Of six blocks four are used.
        assert_eq!(bytes.len() as u64, BLOCK_BYTES * 5);
        assert_eq!(bytes[0x184..0x188], 4_u32.to_le_bytes());
        assert_eq!(bytes[0x188..0x198], Uuid::from_u128(7).to_bytes_le());
        let mut empty = Pieces { size_bytes: 3 << 30, pieces: Vec::new() };
        let bytes = written_to_file(|file| write(&mut empty, file, Uuid::from_u128(7), &|_| ()));
        assert_qemu_reads("vdi", &bytes, &empty);
    }
}
