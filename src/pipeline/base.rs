//! The base system: the packages, installed and configured, before anything of the recipe is applied to them.
//!
//! It is taken from a layer in the cache, if one was made of the same [`Ingredients`]. Else it is installed,
//! and kept as a layer: a template that differs in its plugins alone starts from there. Both ways give the
//! same tree (see [`fam_rootfs::layer`]).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use fam_archive::cache::{self, Cache, Layer};
use fam_archive::fetch;
use fam_archive::lock::Lock;
use fam_host::space::require_space;
use fam_image::ROOT_PARTITION;
use fam_isolation::sandbox::{self, Sandbox, StandIn, TimeLimits};
use fam_progress::Progress;
use fam_rootfs::configure::{Answers, Configuration};
use fam_rootfs::install::Installation;
use fam_rootfs::staging::Staging;
use fam_rootfs::unpack::{Filters, UnpackOptions};
use fam_rootfs::{apt, bootloader, layer};
use fam_tree::tarball;
use fs_err::File;

use super::Error;
use super::ingredients::Ingredients;
use super::job::Job;
use super::packages::Selection;
use super::staging_place::StagingPlace;
use crate::recipe::{Recipe, Settings};
use crate::report::{PlannedLayer, Start};

/// What is left free where the cache is.
const SPARE_BYTES: u64 = 64 << 20;

/// A base system in its staging tree.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) place: StagingPlace,
    pub(super) start: Start,
    pub(super) keeping: Keeping,
}

/// A layer that is being kept meanwhile.
#[derive(Debug, Default)]
pub(super) struct Keeping(Option<JoinHandle<Result<(), cache::Error>>>);

impl Keeping {
    /// Waits until it is kept. Without it the next build takes longer, so this fails no build.
    pub(super) fn wait(self, progress: &Progress) {
        match self.0.map(JoinHandle::join) {
            Some(Ok(kept)) => remark(kept, progress),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => {}
        }
    }
}

fn remark(kept: Result<(), impl std::fmt::Display>, progress: &Progress) {
    if let Err(error) = kept {
        progress.detail(format!("no layer is kept of these packages: {error}"));
    }
}

/// Where layers are, and what one of this build is made of.
#[derive(Debug)]
struct Layers {
    cache: Cache,
    limit: u64,
    ingredients: Ingredients,
}

impl Layers {
    /// `None` where there are to be none, or none of these packages.
    fn open(settings: &Settings, answers: &Answers, selection: &Selection) -> Result<Option<Self>, Error> {
        let limit = settings.layers.bytes();
        if limit == 0 {
            return Ok(None);
        }
        let Some(ingredients) = Ingredients::new(settings, answers, selection)? else { return Ok(None) };
        let cache = Cache::open(&settings.cache_dir.value).map_err(fam_archive::client::Error::from)?;
        Ok(Some(Self { cache, limit, ingredients }))
    }

    fn current(&self) -> Option<Layer> {
        self.cache.layer(&self.ingredients.to_text())
    }

    /// Makes the tree of a layer; returns whether there is one, and it is whole.
    fn extract(&self, layer: &Layer, staging: &Staging) -> Result<bool, Error> {
        let Some(tarball) = self.cache.open_layer(layer) else { return Ok(false) };
        let (is_whole, extracted) = thread::scope(|scope| {
            let check = scope.spawn(|| layer.is_whole(&tarball).unwrap_or(false));
            let extracted = tarball::index(&tarball).map_err(Error::from);
            let extracted = extracted.and_then(|tree| Ok(layer::extract(&tree, &tarball, staging)?));
            (check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), extracted)
        });
        // What was made of other bytes than those that were kept says nothing, errors included.
        if is_whole { extracted.map(|()| true) } else { Ok(false) }
    }

    /// Writes the tree into the cache, where it becomes a layer while the build goes on.
    fn keep(&self, staging: &Staging, time: i64) -> Result<Keeping, Error> {
        let root = File::open(staging.host_path())?;
        let survey = tarball::Survey::of(root.as_fd())?;
        require_space(self.cache.directory(), "a layer of the packages", survey.bytes().saturating_add(SPARE_BYTES))?;
        let new = self.cache.new_layer(survey.bytes(), self.limit).map_err(fam_archive::client::Error::from)?;
        let Some(new) = new else {
            return Err(io::Error::other(format!("--layers allows less than its {} MiB", survey.bytes() >> 20)).into());
        };
        let devices: BTreeMap<_, _> = staging.devices().into_iter().collect();
        survey.write(&devices, time, None, new.file())?;
        let made_of = self.ingredients.to_text();
        Ok(Keeping(Some(thread::spawn(move || new.finish(&made_of)))))
    }
}

/// Says from which layer a build starts, or what the nearest one lacks; `None` where there is none.
pub(super) fn plan(
    settings: &Settings,
    answers: &Answers,
    selection: &Selection,
) -> Result<Option<PlannedLayer>, Error> {
    let Some(layers) = Layers::open(settings, answers, selection)?.filter(|_| !settings.fresh.value) else {
        return Ok(None);
    };
    let others = layers.cache.layers().iter().filter_map(Ingredients::of_layer).collect::<Vec<_>>();
    let compared = others.iter().map(|other| (layers.ingredients.differences(other), other.packages()));
    let nearest = compared.min_by_key(|(differences, _)| differences.distance());
    Ok(nearest.map(|(differences, packages)| PlannedLayer {
        packages,
        differences: Some(differences.to_string()).filter(|text| !text.is_empty()),
    }))
}

/// Makes the base system. Plugins will copy `copied_bytes` into it.
pub(super) fn obtain(job: &Job, selection: &Selection, copied_bytes: u64, progress: &Progress) -> Result<Base, Error> {
    let time = selection.time();
    warn_of_idle_answers(&job.answers, selection.lock(), progress);
    let count = selection.lock().packages.len();
    let layers = Layers::open(&job.settings, &job.answers, selection)?;
    if job.answers.have_password() {
        progress.detail("no layer is kept of these packages: there is a password among the answers");
    }
    if let Some(layers) = layers.as_ref().filter(|_| !job.settings.fresh.value)
        && let Some(layer) = layers.current()
    {
        progress.step(format!("Starting from {count} packages as they were installed and configured before"));
        let place = StagingPlace::prepare(job, selection, copied_bytes, progress)?;
        if layers.extract(&layer, &place.staging)? {
            return Ok(Base { place, start: Start::Layer, keeping: Keeping::default() });
        }
        progress.warning(
            "the layer of these packages in the cache is damaged",
            Some("they are installed anew, and nothing is lost; if it happens again, check the disk".into()),
        );
        layers.cache.remove_layer(&layer).map_err(fam_archive::client::Error::from)?;
    }
    let place = StagingPlace::prepare(job, selection, copied_bytes, progress)?;
    progress.step(format!("Fetching and unpacking {count} packages"));
    install(job, selection, &place, time, progress)?;
    layer::settle(&place.staging, time)?;
    let keeping = match layers.map(|layers| layers.keep(&place.staging, time)).transpose() {
        Ok(keeping) => keeping.unwrap_or_default(),
        Err(error) => {
            remark(Err(error), progress);
            Keeping::default()
        }
    };
    Ok(Base { place, start: Start::Packages, keeping })
}

/// Fills the empty staging tree: what depends on the packages alone, and on no setting of the recipe but
/// those that are [`Ingredients`].
fn install(
    job: &Job,
    selection: &Selection,
    place: &StagingPlace,
    time: i64,
    progress: &Progress,
) -> Result<(), Error> {
    let (staging, lock) = (&place.staging, selection.lock());
    fetch_and_install(job, selection, place, time, progress)?;
    // The dpkg of the guest has to leave out the same paths.
    filters(&job.settings.recipe).configure_dpkg(staging)?;
    // `apt autoremove` in the guest asks for this record.
    let automatic = lock.packages.iter().filter(|package| package.automatic).map(|package| package.name.as_str());
    apt::record(staging, &lock.architecture, automatic)?;
    let inside = sandbox::Settings { source_date_epoch: Some(time), stand_ins: StandIn::no_services(), network: None };
    let enter = || Sandbox::enter(staging.host_path(), &inside);
    Ok(bootloader::install(staging, enter, ROOT_PARTITION, progress)?)
}

/// The rules of the recipe for paths of packages.
fn filters(recipe: &Recipe) -> Filters {
    recipe.paths.iter().map(|listed| listed.what.map(ToString::to_string)).collect()
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

/// Fetches the packages and installs them at the same time: fetching waits for the network,
/// installing for processors.
fn fetch_and_install(
    job: &Job,
    selection: &Selection,
    place: &StagingPlace,
    time: i64,
    progress: &Progress,
) -> Result<(), Error> {
    let recipe = &job.settings.recipe;
    let installation = Installation {
        debs: &selection.debs(),
        first: &selection.first_stage(),
        unpack: &UnpackOptions {
            architecture: recipe.architecture.to_string(),
            // In every suite: from bookworm on packages count on it, and debootstrap does so for
            // bullseye, too.
            merged_usr: true,
            filters: filters(recipe),
            jobs: job.settings.jobs.value,
        },
        configuration: &Configuration {
            initramfs: recipe.initramfs.value,
            source_date_epoch: time,
            answers: job.answers.clone(),
            limits: TimeLimits::default(),
        },
    };
    let stop = AtomicBool::new(false);
    let (sender, arrivals) = mpsc::channel();
    let (fetched, installed) = thread::scope(|scope| {
        let fetching = scope.spawn(|| {
            let sender = sender;
            // Fails only after installing has ended, when arrivals no longer matter.
            selection.fetch(&stop, &|index| {
                let _ = sender.send(index);
            })
        });
        let installed = installation.run(arrivals, &stop, &place.staging, &place.aside, progress);
        (fetching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), installed)
    });
    match (fetched, installed) {
        // Fetching stops where installing failed first: that error is the cause.
        (Err(fetch::Error::Stopped) | Ok(()), installed) => Ok(installed?),
        (Err(error), _) => Err(selection.not_fetched(error)),
    }
}
