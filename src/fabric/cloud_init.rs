//! What cloud-init is told of a node by its data source NoCloud, so that a system that takes its users
//! from a cloud becomes one of a cluster: the user and the key of the launch script open it, its ssh
//! host key is the one that the host knows, and it reaches the other nodes.

use std::fmt::Write;

use fam_network::FALLBACK_METRIC;

use super::cluster::{Cluster, Node};
use super::network::NetworkPlan;
use super::seed::Seed;
use crate::recipe::Addresses;

/// The user whom the launch script logs in as.
const USER: &str = "fabric";

/// The label by which cloud-init knows the disk.
pub const LABEL: &str = "CIDATA";

/// The files of a node's seed, with their names
/// (<https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html>). `public_key` is a line
/// of `authorized_keys`, without its newline.
#[must_use]
pub fn files(cluster: &Cluster, node: &Node, seed: &Seed, public_key: &str) -> [(&'static str, String); 3] {
    [
        ("meta-data", meta_data(node, seed)),
        ("user-data", user_data(public_key)),
        ("network-config", network(cluster, node)),
    ]
}

/// The name of the file with the seed of the node of this name, beside its image.
#[must_use]
pub fn image(node: &str) -> String {
    format!("{node}-seed.img")
}

fn meta_data(node: &Node, seed: &Seed) -> String {
    let id = seed.uuid(&format!("instance {}", node.name()));
    format!("instance-id: {id}\nlocal-hostname: {}\n", node.name())
}

/// The host key is there already, a node's own; cloud-init would make others in its place, for images
/// of which many machines are made. What is there is not made again.
fn user_data(public_key: &str) -> String {
    format!(
        "#cloud-config
users:
  - default
  - name: {USER}
    shell: /bin/bash
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys:
      - {public_key}
ssh_deletekeys: false
ssh_genkeytypes: [ed25519]
"
    )
}

/// As the plugin `network` has it: the second interface is there in user mode only.
fn network(cluster: &Cluster, node: &Node) -> String {
    let (address, subnet) = (node.address(), cluster.network.subnet);
    let ipv6 = node.ipv6();
    let first = match cluster.network.addresses {
        Addresses::Dhcp => format!("    dhcp4: true\n    addresses: [\"{ipv6}/128\"]\n    routes:\n"),
        Addresses::Static => static_network(cluster, node),
    };
    format!(
        "version: 2
ethernets:
  eth0:
{first}      - {{to: \"{ipv6_network}/{ipv6_prefix_len}\", scope: link, metric: {FALLBACK_METRIC}}}
  eth1:
    addresses: [{address}/{prefix_len}, \"{ipv6}/{ipv6_prefix_len}\"]
    optional: true
",
        ipv6_network = subnet.ipv6(0),
        ipv6_prefix_len = fam_plugin::Node::IPV6_PREFIX_LEN,
        prefix_len = subnet.prefix_len()
    )
}

/// The first interface with addresses of its own, up to its list of routes. All that is to be
/// reached through it has one; that to the other nodes counts only where no second interface leads
/// to them.
fn static_network(cluster: &Cluster, node: &Node) -> String {
    let NetworkPlan { subnet, .. } = cluster.network;
    let nameservers = cluster.network.nameservers();
    let listed: Vec<_> = nameservers.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "    addresses: [{}/32, \"{}/128\"]
    nameservers:
      addresses: [{}]
    routes:
      - {{to: default, via: {}, on-link: true}}
",
        node.address(),
        node.ipv6(),
        listed.join(", "),
        cluster.network.host_address()
    );
    for server in nameservers {
        let _ = writeln!(text, "      - {{to: {server}/32, scope: link}}");
    }
    let _ = writeln!(text, "      - {{to: {subnet}, scope: link, metric: {FALLBACK_METRIC}}}");
    text
}

#[cfg(test)]
mod tests {
    use super::super::cluster::example;
    use super::*;

    #[test]
    fn a_node_gets_its_name_keys_and_network() {
        let cluster = example(2, "nodes.name = 'cloud'");
        let node = &cluster.nodes[1];
        let files = files(&cluster, node, &Seed::from_bytes([42; 32]), "ssh-ed25519 AAAA");
        let text: Vec<_> = files.iter().map(|(name, text)| format!("== {name}\n{text}")).collect();
        insta::assert_snapshot!(text.concat());
        let cluster = example(2, "nodes.addresses = 'static'");
        insta::assert_snapshot!("static_network", network(&cluster, &cluster.nodes[1]));
        assert_eq!(image(node.name()), "cloud2-seed.img");
    }
}
