//! Digests of files: their names in the cache, and the proof that their bytes are right.

use std::convert::identity;
use std::fmt;
use std::io::{self, Read};

use fam_host::pieces::for_each_piece;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// How a digest is computed. Those that are too weak to vouch for a file (MD5, SHA-1) are not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// What all archives of Debian's list.
    Sha256,
    /// What a few others list alone.
    Sha512,
}

impl Algorithm {
    /// All of them; where an archive lists several, the first is taken.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Its name in Release files, indexes and SPDX, and of the folder of files by hash.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// Its name in locks, and of the folder in the cache.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal digits a digest has.
    #[must_use]
    pub fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// Reads hexadecimal digits, in either case of letters.
    #[must_use]
    pub fn parse(self, text: &str) -> Option<Digest> {
        match self {
            Self::Sha256 => {
                let mut digest = [0; 32];
                hex::decode_to_slice(text, &mut digest).ok()?;
                Some(Digest::Sha256(digest))
            }
            Self::Sha512 => {
                let mut digest = [0; 64];
                hex::decode_to_slice(text, &mut digest).ok()?;
                Some(Digest::Sha512(digest))
            }
        }
    }

    /// The digest of `bytes`.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(self);
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// The digest of a file. It is shown as lower-case hexadecimal digits; serialized, its algorithm and
/// a colon come before them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Digest {
    /// A SHA-256.
    Sha256([u8; 32]),
    /// A SHA-512.
    Sha512([u8; 64]),
}

impl Digest {
    /// How it was computed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Whether it is that of `bytes`.
    #[must_use]
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        self.algorithm().digest(bytes) == *self
    }

    /// Whether it is that of the bytes of `reader`, of which there are `size`; reads at most one more.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_of_reader(&self, reader: impl Read, size: u64) -> io::Result<bool> {
        let mut hasher = Hasher::new(self.algorithm());
        hasher.read(reader, size)?;
        Ok(hasher.length() == size && hasher.finish() == *self)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        format!("{}:{digest}", digest.algorithm().key())
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (key, digits) = text.split_once(':').unwrap_or_default();
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.key() == key);
        algorithm.and_then(|algorithm| algorithm.parse(digits)).ok_or("this is no digest")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(bytes) => f.write_str(&hex::encode(bytes)),
            Self::Sha512(bytes) => f.write_str(&hex::encode(bytes)),
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.algorithm())
    }
}

/// The SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    Algorithm::Sha256.digest(bytes)
}

/// A digest in the making, with the number of bytes that went into it.
#[derive(Debug, Clone)]
pub(super) struct Hasher {
    state: State,
    length: u64,
}

#[derive(Debug, Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::default()),
        };
        Self { state, length: 0 }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
        self.length += bytes.len() as u64;
    }

    /// How many bytes were hashed.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Hashes `reader` to its end, but at most one byte more than `limit`: enough to know that it
    /// is too long.
    pub(super) fn read(&mut self, reader: impl Read, limit: u64) -> io::Result<()> {
        let mut reader = reader.take(limit.saturating_add(1));
        for_each_piece(&mut reader, &mut vec![0; 256 << 10], identity, |piece| {
            self.update(piece);
            Ok(())
        })
    }

    pub(super) fn finish(self) -> Digest {
        match self.state {
            State::Sha256(state) => Digest::Sha256(state.finalize().into()),
            State::Sha512(state) => Digest::Sha512(state.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_both_ways() {
        // What sha256sum and sha512sum print of an empty file.
        for (algorithm, digits) in [
            (Algorithm::Sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (
                Algorithm::Sha512,
                "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
                 47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
            ),
        ] {
            let empty = algorithm.digest(b"");
            assert_eq!(empty.to_string(), digits);
            assert_eq!((digits.len(), empty.algorithm()), (algorithm.digits(), algorithm));
            assert_eq!(algorithm.parse(digits), Some(empty));
            assert_eq!(algorithm.parse(&digits.to_uppercase()), Some(empty));
            assert!(empty.is_of(b"") && !empty.is_of(b"a"));
            let (first, rest) = digits.split_at(2);
            for bad in ["", first, &digits[1..], &format!("zz{rest}"), &format!("{digits}00"), &format!("é{rest}")] {
                assert_eq!(algorithm.parse(bad), None, "{bad}");
            }
        }
    }

    #[test]
    fn reading_stops_beyond_the_limit() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.read(&[0; 100][..], 10).unwrap();
        assert_eq!(hasher.length(), 11);
        assert!(sha256(b"ab").is_of_reader(&b"ab"[..], 2).unwrap());
        assert!(!sha256(b"ab").is_of_reader(&b"abc"[..], 2).unwrap());
        assert!(!sha256(b"ab").is_of_reader(&b"ab"[..], 3).unwrap());
    }
}
