//! SHA-256 digests: the names of things in the cache, and the proof that their bytes are right.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// Reads 64 hexadecimal digits, in either case of letters.
#[must_use]
pub fn parse_sha256(text: &str) -> Option<Sha256Digest> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

/// The 64 lower-case hexadecimal digits of `digest`.
#[must_use]
pub fn hex(digest: &Sha256Digest) -> String {
    hex::encode(digest)
}

/// The digest of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256::digest(bytes).into()
}

/// A digest in the making, with the number of bytes that went into it.
#[derive(Debug, Clone, Default)]
pub(super) struct Hasher {
    state: Sha256,
    length: u64,
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
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
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn finish(self) -> Sha256Digest {
        self.state.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_both_ways() {
        let empty = sha256(b"");
        let digits = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&empty), digits);
        assert_eq!(parse_sha256(digits), Some(empty));
        assert_eq!(parse_sha256(&digits.to_uppercase()), Some(empty));
        for bad in
            ["", "e3", &digits[1..], &digits.replace('e', "g"), &format!("{digits}00"), &digits.replace("e3", "é")]
        {
            assert_eq!(parse_sha256(bad), None, "{bad}");
        }
    }

    #[test]
    fn reading_stops_beyond_the_limit() {
        let mut hasher = Hasher::default();
        hasher.read(&[0; 100][..], 10).unwrap();
        assert_eq!(hasher.length(), 11);
    }
}
