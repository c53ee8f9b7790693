//! When and how signatures are made, how many there are, and what a Release.gpg may be.

#![allow(clippy::redundant_closure_for_method_calls, reason = "a method for one lifetime is no function for all")]

use super::Vector;
use super::case::{Case, USUAL_TEXT};
use super::keys::{Keys, SOON_AFTER, in_days, in_seconds};
use super::packets::{SIGNATURE, join, split, with_unhashed};

const BAD: &str = "does not match the text";
const OUTSIDE: &str = "lines outside the armored block";

pub(super) const VECTORS: &[Vector] = &[
    Vector::accepted("a signature of long ago", |case| case.by("old").options(&SOON_AFTER)),
    Vector::refused_as_by_apt_3("a signature made tomorrow", "in the future", |case| case.options(&in_days(1))),
    Vector::refused_as_by_apt_3("a signature made in a minute", "in the future", |case| case.options(&in_seconds(60))),
    Vector::refused("a signature that has expired", "expired at", |case| {
        case.by("old").options(&SOON_AFTER).options(&["--default-sig-expire", "1d"])
    }),
    Vector::accepted("a signature that will expire", |case| case.options(&["--default-sig-expire", "1d"])),
    Vector::accepted("a good signature and one by an unknown key", |case| case.options(&["--local-user", "=stranger"])),
    Vector::accepted("two good signatures", |case| beside(case, "second")),
    Vector::accepted("a good signature and one by a weak key", |case| beside(case, "rsa1024")),
    Vector::accepted("a good signature and one by a revoked key", |case| {
        let keys = [case.keys.revoked("compromised", 1), case.keys.public("rsa4096")].concat();
        case.options(&["--local-user", "=compromised"]).trusting(keys, "gpg")
    }),
    Vector::accepted("a good signature and one by an expired key", |case| {
        let keys = [case.keys.expired(), case.keys.public("rsa4096")].concat();
        case.options(&["--local-user", "=extended"]).trusting(keys, "gpg")
    }),
    Vector::refused_as_by_apt_2("a bad signature before a good one", BAD, |case| {
        known(case, "second").packets(|keys, good| [another(keys, "second", &[]), good].concat())
    }),
    Vector::refused_as_by_apt_2("a bad signature behind a good one", BAD, |case| {
        known(case, "second").packets(|keys, good| [good, another(keys, "second", &[])].concat())
    }),
    Vector::refused_as_by_apt_2("a good signature and a bad one by the same key", BAD, |case| {
        case.packets(|keys, good| [good, another(keys, "rsa4096", &[])].concat())
    }),
    Vector::accepted("a good signature and a bad one by an unknown key", |case| {
        case.packets(|keys, good| [good, another(keys, "second", &[])].concat())
    }),
    Vector::refused_as_by_apt_2("a good signature and a bad one by a weak key", BAD, |case| {
        known(case, "rsa1024").packets(|keys, good| [good, another(keys, "rsa1024", &[])].concat())
    }),
    Vector::accepted("a good signature and a bad one over MD5", |case| {
        case.packets(|keys, good| [good, another(keys, "rsa4096", &["--digest-algo", "MD5"])].concat())
    }),
    Vector::accepted("a good signature and one over MD5", |case| {
        case.packets(|keys, good| [good, more(keys, "rsa4096", &["--digest-algo", "MD5"])].concat())
    }),
    Vector::accepted("a good signature and one that has expired", |case| {
        known(case, "old").packets(|keys, good| {
            let past = [&SOON_AFTER[..], &["--default-sig-expire", "1d"]].concat();
            [good, more(keys, "old", &past)].concat()
        })
    }),
    Vector::accepted("a good signature and one from the future", |case| {
        case.packets(|keys, good| {
            let tomorrow = in_days(1);
            [good, more(keys, "rsa4096", &[&tomorrow[0], &tomorrow[1]])].concat()
        })
    }),
    Vector::refused_as_by_apt_2("a good signature and one with a critical notation", "a critical part", |case| {
        case.packets(|keys, good| [good, more(keys, "rsa4096", &["--sig-notation", "!test@example.org=x"])].concat())
    }),
    Vector::accepted("a good signature and a key's signature on itself", |case| {
        case.packets(|keys, good| [good, on_itself(keys)].concat())
    }),
    Vector::stricter("seventeen signatures", "too many", "each takes time, and no archive makes so many", |case| {
        case.packets(|_, good| good.repeat(17))
    }),
    Vector::refused("a good signature that covers another text", BAD, |case| {
        case.packets(|keys, _| another(keys, "rsa4096", &[]))
    }),
    Vector::accepted("a notation", |case| case.options(&["--sig-notation", "test@example.org=x"])),
    Vector::refused("a critical notation", "a critical part", |case| {
        case.options(&["--sig-notation", "!test@example.org=x"])
    }),
    Vector::refused_as_by_apt_2("a critical part that is not signed and not understood", "a critical part", |case| {
        case.packets(|_, signature| with_part(&signature, 0x80 | 101, b"x"))
    }),
    Vector::accepted("a part that is not signed and not understood", |case| {
        case.packets(|_, signature| with_part(&signature, 101, b"x"))
    }),
    Vector::refused_as_by_apt_2("no issuer", "key not known", |case| {
        case.packets(|_, signature| edit(&signature, |_| Vec::new()))
    }),
    Vector::accepted("Release.gpg", |case| case.detached()),
    Vector::refused("Release.gpg, not armored", "not armored", |case| {
        case.detached().then(|keys, armored| keys.gnupg.good(&["--dearmor"], &armored))
    }),
    Vector::accepted("Release.gpg, a signature of text", |case| case.options(&["--textmode"]).detached()),
    Vector::accepted("Release.gpg, two armored blocks", |case| {
        case.detached().message(|block| format!("{block}{block}"))
    }),
    Vector::refused("Release.gpg, an empty line before the block", OUTSIDE, |case| {
        case.detached().message(|block| format!("\n{block}"))
    }),
    Vector::refused("Release.gpg, an empty line behind the block", OUTSIDE, |case| {
        case.detached().message(|block| format!("{block}\n"))
    }),
    Vector::accepted("Release.gpg, no newline at the end", |case| {
        case.detached().message(|block| block.trim_end().into())
    }),
    Vector::accepted("Release.gpg, a header in the block", |case| {
        case.detached().message(|block| block.replacen('\n', "\nVersion: 1\n", 1))
    }),
    Vector::accepted("Release.gpg, a carriage return at the end of each line", |case| {
        case.detached().message(|block| block.replace('\n', "\r\n"))
    }),
    Vector::stricter(
        "Release.gpg, a blank behind the first line",
        "malformed: signature",
        "no signer writes it, and rPGP does not read it",
        |case| case.detached().message(|block| block.replacen('\n', " \n", 1)),
    ),
    Vector::accepted("Release.gpg, a blank behind the last line", |case| {
        case.detached().message(|block| format!("{} \n", block.trim_end()))
    }),
    Vector::refused("Release.gpg, not there", "is not signed", |case| case.unsigned()),
    Vector::refused("Release.gpg, empty", "no signature in it", |case| case.detached().then(|_, _| Vec::new())),
    Vector::refused("Release.gpg, garbage", "malformed: signature", |case| {
        case.detached().then(|_, _| b"<html>Please log in</html>\n".to_vec())
    }),
    Vector::refused("Release.gpg, armored garbage", "malformed: signature", |case| {
        case.packets(|_, _| vec![0xff; 300])
    }),
    Vector::refused("Release.gpg, cut off and armored", "malformed: signature", |case| {
        case.packets(|_, signature| signature[..signature.len() - 20].to_vec())
    }),
    Vector::refused("Release.gpg, armored and cut off", "malformed: signature", |case| {
        case.detached().message(|block| block[..block.len() - 60].to_owned())
    }),
    Vector::refused("Release.gpg, text before the block", OUTSIDE, |case| {
        case.detached().message(|block| format!("Suite: other\n{block}"))
    }),
    Vector::refused("Release.gpg, text behind the block", OUTSIDE, |case| {
        case.detached().message(|block| format!("{block}Suite: other\n"))
    }),
    Vector::refused("Release.gpg, a signed message of its own", "malformed: signature", |case| {
        case.packets(|keys, _| keys.gnupg.good(&["--local-user", "=rsa4096", "--sign"], b"Suite: other\n"))
    }),
    Vector::refused("Release.gpg, a public key", "malformed: signature", |case| {
        case.packets(|keys, _| keys.public("rsa4096"))
    }),
    Vector::refused("Release.gpg, a key's signature on itself", "not a signature of data", |case| {
        case.packets(|keys, _| on_itself(keys))
    }),
    Vector::refused("Release.gpg, a clearsigned message", "malformed: signature", |case| {
        case.detached().then(|keys, _| keys.gnupg.good(&["--local-user", "=rsa4096", "--clearsign"], b"Suite: other\n"))
    }),
    Vector::accepted("Release with a line of 100 000 characters", |case| {
        case.and(&format!("X-Long: {}\n", "a".repeat(100_000))).detached()
    }),
];

/// Beside the usual key, this one is known.
fn known<'k>(case: Case<'k>, key: &str) -> Case<'k> {
    let keys = [case.keys.public(key), case.keys.public("rsa4096")].concat();
    case.trusting(keys, "gpg")
}

/// Beside the usual key, this one is known, and signs, too.
fn beside<'k>(case: Case<'k>, key: &str) -> Case<'k> {
    known(case, key).options(&["--local-user", &format!("={key}")])
}

/// One more signature of the text that every vector here begins with.
fn more(keys: &Keys, signer: &str, options: &[&str]) -> Vec<u8> {
    detached(keys, signer, options, USUAL_TEXT.as_bytes())
}

/// A signature of another text.
fn another(keys: &Keys, signer: &str, options: &[&str]) -> Vec<u8> {
    detached(keys, signer, options, b"Suite: other\n")
}

fn detached(keys: &Keys, signer: &str, options: &[&str], text: &[u8]) -> Vec<u8> {
    let signer = format!("={signer}");
    let usual = ["--digest-algo", "SHA512", "--local-user", &signer];
    keys.gnupg.good(&[&usual, options, &["--detach-sign"]].concat(), text)
}

/// What a key says about itself.
fn on_itself(keys: &Keys) -> Vec<u8> {
    let mut packets = split(&keys.public("rsa4096"));
    packets.retain(|(tag, _)| *tag == SIGNATURE);
    join(&packets)
}

/// Changes the parts of a signature that no signature covers.
fn edit(signature: &[u8], edit: impl Fn(Vec<(u8, Vec<u8>)>) -> Vec<(u8, Vec<u8>)>) -> Vec<u8> {
    let mut packets = split(signature);
    for (_, body) in &mut packets {
        *body = with_unhashed(body, &edit);
    }
    join(&packets)
}

fn with_part(signature: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
    edit(signature, |mut parts| {
        parts.push((kind, data.to_vec()));
        parts
    })
}

/// Writes the stranger's key ID into a signature.
pub(super) fn as_by_the_stranger(keys: &Keys, signature: &[u8]) -> Vec<u8> {
    const ISSUER: u8 = 16;
    let fingerprint = keys.gnupg.fingerprint("stranger");
    let id = &fingerprint[fingerprint.len() - 16..];
    let id: Vec<u8> = (0..16).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()).collect();
    edit(signature, |_| vec![(ISSUER, id.clone())])
}
