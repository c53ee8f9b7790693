//! What is asked of the resolver: a variant and packages by name.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

use super::Error;
use super::suggest::near;
use crate::packages::{NameId, PackageId, PackageIndex};

/// What to install.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The set of packages to begin with.
    pub variant: Variant,
    /// Packages in addition to it: `name`, `name=version` or `name/suite`.
    pub include: &'a [String],
    /// The suite whose essential and important packages make up the base set; the index's first one
    /// where it is `None`. Their versions may come from any source.
    pub suite: Option<&'a str>,
    /// Whose Recommends are installed, too.
    pub recommends: &'a Recommends,
}

/// Whose Recommends are installed as well as what must be: apt's `APT::Install-Recommends`, for all
/// packages or for some.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Recommends {
    /// Those of no package.
    #[default]
    None,
    /// Those of every package that is installed.
    All,
    /// Those of the packages with these names. What they bring in has none followed, unless it is
    /// named, too.
    Of(Vec<String>),
}

/// The set of packages that a system begins with, as mmdebstrap names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Display, EnumString)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Variant {
    /// Packages marked essential, and what they depend on.
    Essential,
    /// Essential packages and apt.
    Apt,
    /// Packages of priority required, and apt.
    #[default]
    Minbase,
    /// Minbase and build-essential.
    Buildd,
    /// Packages of priority required and important, and apt.
    Important,
    /// Packages of priority required, important and standard.
    Standard,
}

/// A package that was asked for by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) name: NameId,
    pub(super) package: PackageId,
}

/// Finds the package that `item` of an include list names.
///
/// # Errors
/// Where there is no such name or no such version, or the name is virtual and several packages
/// provide it.
pub(super) fn find(index: &PackageIndex, item: &str) -> Result<Wanted, Error> {
    let (name, selector) = match item.find(['=', '/']) {
        Some(end) => (&item[..end], Some(&item[end..])),
        None => (item, None),
    };
    let own = format!(":{}", index.architecture());
    let name = name.strip_suffix(own.as_str()).unwrap_or(name);
    let unknown = || Error::UnknownPackage { name: name.to_owned(), near: near(name, index.package_names()) };
    let mut versions = index.versions(name).peekable();
    if versions.peek().is_none() {
        return sole_provider(index, name)?.filter(|_| selector.is_none()).ok_or_else(unknown);
    }
    let accepted = |package: &crate::packages::Package<'_>| match selector {
        None => true,
        Some(selector) if selector.starts_with('=') => package.version() == &selector[1..],
        Some(selector) => package.origin().suite == selector[1..],
    };
    let found = versions.find(accepted).map(|package| Wanted { name: package.name_id(), package: package.id() });
    found.ok_or_else(|| Error::UnknownVersion {
        wanted: item.to_owned(),
        available: index
            .versions(name)
            .map(|package| format!("{} ({})", package.version(), package.origin().suite))
            .collect(),
    })
}

/// The package that a virtual name stands for, if only one provides it.
fn sole_provider(index: &PackageIndex, name: &str) -> Result<Option<Wanted>, Error> {
    let Some(id) = index.name_id(name) else { return Ok(None) };
    let is_newest = |&(package, _): &(PackageId, _)| index.newest(index.package(package).name_id()) == Some(package);
    let mut providers: Vec<_> =
        index.providers(id).filter(is_newest).map(|(package, _)| index.package(package)).collect();
    providers.sort_by_key(crate::packages::Package::name);
    providers.dedup_by_key(|package| package.name_id());
    match providers[..] {
        [] => Ok(None),
        [provider] => Ok(Some(Wanted { name: provider.name_id(), package: provider.id() })),
        _ => Err(Error::VirtualPackage {
            name: name.to_owned(),
            providers: providers.iter().map(|package| package.name().to_owned()).collect(),
        }),
    }
}
