//! The stages of a build in order: the one place that knows them all.
//!
//! ```text
//! settings -> preflight -> [worker: packages -> template -> images -> surroundings] -> report
//! ```
//!
//! [`build`] runs in the supervisor: it checks everything that can be checked, takes the output directory, and starts a
//! worker, which does [`work`]. [`plan`] and [`lock`] change nothing on the host but the cache, and need no worker.

mod error;
mod images;
mod job;
mod packages;
mod preflight;
mod report;
mod surroundings;
mod template;

pub use error::Error;
pub use job::Job;
pub use report::{BuildReport, PlanReport, PlannedArtifact, PlannedPackage};

use std::sync::Arc;

use fam_plugin::{Context, Secrets};

use crate::archive::lock::Lock;
use crate::customize::Plugins;
use crate::progress::Progress;
use crate::recipe::Settings;
use crate::supervisor::{self, Failure, Interrupts};
use images::Disks;
use packages::{Archives, Selection};
use preflight::Preflight;

/// Builds everything that `settings` ask for.
///
/// # Errors
/// [`Error`]; nothing is left mounted or running then, and no artifact is incomplete.
pub fn build(settings: &Settings, progress: &Progress, interrupts: &Interrupts) -> Result<BuildReport, Error> {
    let Preflight { job, isolation, lock } = Preflight::check(settings, progress)?;
    let built = supervisor::run(&job, &isolation, progress, interrupts);
    // A second ctrl-C must not cut the clean-up short.
    let _shield = interrupts.shield();
    lock.release()?;
    Ok(built?)
}

/// Says what a build would install, download and write. Fetches indexes, but no package.
///
/// # Errors
/// [`Error`].
pub fn plan(settings: &Settings, progress: &Progress) -> Result<PlanReport, Error> {
    let plugins = Plugins::new(&settings.recipe.plugins)?;
    drop(plugins);
    let archives = Archives::open(settings, progress)?;
    let selection = Selection::choose(settings, archives, progress)?;
    Ok(report::plan(settings, &selection))
}

/// Resolves the package set of a build.
///
/// # Errors
/// [`Error`].
pub fn lock(settings: &Settings, progress: &Progress) -> Result<Lock, Error> {
    let archives = Archives::open(settings, progress)?;
    Ok(Selection::choose(settings, archives, progress)?.into_lock())
}

/// What the worker does.
///
/// # Errors
/// [`Failure`], ready to be shown.
#[allow(clippy::needless_pass_by_value)] // as the supervisor's protocol hands them over
pub fn work(job: Job, progress: Progress) -> Result<BuildReport, Failure> {
    run(&job, &progress).map_err(|error| Failure::new(&error, error.hint()))
}

fn run(job: &Job, progress: &Progress) -> Result<BuildReport, Error> {
    let settings = &job.settings;
    let plugins = Plugins::new(&settings.recipe.plugins)?;
    let secrets = Secrets::new(job.seed);
    let context = |mirror: &str, security: Option<&str>, time| {
        let host = packages::PluginHost::new(secrets.clone(), progress.clone());
        Context::new(Arc::new(job.facts(mirror, security, time)), Arc::new(host))
    };

    let (template, context) = if let Some(tarball) = &settings.from_tarball {
        let template = template::from_tarball(tarball, job)?;
        let newest = template.tree.iter().map(|(_, entry)| entry.mtime.seconds).max().unwrap_or(0);
        let time = settings.source_date_epoch.map_or(newest, |time| i64::try_from(time).unwrap_or(i64::MAX));
        let mirror = settings.mirror.as_ref().map_or(packages::FALLBACK_MIRROR, |mirror| mirror.as_str());
        (template, context(mirror, None, time))
    } else {
        let archives = Archives::open(settings, progress)?;
        let selection = Selection::choose(settings, archives, progress)?;
        preflight::check_space(job, &selection)?;
        let context = context(selection.mirror(), selection.security_mirror(), selection.time());
        let template = template::obtain(job, &selection, &plugins, &context, progress)?;
        surroundings::write_lock(job, selection.lock())?;
        (template, context)
    };

    progress.step(format!("Making the disks of {} nodes", job.nodes.len()));
    let overlays = plugins.overlays(&template.tree, &template.tarball, &job.nodes, &context)?;
    let disks = Disks {
        job,
        tree: &template.tree,
        tarball: Arc::clone(&template.tarball),
        timestamp: context.facts.source_date_epoch,
        overlays,
        own_identities: settings.recipe.plugins.iter().any(|plugin| plugin.name.as_str() == "identity"),
        secrets,
    };
    disks.write(progress)?;
    surroundings::write(job, &context)?;
    Ok(BuildReport::new(job, template.reused))
}
