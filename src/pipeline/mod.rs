//! Runs the stages of a build in order; the only module that knows them all.
//!
//! ```text
//! settings -> preflight -> [worker: packages -> base -> template -> overlays -> images -> cluster files] -> report
//! ```
//!
//! [`Preflight::check`] finds what is wrong before anything is fetched, and takes the output
//! directory. [`build`] runs in the supervisor and starts a worker, which does [`work`]. [`plan`]
//! and [`lock`] need no worker, and change nothing on the host but the cache.

mod answers;
mod archives;
mod base;
mod base_tree;
mod boot_loader;
mod cloud_seeds;
mod cluster_files;
mod disk_ids;
mod disk_turn;
mod error;
mod file_state;
mod further_archives;
mod image_record;
mod images;
mod ingredients;
mod job;
mod layers;
mod local;
mod logins;
mod network;
mod packages;
mod plugins;
mod preflight;
mod report;
mod staging_place;
mod system;
mod template;
mod template_key;
mod unfinished;
mod volume_sources;
mod volumes;

pub use archives::{http_options, mirror};
pub use error::Error;
pub use job::Job;
pub use local::packages as local_packages;
pub use logins::logins;
pub use plugins::{check_plugin, plugins};
pub use preflight::{LEAST_BYTES, Preflight, bytes_written, present_seed, require_room_for_images};

use std::sync::Arc;
use std::time::Instant;

use fam_archive::credentials::Logins;
use fam_archive::lock::Lock;
use fam_isolation::supervisor::{self, Inactive, Interrupts, Isolation, OutputLock, Protection};
use fam_plugin::{Provided, Secrets};
use fam_progress::Progress;
use fam_tree::Overlay;

use crate::plugins::{Build, OverlayRoot, PlannedStep, PluginPlan};
use crate::recipe::Settings;
use crate::report::{BuildReport, Failure, LockReport, PlanReport, Start};
use archives::Archives;
use disk_ids::DiskIds;
use image_record::ImageRecord;
use images::Disks;
use layers::Choice;
use packages::Selection;
use template::Template;
use volume_sources::Sources;

/// Builds what was asked for and checked.
///
/// # Errors
/// [`Error`]; nothing is left mounted or running then, and no artifact is incomplete.
pub fn build(preflight: Preflight, progress: &Progress, interrupts: &Interrupts) -> Result<BuildReport, Error> {
    let begin = Instant::now();
    let Preflight { job, isolation, lock } = preflight;
    for Protection { what, state } in isolation.protections() {
        progress.detail(match state {
            Ok(says) => format!("{what}: {says}"),
            Err(Inactive { why, .. }) => format!("{what}: not protected: {why}"),
        });
    }
    let built = supervisor::run(&job, &isolation, progress, interrupts);
    // A second ctrl-C must not cut the clean-up short.
    let _shield = interrupts.shield();
    let released = lock.release();
    // Why the build failed matters more than what could not be cleaned up after it.
    let start = built?;
    released?;
    Ok(report::built(&job, start, begin))
}

/// Says what a build would install, download and write. Fetches indexes, but no package.
///
/// # Errors
/// [`Error`].
pub fn plan(settings: &Settings, progress: &Progress) -> Result<PlanReport, Error> {
    let logins = preflight::logins(settings)?;
    let plugin_plan = plugins::plan(settings, &logins)?;
    let answers = answers::answers(settings)?;
    let local = local::packages(settings)?;
    volumes::check(settings)?;
    let archives = Archives::open(settings, &logins, progress)?;
    let networked = network::networked(settings, &plugin_plan);
    let selection = Selection::choose(settings, archives, &local, progress)?.with_networked(&networked);
    let choice = Choice::new(settings, &answers, &selection)?;
    let selection = selection.with_incremental(choice.other_layer().is_some());
    preflight::check_disk(settings, &selection, plugin_plan.copied_files().bytes())?;
    // Every template was made with a seed, so without one there is none to reuse.
    let reuses_template = match preflight::present_seed(settings)? {
        Some(seed) if !settings.fresh.value => {
            let build = selection.build(settings, *seed.bytes(), progress)?;
            let key = template_key::key(settings, &answers, &selection, &plugin_plan, &choice, &build)?;
            template::current(&settings.output.join(template::TEMPLATE), &key).is_some()
        }
        _ => false,
    };
    let layer = choice.plan().filter(|_| !settings.fresh.value);
    let settings = selection.with_resolved_archives(settings);
    Ok(report::plan(&settings, &plugin_plan.provided(), &selection, networked, reuses_template, layer))
}

/// Checks the plugins of a recipe, their settings, and the files that these and the recipe itself
/// name.
///
/// # Errors
/// [`Error`].
pub fn check(settings: &Settings) -> Result<(), Error> {
    preflight::check_client(settings, &Logins::default())?;
    further_archives::further_archives(settings)?;
    answers::answers(settings)?;
    local::packages(settings)?;
    volumes::check(settings)?;
    plugins::plan(settings, &Logins::default()).map(drop)
}

/// Resolves the package set of a build and writes it to fabric.lock in the output directory.
///
/// # Errors
/// [`Error`].
pub fn lock(settings: &Settings, progress: &Progress) -> Result<LockReport, Error> {
    let local = local::packages(settings)?;
    let output = OutputLock::acquire(&settings.output, &Isolation::none())?;
    let archives = Archives::open(settings, &preflight::logins(settings)?, progress)?;
    let networked = plugins::networked(settings)?;
    let selection = Selection::choose(settings, archives, &local, progress)?.with_networked(&networked);
    let path = cluster_files::write_lock(output.directory(), selection.lock())?;
    output.release()?;
    Ok(LockReport { path: path.display().to_string(), packages: selection.lock().packages.len() })
}

/// Runs the build inside the worker; returns what it started from.
///
/// # Errors
/// [`Failure`], ready to be shown.
#[allow(clippy::needless_pass_by_value)] // as the supervisor's protocol hands them over
pub fn work(mut job: Job, progress: Progress) -> Result<Start, Failure> {
    // They may hold the contents of large files, which are not to be in memory twice.
    let planned = std::mem::take(&mut job.plugins);
    run_build(&job, planned, &progress).map_err(Failure::from)
}

fn run_build(job: &Job, planned: Vec<PlannedStep>, progress: &Progress) -> Result<Start, Error> {
    let Job { settings, logins, local, .. } = job;
    let plugin_plan = plugins::take_over(job, planned)?;
    let networked = network::networked(settings, &plugin_plan);
    network::warn(&networked, progress);
    let (mut template, build, selection) = match &settings.from_tarball.value {
        Some(tarball) => {
            progress.step(format!("Reading {}", tarball.display()));
            let template = template::from_tarball(tarball, job)?;
            // Plugins ask for it, though nothing is fetched from it.
            let mirror = settings.mirror.value.clone().unwrap_or_else(archives::fallback_mirror);
            let facts = job::facts(settings, &mirror, None, template.time(settings));
            (template, Build::new(facts, job.seed, progress.clone()), None)
        }
        None => {
            let archives = Archives::open(settings, logins, progress)?;
            let selection = Selection::choose(settings, archives, local, progress)?.with_networked(&networked);
            let choice = Choice::new(settings, &job.answers, &selection)?;
            let selection = selection.with_incremental(choice.other_layer().is_some());
            let copied_bytes = plugin_plan.copied_files().bytes();
            preflight::check_disk(settings, &selection, copied_bytes)?;
            preflight::check_space(job, &selection, copied_bytes)?;
            let build = selection.build(settings, job.seed, progress)?;
            let template = template::obtain(job, &selection, &choice, &plugin_plan, &build, progress)?;
            cluster_files::write_lock(&job.output, selection.lock())?;
            (template, build, Some(selection))
        }
    };
    let record = ImageRecord::read(job, &template);
    let lock = selection.as_ref().map(Selection::lock);
    let written = write_cluster(job, &template, &plugin_plan, &build, lock, &record, progress);
    // Later builds start from the template: also where its disk is too small, but not where none can hold it.
    let is_good = !matches!(&written, Err(Error::Image(error)) if error.is_of_tree());
    let finished = if is_good { template.finish() } else { Ok(()) };
    written.and(finished)?;
    record.write(&template, progress);
    if let Some(peak) = peak_memory() {
        progress.detail(format!("peak memory of the worker: {} MiB", peak >> 20));
    }
    Ok(template.start)
}

/// Writes everything that is made of a template: the nodes' disks, and what runs them.
fn write_cluster(
    job: &Job,
    template: &Template,
    plugin_plan: &PluginPlan,
    build: &Build,
    lock: Option<&Lock>,
    record: &ImageRecord<'_>,
    progress: &Progress,
) -> Result<(), Error> {
    let (disk, time) = (&job.settings.recipe.disk, build.facts().source_date_epoch);
    progress.step(format!("Making disks for {} nodes", build.facts().nodes.len()));
    let has_identities = plugin_plan.provided().contains(&Provided::NodeIdentity);
    let ids = DiskIds::new(disk, has_identities.then(|| Secrets::new(job.seed)));
    let overlays = overlays(template, plugin_plan, build, &ids)?;
    let ssh_keys = plugin_plan.ssh_keys(build)?;
    let disks = Disks {
        job,
        tree: &template.tree,
        store: Arc::clone(&template.store),
        disk_turn: template.disk_turn(),
        timestamp: time,
        nodes: &build.facts().nodes,
        overlays,
        ids,
        sources: Sources::read(disk, &job.output.work(), time)?,
        one_layout: boot_loader::knows_checksum_seeds(template),
    };
    disks.write(record, progress)?;
    cluster_files::write_sbom(job, template, lock, time, progress)?;
    cluster_files::write(job, ssh_keys.as_ref())?;
    let private_key = ssh_keys.as_ref().map(|keys| keys.private_key.as_str());
    cloud_seeds::write(job, template, private_key, time, record, progress)
}

/// What node-stage plugins, and then the numbers of its disk, change for each node.
fn overlays(
    template: &Template,
    plugin_plan: &PluginPlan,
    build: &Build,
    ids: &DiskIds,
) -> Result<Vec<Overlay>, Error> {
    let time = build.facts().source_date_epoch;
    let overlays = build.facts().nodes.iter().map(|node| {
        let mut root = OverlayRoot::new(Arc::clone(&template.tree), Arc::clone(&template.store), time);
        plugin_plan.apply_node(node, &mut root, build)?;
        let mut overlay = root.into_overlay();
        ids.name_own_disk(node.number, template, &mut overlay);
        Ok(overlay)
    });
    overlays.collect()
}

/// The most memory that this process has had in use, without what it put into memory file systems.
fn peak_memory() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
