//! The documents: every link leads to a file or heading that is there, and the book has all its
//! pages.

use std::path::{Component, Path, PathBuf};

use support::documents::path;

support::tests! {
    every_link_leads_somewhere,
    every_document_that_is_named_is_there,
    the_book_has_every_page,
}

/// The files of the checkout whose names end so, by their paths in it. What is compiled or fuzzed is
/// left out.
fn files(directory: &str, ends: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(path(directory)).unwrap() {
        let (entry, name) = entry.map(|entry| (entry.file_type().unwrap(), entry.file_name())).unwrap();
        let name = name.into_string().unwrap();
        let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
        if entry.is_dir() && !name.starts_with('.') && !["target", "corpus"].contains(&&*name) {
            found.extend(files(&path, ends));
        } else if entry.is_file() && ends.iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(name: &str) -> String {
    fs_err::read_to_string(path(name)).unwrap()
}

/// Whether a line is of a block of code that is indented.
fn is_code(line: &str) -> bool {
    line.starts_with("    ")
}

/// The targets of the links of a Markdown text.
fn links(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().filter(|line| !is_code(line)).collect();
    let text = lines.join("\n");
    // Every other piece is between two backticks, and so is code.
    let text: String = text.split('`').step_by(2).collect();
    text.split("](").skip(1).map(|rest| rest.split_once(')').expect("a link ends").0.to_owned()).collect()
}

/// The anchors that headings of a Markdown text have, both on the web and in the book.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| !is_code(line) && line.starts_with('#'));
    let slug = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

/// The file that a path leads to from a file, without dots.
fn target(from: &str, link: &str) -> String {
    let mut path = PathBuf::new();
    for component in Path::new(from).parent().unwrap().join(link).components() {
        match component {
            Component::ParentDir => assert!(path.pop(), "{from}: {link} leads out of the checkout"),
            component => path.push(component),
        }
    }
    path.to_str().unwrap().to_owned()
}

fn every_link_leads_somewhere() {
    let documents = files("", &[".md"]);
    for known in ["README.md", "docs/guide.md", "plugins/hosts/README.md", "examples/README.md"] {
        assert!(documents.iter().any(|document| document == known), "{documents:?}");
    }
    let (mut seen, mut wrong) = (0, Vec::new());
    for document in &documents {
        for link in links(&read(document)).iter().filter(|link| !link.contains("://")) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { document.clone() } else { target(document, file) };
            // The web shows the checkout, the book only what is in its directory.
            let leaves_book = document.starts_with("docs/") && !file.starts_with("docs/");
            if !path(&file).exists() || leaves_book {
                wrong.push(format!("{document}: {link}"));
            } else if !anchor.is_empty() && !anchors(&read(&file)).iter().any(|known| known == anchor) {
                wrong.push(format!("{document}: {link}: no such heading"));
            }
        }
    }
    assert!(wrong.is_empty() && seen > 50, "{seen} links, wrong: {wrong:#?}");
}

/// Messages, comments and other documents name some by their path in the checkout.
fn every_document_that_is_named_is_there() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in files("", &[".rs", ".md", ".toml", ".bash", ".sh", ".py"]) {
        let text = read(&file);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"/._-".contains(c));
        for word in words.filter(|word| word.ends_with(".md")) {
            if ["docs/", "plugins/", "examples/"].iter().any(|directory| word.starts_with(directory)) {
                seen += 1;
                // Links of pages in these directories are relative.
                if !path(word).exists() && !path(&target(&file, word)).exists() {
                    wrong.push(format!("{file}: {word}"));
                }
            }
        }
    }
    assert!(wrong.is_empty() && seen > 10, "{seen} names, wrong: {wrong:#?}");
}

fn the_book_has_every_page() {
    let summary = read("docs/SUMMARY.md");
    let mut listed: Vec<String> = links(&summary).iter().map(|link| target("docs/SUMMARY.md", link)).collect();
    listed.push("docs/SUMMARY.md".into());
    listed.sort();
    assert_eq!(listed, files("docs", &[".md"]));
    for page in listed {
        for include in read(&page).split("{{#include ").skip(1) {
            let (file, anchor) = include.split_once("}}").unwrap().0.split_once(':').unwrap();
            let text = read(&target(&page, file));
            let [begin, end] = ["ANCHOR", "ANCHOR_END"].map(|mark| text.find(&format!("<!-- {mark}: {anchor} -->")));
            assert!(begin.unwrap() < end.unwrap(), "{page}: {file} has no part {anchor}");
        }
    }
}
