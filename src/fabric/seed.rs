//! The seed: 32 random bytes from which everything that is secret or must differ between clusters
//! is derived, so that the same seed gives the same bytes.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fam_progress::Hint;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use hmac::{Hmac, Mac};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::Sha256;
use uuid::Uuid;

/// A secret of 32 bytes. It does not show itself in debugging output.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// The seed cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or made.
    #[error("the seed: {0}")]
    Io(#[from] io::Error),
    /// The file holds something else.
    #[error("{0} is no seed: 64 hexadecimal digits were expected")]
    Malformed(String),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io(_) => "check the permissions of the output directory, or of the file given to --seed".to_owned(),
            Self::Malformed(file) => {
                format!("remove {file} to have a new one made, or write one: openssl rand -hex 32")
            }
        })
    }
}

impl Seed {
    /// These bytes as a seed.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the seed.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the seed in `path`.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else than a seed.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut text = String::new();
        let malformed = || Error::Malformed(path.display().to_string());
        // A seed has 65 bytes; a file that is none may have any length.
        match fs::File::open(path)?.take(256).read_to_string(&mut text) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(malformed()),
            other => other?,
        };
        let mut seed = [0; 32];
        hex::decode_to_slice(text.trim_end(), &mut seed).map_err(|_| malformed())?;
        Ok(Self(seed))
    }

    /// Reads the seed in `path`, or makes a random one there, readable by its owner only. If
    /// several try this at once, one makes it and all return the same; the file is whole as soon as
    /// it has this name.
    ///
    /// # Errors
    /// The file is there but is no seed, or it cannot be made.
    pub fn read_or_create(path: &Path) -> Result<Self, Error> {
        match Self::read(path) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            found => found,
        }
    }

    fn create(path: &Path) -> Result<Self, Error> {
        /// Keeps the threads of one process apart; its number keeps processes apart.
        static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

        let mut bytes = [0; 32];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        if filled.map_err(io::Error::from)? != bytes.len() {
            return Err(io::Error::other("the kernel gave too few random bytes").into());
        }
        let hex = hex::encode(bytes);

        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".{}.{}.part", std::process::id(), ATTEMPTS.fetch_add(1, Ordering::Relaxed)));
        let unfinished = Path::new(&unfinished);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished)?;
        // On disk before it has its name, so that a crash leaves no damaged seed.
        let written = writeln!(file, "{hex}").and_then(|()| file.sync_all());
        let placed = written.and_then(|()| match renameat_with(CWD, unfinished, CWD, path, RenameFlags::NOREPLACE) {
            // File systems without that flag, such as NFS.
            Err(rustix::io::Errno::INVAL) => fs::hard_link(unfinished, path),
            other => Ok(other?),
        });
        // A rename has removed it already; a link or a failure has not.
        let _ = fs::remove_file(unfinished);
        match placed {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::read(path),
            other => Ok(other.map(|()| Self(bytes))?),
        }
    }

    /// 32 bytes that belong to `label`, and tell nothing of the seed or of what belongs to other
    /// labels: HMAC-SHA-256 (RFC 2104) of the label under the seed, which is HKDF-Expand's first
    /// block but for its counter (RFC 5869).
    #[must_use]
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { unreachable!("HMAC takes a key of any length") };
        mac.chain_update(label).finalize().into_bytes().into()
    }

    /// A UUID that belongs to `label`, of the form of a random one (RFC 9562, version 4).
    #[must_use]
    pub fn uuid(&self, label: &str) -> Uuid {
        let bytes = self.derive(&format!("uuid {label}"));
        let mut half = [0; 16];
        half.copy_from_slice(&bytes[..16]);
        uuid::Builder::from_random_bytes(half).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn derivation_is_hmac_sha256() {
        // python3 -c 'import hmac; print(hmac.new(bytes(range(32)), b"machine-id 1",
        // "sha256").hexdigest())'
        let seed = Seed::from_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        let hex = hex::encode(seed.derive("machine-id 1"));
        assert_eq!(hex, "a295d08d5433253e35ff45f65189c3aebe8555d2db4c1f717184f04ded331af0");
    }

    #[test]
    fn uuids_are_of_version_4_and_differ() {
        let seed = Seed::from_bytes([7; 32]);
        let uuid = seed.uuid("node 1");
        assert_eq!(uuid.get_version_num(), 4);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(uuid, seed.uuid("node 1"));
        assert_ne!(uuid, seed.uuid("node 2"));
        assert_ne!(uuid, Seed::from_bytes([8; 32]).uuid("node 1"));
    }

    #[test]
    fn made_once_for_the_owner_only_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fabric.seed");
        let seeds: Vec<Seed> = std::thread::scope(|scope| {
            let made: Vec<_> = (0..8).map(|_| scope.spawn(|| Seed::read_or_create(&path).unwrap())).collect();
            made.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(seeds.iter().all(|seed| *seed == seeds[0]));
        assert_eq!(Seed::read(&path).unwrap(), seeds[0]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let other = directory.path().join("other");
        assert_ne!(Seed::read_or_create(&other).unwrap(), seeds[0]);
    }

    #[test]
    fn what_is_no_seed_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fabric.seed");
        for content in [&b""[..], b"12", &[b'g'; 64], &[0xff; 64], &[b'a'; 65], &[b'+'; 64]] {
            fs::write(&path, content).unwrap();
            let error = Seed::read_or_create(&path).unwrap_err();
            assert!(matches!(error, Error::Malformed(_)), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn debugging_output_keeps_the_secret() {
        assert_eq!(format!("{:?}", Seed::from_bytes([1; 32])), "Seed(…)");
    }
}
