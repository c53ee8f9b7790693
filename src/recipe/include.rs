//! What a recipe has installed beside its variant: packages of the archives, and of files.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::names::{InvalidName, PackageName, Suite};

/// An item of `include`, as `apt-get install` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Include {
    /// A package of an archive.
    Package(WantedPackage),
    /// A `.deb` file, or a directory with such files: what begins with `/`, `./` or `../`.
    File(PathBuf),
}

/// A package of an archive by its name: `name`, `name:architecture`, and which of its versions, as
/// `name=version` or `name/suite`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPackage {
    /// The name of the package.
    pub name: PackageName,
    /// The architecture, where one is given.
    pub architecture: Option<String>,
    /// Which of its versions, where one is given.
    pub which: Option<Which>,
}

/// Which version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one with this number.
    Version(String),
    /// That of this suite.
    Suite(Suite),
}

/// How an item is written; the parser says the same.
const PATTERN: &str = concat!(
    r"^(\.{0,2}/.*|(?!.*\.deb$)[a-z0-9][a-z0-9+.-]+(:[a-z0-9][a-z0-9-]*)?",
    r"(=[A-Za-z0-9][A-Za-z0-9.+~:*-]*|/(?!.*(\.\.|//))[A-Za-z0-9]([A-Za-z0-9+._/-]*[A-Za-z0-9+._-])?)?)$",
);

impl Include {
    /// The same with its path, if it is one, seen from `directory`.
    #[must_use]
    pub(super) fn seen_from(self, directory: &Path) -> Self {
        match self {
            // Its components alone, since messages show the path: joined, it may have `./` in it.
            Self::File(path) => Self::File(directory.join(path).components().collect()),
            package @ Self::Package(_) => package,
        }
    }

    /// Whether leaving out `other` leaves out this: the same item, or any version of the package
    /// whose name alone it is.
    pub(super) fn is_meant_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Package(package), Self::Package(WantedPackage { name, architecture: None, which: None })) => {
                package.name == *name
            }
            _ => self == other,
        }
    }
}

fn is_path(text: &str) -> bool {
    ["/", "./", "../"].iter().any(|beginning| text.starts_with(beginning))
}

impl FromStr for Include {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if is_path(text) {
            return Ok(Self::File(text.into()));
        }
        if text.ends_with(".deb") {
            let rule = "a .deb file is named by a path that begins with /, ./ or ../";
            return Err(InvalidName::new(text, "package name", rule));
        }
        text.parse().map(Self::Package)
    }
}

impl FromStr for WantedPackage {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = |rule| InvalidName::new(text, "package", rule);
        let (before, which) = match text.find(['=', '/']) {
            Some(at) => (&text[..at], Some((text.as_bytes()[at], &text[at + 1..]))),
            None => (text, None),
        };
        let which = match which {
            None => None,
            Some((b'=', version)) => {
                let begins = version.starts_with(|c: char| c.is_ascii_alphanumeric());
                if !begins || !version.chars().all(|c| c.is_ascii_alphanumeric() || ".+~:*-".contains(c)) {
                    return Err(invalid("a version was expected behind =, as in hello=2.10-5"));
                }
                Some(Which::Version(version.to_owned()))
            }
            Some((_, suite)) => {
                let suite = suite.parse().map_err(|_| invalid("a suite was expected behind /, as in hello/sid"))?;
                Some(Which::Suite(suite))
            }
        };
        let (name, architecture) = match before.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture)),
            None => (before, None),
        };
        if architecture.is_some_and(|architecture| {
            let is_lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            !architecture.starts_with(is_lower) || !architecture.chars().all(|c| is_lower(c) || c == '-')
        }) {
            return Err(invalid("an architecture was expected behind :, as in hello:amd64"));
        }
        let name = name.parse().map_err(|error: InvalidName| error.of(text))?;
        Ok(Self { name, architecture: architecture.map(str::to_owned), which })
    }
}

impl TryFrom<String> for Include {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Include> for String {
    fn from(item: Include) -> Self {
        item.to_string()
    }
}

impl fmt::Display for Include {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(package) => package.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for WantedPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, architecture, which } = self;
        name.fmt(f)?;
        if let Some(architecture) = architecture {
            write!(f, ":{architecture}")?;
        }
        match which {
            None => Ok(()),
            Some(Which::Version(version)) => write!(f, "={version}"),
            Some(Which::Suite(suite)) => write!(f, "/{suite}"),
        }
    }
}

impl JsonSchema for Include {
    fn schema_name() -> Cow<'static, str> {
        "Include".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "description": "A package as apt-get install takes it: name, name:architecture, name=version or name/suite; or the \
                            path of a .deb file, or of a directory with such files, which begins with /, ./ or ../.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_as_apt_reads_them() {
        for text in
            ["gcc", "g++", "gcc:amd64", "linux-image-6.12.107+deb13-amd64=6.12.107-1", "vim=2:9.1.*", "a1=1~rc1"]
        {
            let Include::Package(package) = text.parse().unwrap() else { panic!("{text}") };
            assert_eq!(package.to_string(), text);
        }
        for text in ["vim/trixie-backports", "vim:amd64/stable", "vim/bookworm/updates"] {
            let Include::Package(WantedPackage { which: Some(Which::Suite(_)), .. }) = text.parse().unwrap() else {
                panic!("{text}")
            };
        }
        for text in ["./x.deb", "../debs", "/srv/a b/x_1_all.deb", "/", "./vim=1"] {
            assert_eq!(text.parse(), Ok(Include::File(text.into())));
        }
    }

    #[test]
    fn what_is_no_item_is_told_with_its_rule() {
        for (text, rule) in [
            ("", "no package name: two or more"),
            ("G++", "no package name: two or more"),
            ("Vim=1", "no package name: two or more"),
            ("~/x", "no package name: two or more"),
            ("vim:", "an architecture was expected"),
            ("vim:A", "an architecture was expected"),
            ("vim=", "a version was expected"),
            ("vim=-1", "a version was expected"),
            ("vim=1 2", "a version was expected"),
            ("vim/", "a suite was expected"),
            ("vim/a..b", "a suite was expected"),
            ("x.deb", "by a path that begins with /, ./ or ../"),
            ("debs/x_1_all.deb", "by a path that begins with /, ./ or ../"),
        ] {
            let error = text.parse::<Include>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no package")) && error.contains(rule), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_alone_leaves_out_every_version() {
        let is_meant = |item: &str, by: &str| item.parse::<Include>().unwrap().is_meant_by(&by.parse().unwrap());
        assert!(is_meant("vim", "vim") && is_meant("vim=1", "vim") && is_meant("vim/sid", "vim"));
        assert!(is_meant("vim=1", "vim=1") && is_meant("./x", "./x"));
        assert!(!is_meant("vim", "vim=1") && !is_meant("vim=2", "vim=1") && !is_meant("./x", "./y"));
    }
}
