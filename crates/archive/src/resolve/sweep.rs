//! The sweep: unmarks what was marked for the sake of a package that in the end is not needed.
//!
//! What is needed is found as apt finds it (`MarkRequired` and `Sweep` of `apt-pkg/depcache.cc`,
//! `DoAutomaticRemove` of `apt-private/private-install.cc`): from the packages that are wanted
//! for themselves, along Depends, and along Recommends and Suggests too, for although these install
//! nothing, they keep what is there.

use std::collections::{HashMap, HashSet};

use super::mark::RequestedBy;
use super::state::{Clause, Solver, Target, read_clauses};
use crate::packages::{NameId, PackageId, Relation};
use crate::version;

const FOLLOWED: [Relation; 4] = [Relation::PreDepends, Relation::Depends, Relation::Recommends, Relation::Suggests];

impl Solver<'_> {
    /// Unmarks new packages that nothing needs.
    pub(super) fn sweep(&mut self) {
        let installed = self.installed();
        let mut needed = Needed { solver: self, is_needed: HashSet::new(), is_explored: HashSet::new() };
        for &(name, package) in &installed {
            let solver = &needed.solver;
            if !solver.state(name).automatic || solver.is_essential(name) || solver.is_protected_package(name) {
                needed.follow(package);
            }
        }
        let is_needed = needed.is_needed;
        let mut swept = Vec::new();
        for (name, _) in installed {
            if !is_needed.contains(&name)
                && self.state(name).current.is_none()
                && self.mark_delete(name, RequestedBy::Package { depth: 0 })
            {
                swept.push(name);
            }
        }
        self.restore(swept);
    }

    /// Marks again what a package that stays depends on. apt explores no name twice, and so may
    /// have missed something.
    fn restore(&mut self, mut swept: Vec<NameId>) {
        while !swept.is_empty() {
            let broken = self.broken();
            let wanted = broken.into_iter().find_map(|name| {
                let package = self.state(name).install?;
                let clauses = self.clauses(package);
                let demanding = clauses.iter().filter(|clause| !clause.forbids());
                let mut solutions = demanding.flat_map(|clause| self.solutions(name, clause));
                solutions.find_map(|solution| swept.iter().position(|&name| name == self.name_of(solution)))
            });
            let Some(position) = wanted else { return };
            let name = swept.remove(position);
            self.mark_alone(name, RequestedBy::Package { depth: 0 });
        }
    }
}

/// The exploration of what is needed.
struct Needed<'s, 'i> {
    solver: &'s Solver<'i>,
    is_needed: HashSet<NameId>,
    is_explored: HashSet<NameId>,
}

impl<'i> Needed<'_, 'i> {
    /// Explores from a package that shall be there, depth first. The stack is explicit, because
    /// chains along Suggests run through most of the archive.
    fn follow(&mut self, root: PackageId) {
        let mut stack = vec![self.enter(root).into_iter()];
        while let Some(targets) = stack.last_mut() {
            let Some(target) = targets.next() else {
                stack.pop();
                continue;
            };
            for package in self.providers(&target) {
                let next = self.enter(package);
                stack.push(next.into_iter());
            }
        }
    }

    /// Notes a package as needed; returns what it points to, or nothing if it was noted before.
    fn enter(&mut self, package: PackageId) -> Vec<Target<'i>> {
        if !self.is_needed.insert(self.solver.name_of(package)) {
            return Vec::new();
        }
        let index = self.solver.index;
        let fields = FOLLOWED.into_iter().flat_map(|relation| read_clauses(index, package, relation));
        fields.flat_map(|Clause { targets, .. }| targets).collect()
    }

    /// The packages to be there that `target` may mean; of several from one source package only
    /// those of its highest version.
    fn providers(&mut self, target: &Target<'i>) -> Vec<PackageId> {
        if self.is_explored.contains(&target.name) {
            return Vec::new();
        }
        let installed = |name: NameId| self.solver.state(name).install;
        let all = installed(target.name).into_iter().chain(
            self.solver
                .index
                .providers(target.name)
                .map(|(package, _)| package)
                .filter(|&package| installed(self.solver.name_of(package)) == Some(package)),
        );
        let offered = all.count();
        // These relations forbid nothing, so a package may meet its own demand.
        let found: Vec<_> = self.solver.matches(target.name, false, target, installed).collect();
        if found.len() == offered {
            self.is_explored.insert(target.name);
        }
        let mut highest: HashMap<&str, &str> = HashMap::new();
        for &package in &found {
            let (source, version) = self.solver.index.package(package).source();
            let known = highest.entry(source).or_insert(version);
            if version::compare(version, known).is_gt() {
                *known = version;
            }
        }
        found
            .into_iter()
            .filter(|&package| {
                let (source, version) = self.solver.index.package(package).source();
                highest.get(source) == Some(&version)
            })
            .collect()
    }
}
