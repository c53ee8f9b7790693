//! An image file while it is written: bytes are gathered in buffers, and threads take them from there to the disk.
//!
//! The images of a cluster are gigabytes that are not read soon. In the page cache, each page would
//! have to be found, filled and written again, and would take the place of what the host's user has
//! there. So whole blocks are written past it (`O_DIRECT`, open(2)). The rest, a part of a block at
//! either end, goes through it, as does everything on a file system that knows no other way.
//!
//! The caller fills the next buffer while the disk writes the last ones.

mod buffers;
mod writers;

use std::io::{self, Write};
use std::ops::Range;
use std::thread::{self, Scope};

use fs_err::File;

use buffers::{Buffers, Filled};
use writers::Writers;

/// What is written past the page cache begins and ends at a multiple of this, in the file and in
/// memory: no common disk or file system asks for more.
pub(super) const BLOCK_BYTES: u64 = 4096;
const BLOCK: usize = BLOCK_BYTES as usize;
/// Each write waits for the disk: large ones are few.
const BUFFER_BYTES: usize = 4 << 20;

/// Has `work` write files that are not read again soon: what is written is not in the page cache. All of it is in the
/// files when this returns without an error.
pub(super) fn write<'env, T, E: From<io::Error>>(
    files: &[&'env File],
    work: impl for<'scope> FnOnce(&mut Output<'scope, 'env>) -> Result<T, E>,
) -> Result<T, E> {
    write_as(files, true, work)
}

/// As [`write`], of a file that is read again soon: what is written stays in the page cache.
pub(super) fn write_kept<'env, T, E: From<io::Error>>(
    file: &'env File,
    work: impl for<'scope> FnOnce(&mut Output<'scope, 'env>) -> Result<T, E>,
) -> Result<T, E> {
    write_as(&[file], false, work)
}

fn write_as<'env, T, E: From<io::Error>>(
    files: &[&'env File],
    past_cache: bool,
    work: impl for<'scope> FnOnce(&mut Output<'scope, 'env>) -> Result<T, E>,
) -> Result<T, E> {
    thread::scope(|scope| {
        let mut output = Output::new(scope, files, past_cache)?;
        let done = work(&mut output)?;
        output.flush()?;
        Ok(done)
    })
}

/// Files that all get the same bytes, written from the beginning to the end but for small changes
/// afterwards. What was written last is in them after [`flush`](Self::flush).
#[derive(Debug)]
pub(super) struct Output<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    files: Vec<&'env File>,
    past_cache: bool,
    buffers: Buffers,
    filling: Filled,
    /// None until something has to be written before all is there.
    writers: Writers<'scope>,
}

impl<'scope, 'env> Output<'scope, 'env> {
    fn new(scope: &'scope Scope<'scope, 'env>, files: &[&'env File], past_cache: bool) -> io::Result<Self> {
        let mut buffers = Buffers::new();
        let filling = Filled::new(buffers.take()?);
        Ok(Self { scope, files: files.to_vec(), past_cache, buffers, filling, writers: Writers::default() })
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

    /// Writes zeros.
    pub(super) fn write_zeros(&mut self, range: Range<u64>) -> io::Result<()> {
        self.fill(range, |_, room| {
            room.fill(0);
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
            self.writers = Writers::start(self.scope, &self.files, self.past_cache)?;
        }
        let filled = std::mem::replace(&mut self.filling, Filled::new(self.buffers.take()?));
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

/// Has `work` write the empty `file`, which is not read again soon, from its beginning to its end. All of it is in the
/// file when this returns without an error.
///
/// # Errors
/// That of `work`, or when the file cannot be written.
pub fn write_stream<T, E: From<io::Error>>(
    file: &File,
    work: impl FnOnce(&mut Stream<'_, '_, '_>) -> Result<T, E>,
) -> Result<T, E> {
    write(&[file], |output| work(&mut Stream { output, at: 0 }))
}

/// A file that is written while what comes next is made.
#[derive(Debug)]
pub struct Stream<'a, 'scope, 'env> {
    output: &'a mut Output<'scope, 'env>,
    at: u64,
}

impl Write for Stream<'_, '_, '_> {
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
        let test = |output: &mut Output<'_, '_>| -> io::Result<()> {
            // A hole first, and then each piece behind the next one: within a block, across blocks,
            // and across the buffer.
            output.set_len(bytes.len() as u64)?;
            let mut end = bytes.len();
            for len in [1, 4095, 4096, 9000, 70_000, BUFFER_BYTES, BUFFER_BYTES + 3, 5, 2 * BUFFER_BYTES].repeat(2) {
                let start = end.saturating_sub(len);
                output.write_all_at(&bytes[start..end], start as u64)?;
                end = start;
            }
            assert_eq!(end, 0);
            // What is in the buffer, or was, is changed.
            for start in [0, 3000, 2 * BUFFER_BYTES - 50] {
                output.write_all_at(&[0; 100], start as u64)?;
                output.write_all_at(&bytes[start..start + 100], start as u64)?;
            }
            Ok(())
        };
        write(&[&one, &other], test).unwrap();
        write_kept(&kept, test).unwrap();
        write_stream(&stream, |stream| bytes.chunks(70_001).try_for_each(|chunk| stream.write_all(chunk))).unwrap();
        for file in [one, other, kept, stream] {
            assert!(fs_err::read(file.path()).unwrap() == bytes, "{}", file.path().display());
        }
    }

    #[test]
    fn an_error_of_a_thread_is_returned_by_a_later_call() {
        let directory = tempfile::tempdir().unwrap();
        let written = File::create(directory.path().join("written")).unwrap();
        let path = directory.path().join("read");
        fs_err::write(&path, "").unwrap();
        let only_read = File::open(&path).unwrap();
        let buffer = vec![1; BUFFER_BYTES];
        // More than can wait.
        let error = write(&[&written, &only_read], |output| {
            let mut results =
                (0..3 * BUFFERS).map(|number| output.write_all_at(&buffer, (number * BUFFER_BYTES) as u64));
            results.find_map(Result::err).map_or(Ok(()), Err)
        });
        assert!(error.unwrap_err().to_string().contains("read"));
        let error = write(&[&only_read], |output| output.write_all_at(b"little", 0));
        assert!(error.unwrap_err().to_string().contains("read"));
    }
}
