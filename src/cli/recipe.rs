//! `fam-build recipe`: what recipes there are, what one comes to, whether one is sound, and what
//! one may say.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::arguments::RecipeVerb;
use super::screen::json_line;
use super::{Engine, print, text, with_settings};
use crate::recipe::{
    DEFAULT, Environment, Listed, Origin, PathRule, Preseed, Recipe, SHIPPED, Settings, Source, schema,
};
use crate::report::Failure;

pub(super) fn run(engine: &dyn Engine, verb: RecipeVerb, environment: &Environment) -> Result<(), Failure> {
    match verb {
        RecipeVerb::List { json } => list(json),
        RecipeVerb::Show(options) => with_settings(*options, environment, show),
        RecipeVerb::Check(options) => with_settings(*options, environment, |settings| {
            engine.check(settings)?;
            checked(settings)
        }),
        RecipeVerb::Schema => print(&format!("{:#}\n", schema())),
    }
}

fn list(as_json: bool) -> Result<(), Failure> {
    let recipes = SHIPPED.iter().map(|shipped| (shipped.name, shipped.recipe().description));
    if as_json {
        let recipes: Vec<_> = recipes
            .map(|(name, description)| json!({ "name": name, "description": description, "default": name == DEFAULT }))
            .collect();
        json_line(&json!({ "event": "recipes", "recipes": recipes }));
        return Ok(());
    }
    let width = SHIPPED.iter().map(|shipped| shipped.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, description) in recipes {
        let default = if name == DEFAULT { " (default)" } else { "" };
        let _ = writeln!(text, "{name:width$}  {description}{default}");
    }
    print(&text)
}

fn checked(settings: &Settings) -> Result<(), Failure> {
    let (packages, plugins) = (settings.recipe.include.len(), settings.recipe.plugins.len());
    if settings.json {
        let report = json!({ "recipe": settings.recipe_name, "packages": packages, "plugins": plugins });
        json_line(&json!({ "event": "checked", "report": report }));
        return Ok(());
    }
    print(&format!("{} is sound: {packages} packages named, {plugins} plugins\n", chain(settings)))
}

fn show(settings: &Settings) -> Result<(), Failure> {
    if settings.json {
        let names: Vec<_> = settings.recipe_chain.iter().map(|source| &source.recipe).collect();
        let origins: Map<_, _> = values(settings)
            .into_iter()
            .map(|(table, key, _)| (path(table, key), json!(settings.origin_of_key(&path(table, key)))))
            .collect();
        let recipe = &settings.recipe;
        json_line(&json!({ "event": "recipe", "made-of": names, "recipe": recipe, "origins": origins }));
        return Ok(());
    }
    print(&as_toml(settings))
}

/// The recipe's name, with those that it extends.
fn chain(settings: &Settings) -> String {
    let names: Vec<String> = settings.recipe_chain.iter().map(|source| text::word(&source.recipe)).collect();
    names.join(", which extends ")
}

/// Who decided a value, for a comment.
fn by(origin: &Origin) -> String {
    text::word(&origin.to_string())
}

fn path(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// The values that are no lists of their own: table, key, value.
fn values(settings: &Settings) -> Vec<(&'static str, &'static str, toml::Value)> {
    fn value(of: impl Serialize) -> toml::Value {
        match toml::Value::try_from(of) {
            Ok(value) => value,
            Err(error) => unreachable!("what was read from TOML can be written as TOML: {error}"),
        }
    }
    let recipe = &settings.recipe;
    vec![
        ("", "description", value(&recipe.description)),
        ("", "suite", value(&recipe.suite)),
        ("", "architecture", value(recipe.architecture)),
        ("", "components", value(&recipe.components)),
        ("", "updates", value(recipe.updates)),
        ("", "security", value(recipe.security)),
        ("", "ca-certificates", value(&recipe.ca_certificates)),
        ("", "variant", value(recipe.variant)),
        ("", "initramfs", value(recipe.initramfs)),
        ("disk", "size", value(recipe.disk.size)),
        ("disk", "label", value(&recipe.disk.label)),
        ("disk", "compress", value(recipe.disk.compress)),
        ("kernel", "package", value(&recipe.kernel.package)),
        ("kernel", "cmdline", value(&recipe.kernel.cmdline)),
        ("fabric", "kind", value(recipe.fabric.kind)),
        ("fabric", "size", value(recipe.fabric.size)),
        ("nodes", "count", value(recipe.nodes.count)),
        ("nodes", "memory", value(recipe.nodes.memory)),
        ("nodes", "cpus", value(recipe.nodes.cpus)),
        ("nodes", "name", value(&recipe.nodes.name)),
    ]
}

/// The recipe as one that extends none, with a comment on each value that says who decided it.
pub(super) fn as_toml(settings: &Settings) -> String {
    let mut text = format!("# {}\n\n", chain(settings));
    let mut in_table = "";
    for (table, key, value) in values(settings) {
        if table != in_table {
            if in_table.is_empty() {
                include(&mut text, settings);
                listed(&mut text, settings);
            }
            let _ = writeln!(text, "\n[{table}]");
            in_table = table;
        }
        let _ = writeln!(text, "{key} = {value} # {}", by(&settings.origin_of_key(&path(table, key))));
    }
    for plugin in &settings.recipe.plugins {
        let from = |source: &Source| by(&Origin::Recipe(source.recipe.clone()));
        let _ = writeln!(text, "\n[[plugin]] # {}\nname = \"{}\"", from(&plugin.source), plugin.name);
        if !plugin.settings.is_empty() {
            text.push_str("[plugin.settings]\n");
        }
        for (key, value) in &plugin.settings {
            let key = Key(key);
            let _ = writeln!(text, "{key} = {} # {}", inline(value), from(plugin.source_of(key.0)));
        }
    }
    text
}

fn include(text: &mut String, settings: &Settings) {
    text.push_str("include = [\n");
    for (package, origin) in settings.included() {
        let _ = writeln!(text, "    \"{package}\", # {}", by(origin));
    }
    text.push_str("]\n");
}

/// The lists whose values have a comment each.
fn listed(text: &mut String, settings: &Settings) {
    let Recipe { debconf, paths, .. } = &settings.recipe;
    let answers = debconf.iter().map(|Listed { what, source }| match what {
        // Without its value, which may be a password.
        Preseed::Answer(answer) => (string(&answer.to_string()), source),
        Preseed::File(path) => (format!("{{ file = {} }}", string(path)), source),
    });
    write_list(text, "debconf", if debconf.is_empty() { "" } else { " # values are not shown" }, answers);
    let rules = paths.iter().map(|Listed { what, source }| match what {
        PathRule::Exclude(pattern) => (format!("{{ exclude = {} }}", string(pattern.as_str())), source),
        PathRule::Include(pattern) => (format!("{{ include = {} }}", string(pattern.as_str())), source),
    });
    write_list(text, "paths", "", rules);
}

fn write_list<'a>(text: &mut String, key: &str, comment: &str, items: impl Iterator<Item = (String, &'a Source)>) {
    let items: String =
        items.map(|(item, source)| format!("    {item}, # {}\n", by(&Origin::Recipe(source.recipe.clone())))).collect();
    let _ =
        if items.is_empty() { writeln!(text, "{key} = []") } else { writeln!(text, "{key} = [{comment}\n{items}]") };
}

/// A string as TOML writes it on one line.
fn string(value: &str) -> String {
    inline(&Value::String(value.to_owned()))
}

/// A key as TOML writes it: bare where it can be.
struct Key<'a>(&'a str);

impl std::fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bare = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        match self.0 {
            key if !key.is_empty() && key.chars().all(bare) => f.write_str(key),
            key => write!(f, "{}", toml::Value::String(key.to_owned())),
        }
    }
}

/// A setting of a plugin on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let entries: Vec<_> = map.iter().map(|(key, value)| format!("{} = {}", Key(key), inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        // JSON's escapes of strings are among TOML's; a literal with quotes and newlines as they
        // are would end the line.
        scalar => scalar.to_string().replace('\u{7f}', "\\u007f"),
    }
}
