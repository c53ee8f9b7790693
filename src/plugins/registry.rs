//! What plugins there are, by name.
//!
//! A path in the recipe beats everything. A name is that of a built-in one if there is such; else
//! files are looked for.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fam_archive::credentials::Logins;
use fam_plugin::{Description, ErasedPlugin, Stage, Value, nearest};
use serde::{Deserialize, Serialize};

use super::external::External;
use super::host::GuestLogins;
use super::recipe_files::RecipeReader;
use super::search_path::plugins_in;
use super::{
    Error, Form, HostFiles, PlannedStep, PluginPlan, Request, SearchPath, Step, each_once, has_network, panic_message,
};

/// Where a plugin comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// This program.
    BuiltIn,
    /// A file.
    File {
        /// The absolute path of the file, without links.
        path: PathBuf,
        /// What kind of file.
        form: Form,
        /// SHA-256 of it, in hexadecimal.
        digest: String,
    },
}

impl Origin {
    pub(super) fn digest(&self) -> Option<&str> {
        match self {
            Self::BuiltIn => None,
            Self::File { digest, .. } => Some(digest),
        }
    }
}

/// A plugin that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What it says of itself.
    pub description: Description,
    /// Where it comes from.
    pub origin: Origin,
}

impl Known {
    fn of(plugin: &External) -> Self {
        let External { file, form, digest, description, .. } = plugin;
        let origin = Origin::File { path: file.clone(), form: *form, digest: digest.clone() };
        Self { description: description.clone(), origin }
    }
}

/// The built-in plugins by name, and where others are looked for.
pub struct Registry {
    plugins: BTreeMap<String, (Description, Arc<dyn ErasedPlugin>)>,
    search_path: SearchPath,
    host_files: HostFiles,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.plugins.keys()).finish()
    }
}

impl Default for Registry {
    /// The built-in plugins.
    fn default() -> Self {
        Self::built_in()
    }
}

impl Registry {
    /// No plugin at all.
    #[must_use]
    pub fn empty() -> Self {
        Self { plugins: BTreeMap::new(), search_path: SearchPath::default(), host_files: HostFiles::default() }
    }

    /// The built-in plugins.
    #[must_use]
    pub fn built_in() -> Self {
        let all: [Arc<dyn ErasedPlugin>; 15] = [
            Arc::new(fam_apt_sources::AptSources::default()),
            Arc::new(fam_demo::Demo),
            Arc::new(fam_fabric_symlink::FabricSymlink),
            Arc::new(fam_files::Files),
            Arc::new(fam_hostname::Hostname),
            Arc::new(fam_hosts::Hosts),
            Arc::new(fam_identity::Identity),
            Arc::new(fam_locale::Locale),
            Arc::new(fam_network::Network),
            Arc::new(fam_resolv_conf::ResolvConf),
            Arc::new(fam_script::Script),
            Arc::new(fam_ssh::Ssh),
            Arc::new(fam_sudo::Sudo),
            Arc::new(fam_timezone::Timezone),
            Arc::new(fam_users::Users),
        ];
        Self {
            search_path: SearchPath::default(),
            host_files: HostFiles::default(),
            plugins: all
                .into_iter()
                .map(|plugin| (plugin.describe(), plugin))
                .map(|(description, plugin)| (description.name.clone(), (description, plugin)))
                .collect(),
        }
    }

    /// Lets the built-in `apt-sources` know the logins of a build. No other plugin does.
    #[must_use]
    pub fn with_logins(mut self, logins: &Logins) -> Self {
        let plugin: Arc<dyn ErasedPlugin> =
            Arc::new(fam_apt_sources::AptSources::with_logins(Arc::new(GuestLogins(logins.clone()))));
        let description = plugin.describe();
        self.plugins.insert(description.name.clone(), (description, plugin));
        self
    }

    /// Also looks for plugins along `search_path`.
    #[must_use]
    pub fn with_search_path(self, search_path: SearchPath) -> Self {
        Self { search_path, ..self }
    }

    /// Lets plugins in files see these files of the host in addition to what they need to run.
    #[must_use]
    pub fn with_host_files(self, host_files: HostFiles) -> Self {
        Self { host_files, ..self }
    }

    /// Adds a plugin that comes from elsewhere.
    ///
    /// # Errors
    /// [`Error::Duplicate`] where the name is taken; [`Error::Description`] where
    /// what it says of itself makes no sense.
    pub fn add(&mut self, plugin: Arc<dyn ErasedPlugin>) -> Result<(), Error> {
        let description = match catch_unwind(AssertUnwindSafe(|| plugin.describe())) {
            Ok(description) => description,
            Err(payload) => {
                let (plugin, message) = ("(describing itself)".into(), panic_message(&*payload));
                return Err(Error::Panicked { plugin, node: None, message });
            }
        };
        validate(&description)?;
        let name = description.name.clone();
        if self.plugins.contains_key(&name) {
            return Err(Error::Duplicate { name });
        }
        self.plugins.insert(name, (description, plugin));
        Ok(())
    }

    /// Whether a built-in plugin has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.plugins.contains_key(name)
    }

    /// All plugins: the built-in ones by name, then those in the directories in the order of
    /// the search. For a file that is no plugin there is what is wrong with it instead.
    ///
    /// # Errors
    /// [`Error::Directory`].
    pub fn known(&self) -> Result<Vec<Result<Known, Error>>, Error> {
        let built_in =
            |(description, _): &(Description, _)| Known { description: description.clone(), origin: Origin::BuiltIn };
        let mut all: Vec<_> = self.plugins.values().map(|plugin| Ok(built_in(plugin))).collect();
        for directory in self.search_path.directories() {
            let files = plugins_in(directory, self.search_path.named.contains(directory))?;
            all.extend(files.iter().map(|file| self.load(file).map(|plugin| Known::of(&plugin))));
        }
        Ok(all)
    }

    /// Has the plugin in `file` describe itself and check `settings`, where there are any.
    ///
    /// # Errors
    /// [`Error`] with what is wrong.
    pub fn examine(&self, file: &Path, settings: Option<&Value>) -> Result<Known, Error> {
        let plugin = self.load(file)?;
        if let Some(settings) = settings {
            check(&plugin.description.name, &plugin, settings)?;
        }
        Ok(Known::of(&plugin))
    }

    /// Finds all that a recipe asks for, reads the files that its settings name, checks these, and
    /// makes it ready to be applied in the order of the list. A plugin may be listed several
    /// times, unless it provides something.
    ///
    /// # Errors
    /// [`Error`] on the first entry that is wrong.
    pub fn plan(&self, requests: &[Request]) -> Result<PluginPlan, Error> {
        let mut loaded = BTreeMap::new();
        let mut files = RecipeReader::new();
        let mut steps: Vec<Step> = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let (Known { description, origin }, plugin) = self.find(request, &mut loaded)?;
            let (settings, copied) = files.read(request, &description)?;
            check(&request.name, plugin.as_ref(), &settings)?;
            let later = &requests[index + 1..];
            if let Some(before) = description.after.iter().find(|name| later.iter().any(|other| other.name == **name)) {
                return Err(Error::Order { plugin: request.name.clone(), before: before.clone() });
            }
            let provided_by_another = |what| {
                let provides = |step: &&Step| step.planned.description.provides.contains(what);
                Some((*what, steps.iter().find(provides)?.planned.description.name.clone()))
            };
            if let Some((what, first)) = description.provides.iter().find_map(provided_by_another) {
                return Err(Error::ProvidedTwice { what, first, second: request.name.clone() });
            }
            let planned = PlannedStep { description, origin, settings, copied, time_limit: request.time_limit };
            steps.push(Step { plugin, planned });
        }
        Ok(PluginPlan { steps })
    }

    /// The names of the plugins that [`PluginPlan::networked`] would give of these requests, without
    /// a plan: nothing is read or checked but what such a plugin says of itself.
    ///
    /// # Errors
    /// [`Error`] where one that may be among them is not found.
    pub fn networked(&self, requests: &[Request]) -> Result<Vec<String>, Error> {
        let mut loaded = BTreeMap::new();
        let mut names = Vec::new();
        for request in requests.iter().filter(|request| request.settings.get("network") == Some(&Value::Bool(true))) {
            let (Known { description, .. }, _) = self.find(request, &mut loaded)?;
            if has_network(&description, &request.settings) {
                names.push(description.name);
            }
        }
        Ok(each_once(names.into_iter()))
    }

    /// Takes over what another process planned by the same settings: nothing is looked for, read or
    /// checked again. A file must be the one that was checked; of those that plugins copy, each must
    /// be there.
    ///
    /// # Errors
    /// [`Error::Load`] where a plugin's file is another one by now, [`Error::NotCopied`] where one
    /// that is to be copied is, or cannot be read.
    pub fn take_over(&self, planned: Vec<PlannedStep>) -> Result<PluginPlan, Error> {
        let mut steps = Vec::with_capacity(planned.len());
        for planned in planned {
            let name = &planned.description.name;
            planned.copied.require().map_err(|problem| Error::NotCopied { plugin: name.clone(), problem })?;
            let plugin: Arc<dyn ErasedPlugin> = match &planned.origin {
                Origin::BuiltIn => match self.plugins.get(name) {
                    Some((_, plugin)) => Arc::clone(plugin),
                    None => unreachable!("{name} is built into the program that planned it, which is this one"),
                },
                Origin::File { path, form, digest } => {
                    let (description, host_files) = (planned.description.clone(), self.host_files.clone());
                    let known = External::known(path, *form, digest, description, host_files);
                    let mut plugin =
                        known.map_err(|source| Error::Load { file: path.clone(), source: Box::new(source) })?;
                    plugin.time_limit = planned.time_limit.unwrap_or(plugin.time_limit);
                    Arc::new(plugin)
                }
            };
            steps.push(Step { plugin, planned });
        }
        Ok(PluginPlan { steps })
    }

    fn find(
        &self,
        request: &Request,
        loaded: &mut BTreeMap<PathBuf, External>,
    ) -> Result<(Known, Arc<dyn ErasedPlugin>), Error> {
        let name = &request.name;
        let file = match (&request.path, self.plugins.get(name)) {
            (Some(path), _) => path.clone(),
            (None, Some((description, plugin))) => {
                let known = Known { description: description.clone(), origin: Origin::BuiltIn };
                return Ok((known, Arc::clone(plugin)));
            }
            (None, None) => self.search_path.find(name)?.ok_or_else(|| Error::Unknown {
                name: name.clone(),
                near: nearest(name, self.plugins.keys().map(String::as_str)).map(Into::into),
                known: self.plugins.keys().cloned().collect(),
                searched: self.search_path.directories().cloned().collect(),
            })?,
        };
        // A plugin may be listed several times, and describes itself once.
        if !loaded.contains_key(&file) {
            loaded.insert(file.clone(), self.load(&file)?);
        }
        let mut plugin = loaded[&file].clone();
        if plugin.description.name != *name {
            let (said, asked) = (plugin.description.name, name.clone());
            return Err(Error::Misnamed { file, said, asked });
        }
        plugin.time_limit = request.time_limit.unwrap_or(plugin.time_limit);
        Ok((Known::of(&plugin), Arc::new(plugin)))
    }

    fn load(&self, file: &Path) -> Result<External, Error> {
        let plugin = External::load(file, self.host_files.clone())
            .map_err(|source| Error::Load { file: file.to_owned(), source: Box::new(source) })?;
        validate(&plugin.description)?;
        Ok(plugin)
    }
}

/// Whether what a plugin says of itself makes sense.
fn validate(description: &Description) -> Result<(), Error> {
    let name = &description.name;
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if name.is_empty() || !plain {
        let problem = "has a name of other than small letters, digits and hyphens";
        return Err(Error::Description { name: name.clone(), problem });
    }
    let of_itself = [Some(&description.summary), description.version.as_ref()].into_iter().flatten();
    if of_itself.chain(&description.after).any(|text| text.contains(char::is_control)) {
        return Err(Error::Description { name: name.clone(), problem: "describes itself with control characters" });
    }
    if description.stages.is_empty() {
        return Err(Error::Description { name: name.clone(), problem: "acts at no stage" });
    }
    if !description.copies.is_empty() && !description.stages.contains(&Stage::System) {
        let problem = "copies files, and does not act at the system stage";
        return Err(Error::Description { name: name.clone(), problem });
    }
    if description.network && !description.stages.contains(&Stage::System) {
        let problem = "has the setting `network`, and does not act at the system stage";
        return Err(Error::Description { name: name.clone(), problem });
    }
    if description.copies.iter().any(|setting| description.reads.contains(setting)) {
        let problem = "both reads and copies the files of one setting";
        return Err(Error::Description { name: name.clone(), problem });
    }
    if !description.provides.is_empty() && !description.stages.contains(&Stage::Node) {
        let problem = "provides what nodes have, and does not act at the node stage";
        return Err(Error::Description { name: name.clone(), problem });
    }
    Ok(())
}

fn check(name: &str, plugin: &dyn ErasedPlugin, settings: &Value) -> Result<(), Error> {
    match catch_unwind(AssertUnwindSafe(|| plugin.check(settings))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(fam_plugin::Error::Crashed { message, hint })) => {
            Err(Error::Crashed { plugin: name.into(), node: None, message, hint })
        }
        Ok(Err(source)) => Err(Error::Settings { plugin: name.into(), source: Box::new(source) }),
        Err(payload) => Err(Error::Panicked { plugin: name.into(), node: None, message: panic_message(&*payload) }),
    }
}
