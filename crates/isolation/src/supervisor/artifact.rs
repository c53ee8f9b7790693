//! A file of the output directory that is whole once it has its name.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fam_host::regular;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use fs_err::{File, OpenOptions};
use rustix::fs::{Mode, OFlags};

use super::output::Error;

/// An artifact that is being written. It has its own name only once [`Artifact::finish`] is
/// through; dropped before, it is removed.
#[derive(Debug)]
pub struct Artifact {
    file: File,
    unfinished: Option<PathBuf>,
    path: PathBuf,
}

impl Artifact {
    /// Begins one: `path` is the name it will have, `unfinished` that until then, on the same file
    /// system.
    pub(super) fn create(unfinished: PathBuf, mode: u32, path: PathBuf) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&unfinished)?;
        Ok(Self { file, unfinished: Some(unfinished), path })
    }

    /// The file, for positioned writes and the like.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the bytes are now.
    #[must_use]
    pub(super) fn unfinished_path(&self) -> &Path {
        self.unfinished.as_deref().unwrap_or(&self.path)
    }

    /// Where it will be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the bytes durable and gives them their name, in place of an earlier artifact.
    ///
    /// # Errors
    /// [`Error::Io`]; the artifact is removed then.
    pub fn finish(mut self) -> Result<PathBuf, Error> {
        // The bytes before the name: after a crash, a name that was made durable first could stand
        // for a file without them.
        self.file.sync_all()?;
        fs_err::rename(self.unfinished_path(), &self.path)?;
        self.unfinished = None;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(self.path.clone())
    }

    /// As [`finish`](Self::finish), for small artifacts; but an earlier one of this user with the same
    /// permissions and the same bytes stays as it is.
    ///
    /// # Errors
    /// As there.
    pub fn finish_if_changed(mut self) -> Result<PathBuf, Error> {
        // What cannot be read is not the same.
        if self.is_there_already().unwrap_or(false) { Ok(self.path.clone()) } else { self.finish() }
    }

    fn is_there_already(&mut self) -> io::Result<bool> {
        // Not following a link: in a shared directory anyone may have put one there.
        let mut earlier = regular::open_with(&self.path, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())?;
        let [ours, its] = [self.file.metadata()?, earlier.metadata()?]
            .map(|metadata| (metadata.uid(), metadata.mode(), metadata.len()));
        if ours != its {
            return Ok(false);
        }
        let (mut bytes, mut its_bytes) = (Vec::new(), Vec::new());
        self.file.rewind()?;
        self.file.read_to_end(&mut bytes)?;
        Read::by_ref(&mut earlier).take(ours.2 + 1).read_to_end(&mut its_bytes)?;
        Ok(bytes == its_bytes)
    }
}

impl Drop for Artifact {
    fn drop(&mut self) {
        if let Some(path) = self.unfinished.take() {
            // What stays is removed with the work directory.
            let _ = fs_err::remove_file(path);
        }
    }
}

impl Write for Artifact {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Read for Artifact {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Seek for Artifact {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
