//! A package as the order of installation sees it.

use fam_archive::deb822::Stanza;
use fam_archive::dependency::{self, Comparison, Constraint};

/// A package with what decides on its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    version: String,
    /// Whether it is meant for the first stage.
    pub first: bool,
    /// Whether its files wait for what it pre-depends on: where it has a preinst script, and where dpkg
    /// unpacks it.
    pub preinst: bool,
    /// What it needs before its preinst runs.
    pub(super) pre_depends: Vec<Clause>,
    depends: Vec<Clause>,
    provides: Vec<Wanted>,
    /// What must not be installed beside it: its Conflicts and Breaks.
    pub(super) excludes: Vec<Wanted>,
}

/// A clause of a relation: one of its alternatives has to be there (Debian Policy 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause(Vec<Wanted>);

/// A package by name, perhaps in certain versions. Of what is provided: the name, perhaps with its
/// version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    name: String,
    qualifier: Option<String>,
    version: Option<(Comparison, String)>,
}

impl Node {
    /// Reads the stanza of a control file or of dpkg's status. Names and versions are taken as they
    /// stand.
    ///
    /// # Errors
    /// [`dependency::Error`], where a relation cannot be read.
    pub fn new(stanza: &Stanza<'_>, first: bool, preinst: bool) -> Result<Self, dependency::Error> {
        let field = |name| stanza.get(name).unwrap_or_default();
        let each = |name| clauses(field(name)).map(|clauses| clauses.into_iter().flat_map(|clause| clause.0));
        // The packages of another architecture are not here.
        let here = |wanted: &Wanted| {
            let qualifier = wanted.qualifier.as_deref();
            qualifier.is_none_or(|it| ["any", "native", field("Architecture")].contains(&it))
        };
        Ok(Self {
            name: field("Package").to_owned(),
            version: field("Version").to_owned(),
            first,
            preinst,
            pre_depends: clauses(field("Pre-Depends"))?,
            depends: clauses(field("Depends"))?,
            provides: each("Provides")?.collect(),
            excludes: each("Conflicts")?.chain(each("Breaks")?).filter(here).collect(),
        })
    }

    /// All that it needs to be configured.
    pub(super) fn needs(&self) -> impl Iterator<Item = &Clause> {
        self.pre_depends.iter().chain(&self.depends)
    }

    pub(super) fn virtual_names(&self) -> impl Iterator<Item = &str> {
        self.provides.iter().map(|provided| provided.name.as_str())
    }
}

impl Clause {
    pub(super) fn alternatives(&self) -> impl Iterator<Item = &Wanted> {
        self.0.iter()
    }
}

impl Wanted {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether `node`, by its name or by what it provides, is what is wanted. What is provided
    /// without a version satisfies no demand on one (Debian Policy 7.5).
    pub(super) fn accepts(&self, node: &Node) -> bool {
        let fits = |version: Option<&str>| match (&self.version, version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((comparison, wanted)), Some(version)) => {
                Constraint { comparison: *comparison, version: wanted }.accepts(version)
            }
        };
        let provided = node.provides.iter().filter(|provided| provided.name == self.name);
        (node.name == self.name && fits(Some(&node.version)))
            || provided.map(|it| it.version.as_ref()).any(|version| fits(version.map(|(_, version)| version.as_str())))
    }
}

fn clauses(field: &str) -> Result<Vec<Clause>, dependency::Error> {
    let wanted = |alternative: &dependency::Alternative<'_>| Wanted {
        name: alternative.name().to_owned(),
        qualifier: alternative.qualifier().map(str::to_owned),
        version: alternative.constraint.map(|constraint| (constraint.comparison, constraint.version.to_owned())),
    };
    let clause = |clause: dependency::Clause<'_>| Clause(clause.alternatives.iter().map(wanted).collect());
    Ok(dependency::parse(field)?.into_iter().map(clause).collect())
}
