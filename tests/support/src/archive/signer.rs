//! The key that signs the archives of the tests. `GnuPG` makes it, so that no code of fam-build's
//! judges what fam-build's code made.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::shared::{shared, take_turn};

/// A key of the tests' own. It is made once in a run of the tests.
#[derive(Debug)]
pub struct Signer {
    home: PathBuf,
}

impl Signer {
    /// The key that signs archives unless a test says otherwise.
    pub fn usual() -> Self {
        Self::named("archive-key")
    }

    /// Another key; `name` is that of its directory.
    pub fn named(name: &str) -> Self {
        let place = shared(name, |place| {
            let signer = Self { home: place.join("gnupg") };
            fs_err::create_dir(&signer.home).unwrap();
            fs_err::set_permissions(&signer.home, std::fs::Permissions::from_mode(0o700)).unwrap();
            signer.gpg(&["--quick-generate-key", "Archive of the tests", "ed25519", "sign", "1y"], b"");
            fs_err::write(signer.keyring(), signer.gpg(&["--export"], b"")).unwrap();
        });
        Self { home: place.join("gnupg") }
    }

    /// The public key, as a file for `--keyring`.
    pub fn keyring(&self) -> PathBuf {
        self.home.with_file_name("archive.gpg")
    }

    /// The text as an `InRelease` file.
    pub fn clearsign(&self, text: &str) -> Vec<u8> {
        self.gpg(&["--clearsign"], text.as_bytes())
    }

    fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        // Else another test would end the agent in the midst of this.
        let _turn = take_turn("gnupg");
        let mut child = Command::new("gpg")
            .env("GNUPGHOME", &self.home)
            .args(["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("gpg is needed");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "gpg {arguments:?}");
        end_agent(&self.home);
        output.stdout
    }
}

/// Ends the agent that gpg starts in the background, which would outlive the tests.
fn end_agent(home: &Path) {
    let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", home).status();
}
