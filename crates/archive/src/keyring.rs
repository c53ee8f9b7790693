//! The `OpenPGP` keys that Release files may be signed with: Debian's own, built in from `keys/`,
//! and those of `--keyring`.
//!
//! Reading only: what a key may do, and when, is judged in [`signature`](super::signature) for each
//! signature.

use std::fmt;
use std::path::{Path, PathBuf};

use fam_progress::Hint;
use fs_err as fs;
use pgp::armor::{BlockType, Dearmor, DearmorOptions};
use pgp::composed::{SignedPublicKey, SignedPublicKeyParser};
use pgp::packet::{Packet, PacketParser, PacketTrait as _};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Tag};

/// Larger than any keyring of an archive; Debian's whole one is 56 kB.
const MAX_KEYRING_BYTES: u64 = 4 << 20;

const BUILT_IN: [(&str, &[u8]); 6] = [
    ("bookworm-automatic", include_bytes!("../../../keys/debian-archive-bookworm-automatic.asc")),
    ("bookworm-security-automatic", include_bytes!("../../../keys/debian-archive-bookworm-security-automatic.asc")),
    ("bookworm-stable", include_bytes!("../../../keys/debian-archive-bookworm-stable.asc")),
    ("trixie-automatic", include_bytes!("../../../keys/debian-archive-trixie-automatic.asc")),
    ("trixie-security-automatic", include_bytes!("../../../keys/debian-archive-trixie-security-automatic.asc")),
    ("trixie-stable", include_bytes!("../../../keys/debian-archive-trixie-stable.asc")),
];

/// Why a keyring cannot be used.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("read the keyring: {0}")]
    Read(#[from] std::io::Error),
    /// The file is not a keyring.
    #[error("keyring {}: {reason}", path.display())]
    Malformed {
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read(_) => "--keyring takes a readable file of OpenPGP public keys".to_owned(),
            Self::Malformed { .. } => {
                "a keyring holds public keys as `gpg --export` (or `gpg --armor --export`) writes them".to_owned()
            }
        })
    }
}

/// Public keys, each with all that it says about itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
    /// How many of them came in each file, in order.
    per_file: Vec<usize>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.describe()).finish()
    }
}

impl Keyring {
    /// The keys of the Debian archive that are built in.
    ///
    /// # Errors
    /// Never, unless the program was built from damaged keys.
    pub fn debian() -> Result<Self, Error> {
        let mut keyring = Self::default();
        for (name, bytes) in BUILT_IN {
            keyring.add(bytes, &PathBuf::from(format!("(built in) {name}")))?;
        }
        // One file, for they are the keys of one archive.
        keyring.per_file = vec![keyring.keys.len()];
        Ok(keyring)
    }

    /// Adds the keys of a file: binary as `gpg --export` writes them, or one or several armored
    /// blocks.
    ///
    /// # Errors
    /// When the file cannot be read or holds no public key.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        // Before it is read, so that a wrong file does not fill the memory.
        let length = fs::metadata(path)?.len();
        if length > MAX_KEYRING_BYTES {
            return Err(malformed(path, format!("{length} bytes are too many for a keyring")));
        }
        self.add(&fs::read(path)?, path)
    }

    /// Adds the keys in `bytes`, which are called `path` in errors.
    ///
    /// # Errors
    /// When `bytes` holds no public key, or something else than public keys.
    pub fn add(&mut self, bytes: &[u8], path: &Path) -> Result<(), Error> {
        let before = self.keys.len();
        // A binary packet begins with its highest bit set (RFC 9580, section 4.2); armor is ASCII.
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            self.add_packets(bytes, path)?;
        } else {
            if bytes.get(8..12) == Some(b"KBXf") {
                return Err(malformed(path, "a GnuPG keybox, which only GnuPG can read"));
            }
            let text = str::from_utf8(bytes).map_err(|_| malformed(path, "neither armored nor binary OpenPGP"))?;
            if text.contains("-----BEGIN PGP PRIVATE KEY BLOCK-----") {
                return Err(malformed(path, "holds a private key, which has no business here"));
            }
            for block in armored_blocks(text, "PUBLIC KEY BLOCK").map_err(|reason| malformed(path, reason))?.blocks {
                let packets = dearmor(block, BlockType::PublicKey).map_err(|error| malformed(path, error))?;
                self.add_packets(&packets, path)?;
            }
        }
        if self.keys.len() == before {
            return Err(malformed(path, "no OpenPGP public key in it"));
        }
        self.per_file.push(self.keys.len() - before);
        Ok(())
    }

    fn add_packets(&mut self, bytes: &[u8], path: &Path) -> Result<(), Error> {
        let mut packets = Vec::new();
        for packet in PacketParser::new(bytes) {
            match packet {
                // Trust packets are GnuPG's own notes; left in, they would hide the subkeys behind
                // them. A kind of key or signature from the far past or future can verify nothing
                // here, but the others can.
                Ok(Packet::Trust(_) | Packet::Marker(_) | Packet::Padding(_))
                | Err(pgp::errors::Error::Unsupported { .. } | pgp::errors::Error::InvalidPacketContent { .. }) => {}
                Ok(packet) if matches!(packet.tag(), Tag::SecretKey | Tag::SecretSubkey) => {
                    return Err(malformed(path, "holds a private key, which has no business here"));
                }
                Ok(packet) => packets.push(Ok(packet)),
                Err(error) => return Err(malformed(path, error)),
            }
        }
        for key in SignedPublicKeyParser::from_packets(packets.into_iter().peekable()) {
            let key = key.map_err(|error| malformed(path, error))?;
            // A file may have keys that are built in.
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
        Ok(())
    }

    pub(super) fn keys(&self) -> &[SignedPublicKey] {
        &self.keys
    }

    /// The packet of the primary key that has this fingerprint, or a subkey with it, without the
    /// packet's header: 0 to 2 kB that a binary keyring has where it holds the key.
    #[must_use]
    pub fn packet(&self, fingerprint: &str) -> Option<Vec<u8>> {
        let key = self.keys.iter().find(|key| has_fingerprint(key, fingerprint))?;
        key.primary_key.to_bytes().ok()
    }

    /// All keys of the file that the key of this fingerprint came in, as one armored block: what an
    /// archive that changes from one key to the next is checked with.
    #[must_use]
    pub fn armored_file_of(&self, fingerprint: &str) -> Option<String> {
        let mut rest = &self.keys[..];
        for &count in &self.per_file {
            let (file, following) = rest.split_at_checked(count)?;
            if file.iter().any(|key| has_fingerprint(key, fingerprint)) {
                let mut text = Vec::new();
                pgp::armor::write(&file, BlockType::PublicKey, &mut text, None, true).ok()?;
                return String::from_utf8(text).ok();
            }
            rest = following;
        }
        None
    }

    /// One line a key: fingerprint and first user ID.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        self.keys.iter().map(|key| format!("{} {}", hex::encode(key.fingerprint().as_bytes()), user_id(key))).collect()
    }
}

fn has_fingerprint(key: &SignedPublicKey, fingerprint: &str) -> bool {
    let subkeys = key.public_subkeys.iter().map(|subkey| subkey.key.fingerprint());
    std::iter::once(key.fingerprint()).chain(subkeys).any(|own| hex::encode(own.as_bytes()) == fingerprint)
}

/// The first user ID of `key`, or nothing.
pub(super) fn user_id(key: &SignedPublicKey) -> String {
    key.details.users.first().and_then(|user| user.id.as_str()).unwrap_or_default().to_owned()
}

fn malformed(path: &Path, reason: impl fmt::Display) -> Error {
    Error::Malformed { path: path.to_owned(), reason: reason.to_string() }
}

/// The armored blocks of a text, and whether any line lies outside them.
pub(super) struct Armored<'a> {
    pub(super) blocks: Vec<&'a str>,
    pub(super) lines_outside: bool,
}

/// Finds all blocks of the kind `label` in `text`; rPGP itself reads the first only.
pub(super) fn armored_blocks<'a>(text: &'a str, label: &str) -> Result<Armored<'a>, String> {
    let (begin, end) = (format!("-----BEGIN PGP {label}-----"), format!("-----END PGP {label}-----"));
    let mut found = Armored { blocks: Vec::new(), lines_outside: false };
    let mut start = None;
    let mut position = 0;
    for line in text.split_inclusive('\n') {
        let next = position + line.len();
        match (line.trim_end(), start) {
            (line, None) if line == begin => start = Some(position),
            (line, Some(begun)) if line == end => {
                found.blocks.push(&text[begun..next]);
                start = None;
            }
            (_, None) => found.lines_outside = true,
            (line, Some(_)) if line.starts_with("-----") => return Err(format!("{line:?} within an armored block")),
            _ => {}
        }
        position = next;
    }
    if start.is_some() {
        return Err(format!("an armored block without its {end:?}"));
    }
    Ok(found)
}

/// The bytes of one armored block. Its checksum is not looked at, as RFC 9580 advises: the
/// signatures within say more, and rPGP finds fault with good checksums of large blocks.
pub(super) fn dearmor(block: &str, kind: BlockType) -> Result<Vec<u8>, String> {
    let mut reader = Dearmor::with_options(block.as_bytes(), DearmorOptions::new());
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut bytes).map_err(|error| error.to_string())?;
    if reader.typ != Some(kind) {
        return Err(format!("an armored block of type {:?}", reader.typ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::testing::keys::{Spec, TestKey};
    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Keyring, Error> {
        let mut keyring = Keyring::default();
        keyring.add(bytes, Path::new("test.gpg")).map(|()| keyring)
    }

    #[test]
    fn built_in_keys_are_those_of_the_readme() {
        let readme = include_str!("../../../keys/README.md").replace(' ', "").to_lowercase();
        let keyring = Keyring::debian().unwrap();
        assert_eq!(keyring.keys().len(), BUILT_IN.len());
        for key in keyring.keys() {
            assert!(readme.contains(&hex::encode(key.fingerprint().as_bytes())), "{key:?}");
            for subkey in &key.public_subkeys {
                assert!(readme.contains(&hex::encode(subkey.key.fingerprint().as_bytes())), "{subkey:?}");
            }
        }
    }

    #[test]
    fn reads_binary_armored_and_joined_keys() {
        let (a, b) = (TestKey::new(Spec::default()), TestKey::new(Spec::default()));
        let armored = format!("Key of the archive:\n{}\nand\n{}", a.export_armored(), b.export_armored());
        for bytes in [[a.export(), b.export()].concat(), armored.into_bytes()] {
            let keyring = parsed(&bytes).unwrap();
            assert_eq!(keyring.keys(), [a.public.clone(), b.public.clone()]);
            assert!(keyring.describe()[1].ends_with("Test Archive Key <test@example.org>"));
        }
        assert_eq!(parsed(&[a.export(), a.export()].concat()).unwrap().keys().len(), 1);
    }

    #[test]
    fn trust_packets_of_gnupg_are_passed_over() {
        let key = TestKey::new(Spec::default()).with_subkey(None, true, true, false);
        let mut bare = key.public.clone();
        bare.public_subkeys.clear();
        let mut bytes = key.export();
        let before_subkey = bare.to_bytes().unwrap().len();
        bytes.splice(before_subkey..before_subkey, [0xCC, 2, 0, 0]);
        assert_eq!(parsed(&bytes).unwrap().keys(), [key.public]);
    }

    #[test]
    fn says_what_is_not_a_keyring() {
        let key = TestKey::new(Spec::default());
        let cut = key.export_armored().replace("-----END PGP PUBLIC KEY BLOCK-----", "");
        let keybox = [&[0, 0, 0, 32, 1, 1, 0, 2][..], b"KBXf", &[0; 20]].concat();
        let private = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n-----END PGP PRIVATE KEY BLOCK-----\n";
        for (bytes, reason) in [
            (&b""[..], "no OpenPGP public key"),
            (b"deb http://example.org/debian trixie main\n", "no OpenPGP public key"),
            (&keybox, "keybox"),
            (cut.as_bytes(), "without its"),
            (private.as_bytes(), "private key"),
            (&key.secret_bytes(), "private key"),
        ] {
            let error = parsed(bytes).unwrap_err();
            assert!(error.to_string().contains(reason) && error.hint().is_some(), "{error}");
        }
        let error = Keyring::default().add_file(Path::new("/nonexistent.gpg")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent.gpg"), "{error}");
    }
}
