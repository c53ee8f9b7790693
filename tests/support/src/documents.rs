//! The project's documents, as tests read them.

use std::path::{Path, PathBuf};

/// Where a file of the checkout is.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The text of a document, by its path in the checkout.
pub fn document(name: &str) -> String {
    fs_err::read_to_string(path(name)).unwrap()
}

/// The indented blocks of a Markdown text, without their indentation.
pub fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        let block = blocks.last_mut().unwrap();
        match line.strip_prefix("    ") {
            Some(line) => *block += &format!("{line}\n"),
            // A blank line within a block belongs to it.
            None if line.is_empty() && !block.is_empty() => block.push('\n'),
            None if block.is_empty() => {}
            None => blocks.push(String::new()),
        }
    }
    blocks.iter().map(|block| format!("{}\n", block.trim_end())).filter(|block| block != "\n").collect()
}
