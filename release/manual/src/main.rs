//! Writes the manual pages of fam-build into a directory, one for the program and one for each verb:
//! `fam-manual DIRECTORY DATE`. They say what the help says. A program of its own, since only a
//! release needs it.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use fam_build::cli::arguments::Arguments;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, date] = &arguments[..] else {
        eprintln!("usage: fam-manual DIRECTORY DATE");
        return ExitCode::from(2);
    };
    let mut command = Arguments::command();
    command.build();
    match write_pages(&command, Path::new(directory), date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_pages(command: &Command, directory: &Path, date: &str) -> io::Result<()> {
    for verb in command.get_subcommands() {
        write_pages(verb, directory, date)?;
    }
    let source = format!("fam-build {}", env!("CARGO_PKG_VERSION"));
    let page = Man::new(command.clone()).date(date).source(source).manual("User Commands");
    let mut file = fs_err::File::create(directory.join(page.get_filename()))?;
    page.render_title(&mut file)?;
    page.render_name_section(&mut file)?;
    page.render_synopsis_section(&mut file)?;
    page.render_description_section(&mut file)?;
    if command.get_arguments().next().is_some() {
        page.render_options_section(&mut file)?;
    }
    if command.has_subcommands() {
        page.render_subcommands_section(&mut file)?;
    }
    let end = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    file.write_all(sections(&end).as_bytes())
}

/// The end of the help as sections of a manual page, with lines as they are. Each of its paragraphs
/// begins with a heading and a colon.
fn sections(end_of_help: &str) -> String {
    let paragraphs = end_of_help.split("\n\n").filter_map(|paragraph| paragraph.split_once(':'));
    let section = |(heading, text): (&str, &str)| {
        let heading = heading.to_uppercase();
        let lines: Vec<String> =
            text.trim_start_matches('\n').lines().map(|line| format!("\\&{}", escaped(line))).collect();
        format!(".SH \"{heading}\"\n.nf\n{}\n.fi\n", lines.join("\n"))
    };
    paragraphs.map(section).collect()
}

/// Text as roff shows it unchanged.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}
