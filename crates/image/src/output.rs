//! An image file while it is written: bytes are gathered in buffers, and threads take them from there to the disk.
//!
//! The images of a cluster are gigabytes that are not read soon. In the page cache, each page would
//! have to be found, filled and written again, and would take the place of what the host's user has
//! there. So whole blocks are written past it (`O_DIRECT`, open(2)). The rest, a part of a block at
//! either end, goes through it, as does everything on a file system that knows no other way.
//!
//! Whoever fills the buffers works on while the disk is busy, with this image or with others.

mod buffers;
mod writers;

use std::io::{self, Write};
use std::ops::Range;

use fs_err::File;

use buffers::{Buffers, Filled};
use writers::Writers;

/// What is written past the page cache begins and ends at a multiple of this, in the file and in
/// memory: no common disk or file system asks for more.
pub(super) const BLOCK_BYTES: u64 = 4096;
const BLOCK: usize = BLOCK_BYTES as usize;
/// Each write waits for the disk: large ones are few.
const BUFFER_BYTES: usize = 4 << 20;

/// Files that all get the same bytes, written from the beginning to the end but for small changes
/// afterwards. What was written last is in them after [`flush`](Self::flush).
#[derive(Debug)]
pub(super) struct Output<'a> {
    files: Vec<&'a File>,
    past_cache: bool,
    buffers: Buffers,
    filling: Filled,
    /// None until something has to be written before all is there.
    writers: Writers,
}

impl<'a> Output<'a> {
    /// Files that are not read again soon: what is written is not in the page cache.
    pub(super) fn passing(files: &[&'a File]) -> Self {
        let mut buffers = Buffers::new();
        let filling = Filled { buffer: buffers.take(), start: 0, range: 0..0 };
        Self { files: files.to_vec(), past_cache: true, buffers, filling, writers: Writers::default() }
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
            fill(at, &mut self.filling.buffer.bytes_mut()[from..from + len])?;
            self.filling.range.end = self.filling.range.end.max(from + len);
            at += len as u64;
        }
        Ok(())
    }

    /// Where in the buffer the byte at `offset` of the files belongs. If it neither is among those
    /// there nor follows them, or the buffer is full, that is to be written, and another one begins.
    fn room_from(&mut self, offset: u64) -> io::Result<usize> {
        if !self.filling.has_room_for(offset) {
            self.send()?;
            let in_block = (offset % BLOCK_BYTES) as usize;
            self.filling.start = offset - in_block as u64;
            self.filling.range = in_block..in_block;
        }
        Ok((offset - self.filling.start) as usize)
    }

    /// Has what is in the buffer written, and takes another one.
    fn send(&mut self) -> io::Result<()> {
        if self.filling.range.is_empty() {
            return Ok(());
        }
        if self.writers.is_empty() {
            self.writers = Writers::start(&self.files, self.past_cache)?;
        }
        let next = Filled { buffer: self.buffers.take(), start: 0, range: 0..0 };
        let filled = std::mem::replace(&mut self.filling, next);
        self.writers.send(self.buffers.lend(filled))
    }

    /// Writes what is in buffers.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.writers.is_empty() {
            self.files.iter().try_for_each(|file| self.filling.write_to(file, self.past_cache))?;
            self.filling.range = 0..0;
            return Ok(());
        }
        self.send()?;
        self.writers.finish()
    }
}

/// A file that is written from its beginning to its end, while what comes next is made.
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
    use super::buffers::BUFFERS;
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

    #[test]
    fn what_cannot_be_written_is_told_by_whatever_comes_next() {
        let directory = tempfile::tempdir().unwrap();
        let written = File::create(directory.path().join("written")).unwrap();
        let path = directory.path().join("read");
        fs_err::write(&path, "").unwrap();
        let only_read = File::open(&path).unwrap();
        let mut output = Output::passing(&[&written, &only_read]);
        let buffer = vec![1; BUFFER_BYTES];
        // More than can wait.
        let mut results = (0..3 * BUFFERS).map(|number| output.write_all_at(&buffer, (number * BUFFER_BYTES) as u64));
        let error = results.find_map(Result::err).unwrap();
        assert!(error.to_string().contains("read"), "{error}");
        drop(results);

        let mut output = Output::passing(&[&only_read]);
        output.write_all_at(b"little", 0).unwrap();
        assert!(output.flush().unwrap_err().to_string().contains("read"));
    }
}
