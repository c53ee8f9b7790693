//! The key that signs the archives of the tests.

use std::path::PathBuf;

use crate::gnupg::Gnupg;
use crate::shared::shared;

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
            let (gnupg, name) = (Gnupg::at(&signer.home), "Archive of the tests");
            gnupg.key(name, "ed25519", "sign", "1y", &[]);
            fs_err::write(signer.keyring(), gnupg.export(name)).unwrap();
        });
        Self { home: place.join("gnupg") }
    }

    /// The public key, as a file for `--keyring`.
    pub fn keyring(&self) -> PathBuf {
        self.home.with_file_name("archive.gpg")
    }

    /// The same as an armored block.
    pub fn armored(&self) -> String {
        let armored = Gnupg::copy_of(&self.home).good(&["--export", "--armor"], b"");
        String::from_utf8(armored).unwrap()
    }

    /// The text as an `InRelease` file.
    pub fn clearsign(&self, text: &str) -> Vec<u8> {
        // An agent of its own: one for all would end with the first that has signed.
        Gnupg::copy_of(&self.home).good(&["--clearsign"], text.as_bytes())
    }
}
