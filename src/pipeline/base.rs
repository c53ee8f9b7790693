//! The base system: the packages, installed and configured, before anything of the recipe is applied to them.
//!
//! It is taken from a layer in the cache, if one was made of the same (see [`super::ingredients`]). Else it is installed
//! in a staging tree, and kept as a layer while the build goes on: a template that differs in its plugins alone starts
//! from there. Either way the build goes on from a tree in memory, which is the same, and only the bytes of its
//! files lie elsewhere.
//!
//! With `--incremental` the nearest layer that has some of the packages and no others will do, and the new
//! system's own dpkg installs the rest. What comes of that is not kept: its bytes need not be the same.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use fam_archive::fetch;
use fam_archive::lock::Lock;
use fam_host::parallel::both;
use fam_image::ROOT_PARTITION;
use fam_isolation::sandbox::{self, Sandbox, StandIn, TimeLimits};
use fam_progress::Progress;
use fam_rootfs::configure::{Answers, Configuration};
use fam_rootfs::install::{Addition, Installation};
use fam_rootfs::staging::Staging;
use fam_rootfs::unpack::{Filters, UnpackOptions};
use fam_rootfs::{apt, bootloader};

use super::Error;
use super::base_tree::BaseTree;
use super::job::Job;
use super::layers::{Choice, Found, Keeping};
use super::packages::Selection;
use super::staging_place::StagingPlace;
use crate::report::Start;

/// Where packages are installed.
const STAGING: &str = "staging";

/// A base system.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) tree: BaseTree,
    pub(super) start: Start,
    pub(super) keeping: Option<Keeping>,
}

/// What the base system of a build is made from.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    pub(super) job: &'a Job,
    pub(super) selection: &'a Selection,
    pub(super) choice: &'a Choice,
    /// What plugins will copy into it.
    pub(super) copied_bytes: u64,
    pub(super) progress: &'a Progress,
}

impl Maker<'_> {
    /// Makes the base system, from what was chosen.
    ///
    /// # Errors
    /// [`Error`].
    pub(super) fn make(&self) -> Result<Base, Error> {
        let Self { job, selection, choice, progress, .. } = self;
        warn_of_idle_answers(&job.answers, selection.lock(), progress);
        if job.answers.have_password() && job.settings.layers.bytes() > 0 {
            progress.detail("no layer is kept of these packages: there is a password among the answers");
        }
        if let Some(found) = choice.found()
            && let Some(base) = self.start_from(found)?
        {
            return Ok(base);
        }
        let place = self.place(STAGING)?;
        progress.step(format!("Fetching and unpacking {} packages", selection.lock().packages.len()));
        self.install(&place)?;
        let (tree, store) = place.into_tree(selection.time())?;
        let keeping = choice.keep(&tree, &store, progress);
        Ok(Base { tree: BaseTree::new(tree, store), start: Start::Packages, keeping })
    }

    /// Makes a place for a staging tree, which is called `name` among those of the build.
    ///
    /// # Errors
    /// [`Error`].
    pub(super) fn place(&self, name: &str) -> Result<StagingPlace, Error> {
        StagingPlace::prepare(name, self.job, self.selection, self.copied_bytes, self.progress)
    }

    /// Makes the base system from a layer; `None` if that is damaged, and therefore gone.
    fn start_from(&self, found: &Found) -> Result<Option<Base>, Error> {
        let count = found.packages();
        self.progress.step(format!("Starting from {count} packages as they were installed and configured before"));
        let Some(tree) = self.choice.open(found)? else {
            self.progress.warning(
                "the layer of these packages in the cache is damaged",
                Some("they are installed anew, and nothing is lost; if it happens again, check the disk".into()),
            );
            return Ok(None);
        };
        if found.is_exact() {
            return Ok(Some(Base { tree, start: Start::Layer, keeping: None }));
        }
        self.progress.warning(
            "the bytes of this build may differ from those of a fresh one, since it is incremental",
            Some("without --incremental, all packages are installed at once".into()),
        );
        let place = self.place(STAGING)?;
        tree.extract(tree.tree(), &place.staging)?;
        if !found.rest().is_empty() {
            self.add(found.rest(), &place)?;
        }
        self.record_automatic(&place.staging)?;
        let (tree, store) = place.into_tree(self.selection.time())?;
        Ok(Some(Base { tree: BaseTree::new(tree, store), start: Start::Incremental, keeping: None }))
    }

    /// Installs the packages at these positions on top of those that are there.
    fn add(&self, positions: &[usize], place: &StagingPlace) -> Result<(), Error> {
        self.progress.step(format!("Installing {} packages on top of them", positions.len()));
        self.selection.fetch_some(positions)?;
        let all = self.selection.debs();
        let debs: Vec<_> = positions.iter().map(|&position| all[position].clone()).collect();
        let addition = Addition { debs: &debs, configuration: &self.configuration() };
        Ok(addition.run(&place.staging, self.progress)?)
    }

    /// Fills the empty staging tree: what depends on the packages alone, and on no setting of the recipe but
    /// those that are [`Ingredients`](super::ingredients::Ingredients).
    fn install(&self, place: &StagingPlace) -> Result<(), Error> {
        let staging = &place.staging;
        self.fetch_and_install(place)?;
        // The dpkg of the guest has to leave out the same paths.
        self.filters().configure_dpkg(staging)?;
        self.record_automatic(staging)?;
        let source_date_epoch = Some(self.selection.time());
        let inside = sandbox::Settings { source_date_epoch, stand_ins: StandIn::no_services(), network: None };
        let enter = || Sandbox::enter(staging.host_path(), &inside);
        Ok(bootloader::install(staging, enter, ROOT_PARTITION, self.progress)?)
    }

    /// Fetches the packages and installs them at the same time: fetching waits for the network,
    /// installing for processors.
    fn fetch_and_install(&self, place: &StagingPlace) -> Result<(), Error> {
        let Self { job, selection, progress, .. } = self;
        let installation = Installation {
            debs: &selection.debs(),
            first: &selection.first_stage(),
            early: &selection.early_stage(),
            unpack: &UnpackOptions {
                architecture: job.settings.recipe.architecture.to_string(),
                // In every suite: from bookworm on packages count on it, and debootstrap does so for
                // bullseye, too.
                merged_usr: true,
                filters: self.filters(),
                jobs: job.settings.jobs.value,
            },
            configuration: &self.configuration(),
        };
        let stop = AtomicBool::new(false);
        let (sender, arrivals) = mpsc::channel();
        let fetch = || {
            let sender = sender;
            // Fails only after installing has ended, when arrivals no longer matter.
            selection.fetch(&stop, &|index| {
                let _ = sender.send(index);
            })
        };
        let install = || installation.run(arrivals, &stop, &place.staging, &place.aside, progress);
        match both(install, fetch) {
            // Fetching stops where installing failed first: that error is the cause.
            (installed, Err(fetch::Error::Stopped) | Ok(())) => Ok(installed?),
            (_, Err(error)) => Err(selection.not_fetched(error)),
        }
    }

    /// Leaves what `apt autoremove` in the guest asks for.
    fn record_automatic(&self, staging: &Staging) -> Result<(), Error> {
        let lock = self.selection.lock();
        let automatic = lock.packages.iter().filter(|package| package.automatic).map(|package| package.name.as_str());
        Ok(apt::record(staging, &lock.architecture, automatic)?)
    }

    fn configuration(&self) -> Configuration {
        Configuration {
            initramfs: self.job.settings.recipe.initramfs.value,
            source_date_epoch: self.selection.time(),
            answers: self.job.answers.clone(),
            limits: TimeLimits::default(),
        }
    }

    /// The rules of the recipe for paths of packages.
    fn filters(&self) -> Filters {
        self.job.settings.recipe.paths.iter().map(|listed| listed.what.map(ToString::to_string)).collect()
    }
}

/// Warns of answers that no package will ask for, since a name is wrong or a package is not
/// installed.
fn warn_of_idle_answers(answers: &Answers, lock: &Lock, progress: &Progress) {
    let is_installed = |name: &str| lock.packages.iter().any(|package| package.name == name);
    for package in answers.packages().into_iter().filter(|name| !is_installed(name)) {
        let hint = "the first word of an answer is the name of the package that asks".to_owned();
        progress.warning(format!("there are answers for the package {package}, which is not installed"), Some(hint));
    }
}
