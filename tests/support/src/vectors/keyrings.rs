//! The states that keys may be in, and the files that hold them.

use super::Vector;
use super::keys::{Keys, SOON_AFTER, in_days};
use super::signatures::as_by_the_stranger;

const SINCE: &str = "after it signed";

pub(super) const VECTORS: &[Vector] = &[
    Vector::refused_as_by_apt_2("a key that has expired since it signed", SINCE, |case| {
        let expired = case.keys.expired();
        case.by("extended").options(&SOON_AFTER).trusting(expired, "gpg")
    }),
    Vector::refused("a key that had expired when it signed", "after its key expired", |case| {
        let expired = case.keys.expired();
        case.by("extended").trusting(expired, "gpg")
    }),
    Vector::accepted("a key that was extended", |case| case.by("extended")),
    Vector::refused_as_by_apt_3("a key that was extended after it signed", "without a valid self-signature", |case| {
        case.by("extended").options(&SOON_AFTER)
    }),
    Vector::refused_as_by_apt_3("a key and a signature from the future", "in the future", |case| {
        case.by("unborn").options(&in_days(31))
    }),
    Vector::refused_as_by_apt_3("a signature older than its key", "made before its key", |case| {
        case.by("unborn").options(&["--ignore-time-conflict"])
    }),
    Vector::refused("a compromised key", "made by a revoked key", |case| {
        let revoked = case.keys.revoked("compromised", 1);
        case.by("compromised").trusting(revoked, "gpg")
    }),
    Vector::refused("a key that was revoked without a reason", "made by a revoked key", |case| {
        let revoked = case.keys.revoked("unexplained", 0);
        case.by("unexplained").trusting(revoked, "gpg")
    }),
    Vector::refused("a key that was retired before it signed", "made by a revoked key", |case| {
        let revoked = case.keys.revoked("retired", 3);
        case.by("retired").trusting(revoked, "gpg")
    }),
    Vector::refused_as_by_apt_2("a key that was retired since it signed", "made by a revoked key", |case| {
        let revoked = case.keys.revoked("retired", 3);
        case.by("retired").options(&SOON_AFTER).trusting(revoked, "gpg")
    }),
    Vector::accepted("a subkey that signs, of a key that certifies", |case| case.by("subkey")),
    Vector::refused("a subkey that was revoked", "made by a revoked key", |case| {
        let revoked = case.keys.edited("subkey-revoked", "key 1\nrevkey\ny\n1\n\ny");
        case.by("subkey-revoked").trusting(revoked, "gpg")
    }),
    Vector::refused_as_by_apt_2("a subkey that has expired since it signed", SINCE, |case| {
        case.by("subkey-expired").options(&SOON_AFTER)
    }),
    Vector::refused("a subkey without a back signature", "without a valid back signature", |case| {
        let key = case.keys.without_back_signature("subkey");
        case.by("subkey").trusting(key, "gpg")
    }),
    Vector::refused_as_by_apt_3("a subkey that is bound with SHA-1", "without a valid binding", |case| {
        case.by("subkey-sha1")
    }),
    Vector::refused("a subkey that another key claims", "without a valid binding", |case| {
        let key = case.keys.with_subkey_of("subkey-revoked", "subkey");
        case.by("subkey").trusting(key, "gpg")
    }),
    Vector::refused("a subkey of a compromised key", "made by a revoked key", |case| {
        let key = case.keys.revoked("subkey", 1);
        case.by("subkey").trusting(key, "gpg")
    }),
    Vector::accepted("a second user ID, which was revoked", |case| {
        let key = case.keys.changed("ed25519", |gnupg| {
            gnupg.good(&["--quick-add-uid", "=ed25519", "formerly"], b"");
            gnupg.good(&["--quick-revoke-uid", "=ed25519", "formerly"], b"");
        });
        case.by("ed25519").trusting(key, "gpg")
    }),
    Vector::refused("a subkey that is to encrypt only", "not meant to sign", |case| {
        let key = case.keys.edited("subkey-encrypts", "key 1\nchange-usage\ns\ne\nq");
        case.by("subkey-encrypts").trusting(key, "gpg")
    }),
    Vector::refused("a key that is to certify only", "not meant to sign", |case| {
        let key = case.keys.edited("certifies", "change-usage\ns\nq");
        case.by("certifies").trusting(key, "gpg")
    }),
    Vector::refused("a key that says nothing about itself", "without a valid self-signature", |case| {
        let key = case.keys.without_self_signatures("rsa4096");
        case.trusting(key, "gpg")
    }),
    Vector::accepted("an armored keyring", |case| {
        let key = case.keys.armored("rsa4096");
        case.trusting(key, "asc")
    }),
    Vector::accepted("an armored keyring of two blocks", |case| {
        let keys = [case.keys.armored("stranger"), case.keys.armored("rsa4096")].concat();
        case.trusting(keys, "asc")
    }),
    Vector::accepted("a binary keyring of two keys", |case| {
        let keys = [case.keys.public("stranger"), case.keys.public("rsa4096")].concat();
        case.trusting(keys, "gpg")
    }),
    Vector::refused_as_by_apt_3("a keybox", "a GnuPG keybox", |case| {
        let key = case.keys.keybox("rsa4096");
        case.trusting(key, "gpg")
    }),
    Vector::refused("an empty keyring", "no OpenPGP public key in it", |case| case.trusting(Vec::new(), "gpg")),
    Vector::refused("a keyring of garbage", "no OpenPGP public key in it", |case| {
        case.trusting(b"deb http://example.org/debian stable main\n".to_vec(), "gpg")
    }),
    Vector::refused("a key of somebody else's", "key not known", |case| {
        let key = case.keys.public("stranger");
        case.trusting(key, "gpg")
    }),
    Vector::refused("a signature that names another issuer", "does not match the text", |case| {
        let key = case.keys.public("stranger");
        case.trusting(key, "gpg").packets(|keys, signature| as_by_the_stranger(keys, &signature))
    }),
    Vector::refused("a key of another with the same user ID", "key not known", |case| {
        case.by("ed25519").trusting(Keys::namesake("ed25519"), "gpg")
    }),
];
