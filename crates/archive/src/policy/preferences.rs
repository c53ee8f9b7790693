//! The text of a preferences file, both ways.
//!
//! This is stricter than apt, which passes over records that it cannot use, or matches nothing by
//! them: here each is an error with its line.

use std::fmt::Write as _;

use fam_progress::Hint;

use super::{InvalidPin, Pin, Policy};
use crate::deb822::{Stanza, stanzas};

/// A text is no preferences file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A record lacks a field.
    #[error("line {line}: the record has no field {field}")]
    Missing {
        /// The line at which the record begins.
        line: usize,
        /// The field.
        field: &'static str,
    },
    /// A record has a field twice, of which apt takes the last.
    #[error("line {line}: the record has the field {field} twice; an empty line is between records")]
    Doubled {
        /// The line at which the record begins.
        line: usize,
        /// The field.
        field: String,
    },
    /// The value of a field cannot be read.
    #[error("line {line}: {source}")]
    Invalid {
        /// The line at which the record begins.
        line: usize,
        /// What is wrong with it.
        source: InvalidPin,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some("a record has the fields Package, Pin and Pin-Priority; see apt_preferences(5)".to_owned())
    }
}

impl Policy {
    /// Reads the text of a preferences file: records of the fields Package, Pin, Pin-Priority and
    /// Explanation, with empty lines between them, and comments that begin with `#`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.replace("\r\n", "\n");
        let mut pins = Vec::new();
        for stanza in stanzas(&text) {
            let begin = stanza.text().as_ptr() as usize - text.as_ptr() as usize;
            let line = text[..begin].matches('\n').count() + 1;
            if stanza.fields().next().is_some() {
                pins.push(record(&stanza, line)?);
            }
        }
        Ok(Self { pins })
    }

    /// The text of a preferences file with these pins.
    #[must_use]
    pub fn to_preferences(&self) -> String {
        let mut text = String::new();
        for Pin { packages, versions, priority, explanation } in &self.pins {
            for line in explanation.iter().flat_map(|explanation| explanation.lines()) {
                // A carriage return within is a blank to people, and may be more to a reader.
                let line = line.replace(char::is_control, " ");
                let _ = writeln!(text, "Explanation: {line}");
            }
            let _ = writeln!(text, "Package: {packages}\nPin: {versions}\nPin-Priority: {priority}\n");
        }
        text
    }
}

fn record(stanza: &Stanza<'_>, line: usize) -> Result<Pin, Error> {
    let mut explanation: Vec<&str> = Vec::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (name, value) in stanza.fields() {
        if name.eq_ignore_ascii_case("Explanation") {
            explanation.extend(value.lines().map(str::trim));
        } else if seen.iter().any(|(other, _)| name.eq_ignore_ascii_case(other)) {
            return Err(Error::Doubled { line, field: name.to_owned() });
        } else {
            seen.push((name, value));
        }
    }
    let field = |field: &'static str| {
        let found = seen.iter().find(|(name, _)| name.eq_ignore_ascii_case(field));
        found.map(|&(_, value)| value).ok_or(Error::Missing { line, field })
    };
    let invalid = |source| Error::Invalid { line, source };
    let packages = field("Package")?.parse().map_err(invalid)?;
    let versions = field("Pin")?.parse().map_err(invalid)?;
    let priority = field("Pin-Priority")?.parse().map_err(invalid)?;
    let explanation = (!explanation.is_empty()).then(|| explanation.join("\n"));
    Pin::new(packages, versions, priority, explanation).map_err(invalid)
}
