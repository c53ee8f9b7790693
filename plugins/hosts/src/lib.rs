//! Writes /etc/hosts: every node by name, and the host.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fam_plugin::{Context, Description, Error, Facts, Node, Plugin, Result, Root, Stage};
use serde::Deserialize;

/// The built-in `hosts`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hosts;

/// What a recipe may set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// So many nodes are named at least, so that nodes added later are known already. 4 if not set.
    pub at_least: u32,
    /// Further lines.
    pub extra: Vec<Line>,
}

/// One further line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// The address.
    pub address: IpAddr,
    /// Its names, the canonical one first.
    pub names: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { at_least: 4, extra: Vec::new() }
    }
}

impl Plugin for Hosts {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("hosts", "names all nodes and the host in /etc/hosts")
            .at(Stage::Node)
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        if settings.at_least > 253 {
            return Err(Error::setting("at-least", "there are 253 nodes at most"));
        }
        for (index, line) in settings.extra.iter().enumerate() {
            if line.names.is_empty() {
                return Err(Error::setting(format!("extra[{index}].names"), "holds no name"));
            }
            if let Some(name) = line.names.iter().find(|name| !is_host_name(name)) {
                return Err(Error::setting(format!("extra[{index}].names"), format!("{name:?} is no host name")));
            }
        }
        Ok(())
    }

    fn apply_node(&self, settings: &Settings, root: &mut Root<'_>, _: &Node, context: &Context) -> Result<()> {
        root.write("/etc/hosts", hosts(settings, &context.facts))
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Hosts);

/// The file, the same on all nodes: each resolves its own name, too, to its address in the network
/// of the nodes.
fn hosts(settings: &Settings, facts: &Facts) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\t\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\t\tip6-allnodes\n\
         ff02::2\t\tip6-allrouters\n\n",
    );
    let mut add = |address: &dyn std::fmt::Display, names: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{names}");
    };
    let nodes = named_nodes(settings.at_least, facts);
    for (address, _, name) in &nodes {
        add(address, name);
    }
    for (_, ipv6, name) in &nodes {
        if let Some(ipv6) = ipv6 {
            add(ipv6, name);
        }
    }
    let mut host_names = vec!["vmhost"];
    let short = facts.build_host.split('.').next().unwrap_or_default();
    for name in [facts.build_host.as_str(), short] {
        // A host without a name of its own calls itself localhost, which in a guest is the guest.
        let taken = host_names.contains(&name) || nodes.iter().any(|(.., node)| node == name);
        if is_host_name(name) && !taken && name != "localhost" && short != "localhost" {
            host_names.push(name);
        }
    }
    add(&facts.fabric.host_address, &host_names.join(" "));
    for line in &settings.extra {
        add(&line.address, &line.names.join(" "));
    }
    text
}

/// Addresses and name of each node, and of those up to `at_least` that are not built now: named as
/// the first is.
fn named_nodes(at_least: u32, facts: &Facts) -> Vec<(Ipv4Addr, Option<Ipv6Addr>, String)> {
    let mut named: Vec<_> =
        facts.nodes.iter().map(|node| (node.number, node.address, node.ipv6, node.name.clone())).collect();
    let known = facts.nodes.first().and_then(|first| first.ipv6);
    let prefix = facts.nodes.first().and_then(|first| first.name.strip_suffix(&first.number.to_string()));
    if let Some(prefix) = prefix {
        // The network of the nodes is a /24, in which a node's number is the last part of its
        // address.
        let [a, b, c, _] = facts.fabric.host_address.octets();
        for number in 1..=at_least {
            if let Ok(last) = u8::try_from(number)
                && !facts.nodes.iter().any(|node| node.number == number)
            {
                let ipv6 = known.map(|known| Node::ipv6_beside(known, last));
                named.push((number, Ipv4Addr::new(a, b, c, last), ipv6, format!("{prefix}{number}")));
            }
        }
    }
    named.sort_by_key(|&(number, ..)| number);
    named.into_iter().map(|(_, address, ipv6, name)| (address, ipv6, name)).collect()
}

fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, MemoryRoot, node};

    fn written(harness: &Harness) -> String {
        let mut image = MemoryRoot::debian();
        harness.node(&Hosts, 1, &mut image).unwrap();
        image.text("/etc/hosts")
    }

    #[test]
    fn names_nodes_and_host() {
        let expected = "\
127.0.0.1\tlocalhost
::1\t\tlocalhost ip6-localhost ip6-loopback
ff02::1\t\tip6-allnodes
ff02::2\t\tip6-allrouters

192.168.42.1\tfabric1
192.168.42.2\tfabric2
192.168.42.3\tfabric3
192.168.42.4\tfabric4
fd48:5045:c0a8:2a::1\tfabric1
fd48:5045:c0a8:2a::2\tfabric2
fd48:5045:c0a8:2a::3\tfabric3
fd48:5045:c0a8:2a::4\tfabric4
192.168.42.254\tvmhost builder
";
        for count in [1, 4] {
            let harness = Harness::new().facts(|facts| facts.nodes = (1..=count).map(node).collect());
            assert_eq!(written(&harness), expected, "{count} nodes");
        }
        let many = written(&Harness::new().facts(|facts| facts.nodes = (1..=40).map(node).collect()));
        assert!(many.contains("192.168.42.40\tfabric40\n"));
        assert!(many.contains("fd48:5045:c0a8:2a::40\tfabric40\n"));
        assert!(!many.contains("fabric41"));
        let later = written(&Harness::new().settings(r#"{ "at-least": 253 }"#));
        assert!(later.contains("fd48:5045:c0a8:2a::253\tfabric253\n"));
        // As a plugin in a file may be told by an older version.
        let older = written(&Harness::new().facts(|facts| facts.nodes.iter_mut().for_each(|node| node.ipv6 = None)));
        assert!(older.contains("192.168.42.4\tfabric4\n192.168.42.254\t"), "{older}");
    }

    #[test]
    fn takes_only_a_usable_name_of_the_host() {
        for (name, expected) in [
            ("localhost", "vmhost\n"),
            ("localhost.localdomain", "vmhost\n"),
            ("fabric2", "vmhost\n"),
            ("", "vmhost\n"),
            ("bad name", "vmhost\n"),
            ("vmhost", "vmhost\n"),
            ("lab.example.org", "vmhost lab.example.org lab\n"),
        ] {
            let text = written(&Harness::new().facts(|facts| facts.build_host = name.into()));
            assert!(text.ends_with(&format!("192.168.42.254\t{expected}")), "{name}: {text}");
        }
    }

    #[test]
    fn adds_lines() {
        let harness =
            Harness::new().settings(r#"{ "extra": [{ "address": "fd00::1", "names": ["nas", "nas.lan"] }] }"#);
        assert!(written(&harness).ends_with("\nfd00::1\tnas nas.lan\n"));
        for bad in [
            r#"{ "extra": [{ "address": "fd00::1", "names": ["a b"] }] }"#,
            r#"{ "extra": [{ "address": "fd00::1", "names": [] }] }"#,
            r#"{ "extra": [{ "address": "300.1.1.1", "names": ["a"] }] }"#,
            r#"{ "at-least": 1000 }"#,
        ] {
            assert!(Harness::new().settings(bad).check(&Hosts).is_err(), "{bad}");
        }
    }
}
