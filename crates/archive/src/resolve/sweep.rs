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
        self.restore(&swept);
    }

    /// Where any package lacks something without what was swept, marks again what packages that are
    /// to be there name, or that provides what they name. apt does not ask which package lacks what,
    /// nor for versions.
    fn restore(&mut self, swept: &[NameId]) {
        let installed = self.installed();
        if swept.is_empty() || !installed.iter().any(|&(name, _)| self.is_broken(name) || self.lacks_recommended(name))
        {
            return;
        }
        let mut wanted: HashSet<_> = installed.iter().flat_map(|&(_, package)| self.wants(package)).collect();
        let mut names: Vec<_> =
            swept.iter().filter_map(|&name| Some((name, self.names_of(self.state(name).candidate?)))).collect();
        while let Some(position) = names.iter().position(|(_, names)| names.iter().any(|name| wanted.contains(name))) {
            let (name, _) = names.swap_remove(position);
            self.mark_alone(name, RequestedBy::Package { depth: 0 });
            if let Some(package) = self.state(name).install {
                wanted.extend(self.wants(package));
            }
        }
    }

    /// The names in the fields by which a package brings in others.
    fn wants(&mut self, package: PackageId) -> Vec<NameId> {
        let (clauses, recommended) = (self.clauses(package), self.recommended(package));
        let demanding = clauses.iter().chain(&*recommended).filter(|clause| !clause.forbids());
        demanding.flat_map(|clause| &clause.targets).map(|target| target.name).collect()
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
