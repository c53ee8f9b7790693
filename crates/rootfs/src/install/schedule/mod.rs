//! In which order packages are installed: a pure function of what their control files say.
//!
//! What has to come before what, from Debian Policy 6.5, 6.7 and 7.2, and from the two stages in
//! which debootstrap and mmdebstrap make a system:
//! - The essential packages, and all that these depend on, are the first stage. They are placed
//!   together, since none of their scripts runs without the others' programs. Then their preinst
//!   scripts run, then they are configured; all this before a script of any other package runs,
//!   since each may count on them without saying so (3.8).
//! - What any Pre-Depends names, with all that it needs, is the early stage: it is installed before the rest, as apt
//!   does it, and while the rest is still on its way.
//! - Whatever else has no preinst is placed next: it waits for nothing.
//! - A preinst runs when all that its package pre-depends on is configured, and before the
//!   package's files are placed.
//! - What pre-dependencies name is configured with all that it depends on, in one run of dpkg.
//! - What is left is configured last.
//!
//! Where there are answers to questions, debconf is installed before all else that follows the
//! first stage (if it is not in that), and takes them before another package of the second stage is
//! configured.
//!
//! Within a run dpkg decides on the order, and where a circle of dependencies is broken. A circle
//! through Pre-Depends, which Policy forbids and apt refuses, is broken here: one preinst of it
//! runs before all that it waits for is configured.
//!
//! The order of `nodes` decides nothing: where nothing else does, names do.

mod node;

use std::collections::{BTreeMap, BTreeSet};

use node::Wanted;
pub use node::{Clause, Node};

/// The packages that all others of the first stage count on, whatever they depend on, in the order
/// in which they are wanted.
pub const FOREMOST: [&str; 2] = ["base-passwd", "base-files"];

/// The package that takes answers to the questions of others.
pub const DEBCONF: &str = "debconf";

/// Something to do, with positions in the list of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Put the files of these into the tree, one package after another.
    Place(Vec<usize>),
    /// Run the preinst of this one.
    Preinst(usize),
    /// Have dpkg configure these, in an order of its own.
    Configure(Vec<usize>),
    /// Have debconf, which is configured, take the answers to questions.
    Preseed,
}

/// What to do with packages.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// What to do, one after another. Each package is placed once. What no step configures is left
    /// for the end.
    pub steps: Vec<Step>,
    /// Packages whose preinst runs too early, since it waits for itself.
    pub cuts: Vec<usize>,
}

impl Schedule {
    /// The same, where each position is that of an element of `positions`.
    #[must_use]
    pub fn at(self, positions: &[usize]) -> Self {
        let all = |packages: Vec<usize>| packages.into_iter().map(|package| positions[package]).collect();
        let step = |step| match step {
            Step::Place(packages) => Step::Place(all(packages)),
            Step::Preinst(package) => Step::Preinst(positions[package]),
            Step::Configure(packages) => Step::Configure(all(packages)),
            Step::Preseed => Step::Preseed,
        };
        Self { steps: self.steps.into_iter().map(step).collect(), cuts: all(self.cuts) }
    }
}

/// The first stage: what is meant for it ([`Node::first`]) and what that depends on. In the order
/// in which preinst scripts run.
#[must_use]
pub fn first_stage(nodes: &[Node]) -> Vec<usize> {
    let names = Names::new(nodes);
    let begin = (0..nodes.len()).filter(|&position| nodes[position].first);
    names.in_order(&names.closure(begin, &BTreeSet::new()))
}

/// Whether all that `nodes` depend on is among them, so that they can be a first stage whatever
/// other packages there are.
#[must_use]
pub fn is_closed(nodes: &[Node]) -> bool {
    let names = Names::new(nodes);
    nodes.iter().flat_map(Node::needs).all(|clause| names.satisfying(clause).next().is_some())
}

/// Two packages of which the first Conflicts with the second or Breaks it, if there are such. A
/// package excludes neither itself nor what it provides (Debian Policy 7.4).
#[must_use]
pub fn exclusion(nodes: &[Node]) -> Option<(usize, usize)> {
    let names = Names::new(nodes);
    let excluded = |package: usize| {
        let others = nodes[package].excludes.iter().flat_map(|wanted| names.accepted(wanted));
        others.filter(move |&other| other != package).map(move |other| (package, other))
    };
    (0..nodes.len()).flat_map(excluded).next()
}

/// What belongs to the early stage: what packages pre-depend on, and what that needs, but for what is of the first
/// stage. Whether a package has a preinst that waits for it does not matter, since no index says so.
#[must_use]
pub fn awaited(nodes: &[Node], first: &BTreeSet<usize>) -> BTreeSet<usize> {
    let names = Names::new(nodes);
    let begin = (0..nodes.len()).flat_map(|package| names.chosen(package, first));
    &names.closure(begin, first) - first
}

/// The early stage, which `nodes` consist of beside the first one. It leaves nothing to configure.
#[must_use]
pub fn early_stage(nodes: &[Node], first: &BTreeSet<usize>) -> Schedule {
    let mut planner = Planner::new(nodes, first);
    planner.take_all();
    planner.configure((0..nodes.len()).filter(|package| !planner.configured.contains(package)).collect());
    planner.schedule
}

/// All that comes after the packages `configured`, which are the first stage, or the early one as well. `preseed`
/// says that there are answers that debconf does not know yet.
#[must_use]
pub fn second_stage(nodes: &[Node], configured: &BTreeSet<usize>, preseed: bool) -> Schedule {
    let mut planner = Planner::new(nodes, configured);
    if preseed && let Some(debconf) = planner.names.by_name.get(DEBCONF).copied() {
        planner.preseed(debconf);
    }
    planner.take_all();
    planner.schedule
}

/// The schedule as far as it is made.
struct Planner<'a> {
    names: Names<'a>,
    placed: BTreeSet<usize>,
    configured: BTreeSet<usize>,
    /// Packages with a preinst that has not run.
    waiting: BTreeSet<usize>,
    schedule: Schedule,
}

impl<'a> Planner<'a> {
    /// Begins with what waits for nothing, where the packages `configured` are there.
    fn new(nodes: &'a [Node], configured: &BTreeSet<usize>) -> Self {
        let others = (0..nodes.len()).filter(|position| !configured.contains(position));
        let (waiting, at_once) = others.partition(|&it| nodes[it].preinst);
        let mut planner = Self {
            names: Names::new(nodes),
            placed: configured.clone(),
            configured: configured.clone(),
            waiting,
            schedule: Schedule::default(),
        };
        planner.place(&at_once);
        planner
    }

    /// Installs debconf and what it needs, and has it take the answers. What has a preinst and is
    /// not needed waits until then.
    fn preseed(&mut self, debconf: usize) {
        let needed = self.needed_for(debconf);
        let (early, later) =
            std::mem::take(&mut self.waiting).into_iter().partition(|package| needed.contains(package));
        self.waiting = early;
        self.take_all();
        self.configure(&needed - &self.configured);
        self.schedule.steps.push(Step::Preseed);
        self.waiting = later;
    }

    /// What has to be configured for `package` to be, itself included: also what preinst scripts
    /// wait for.
    fn needed_for(&self, package: usize) -> BTreeSet<usize> {
        let mut needed = &self.names.closure([package], &self.configured) - &self.configured;
        loop {
            let waiting = needed.iter().filter(|it| self.waiting.contains(it));
            // What a preinst waits for may have a preinst that waits for more: so until nothing is
            // added.
            let all: BTreeSet<usize> = waiting.flat_map(|&it| self.awaited(it)).chain(needed.iter().copied()).collect();
            if all.len() == needed.len() {
                return needed;
            }
            needed = all;
        }
    }

    /// Takes all packages that are waiting.
    fn take_all(&mut self) {
        while self.take_those_that_wait_for_nothing()
            || self.take_those_that_wait_for_placed_packages()
            || self.take_one_of_a_circle()
        {}
    }

    fn take_those_that_wait_for_nothing(&mut self) -> bool {
        let free = self.waiting.iter().copied().filter(|&package| self.awaited(package).is_empty()).collect();
        self.take(&free)
    }

    fn take_those_that_wait_for_placed_packages(&mut self) -> bool {
        let awaited = |&package: &usize| Some(self.awaited(package)).filter(|awaited| awaited.is_subset(&self.placed));
        let ready: BTreeMap<usize, BTreeSet<usize>> =
            self.waiting.iter().filter_map(|package| Some((*package, awaited(package)?))).collect();
        self.configure(ready.values().flatten().copied().collect());
        self.take(&ready.into_keys().collect())
    }

    /// Whatever is still waiting does so for one that is waiting, so there is a circle. Of those
    /// that wait for no circle but their own, one is taken whose pre-dependencies themselves are
    /// placed, if there is one; else by name.
    fn take_one_of_a_circle(&mut self) -> bool {
        let for_whom: BTreeMap<usize, BTreeSet<usize>> =
            self.waiting.iter().map(|&package| (package, &self.awaited(package) & &self.waiting)).collect();
        let all = |package: &usize| reachable(&for_whom, *package);
        let innermost = |package: &&usize| all(package).iter().all(|other| all(other).contains(*package));
        let direct_are_placed = |package: usize| self.names.chosen(package, &self.placed).is_subset(&self.placed);
        let key = |package: &usize| (!direct_are_placed(*package), self.names.nodes[*package].name.as_str());
        let Some(package) = self.waiting.iter().filter(innermost).copied().min_by(|a, b| key(a).cmp(&key(b))) else {
            return false;
        };
        let needed = |other| &self.names.closure([other], &self.configured) - &self.configured;
        let awaited = self.awaited(package).into_iter().map(needed);
        self.configure(awaited.filter(|needed| needed.is_subset(&self.placed)).flatten().collect());
        self.schedule.cuts.push(package);
        self.take(&BTreeSet::from([package]))
    }

    /// What has to be configured before the preinst of `package` runs, and is not.
    fn awaited(&self, package: usize) -> BTreeSet<usize> {
        let begin = self.names.chosen(package, &self.configured);
        &self.names.closure(begin, &self.configured) - &self.configured
    }

    fn place(&mut self, packages: &BTreeSet<usize>) {
        if !packages.is_empty() {
            self.schedule.steps.push(Step::Place(self.names.by_name(packages)));
            self.placed.extend(packages);
        }
    }

    fn configure(&mut self, packages: BTreeSet<usize>) {
        if !packages.is_empty() {
            self.schedule.steps.push(Step::Configure(self.names.by_name(&packages)));
            self.configured.extend(packages);
        }
    }

    /// The preinst scripts of `packages`, then their files. None of the scripts counts on another
    /// of these packages.
    fn take(&mut self, packages: &BTreeSet<usize>) -> bool {
        self.schedule.steps.extend(self.names.in_order(packages).into_iter().map(Step::Preinst));
        self.place(packages);
        self.waiting.retain(|package| !packages.contains(package));
        !packages.is_empty()
    }
}

/// What can be reached from `begin` in one step or more.
fn reachable(edges: &BTreeMap<usize, BTreeSet<usize>>, begin: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut pending = vec![begin];
    while let Some(next) = pending.pop() {
        pending.extend(edges.get(&next).into_iter().flatten().filter(|other| found.insert(**other)));
    }
    found
}

/// The packages by name, and by what they provide.
struct Names<'a> {
    nodes: &'a [Node],
    by_name: BTreeMap<&'a str, usize>,
    /// For each virtual name the packages that provide it, in the order of their names.
    providers: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Names<'a> {
    fn new(nodes: &'a [Node]) -> Self {
        let by_name: BTreeMap<&str, usize> =
            nodes.iter().enumerate().map(|(position, node)| (node.name.as_str(), position)).collect();
        let mut providers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for &position in by_name.values() {
            for name in nodes[position].virtual_names() {
                providers.entry(name).or_default().push(position);
            }
        }
        Self { nodes, by_name, providers }
    }

    /// The packages that satisfy `clause`, in the order of its alternatives, a real package before
    /// those that provide it.
    fn satisfying(&self, clause: &'a Clause) -> impl Iterator<Item = usize> {
        clause.alternatives().flat_map(|wanted| self.accepted(wanted))
    }

    fn accepted(&self, wanted: &'a Wanted) -> impl Iterator<Item = usize> {
        let real = self.by_name.get(wanted.name()).copied();
        let virtual_ones = self.providers.get(wanted.name()).into_iter().flatten().copied();
        real.into_iter().chain(virtual_ones).filter(|&position| wanted.accepts(&self.nodes[position]))
    }

    /// The package that is to satisfy `clause`: one of `preferred`, if one of these does. None
    /// where no package does.
    fn choice(&self, clause: &'a Clause, preferred: impl Fn(usize) -> bool) -> Option<usize> {
        let mut satisfying = self.satisfying(clause).peekable();
        let first = satisfying.peek().copied();
        satisfying.find(|&position| preferred(position)).or(first)
    }

    /// What is to satisfy the pre-dependencies of `package`.
    fn chosen(&self, package: usize, preferred: &BTreeSet<usize>) -> BTreeSet<usize> {
        let clauses = self.nodes[package].pre_depends.iter();
        clauses.filter_map(|clause| self.choice(clause, |position| preferred.contains(&position))).collect()
    }

    /// The packages `begin` and all that these need, without what only those need that are `there`
    /// already.
    fn closure(&self, begin: impl IntoIterator<Item = usize>, there: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut found: BTreeSet<usize> = begin.into_iter().collect();
        let mut pending = self.by_name(&found);
        pending.retain(|position| !there.contains(position));
        // A stack: the first by name is taken first, so that no result depends on the order of
        // `begin`.
        pending.reverse();
        while let Some(package) = pending.pop() {
            for clause in self.nodes[package].needs() {
                let known = |position| there.contains(&position) || found.contains(&position);
                let Some(choice) = self.choice(clause, known) else { continue };
                if !there.contains(&choice) && found.insert(choice) {
                    pending.push(choice);
                }
            }
        }
        found
    }

    fn by_name(&self, packages: &BTreeSet<usize>) -> Vec<usize> {
        let mut sorted: Vec<usize> = packages.iter().copied().collect();
        sorted.sort_by_key(|&position| self.nodes[position].name.as_str());
        sorted
    }

    /// The packages so that each comes after what it depends on, as far as that is without a
    /// circle; [`FOREMOST`] come first, else the order is that of the names.
    fn in_order(&self, packages: &BTreeSet<usize>) -> Vec<usize> {
        let foremost: Vec<usize> = FOREMOST.iter().filter_map(|name| self.by_name.get(name).copied()).collect();
        let begin = foremost.iter().copied().filter(|position| packages.contains(position));
        let mut seen = BTreeSet::new();
        let mut ordered = Vec::with_capacity(packages.len());
        for package in begin.chain(self.by_name(packages)) {
            // Depth first without recursion, since chains are as long as an archive makes them.
            let mut path = Vec::new();
            let needed = |position: usize| {
                // These come first whatever they depend on, so nothing is put before them.
                let counts = !foremost.contains(&position);
                let clauses = self.nodes[position].needs().filter(move |_| counts);
                clauses.filter_map(|clause| self.choice(clause, |position| packages.contains(&position)))
            };
            if seen.insert(package) {
                path.push((package, needed(package)));
            }
            while let Some((package, needs)) = path.last_mut() {
                match needs.next() {
                    Some(next) if packages.contains(&next) => {
                        if seen.insert(next) {
                            path.push((next, needed(next)));
                        }
                    }
                    Some(_) => {}
                    None => {
                        ordered.push(*package);
                        path.pop();
                    }
                }
            }
        }
        ordered
    }
}

#[cfg(test)]
mod tests;
