//! A policy applied to an index: the priority of each version, and the candidate of each name.

use std::collections::HashMap;

use super::packages::Name;
use super::{Pin, Policy, Priority};
use crate::packages::{NameId, Package, PackageId, PackageIndex};
use crate::version;

/// The priority of an archive of which neither a pin nor its Release file says another.
const USUAL: i32 = 500;
/// Of what is installed, and of archives that are taken for upgrades only once something of them is
/// installed (`NotAutomatic` and `ButAutomaticUpgrades`).
const INSTALLED: i32 = 100;
/// Of archives that are taken for what nothing else has (`NotAutomatic`).
const NOT_AUTOMATIC: i32 = 1;
/// Below this, a version does not replace a newer one.
const DOWNGRADES: i32 = 1000;
/// Of [`Priority::Never`]: lower than any number.
const NEVER: i32 = i32::MIN;

/// The priorities of the versions in an index. A version that several archives have, with the same
/// content, is one version.
#[derive(Debug, Clone)]
pub struct Ranking<'i> {
    policy: Policy,
    index: &'i PackageIndex,
    /// Of each source of the index.
    files: Vec<Rank>,
    /// The positions of pins for names, ascending.
    by_name: HashMap<NameId, Vec<usize>>,
    /// The positions of pins for source packages, ascending, with the names.
    by_source: Vec<(usize, Name)>,
}

/// A priority, and the position of the pin that gave it.
#[derive(Debug, Clone, Copy)]
struct Rank {
    priority: i32,
    pin: Option<usize>,
}

impl<'i> Ranking<'i> {
    /// Applies `policy` to `index`.
    #[must_use]
    pub fn new(policy: &Policy, index: &'i PackageIndex) -> Self {
        let mut ranking =
            Self { policy: policy.clone(), index, files: Vec::new(), by_name: HashMap::new(), by_source: Vec::new() };
        ranking.rank_files();
        for (position, pin) in policy.pins.iter().enumerate().filter(|(_, pin)| !pin.packages.is_general()) {
            ranking.note(position, pin);
        }
        ranking
    }

    /// Of the pins for all packages, the first that matches an archive counts for it. (The manual
    /// page has the highest one, which is so only for a version of several archives.)
    fn rank_files(&mut self) {
        let (policy, architecture) = (&self.policy, self.index.architecture());
        let files = self.index.origins().map(|file| {
            let mut general = policy.pins.iter().enumerate().filter(|(_, pin)| pin.packages.is_general());
            let deciding = general.find(|(_, pin)| pin.versions.matches_file(file, architecture));
            let priority = match (deciding, file.release.not_automatic, file.release.but_automatic_upgrades) {
                (Some((_, pin)), ..) => number(pin.priority),
                (None, true, false) => NOT_AUTOMATIC,
                // apt asks for this field alone.
                (None, _, true) => INSTALLED,
                (None, false, false) => USUAL,
            };
            Rank { priority, pin: deciding.map(|(position, _)| position) }
        });
        self.files = files.collect();
    }

    /// Notes for which names a pin is, except where only versions can tell.
    fn note(&mut self, position: usize, pin: &Pin) {
        let index = self.index;
        let mut note = |name: NameId| {
            let positions = self.by_name.entry(name).or_default();
            if positions.last() != Some(&position) {
                positions.push(position);
            }
        };
        for word in pin.packages.words().iter().filter(|word| word.is_for(index.architecture())) {
            match &word.name {
                name if word.is_source => self.by_source.push((position, name.clone())),
                Name::Plain(name) => index.name_id(name).into_iter().for_each(&mut note),
                Name::Matching(expression) => {
                    index.names().filter(|&name| expression.matches(index.name(name))).for_each(&mut note);
                }
            }
        }
    }

    /// The priority of a version, as apt shows it: below 0 it is never a candidate.
    #[must_use]
    pub fn priority(&self, package: Package<'i>) -> i32 {
        self.rank(package).priority.max(i32::from(i16::MIN))
    }

    /// The pin that gave a version its priority.
    #[must_use]
    pub fn pin(&self, package: Package<'i>) -> Option<&Pin> {
        self.rank(package).pin.map(|position| &self.policy.pins[position])
    }

    /// The version of `name` that would be installed where none is.
    #[must_use]
    pub fn candidate(&self, name: &str) -> Option<Package<'i>> {
        let id = self.candidate_of(self.index.name_id(name)?, None)?;
        Some(self.index.package(id))
    }

    /// The version that would be installed where `installed` is: the one with the highest priority,
    /// of several the newest. It replaces a newer one only with a priority of 1000 or more.
    pub(crate) fn candidate_of(&self, name: NameId, installed: Option<PackageId>) -> Option<PackageId> {
        let installed = installed.map(|id| self.index.package(id));
        let mut best: Option<(i32, PackageId)> = None;
        for package in self.index.versions_of(name) {
            let Rank { mut priority, pin } = self.rank(package);
            let is_specific = pin.is_some_and(|pin| !self.policy.pins[pin].packages.is_general());
            if installed.is_some_and(|installed| installed.is_same(&package)) && !is_specific {
                priority = priority.max(INSTALLED);
            }
            let is_downgrade =
                || installed.is_some_and(|installed| version::compare(package.version(), installed.version()).is_lt());
            if priority < 1 || best.is_some_and(|(best, _)| priority <= best) || priority < DOWNGRADES && is_downgrade()
            {
                continue;
            }
            best = Some((priority, package.id()));
        }
        best.map(|(_, package)| package)
    }

    fn rank(&self, package: Package<'i>) -> Rank {
        let copies: Vec<_> = self.index.copies(package).collect();
        let files = copies.iter().map(|copy| self.files[copy.source_number()]);
        let Some(best) = files.max_by_key(|rank| rank.priority) else {
            unreachable!("a package is one of its copies");
        };
        let by_name = self.by_name.get(&package.name_id()).into_iter().flatten().copied();
        let by_source = || {
            let (source, _) = package.source();
            self.by_source.iter().filter(move |(_, name)| name.matches(source)).map(|&(position, _)| position)
        };
        let mut specific: Vec<_> = by_name.collect();
        if !self.by_source.is_empty() {
            specific.extend(by_source());
            specific.sort_unstable();
        }
        let deciding = specific.into_iter().find(|&position| {
            let files = copies.iter().map(Package::origin);
            self.policy.pins[position].versions.matches(package.version(), files, self.index.architecture())
        });
        match deciding {
            Some(position) if best.priority != NEVER => {
                Rank { priority: number(self.policy.pins[position].priority), pin: Some(position) }
            }
            _ => best,
        }
    }
}

fn number(priority: Priority) -> i32 {
    match priority {
        Priority::Number(number) => i32::from(number.get()),
        Priority::Never => NEVER,
    }
}
