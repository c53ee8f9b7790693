//! The page of the command line: each verb with its help, as the parser of arguments has it.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory};
use fam_build::cli::arguments::Arguments;

use super::{cell, code, page_of, table, without_default};

/// A verb that has been described: its name, its arguments and its options.
type Described = (String, String, String);

pub fn page() -> String {
    let mut program = Arguments::command();
    program.build();
    let mut page = page_of(
        "Command line",
        "`fam-build [OPTIONS] [NODES]` builds; `fam-build VERB` does something else. Each verb has `--help`, and `-V` or \
         `--version` prints the version.",
    );
    let verbs: Vec<_> = program.get_subcommands().map(|verb| [link(verb.get_name()), cell(&about(verb))]).collect();
    table(&mut page, ["Verb", ""], &verbs);
    let mut described = Vec::new();
    for verb in program.get_subcommands() {
        describe(&mut page, verb, &mut described);
    }
    page
}

fn link(verb: &str) -> String {
    format!("[`{verb}`](#fam-build-{})", verb.replace(' ', "-"))
}

fn about(verb: &Command) -> String {
    verb.get_about().map(StyledStr::to_string).unwrap_or_default()
}

/// Adds a section for a verb, and one for each verb under it. What an earlier one has, too, is not
/// said again.
fn describe(page: &mut String, verb: &Command, described: &mut Vec<Described>) {
    let name = verb.get_bin_name().unwrap();
    let _ = writeln!(page, "\n## {name}\n\n{}.", about(verb));
    if verb.has_subcommands() {
        for verb in verb.get_subcommands() {
            describe(page, verb, described);
        }
        return;
    }
    let usage = verb.clone().render_usage().to_string();
    let _ = writeln!(page, "\n    {}", usage.trim_start_matches("Usage: ").trim());
    let mut arguments = String::new();
    let places: Vec<_> = verb.get_positionals().map(|place| row(place, code(&place.to_string()))).collect();
    table(&mut arguments, ["Argument", "Meaning", "Default"], &places);
    let options = options(verb);
    let same = |it: &&Described| (&it.1, &it.2) == (&arguments, &options);
    let same_options = |it: &&Described| it.2 == options && options.lines().count() > 10;
    if let (Some((name, ..)), false) = (described.iter().find(same), places.is_empty()) {
        let _ = writeln!(page, "\nIts arguments and options are those of {}.", link(name));
    } else if let Some((name, ..)) = described.iter().find(same_options) {
        let _ = writeln!(page, "{arguments}\nIts options are those of {}.", link(name));
    } else {
        *page += &(arguments.clone() + &options);
    }
    described.push((name.trim_start_matches("fam-build ").to_owned(), arguments, options));
}

/// The options of a verb, under the headings that its help has.
fn options(verb: &Command) -> String {
    let mut groups: Vec<(&str, Vec<_>)> = Vec::new();
    for option in verb.get_arguments().filter(|it| !it.is_positional() && it.get_long() != Some("help")) {
        let heading = option.get_help_heading().unwrap_or("Option");
        let names = [option.get_short().map(|short| format!("-{short}")), Some(long(option))];
        let names = names.into_iter().flatten().map(|name| code(&name)).collect::<Vec<_>>().join(", ");
        let row = row(option, names);
        match groups.iter_mut().find(|(group, _)| *group == heading) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((heading, vec![row])),
        }
    }
    let mut text = String::new();
    for (heading, rows) in groups {
        table(&mut text, [heading, "Meaning", "Default"], &rows);
    }
    text
}

fn long(option: &Arg) -> String {
    let values: Vec<&str> = option.get_value_names().unwrap_or_default().iter().map(|name| &**name).collect();
    let takes_values = option.get_action().takes_values();
    format!(
        "--{}{}",
        option.get_long().unwrap(),
        if takes_values { format!(" {}", values.join(" ")) } else { String::new() }
    )
}

fn row(argument: &Arg, name: String) -> [String; 3] {
    let help = argument.get_long_help().or(argument.get_help()).map(StyledStr::to_string).unwrap_or_default();
    let (meaning, default) = without_default(&help);
    let takes_values = argument.get_action().takes_values();
    let mut meaning = cell(meaning);
    if takes_values && !argument.is_hide_possible_values_set() {
        let values = argument.get_possible_values();
        let values: Vec<_> = values.iter().map(|value| code(value.get_name())).collect();
        if !values.is_empty() {
            let _ = write!(meaning, ": {}", values.join(", "));
        }
    }
    let built_in = argument.get_default_values().iter().filter(|_| takes_values).filter_map(|value| value.to_str());
    let default = if default.is_empty() { built_in.collect::<Vec<_>>().join(" ") } else { default.to_owned() };
    [name, meaning, cell(&default)]
}
