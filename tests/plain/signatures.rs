//! The signature policy against `GnuPG`: what it makes, in good and bad forms, and what gpgv says
//! to the same.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fam_build::archive::keyring::Keyring;
use fam_build::archive::signature::{SignatureError, Verified, verify_detached, verify_inline};
use jiff::Timestamp;

support::tests! {
    needs ["gpg", "gpgv", "gpgconf"];
    good_keys_of_every_kind_verify_as_with_gpgv,
    detached_signatures_verify,
    weak_hashes_and_keys_are_refused_though_the_signature_is_right,
    expired_and_revoked_keys_are_refused,
}

const TEXT: &str = "Origin: Test\nSuite: stable\n- dash  \n--- more\n\nlast: line\n";

/// A `GnuPG` home of its own, whose agent ends with it.
struct Gnupg(tempfile::TempDir);

impl Drop for Gnupg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", self.0.path()).output();
    }
}

impl Gnupg {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("gnupg").tempdir_in("/tmp").unwrap())
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("gpg")
            .env("GNUPGHOME", self.0.path())
            .args(["--batch", "--yes", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs gpg");
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn good(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a key that is named by its user ID.
    fn key(&self, name: &str, algorithm: &str, more: &[&str]) {
        let arguments = [more, &["--quick-generate-key", name, algorithm, "cert,sign", "1y"]].concat();
        self.good(&arguments, b"");
    }

    fn export(&self, name: &str) -> Vec<u8> {
        self.good(&["--export", name], b"")
    }

    fn clearsign(&self, name: &str, more: &[&str]) -> Vec<u8> {
        self.good(&[more, &["--local-user", name, "--clearsign"]].concat(), TEXT.as_bytes())
    }

    fn gpgv(&self, keyring: &Path, message: &[u8]) -> bool {
        let file = self.0.path().join("message");
        fs_err::write(&file, message).unwrap();
        let output =
            Command::new("gpgv").arg("--keyring").arg(keyring).arg(file).output().expect("this test needs gpgv");
        output.status.success()
    }
}

fn keyring(key: &[u8]) -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add(key, &PathBuf::from("exported")).unwrap();
    keyring
}

fn inline(message: &[u8], key: &[u8]) -> Result<Verified, SignatureError> {
    verify_inline(message, &keyring(key), Timestamp::now())
}

fn good_keys_of_every_kind_verify_as_with_gpgv() {
    let gnupg = Gnupg::new();
    for algorithm in ["rsa2048", "rsa4096", "ed25519", "nistp256", "nistp384", "brainpoolP256r1"] {
        gnupg.key(algorithm, algorithm, &[]);
        let key = gnupg.export(algorithm);
        let path = gnupg.0.path().join("exported.gpg");
        fs_err::write(&path, &key).unwrap();
        let message = gnupg.clearsign(algorithm, &["--digest-algo", "SHA512"]);
        assert!(gnupg.gpgv(&path, &message), "{algorithm}");
        let verified = match inline(&message, &key) {
            Ok(verified) => verified,
            // rPGP does not do these curves; nobody signs archives with them.
            Err(error) if algorithm.starts_with("brainpool") => {
                assert!(matches!(error, SignatureError::NoneGood { .. } | SignatureError::Malformed(_)), "{error}");
                continue;
            }
            Err(error) => panic!("{algorithm}: {error}"),
        };
        assert_eq!(verified.text, TEXT.replace("dash  ", "dash"), "{algorithm}");
        assert_eq!(verified.user_id, algorithm);

        let altered = String::from_utf8(message).unwrap().replace("stable", "sid");
        assert!(!gnupg.gpgv(&path, altered.as_bytes()));
        assert!(inline(altered.as_bytes(), &key).is_err(), "{algorithm}");
    }
}

fn detached_signatures_verify() {
    let gnupg = Gnupg::new();
    gnupg.key("archive", "rsa2048", &[]);
    let keyring = keyring(&gnupg.good(&["--armor", "--export", "archive"], b""));
    for more in [&["--armor"][..], &[], &["--textmode"], &["--textmode", "--armor"]] {
        let signature = gnupg.good(&[more, &["--detach-sign"]].concat(), TEXT.as_bytes());
        assert_eq!(verify_detached(TEXT.as_bytes(), &signature, &keyring, Timestamp::now()).unwrap().text, TEXT);
        assert!(verify_detached(b"other\n", &signature, &keyring, Timestamp::now()).is_err());
    }
}

fn weak_hashes_and_keys_are_refused_though_the_signature_is_right() {
    let gnupg = Gnupg::new();
    let weak = ["--allow-weak-digest-algos", "--allow-weak-key-signatures"];
    let weak = if gnupg.run(&[weak[0], weak[1], "--version"], b"").status.success() { &weak[..] } else { &weak[..1] };
    gnupg.key("strong", "rsa2048", &[]);
    gnupg.key("short", "rsa1024", &[]);
    gnupg.key("dsa", "dsa2048", &[]);
    gnupg.key("sha1", "rsa2048", &[weak, &["--cert-digest-algo", "SHA1"]].concat());
    let cases = [
        ("strong", "MD5", "weak hash MD5"),
        ("strong", "SHA1", "weak hash SHA1"),
        ("strong", "RIPEMD160", "weak hash RIPEMD160"),
        ("strong", "SHA224", "weak hash SHA224"),
        ("short", "SHA256", "RSA of 1024 bits"),
        ("dsa", "SHA256", "weak key (DSA)"),
        ("sha1", "SHA256", "without a valid self-signature"),
    ];
    for (name, hash, reason) in cases {
        let message = gnupg.clearsign(name, &[weak, &["--digest-algo", hash]].concat());
        let error = inline(&message, &gnupg.export(name)).unwrap_err();
        assert!(error.to_string().contains(reason), "{name} {hash}: {error}");
    }
    assert!(inline(&gnupg.clearsign("strong", &["--digest-algo", "SHA256"]), &gnupg.export("strong")).is_ok());
}

fn expired_and_revoked_keys_are_refused() {
    let gnupg = Gnupg::new();
    // Made for a year, long ago; it signed then, and once more when it had expired.
    let then = ["--faked-system-time", "20200101T000000!"];
    gnupg.key("old", "ed25519", &then);
    let in_time = gnupg.clearsign("old", &["--faked-system-time", "20200601T000000!"]);
    let key = gnupg.export("old");
    assert!(inline(&in_time, &key).is_ok(), "a signature of its time stays valid");
    // gpg signs with no expired key; one that was extended does, and the key as it was exported
    // before does not know of that.
    let fingerprint = inline(&in_time, &key).unwrap().fingerprint;
    gnupg.good(&["--quick-set-expire", &fingerprint, "10y"], b"");
    let late = gnupg.clearsign("old", &[]);
    let error = inline(&late, &key).unwrap_err();
    assert!(error.to_string().contains("after its key expired at 2020-12-31"), "{error}");
    assert!(inline(&late, &gnupg.export("old")).is_ok(), "the extended key signs on");

    gnupg.key("lost", "ed25519", &[]);
    let message = gnupg.clearsign("lost", &[]);
    let fingerprint = inline(&message, &gnupg.export("lost")).unwrap().fingerprint;
    let certificate = gnupg.0.path().join(format!("openpgp-revocs.d/{}.rev", fingerprint.to_uppercase()));
    let revocation = fs_err::read_to_string(certificate).unwrap().replace("\n:-----BEGIN", "\n-----BEGIN");
    gnupg.good(&["--import"], revocation.as_bytes());
    let error = inline(&message, &gnupg.export("lost")).unwrap_err();
    assert!(error.to_string().contains("revoked key"), "{error}");
}
