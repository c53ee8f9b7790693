//! The resolver: which packages a variant and an include list come to.
//!
//! The choice is apt's own, with Recommends where they are asked for, in the two runs that
//! mmdebstrap(1) makes: first the essential packages, then, with these in place, everything else. Other choices may be as valid;
//! this one is what users of Debian get, and what its packages are tested with. So the resolver
//! does not search for a solution: it makes apt's moves in apt's order. [`state`] holds what they
//! work on, [`candidates`] says which versions they take, [`mark`] makes the moves, [`repair`] repairs what these leave broken, [`sweep`] unmarks
//! what is not needed, and [`explain`] says why something cannot be installed.

mod candidates;
mod explain;
mod mark;
mod repair;
mod request;
mod score;
mod state;
mod suggest;
mod sweep;

#[cfg(test)]
mod tests;

use std::io;

use fam_progress::Hint;

use super::packages::{NameId, Package, PackageId, PackageIndex, Priority};
use super::policy::Ranking;
use mark::RequestedBy;
use request::Wanted;
use state::Solver;

pub use explain::Problem;
pub use request::{Recommends, Request, Variant};

/// What resolving came to: packages sorted by name.
#[derive(Debug, Clone)]
pub struct Selection<'i> {
    packages: Vec<Selected<'i>>,
}

/// A package of a [`Selection`].
#[derive(Debug, Clone, Copy)]
pub struct Selected<'i> {
    /// The package, in the version that was chosen.
    pub package: Package<'i>,
    /// Whether it belongs to the first stage: the essential packages and what they need.
    pub essential_stage: bool,
    /// Whether it is there only because others need it, so that `apt autoremove` may take it away
    /// once they are gone.
    pub automatic: bool,
}

impl<'i> Selection<'i> {
    /// The packages, sorted by name.
    #[must_use]
    pub fn packages(&self) -> &[Selected<'i>] {
        &self.packages
    }

    /// The package `name`, if it was selected.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Selected<'i>> {
        let position = self.packages.binary_search_by(|selected| selected.package.name().cmp(name)).ok()?;
        self.packages.get(position)
    }

    /// The bytes to download.
    #[must_use]
    pub fn download_size(&self) -> u64 {
        self.packages.iter().filter_map(|selected| selected.package.size()).sum()
    }

    /// The estimated bytes on disk.
    #[must_use]
    pub fn installed_size(&self) -> u64 {
        self.packages.iter().filter_map(|selected| selected.package.installed_size()).sum::<u64>() * 1024
    }
}

/// Why there is no selection.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No package has the name, and none provides it.
    #[error("unknown package `{name}`")]
    UnknownPackage {
        name: String,
        /// Names that may have been meant.
        near: Vec<String>,
    },
    /// The package is there, and what its index says of it cannot be read.
    #[error("package `{name}` cannot be used: {reason}")]
    Unreadable {
        name: String,
        /// What is wrong in the index.
        reason: String,
    },
    /// The name is a virtual one, of several packages.
    #[error("`{name}` is a virtual package: {} provide it", providers.join(", "))]
    VirtualPackage {
        name: String,
        /// The packages that provide it.
        providers: Vec<String>,
    },
    /// The package is there, and pins keep all its versions away.
    #[error("pins keep `{name}` away: {}", pins.join(", "))]
    PinnedAway {
        name: String,
        /// The pins, each with a version.
        pins: Vec<String>,
    },
    /// The package is there, the version is not.
    #[error("no such version: `{wanted}`")]
    UnknownVersion {
        /// What was asked for.
        wanted: String,
        /// The versions that are there, each with its suite.
        available: Vec<String>,
    },
    /// The index has no essential package of the suite: it is empty, or not Debian's.
    #[error("no package of suite `{suite}` is essential")]
    NoEssential { suite: String },
    /// What was asked for cannot be installed, or not together.
    #[error("packages that cannot be installed:{}", .problems.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
    Unsatisfiable {
        /// One for each package that cannot be installed.
        problems: Vec<Problem>,
    },
    /// There is no room for the stack that long chains of dependencies need.
    #[error("start the resolver: {source}")]
    Start { source: io::Error },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownPackage { near, .. } if !near.is_empty() => Some(format!("did you mean {}?", near.join(", "))),
            Self::UnknownPackage { .. } => Some(
                "check the name, and that the suite and its component (main, contrib, non-free-firmware, …) have it"
                    .into(),
            ),
            Self::Unreadable { .. } => Some("tell those who run the archive, or leave the package out".into()),
            Self::VirtualPackage { providers, .. } => {
                Some(format!("include one of them by its own name, as {}", providers.first()?))
            }
            Self::UnknownVersion { available, .. } => Some(format!("there is {}", available.join(", "))),
            Self::PinnedAway { name, .. } => Some(format!(
                "give a version that you want a priority above 0 by a pin before these, or ask for one as {name}=VERSION"
            )),
            Self::NoEssential { .. } => {
                Some("check the suite and the mirror, and that component main is among those asked for".into())
            }
            Self::Unsatisfiable { .. } => {
                Some("leave one of them out; or, if suites of different releases are mixed, take all from one".into())
            }
            Self::Start { .. } => {
                Some("raise the limits on memory and processes (`ulimit -v`, `ulimit -u`), or free some memory".into())
            }
        }
    }
}

/// Room for apt's deepest chains of dependencies (3,000 packages). Only what is used of it becomes
/// memory.
const STACK_SIZE: usize = 256 << 20;

/// Selects packages as apt would.
///
/// # Errors
/// See [`Error`].
pub fn resolve<'i>(index: &'i PackageIndex, request: &Request<'_>) -> Result<Selection<'i>, Error> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("resolver".into()).stack_size(STACK_SIZE);
        let thread = builder.spawn_scoped(scope, || run(index, request)).map_err(|source| Error::Start { source })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn run<'i>(index: &'i PackageIndex, request: &Request<'_>) -> Result<Selection<'i>, Error> {
    let ranking = Ranking::new(request.policy, index);
    let find = |item: &str| request::find(&ranking, index, item);
    let include: Vec<_> = request.include.iter().map(|item| find(item)).collect::<Result<_, _>>()?;
    let build_essential = (request.variant == Variant::Buildd).then(|| find("build-essential")).transpose()?;
    let suite = request.suite.or(index.primary_suite()).unwrap_or("");
    let mut solver = Solver::new(index, ranking, request.recommends);
    // In the first stage, too, which otherwise would install another version of an essential
    // package than the second one wants.
    solver.set_candidates(&include);

    if request.variant == Variant::Apt {
        solver.forced_essential = index.name_id("apt").filter(|&apt| index.newest(apt).is_some());
        stage_upgrade(&mut solver)?;
    } else {
        let essential = narrow(&solver, suite, Package::is_essential);
        stage(&mut solver, &essential, &[])?;
    }
    let first_stage = solver.installed();
    if first_stage.is_empty() {
        return Err(Error::NoEssential { suite: suite.to_owned() });
    }

    let mut wanted: Vec<NameId> = include.iter().map(|wanted| wanted.name).collect();
    wanted.extend(build_essential.map(|wanted| wanted.name));
    let least = match request.variant {
        Variant::Essential | Variant::Apt => None,
        Variant::Minbase | Variant::Buildd => Some(Priority::Required),
        Variant::Important => Some(Priority::Important),
        Variant::Standard => Some(Priority::Standard),
    };
    if let Some(least) = least {
        wanted.extend(narrow(&solver, suite, |package| {
            !package.is_essential() && (Priority::Required..=least).contains(&package.priority())
        }));
    }
    if !wanted.is_empty() {
        solver.commit();
        solver.set_candidates(&include);
        stage(&mut solver, &wanted, &include)?;
    }
    Ok(selection(&solver, &first_stage))
}

/// `apt-get install` of packages by name, to some of which there are requests of a release.
fn stage(solver: &mut Solver<'_>, wanted: &[NameId], requests: &[Wanted]) -> Result<(), Error> {
    // All requests before the dependencies of any, so that none of these rules out a request.
    for &name in wanted {
        solver.state_mut(name).protected = true;
        solver.mark_alone(name, RequestedBy::User);
        solver.state_mut(name).automatic = false;
    }
    solver.follow_releases(requests);
    for &name in wanted {
        solver.mark_with_dependencies(name, RequestedBy::User);
    }
    finish(solver, wanted)
}

/// `apt-get dist-upgrade` of a system where nothing is installed: the essential packages, none of
/// them by name.
fn stage_upgrade(solver: &mut Solver<'_>) -> Result<(), Error> {
    let essential = in_apts_order(solver, |name| solver.is_essential(name));
    for &name in &essential {
        solver.mark_with_dependencies(name, RequestedBy::Package { depth: 0 });
    }
    finish(solver, &essential)
}

/// Checks that all holds together, and sweeps.
fn finish(solver: &mut Solver<'_>, wanted: &[NameId]) -> Result<(), Error> {
    let wanted: Vec<_> = wanted.iter().filter_map(|&name| Some((name, solver.state(name).candidate?))).collect();
    if !solver.broken().is_empty() {
        let names: Vec<_> = wanted.iter().map(|&(name, _)| name).collect();
        solver.repair(&names);
    }
    if solver.broken().is_empty() {
        solver.sweep();
        return Ok(());
    }
    Err(Error::Unsatisfiable { problems: solver.explain(&wanted) })
}

/// The names of packages of which a version in `suite` is accepted, in apt's order: mmdebstrap's
/// patterns `?narrow(?or(?archive(^suite$),?codename(^suite$)),...)`.
fn narrow<'i>(solver: &Solver<'i>, suite: &str, accepts: impl Fn(&Package<'i>) -> bool) -> Vec<NameId> {
    let index = solver.index;
    in_apts_order(solver, |name| {
        index.versions_of(name).any(|package| accepts(&package) && package.origin().suite == suite)
    })
}

/// The names of real packages that are accepted, in apt's order.
fn in_apts_order(solver: &Solver<'_>, accepts: impl Fn(NameId) -> bool) -> Vec<NameId> {
    let index = solver.index;
    let mut names: Vec<_> = index.names().filter(|&name| index.newest(name).is_some() && accepts(name)).collect();
    sort_in_apts_order(index, &mut names);
    names
}

/// Sorts names into the order in which apt walks over packages: that of its hash table.
fn sort_in_apts_order(index: &PackageIndex, names: &mut [NameId]) {
    names.sort_by_cached_key(|&name| (bucket(index.name(name)), index.name(name).len(), index.name(name)));
}

/// The place of a name in apt's hash table (`pkgCache::sHash`, with the default size of the table).
fn bucket(name: &str) -> u32 {
    let lower_case = name.bytes().map(|byte| u32::from(byte.to_ascii_lowercase()));
    lower_case.fold(5381_u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(byte)) % 196_613
}

fn selection<'i>(solver: &Solver<'i>, first_stage: &[(NameId, PackageId)]) -> Selection<'i> {
    let selected = solver.installed().into_iter().map(|(name, package)| {
        let essential_stage = first_stage.binary_search(&(name, package)).is_ok();
        let automatic = !essential_stage && solver.state(name).automatic;
        Selected { package: solver.index.package(package), essential_stage, automatic }
    });
    let mut packages: Vec<_> = selected.collect();
    packages.sort_by_key(|selected| selected.package.name());
    Selection { packages }
}
