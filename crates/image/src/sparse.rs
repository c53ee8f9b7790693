//! Disks as bytes of which many are known to be zeros: what the writers of other formats read.

use std::io;
use std::num::NonZero;
use std::sync::atomic::AtomicBool;

use fam_host::parallel::parallel;

use crate::error::Error;

/// A disk that is read from its beginning to its end.
pub trait SparseDisk {
    /// Its size, a multiple of 512.
    fn size_bytes(&self) -> u64;

    /// How many bytes from `offset` on, which lies within the disk, are known to be zeros. 0 where
    /// something is stored.
    ///
    /// # Errors
    /// When what holds the disk cannot be read, or is damaged.
    fn zeros_from(&mut self, offset: u64) -> Result<u64, Error>;

    /// Fills `buffer` with the bytes from `offset` on, all of which lie within the disk.
    ///
    /// # Errors
    /// As there.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Error>;
}

/// Called with how many more bytes of a disk were read.
pub type OnBytes<'a> = &'a (dyn Fn(u64) + Sync);

/// Takes a block by its number.
type Visit<'a> = dyn FnMut(u64, &[u8]) -> Result<(), Error> + 'a;

/// Calls `visit` with the number and the bytes of each block that is not all zeros, in ascending
/// order. Zeros follow the disk in a last block that it does not fill.
pub(crate) fn for_each_block(
    disk: &mut dyn SparseDisk,
    block_bytes: u64,
    on_bytes: OnBytes<'_>,
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    let size = disk.size_bytes();
    let mut block = vec![0; block_bytes as usize];
    let mut offset = 0;
    while offset < size {
        let left = size - offset;
        let zeros = disk.zeros_from(offset)?.min(left);
        let skipped = if zeros == left { left } else { zeros / block_bytes * block_bytes };
        if skipped > 0 {
            on_bytes(skipped);
            offset += skipped;
            continue;
        }
        let len = left.min(block_bytes);
        let (filled, rest) = block.split_at_mut(len as usize);
        disk.read_at(offset, filled)?;
        rest.fill(0);
        if block.iter().any(|&byte| byte != 0) {
            visit(offset / block_bytes, &block)?;
        }
        on_bytes(len);
        offset += len;
    }
    Ok(())
}

/// Blocks that a thread encodes in one go.
const BLOCKS_PER_JOB: usize = 16;

/// As [`for_each_block`], with each block encoded by one of `jobs` threads before `visit` gets it.
/// What `visit` gets does not depend on their number.
pub(crate) fn for_each_encoded<T: Send>(
    disk: &mut dyn SparseDisk,
    block_bytes: u64,
    jobs: NonZero<usize>,
    on_bytes: OnBytes<'_>,
    encode: impl Fn(&[&[u8]]) -> io::Result<Vec<T>> + Sync,
    visit: &mut dyn FnMut(u64, T) -> Result<(), Error>,
) -> Result<(), Error> {
    let batch_blocks = jobs.get() * BLOCKS_PER_JOB;
    let mut numbers = Vec::with_capacity(batch_blocks);
    let mut bytes = Vec::new();
    let mut flush = |numbers: &mut Vec<u64>, bytes: &mut Vec<u8>| -> Result<(), Error> {
        let blocks: Vec<&[u8]> = bytes.chunks_exact(block_bytes as usize).collect();
        let parts: Vec<_> = blocks.chunks(BLOCKS_PER_JOB).collect();
        let encoded = parallel(jobs.get(), &AtomicBool::new(false), &parts, |blocks| encode(blocks))?;
        for (block, number) in encoded.into_iter().flatten().zip(numbers.drain(..)) {
            visit(number, block)?;
        }
        bytes.clear();
        Ok(())
    };
    for_each_block(disk, block_bytes, on_bytes, &mut |number, block| {
        numbers.push(number);
        bytes.extend_from_slice(block);
        if numbers.len() == batch_blocks { flush(&mut numbers, &mut bytes) } else { Ok(()) }
    })?;
    flush(&mut numbers, &mut bytes)
}

/// A disk in memory, for tests: pieces with zeros between them.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    #[derive(Debug, Clone)]
    pub(crate) struct Pieces {
        pub(crate) size_bytes: u64,
        pub(crate) pieces: Vec<(u64, Vec<u8>)>,
    }

    impl Pieces {
        /// A disk of 5 MiB and three sectors with contents at its beginning, across the boundaries
        /// of blocks, and at its end; some of them do not compress.
        pub(crate) fn example() -> Self {
            let mut state = 1_u32;
            let mut noise = |len: usize| -> Vec<u8> {
                let next = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                };
                std::iter::repeat_with(next).take(len).collect()
            };
            let size_bytes = (5 << 20) + 3 * 512;
            let pieces = vec![
                (0, b"boot sector".to_vec()),
                ((1 << 20) - 700, noise(200_000)),
                (3 << 20, b"fabric ".repeat(30_000)),
                (size_bytes - 600, noise(600)),
            ];
            Self { size_bytes, pieces }
        }

        pub(crate) fn bytes(&self) -> Vec<u8> {
            let mut bytes = vec![0; self.size_bytes as usize];
            for (offset, piece) in &self.pieces {
                bytes[*offset as usize..][..piece.len()].copy_from_slice(piece);
            }
            bytes
        }
    }

    impl SparseDisk for Pieces {
        fn size_bytes(&self) -> u64 {
            self.size_bytes
        }

        fn zeros_from(&mut self, offset: u64) -> Result<u64, Error> {
            let next = self.pieces.iter().find(|(start, piece)| start + piece.len() as u64 > offset);
            Ok(next.map_or(self.size_bytes, |(start, _)| *start).saturating_sub(offset))
        }

        fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
            buffer.fill(0);
            for (start, piece) in &self.pieces {
                let begin = offset.max(*start);
                let end = (offset + buffer.len() as u64).min(start + piece.len() as u64);
                if begin < end {
                    buffer[(begin - offset) as usize..(end - offset) as usize]
                        .copy_from_slice(&piece[(begin - start) as usize..(end - start) as usize]);
                }
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Pieces;
    use super::*;

    #[test]
    fn blocks_that_are_not_zeros_come_in_order_with_any_number_of_threads() {
        let mut disk = Pieces::example();
        let whole = disk.bytes();
        for block_bytes in [512, 65_536, 1 << 20, 8 << 20] {
            let seen = std::sync::atomic::AtomicU64::new(0);
            let on_bytes = |count| {
                seen.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            };
            let mut read = vec![0; whole.len().next_multiple_of(block_bytes as usize)];
            let mut last = None;
            let copy = |blocks: &[&[u8]]| Ok(blocks.iter().map(|block| block.to_vec()).collect());
            let jobs = NonZero::new(3).unwrap();
            for_each_encoded(&mut disk, block_bytes, jobs, &on_bytes, copy, &mut |number, block| {
                assert!(last < Some(number) && block.iter().any(|&byte| byte != 0));
                last = Some(number);
                read[(number * block_bytes) as usize..][..block.len()].copy_from_slice(&block);
                Ok(())
            })
            .unwrap();
            assert!(read.starts_with(&whole) && read[whole.len()..].iter().all(|&byte| byte == 0), "{block_bytes}");
            assert_eq!(seen.into_inner(), disk.size_bytes);
        }
    }
}
