//! What a plugin may know of the build: facts, secrets that are its own to derive, and a
//! place to log to.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// One virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Counts from 1.
    pub number: u32,
    /// Host name, as `fabric1`.
    pub name: String,
    /// Hardware address of the first network interface, as `52:54:48:50:45:01`. Where its host has
    /// another cluster already, the node has another address.
    pub mac: String,
    /// Address in the network of the nodes.
    pub address: Ipv4Addr,
    /// IPv6 address in the network of the nodes, of which the first
    /// [64 bits](Self::IPV6_PREFIX_LEN) are the network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

impl Node {
    /// How many bits of the nodes' IPv6 addresses are the network's.
    pub const IPV6_PREFIX_LEN: u8 = 64;

    /// The IPv6 address with this number in the network that `address` is in. The number is in decimal
    /// digits, as in the IPv4 address: that of 12 ends in `::12`. The number 0 is the network itself.
    #[must_use]
    pub fn ipv6_beside(address: Ipv6Addr, number: u8) -> Ipv6Addr {
        let [a, b, c, d, ..] = address.segments();
        let number = u16::from(number);
        let digits = number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10;
        Ipv6Addr::new(a, b, c, d, 0, 0, 0, digits)
    }
}

/// The memory that the nodes share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fabric {
    /// PCI address at which a guest finds it, as `0000:00:04.0`.
    pub pci_address: String,
    /// Size in bytes.
    pub memory_bytes: u64,
    /// Address of the host in the network of the nodes.
    pub host_address: Ipv4Addr,
    /// Length of the network prefix of that network.
    pub prefix_len: u8,
    /// Whether nodes have their addresses by themselves, and do not ask DHCP.
    #[serde(default, skip_serializing_if = "is_false")]
    pub static_addresses: bool,
    /// The name servers to ask, in this order, where no DHCP names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<Ipv4Addr>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// An archive that packages of the system come from, as apt in the guests is to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// What files about it are called: `debian`. Archives that belong together have the same name.
    pub name: String,
    /// Its URL, without user or password.
    pub url: String,
    /// The suites that were read. One that ends with a slash is a path to a flat archive.
    pub suites: Vec<String>,
    /// The components that were read of each of these suites; none of a flat archive.
    pub components: Vec<String>,
    /// The keys that vouched for these suites, and others that may do so later.
    pub keys: ArchiveKeys,
    /// The time of the snapshot that it is, as `20261101T000000Z`: that is never renewed, so apt must
    /// not mind how old it is.
    pub snapshot: Option<String>,
}

/// The `OpenPGP` keys of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveKeys {
    /// The primary key that vouched, as hexadecimal digits of its packet. A keyring in binary form
    /// that holds this key holds these bytes.
    pub vouching: String,
    /// That key and those that came in one file with it, each as an armored block.
    pub armored: String,
}

/// A certificate of an authority that is trusted for https in addition to the public ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaCertificate {
    /// What its file is called, without an ending.
    pub name: String,
    /// The certificate, or several, in PEM.
    pub pem: String,
}

/// Everything that is known of a build and is the same for all its nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The suite, as `trixie`.
    pub suite: String,
    /// Components of the archive, as `main`.
    pub components: Vec<String>,
    /// URL of the mirror that guests use. None of these URLs has a user or password.
    pub mirror: String,
    /// URL of the security archive, where the suite has one.
    pub security_mirror: Option<String>,
    /// All archives that packages come from, these two among them.
    #[serde(default)]
    pub archives: Vec<Archive>,
    /// What decides between the versions of several archives, as the text of an
    /// `apt_preferences(5)` file; empty where nothing does.
    #[serde(default)]
    pub preferences: String,
    /// Authorities that the mirrors' certificates are from, where those are not public.
    #[serde(default)]
    pub ca_certificates: Vec<CaCertificate>,
    /// URL of the proxy, where there is one: of HTTP or SOCKS.
    pub proxy: Option<String>,
    /// Host name of the machine that builds. Empty at the system stage, as what is shared must not
    /// depend on it.
    pub build_host: String,
    /// The shared memory.
    pub fabric: Fabric,
    /// All nodes, by number. Empty at the system stage, as what is shared must not depend on them.
    pub nodes: Vec<Node>,
    /// The time that files are given and that stands for "now": seconds since 1970.
    pub source_date_epoch: i64,
}

impl Facts {
    /// These facts as the system stage is told them.
    #[must_use]
    pub fn for_system(&self) -> Self {
        Self { build_host: String::new(), nodes: Vec::new(), ..self.clone() }
    }
}

/// How much a log message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// For the log.
    Info,
    /// For the screen.
    Warning,
}

/// Whose secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One for all nodes.
    Cluster,
    /// That of the node with this number.
    Node(u32),
}

/// What the host does for a plugin beside its files.
pub trait Host: Send + Sync {
    /// The secret of that scope and label.
    fn secret(&self, scope: Scope, label: &str) -> [u8; 32];

    /// Takes a line for the log.
    fn log(&self, level: Level, message: &str);
}

/// What a plugin may know and ask of the build.
#[derive(Clone)]
pub struct Context {
    /// What is the same for all nodes.
    pub facts: Arc<Facts>,
    scope: Scope,
    host: Arc<dyn Host>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("facts", &self.facts).field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Context {
    /// The context of the system stage.
    pub fn new(facts: Arc<Facts>, host: Arc<dyn Host>) -> Self {
        Self { facts, scope: Scope::Cluster, host }
    }

    /// The context of `node` at the node stage.
    #[must_use]
    pub fn for_node(&self, node: &Node) -> Self {
        Self { scope: Scope::Node(node.number), ..self.clone() }
    }

    /// 32 bytes that nobody can guess, the same in every build with the same seed. They depend on
    /// `label` and, at the node stage, on the node. Begin labels with the plugin's name, as
    /// `users/salt/root`.
    #[must_use]
    pub fn secret(&self, label: &str) -> [u8; 32] {
        self.host.secret(self.scope, label)
    }

    /// As [`Context::secret`], of one scope whatever the stage: what all nodes have in common, or
    /// another node's.
    #[must_use]
    pub fn secret_of(&self, scope: Scope, label: &str) -> [u8; 32] {
        self.host.secret(scope, label)
    }

    /// Writes a line to the log of the build.
    pub fn info(&self, message: impl AsRef<str>) {
        self.host.log(Level::Info, message.as_ref());
    }

    /// Tells the user something that does not stop the build.
    pub fn warning(&self, message: impl AsRef<str>) {
        self.host.log(Level::Warning, message.as_ref());
    }
}

/// The derivation of secrets from a seed: HMAC-SHA-256 with the seed as key, over scope and label.
#[derive(Clone)]
pub struct Secrets([u8; 32]);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Derives from `seed`.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// The secret of `scope` and `label`.
    #[must_use]
    pub fn derive(&self, scope: Scope, label: &str) -> [u8; 32] {
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.0) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes a key of any length"),
        };
        mac.update(b"fam-build secret 1\0");
        match scope {
            Scope::Cluster => mac.update(b"cluster\0"),
            Scope::Node(number) => {
                mac.update(b"node\0");
                mac.update(&number.to_be_bytes());
            }
        }
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_depend_on_seed_scope_and_label() {
        let secrets = Secrets::new([7; 32]);
        let all = [
            secrets.derive(Scope::Cluster, "a"),
            secrets.derive(Scope::Cluster, "b"),
            secrets.derive(Scope::Node(1), "a"),
            secrets.derive(Scope::Node(2), "a"),
            Secrets::new([8; 32]).derive(Scope::Cluster, "a"),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one));
        }
        assert_eq!(secrets.derive(Scope::Node(1), "a"), all[2]);
    }

    #[test]
    fn secrets_stay_what_they_were() {
        // A change here changes every host key of every cluster that is rebuilt from its seed.
        let derived = Secrets::new([0; 32]).derive(Scope::Node(1), "identity/machine-id");
        let hex: String = derived.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = "12cb43b2000a33f532c3b880cbb74273e70c944a941adc29a03d04f7dbaa967b";
        assert_eq!(hex, expected);
    }
}
