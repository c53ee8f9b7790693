//! Packages and archives of the tests' own making, signed by a key of their own.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::server::{Reply, Server};
use crate::support::succeed;

/// A package file.
#[derive(Clone)]
pub struct Deb {
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

impl Deb {
    /// A package that holds one file of `payload` and, if that is not empty, runs the script `postinst`.
    pub fn new(name: &'static str, payload: &[u8], postinst: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs_err::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs_err::create_dir_all(tree.join("usr/share")).unwrap();
        fs_err::write(tree.join("usr/share").join(name), payload).unwrap();
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nEssential: yes\nPriority: required\n\
             Maintainer: Nobody <nobody@example.org>\nDescription: for a test\n"
        );
        fs_err::write(tree.join("DEBIAN/control"), control).unwrap();
        if !postinst.is_empty() {
            let path = tree.join("DEBIAN/postinst");
            fs_err::write(&path, format!("#!/bin/sh\n{postinst}\n")).unwrap();
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let file = directory.path().join("deb");
        succeed(Command::new("dpkg-deb").args(["-Znone", "--root-owner-group", "--build"]).arg(&tree).arg(&file));
        Self { name, bytes: fs_err::read(file).unwrap() }
    }

    pub fn sha256(&self) -> String {
        hex(&self.bytes)
    }

    /// Where it is in an archive.
    pub fn filename(&self) -> String {
        format!("pool/{}_1_all.deb", self.name)
    }

    /// Its stanza of a lock.
    pub fn locked(&self, mirror: &str) -> String {
        format!(
            "\n[[package]]\nname = \"{}\"\nversion = \"1\"\narchitecture = \"all\"\nsize = {}\ninstalled-size = 1\n\
             sha256 = \"{}\"\nfilename = \"{}\"\nmirror = \"{mirror}\"\n",
            self.name,
            self.bytes.len(),
            self.sha256(),
            self.filename(),
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// An archive: its files by their path.
pub type Files = HashMap<String, Vec<u8>>;

/// A signed archive of one suite, `tiny`, that was valid until so many days from now.
pub fn archive(debs: &[Deb], valid_days: i64) -> Files {
    let mut files = Files::new();
    let mut packages = String::new();
    for deb in debs {
        let (filename, size, sha256) = (deb.filename(), deb.bytes.len(), deb.sha256());
        write!(
            packages,
            "Package: {}\nVersion: 1\nArchitecture: all\nEssential: yes\nPriority: required\n\
             Maintainer: Nobody <nobody@example.org>\nInstalled-Size: 1\nFilename: {filename}\nSize: {size}\n\
             SHA256: {sha256}\nDescription: for a test\n\n",
            deb.name
        )
        .unwrap();
        files.insert(format!("/{filename}"), deb.bytes.clone());
    }
    let date = |days: i64| {
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
    };
    let release = format!(
        "Origin: Test\nLabel: Test\nSuite: tiny\nCodename: tiny\nDate: {}\nValid-Until: {}\nComponents: main\n\
         Architectures: amd64\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        date(-10),
        date(valid_days),
        hex(packages.as_bytes()),
        packages.len()
    );
    files.insert("/dists/tiny/InRelease".into(), signer().clearsign(&release));
    files.insert("/dists/tiny/main/binary-amd64/Packages".into(), packages.into_bytes());
    files
}

/// Serves files.
pub fn serve(files: Files) -> Server {
    Server::start(move |path| match files.get(path) {
        Some(bytes) => Reply::File(bytes.clone()),
        None => Reply::Status("404 Not Found"),
    })
}

/// The key that signs all archives of the tests, and vouches for them in a keyring.
pub struct Signer {
    home: PathBuf,
}

/// The one key.
pub fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| {
        let signer = Signer { home: crate::world::scratch().join("gnupg") };
        fs_err::create_dir(&signer.home).unwrap();
        fs_err::set_permissions(&signer.home, std::fs::Permissions::from_mode(0o700)).unwrap();
        signer.gpg(&["--quick-generate-key", "tests", "ed25519", "sign", "1y"], b"");
        let key = signer.gpg(&["--export", "tests"], b"");
        fs_err::write(signer.keyring(), key).unwrap();
        signer
    })
}

impl Signer {
    /// The file for `--keyring`.
    pub fn keyring(&self) -> PathBuf {
        self.home.join("tests.gpg")
    }

    fn clearsign(&self, text: &str) -> Vec<u8> {
        self.gpg(&["--clearsign"], text.as_bytes())
    }

    fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gpg")
            .env("GNUPGHOME", &self.home)
            .args(["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs gpg");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "gpg {arguments:?}");
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", &self.home).status();
        output.stdout
    }
}
