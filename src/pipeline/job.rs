//! What the supervisor hands to the worker: everything that was decided and checked before the work
//! began.

use std::collections::BTreeSet;
use std::path::PathBuf;

use fam_plugin::Provided;
use serde::{Deserialize, Serialize};

use super::answers;
use crate::credentials::{Logins, MirrorUrl, to_worker};
use crate::fabric::{Cluster, ivshmem_address};
use crate::recipe::Settings;
use crate::rootfs::configure::Answers;
use crate::supervisor::OutputDir;

/// One build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// What was asked for.
    pub(super) settings: Settings,
    /// Where the artifacts go.
    pub(super) output: OutputDir,
    /// The seed, 32 bytes.
    pub(super) seed: [u8; 32],
    /// The nodes, by number.
    pub(super) nodes: Vec<fam_plugin::Node>,
    /// What the plugins of the recipe provide.
    pub(super) provided: BTreeSet<Provided>,
    /// The logins of mirrors and proxies, which the URLs of the settings lose on the way.
    #[serde(with = "to_worker")]
    pub(super) logins: Logins,
    /// Answers to questions of packages, which the settings lose on the way, too.
    #[serde(with = "answers::to_worker")]
    pub(super) answers: Answers,
}

impl Job {
    pub(super) fn new(
        settings: Settings,
        output: OutputDir,
        seed: [u8; 32],
        provided: BTreeSet<Provided>,
        logins: Logins,
        answers: Answers,
    ) -> Self {
        let nodes = nodes(&Cluster::new(&settings.recipe));
        Self { settings, output, seed, nodes, provided, logins, answers }
    }

    /// The file of an artifact.
    pub(super) fn artifact(&self, name: &str) -> PathBuf {
        self.output.path().join(name)
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
        proxy: settings.http_proxy.as_ref().map(ToString::to_string),
        build_host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        fabric: fam_plugin::Fabric {
            pci_address: ivshmem_address(),
            memory_bytes: recipe.fabric.size.get().bytes(),
            host_address: cluster.network.host_address(),
            prefix_len: cluster.network.subnet.prefix_len(),
        },
        nodes: nodes(&cluster),
        source_date_epoch,
    }
}

fn nodes(cluster: &Cluster) -> Vec<fam_plugin::Node> {
    let node = |node: &crate::fabric::Node| fam_plugin::Node {
        number: node.number().into(),
        name: node.name().to_owned(),
        mac: node.mac().to_string(),
        address: node.address(),
    };
    cluster.nodes.iter().map(node).collect()
}
