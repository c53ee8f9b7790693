//! Marking: how apt goes from "this package shall be there" to what else must be there or must go.
//!
//! Each function does what the function of `pkgDepCache` (apt 2.6, `apt-pkg/depcache.cc`) does that
//! its documentation names, for one architecture. The order of steps is part of the result.
//! Recommends, where they are followed, are what apt calls important and not critical: it brings in
//! what they ask for, and goes on where it cannot.

use super::state::{Clause, Mode, Solver, VersionSlot};
use crate::packages::{NameId, PackageId};

/// apt's own limit on how deep a chain of dependencies may go.
const MAX_DEPTH: usize = 3000;

/// Who asks for a change, and how deep in a chain of dependencies.
#[derive(Debug, Clone, Copy)]
pub(super) enum RequestedBy {
    /// The user, whose request counts more than any protection.
    User,
    /// A relation of a package.
    Package {
        /// How many packages lie between it and what the user asked for.
        depth: usize,
    },
}

impl RequestedBy {
    fn deeper(self) -> Self {
        match self {
            Self::User => Self::Package { depth: 1 },
            Self::Package { depth } => Self::Package { depth: depth + 1 },
        }
    }

    fn is_user(self) -> bool {
        matches!(self, Self::User)
    }
}

impl<'i> Solver<'i> {
    /// `MarkInstall` without `AutoInst`: the package alone.
    pub(super) fn mark_alone(&mut self, name: NameId, by: RequestedBy) -> bool {
        self.mark_install(name, false, by)
    }

    /// `MarkInstall` with `AutoInst`: the package with what it needs. False where that cannot be;
    /// then nothing that was marked for it is taken back but the package itself, because apt leaves
    /// the rest to the sweep.
    pub(super) fn mark_with_dependencies(&mut self, name: NameId, by: RequestedBy) -> bool {
        self.mark_install(name, true, by)
    }

    fn mark_install(&mut self, name: NameId, with_dependencies: bool, by: RequestedBy) -> bool {
        let state = *self.state(name);
        let is_present = state.candidate.is_some() && state.candidate == state.current;
        let only_propagates = state.protected && state.mode == Mode::Keep && is_present;
        if !only_propagates && !self.may_change(name, Mode::Install, by) {
            return false;
        }
        let Some(candidate) = state.candidate else { return false };
        if !state.protected && !self.is_broken(name) && !self.lacks_recommended(name) {
            if is_present {
                return state.install.is_some() || self.mark_keep(name, by);
            }
            if state.mode == Mode::Install {
                return true;
            }
        }
        if with_dependencies && !self.can_be_satisfied(name, candidate) {
            return false;
        }
        // apt marks what the user asked for now, and anything else after what it conflicts with.
        if by.is_user() {
            self.set_install(name, by);
        }
        if !with_dependencies {
            if !by.is_user() {
                self.set_install(name, by);
            }
            return true;
        }
        self.mark_dependencies(name, candidate, by)
    }

    /// The part of `MarkInstall` that `AutoInst` asks for.
    fn mark_dependencies(&mut self, name: NameId, candidate: PackageId, by: RequestedBy) -> bool {
        let was_protected = self.state(name).protected;
        let fails_early = !was_protected && !by.is_user();
        let mut has_failed = false;

        let (clauses, recommended) = (self.clauses(candidate), self.recommended(candidate));
        let (forbidding, demanding): (Vec<_>, Vec<_>) = clauses
            .iter()
            .chain(&*recommended)
            .filter(|clause| was_protected || !self.holds(name, clause, VersionSlot::Install))
            .partition(|clause| clause.forbids());
        let mut delayed = Vec::new();
        if !self.keep_away(name, &forbidding, was_protected, by, &mut delayed) {
            if fails_early {
                return false;
            }
            has_failed = true;
        }
        if !by.is_user() {
            self.set_install(name, by);
        }

        // While its dependencies are marked, none of them may remove the package itself.
        self.state_mut(name).protected = true;
        let mut succeeded = self.install_dependencies(name, &demanding, was_protected, by);
        for removed in delayed {
            if !succeeded && fails_early {
                break;
            }
            succeeded &= self.mark_delete(removed, by.deeper());
        }
        if !succeeded && fails_early {
            self.take_back(name);
        }
        if !was_protected {
            self.state_mut(name).protected = false;
        }
        succeeded && !has_failed
    }

    /// `MarkInstall_InstallDependencies`: marks for each demand the first solution that works.
    fn install_dependencies(
        &mut self,
        name: NameId,
        demanding: &[&Clause<'i>],
        was_protected: bool,
        by: RequestedBy,
    ) -> bool {
        let mut succeeded = true;
        for &clause in demanding {
            if self.holds(name, clause, VersionSlot::Install) {
                if was_protected && clause.is_critical() && !self.protect_only_solution(name, clause, by) {
                    succeeded = false;
                }
                continue;
            }
            if !clause.is_critical() && self.has_done_without(name, clause) {
                continue;
            }
            let solutions = self.solutions(name, clause);
            let is_only = was_protected && clause.is_critical() && solutions.len() == 1;
            let found = solutions.into_iter().any(|package| {
                let solution = self.name_of(package);
                if self.state(solution).candidate != Some(package) {
                    return false;
                }
                // No other package can meet the demand, so this one is decided.
                if is_only {
                    if !self.mark_alone(solution, by.deeper()) {
                        return false;
                    }
                    self.state_mut(solution).protected = true;
                }
                self.mark_with_dependencies(solution, by.deeper())
            });
            if !found && clause.is_critical() {
                succeeded = false;
                if !was_protected && !by.is_user() {
                    break;
                }
            }
        }
        succeeded
    }

    /// Whether a package was there before the stage, and recommended what the clause says, without having got it.
    fn has_done_without(&mut self, name: NameId, clause: &Clause<'i>) -> bool {
        let Some(current) = self.state(name).current else { return false };
        let recommended = self.recommended(current);
        let first = clause.targets.first().map(|target| target.name);
        let mut same = recommended
            .iter()
            .filter(|clause| clause.targets.iter().any(|target| Some(target.name) == first))
            .peekable();
        same.peek().is_some() && !same.any(|clause| self.holds(name, clause, VersionSlot::Current))
    }

    /// What a protected package needs, and only one package can give, is protected too.
    fn protect_only_solution(&mut self, name: NameId, clause: &Clause<'i>, by: RequestedBy) -> bool {
        let [package] = self.possibilities(name, clause)[..] else { return true };
        let solution = self.name_of(package);
        if self.state(solution).protected {
            return true;
        }
        self.state_mut(solution).protected = true;
        self.mark_with_dependencies(solution, by.deeper())
    }

    /// `MarkInstall_RemoveConflictsIfNotUpgradeable`: rules out what the package conflicts with, or
    /// takes it back where it was marked. What is there already is put into `delayed`, to be
    /// removed once all else has succeeded.
    fn keep_away(
        &mut self,
        name: NameId,
        forbidding: &[&Clause<'i>],
        was_protected: bool,
        by: RequestedBy,
        delayed: &mut Vec<NameId>,
    ) -> bool {
        let mut succeeded = true;
        for &clause in forbidding {
            for package in self.solutions(name, clause) {
                let other = self.name_of(package);
                let state = *self.state(other);
                if state.candidate != Some(package) {
                    continue;
                }
                let removed = if state.current == Some(package) {
                    self.remove_present(other, was_protected, by, delayed)
                } else if state.mode == Mode::Install && !self.mark_keep(other, by.deeper()) {
                    false
                } else {
                    if was_protected {
                        self.give_up_candidate(other, self.state(other).install);
                        if state.current.is_none() {
                            self.state_mut(other).protected = true;
                        }
                    }
                    true
                };
                if !removed {
                    succeeded = false;
                    if !was_protected && !by.is_user() {
                        return false;
                    }
                }
            }
        }
        succeeded
    }

    /// `MarkInstall_MarkDeleteForNotUpgradeable`: removes what is there, `at_once` or delayed.
    fn remove_present(&mut self, name: NameId, at_once: bool, by: RequestedBy, delayed: &mut Vec<NameId>) -> bool {
        let is_going = self.state(name).mode == Mode::Delete;
        if !at_once {
            let may_go = is_going || self.may_change(name, Mode::Delete, by.deeper()) && self.may_delete(name);
            if may_go && !is_going {
                delayed.push(name);
            }
            return may_go;
        }
        if !is_going && !self.mark_delete(name, by.deeper()) {
            return false;
        }
        self.give_up_candidate(name, self.state(name).install);
        self.state_mut(name).protected = true;
        true
    }

    /// `MarkDelete`: the package shall not be there.
    pub(super) fn mark_delete(&mut self, name: NameId, by: RequestedBy) -> bool {
        if !self.may_change(name, Mode::Delete, by) {
            return false;
        }
        let state = *self.state(name);
        if state.mode == Mode::Delete || state.install.is_none() {
            return true;
        }
        if !self.may_delete(name) {
            return false;
        }
        let state = self.state_mut(name);
        state.mode = if state.current.is_none() { Mode::Keep } else { Mode::Delete };
        state.install = None;
        self.notice(name);
        true
    }

    /// `MarkKeep`: the package shall stay as it is.
    pub(super) fn mark_keep(&mut self, name: NameId, by: RequestedBy) -> bool {
        if !self.may_change(name, Mode::Keep, by) {
            return false;
        }
        let state = self.state_mut(name);
        if state.mode != Mode::Keep {
            state.mode = Mode::Keep;
            state.install = state.current;
            self.notice(name);
        }
        true
    }

    /// `MarkInstall_StateChange`: the candidate shall be there.
    fn set_install(&mut self, name: NameId, by: RequestedBy) {
        let state = self.state_mut(name);
        if state.protected && state.install == state.candidate {
            return;
        }
        state.install = state.candidate;
        state.mode = if state.candidate == state.current { Mode::Keep } else { Mode::Install };
        if state.current.is_none() || state.candidate.is_none() {
            state.automatic = !by.is_user();
        }
        self.notice(name);
    }

    /// `MarkInstall_DiscardInstall`: as it was, and never to be tried again.
    fn take_back(&mut self, name: NameId) {
        let state = self.state_mut(name);
        if state.mode == Mode::Keep && state.install == state.candidate && state.candidate == state.current {
            return;
        }
        state.install = state.current;
        state.mode = Mode::Keep;
        self.notice(name);
        self.give_up_candidate(name, self.state(name).install);
    }

    /// `IsInstallOkDependenciesSatisfiableByCandidates`: gives up a candidate some dependency of
    /// which nothing can meet.
    fn can_be_satisfied(&mut self, name: NameId, candidate: PackageId) -> bool {
        if self.state(name).current == Some(candidate) {
            return true;
        }
        let clauses = self.clauses(candidate);
        let mut demanding = clauses.iter().filter(|clause| !clause.forbids());
        if demanding.all(|clause| self.holds(name, clause, VersionSlot::Install) || self.seems_possible(name, clause)) {
            return true;
        }
        if !self.state(name).protected && self.state(name).current.is_none() {
            let going = self.state(name).mode == Mode::Delete;
            self.give_up_candidate(name, None);
            if !going {
                self.state_mut(name).mode = Mode::Keep;
            }
        }
        false
    }

    /// `IsModeChangeOk`: whether the package may be marked so.
    fn may_change(&self, name: NameId, mode: Mode, by: RequestedBy) -> bool {
        let RequestedBy::Package { depth } = by else { return self.index.newest(name).is_some() };
        let state = self.state(name);
        let is_kept = self.is_essential(name) || self.is_protected_package(name);
        depth <= MAX_DEPTH
            && self.index.newest(name).is_some()
            && (state.mode == mode || !(state.protected || mode == Mode::Delete && is_kept))
    }

    /// `IsDeleteOk`: what the user asked for is not taken away.
    fn may_delete(&self, name: NameId) -> bool {
        let state = self.state(name);
        state.current.is_some() || state.install.is_none() || state.automatic
    }
}
