//! Which versions of its packages a pin is for: the field Pin of `apt_preferences(5)`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidPin;
use super::expression::Expression;
use crate::packages::Origin;

/// What a pin matches: `version X`, `release a=…,n=…,o=…,l=…,c=…,v=…,b=…`, `release NAME` or
/// `origin HOST`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Versions {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Version(Expression),
    Release(Release),
    /// The host of the mirror, which local archives have none of.
    Origin(Expression),
}

/// What a pin wants of a Release file; all of it must be so. Nothing is what any file has.
#[derive(Debug, Clone)]
pub(crate) struct Release(Vec<(Fact, Expression)>);

/// A fact of an index, or of the Release file that lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    /// The bare form: archive or codename.
    Name,
    Archive,
    Codename,
    Origin,
    Label,
    Component,
    Version,
    Architecture,
}

impl Release {
    /// `NAME`, `13.1`, `*` or `a=NAME, v=13.1`.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("the name of a release was expected, as in release n=trixie".to_owned()),
            "*" => Ok(Self(Vec::new())),
            bare if !bare.contains('=') => {
                // Other than the manual page has it, `13` is not the release with the version 13.1.
                let is_version = bare.starts_with(|c: char| c.is_ascii_digit());
                Ok(Self(vec![if is_version {
                    (Fact::Version, Expression::of_version(bare)?)
                } else {
                    (Fact::Name, Expression::new(bare)?)
                }]))
            }
            list => {
                let mut wanted = Vec::new();
                for part in list.split(',').map(str::trim) {
                    let (fact, expression) = read_fact(part)?;
                    // Of two that want the same, the last counts.
                    wanted.retain(|(other, _)| *other != fact);
                    wanted.push((fact, expression));
                }
                Ok(Self(wanted))
            }
        }
    }

    /// Whether an index of packages of `architecture` is of such a release.
    pub(crate) fn matches(&self, file: &Origin, architecture: &str) -> bool {
        let names = &file.release;
        self.0.iter().all(|(fact, wanted)| {
            // What a Release file does not say matches nothing, not even `*`.
            let is = |value: &str| !value.is_empty() && wanted.matches(value);
            match fact {
                Fact::Name => is(&names.suite) || is(&names.codename),
                Fact::Archive => is(&names.suite),
                Fact::Codename => is(&names.codename),
                Fact::Origin => is(&names.origin),
                Fact::Label => is(&names.label),
                Fact::Component => is(&file.component),
                Fact::Version => is(&names.version),
                Fact::Architecture => is(architecture),
            }
        })
    }
}

/// Reads `a=NAME`. apt passes over what it does not know, and matches nothing if nothing is left.
fn read_fact(part: &str) -> Result<(Fact, Expression), String> {
    let unknown = || {
        format!(
            "a=ARCHIVE, n=CODENAME, o=ORIGIN, l=LABEL, c=COMPONENT, v=VERSION or b=ARCHITECTURE was expected, not {part:?}"
        )
    };
    let (letter, value) = part.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or_else(unknown)?;
    let fact = match letter.to_ascii_lowercase().as_str() {
        "a" => Fact::Archive,
        "n" => Fact::Codename,
        "o" => Fact::Origin,
        "l" => Fact::Label,
        "c" => Fact::Component,
        "v" => Fact::Version,
        "b" => Fact::Architecture,
        _ => return Err(unknown()),
    };
    let expression = if fact == Fact::Version { Expression::of_version(value)? } else { Expression::new(value)? };
    Ok((fact, expression))
}

impl Versions {
    /// Those of one archive, by all that its Release file says of itself; by its host, where that is
    /// nothing that a pin can say.
    #[must_use]
    pub fn of_archive(archive: &Origin) -> Self {
        let names = &archive.release;
        let facts = [("o", &names.origin), ("l", &names.label), ("n", &names.codename), ("a", &names.suite)];
        // A pin has no quotes: a comma ends a fact, and these begin or make a pattern.
        let is_plain = |value: &str| !value.is_empty() && !value.contains([',', '*', '?', '[', '/', '"', '\n']);
        let facts: Vec<_> = facts
            .into_iter()
            .filter(|(_, value)| is_plain(value))
            .map(|(fact, value)| format!("{fact}={value}"))
            .collect();
        let release = format!("release {}", facts.join(",")).parse();
        // A URL's host has no character that would not do in quotes.
        release.unwrap_or_else(|_| Self {
            text: format!("origin \"{}\"", archive.host()),
            kind: Kind::Origin(Expression::Glob(archive.host().to_ascii_lowercase())),
        })
    }

    /// Whether archives are matched, whatever versions they have.
    pub(super) fn is_of_archives(&self) -> bool {
        !matches!(self.kind, Kind::Version(_))
    }

    /// Whether an index of packages of `architecture` is matched.
    pub(super) fn matches_file(&self, file: &Origin, architecture: &str) -> bool {
        match &self.kind {
            Kind::Version(_) => false,
            Kind::Release(release) => release.matches(file, architecture),
            Kind::Origin(host) => host.matches(file.host()),
        }
    }

    /// Whether a version that is in `files` is matched.
    pub(super) fn matches<'a>(
        &self,
        version: &str,
        mut files: impl Iterator<Item = &'a Origin>,
        architecture: &str,
    ) -> bool {
        match &self.kind {
            Kind::Version(wanted) => wanted.matches(version),
            _ => files.any(|file| self.matches_file(file, architecture)),
        }
    }
}

impl FromStr for Versions {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let text = text.trim();
        let error = |problem: String| InvalidPin::new(text, problem);
        if text.contains(char::is_control) {
            return Err(error("it is one line without control characters".to_owned()));
        }
        let (kind, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let rest = rest.trim();
        let kind = if kind.eq_ignore_ascii_case("version") {
            if rest.is_empty() {
                return Err(error("a version was expected, as in version 9.1*".to_owned()));
            }
            Kind::Version(Expression::of_version(rest).map_err(error)?)
        } else if kind.eq_ignore_ascii_case("release") {
            Kind::Release(Release::new(rest).map_err(error)?)
        } else if kind.eq_ignore_ascii_case("origin") {
            let host = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            if rest.is_empty() {
                return Err(error(r#"a host was expected, as in origin "deb.example", or "" for this one"#.to_owned()));
            }
            Kind::Origin(Expression::new(host.unwrap_or(rest)).map_err(error)?)
        } else {
            return Err(error("version, release or origin was expected, as in release n=trixie".to_owned()));
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

impl TryFrom<String> for Versions {
    type Error = InvalidPin;

    fn try_from(text: String) -> Result<Self, InvalidPin> {
        text.parse()
    }
}

impl From<Versions> for String {
    fn from(versions: Versions) -> Self {
        versions.text
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Versions {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Versions {}
