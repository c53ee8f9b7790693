//! Finds the plugins of a recipe, and lists all that a build would find.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fam_archive::credentials::Logins;
use serde_json::Value;

use super::Error;
use super::job::Job;
use crate::plugins::{HostFiles, Known, Origin, PlannedStep, PluginPlan, Registry, Request, SearchPath};
use crate::recipe::{Plugin, Settings};
use crate::report::{Failure, PluginReport, PluginsReport};

/// The recipe's plugins, found, checked and in order, with the files that their settings name. The
/// one built-in plugin that writes logins is the only one that gets them.
pub(super) fn plan(settings: &Settings, logins: &Logins) -> Result<PluginPlan, Error> {
    Ok(registry(settings).with_logins(logins).plan(&requests(settings))?)
}

/// The plugins to which the recipe gives the network.
pub(super) fn networked(settings: &Settings) -> Result<Vec<String>, Error> {
    Ok(registry(settings).networked(&requests(settings))?)
}

fn requests(settings: &Settings) -> Vec<Request> {
    settings.recipe.plugins.iter().map(request).collect()
}

/// Asks for a plugin, with paths made of those that are relative to the directory of a recipe.
fn request(plugin: &Plugin) -> Request {
    let beside = plugin.source.directory.as_deref().unwrap_or(Path::new(""));
    // Each setting may be another recipe's, whose directory the files in it are relative to.
    let directories =
        plugin.settings.keys().filter_map(|key| Some((key.clone(), plugin.source_of(key).directory.clone()?)));
    Request {
        name: plugin.name.to_string(),
        path: plugin.path.as_ref().map(|path| beside.join(path)),
        time_limit: plugin.time_limit.map(|seconds| Duration::from_secs(seconds.get().into())),
        settings: Value::Object(plugin.settings.clone()),
        directories: directories.collect(),
    }
}

/// The plan of these settings that was made before the worker was started, as `planned`.
pub(super) fn take_over(job: &Job, planned: Vec<PlannedStep>) -> Result<PluginPlan, Error> {
    Ok(registry(&job.settings).with_logins(&job.logins).take_over(planned)?)
}

/// All plugins: built in, in the directories of `--plugin-dir`, in those of the recipe and of the
/// recipes that it extends, and in the user's own.
fn registry(settings: &Settings) -> Registry {
    let beside = settings.recipe_chain.iter().filter_map(|recipe| recipe.directory.as_ref());
    let mut usual: Vec<PathBuf> = Vec::new();
    for directory in beside.chain(&settings.plugin_home.value) {
        if !usual.contains(directory) {
            usual.push(directory.clone());
        }
    }
    // Plugins may read the directory of the recipe that the user named. A recipe that it extends
    // may lie anywhere.
    let named = settings.recipe_chain.first().and_then(|recipe| recipe.directory.as_ref());
    // Plugins must not read these: the images hold the nodes' keys, and the seed gives them.
    let secret = settings.seed.iter().chain([&settings.output.value]);
    let host_files = HostFiles { readable: absolute(named.into_iter()), hidden: absolute(secret) };
    Registry::built_in()
        .with_search_path(SearchPath { named: settings.plugin_dirs.value.clone(), usual })
        .with_host_files(host_files)
}

fn absolute<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Vec<PathBuf> {
    // The directory of a recipe in the current one is the empty path.
    paths.filter_map(|path| std::path::absolute(Path::new(".").join(path)).ok()).collect()
}

/// All plugins that a build with these settings would find.
///
/// # Errors
/// [`Error`] where a directory of plugins cannot be read.
pub fn plugins(settings: &Settings) -> Result<PluginsReport, Error> {
    let (mut plugins, mut faults) = (Vec::new(), Vec::new());
    for known in registry(settings).known()? {
        match known {
            Ok(known) => plugins.push(report(known)),
            Err(error) => faults.push(Failure::from(Error::from(error))),
        }
    }
    Ok(PluginsReport { plugins, faults })
}

/// Loads the plugin in `file`, and has it check `settings`, where there are any.
///
/// # Errors
/// [`Error`] with what is wrong.
pub fn check_plugin(file: &Path, settings: Option<&Value>) -> Result<PluginReport, Error> {
    Ok(report(Registry::built_in().examine(file, settings)?))
}

fn report(Known { description, origin }: Known) -> PluginReport {
    let (kind, path) = match origin {
        Origin::BuiltIn => ("built-in".to_owned(), None),
        Origin::File { path, form, .. } => (form.to_string(), Some(path.display().to_string())),
    };
    PluginReport {
        name: description.name,
        summary: description.summary,
        version: description.version,
        kind,
        stages: description.stages.iter().map(ToString::to_string).collect(),
        after: description.after,
        provides: description.provides.iter().map(ToString::to_string).collect(),
        path,
    }
}
