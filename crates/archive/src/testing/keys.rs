//! `OpenPGP` keys and signatures with every property that the policy looks at set by hand.

use jiff::Timestamp;
use pgp::composed::{
    CleartextSignedMessage, DetachedSignature, KeyType, SignedKeyDetails, SignedPublicKey, SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, PubKeyInner, PublicKey, PublicSubkey, RevocationCode, SecretKey, SecretSubkey, Signature,
    SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize as _;
use pgp::types::{Duration, KeyVersion, PacketHeaderVersion, Password, SignedUser, SigningKey, Tag};

/// The present of these tests.
pub(in super::super) const NOW: i64 = 1_790_000_000;
pub(in super::super) const DAY: i64 = 86_400;

pub(in super::super) fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// How a key is made; days are counted from the present.
#[derive(Clone)]
pub(in super::super) struct Spec {
    pub(in super::super) kind: KeyType,
    pub(in super::super) created: i64,
    /// Days after which it expires, counted from its creation.
    pub(in super::super) lifetime: Option<i64>,
    pub(in super::super) signs: bool,
    pub(in super::super) revoked: Option<(RevocationCode, i64)>,
}

impl Default for Spec {
    fn default() -> Self {
        Self { kind: KeyType::Ed25519, created: -1000, lifetime: None, signs: true, revoked: None }
    }
}

pub(in super::super) struct TestKey {
    pub(in super::super) secret: SecretKey,
    pub(in super::super) public: SignedPublicKey,
    pub(in super::super) subkey: Option<SecretSubkey>,
}

fn timestamp(day: i64) -> pgp::types::Timestamp {
    pgp::types::Timestamp::from_secs(u32::try_from(NOW + day * DAY).unwrap())
}

fn config(
    typ: SignatureType,
    hash: HashAlgorithm,
    signer: &impl SigningKey,
    day: i64,
    more: Vec<SubpacketData>,
) -> SignatureConfig {
    let mut config = SignatureConfig::v4(typ, signer.algorithm(), hash);
    let data =
        [SubpacketData::SignatureCreationTime(timestamp(day)), SubpacketData::IssuerFingerprint(signer.fingerprint())];
    config.hashed_subpackets = data.into_iter().chain(more).map(|data| Subpacket::regular(data).unwrap()).collect();
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(signer.legacy_key_id())).unwrap()];
    config
}

fn claims(signs: bool, lifetime: Option<i64>) -> Vec<SubpacketData> {
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(signs);
    let mut claims = vec![SubpacketData::KeyFlags(flags)];
    claims.extend(
        lifetime.map(|days| SubpacketData::KeyExpirationTime(Duration::from_secs(u32::try_from(days * DAY).unwrap()))),
    );
    claims
}

fn revocation(reason: Option<RevocationCode>) -> Vec<SubpacketData> {
    reason.map(|code| SubpacketData::RevocationReason(code, "test".into())).into_iter().collect()
}

impl TestKey {
    pub(in super::super) fn new(spec: Spec) -> Self {
        let Spec { kind, created, lifetime, signs, revoked } = spec;
        let (params, secret) = kind.generate(rand::thread_rng()).unwrap();
        let inner = PubKeyInner::new(KeyVersion::V4, kind.to_alg(), timestamp(created), None, params).unwrap();
        let primary = PublicKey::from_inner(inner).unwrap();
        let secret = SecretKey::new(primary.clone(), secret).unwrap();
        let details = SignedKeyDetails::new(Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let bare = Self { secret, public: SignedPublicKey::new(primary, details, Vec::new()), subkey: None };
        let key = bare.certifying(signs, created, lifetime);
        match revoked {
            Some((code, day)) => key.revoked(code, day),
            None => key,
        }
    }

    fn bare(&self) -> Self {
        Self { secret: self.secret.clone(), public: self.public.clone(), subkey: self.subkey.clone() }
    }

    /// The same key, which says on a day that it signs or not, and for how long it is valid.
    fn certifying(&self, signs: bool, day: i64, lifetime: Option<i64>) -> Self {
        let mut key = self.bare();
        let id = UserId::from_str(PacketHeaderVersion::New, "Test Archive Key <test@example.org>").unwrap();
        let certification =
            config(SignatureType::CertPositive, HashAlgorithm::Sha512, &key.secret, day, claims(signs, lifetime))
                .sign_certification(&key.secret, &key.public.primary_key, &Password::empty(), Tag::UserId, &id)
                .unwrap();
        key.public.details.users = vec![SignedUser::new(id, vec![certification])];
        key
    }

    /// The same key with another lifetime, said on a day.
    pub(in super::super) fn certified(&self, day: i64, lifetime: Option<i64>) -> Self {
        self.certifying(true, day, lifetime)
    }

    /// The same key, revoked on a day.
    pub(in super::super) fn revoked(&self, code: RevocationCode, day: i64) -> Self {
        let mut key = self.bare();
        let revocation =
            config(SignatureType::KeyRevocation, HashAlgorithm::Sha256, &key.secret, day, revocation(Some(code)))
                .sign_key(&key.secret, &Password::empty(), &key.public.primary_key)
                .unwrap();
        key.public.details.revocation_signatures.push(revocation);
        key
    }

    /// Adds a subkey, bound to the primary key.
    pub(in super::super) fn with_subkey(
        mut self,
        lifetime: Option<i64>,
        signs: bool,
        back_signature: bool,
        revoked: bool,
    ) -> Self {
        let kind = KeyType::Ed25519;
        let (params, secret) = kind.generate(rand::thread_rng()).unwrap();
        let inner = PubKeyInner::new(KeyVersion::V4, kind.to_alg(), timestamp(-900), None, params).unwrap();
        let public = PublicSubkey::from_inner(inner).unwrap();
        let secret = SecretSubkey::new(public.clone(), secret).unwrap();
        let (primary, nothing) = (&self.public.primary_key, Password::empty());
        let mut more = claims(signs, lifetime);
        if back_signature {
            let back = config(SignatureType::KeyBinding, HashAlgorithm::Sha256, &secret, -900, Vec::new())
                .sign_primary_key_binding(&secret, &public, &nothing, primary)
                .unwrap();
            more.push(SubpacketData::EmbeddedSignature(Box::new(back)));
        }
        let mut signatures = vec![
            config(SignatureType::SubkeyBinding, HashAlgorithm::Sha256, &self.secret, -900, more)
                .sign_subkey_binding(&self.secret, primary, &nothing, &public)
                .unwrap(),
        ];
        if revoked {
            let revocation = revocation(Some(RevocationCode::KeyCompromised));
            signatures.push(
                config(SignatureType::SubkeyRevocation, HashAlgorithm::Sha256, &self.secret, -10, revocation)
                    .sign_subkey_binding(&self.secret, primary, &nothing, &public)
                    .unwrap(),
            );
        }
        self.public.public_subkeys.push(SignedPublicSubKey::new(public, signatures));
        self.subkey = Some(secret);
        self
    }

    /// The key as `gpg --export` writes it.
    pub(in super::super) fn export(&self) -> Vec<u8> {
        self.public.to_bytes().unwrap()
    }

    /// The key as `gpg --armor --export` writes it.
    pub(in super::super) fn export_armored(&self) -> String {
        self.public.to_armored_string(None.into()).unwrap()
    }

    /// The secret key, bare, which nobody should put into a keyring.
    pub(in super::super) fn secret_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        pgp::packet::PacketTrait::to_writer_with_header(&self.secret, &mut bytes).unwrap();
        bytes
    }

    /// An `InRelease`, signed today.
    pub(in super::super) fn sign_inline(&self, text: &str) -> Vec<u8> {
        sign_inline(text, &[Sign::by(&self.secret)])
    }
}

/// How a signature is made.
pub(in super::super) struct Sign<'a, K> {
    pub(in super::super) key: &'a K,
    pub(in super::super) day: i64,
    pub(in super::super) hash: HashAlgorithm,
    pub(in super::super) typ: SignatureType,
    pub(in super::super) more: Vec<Subpacket>,
}

impl<'a, K: SigningKey> Sign<'a, K> {
    pub(in super::super) fn by(key: &'a K) -> Self {
        Self { key, day: 0, hash: HashAlgorithm::Sha256, typ: SignatureType::Text, more: Vec::new() }
    }

    fn sign(&self, data: &[u8]) -> Signature {
        let mut config = config(self.typ, self.hash, self.key, self.day, Vec::new());
        config.hashed_subpackets.extend(self.more.iter().cloned());
        config.sign(self.key, &Password::empty(), data).unwrap()
    }
}

/// An `InRelease` with several signatures.
pub(in super::super) fn sign_inline<K: SigningKey>(text: &str, signs: &[Sign<'_, K>]) -> Vec<u8> {
    let text = text.strip_suffix('\n').unwrap();
    let message = CleartextSignedMessage::new_many(text, |normal| {
        Ok(signs.iter().map(|sign| sign.sign(normal.as_bytes())).collect())
    });
    message.unwrap().to_armored_bytes(None.into()).unwrap()
}

/// A Release.gpg, binary and armored.
pub(in super::super) fn sign_detached<K: SigningKey>(text: &[u8], sign: &Sign<'_, K>) -> (Vec<u8>, String) {
    let signature = DetachedSignature::new(sign.sign(text));
    (signature.to_bytes().unwrap(), signature.to_armored_string(None.into()).unwrap())
}
