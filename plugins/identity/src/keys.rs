//! Ed25519 keys out of secrets, in the file formats of OpenSSH.
//!
//! Only Ed25519: every ssh client since OpenSSH 6.5 (2014) takes it, and its keys are any 32 bytes,
//! whereas RSA keys are slow to derive.

use std::fmt::Write as _;

use fam_plugin::{Context, Error, Node, Result, Scope};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

const HOST_KEY: &str = "identity/ssh-host-ed25519";
const CLUSTER_KEY: &str = "identity/cluster-ed25519";

/// The public host key of a node as `ssh-ed25519 AAAA...`, without a comment. Needs no image, and
/// no context of that node.
///
/// # Errors
/// [`Error::Failed`] where the key cannot be encoded.
pub fn host_public_key(context: &Context, node: &Node) -> Result<String> {
    public(&host_key(context, node, "")?)
}

/// The host keys of all nodes in the format of `known_hosts`, sshd(8): a line a node, under its
/// name and its addresses.
///
/// # Errors
/// [`Error::Failed`] where a key cannot be encoded.
pub fn known_hosts(context: &Context) -> Result<String> {
    let mut text = String::new();
    for node in &context.facts.nodes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{},{}", node.name, node.address);
        if let Some(ipv6) = node.ipv6 {
            let _ = write!(text, ",{ipv6}");
        }
        let _ = writeln!(text, " {}", host_public_key(context, node)?);
    }
    Ok(text)
}

/// The cluster's own private key, in OpenSSH's format: with it the host, too, reaches every node.
///
/// # Errors
/// [`Error::Failed`] where the key cannot be encoded.
pub fn cluster_private_key(context: &Context) -> Result<String> {
    private(&cluster_key(context)?)
}

/// The public half of the cluster's own key, as a line of `authorized_keys` without its newline.
///
/// # Errors
/// [`Error::Failed`] where the key cannot be encoded.
pub fn cluster_public_key(context: &Context) -> Result<String> {
    public(&cluster_key(context)?)
}

/// The two files of a node's host key: private, public.
pub(crate) fn host_key_files(context: &Context, node: &Node) -> Result<(String, String)> {
    let key = host_key(context, node, &format!("root@{}", node.name))?;
    Ok((private(&key)?, public(&key)? + "\n"))
}

fn host_key(context: &Context, node: &Node, comment: &str) -> Result<PrivateKey> {
    key(&context.secret_of(Scope::Node(node.number), HOST_KEY), comment)
}

fn cluster_key(context: &Context) -> Result<PrivateKey> {
    key(&context.secret_of(Scope::Cluster, CLUSTER_KEY), "fabric cluster")
}

fn key(secret: &[u8; 32], comment: &str) -> Result<PrivateKey> {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(secret)), comment).map_err(|error| encoding(&error))
}

fn private(key: &PrivateKey) -> Result<String> {
    key.to_openssh(LineEnding::LF).map(|text| text.to_string()).map_err(|error| encoding(&error))
}

fn public(key: &PrivateKey) -> Result<String> {
    key.public_key().to_openssh().map(|text| text.trim_end().to_string()).map_err(|error| encoding(&error))
}

fn encoding(error: &ssh_key::Error) -> Error {
    Error::failed(format!("cannot encode an ssh key: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, node};

    #[test]
    fn files_and_known_hosts_agree() {
        let context = Harness::new().context();
        let known = known_hosts(&context).unwrap();
        assert_eq!(known.lines().count(), 4);
        for number in 1..=4 {
            let node = node(number);
            let (private, public) = host_key_files(&context.for_node(&node), &node).unwrap();
            assert_eq!(PrivateKey::from_openssh(&private).unwrap().comment(), format!("root@{}", node.name));
            let key = public.strip_suffix(&format!(" root@{}\n", node.name)).unwrap();
            let names = format!("fabric{number},192.168.42.{number},fd48:5045:c0a8:2a::{number}");
            assert!(known.contains(&format!("{names} {key}\n")), "{known}");
        }
    }
}
