//! Repair: what apt does where marking has left something broken.
//!
//! Packages are visited from the one that matters most to the one that matters least; each broken
//! one is kept away, or has its dependency installed, or has what it clashes with removed,
//! whichever does least harm by the scores. This is `pkgProblemResolver::ResolveInternal` (apt 2.6,
//! `apt-pkg/algorithms.cc`) for a system that was whole before, in which nothing installed has a
//! newer candidate.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::mark::RequestedBy;
use super::score::scores;
use super::state::{Clause, Mode, Solver, Target, VersionSlot};
use crate::packages::{NameId, PackageId, Relation};

/// How often apt goes over all packages.
const ROUNDS: usize = 20;

/// Who makes the changes of this module, which is not the user.
const RESOLVER: RequestedBy = RequestedBy::Package { depth: 0 };

impl Solver<'_> {
    /// Tries to repair what is broken. The caller sees whether it did.
    pub(super) fn repair(&mut self, wanted: &[NameId]) {
        let marked: HashSet<_> = self.marked().collect();
        let mut order: Vec<_> = self.index.names().filter(|&name| self.index.newest(name).is_some()).collect();
        super::sort_in_apts_order(self.index, &mut order);
        let scores = scores(self, wanted);
        // The sort is stable: packages of equal score stay in apt's order.
        order.sort_by_key(|name| std::cmp::Reverse(scores[name.index()]));
        let mut repair =
            Repair { solver: self, scores, wanted: wanted.iter().copied().collect(), upgraded: HashSet::new() };
        for round in 0..ROUNDS {
            let mut changed = false;
            for &name in &order {
                changed |= repair.visit(name, round);
            }
            if !changed {
                break;
            }
        }
        // What repair brought in was not asked for by the user.
        let new: Vec<_> = self.marked().filter(|name| !marked.contains(name)).collect();
        for name in new {
            self.state_mut(name).automatic = true;
        }
    }

    fn marked(&self) -> impl Iterator<Item = NameId> {
        self.index.names().filter(|&name| self.state(name).mode == Mode::Install)
    }
}

struct Repair<'s, 'i> {
    solver: &'s mut Solver<'i>,
    scores: Vec<i32>,
    /// What the user asked for, which is not brought in again.
    wanted: HashSet<NameId>,
    /// What was brought in or tried, since each is tried only once.
    upgraded: HashSet<NameId>,
}

/// A broken package under repair.
struct Visit {
    name: NameId,
    round: usize,
    changed: bool,
    /// What to take away for the package's sake, and the number of the clause that asks for it.
    removals: Vec<(NameId, usize)>,
}

/// How a clause of several alternatives ends if none of them helped.
#[derive(PartialEq, Eq)]
enum Fallback {
    Remove,
    Keep,
}

impl<'i> Repair<'_, 'i> {
    /// Repairs one package, if it is broken. True where that changed anything.
    fn visit(&mut self, name: NameId, round: usize) -> bool {
        let Some(package) = self.solver.state(name).install else { return false };
        if !self.solver.is_broken(name) {
            return false;
        }
        let clauses = self.solver.clauses(package);
        let mut visit = Visit { name, round, changed: false, removals: Vec::new() };
        for number in 0..clauses.len() {
            if self.repair_clause(&mut visit, &clauses, number).is_break() {
                break;
            }
        }
        if self.solver.state(name).install.is_some() {
            self.remove(&mut visit, &clauses);
        }
        visit.changed
    }

    /// Works on one clause of a broken package; breaks where the package is settled.
    fn repair_clause(&mut self, visit: &mut Visit, clauses: &Rc<[Clause<'i>]>, number: usize) -> ControlFlow<()> {
        let clause = &clauses[number];
        let has_choice = clause.targets.len() > 1;
        let removals_before = visit.removals.len();
        let mut fallback = Fallback::Remove;
        for target in &clause.targets {
            if self.solver.holds(visit.name, clause, VersionSlot::Install) {
                return ControlFlow::Continue(());
            }
            let targets = self.solver.all_versions(visit.name, clause.forbids(), target);
            if targets.is_empty() && !clause.forbids() && !self.solver.state(visit.name).protected {
                if has_choice {
                    continue;
                }
                visit.changed = true;
                self.solver.mark_keep(visit.name, RESOLVER);
                return ControlFlow::Break(());
            }
            let is_settled = self.try_targets(visit, clause, (number, target), &targets, &mut fallback);
            if is_settled && !has_choice {
                return ControlFlow::Break(());
            }
        }
        if has_choice && removals_before == visit.removals.len() {
            if fallback == Fallback::Keep {
                self.solver.mark_keep(visit.name, RESOLVER);
                visit.changed = true;
            } else if !self.solver.state(visit.name).protected {
                self.solver.mark_delete(visit.name, RESOLVER);
                visit.changed = true;
            }
        }
        ControlFlow::Continue(())
    }

    /// Works on one alternative: changes the package itself, or plans to remove what it clashes
    /// with. True where the package itself was changed.
    fn try_targets(
        &mut self,
        visit: &mut Visit,
        clause: &Clause<'i>,
        (number, target): (usize, &Target<'i>),
        targets: &[PackageId],
        fallback: &mut Fallback,
    ) -> bool {
        let name = visit.name;
        let forbids = clause.forbids();
        for &package in targets {
            let other = self.solver.name_of(package);
            if forbids && self.solver.state(other).install != Some(package) {
                continue;
            }
            let held_before = self.solver.matches_among(name, forbids, target, VersionSlot::Current).next().is_some();
            if self.score(name) <= self.score(other) || !held_before && !forbids {
                if self.solver.state(name).protected {
                    if self.bring_in(other) {
                        let limit = self.score(name);
                        let score = &mut self.scores[other.index()];
                        *score = limit.min(*score);
                        break;
                    }
                    continue;
                }
                self.change_itself(visit, clause, target, other, fallback);
                visit.changed = true;
                return true;
            }
            let candidates_are_fine = self.solver.holds(name, clause, VersionSlot::Candidate);
            if clause.relation == Relation::Breaks && candidates_are_fine {
                self.solver.mark_alone(other, RESOLVER);
                continue;
            }
            let state = self.solver.state(other);
            if state.protected && state.mode != Mode::Delete {
                continue;
            }
            visit.removals.push((other, number));
            if !forbids {
                break;
            }
        }
        false
    }

    /// Keeps the broken package as it was; where that is broken too, removes it or installs what it
    /// lacks.
    fn change_itself(
        &mut self,
        visit: &Visit,
        clause: &Clause<'i>,
        target: &Target<'i>,
        other: NameId,
        fallback: &mut Fallback,
    ) {
        let name = visit.name;
        let has_choice = clause.targets.len() > 1;
        let was_marked = self.solver.state(name).mode == Mode::Install;
        self.solver.mark_keep(name, RESOLVER);
        if !self.solver.is_broken(name) {
            *fallback = Fallback::Keep;
            if has_choice && was_marked {
                self.solver.mark_alone(name, RESOLVER);
            }
            return;
        }
        if self.bring_in(name) {
            return;
        }
        let state = *self.solver.state(target.name);
        if !has_choice {
            self.solver.mark_delete(name, RESOLVER);
            if visit.round > 1 && self.score(other) > self.score(name) {
                self.scores[name.index()] = self.score(other);
            }
        } else if state.current.is_none() && state.mode != Mode::Delete && state.candidate.is_some() {
            let broken_before = self.solver.broken().len();
            self.solver.mark_with_dependencies(target.name, RESOLVER);
            if self.solver.is_broken(target.name) || self.solver.broken().len() > broken_before {
                self.solver.mark_delete(target.name, RESOLVER);
            }
        }
    }

    /// Takes away what was planned to go.
    fn remove(&mut self, visit: &mut Visit, clauses: &Rc<[Clause<'i>]>) {
        for &(other, number) in &visit.removals {
            let clause = &clauses[number];
            let removed = if self.solver.holds(visit.name, clause, VersionSlot::Current) {
                self.solver.mark_keep(other, RESOLVER)
            } else {
                clause.forbids() && self.solver.mark_delete(other, RESOLVER)
            };
            let score = self.score(visit.name);
            if (!removed || visit.round > 1) && score > self.score(other) {
                self.scores[other.index()] = score;
                visit.changed = true;
            }
            visit.changed |= removed;
        }
    }

    /// Marks a package and, one by one, what it lacks; undoes the package where that fails
    /// (`DoUpgrade`).
    fn bring_in(&mut self, name: NameId) -> bool {
        let state = *self.solver.state(name);
        let is_new = state.current.is_none() && state.candidate.is_some();
        if !is_new || self.wanted.contains(&name) || !self.upgraded.insert(name) {
            return false;
        }
        if !self.solver.mark_alone(name, RESOLVER) {
            return false;
        }
        let Some(package) = self.solver.state(name).install else { return false };
        let clauses = self.solver.clauses(package);
        if clauses.iter().all(|clause| self.bring_in_one(name, clause)) {
            return true;
        }
        if state.mode == Mode::Keep {
            self.solver.mark_keep(name, RESOLVER);
        } else {
            self.solver.mark_delete(name, RESOLVER);
        }
        false
    }

    /// Makes one clause hold, as far as this part of apt cares: what only removals could repair is
    /// left to the next round.
    fn bring_in_one(&mut self, name: NameId, clause: &Clause<'i>) -> bool {
        let mut succeeded = true;
        for target in &clause.targets {
            if self.solver.holds(name, clause, VersionSlot::Install) {
                return succeeded;
            }
            let other = self.solver.smart_target(name, target.name);
            let points =
                self.solver.matches_among(name, clause.forbids(), target, VersionSlot::Candidate).next().is_some();
            if self.solver.state(other).protected {
                succeeded = false;
            } else if points != clause.forbids() {
                if self.bring_in(other) {
                    return true;
                }
                succeeded = false;
            } else if clause.forbids() {
                return succeeded;
            } else {
                succeeded = false;
            }
        }
        succeeded
    }

    fn score(&self, name: NameId) -> i32 {
        self.scores[name.index()]
    }
}

impl<'i> Solver<'i> {
    /// All versions of all packages that an alternative of `owner` points to, real ones first, the
    /// latest provider next.
    fn all_versions(&self, owner: NameId, forbids: bool, target: &Target<'i>) -> Vec<PackageId> {
        let index = self.index;
        let is_own = |package| forbids && self.name_of(package) == owner;
        let mut provided: Vec<_> = index
            .providers(target.name)
            .filter(|&(package, version)| !is_own(package) && target.accepts(version))
            .map(|(package, _)| package)
            .collect();
        provided.reverse();
        index
            .versions_of(target.name)
            .filter(|package| !is_own(package.id()) && target.accepts(Some(package.version())))
            .map(|package| package.id())
            .chain(provided)
            .collect()
    }

    /// The package that a name stands for: itself, or where it is virtual the latest provider but
    /// `owner`.
    fn smart_target(&self, owner: NameId, name: NameId) -> NameId {
        if self.index.newest(name).is_some() {
            return name;
        }
        let providers = self.index.providers(name).map(|(package, _)| self.name_of(package));
        providers.filter(|&provider| provider != owner).last().unwrap_or(name)
    }
}
