//! Explains why a package cannot be installed: by the chain of dependencies from what was asked for
//! to what is missing or clashes.

use std::collections::HashSet;
use std::fmt;

use super::state::{Clause, Solver, Target, VersionSlot};
use crate::packages::{NameId, PackageId, Relation};

/// A package that cannot be installed, with the reason and who needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The package that lacks something or clashes with something.
    pub package: String,
    /// What it lacks or clashes with.
    pub reason: String,
    /// The chain of packages that leads to it, beginning with one that was asked for.
    pub needed_by: Vec<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.package, self.reason)?;
        if self.needed_by.is_empty() { Ok(()) } else { write!(f, " (needed by: {})", self.needed_by.join(" -> ")) }
    }
}

impl Solver<'_> {
    /// One problem for each of `wanted` that cannot be there, or not whole: the one the fewest
    /// packages away from it.
    pub(super) fn explain(&mut self, wanted: &[(NameId, PackageId)]) -> Vec<Problem> {
        let mut problems: Vec<Problem> = Vec::new();
        for &root in wanted {
            let found = Explanation { solver: self }.from(root);
            // Two packages that need the same third one have the same problem.
            problems.extend(
                found.filter(|new| {
                    !problems.iter().any(|old| (&old.package, &old.reason) == (&new.package, &new.reason))
                }),
            );
        }
        problems
    }
}

struct Explanation<'s, 'i> {
    solver: &'s mut Solver<'i>,
}

/// A package that is needed, and the position of the one that needs it.
struct Step {
    name: NameId,
    package: PackageId,
    needed_by: Option<usize>,
}

impl<'i> Explanation<'_, 'i> {
    /// Searches from a package along what it needs, breadth first, for one that lacks or clashes
    /// with something.
    fn from(mut self, (name, package): (NameId, PackageId)) -> Option<Problem> {
        let mut steps = vec![Step { name, package, needed_by: None }];
        let mut seen = HashSet::from([package]);
        let mut position = 0;
        while let Some(&Step { name, package, .. }) = steps.get(position) {
            if let Some(reason) = self.own_problem(name, package) {
                return Some(self.problem(&steps, position, reason));
            }
            for next in self.needs(name, package) {
                if seen.insert(next) {
                    let name = self.solver.name_of(next);
                    steps.push(Step { name, package: next, needed_by: Some(position) });
                }
            }
            position += 1;
        }
        None
    }

    /// What `package` itself lacks or clashes with, if anything.
    fn own_problem(&mut self, name: NameId, package: PackageId) -> Option<String> {
        let clauses = self.solver.clauses(package);
        let open: Vec<_> =
            clauses.iter().filter(|clause| !self.solver.holds(name, clause, VersionSlot::Install)).collect();
        if let Some(rival) = open.iter().filter(|clause| clause.forbids()).find_map(|clause| self.rival(name, clause)) {
            return Some(rival);
        }
        if self.solver.state(name).install.is_none()
            && let Some(reason) = self.unwanted(name, package)
        {
            return Some(reason);
        }
        let mut demanding = open.into_iter().filter(|clause| !clause.forbids());
        demanding.find(|clause| self.available(name, clause).is_empty()).map(|clause| self.missing(clause))
    }

    /// What stands for each of a package's demands: what is to be installed, or all that could be.
    fn needs(&mut self, name: NameId, package: PackageId) -> Vec<PackageId> {
        let clauses = self.solver.clauses(package);
        let demanding = clauses.iter().filter(|clause| !clause.forbids());
        let needed = demanding.flat_map(|clause| {
            let targets = clause.targets.iter();
            let there: Vec<_> = targets
                .flat_map(|target| self.solver.matches_among(name, false, target, VersionSlot::Install))
                .collect();
            if there.is_empty() { self.available(name, clause) } else { there }
        });
        needed.collect()
    }

    /// The candidates that a demand of `name` points to, whether or not anything stands against
    /// them.
    fn available(&self, name: NameId, clause: &Clause<'i>) -> Vec<PackageId> {
        let offered = |name| self.solver.state(name).offered;
        clause.targets.iter().flat_map(|target| self.solver.matches(name, false, target, offered)).collect()
    }

    fn problem(&self, steps: &[Step], position: usize, reason: String) -> Problem {
        let name_at = |position: usize| self.solver.index.name(steps[position].name).to_owned();
        let chain = std::iter::successors(steps[position].needed_by, |&position| steps[position].needed_by);
        let mut needed_by: Vec<_> = chain.map(name_at).collect();
        needed_by.reverse();
        Problem { package: name_at(position), reason, needed_by }
    }

    /// A package that `clause` of `name` forbids, and that is to be installed.
    fn rival(&self, name: NameId, clause: &Clause<'i>) -> Option<String> {
        let target = clause.targets.first()?;
        let rival = self.solver.matches_among(name, true, target, VersionSlot::Install).next()?;
        let verb = verb(clause.relation);
        Some(format!("{verb} {}, and {} is to be installed", target.alternative, self.solver.index.package(rival)))
    }

    /// A package that is to be installed, and that forbids `package`.
    fn unwanted(&mut self, name: NameId, package: PackageId) -> Option<String> {
        for (other, version) in self.solver.installed() {
            let clauses = self.solver.clauses(version);
            let only_this = |wanted| (wanted == name).then_some(package);
            let points_here =
                |target: &Target<'i>| self.solver.matches(other, true, target, only_this).next().is_some();
            let mut forbidding = clauses.iter().filter(|clause| clause.forbids());
            if let Some(clause) = forbidding.find(|clause| clause.targets.iter().any(points_here)) {
                let alternative = clause.targets.first()?.alternative;
                let other = self.solver.index.package(version);
                return Some(format!("{other}, which is to be installed, {} {alternative}", verb(clause.relation)));
            }
        }
        None
    }

    /// What a clause wants that no package is.
    fn missing(&self, clause: &Clause<'i>) -> String {
        let index = self.solver.index;
        let verb = verb(clause.relation);
        let wanted: Vec<_> = clause.targets.iter().map(|target| target.alternative.to_string()).collect();
        let had: Vec<_> = clause
            .targets
            .iter()
            .filter_map(|target| {
                let name = target.alternative.name();
                let offered = index.name_id(name).and_then(|id| self.solver.state(id).offered);
                let found = offered.map(|id| index.package(id)).or(index.find(name))?;
                let pin = self.solver.ranking.pin(found).map(|pin| format!(" (by the pin `{pin}`)"));
                Some(format!("{name} {}{}", found.version(), pin.unwrap_or_default()))
            })
            .collect();
        let wanted = wanted.join(" | ");
        let skipped = clause.targets.iter().find_map(|target| index.why_skipped(target.alternative.name()));
        let skipped = skipped.map(|reason| format!("; one was passed over: {reason}")).unwrap_or_default();
        if had.is_empty() {
            format!("{verb} {wanted}, which no package is or provides{skipped}")
        } else {
            format!("{verb} {wanted}, but only {} is to be had{skipped}", had.join(" or "))
        }
    }
}

fn verb(relation: Relation) -> &'static str {
    match relation {
        Relation::PreDepends => "pre-depends on",
        Relation::Conflicts => "conflicts with",
        Relation::Breaks => "breaks",
        _ => "depends on",
    }
}
