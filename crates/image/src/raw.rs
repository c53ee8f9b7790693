//! Raw images: a sparse file with every piece at its place.

use fs_err::File;

use super::error::Error;
use super::map::DiskMap;
use super::output::{self, BLOCK_BYTES};
use super::sparse::{OnBytes, SparseDisk, for_each_block};

/// Of a disk that is there already, blocks of this size that are all zeros stay holes.
const STORED_BYTES: u64 = 64 << 10;

/// Writes the disk into `file`, which is empty or is cut to its size first. `on_bytes` is called
/// with the length of each piece.
///
/// # Errors
/// When contents cannot be read, or the file cannot be written.
pub fn write(map: &DiskMap, file: &File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), Error> {
    let size = map.size_bytes();
    output::write(&[file], |output| {
        // Cut first, so that nothing of an earlier image stays in the gaps.
        output.set_len(0)?;
        output.set_len(size)?;
        let mut end = 0;
        for piece in map.pieces() {
            // The whole blocks in which it lies, with what else is in them: only such go past the page
            // cache.
            let start = (piece.offset - piece.offset % BLOCK_BYTES).max(end);
            end = piece.end().next_multiple_of(BLOCK_BYTES).min(size);
            output.fill(start..end, |at, room| map.read_at(at, room))?;
            on_bytes(piece.len);
        }
        Ok(())
    })
}

/// Writes a disk that is there already into `file`, which is cut to its size first.
///
/// # Errors
/// When the disk cannot be read, or the file cannot be written.
pub fn write_disk(disk: &mut dyn SparseDisk, file: &File, on_bytes: OnBytes<'_>) -> Result<(), Error> {
    let size = disk.size_bytes();
    output::write(&[file], |output| {
        output.set_len(0)?;
        output.set_len(size)?;
        for_each_block(disk, STORED_BYTES, on_bytes, &mut |number, block| {
            let offset = number * STORED_BYTES;
            let len = (size - offset).min(STORED_BYTES) as usize;
            Ok(output.write_all_at(&block[..len], offset)?)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::sparse::testing::Pieces;

    #[test]
    fn a_disk_that_is_there_is_written_with_its_holes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("raw");
        let file = File::create(&path).unwrap();
        let mut disk = Pieces::example();
        write_disk(&mut disk, &file, &|_| ()).unwrap();
        assert!(fs_err::read(&path).unwrap() == disk.bytes());
        let stored = fs_err::metadata(&path).unwrap().blocks() * 512;
        assert!(stored < 1 << 20, "{stored} bytes are stored of a disk that has 450 KB");
    }
}
