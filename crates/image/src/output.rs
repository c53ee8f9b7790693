//! An image file while it is written: bytes are gathered in a buffer, and go from there to the disk.
//!
//! The images of a cluster are gigabytes that are not read soon. In the page cache, each page would
//! have to be found, filled and written again, and would take the place of what the host's user has
//! there. So whole blocks are written past it (`O_DIRECT`, open(2)). The rest, a part of a block at
//! either end, goes through it, as does everything on a file system that knows no other way.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::AtomicBool;

use fam_host::parallel::parallel;
use fs_err::File;
use fs_err::os::unix::fs::FileExt;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// What is written past the page cache begins and ends at a multiple of this, in the file and in
/// memory: no common disk or file system asks for more.
pub(super) const BLOCK_BYTES: u64 = 4096;
const BLOCK: usize = BLOCK_BYTES as usize;
/// Each write waits for the disk: large ones are few.
const BUFFER_BYTES: usize = 4 << 20;
/// Files that are written to at the same time: a disk is faster with several requests at once.
const FILES_AT_ONCE: usize = 4;

/// Files that all get the same bytes, written from the beginning to the end but for small changes
/// afterwards. What was written last is in them after [`flush`](Self::flush).
#[derive(Debug)]
pub(super) struct Output<'a> {
    files: Vec<&'a File>,
    past_cache: bool,
    buffer: Buffer,
    /// The place of the buffer in the file, a multiple of [`BLOCK_BYTES`].
    start: u64,
    /// The part of the buffer that is to be written.
    filled: Range<usize>,
}

impl<'a> Output<'a> {
    /// Files that are not read again soon: what is written is not in the page cache.
    pub(super) fn passing(files: &[&'a File]) -> Self {
        let files = files.to_vec();
        Self { files, past_cache: true, buffer: Buffer::new(), start: 0, filled: 0..0 }
    }

    /// A file that is read again soon: what is written stays in the page cache.
    pub(super) fn kept(file: &'a File) -> Self {
        Self { past_cache: false, ..Self::passing(&[file]) }
    }

    /// Makes the files this long; what is new is a hole.
    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.flush()?;
        self.files.iter().try_for_each(|file| file.set_len(len))
    }

    /// Writes `bytes` at `offset`.
    pub(super) fn write_all_at(&mut self, mut bytes: &[u8], offset: u64) -> io::Result<()> {
        self.fill(offset..offset + bytes.len() as u64, |_, room| {
            let (now, later) = bytes.split_at(room.len());
            room.copy_from_slice(now);
            bytes = later;
            Ok(())
        })
    }

    /// Writes what `fill` makes of `range`, piece by piece: it gets the offset of a piece, and the room
    /// for it, which it fills.
    pub(super) fn fill(
        &mut self,
        range: Range<u64>,
        mut fill: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let from = self.room_from(at)?;
            let len = (BUFFER_BYTES - from).min((range.end - at) as usize);
            fill(at, &mut self.buffer.bytes()[from..from + len])?;
            self.filled.end = self.filled.end.max(from + len);
            at += len as u64;
        }
        Ok(())
    }

    /// Where in the buffer the byte at `offset` of the files belongs. If it neither is among those
    /// there nor follows them, or the buffer is full, that is written, and begins anew.
    fn room_from(&mut self, offset: u64) -> io::Result<usize> {
        let begin = self.start + self.filled.start as u64;
        let end = self.start + self.filled.end as u64;
        if !(begin..=end).contains(&offset) || offset == self.start + BUFFER_BYTES as u64 {
            self.flush()?;
            let in_block = (offset % BLOCK_BYTES) as usize;
            self.start = offset - in_block as u64;
            self.filled = in_block..in_block;
        }
        Ok((offset - self.start) as usize)
    }

    /// Writes what is in the buffer.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Range { start, end } = self.filled;
        let blocks = start.next_multiple_of(BLOCK)..end - end % BLOCK;
        let blocks = if self.past_cache && !blocks.is_empty() { blocks } else { end..end };
        let bytes = self.buffer.bytes();
        let write = |file: &File| {
            write_all_at(file, &bytes[start..blocks.start], self.start + start as u64)?;
            write_past_cache(file, &bytes[blocks.clone()], self.start + blocks.start as u64)?;
            write_all_at(file, &bytes[blocks.end..end], self.start + blocks.end as u64)
        };
        parallel(FILES_AT_ONCE, &AtomicBool::new(false), &self.files, |file| write(file))?;
        self.filled = end..end;
        Ok(())
    }
}

/// Memory that begins at a multiple of [`BLOCK_BYTES`].
#[derive(Debug)]
struct Buffer {
    allocated: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        let allocated = vec![0; BUFFER_BYTES + BLOCK];
        let start = allocated.as_ptr().align_offset(BLOCK);
        Self { allocated, start }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.allocated[self.start..][..BUFFER_BYTES]
    }
}

/// Writes whole blocks that begin at a multiple of [`BLOCK_BYTES`] in memory.
fn write_past_cache(file: &File, blocks: &[u8], offset: u64) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    if !blocks.is_empty() && fcntl_setfl(file, flags | OFlags::DIRECT).is_ok() {
        let written = write_all_at(file, blocks, offset);
        fcntl_setfl(file, flags)?;
        // A disk with larger blocks refuses these so.
        if !written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput) {
            return written;
        }
    }
    write_all_at(file, blocks, offset)
}

/// As `FileExt::write_all_at`, with the path in the error.
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, file.path().display().to_string())),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file that is written as a stream, and does not pile up in memory.
#[derive(Debug)]
pub struct Stream<'a> {
    output: Output<'a>,
    at: u64,
}

impl<'a> Stream<'a> {
    /// Begins at the beginning of the empty `file`, which is not read again soon.
    #[must_use]
    pub fn new(file: &'a File) -> Self {
        Self { output: Output::passing(&[file]), at: 0 }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_what_is_written_wherever_and_in_whatever_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..5 * BUFFER_BYTES as u64 / 8 + 77).flat_map(u64::to_le_bytes).collect();
        let [one, other, kept, stream] = ["one", "other", "kept", "stream"].map(|name| {
            let path = directory.path().join(name);
            File::create(&path).unwrap()
        });
        for output in [&mut Output::passing(&[&one, &other]), &mut Output::kept(&kept)] {
            // A hole first, and then each piece behind the next one: within a block, across blocks,
            // and across the buffer.
            output.set_len(bytes.len() as u64).unwrap();
            let mut end = bytes.len();
            for len in [1, 4095, 4096, 9000, 70_000, BUFFER_BYTES, BUFFER_BYTES + 3, 5, 2 * BUFFER_BYTES].repeat(2) {
                let start = end.saturating_sub(len);
                output.write_all_at(&bytes[start..end], start as u64).unwrap();
                end = start;
            }
            assert_eq!(end, 0);
            // What is in the buffer, or was, is changed.
            for start in [0, 3000, 2 * BUFFER_BYTES - 50] {
                output.write_all_at(&[0; 100], start as u64).unwrap();
                output.write_all_at(&bytes[start..start + 100], start as u64).unwrap();
            }
            output.flush().unwrap();
        }
        let mut in_order = Stream::new(&stream);
        bytes.chunks(70_001).for_each(|chunk| in_order.write_all(chunk).unwrap());
        in_order.flush().unwrap();
        for file in [one, other, kept, stream] {
            assert!(fs_err::read(file.path()).unwrap() == bytes, "{}", file.path().display());
        }
    }
}
