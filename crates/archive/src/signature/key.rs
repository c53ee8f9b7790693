//! Whether a key, as it speaks for itself, could make a signature at some time: what the policy of
//! [`signature`](super) asks of primary keys, of subkeys, and of the signatures that keys make on
//! themselves.

use jiff::Timestamp;
use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData, SubpacketType};
use pgp::ser::Serialize as _;
use pgp::types::{EcdsaPublicParams, KeyDetails, PublicParams, Tag};

use super::Refusal;

const MIN_RSA_BITS: u16 = 2048;

/// What must hold for every signature that is to mean something, on data or on a key.
fn check_form(signature: &Signature) -> Result<(), Refusal> {
    check_hash(signature)?;
    check_critical(signature)
}

/// Whether a signature's hash is strong enough.
pub(super) fn check_hash(signature: &Signature) -> Result<(), Refusal> {
    match signature.config().ok_or(Refusal::Version)?.hash_alg {
        HashAlgorithm::Sha256
        | HashAlgorithm::Sha384
        | HashAlgorithm::Sha512
        | HashAlgorithm::Sha3_256
        | HashAlgorithm::Sha3_512 => Ok(()),
        other => Err(Refusal::WeakHash(other.to_string())),
    }
}

/// Whether all that a signature calls critical is understood. apt 2 looks at what is not signed,
/// too.
pub(super) fn check_critical(signature: &Signature) -> Result<(), Refusal> {
    let config = signature.config().ok_or(Refusal::Version)?;
    let is_unknown = |data: &SubpacketData| {
        matches!(data, SubpacketData::Other(..) | SubpacketData::Experimental(..) | SubpacketData::Notation(_))
    };
    let mut parts = config.hashed_subpackets().chain(config.unhashed_subpackets());
    if parts.any(|part| part.is_critical && is_unknown(&part.data)) { Err(Refusal::Critical) } else { Ok(()) }
}

/// Whether a key is on a curve that signatures are verified with. Those that `GnuPG` makes on
/// secp256k1 verify only now and then here, and not at all in apt 3.
pub(super) fn check_curve(key: &impl KeyDetails) -> Result<(), Refusal> {
    match key.public_params() {
        PublicParams::ECDSA(
            EcdsaPublicParams::P256 { .. } | EcdsaPublicParams::P384 { .. } | EcdsaPublicParams::P521 { .. },
        ) => Ok(()),
        PublicParams::ECDSA(other) => Err(Refusal::WeakKey(format!("ECDSA on the curve {}", other.curve()))),
        _ => Ok(()),
    }
}

fn check_strength(key: &impl KeyDetails) -> Result<(), Refusal> {
    check_curve(key)?;
    match (key.algorithm(), key.public_params()) {
        (PublicKeyAlgorithm::RSA | PublicKeyAlgorithm::RSASign, PublicParams::RSA(rsa)) => {
            // The modulus comes first, and an OpenPGP integer begins with its length in bits.
            let bytes = rsa.to_bytes().map_err(|error| Refusal::WeakKey(error.to_string()))?;
            let bits = bytes.first_chunk().map_or(0, |length| u16::from_be_bytes(*length));
            if bits < MIN_RSA_BITS { Err(Refusal::WeakKey(format!("RSA of {bits} bits"))) } else { Ok(()) }
        }
        (
            PublicKeyAlgorithm::ECDSA
            | PublicKeyAlgorithm::EdDSALegacy
            | PublicKeyAlgorithm::Ed25519
            | PublicKeyAlgorithm::Ed448,
            _,
        ) => Ok(()),
        (other, _) => Err(Refusal::WeakKey(format!("{other:?}"))),
    }
}

/// The moment of a signature: hashed, so that only the signer can have set it.
pub(super) fn created(signature: &Signature) -> Option<Timestamp> {
    let hashed = signature.config()?.hashed_subpackets();
    hashed.into_iter().find_map(|part| match &part.data {
        SubpacketData::SignatureCreationTime(time) => Timestamp::from_second(i64::from(time.as_secs())).ok(),
        _ => None,
    })
}

/// When something made at `start` lapses; zero and absence mean never.
pub(super) fn lapse(start: Timestamp, after: Option<pgp::types::Duration>) -> Option<Timestamp> {
    let seconds = i64::from(after?.as_secs());
    if seconds == 0 { None } else { Timestamp::from_second(start.as_second() + seconds).ok() }
}

fn key_created(key: &impl KeyDetails) -> Result<Timestamp, Refusal> {
    Timestamp::from_second(i64::from(key.created_at().as_secs())).map_err(|_| Refusal::BeforeKey)
}

/// Of signatures that a key made on itself, the one in force at the time `at`: the newest of then.
/// What a key said of itself later does not count, since apt 3 does not count it.
fn in_force<'a>(signatures: impl Iterator<Item = &'a Signature>, at: Timestamp) -> Option<&'a Signature> {
    signatures
        .filter(|signature| check_form(signature).is_ok())
        .filter_map(|signature| created(signature).map(|time| (time, signature)))
        .filter(|(time, _)| *time <= at)
        .filter(|(time, signature)| lapse(*time, signature.signature_expiration_time()).is_none_or(|end| at < end))
        .max_by_key(|(time, _)| *time)
        .map(|(_, signature)| signature)
}

fn states_signing(signature: &Signature) -> Option<bool> {
    let stated = signature.config()?.hashed_subpackets().any(|part| part.typ() == SubpacketType::KeyFlags);
    stated.then(|| signature.key_flags().sign())
}

/// Whether the primary key was valid at the time `at`, and for signing data if it is to sign
/// itself; returns when it expires. A revocation counts for all times and with any hash: that
/// is the safe side.
pub(super) fn judge_primary(key: &SignedPublicKey, at: Timestamp, signs: bool) -> Result<Option<Timestamp>, Refusal> {
    let primary = &key.primary_key;
    check_strength(primary)?;
    let born = key_created(primary)?;
    if at < born {
        return Err(Refusal::BeforeKey);
    }
    let details = &key.details;
    if details.revocation_signatures.iter().any(|signature| signature.verify_key(primary).is_ok()) {
        return Err(Refusal::KeyRevoked);
    }
    // A key speaks for itself in certifications of its user IDs and in direct signatures. Debian's
    // have direct ones that only name revokers, so neither kind overrides the other: an end counts,
    // whoever states it.
    let certifications = details.users.iter().filter_map(|user| {
        let is_own = |signature: &&Signature| signature.verify_certification(primary, Tag::UserId, &user.id).is_ok();
        let (revocations, own): (Vec<_>, Vec<_>) = user
            .signatures
            .iter()
            .filter(is_own)
            .partition(|signature| signature.typ() == Some(SignatureType::CertRevocation));
        let certification = in_force(own.into_iter(), at)?;
        let withdrawn = revocations.iter().any(|revocation| created(revocation) >= created(certification));
        (!withdrawn).then_some(certification)
    });
    let certification = in_force(certifications, at);
    let direct =
        in_force(details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok()), at);
    if certification.is_none() && direct.is_none() {
        return Err(Refusal::Unbound("self-signature"));
    }
    let statements = || certification.into_iter().chain(direct);
    let end = statements().filter_map(|statement| lapse(born, statement.key_expiration_time())).min();
    check_not_expired(end, at)?;
    if signs && !statements().find_map(states_signing).unwrap_or(false) {
        return Err(Refusal::NotForSigning);
    }
    Ok(end)
}

fn check_not_expired(end: Option<Timestamp>, at: Timestamp) -> Result<(), Refusal> {
    end.filter(|end| at >= *end).map_or(Ok(()), |end| Err(Refusal::KeyExpired(end)))
}

/// Whether `subkey` was bound to its primary key for signing at the time `at`; returns when it
/// expires.
pub(super) fn judge_subkey(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    at: Timestamp,
) -> Result<Option<Timestamp>, Refusal> {
    let primary = &key.primary_key;
    check_strength(&subkey.key)?;
    let born = key_created(&subkey.key)?;
    if at < born {
        return Err(Refusal::BeforeKey);
    }
    let (revocations, bindings): (Vec<&Signature>, Vec<_>) = subkey
        .signatures
        .iter()
        .filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok())
        .partition(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
    if !revocations.is_empty() {
        return Err(Refusal::KeyRevoked);
    }
    let binding = in_force(bindings.into_iter(), at).ok_or(Refusal::Unbound("binding to its primary key"))?;
    let end = lapse(born, binding.key_expiration_time());
    check_not_expired(end, at)?;
    if states_signing(binding) != Some(true) {
        return Err(Refusal::NotForSigning);
    }
    let back = binding.embedded_signature().ok_or(Refusal::Unbound("back signature"))?;
    check_form(back)?;
    back.verify_primary_key_binding(&subkey.key, primary).map_err(|_| Refusal::Unbound("back signature"))?;
    Ok(end)
}
