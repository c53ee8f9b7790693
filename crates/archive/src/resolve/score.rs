//! Scores: how much breakage changing a package would do, by apt's reckoning
//! (`pkgProblemResolver::MakeScores`).

use super::state::{Clause, Solver, VersionSlot, read_clauses};
use crate::packages::{NameId, PackageId, Priority, Relation};

/// Above all else: what the user asked for.
const WANTED: i32 = 10_000;
/// Next: what a system must have, or should not lose.
const ESSENTIAL: i32 = 5_000;
/// What essential and protected packages get before scores are passed on.
const BASE_ESSENTIAL: i32 = 100;

/// The relations that give points to what they point to, and how many.
const POINTS: [(Relation, i32); 5] = [
    (Relation::PreDepends, 1),
    (Relation::Depends, 1),
    (Relation::Recommends, 1),
    (Relation::Conflicts, -1),
    (Relation::Breaks, -1),
];

/// The scores of all names, by their numbers.
pub(super) fn scores(solver: &Solver<'_>, wanted: &[NameId]) -> Vec<i32> {
    let index = solver.index;
    let installed = solver.installed();
    let relations = |package| POINTS.map(|(relation, points)| (read_clauses(index, package, relation), points));

    let mut scores = vec![0; index.names().count()];
    for &(name, package) in &installed {
        scores[name.index()] += base(solver, name, package);
        for (clauses, points) in relations(package) {
            for clause in &clauses {
                give(solver, name, clause, points, &mut scores);
            }
        }
    }

    // One level of inheritance: what a package depends on directly gets its score too.
    let own = scores.clone();
    for &(name, package) in &installed {
        let inherited = own[name.index()].max(0);
        // The first three of `POINTS` are those that demand something.
        for (clauses, _) in relations(package).iter().take(3) {
            let targets = clauses.iter().flat_map(|clause| &clause.targets).map(|target| target.name);
            for target in targets.filter(|&target| solver.state(target).install.is_some()) {
                scores[target.index()] += inherited;
            }
        }
    }

    // What provides a name gets what the name inherited. In the order of the names, because a
    // provider may be provided.
    let mut ordered: Vec<_> = index.names().filter(|&name| !index.name(name).contains(':')).collect();
    super::sort_in_apts_order(index, &mut ordered);
    for name in ordered {
        let inherited = (scores[name.index()] - own[name.index()]).abs();
        if inherited != 0 {
            for provider in providers(solver, name) {
                scores[provider.index()] += inherited;
            }
        }
    }

    for name in index.names() {
        if solver.is_essential(name) || solver.is_protected_package(name) {
            scores[name.index()] += ESSENTIAL;
        }
    }
    for name in wanted {
        scores[name.index()] += WANTED;
    }
    scores
}

/// What a package is worth by itself.
fn base(solver: &Solver<'_>, name: NameId, package: PackageId) -> i32 {
    let priority = match solver.index.package(package).priority() {
        Priority::Unstated => 0,
        Priority::Required => 3,
        Priority::Important => 2,
        Priority::Standard => 1,
        Priority::Optional => -1,
        Priority::Extra => -2,
    };
    let is_vital = solver.is_essential(name) || solver.is_protected_package(name);
    let state = solver.state(name);
    let is_present = state.current.is_some() && state.candidate.is_some();
    priority + if is_vital { BASE_ESSENTIAL } else { 0 } + i32::from(is_present)
}

/// Gives points to all that a clause of `owner` points to.
fn give(solver: &Solver<'_>, owner: NameId, clause: &Clause<'_>, points: i32, scores: &mut [i32]) {
    for target in &clause.targets {
        let mut receivers: Vec<_> = solver
            .matches_among(owner, clause.forbids(), target, VersionSlot::Install)
            .map(|package| solver.name_of(package))
            .filter(|&name| name != target.name)
            .collect();
        receivers.sort_unstable();
        receivers.dedup();
        let is_own_name = clause.forbids() && target.name == owner;
        // A demand without a version gives points to its target even where it is not to be
        // installed.
        if !is_own_name && solver.accepts_itself(target) {
            receivers.push(target.name);
        }
        for receiver in receivers {
            scores[receiver.index()] += points;
        }
    }
}

/// The names of packages to be installed that provide `name`.
fn providers(solver: &Solver<'_>, name: NameId) -> Vec<NameId> {
    let mut names: Vec<_> = solver
        .index
        .providers(name)
        .map(|(package, _)| (solver.name_of(package), package))
        .filter(|&(provider, package)| solver.state(provider).install == Some(package))
        .map(|(provider, _)| provider)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
