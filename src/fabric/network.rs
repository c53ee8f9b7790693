//! The network on which the nodes are: libvirt's, behind a bridge of the host, or QEMU's user-mode
//! network with a second one between the nodes. The nodes have the same addresses on both, of IPv4 and
//! of IPv6; the latter lead to nodes alone.

use std::fmt;
use std::net::Ipv4Addr;

use super::names::{ClusterId, Names, WELL_KNOWN_PART};
use crate::recipe::{Addresses, NodeCount, Subnet};

/// The host's number in the subnet, above those of all nodes.
const HOST_NUMBER: u8 = 254;
/// The number at which QEMU's user-mode network has its name server.
const USER_MODE_DNS_NUMBER: u8 = 253;

/// The hardware address of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Every address of a cluster's network. All follow from the recipe and a node's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPlan {
    /// The addresses of the nodes and of the host.
    pub subnet: Subnet,
    /// How the nodes come by theirs.
    pub addresses: Addresses,
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
    pub(super) fn new(subnet: Subnet, addresses: Addresses, nodes: NodeCount) -> Self {
        Self { subnet, addresses, nodes }
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

    /// The name servers of nodes with static addresses, of which one answers: the second, which is the
    /// host, on the bridge; the first in user mode. None where DHCP names them.
    #[must_use]
    pub fn nameservers(&self) -> Vec<Ipv4Addr> {
        match self.addresses {
            Addresses::Dhcp => Vec::new(),
            Addresses::Static => [USER_MODE_DNS_NUMBER, HOST_NUMBER].map(|number| self.subnet.address(number)).into(),
        }
    }

    /// The first and the last address that DHCP may give.
    pub(super) fn dhcp_range(&self) -> [Ipv4Addr; 2] {
        // The nodes' own addresses are among them: dnsmasq gives a reserved one to nobody else.
        [self.subnet.address(1), self.subnet.address(HOST_NUMBER - 1)]
    }

    /// The hardware address of the bridge. It is the cluster's own whatever the bridge is called, so
    /// that it shows whose bridge that is.
    pub(super) fn host_mac(id: ClusterId) -> Mac {
        let [third, fourth] = id.hardware_address_part();
        Mac([0x52, 0x54, third, fourth, b'E', HOST_NUMBER])
    }

    /// The hardware address of node `number`'s first interface, where its cluster has well-known
    /// names: of QEMU's range, `HPE` in ASCII, and the number.
    #[must_use]
    pub fn mac(&self, number: u8) -> Mac {
        let [third, fourth] = WELL_KNOWN_PART;
        Mac([0x52, 0x54, third, fourth, b'E', number])
    }

    /// That of its second interface, which in user-mode networking is on the network between the
    /// nodes.
    pub(super) fn second_mac(&self, number: u8) -> Mac {
        let [third, fourth] = WELL_KNOWN_PART;
        Mac([0x52, 0x54, third, fourth, b'F', number])
    }

    /// The port of the host from which ssh reaches node `number` in user-mode networking, where its
    /// cluster has well-known names.
    pub(super) fn ssh_port(&self, number: u8) -> u16 {
        Names::first().port + u16::from(number)
    }

    /// The first interface's network in user-mode networking. It lies around the host's address, so
    /// that the host answers there, too; that takes the numbers from 248 on. None where nodes have
    /// these.
    pub(super) fn user_mode(&self) -> Option<UserMode> {
        let [net, dhcp_start, dns, host] =
            [248, 249, USER_MODE_DNS_NUMBER, HOST_NUMBER].map(|number| self.address(number));
        (self.nodes.get() < 248).then_some(UserMode { net, host, dns, dhcp_start })
    }
}
