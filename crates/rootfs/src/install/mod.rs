//! Installs packages: what dpkg would do one after another, with the work that waits for nothing
//! done by all cores.
//!
//! Packages are fetched and made ready at once, in any order. Meanwhile, as soon as the essential
//! packages are ready, the first stage is placed and configured, and then the early one, which others wait for:
//! their scripts see nothing of the others, whose files lie beside the tree. Then comes the rest, in the order that
//! [`schedule`] finds. Only one thing at a time changes the tree, so that no result depends on which thread was
//! the faster.

mod addition;
pub mod schedule;

pub use addition::Addition;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;

use fam_progress::Progress;
use schedule::{Node, Schedule, Step};

use super::configure::{self, Configuration, Configurator};
use super::dpkg::Package;
use super::staging::Staging;
use super::unpack::{self, Arrivals, DebFile, Placement, Preparations, Prepared, UnpackOptions};

/// What to install, and how.
#[derive(Debug)]
pub struct Installation<'a> {
    /// The packages.
    pub debs: &'a [DebFile],
    /// Which of them, by position, the first stage is made of: the essential packages and what
    /// these need. With none, it is found out when all packages are there.
    pub first: &'a [usize],
    /// Which of them the early stage is made of: what others pre-depend on, and what that needs. With none, it is found
    /// out as well.
    pub early: &'a [usize],
    /// How to unpack.
    pub unpack: &'a UnpackOptions,
    /// How to configure.
    pub configuration: &'a Configuration,
}

/// Why packages could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One of them cannot be unpacked.
    #[error("{0}")]
    Unpack(#[from] unpack::Error),
    /// A script failed, or dpkg.
    #[error("{0}")]
    Configure(#[from] configure::Error),
}

impl Installation<'_> {
    /// Installs the packages into the empty tree `staging`. They come by their positions while they
    /// are being fetched, until no more can come. `aside` is an empty directory on the same file
    /// system, outside the tree; it is left empty. `stop` is shared with the fetching: a failure
    /// here sets it, and when it is set this gives up soon.
    ///
    /// # Errors
    /// [`Error`]; with [`unpack::Error::Stopped`], `stop` was set elsewhere, or not all files
    /// came.
    pub fn run(
        &self,
        arrivals: Receiver<usize>,
        stop: &AtomicBool,
        staging: &Staging,
        aside: &Staging,
        progress: &Progress,
    ) -> Result<(), Error> {
        let filters = &self.unpack.filters;
        let (first, early) = (self.first, self.early);
        let preparations = Preparations { debs: self.debs, first, early, filters, aside, stop, progress };
        thread::scope(|scope| {
            let installed = (|| {
                let arrivals = preparations.begin(scope, arrivals, self.unpack.jobs)?;
                let placement = unpack::begin(staging, aside, self.unpack)?;
                let configurator = Configurator::new(staging, self.configuration, self.debs.len(), progress);
                Installer { of: self, arrivals, placement, configurator, stop, progress }.run()
            })();
            if installed.is_err() {
                // The scope waits for the threads that prepare packages; without this they would
                // first prepare all that are left.
                stop.store(true, Ordering::Relaxed);
            }
            installed
        })
    }
}

/// An installation that is going on.
struct Installer<'a> {
    of: &'a Installation<'a>,
    arrivals: Arrivals<'a>,
    placement: Placement<'a>,
    configurator: Configurator<'a>,
    stop: &'a AtomicBool,
    progress: &'a Progress,
}

impl Installer<'_> {
    fn run(mut self) -> Result<(), Error> {
        let first = self.early_first_stage()?;
        let early = self.of.early.iter().copied().collect();
        let there = first.as_ref().map(|first| self.early_stage(first, &early)).transpose()?.flatten();
        self.arrivals.wait_for_all()?;
        let count = self.of.debs.len();
        self.progress.step(format!("Configuring {count} packages"));
        let nodes = self.nodes(0..count)?;
        if let Some((package, other)) = schedule::exclusion(&nodes) {
            let [package, other] = [package, other].map(|position| nodes[position].name.clone());
            return Err(unpack::Error::Excluded { package, other }.into());
        }
        let first = match first {
            Some(first) => first,
            None => self.first_stage(&schedule::first_stage(&nodes))?,
        };
        let there = match there {
            Some(there) => there,
            None => self.early_stage(&first, &schedule::awaited(&nodes, &first))?.unwrap_or(first),
        };
        self.follow(&schedule::second_stage(&nodes, &there, self.configurator.wants_preseeding()))?;
        Ok(self.configurator.finish()?)
    }

    /// Installs the first stage while other packages are still being fetched, if it is known which
    /// packages it is made of.
    fn early_first_stage(&mut self) -> Result<Option<BTreeSet<usize>>, Error> {
        let first = self.of.first;
        if first.is_empty() {
            return Ok(None);
        }
        self.arrivals.wait_for(first.iter().copied())?;
        let nodes = self.nodes(first.iter().copied())?;
        // What the caller chose by the indexes may lack something that the control files demand.
        // Then the first stage is found among all packages.
        if !schedule::is_closed(&nodes) {
            return Ok(None);
        }
        let order: Vec<usize> = schedule::first_stage(&nodes).into_iter().map(|position| first[position]).collect();
        self.first_stage(&order).map(Some)
    }

    /// Places and configures the packages of the first stage, whose preinst scripts run in this
    /// order.
    fn first_stage(&mut self, order: &[usize]) -> Result<BTreeSet<usize>, Error> {
        let first: BTreeSet<usize> = order.iter().copied().collect();
        self.placement.place(self.arrivals.take(first.iter().copied()))?;
        let packages: Vec<_> = order.iter().filter_map(|&position| self.placement.package(position)).collect();
        self.configurator.first_stage(&packages)?;
        self.configurator.leave()?;
        Ok(first)
    }

    /// Installs the packages `early`, the early stage, and returns what is there then. It does nothing where there are none,
    /// where they need something that is neither among them nor of the first stage, and where debconf is to take answers
    /// before.
    fn early_stage(
        &mut self,
        first: &BTreeSet<usize>,
        early: &BTreeSet<usize>,
    ) -> Result<Option<BTreeSet<usize>>, Error> {
        if early.is_empty() || self.configurator.wants_preseeding() {
            return Ok(None);
        }
        self.arrivals.wait_for(early.iter().copied())?;
        let there = first | early;
        let positions: Vec<usize> = there.iter().copied().collect();
        let nodes = self.nodes(positions.iter().copied())?;
        if !schedule::is_closed(&nodes) {
            return Ok(None);
        }
        let first = (0..positions.len()).filter(|&it| first.contains(&positions[it])).collect();
        self.follow(&schedule::early_stage(&nodes, &first).at(&positions))?;
        self.configurator.leave()?;
        Ok(Some(there))
    }

    fn follow(&mut self, schedule: &Schedule) -> Result<(), Error> {
        for &package in &schedule.cuts {
            let name = &self.of.debs[package].name;
            self.progress
                .detail(format!("{name} pre-depends on what needs {name}: its preinst runs before that is configured"));
        }
        schedule.steps.iter().try_for_each(|step| self.take(step))
    }

    fn take(&mut self, step: &Step) -> Result<(), Error> {
        let debs = self.of.debs;
        if self.stop.load(Ordering::Relaxed) {
            return Err(unpack::Error::Stopped.into());
        }
        match step {
            Step::Place(packages) => {
                // The sandbox ends before the tree changes: its stand-ins are mounted over files,
                // and one that is replaced would be in force no more.
                self.progress.detail(format!("placing {} packages", packages.len()));
                self.configurator.leave()?;
                self.placement.place(self.arrivals.take(packages.iter().copied()))?;
                let placed = packages.iter().filter_map(|&position| self.placement.package(position));
                placed.for_each(|package| self.configurator.add(package));
            }
            Step::Preinst(package) => {
                self.placement.before_scripts()?;
                self.progress.detail(format!("preinst of {}", debs[*package].name));
                for prepared in self.arrivals.ready([*package]) {
                    self.configurator.preinst(prepared.package())?;
                }
            }
            Step::Configure(packages) => {
                let names = packages.iter().map(|&package| debs[package].name.as_str());
                self.progress.detail(format!("configuring early {}", names.clone().collect::<Vec<_>>().join(", ")));
                self.configurator.configure(names)?;
            }
            Step::Preseed => self.configurator.preseed()?,
        }
        Ok(())
    }

    /// What the order follows from, of packages that are ready or placed.
    fn nodes(&self, positions: impl IntoIterator<Item = usize>) -> Result<Vec<Node>, unpack::Error> {
        let node = |position: usize| {
            let ready = self.arrivals.ready([position]).next().map(Prepared::package);
            let package = ready.or(self.placement.package(position)).ok_or(unpack::Error::Stopped)?;
            let first = self.of.first.contains(&position) || self.of.first.is_empty() && package.essential;
            node_of(package, first)
        };
        positions.into_iter().map(node).collect()
    }
}

/// What the order of a package follows from; `first` says whether it is meant for the first stage.
fn node_of(package: &Package, first: bool) -> Result<Node, unpack::Error> {
    package.node(first).map_err(|source| unpack::Error::Control { package: package.name.clone(), source })
}
