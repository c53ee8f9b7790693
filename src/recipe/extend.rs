//! Merges a recipe with those that it extends: the base first, then each recipe that builds on it.
//! Each value keeps the recipe that decided it.

use std::collections::BTreeMap;
use std::path::Path;

use fam_plugin::nearest;
use serde_json::{Map, Value};

use super::include::Include;
use super::items::{Listed, Pin, Plugin, Preseed, Source};
use super::model::{Recipe, RecipePatch};
use super::names::PluginName;
use super::patch::{Addition, IncludeChange, LineOrFile, List, PinChange, PluginChange, PluginPatch, PreseedPatch};
use super::sourced::{Origin, Sourced};

/// A recipe, and those that it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The recipe, merged with those that it extends.
    pub recipe: Recipe,
    /// The recipes that it is made of, the one that was asked for first.
    pub chain: Vec<Source>,
}

/// A recipe changes something that the recipe it extends does not have.
#[derive(Debug)]
pub(super) struct Misfit {
    /// Where in the text of the recipe, in bytes.
    pub offset: usize,
    pub message: String,
    pub suggestion: Option<String>,
}

impl Misfit {
    fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), suggestion: None }
    }

    fn near<'a>(mut self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        self.suggestion = nearest(word, candidates).map(str::to_owned);
        self
    }
}

impl Loaded {
    /// Takes the recipe at the end of a chain, which extends none and so must name a suite.
    pub(super) fn base(written: RecipePatch, source: Source) -> Result<Self, Misfit> {
        let Some(suite) = written.suite.clone() else {
            return Err(Misfit::new(0, "missing key `suite` (or `extends`)"));
        };
        Self { recipe: Recipe::of_suite(suite), chain: Vec::new() }.extended(written, source)
    }

    /// Applies to the recipe what `written`, which extends it, says.
    pub(super) fn extended(mut self, mut written: RecipePatch, source: Source) -> Result<Self, Misfit> {
        let recipe = &mut self.recipe;
        match written.plugins.take() {
            Some(List::Whole(list)) => {
                recipe.plugins = list.into_iter().map(|plugin| listed(plugin, &source)).collect();
            }
            Some(List::Change(change)) => change_plugins(&mut recipe.plugins, change, &source)?,
            None => {}
        }
        merge_pins(&mut recipe.pins, written.pins.take(), &source);
        merge_list(&mut recipe.debconf, written.debconf.take(), &source, preseed)?;
        merge_list(&mut recipe.paths, written.paths.take(), &source, Ok)?;
        merge_list(&mut recipe.archives, written.archives.take(), &source, Ok)?;
        merge_list(&mut recipe.disk.partitions, written.disk.partitions.take(), &source, Ok)?;
        merge_list(&mut recipe.disk.more, written.disk.more.take(), &source, Ok)?;
        let origin = Origin::Recipe(source.recipe.clone());
        // Paths are relative to the recipe that names them, which is no longer known once they are
        // merged.
        let directory = source.directory.as_deref().unwrap_or(Path::new(""));
        if let Some(include) = written.include.take() {
            merge_packages(&mut recipe.include, include, &origin, directory)?;
        }
        if let Some(paths) = &mut written.ca_certificates {
            *paths = paths.iter().map(|path| directory.join(path)).collect();
        }
        recipe.override_with(written, &origin);
        // The recipe that was asked for is merged last, and so comes first.
        self.chain.insert(0, source);
        Ok(self)
    }
}

/// Replaces the list of packages, or changes it.
fn merge_packages(
    packages: &mut Vec<Sourced<Include>>,
    written: List<Include, IncludeChange>,
    origin: &Origin,
    directory: &Path,
) -> Result<(), Misfit> {
    let add = match written {
        List::Whole(list) => {
            packages.clear();
            list
        }
        List::Change(IncludeChange { add, drop }) => {
            for package in drop {
                let (offset, package) = (package.span().start, package.into_inner().seen_from(directory));
                let before = packages.len();
                packages.retain(|other| !other.value.is_meant_by(&package));
                if packages.len() == before {
                    let known: Vec<_> = packages.iter().map(|package| package.to_string()).collect();
                    return Err(Misfit::new(offset, format!("there is no `{package}` to drop from `include`"))
                        .near(&package.to_string(), known.iter().map(String::as_str)));
                }
            }
            add
        }
    };
    add_packages(packages, add.into_iter().map(|item| item.seen_from(directory)), origin);
    Ok(())
}

/// Adds those of the packages that are not in the list yet.
pub(super) fn add_packages(
    packages: &mut Vec<Sourced<Include>>,
    add: impl IntoIterator<Item = Include>,
    origin: &Origin,
) {
    for value in add {
        if !packages.iter().any(|other| other.value == value) {
            packages.push(Sourced { value, origin: origin.clone() });
        }
    }
}

/// Replaces a list, or adds to it.
fn merge_list<W, T>(
    list: &mut Vec<Listed<T>>,
    written: Option<List<W, Addition<W>>>,
    source: &Source,
    read: impl Fn(W) -> Result<T, Misfit>,
) -> Result<(), Misfit> {
    let items = match written {
        Some(List::Whole(items)) => {
            list.clear();
            items
        }
        Some(List::Change(Addition { add })) => add,
        None => return Ok(()),
    };
    for item in items {
        list.push(Listed { what: read(item)?, source: source.clone() });
    }
    Ok(())
}

/// Replaces the list of pins, or adds to its beginning, where pins count more.
fn merge_pins(pins: &mut Vec<Listed<Pin>>, written: Option<List<Pin, PinChange>>, source: &Source) {
    let (add, behind) = match written {
        Some(List::Whole(pins)) => (pins, Vec::new()),
        Some(List::Change(PinChange { add })) => (add, std::mem::take(pins)),
        None => return,
    };
    let add = add.into_iter().map(|what| Listed { what, source: source.clone() });
    *pins = add.chain(behind).collect();
}

fn preseed(written: PreseedPatch) -> Result<Preseed, Misfit> {
    let offset = written.0.span().start;
    match written.0.into_inner() {
        LineOrFile::Line(line) => match line.parse() {
            Ok(answer) => Ok(Preseed::Answer(answer)),
            Err(error) => Err(Misfit::new(offset, format!("this is no answer for debconf: {error}"))),
        },
        LineOrFile::File(path) => Ok(Preseed::File(path)),
    }
}

fn listed(plugin: PluginPatch, source: &Source) -> Plugin {
    let PluginPatch { name, path, time_limit, settings } = plugin;
    Plugin { name, path, time_limit, settings: settings.0, source: source.clone(), set_by: BTreeMap::new() }
}

fn change_plugins(plugins: &mut Vec<Plugin>, change: PluginChange, source: &Source) -> Result<(), Misfit> {
    for name in change.drop {
        let (offset, name) = (name.span().start, name.into_inner());
        let before = plugins.len();
        plugins.retain(|plugin| plugin.name != name);
        if plugins.len() == before {
            return Err(no_such_plugin(plugins, &name, offset, "drop"));
        }
    }
    for (name, settings) in change.set {
        let offset = settings.span().start;
        let mut named = plugins.iter_mut().filter(|plugin| plugin.name == name);
        match (named.next(), named.next()) {
            (Some(plugin), None) => {
                for (key, value) in settings.into_inner().0 {
                    plugin.set_by.insert(key.clone(), source.clone());
                    merge_value(&mut plugin.settings, key, value);
                }
            }
            (Some(_), Some(_)) => {
                let message =
                    format!("the plugin `{name}` is listed more than once: drop it, and add it as you want it");
                return Err(Misfit::new(offset, message));
            }
            (None, _) => return Err(no_such_plugin(plugins, &name, offset, "set")),
        }
    }
    plugins.extend(change.add.into_iter().map(|plugin| listed(plugin, source)));
    Ok(())
}

fn no_such_plugin(plugins: &[Plugin], name: &PluginName, offset: usize, change: &str) -> Misfit {
    let known = plugins.iter().map(|plugin| plugin.name.as_str());
    Misfit::new(offset, format!("there is no plugin `{name}` to {change}")).near(name.as_str(), known)
}

/// Sets a key. A table is merged into one that is there; any other value replaces what is there.
fn merge_value(map: &mut Map<String, Value>, key: String, value: Value) {
    match (map.get_mut(&key), value) {
        (Some(Value::Object(below)), Value::Object(above)) => {
            for (key, value) in above {
                merge_value(below, key, value);
            }
        }
        (_, value) => drop(map.insert(key, value)),
    }
}

#[cfg(test)]
mod tests;
