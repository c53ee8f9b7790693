//! A small archive, signed by a key made on the spot.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::fam_build;
use crate::server::{Reply, Request, Server, UNAUTHORIZED};
use crate::support::succeed;

/// A signed archive of one suite, `tiny`, with one package, by the paths of its files; and the keyring that vouches for it.
pub struct Archive {
    files: HashMap<String, Vec<u8>>,
    directory: tempfile::TempDir,
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Archive {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs_err::set_permissions(directory.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let control = "Package: fam-tiny\nVersion: 1\nArchitecture: all\nEssential: yes\nPriority: required\n\
                       Maintainer: Nobody <nobody@example.org>\nDescription: for a test\n";
        fs_err::create_dir_all(directory.path().join("tree/DEBIAN")).unwrap();
        fs_err::write(directory.path().join("tree/DEBIAN/control"), control).unwrap();
        let path = |name: &str| directory.path().join(name);
        succeed(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(path("tree")).arg(path("deb")));
        let deb = fs_err::read(path("deb")).unwrap();
        let packages =
            format!("{control}Filename: pool/fam-tiny_1_all.deb\nSize: {}\nSHA256: {}\n", deb.len(), hex(&deb));
        let release = format!(
            "Suite: tiny\nCodename: tiny\nDate: {}\nComponents: main\nArchitectures: amd64\nSHA256:\n \
             {} {} main/binary-amd64/Packages\n",
            (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1)).strftime("%a, %d %b %Y %H:%M:%S UTC"),
            hex(packages.as_bytes()),
            packages.len(),
        );
        fs_err::write(path("Release"), release).unwrap();
        let gpg = |arguments: &[&str]| {
            let mut gpg = Command::new("gpg");
            gpg.env("GNUPGHOME", directory.path()).current_dir(directory.path());
            gpg.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]).args(arguments);
            succeed(&mut gpg);
        };
        gpg(&["--quick-generate-key", "tests", "ed25519", "sign", "1y"]);
        gpg(&["--output", "keys.gpg", "--export", "tests"]);
        gpg(&["--output", "InRelease", "--clearsign", "Release"]);
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", directory.path()).status();
        let files = HashMap::from([
            ("/debian/dists/tiny/InRelease".to_owned(), fs_err::read(path("InRelease")).unwrap()),
            ("/debian/dists/tiny/main/binary-amd64/Packages".to_owned(), packages.into_bytes()),
            ("/debian/pool/fam-tiny_1_all.deb".to_owned(), deb),
        ]);
        Self { files, directory }
    }

    /// The one of this run.
    pub fn get() -> &'static Self {
        static ARCHIVE: OnceLock<Archive> = OnceLock::new();
        ARCHIVE.get_or_init(Self::new)
    }

    /// The file that is asked for.
    pub fn answer(&self, request: &Request) -> Reply {
        match self.files.get(&request.target) {
            Some(bytes) => Reply::File(bytes.clone()),
            None => Reply::Status("404 Not Found".into()),
        }
    }

    /// Serves it to those that have the login of `ann`.
    pub fn guarded(&'static self) -> Server {
        Server::start(
            |request| {
                if request.is_of_ann() { self.answer(request) } else { Reply::Status(UNAUTHORIZED.into()) }
            },
        )
    }

    /// What the program does with this archive at `mirror`.
    pub fn command(&self, place: &Path, verb: &str, mirror: &str) -> Command {
        self.wrapped(fam_build(place), place, verb, mirror)
    }

    /// The same by a command whose last argument is the program.
    pub fn wrapped(&self, mut command: Command, place: &Path, verb: &str, mirror: &str) -> Command {
        let recipe = place.join("tiny.toml");
        let text = "suite = \"tiny\"\nvariant = \"essential\"\nupdates = false\nsecurity = false\n[kernel]\n\
                    package = \"fam-tiny\"\n[nodes]\ncount = 1\n";
        fs_err::write(&recipe, text).unwrap();
        command.arg(verb).arg("--recipe").arg(recipe).arg("--output").arg(place.join("output"));
        command.args(["--mirror", mirror, "--keyring"]).arg(self.directory.path().join("keys.gpg"));
        command
    }
}
