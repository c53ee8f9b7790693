//! What the supervisor hands to the worker: everything that was decided and checked before the work
//! began.

use std::path::PathBuf;

use fam_archive::credentials::{Logins, MirrorUrl, to_worker};
use fam_archive::local::LocalDeb;
use fam_isolation::supervisor::OutputDir;
use fam_rootfs::configure::Answers;
use serde::{Deserialize, Serialize};

use super::answers;
use crate::fabric::{Cluster, ivshmem_address};
use crate::plugins::PlannedStep;
use crate::recipe::{Addresses, Settings};

/// Everything that a worker needs to know of its build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// What was asked for.
    pub(super) settings: Settings,
    /// Where the artifacts go.
    pub(super) output: OutputDir,
    /// The seed, 32 bytes.
    pub(super) seed: [u8; 32],
    /// The plugins, found and checked.
    pub(super) plugins: Vec<PlannedStep>,
    /// The packages in files of this host, read and checked.
    pub(super) local: Vec<LocalDeb>,
    /// The logins of mirrors and proxies, which the URLs of the settings lose when serialized.
    #[serde(with = "to_worker")]
    pub(super) logins: Logins,
    /// Answers to questions of packages, which the settings lose when serialized, too.
    #[serde(with = "answers::to_worker")]
    pub(super) answers: Answers,
}

impl Job {
    /// The file of an artifact.
    pub(super) fn artifact(&self, name: &str) -> PathBuf {
        self.output.path().join(name)
    }

    /// Removes the artifact of an earlier build, if there is one.
    pub(super) fn remove_artifact(&self, name: &str) -> std::io::Result<()> {
        match fs_err::remove_file(self.artifact(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// What plugins may know of a build.
pub(super) fn facts(
    settings: &Settings,
    mirror: &MirrorUrl,
    security_mirror: Option<&MirrorUrl>,
    source_date_epoch: i64,
) -> fam_plugin::Facts {
    let recipe = &settings.recipe;
    let cluster = Cluster::new(recipe);
    fam_plugin::Facts {
        suite: recipe.suite.to_string(),
        components: recipe.components.iter().map(ToString::to_string).collect(),
        mirror: mirror.to_string(),
        security_mirror: security_mirror.map(ToString::to_string),
        archives: Vec::new(),
        preferences: String::new(),
        ca_certificates: Vec::new(),
        proxy: settings.http_proxy.as_ref().map(ToString::to_string),
        build_host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        fabric: fam_plugin::Fabric {
            pci_address: ivshmem_address(),
            memory_bytes: recipe.fabric.size.get().bytes(),
            host_address: cluster.network.host_address(),
            prefix_len: cluster.network.subnet.prefix_len(),
            static_addresses: cluster.network.addresses == Addresses::Static,
            nameservers: cluster.network.nameservers(),
        },
        nodes: nodes(&cluster),
        source_date_epoch,
    }
}

fn nodes(cluster: &Cluster) -> Vec<fam_plugin::Node> {
    let nodes = cluster.nodes.iter().map(|node| fam_plugin::Node {
        number: node.number().into(),
        name: node.name().to_owned(),
        mac: node.mac().to_string(),
        address: node.address(),
        ipv6: Some(node.ipv6()),
    });
    nodes.collect()
}
