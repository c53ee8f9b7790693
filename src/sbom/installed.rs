//! The packages of a system, as dpkg's database has them.

use std::collections::{BTreeSet, HashMap, HashSet};

use fam_archive::deb822::{Stanza, stanzas};
use fam_archive::dependency::{Alternative, alternatives};
use fam_archive::packages::source_package;
use fam_archive::version;

/// A package that is installed.
#[derive(Debug)]
pub(super) struct Installed<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) architecture: &'a str,
    pub(super) maintainer: Option<&'a str>,
    pub(super) homepage: Option<&'a str>,
    pub(super) description: Option<&'a str>,
    /// Name and version of the source package.
    pub(super) source: (&'a str, &'a str),
    /// Other source packages that parts of it were made of, and by which field.
    pub(super) built_using: Vec<((&'a str, &'a str), &'static str)>,
    /// Whether it is there for its own sake, and not only because others need it.
    pub(super) is_chosen: bool,
    depends: Vec<Alternative<'a>>,
    recommends: Vec<Alternative<'a>>,
    provides: Vec<Alternative<'a>>,
}

impl<'a> Installed<'a> {
    /// Reads a stanza; `None` where the package is not installed, or is not named as dpkg names
    /// packages.
    pub(super) fn read(stanza: &Stanza<'a>) -> Option<Self> {
        // Names of fields have no case (deb822(5)).
        let fields: HashMap<String, &str> =
            stanza.fields().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let get = |name: &str| fields.get(name).copied().filter(|value| !value.is_empty());
        // Three words: what is wanted, a flag, and the state.
        let is_installed = get("status")?.split_ascii_whitespace().nth(2) == Some("installed");
        let (name, version, architecture) = (get("package")?, get("version")?, get("architecture")?);
        let relation = |name: &str| alternatives(get(name).unwrap_or_default()).flatten().map(|(one, _)| one);
        // Each names one exact version (Debian Policy 7.8).
        let sources_in = |field: &str, comment: &'static str| {
            relation(field).filter_map(move |one| Some(((one.name(), one.constraint?.version), comment)))
        };
        is_installed.then(|| Self {
            name,
            version,
            architecture,
            maintainer: get("maintainer"),
            homepage: get("homepage"),
            description: get("description"),
            source: source_package(get("source"), name, version),
            built_using: sources_in("built-using", "built-using")
                .chain(sources_in("static-built-using", "static-built-using"))
                .collect(),
            is_chosen: get("essential") == Some("yes") || get("priority") == Some("required"),
            depends: relation("depends").chain(relation("pre-depends")).collect(),
            recommends: relation("recommends").collect(),
            provides: relation("provides").collect(),
        })
    }
}

/// The packages that are installed, in the order of their names.
#[derive(Debug)]
pub(super) struct System<'a> {
    pub(super) packages: Vec<Installed<'a>>,
    by_name: HashMap<&'a str, Vec<usize>>,
    /// Who provides a name, and in which version.
    providers: HashMap<&'a str, Vec<(usize, Option<&'a str>)>>,
}

impl<'a> System<'a> {
    /// Reads the database, and of the states of apt, which packages are there for others only.
    pub(super) fn read(status: &'a str, extended_states: &str) -> Self {
        let is_automatic = |stanza: &Stanza<'_>| stanza.get("Auto-Installed") == Some("1");
        let automatic: HashSet<&str> =
            stanzas(extended_states).filter(is_automatic).filter_map(|stanza| stanza.get("Package")).collect();
        let mut packages: Vec<_> = stanzas(status).filter_map(|stanza| Installed::read(&stanza)).collect();
        packages.sort_by_key(|package| (package.name, package.architecture));
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        let mut providers: HashMap<_, Vec<_>> = HashMap::new();
        for (index, package) in packages.iter_mut().enumerate() {
            package.is_chosen |= !automatic.contains(package.name);
            by_name.entry(package.name).or_default().push(index);
            for provided in &package.provides {
                let version = provided.constraint.map(|constraint| constraint.version);
                providers.entry(provided.name()).or_default().push((index, version));
            }
        }
        Self { packages, by_name, providers }
    }

    /// What a package needs of what is installed, each with a comment on how much: first what it
    /// depends on, then what it recommends.
    pub(super) fn needs(&self, package: &Installed<'_>) -> Vec<(usize, Option<&'static str>)> {
        let satisfied_by = |field: &[Alternative<'_>]| -> BTreeSet<usize> {
            field.iter().filter_map(|wanted| self.satisfies(package, wanted)).collect()
        };
        let recommended = satisfied_by(&package.recommends).into_iter().map(|target| (target, Some("recommends")));
        satisfied_by(&package.depends).into_iter().map(|target| (target, None)).chain(recommended).collect()
    }

    /// The package that an alternative of a relation of `package` means: one of that name, of the
    /// same architecture if it can be, else the one that provides the highest version of the name.
    fn satisfies(&self, package: &Installed<'_>, wanted: &Alternative<'_>) -> Option<usize> {
        let named = self.by_name.get(wanted.name()).into_iter().flatten().copied();
        let real = named.filter(|&index| accepts(wanted, self.packages[index].version));
        // False is the least, so this takes one of the same architecture if there is one.
        real.min_by_key(|&index| self.packages[index].architecture != package.architecture)
            .or_else(|| self.best_provider(wanted))
    }

    /// The package that provides the highest version of the name that `wanted` accepts.
    fn best_provider(&self, wanted: &Alternative<'_>) -> Option<usize> {
        let providers = self.providers.get(wanted.name()).into_iter().flatten();
        let fits = providers.filter(|(_, version)| match version {
            Some(version) => accepts(wanted, version),
            // What is provided without a version satisfies no versioned relation (Debian Policy 7.5).
            None => wanted.constraint.is_none(),
        });
        // Of equal ones the first; `max_by` takes the last.
        let (index, _) = fits.rev().max_by(|(_, one), (_, other)| match (one, other) {
            (Some(one), Some(other)) => version::compare(one, other),
            _ => one.is_some().cmp(&other.is_some()),
        })?;
        Some(*index)
    }
}

fn accepts(wanted: &Alternative<'_>, version: &str) -> bool {
    wanted.constraint.is_none_or(|constraint| constraint.accepts(version))
}
