//! The network on which the nodes are: libvirt's, behind a bridge of the host, or QEMU's user-mode
//! network with a second one between the nodes. The nodes have the same addresses on both.

use std::fmt;
use std::net::Ipv4Addr;

use crate::recipe::{NodeCount, Subnet};

/// Node N's ssh server is at this port plus N of the host in user-mode networking, unless that is
/// taken.
const SSH_PORT_BASE: u16 = 10022;
/// The host's number in the subnet, above those of all nodes.
const HOST_NUMBER: u8 = 254;

/// The hardware address of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Every name and address of a cluster's network. All follow from the recipe and a node's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPlan {
    /// The name of the libvirt network.
    pub name: &'static str,
    /// Its bridge on the host.
    pub bridge: &'static str,
    /// The addresses of the nodes and of the host.
    pub subnet: Subnet,
    nodes: NodeCount,
}

/// The values of QEMU's option `-netdev user`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UserMode {
    /// The first address of the network, which has eight.
    net: Ipv4Addr,
    host: Ipv4Addr,
    dns: Ipv4Addr,
    /// The first address that DHCP gives.
    dhcp_start: Ipv4Addr,
}

impl fmt::Display for UserMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { net, host, dns, dhcp_start } = self;
        write!(f, "net={net}/29,host={host},dns={dns},dhcpstart={dhcp_start}")
    }
}

impl NetworkPlan {
    pub(super) fn new(subnet: Subnet, nodes: NodeCount) -> Self {
        Self { name: "fabric_emul", bridge: "fabric_em", subnet, nodes }
    }

    /// The address of node `number`.
    #[must_use]
    pub fn address(&self, number: u8) -> Ipv4Addr {
        self.subnet.address(number)
    }

    /// The host's own address.
    #[must_use]
    pub fn host_address(&self) -> Ipv4Addr {
        self.subnet.address(HOST_NUMBER)
    }

    /// The first and the last address that DHCP may give.
    pub(super) fn dhcp_range(&self) -> [Ipv4Addr; 2] {
        // The nodes' own addresses are among them: dnsmasq gives a reserved one to nobody else.
        [self.subnet.address(1), self.subnet.address(HOST_NUMBER - 1)]
    }

    /// The hardware address of the bridge.
    pub(super) fn host_mac(&self) -> Mac {
        self.mac(HOST_NUMBER)
    }

    /// The hardware address of node `number`'s first interface: of QEMU's range, `HPE` in ASCII, and
    /// the number.
    #[must_use]
    pub fn mac(&self, number: u8) -> Mac {
        Mac([0x52, 0x54, b'H', b'P', b'E', number])
    }

    /// That of its second interface, which in user-mode networking is on the network between the
    /// nodes.
    pub(super) fn second_mac(&self, number: u8) -> Mac {
        Mac([0x52, 0x54, b'H', b'P', b'F', number])
    }

    /// The port of the host from which ssh reaches node `number` in user-mode networking.
    pub(super) fn ssh_port(&self, number: u8) -> u16 {
        SSH_PORT_BASE + u16::from(number)
    }

    /// The first interface's network in user-mode networking. It lies around the host's address, so
    /// that the host answers there, too; that takes the numbers from 248 on. None where nodes have
    /// these.
    pub(super) fn user_mode(&self) -> Option<UserMode> {
        let [net, dhcp_start, dns, host] = [248, 249, HOST_NUMBER - 1, HOST_NUMBER].map(|number| self.address(number));
        (self.nodes.get() < 248).then_some(UserMode { net, host, dns, dhcp_start })
    }
}
