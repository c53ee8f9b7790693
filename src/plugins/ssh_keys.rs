//! The keys that a plugin tells of are used by ssh outside of any sandbox, so what they are is
//! checked first.

use fam_plugin::{Error, Node, Result, SshKeys};

/// Private keys are much shorter, of whatever kind.
const MAX_PRIVATE_KEY_BYTES: usize = 64 << 10;

/// Whether the keys are in the forms of ssh-keygen(1), of each of the nodes and of nothing else.
/// What is not read further, such as a comment, is dropped.
///
/// # Errors
/// [`Error::Failed`] with what is wrong.
pub(super) fn checked(mut keys: SshKeys, nodes: &[Node]) -> Result<SshKeys> {
    let private = &keys.private_key;
    let is_plain = |text: &str| text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte));
    if !private.starts_with("-----BEGIN ") || private.len() > MAX_PRIVATE_KEY_BYTES || !is_plain(private) {
        return Err(Error::failed("tells a private ssh key that is none"));
    }
    if !private.ends_with('\n') {
        keys.private_key.push('\n');
    }
    if let Some(stranger) = keys.host_keys.keys().find(|name| nodes.iter().all(|node| node.name != **name)) {
        return Err(Error::failed(format!("tells an ssh host key of {stranger:?}, which is no node")));
    }
    for node in nodes {
        let lines = keys.host_keys.get_mut(&node.name).filter(|lines| !lines.is_empty());
        let lines = lines.ok_or_else(|| Error::failed(format!("tells no ssh host key of {}", node.name)))?;
        for line in lines {
            let plain = public_key(line).ok_or_else(|| {
                Error::failed(format!("tells an ssh host key of {} that is none: {line:?}", node.name))
            })?;
            *line = plain;
        }
    }
    Ok(keys)
}

/// Kind and key of a line of a `.pub` file, sshd(8).
fn public_key(line: &str) -> Option<String> {
    let mut words = line.trim_end_matches('\n').split(' ');
    let (kind, key) = (words.next()?, words.next()?);
    let is_kind = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.@".contains(&byte));
    let is_key = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    // Else more than one line.
    let is_one = !words.any(|word| word.contains(char::is_control));
    // Every key begins with the length of its kind in four bytes (RFC 4253, 6.6), of which the
    // first three are zero: in base64 that is `AAAA`.
    (is_kind && is_key && is_one && key.starts_with("AAAA")).then(|| format!("{kind} {key}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fam_plugin::testing::node;

    use super::*;

    #[test]
    fn keys_are_keys_of_nodes() {
        const PRIVATE: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----";
        let nodes = [node(1), node(2)];
        let told = |private: &str, hosts: &[(&str, &str)]| {
            let mut host_keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (name, key) in hosts {
                host_keys.entry((*name).into()).or_default().push((*key).into());
            }
            checked(SshKeys { private_key: private.into(), host_keys }, &nodes)
        };
        let good =
            [("fabric1", "ssh-ed25519 AAAAC3+/= root@fabric1\n"), ("fabric1", "ssh-rsa AAAAB3"), ("fabric2", "a AAAA")];
        let keys = told(PRIVATE, &good).unwrap();
        assert_eq!(keys.private_key, format!("{PRIVATE}\n"));
        assert_eq!(keys.host_keys["fabric1"], ["ssh-ed25519 AAAAC3+/=", "ssh-rsa AAAAB3"]);
        for (private, hosts, why) in [
            ("", &good[..], "a private ssh key that is none"),
            ("-----BEGIN \u{1b}", &good, "a private ssh key that is none"),
            (PRIVATE, &good[..2], "no ssh host key of fabric2"),
            (PRIVATE, &[good[0], good[2], ("fabric3", "a AAAA")], "\"fabric3\", which is no node"),
            (PRIVATE, &[good[0], ("fabric2", "ssh-ed25519")], "that is none: \"ssh-ed25519\""),
            (PRIVATE, &[good[0], ("fabric2", "a AAAA\n* b AAAA")], "that is none"),
            (PRIVATE, &[good[0], ("fabric2", "a AAAA x\n* b AAAA")], "that is none"),
            (PRIVATE, &[good[0], ("fabric2", "@cert-authority, AAAA")], "that is none"),
        ] {
            let error = told(private, hosts).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
