//! Files of the tree that have another content inside.

use serde::{Deserialize, Serialize};

/// A file that programs find in place of the tree's own while the sandbox lives. It is mounted over
/// the tree's file, which stays as it is; where there is none, a file is put there and taken away
/// at the end. A link in its place is left alone, since what it leads to may have other names with
/// other meanings (depmod and modprobe are one program): the stand-in is then found by its name, as
/// the first in PATH, and not by its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandIn {
    /// Where, as an absolute path of the new system. Its directory must exist, else the stand-in is
    /// left out.
    pub path: String,
    /// The whole content, executable for all.
    pub content: String,
    /// Whether to put it where the tree has no such file.
    pub even_if_missing: bool,
}

impl StandIn {
    /// What keeps services from starting: the policy that invoke-rc.d and deb-systemd-invoke ask
    /// (policy-rc.d.5), and a start-stop-daemon that does nothing, for scripts that call it
    /// themselves.
    #[must_use]
    pub fn no_services() -> Vec<Self> {
        let nothing = "#!/bin/sh\nexit 0\n";
        vec![
            Self {
                path: "/usr/sbin/policy-rc.d".into(),
                // `action forbidden by policy`.
                content: "#!/bin/sh\nexit 101\n".into(),
                even_if_missing: true,
            },
            Self { path: "/usr/sbin/start-stop-daemon".into(), content: nothing.into(), even_if_missing: false },
        ]
    }
}
