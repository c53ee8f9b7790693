//! What customizations there are, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fam_plugin::{Description, Plugin, Value, nearest};

use super::{Customization, CustomizeError, Request, Step, panic_message};

/// Customizations by name. Libraries and executables will be added to those that are built in.
pub struct Registry {
    plugins: BTreeMap<String, (Description, Arc<dyn Plugin>)>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.plugins.keys()).finish()
    }
}

impl Default for Registry {
    /// The built-in customizations.
    fn default() -> Self {
        Self::built_in()
    }
}

impl Registry {
    /// No customization at all.
    #[must_use]
    pub fn empty() -> Self {
        Self { plugins: BTreeMap::new() }
    }

    /// The built-in customizations.
    #[must_use]
    pub fn built_in() -> Self {
        let all: [Arc<dyn Plugin>; 15] = [
            Arc::new(fam_apt_sources::AptSources),
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
            plugins: all
                .into_iter()
                .map(|plugin| (plugin.describe(), plugin))
                .map(|(description, plugin)| (description.name.clone(), (description, plugin)))
                .collect(),
        }
    }

    /// Adds a customization that comes from elsewhere.
    ///
    /// # Errors
    /// [`CustomizeError::Duplicate`] where the name is taken; [`CustomizeError::Description`] where what it says of itself
    /// makes no sense.
    pub fn add(&mut self, plugin: Arc<dyn Plugin>) -> Result<(), CustomizeError> {
        let description = match catch_unwind(AssertUnwindSafe(|| plugin.describe())) {
            Ok(description) => description,
            Err(payload) => {
                let (plugin, message) = ("(describing itself)".into(), panic_message(&*payload));
                return Err(CustomizeError::Panicked { plugin, node: None, message });
            }
        };
        let name = description.name.clone();
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if name.is_empty() || !plain {
            let problem = "has a name of other than small letters, digits and hyphens";
            return Err(CustomizeError::Description { name, problem });
        }
        if description.stages.is_empty() {
            return Err(CustomizeError::Description { name, problem: "acts at no stage" });
        }
        if self.plugins.contains_key(&name) {
            return Err(CustomizeError::Duplicate { name });
        }
        self.plugins.insert(name, (description, plugin));
        Ok(())
    }

    /// What each customization says of itself, by name.
    pub fn descriptions(&self) -> impl Iterator<Item = &Description> {
        self.plugins.values().map(|(description, _)| description)
    }

    /// Checks all that a recipe asks for, and makes it ready to be applied in the order of the list. A customization may
    /// be listed several times.
    ///
    /// # Errors
    /// [`CustomizeError`] on the first entry that is wrong.
    pub fn plan(&self, requests: &[Request]) -> Result<Customization, CustomizeError> {
        let mut steps = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let (description, plugin) = self.find(&request.name)?;
            check(&request.name, plugin.as_ref(), &request.settings)?;
            let later = &requests[index + 1..];
            if let Some(before) = description.after.iter().find(|name| later.iter().any(|other| other.name == **name)) {
                return Err(CustomizeError::Order { plugin: request.name.clone(), before: before.clone() });
            }
            steps.push(Step {
                plugin: Arc::clone(plugin),
                description: description.clone(),
                settings: request.settings.clone(),
            });
        }
        Ok(Customization { steps })
    }

    fn find(&self, name: &str) -> Result<&(Description, Arc<dyn Plugin>), CustomizeError> {
        self.plugins.get(name).ok_or_else(|| CustomizeError::Unknown {
            name: name.into(),
            near: nearest(name, self.plugins.keys().map(String::as_str)).map(Into::into),
            known: self.plugins.keys().cloned().collect(),
        })
    }
}

fn check(name: &str, plugin: &dyn Plugin, settings: &Value) -> Result<(), CustomizeError> {
    match catch_unwind(AssertUnwindSafe(|| plugin.check(settings))) {
        Ok(result) => {
            result.map_err(|source| CustomizeError::Settings { plugin: name.into(), source: Box::new(source) })
        }
        Err(payload) => {
            Err(CustomizeError::Panicked { plugin: name.into(), node: None, message: panic_message(&*payload) })
        }
    }
}
