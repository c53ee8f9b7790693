//! What can go wrong in a plugin: plain data, so that it also crosses a process or a C
//! boundary.

use std::path::Path;

/// The result of everything a plugin calls and is.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a plugin cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation inside the image failed.
    #[error("{operation} {path}: {problem}")]
    File {
        /// What was tried, as a verb: `read`, `write`, `list`.
        operation: String,
        /// The path inside the image, as the plugin gave it.
        path: String,
        /// What stood in the way.
        problem: Problem,
    },
    /// The settings of the recipe do not fit.
    #[error("setting {}: {message}", if .key.is_empty() { "(all)" } else { .key })]
    Settings {
        /// Which one, as `users[0].name`; empty for the settings as a whole.
        key: String,
        /// What is wrong with it.
        message: String,
        /// What to write instead.
        hint: Option<String>,
    },
    /// A program inside the new system could not be run, or failed.
    #[error("run {program}: {message}")]
    Run {
        /// The program and its arguments.
        program: String,
        /// How it ended, with the last lines that it printed.
        message: String,
    },
    /// The plugin itself broke: it panicked, or its process ended or spoke nonsense.
    #[error("{message}")]
    Crashed {
        /// What happened.
        message: String,
        /// What to do about it, where that is known.
        hint: Option<String>,
    },
    /// Something else, in the plugin's own words.
    #[error("{0}")]
    Failed(String),
}

/// What stands in the way of a file operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing is at the path.
    #[error("no such file or directory")]
    NotFound,
    /// Something is at the path already.
    #[error("it exists already")]
    AlreadyExists,
    /// A directory is needed, and something else is there.
    #[error("not a directory")]
    NotADirectory,
    /// A regular file is needed, and something else is there.
    #[error("not a regular file")]
    NotAFile,
    /// Symbolic links lead in a circle.
    #[error("too many levels of symbolic links")]
    LinkLoop,
    /// The path cannot name anything: a NUL byte, or the root itself where that makes no sense.
    #[error("not a usable path")]
    BadPath,
    /// The file is not UTF-8, or not what its format asks for.
    #[error("{0}")]
    Malformed(String),
    /// More bytes than a plugin may read or write.
    #[error("larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// A file beside the recipe is not what it was when the settings were checked.
    #[error("{0} has changed since the settings were checked")]
    Changed(String),
    /// The host could not do it.
    #[error("{0}")]
    Other(String),
}

impl Problem {
    /// The error that this problem makes of `operation` at `path`.
    pub fn at(self, operation: &str, path: impl AsRef<Path>) -> Error {
        Error::File { operation: operation.into(), path: path.as_ref().display().to_string(), problem: self }
    }
}

impl Error {
    /// An error in the plugin's own words: lower case, no full stop.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Says that the setting `key` is wrong because of `message`.
    pub fn setting(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Settings { key: key.into(), message: message.into(), hint: None }
    }

    /// The same error with a hint on what to write instead, where it is one about settings.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Settings { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// What the user should do about it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Settings { hint, .. } | Self::Crashed { hint, .. } => hint.clone(),
            Self::Run { .. } => Some("what the program printed is in the log of the build".into()),
            Self::File { problem: Problem::Changed(_), .. } => {
                Some("leave the files of a recipe as they are while it is built, and run it again".into())
            }
            Self::File { .. } | Self::Failed(_) => None,
        }
    }

    /// Whether this says that a file is missing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::File { problem: Problem::NotFound, .. })
    }
}
