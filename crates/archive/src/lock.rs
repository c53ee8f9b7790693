//! The lock file, `fabric.lock`: the exact packages of a build.
//!
//! A lock names each package with its version, size and digest, and where it is fetched from, so
//! that the same build can be made again. It is TOML, one key a line and packages in order, so that
//! two locks can be compared by eye. The same selection gives the same bytes. A lock is made to be
//! kept and shared, so its URLs have no logins; those of an old one that has some are read, and not
//! written again.

use std::collections::BTreeSet;

use fam_progress::{Hint, line_and_column};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::digest::{Algorithm, Digest};
use super::fetch::Download;
use super::packages::Package;
use super::policy::Pin;
use super::resolve::Selection;
use crate::credentials::{InvalidUrl, MirrorUrl};

mod entry;
mod filename;

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
    /// Whether a build from it gives the same bytes: not so where a plugin had the network, since
    /// what it fetched is not locked.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub reproducible: bool,
    /// The plugins that had it. They are named in a comment, which is not read.
    #[serde(skip)]
    networked: Vec<String>,
    /// Whether packages were installed on top of others that were configured already. It is said in a comment, too.
    #[serde(skip)]
    incremental: bool,
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
    /// The fingerprint of the key that vouched for it, which may be a subkey's.
    #[serde(default, rename = "signed-by", skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// What the archive is called in the guests, where it is not the suite's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The time of the snapshot that it is, as `20261101T000000Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The pin that gave the archive its priority, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

/// A package, described so exactly that only one file can be it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "entry::Entry", into = "entry::Entry")]
pub struct LockedPackage {
    /// The name of the package.
    pub name: String,
    /// The version, as it is written in the index.
    pub version: String,
    /// The architecture: the lock's own, or `all`.
    pub architecture: String,
    /// Whether it belongs to the first stage: the essential packages and what they need.
    pub essential: bool,
    /// Whether it is installed before all that come after the first stage, since others wait for it: what they pre-depend
    /// on, and what that needs.
    pub early: bool,
    /// Whether it is there only because others need it.
    pub automatic: bool,
    /// The size of the `.deb` file in bytes.
    pub size: u64,
    /// What the package takes when it is unpacked, in KiB, as its maintainers estimate.
    pub installed_size: u64,
    /// The digest of the `.deb` file.
    pub digest: Digest,
    /// The path of the `.deb` file under the mirror's root, as the index has it.
    pub filename: String,
    /// The root of the archive that has it; of a file that somebody named, its directory.
    pub mirror: MirrorUrl,
}

impl LockedPackage {
    /// Where its `.deb` file is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", self.mirror, filename::in_url(&self.filename))
    }

    /// How that is fetched.
    #[must_use]
    pub fn download(&self) -> Download {
        Download {
            name: format!("{} {} {}", self.name, self.version, self.architecture),
            urls: vec![self.url()],
            size: self.size,
            digest: self.digest,
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
    /// [`Error::Package`] where the index lacks size, digest or filename of a package,
    /// [`Error::Mirror`] where its archive has no URL.
    pub fn new(selection: &Selection<'_>, architecture: &str, sources: Vec<LockedSource>) -> Result<Self, Error> {
        let locked = |selected: &super::resolve::Selected<'_>| {
            let package = &selected.package;
            Ok::<_, Error>(LockedPackage {
                name: package.name().to_owned(),
                version: package.version().to_owned(),
                architecture: package.architecture().to_owned(),
                essential: selected.essential_stage,
                early: false,
                automatic: selected.automatic,
                size: field(package, "Size", |size| size.parse().map_err(|_| format!("`{size}` is not a number")))?,
                installed_size: package.installed_size().unwrap_or(0),
                digest: digest(package)?,
                filename: field(package, "Filename", filename::check)?,
                mirror: package.origin().mirror.parse()?,
            })
        };
        let packages = selection.packages().iter().map(locked).collect::<Result<_, _>>()?;
        let architecture = architecture.to_owned();
        Ok(Self {
            format: FORMAT,
            architecture,
            reproducible: true,
            networked: Vec::new(),
            incremental: false,
            sources,
            packages,
        })
    }

    /// The same, with the packages at these positions marked as [`early`](LockedPackage::early), and no others.
    #[must_use]
    pub fn with_early(mut self, positions: &BTreeSet<usize>) -> Self {
        let packages = self.packages.iter_mut().enumerate();
        packages.for_each(|(position, package)| package.early = positions.contains(&position));
        self
    }

    /// The same, of a build in which these plugins have the network.
    #[must_use]
    pub fn with_networked(self, plugins: &[String]) -> Self {
        Self { reproducible: plugins.is_empty() && !self.incremental, networked: plugins.to_vec(), ..self }
    }

    /// The same, of a build that installs some of the packages on top of others that were configured already, if
    /// `incremental`.
    #[must_use]
    pub fn with_incremental(self, incremental: bool) -> Self {
        Self { reproducible: self.networked.is_empty() && !incremental, incremental, ..self }
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
        if self.reproducible {
            return format!("{HEADER}{body}");
        }
        let on_top = "# Some packages were installed on top of others that were configured already: --incremental.\n";
        let mut remarks = if self.incremental { on_top.to_owned() } else { String::new() };
        if !self.incremental || !self.networked.is_empty() {
            let who = if self.networked.is_empty() { "a plugin".to_owned() } else { self.networked.join(", ") };
            remarks += &format!("# Not locked is what was fetched from the network by {who}.\n");
        }
        let key = "reproducible = false\n";
        // It is the second key, so no text before it can have the same.
        let noted = body.replacen(key, &format!("{remarks}{key}"), 1);
        format!("{HEADER}{noted}")
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

/// The digest by the first algorithm for which the index has one.
fn digest(package: &Package<'_>) -> Result<Digest, Error> {
    let listed = Algorithm::ALL.into_iter().find(|algorithm| package.field(algorithm.field()).is_some());
    let algorithm = listed.unwrap_or(Algorithm::Sha256);
    field(package, algorithm.field(), |text| check_digest(algorithm, text))
}

fn check_digest(algorithm: Algorithm, text: &str) -> Result<Digest, String> {
    let digits = algorithm.digits();
    algorithm.parse(text).ok_or_else(|| format!("`{text}` is not a {algorithm} of {digits} hexadecimal digits"))
}

fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| de::Error::custom(format!("`{text}`: {error}")))
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

fn serialize_date<S: Serializer>(date: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(date)
}

#[cfg(test)]
mod tests;
