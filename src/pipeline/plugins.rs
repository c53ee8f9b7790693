//! The plugins of a recipe, and all that there are.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::Error;
use crate::customize::{Customization, Known, Origin, Places, Registry, Request};
use crate::recipe::Settings;
use crate::report::{Failure, PluginReport, PluginsReport};

/// The recipe's plugins, found, checked and in order.
pub(super) fn customization(settings: &Settings) -> Result<Customization, Error> {
    let request = |plugin: &crate::recipe::Plugin| Request {
        name: plugin.name.to_string(),
        path: plugin.path.clone(),
        time_limit: plugin.time_limit.map(|seconds| Duration::from_secs(seconds.get().into())),
        settings: serde_json::Value::Object(plugin.settings.clone()),
    };
    let requests: Vec<Request> = settings.recipe.plugins.iter().map(request).collect();
    Ok(registry(settings).plan(&requests)?)
}

/// The plugins that there are: built in, in the directories of `--plugin-dir`, in the recipe's, and in the user's own.
fn registry(settings: &Settings) -> Registry {
    let recipe = Path::new(&settings.recipe_name);
    // A shipped recipe has no directory.
    let is_file = recipe.components().count() > 1 || recipe.extension().is_some();
    let base = recipe
        .parent()
        .filter(|_| is_file)
        .map(|directory| if directory.as_os_str().is_empty() { Path::new(".") } else { directory }.to_owned());
    let places = Places {
        named: settings.plugin_dirs.clone(),
        usual: base.iter().chain(&settings.plugin_home).cloned().collect(),
        base: base.unwrap_or_default(),
    };
    Registry::built_in().with_places(places)
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
    Ok(report(Registry::examine(file, settings)?))
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
        path,
    }
}
