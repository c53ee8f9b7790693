//! The files beside a recipe that plugins only copy: hashed when settings are checked, and read again
//! when they are copied, so that their bytes are never in memory, nor in what the worker is told.
//!
//! What a plugin gets and asks for is a digest. Which file that is, is known here alone.

use std::collections::BTreeMap;
use std::convert::identity;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use fam_host::pieces::for_each_piece;
use fam_host::regular;
use fam_plugin::{FileDigest, Problem};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Where the bytes are that settings name by a digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedFiles {
    /// By SHA-256, each with its size. Of files with the same bytes it is any one.
    places: BTreeMap<String, (u64, PathBuf)>,
    bytes: u64,
}

impl CopiedFiles {
    /// The bytes of all of them, as often as they are named.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the file at `place` once, and gives what names its bytes.
    pub(super) fn add(&mut self, place: &Path) -> io::Result<FileDigest> {
        let mut hash = Sha256::new();
        let size = pass(&mut open(place)?, u64::MAX, |chunk| {
            hash.update(chunk);
            Ok(())
        })?;
        let sha256 = hex::encode(hash.finalize());
        self.places.entry(sha256.clone()).or_insert_with(|| (size, place.to_owned()));
        self.bytes = self.bytes.saturating_add(size);
        Ok(FileDigest { size, sha256 })
    }

    /// These and the `others`.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        for (sha256, place) in &others.places {
            self.places.entry(sha256.clone()).or_insert_with(|| place.clone());
        }
        self.bytes = self.bytes.saturating_add(others.bytes);
        self
    }

    /// Whether this process can open each of them, and finds the size that it had: a worker asks
    /// before it begins.
    pub(super) fn require(&self) -> Result<(), Problem> {
        self.places.values().try_for_each(|(size, place)| {
            let metadata = open(place).and_then(|file| file.metadata());
            match metadata.map_err(|error| Problem::Other(error.to_string()))?.len() {
                found if found == *size => Ok(()),
                _ => Err(changed(place)),
            }
        })
    }

    /// Writes the bytes that `file` names to `to`, and checks that they are these.
    pub(super) fn copy(&self, file: &FileDigest, to: &mut impl Write) -> Result<(), Problem> {
        let Some((size, place)) = self.places.get(&file.sha256).filter(|(size, _)| *size == file.size) else {
            return Err(Problem::Other("no file of the settings has this digest".into()));
        };
        let mut hash = Sha256::new();
        let other = |error: io::Error| Problem::Other(error.to_string());
        let mut from = open(place).map_err(other)?;
        // One that has grown is not copied to its end.
        let copied = pass(&mut from, size.saturating_add(1), |chunk| {
            hash.update(chunk);
            to.write_all(chunk)
        });
        if copied.map_err(other)? == *size && hex::encode(hash.finalize()) == file.sha256 {
            Ok(())
        } else {
            Err(changed(place))
        }
    }
}

fn changed(place: &Path) -> Problem {
    Problem::Changed(place.display().to_string())
}

/// Opens a file that was a regular one when it was looked at.
fn open(place: &Path) -> io::Result<fs_err::File> {
    Ok(regular::open_with(place, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())?)
}

/// Hands the bytes of `from` to `each`, at most `limit` of them; returns how many there were.
fn pass(from: &mut impl Read, limit: u64, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let mut passed = 0;
    for_each_piece(&mut from.take(limit), &mut vec![0; CHUNK_BYTES], identity, |chunk| {
        passed += chunk.len() as u64;
        each(chunk)
    })?;
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_is_what_was_hashed() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("blob");
        let bytes: Vec<u8> = (0..3 * CHUNK_BYTES + 5).map(|index| (index % 251) as u8).collect();
        fs_err::write(&place, &bytes).unwrap();
        let mut files = CopiedFiles::default();
        let digest = files.add(&place).unwrap();
        assert_eq!((digest.size, &digest.sha256), (bytes.len() as u64, &hex::encode(Sha256::digest(&bytes))));
        let files = CopiedFiles::default().and(&files).and(&files);
        assert_eq!(files.bytes(), 2 * bytes.len() as u64);
        let copy = |digest: &FileDigest| {
            let mut to = tempfile::tempfile().unwrap();
            let copied = files.copy(digest, &mut to);
            let mut written = Vec::new();
            std::io::Seek::rewind(&mut to).unwrap();
            to.read_to_end(&mut written).unwrap();
            copied.map(|()| written)
        };
        assert_eq!(copy(&digest).unwrap(), bytes);
        assert_eq!(files.require(), Ok(()));
        for unknown in
            [FileDigest { size: 1, ..digest.clone() }, FileDigest { sha256: String::new(), ..digest.clone() }]
        {
            assert_eq!(copy(&unknown).unwrap_err().to_string(), "no file of the settings has this digest");
        }

        let mut same_size = bytes.clone();
        *same_size.last_mut().unwrap() ^= 1;
        let longer = [&bytes[..], b"x"].concat();
        for (other, is_found_early) in [(&same_size[..], false), (&longer[..], true), (&bytes[1..], true), (b"", true)]
        {
            fs_err::write(&place, other).unwrap();
            let expected = format!("{} has changed since the settings were checked", place.display());
            assert_eq!(copy(&digest).unwrap_err().to_string(), expected);
            assert_eq!(files.require().is_err(), is_found_early);
        }
        for (become_other, says) in [("nothing", "No such file"), ("link", "a symbolic link"), ("fifo", "a FIFO")] {
            let _ = fs_err::remove_file(&place);
            match become_other {
                "link" => fs_err::os::unix::fs::symlink("/etc/passwd", &place).unwrap(),
                "fifo" => {
                    let kind = rustix::fs::FileType::Fifo;
                    rustix::fs::mknodat(rustix::fs::CWD, &place, kind, Mode::RUSR, 0).unwrap();
                }
                _ => {}
            }
            for error in [copy(&digest).map(drop).unwrap_err(), files.require().unwrap_err()] {
                let error = error.to_string();
                assert!(error.contains(says) && error.contains(place.to_str().unwrap()), "{error}");
            }
        }
    }
}
