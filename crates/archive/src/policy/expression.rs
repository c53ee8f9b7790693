//! Expressions: how apt compares words of a pin with names, versions and the fields of Release
//! files. What stands between slashes is a POSIX extended regular expression, all else a pattern of
//! fnmatch(3); the case of letters does not matter.

use fam_host::pattern::fits;
use regex::bytes::{Regex, RegexBuilder};

/// A word to compare with.
#[derive(Debug, Clone)]
pub(crate) enum Expression {
    /// A pattern, or a plain word, in lower case.
    Glob(String),
    Regex(Regex),
    /// The beginning of a version, or a pattern for all of it, in lower case.
    Begin(String),
}

impl Expression {
    /// # Errors
    /// With what is wrong with a regular expression.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('/').and_then(|text| text.strip_suffix('/')) else {
            return Ok(Self::Glob(text.to_ascii_lowercase()));
        };
        let regex = RegexBuilder::new(&from_posix(inner)).case_insensitive(true).unicode(false).build();
        regex.map(Self::Regex).map_err(|error| {
            // The message is a drawing of some lines; the last one says what is wrong.
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("the regular expression cannot be read: {reason}")
        })
    }

    /// As [`new`](Self::new), for versions of packages and of releases. An asterisk at the end stands
    /// for any, but what is before it is then either a pattern of the whole, or no pattern: so
    /// `5.36*` matches 5.36.0, and `5.3?*` does not.
    pub(crate) fn of_version(text: &str) -> Result<Self, String> {
        match text.strip_suffix('*') {
            Some(begin) => Ok(Self::Begin(begin.to_ascii_lowercase())),
            None => Self::new(text),
        }
    }

    /// The pattern that all fits.
    pub(super) fn any() -> Self {
        Self::Glob("*".to_owned())
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Glob(pattern) => fits(pattern.as_bytes(), text.to_ascii_lowercase().as_bytes()),
            Self::Regex(regex) => regex.is_match(text.as_bytes()),
            Self::Begin(begin) => {
                let text = text.to_ascii_lowercase();
                text.starts_with(begin) || fits(begin.as_bytes(), text.as_bytes())
            }
        }
    }
}

/// The same expression in the syntax of the crate `regex`. Only within brackets do the two differ
/// in what people write: there POSIX has no escapes, no brackets in brackets and no operators.
fn from_posix(expression: &str) -> String {
    let mut out = String::new();
    let mut chars = expression.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        match c {
            '\\' => out.extend(chars.next()),
            '[' => {
                out.extend(chars.next_if_eq(&'^'));
                if chars.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
                while let Some(c) = chars.next() {
                    match c {
                        ']' => {
                            out.push(c);
                            break;
                        }
                        '[' if chars.peek() == Some(&':') => {
                            out.push(c);
                            out.extend(chars.by_ref().take_while(|&c| c != ']'));
                            out.push(']');
                        }
                        '\\' | '[' | '&' | '~' => out.extend(['\\', c]),
                        plain => out.push(plain),
                    }
                }
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_patterns_and_regular_expressions() {
        for (expression, text, expected) in [
            ("vim", "vim", true),
            ("Vim", "vIM", true),
            ("vim", "vim-tiny", false),
            ("vim*", "vim-tiny", true),
            ("5.38*", "5.38.2-1", true),
            ("5.*.0-1", "5.38.0-1", true),
            ("[v]?m", "vim", true),
            ("", "", true),
            ("", "x", false),
            ("/vim/", "gvim-x", true),
            ("/^VIM$/", "vim", true),
            ("/^5\\.3[68]/", "5.36.0-1", true),
            ("/^5\\.3[68]/", "5x36", false),
            ("/[[:digit:]]{2}/", "a12", true),
            ("/^[]a\\.]+$/", "].a\\", true),
            ("/^[^]a]$/", "]", false),
            ("/^[a[&~]+$/", "[&~", true),
            ("/a|b/", "xb", true),
            ("/vim", "vim", false),
            ("//", "anything", true),
        ] {
            assert_eq!(Expression::new(expression).unwrap().matches(text), expected, "{expression} {text}");
        }
        let error = Expression::new("/vim(/").unwrap_err();
        assert_eq!(error, "the regular expression cannot be read: unclosed group");
    }
}
