//! What a plugin may provide to the host, beside what it does to files.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Something of the nodes that the host counts on, whichever plugin sees to it. A recipe has at
/// most one plugin for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provided {
    /// No two nodes are taken for one: each has a machine-id of its own, and the like. Their disks
    /// get numbers (GUIDs and UUIDs) of their own then, too.
    NodeIdentity,
    /// The keys by which the host reaches the nodes over ssh, of which
    /// [`Plugin::ssh_keys`](crate::Plugin::ssh_keys) tells. The host writes an ssh configuration
    /// with them.
    SshKeys,
}

impl fmt::Display for Provided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeIdentity => "node-identity",
            Self::SshKeys => "ssh-keys",
        })
    }
}

/// By which keys the host reaches the nodes over ssh.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SshKeys {
    /// A private key that opens every node, in a format of OpenSSH. It lies beside the images, and
    /// is its owner's alone to read.
    pub private_key: String,
    /// For each node by its name the public halves of its server's keys, each as a line of a `.pub`
    /// file, `ssh-ed25519 AAAA...`.
    pub host_keys: BTreeMap<String, Vec<String>>,
}

impl fmt::Debug for SshKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshKeys").field("host_keys", &self.host_keys).finish_non_exhaustive()
    }
}
