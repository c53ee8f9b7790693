//! What fam-build and the process of a plugin say to each other: JSON lines, as
//! docs/plugins/protocol.md explains to those who write them by hand. Both sides have these types;
//! here is no input or output.

mod reply;
mod values;

pub use reply::{FileType, Reply, Stat};
pub use values::{Bytes, Contents, Mode, Secret};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Description, Facts, NewGroup, NewUser, Node, SshKeys, Value};

/// The version of the protocol. Every version begins with a line from fam-build that has it as
/// `protocol`, and takes `fail` for an answer.
pub const VERSION: u32 = 1;

/// The longest line that fam-build takes from a plugin. It is held in memory.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// The most bytes that fit into a line, however they are written.
/// In base64 three bytes take four; 8 KiB are for all else in the line, of which the path is the
/// longest, with 4 KiB before it is encoded.
pub const MAX_CONTENTS_BYTES: usize = MAX_LINE_BYTES / 4 * 3 - 8192;

/// The symbol that a plugin in a dynamic library exports: `int fam_plugin_main(int descriptor)`,
/// called once, with a descriptor that is the library's from then on, and over which it speaks
/// this protocol. What it gives is the status with which its process ends.
pub const SYMBOL: &str = "fam_plugin_main";

/// What a plugin is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// [`Plugin::describe`](crate::Plugin::describe).
    Describe,
    /// [`Plugin::check`](crate::Plugin::check).
    Check,
    /// [`Plugin::apply_system`](crate::Plugin::apply_system).
    ApplySystem,
    /// [`Plugin::apply_node`](crate::Plugin::apply_node).
    ApplyNode,
    /// [`Plugin::ssh_keys`](crate::Plugin::ssh_keys).
    SshKeys,
}

impl Entry {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Check => "check",
            Self::ApplySystem => "apply-system",
            Self::ApplyNode => "apply-node",
            Self::SshKeys => "ssh-keys",
        }
    }
}

/// The first line to a plugin.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// [`VERSION`].
    pub protocol: u32,
    /// What is asked for.
    pub call: Entry,
    /// What the recipe says, an object.
    pub settings: Value,
    /// What is known of the build, at the stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// The node, at the node stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
}

/// Why a plugin gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// In its own words.
    #[default]
    Other,
    /// A setting does not fit; the key is its name.
    Setting,
    /// A program of the new system failed; the key is its command line.
    Run,
    /// The plugin is broken.
    Panic,
    /// It is no plugin for this program.
    Load,
}

/// A line from a plugin. Each but `done` and `fail` is answered by a [`Reply`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs, reason = "docs/plugins/protocol.md has a table of them for those who write them")]
pub enum Request {
    Describe(Description),
    SshKeys(SshKeys),
    Done {},
    Fail {
        #[serde(default)]
        kind: Kind,
        #[serde(default)]
        key: String,
        message: String,
        #[serde(default)]
        hint: Option<String>,
    },
    Log {
        message: String,
        #[serde(default)]
        warning: bool,
    },
    Secret {
        label: String,
        /// 0 is the cluster.
        #[serde(default)]
        node: Option<u32>,
    },
    Resolve {
        path: Bytes,
        #[serde(default = "yes")]
        follow: bool,
    },
    Stat {
        path: Bytes,
        #[serde(default = "yes")]
        follow: bool,
    },
    Read {
        path: Bytes,
        #[serde(default)]
        base64: bool,
    },
    Write {
        path: Bytes,
        contents: Bytes,
        #[serde(default)]
        mode: Option<Mode>,
        #[serde(default)]
        owner: Option<(u32, u32)>,
    },
    Copy {
        sha256: String,
        size: u64,
        path: Bytes,
        #[serde(default)]
        mode: Option<Mode>,
        #[serde(default)]
        owner: Option<(u32, u32)>,
    },
    Append {
        path: Bytes,
        contents: Bytes,
    },
    EnsureLine {
        path: Bytes,
        line: String,
    },
    List {
        path: Bytes,
    },
    CreateDir {
        path: Bytes,
        #[serde(default)]
        mode: Option<Mode>,
    },
    CreateDirs {
        path: Bytes,
    },
    Symlink {
        target: Bytes,
        path: Bytes,
    },
    Remove {
        path: Bytes,
    },
    SetMode {
        path: Bytes,
        mode: Mode,
    },
    SetOwner {
        path: Bytes,
        uid: u32,
        gid: u32,
        #[serde(default = "yes")]
        follow: bool,
    },
    Xattrs {
        path: Bytes,
    },
    SetXattr {
        path: Bytes,
        name: Bytes,
        value: Bytes,
    },
    Run {
        program: String,
        #[serde(default)]
        args: Vec<String>,
        #[serde(default)]
        env: BTreeMap<String, String>,
        #[serde(default)]
        network: bool,
    },
    AddUser(NewUser),
    AddGroup(NewGroup),
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_strict() {
        let request = |text: &str| serde_json::from_str::<Request>(text);
        assert!(matches!(
            request(r#"{"op":"write","path":"/a","contents":"b","mode":"0600","owner":[1,2]}"#).unwrap(),
            Request::Write { mode: Some(Mode(0o600)), owner: Some((1, 2)), .. }
        ));
        assert!(matches!(request(r#"{"op":"done"}"#).unwrap(), Request::Done {}));
        for (bad, why) in [
            (r#"{"op":"wriet"}"#, "unknown variant `wriet`"),
            (r#"{"op":"write","path":"/a","contents":"b","moed":1}"#, "unknown field `moed`"),
            (r#"{"op":"write","path":"/a"}"#, "missing field `contents`"),
            (r#"{"op":"set-mode","path":"/a","mode":"rw"}"#, "is no octal mode"),
            (r#"{"op":"add-user","nmae":"x"}"#, "unknown field `nmae`"),
        ] {
            let error = request(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
