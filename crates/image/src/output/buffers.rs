//! Buffers, and what is in them on its way to files.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};

use fs_err::File;
use fs_err::os::unix::fs::FileExt;
use memmap2::{Advice, MmapMut};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{BLOCK, BUFFER_BYTES};

/// How many there are. They are made when they are needed.
pub(super) const BUFFERS: usize = 8;
/// A large page of most processors.
const LARGE_PAGE: usize = 2 << 20;

/// Buffers that are filled, written and filled again.
#[derive(Debug)]
pub(super) struct Buffers {
    not_made: usize,
    back: Sender<Buffer>,
    written: Receiver<Buffer>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        let (back, written) = channel();
        Self { not_made: BUFFERS, back, written }
    }

    /// One that may be filled; waits until one is written where all are in use.
    pub(super) fn take(&mut self) -> io::Result<Buffer> {
        if let Ok(buffer) = self.written.try_recv() {
            return Ok(buffer);
        }
        if self.not_made > 0 {
            self.not_made -= 1;
            return Buffer::new();
        }
        Ok(self.written.recv().expect("the other end is here, too"))
    }

    /// What is filled, to be written. Its buffer comes back here when the last thread has dropped it.
    pub(super) fn lend(&self, filled: Filled) -> Lent {
        Lent { filled: Some(filled), back: self.back.clone() }
    }
}

/// What is filled, until all files have it.
#[derive(Debug)]
pub(super) struct Lent {
    filled: Option<Filled>,
    back: Sender<Buffer>,
}

impl Lent {
    pub(super) fn filled(&self) -> &Filled {
        self.filled.as_ref().expect("it is there until this is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(filled) = self.filled.take() {
            // Fails when the output is gone, and its buffers are not needed any more.
            let _ = self.back.send(filled.buffer);
        }
    }
}

/// A part of a file.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) buffer: Buffer,
    /// The place of the buffer in the file, a multiple of [`BLOCK_BYTES`].
    pub(super) start: u64,
    /// The part of the buffer that is to be written.
    pub(super) range: Range<usize>,
}

impl Filled {
    /// Nothing yet.
    pub(super) fn new(buffer: Buffer) -> Self {
        Self { buffer, start: 0, range: 0..0 }
    }

    /// Whether the byte at `offset` of the file is among those there or follows them.
    pub(super) fn has_room_for(&self, offset: u64) -> bool {
        let (begin, end) = (self.start + self.range.start as u64, self.start + self.range.end as u64);
        !self.range.is_empty() && (begin..=end).contains(&offset) && offset < self.start + BUFFER_BYTES as u64
    }

    /// Writes it to its place in `file`: whole blocks past the page cache, if that is wanted and can be done.
    pub(super) fn write_to(&self, file: &File, past_cache: bool) -> io::Result<()> {
        let Range { start, end } = self.range;
        let blocks = start.next_multiple_of(BLOCK)..end - end % BLOCK;
        let blocks = if past_cache && !blocks.is_empty() { blocks } else { end..end };
        let bytes = self.buffer.bytes();
        write_all_at(file, &bytes[start..blocks.start], self.start + start as u64)?;
        write_past_cache(file, &bytes[blocks.clone()], self.start + blocks.start as u64)?;
        write_all_at(file, &bytes[blocks.end..end], self.start + blocks.end as u64)
    }
}

/// Memory that begins at a multiple of [`BLOCK_BYTES`](super::BLOCK_BYTES), in large pages where the system has them. A
/// request to the disk names each page that it takes: of small ones, a disk takes 1 MiB at a time or less.
#[derive(Debug)]
pub(super) struct Buffer {
    mapped: MmapMut,
    start: usize,
}

impl Buffer {
    fn new() -> io::Result<Self> {
        let mapped = MmapMut::map_anon(BUFFER_BYTES + LARGE_PAGE)?;
        // Refused by a kernel that has none.
        let _ = mapped.advise(Advice::HugePage);
        let start = mapped.as_ptr().align_offset(LARGE_PAGE);
        Ok(Self { mapped, start })
    }

    fn bytes(&self) -> &[u8] {
        &self.mapped[self.start..][..BUFFER_BYTES]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.mapped[self.start..][..BUFFER_BYTES]
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
