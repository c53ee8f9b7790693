//! `fam-build recipe`: lists recipes, shows one with all its values, checks one, or prints the JSON
//! Schema of recipes.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::arguments::RecipeVerb;
use super::screen::json_line;
use super::{Engine, print, text, with_settings};
use crate::recipe::{
    DEFAULT, Environment, KeyRow, Listed, Origin, PathRule, Preseed, Recipe, SHIPPED, Settings, Source, Volume, schema,
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
    let recipes = SHIPPED.iter().map(|shipped| (shipped.name, shipped.recipe().description.value));
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
        let report = json!({ "recipe": settings.recipe_name.value, "packages": packages, "plugins": plugins });
        json_line(&json!({ "event": "checked", "report": report }));
        return Ok(());
    }
    print(&format!("{} is valid: {packages} packages named, {plugins} plugins\n", chain(settings)))
}

fn show(settings: &Settings) -> Result<(), Failure> {
    if settings.json {
        let names: Vec<_> = settings.recipe_chain.iter().map(|source| &source.recipe).collect();
        let mut origins = Map::new();
        for KeyRow { table, key, origin, .. } in settings.recipe.rows() {
            let path = if table.is_empty() { key } else { format!("{table}.{key}") };
            origins.insert(path, json!(origin));
        }
        let recipe = as_json(&settings.recipe);
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

/// Names who decided a value, for a comment.
fn decided_by(origin: &Origin) -> String {
    text::word(&origin.to_string())
}

/// Names the recipe that decided a value, for a comment.
fn decided_by_recipe(source: &Source) -> String {
    decided_by(&Origin::Recipe(source.recipe.clone()))
}

/// The recipe as JSON, without the origins of its values.
pub(super) fn as_json(recipe: &Recipe) -> Value {
    let Recipe { include, pins, debconf, paths, plugins, .. } = recipe;
    let include: Vec<_> = include.iter().map(|package| &package.value).collect();
    let mut json = json!({ "include": include, "pins": pins, "debconf": debconf, "paths": paths, "plugins": plugins });
    for KeyRow { table, key, value, .. } in recipe.rows() {
        let place = if table.is_empty() { &mut json } else { &mut json[table] };
        place[key] = json!(value);
    }
    for (key, volumes) in volumes(recipe) {
        json["disk"][key] = volumes.iter().map(|listed| json!(listed.what)).collect();
    }
    json
}

/// The lists of the table `disk`, by their keys.
fn volumes(recipe: &Recipe) -> [(&'static str, &[Listed<Volume>]); 2] {
    [("partition", &recipe.disk.partitions), ("more", &recipe.disk.more)]
}

/// The recipe as one that extends none, with a comment on each value that says who decided it.
pub(super) fn as_toml(settings: &Settings) -> String {
    let mut text = format!("# {}\n\n", chain(settings));
    let mut in_table = "";
    for KeyRow { table, key, value, origin } in settings.recipe.rows() {
        if table != in_table {
            // TOML takes keys behind the head of a table for keys of that table, so the outermost
            // lists come before the first.
            if in_table.is_empty() {
                include(&mut text, settings);
                listed(&mut text, settings);
            }
            let _ = writeln!(text, "\n[{table}]");
            in_table = table;
        }
        let _ = writeln!(text, "{key} = {value} # {}", decided_by(origin));
    }
    for (key, volumes) in volumes(&settings.recipe) {
        for Listed { what, source } in volumes {
            let _ = writeln!(text, "\n[[disk.{key}]] # {}", decided_by_recipe(source));
            for (key, value) in json!(what).as_object().into_iter().flatten() {
                let _ = writeln!(text, "{key} = {}", inline(value));
            }
        }
    }
    for plugin in &settings.recipe.plugins {
        let origin = decided_by_recipe(&plugin.source);
        let _ = writeln!(text, "\n[[plugin]] # {origin}\nname = \"{}\"", plugin.name);
        if !plugin.settings.is_empty() {
            text.push_str("[plugin.settings]\n");
        }
        for (key, value) in &plugin.settings {
            let origin = decided_by_recipe(plugin.source_of(key));
            let _ = writeln!(text, "{} = {} # {origin}", Key(key), inline(value));
        }
    }
    text
}

fn include(text: &mut String, settings: &Settings) {
    text.push_str("include = [\n");
    for package in &settings.recipe.include {
        let item = string(&package.value.to_string());
        let _ = writeln!(text, "    {item}, # {}", decided_by(&package.origin));
    }
    text.push_str("]\n");
}

/// Writes the lists `pin`, `debconf` and `paths`, with a comment on each item that names its recipe.
fn listed(text: &mut String, settings: &Settings) {
    let Recipe { pins, debconf, paths, .. } = &settings.recipe;
    write_list(text, "pin", "", pins.iter().map(|Listed { what, source }| (inline(&json!(what)), source)));
    let answers = debconf.iter().map(|Listed { what, source }| match what {
        // It shows without its value, which may be a password.
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
    let items: String = items.map(|(item, source)| format!("    {item}, # {}\n", decided_by_recipe(source))).collect();
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
        let is_bare = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        match self.0 {
            key if !key.is_empty() && key.chars().all(is_bare) => f.write_str(key),
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
        // are would end the line. DEL, which JSON leaves as it is, TOML forbids.
        scalar => scalar.to_string().replace('\u{7f}', "\\u007f"),
    }
}
