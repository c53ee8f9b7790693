//! Diversions: names that a package, or the administrator, gave to the files of others
//! (dpkg-divert(1)).

use std::collections::BTreeMap;

use fam_tree::RootPath;

use super::{Error, path};
use crate::staging::Staging;

const FILE: &str = "var/lib/dpkg/diversions";

/// The diversions of a system.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Diversions {
    by_contested: BTreeMap<RootPath, Diversion>,
    by_alternative: BTreeMap<RootPath, RootPath>,
}

/// What became of a contested name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Diversion {
    alternative: RootPath,
    /// The package whose own file has the contested name; none where all packages' files are
    /// diverted.
    by: Option<String>,
}

impl Diversions {
    /// Reads those that the scripts so far have made.
    ///
    /// # Errors
    /// [`Error`]
    pub fn read(staging: &Staging) -> Result<Self, Error> {
        if staging.exists(&path(FILE))? { Self::parse(&staging.read(&path(FILE))?) } else { Ok(Self::default()) }
    }

    /// Reads three lines for each: the contested name, the alternative, and the package, or a
    /// colon.
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        const MALFORMED: Error = Error::Malformed { file: FILE };
        let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
        let mut all = Self::default();
        for lines in lines.chunks(3) {
            let [contested, alternative, package] = lines else { return Err(MALFORMED) };
            let absolute = |line: &[u8]| RootPath::new(line).ok().filter(|_| line.starts_with(b"/")).ok_or(MALFORMED);
            let (contested, alternative) = (absolute(contested)?, absolute(alternative)?);
            let by = (*package != b":").then(|| String::from_utf8_lossy(package).into_owned());
            all.by_alternative.insert(alternative.clone(), contested.clone());
            all.by_contested.insert(contested, Diversion { alternative, by });
        }
        Ok(all)
    }

    /// The name that the file `path` of `package` gets.
    #[must_use]
    pub fn name<'a>(&'a self, path: &'a RootPath, package: &str) -> &'a RootPath {
        match self.by_contested.get(path) {
            Some(Diversion { alternative, by }) if by.as_deref() != Some(package) => alternative,
            _ => path,
        }
    }

    /// The name in whose place `path` stands, so that no package may have a file of that name.
    #[must_use]
    pub fn contested(&self, path: &RootPath) -> Option<&RootPath> {
        self.by_alternative.get(path)
    }

    /// What has changed since `before`.
    #[must_use]
    pub fn moves_since<'a>(&'a self, before: &'a Self) -> Vec<Move<'a>> {
        let missing_from = |all: &'a Self, other: &'a Self| {
            all.by_contested.iter().filter(|(contested, it)| other.by_contested.get(*contested) != Some(it))
        };
        let undone = missing_from(before, self).map(|(contested, Diversion { alternative, by })| Move {
            contested,
            from: alternative,
            to: contested,
            by: by.as_deref(),
        });
        let made = missing_from(self, before).map(|(contested, Diversion { alternative, by })| Move {
            contested,
            from: contested,
            to: alternative,
            by: by.as_deref(),
        });
        // In this order: where a diversion was changed, its files go back to the contested name
        // before they go to the new one.
        undone.chain(made).collect()
    }
}

/// That files which packages call by a contested name have another name from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move<'a> {
    /// The name by which packages list them.
    pub contested: &'a RootPath,
    /// The name that they had.
    pub from: &'a RootPath,
    /// The name that they have.
    pub to: &'a RootPath,
    /// The package whose own file is not among them.
    pub by: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> RootPath {
        text.parse().unwrap()
    }

    #[test]
    fn the_package_that_diverts_keeps_the_name() {
        let text = b"/usr/bin/zcat\n/usr/bin/zcat.gzip\nzutils\n/etc/issue\n/etc/issue.orig\n:\n";
        let diversions = Diversions::parse(text).unwrap();
        for (path, package, name) in [
            ("usr/bin/zcat", "gzip", "usr/bin/zcat.gzip"),
            ("usr/bin/zcat", "zutils", "usr/bin/zcat"),
            ("etc/issue", "base-files", "etc/issue.orig"),
            ("bin/zcat", "gzip", "bin/zcat"),
        ] {
            assert_eq!(*diversions.name(&at(path), package), at(name), "{path} of {package}");
        }
        assert_eq!(diversions.contested(&at("etc/issue.orig")), Some(&at("etc/issue")));
        assert_eq!(diversions.contested(&at("etc/issue")), None);
    }

    #[test]
    fn changes_are_moves() {
        let before = Diversions::parse(b"/a\n/a.x\n:\n/b\n/b.x\np\n").unwrap();
        let after = Diversions::parse(b"/b\n/b.y\np\n/c\n/c.x\nq\n").unwrap();
        let show = |it: &Move<'_>| format!("{}: {} {} {}", it.contested, it.from, it.to, it.by.unwrap_or(":"));
        let moves: Vec<_> = after.moves_since(&before).iter().map(show).collect();
        assert_eq!(moves, ["/a: /a.x /a :", "/b: /b.x /b p", "/b: /b /b.y p", "/c: /c /c.x q"]);
        assert_eq!(before.moves_since(&before), []);
    }

    #[test]
    fn what_dpkg_would_not_read_is_refused() {
        for text in ["/a\n", "/a\n/b\n", "a\n/b\n:\n", "/a\n/../b\n:\n", "/a\n/b\n:\n/c\n"] {
            let error = Diversions::parse(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, "/var/lib/dpkg/diversions of the new system is malformed", "{text}");
        }
        assert_eq!(Diversions::parse(b"").unwrap(), Diversions::default());
    }
}
