//! Archives that a recipe names beside that of its suite, and snapshots of the suite's own.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use fam_archive::credentials::MirrorUrl;
use fam_archive::policy::Priority;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::names::{ArchiveName, ArchiveSuite, Component};

/// How an armored key begins.
const ARMOR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// An archive to take packages from, in addition to that of the suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenArchive", into = "WrittenArchive")]
pub struct Archive {
    /// What its files in the guests are called; made of the URL where the recipe does not say.
    pub name: Option<ArchiveName>,
    /// Where it is; the mirror of the suite where the recipe does not say.
    pub url: Option<MirrorUrl>,
    /// Its suites, at least one.
    pub suites: Vec<ArchiveSuite>,
    /// The components to take packages from; none of a flat archive.
    pub components: Vec<Component>,
    /// The keys that vouch for it; those of the build where the recipe does not say.
    pub key: Option<ArchiveKey>,
    /// What its versions count against those of other archives, as `apt_preferences(5)` has it.
    pub priority: Option<Priority>,
}

impl JsonSchema for Archive {
    fn schema_name() -> Cow<'static, str> {
        WrittenArchive::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        WrittenArchive::json_schema(generator)
    }
}

/// The keys of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ArchiveKey {
    /// A file, relative to the directory of the recipe.
    File(PathBuf),
    /// Armored blocks in the recipe itself.
    Armored(String),
}

impl From<String> for ArchiveKey {
    fn from(text: String) -> Self {
        if text.trim_start().starts_with(ARMOR) { Self::Armored(text) } else { Self::File(text.into()) }
    }
}

impl From<ArchiveKey> for String {
    fn from(key: ArchiveKey) -> Self {
        match key {
            ArchiveKey::File(path) => path.to_string_lossy().into_owned(),
            ArchiveKey::Armored(text) => text,
        }
    }
}

/// An archive to take packages from, in addition to that of the suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Archive")]
pub(super) struct WrittenArchive {
    /// What its files in the guests are called, as in `/etc/apt/sources.list.d/NAME.sources`; by
    /// default its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<ArchiveName>,
    /// Where it is, as apt's sources have it; by default the mirror of the suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(min = 1))]
    url: Option<MirrorUrl>,
    /// Its suites. One that ends with a slash is the path of a flat archive under the URL, as `./`.
    #[schemars(length(min = 1))]
    suites: Vec<ArchiveSuite>,
    /// The components to take packages from; by default `main`, and none of a flat archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    components: Option<Vec<Component>>,
    /// The public keys that vouch for it: a file, seen from the directory of this recipe, or the
    /// armored keys themselves. By default those of Debian and of `--keyring`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(min = 1))]
    key: Option<ArchiveKey>,
    /// What its versions count against those of other archives: 500 is what all have, with less it
    /// gives only what no other has. See `apt_preferences(5)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
}

impl TryFrom<WrittenArchive> for Archive {
    type Error = &'static str;

    fn try_from(written: WrittenArchive) -> Result<Self, Self::Error> {
        let WrittenArchive { name, url, suites, components, key, priority } = written;
        let flat = suites.iter().filter(|suite| suite.is_flat()).count();
        if suites.is_empty() {
            return Err("`suites` of an archive names none");
        }
        if flat != 0 && flat != suites.len() {
            return Err("an archive is flat or not: suites that end with a slash need an [[archive]] of their own");
        }
        let components = match components {
            Some(components) if flat != 0 && !components.is_empty() => {
                return Err("a flat archive (a suite that ends with a slash) has no components");
            }
            Some(components) if flat == 0 && components.is_empty() => {
                return Err("`components` of an archive names none");
            }
            Some(components) => components,
            None if flat != 0 => Vec::new(),
            None => vec![Component::main()],
        };
        Ok(Self { name, url, suites, components, key, priority })
    }
}

impl From<Archive> for WrittenArchive {
    fn from(archive: Archive) -> Self {
        let Archive { name, url, suites, components, key, priority } = archive;
        Self { name, url, suites, components: Some(components), key, priority }
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.url {
            Some(url) => url.fmt(f)?,
            None => f.write_str("MIRROR")?,
        }
        for suite in &self.suites {
            write!(f, " {suite}")?;
        }
        for component in &self.components {
            write!(f, " {component}")?;
        }
        self.priority.map_or(Ok(()), |priority| write!(f, " (priority {priority})"))
    }
}

/// The state of an archive at a time in the past, which a snapshot service keeps, or `none`: as it
/// is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Snapshot(Option<Timestamp>);

/// A text is no time of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time of a snapshot: a time of UTC as in 20261101T000000Z was expected, or none")]
pub struct InvalidSnapshot(String);

impl Snapshot {
    /// How snapshot services write times in their paths.
    const FORMAT: &str = "%Y%m%dT%H%M%SZ";

    /// The time, unless it is that of now.
    #[must_use]
    pub fn time(self) -> Option<Timestamp> {
        self.0
    }
}

impl FromStr for Snapshot {
    type Err = InvalidSnapshot;

    fn from_str(text: &str) -> Result<Self, InvalidSnapshot> {
        if text == "none" {
            return Ok(Self(None));
        }
        let invalid = || InvalidSnapshot(text.to_owned());
        let time = DateTime::strptime(Self::FORMAT, text).map_err(|_| invalid())?;
        // Other ways to write one time would be other directories.
        let time = TimeZone::UTC.to_timestamp(time).map_err(|_| invalid())?;
        Some(Self(Some(time))).filter(|read| read.to_string() == text).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Snapshot {
    type Error = InvalidSnapshot;

    fn try_from(text: String) -> Result<Self, InvalidSnapshot> {
        text.parse()
    }
}

impl From<Snapshot> for String {
    fn from(snapshot: Snapshot) -> Self {
        snapshot.to_string()
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write!(f, "{}", time.strftime(Self::FORMAT)),
            None => f.write_str("none"),
        }
    }
}

impl JsonSchema for Snapshot {
    fn schema_name() -> Cow<'static, str> {
        "Snapshot".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(none|[0-9]{8}T[0-9]{6}Z)$",
            "description": "A time of UTC, as 20261101T000000Z, or none.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    fn archives(text: &str) -> Result<Vec<Archive>, String> {
        let recipe = Recipe::parse("x.toml", &format!("suite = 'sid'\n{text}"));
        let recipe = recipe.map_err(|error| error.to_string())?;
        Ok(recipe.archives.into_iter().map(|listed| listed.what).collect())
    }

    #[test]
    fn archives_of_each_kind() {
        let text = "[[archive]]\nsuites = ['trixie-backports']\n\
            [[archive]]\nname = 'docker'\nurl = 'https://vendor.example/linux/'\nsuites = ['trixie']\n\
            components = ['stable']\nkey = 'docker.asc'\npriority = 100\n\
            [[archive]]\nurl = 'http://flat.example'\nsuites = ['./']\nkey = '''\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n'''";
        let archives = archives(text).unwrap();
        let shown: Vec<_> = archives.iter().map(ToString::to_string).collect();
        let expected = [
            "MIRROR trixie-backports main",
            "https://vendor.example/linux trixie stable (priority 100)",
            "http://flat.example ./",
        ];
        assert_eq!(shown, expected);
        assert_eq!(archives[1].key, Some(ArchiveKey::File("docker.asc".into())));
        assert!(matches!(archives[2].key, Some(ArchiveKey::Armored(_))));
    }

    #[test]
    fn archives_that_cannot_be() {
        for (text, message) in [
            ("url = 'http://a.example'", "2:1: missing key `suites`"),
            ("suites = []", "`suites` of an archive names none"),
            ("suites = ['a', 'b/']", "an archive is flat or not"),
            ("suites = ['a/']\ncomponents = ['main']", "a flat archive (a suite that ends with a slash) has no"),
            ("suites = ['a']\ncomponents = []", "`components` of an archive names none"),
            ("suites = ['../a/']", "`../a/` is no suite of an archive"),
            ("suites = ['a']\npriority = 0", "a number from -32768 to 32767 was expected, but not 0"),
            ("suites = ['a']\nurl = 'ftp://a.example'", "`ftp://a.example` is no address of a mirror"),
            ("suites = ['a']\nname = '../x'", "`../x` is no name of an archive"),
            ("suites = ['a']\nkeys = 'x'", "unknown key `keys` (did you mean `key`?)"),
        ] {
            let error = archives(&format!("[[archive]]\n{text}")).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn times_of_snapshots() {
        let snapshot: Snapshot = "20261101T000000Z".parse().unwrap();
        assert_eq!(snapshot.time().unwrap().to_string(), "2026-11-01T00:00:00Z");
        assert_eq!(snapshot.to_string(), "20261101T000000Z");
        assert_eq!("none".parse::<Snapshot>().unwrap().time(), None);
        for bad in [
            "",
            "20261101",
            "20261301T000000Z",
            "2026-11-01T00:00:00Z",
            "20261101T000000",
            "2026111T000000Z",
            "20261101T0:0:0Z",
        ] {
            assert!(bad.parse::<Snapshot>().is_err(), "{bad}");
        }
    }
}
