//! `fabric.lock`: the exact packages of a system, so that it can be built again as it was.
//!
//! TOML, with a table a package, sorted by name, so that two locks are compared line by line. A package is found again by
//! mirror and file name, and known again by size and SHA-256; nothing else of the archive is needed, not even its indexes.

use serde::{Deserialize, Serialize};

use super::digest::{Sha256Digest, hex, parse_sha256};
use super::fetch::Download;

/// The version of this format.
const FORMAT: u32 = 1;
/// More than any system has: a bound for what a hostile file can make of memory.
const MOST_PACKAGES: usize = 100_000;
const HEADER: &str = "# The exact packages of a build, by fam-build. Build with them again: fam-build --locked FILE\n\n";

/// A suite that packages came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSource {
    /// The archive.
    pub mirror: String,
    /// The suite.
    pub suite: String,
    /// The date of its Release file, in seconds since 1970.
    pub date: i64,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// The archive that has it.
    pub mirror: String,
    /// Its place in the archive.
    pub filename: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it takes when it is unpacked, in KiB, as its maintainer reckons.
    #[serde(rename = "installed-size")]
    pub installed_size: u64,
    /// Its SHA-256, in hexadecimal.
    #[serde(with = "hexadecimal")]
    pub sha256: Sha256Digest,
}

impl LockedPackage {
    /// How it is fetched.
    #[must_use]
    pub fn download(&self) -> Download {
        Download {
            name: format!("{} {} {}", self.name, self.version, self.architecture),
            url: format!("{}/{}", self.mirror, self.filename),
            size: self.size,
            sha256: self.sha256,
        }
    }
}

/// The exact packages of a system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    format: u32,
    /// The architecture of the system.
    pub architecture: String,
    /// The suites they came from.
    #[serde(rename = "source")]
    pub sources: Vec<LockedSource>,
    /// The packages, sorted by name.
    #[serde(rename = "package")]
    pub packages: Vec<LockedPackage>,
}

/// Why a text is no lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It is not TOML, or not of this shape. The message shows the place.
    #[error("{0}")]
    Malformed(String),
    /// It is of another version of the format.
    #[error("it is of format {0}, and this program reads format {FORMAT}")]
    Format(u32),
    /// A package is not one that can be fetched safely.
    #[error("package {name}: {problem}")]
    Package {
        /// Which.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl LockError {
    /// What the user should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Format(_) => Some("make a new one: fam-build lock".into()),
            Self::Malformed(_) | Self::Package { .. } => {
                Some("take a fabric.lock that fam-build wrote; make a new one: fam-build lock".into())
            }
        }
    }
}

impl Lock {
    /// Sorts and keeps `packages`.
    #[must_use]
    pub fn new(architecture: String, sources: Vec<LockedSource>, mut packages: Vec<LockedPackage>) -> Self {
        packages.sort_by(|one, other| one.name.cmp(&other.name));
        Self { format: FORMAT, architecture, sources, packages }
    }

    /// Reads a lock.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn parse(text: &str) -> Result<Self, LockError> {
        /// Read first: another format may have another shape.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let malformed = |error: toml::de::Error| LockError::Malformed(error.to_string());
        let Version { format } = toml::from_str(text).map_err(malformed)?;
        if format != FORMAT {
            return Err(LockError::Format(format));
        }
        let lock: Self = toml::from_str(text).map_err(malformed)?;
        let wrong = |name: &str, problem| LockError::Package { name: name.to_owned(), problem };
        if lock.packages.is_empty() || lock.packages.len() > MOST_PACKAGES {
            return Err(wrong("(all)", "there are none, or more than any system has"));
        }
        for pair in lock.packages.windows(2) {
            if pair[0].name >= pair[1].name {
                return Err(wrong(&pair[1].name, "it is out of order or listed twice"));
            }
        }
        for package in &lock.packages {
            if package.filename.starts_with('/') || package.filename.split('/').any(|part| part == "..") {
                return Err(wrong(&package.name, "its file name leaves the archive"));
            }
            if package.architecture != lock.architecture && package.architecture != "all" {
                return Err(wrong(&package.name, "it is of another architecture"));
            }
        }
        Ok(lock)
    }

    /// Writes the lock, always the same text for the same packages.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(self).expect("strings, numbers and tables after them are TOML");
        format!("{HEADER}{text}")
    }

    /// The newest date of its sources, in seconds since 1970.
    #[must_use]
    pub fn newest_date(&self) -> i64 {
        self.sources.iter().map(|source| source.date).max().unwrap_or(0)
    }
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::{Sha256Digest, hex, parse_sha256};

    pub(super) fn serialize<S: Serializer>(digest: &Sha256Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sha256Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_sha256(&text).ok_or_else(|| de::Error::custom("64 hexadecimal digits were expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Lock {
        let package = |name: &str| LockedPackage {
            name: name.into(),
            version: "1:2.0-1".into(),
            architecture: "all".into(),
            mirror: "http://mirror.example/debian".into(),
            filename: format!("pool/main/{name}.deb"),
            size: 7,
            installed_size: 21,
            sha256: [0xab; 32],
        };
        let source = LockedSource { mirror: "http://mirror.example/debian".into(), suite: "trixie".into(), date: 5 };
        Lock::new("amd64".into(), vec![source], vec![package("b"), package("a")])
    }

    #[test]
    fn is_read_as_it_was_written() {
        let text = example().to_toml();
        assert_eq!(Lock::parse(&text).unwrap(), example());
        assert!(text.find("name = \"a\"") < text.find("name = \"b\""), "{text}");
        assert_eq!(example().packages[0].download().url, "http://mirror.example/debian/pool/main/a.deb");
    }

    #[test]
    fn says_what_is_wrong() {
        let text = example().to_toml();
        let error = |change: &str, to: &str| Lock::parse(&text.replacen(change, to, 1)).unwrap_err().to_string();
        assert!(error("format = 1", "format = 9").contains("format 9"));
        assert!(error("size = 7", "size = -7").contains("line"));
        assert!(error("pool/main/a", "../../a").contains("leaves the archive"));
        assert!(error("name = \"a\"", "name = \"z\"").contains("out of order"));
        assert!(error("abab", "abxx").contains("64 hexadecimal digits"));
        assert!(error("architecture = \"all\"", "architecture = \"arm64\"").contains("another architecture"));
    }
}
