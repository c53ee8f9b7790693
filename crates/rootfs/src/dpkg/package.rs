//! What dpkg knows of one package: its stanza read for the fields that decide something, and its
//! conffiles.

use fam_archive::deb::ControlArchive;
use fam_archive::deb822::{Stanza, stanzas};
use fam_archive::dependency;
use fam_archive::version::Version;
use fam_progress::Hint;
use fam_tree::{InvalidPath, RootPath};

use super::control;
use crate::install::schedule::Node;

/// Why a package's control archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not exactly one stanza.
    #[error("its control file holds {0} stanzas instead of one")]
    Stanzas(usize),
    /// A field is there twice, as dpkg forbids.
    #[error("its control file has the field {0} twice")]
    Doubled(String),
    /// A line that is no part of any field to dpkg.
    #[error("its control file has a line that dpkg does not take: {0:?}")]
    Line(String),
    /// A field that belongs to the database of a system.
    #[error("its control file has the field {0}, which no package may have")]
    OfDatabase(&'static str),
    /// A field that every package has is missing.
    #[error("its control file has no {0} field")]
    Missing(&'static str),
    /// A field's value is not of the form that Policy asks for. Names become file names, so this is
    /// no pedantry.
    #[error("its control file has an invalid {field}: {value:?}")]
    Invalid {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// A relation field cannot be read.
    #[error("its control file: {0}")]
    Relation(#[from] dependency::Error),
    /// A relation names no package, or no version.
    #[error("its control file: {field} has {text:?}, which dpkg does not take")]
    Relative {
        /// Name of the field.
        field: &'static str,
        /// What is wrong in it.
        text: String,
    },
    /// The list of conffiles holds something else.
    #[error("its conffiles file has a malformed line: {0:?}")]
    Conffile(String),
    /// A conffile would lie outside the root.
    #[error("its conffiles file: {0}")]
    ConffilePath(#[from] InvalidPath),
    /// The triggers file holds something that deb-triggers(5) does not know.
    #[error("its triggers file has a malformed line: {0:?}")]
    Trigger(String),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some("the package is malformed: leave it out, or tell its maintainer".into())
    }
}

/// A configuration file that dpkg guards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conffile {
    /// Where it lies.
    pub path: RootPath,
    /// Whether an earlier version's file is to be removed; the package holds no such file then.
    pub remove_on_upgrade: bool,
}

/// A package as its control archive describes it.
#[derive(Debug, Clone)]
pub struct Package {
    /// The name, checked.
    pub name: String,
    /// The version, checked.
    pub version: String,
    /// The architecture, checked; `all` for what is the same everywhere.
    pub architecture: String,
    /// Whether it can be installed for several architectures at once.
    pub multi_arch_same: bool,
    /// Whether it is essential.
    pub essential: bool,
    /// Its conffiles in the order of the package.
    pub conffiles: Vec<Conffile>,
    /// The control archive whole.
    pub control: ControlArchive,
}

impl Package {
    /// Reads the control archive of a package.
    ///
    /// # Errors
    /// [`Error`]
    pub fn new(control: ControlArchive) -> Result<Self, Error> {
        let count = stanzas(&control.stanza).count();
        let stanza = stanzas(&control.stanza).next().filter(|_| count == 1).ok_or(Error::Stanzas(count))?;
        if let Some(name) = stanza.doubled() {
            return Err(Error::Doubled(name.to_owned()));
        }
        control::verify(&control.stanza, &stanza)?;
        let name = field(&stanza, "Package", is_name)?;
        let version = field(&stanza, "Version", is_version)?;
        let architecture = field(&stanza, "Architecture", is_architecture)?;
        let is = |name, wanted: &str| stanza.get(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted));
        let (multi_arch_same, essential) = (is("Multi-Arch", "same"), is("Essential", "yes"));
        // dpkg refuses it: a package that is the same everywhere cannot be there once for each
        // architecture.
        if multi_arch_same && architecture == "all" {
            return Err(Error::Invalid { field: "Multi-Arch", value: "same".into() });
        }
        let conffiles = match control.files.get("conffiles") {
            Some(file) => parse_conffiles(&String::from_utf8_lossy(&file.bytes))?,
            None => Vec::new(),
        };
        Ok(Self { name, version, architecture, multi_arch_same, essential, conffiles, control })
    }

    /// The name as dpkg writes it where it must not be ambiguous: with the architecture if several
    /// may be installed.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        if self.multi_arch_same { format!("{}:{}", self.name, self.architecture) } else { self.name.clone() }
    }

    /// Whether this package may overwrite files of `other` (Debian Policy 7.6.1).
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        let field = stanzas(&self.control.stanza).next().and_then(|stanza| stanza.get("Replaces")).unwrap_or_default();
        dependency::alternatives(field).flatten().any(|(relation, _)| {
            relation.name() == other.name
                && relation.constraint.is_none_or(|constraint| constraint.accepts(&other.version))
        })
    }

    /// What decides when the package is installed.
    ///
    /// # Errors
    /// [`Error::Relation`]
    pub fn node(&self, first: bool) -> Result<Node, Error> {
        let stanza = stanzas(&self.control.stanza).next().ok_or(Error::Stanzas(0))?;
        Ok(Node::new(&stanza, first, self.has("preinst"))?)
    }

    /// Whether the package has this maintainer script or other control file.
    #[must_use]
    pub fn has(&self, control_file: &str) -> bool {
        self.control.files.contains_key(control_file)
    }
}

fn field(stanza: &Stanza<'_>, name: &'static str, valid: impl Fn(&str) -> bool) -> Result<String, Error> {
    let value = stanza.get(name).ok_or(Error::Missing(name))?;
    if valid(value) { Ok(value.to_owned()) } else { Err(Error::Invalid { field: name, value: value.to_owned() }) }
}

/// As dpkg's `pkg_name_is_illegal`, which is a little laxer than Policy 5.6.1.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-+._".contains(c))
}

/// As dpkg takes it in a package: stricter than in its database.
pub(super) fn is_version(text: &str) -> bool {
    Version::parse(text).is_ok_and(|version| version.upstream().starts_with(|first: char| first.is_ascii_digit()))
}

pub(super) fn is_architecture(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// Lines of deb-conffiles(5): an absolute path, perhaps after the flag `remove-on-upgrade`. As dpkg
/// reads them: it is strict about blanks, the last newline and the length.
fn parse_conffiles(text: &str) -> Result<Vec<Conffile>, Error> {
    // dpkg reads lines with fgets(3) into `MAXCONFFILENAME - 2` bytes, that is 998 with the NUL.
    const LONGEST_LINE: usize = 997;
    let mut conffiles = Vec::new();
    for line in text.split_inclusive('\n') {
        let malformed = || Error::Conffile(line.trim_end().to_owned());
        if !line.ends_with('\n') || line.len() > LONGEST_LINE {
            return Err(malformed());
        }
        let (flag, path) = match line.trim_ascii_end() {
            "" => continue,
            line if line.starts_with('/') => ("", line),
            line => line.split_once(' ').ok_or_else(malformed)?,
        };
        if !path.starts_with('/') || !matches!(flag, "" | "remove-on-upgrade") || line.starts_with(' ') {
            return Err(malformed());
        }
        conffiles.push(Conffile { path: path.parse()?, remove_on_upgrade: !flag.is_empty() });
    }
    Ok(conffiles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_file_has_each_field_once() {
        let package = |more: &str| {
            let stanza = format!("Package: a\nVersion: 1\nArchitecture: all\n{more}");
            Package::new(ControlArchive { stanza, files: std::collections::BTreeMap::new() })
        };
        assert_eq!(package("Depends: b\n").unwrap().name, "a");
        let error = package("Depends: b\nversion: 2\n").unwrap_err();
        assert_eq!(error.to_string(), "its control file has the field version twice");
    }
}
