//! Which signatures on a Release file count. rPGP does the cryptography; the policy is here. It
//! accepts nothing that apt 2 or apt 3 refuses, but for what apt 2 cannot read: version 6, SHA-3.
//!
//! - one good signature by a key of the [`Keyring`] suffices, unless another one by such a key does
//!   not match the text, or may mean something else;
//! - SHA-256 and stronger, RSA of 2048 bits and more, elliptic curves; in the data signature as in
//!   the key's signatures on itself;
//! - a key is judged as of the time of signing: it existed, had said what it is for, had not
//!   expired, and was meant to sign data;
//! - a key that has expired since signs nothing any more, unless the caller accepts that;
//! - a revoked key signs nothing, at any time, and no signature comes from the future;
//! - a subkey must be bound to its primary key, and have agreed to that (back signature).
//!
//! What comes out is the text that was verified, and only that must be parsed.

use std::fmt;

use fam_progress::Hint;
use jiff::Timestamp;
use pgp::armor::BlockType;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SignatureVersion};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, VerifyingKey};

use super::cleartext;
use super::keyring::{Keyring, armored_blocks, dearmor, user_id};

mod key;

use key::{check_critical, check_curve, check_hash, created, judge_primary, judge_subkey, lapse};

/// Release files and their signatures larger than this are refused; Debian's largest has 0.2 MiB.
pub const MAX_SIGNED_BYTES: u64 = 1 << 20;

/// More signatures than any archive makes.
const MAX_SIGNATURES: usize = 16;

/// Text that a key of the keyring vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The text, without anything that is not signed.
    pub text: String,
    /// Fingerprint of the key or subkey that made the good signature, in hexadecimal digits.
    pub fingerprint: String,
    /// First user ID of that key.
    pub user_id: String,
    /// When it signed.
    pub signed_at: Timestamp,
}

/// Why a Release file is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is larger than [`MAX_SIGNED_BYTES`].
    #[error("{0} bytes are too many for a Release file")]
    TooLarge(u64),
    /// It is not one signed message of plain text.
    #[error("malformed: {0}")]
    Malformed(String),
    /// There are signatures, but none that counts.
    #[error("no good signature: {}", list(attempts))]
    NoneGood {
        /// What was wrong with each.
        attempts: Vec<Attempt>,
        /// The keys of the keyring, one line each.
        known: Vec<String>,
    },
    /// There is a good signature, and one by a known key that is bad.
    #[error("one signature is good, but that of {} {}", .0.issuer, .0.refusal)]
    OneBad(Attempt),
    /// All good signatures are by keys that have expired since.
    #[error("the key {} has expired at {at}, after it signed", verified.fingerprint)]
    KeyExpired {
        /// When the key expired.
        at: Timestamp,
        /// What it vouched for.
        verified: Box<Verified>,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::TooLarge(_) | Self::Malformed(_) => Some(
                "the mirror, or a proxy before it, serves something else than the file; try another mirror".to_owned(),
            ),
            Self::OneBad(_) => Some("the file may have been tampered with; try another mirror".to_owned()),
            Self::KeyExpired { .. } => Some(
                "get the archive's current keys, and give them with --keyring FILE; or, for a snapshot, take it as it is with \
                 --accept-expired"
                    .to_owned(),
            ),
            Self::NoneGood { attempts, known } => {
                let known = known.join("; ");
                Some(if attempts.iter().all(|attempt| attempt.refusal == Refusal::UnknownKey) {
                    format!("if you trust this archive, give its keys with --keyring FILE, or, where a recipe or a file of sources names it, with the `key` or signed-by there; known are {known}")
                } else if attempts.iter().any(|attempt| matches!(attempt.refusal, Refusal::Future(_))) {
                    "check this host's clock, which seems to be behind; if it is right, try another mirror".to_owned()
                } else {
                    format!("the file may have been tampered with; try another mirror; known keys are {known}")
                })
            }
        }
    }
}

/// A signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Fingerprint or key ID of the issuer, in hexadecimal digits, or a placeholder.
    pub issuer: String,
    /// Why it does not count.
    pub refusal: Refusal,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No key of the keyring made it.
    #[error("key not known")]
    UnknownKey,
    /// The text is not what was signed.
    #[error("does not match the text")]
    Mismatch,
    /// Version 3 or older, or too new.
    #[error("signature of an unsupported version")]
    Version,
    /// It is no signature of data.
    #[error("not a signature of data")]
    Kind,
    /// MD5, SHA-1, SHA-224 and other hashes that are too weak.
    #[error("uses the weak hash {0}")]
    WeakHash(String),
    /// DSA, short RSA, and other keys that are too weak.
    #[error("made by a weak key ({0})")]
    WeakKey(String),
    /// It has a critical part of unknown meaning.
    #[error("has a critical part that is not understood")]
    Critical,
    /// It does not say when it was made.
    #[error("has no date")]
    Undated,
    /// It is dated later than the clock of this host.
    #[error("made at {0}, in the future")]
    Future(Timestamp),
    /// The signature itself has expired.
    #[error("expired at {0}")]
    Expired(Timestamp),
    /// The key was made later than the signature.
    #[error("made before its key")]
    BeforeKey,
    /// The key had expired when it signed.
    #[error("made after its key expired at {0}")]
    KeyExpired(Timestamp),
    /// The key is revoked.
    #[error("made by a revoked key")]
    KeyRevoked,
    /// The key says nothing valid about itself, or a subkey is not bound to it.
    #[error("made by a key without a valid {0}")]
    Unbound(&'static str),
    /// The key is not meant to sign data.
    #[error("made by a key that is not meant to sign")]
    NotForSigning,
}

fn list(attempts: &[Attempt]) -> String {
    let all: Vec<_> = attempts.iter().map(|Attempt { issuer, refusal }| format!("{issuer} {refusal}")).collect();
    all.join("; ")
}

/// Verifies an `InRelease` file.
///
/// # Errors
/// When it is not one signed message, or no signature counts.
pub fn verify_inline(file: &[u8], keyring: &Keyring, now: Timestamp) -> Result<Verified, Error> {
    let text = decode(file)?;
    let parts = cleartext::split(text).map_err(Error::Malformed)?;
    let signatures = parse_signatures(parts.armor.as_bytes())?;
    judge_all(&signatures, &parts.signed_bytes(), keyring, now)?.vouch(parts.text(), now)
}

/// Verifies a Release file with its Release.gpg, which is armored.
///
/// # Errors
/// When either is malformed, or no signature counts.
pub fn verify_detached(file: &[u8], signature: &[u8], keyring: &Keyring, now: Timestamp) -> Result<Verified, Error> {
    let text = decode(file)?;
    let signatures = parse_signatures(signature)?;
    judge_all(&signatures, file, keyring, now)?.vouch(text.to_owned(), now)
}

fn decode(file: &[u8]) -> Result<&str, Error> {
    if file.len() as u64 > MAX_SIGNED_BYTES {
        return Err(Error::TooLarge(file.len() as u64));
    }
    cleartext::decode(file).map_err(Error::Malformed)
}

/// Reads the signatures of a Release.gpg, or of the block that ends an `InRelease`.
fn parse_signatures(bytes: &[u8]) -> Result<Vec<Signature>, Error> {
    let malformed = |reason: &dyn fmt::Display| Error::Malformed(format!("signature: {reason}"));
    if bytes.len() as u64 > MAX_SIGNED_BYTES {
        return Err(Error::TooLarge(bytes.len() as u64));
    }
    // apt takes no binary ones, and nothing around the blocks.
    let text = str::from_utf8(bytes).map_err(|_| malformed(&"not armored"))?;
    let armored = armored_blocks(text, "SIGNATURE").map_err(|reason| malformed(&reason))?;
    if armored.lines_outside {
        return Err(malformed(&"lines outside the armored block"));
    }
    let mut packets = Vec::new();
    for block in armored.blocks {
        packets.extend(dearmor(block, BlockType::Signature).map_err(|reason| malformed(&reason))?);
    }
    let mut signatures = Vec::new();
    for packet in PacketParser::new(&packets[..]) {
        match packet {
            Ok(Packet::Signature(signature)) => signatures.push(signature),
            Ok(Packet::Marker(_) | Packet::Padding(_)) | Err(pgp::errors::Error::Unsupported { .. }) => {}
            Ok(other) => {
                return Err(malformed(&format_args!(
                    "holds a packet of another kind: {:?}",
                    pgp::packet::PacketTrait::tag(&other)
                )));
            }
            Err(error) => return Err(malformed(&error)),
        }
    }
    match signatures.len() {
        0 => Err(malformed(&"no signature in it")),
        1..=MAX_SIGNATURES => Ok(signatures),
        count => Err(malformed(&format_args!("{count} signatures are too many"))),
    }
}

struct Good {
    fingerprint: String,
    user_id: String,
    signed_at: Timestamp,
    /// When the key expires.
    end: Option<Timestamp>,
}

impl Good {
    fn has_expired(&self, now: Timestamp) -> bool {
        self.end.is_some_and(|end| now >= end)
    }

    fn vouch(self, text: String, now: Timestamp) -> Result<Verified, Error> {
        let expired = self.end.filter(|_| self.has_expired(now));
        let Self { fingerprint, user_id, signed_at, .. } = self;
        let verified = Verified { text, fingerprint, user_id, signed_at };
        match expired {
            Some(at) => Err(Error::KeyExpired { at, verified: Box::new(verified) }),
            None => Ok(verified),
        }
    }
}

/// The signature that counts. A key that has not expired since comes before one that has.
fn judge_all(signatures: &[Signature], data: &[u8], keyring: &Keyring, now: Timestamp) -> Result<Good, Error> {
    let (mut good, mut attempts) = (Vec::new(), Vec::new());
    for signature in signatures {
        match judge(signature, data, keyring, now) {
            Ok(one) => good.push(one),
            Err(refusal) => attempts.push(Attempt { issuer: issuer(signature), refusal }),
        }
    }
    good.sort_by_key(|good| good.has_expired(now));
    let Some(first) = good.into_iter().next() else {
        return Err(Error::NoneGood { attempts, known: keyring.describe() });
    };
    // apt 2 refuses the file for these.
    match attempts.into_iter().find(|attempt| matches!(attempt.refusal, Refusal::Mismatch | Refusal::Critical)) {
        Some(bad) => Err(Error::OneBad(bad)),
        None => Ok(first),
    }
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| hex::encode(fingerprint.as_bytes()));
    fingerprint
        .or_else(|| signature.issuer_key_id().first().map(|id| hex::encode(id.as_ref())))
        .unwrap_or_else(|| "(no issuer)".to_owned())
}

fn judge(signature: &Signature, data: &[u8], keyring: &Keyring, now: Timestamp) -> Result<Good, Refusal> {
    if !matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6) {
        return Err(Refusal::Version);
    }
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(Refusal::Kind);
    }
    check_hash(signature)?;
    let (mut good, mut refusal) = (None::<Good>, Refusal::UnknownKey);
    // A keyring may hold several states of one key. Of these, one that says that it is revoked
    // counts, else the one that is valid longest.
    for key in keyring.keys() {
        let verdict = if is_issuer(signature, &key.primary_key) {
            verify(signature, &key.primary_key, data, now)
                .and_then(|at| Ok((at, key.fingerprint(), judge_primary(key, at, true)?)))
        } else if let Some(subkey) = key.public_subkeys.iter().find(|subkey| is_issuer(signature, &subkey.key)) {
            verify(signature, &subkey.key, data, now).and_then(|at| {
                let ends = [judge_primary(key, at, false)?, judge_subkey(key, subkey, at)?];
                Ok((at, subkey.key.fingerprint(), ends.into_iter().flatten().min()))
            })
        } else {
            continue;
        };
        match verdict {
            Ok((signed_at, fingerprint, end)) => {
                let fingerprint = hex::encode(fingerprint.as_bytes());
                let one = Good { fingerprint, user_id: user_id(key), signed_at, end };
                good = [good, Some(one)].into_iter().flatten().max_by_key(|good| good.end.unwrap_or(Timestamp::MAX));
            }
            Err(Refusal::KeyRevoked) => return Err(Refusal::KeyRevoked),
            Err(reason) => refusal = reason,
        }
    }
    good.ok_or(refusal)
}

/// Whether `key` made the signature on `data`, and it holds now; returns when it was made. The
/// key itself is not judged.
fn verify(
    signature: &Signature,
    key: &(impl VerifyingKey + Serialize),
    data: &[u8],
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    check_curve(key)?;
    signature.verify(key, data).map_err(|_| Refusal::Mismatch)?;
    check_critical(signature)?;
    let at = created(signature).ok_or(Refusal::Undated)?;
    if at > now {
        return Err(Refusal::Future(at));
    }
    match lapse(at, signature.signature_expiration_time()) {
        Some(end) if now >= end => Err(Refusal::Expired(end)),
        _ => Ok(at),
    }
}

/// Whether a signature names `key`. apt 2 wants the key ID, too, which signatures of version 6 no
/// longer have.
fn is_issuer(signature: &Signature, key: &impl KeyDetails) -> bool {
    match signature.version() {
        SignatureVersion::V6 => signature.issuer_fingerprint().contains(&&key.fingerprint()),
        _ => signature.issuer_key_id().contains(&&key.legacy_key_id()),
    }
}

#[cfg(test)]
mod tests;
