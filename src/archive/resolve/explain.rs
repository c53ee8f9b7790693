//! Why a package cannot be had: the chain of dependencies from what was asked for to what is missing or clashes.

use super::state::{Clause, Solver, Target, Which};
use crate::archive::packages::{NameId, PackageId, Relation};
use std::collections::HashSet;
use std::fmt;

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
    /// One problem for each of `wanted` that is not there, or is there but broken, and for each other broken package that
    /// none of these explains.
    pub(super) fn explain(&mut self, wanted: &[(NameId, PackageId)]) -> Vec<Problem> {
        let mut explanation = Explanation { solver: self, seen: HashSet::new(), path: Vec::new() };
        let mut problems: Vec<_> = wanted.iter().filter_map(|&(name, package)| explanation.of(name, package)).collect();
        if problems.is_empty() {
            for name in self.broken() {
                let Some(package) = self.state(name).install else { continue };
                let mut explanation = Explanation { solver: self, seen: HashSet::new(), path: Vec::new() };
                problems.extend(explanation.of(name, package));
            }
        }
        problems.dedup();
        problems
    }
}

struct Explanation<'s, 'i> {
    solver: &'s mut Solver<'i>,
    seen: HashSet<NameId>,
    path: Vec<NameId>,
}

impl<'i> Explanation<'_, 'i> {
    /// The first thing found that keeps `package` from being there and whole.
    fn of(&mut self, name: NameId, package: PackageId) -> Option<Problem> {
        if self.solver.state(name).install == Some(package) && !self.solver.is_broken(name) {
            return None;
        }
        if !self.seen.insert(name) {
            return None;
        }
        let clauses = self.solver.clauses(package);
        let open = |clause: &&Clause<'i>| !self.solver.holds(name, clause, Which::Install);
        let open: Vec<_> = clauses.iter().filter(open).collect();
        if let Some(rival) = open.iter().filter(|clause| clause.forbids()).find_map(|clause| self.rival(name, clause)) {
            return Some(self.problem(name, rival));
        }
        if let Some(reason) = self.unwanted(name, package) {
            return Some(self.problem(name, reason));
        }
        for clause in open.iter().filter(|clause| !clause.forbids()) {
            let available = |name| self.solver.index.newest(name);
            let matching = |target| self.solver.matches(name, false, target, available).collect::<Vec<_>>();
            let solutions: Vec<_> = clause.targets.iter().flat_map(matching).collect();
            if solutions.is_empty() {
                let reason = self.missing(clause);
                return Some(self.problem(name, reason));
            }
            self.path.push(name);
            let deeper = solutions.into_iter().find_map(|solution| self.of(self.solver.name_of(solution), solution));
            self.path.pop();
            if deeper.is_some() {
                return deeper;
            }
        }
        None
    }

    fn problem(&self, name: NameId, reason: String) -> Problem {
        let text = |&name: &NameId| self.solver.index.name(name).to_owned();
        Problem { package: text(&name), reason, needed_by: self.path.iter().map(text).collect() }
    }

    /// What `clause` of `name` forbids and is to be there all the same.
    fn rival(&self, name: NameId, clause: &Clause<'i>) -> Option<String> {
        let install = |name| self.solver.version(name, Which::Install);
        let target = clause.targets.first()?;
        let rival = self.solver.matches(name, true, target, install).next()?;
        let verb = verb(clause.relation);
        Some(format!("{verb} {}, and {} is to be installed", target.alternative, self.solver.index.package(rival)))
    }

    /// Which package that is to be there forbids `package`.
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
                let found = index.find(name)?;
                Some(format!("{name} {}", found.version()))
            })
            .collect();
        let wanted = wanted.join(" | ");
        if had.is_empty() {
            format!("{verb} {wanted}, which no package is or provides")
        } else {
            format!("{verb} {wanted}, but only {} is to be had", had.join(" or "))
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
