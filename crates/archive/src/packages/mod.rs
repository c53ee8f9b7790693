//! The index of packages: the `Packages` files of several sources read together.
//!
//! The index keeps the files' text and, for each stanza, where it lies; everything else is read
//! from the text when it is asked for. What resolving needs at once is tabulated as the text is
//! added: names, versions in order, and who provides what. It knows nothing of what gets installed;
//! that is for [`resolve`](super::resolve).

mod names;
mod package;
mod stanza;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use super::dependency::{self, Alternative};
use super::sources::is_flat;
use super::{deb822, version};
use crate::credentials;
use fam_progress::Hint;
use names::Names;
use stanza::Fields;

pub(crate) use names::NameId;
pub use package::{MultiArch, Package, Priority, Relation, source_package};

/// Where an index comes from, and so where the packages in it are fetched from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The root of the archive, as `http://ftp.us.debian.org/debian`.
    pub mirror: String,
    /// The suite, under the name it was asked for by.
    pub suite: String,
    /// The component, as `main`; empty in a flat archive.
    pub component: String,
    /// What the suite's Release file says of it.
    pub release: ReleaseNames,
}

/// What a Release file says that a [`Policy`](crate::policy::Policy) goes by; empty where it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseNames {
    /// Who made the archive: "Debian".
    pub origin: String,
    /// What kind of archive of that origin this is: "Debian-Security".
    pub label: String,
    /// The suite, a name that moves: "stable".
    pub suite: String,
    /// The codename, a name that stays: "trixie".
    pub codename: String,
    /// The version of the release: "13.1".
    pub version: String,
    /// Whether its packages are taken only where no other archive has them.
    pub not_automatic: bool,
    /// Whether, despite this, they are upgrades of what is installed of it.
    pub but_automatic_upgrades: bool,
}

impl Origin {
    /// The host of the mirror, without its port; nothing for a directory of this host.
    #[must_use]
    pub fn host(&self) -> &str {
        credentials::host(&self.mirror)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.component.is_empty() || is_flat(&self.suite) { "" } else { "/" };
        write!(f, "{} {}{slash}{}", self.mirror, self.suite, self.component)
    }
}

/// The packages of one architecture (and of architecture `all`) in all sources.
#[derive(Debug)]
pub struct PackageIndex {
    architecture: String,
    sources: Vec<Source>,
    tables: Tables,
    skipped: Vec<Skipped>,
}

/// A stanza that cannot be read, and so is passed over.
#[derive(Debug)]
pub struct Skipped {
    /// The name of its package; empty where it has none.
    pub package: String,
    /// Why it cannot be read.
    pub reason: Error,
}

#[derive(Debug)]
struct Source {
    origin: Origin,
    text: String,
    /// Whether its packages come before equal versions that were added earlier.
    comes_first: bool,
}

#[derive(Debug, Default)]
struct Tables {
    names: Names,
    entries: Vec<Entry>,
}

/// The number of a stanza in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PackageId(u32);

/// One stanza: where it lies, and what resolving asks for most.
#[derive(Debug)]
struct Entry {
    source: u16,
    stanza: Span,
    version: Span,
    name: NameId,
    /// The same name's next lower (or equal, but added later) version.
    lower: Option<PackageId>,
    multi_arch: MultiArch,
    priority: Priority,
    all: bool,
}

/// A range of a source's text. Half the size of `Range<usize>`, of which there would be hundreds of
/// thousands.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A stanza or an index that cannot be read.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A stanza lacks a field that every stanza has.
    #[error("package index of {index}: {package} has no field {field}")]
    MissingField {
        index: String,
        /// The package, or as much of its stanza as tells which it is.
        package: String,
        field: &'static str,
    },
    /// A name or a version with characters that cannot be in one; they become parts of paths and of
    /// dpkg's database.
    #[error("package index of {index}: {package} has an invalid {field}: {value:?}")]
    InvalidField { index: String, package: String, field: &'static str, value: String },
    /// A relation field that cannot be read.
    #[error("package index of {index}: field {field} of {package}: {source}")]
    Relation {
        index: String,
        package: String,
        field: &'static str,
        /// What is wrong with it.
        source: dependency::Error,
    },
    /// More than 4 GiB of text, or more than 65,535 sources.
    #[error("package index of {index}: too large")]
    TooLarge { index: String },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some("tell those who run the archive, or take another mirror".into())
    }
}

impl PackageIndex {
    /// An empty index for packages of `architecture`.
    #[must_use]
    pub fn new(architecture: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            sources: Vec::new(),
            tables: Tables::default(),
            skipped: Vec::new(),
        }
    }

    /// The architecture of the packages that are not of `all`.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Adds the text of a `Packages` file. Stanzas of other architectures are passed over, and so are
    /// those that cannot be read, which are [kept](Self::skipped) with the reason: one bad package
    /// does not make the others of its archive unusable.
    ///
    /// The order of adding matters twice: of equal versions the first one added is taken, and apt
    /// prefers, among providers that are otherwise alike, the one whose name it met last. A stanza
    /// that the same suite has already, word for word, changes nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`]
    pub fn add(&mut self, text: String, origin: Origin) -> Result<(), Error> {
        self.add_source(Source { text, origin, comes_first: false })
    }

    /// Adds stanzas as [`add`](Self::add) does, of packages that are taken before equal versions
    /// which are there already: those of files that somebody named.
    ///
    /// # Errors
    /// As there.
    pub fn add_first(&mut self, text: String, origin: Origin) -> Result<(), Error> {
        self.add_source(Source { text, origin, comes_first: true })
    }

    fn add_source(&mut self, source: Source) -> Result<(), Error> {
        let (Ok(number), Ok(_)) = (u16::try_from(self.sources.len()), u32::try_from(source.text.len())) else {
            return Err(Error::TooLarge { index: source.origin.to_string() });
        };
        self.sources.push(source);
        for stanza in deb822::stanzas(&self.sources[usize::from(number)].text) {
            let fields = Fields::read(&stanza);
            match fields.add(&mut self.tables, &self.sources, &self.architecture) {
                Err(reason @ Error::TooLarge { .. }) => return Err(reason),
                Err(reason) => self.skipped.push(Skipped { package: fields.package_name().to_owned(), reason }),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The stanzas that were passed over because they cannot be read.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Why the package `name` was passed over, if it was.
    #[must_use]
    pub fn why_skipped(&self, name: &str) -> Option<&Error> {
        self.skipped.iter().find(|skipped| skipped.package == name).map(|skipped| &skipped.reason)
    }

    /// How many stanzas there are, older versions included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.entries.len()
    }

    /// Whether there is no stanza.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.entries.is_empty()
    }

    /// All packages, in the order they were added, older versions included.
    pub fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        (0..).take(self.tables.entries.len()).map(|number| self.package(PackageId(number)))
    }

    /// The highest version of the package `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Package<'_>> {
        self.versions(name).next()
    }

    /// All versions of the package `name`, highest first.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = Package<'_>> {
        self.tables.names.get(name).into_iter().flat_map(|name| self.versions_of(name))
    }

    /// The names of real packages, in no particular order.
    pub fn package_names(&self) -> impl Iterator<Item = &str> {
        self.names().filter(|&name| self.newest(name).is_some()).map(|name| self.name(name))
    }

    /// The first source's suite.
    pub(crate) fn primary_suite(&self) -> Option<&str> {
        self.sources.first().map(|source| source.origin.suite.as_str())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = NameId> + use<> {
        self.tables.names.ids()
    }

    pub(crate) fn name(&self, name: NameId) -> &str {
        self.tables.names.record(name).text()
    }

    pub(crate) fn name_id(&self, name: &str) -> Option<NameId> {
        self.tables.names.get(name)
    }

    /// Where the sources come from, in the order in which they were added.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.sources.iter().map(|source| &source.origin)
    }

    /// The same version of a package in all sources that have it with the same content, the first
    /// one first: of that one the candidate is.
    pub(crate) fn copies<'i>(&'i self, package: Package<'i>) -> impl Iterator<Item = Package<'i>> {
        self.versions_of(package.name_id()).filter(move |other| other.is_same(&package))
    }

    /// All versions of the package with this name, highest first.
    pub(crate) fn versions_of(&self, name: NameId) -> impl Iterator<Item = Package<'_>> {
        std::iter::successors(self.newest(name), |&id| self.entry(id).lower).map(|id| self.package(id))
    }

    pub(crate) fn newest(&self, name: NameId) -> Option<PackageId> {
        self.tables.names.record(name).newest
    }

    /// Whether any stanza of the package says that it is essential: apt marks packages, not
    /// versions.
    pub(crate) fn is_essential(&self, name: NameId) -> bool {
        self.tables.names.record(name).essential
    }

    /// As [`is_essential`](Self::is_essential), for `Protected` and its older name `Important`.
    pub(crate) fn is_protected(&self, name: NameId) -> bool {
        self.tables.names.record(name).protected
    }

    pub(crate) fn package(&self, id: PackageId) -> Package<'_> {
        Package::new(self, id)
    }

    /// The packages that provide `name`, each with the version it provides.
    pub(crate) fn providers(&self, name: NameId) -> impl Iterator<Item = (PackageId, Option<&str>)> {
        self.tables.names.record(name).providers.iter().map(|provider| {
            let text = &self.sources[usize::from(self.entry(provider.package).source)].text;
            (
                provider.package,
                (provider.version.start != provider.version.end).then(|| &text[provider.version.range()]),
            )
        })
    }

    /// What an alternative points to: the name itself, `name:any`, or, for any other architecture,
    /// a name that nothing has.
    pub(crate) fn target(&self, alternative: &Alternative<'_>) -> Option<NameId> {
        self.tables.names.get(unqualified(alternative, &self.architecture))
    }

    fn entry(&self, id: PackageId) -> &Entry {
        &self.tables.entries[id.0 as usize]
    }
}

/// The name to look up for an alternative: a qualifier that says the index's own architecture says
/// nothing.
fn unqualified<'a>(alternative: &Alternative<'a>, architecture: &str) -> &'a str {
    match alternative.qualifier() {
        Some(qualifier) if qualifier == "native" || qualifier == architecture => alternative.name(),
        _ => alternative.qualified_name,
    }
}

impl Tables {
    /// Whether the suite of the last of `sources` has this very stanza already: an index of `all` may
    /// repeat what that of the architecture has.
    fn repeats(&self, sources: &[Source], name: NameId, stanza: &str) -> bool {
        let [.., Source { origin, .. }] = sources else { return false };
        let newest = self.names.record(name).newest;
        let mut versions = std::iter::successors(newest, |id| self.entries[id.0 as usize].lower);
        versions.any(|PackageId(id)| {
            let entry = &self.entries[id as usize];
            let other = &sources[usize::from(entry.source)];
            (&other.origin.mirror, &other.origin.suite) == (&origin.mirror, &origin.suite)
                && &other.text[entry.stanza.range()] == stanza
        })
    }

    /// Puts `id`, whose entry comes next and is of the last source, among the versions of its name:
    /// after higher ones, and after equal ones unless its source comes first. Returns the version
    /// that follows it.
    fn link(&mut self, sources: &[Source], id: PackageId, name: NameId, version: &str) -> Option<PackageId> {
        let comes_first = sources.last().is_some_and(|source| source.comes_first);
        let mut higher = None;
        let mut next = self.names.record(name).newest;
        while let Some(entry) = next.map(|next| &self.entries[next.0 as usize]) {
            let other = &sources[usize::from(entry.source)].text[entry.version.range()];
            let order = version::compare(version, other);
            if order.is_gt() || (comes_first && order.is_eq()) {
                break;
            }
            higher = next;
            next = entry.lower;
        }
        match higher {
            Some(PackageId(higher)) => self.entries[higher as usize].lower = Some(id),
            None => self.names.record_mut(name).newest = Some(id),
        }
        next
    }
}
