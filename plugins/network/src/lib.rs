//! Brings up the interfaces of a guest by ifupdown: one by DHCP, and the one that leads to the
//! other nodes where the launch script has no bridge.

use fam_plugin::{Context, Description, Error, Node, Plugin, Result, Root, Stage};
use serde::Deserialize;

/// The built-in `network`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network;

/// What a recipe may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// The interface that asks DHCP. `eth0` if not set.
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
        if !root.exists("/usr/sbin/ifup") {
            context.warning("the system has no ifupdown: interfaces will stay down");
        } else if !clients.iter().any(|client| root.exists(client)) {
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
        // Hotplug, not auto: the boot then waits for no lease.
        let name = &settings.interface;
        root.write(
            format!("/etc/network/interfaces.d/{name}"),
            format!("allow-hotplug {name}\niface {name} inet dhcp\n"),
        )
    }

    fn apply_node(&self, settings: &Settings, root: &mut Root<'_>, node: &Node, context: &Context) -> Result<()> {
        let name = &settings.peer_interface;
        if name.is_empty() {
            return Ok(());
        }
        // Hotplug here, too: on a bridge of the host a guest has no such interface.
        let (address, prefix) = (node.address, context.facts.fabric.prefix_len);
        root.write(
            format!("/etc/network/interfaces.d/{name}"),
            format!("allow-hotplug {name}\niface {name} inet static\n\taddress {address}/{prefix}\n"),
        )
    }
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
        assert_eq!(
            image.text("/etc/network/interfaces.d/eth1"),
            "allow-hotplug eth1\niface eth1 inet static\n\taddress 192.168.42.3/24\n"
        );
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
