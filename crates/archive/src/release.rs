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
use super::digest::{Sha256Digest, parse_sha256};
use super::packages::ReleaseNames;

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
    /// It does not have a component that was asked for.
    #[error("has no component {component}, only {available}")]
    NoComponent {
        /// The component asked for.
        component: String,
        /// Those that there are.
        available: String,
    },
    /// It does not have the architecture that was asked for.
    #[error("has no architecture {architecture}, only {available}")]
    NoArchitecture {
        /// The architecture asked for.
        architecture: String,
        /// Those that there are.
        available: String,
    },
    /// It lists no package index for a component.
    #[error("lists no {path}.xz, .gz or plain with a SHA-256")]
    NoIndex {
        /// Path of the plain index under the suite.
        path: String,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Malformed(_) | Self::NoIndex { .. } => "the mirror serves no complete Debian archive; try another mirror".to_owned(),
            Self::OtherSuite { found, .. } => format!("ask for one of its own names ({found}), or try another mirror"),
            Self::Expired { .. } | Self::Older { .. } => {
                "the mirror is stale or is held back; try another, or, for a snapshot, take it as it is with --accept-expired".to_owned()
            }
            Self::Future { .. } => "set the clock of this host".to_owned(),
            Self::NoComponent { available, .. } => format!("choose components among {available}"),
            Self::NoArchitecture { available, .. } => format!("choose an architecture among {available}"),
        })
    }
}

/// A file that a Release file lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256Digest,
}

/// How an index is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As xz, the smallest.
    Xz,
    /// As gzip, larger than as xz.
    Gzip,
    /// Not at all.
    Plain,
}

impl Compression {
    /// Those that are understood, best first, each with the ending of its file names.
    pub const PREFERENCE: [(Self, &'static str); 3] = [(Self::Xz, ".xz"), (Self::Gzip, ".gz"), (Self::Plain, "")];
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
    /// When it was made.
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
    components: Vec<String>,
    architectures: Vec<String>,
    files: HashMap<String, Listed>,
}

impl Release {
    /// Parses the verified text of a Release file.
    ///
    /// # Errors
    /// When it is not one stanza, or lacks Date, SHA256, or both of Suite and Codename.
    pub fn parse(text: &str) -> Result<Self, Error> {
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
        let date = |name| match stanza.get(name) {
            None => Ok(None),
            Some(value) => {
                parse_date(value).map(Some).ok_or_else(|| malformed(format!("{name}: {value:?} is not a date in UTC")))
            }
        };
        let is_yes = |name| stanza.get(name).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
        let release = Self {
            origin: field("Origin"),
            label: field("Label"),
            suite: field("Suite"),
            codename: field("Codename"),
            version: stanza.get("Version").map(str::to_owned),
            date: date("Date")?.ok_or_else(|| malformed("no Date".to_owned()))?,
            valid_until: date("Valid-Until")?,
            not_automatic: is_yes("NotAutomatic"),
            but_automatic_upgrades: is_yes("ButAutomaticUpgrades"),
            acquire_by_hash: is_yes("Acquire-By-Hash"),
            components: words("Components"),
            architectures: words("Architectures"),
            files: parse_files(stanza.get("SHA256").ok_or_else(|| malformed("no SHA256".to_owned()))?)
                .map_err(|line| malformed(format!("SHA256: {line:?} is not a digest, a size and a path")))?,
        };
        if release.suite.is_empty() && release.codename.is_empty() {
            return Err(malformed("neither Suite nor Codename".to_owned()));
        }
        Ok(release)
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

    /// Checks that this is the suite that was asked for, by either of its names.
    ///
    /// # Errors
    /// When it is not: a mirror, or a proxy before it, could otherwise serve another suite with good
    /// signatures.
    pub fn check_suite(&self, asked: &str) -> Result<(), Error> {
        // "buster/updates" is called "buster" within; of paths such as that, apt compares the first
        // part too.
        let name = asked.split_once('/').map_or(asked, |(name, _)| name);
        if [&self.suite, &self.codename].into_iter().any(|own| !own.is_empty() && (own == asked || own == name)) {
            return Ok(());
        }
        let own: Vec<_> = [&self.suite, &self.codename].into_iter().filter(|own| !own.is_empty()).cloned().collect();
        Err(Error::OtherSuite { asked: asked.to_owned(), found: own.join(", ") })
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

    /// The best form of the package index of a component.
    ///
    /// # Errors
    /// When the suite does not have the component, the architecture, or the index.
    pub fn package_index(&self, component: &str, architecture: &str) -> Result<IndexFile, Error> {
        // The security archive once called its components "updates/main".
        let is_same =
            |own: &String| own == component || own.rsplit_once('/').is_some_and(|(_, last)| last == component);
        if !self.components.is_empty() && !self.components.iter().any(is_same) {
            let available = self.components.join(" ");
            return Err(Error::NoComponent { component: component.to_owned(), available });
        }
        if !self.architectures.is_empty() && !self.architectures.iter().any(|own| own == architecture) {
            let available = self.architectures.join(" ");
            return Err(Error::NoArchitecture { architecture: architecture.to_owned(), available });
        }
        let stem = format!("{component}/binary-{architecture}/Packages");
        let plain = self.files.get(&stem).copied();
        for (compression, ending) in Compression::PREFERENCE {
            let path = format!("{stem}{ending}");
            if let Some(listed) = self.files.get(&path).copied() {
                return Ok(IndexFile { path, compression, listed, plain });
            }
        }
        Err(Error::NoIndex { path: stem })
    }
}

fn parse_files(section: &str) -> Result<HashMap<String, Listed>, String> {
    let mut files = HashMap::new();
    for line in section.lines().filter(|line| !line.trim().is_empty()) {
        let (path, listed) = parse_file(line).ok_or_else(|| line.to_owned())?;
        // Two claims about one file would let the order of reading decide.
        if files.insert(path.to_owned(), listed).is_some_and(|other| other != listed) {
            return Err(line.to_owned());
        }
    }
    Ok(files)
}

/// Reads a line of the section: digest, size and path.
fn parse_file(line: &str) -> Option<(&str, Listed)> {
    let mut words = line.split_ascii_whitespace();
    let sha256 = parse_sha256(words.next()?)?;
    let size = words.next()?.parse().ok()?;
    let path = words.next()?;
    words.next().is_none().then_some((path, Listed { size, sha256 }))
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

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text(extra: &str) -> String {
        format!(
            "Origin: Debian\nLabel: Debian\nSuite: stable-updates\nCodename: trixie-updates\nDate: Sat, 21 Nov 2026 02:10:46 UTC\n\
             Valid-Until: Sat, 28 Nov 2026 02:10:46 UTC\nAcquire-By-Hash: yes\nComponents: main contrib\n\
             Architectures: all amd64\n{extra}SHA256:\n {DIGEST} 12 main/binary-amd64/Packages\n \
             {DIGEST}        7 main/binary-amd64/Packages.gz\n {DIGEST} 5 main/binary-amd64/Packages.xz\n"
        )
    }

    fn release(extra: &str) -> Release {
        Release::parse(&text(extra)).unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn reads_the_fields() {
        let release = release("Version: 13.1\n");
        assert_eq!((release.origin.as_str(), release.version.as_deref()), ("Debian", Some("13.1")));
        assert_eq!(release.date, time("2026-11-21T02:10:46Z"));
        assert_eq!(release.valid_until, Some(time("2026-11-28T02:10:46Z")));
        assert!(release.acquire_by_hash && !release.not_automatic && !release.but_automatic_upgrades);
        let names = Release::parse(&text("NotAutomatic: yes\nButAutomaticUpgrades: Yes\n")).unwrap().names();
        assert!(names.not_automatic && names.but_automatic_upgrades);
        assert_eq!((names.label.as_str(), names.suite.as_str()), ("Debian", "stable-updates"));
        assert_eq!((names.codename.as_str(), names.version.as_str()), ("trixie-updates", ""));
        let index = release.package_index("main", "amd64").unwrap();
        assert_eq!((index.path.as_str(), index.listed.size), ("main/binary-amd64/Packages.xz", 5));
        assert_eq!(index.plain.unwrap().size, 12);
    }

    #[test]
    fn falls_back_to_other_compressions() {
        let plain_only = text("").replace(".xz", ".lzma").replace(".gz", ".bz2");
        let index = Release::parse(&plain_only).unwrap().package_index("main", "amd64").unwrap();
        assert_eq!((index.compression, index.plain), (Compression::Plain, Some(index.listed)));
        let gzip = Release::parse(&text("").replace(".xz", ".zst")).unwrap().package_index("main", "amd64").unwrap();
        assert_eq!(gzip.compression, Compression::Gzip);
    }

    #[test]
    fn says_what_is_missing() {
        let release = release("");
        assert!(matches!(release.package_index("non-free", "amd64"), Err(Error::NoComponent { .. })));
        assert!(matches!(release.package_index("main", "riscv64"), Err(Error::NoArchitecture { .. })));
        assert!(matches!(release.package_index("contrib", "amd64"), Err(Error::NoIndex { .. })));
    }

    #[test]
    fn belongs_to_its_own_suite_only() {
        let release = release("");
        for own in ["trixie-updates", "stable-updates"] {
            assert_eq!(release.check_suite(own), Ok(()));
        }
        for other in ["trixie", "stable", "bookworm-updates", "trixie-security", ""] {
            let error = release.check_suite(other).unwrap_err();
            assert_eq!(error.to_string(), format!("is for stable-updates, trixie-updates, not for {other}"));
        }
        let old = Release::parse(&text("").replace("Codename: trixie-updates", "Codename: buster")).unwrap();
        assert_eq!(old.check_suite("buster/updates"), Ok(()));
    }

    #[test]
    fn dates_are_enforced() {
        let release = release("");
        let after = time("2026-11-28T02:10:47Z");
        assert!(matches!(release.check_not_expired(after), Err(Error::Expired { .. })));
        assert_eq!(release.check_not_expired(time("2026-11-28T02:10:46Z")), Ok(()));
        assert!(matches!(release.check_not_future(time("2026-11-21T02:10:35Z")), Err(Error::Future { .. })));
        assert_eq!(release.check_not_future(time("2026-11-21T02:10:36Z")), Ok(()));
        let endless = Release::parse(&text("").replace("Valid-Until", "X-Valid-Until")).unwrap();
        assert_eq!(endless.check_not_expired(time("2100-01-01T00:00:00Z")), Ok(()));
    }

    #[test]
    fn refuses_malformed_files() {
        for (from, to, reason) in [
            ("Date: Sat", "X: Sat", "no Date"),
            ("Valid-Until: Sat, 28 Nov 2026 02:10:46 UTC", "Valid-Until: next week", "Valid-Until"),
            ("02:10:46 UTC\nV", "02:10:46 CET\nV", "not a date"),
            ("SHA256:", "SHA1:", "no SHA256"),
            (" 12 main", " -12 main", "is not a digest"),
            (" 12 main", " 12 13 main", "is not a digest"),
            ("e3b0c4", "e3b0c", "is not a digest"),
            ("Label: ", "\nLabel: ", "more than one stanza"),
            ("Label: ", "Suite: other\nLabel: ", "Suite is there twice"),
            ("Packages.gz", "Packages", "is not a digest"),
        ] {
            let changed = text("").replacen(from, to, 1);
            assert_ne!(changed, text(""));
            let error = Release::parse(&changed).unwrap_err();
            assert!(error.to_string().contains(reason), "{from} -> {to}: {error}");
        }
        assert!(Release::parse("").is_err());
        assert!(Release::parse(&text("").replace("Suite: ", "S: ").replace("Codename: ", "C: ")).is_err());
    }

    #[test]
    fn reads_dates_of_utc() {
        let expected = time("2026-09-02T07:05:01Z");
        for text in ["Wed, 02 Sep 2026 07:05:01 UTC", "Wed, 2 Sep 2026 7:05:01 GMT", "Wed, 02 Sep 2026 07:05:01 +0000"]
        {
            assert_eq!(parse_date(text), Some(expected), "{text}");
        }
        for bad in ["", "UTC", "Wed, 02 Sep 2026 07:05:01 +0200", "Thu, 02 Sep 2026 07:05:01 UTC", "2026-09-02 UTC"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }
}
