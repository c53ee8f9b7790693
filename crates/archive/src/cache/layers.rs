//! Layers: systems that an earlier build installed, each a tarball, by what they were made of.
//!
//! ```text
//! layers/KEY.tar   the tarball; KEY is the SHA-256 of the text that says what it was made of
//! layers/KEY       its digest (BLAKE3, see `digest_of`) and length, and that text; there is a layer once this is there
//! layers/new-…     a tarball that is being written; who writes it holds its lock
//! ```
//!
//! What is damaged, or cut off, is as good as nothing: the text has to be that of the name, and the bytes
//! those of the digest. So a process may be killed at any point, and no file need be durable. The layers
//! that were not used for the longest time make room for new ones.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fam_host::parallel::on_all_processors;
use fam_host::read_at::ReadAt;
use fs_err as fs;
use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock};
use rustix::io::Errno;

use super::{Cache, Error};
use crate::digest::sha256;

pub(super) const DIRECTORY: &str = "layers";
/// The beginning of a record. A layer of another format is passed over, and goes when room is needed.
const FORMAT: &str = "fam-build layer 3";
/// Far more than what all packages of Debian are called.
const MAX_RECORD_BYTES: u64 = 64 << 20;
const TARBALL: &str = "tar";
const UNFINISHED: &str = "new-";
/// A layer is digested in pieces of this size, several at once. Part of [`FORMAT`].
const PIECE_BYTES: u64 = 16 << 20;

/// A layer of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    made_of: String,
    /// Of the digests of the tarball's pieces. BLAKE3 takes a quarter of the time that SHA-256 does.
    digest: blake3::Hash,
    bytes: u64,
}

impl Layer {
    /// What it was made of, as its maker wrote it.
    #[must_use]
    pub fn made_of(&self) -> &str {
        &self.made_of
    }

    fn key(&self) -> String {
        key(&self.made_of)
    }

    /// Whether `file` has the very bytes that were kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_whole(&self, file: &fs::File) -> io::Result<bool> {
        Ok(digest_of(file)?.0 == self.digest)
    }

    fn to_record(&self) -> String {
        format!("{FORMAT} {} {}\n{}", self.digest, self.bytes, self.made_of)
    }

    /// The layer of the record under the name `key`.
    fn parse(key: &str, record: &[u8]) -> Option<Self> {
        let (head, made_of) = str::from_utf8(record).ok()?.split_once('\n')?;
        let (digest, bytes) = head.strip_prefix(FORMAT)?.strip_prefix(' ')?.split_once(' ')?;
        let layer = Self { made_of: made_of.to_owned(), digest: digest.parse().ok()?, bytes: bytes.parse().ok()? };
        (layer.key() == key).then_some(layer)
    }
}

fn key(made_of: &str) -> String {
    sha256(made_of.as_bytes()).to_string()
}

/// The digest of the digests of a file's pieces of [`PIECE_BYTES`] each, and the length of the file.
fn digest_of(file: &fs::File) -> io::Result<(blake3::Hash, u64)> {
    let bytes = file.metadata()?.len();
    let starts: Vec<u64> = (0..bytes.div_ceil(PIECE_BYTES)).map(|number| number * PIECE_BYTES).collect();
    let digest_from = |&start: &u64| -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        // Others read the same file meanwhile.
        hasher.update_reader(ReadAt::new(file, start).take(PIECE_BYTES))?;
        Ok(hasher.finalize())
    };
    let mut hasher = blake3::Hasher::new();
    for digest in on_all_processors(&starts, digest_from)? {
        hasher.update(digest.as_bytes());
    }
    Ok((hasher.finalize(), bytes))
}

/// A layer that is being written. Dropped before it is [finished](Self::finish), it is removed.
#[derive(Debug)]
pub struct NewLayer {
    cache: Cache,
    path: PathBuf,
    file: fs::File,
}

impl NewLayer {
    /// Where its tarball goes.
    #[must_use]
    pub fn file(&self) -> &fs::File {
        &self.file
    }

    /// Takes room for so many bytes, which what is written at the same time cannot take then.
    fn reserve(&self, bytes: u64) -> rustix::io::Result<()> {
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            // Not every file system does it, and none does it for nothing.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            reserved => reserved,
        }
    }

    /// Keeps it as what was made of `made_of`. Where another build kept the same meanwhile, that one stays.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn finish(self, made_of: &str) -> Result<(), Error> {
        let (digest, bytes) = digest_of(&self.file).map_err(|error| self.cache.error(error))?;
        let layer = Layer { made_of: made_of.to_owned(), digest, bytes };

        let _lock = self.cache.lock(DIRECTORY)?;
        if self.cache.layer(made_of).is_some() {
            return Ok(());
        }
        let record = self.cache.layer_path(&layer.key());
        // A record that was there is damaged, and of other bytes than these.
        let placed = remove_if_there(&record).and_then(|()| fs::rename(&self.path, record.with_extension(TARBALL)));
        placed.map_err(|error| self.cache.error(error))?;
        self.cache.replace(&record, layer.to_record().as_bytes())
    }
}

impl Drop for NewLayer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Cache {
    fn layer_path(&self, key: &str) -> PathBuf {
        self.root.join(DIRECTORY).join(key)
    }

    /// The layer that was made of this, if there is one. Whether it is whole shows when it is
    /// [opened](Self::open_layer) and [read](Layer::is_whole).
    #[must_use]
    pub fn layer(&self, made_of: &str) -> Option<Layer> {
        self.layer_of_key(&key(made_of))
    }

    fn layer_of_key(&self, key: &str) -> Option<Layer> {
        let file = self.open_if_there(&self.layer_path(key)).ok()??;
        let mut record = Vec::new();
        file.take(MAX_RECORD_BYTES).read_to_end(&mut record).ok()?;
        Layer::parse(key, &record)
    }

    /// All layers, in no order.
    #[must_use]
    pub fn layers(&self) -> Vec<Layer> {
        let Ok(names) = names(&self.root.join(DIRECTORY)) else { return Vec::new() };
        names.iter().filter_map(|name| self.layer_of_key(name)).collect()
    }

    /// Opens the tarball of a layer, and notes that it was used now; `None` where it is gone.
    #[must_use]
    pub fn open_layer(&self, layer: &Layer) -> Option<fs::File> {
        let record = self.layer_path(&layer.key());
        let tarball = self.open_if_there(&record.with_extension(TARBALL)).ok()??;
        if tarball.metadata().ok()?.len() != layer.bytes {
            return None;
        }
        if let Ok(Some(record)) = self.open_if_there(&record) {
            let _ = record.file().set_modified(SystemTime::now());
        }
        Some(tarball)
    }

    /// Removes a layer, since it is damaged.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_layer(&self, layer: &Layer) -> Result<(), Error> {
        let _lock = self.lock(DIRECTORY)?;
        self.remove_layer_of(&layer.key())
    }

    fn remove_layer_of(&self, key: &str) -> Result<(), Error> {
        let record = self.layer_path(key);
        // The record first: what has none is no layer.
        let removed = remove_if_there(&record).and_then(|()| remove_if_there(&record.with_extension(TARBALL)));
        removed.map_err(|error| self.error(error))
    }

    /// Begins a layer of `bytes`; the layers that were not used for the longest time make room, so that all
    /// together have `limit` bytes at the most. `None` where that is too little for this one.
    ///
    /// # Errors
    /// When no file can be made, it has no room, or one cannot be removed.
    pub fn new_layer(&self, bytes: u64, limit: u64) -> Result<Option<NewLayer>, Error> {
        let _lock = self.lock(DIRECTORY)?;
        self.make_room(limit.saturating_sub(bytes)).map_err(|error| self.error(error))?;
        if bytes > limit {
            return Ok(None);
        }
        let mut number = 0;
        loop {
            let path = self.layer_path(&format!("{UNFINISHED}{}-{number}", std::process::id()));
            match self.open_file(&path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
                Ok(file) => {
                    flock(&file, FlockOperation::LockExclusive).map_err(|error| self.error(error.into()))?;
                    let new = NewLayer { cache: self.clone(), path, file };
                    new.reserve(bytes).map_err(|error| self.error(error.into()))?;
                    return Ok(Some(new));
                }
                // Of another process of this number, perhaps in another namespace.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes what killed builds left, and layers until those that stay have `limit` bytes at the most.
    fn make_room(&self, limit: u64) -> io::Result<()> {
        let mut used = Vec::new();
        for name in names(&self.root.join(DIRECTORY))? {
            let path = self.layer_path(&name);
            let tarball_of = name.strip_suffix(TARBALL).and_then(|rest| rest.strip_suffix('.'));
            if name.starts_with(UNFINISHED) {
                if !is_being_written(&path) {
                    let _ = fs::remove_file(&path);
                }
            } else if self.layer_of_key(tarball_of.unwrap_or(&name)).is_none() {
                // Something that is no file may stand there; it does not keep others from having room.
                let _ = fs::remove_file(&path);
            } else if tarball_of.is_none() {
                used.push((fs::metadata(&path)?.modified()?, name));
            }
        }
        used.sort();
        let length = |key: &str| fs::metadata(self.layer_path(key).with_extension(TARBALL)).map_or(0, |it| it.len());
        let mut total: u64 = used.iter().map(|(_, name)| length(name)).sum();
        for (_, name) in used {
            if total <= limit {
                break;
            }
            total -= length(&name);
            self.remove_layer_of(&name).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

fn is_being_written(unfinished: &Path) -> bool {
    let Ok(file) = fs::File::open(unfinished) else { return true };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use fs::os::unix::fs::FileExt;

    use super::super::tests::damaged_at_each_byte;
    use super::*;

    const LIMIT: u64 = 1000;

    struct Place {
        directory: tempfile::TempDir,
        cache: Cache,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let cache = Cache::open(directory.path()).unwrap();
            Self { directory, cache }
        }

        fn keep(&self, made_of: &str, bytes: &[u8]) {
            let new = self.cache.new_layer(bytes.len() as u64, LIMIT).unwrap().unwrap();
            new.file().write_all_at(bytes, 0).unwrap();
            new.finish(made_of).unwrap();
        }

        /// The bytes of a layer that is there and whole.
        fn take(&self, made_of: &str) -> Option<Vec<u8>> {
            let layer = self.cache.layer(made_of)?;
            assert_eq!(layer.made_of(), made_of);
            let mut file = self.cache.open_layer(&layer)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            layer.is_whole(&file).unwrap().then_some(bytes)
        }

        fn files(&self) -> Vec<String> {
            let mut names = names(&self.directory.path().join(DIRECTORY)).unwrap();
            names.sort();
            names
        }
    }

    #[test]
    fn a_layer_is_whole_or_not_there() {
        let place = Place::new();
        assert_eq!(place.take("a"), None);
        place.keep("a", b"one");
        assert_eq!(place.take("a").as_deref(), Some(&b"one"[..]));
        // Another build was as fast.
        place.keep("a", b"other");
        assert_eq!(place.take("a").as_deref(), Some(&b"one"[..]));
        assert_eq!(place.files(), [key("a"), format!("{}.tar", key("a"))]);

        let record = place.cache.layer_path(&key("a"));
        for path in [record.clone(), record.with_extension(TARBALL)] {
            let whole = fs::read(&path).unwrap();
            for damaged in damaged_at_each_byte(&whole) {
                fs::write(&path, &damaged).unwrap();
                assert_eq!(place.take("a"), None, "{}", damaged.escape_ascii());
            }
            fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
            assert_eq!(place.take("a"), None);
            fs::write(&path, whole).unwrap();
        }
        // The record of another layer under this name.
        place.keep("b", b"two");
        fs::rename(place.cache.layer_path(&key("b")), &record).unwrap();
        assert_eq!((place.take("a"), place.take("b")), (None, None));
        place.keep("a", b"three");
        assert_eq!(place.take("a").as_deref(), Some(&b"three"[..]), "what is damaged is replaced");
        let layer = place.cache.layer("a").unwrap();
        place.cache.remove_layer(&layer).unwrap();
        place.cache.remove_layer(&layer).unwrap();
        assert_eq!(place.take("a"), None);
    }

    #[test]
    fn a_layer_of_another_format_is_passed_over() {
        let place = Place::new();
        place.keep("a", b"one");
        let record = place.cache.layer_path(&key("a"));
        let text = fs::read_to_string(&record).unwrap();
        fs::write(&record, text.replace(FORMAT, "fam-build layer 0")).unwrap();
        assert_eq!(place.take("a"), None);
        place.keep("b", b"two");
        assert_eq!(place.files().len(), 2, "it makes room");
    }

    #[test]
    fn those_not_used_for_long_make_room() {
        let place = Place::new();
        let at = |made_of: &str, seconds: u64| {
            let record = fs::File::open(place.cache.layer_path(&key(made_of))).unwrap();
            record.file().set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        };
        for (seconds, made_of) in (1..).zip(["a", "b", "c"]) {
            place.keep(made_of, &[b'x'; 300]);
            at(made_of, seconds);
        }
        assert!(place.take("a").is_some(), "and now it is the newest");
        place.keep("d", &[b'x'; 300]);
        let there = ["a", "b", "c", "d"].map(|made_of| place.take(made_of).is_some());
        assert_eq!(there, [true, false, true, true]);
        assert!(place.cache.new_layer(LIMIT + 1, LIMIT).unwrap().is_none());
        assert_eq!(place.files(), Vec::<String>::new(), "a limit that was lowered");
    }

    #[test]
    fn a_layer_has_its_room_from_the_beginning() {
        let place = Place::new();
        let new = place.cache.new_layer(1 << 20, u64::MAX).unwrap().unwrap();
        let metadata = new.file().metadata().unwrap();
        assert_eq!(metadata.len(), 0);
        assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) * 512 >= 1 << 20);
        drop(new);
        assert!(place.cache.new_layer(1 << 60, u64::MAX).is_err());
        assert_eq!(place.files(), Vec::<String>::new());
    }

    #[test]
    fn what_killed_builds_left_goes() {
        let place = Place::new();
        let going_on = place.cache.new_layer(1, LIMIT).unwrap().unwrap();
        let left = place.directory.path().join(DIRECTORY).join("new-1-0");
        fs::write(&left, "x").unwrap();
        let without_record = left.with_file_name(format!("{}.tar", key("x")));
        fs::write(&without_record, "x").unwrap();
        let other = place.cache.new_layer(1, LIMIT).unwrap().unwrap();
        other.file().write_all_at(b"x", 0).unwrap();
        assert!(!left.exists() && !without_record.exists());
        assert_eq!(place.files().len(), 2);
        drop(other);
        going_on.finish("a").unwrap();
        assert_eq!(place.take("a").as_deref(), Some(&b""[..]));
        assert_eq!(place.files().len(), 2);
    }
}
