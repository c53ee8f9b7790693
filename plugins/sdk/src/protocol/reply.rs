//! What fam-build answers.

use serde::{Deserialize, Serialize};

use super::{Bytes, Contents, Mode, Secret};
use crate::{Error, Problem};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// What it is.
    #[serde(rename = "type")]
    pub file_type: FileType,
    /// Permission bits.
    pub mode: Mode,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Length in bytes of a regular file.
    pub size: u64,
    /// Where a symbolic link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Bytes>,
}

/// What kind of entry it is; see [`crate::FileType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the type that it stands for has them")]
pub enum FileType {
    File,
    Directory,
    Symlink,
    Special,
}

/// The answer to a request: `ok`, first, says whether it was done.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "docs/plugins/protocol.md says which request is answered by which")]
pub struct Reply {
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stat: Option<Stat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<Bytes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xattrs: Option<Vec<(Bytes, Bytes)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

impl Reply {
    /// That it was done.
    #[must_use]
    pub fn ok() -> Self {
        Self { ok: true, ..Self::default() }
    }

    /// That it was not.
    #[must_use]
    pub fn error(error: &Error) -> Self {
        let problem = match error {
            Error::File { problem, .. } => PROBLEMS.iter().find(|(_, known)| known == problem),
            _ => None,
        };
        let name = problem.map_or(OTHER_PROBLEM, |(name, _)| name);
        Self { problem: Some(name.into()), error: Some(error.to_string()), ..Self::default() }
    }

    /// The problem that its name says all of.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let name = self.problem.as_ref()?;
        PROBLEMS.iter().find(|(known, _)| known == name).map(|(_, problem)| problem.clone())
    }
}

/// Something else, of which `error` has the words.
const OTHER_PROBLEM: &str = "failed";

static PROBLEMS: [(&str, Problem); 6] = [
    ("not-found", Problem::NotFound),
    ("already-exists", Problem::AlreadyExists),
    ("not-a-directory", Problem::NotADirectory),
    ("not-a-file", Problem::NotAFile),
    ("link-loop", Problem::LinkLoop),
    ("bad-path", Problem::BadPath),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_begin_with_ok() {
        assert_eq!(serde_json::to_string(&Reply::ok()).unwrap(), r#"{"ok":true}"#);
        let reply = Reply::error(&Problem::NotFound.at("read", "/a"));
        let expected = r#"{"ok":false,"problem":"not-found","error":"read /a: no such file or directory"}"#;
        assert_eq!(serde_json::to_string(&reply).unwrap(), expected);
        assert_eq!((reply.problem(), Reply::ok().problem()), (Some(Problem::NotFound), None));
        let reply = Reply::error(&Problem::TooLarge(1).at("read", "/a"));
        assert_eq!((reply.problem.as_deref(), reply.problem()), (Some("failed"), None));
    }
}
