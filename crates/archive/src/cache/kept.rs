//! Small things that a later run may need again, each in a file of its own.
//!
//! The first line of a file is the SHA-256 of all that follows: the key, and what is kept under it. What
//! is damaged, or cut off, is as good as nothing; so files need not be durable, and a process may be
//! killed at any point.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::{Cache, Error};
use crate::digest::sha256;

/// Far more than a signed file, or the choice of all packages of Debian.
const MAX_BYTES: u64 = 64 << 20;
/// How many files a shelf has; the oldest make room for a new one.
const MOST: usize = 100;

/// What is kept, each kind in a directory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Signed Release files, by their URLs.
    Signed,
    /// Sets of packages that were chosen, by what they were chosen from.
    Chosen,
}

impl Shelf {
    pub(super) const ALL: [Self; 2] = [Self::Signed, Self::Chosen];

    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Chosen => "chosen",
        }
    }
}

impl Cache {
    /// What is kept under `key`, if it is there and whole.
    #[must_use]
    pub fn kept(&self, shelf: Shelf, key: &str) -> Option<Vec<u8>> {
        let file = self.open_if_there(&self.kept_path(shelf, key)).ok()??;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        let rest = &bytes[end + 1..];
        if sha256(rest).to_string().as_bytes() != &bytes[..end] {
            return None;
        }
        Some(rest.strip_prefix(key.as_bytes())?.strip_prefix(b"\n")?.to_vec())
    }

    /// Keeps `bytes` under `key`, a line, in the place of what was kept under it before.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&self, shelf: Shelf, key: &str, bytes: &[u8]) -> Result<(), Error> {
        let _lock = self.lock(shelf.directory())?;
        make_room(&self.root.join(shelf.directory())).map_err(|error| self.error(error))?;
        let rest = [key.as_bytes(), b"\n", bytes].concat();
        let text = [sha256(&rest).to_string().as_bytes(), b"\n", &rest].concat();
        self.replace(&self.kept_path(shelf, key), &text)
    }

    fn kept_path(&self, shelf: Shelf, key: &str) -> PathBuf {
        self.root.join(shelf.directory()).join(sha256(key.as_bytes()).to_string())
    }
}

/// Removes the oldest files of a full shelf.
fn make_room(shelf: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(shelf)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let too_many = (files.len() + 1).saturating_sub(MOST);
    files.iter().take(too_many).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::super::tests::damaged_at_each_byte;
    use super::*;

    #[test]
    fn what_is_kept_is_whole_or_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let [signed, chosen] = Shelf::ALL;
        assert_eq!(cache.kept(signed, "a"), None);
        for bytes in [&b"one"[..], b"", b"two\n\n\0"] {
            cache.keep(signed, "a", bytes).unwrap();
            assert_eq!(cache.kept(signed, "a").as_deref(), Some(bytes));
        }
        assert_eq!((cache.kept(chosen, "a"), cache.kept(signed, "a\ntwo")), (None, None));
        let path = cache.kept_path(signed, "a");
        let whole = fs::read(&path).unwrap();
        for damaged in damaged_at_each_byte(&whole) {
            fs::write(&path, &damaged).unwrap();
            assert_eq!(cache.kept(signed, "a"), None, "{}", damaged.escape_ascii());
        }
        // A file of another key in its place.
        cache.keep(signed, "b", b"other").unwrap();
        fs::rename(cache.kept_path(signed, "b"), &path).unwrap();
        assert_eq!(cache.kept(signed, "a"), None);
    }

    #[test]
    fn a_shelf_has_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let old = cache.kept_path(Shelf::Chosen, "0");
        for number in 0..=MOST {
            cache.keep(Shelf::Chosen, &number.to_string(), b"x").unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            fs::File::open(cache.kept_path(Shelf::Chosen, &number.to_string()))
                .unwrap()
                .file()
                .set_modified(time)
                .unwrap();
        }
        assert!(!old.exists());
        assert_eq!(fs::read_dir(directory.path().join("chosen")).unwrap().count(), MOST);
    }
}
