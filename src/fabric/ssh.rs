//! How the host reaches the nodes by ssh: `ssh -F fabric_ssh_config fabric1`.

use std::fmt::Write;
use std::path::Path;

use super::cluster::{Cluster, Node};

/// The private key that the nodes know, beside the images.
pub const KEY_FILE: &str = "fabric_ssh_key";
/// The public keys of the nodes' ssh servers, beside the images.
pub const KNOWN_HOSTS_FILE: &str = "fabric_known_hosts";

/// The ssh configuration for user-mode networking, which needs nothing of the host. `directory` is
/// the absolute path of the images: ssh takes a relative one from where it is called.
///
/// The launch script writes this file anew when it starts nodes otherwise: over the bridge, on
/// other ports, or from another directory.
#[must_use]
pub fn ssh_config(cluster: &Cluster, directory: &Path) -> String {
    let mut text = String::from("# Written by fam-build; ssh -F fabric_ssh_config NODE\n");
    for node in &cluster.nodes {
        let _ = write!(text, "Host {}\n    HostName 127.0.0.1\n    Port {}\n", node.name(), node.ssh_port());
        let _ = writeln!(text, "    HostKeyAlias {}", node.name());
    }
    // `IdentitiesOnly`: else ssh offers the keys of the user's agent first, and sshd takes six at
    // most (MaxAuthTries of sshd_config(5)).
    let _ = write!(
        text,
        "Host {}*
    User fabric
    IdentityFile {}
    IdentitiesOnly yes
    UserKnownHostsFile {}
    StrictHostKeyChecking yes
",
        cluster.prefix,
        quoted(&directory.join(KEY_FILE)),
        quoted(&directory.join(KNOWN_HOSTS_FILE)),
    );
    text
}

/// The file of known hosts, from each node and its server's public key in the form of a `.pub`
/// file. The names in it are the nodes' own, to which `HostKeyAlias` of the configuration refers,
/// so it holds whatever address a node has.
#[must_use]
pub fn known_hosts<'a>(keys: impl IntoIterator<Item = (&'a Node, &'a str)>) -> String {
    let lines = keys.into_iter().map(|(node, key)| {
        // Without the comment behind them.
        let kind_and_key: Vec<_> = key.split_whitespace().take(2).collect();
        format!("{} {}\n", node.name(), kind_and_key.join(" "))
    });
    lines.collect()
}

/// The path as one word of an ssh configuration: quoted, and its percent signs no tokens
/// (`ssh_config(5)`).
fn quoted(path: &Path) -> String {
    let text = path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::cluster::example;
    use super::*;

    #[test]
    fn configurations_of_1_and_4_nodes() {
        for count in [1, 4] {
            insta::assert_snapshot!(format!("ssh_config_{count}"), ssh_config(&example(count, ""), Path::new("/tmp")));
        }
    }

    #[test]
    fn ssh_reads_it_as_it_is_meant() {
        let directory = tempfile::tempdir().unwrap();
        let images = directory.path().join("a 100% \"odd\" place");
        let config = directory.path().join("config");
        fs_err::write(&config, ssh_config(&example(4, ""), &images)).unwrap();
        let output = Command::new("ssh").arg("-G").arg("-F").arg(&config).arg("fabric3").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let has = |line: &str| assert!(text.lines().any(|other| other == line), "{line}\nis not in\n{text}");
        has("hostname 127.0.0.1");
        has("port 10025");
        has("user fabric");
        has("hostkeyalias fabric3");
        assert!(
            text.contains(&format!("identityfile {}", images.join(KEY_FILE).display().to_string().replace('%', "%%")))
        );
    }

    #[test]
    fn known_hosts_have_the_nodes_names() {
        let cluster = example(2, "");
        let keys = ["ssh-ed25519 AAAA1 root@fabric1\n", "ssh-ed25519 AAAA2"];
        assert_eq!(
            known_hosts(cluster.nodes.iter().zip(keys)),
            "fabric1 ssh-ed25519 AAAA1\nfabric2 ssh-ed25519 AAAA2\n"
        );
    }
}
