//! Where the bytes of a tree's files are read.

use std::fmt::Debug;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt as _;

use fs_err::File;

/// Has the bytes of files, each of which has its own from an offset on (see [`Content::Stored`](crate::Content)): a
/// tarball, or a directory ([`StagedFiles`](crate::tarball::StagedFiles)).
pub trait Store: Debug + Send + Sync {
    /// Fills `buffer` with the bytes from `offset` on. They are those of one file.
    ///
    /// # Errors
    /// When they cannot be read, or there are fewer. The message names the file.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Store for File {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file().read_exact_at(buffer, offset).map_err(|error| {
            let path = self.path().display();
            let message = match error.kind() {
                ErrorKind::UnexpectedEof => format!("{path} ends before its contents do"),
                _ => format!("read {path}: {error}"),
            };
            io::Error::new(error.kind(), message)
        })
    }
}

/// The bytes of a file in a store, from an offset on.
pub(crate) struct StoredFile<'a> {
    store: &'a dyn Store,
    offset: u64,
    left: u64,
}

impl<'a> StoredFile<'a> {
    /// The `len` bytes at `offset`.
    pub(crate) fn new(store: &'a dyn Store, offset: u64, len: u64) -> Self {
        Self { store, offset, left: len }
    }
}

impl Read for StoredFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.left.min(buffer.len() as u64);
        self.store.fill(&mut buffer[..count as usize], self.offset)?;
        self.offset += count;
        self.left -= count;
        Ok(count as usize)
    }
}
