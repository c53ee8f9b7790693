//! The state that resolving works on: for every name, which version is there, which one could be,
//! and which one shall be.
//!
//! This is the counterpart of apt's `pkgDepCache`, for one architecture. The questions asked of it
//! are whether a clause holds, and which packages could make it hold; the moves are in
//! [`mark`](super::mark) and [`repair`](super::repair).

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::request::Recommends;
use crate::dependency::Alternative;
use crate::packages::{MultiArch, NameId, PackageId, PackageIndex, Relation};
use crate::policy::Ranking;

/// What shall become of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Keep,
    Install,
    Delete,
}

/// The state of one name.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// The version that is there before the stage begins.
    pub(super) current: Option<PackageId>,
    /// The version that would be installed, if any.
    pub(super) candidate: Option<PackageId>,
    /// The candidate with which the stage began.
    pub(super) offered: Option<PackageId>,
    /// The version that shall be there when the stage ends.
    pub(super) install: Option<PackageId>,
    pub(super) mode: Mode,
    /// Whether only other packages want it.
    pub(super) automatic: bool,
    /// Whether it is decided: only the user may still change it.
    pub(super) protected: bool,
}

/// One clause of a relation field. Fields that forbid have one alternative a clause.
#[derive(Debug)]
pub(super) struct Clause<'i> {
    pub(super) relation: Relation,
    pub(super) targets: Vec<Target<'i>>,
}

impl Clause<'_> {
    /// Whether the package is broken where the clause does not hold.
    pub(super) fn is_critical(&self) -> bool {
        self.relation != Relation::Recommends
    }

    /// Whether the clause forbids rather than demands.
    pub(super) fn forbids(&self) -> bool {
        matches!(self.relation, Relation::Conflicts | Relation::Breaks)
    }
}

/// One alternative and the name it points to.
#[derive(Debug)]
pub(super) struct Target<'i> {
    pub(super) name: NameId,
    pub(super) alternative: Alternative<'i>,
}

impl Target<'_> {
    /// Whether `version` is accepted; a provider without a version meets no demand on one.
    pub(super) fn accepts(&self, version: Option<&str>) -> bool {
        match (&self.alternative.constraint, version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(constraint), Some(version)) => constraint.accepts(version),
        }
    }
}

/// Which of a package's versions is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VersionSlot {
    Current,
    Candidate,
    Install,
}

#[derive(Debug)]
pub(super) struct Solver<'i> {
    pub(super) index: &'i PackageIndex,
    pub(super) ranking: Ranking<'i>,
    states: Vec<State>,
    clauses: HashMap<PackageId, Rc<[Clause<'i>]>>,
    /// Candidates that were given up, as (name, candidate), where the name's dependants do not know
    /// it yet. apt computes what a candidate could satisfy when a package of that name changes, but
    /// not when its candidate is given up.
    unnoticed: HashSet<(NameId, PackageId)>,
    /// What comes from a release for the sake of a package that was asked for so.
    pub(super) followed: HashSet<PackageId>,
    /// The name that is essential though no stanza says so: apt, to itself.
    pub(super) forced_essential: Option<NameId>,
    /// Whose Recommends are followed.
    recommends: Followed,
    recommended: HashMap<PackageId, Rc<[Clause<'i>]>>,
}

/// The packages whose Recommends are followed.
#[derive(Debug)]
enum Followed {
    All,
    Of(HashSet<NameId>),
}

impl<'i> Solver<'i> {
    /// A solver for a system in which nothing is installed. No name has a candidate yet.
    pub(super) fn new(index: &'i PackageIndex, ranking: Ranking<'i>, recommends: &Recommends) -> Self {
        let states = index.names().map(|_| State {
            current: None,
            candidate: None,
            offered: None,
            install: None,
            mode: Mode::Keep,
            automatic: false,
            protected: false,
        });
        Self {
            index,
            ranking,
            states: states.collect(),
            clauses: HashMap::new(),
            unnoticed: HashSet::new(),
            followed: HashSet::new(),
            forced_essential: None,
            recommends: match recommends {
                Recommends::All => Followed::All,
                Recommends::None => Followed::Of(HashSet::new()),
                Recommends::Of(names) => Followed::Of(names.iter().filter_map(|name| index.name_id(name)).collect()),
            },
            recommended: HashMap::new(),
        }
    }

    pub(super) fn state(&self, name: NameId) -> &State {
        &self.states[name.index()]
    }

    pub(super) fn state_mut(&mut self, name: NameId) -> &mut State {
        &mut self.states[name.index()]
    }

    /// Ends a stage: what was to be installed is there now, and wanted for itself, because dpkg
    /// installed it. The candidates are to be set anew.
    pub(super) fn commit(&mut self) {
        for state in &mut self.states {
            state.current = state.install;
            state.mode = Mode::Keep;
            state.automatic = false;
            state.protected = false;
        }
        self.unnoticed.clear();
        self.followed.clear();
    }

    /// The packages that shall be there, in the order of their names' numbers.
    pub(super) fn installed(&self) -> Vec<(NameId, PackageId)> {
        self.index.names().filter_map(|name| Some((name, self.state(name).install?))).collect()
    }

    pub(super) fn name_of(&self, package: PackageId) -> NameId {
        self.index.package(package).name_id()
    }

    pub(super) fn is_essential(&self, name: NameId) -> bool {
        self.index.is_essential(name) || self.forced_essential == Some(name)
    }

    pub(super) fn is_protected_package(&self, name: NameId) -> bool {
        self.index.is_protected(name) || self.forced_essential == Some(name)
    }

    /// What `package` demands and forbids, in the order in which apt reads the fields.
    pub(super) fn clauses(&mut self, package: PackageId) -> Rc<[Clause<'i>]> {
        if let Some(clauses) = self.clauses.get(&package) {
            return Rc::clone(clauses);
        }
        let clauses: Rc<[_]> = [Relation::PreDepends, Relation::Depends, Relation::Conflicts, Relation::Breaks]
            .into_iter()
            .flat_map(|relation| read_clauses(self.index, package, relation))
            .collect();
        self.clauses.insert(package, Rc::clone(&clauses));
        clauses
    }

    /// What `package` recommends, if that is followed.
    pub(super) fn recommended(&mut self, package: PackageId) -> Rc<[Clause<'i>]> {
        if let Some(clauses) = self.recommended.get(&package) {
            return Rc::clone(clauses);
        }
        let is_followed = match &self.recommends {
            Followed::All => true,
            Followed::Of(names) => names.contains(&self.name_of(package)),
        };
        let clauses = if is_followed { read_clauses(self.index, package, Relation::Recommends) } else { Vec::new() };
        let clauses: Rc<[_]> = clauses.into();
        self.recommended.insert(package, Rc::clone(&clauses));
        clauses
    }

    pub(super) fn version(&self, name: NameId, which: VersionSlot) -> Option<PackageId> {
        let state = self.state(name);
        match which {
            VersionSlot::Current => state.current,
            VersionSlot::Candidate => state.candidate,
            VersionSlot::Install => state.install,
        }
    }

    /// The packages, of those that `pick` gives for their names, that a relation field of `owner`
    /// points to.
    pub(super) fn matches<'s>(
        &'s self,
        owner: NameId,
        forbids: bool,
        target: &'s Target<'i>,
        pick: impl Fn(NameId) -> Option<PackageId> + Copy + 's,
    ) -> impl Iterator<Item = PackageId> + 's {
        // A package conflicts with neither itself nor its own virtual names.
        let is_ignored = move |name: NameId| forbids && name == owner;
        let real = pick(target.name)
            .filter(|&package| !is_ignored(target.name) && target.accepts(Some(self.index.package(package).version())));
        let virtual_ones = self.index.providers(target.name).filter_map(move |(package, version)| {
            let name = self.name_of(package);
            (!is_ignored(name) && pick(name) == Some(package) && target.accepts(version)).then_some(package)
        });
        real.into_iter().chain(virtual_ones)
    }

    /// Whether the package named by `target` would do. One that is not to be installed does where
    /// no version is asked for.
    pub(super) fn accepts_itself(&self, target: &Target<'_>) -> bool {
        target.alternative.constraint.is_none_or(|constraint| {
            let install = self.state(target.name).install;
            install.is_some_and(|package| constraint.accepts(self.index.package(package).version()))
        })
    }

    /// The packages, of the versions that `which` means, that a relation field of `owner` points
    /// to.
    pub(super) fn matches_among<'s>(
        &'s self,
        owner: NameId,
        forbids: bool,
        target: &'s Target<'i>,
        which: VersionSlot,
    ) -> impl Iterator<Item = PackageId> + 's {
        self.matches(owner, forbids, target, move |name| self.version(name, which))
    }

    /// Whether a clause of `owner` points to any of the versions that `which` means.
    fn points_to(&self, owner: NameId, clause: &Clause<'i>, which: VersionSlot) -> bool {
        let mut targets = clause.targets.iter();
        targets.any(|target| self.matches_among(owner, clause.forbids(), target, which).next().is_some())
    }

    /// Whether a clause of `owner` holds among the versions that `which` means.
    pub(super) fn holds(&self, owner: NameId, clause: &Clause<'i>, which: VersionSlot) -> bool {
        self.points_to(owner, clause, which) != clause.forbids()
    }

    /// Whether candidates could make a demanding clause hold, as far as apt has noticed.
    pub(super) fn seems_possible(&self, owner: NameId, clause: &Clause<'i>) -> bool {
        let unnoticed = |target: &Target<'i>| {
            let given_up = |name| {
                let candidates = self.unnoticed.iter().filter(|(unaware, _)| *unaware == target.name);
                candidates.map(|&(_, package)| package).find(|&package| self.name_of(package) == name)
            };
            self.matches(owner, false, target, given_up).next().is_some()
        };
        self.points_to(owner, clause, VersionSlot::Candidate)
            || !self.unnoticed.is_empty() && clause.targets.iter().any(unnoticed)
    }

    /// Whether what shall be installed of `name` lacks something or clashes with something.
    pub(super) fn is_broken(&mut self, name: NameId) -> bool {
        let Some(package) = self.state(name).install else { return false };
        self.clauses(package).iter().any(|clause| !self.holds(name, clause, VersionSlot::Install))
    }

    /// Whether what shall be installed of `name` lacks something that it recommends.
    pub(super) fn lacks_recommended(&mut self, name: NameId) -> bool {
        let Some(package) = self.state(name).install else { return false };
        self.recommended(package).iter().any(|clause| !self.holds(name, clause, VersionSlot::Install))
    }

    /// The names of all packages that are broken.
    pub(super) fn broken(&mut self) -> Vec<NameId> {
        self.installed().into_iter().map(|(name, _)| name).filter(|&name| self.is_broken(name)).collect()
    }

    /// The candidates that `clause` points to, in apt's order of preference: by alternative, what
    /// is there before what is not, and by [`preference`](Self::preference) within an alternative.
    pub(super) fn solutions(&self, owner: NameId, clause: &Clause<'i>) -> Vec<PackageId> {
        let (mut present, mut new) = (Vec::new(), Vec::new());
        for target in &clause.targets {
            let mut found: Vec<_> =
                self.matches_among(owner, clause.forbids(), target, VersionSlot::Candidate).collect();
            found.sort_by_key(|&package| self.preference(package, target.name));
            for package in found {
                let is_present = self.state(self.name_of(package)).current.is_some();
                if is_present { &mut present } else { &mut new }.push(package);
            }
        }
        present.append(&mut new);
        present.dedup();
        if !clause.forbids() {
            present.retain(|&package| !self.is_ruled_out(self.name_of(package)));
        }
        present
    }

    /// The distinct packages, candidates or present, that `clause` points to.
    pub(super) fn possibilities(&self, owner: NameId, clause: &Clause<'i>) -> Vec<PackageId> {
        let mut found: Vec<_> = clause
            .targets
            .iter()
            .flat_map(|target| {
                [VersionSlot::Candidate, VersionSlot::Current]
                    .into_iter()
                    .flat_map(move |which| self.matches_among(owner, clause.forbids(), target, which))
            })
            .filter(|&package| clause.forbids() || !self.is_ruled_out(self.name_of(package)))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether it is decided that the package is not there.
    fn is_ruled_out(&self, name: NameId) -> bool {
        let state = self.state(name);
        state.protected && (state.mode == Mode::Delete || state.mode == Mode::Keep && state.current.is_none())
    }

    /// The key by which apt sorts the providers of one name. The last resort is the number of the
    /// name, latest first.
    fn preference(&self, package: PackageId, target: NameId) -> impl Ord + use<> {
        let view = self.index.package(package);
        let name = view.name_id();
        let state = self.state(name);
        let is_present = state.current.is_some();
        (
            Reverse(state.protected),
            Reverse(is_present && view.multi_arch() == MultiArch::Same),
            Reverse(is_present),
            Reverse(name == target),
            Reverse(self.is_essential(name)),
            Reverse(self.is_protected_package(name)),
            view.priority(),
            Reverse(name),
        )
    }

    /// Gives up the candidate of `name` for another version, or for none.
    pub(super) fn give_up_candidate(&mut self, name: NameId, instead: Option<PackageId>) {
        let given_up = std::mem::replace(&mut self.state_mut(name).candidate, instead);
        if let Some(package) = given_up.filter(|_| given_up != instead) {
            for affected in self.names_of(package) {
                self.unnoticed.insert((affected, package));
            }
        }
    }

    /// Has the dependants of `name`, and of all that it provides, notice which candidates were
    /// given up.
    pub(super) fn notice(&mut self, name: NameId) {
        if self.unnoticed.is_empty() {
            return;
        }
        let state = *self.state(name);
        let mut names = vec![name];
        for package in [state.current, state.candidate].into_iter().flatten() {
            names.extend(self.names_of(package));
        }
        self.unnoticed.retain(|(unaware, _)| !names.contains(unaware));
    }

    /// The name of a package and the names it provides.
    pub(super) fn names_of(&self, package: PackageId) -> Vec<NameId> {
        let provided = read_clauses(self.index, package, Relation::Provides);
        let mut names: Vec<_> = provided.iter().flat_map(|clause| &clause.targets).map(|target| target.name).collect();
        names.push(self.name_of(package));
        if self.index.package(package).multi_arch() == MultiArch::Allowed {
            let qualified = names.iter().map(|&name| format!("{}:any", self.index.name(name)));
            let with_any: Vec<_> = qualified.filter_map(|name| self.index.name_id(&name)).collect();
            names.extend(with_any);
        }
        names
    }
}

/// The clauses of one relation field.
pub(super) fn read_clauses(index: &PackageIndex, package: PackageId, relation: Relation) -> Vec<Clause<'_>> {
    // Adding a stanza to the index read its relations and numbered every name in them.
    let fields = index.package(package).relation(relation).unwrap_or_default();
    let to_target = |alternative| index.target(&alternative).map(|name| Target { name, alternative });
    // Only the alternatives of a demand belong together; elsewhere each one counts by itself.
    let splits = !matches!(relation, Relation::PreDepends | Relation::Depends | Relation::Recommends);
    let mut clauses = Vec::new();
    for field in fields {
        let targets = field.alternatives.into_iter().filter_map(to_target);
        if splits {
            clauses.extend(targets.map(|target| Clause { relation, targets: vec![target] }));
        } else {
            clauses.push(Clause { relation, targets: targets.collect() });
        }
    }
    clauses
}
