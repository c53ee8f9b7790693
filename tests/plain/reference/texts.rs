//! The pages that are made of what the program prints, and of the READMEs of the built-in plugins.

use std::process::Command;

use clap::CommandFactory;
use fam_build::cli::arguments::Arguments;
use fam_build::fabric::{self, Cluster, LAUNCH_SCRIPT, Seed};
use fam_build::recipe::SHIPPED;
use serde_json::Value;
use support::documents::document;
use support::{program, succeed};

use super::{cell, code, page_of, table, without_default};

/// The environment variables and the exit codes that the program's help explains.
pub fn environment() -> String {
    let help = Arguments::command().get_after_long_help().unwrap().to_string();
    let mut page = page_of(
        "Environment and exit codes",
        "A flag beats the environment, and that beats the recipe. A variable that is empty counts as one that is not set. \
         What the [launch script](launch-script.md) reads is on its own page.",
    );
    table(&mut page, ["Variable", "Meaning", "Default"], &variables(&help, "Environment "));
    let codes = help.split_once("Exit codes: ").expect("the help names the exit codes").1;
    let codes: Vec<_> = codes.split("; ").map(|code| code.trim().split_once(' ').unwrap()).collect();
    let codes: Vec<_> = codes.iter().map(|(number, meaning)| [(*number).to_owned(), cell(meaning)]).collect();
    assert_eq!(codes.len(), 3);
    table(&mut page, ["Exit code", "Meaning"], &codes);
    page
}

/// The rows of a help text's section of variables: `  NAME  meaning [default: value]`.
fn variables(help: &str, heading: &str) -> Vec<[String; 3]> {
    let lines = help.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    let rows: Vec<_> = lines
        .map_while(|line| line.strip_prefix("  ")?.split_once("  "))
        .map(|(name, text)| {
            let (meaning, default) = without_default(text);
            [code(name), cell(meaning), cell(default)]
        })
        .collect();
    assert!(rows.len() > 5, "{help}");
    rows
}

/// The commands and variables of the launch script, as the one of the default recipe explains them.
pub fn launch_script() -> String {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join(LAUNCH_SCRIPT);
    fs_err::write(&script, fabric::launch_script(&Cluster::new(&SHIPPED[0].recipe()), &Seed::from_bytes([0; 32])))
        .unwrap();
    let help = succeed(Command::new("bash").arg(&script).arg("help").env_clear().env("PATH", "/usr/bin:/bin"));
    let mut page = page_of(
        "Launch script",
        "`fabric_emulation.bash`, beside the images, runs the nodes: [Run the nodes](../guide.md#run-the-nodes). This is what its \
         `help` says.",
    );
    let (commands, _) = help.split_once("\nEnvironment:").expect("the help has a section of variables");
    for line in commands.trim_end().lines() {
        page += format!("\n    {line}").trim_end_matches(' ');
    }
    page.push('\n');
    table(&mut page, ["Variable", "Meaning", "Default"], &variables(&help, "Environment:"));
    page
}

/// The built-in plugins: a list, and the README of each.
pub fn plugins() -> String {
    let list = Command::new(program()).args(["plugin", "list", "--json"]).env_clear().output().unwrap().stdout;
    let list: Value = serde_json::from_slice(&list).unwrap();
    let mut page = page_of(
        "Settings of the built-in plugins",
        "Which plugins a recipe has, and in which order, is in its `[[plugin]]` tables: [Recipes](../recipes.md#plugins). The \
         system stage acts once, on the system that all nodes share; the node stage acts for each node.",
    );
    let plugins = list["report"]["plugins"].as_array().unwrap();
    let names: Vec<&str> = plugins.iter().map(|plugin| plugin["name"].as_str().unwrap()).collect();
    let rows = plugins.iter().zip(&names).map(|(plugin, name)| {
        let stages = plugin["stages"].as_array().unwrap().iter().map(|stage| stage.as_str().unwrap());
        let stages: Vec<_> = stages.collect();
        [format!("[{name}](#{name})"), cell(plugin["summary"].as_str().unwrap()), stages.join(", ")]
    });
    table(&mut page, ["Plugin", "What it does", "Stages"], &rows.collect::<Vec<_>>());
    for name in names {
        let readme = document(&format!("plugins/{name}/README.md"));
        let text = readme.strip_prefix(&format!("# {name}\n")).expect("a README begins with the plugin's name");
        page += &format!("\n## {name}\n{text}");
    }
    page
}
