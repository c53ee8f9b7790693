//! Raw images: a sparse file with every piece at its place.

use std::io;

use fs_err::File;

use super::error::Error;
use super::map::{DiskMap, Piece, Source};
use super::output::Output;
use super::sparse::{OnBytes, SparseDisk, for_each_block};

/// Pieces that are smaller go through a buffer, together with their neighbours: one system call for
/// many files.
const COPY_FROM_BYTES: u64 = 128 << 10;
const BUFFER_BYTES: usize = 1 << 20;
/// Gaps below a file system block are written as zeros instead of ending the buffer: they would not
/// stay sparse.
const JOINED_GAP_BYTES: u64 = 4096;
/// Of a disk that is there already, blocks of this size that are all zeros stay holes.
const BLOCK_BYTES: u64 = 64 << 10;

/// Writes the disk into `file`, which is empty or is cut to its size first. `on_bytes` is called
/// with the length of each piece.
///
/// # Errors
/// When the tarball cannot be read, or the file cannot be written.
pub fn write(map: &DiskMap, file: &File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), Error> {
    // Cut first, so that nothing of an earlier image stays in the gaps.
    file.set_len(0)?;
    file.set_len(map.size_bytes())?;
    let mut pending = Pending { output: Output::passing(file), start: 0, bytes: Vec::with_capacity(BUFFER_BYTES) };
    for piece in map.pieces() {
        match piece.source {
            Source::Tarball { offset } if piece.len >= COPY_FROM_BYTES => {
                pending.flush()?;
                let (file, offset) = map.contents().at(offset);
                pending.output.copy_from(file, offset, piece.offset, piece.len)?;
            }
            _ => pending.append(map, piece)?,
        }
        on_bytes(piece.len);
    }
    pending.flush()?;
    Ok(())
}

/// Writes a disk that is there already into `file`, which is cut to its size first.
///
/// # Errors
/// When the disk cannot be read, or the file cannot be written.
pub fn write_disk(disk: &mut dyn SparseDisk, file: &File, on_bytes: OnBytes<'_>) -> Result<(), Error> {
    let mut output = Output::passing(file);
    let size = disk.size_bytes();
    output.set_len(0)?;
    output.set_len(size)?;
    for_each_block(disk, BLOCK_BYTES, on_bytes, &mut |number, block| {
        let offset = number * BLOCK_BYTES;
        let len = (size - offset).min(BLOCK_BYTES) as usize;
        Ok(output.write_all_at(&block[..len], offset)?)
    })
}

/// Bytes that will be written at `start` in one call.
struct Pending<'a> {
    output: Output<'a>,
    start: u64,
    bytes: Vec<u8>,
}

impl Pending<'_> {
    fn append(&mut self, map: &DiskMap, piece: &Piece) -> io::Result<()> {
        let mut at = piece.offset;
        while at < piece.end() {
            let end = self.start + self.bytes.len() as u64;
            let gap = at - end;
            if self.bytes.is_empty() || gap >= JOINED_GAP_BYTES || self.bytes.len() + gap as usize >= BUFFER_BYTES {
                self.flush()?;
                self.start = at;
            } else {
                self.bytes.resize(self.bytes.len() + gap as usize, 0);
            }
            let filled = self.bytes.len();
            // What has no room left in the buffer goes on in the next round.
            let count = (piece.end() - at).min((BUFFER_BYTES - filled) as u64);
            self.bytes.resize(filled + count as usize, 0);
            map.read_at(at, &mut self.bytes[filled..])?;
            at += count;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.write_all_at(&self.bytes, self.start)?;
        self.bytes.clear();
        Ok(())
    }
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
