//! Which version of a package is to be installed where several are there: priorities and pins, as
//! `apt_preferences(5)` has them.
//!
//! A [`Policy`] is an ordered list of [`Pin`]s, made of values or read from the text of a
//! preferences file. [`Ranking`] applies it to an index: each version has a priority, and of each
//! name the version with the highest one is the candidate. Where apt 2.6 and its manual page
//! differ, this follows apt, and says so.

mod expression;
mod packages;
mod preferences;
mod priority;
mod ranking;
#[cfg(feature = "schemars")]
mod schema;
mod versions;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::packages::Origin;
use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use expression::Expression;
pub use packages::Packages;
pub use preferences::Error;
pub use priority::Priority;
pub use ranking::Ranking;
pub(crate) use versions::Release;
pub use versions::Versions;

/// Gives versions of packages a priority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Pin {
    /// The packages: names, patterns as `perl*`, regular expressions as `/^gcc/` and source
    /// packages as `src:linux`, with blanks between them; `*` is all packages.
    packages: Packages,
    /// What is matched, as in the field Pin of a preferences file: `version 9.1*`, `release
    /// a=stable-backports` or `origin "deb.example"`.
    #[serde(rename = "pin")]
    versions: Versions,
    /// The priority of what is matched: above 1000 is installed even in place of a newer version,
    /// 500 is the usual one, below 0 is never installed.
    priority: Priority,
    /// Why; the preferences of the nodes have it as a comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<String>,
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            packages: Packages,
            pin: Versions,
            priority: Priority,
            explanation: Option<String>,
        }

        let Written { packages, pin, priority, explanation } = Written::deserialize(deserializer)?;
        Self::new(packages, pin, priority, explanation).map_err(serde::de::Error::custom)
    }
}

/// A text is not what its place in a pin asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem}")]
pub struct InvalidPin {
    text: String,
    problem: String,
}

impl InvalidPin {
    fn new(text: &str, problem: impl Into<String>) -> Self {
        Self { text: text.to_owned(), problem: problem.into() }
    }
}

impl Pin {
    /// A pin of checked parts.
    ///
    /// # Errors
    /// Where apt would not take them together: a version of all packages, or `never` for some.
    pub fn new(
        packages: Packages,
        versions: Versions,
        priority: Priority,
        explanation: Option<String>,
    ) -> Result<Self, InvalidPin> {
        if packages.is_general() && !versions.is_of_archives() {
            return Err(InvalidPin::new(
                &versions.to_string(),
                "a version can be pinned of packages by name only, not of all (*)",
            ));
        }
        if priority == Priority::Never && !packages.is_general() {
            return Err(InvalidPin::new("never", "this priority is for all packages (*) of an archive only"));
        }
        Ok(Self { packages, versions, priority, explanation })
    }

    /// The pin that gives all packages of one archive this priority.
    #[must_use]
    pub fn of_archive(archive: &Origin, priority: Priority) -> Self {
        let versions = Versions::of_archive(archive);
        Self { packages: Packages::general(), versions, priority, explanation: None }
    }

    /// The packages that it is for.
    #[must_use]
    pub fn packages(&self) -> &Packages {
        &self.packages
    }

    /// The versions of them that it is for.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// The priority that it gives them.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Why it is there, if somebody has said so.
    #[must_use]
    pub fn explanation(&self) -> Option<&str> {
        self.explanation.as_deref()
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}: {}", self.priority, self.packages, self.versions)
    }
}

/// An ordered list of pins, of which the first that matches counts. Without any, the archives have
/// the priorities that their Release files ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pins: Vec<Pin>,
}

impl Policy {
    /// The policy of these pins, the first of which counts most.
    #[must_use]
    pub const fn new(pins: Vec<Pin>) -> Self {
        Self { pins }
    }

    /// The pins in their order.
    #[must_use]
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }
}

impl Default for &Policy {
    fn default() -> Self {
        static NO_PINS: Policy = Policy::new(Vec::new());
        &NO_PINS
    }
}
