//! Brings up the interfaces of a guest by ifupdown: one by DHCP or with the node's own address, and
//! the one that leads to the other nodes where the launch script has no bridge.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use fam_plugin::{Context, Description, Error, Fabric, Node, Plugin, Result, Root, Stage};
use serde::Deserialize;

/// The built-in `network`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

/// What a recipe may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// The interface that leads to the host, which asks DHCP unless nodes have static addresses.
    /// `eth0` if not set.
    pub interface: String,
    /// The interface that has the node's fixed address, where the guest has such an interface.
    /// `eth1` if not set; empty for none.
    pub peer_interface: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { interface: "eth0".into(), peer_interface: "eth1".into() }
    }
}

impl Plugin for Network {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("network", "brings up the network interfaces by ifupdown")
            .at(Stage::System)
            .at(Stage::Node)
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        check_interface("interface", &settings.interface)?;
        if !settings.peer_interface.is_empty() {
            check_interface("peer-interface", &settings.peer_interface)?;
        }
        if settings.interface == settings.peer_interface {
            return Err(Error::setting("peer-interface", "must be another than interface"));
        }
        Ok(())
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        let clients = ["/usr/sbin/dhcpcd", "/usr/sbin/dhclient", "/usr/sbin/udhcpc"];
        let is_static = context.facts.fabric.static_addresses;
        if !root.exists("/usr/sbin/ifup") {
            context.warning("the system has no ifupdown: interfaces will stay down");
        } else if !is_static && !clients.iter().any(|client| root.exists(client)) {
            context.warning("the system has no DHCP client that ifupdown knows: include dhcpcd-base");
        }
        root.create_dir_all("/etc/network/interfaces.d")?;
        root.write(
            "/etc/network/interfaces",
            "# interfaces(5): how ifup(8) brings up the network.\n\
             source /etc/network/interfaces.d/*\n\n\
             auto lo\n\
             iface lo inet loopback\n",
        )?;
        if is_static {
            return Ok(());
        }
        // Hotplug, not auto: the boot then waits for no lease.
        let name = &settings.interface;
        root.write(file(name), format!("allow-hotplug {name}\niface {name} inet dhcp\n"))
    }

    fn apply_node(&self, settings: &Settings, root: &mut Root<'_>, node: &Node, context: &Context) -> Result<()> {
        let fabric = &context.facts.fabric;
        let name = &settings.interface;
        let mut text = format!("allow-hotplug {name}\n");
        // Before DHCP, which may take its time.
        if let Some(ipv6) = node.ipv6 {
            text.push_str(&ipv6_fallback(name, ipv6));
        }
        if fabric.static_addresses {
            text.push_str(&static_interface(name, node.address, fabric));
        } else {
            text.push_str(&format!("iface {name} inet dhcp\n"));
        }
        root.write(file(name), text)?;
        let name = &settings.peer_interface;
        if name.is_empty() {
            return Ok(());
        }
        // Hotplug here, too: on a bridge of the host a guest has no such interface.
        let (address, prefix) = (node.address, fabric.prefix_len);
        let mut text = format!("allow-hotplug {name}\niface {name} inet static\n\taddress {address}/{prefix}\n");
        if let Some(ipv6) = node.ipv6 {
            text.push_str(&ipv6_interface(name, ipv6, Node::IPV6_PREFIX_LEN));
        }
        root.write(file(name), text)
    }
}

/// The metric of a route that gives way to that of the interface with the peers.
pub const FALLBACK_METRIC: u32 = 2000;

fn file(interface: &str) -> String {
    format!("/etc/network/interfaces.d/{interface}")
}

/// The interface that leads to the host, with the node's own address. All that is to be reached
/// through it has a route: the other nodes one that counts only where no second interface leads to
/// them.
fn static_interface(name: &str, address: Ipv4Addr, fabric: &Fabric) -> String {
    let mut text = format!("iface {name} inet static\n\taddress {address}/32\n\tgateway {}\n", fabric.host_address);
    for server in &fabric.nameservers {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\tup ip route replace {server} dev {name}");
    }
    let subnet = network(address, fabric.prefix_len);
    let _ = writeln!(text, "\tup ip route replace {subnet} dev {name} metric {FALLBACK_METRIC}");
    text
}

/// An IPv6 address on an interface. It is `manual`, so that a kernel without IPv6 is no failure.
/// Duplicates of the address are not looked for: QEMU's network between the nodes returns to a node
/// what it asks.
fn ipv6_interface(name: &str, address: Ipv6Addr, prefix_len: u8) -> String {
    format!(
        "iface {name} inet6 manual\n\tup ip link set {name} up\n\tup ip address replace {address}/{prefix_len} dev {name} nodad || true\n"
    )
}

/// The IPv6 address on the interface that leads to the host, and to the other nodes where no second
/// interface does.
fn ipv6_fallback(name: &str, address: Ipv6Addr) -> String {
    let (network, prefix_len) = (Node::ipv6_beside(address, 0), Node::IPV6_PREFIX_LEN);
    ipv6_interface(name, address, 128)
        + &format!("\tup ip route replace {network}/{prefix_len} dev {name} metric {FALLBACK_METRIC} || true\n")
}

/// The network that an address is in, as `192.168.42.0/24`.
fn network(address: Ipv4Addr, prefix_len: u8) -> String {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
    format!("{}/{prefix_len}", Ipv4Addr::from(u32::from(address) & mask))
}

#[cfg(feature = "library")]
fam_plugin::export!(Network);

/// Checks what Linux takes for an interface name (15 bytes) and ifupdown for a file name in
/// interfaces.d.
fn check_interface(key: &str, name: &str) -> Result<()> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain && (1..=15).contains(&name.len()) {
        Ok(())
    } else {
        Err(Error::setting(key, format!("{name:?} is no name of an interface")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::RootFs;
    use fam_plugin::testing::{Harness, MemoryRoot};

    #[test]
    fn asks_dhcp_on_eth0() {
        let mut image = MemoryRoot::debian();
        image.put("usr/sbin/ifup", "", 0o755);
        image.put("usr/sbin/dhcpcd", "", 0o755);
        let harness = Harness::new();
        harness.system(&Network, &mut image).unwrap();
        assert_eq!(harness.warnings(), Vec::<String>::new());
        assert!(image.text("/etc/network/interfaces").contains("\nsource /etc/network/interfaces.d/*\n"));
        assert_eq!(image.text("/etc/network/interfaces.d/eth0"), "allow-hotplug eth0\niface eth0 inet dhcp\n");
        harness.node(&Network, 3, &mut image).unwrap();
        let expected = "\
allow-hotplug eth0
iface eth0 inet6 manual
\tup ip link set eth0 up
\tup ip address replace fd48:5045:c0a8:2a::3/128 dev eth0 nodad || true
\tup ip route replace fd48:5045:c0a8:2a::/64 dev eth0 metric 2000 || true
iface eth0 inet dhcp
";
        assert_eq!(image.text("/etc/network/interfaces.d/eth0"), expected);
        let expected = "\
allow-hotplug eth1
iface eth1 inet static
\taddress 192.168.42.3/24
iface eth1 inet6 manual
\tup ip link set eth1 up
\tup ip address replace fd48:5045:c0a8:2a::3/64 dev eth1 nodad || true
";
        assert_eq!(image.text("/etc/network/interfaces.d/eth1"), expected);
    }

    #[test]
    fn writes_static_addresses() {
        let mut image = MemoryRoot::debian();
        image.put("usr/sbin/ifup", "", 0o755);
        let harness = Harness::new().facts(|facts| {
            facts.fabric.static_addresses = true;
            facts.nodes.iter_mut().for_each(|node| node.ipv6 = None);
            facts.fabric.nameservers = [253, 254].map(|number| Ipv4Addr::new(192, 168, 42, number)).into();
        });
        harness.system(&Network, &mut image).unwrap();
        assert_eq!(harness.warnings(), Vec::<String>::new(), "no DHCP client is missed");
        harness.node(&Network, 3, &mut image).unwrap();
        let expected = "\
allow-hotplug eth0
iface eth0 inet static
\taddress 192.168.42.3/32
\tgateway 192.168.42.254
\tup ip route replace 192.168.42.253 dev eth0
\tup ip route replace 192.168.42.254 dev eth0
\tup ip route replace 192.168.42.0/24 dev eth0 metric 2000
";
        assert_eq!(image.text("/etc/network/interfaces.d/eth0"), expected);
        assert_eq!(
            image.text("/etc/network/interfaces.d/eth1"),
            "allow-hotplug eth1\niface eth1 inet static\n\taddress 192.168.42.3/24\n"
        );
    }

    #[test]
    fn networks() {
        let address = Ipv4Addr::new(10, 77, 200, 9);
        for (prefix_len, expected) in
            [(32, "10.77.200.9/32"), (24, "10.77.200.0/24"), (17, "10.77.128.0/17"), (0, "0.0.0.0/0")]
        {
            assert_eq!(network(address, prefix_len), expected);
        }
    }

    #[test]
    fn goes_without_peers() {
        let mut image = MemoryRoot::debian();
        let harness = Harness::new().settings(r#"{ "interface": "ens3", "peer-interface": "" }"#);
        harness.system(&Network, &mut image).unwrap();
        harness.node(&Network, 1, &mut image).unwrap();
        assert_eq!(image.list("/etc/network/interfaces.d".as_ref()).unwrap(), ["ens3"]);
    }

    #[test]
    fn checks() {
        for bad in [r#"{ "interface": "" }"#, r#"{ "interface": "../x" }"#, r#"{ "interface": "eth1" }"#] {
            assert!(Harness::new().settings(bad).check(&Network).is_err(), "{bad}");
        }
        let harness = Harness::new();
        harness.system(&Network, &mut MemoryRoot::debian()).unwrap();
        assert_eq!(harness.warnings().len(), 1);
    }
}
