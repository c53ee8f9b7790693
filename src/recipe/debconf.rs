//! Answers to the questions that packages ask by debconf, in the form of debconf-set-selections(1):
//! package, question, type and value.
//!
//! A value may be a password. So an [`Answer`] shows and serializes without it, and no error quotes
//! what might be one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The types of questions, and `seen`, the flag that says whether a question was asked.
const TYPES: [&str; 9] = ["select", "boolean", "string", "multiselect", "note", "password", "text", "title", "seen"];

/// The form of an answer, for the JSON Schema.
pub(super) const PATTERN: &str = r"^[ \t]*[^\s#]\S*[ \t]+\S+[ \t]+(select|boolean|string|multiselect|note|password|text|title|seen)([ \t](.*[^\\])?)?$";

/// An answer to a question of a package.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Answer {
    package: String,
    question: String,
    kind: String,
    value: String,
}

/// A line is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    /// It lacks a part.
    #[error("package, question, type and value were expected, as in: tzdata tzdata/Areas select Europe")]
    Incomplete,
    /// There is no such type.
    #[error("the third word is no type of a question, which are {}", TYPES.join(", "))]
    Type,
    /// debconf would take the next line for a part of it.
    #[error("the value of an answer cannot end with a backslash")]
    Backslash,
    /// It is more than a line.
    #[error("an answer is one line without control characters")]
    Control,
}

/// A line of a file is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{source}")]
pub struct InvalidLine {
    /// The line, counted from 1; the first of those that backslashes join.
    pub line: usize,
    /// What is wrong with it.
    pub source: InvalidAnswer,
}

impl Answer {
    /// The package that asks.
    #[must_use]
    pub fn package(&self) -> &str {
        &self.package
    }

    /// The answer with its value, as a line for debconf-set-selections without a newline.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{self} {}", self.value)
    }

    /// Reads a file of answers: a line each, or several where a backslash ends a line; comments
    /// begin with `#`.
    ///
    /// # Errors
    /// [`InvalidLine`], of the first that is none.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, InvalidLine> {
        let mut answers = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let mut line = line.to_owned();
            while line.ends_with('\\')
                && let Some((_, next)) = lines.next()
            {
                line.pop();
                line.push_str(next);
            }
            if line.trim_start().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            answers.push(line.parse().map_err(|source| InvalidLine { line: number + 1, source })?);
        }
        Ok(answers)
    }
}

impl FromStr for Answer {
    type Err = InvalidAnswer;

    fn from_str(line: &str) -> Result<Self, InvalidAnswer> {
        let is_blank = |c| c == ' ' || c == '\t';
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return Err(InvalidAnswer::Control);
        }
        let mut rest = line;
        let mut next_word = || {
            let begin = rest.trim_start_matches(is_blank);
            let (word, behind) = begin.split_once(is_blank).unwrap_or((begin, ""));
            // One blank ends a word: behind the type, further ones are part of the value.
            rest = behind;
            Some(word.to_owned()).filter(|word| !word.is_empty())
        };
        let (Some(package), Some(question), Some(kind)) = (next_word(), next_word(), next_word()) else {
            return Err(InvalidAnswer::Incomplete);
        };
        // debconf would take it for a comment.
        if package.starts_with('#') {
            return Err(InvalidAnswer::Incomplete);
        }
        if !TYPES.contains(&kind.as_str()) {
            return Err(InvalidAnswer::Type);
        }
        if rest.ends_with('\\') {
            return Err(InvalidAnswer::Backslash);
        }
        Ok(Self { package, question, kind, value: rest.to_owned() })
    }
}

impl TryFrom<String> for Answer {
    type Error = InvalidAnswer;

    fn try_from(line: String) -> Result<Self, InvalidAnswer> {
        line.parse()
    }
}

impl From<Answer> for String {
    fn from(answer: Answer) -> Self {
        answer.to_string()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.package, self.question, self.kind)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_their_values_as_debconf_takes_them() {
        for (line, revealed) in [
            ("tzdata tzdata/Areas select Europe", "tzdata tzdata/Areas select Europe"),
            ("  a\tb/c  string  two  words ", "a b/c string  two  words "),
            ("a b/c string", "a b/c string "),
            ("a b/c string ", "a b/c string "),
            ("a b/c boolean\ttrue", "a b/c boolean true"),
            ("a b/c seen false", "a b/c seen false"),
        ] {
            let answer: Answer = line.parse().unwrap();
            assert_eq!(answer.reveal(), revealed);
            assert_eq!(answer.reveal().parse::<Answer>().unwrap(), answer, "{line}");
        }
    }

    #[test]
    fn a_value_does_not_show() {
        let answer: Answer = "ldap ldap/password password s3cret".parse().unwrap();
        let json = serde_json::to_string(&answer).unwrap();
        for shown in [answer.to_string(), format!("{answer:?}"), json.trim_matches('"').to_owned()] {
            assert_eq!(shown, "ldap ldap/password password");
        }
        assert!(serde_json::from_str::<Answer>(&json).is_ok());
        // Of a line without a question, the third word may be the password.
        let error = "ldap/password password s3cret".parse::<Answer>().unwrap_err();
        assert!(error == InvalidAnswer::Type && !error.to_string().contains("s3cret"));
    }

    #[test]
    fn lines_that_are_none() {
        for (line, error) in [
            ("", InvalidAnswer::Incomplete),
            ("tzdata", InvalidAnswer::Incomplete),
            ("# tzdata tzdata/Areas select Europe", InvalidAnswer::Incomplete),
            ("tzdata tzdata/Areas", InvalidAnswer::Incomplete),
            ("tzdata tzdata/Areas selct Europe", InvalidAnswer::Type),
            ("a b/c string x\\", InvalidAnswer::Backslash),
            ("a b/c string x\na b/d string y", InvalidAnswer::Control),
            ("a b/c string \0", InvalidAnswer::Control),
        ] {
            assert_eq!(line.parse::<Answer>().unwrap_err(), error, "{line:?}");
        }
    }

    #[test]
    fn files_have_comments_and_long_lines() {
        let text = "# a comment\n\n  # another\na b/c select x\r\na b/d multiselect one, \\\ntwo, \\\nthree\n";
        let answers: Vec<String> = Answer::parse_file(text).unwrap().iter().map(Answer::reveal).collect();
        assert_eq!(answers, ["a b/c select x", "a b/d multiselect one, two, three"]);
        for (text, line) in [("a b/c select x\n\noops\n", 3), ("a b/c \\\n\noops", 1), ("#\na b/c string x\\", 2)] {
            assert_eq!(Answer::parse_file(text).unwrap_err().line, line, "{text}");
        }
    }
}
