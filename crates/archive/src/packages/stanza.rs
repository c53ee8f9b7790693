//! From a stanza to the tables of the index.

use super::names::Provider;
use super::{
    Entry, Error, MultiArch, NameId, Origin, PackageId, Priority, Relation, Source, Span, Tables, unqualified,
};
use crate::deb822;
use crate::dependency::{self, Alternative, Comparison, Constraint};

/// The fields of a stanza that the tables need.
#[derive(Default)]
pub(super) struct Fields<'a> {
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
    pub(super) fn read(stanza: &deb822::Stanza<'a>) -> Self {
        let mut fields = Self { stanza: stanza.text(), ..Self::default() };
        for (name, value) in stanza.fields() {
            let is_yes = || value.eq_ignore_ascii_case("yes");
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
                fields.essential = is_yes();
            } else if name.eq_ignore_ascii_case("Protected") || name.eq_ignore_ascii_case("Important") {
                fields.protected |= is_yes();
            } else if let Some(relation) = Relation::of_field(name) {
                fields.relations[relation as usize] = value;
            }
        }
        fields
    }

    /// What the stanza calls its package.
    pub(super) fn package_name(&self) -> &'a str {
        self.package
    }

    /// Adds the stanza, which is of the last of `sources`, to the tables. One that cannot be read leaves
    /// nothing there.
    pub(super) fn add(&self, tables: &mut Tables, sources: &[Source], architecture: &str) -> Result<(), Error> {
        let [.., source] = sources else { return Ok(()) };
        if !matches!(self.architecture, "" | "all") && self.architecture != architecture {
            return Ok(());
        }
        self.check(&source.origin)?;
        let relations = self.relations(&source.origin)?;
        let too_large = || Error::TooLarge { index: source.origin.to_string() };
        let number = u16::try_from(sources.len() - 1).map_err(|_| too_large())?;
        let id = u32::try_from(tables.entries.len()).map(PackageId).map_err(|_| too_large())?;
        let name = tables.names.intern(self.package);
        if tables.repeats(sources, name, self.stanza) {
            return Ok(());
        }
        let record = tables.names.record_mut(name);
        record.essential |= self.essential;
        record.protected |= self.protected;
        let multi_arch = MultiArch::of_value(self.multi_arch);
        for (relation, alternative) in relations {
            let target = tables.names.intern(unqualified(&alternative, architecture));
            if relation == Relation::Provides {
                let owner = Owner { id, name, version: self.version, any: multi_arch == MultiArch::Allowed };
                owner.provide(tables, &source.text, &alternative, target);
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

    /// What all relations point to, in the order in which apt reads them.
    fn relations(&self, origin: &Origin) -> Result<Vec<(Relation, Alternative<'a>)>, Error> {
        let mut relations = Vec::new();
        for relation in Relation::ALL {
            for item in dependency::alternatives(self.relations[relation as usize]) {
                let (alternative, _) = item.map_err(|problem| Error::Relation {
                    index: origin.to_string(),
                    package: self.package.to_owned(),
                    field: relation.field(),
                    source: problem,
                })?;
                relations.push((relation, alternative));
            }
        }
        Ok(relations)
    }

    fn check(&self, origin: &Origin) -> Result<(), Error> {
        let all = [("Package", self.package), ("Version", self.version), ("Architecture", self.architecture)];
        let known = all[..2].iter().map(|(_, value)| *value).find(|value| !value.is_empty());
        let package = || known.unwrap_or(self.stanza.lines().next().unwrap_or("")).chars().take(80).collect::<String>();
        for (field, value) in all {
            if value.is_empty() {
                return Err(Error::MissingField { index: origin.to_string(), package: package(), field });
            }
            let extra: &[u8] = if field == "Version" { b".+-~:_" } else { b".+-_" };
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || extra.contains(&byte);
            if !value.as_bytes()[0].is_ascii_alphanumeric() || !value.bytes().all(is_allowed) {
                // Cut, since a hostile value may have any length.
                let value = value.chars().take(200).collect();
                return Err(Error::InvalidField { index: origin.to_string(), package: package(), field, value });
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
        // A package stands for its own name and version without saying so.
        let adds_nothing = alternative.constraint.is_none_or(|constraint| constraint.version == self.version);
        if target != self.name || !adds_nothing {
            tables.names.provide(target, Provider { package: self.id, version });
        }
        if self.any && alternative.qualifier().is_none() {
            tables.names.provide_any(alternative.qualified_name, Provider { package: self.id, version });
        }
    }
}

/// Where `part`, a slice of `text`, lies in it. `text` is shorter than 4 GiB: [`PackageIndex::add`]
/// takes no longer one.
fn span(text: &str, part: &str) -> Span {
    let start = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
    let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    Span { start: narrow(start), end: narrow(start + part.len()) }
}
