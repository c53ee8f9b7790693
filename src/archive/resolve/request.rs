//! What is asked of the resolver: a variant and packages by name.

use super::ResolveError;
use super::near::near;
use crate::archive::packages::{NameId, PackageId, PackageIndex};
use std::fmt;
use std::str::FromStr;

/// What to install.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The base set.
    pub variant: Variant,
    /// Packages beside it: `name`, `name=version` or `name/suite`.
    pub include: &'a [String],
    /// The suite whose essential and important packages make up the base set; the index's first one
    /// where it is `None`. Their versions may come from any source.
    pub suite: Option<&'a str>,
}

/// A base set of packages, with the names and meanings of mmdebstrap(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Packages that say they are essential, and what they need.
    Essential,
    /// The essential packages and apt.
    Apt,
    /// The essential packages and those of priority `required`.
    Minbase,
    /// As [`Minbase`](Self::Minbase), and build-essential.
    Buildd,
    /// As [`Minbase`](Self::Minbase), and the packages of priority `important`.
    Important,
    /// As [`Important`](Self::Important), and the packages of priority `standard`.
    Standard,
}

impl Variant {
    /// All variants.
    pub const ALL: [Self; 6] =
        [Self::Essential, Self::Apt, Self::Minbase, Self::Buildd, Self::Important, Self::Standard];

    /// The name on the command line and in recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Essential => "essential",
            Self::Apt => "apt",
            Self::Minbase => "minbase",
            Self::Buildd => "buildd",
            Self::Important => "important",
            Self::Standard => "standard",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no variant has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown variant `{name}`")]
pub struct VariantError {
    name: String,
}

impl VariantError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let all = Variant::ALL.map(Variant::name);
        let meant = near(&self.name, all.into_iter());
        let meant = meant.first().map(|meant| format!("did you mean `{meant}`? ")).unwrap_or_default();
        Some(format!("{meant}the variants are {}", all.join(", ")))
    }
}

impl FromStr for Variant {
    type Err = VariantError;

    /// Reads a variant's name, or one of mmdebstrap's other names for it: `required` and
    /// `debootstrap`.
    fn from_str(name: &str) -> Result<Self, VariantError> {
        match name {
            "required" => Ok(Self::Minbase),
            "debootstrap" => Ok(Self::Important),
            _ => Self::ALL
                .into_iter()
                .find(|variant| variant.name() == name)
                .ok_or_else(|| VariantError { name: name.to_owned() }),
        }
    }
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
pub(super) fn find(index: &PackageIndex, item: &str) -> Result<Wanted, ResolveError> {
    let (name, selector) = match item.find(['=', '/']) {
        Some(end) => (&item[..end], Some(&item[end..])),
        None => (item, None),
    };
    let own = format!(":{}", index.architecture());
    let name = name.strip_suffix(own.as_str()).unwrap_or(name);
    let unknown = || ResolveError::UnknownPackage { name: name.to_owned(), near: near(name, index.package_names()) };
    let mut versions = index.versions(name).peekable();
    if versions.peek().is_none() {
        return sole_provider(index, name)?.filter(|_| selector.is_none()).ok_or_else(unknown);
    }
    let accepted = |package: &crate::archive::packages::Package<'_>| match selector {
        None => true,
        Some(selector) if selector.starts_with('=') => package.version() == &selector[1..],
        Some(selector) => package.origin().suite == selector[1..],
    };
    let found = versions.find(accepted).map(|package| Wanted { name: package.name_id(), package: package.id() });
    found.ok_or_else(|| ResolveError::UnknownVersion {
        wanted: item.to_owned(),
        available: index
            .versions(name)
            .map(|package| format!("{} ({})", package.version(), package.origin().suite))
            .collect(),
    })
}

/// The package that a virtual name stands for, if only one provides it.
fn sole_provider(index: &PackageIndex, name: &str) -> Result<Option<Wanted>, ResolveError> {
    let Some(id) = index.name_id(name) else { return Ok(None) };
    let current = |&(package, _): &(PackageId, _)| index.newest(index.package(package).name_id()) == Some(package);
    let mut providers: Vec<_> =
        index.providers(id).filter(current).map(|(package, _)| index.package(package)).collect();
    providers.sort_by_key(crate::archive::packages::Package::name);
    providers.dedup_by_key(|package| package.name_id());
    match providers[..] {
        [] => Ok(None),
        [provider] => Ok(Some(Wanted { name: provider.name_id(), package: provider.id() })),
        _ => Err(ResolveError::VirtualPackage {
            name: name.to_owned(),
            providers: providers.iter().map(|package| package.name().to_owned()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_variants() {
        for variant in Variant::ALL {
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
        assert_eq!("required".parse(), Ok(Variant::Minbase));
        let error = "mimbase".parse::<Variant>().unwrap_err();
        assert_eq!(error.to_string(), "unknown variant `mimbase`");
        let hint = "did you mean `minbase`? the variants are essential, apt, minbase, buildd, important, standard";
        assert_eq!(error.hint().unwrap(), hint);
    }
}
