//! `GnuPG` with a home of its own, so that no code of fam-build's judges what fam-build's code
//! made.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home of `GnuPG`. The agent that gpg starts in the background ends with this.
#[derive(Debug)]
pub struct Gnupg {
    home: PathBuf,
    /// Removed at the end, if this is the only one that uses it.
    _directory: Option<tempfile::TempDir>,
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", &self.home).output();
    }
}

impl Default for Gnupg {
    /// An empty one, removed at the end. Its path is short, as those of sockets must be.
    fn default() -> Self {
        let private = std::fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("gnupg").permissions(private).tempdir_in("/tmp").unwrap();
        Self { home: directory.path().to_owned(), _directory: Some(directory) }
    }
}

impl Gnupg {
    /// One that stays. It is made if it is not there.
    pub fn at(home: &Path) -> Self {
        if !home.exists() {
            fs_err::create_dir(home).unwrap();
            fs_err::set_permissions(home, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self { home: home.to_owned(), _directory: None }
    }

    /// One with the keys of another, removed at the end.
    pub fn copy_of(home: &Path) -> Self {
        let copy = Self::default();
        // Not what comes and goes: sockets and locks.
        let keys = ["pubring.kbx", "private-keys-v1.d"].map(|name| home.join(name));
        crate::succeed(Command::new("cp").arg("-r").args(keys).arg(&copy.home));
        copy
    }

    /// Where it is.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    fn spawn(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("gpg")
            .env("GNUPGHOME", &self.home)
            .args(["--yes", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg is needed");
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // It writes while it reads. One that refuses its arguments reads nothing.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().unwrap()
        })
    }

    /// Runs gpg with this standard input; it asks nothing.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        self.spawn(&[&["--batch"], arguments].concat(), input)
    }

    /// As [`run`](Self::run), and it must succeed; returns its standard output.
    #[track_caller]
    pub fn good(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Runs gpg with these answers to its questions, a line each.
    #[track_caller]
    pub fn answer(&self, arguments: &[&str], answers: &str) -> Vec<u8> {
        let output = self.spawn(&[&["--command-fd", "0"], arguments].concat(), answers.as_bytes());
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a key whose user ID is `name`; `lifetime` is as in `1y`.
    #[track_caller]
    pub fn key(&self, name: &str, algorithm: &str, usage: &str, lifetime: &str, more: &[&str]) {
        self.good(&[more, &["--quick-generate-key", name, algorithm, usage, lifetime]].concat(), b"");
    }

    /// The public key with this user ID.
    #[track_caller]
    pub fn export(&self, name: &str) -> Vec<u8> {
        self.good(&["--export", &format!("={name}")], b"")
    }

    /// The fingerprint of the primary key with this user ID.
    #[track_caller]
    pub fn fingerprint(&self, name: &str) -> String {
        let listed = self.good(&["--with-colons", "--list-keys", &format!("={name}")], b"");
        let listed = String::from_utf8(listed).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.trim_end_matches(':').rsplit(':').next().unwrap().to_owned()
    }
}
