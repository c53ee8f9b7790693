//! How a run fails, in plain data, since error types cannot cross from one process to another.

use std::any::Any;
use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a run did not succeed, as people read it: what failed, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed: the text of the outermost error.
    pub what: String,
    /// Why, each because of the next.
    pub causes: Vec<String>,
    /// What the user should do.
    pub hint: Option<String>,
    /// Whether the request itself was wrong, which ends the program with 2 instead of 1.
    pub is_usage: bool,
}

impl Failure {
    /// A run that failed by `error`, its sources the causes. What a cause only repeats is left out:
    /// many errors show their source in their own text.
    #[must_use]
    pub fn new(error: &(dyn Error + 'static), hint: Option<String>) -> Self {
        let what = error.to_string();
        let mut causes: Vec<String> = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !causes.last().unwrap_or(&what).contains(&text) {
                causes.push(text);
            }
            next = cause.source();
        }
        Self { what, causes, hint, is_usage: false }
    }

    /// A request that was wrong by `error`.
    #[must_use]
    pub fn usage(error: &(dyn Error + 'static), hint: Option<String>) -> Self {
        Self { is_usage: true, ..Self::new(error, hint) }
    }

    /// A failure with one text.
    #[must_use]
    pub fn message(text: impl Into<String>) -> Self {
        Self { what: text.into(), causes: Vec::new(), hint: None, is_usage: false }
    }

    /// The number with which the program ends.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.is_usage { 2 } else { 1 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for cause in &self.causes {
            write!(f, "\n  because: {}", cause.replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

impl Error for Failure {}

/// The text of a panic, from what [`catch_unwind`](std::panic::catch_unwind) returns: `panic!` with
/// arguments makes a `String`, without any a `&str`. `None` for what `panic_any` was given.
#[must_use]
pub fn panic_text(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied())
}

/// The line and the column, each from 1, of the byte at `offset` of `text`, as people count them.
#[must_use]
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    // Beyond the end, or within a character, it counts as the end.
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("fetch package vim")]
    struct Fetch(#[source] Connect);

    #[derive(Debug, thiserror::Error)]
    #[error("connect to mirror.example: {0}")]
    struct Connect(#[source] std::io::Error);

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let error = Fetch(Connect(std::io::Error::other("no route to host")));
        let failure = Failure::new(&error, Some("check the network".to_owned()));
        assert_eq!(failure.to_string(), "fetch package vim\n  because: connect to mirror.example: no route to host");
        assert_eq!((failure.exit_code(), Failure::usage(&error, None).exit_code()), (1, 2));
        let json = serde_json::to_string(&failure).unwrap();
        assert_eq!(serde_json::from_str::<Failure>(&json).unwrap(), failure);
    }
}
