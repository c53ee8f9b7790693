//! Answers to the questions that packages ask while they are configured, for the new system's own
//! debconf.

use std::collections::BTreeSet;
use std::fmt;

use fam_isolation::sandbox::{Command, Sandbox};
use fam_progress::Progress;

use super::scripts::run_program_and_hear;
use super::{Error, in_tree};
use crate::staging::Staging;

/// What takes the answers.
const SET_SELECTIONS: &str = "debconf-set-selections";
/// Where it finds them. Nobody but root may read the file, and it is there while debconf reads it.
const FILE: &str = "var/cache/debconf/fam-build-answers";

/// Answers, as debconf-set-selections(1) reads them. They may be passwords: so this shows none, and
/// cannot be serialized.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Answers {
    lines: String,
}

impl Answers {
    /// Those of these lines, which have no newlines.
    #[must_use]
    pub fn new(lines: impl IntoIterator<Item = String>) -> Self {
        Self { lines: lines.into_iter().map(|line| line + "\n").collect() }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The packages that the answers are for.
    pub fn packages(&self) -> BTreeSet<&str> {
        self.lines.lines().filter_map(|line| line.split_whitespace().next()).collect()
    }

    /// Whether one of them is a password, by the type that it says it has.
    #[must_use]
    pub fn have_password(&self) -> bool {
        self.lines.lines().any(|line| line.split_whitespace().nth(2) == Some("password"))
    }

    /// The answers in clear.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.lines
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

/// Has debconf, whose files are in the tree, take the answers. It need not be configured, only its
/// conffile has to be in place. What it warns of is reported; it prints no values unless it is
/// asked to.
pub(super) fn preseed(
    answers: &Answers,
    sandbox: &mut Sandbox,
    staging: &Staging,
    progress: &Progress,
) -> Result<(), Error> {
    staging.write(&in_tree(FILE), answers.reveal().as_bytes(), 0o600)?;
    let command = Command::new(SET_SELECTIONS).arg(format!("/{FILE}"));
    let taken = run_program_and_hear(sandbox, &command, SET_SELECTIONS, |line| match line.strip_prefix("warning: ") {
        Some(warning) => progress.warning(format!("{SET_SELECTIONS}: {warning}"), None),
        None => progress.output(SET_SELECTIONS, line),
    });
    // Before the result is looked at: the answers may be passwords, and no failure may leave them
    // in the tree.
    staging.remove(&in_tree(FILE))?;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_do_not_show() {
        let answers = Answers::new(["a a/b password s3cret".to_owned(), "a a/c string x".to_owned()]);
        assert_eq!(answers.reveal(), "a a/b password s3cret\na a/c string x\n");
        assert_eq!(format!("{answers:?}"), "Answers");
        assert_eq!(answers.packages().into_iter().collect::<Vec<_>>(), ["a"]);
        assert!(!answers.is_empty() && Answers::new([]).is_empty());
        assert!(answers.have_password() && !Answers::new(["a password string password".to_owned()]).have_password());
    }
}
