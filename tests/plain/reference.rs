//! The reference of the documents: pages that are made of the program's own types and texts, so that
//! they say what the program does. A page that differs is an error that says how to write it again.

mod command_line;
mod recipe;
mod texts;

use std::fmt::Write as _;

use support::documents;

support::tests! {
    needs ["bash"];
    the_reference_is_what_the_program_says,
}

/// Set, it has the pages written instead of compared.
const WRITE: &str = "FAM_BUILD_WRITE_REFERENCE";

fn the_reference_is_what_the_program_says() {
    let pages = [
        ("command-line", command_line::page()),
        ("environment", texts::environment()),
        ("launch-script", texts::launch_script()),
        ("plugins", texts::plugins()),
        ("recipe", recipe::page()),
    ];
    let mut differ = Vec::new();
    for (name, text) in pages {
        let path = documents::path(&format!("docs/reference/{name}.md"));
        let text = format!("{}\n", text.trim_end());
        if std::env::var_os(WRITE).is_some() {
            fs_err::write(&path, text).unwrap();
        } else if fs_err::read_to_string(&path).ok() != Some(text) {
            differ.push(path);
        }
    }
    assert!(
        differ.is_empty(),
        "{differ:?} do not say what the program does. To write them again:\n    {WRITE}=1 tests/run reference"
    );
}

/// A page that begins with a heading and says where it comes from.
fn page_of(heading: &str, introduction: &str) -> String {
    format!("# {heading}\n\n<!-- Written by tests/plain/reference.rs. -->\n\n{introduction}\n")
}

/// Adds a table, unless it would be empty.
fn table<const N: usize>(page: &mut String, heads: [&str; N], rows: &[[String; N]]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n| {} |\n|{}", heads.join(" | "), " --- |".repeat(N));
    for row in rows {
        let _ = writeln!(page, "| {} |", row.join(" | ").replace("  ", " "));
    }
}

/// Text as a cell of a table has it: on one line, and with nothing outside of `code` that Markdown
/// takes for more than text.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    let mut in_code = false;
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        in_code ^= c == '`';
        if c == '|' || (!in_code && "*_<>[]".contains(c)) {
            cell.push('\\');
        }
        cell.push(c);
    }
    cell
}

/// Text as code in a cell.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// A help text, and the default that it ends with.
fn without_default(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.rsplit_once("[default: ") {
        Some((meaning, default)) if default.ends_with(']') => (meaning.trim_end(), default.trim_end_matches(']')),
        _ => (text, ""),
    }
}
