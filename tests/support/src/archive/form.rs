//! The forms in which archives are published.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::{sha256, sha512};

/// The index of a suite's own packages, and that of those for all architectures.
const OWN: &str = "main/binary-amd64/Packages";
const OF_ALL: &str = "main/binary-all/Packages";
const FLAT: &str = "Packages";

/// How the indexes of a suite are published: plain, listed by SHA-256, packages for all architectures
/// among the others, unless said otherwise.
#[derive(Debug, Clone)]
pub struct Form {
    endings: Vec<&'static str>,
    absent: Vec<&'static str>,
    pub(super) digest: &'static str,
    all_apart: bool,
    flat: Option<String>,
    component: &'static str,
    more: Vec<u8>,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            endings: vec![""],
            absent: Vec::new(),
            digest: "SHA256",
            all_apart: false,
            flat: None,
            component: "main",
            more: Vec::new(),
        }
    }
}

impl Form {
    /// With indexes compressed so, by the endings of their names: `""`, `.xz`, `.gz`.
    #[must_use]
    pub fn compressed(mut self, endings: &[&'static str]) -> Self {
        self.endings = endings.to_vec();
        self
    }

    /// With indexes that are listed, and not there, by these endings.
    #[must_use]
    pub fn absent(mut self, endings: &[&'static str]) -> Self {
        self.absent = endings.to_vec();
        self
    }

    /// Listed by SHA-512, indexes and packages.
    #[must_use]
    pub fn sha512(mut self) -> Self {
        self.digest = "SHA512";
        self
    }

    /// With the packages for all architectures in an index of their own.
    #[must_use]
    pub fn all_apart(mut self) -> Self {
        self.all_apart = true;
        self
    }

    /// As a flat archive with its indexes in this directory: `./`, `sub/`.
    #[must_use]
    pub fn flat(mut self, directory: &str) -> Self {
        self.flat = Some(directory.to_owned());
        self
    }

    /// With its packages in this component.
    #[must_use]
    pub fn component(mut self, component: &'static str) -> Self {
        self.component = component;
        self
    }

    /// With this in the index, before the packages.
    #[must_use]
    pub fn stanza(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.more = text.into();
        self.more.extend(b"\n\n");
        self
    }

    pub(super) fn sum(&self, bytes: &[u8]) -> String {
        if self.digest == "SHA512" { sha512(bytes) } else { sha256(bytes) }
    }

    /// The directory of the suite, with slashes around it.
    pub(super) fn directory(&self, suite: &str) -> String {
        match self.flat.as_deref().map(|directory| directory.trim_start_matches("./")) {
            Some("") => "/".to_owned(),
            Some(directory) => format!("/{directory}"),
            None => format!("/dists/{suite}/"),
        }
    }

    pub(super) fn empty_indexes(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let own = if self.flat.is_some() { FLAT } else { OWN };
        let mut indexes = BTreeMap::from([(own, self.more.clone())]);
        if self.all_apart {
            indexes.insert(OF_ALL, Vec::new());
        }
        indexes
    }

    /// The index that has this stanza.
    pub(super) fn index_of(&self, stanza: &str) -> &'static str {
        let of_all = stanza.lines().any(|line| line == "Architecture: all");
        match &self.flat {
            Some(_) => FLAT,
            None if self.all_apart && of_all => OF_ALL,
            None => OWN,
        }
    }

    /// All forms of indexes, by path.
    pub(super) fn published(&self, indexes: &BTreeMap<&'static str, Vec<u8>>) -> Vec<(String, Vec<u8>)> {
        let forms = indexes.iter().flat_map(|(path, bytes)| {
            let path = path.replacen("main/", &format!("{}/", self.component), 1);
            self.endings.iter().map(move |ending| (format!("{path}{ending}"), compressed(ending, bytes)))
        });
        forms.collect()
    }

    pub(super) fn is_absent(&self, path: &str) -> bool {
        let ending = path.rsplit_once("Packages").map(|(_, ending)| ending);
        ending.is_some_and(|ending| self.absent.contains(&ending))
    }
}

/// What the program for this ending makes of `bytes`.
fn compressed(ending: &str, bytes: &[u8]) -> Vec<u8> {
    let command: &[&str] = match ending {
        "" => return bytes.to_vec(),
        ".xz" => &["xz"],
        ".lzma" => &["xz", "--format=lzma"],
        ".bz2" => &["bzip2"],
        ".gz" => &["gzip", "--no-name"],
        ".zst" => &["zstd", "--quiet"],
        other => panic!("no program for {other}"),
    };
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .arg("--stdout")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // An index of a test fits into a pipe.
    input.write_all(bytes).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}
