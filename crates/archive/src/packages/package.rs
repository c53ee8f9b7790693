//! One package of the index, a view of its stanza.

use std::fmt;

use super::{Entry, Origin, PackageId, PackageIndex};
use crate::dependency::{self, Clause};

/// A version of a package: a view of its stanza, as cheap to copy as a reference.
#[derive(Clone, Copy)]
pub struct Package<'a> {
    index: &'a PackageIndex,
    id: PackageId,
}

impl<'a> Package<'a> {
    pub(super) fn new(index: &'a PackageIndex, id: PackageId) -> Self {
        Self { index, id }
    }

    fn entry(&self) -> &'a Entry {
        self.index.entry(self.id)
    }

    fn source_text(&self) -> &'a str {
        &self.index.sources[usize::from(self.entry().source)].text
    }

    pub(crate) fn id(&self) -> PackageId {
        self.id
    }

    /// The position of its source among those of the index.
    pub(crate) fn source_number(&self) -> usize {
        usize::from(self.entry().source)
    }

    /// Whether both are one version with one content.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let content = |package: &Self| package.sha256().unwrap_or_else(|| package.stanza());
        self.id == other.id
            || self.entry().name == other.entry().name
                && self.version() == other.version()
                && content(self) == content(other)
    }

    pub(crate) fn name_id(&self) -> super::NameId {
        self.entry().name
    }

    /// The package's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.index.name(self.entry().name)
    }

    /// The version, as it is written in the index.
    #[must_use]
    pub fn version(&self) -> &'a str {
        &self.source_text()[self.entry().version.range()]
    }

    /// The architecture: the index's own, or `all`.
    #[must_use]
    pub fn architecture(&self) -> &'a str {
        if self.entry().all { "all" } else { &self.index.architecture }
    }

    /// Where the package is fetched from.
    #[must_use]
    pub fn origin(&self) -> &'a Origin {
        &self.index.sources[usize::from(self.entry().source)].origin
    }

    /// The value of any field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a str> {
        crate::deb822::stanzas(self.stanza()).next().and_then(|stanza| stanza.get(name))
    }

    /// The stanza's whole text.
    #[must_use]
    pub fn stanza(&self) -> &'a str {
        &self.source_text()[self.entry().stanza.range()]
    }

    /// How packages of other architectures may take this one.
    #[must_use]
    pub fn multi_arch(&self) -> MultiArch {
        self.entry().multi_arch
    }

    /// Whether a system must have the package, in any version.
    #[must_use]
    pub fn is_essential(&self) -> bool {
        self.index.is_essential(self.entry().name)
    }

    /// Whether a system should not lose the package once it has it: `Protected`, formerly
    /// `Important`.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.index.is_protected(self.entry().name)
    }

    /// How much the package belongs to a system.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.entry().priority
    }

    /// The section, as `admin` or `non-free/kernel`.
    #[must_use]
    pub fn section(&self) -> Option<&'a str> {
        self.field("Section")
    }

    /// The size of the `.deb` file in bytes.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.field("Size")?.parse().ok()
    }

    /// The estimated size of the unpacked package in KiB.
    #[must_use]
    pub fn installed_size(&self) -> Option<u64> {
        self.field("Installed-Size")?.parse().ok()
    }

    /// The path of the `.deb` file under the mirror's root.
    #[must_use]
    pub fn filename(&self) -> Option<&'a str> {
        self.field("Filename")
    }

    /// The SHA-256 of the `.deb` file, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> Option<&'a str> {
        self.field("SHA256")
    }

    /// A relation field's clauses; none where the field is absent.
    ///
    /// # Errors
    /// Never for a package of an index, because adding it read all its relations.
    pub fn relation(&self, relation: Relation) -> Result<Vec<Clause<'a>>, dependency::Error> {
        dependency::parse(self.field(relation.field()).unwrap_or(""))
    }

    /// Name and version of the source package.
    #[must_use]
    pub fn source(&self) -> (&'a str, &'a str) {
        source_package(self.field("Source"), self.name(), self.version())
    }
}

/// Name and version of the source package of the package `name`: what its field Source says, and
/// where that is silent, its own (Debian Policy 5.6.1).
#[must_use]
pub fn source_package<'a>(field: Option<&'a str>, name: &'a str, version: &'a str) -> (&'a str, &'a str) {
    let Some(field) = field else { return (name, version) };
    match field.split_once(' ') {
        Some((source, version)) => (source, version.trim().trim_matches(['(', ')'])),
        None => (field, version),
    }
}

impl fmt::Debug for Package<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Package<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name(), self.version())
    }
}

/// How packages of other architectures may take a package (Debian's multiarch specification).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultiArch {
    /// Not at all.
    #[default]
    No,
    /// Installed beside itself, an architecture each.
    Same,
    /// For any architecture.
    Foreign,
    /// For any architecture where the relation says `:any`.
    Allowed,
}

impl MultiArch {
    pub(super) fn of_value(value: &str) -> Self {
        match value {
            "same" => Self::Same,
            "foreign" => Self::Foreign,
            "allowed" => Self::Allowed,
            _ => Self::No,
        }
    }
}

/// How much a package belongs to a system (Debian Policy 2.5), from most to least. A package
/// without the field comes before all others, because apt orders them so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// The field is absent.
    Unstated,
    /// A system is broken without it.
    Required,
    /// Any Unix-like system is expected to have it.
    Important,
    /// A small text-mode system has it.
    Standard,
    /// Most packages: what is none of the others.
    Optional,
    /// What Policy once had below `optional`, and any value apt does not know.
    Extra,
}

impl Priority {
    pub(super) fn of_value(value: &str) -> Self {
        let known = [
            ("required", Self::Required),
            ("important", Self::Important),
            ("standard", Self::Standard),
            ("optional", Self::Optional),
        ];
        known.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)).map_or(Self::Extra, |&(_, priority)| priority)
    }
}

/// A kind of relation between packages (Debian Policy 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Needed before the package is unpacked.
    PreDepends,
    /// Needed before the package is configured.
    Depends,
    /// May not be unpacked at the same time.
    Conflicts,
    /// May not be configured at the same time.
    Breaks,
    /// Found together in all but unusual installations.
    Recommends,
    /// More useful together.
    Suggests,
    /// Whose files the package may overwrite.
    Replaces,
    /// Made more useful by the package.
    Enhances,
    /// What else the package can be taken for.
    Provides,
}

impl Relation {
    /// All kinds, in the order in which apt reads them from a stanza.
    pub const ALL: [Self; 9] = [
        Self::PreDepends,
        Self::Depends,
        Self::Conflicts,
        Self::Breaks,
        Self::Recommends,
        Self::Suggests,
        Self::Replaces,
        Self::Enhances,
        Self::Provides,
    ];

    /// The field's name.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::PreDepends => "Pre-Depends",
            Self::Depends => "Depends",
            Self::Conflicts => "Conflicts",
            Self::Breaks => "Breaks",
            Self::Recommends => "Recommends",
            Self::Suggests => "Suggests",
            Self::Replaces => "Replaces",
            Self::Enhances => "Enhances",
            Self::Provides => "Provides",
        }
    }

    pub(super) fn of_field(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|relation| relation.field().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field())
    }
}
