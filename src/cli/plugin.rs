//! `fam-build plugin`: lists plugins, begins a new one, or checks one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::arguments::PluginVerb;
use super::screen::json_line;
use super::{Engine, print, show_failure, text};
use crate::hints;
use crate::plugins::scaffold::{self, Language, Project};
use crate::recipe::{Environment, Flags, Settings};
use crate::report::{Failure, PluginReport, PluginsReport};

pub(super) fn run(engine: &dyn Engine, verb: PluginVerb, environment: &Environment) -> Result<(), Failure> {
    let (json, result) = match verb {
        PluginVerb::List { recipe, plugin_dir, json } => (json, list(engine, recipe, plugin_dir, json, environment)),
        PluginVerb::New { name, lang, directory, json } => (json, new(&name, lang, directory, json)),
        PluginVerb::Check { file, settings, json } => (json, check(engine, &file, settings, json)),
    };
    show_failure(json, &result);
    result
}

fn list(
    engine: &dyn Engine,
    recipe: Option<String>,
    plugin_dir: Vec<PathBuf>,
    json: bool,
    environment: &Environment,
) -> Result<(), Failure> {
    let flags = Flags { recipe, plugin_dir, ..Flags::default() };
    let settings = Settings::new(flags, environment).map_err(|error| hints::usage(&error))?;
    let report = engine.plugins(&settings)?;
    if json {
        json_line(&serde_json::json!({ "event": "plugins", "report": report }));
        return Ok(());
    }
    print(&listed(&report))?;
    let style = text::Style::of_stderr();
    for fault in &report.faults {
        // As for any error, nothing can be done about one while showing it.
        let _ = text::failure(fault, style, &mut std::io::stderr().lock());
    }
    Ok(())
}

fn listed(report: &PluginsReport) -> String {
    let rows: Vec<[String; 6]> = report
        .plugins
        .iter()
        .map(|plugin| {
            let version = plugin.version.clone().unwrap_or_else(|| "-".into());
            let origin = plugin.path.clone().unwrap_or_else(|| "-".into());
            let provides = if plugin.provides.is_empty() { "-".into() } else { plugin.provides.join(", ") };
            [plugin.name.clone(), plugin.kind.clone(), plugin.stages.join(", "), provides, version, origin]
                .map(|cell| text::word(&cell))
        })
        .collect();
    let header = ["NAME", "KIND", "STAGES", "PROVIDES", "VERSION", "FILE"].map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&header]).map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4].map(width);
    let mut text = String::new();
    for [name, kind, stages, provides, version, file] in [&header].into_iter().chain(&rows) {
        let [a, b, c, d, e] = widths;
        let _ = writeln!(text, "{name:a$}  {kind:b$}  {stages:c$}  {provides:d$}  {version:e$}  {file}");
    }
    text
}

fn new(name: &str, language: Language, directory: Option<PathBuf>, json: bool) -> Result<(), Failure> {
    let directory = directory.unwrap_or_else(|| name.into());
    let project = scaffold::create(name, language, &directory).map_err(|error| hints::usage(&error))?;
    if json {
        json_line(&serde_json::json!({ "event": "created", "report": project }));
        return Ok(());
    }
    print(&created(name, &project))
}

fn created(name: &str, project: &Project) -> String {
    let Project { directory, files, plugin, build, test } = project;
    let mut text =
        format!("{directory} is the beginning of a plugin: {} files, of which README.md explains all\n", files.len());
    let mut add_step = |what: &str, how: &str| {
        let _ = writeln!(text, "  {what:6} {how}");
    };
    if let Some(build) = build {
        add_step("build", &format!("cd {directory} && {build}"));
    }
    add_step("test", &format!("cd {directory} && {test}"));
    add_step("check", &format!("fam-build plugin check {directory}/{plugin} --set text=hello"));
    let _ = write!(
        text,
        "In a recipe:\n  [[plugin]]\n  name = \"{name}\"\n  path = \"{directory}/{plugin}\"\n  settings = {{ text = \"hello\" }}\n"
    );
    text
}

fn check(engine: &dyn Engine, file: &Path, settings: Vec<(String, Value)>, json: bool) -> Result<(), Failure> {
    let settings = (!settings.is_empty()).then(|| Value::Object(Map::from_iter(settings)));
    let report = engine.check_plugin(file, settings.as_ref())?;
    if json {
        json_line(&serde_json::json!({ "event": "checked", "report": report }));
        return Ok(());
    }
    print(&checked(&report, settings.is_some()))
}

fn checked(report: &PluginReport, settings: bool) -> String {
    let mut text = format!("{}: {}\n", report.name, text::word(&report.summary));
    let mut add_line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:8} {}", text::word(value));
    };
    add_line("kind", &report.kind);
    add_line("stages", &report.stages.join(", "));
    if !report.after.is_empty() {
        add_line("after", &report.after.join(", "));
    }
    if !report.provides.is_empty() {
        add_line("provides", &report.provides.join(", "));
    }
    if let Some(version) = &report.version {
        add_line("version", version);
    }
    if settings {
        add_line("settings", "fit");
    }
    text
}
