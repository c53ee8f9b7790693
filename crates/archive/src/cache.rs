//! The cache: files by their digests, shared by several builds at once, and the newest Release
//! dates that were seen.
//!
//! ```text
//! sha256/ab/abcd…   whole files, moved here only after their digest was right
//! sha512/ab/abcd…   those of archives that list no SHA-256
//! part/abcd…        files being fetched; the process that fetches one holds its lock
//! signed/…          signed Release files, with the headers by which the server knows this state of each
//! chosen/…          sets of packages, by all that they were chosen from
//! layers/…          systems that earlier builds installed, by all that they were made of
//! seen/…            newest Date of a Release file by mirror and suite; changed under the directory's lock
//! ```
//!
//! The digest in the name is verified again whenever a file is taken from the cache, because disks,
//! crashes and users damage files; that costs some 0.2 s for a whole system with the CPU's SHA
//! instructions. A process may be killed at any point: the kernel drops its locks, and a part is
//! only ever a beginning, which the next one to fetch it continues.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use fam_host::regular;
use fam_progress::Hint;
use fs_err as fs;
use jiff::Timestamp;
use rustix::fs::{Access, AtFlags, CWD, FlockOperation, Mode, OFlags, accessat, flock};

use super::digest::{Algorithm, Digest, Hasher, sha256};

mod kept;
mod layers;

pub use kept::Shelf;
pub use layers::{Layer, NewLayer};

/// A record has 86 bytes.
const MAX_RECORD_BYTES: u64 = 4096;

/// Why the cache cannot be used.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its directories cannot be made or written.
    #[error("the cache {} cannot be used: {source}", root.display())]
    Unwritable {
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its file system is full.
    #[error("the file system of the cache {} is full", root.display())]
    Full { root: PathBuf },
    /// Something else than a file of the cache is in its place.
    #[error("cache: {} is {found}, not a regular file", path.display())]
    Foreign { path: PathBuf, found: &'static str },
    /// The record of the newest date that was seen says nothing.
    #[error("the record of the newest indexes of suite {suite} that were ever seen is damaged: {}", path.display())]
    Record { suite: String, path: PathBuf },
    /// Something else went wrong with one of its files; the error names it.
    #[error("cache: {0}")]
    Io(#[source] io::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unwritable { .. } => "name a directory that you may write with --cache-dir DIR".to_owned(),
            Self::Full { root } => format!(
                "free some space, empty {}, or name a directory on another file system with --cache-dir DIR",
                root.display()
            ),
            Self::Foreign { path, .. } => format!("remove {}", path.display()),
            Self::Record { path, .. } => format!(
                "without it, indexes older than those would be taken: if you know that the mirror is up to date, remove {}, or \
                 give --accept-expired once",
                path.display()
            ),
            Self::Io(_) => return None,
        })
    }
}

/// A cache directory.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// What was found when a file was to be fetched.
#[derive(Debug)]
pub(super) enum Claim {
    /// It is in the cache, and whole: another process fetched it meanwhile.
    Cached,
    /// It is to be fetched, and no other process fetches it until this is dropped.
    Part(Box<Part>),
}

impl Cache {
    /// Opens the cache in `root`, and makes the directory if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        let cache = Self { root };
        for name in Algorithm::ALL
            .map(Algorithm::key)
            .into_iter()
            .chain(["part", "seen", layers::DIRECTORY])
            .chain(Shelf::ALL.map(Shelf::directory))
        {
            std::fs::DirBuilder::new()
                .recursive(true)
                // What only this user can write stays as it was verified.
                .mode(0o700)
                .create(cache.root.join(name))
                .map_err(|source| cache.unwritable(source))?;
        }
        // The directories may have been there, and belong to another user or lie on a file system
        // mounted read-only.
        accessat(CWD, cache.root.join("part"), Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|error| cache.unwritable(error.into()))?;
        Ok(cache)
    }

    fn unwritable(&self, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { root: self.root.clone() },
            _ => Error::Unwritable { root: self.root.clone(), source },
        }
    }

    pub(super) fn error(&self, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { root: self.root.clone() },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => self.unwritable(source),
            _ => Error::Io(source),
        }
    }

    /// Locks one of the directories until what is returned is closed.
    fn lock(&self, directory: &str) -> Result<fs::File, Error> {
        let directory = fs::File::open(self.root.join(directory)).map_err(|error| self.error(error))?;
        flock(&directory, FlockOperation::LockExclusive).map_err(|error| self.error(error.into()))?;
        Ok(directory)
    }

    /// Writes a small file in the place of another one, in a directory that is locked. After a crash there may be
    /// any part of it.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let unfinished = path.with_extension("new");
        let mut file = self.open_file(&unfinished, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        file.write_all(bytes).and_then(|()| fs::rename(&unfinished, path)).map_err(|error| self.error(error))
    }

    /// As [`open_file`], with what is wrong with the whole cache.
    fn open_file(&self, path: &Path, flags: OFlags) -> Result<fs::File, Error> {
        open_file(path, flags).map_err(|error| match error {
            Error::Io(error) => self.error(error),
            foreign => foreign,
        })
    }

    /// As [`Self::open_file`], for reading; `None` where there is none.
    fn open_if_there(&self, path: &Path) -> Result<Option<fs::File>, Error> {
        match self.open_file(path, OFlags::RDONLY) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.root
    }

    /// Where the file with this digest is, once it is there.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(digest.algorithm().key()).join(&name[..2]).join(name)
    }

    /// The file with this digest and size, if it is there and its bytes are right.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn lookup(&self, digest: &Digest, size: u64) -> Result<Option<PathBuf>, Error> {
        let path = self.path(digest);
        let Some(file) = self.open_if_there(&path)? else { return Ok(None) };
        if file.metadata().map_err(|error| self.error(error))?.len() != size {
            return Ok(None);
        }
        let is_whole = digest.is_of_reader(file, size).map_err(|error| self.error(error))?;
        Ok(is_whole.then_some(path))
    }

    /// Takes the exclusive right to fetch the file with this digest; waits while another process
    /// has it. `waiting` is called before a wait.
    pub(super) fn claim(&self, digest: &Digest, size: u64, waiting: impl Fn()) -> Result<Claim, Error> {
        let path = self.root.join("part").join(digest.to_string());
        let to_cache_error = |error| self.error(error);
        let file = loop {
            let file = self.open_file(&path, OFlags::RDWR | OFlags::CREATE)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                waiting();
                flock(&file, FlockOperation::LockExclusive).map_err(|error| to_cache_error(error.into()))?;
            }
            // While this process waited, the other may have moved the file into place: then the
            // lock is on that.
            let locked = file.metadata().map_err(to_cache_error)?;
            match fs::symlink_metadata(&path) {
                Ok(current) if (current.dev(), current.ino()) == (locked.dev(), locked.ino()) => break file,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(to_cache_error(error)),
            }
        };
        if self.lookup(digest, size)?.is_some() {
            fs::remove_file(&path).map_err(to_cache_error)?;
            return Ok(Claim::Cached);
        }
        let mut part =
            Part { cache: self.clone(), path, file, digest: *digest, size, hasher: Hasher::new(digest.algorithm()) };
        part.resume()?;
        Ok(Claim::Part(Box::new(part)))
    }

    /// The newest Date of a Release file of this suite that was ever [remembered](Self::remember).
    ///
    /// # Errors
    /// [`Error::Record`] where the record is damaged: to go on as if nothing had been seen
    /// would make damage a way to have older indexes taken. Else when it cannot be read.
    pub fn newest_seen(&self, mirror: &str, suite: &str) -> Result<Option<Timestamp>, Error> {
        let path = self.seen_path(mirror, suite);
        let Some(file) = self.open_if_there(&path)? else { return Ok(None) };
        let mut record = Vec::new();
        file.take(MAX_RECORD_BYTES).read_to_end(&mut record).map_err(|error| self.error(error))?;
        let date = || {
            let (date, key) = str::from_utf8(&record).ok()?.strip_suffix('\n')?.split_once('\n')?;
            date.parse().ok().filter(|_| key == seen_key(mirror, suite))
        };
        date().map(Some).ok_or_else(|| Error::Record { suite: suite.to_owned(), path })
    }

    /// Remembers the Date of a verified Release file, unless a newer one is known. A damaged record
    /// is replaced.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn remember(&self, mirror: &str, suite: &str, date: Timestamp) -> Result<(), Error> {
        let to_cache_error = |error| self.error(error);
        let path = self.seen_path(mirror, suite);
        let _lock = self.lock("seen")?;
        match self.newest_seen(mirror, suite) {
            Ok(Some(seen)) if seen >= date => return Ok(()),
            Ok(_) | Err(Error::Record { .. }) => {}
            Err(error) => return Err(error),
        }
        // Durable before it has its name: a build that is killed, or a host that loses power,
        // leaves no part of one.
        let unfinished = path.with_extension("new");
        let mut file = self.open_file(&unfinished, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        let record = format!("{}\n{}\n", date.strftime("%Y-%m-%dT%H:%M:%SZ"), seen_key(mirror, suite));
        file.write_all(record.as_bytes()).and_then(|()| file.sync_all()).map_err(to_cache_error)?;
        fs::rename(&unfinished, &path).map_err(to_cache_error)
    }

    /// The names are hashed: a mirror's URL holds slashes.
    fn seen_path(&self, mirror: &str, suite: &str) -> PathBuf {
        self.root.join("seen").join(seen_key(mirror, suite))
    }
}

fn seen_key(mirror: &str, suite: &str) -> String {
    sha256(format!("{mirror}\n{suite}").as_bytes()).to_string()
}

/// Opens a file of a cache, where there are only regular files and no links.
fn open_file(path: &Path, flags: OFlags) -> Result<fs::File, Error> {
    let opened = regular::open_with(path, flags | OFlags::NOFOLLOW, Mode::from_raw_mode(0o600));
    opened.map_err(|error| match error {
        regular::Error::Other { path, found } => Error::Foreign { path, found },
        regular::Error::Io(error) => Error::Io(error),
    })
}

/// The beginning of a file, locked. Writing appends and hashes.
#[derive(Debug)]
pub(super) struct Part {
    cache: Cache,
    path: PathBuf,
    file: fs::File,
    digest: Digest,
    size: u64,
    hasher: Hasher,
}

impl Part {
    /// How much of the file is there.
    pub(super) fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Whether all bytes are there.
    pub(super) fn is_full(&self) -> bool {
        self.length() == self.size
    }

    fn resume(&mut self) -> Result<(), Error> {
        let to_cache_error = |error| self.cache.error(error);
        let length = self.file.metadata().map_err(to_cache_error)?.len();
        if length > self.size {
            return self.restart();
        }
        self.file.seek(SeekFrom::Start(0)).map_err(to_cache_error)?;
        // The digest of the whole needs the bytes that are there.
        self.hasher.read((&mut self.file).take(length), length).map_err(to_cache_error)?;
        Ok(())
    }

    /// Drops what is there.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        self.hasher = Hasher::new(self.digest.algorithm());
        self.file.set_len(0).map_err(|error| self.cache.error(error))?;
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.cache.error(error))?;
        Ok(())
    }

    /// Appends `bytes`.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| self.cache.error(error))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Moves the file to its place if its digest is right; else drops what was there and tells the
    /// wrong digest.
    pub(super) fn publish(&mut self) -> Result<Result<PathBuf, Digest>, Error> {
        let found = self.hasher.clone().finish();
        if !self.is_full() || found != self.digest {
            self.restart()?;
            return Ok(Err(found));
        }
        let path = self.cache.path(&self.digest);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| self.cache.error(error))?;
        }
        fs::rename(&self.path, &path).map_err(|error| self.cache.error(error))?;
        Ok(Ok(path))
    }
}

/// Reads a whole file of the cache, whose bytes must have the digest that its name tells.
///
/// # Errors
/// When it cannot be read, or was damaged since it was looked up.
pub(super) fn read_verified(path: &Path, size: u64, digest: &Digest) -> Result<Vec<u8>, Error> {
    let file = open_file(path, OFlags::RDONLY)?;
    let mut bytes = Vec::new();
    file.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::Io)?;
    if bytes.len() as u64 != size || !digest.is_of(&bytes) {
        return Err(Error::Io(io::Error::other(format!("{} was changed while in use", path.display()))));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
