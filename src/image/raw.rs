//! Raw images: a sparse file with every piece at its place.

use std::io;

use fs_err::File;
use fs_err::os::unix::fs::FileExt;
use rustix::io::Errno;

use super::error::Error;
use super::map::{DiskMap, Piece, Source};

/// Pieces that are smaller go through a buffer, together with their neighbours: one system call for many files.
const COPY_FROM_BYTES: u64 = 128 << 10;
const BUFFER_BYTES: usize = 1 << 20;
/// Gaps below a file system block are written as zeros instead of ending the buffer: they would not stay sparse.
const JOINED_GAP_BYTES: u64 = 4096;

/// Writes the disk into `file`, which is empty or is cut to its size first. `on_bytes` is told of every byte written.
///
/// # Errors
/// When the tarball cannot be read, or the file cannot be written.
pub fn write(map: &DiskMap, file: &File, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<(), Error> {
    file.set_len(0)?;
    file.set_len(map.size_bytes())?;
    let mut pending = Pending { file, start: 0, bytes: Vec::with_capacity(BUFFER_BYTES) };
    for piece in map.pieces() {
        match piece.source {
            Source::Tarball { offset } if piece.len >= COPY_FROM_BYTES => {
                pending.flush()?;
                copy_range(map.tarball(), offset, file, piece.offset, piece.len)?;
            }
            _ => pending.append(map, piece)?,
        }
        on_bytes(piece.len);
    }
    pending.flush()?;
    Ok(())
}

/// Bytes that will be written at `start` in one call.
struct Pending<'a> {
    file: &'a File,
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
            let count = (piece.end() - at).min((BUFFER_BYTES - filled) as u64);
            self.bytes.resize(filled + count as usize, 0);
            map.read_at(at, &mut self.bytes[filled..])?;
            at += count;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        write_all_at(self.file, &self.bytes, self.start)?;
        self.bytes.clear();
        Ok(())
    }
}

/// As `FileExt::write_all_at`, with the path in the error.
pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
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

/// Copies between files inside the kernel where it can, through a buffer where it cannot (different file systems on old
/// kernels, or one that has no such copy).
pub(super) fn copy_range(from: &File, from_offset: u64, to: &File, to_offset: u64, len: u64) -> io::Result<()> {
    let (mut input, mut output) = (from_offset, to_offset);
    let end = from_offset + len;
    while input < end {
        let count = usize::try_from(end - input).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut input), to, Some(&mut output), count) {
            // Some file systems say 0 for what they cannot copy; reading tells a true end of file.
            Ok(0) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                return copy_through_buffer(from, input, to, output, end - input);
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                let error = io::Error::from(errno);
                let message = format!("copy {} to {}: {error}", from.path().display(), to.path().display());
                return Err(io::Error::new(error.kind(), message));
            }
        }
    }
    Ok(())
}

fn copy_through_buffer(from: &File, mut input: u64, to: &File, mut output: u64, len: u64) -> io::Result<()> {
    let end = input + len;
    let mut buffer = vec![0; BUFFER_BYTES];
    while input < end {
        let count = (end - input).min(BUFFER_BYTES as u64);
        let chunk = &mut buffer[..count as usize];
        super::map::read_exact_at(from, chunk, input)?;
        write_all_at(to, chunk, output)?;
        input += count;
        output += count;
    }
    Ok(())
}
