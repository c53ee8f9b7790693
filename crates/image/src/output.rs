//! An image file while it is written: positioned writes and copies that do not pile up in memory.
//!
//! The images of a cluster are gigabytes that are not read soon. Left alone, the kernel would keep
//! them all in memory, and drop what the host's user has cached. Here each
//! window is sent to the disk as soon as it is full, so that the final sync finds little to do, and
//! leaves memory a few windows later. Both are requests (`posix_fadvise(2)`): a file system that
//! does not know them works as ever.

use std::io::{self, Write};
use std::num::NonZero;

use fs_err::File;
use fs_err::os::unix::fs::FileExt;
use rustix::fs::Advice;
use rustix::io::Errno;

use super::map::read_exact_at;

/// How much is sent to the disk at a time.
const WINDOW_BYTES: u64 = 16 << 20;
/// How far behind the last window memory is given back: far enough for the disk to be done with it.
const LAG_BYTES: u64 = 3 * WINDOW_BYTES;
const COPY_BUFFER_BYTES: usize = 1 << 20;

/// A file that is written from its beginning to its end, but for small changes afterwards.
#[derive(Debug)]
pub(super) struct Output<'a> {
    file: &'a File,
    /// Where the current window begins; `None` where everything stays in memory.
    window: Option<u64>,
}

impl<'a> Output<'a> {
    /// A file that is not read again soon: what is written leaves memory.
    pub(super) fn passing(file: &'a File) -> Self {
        Self { file, window: Some(0) }
    }

    /// A file that is read again soon: what is written stays in memory.
    pub(super) fn kept(file: &'a File) -> Self {
        Self { file, window: None }
    }

    /// Makes the file this long; what is new is a hole.
    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// As `FileExt::write_all_at`, with the path in the error.
    pub(super) fn write_all_at(&mut self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write_at(bytes, offset) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, self.file.path().display().to_string())),
                Ok(count) => {
                    bytes = &bytes[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pass(offset);
        Ok(())
    }

    /// Copies between files inside the kernel where it can, through a buffer where it cannot
    /// (different file systems on old kernels, or one that has no such copy).
    pub(super) fn copy_from(&mut self, from: &File, from_offset: u64, offset: u64, len: u64) -> io::Result<()> {
        // In windows and not in one call, so that memory is given back on the way here as well.
        let (mut input, mut output) = (from_offset, offset);
        let end = from_offset + len;
        while input < end {
            let count = (end - input).min(WINDOW_BYTES) as usize;
            match rustix::fs::copy_file_range(from, Some(&mut input), self.file, Some(&mut output), count) {
                // Some file systems say 0 for what they cannot copy; reading tells a true end of
                // file.
                Ok(0) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    return self.copy_through_buffer(from, input, output, end - input);
                }
                Ok(_) => self.pass(output),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let error = io::Error::from(errno);
                    let (from, to) = (from.path().display(), self.file.path().display());
                    return Err(io::Error::new(error.kind(), format!("copy {from} to {to}: {error}")));
                }
            }
        }
        Ok(())
    }

    fn copy_through_buffer(&mut self, from: &File, mut input: u64, mut output: u64, len: u64) -> io::Result<()> {
        let end = input + len;
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        while input < end {
            let count = (end - input).min(COPY_BUFFER_BYTES as u64);
            let chunk = &mut buffer[..count as usize];
            read_exact_at(from, chunk, input)?;
            self.write_all_at(chunk, output)?;
            input += count;
            output += count;
        }
        Ok(())
    }

    /// Notes that everything before `end` is written.
    fn pass(&mut self, end: u64) {
        let Some(window) = &mut self.window else { return };
        if end < *window + WINDOW_BYTES {
            return;
        }
        // Where pages are dirty this begins to write them; where they are clean it drops them.
        done_with(self.file, *window..end);
        done_with(self.file, window.saturating_sub(LAG_BYTES)..end.saturating_sub(LAG_BYTES));
        *window = end;
    }
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
        Self { output: Output::passing(file), at: 0 }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells the kernel that this part of the file is not read soon. It is only advice, so a refusal is
/// ignored.
fn done_with(file: &File, part: std::ops::Range<u64>) {
    if let Some(len) = NonZero::new(part.end - part.start) {
        let _ = rustix::fs::fadvise(file, part.start, Some(len), Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_writes_whole_files_whatever_leaves_memory() {
        let directory = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..5 * WINDOW_BYTES / 8 + 77).flat_map(u64::to_le_bytes).collect();
        let from = directory.path().join("from");
        fs_err::File::create(&from).unwrap().write_all(&bytes).unwrap();
        let from = File::open(from).unwrap();
        for (name, kept) in [("passing", false), ("kept", true)] {
            let path = directory.path().join(name);
            let to = File::create(&path).unwrap();
            let mut output = if kept { Output::kept(&to) } else { Output::passing(&to) };
            output.copy_from(&from, 0, 0, 3 * WINDOW_BYTES + 1).unwrap();
            for (index, chunk) in bytes[3 * WINDOW_BYTES as usize + 1..].chunks(1 << 20).enumerate() {
                output.write_all_at(chunk, 3 * WINDOW_BYTES + 1 + (index << 20) as u64).unwrap();
            }
            output.write_all_at(&bytes[..9], 0).unwrap();
            assert!(fs_err::read(&path).unwrap() == bytes, "{name}");
        }
        let path = directory.path().join("stream");
        let to = File::create(&path).unwrap();
        let mut stream = Stream::new(&to);
        bytes.chunks(7 << 20).for_each(|chunk| stream.write_all(chunk).unwrap());
        assert!(fs_err::read(&path).unwrap() == bytes);
    }
}
