//! The trait a plugin implements, and the one the host sees.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Context, Error, Node, Provided, Result, Root, SshKeys, settings};

/// When a plugin acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Once, on the root file system that all nodes share. Programs of the new system can be run.
    System,
    /// Once a node, on what that node alone gets. Files only.
    Node,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::Node => "node",
        })
    }
}

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The name by which a recipe asks for it.
    pub name: String,
    /// One line for `plugin list`, lower case, no full stop.
    pub summary: String,
    /// Its version, where it has one of its own.
    #[serde(default)]
    pub version: Option<String>,
    /// The stages at which it acts.
    pub stages: Vec<Stage>,
    /// Names of plugins that, where a recipe has them too, must be applied before this one.
    #[serde(default)]
    pub after: Vec<String>,
    /// Settings that name files beside the recipe, as `files.source`; a list on the way stands for
    /// all its items. Their type is [`RecipeFiles`](crate::RecipeFiles).
    #[serde(default)]
    pub reads: Vec<String>,
    /// Such settings whose files it only copies ([`Root::copy`]), which may be of any size: the
    /// settings have their digests.
    #[serde(default)]
    pub copies: Vec<String>,
    /// Whether `network = true` in its settings gives the programs that it runs the network, if they
    /// ask for it. A build that does so is not reproducible.
    #[serde(default)]
    pub network: bool,
    /// What the host counts on it for.
    #[serde(default)]
    pub provides: Vec<Provided>,
}

impl Description {
    /// Begins a description; it needs at least one stage, too.
    pub fn new(name: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            summary: summary.into(),
            version: None,
            stages: Vec::new(),
            after: Vec::new(),
            reads: Vec::new(),
            copies: Vec::new(),
            network: false,
            provides: Vec::new(),
        }
    }

    /// Says that it acts at `stage`.
    #[must_use]
    pub fn at(mut self, stage: Stage) -> Self {
        if !self.stages.contains(&stage) {
            self.stages.push(stage);
        }
        self
    }

    /// Says that it must come after the plugin of that name.
    #[must_use]
    pub fn after(mut self, name: impl Into<String>) -> Self {
        self.after.push(name.into());
        self
    }

    /// Says that the setting of that name is the path of files beside the recipe, which the host
    /// reads.
    #[must_use]
    pub fn reads(mut self, setting: impl Into<String>) -> Self {
        self.reads.push(setting.into());
        self
    }

    /// As [`Description::reads`], for files that it only copies into the system: they may be of any
    /// size, since no more than their sizes and digests come with the settings. Only a plugin that
    /// acts at the system stage can have some.
    #[must_use]
    pub fn copies(mut self, setting: impl Into<String>) -> Self {
        self.copies.push(setting.into());
        self
    }

    /// Says that it has the setting `network`, a boolean: where a recipe sets it, the programs that it
    /// runs have the network of the host, if they [ask for it](crate::Command::network), and plan, log
    /// and lock say that the build is not reproducible. Only a plugin that acts at the system stage
    /// runs any.
    #[must_use]
    pub fn network(self) -> Self {
        Self { network: true, ..self }
    }

    /// Says that it provides that.
    #[must_use]
    pub fn provides(mut self, what: Provided) -> Self {
        self.provides.push(what);
        self
    }

    /// Says its version, usually `env!("CARGO_PKG_VERSION")`.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }
}

/// A plugin. One value serves all nodes, possibly from several threads, so it keeps no state
/// between calls.
pub trait Plugin: Send + Sync {
    /// What a recipe may set. A key that the type does not have is an error that names the nearest
    /// one; a recipe that sets nothing gives an empty map, so make everything optional that can be
    /// (`#[serde(default)]`). Use `()` for none.
    type Settings: DeserializeOwned;

    /// Says what this is.
    fn describe(&self) -> Description;

    /// Checks what types cannot express, before anything is built.
    ///
    /// # Errors
    /// [`Error::setting`](crate::Error::setting), which names the setting.
    fn check(&self, settings: &Self::Settings) -> Result<()> {
        let _ = settings;
        Ok(())
    }

    /// Changes the system that all nodes share. What it writes must not depend on the number of
    /// nodes, as the result is reused when only that changes.
    ///
    /// # Errors
    /// Whatever stops the plugin; the build fails and names it.
    fn apply_system(&self, settings: &Self::Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        let _ = (settings, root, context);
        Ok(())
    }

    /// Changes what `node` alone gets.
    ///
    /// # Errors
    /// Whatever stops the plugin; the build fails and names it.
    fn apply_node(&self, settings: &Self::Settings, root: &mut Root<'_>, node: &Node, context: &Context) -> Result<()> {
        let _ = (settings, root, node, context);
        Ok(())
    }

    /// Tells by which keys the host reaches the nodes over ssh, all of which the context has. Asked
    /// once in a build, if this provides [`Provided::SshKeys`].
    ///
    /// # Errors
    /// Whatever stops the plugin; the build fails and names it.
    fn ssh_keys(&self, settings: &Self::Settings, context: &Context) -> Result<SshKeys> {
        let _ = (settings, context);
        Err(Error::failed("it provides ssh keys, and does not tell them"))
    }
}

/// A plugin as the host holds it, whatever its type of settings and wherever it comes from.
/// Every [`Plugin`] is one.
pub trait ErasedPlugin: Send + Sync {
    /// See [`Plugin::describe`].
    fn describe(&self) -> Description;

    /// Deserializes and checks `settings`.
    ///
    /// # Errors
    /// [`Error::Settings`](crate::Error::Settings).
    fn check(&self, settings: &Value) -> Result<()>;

    /// See [`Plugin::apply_system`].
    ///
    /// # Errors
    /// What the plugin gives.
    fn apply_system(&self, settings: &Value, root: &mut Root<'_>, context: &Context) -> Result<()>;

    /// See [`Plugin::apply_node`].
    ///
    /// # Errors
    /// What the plugin gives.
    fn apply_node(&self, settings: &Value, root: &mut Root<'_>, node: &Node, context: &Context) -> Result<()>;

    /// See [`Plugin::ssh_keys`].
    ///
    /// # Errors
    /// What the plugin gives.
    fn ssh_keys(&self, settings: &Value, context: &Context) -> Result<SshKeys>;
}

impl<T: Plugin> ErasedPlugin for T {
    fn describe(&self) -> Description {
        Plugin::describe(self)
    }

    fn check(&self, settings: &Value) -> Result<()> {
        Plugin::check(self, &settings::from_value(settings)?)
    }

    fn apply_system(&self, settings: &Value, root: &mut Root<'_>, context: &Context) -> Result<()> {
        Plugin::apply_system(self, &settings::from_value(settings)?, root, context)
    }

    fn apply_node(&self, settings: &Value, root: &mut Root<'_>, node: &Node, context: &Context) -> Result<()> {
        Plugin::apply_node(self, &settings::from_value(settings)?, root, node, context)
    }

    fn ssh_keys(&self, settings: &Value, context: &Context) -> Result<SshKeys> {
        Plugin::ssh_keys(self, &settings::from_value(settings)?, context)
    }
}
