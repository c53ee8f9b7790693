//! The base system: the packages, installed and configured, before anything of the recipe is applied to them.
//!
//! It is taken from a layer in the cache, if one was made of the same [`Ingredients`]. Else it is installed,
//! and kept as a layer: a template that differs in its plugins alone starts from there. Both ways give the
//! same tree (see [`fam_rootfs::layer`]).
//!
//! With `--incremental` the nearest layer that has some of the packages and no others will do, and the new
//! system's own dpkg installs the rest. What comes of that is not kept: its bytes need not be the same.

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
use fam_rootfs::install::{Addition, Installation};
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

/// What a build starts from.
#[derive(Debug)]
pub(super) struct Choice {
    /// Where layers are; `None` where there are to be none, or none of these packages.
    layers: Option<Layers>,
    found: Option<Found>,
}

/// A layer to start from.
#[derive(Debug)]
struct Found {
    layer: Layer,
    made_of: Ingredients,
    /// Whether it is of these very packages, and nothing about it is another way.
    is_exact: bool,
    /// The positions in the lock of the packages that it lacks.
    rest: Vec<usize>,
}

/// Where layers are, and what one of this build is made of.
#[derive(Debug)]
struct Layers {
    cache: Cache,
    limit: u64,
    ingredients: Ingredients,
}

impl Layers {
    fn open(settings: &Settings, answers: &Answers, selection: &Selection) -> Result<Option<Self>, Error> {
        let limit = settings.layers.bytes();
        if limit == 0 {
            return Ok(None);
        }
        let Some(ingredients) = Ingredients::new(settings, answers, selection)? else { return Ok(None) };
        let cache = Cache::open(&settings.cache_dir.value).map_err(fam_archive::client::Error::from)?;
        Ok(Some(Self { cache, limit, ingredients }))
    }

    /// The layer of these very packages.
    fn exact(&self) -> Option<Found> {
        let layer = self.cache.layer(&self.ingredients.to_text())?;
        Some(Found { layer, made_of: self.ingredients.clone(), is_exact: true, rest: Vec::new() })
    }

    /// The layer that lacks the fewest of these packages, and has no others.
    fn nearest_beneath(&self) -> Option<Found> {
        let found = self.cache.layers().into_iter().filter_map(|layer| {
            let made_of = Ingredients::of_layer(&layer)?;
            let rest = self.ingredients.on_top_of(&made_of)?;
            Some(Found { layer, made_of, is_exact: false, rest })
        });
        found.min_by_key(|found| (found.rest.len(), found.layer.made_of().to_owned()))
    }

    /// Makes the tree of a layer; returns whether it is whole.
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

impl Choice {
    /// The layer of these very packages; with `--incremental`, else the nearest one beneath them; else none.
    pub(super) fn new(settings: &Settings, answers: &Answers, selection: &Selection) -> Result<Self, Error> {
        let layers = Layers::open(settings, answers, selection)?;
        let usable = layers.as_ref().filter(|_| !settings.fresh.value);
        let exact = usable.and_then(Layers::exact);
        let found = exact.or_else(|| usable.filter(|_| settings.incremental.value)?.nearest_beneath());
        Ok(Self { layers, found })
    }

    /// What a layer was made of on top of which packages are to be installed.
    pub(super) fn beneath(&self) -> Option<&str> {
        self.found.as_ref().filter(|found| !found.is_exact).map(|found| found.layer.made_of())
    }

    /// As a plan says it; `None` where there is no layer at all.
    pub(super) fn plan(&self) -> Option<PlannedLayer> {
        let Layers { cache, ingredients, .. } = self.layers.as_ref()?;
        let planned = |made_of: &Ingredients, is_start| PlannedLayer {
            packages: made_of.packages(),
            is_start,
            differences: Some(ingredients.differences(made_of).to_string()).filter(|text| !text.is_empty()),
        };
        if let Some(found) = &self.found {
            return Some(planned(&found.made_of, true));
        }
        let others = cache.layers().iter().filter_map(Ingredients::of_layer).collect::<Vec<_>>();
        let nearest = others.iter().min_by_key(|other| ingredients.differences(other).distance())?;
        Some(planned(nearest, false))
    }
}

/// Makes the base system, from what was chosen. Plugins will copy `copied_bytes` into it.
pub(super) fn obtain(
    job: &Job,
    selection: &Selection,
    choice: &Choice,
    copied_bytes: u64,
    progress: &Progress,
) -> Result<Base, Error> {
    let time = selection.time();
    warn_of_idle_answers(&job.answers, selection.lock(), progress);
    if job.answers.have_password() {
        progress.detail("no layer is kept of these packages: there is a password among the answers");
    }
    if let Choice { layers: Some(layers), found: Some(found) } = choice {
        let base = start_from(layers, found, job, selection, copied_bytes, progress)?;
        if let Some(base) = base {
            return Ok(base);
        }
    }
    let place = StagingPlace::prepare(job, selection, copied_bytes, progress)?;
    progress.step(format!("Fetching and unpacking {} packages", selection.lock().packages.len()));
    install(job, selection, &place, time, progress)?;
    layer::settle(&place.staging, time)?;
    let keeping = match choice.layers.as_ref().map(|layers| layers.keep(&place.staging, time)).transpose() {
        Ok(keeping) => keeping.unwrap_or_default(),
        Err(error) => {
            remark(Err(error), progress);
            Keeping::default()
        }
    };
    Ok(Base { place, start: Start::Packages, keeping })
}

/// Makes the base system from a layer; `None` if that is damaged, and therefore gone.
fn start_from(
    layers: &Layers,
    found: &Found,
    job: &Job,
    selection: &Selection,
    copied_bytes: u64,
    progress: &Progress,
) -> Result<Option<Base>, Error> {
    let Found { layer, made_of, is_exact, rest } = found;
    let packages = made_of.packages();
    progress.step(format!("Starting from {packages} packages as they were installed and configured before"));
    let place = StagingPlace::prepare(job, selection, copied_bytes, progress)?;
    if !layers.extract(layer, &place.staging)? {
        progress.warning(
            "the layer of these packages in the cache is damaged",
            Some("they are installed anew, and nothing is lost; if it happens again, check the disk".into()),
        );
        layers.cache.remove_layer(layer).map_err(fam_archive::client::Error::from)?;
        return Ok(None);
    }
    if *is_exact {
        return Ok(Some(Base { place, start: Start::Layer, keeping: Keeping::default() }));
    }
    progress.warning(
        "the bytes of this build may differ from those of a fresh one, since it is incremental",
        Some("without --incremental, all packages are installed at once".into()),
    );
    if !rest.is_empty() {
        add(rest, job, selection, &place, progress)?;
    }
    record_automatic(&place.staging, selection)?;
    layer::settle(&place.staging, selection.time())?;
    Ok(Some(Base { place, start: Start::Incremental, keeping: Keeping::default() }))
}

/// Installs the packages at these positions on top of those that are there.
fn add(
    positions: &[usize],
    job: &Job,
    selection: &Selection,
    place: &StagingPlace,
    progress: &Progress,
) -> Result<(), Error> {
    let count = positions.len();
    progress.step(format!("Installing {count} packages on top of them"));
    selection.fetch_some(positions)?;
    let all = selection.debs();
    let debs: Vec<_> = positions.iter().map(|&position| all[position].clone()).collect();
    let configuration = configuration(job, selection.time());
    Ok(Addition { debs: &debs, configuration: &configuration }.run(&place.staging, progress)?)
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
    let staging = &place.staging;
    fetch_and_install(job, selection, place, time, progress)?;
    // The dpkg of the guest has to leave out the same paths.
    filters(&job.settings.recipe).configure_dpkg(staging)?;
    record_automatic(staging, selection)?;
    let inside = sandbox::Settings { source_date_epoch: Some(time), stand_ins: StandIn::no_services(), network: None };
    let enter = || Sandbox::enter(staging.host_path(), &inside);
    Ok(bootloader::install(staging, enter, ROOT_PARTITION, progress)?)
}

/// Leaves what `apt autoremove` in the guest asks for.
fn record_automatic(staging: &Staging, selection: &Selection) -> Result<(), Error> {
    let lock = selection.lock();
    let automatic = lock.packages.iter().filter(|package| package.automatic).map(|package| package.name.as_str());
    Ok(apt::record(staging, &lock.architecture, automatic)?)
}

fn configuration(job: &Job, time: i64) -> Configuration {
    Configuration {
        initramfs: job.settings.recipe.initramfs.value,
        source_date_epoch: time,
        answers: job.answers.clone(),
        limits: TimeLimits::default(),
    }
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
        configuration: &configuration(job, time),
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
