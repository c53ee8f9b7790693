//! What configuration needs to know of the packages, from dpkg's database.

use std::collections::{BTreeMap, BTreeSet};

use fam_archive::deb822::{Stanza, stanzas};
use fam_tree::RootPath;

use super::{Error, in_tree};
use crate::staging::Staging;

/// A package in dpkg's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    /// Whether it may be there for several architectures at once, so that its architecture is part
    /// of file names.
    pub(super) multi_arch_same: bool,
    /// Whether dpkg is done with it.
    pub(super) installed: bool,
    /// The names of each dependency's alternatives, Pre-Depends first.
    depends: Vec<Vec<String>>,
    /// The virtual packages that it stands for.
    provides: Vec<String>,
}

impl Package {
    /// How its files in /var/lib/dpkg/info begin.
    pub(super) fn file_name(&self) -> String {
        if self.multi_arch_same { format!("{}:{}", self.name, self.architecture) } else { self.name.clone() }
    }

    fn parse(stanza: &Stanza<'_>) -> Result<Self, String> {
        let field = |name| stanza.get(name).map(str::to_owned);
        let name = field("Package").ok_or("a stanza without Package")?;
        // It becomes part of paths.
        let fit = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
        if !fit || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(format!("{name:?} is no name of a package"));
        }
        let required = |name_of_field| field(name_of_field).ok_or(format!("package {name} has no {name_of_field}"));
        let depends = ["Pre-Depends", "Depends"].iter().filter_map(|name| stanza.get(name)).flat_map(relations);
        let provides = stanza.get("Provides").into_iter().flat_map(relations).flatten();
        Ok(Self {
            version: required("Version")?,
            architecture: required("Architecture")?,
            multi_arch_same: stanza.get("Multi-Arch") == Some("same"),
            // The blank keeps `not-installed` out: the state is the third word (dpkg(1), "Package
            // states").
            installed: required("Status")?.ends_with(" installed"),
            depends: depends.collect(),
            provides: provides.collect(),
            name,
        })
    }
}

/// The names in a field of relations (Debian Policy 7.1), the alternatives of each together.
fn relations(field: &str) -> impl Iterator<Item = Vec<String>> {
    // Names suffice: whether versions and architectures fit is for dpkg to check.
    let name = |alternative: &str| {
        let name = alternative.split(|c: char| c.is_whitespace() || "(:[".contains(c)).find(|name| !name.is_empty());
        name.map(str::to_owned)
    };
    field
        .split(',')
        .map(move |clause| clause.split('|').filter_map(name).collect::<Vec<_>>())
        .filter(|names| !names.is_empty())
}

/// The packages of dpkg's database, in its order.
pub(super) fn read(staging: &Staging) -> Result<Vec<Package>, Error> {
    let status = staging.read(&in_tree("var/lib/dpkg/status"))?;
    let status = String::from_utf8(status).map_err(|error| Error::Database(error.to_string()))?;
    stanzas(&status).map(|stanza| Package::parse(&stanza)).collect::<Result<_, _>>().map_err(Error::Database)
}

/// Checks that dpkg is done with all packages.
pub(super) fn require_installed(staging: &Staging) -> Result<(), Error> {
    let left = read(staging)?.into_iter().filter(|package| !package.installed).map(|package| package.name);
    let packages: Vec<String> = left.collect();
    if packages.is_empty() { Ok(()) } else { Err(Error::Unconfigured { packages, printed: Box::default() }) }
}

/// The package that brings the file at `path`, by dpkg's lists of files. None where no list has it,
/// or can be read.
pub(super) fn owner(staging: &Staging, path: &RootPath) -> Option<String> {
    // A package may know its files by the names that they had before / and /usr were merged, or
    // scripts may.
    let [path, usr] = [path.as_bytes(), b"usr/"];
    let other = path.strip_prefix(usr).map_or_else(|| [usr, path].concat(), <[u8]>::to_vec);
    let is_it = |line: &[u8]| line.strip_prefix(b"/").is_some_and(|line| line == path || line == other);
    let info = in_tree("var/lib/dpkg/info");
    staging.list(&info).ok()?.iter().find_map(|name| {
        let package = name.strip_suffix(b".list")?;
        let list = staging.read(&info.join(name).ok()?).ok()?;
        // Of `Multi-Arch: same` packages the name of the file has the architecture, too.
        let package = package.split(|&byte| byte == b':').next()?;
        list.split(|&byte| byte == b'\n').any(is_it).then(|| String::from_utf8_lossy(package).into_owned())
    })
}

/// The names of those packages that `begin` names, and of all that these depend on, in the order of
/// the database. Whatever of `packages` may satisfy a dependency counts as depended on.
pub(super) fn with_dependencies<'a>(packages: &'a [Package], begin: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut by_name: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in packages {
        for name in std::iter::once(&package.name).chain(&package.provides) {
            by_name.entry(name).or_default().push(package);
        }
    }
    let mut pending: Vec<&str> = begin.into_iter().collect();
    let mut found = BTreeSet::new();
    while let Some(name) = pending.pop() {
        for package in by_name.get(name).into_iter().flatten() {
            if found.insert(package.name.as_str()) {
                pending.extend(package.depends.iter().flatten().map(String::as_str));
            }
        }
    }
    packages.iter().map(|package| package.name.as_str()).filter(|name| found.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(status: &str) -> Vec<Package> {
        stanzas(status).map(|stanza| Package::parse(&stanza).unwrap()).collect()
    }

    fn stanza(name: &str, fields: &str) -> String {
        format!("Package: {name}\nStatus: install ok unpacked\nVersion: 1\nArchitecture: amd64\n{fields}\n")
    }

    #[test]
    fn reads_the_database() {
        let status = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: 2.41-1\n\
            Pre-Depends: a:any (>= 1) | b\nDepends:\n c,\n d [amd64], ,\n";
        let libc = &packages(status)[0];
        assert!(libc.installed && libc.file_name() == "libc6:amd64");
        assert_eq!(libc.depends, [vec!["a", "b"], vec!["c"], vec!["d"]]);
        for (broken, message) in [
            ("Status: x\n", "a stanza without Package"),
            ("Package: ../x\n", "\"../x\" is no name of a package"),
            ("Package: -x\n", "\"-x\" is no name of a package"),
            ("Package: x\nVersion: 1\n", "package x has no Architecture"),
        ] {
            assert_eq!(Package::parse(&stanzas(broken).next().unwrap()).unwrap_err(), message);
        }
    }

    #[test]
    fn what_may_satisfy_a_dependency_is_depended_on() {
        let status = [
            stanza("a", "Depends: b (>= 1) | missing | c, virtual:any"),
            stanza("b", "Depends: a"),
            stanza("c", ""),
            stanza("d", "Provides: virtual (= 2), other"),
            stanza("e", "Depends: a"),
        ]
        .join("\n");
        let packages = packages(&status);
        assert_eq!(with_dependencies(&packages, ["a"]), ["a", "b", "c", "d"]);
        assert_eq!(with_dependencies(&packages, ["other", "missing"]), ["d"]);
    }
}
