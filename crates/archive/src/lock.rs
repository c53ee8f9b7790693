//! The lock file, `fabric.lock`: the exact packages of a build.
//!
//! A lock names each package with its version, size and SHA-256, and where it is fetched from, so
//! that the same build can be made again. It is TOML, one key a line and packages in order, so that
//! two locks can be compared by eye. The same selection gives the same bytes. A lock is made to be
//! kept and shared, so its URLs have no logins; those of an old one that has some are read, and not
//! written again.

use fam_progress::{Hint, line_and_column};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::digest::{Sha256Digest, hex, parse_sha256};
use super::fetch::Download;
use super::packages::Package;
use super::resolve::Selection;
use crate::credentials::{InvalidUrl, MirrorUrl};

/// The format that this program writes, and the only one it reads.
const FORMAT: u32 = 1;

/// The first lines of a lock file.
const HEADER: &str = "\
# The exact packages of a build, written by fam-build.
# `fam-build --locked FILE` installs these and no others.

";

/// An exact set of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    format: u32,
    /// The architecture of the system.
    pub architecture: String,
    /// The suites that were read, in the order of reading.
    #[serde(rename = "source", default)]
    pub sources: Vec<LockedSource>,
    /// The packages, sorted by name.
    #[serde(rename = "package", default)]
    pub packages: Vec<LockedPackage>,
}

/// A suite that was read when the lock was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSource {
    /// The root of the archive.
    pub mirror: MirrorUrl,
    /// The suite, by the name that was asked for.
    pub suite: String,
    /// The components read.
    pub components: Vec<String>,
    /// The date of its signed Release file.
    #[serde(serialize_with = "serialize_date", deserialize_with = "date")]
    pub date: Timestamp,
}

/// A package, described so exactly that only one file can be it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// The name of the package.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// The version, as it is written in the index.
    #[serde(deserialize_with = "version")]
    pub version: String,
    /// The architecture: the lock's own, or `all`.
    #[serde(deserialize_with = "name")]
    pub architecture: String,
    /// Whether it belongs to the first stage: the essential packages and what they need.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub essential: bool,
    /// Whether it is there only because others need it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
    /// The size of the `.deb` file in bytes.
    pub size: u64,
    /// What the package takes when it is unpacked, in KiB, as its maintainers estimate.
    #[serde(default, rename = "installed-size")]
    pub installed_size: u64,
    /// The SHA-256 of the `.deb` file, in hexadecimal.
    #[serde(serialize_with = "serialize_sha256", deserialize_with = "sha256")]
    pub sha256: Sha256Digest,
    /// The path of the `.deb` file under the mirror's root.
    #[serde(deserialize_with = "filename")]
    pub filename: String,
    /// The root of the archive that has it.
    pub mirror: MirrorUrl,
}

impl LockedPackage {
    /// Where its `.deb` file is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", self.mirror, self.filename)
    }

    /// How that is fetched.
    #[must_use]
    pub fn download(&self) -> Download {
        Download {
            name: format!("{} {} {}", self.name, self.version, self.architecture),
            urls: vec![self.url()],
            size: self.size,
            sha256: self.sha256,
        }
    }
}

/// Why there is no lock.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The index does not say of a package what a lock has to say, or says something that cannot
    /// be.
    #[error("package {package}: field {field} of the package index: {problem}")]
    Package { package: String, field: &'static str, problem: String },
    /// The archive that has a package is not named by a URL.
    #[error("{0}")]
    Mirror(#[from] InvalidUrl),
    /// A lock file that cannot be read.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A lock file of another format.
    #[error("format {format} is not known, only {FORMAT}")]
    Format { format: i64 },
    /// Packages for other machines than those that are wanted.
    #[error("{what} is for {architecture}, not for {wanted}")]
    Architecture {
        /// The lock, or one of its packages.
        what: String,
        /// What it is for.
        architecture: String,
        wanted: String,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Package { .. } => "tell those who run the archive, or take another mirror".into(),
            Self::Mirror(_) => "name the mirror as http://HOST/debian".into(),
            Self::Syntax { .. } => "`fam-build lock` writes a new lock file".into(),
            Self::Format { .. } => "take the fam-build that wrote it, or write a new one with `fam-build lock`".into(),
            Self::Architecture { .. } => "write a lock for this recipe with `fam-build lock`".into(),
        })
    }
}

impl Lock {
    /// The lock of a selection.
    ///
    /// # Errors
    /// [`Error::Package`] where the index lacks size, SHA-256 or filename of a package,
    /// [`Error::Mirror`] where its archive has no URL.
    pub fn new(selection: &Selection<'_>, architecture: &str, sources: Vec<LockedSource>) -> Result<Self, Error> {
        let locked = |selected: &super::resolve::Selected<'_>| {
            let package = &selected.package;
            Ok::<_, Error>(LockedPackage {
                name: package.name().to_owned(),
                version: package.version().to_owned(),
                architecture: package.architecture().to_owned(),
                essential: selected.essential_stage,
                automatic: selected.automatic,
                size: field(package, "Size", |size| size.parse().map_err(|_| format!("`{size}` is not a number")))?,
                installed_size: package.installed_size().unwrap_or(0),
                sha256: field(package, "SHA256", check_sha256)?,
                filename: field(package, "Filename", check_filename)?,
                mirror: package.origin().mirror.parse()?,
            })
        };
        let packages = selection.packages().iter().map(locked).collect::<Result<_, _>>()?;
        Ok(Self { format: FORMAT, architecture: architecture.to_owned(), sources, packages })
    }

    /// The mirrors of all sources and packages; those of an old lock may have logins.
    pub fn mirrors(&self) -> impl Iterator<Item = &MirrorUrl> {
        self.sources.iter().map(|source| &source.mirror).chain(self.packages.iter().map(|package| &package.mirror))
    }

    /// Whether all of it is for machines of the architecture `wanted`.
    ///
    /// # Errors
    /// [`Error::Architecture`]
    pub fn check_architecture(&self, wanted: &str) -> Result<(), Error> {
        let packages = self.packages.iter().filter(|package| package.architecture != "all");
        let parts = packages.map(|package| (format!("package {}", package.name), &package.architecture));
        let mut all = std::iter::once(("the lock".to_owned(), &self.architecture)).chain(parts);
        all.find(|(_, architecture)| *architecture != wanted).map_or(Ok(()), |(what, architecture)| {
            Err(Error::Architecture { what, architecture: architecture.clone(), wanted: wanted.to_owned() })
        })
    }

    /// The newest date of the sources. A build from this lock takes it for its own time, so that
    /// the result is reproducible.
    #[must_use]
    pub fn newest_date(&self) -> Option<Timestamp> {
        self.sources.iter().map(|source| source.date).max()
    }

    /// The text of a lock file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(self).expect("text, numbers and booleans under string keys are TOML");
        format!("{HEADER}{body}")
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// [`Error::Syntax`] and [`Error::Format`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Version {
            format: Option<i64>,
        }
        let syntax = |error: toml::de::Error| {
            let (line, column) = line_and_column(text, error.span().map_or(0, |span| span.start));
            Error::Syntax { line, column, message: error.message().trim_end().replace('\n', "; ") }
        };
        // The format comes first: another one may well have other keys.
        let version: Version = toml::from_str(text).map_err(syntax)?;
        match version.format {
            Some(format) if format != i64::from(FORMAT) => Err(Error::Format { format }),
            _ => toml::from_str(text).map_err(syntax),
        }
    }
}

fn field<T>(package: &Package<'_>, field: &'static str, check: impl Fn(&str) -> Result<T, String>) -> Result<T, Error> {
    let value = package.field(field).ok_or_else(|| "is missing".to_owned()).and_then(check);
    value.map_err(|problem| Error::Package { package: package.to_string(), field, problem })
}

fn check_sha256(text: &str) -> Result<Sha256Digest, String> {
    parse_sha256(text).ok_or_else(|| format!("`{text}` is not a SHA-256 of 64 hexadecimal digits"))
}

/// A path that stays under the mirror's root and means the same in a URL.
fn check_filename(text: &str) -> Result<String, String> {
    let is_plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._~:%@=,!".contains(&byte))
    };
    if text.split('/').all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a plain relative path"))
    }
}

fn check_name(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && text.bytes().all(is_allowed) { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a name")) }
}

fn check_version(text: &str) -> Result<String, String> {
    super::version::Version::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn checked<'de, T, D: Deserializer<'de>>(deserializer: D, check: fn(&str) -> Result<T, String>) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    check(&text).map_err(de::Error::custom)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, check_name)
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, check_version)
}

fn sha256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sha256Digest, D::Error> {
    checked(deserializer, check_sha256)
}

fn serialize_sha256<S: Serializer>(digest: &Sha256Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(digest))
}

fn filename<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, check_filename)
}

fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| de::Error::custom(format!("`{text}`: {error}")))
}

fn serialize_date<S: Serializer>(date: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::{Origin, PackageIndex};
    use crate::resolve::{Recommends, Request, Variant, resolve};
    use proptest::prelude::*;

    const SHA256: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn stanza(name: &str, extra: &str) -> String {
        format!(
            "Package: {name}\nVersion: 1:2-3\nArchitecture: amd64\nFilename: pool/{name}_2-3_amd64.deb\nSize: 42\n\
             SHA256: {SHA256}\n{extra}\n"
        )
    }

    fn lock(text: String, include: &[String]) -> Result<Lock, Error> {
        let mut index = PackageIndex::new("amd64");
        let mirror = "http://mirror.example/debian";
        let origin = Origin { mirror: mirror.into(), suite: "trixie".into(), component: "main".into() };
        index.add(text, origin).unwrap();
        let request = Request { variant: Variant::Essential, include, suite: None, recommends: &Recommends::None };
        let selection = resolve(&index, &request).unwrap();
        let source = LockedSource {
            mirror: mirror.parse().unwrap(),
            suite: "trixie".into(),
            components: vec!["main".into()],
            date: "2025-11-15T09:37:43Z".parse().unwrap(),
        };
        Lock::new(&selection, index.architecture(), vec![source])
    }

    fn example() -> Lock {
        let text = stanza("dash", "Essential: yes\n") + &stanza("vim", "Depends: lib\n") + &stanza("lib", "");
        lock(text, &["vim".to_owned()]).unwrap()
    }

    #[test]
    fn writes_one_key_a_line() {
        insta::assert_snapshot!(example().to_toml(), @r#"
    # The exact packages of a build, written by fam-build.
    # `fam-build --locked FILE` installs these and no others.

    format = 1
    architecture = "amd64"

    [[source]]
    mirror = "http://mirror.example/debian"
    suite = "trixie"
    components = ["main"]
    date = "2025-11-15T09:37:43Z"

    [[package]]
    name = "dash"
    version = "1:2-3"
    architecture = "amd64"
    essential = true
    size = 42
    installed-size = 0
    sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    filename = "pool/dash_2-3_amd64.deb"
    mirror = "http://mirror.example/debian"

    [[package]]
    name = "lib"
    version = "1:2-3"
    architecture = "amd64"
    automatic = true
    size = 42
    installed-size = 0
    sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    filename = "pool/lib_2-3_amd64.deb"
    mirror = "http://mirror.example/debian"

    [[package]]
    name = "vim"
    version = "1:2-3"
    architecture = "amd64"
    size = 42
    installed-size = 0
    sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    filename = "pool/vim_2-3_amd64.deb"
    mirror = "http://mirror.example/debian"
    "#);
    }

    #[test]
    fn reads_what_it_writes() {
        let lock = example();
        assert_eq!(Lock::parse(&lock.to_toml()).unwrap(), lock);
        assert_eq!(lock.newest_date().unwrap().to_string(), "2025-11-15T09:37:43Z");
        let urls: Vec<_> = lock.packages.iter().map(LockedPackage::url).collect();
        assert_eq!(urls[0], "http://mirror.example/debian/pool/dash_2-3_amd64.deb");
        assert_eq!(urls.len(), 3);
    }

    #[test]
    fn is_for_one_architecture() {
        let mut lock = example();
        "all".clone_into(&mut lock.packages[1].architecture);
        assert_eq!(lock.check_architecture("amd64"), Ok(()));
        assert_eq!(lock.check_architecture("arm64").unwrap_err().to_string(), "the lock is for amd64, not for arm64");
        "i386".clone_into(&mut lock.packages[1].architecture);
        let error = lock.check_architecture("amd64").unwrap_err();
        assert_eq!(error.to_string(), "package lib is for i386, not for amd64");
    }

    #[test]
    fn says_where_it_cannot_read() {
        let good = example().to_toml();
        let message = |from: &str, to: &str| Lock::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        let messages = [
            message("format = 1", "format = 2\nnew = 3"),
            message("format = 1\n", ""),
            message("size = 42", "size = -1"),
            message("size = 42", "size ="),
            message("size = 42", "sise = 42"),
            message(SHA256, "abc"),
            message("pool/dash", "../../etc"),
            message("name = \"dash\"", "name = \"../dash\""),
            message("1:2-3", "x:2"),
            message("2025-11-15T", "2025-13-15T"),
        ];
        insta::assert_snapshot!(messages.join("\n"), @r#"
    format 2 is not known, only 1
    line 1, column 1: missing field `format`
    line 18, column 8: invalid value: integer `-1`, expected u64
    line 18, column 7: string values must be quoted, expected literal string
    line 18, column 1: unknown field `sise`, expected one of `name`, `version`, `architecture`, `essential`, `automatic`, `size`, `installed-size`, `sha256`, `filename`, `mirror`
    line 20, column 10: `abc` is not a SHA-256 of 64 hexadecimal digits
    line 21, column 12: `../../etc_2-3_amd64.deb` is not a plain relative path
    line 14, column 8: `../dash` is not a name
    line 15, column 11: version `x:2` has an epoch that is not a number
    line 11, column 8: `2025-13-15T09:37:43Z`: failed to parse two digit integer as month: parameter 'month' is not in the required range of 1..=12
    "#);
    }

    #[test]
    fn refuses_packages_without_what_identifies_them() {
        let refuse = |from: &str, to: &str| {
            lock(stanza("dash", "Essential: yes\n").replace(from, to), &[]).unwrap_err().to_string()
        };
        assert_eq!(refuse("Size: 42\n", ""), "package dash=1:2-3: field Size of the package index: is missing");
        assert_eq!(
            refuse("Filename: pool", "Filename: /pool"),
            "package dash=1:2-3: field Filename of the package index: `/pool/dash_2-3_amd64.deb` is not a plain relative path"
        );
        assert_eq!(
            refuse("SHA256: 01", "SHA256: 1"),
            format!(
                "package dash=1:2-3: field SHA256 of the package index: `{}` is not a SHA-256 of 64 hexadecimal digits",
                &SHA256[1..]
            )
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "((format|package|\\[\\[package\\]\\]|size|=|1|\"é\"|\n| ){0,12}|(.|\n)*)") {
            let _ = Lock::parse(&text);
        }
    }
}
