//! The keys of the vectors. `GnuPG` makes them once in a run of the tests; each test works on a
//! copy of its home, as one agent for several tests would end with the first of them.

use std::path::PathBuf;

use super::packets::{SIGNATURE, join, split, with_unhashed};
use crate::gnupg::Gnupg;
use crate::shared::shared;

/// Every algorithm and size; the keys have these names.
const ALGORITHMS: [&str; 15] = [
    "rsa1024",
    "rsa2048",
    "rsa3072",
    "rsa4096",
    "dsa1024",
    "dsa2048",
    "dsa3072",
    "ed25519",
    "nistp256",
    "nistp384",
    "nistp521",
    "brainpoolP256r1",
    "brainpoolP384r1",
    "brainpoolP512r1",
    "secp256k1",
];

/// A time long ago, at which keys and signatures were made.
pub(super) const LONG_AGO: [&str; 2] = ["--faked-system-time", "20200101T000000!"];

/// Half a year later.
pub(super) const SOON_AFTER: [&str; 2] = ["--faked-system-time", "20200601T000000!"];

/// Keys, and what makes signatures by them.
#[derive(Debug)]
pub struct Keys {
    pub(super) gnupg: Gnupg,
    /// A home that nothing changes.
    home: PathBuf,
    expired: Vec<u8>,
}

impl Default for Keys {
    fn default() -> Self {
        let place = shared("vector-keys", |place| {
            let gnupg = Gnupg::at(&place.join("home"));
            make(&gnupg);
            // gpg signs with no key that has expired. So this one is extended, and known as it was
            // before, too.
            gnupg.key("extended", "ed25519", "cert,sign", "1y", &LONG_AGO);
            fs_err::write(place.join("expired"), gnupg.export("extended")).unwrap();
            gnupg.good(&["--quick-set-expire", &gnupg.fingerprint("extended"), "20y"], b"");
        });
        let home = place.join("home");
        Self { gnupg: Gnupg::copy_of(&home), home, expired: fs_err::read(place.join("expired")).unwrap() }
    }
}

fn make(gnupg: &Gnupg) {
    for algorithm in ALGORITHMS {
        gnupg.key(algorithm, algorithm, "cert,sign", "1y", &[]);
    }
    for name in ["stranger", "second", "compromised", "unexplained", "certifies"] {
        gnupg.key(name, "rsa2048", "cert,sign", "1y", &[]);
    }
    gnupg.key("unborn", "ed25519", "cert,sign", "1y", &in_days(30).each_ref().map(String::as_str));
    let weak = ["--allow-weak-key-signatures", "--cert-digest-algo", "SHA1"];
    gnupg.key("sha1-self", "rsa2048", "cert,sign", "1y", &weak);
    for name in ["old", "retired"] {
        gnupg.key(name, "ed25519", "cert,sign", "20y", &LONG_AGO);
    }
    for name in ["subkey", "subkey-revoked", "subkey-encrypts"] {
        with_subkey(gnupg, name, &[]);
    }
    with_subkey(gnupg, "subkey-expired", &LONG_AGO);
    gnupg.key("subkey-sha1", "ed25519", "cert", "20y", &[]);
    add_subkey(gnupg, "subkey-sha1", &weak);
}

/// A key that certifies, with a subkey that signs for a year.
fn with_subkey(gnupg: &Gnupg, name: &str, more: &[&str]) {
    gnupg.key(name, "ed25519", "cert", "20y", more);
    add_subkey(gnupg, name, more);
}

fn add_subkey(gnupg: &Gnupg, name: &str, more: &[&str]) {
    let fingerprint = gnupg.fingerprint(name);
    gnupg.good(&[more, &["--quick-add-key", &fingerprint, "rsa2048", "sign", "1y"]].concat(), b"");
}

/// The option of gpg by which it is so many days from now.
pub(super) fn in_days(days: i64) -> [String; 2] {
    in_seconds(days * 86_400)
}

/// As [`in_days`].
pub(super) fn in_seconds(seconds: i64) -> [String; 2] {
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    ["--faked-system-time".to_owned(), format!("{}!", time.as_second())]
}

impl Keys {
    /// The public key of this name, as it was made.
    #[must_use]
    pub fn public(&self, name: &str) -> Vec<u8> {
        self.gnupg.export(name)
    }

    /// The public key `extended`, as it was before it was extended.
    pub(super) fn expired(&self) -> Vec<u8> {
        self.expired.clone()
    }

    /// The public key of this name, armored.
    pub(super) fn armored(&self, name: &str) -> Vec<u8> {
        self.gnupg.good(&["--armor", "--export", &format!("={name}")], b"")
    }

    /// The public key, revoked for the reason that gpg's menu has at this number.
    pub(super) fn revoked(&self, name: &str, reason: u32) -> Vec<u8> {
        let answers = format!("y\n{reason}\n\ny\n");
        let revocation = self.gnupg.answer(&["--gen-revoke", &format!("={name}")], &answers);
        self.changed(name, |gnupg| drop(gnupg.good(&["--import"], &revocation)))
    }

    /// The public key, after `change` was made in a copy of the home.
    pub(super) fn changed(&self, name: &str, change: impl FnOnce(&Gnupg)) -> Vec<u8> {
        let copy = Gnupg::copy_of(&self.home);
        change(&copy);
        copy.export(name)
    }

    /// The public key after answers to `gpg --edit-key`.
    pub(super) fn edited(&self, name: &str, answers: &str) -> Vec<u8> {
        self.changed(name, |gnupg| {
            let answers = format!("{answers}\nsave\n");
            gnupg.answer(&["--expert", "--edit-key", &format!("={name}")], &answers);
        })
    }

    /// The public key with its subkey, which has not agreed to be one.
    pub(super) fn without_back_signature(&self, name: &str) -> Vec<u8> {
        const EMBEDDED: u8 = 32;
        let mut packets = split(&self.public(name));
        for (tag, body) in &mut packets {
            if *tag == SIGNATURE {
                *body = with_unhashed(body, |mut parts| {
                    parts.retain(|(kind, _)| *kind != EMBEDDED);
                    parts
                });
            }
        }
        join(&packets)
    }

    /// The public key with the subkey of another in place of its own.
    pub(super) fn with_subkey_of(&self, name: &str, other: &str) -> Vec<u8> {
        const SUBKEY: u8 = 14;
        let take = |name: &str| split(&self.public(name)).into_iter();
        let own = take(name).take_while(|(tag, _)| *tag != SUBKEY);
        join(&own.chain(take(other).skip_while(|(tag, _)| *tag != SUBKEY)).collect::<Vec<_>>())
    }

    /// The public key without what it says about itself.
    pub(super) fn without_self_signatures(&self, name: &str) -> Vec<u8> {
        let mut packets = split(&self.public(name));
        packets.retain(|(tag, _)| *tag != SIGNATURE);
        join(&packets)
    }

    /// A file of keys as `GnuPG` itself keeps them.
    pub(super) fn keybox(&self, name: &str) -> Vec<u8> {
        let box_of_one = Gnupg::default();
        box_of_one.good(&["--import"], &self.public(name));
        fs_err::read(box_of_one.home().join("pubring.kbx")).unwrap()
    }

    /// Another key with this user ID.
    pub(super) fn namesake(name: &str) -> Vec<u8> {
        let another = Gnupg::default();
        another.key(name, "ed25519", "cert,sign", "1y", &[]);
        another.export(name)
    }

    /// Binary `OpenPGP` data as a block with this label.
    pub(super) fn enarmor(&self, label: &str, bytes: &[u8]) -> String {
        let armored = String::from_utf8(self.gnupg.good(&["--enarmor"], bytes)).unwrap();
        let lines = armored.lines().filter(|line| !line.starts_with("Comment: "));
        lines.map(|line| line.replace("ARMORED FILE", label) + "\n").collect()
    }
}
