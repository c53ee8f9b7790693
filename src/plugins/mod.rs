//! The plugin host: what plugins there are, which a recipe asks for, and applying them.
//!
//! A [`Registry`] knows the built-in plugins by name, and finds others in files
//! ([`SearchPath`]). What a recipe lists ([`Request`]s) becomes a [`PluginPlan`]: every name found,
//! all settings checked, the order right. This is done before anything is fetched. Later it is
//! applied: the node stage to a tree in memory, through [`OverlayRoot`]; the system stage likewise, or
//! to the staging tree, through [`StagingRoot`]. Both do the same to files. An error or a panic of a
//! plugin is reported with its name.

mod copied_files;
mod error;
mod external;
mod host;
mod overlay_root;
mod recipe_files;
mod registry;
pub mod scaffold;
mod search_path;
mod ssh_keys;
mod staging_root;

pub use copied_files::CopiedFiles;
pub use error::Error;
pub use external::{Form, HostFiles, ROLES};
pub use host::Build;
pub use overlay_root::OverlayRoot;
pub use recipe_files::{Unreadable, read_recipe_file};
pub use registry::{Known, Origin, Registry};
pub use search_path::SearchPath;
pub use staging_root::StagingRoot;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fam_plugin::{
    Description, ErasedPlugin, Node, Provided, Result as PluginResult, Root, RootFs, SshKeys, Stage, Value,
};
use fam_progress::panic_text;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An entry of a recipe's list of plugins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The name of the plugin.
    pub name: String,
    /// The file that it is in, where that is not to be found by the name.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// How long it may take at each stage, of each node, if it is a file.
    #[serde(default)]
    pub time_limit: Option<Duration>,
    /// Its settings, `Null` for none.
    #[serde(default)]
    pub settings: Value,
    /// For each of the settings the directory of the recipe that has it, from which the paths in it
    /// are taken. A recipe that is built in has none.
    #[serde(default)]
    pub directories: BTreeMap<String, PathBuf>,
}

impl Request {
    /// Asks for a plugin by name.
    pub fn new(name: impl Into<String>, settings: Value) -> Self {
        Self { name: name.into(), path: None, time_limit: None, settings, directories: BTreeMap::new() }
    }
}

/// A plugin that was found and checked, with its settings. A worker takes the plan of its build in
/// this form ([`PluginPlan::into_planned`], [`Registry::take_over`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    description: Description,
    origin: Origin,
    /// As the plugin checked them, with the contents of the files that they name, or their digests.
    settings: Value,
    /// The files with these digests.
    #[serde(default)]
    copied: CopiedFiles,
    /// How long it may take at each stage, of each node, if it is a file.
    time_limit: Option<Duration>,
}

/// Whether a recipe with these `settings` gives the network to what such a plugin runs. What a
/// plugin says of itself is not enough, nor is a setting of which it does not say so.
fn has_network(description: &Description, settings: &Value) -> bool {
    let is_set = settings.get("network") == Some(&Value::Bool(true));
    is_set && description.network && description.stages.contains(&Stage::System)
}

impl PlannedStep {
    fn has_network(&self) -> bool {
        has_network(&self.description, &self.settings)
    }
}

/// What the plugins of a plan provide.
pub fn provided<'a>(steps: impl IntoIterator<Item = &'a PlannedStep>) -> BTreeSet<Provided> {
    steps.into_iter().flat_map(|step| step.description.provides.iter().copied()).collect()
}

struct Step {
    plugin: Arc<dyn ErasedPlugin>,
    planned: PlannedStep,
}

/// The plugins of a recipe in their order, checked and ready to be applied.
pub struct PluginPlan {
    steps: Vec<Step>,
}

impl std::fmt::Debug for PluginPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.descriptions().map(|description| &description.name)).finish()
    }
}

impl PluginPlan {
    /// What is applied, in order.
    pub fn descriptions(&self) -> impl Iterator<Item = &Description> {
        self.steps.iter().map(|step| &step.planned.description)
    }

    /// The plan as a worker takes it over.
    #[must_use]
    pub fn into_planned(self) -> Vec<PlannedStep> {
        self.steps.into_iter().map(|step| step.planned).collect()
    }

    /// The names of those that the recipe gives the network to, each once: what they do is not the
    /// same in each build.
    #[must_use]
    pub fn networked(&self) -> Vec<String> {
        let networked = self.steps.iter().filter(|step| step.planned.has_network());
        each_once(networked.map(|step| step.planned.description.name.clone()))
    }

    /// The files beside the recipe that are copied into the system.
    #[must_use]
    pub fn copied_files(&self) -> CopiedFiles {
        self.steps_at(Stage::System).fold(CopiedFiles::default(), |all, step| all.and(&step.planned.copied))
    }

    /// What the plugins provide.
    #[must_use]
    pub fn provided(&self) -> BTreeSet<Provided> {
        provided(self.steps.iter().map(|step| &step.planned))
    }

    /// The keys by which the host reaches the nodes over ssh, of the plugin that provides them;
    /// `None` where there is no such plugin. Of each public key there is kind and key alone.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Panicked`], with the plugin's name.
    pub fn ssh_keys(&self, build: &Build) -> Result<Option<SshKeys>, Error> {
        let provides = |step: &&Step| step.planned.description.provides.contains(&Provided::SshKeys);
        let Some(Step { plugin, planned }) = self.steps.iter().find(provides) else {
            return Ok(None);
        };
        let PlannedStep { description, settings, .. } = planned;
        let context = build.context(&description.name, Stage::Node);
        catch_panic(&description.name, None, || {
            ssh_keys::checked(plugin.ssh_keys(settings, &context)?, &build.facts().nodes)
        })
        .map(Some)
    }

    /// Applies the system stage to the files of the new system.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Panicked`], with the plugin's name.
    pub fn apply_system(&self, files: &mut dyn RootFs, build: &Build) -> Result<(), Error> {
        for step in self.steps_at(Stage::System) {
            build.progress().detail(format!("applying to the system: {}", step.planned.description.name));
            let context = build.context(&step.planned.description.name, Stage::System);
            catch_panic(&step.planned.description.name, None, || {
                let mut root = Root::new(files).with_network(step.planned.has_network());
                step.plugin.apply_system(&step.planned.settings, &mut root, &context)
            })?;
        }
        Ok(())
    }

    /// Applies the node stage to the files of `node`.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Panicked`], with the plugin's name
    /// and the node's.
    pub fn apply_node(&self, node: &Node, files: &mut dyn RootFs, build: &Build) -> Result<(), Error> {
        for step in self.steps_at(Stage::Node) {
            build.progress().detail(format!("applying to {}: {}", node.name, step.planned.description.name));
            let context = build.context(&step.planned.description.name, Stage::Node).for_node(node);
            catch_panic(&step.planned.description.name, Some(node), || {
                step.plugin.apply_node(&step.planned.settings, &mut Root::new(files), node, &context)
            })?;
        }
        Ok(())
    }

    /// SHA-256 in hexadecimal over all that the outcome of the system stage depends on: the
    /// plugins that act then, their versions, files and settings, the facts they are told
    /// and the seed. With the same lock, the same key gives the same template.
    #[must_use]
    pub fn system_key(&self, build: &Build) -> String {
        let steps: Vec<_> = self
            .steps_at(Stage::System)
            .map(|Step { planned, .. }| {
                (&planned.description.name, &planned.description.version, planned.origin.digest(), &planned.settings)
            })
            .collect();
        let told = serde_json::json!({ "steps": steps, "facts": build.facts().for_system() });
        let mut hash = Sha256::new();
        hash.update(told.to_string());
        // By way of a secret that is derived from it: the key is written into the tarball, and must
        // tell nothing of the seed.
        hash.update(build.context("", Stage::System).secret("plugins/system-key"));
        hex::encode(hash.finalize())
    }

    fn steps_at(&self, stage: Stage) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.planned.description.stages.contains(&stage))
    }
}

fn each_once(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut once = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    once
}

/// Calls into a plugin: its errors and panics get its name.
fn catch_panic<T>(plugin: &str, node: Option<&Node>, call: impl FnOnce() -> PluginResult<T>) -> Result<T, Error> {
    let node = || node.map(|node| node.name.clone());
    // Nothing that the plugin left half done is used after a panic: the build ends.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(fam_plugin::Error::Crashed { message, hint })) => {
            Err(Error::Crashed { plugin: plugin.into(), node: node(), message, hint })
        }
        Ok(Err(source)) => Err(Error::Failed { plugin: plugin.into(), node: node(), source: Box::new(source) }),
        Err(payload) => Err(Error::Panicked { plugin: plugin.into(), node: node(), message: panic_message(&*payload) }),
    }
}

fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    panic_text(payload).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod same_files_tests;
#[cfg(test)]
mod tests;
