use std::path::Path;

use pgp::composed::KeyType;
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{RevocationCode, Subpacket, SubpacketData};

use super::super::testing::keys::{DAY, NOW, Sign, Spec, TestKey, now, sign_detached, sign_inline};
use super::*;

const TEXT: &str = "Origin: Test\nSuite: stable\n- dash\n\nvalue: x\n";

fn keyring(keys: &[&TestKey]) -> Keyring {
    let mut keyring = Keyring::default();
    for key in keys {
        keyring.add(&key.export(), Path::new("test")).unwrap();
    }
    keyring
}

/// The reasons why no signature counts.
fn refusals(result: Result<Verified, Error>) -> Vec<Refusal> {
    match result {
        Err(Error::NoneGood { attempts, .. }) => attempts.into_iter().map(|attempt| attempt.refusal).collect(),
        other => panic!("{other:?}"),
    }
}

/// The reason why the only signature does not count.
fn refusal(result: Result<Verified, Error>) -> Refusal {
    let mut all = refusals(result);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn judged(key: &TestKey, sign: Sign<'_, pgp::packet::SecretKey>) -> Result<Verified, Error> {
    verify_inline(&sign_inline(TEXT, &[sign]), &keyring(&[key]), now())
}

fn judged_by_subkey(key: &TestKey) -> Result<Verified, Error> {
    let message = sign_inline(TEXT, &[Sign::by(key.subkey.as_ref().unwrap())]);
    verify_inline(&message, &keyring(&[key]), now())
}

#[test]
fn a_good_signature_gives_the_signed_text() {
    let key = TestKey::new(Spec::default());
    let verified = verify_inline(&key.sign_inline(TEXT), &keyring(&[&key]), now()).unwrap();
    assert_eq!(verified.text, TEXT);
    assert_eq!(verified.user_id, "Test Archive Key <test@example.org>");
    assert_eq!(verified.signed_at, now());
    assert_eq!(verified.fingerprint, hex::encode(key.public.fingerprint().as_bytes()));
}

#[test]
fn any_changed_byte_of_the_text_is_noticed() {
    let key = TestKey::new(Spec::default());
    let message = String::from_utf8(key.sign_inline(TEXT)).unwrap();
    for (from, to) in [
        ("stable", "stablE"),
        ("- - dash", "- - dasH"),
        ("\n\nvalue", "\nvalue"),
        ("x\n-", "x\n\n-"),
        ("Suite", " Suite"),
    ] {
        let changed = message.replacen(from, to, 1);
        assert_ne!(changed, message, "{from}");
        assert_eq!(refusal(verify_inline(changed.as_bytes(), &keyring(&[&key]), now())), Refusal::Mismatch);
    }
    // Blanks at the ends of lines are not signed, so they must not come through.
    let blanks = message.replace("stable", "stable \t");
    assert_eq!(verify_inline(blanks.as_bytes(), &keyring(&[&key]), now()).unwrap().text, TEXT);
}

#[test]
fn a_carriage_return_cannot_hide_a_line() {
    let key = TestKey::new(Spec::default());
    let message = String::from_utf8(key.sign_inline(TEXT)).unwrap();
    for changed in [message.replace("\nSuite", "\rSuite"), message.replace('\n', "\r\n")] {
        let error = verify_inline(changed.as_bytes(), &keyring(&[&key]), now()).unwrap_err();
        assert!(error.to_string().contains("carriage return"), "{error}");
    }
}

#[test]
fn one_good_signature_suffices() {
    let (known, stranger) = (TestKey::new(Spec::default()), TestKey::new(Spec::default()));
    let message = sign_inline(TEXT, &[Sign::by(&stranger.secret), Sign::by(&known.secret)]);
    assert!(verify_inline(&message, &keyring(&[&known]), now()).is_ok());
    let other = TestKey::new(Spec::default());
    let error = verify_inline(&message, &keyring(&[&other]), now()).unwrap_err();
    let Error::NoneGood { attempts, known: keys } = &error else { panic!("{error}") };
    assert_eq!(attempts.len(), 2);
    assert!(keys[0].starts_with(&hex::encode(other.public.fingerprint().as_bytes())));
    let message = error.to_string();
    assert!(
        message.contains(&hex::encode(stranger.public.fingerprint().as_bytes())) && message.contains("key not known")
    );
    assert!(error.hint().unwrap().contains("--keyring"));
}

#[test]
fn weak_hashes_and_short_keys_are_refused() {
    // A weak key, as rPGP signs with weak hashes by RSA only, and a strong one takes long to make;
    // hashes are judged first.
    let rsa = TestKey::new(Spec { kind: KeyType::Rsa(1024), ..Spec::default() });
    for hash in [HashAlgorithm::Md5, HashAlgorithm::Sha1, HashAlgorithm::Ripemd160, HashAlgorithm::Sha224] {
        let sign = Sign { hash, ..Sign::by(&rsa.secret) };
        assert_eq!(refusal(judged(&rsa, sign)), Refusal::WeakHash(hash.to_string()));
    }
    assert_eq!(refusal(judged(&rsa, Sign::by(&rsa.secret))), Refusal::WeakKey("RSA of 1024 bits".to_owned()));

    let key = TestKey::new(Spec { kind: KeyType::ECDSA(ECCCurve::P256), ..Spec::default() });
    for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512, HashAlgorithm::Sha3_256] {
        assert!(judged(&key, Sign { hash, ..Sign::by(&key.secret) }).is_ok());
    }
}

#[test]
fn a_key_must_speak_for_itself() {
    let mut key = TestKey::new(Spec::default());
    key.public.details.users[0].signatures = TestKey::new(Spec::default()).public.details.users[0].signatures.clone();
    assert_eq!(refusal(judged(&key, Sign::by(&key.secret))), Refusal::Unbound("self-signature"));
    key.public.details.users.clear();
    assert_eq!(refusal(judged(&key, Sign::by(&key.secret))), Refusal::Unbound("self-signature"));
}

#[test]
fn keys_are_judged_as_of_the_time_of_signing() {
    let expired = TestKey::new(Spec { created: -1000, lifetime: Some(900), ..Spec::default() });
    let end = Timestamp::from_second(NOW - 100 * DAY).unwrap();
    assert_eq!(refusal(judged(&expired, Sign::by(&expired.secret))), Refusal::KeyExpired(end));
    // One that signed in time has expired since.
    let past = judged(&expired, Sign { day: -101, ..Sign::by(&expired.secret) }).unwrap_err();
    assert!(past.hint().unwrap().contains("--accept-expired"), "{past}");
    let Error::KeyExpired { at, verified } = past else { panic!("{past}") };
    assert_eq!((at, verified.text.as_str()), (end, TEXT));

    let young = TestKey::new(Spec { created: -5, ..Spec::default() });
    assert_eq!(refusal(judged(&young, Sign { day: -6, ..Sign::by(&young.secret) })), Refusal::BeforeKey);
}

#[test]
fn revoked_keys_are_refused() {
    let compromised = TestKey::new(Spec { revoked: Some((RevocationCode::KeyCompromised, -10)), ..Spec::default() });
    let no_reason = TestKey::new(Spec { revoked: Some((RevocationCode::NoReason, -10)), ..Spec::default() });
    for day in [-20, 0] {
        for key in [&compromised, &no_reason] {
            assert_eq!(refusal(judged(key, Sign { day, ..Sign::by(&key.secret) })), Refusal::KeyRevoked);
        }
    }
    let retired = TestKey::new(Spec { revoked: Some((RevocationCode::KeyRetired, -10)), ..Spec::default() });
    for day in [-20, 0] {
        assert_eq!(refusal(judged(&retired, Sign { day, ..Sign::by(&retired.secret) })), Refusal::KeyRevoked);
    }
}

#[test]
fn a_revocation_by_another_key_means_nothing() {
    let revoked = TestKey::new(Spec { revoked: Some((RevocationCode::KeyCompromised, -10)), ..Spec::default() });
    let mut key = TestKey::new(Spec::default());
    key.public.details.revocation_signatures.clone_from(&revoked.public.details.revocation_signatures);
    assert!(judged(&key, Sign::by(&key.secret)).is_ok());
}

#[test]
fn a_key_that_is_still_valid_comes_before_one_that_is_not() {
    let expired = TestKey::new(Spec { created: -1000, lifetime: Some(900), ..Spec::default() });
    let valid = TestKey::new(Spec::default());
    let past = |key| Sign { day: -101, ..Sign::by(key) };
    let message = sign_inline(TEXT, &[past(&expired.secret), past(&valid.secret)]);
    let verified = verify_inline(&message, &keyring(&[&expired, &valid]), now()).unwrap();
    assert_eq!(verified.fingerprint, hex::encode(valid.public.fingerprint().as_bytes()));
}

#[test]
fn of_several_states_of_a_key_the_last_one_counts() {
    let old = TestKey::new(Spec { lifetime: Some(900), ..Spec::default() });
    let sign = || Sign { day: -101, ..Sign::by(&old.secret) };
    let renewed = old.certified(-1000, Some(2000));
    let revoked = old.revoked(RevocationCode::KeyRetired, -10);
    let message = sign_inline(TEXT, &[sign()]);
    for (keys, is_good) in [
        (vec![&old, &renewed], true),
        (vec![&renewed, &old], true),
        (vec![&old], false),
        (vec![&renewed, &revoked], false),
        (vec![&revoked, &renewed], false),
    ] {
        assert_eq!(verify_inline(&message, &keyring(&keys), now()).is_ok(), is_good);
    }
}

#[test]
fn one_bad_signature_by_a_known_key_spoils_all() {
    let (key, other) = (TestKey::new(Spec::default()), TestKey::new(Spec::default()));
    let armored = |key: &TestKey, text: &str| sign_detached(text.as_bytes(), &Sign::by(&key.secret)).1;
    let both = armored(&key, TEXT) + &armored(&other, "other\n");
    let verify = |keys: &[&TestKey]| verify_detached(TEXT.as_bytes(), both.as_bytes(), &keyring(keys), now());
    assert!(verify(&[&key]).is_ok(), "what an unknown key signed says nothing");
    let error = verify(&[&key, &other]).unwrap_err();
    assert!(matches!(&error, Error::OneBad(bad) if bad.refusal == Refusal::Mismatch), "{error}");
}

#[test]
fn the_future_is_refused() {
    let key = TestKey::new(Spec::default());
    let message = sign_inline(TEXT, &[Sign { day: 1, ..Sign::by(&key.secret) }]);
    let at = Timestamp::from_second(NOW + DAY).unwrap();
    let almost = at - jiff::SignedDuration::from_secs(1);
    for now in [now(), almost] {
        assert_eq!(refusal(verify_inline(&message, &keyring(&[&key]), now)), Refusal::Future(at));
    }
    assert!(verify_inline(&message, &keyring(&[&key]), at).is_ok());
}

#[test]
fn a_signature_can_expire() {
    let key = TestKey::new(Spec::default());
    let end = SubpacketData::SignatureExpirationTime(pgp::types::Duration::from_secs(3600));
    let sign = Sign { day: -1, more: vec![Subpacket::regular(end).unwrap()], ..Sign::by(&key.secret) };
    let expired = Timestamp::from_second(NOW - DAY + 3600).unwrap();
    assert_eq!(refusal(judged(&key, sign)), Refusal::Expired(expired));
}

#[test]
fn what_is_critical_and_not_understood_is_refused() {
    let key = TestKey::new(Spec::default());
    let unknown = SubpacketData::Experimental(101, vec![1].into());
    let sign = Sign { more: vec![Subpacket::critical(unknown.clone()).unwrap()], ..Sign::by(&key.secret) };
    assert_eq!(refusal(judged(&key, sign)), Refusal::Critical);
    let sign = Sign { more: vec![Subpacket::regular(unknown).unwrap()], ..Sign::by(&key.secret) };
    assert!(judged(&key, sign).is_ok());
}

#[test]
fn a_key_must_be_meant_to_sign() {
    let key = TestKey::new(Spec { signs: false, ..Spec::default() });
    assert_eq!(refusal(judged(&key, Sign::by(&key.secret))), Refusal::NotForSigning);
    // As Debian's: the primary key may as well only certify, while its subkey signs.
    let key = key.with_subkey(None, true, true, false);
    let verified = judged_by_subkey(&key).unwrap();
    assert_eq!(verified.fingerprint, hex::encode(key.subkey.as_ref().unwrap().fingerprint().as_bytes()));
}

#[test]
fn subkeys_must_be_bound_both_ways() {
    let subkey =
        |lifetime, signs, back, revoked| TestKey::new(Spec::default()).with_subkey(lifetime, signs, back, revoked);
    assert!(judged_by_subkey(&subkey(None, true, true, false)).is_ok());
    assert_eq!(refusal(judged_by_subkey(&subkey(None, true, false, false))), Refusal::Unbound("back signature"));
    assert_eq!(refusal(judged_by_subkey(&subkey(None, false, true, false))), Refusal::NotForSigning);
    assert_eq!(refusal(judged_by_subkey(&subkey(None, true, true, true))), Refusal::KeyRevoked);
    let end = Timestamp::from_second(NOW - 800 * DAY).unwrap();
    assert_eq!(refusal(judged_by_subkey(&subkey(Some(100), true, true, false))), Refusal::KeyExpired(end));

    // Another key claims the subkey as its own; only the owner has its back signature.
    let owner = subkey(None, true, true, false);
    let mut thief = TestKey::new(Spec::default()).with_subkey(None, true, true, false);
    thief.public.public_subkeys.clone_from(&owner.public.public_subkeys);
    thief.subkey.clone_from(&owner.subkey);
    assert_eq!(refusal(judged_by_subkey(&thief)), Refusal::Unbound("binding to its primary key"));

    // With the primary key falls the subkey.
    let revoked = Spec { revoked: Some((RevocationCode::KeyCompromised, -10)), ..Spec::default() };
    assert_eq!(
        refusal(judged_by_subkey(&TestKey::new(revoked).with_subkey(None, true, true, false))),
        Refusal::KeyRevoked
    );
    let expired = Spec { lifetime: Some(950), ..Spec::default() };
    let refused = refusal(judged_by_subkey(&TestKey::new(expired).with_subkey(None, true, true, false)));
    assert!(matches!(refused, Refusal::KeyExpired(_)));
}

#[test]
fn detached_signatures_are_armored() {
    let key = TestKey::new(Spec::default());
    let keyring = keyring(&[&key]);
    for typ in [SignatureType::Binary, SignatureType::Text] {
        let (binary, armored) = sign_detached(TEXT.as_bytes(), &Sign { typ, ..Sign::by(&key.secret) });
        for signature in [armored.clone(), format!("{armored}{armored}"), armored.trim_end().to_owned()] {
            let signature = signature.as_bytes();
            assert_eq!(verify_detached(TEXT.as_bytes(), signature, &keyring, now()).unwrap().text, TEXT);
            let changed = TEXT.replace("stable", "sid");
            let refused = refusals(verify_detached(changed.as_bytes(), signature, &keyring, now()));
            assert!(refused.iter().all(|refusal| *refusal == Refusal::Mismatch), "{refused:?}");
        }
        for bad in [
            format!("evil\n{armored}").as_bytes(),
            format!("\n{armored}").as_bytes(),
            b"",
            &armored.as_bytes()[..60],
            &binary,
        ] {
            assert!(matches!(verify_detached(TEXT.as_bytes(), bad, &keyring, now()), Err(Error::Malformed(_))));
        }
    }
    let certification = key.public.details.users[0].signatures[0].clone();
    let armored = pgp::composed::DetachedSignature::new(certification).to_armored_bytes(None.into()).unwrap();
    assert_eq!(refusal(verify_detached(TEXT.as_bytes(), &armored, &keyring, now())), Refusal::Kind);
}

#[test]
fn size_and_number_are_bounded() {
    let key = TestKey::new(Spec::default());
    let large = vec![b'a'; usize::try_from(MAX_SIGNED_BYTES).unwrap() + 1];
    assert!(matches!(verify_inline(&large, &keyring(&[&key]), now()), Err(Error::TooLarge(_))));
    assert!(matches!(verify_detached(b"a\n", &large, &keyring(&[&key]), now()), Err(Error::TooLarge(_))));
    let (_, armored) = sign_detached(TEXT.as_bytes(), &Sign::by(&key.secret));
    let many = armored.repeat(MAX_SIGNATURES + 1);
    let error = verify_detached(TEXT.as_bytes(), many.as_bytes(), &keyring(&[&key]), now()).unwrap_err();
    assert!(error.to_string().contains("too many"), "{error}");
}
