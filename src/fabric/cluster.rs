//! A cluster: the machine that every node is, the network on which the nodes are, and the names and
//! addresses of each. They are computed here once, from the recipe; libvirt's XML, the launch
//! script, the ssh configuration and the facts for plugins are written from these values.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::machine::Machine;
use super::network::{Mac, NetworkPlan};
use crate::recipe::{KernelCommandLine, Recipe, StartOptions};

/// One virtual machine of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    number: u8,
    name: String,
    mac: Mac,
    second_mac: Mac,
    address: Ipv4Addr,
    ipv6: Ipv6Addr,
    ssh_port: u16,
}

impl Node {
    /// Node `number`, counted from 1, with a name that begins with `prefix`.
    fn new(prefix: &str, number: u8, network: &NetworkPlan) -> Self {
        Self {
            number,
            name: format!("{prefix}{number}"),
            mac: network.mac(number),
            second_mac: network.second_mac(number),
            address: network.address(number),
            ipv6: network.subnet.ipv6(number),
            ssh_port: network.ssh_port(number),
        }
    }

    /// Its number, from 1.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Its host name, which is also its name in libvirt and the stem of its image.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hardware address of its first network interface.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The hardware address of its second network interface, which it has in user-mode networking.
    pub(super) fn second_mac(&self) -> Mac {
        self.second_mac
    }

    /// Its address on the network of the nodes.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its IPv6 address on the network of the nodes.
    #[must_use]
    pub fn ipv6(&self) -> Ipv6Addr {
        self.ipv6
    }

    /// The port of the host from which ssh reaches it in user-mode networking, unless that is
    /// taken.
    pub(super) fn ssh_port(&self) -> u16 {
        self.ssh_port
    }

    /// The file name of its disk image.
    #[must_use]
    pub fn image(&self) -> String {
        format!("{}.qcow2", self.name)
    }
}

/// All that a hypervisor must know to run the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// What the nodes' names begin with.
    pub prefix: String,
    /// The nodes, in the order of their numbers.
    pub nodes: Vec<Node>,
    /// The machine that each of them is.
    pub machine: Machine,
    /// The network on which they are.
    pub network: NetworkPlan,
    /// What is added to each of them whenever it is started.
    pub start_options: StartOptions,
    /// What their kernel is told, beside the root file system.
    pub kernel_command_line: KernelCommandLine,
}

impl Cluster {
    /// The cluster that a recipe describes.
    #[must_use]
    pub fn new(recipe: &Recipe) -> Self {
        let prefix = recipe.nodes.name.to_string();
        let network =
            NetworkPlan::new(recipe.nodes.network.value, recipe.nodes.addresses.value, recipe.nodes.count.value);
        Self {
            nodes: (1..=recipe.nodes.count.get()).map(|number| Node::new(&prefix, number, &network)).collect(),
            prefix,
            machine: Machine::new(&recipe.nodes, &recipe.fabric, &recipe.disk),
            network,
            start_options: recipe.nodes.start_options.value.clone(),
            kernel_command_line: recipe.kernel.cmdline.value.clone(),
        }
    }
}

#[cfg(test)]
pub(super) fn example(count: u8, more: &str) -> Cluster {
    let recipe = format!("suite = 'sid'\nnodes.count = {count}\n{more}");
    Cluster::new(&Recipe::parse("example", &recipe).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_follows_from_its_number() {
        let cluster = example(253, "");
        let [first, .., last] = cluster.nodes.as_slice() else { panic!("253 nodes") };
        assert_eq!((first.name(), first.mac().to_string().as_str()), ("fabric1", "52:54:48:50:45:01"));
        assert_eq!((last.name(), last.mac().to_string().as_str()), ("fabric253", "52:54:48:50:45:fd"));
        assert_eq!(last.second_mac().to_string(), "52:54:48:50:46:fd");
        assert_eq!(last.address().to_string(), "192.168.42.253");
        assert_eq!(last.ipv6().to_string(), "fd48:5045:c0a8:2a::253");
        assert_eq!((first.image(), first.ssh_port()), ("fabric1.qcow2".to_owned(), 10023));
    }

    #[test]
    fn addresses_follow_from_the_subnet() {
        let cluster = example(2, "nodes.network = '10.77.0.0/24'");
        assert_eq!(cluster.nodes[1].address().to_string(), "10.77.0.2");
        assert_eq!(cluster.network.host_address().to_string(), "10.77.0.254");
    }
}
