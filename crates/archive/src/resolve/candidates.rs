//! Candidates: which version of each name a stage could install.
//!
//! Each run of apt begins with the candidates of its policy, and the versions that were asked for.
//! For those that were asked for by their release, what they depend on comes from that release, too
//! (`pkgDepCache::SetCandidateRelease`, apt 2.6).

use super::request::{Choice, Wanted};
use super::state::{Clause, Mode, Solver, Target, VersionSlot};
use crate::packages::{NameId, PackageId};
use crate::policy::Release;

impl<'i> Solver<'i> {
    /// Sets the candidates of all names for a stage that begins now.
    pub(super) fn set_candidates(&mut self, requests: &[Wanted]) {
        for name in self.index.names() {
            let candidate = self.ranking.candidate_of(name, self.state(name).current);
            let state = self.state_mut(name);
            (state.candidate, state.offered) = (candidate, candidate);
        }
        for Wanted { name, choice } in requests {
            if let Choice::Version(package) | Choice::Release(package, _) = choice {
                self.set_candidate(*name, Some(*package));
            }
        }
    }

    /// Has the dependencies of what was asked for by its release come from it. Everything that the
    /// stage wants must have been marked, since that counts.
    pub(super) fn follow_releases(&mut self, requests: &[Wanted]) {
        for Wanted { choice, .. } in requests {
            if let Choice::Release(package, release) = choice {
                self.follow_release(*package, release);
            }
        }
    }

    fn set_candidate(&mut self, name: NameId, candidate: Option<PackageId>) {
        let state = self.state_mut(name);
        if state.mode == Mode::Install && state.install == state.candidate && candidate.is_some() {
            state.install = candidate;
        }
        (state.candidate, state.offered) = (candidate, candidate);
    }

    /// Makes `package` the candidate, and follows its dependencies. False where one of them cannot
    /// be followed; then those behind it are left alone, and what was changed stays changed.
    fn follow_release(&mut self, package: PackageId, release: &Release) -> bool {
        self.set_candidate(self.name_of(package), Some(package));
        let clauses = self.clauses(package);
        let mut demanding = clauses.iter().filter(|clause| !clause.forbids());
        demanding.all(|clause| self.is_fine(clause) || self.follow_one(clause, release))
    }

    /// Whether an alternative of a demand needs no change.
    fn is_fine(&mut self, clause: &Clause<'i>) -> bool {
        clause.targets.iter().any(|target| self.candidate_is_fine(target))
    }

    /// Whether a candidate does of which nothing else would have to be installed: so most
    /// dependencies that are not installed yet come from the release. What provides a name counts
    /// where no version is asked for.
    fn candidate_is_fine(&mut self, target: &Target<'i>) -> bool {
        let found: Vec<_> = if target.alternative.constraint.is_none() {
            self.matches_among(target.name, false, target, VersionSlot::Candidate).collect()
        } else {
            let accepts = |&package: &PackageId| target.accepts(Some(self.index.package(package).version()));
            self.state(target.name).candidate.filter(accepts).into_iter().collect()
        };
        found.into_iter().any(|package| {
            let name = self.name_of(package);
            self.clauses(package).iter().all(|clause| self.holds(name, clause, VersionSlot::Install))
        })
    }

    /// Takes the first alternative that the release has in a version that does.
    fn follow_one(&mut self, clause: &Clause<'i>, release: &Release) -> bool {
        let versioned = clause.targets.iter().filter(|target| target.alternative.constraint.is_some());
        for target in versioned {
            let Some(package) = self.of_release(target.name, release) else { continue };
            if !target.accepts(Some(self.index.package(package).version())) {
                continue;
            }
            let before = self.state(target.name).candidate;
            if before == Some(package) && self.followed.contains(&package) {
                return true;
            }
            self.followed.insert(package);
            if self.follow_release(package, release) {
                return true;
            }
            if clause.targets.last().is_some_and(|last| !std::ptr::eq(last, target)) {
                self.set_candidate(target.name, before);
            }
        }
        false
    }

    /// The newest version that is in the release.
    fn of_release(&self, name: NameId, release: &Release) -> Option<PackageId> {
        let mut versions = self.index.versions_of(name);
        let found = versions.find(|package| release.matches(package.origin(), self.index.architecture()))?;
        self.index.copies(found).next().map(|package| package.id())
    }
}
