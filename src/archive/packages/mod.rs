//! The index of packages: the `Packages` files of several sources read together.
//!
//! The index keeps the files' text and, for each stanza, where it lies; everything else is read from the text when it is
//! asked for. What resolving needs at once is tabulated as the text is added: names, versions in order, and who provides
//! what. It knows nothing of what gets installed; that is for [`resolve`](super::resolve).

mod names;
mod package;

use super::dependency::{self, Alternative, Comparison, Constraint, RelationError};
use super::{deb822, version};
use names::{Names, Provider};
use std::fmt;
use std::ops::Range;

pub(crate) use names::NameId;
pub use package::{MultiArch, Package, Priority, Relation};

/// Where an index comes from, and so where the packages in it are to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The root of the archive, as `http://ftp.us.debian.org/debian`.
    pub mirror: String,
    /// The suite, under the name it was asked for by.
    pub suite: String,
    /// The component, as `main`.
    pub component: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.mirror, self.suite, self.component)
    }
}

/// The packages of one architecture (and of architecture `all`) in all sources.
#[derive(Debug)]
pub struct PackageIndex {
    architecture: String,
    sources: Vec<Source>,
    tables: Tables,
}

#[derive(Debug)]
struct Source {
    origin: Origin,
    text: String,
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

/// A range of a source's text. Half the size of `Range<usize>`, of which there would be hundreds of thousands.
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

/// An index that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A stanza lacks a field that every stanza has.
    #[error("package index of {origin}: {package} has no field {field}")]
    MissingField {
        /// The index.
        origin: Origin,
        /// The package, or as much of its stanza as tells which it is.
        package: String,
        /// The field.
        field: &'static str,
    },
    /// A name or a version with characters that cannot be in one; they become parts of paths and of dpkg's database.
    #[error("package index of {origin}: {package} has an invalid {field}: {value:?}")]
    InvalidField {
        /// The index.
        origin: Origin,
        /// The package.
        package: String,
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// A relation field that cannot be read.
    #[error("package index of {origin}: field {field} of {package}: {source}")]
    Relation {
        /// The index.
        origin: Origin,
        /// The package.
        package: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: RelationError,
    },
    /// More than 4 GiB of text, or more than 65,535 sources.
    #[error("package index of {origin}: too large")]
    TooLarge {
        /// The index.
        origin: Origin,
    },
}

impl IndexError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some("the package index is malformed: tell those who run the archive, or take another mirror".into())
    }
}

impl PackageIndex {
    /// An empty index for packages of `architecture`.
    #[must_use]
    pub fn new(architecture: &str) -> Self {
        Self { architecture: architecture.to_owned(), sources: Vec::new(), tables: Tables::default() }
    }

    /// The architecture of the packages, beside `all`.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Adds the text of a `Packages` file. Stanzas of other architectures are passed over.
    ///
    /// The order of adding matters twice: of equal versions the first one added is taken, and apt prefers, among
    /// providers that are otherwise alike, the one whose name it met last.
    ///
    /// # Errors
    /// See [`IndexError`]. What stands before the error stays in the index.
    pub fn add(&mut self, text: String, origin: Origin) -> Result<(), IndexError> {
        let (Ok(number), Ok(_)) = (u16::try_from(self.sources.len()), u32::try_from(text.len())) else {
            return Err(IndexError::TooLarge { origin });
        };
        self.sources.push(Source { origin, text });
        for stanza in deb822::stanzas(&self.sources[usize::from(number)].text) {
            Fields::read(&stanza).add(&mut self.tables, &self.sources, &self.architecture)?;
        }
        Ok(())
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
        let newest = self.tables.names.get(name).and_then(|name| self.newest(name));
        std::iter::successors(newest, |&id| self.entry(id).lower).map(|id| self.package(id))
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

    pub(crate) fn newest(&self, name: NameId) -> Option<PackageId> {
        self.tables.names.record(name).newest
    }

    /// Whether any stanza of the package says that it is essential: apt keeps the mark a package, not a version.
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

    /// What an alternative points to: the name itself, `name:any`, or, for any other architecture, a name that nothing
    /// has.
    pub(crate) fn target(&self, alternative: &Alternative<'_>) -> Option<NameId> {
        self.tables.names.get(unqualified(alternative, &self.architecture))
    }

    fn entry(&self, id: PackageId) -> &Entry {
        &self.tables.entries[id.0 as usize]
    }
}

/// The name to look up for an alternative: a qualifier that says the index's own architecture says nothing.
fn unqualified<'a>(alternative: &Alternative<'a>, architecture: &str) -> &'a str {
    match alternative.qualifier() {
        Some(qualifier) if qualifier == "native" || qualifier == architecture => alternative.name(),
        _ => alternative.qualified_name,
    }
}

/// The fields of a stanza that the tables need.
#[derive(Default)]
struct Fields<'a> {
    stanza: &'a str,
    package: &'a str,
    version: &'a str,
    architecture: &'a str,
    priority: Option<&'a str>,
    multi_arch: &'a str,
    essential: bool,
    protected: bool,
    relations: [&'a str; Relation::ALL.len()],
}

impl<'a> Fields<'a> {
    fn read(stanza: &deb822::Stanza<'a>) -> Self {
        let mut fields = Self { stanza: stanza.text(), ..Self::default() };
        for (name, value) in stanza.fields() {
            let yes = || value.eq_ignore_ascii_case("yes");
            if name.eq_ignore_ascii_case("Package") {
                fields.package = value;
            } else if name.eq_ignore_ascii_case("Version") {
                fields.version = value;
            } else if name.eq_ignore_ascii_case("Architecture") {
                fields.architecture = value;
            } else if name.eq_ignore_ascii_case("Priority") {
                fields.priority = Some(value);
            } else if name.eq_ignore_ascii_case("Multi-Arch") {
                fields.multi_arch = value;
            } else if name.eq_ignore_ascii_case("Essential") {
                fields.essential = yes();
            } else if name.eq_ignore_ascii_case("Protected") || name.eq_ignore_ascii_case("Important") {
                fields.protected |= yes();
            } else if let Some(relation) = Relation::of_field(name) {
                fields.relations[relation as usize] = value;
            }
        }
        fields
    }

    /// Adds the stanza, which is of the last of `sources`, to the tables.
    fn add(&self, tables: &mut Tables, sources: &[Source], architecture: &str) -> Result<(), IndexError> {
        let [.., source] = sources else { return Ok(()) };
        self.check(&source.origin)?;
        if self.architecture != "all" && self.architecture != architecture {
            return Ok(());
        }
        let too_large = || IndexError::TooLarge { origin: source.origin.clone() };
        let number = u16::try_from(sources.len() - 1).map_err(|_| too_large())?;
        let id = u32::try_from(tables.entries.len()).map(PackageId).map_err(|_| too_large())?;
        let name = tables.names.intern(self.package);
        let record = tables.names.record_mut(name);
        record.essential |= self.essential;
        record.protected |= self.protected;
        let multi_arch = MultiArch::of_value(self.multi_arch);
        for relation in Relation::ALL {
            for item in dependency::alternatives(self.relations[relation as usize]) {
                let (alternative, _) = item.map_err(|problem| IndexError::Relation {
                    origin: source.origin.clone(),
                    package: self.package.to_owned(),
                    field: relation.field(),
                    source: problem,
                })?;
                let target = tables.names.intern(unqualified(&alternative, architecture));
                if relation == Relation::Provides {
                    let owner = Owner { id, name, version: self.version, any: multi_arch == MultiArch::Allowed };
                    owner.provide(tables, &source.text, &alternative, target);
                }
            }
        }
        let version = span(&source.text, self.version);
        if multi_arch == MultiArch::Allowed {
            tables.names.provide_any(self.package, Provider { package: id, version });
        }
        let lower = tables.link(sources, id, name, self.version);
        tables.entries.push(Entry {
            source: number,
            stanza: span(&source.text, self.stanza),
            version,
            name,
            lower,
            multi_arch,
            priority: self.priority.map_or(Priority::Unstated, Priority::of_value),
            all: self.architecture == "all",
        });
        Ok(())
    }

    fn check(&self, origin: &Origin) -> Result<(), IndexError> {
        let all = [("Package", self.package), ("Version", self.version), ("Architecture", self.architecture)];
        let known = all[..2].iter().map(|(_, value)| *value).find(|value| !value.is_empty());
        let package = || known.unwrap_or(self.stanza.lines().next().unwrap_or("")).chars().take(80).collect::<String>();
        for (field, value) in all {
            if value.is_empty() {
                return Err(IndexError::MissingField { origin: origin.clone(), package: package(), field });
            }
            let extra: &[u8] = if field == "Version" { b".+-~:_" } else { b".+-_" };
            let good = |byte: u8| byte.is_ascii_alphanumeric() || extra.contains(&byte);
            if !value.as_bytes()[0].is_ascii_alphanumeric() || !value.bytes().all(good) {
                let value = value.chars().take(200).collect();
                return Err(IndexError::InvalidField { origin: origin.clone(), package: package(), field, value });
            }
        }
        Ok(())
    }
}

/// The package whose Provides field is being read.
struct Owner<'a> {
    id: PackageId,
    name: NameId,
    version: &'a str,
    /// Whether its names hold for `:any` too.
    any: bool,
}

impl Owner<'_> {
    fn provide(&self, tables: &mut Tables, text: &str, alternative: &Alternative<'_>, target: NameId) {
        let version = match alternative.constraint {
            None => Span::default(),
            Some(Constraint { comparison: Comparison::Equal, version }) => span(text, version),
            // Policy 7.5 allows only `=`; apt ignores the others with a warning.
            Some(_) => return,
        };
        let adds_nothing = alternative.constraint.is_none_or(|constraint| constraint.version == self.version);
        if target != self.name || !adds_nothing {
            tables.names.provide(target, Provider { package: self.id, version });
        }
        if self.any && alternative.qualifier().is_none() {
            tables.names.provide_any(alternative.qualified_name, Provider { package: self.id, version });
        }
    }
}

impl Tables {
    /// Puts `id`, whose entry comes next, among the versions of its name, after higher and equal ones. Returns the version
    /// that follows it.
    fn link(&mut self, sources: &[Source], id: PackageId, name: NameId, version: &str) -> Option<PackageId> {
        let mut higher = None;
        let mut next = self.names.record(name).newest;
        while let Some(entry) = next.map(|next| &self.entries[next.0 as usize]) {
            let other = &sources[usize::from(entry.source)].text[entry.version.range()];
            if version::compare(version, other).is_gt() {
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

/// Where `part`, a slice of `text`, lies in it. `text` is shorter than 4 GiB: [`PackageIndex::add`] takes no longer one.
fn span(text: &str, part: &str) -> Span {
    let start = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
    let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    Span { start: narrow(start), end: narrow(start + part.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(suite: &str) -> Origin {
        Origin { mirror: "http://mirror.example/debian".into(), suite: suite.into(), component: "main".into() }
    }

    fn add(index: &mut PackageIndex, suite: &str, text: &str) {
        index.add(text.to_owned(), origin(suite)).unwrap();
    }

    fn failure(text: &str) -> String {
        PackageIndex::new("amd64").add(text.to_owned(), origin("trixie")).unwrap_err().to_string()
    }

    #[test]
    fn takes_the_highest_version_of_all_sources() {
        let mut index = PackageIndex::new("amd64");
        add(
            &mut index,
            "trixie",
            "Package: a\nVersion: 1.9\nArchitecture: amd64\n\nPackage: b\nVersion: 1\nArchitecture: all\n",
        );
        add(
            &mut index,
            "security",
            "Package: a\nVersion: 1.10\nArchitecture: amd64\n\nPackage: b\nVersion: 1\nArchitecture: all\n",
        );
        add(
            &mut index,
            "old",
            "Package: a\nVersion: 1.9.1\nArchitecture: amd64\n\nPackage: a\nVersion: 9\nArchitecture: i386\n",
        );
        let versions =
            |name| index.versions(name).map(|p| (p.version(), p.origin().suite.as_str())).collect::<Vec<_>>();
        assert_eq!(versions("a"), [("1.10", "security"), ("1.9.1", "old"), ("1.9", "trixie")]);
        assert_eq!(versions("b"), [("1", "trixie"), ("1", "security")]);
        assert_eq!(index.find("a").unwrap().to_string(), "a=1.10");
        assert!(index.find("c").is_none());
        assert_eq!(index.len(), 5);
    }

    #[test]
    fn reads_a_stanza() {
        let text = "Package: perl-base\nSource: perl (5.40)\nVersion: 5.40.1-6\nInstalled-Size: 7932\nEssential: yes\n\
                    Architecture: amd64\nPre-Depends: libc6 (>= 2.35)\nSection: perl\nPriority: required\n\
                    Filename: pool/main/p/perl/perl-base_5.40.1-6_amd64.deb\nSize: 1665212\nMulti-Arch: allowed\n\
                    SHA256: 00ff\nDescription: minimal Perl system\n";
        let mut index = PackageIndex::new("amd64");
        add(&mut index, "trixie", text);
        let package = index.find("perl-base").unwrap();
        assert_eq!((package.architecture(), package.multi_arch()), ("amd64", MultiArch::Allowed));
        assert_eq!((package.priority(), package.section()), (Priority::Required, Some("perl")));
        assert_eq!((package.size(), package.installed_size()), (Some(1_665_212), Some(7932)));
        assert_eq!(package.filename(), Some("pool/main/p/perl/perl-base_5.40.1-6_amd64.deb"));
        assert_eq!((package.sha256(), package.source()), (Some("00ff"), ("perl", "5.40")));
        assert!(package.is_essential() && !package.is_protected());
        assert_eq!(package.relation(Relation::PreDepends).unwrap()[0].to_string(), "libc6 (>= 2.35)");
        assert!(package.relation(Relation::Depends).unwrap().is_empty());
    }

    #[test]
    fn tables_who_provides_what() {
        let text = "Package: a\nVersion: 1\nArchitecture: amd64\nMulti-Arch: allowed\nProvides: v, w (= 3), a, a (= 2), x (>= 1)\n\n\
                    Package: b\nVersion: 1\nArchitecture: amd64\nProvides: v:amd64\n";
        let mut index = PackageIndex::new("amd64");
        add(&mut index, "trixie", text);
        let providers = |name: &str| -> Vec<_> {
            let found = index.providers(index.name_id(name).unwrap());
            found.map(|(id, version)| format!("{} {}", index.package(id).name(), version.unwrap_or("-"))).collect()
        };
        assert_eq!(providers("v"), ["a -", "b -"]);
        assert_eq!(providers("w"), ["a 3"]);
        assert_eq!(providers("w:any"), ["a 3"]);
        assert_eq!(providers("a"), ["a 2"]);
        assert_eq!(providers("a:any"), ["a -", "a 2", "a 1"]);
        assert!(providers("x").is_empty());
    }

    #[test]
    fn numbers_names_as_apt_meets_them() {
        let text = "Package: m\nVersion: 1\nArchitecture: amd64\nProvides: p\nEnhances: e\nDepends: d:any, c\nPre-Depends: f\n\n\
                    Package: c\nVersion: 1\nArchitecture: all\nConflicts: m\nBreaks: z:native\n";
        let mut index = PackageIndex::new("amd64");
        add(&mut index, "trixie", text);
        let names: Vec<_> = index.names().map(|name| index.name(name)).collect();
        assert_eq!(names, ["m", "f", "d:any", "c", "e", "p", "z"]);
    }

    #[test]
    fn refuses_malformed_stanzas() {
        let at = "package index of http://mirror.example/debian trixie/main";
        assert_eq!(failure("Package: a\nArchitecture: all\n"), format!("{at}: a has no field Version"));
        assert_eq!(failure("Size: 3\n"), format!("{at}: Size: 3 has no field Package"));
        assert_eq!(
            failure("Package: ../a\nVersion: 1\nArchitecture: all\n"),
            format!("{at}: ../a has an invalid Package: \"../a\"")
        );
        assert_eq!(
            failure("Package: a\nVersion: 1/2\nArchitecture: all\n"),
            format!("{at}: a has an invalid Version: \"1/2\"")
        );
        assert_eq!(
            failure("Package: a\nVersion: 1\nArchitecture: all\nDepends: b (\n"),
            format!("{at}: field Depends of a: relation `b (`: a parenthesis is not closed")
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "((Package|Version|Architecture|Depends|Provides|Size|): ?[a-z1(=)|, :é]{0,12}\n{1,2}( [a-z]*\n)?){0,12}|(.|\n)*") {
            let mut index = PackageIndex::new("amd64");
            let _ = index.add(text, origin("trixie"));
            for package in index.packages() {
                let _ = (package.name(), package.version(), package.size(), package.source(), package.stanza());
                prop_assert!(package.relation(Relation::Depends).is_ok());
            }
        }
    }
}
