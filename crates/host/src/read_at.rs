//! A file read from an offset, whatever position it has: others may read the same file meanwhile.

use std::io::{self, Read, Seek, SeekFrom};

use fs_err::File;
use fs_err::os::unix::fs::FileExt;

/// The bytes of a file from an offset on.
#[derive(Debug)]
pub struct ReadAt<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> ReadAt<'a> {
    /// The bytes of `file` from `offset` on.
    #[must_use]
    pub fn new(file: &'a File, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Seek for ReadAt<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let reached = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.offset = reached.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_of_the_file_does_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs_err::write(&path, "0123456789").unwrap();
        let mut file = File::open(&path).unwrap();
        let mut reader = ReadAt::new(&file, 7);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        for (to, expected) in [(SeekFrom::Start(2), 2), (SeekFrom::Current(3), 5), (SeekFrom::End(-4), 6)] {
            assert_eq!(reader.seek(to).unwrap(), expected);
        }
        assert!(reader.seek(SeekFrom::Current(-7)).is_err());
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "7896789");
        assert_eq!(file.stream_position().unwrap(), 0);
    }
}
