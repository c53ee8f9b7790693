//! The nodes of a cluster and where they are on its network. All of it follows from a node's
//! number.

use std::net::Ipv4Addr;

use crate::recipe::{Cpus, FabricKind, NodeMemory, Recipe, SharedMemory};

/// The name of the libvirt network.
pub const NETWORK: &str = "fabric_emul";
/// The bridge of that network on the host.
pub const BRIDGE: &str = "fabric_em";
/// The name of the shared memory, which is its file in `/dev/shm`.
pub const SHARED_MEMORY_NAME: &str = "fabric_em";
/// The host's own address on the network of the nodes.
pub const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 42, 254);
/// The length of the network's prefix: 192.168.42.0/24.
pub const PREFIX_LENGTH: u8 = 24;

/// One virtual machine of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    number: u8,
    name: String,
}

impl Node {
    /// Node `number`, counted from 1, with a name that begins with `prefix`.
    #[must_use]
    pub fn new(prefix: &str, number: u8) -> Self {
        Self { number, name: format!("{prefix}{number}") }
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

    /// The hardware address of its first network interface: `HPE` in ASCII, and the number.
    #[must_use]
    pub fn mac(&self) -> String {
        format!("52:54:48:50:45:{:02x}", self.number)
    }

    /// Its address on the network of the nodes.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 42, self.number)
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
    /// The memory of each.
    pub memory: NodeMemory,
    /// The processors of each.
    pub cpus: Cpus,
    /// The device that shows them the memory that they share.
    pub fabric: FabricKind,
    /// The memory that they share.
    pub shared_memory: SharedMemory,
}

impl Cluster {
    /// The cluster that a recipe describes.
    #[must_use]
    pub fn new(recipe: &Recipe) -> Self {
        let prefix = recipe.nodes.name.to_string();
        Self {
            nodes: (1..=recipe.nodes.count.get()).map(|number| Node::new(&prefix, number)).collect(),
            prefix,
            memory: recipe.nodes.memory.value,
            cpus: recipe.nodes.cpus.value,
            fabric: recipe.fabric.kind.value,
            shared_memory: recipe.fabric.size.value,
        }
    }

    /// How many processors a node can have at most. Where that is one, QEMU without KVM makes a
    /// load and a store of an atomic operation, and those of other nodes get in between; so there
    /// is always room for a second.
    #[must_use]
    pub fn most_cpus(&self) -> u8 {
        self.cpus.get().max(2)
    }
}

#[cfg(test)]
pub(super) fn example(count: u8) -> Cluster {
    let recipe = format!("suite = 'sid'\nnodes.count = {count}");
    Cluster::new(&Recipe::parse("example", &recipe).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_follows_from_its_number() {
        let cluster = example(253);
        let [first, .., last] = cluster.nodes.as_slice() else { panic!("253 nodes") };
        assert_eq!((first.name(), first.mac().as_str()), ("fabric1", "52:54:48:50:45:01"));
        assert_eq!((last.name(), last.mac().as_str()), ("fabric253", "52:54:48:50:45:fd"));
        assert_eq!(last.address().to_string(), "192.168.42.253");
        assert_eq!(first.image(), "fabric1.qcow2");
    }
}
