//! What is asked of the resolver: a variant and packages by name.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

use super::Error;
use super::suggest::near;
use crate::packages::{NameId, Package, PackageId, PackageIndex};
use crate::policy::{Expression, Policy, Ranking, Release};

/// What to install.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// The set of packages to begin with.
    pub variant: Variant,
    /// Packages in addition to it: `name`; `name=version`, the version perhaps a pattern, as `9.1*`;
    /// or `name/suite`, by the name that the Release file has as Suite or Codename. What a package
    /// of a suite depends on is taken from that suite, too, where the candidate is not enough.
    pub include: &'a [String],
    /// The suite whose essential and important packages make up the base set; the index's first one
    /// where it is `None`. Their versions may come from any source.
    pub suite: Option<&'a str>,
    /// Which versions are preferred.
    pub policy: &'a Policy,
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

impl Default for &Recommends {
    fn default() -> Self {
        &Recommends::None
    }
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
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: NameId,
    pub(super) choice: Choice,
}

/// Which version of a package is asked for.
#[derive(Debug, Clone)]
pub(super) enum Choice {
    /// The candidate.
    Candidate,
    /// This one.
    Version(PackageId),
    /// This one of a release, which its dependencies may come from, too.
    Release(PackageId, Release),
}

/// Finds the package that `item` of an include list names.
///
/// # Errors
/// Where there is no such name or no such version, all its versions are pinned away, or the name is
/// virtual and several packages provide it.
pub(super) fn find(ranking: &Ranking<'_>, index: &PackageIndex, item: &str) -> Result<Wanted, Error> {
    let (name, selector) = match item.find(['=', '/']) {
        Some(end) => (&item[..end], Some((&item[end..=end], &item[end + 1..]))),
        None => (item, None),
    };
    let own = format!(":{}", index.architecture());
    let name = name.strip_suffix(own.as_str()).unwrap_or(name);
    let Some(id) = index.name_id(name).filter(|&id| index.newest(id).is_some()) else {
        let unknown = || match index.why_skipped(name) {
            Some(reason) => Error::Unreadable { name: name.to_owned(), reason: reason.to_string() },
            None => Error::UnknownPackage { name: name.to_owned(), near: near(name, index.package_names()) },
        };
        return sole_provider(ranking, index, name)?.filter(|_| selector.is_none()).ok_or_else(unknown);
    };
    let choice = match selector {
        None if ranking.candidate_of(id, None).is_some() => Some(Choice::Candidate),
        // As for a virtual name, what provides it stands for a package without a candidate.
        None => return sole_provider(ranking, index, name)?.ok_or_else(|| pinned_away(ranking, index, id)),
        Some(("=", version)) => Expression::of_version(version).ok().and_then(|wanted| {
            let found = index.versions_of(id).find(|package| wanted.matches(package.version()))?;
            Some(Choice::Version(found.id()))
        }),
        Some((_, suite)) => Release::new(suite).ok().and_then(|release| {
            let is_of = |package: &Package<'_>| release.matches(package.origin(), index.architecture());
            let found = index.versions_of(id).find(is_of)?;
            // The copy that counts, which another source may have.
            let found = index.copies(found).next()?;
            Some(Choice::Release(found.id(), release))
        }),
    };
    choice.map(|choice| Wanted { name: id, choice }).ok_or_else(|| Error::UnknownVersion {
        wanted: item.to_owned(),
        available: index
            .versions(name)
            .map(|package| format!("{} ({})", package.version(), package.origin().suite))
            .collect(),
    })
}

fn pinned_away(ranking: &Ranking<'_>, index: &PackageIndex, name: NameId) -> Error {
    let mut pins: Vec<_> = index
        .versions_of(name)
        .filter_map(|package| Some(format!("`{}` ({})", ranking.pin(package)?, package.version())))
        .collect();
    pins.dedup();
    Error::PinnedAway { name: index.name(name).to_owned(), pins }
}

/// The package that a virtual name stands for, if only one provides it.
fn sole_provider(ranking: &Ranking<'_>, index: &PackageIndex, name: &str) -> Result<Option<Wanted>, Error> {
    let Some(id) = index.name_id(name) else { return Ok(None) };
    let is_candidate =
        |&(package, _): &(PackageId, _)| ranking.candidate_of(index.package(package).name_id(), None) == Some(package);
    let mut providers: Vec<_> =
        index.providers(id).filter(is_candidate).map(|(package, _)| index.package(package)).collect();
    providers.sort_by_key(Package::name);
    providers.dedup_by_key(|package| package.name_id());
    match providers[..] {
        [] => Ok(None),
        [provider] => Ok(Some(Wanted { name: provider.name_id(), choice: Choice::Candidate })),
        _ => Err(Error::VirtualPackage {
            name: name.to_owned(),
            providers: providers.iter().map(|package| package.name().to_owned()).collect(),
        }),
    }
}
