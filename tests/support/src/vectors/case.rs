//! One archive, made step by step: what its Release file says, who signs it and how, what is
//! changed after that, and what is served in place of the index.

use std::process::Command;
use std::sync::LazyLock;

use super::keys::Keys;
use crate::archive::{Files, days_from_now, sha256};
use crate::succeed;

/// The suite's name that stays, by which it is asked for, and the one that moves.
const CODENAME: &str = "vector";
const SUITE: &str = "calm";

pub(super) const INDEX_PATH: &str = "main/binary-amd64/Packages";

/// The index of an archive: one package. `version` tells indexes apart.
pub(super) fn index(version: &str) -> String {
    format!(
        "Package: vector\nVersion: {version}\nArchitecture: all\nMaintainer: Tests <tests@example.org>\n\
         Filename: pool/vector_{version}_all.deb\nSize: 1000\nSHA256: {}\nDescription: for a test\n\n",
        sha256(version.as_bytes())
    )
}

/// The text that is signed unless a vector changes it.
pub(super) static USUAL_TEXT: LazyLock<String> = LazyLock::new(|| {
    let index = index("1");
    format!(
        "Origin: Test\nLabel: Test\nSuite: {SUITE}\nCodename: {CODENAME}\nDate: {}\nValid-Until: {}\n\
         Architectures: amd64\nComponents: main\nSHA256:\n {} {} {INDEX_PATH}\n",
        days_from_now(-10),
        days_from_now(7),
        sha256(index.as_bytes()),
        index.len()
    )
});

/// A change of what carries the signature.
type Edit = Box<dyn Fn(&Keys, Vec<u8>) -> Vec<u8>>;

/// An archive that is being described: one suite with one index, good unless a vector says
/// otherwise.
#[allow(missing_debug_implementations, reason = "closures have nothing to show")]
pub struct Case<'k> {
    pub(super) keys: &'k Keys,
    signer: String,
    options: Vec<String>,
    keyring: Option<(Vec<u8>, &'static str)>,
    asked: String,
    release: String,
    index: String,
    served_index: Option<Vec<u8>>,
    signed: Signed,
    latin_1: bool,
    packet_edits: Vec<Edit>,
    edits: Vec<Edit>,
    by_hash: Option<Vec<u8>>,
    earlier: Vec<Files>,
}

/// In which files the signed text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed {
    /// `InRelease`.
    Inline,
    /// Release and Release.gpg.
    Detached,
    /// All of them; changes are made to `InRelease`.
    Both,
    /// Release alone.
    Not,
    /// None of them is there.
    Nothing,
}

/// An archive as it is served.
#[derive(Debug)]
pub struct Served {
    /// What is served when the archive is asked for the first time, the second time, and so on.
    pub times: Vec<Files>,
    /// The suite to ask for.
    pub asked: String,
    /// The keyring, and the ending of its name.
    pub keyring: (Vec<u8>, &'static str),
    /// The index that is in use in the end if the archive is accepted.
    pub index: String,
}

impl<'k> Case<'k> {
    /// An archive that is in order.
    #[must_use]
    pub fn new(keys: &'k Keys) -> Self {
        Self {
            keys,
            signer: "rsa4096".to_owned(),
            options: vec!["--digest-algo".to_owned(), "SHA512".to_owned()],
            keyring: None,
            asked: CODENAME.to_owned(),
            release: USUAL_TEXT.clone(),
            index: index("1"),
            served_index: None,
            signed: Signed::Inline,
            latin_1: false,
            packet_edits: Vec::new(),
            edits: Vec::new(),
            by_hash: None,
            earlier: Vec::new(),
        }
    }

    /// Signed by this key, which is the keyring unless [`trusting`](Self::trusting) names another.
    pub(super) fn by(mut self, signer: &str) -> Self {
        signer.clone_into(&mut self.signer);
        self
    }

    /// With more options for gpg; of two of a kind the last one counts.
    pub(super) fn options(mut self, options: &[impl AsRef<str>]) -> Self {
        self.options.extend(options.iter().map(|option| option.as_ref().to_owned()));
        self
    }

    /// Signed over this digest.
    pub(super) fn digest(self, digest: &str) -> Self {
        self.options(&["--digest-algo", digest])
    }

    /// With this keyring; the ending of its name is `gpg` or `asc`.
    pub(super) fn trusting(mut self, keyring: Vec<u8>, ending: &'static str) -> Self {
        self.keyring = Some((keyring, ending));
        self
    }

    /// Asked for by this name.
    pub(super) fn asked(mut self, suite: &str) -> Self {
        suite.clone_into(&mut self.asked);
        self
    }

    /// With another text of the Release file, before it is signed.
    pub(super) fn text(mut self, from: &str, to: &str) -> Self {
        assert!(self.release.contains(from), "{from}");
        self.release = self.release.replacen(from, to, 1);
        self
    }

    /// With another value of a field.
    pub(super) fn field(self, name: &str, value: &str) -> Self {
        let line = self.release.lines().find(|line| line.starts_with(&format!("{name}: "))).unwrap().to_owned();
        self.text(&format!("{line}\n"), &format!("{name}: {value}\n"))
    }

    /// Without a field.
    pub(super) fn without(self, name: &str) -> Self {
        let line = self.release.lines().find(|line| line.starts_with(&format!("{name}: "))).unwrap().to_owned();
        self.text(&format!("{line}\n"), "")
    }

    /// With lines behind the last one.
    pub(super) fn and(mut self, lines: &str) -> Self {
        self.release.push_str(lines);
        self
    }

    /// With Release and Release.gpg in place of `InRelease`.
    pub(super) fn detached(mut self) -> Self {
        self.signed = Signed::Detached;
        self
    }

    /// With Release and Release.gpg that are good, and a changed `InRelease`.
    pub(super) fn also_detached(mut self) -> Self {
        self.signed = Signed::Both;
        self.replaced("Origin: Test", "Origin: Evil")
    }

    /// With Release alone.
    pub(super) fn unsigned(mut self) -> Self {
        self.signed = Signed::Not;
        self
    }

    /// With a text that is not encoded in UTF-8.
    pub(super) fn in_latin_1(mut self) -> Self {
        self.latin_1 = true;
        self
    }

    /// With Release and Release.gpg, whose packets are changed before they are armored.
    pub(super) fn packets(mut self, edit: impl Fn(&Keys, Vec<u8>) -> Vec<u8> + 'static) -> Self {
        self.packet_edits.push(Box::new(edit));
        self.detached()
    }

    /// Changes what carries the signature after it is made: `InRelease`, or Release.gpg.
    pub(super) fn then(mut self, edit: impl Fn(&Keys, Vec<u8>) -> Vec<u8> + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// As [`then`](Self::then), of what is text.
    pub(super) fn message(self, edit: impl Fn(&str) -> String + 'static) -> Self {
        self.then(move |_, bytes| edit(str::from_utf8(&bytes).unwrap()).into_bytes())
    }

    /// As [`message`](Self::message): what is there once is replaced.
    pub(super) fn replaced(self, from: &'static str, to: &'static str) -> Self {
        self.message(move |text| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        })
    }

    /// Serves other bytes than the index that is listed; to accept them is to accept the archive.
    pub(super) fn serving(mut self, index: &str) -> Self {
        self.served_index = Some(index.as_bytes().to_vec());
        self
    }

    /// With another index, listed as it is.
    pub(super) fn index(mut self, version: &str) -> Self {
        let other = index(version);
        let entry = |index: &str| format!("{} {}", sha256(index.as_bytes()), index.len());
        let listed = entry(&self.index);
        self = self.text(&listed, &entry(&other));
        self.index = other;
        self
    }

    /// With Acquire-By-Hash, and these bytes at the index's place by hash.
    pub(super) fn by_hash(mut self, index: &str) -> Self {
        self.by_hash = Some(index.as_bytes().to_vec());
        self.text("Architectures:", "Acquire-By-Hash: yes\nArchitectures:")
    }

    /// With another entry for the index, which is made of its digest and its size.
    pub(super) fn listed_as(self, entry: fn(&str, usize) -> String) -> Self {
        let (sum, size) = (sha256(self.index.as_bytes()), self.index.len());
        self.text(&format!("{sum} {size} {INDEX_PATH}"), &entry(&sum, size))
    }

    /// With the index listed in this field instead, by the digest that this program prints.
    pub(super) fn listed_by(self, field: &str, program: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        fs_err::write(&path, &self.index).unwrap();
        let printed = succeed(Command::new(program).arg(path));
        let (sum, sha256) = (printed.split(' ').next().unwrap(), sha256(self.index.as_bytes()));
        self.text("SHA256:", &format!("{field}:")).text(&sha256, sum)
    }

    /// Served when the archive is asked for the second time. The first time, it was in order.
    pub(super) fn after_a_good_one(mut self) -> Self {
        self.earlier = Self::new(self.keys).serve().times;
        self
    }

    /// With no file at all.
    pub(super) fn nothing(mut self) -> Self {
        self.signed = Signed::Nothing;
        self
    }

    /// Makes all files.
    #[must_use]
    pub fn serve(self) -> Served {
        let mut files = Files::new();
        let path = |name: &str| format!("/dists/{}/{name}", self.asked);
        let user = format!("={}", self.signer);
        let options = self.options.iter().map(String::as_str).chain(["--local-user", &user]);
        let options: Vec<_> = options.collect();
        let text: Vec<u8> = match self.latin_1 {
            true => self.release.chars().map(|c| u8::try_from(c).unwrap()).collect(),
            false => self.release.clone().into_bytes(),
        };
        let sign = |how: &str| self.keys.gnupg.good(&[&options, &[how][..]].concat(), &text);
        let edited = |edits: &[Edit], signed| edits.iter().fold(signed, |signed, edit| edit(self.keys, signed));
        let detached = || {
            let packets = edited(&self.packet_edits, sign("--detach-sign"));
            self.keys.enarmor("SIGNATURE", &packets).into_bytes()
        };
        if matches!(self.signed, Signed::Inline | Signed::Both) {
            files.insert(path("InRelease"), edited(&self.edits, sign("--clearsign")));
        }
        if matches!(self.signed, Signed::Detached | Signed::Both | Signed::Not) {
            files.insert(path("Release"), text.clone());
        }
        match self.signed {
            Signed::Detached => drop(files.insert(path("Release.gpg"), edited(&self.edits, detached()))),
            Signed::Both => drop(files.insert(path("Release.gpg"), detached())),
            Signed::Inline | Signed::Not | Signed::Nothing => {}
        }
        let index = self.index.as_bytes();
        files.insert(path(INDEX_PATH), self.served_index.clone().unwrap_or_else(|| index.to_vec()));
        if let Some(bytes) = self.by_hash {
            files.insert(path(&format!("main/binary-amd64/by-hash/SHA256/{}", sha256(index))), bytes);
        }
        let keyring = self.keyring.unwrap_or_else(|| (self.keys.public(&self.signer), "gpg"));
        let accepted = self.served_index.unwrap_or_else(|| index.to_vec());
        let mut times = self.earlier;
        times.push(files);
        Served { times, asked: self.asked, keyring, index: String::from_utf8(accepted).unwrap() }
    }
}
