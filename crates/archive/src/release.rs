//! The Release file of a suite: what it says, and whether that is what was asked for and still
//! holds.
//!
//! Works on verified text only; fetching and verifying it is for [`client`](super::client). The
//! format is that of <https://wiki.debian.org/DebianRepository/Format>.

use std::collections::HashMap;

use fam_progress::Hint;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::CLOCK_TOLERANCE;
use super::deb822::stanzas;
use super::digest::{Algorithm, Digest};
use super::packages::ReleaseNames;
use super::sources::is_flat;

/// Why a Release file cannot be used.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not follow the format.
    #[error("malformed: {0}")]
    Malformed(String),
    /// It belongs to another suite than the one asked for.
    #[error("is for {found}, not for {asked}")]
    OtherSuite {
        /// The suite asked for.
        asked: String,
        /// Suite and codename that it names.
        found: String,
    },
    /// Its time is over.
    #[error("expired: valid until {until}, dated {date}, and it is {now}")]
    Expired {
        date: Timestamp,
        until: Timestamp,
        /// The time of this host.
        now: Timestamp,
    },
    /// It is dated later than the clock of this host.
    #[error("dated {date}, in the future: it is {now}")]
    Future {
        date: Timestamp,
        /// The time of this host.
        now: Timestamp,
    },
    /// A newer one was seen from the same mirror.
    #[error("goes back in time: dated {date}, and one of {seen} was seen before")]
    Older {
        date: Timestamp,
        /// The newest Date seen.
        seen: Timestamp,
    },
    /// It does not have a component that was asked for, and neither has another suite.
    #[error("has no component {component}{}", only(available))]
    NoComponent {
        /// The component asked for.
        component: String,
        /// Those that it says there are.
        available: String,
    },
    /// It has the component, and no index of its packages for the architecture that was asked for.
    #[error("has no architecture {architecture}{}", only(available))]
    NoArchitecture {
        /// The architecture asked for.
        architecture: String,
        /// Those that it says there are.
        available: String,
    },
    /// It lists no package index for a component and an architecture that it has.
    #[error("lists no {path} in any form")]
    NoIndex {
        /// Path of the plain index under the suite.
        path: String,
    },
}

fn only(available: &str) -> String {
    if available.is_empty() { String::new() } else { format!(", only {available}") }
}

impl Error {
    /// Whether the suite merely lacks packages, which other suites may have.
    #[must_use]
    pub fn is_lack(&self) -> bool {
        matches!(self, Self::NoComponent { .. } | Self::NoArchitecture { .. } | Self::NoIndex { .. })
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Malformed(_) => {
                "its signature is good, so this is how the archive was made: tell those who run it, or take another".to_owned()
            }
            Self::NoIndex { path } => {
                format!("the archive has no packages there: check the suite and its components; indexes are {path} and its compressed forms")
            }
            Self::OtherSuite { found, .. } => format!("ask for one of its own names ({found}), or try another mirror"),
            Self::Expired { .. } | Self::Older { .. } => {
                "the mirror is stale or is held back: try another; for a state of the past, name its time by --snapshot, or take it as it is with \
                 --accept-expired"
                    .to_owned()
            }
            Self::Future { .. } => "set the clock of this host".to_owned(),
            Self::NoComponent { available, .. } if available.is_empty() => "check the names of the components".to_owned(),
            Self::NoComponent { available, .. } => format!("choose components among {available}"),
            Self::NoArchitecture { .. } => "take an archive that has packages for this architecture".to_owned(),
        })
    }
}

/// A file that a Release file lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// How an index is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As xz, which Debian has.
    Xz,
    /// As bzip2.
    Bzip2,
    /// As lzma, the form before xz.
    Lzma,
    /// As gzip.
    Gzip,
    /// As zstd.
    Zstd,
    /// Not at all.
    Plain,
}

impl Compression {
    /// Those that are understood, each with the ending of its file names, in apt's order: where an
    /// archive has one that is not in order, it is the same for both.
    pub const PREFERENCE: [(Self, &'static str); 6] = [
        (Self::Xz, ".xz"),
        (Self::Bzip2, ".bz2"),
        (Self::Lzma, ".lzma"),
        (Self::Gzip, ".gz"),
        (Self::Zstd, ".zst"),
        (Self::Plain, ""),
    ];
}

/// Where the bytes of an index are, and what they must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// Path under the suite, compression ending included.
    pub path: String,
    /// How it is compressed.
    pub compression: Compression,
    /// The file as it is fetched.
    pub listed: Listed,
    /// The same without compression, where the Release file lists that too.
    pub plain: Option<Listed>,
}

/// A Release file.
#[derive(Debug, Clone)]
pub struct Release {
    /// Who made the archive: "Debian".
    pub origin: String,
    /// What kind of archive of that origin this is: "Debian", "Debian-Security".
    pub label: String,
    /// The suite, a name that moves: "stable".
    pub suite: String,
    /// The codename, a name that stays: "trixie".
    pub codename: String,
    /// The version of the release, where it has one: "13.1".
    pub version: Option<String>,
    /// When it was made: its Date, or where that says nothing, when it was signed.
    pub date: Timestamp,
    /// When it stops to be valid; suites that are rarely changed do not say.
    pub valid_until: Option<Timestamp>,
    /// Whether its packages are taken only where no other archive has them: `NotAutomatic`.
    pub not_automatic: bool,
    /// Whether, despite this, they are upgrades of what is installed of it: `ButAutomaticUpgrades`.
    pub but_automatic_upgrades: bool,
    /// Whether indexes can be fetched by their digests, which is safe while a mirror is being
    /// updated.
    pub acquire_by_hash: bool,
    /// What is odd about it and does no harm, for people.
    pub oddities: Vec<String>,
    components: Vec<String>,
    architectures: Vec<String>,
    /// Whether the index of each architecture has the packages of `all`, too.
    all_in_each: bool,
    files: HashMap<String, Listed>,
}

impl Release {
    /// Parses the verified text of a Release file that was signed at `signed_at`. Where it has no Date
    /// that can be read, that time is taken: no older file can have a later one.
    ///
    /// # Errors
    /// When it is not one stanza, lists nothing by SHA-256 or SHA-512, or says until when it is valid
    /// in a way that cannot be read.
    pub fn parse(text: &str, signed_at: Timestamp) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed(reason);
        let mut all = stanzas(text);
        let stanza = all.next().ok_or_else(|| malformed("empty".to_owned()))?;
        if all.next().is_some() {
            return Err(malformed("more than one stanza".to_owned()));
        }
        if let Some(name) = stanza.doubled() {
            return Err(malformed(format!("{name} is there twice")));
        }
        let field = |name| stanza.get(name).unwrap_or_default().to_owned();
        let words = |name| stanza.get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let mut oddities = Vec::new();
        let date = stanza.get("Date").map(|value| parse_date_of_any_zone(value).ok_or(value));
        let date = date.unwrap_or(Err("")).unwrap_or_else(|value| {
            let what = if value.is_empty() { "no Date".to_owned() } else { format!("a Date that is none: {value:?}") };
            oddities.push(format!("it has {what}; the time of its signature is taken, {signed_at}"));
            signed_at
        });
        let until =
            |value| parse_date(value).ok_or_else(|| malformed(format!("Valid-Until: {value:?} is not a date in UTC")));
        let (algorithm, listed) = Algorithm::ALL
            .into_iter()
            .find_map(|algorithm| Some((algorithm, stanza.get(algorithm.field())?)))
            .ok_or_else(|| malformed("no SHA256 or SHA512".to_owned()))?;
        let all_in_each = stanza.get("No-Support-for-Architecture-all").unwrap_or_default();
        let is_yes = |name| stanza.get(name).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
        Ok(Self {
            origin: field("Origin"),
            label: field("Label"),
            suite: field("Suite"),
            codename: field("Codename"),
            version: stanza.get("Version").map(str::to_owned),
            date,
            valid_until: stanza.get("Valid-Until").map(until).transpose()?,
            not_automatic: is_yes("NotAutomatic"),
            but_automatic_upgrades: is_yes("ButAutomaticUpgrades"),
            acquire_by_hash: is_yes("Acquire-By-Hash"),
            oddities,
            components: words("Components"),
            architectures: words("Architectures"),
            all_in_each: all_in_each.split_whitespace().any(|target| target == "Packages"),
            files: parse_files(listed, algorithm).map_err(|line| {
                malformed(format!("{}: {line:?} is not a digest, a size and a path", algorithm.field()))
            })?,
        })
    }

    /// What a policy goes by.
    #[must_use]
    pub fn names(&self) -> ReleaseNames {
        ReleaseNames {
            origin: self.origin.clone(),
            label: self.label.clone(),
            suite: self.suite.clone(),
            codename: self.codename.clone(),
            version: self.version.clone().unwrap_or_default(),
            not_automatic: self.not_automatic,
            but_automatic_upgrades: self.but_automatic_upgrades,
        }
    }

    /// Checks that this is the suite that was asked for, by either of its names. A file that has
    /// neither name may be of any suite; one of a flat archive names what it likes, since what was asked
    /// for is a directory.
    ///
    /// # Errors
    /// When it is not: a mirror, or a proxy before it, could otherwise serve another suite with good
    /// signatures.
    pub fn check_suite(&self, asked: &str) -> Result<(), Error> {
        if is_flat(asked) || !self.has_name() {
            return Ok(());
        }
        // "buster/updates" is called "buster" within; of paths such as that, apt compares the first
        // part too.
        let name = asked.split_once('/').map_or(asked, |(name, _)| name);
        if [&self.suite, &self.codename].into_iter().any(|own| !own.is_empty() && (own == asked || own == name)) {
            return Ok(());
        }
        let own: Vec<_> = [&self.suite, &self.codename].into_iter().filter(|own| !own.is_empty()).cloned().collect();
        Err(Error::OtherSuite { asked: asked.to_owned(), found: own.join(", ") })
    }

    /// Whether it says for which suite it is.
    #[must_use]
    pub fn has_name(&self) -> bool {
        !self.suite.is_empty() || !self.codename.is_empty()
    }

    /// Checks that it is not dated in the future.
    ///
    /// # Errors
    /// When it is.
    pub fn check_not_future(&self, now: Timestamp) -> Result<(), Error> {
        if self.date > now + CLOCK_TOLERANCE {
            return Err(Error::Future { date: self.date, now });
        }
        Ok(())
    }

    /// Checks that it has not expired. One without Valid-Until never does.
    ///
    /// # Errors
    /// When it has.
    pub fn check_not_expired(&self, now: Timestamp) -> Result<(), Error> {
        match self.valid_until {
            Some(until) if now > until => Err(Error::Expired { date: self.date, until, now }),
            _ => Ok(()),
        }
    }

    /// The package indexes of a component (`None` in a flat archive), in the order in which apt reads
    /// them: that of the architecture, and that of `all` where it has packages that the other has not.
    /// Each comes in all its forms, best first.
    ///
    /// What is listed counts, as with apt, and not which components and architectures are named:
    /// some archives name `all` or `noarch` alone.
    ///
    /// # Errors
    /// When none is listed.
    pub fn package_indexes(&self, component: Option<&str>, architecture: &str) -> Result<Vec<Vec<IndexFile>>, Error> {
        let Some(component) = component else {
            let forms = self.forms("Packages");
            return if forms.is_empty() {
                Err(Error::NoIndex { path: "Packages".to_owned() })
            } else {
                Ok(vec![forms])
            };
        };
        let stem = |architecture: &str| format!("{component}/binary-{architecture}/Packages");
        let has_all = self.architectures.is_empty() || self.architectures.iter().any(|own| own == "all");
        let mut found = vec![self.forms(&stem(architecture))];
        if has_all && !self.all_in_each {
            found.push(self.forms(&stem("all")));
        }
        found.retain(|forms| !forms.is_empty());
        if !found.is_empty() {
            return Ok(found);
        }
        // The security archive once called its components "updates/main".
        let is_same =
            |own: &String| own == component || own.rsplit_once('/').is_some_and(|(_, last)| last == component);
        let is_named =
            |names: &[String], is_same: &dyn Fn(&String) -> bool| names.is_empty() || names.iter().any(is_same);
        Err(if !is_named(&self.components, &is_same) {
            Error::NoComponent { component: component.to_owned(), available: self.components.join(" ") }
        } else if !is_named(&self.architectures, &|own| own == architecture) {
            Error::NoArchitecture { architecture: architecture.to_owned(), available: self.architectures.join(" ") }
        } else {
            Error::NoIndex { path: stem(architecture) }
        })
    }

    /// The forms of an index that are listed, best first.
    fn forms(&self, stem: &str) -> Vec<IndexFile> {
        let plain = self.files.get(stem).copied();
        let form = |(compression, ending)| {
            let path = format!("{stem}{ending}");
            let listed = self.files.get(&path).copied()?;
            Some(IndexFile { path, compression, listed, plain })
        };
        Compression::PREFERENCE.into_iter().filter_map(form).collect()
    }
}

fn parse_files(section: &str, algorithm: Algorithm) -> Result<HashMap<String, Listed>, String> {
    let mut files = HashMap::new();
    for line in section.lines().filter(|line| !line.trim().is_empty()) {
        let (path, listed) = parse_file(line, algorithm).ok_or_else(|| line.to_owned())?;
        // Two claims about one file would let the order of reading decide.
        if files.insert(path.to_owned(), listed).is_some_and(|other| other != listed) {
            return Err(line.to_owned());
        }
    }
    Ok(files)
}

/// Reads a line of the section: digest, size and path.
fn parse_file(line: &str, algorithm: Algorithm) -> Option<(&str, Listed)> {
    let mut words = line.split_ascii_whitespace();
    let digest = algorithm.parse(words.next()?)?;
    let size = words.next()?.parse().ok()?;
    let path = words.next()?;
    words.next().is_none().then_some((path, Listed { size, digest }))
}

/// Reads a date of a Release file or of an HTTP header: `Sat, 12 Sep 2026 07:55:41 UTC`. Only UTC
/// is allowed, as in apt.
#[must_use]
pub fn parse_date(text: &str) -> Option<Timestamp> {
    let (date, zone) = text.trim().rsplit_once(' ')?;
    if !matches!(zone, "UTC" | "GMT" | "Z" | "+0000") {
        return None;
    }
    let date = DateTime::strptime("%a, %d %b %Y %H:%M:%S", date).ok()?;
    TimeZone::UTC.to_timestamp(date).ok()
}

/// As [`parse_date`], and with the offset of any zone: `Sat, 12 Sep 2026 07:55:41 +0800`.
fn parse_date_of_any_zone(text: &str) -> Option<Timestamp> {
    parse_date(text).or_else(|| Timestamp::strptime("%a, %d %b %Y %H:%M:%S %z", text.trim()).ok())
}

#[cfg(test)]
mod tests;
