//! Gives each node what must be its own: machine-id and ssh host keys; and, where a recipe wants
//! it, one ssh key that lets the users of all nodes reach one another.
//!
//! Everything is derived from the seed of the build, so that it is secret, and yet the same
//! whenever a cluster is built again. For the same reason the public host key of any node can be
//! told without its image, to the other nodes and to the host.

mod keys;
mod machine_id;

pub use keys::{cluster_private_key, cluster_public_key, host_public_key, known_hosts};

use fam_plugin::{
    Account, Attributes, Context, Description, Error, FileType, Node, Plugin, Provided, Result, Root, SshKeys, Stage,
    is_account_name,
};
use serde::Deserialize;

/// The built-in `identity`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity;

/// What a recipe may set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Users that get the cluster's ssh key, and may log in with it on every node. None if not set.
    pub cluster_key_users: Vec<String>,
}

const MACHINE_ID: &str = "/etc/machine-id";
const DBUS_MACHINE_ID: &str = "/var/lib/dbus/machine-id";
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";
const KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";

impl Plugin for Identity {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("identity", "gives each node its machine-id and ssh keys")
            .at(Stage::System)
            .at(Stage::Node)
            .after("users")
            .provides(Provided::NodeIdentity)
            .provides(Provided::SshKeys)
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        match settings.cluster_key_users.iter().position(|user| !is_account_name(user)) {
            Some(index) => Err(Error::setting(format!("cluster-key-users[{index}]"), "is no user")),
            None => Ok(()),
        }
    }

    /// Takes away whatever identity the installation of packages made. An empty machine-id is
    /// filled in by systemd at the first boot (machine-id(5)), so that an image without a node's
    /// plugin starts, too.
    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, _: &Context) -> Result<()> {
        root.write_with(MACHINE_ID, "", Attributes::mode(0o444).owner(0, 0))?;
        // An id of D-Bus's own would be the same on all nodes.
        if root.symlink_metadata(DBUS_MACHINE_ID).is_ok_and(|metadata| metadata.file_type == FileType::File) {
            root.remove(DBUS_MACHINE_ID)?;
            root.symlink(MACHINE_ID, DBUS_MACHINE_ID)?;
        }
        if root.exists("/etc/ssh") {
            for name in root.list("/etc/ssh")? {
                if name.to_string_lossy().starts_with("ssh_host_") {
                    root.remove(std::path::Path::new("/etc/ssh").join(name))?;
                }
            }
        }
        // A user who is missing is to be found out here, before there is a node.
        for user in &settings.cluster_key_users {
            account(root, user)?;
        }
        Ok(())
    }

    fn apply_node(&self, settings: &Settings, root: &mut Root<'_>, node: &Node, context: &Context) -> Result<()> {
        root.write_with(MACHINE_ID, machine_id::derive(context, node), Attributes::mode(0o444).owner(0, 0))?;
        if root.exists("/etc/ssh") {
            let (private, public) = keys::host_key_files(context, node)?;
            root.write_with(HOST_KEY, private, Attributes::mode(0o600).owner(0, 0))?;
            root.write_with(format!("{HOST_KEY}.pub"), public, Attributes::mode(0o644).owner(0, 0))?;
            root.write(KNOWN_HOSTS, known_hosts(context)?)?;
        }
        for user in &settings.cluster_key_users {
            let account = account(root, user)?;
            install_cluster_key(root, &account, context)?;
        }
        Ok(())
    }

    fn ssh_keys(&self, _: &Settings, context: &Context) -> Result<SshKeys> {
        let nodes = context.facts.nodes.iter();
        let host_key = |node: &Node| Ok((node.name.clone(), vec![host_public_key(context, node)?]));
        Ok(SshKeys {
            private_key: cluster_private_key(context)?,
            host_keys: nodes.map(host_key).collect::<Result<_>>()?,
        })
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Identity);

fn account(root: &Root<'_>, user: &str) -> Result<Account> {
    root.account(user)?.ok_or_else(|| Error::failed(format!("there is no user {user} to give the cluster's key to")))
}

/// Done at the node stage although it is the same on all nodes: the template, which may be passed
/// on, holds no secret.
fn install_cluster_key(root: &mut Root<'_>, account: &Account, context: &Context) -> Result<()> {
    let (uid, gid) = (account.uid, account.gid);
    let dir = account.home.join(".ssh");
    if !root.exists(&dir) {
        root.create_dir(&dir, 0o700)?;
        root.set_owner(&dir, uid, gid)?;
    }
    let (private, public) = (cluster_private_key(context)?, cluster_public_key(context)?);
    root.write_with(dir.join("id_ed25519"), private, Attributes::mode(0o600).owner(uid, gid))?;
    root.write_with(dir.join("id_ed25519.pub"), format!("{public}\n"), Attributes::mode(0o644).owner(uid, gid))?;
    let authorized = dir.join("authorized_keys");
    root.ensure_line(&authorized, &public)?;
    root.set_mode(&authorized, 0o600)?;
    root.set_owner(&authorized, uid, gid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, MemoryRoot};
    use fam_plugin::{NewUser, RootFs};

    #[test]
    fn takes_identity_away() {
        let mut image = MemoryRoot::debian();
        image.put("etc/machine-id", "0123\n", 0o644);
        image.put_dir("var/lib/dbus", 0o755);
        image.put("var/lib/dbus/machine-id", "0123\n", 0o644);
        image.put("etc/ssh/sshd_config", "", 0o644);
        image.put("etc/ssh/ssh_host_rsa_key", "", 0o600);
        image.put("etc/ssh/ssh_host_rsa_key.pub", "", 0o644);
        Harness::new().system(&Identity, &mut image).unwrap();
        assert_eq!(image.text("/etc/machine-id"), "");
        assert_eq!(image.list("/etc/ssh".as_ref()).unwrap(), ["sshd_config"]);
        let dbus = image.metadata(DBUS_MACHINE_ID.as_ref()).unwrap();
        assert_eq!(dbus.file_type, FileType::Symlink("/etc/machine-id".into()));
    }

    #[test]
    fn gives_each_node_its_own() {
        let harness = Harness::new();
        let built = |number| {
            let mut image = MemoryRoot::debian();
            harness.system(&Identity, &mut image).unwrap();
            harness.node(&Identity, number, &mut image).unwrap();
            (image.text(MACHINE_ID), image.text(HOST_KEY), image.text(KNOWN_HOSTS), image)
        };
        let (one, again, two) = (built(1), built(1), built(2));
        assert_eq!((&one.0, &one.1), (&again.0, &again.1), "same seed, same bytes");
        assert_ne!(one.0, two.0);
        assert_ne!(one.1, two.1);
        assert_eq!(one.2, two.2, "all nodes know all nodes");
        assert_eq!(one.3.metadata(HOST_KEY.as_ref()).unwrap().mode, 0o600);
        assert!(one.3.text("/etc/ssh/ssh_host_ed25519_key.pub").ends_with(" root@fabric1\n"));
    }

    #[test]
    fn lets_users_reach_all_nodes() {
        let harness = Harness::new().settings(r#"{ "cluster-key-users": ["fabric"] }"#);
        let mut image = MemoryRoot::debian();
        assert!(harness.system(&Identity, &mut image).is_err(), "no such user");
        let user = NewUser { name: "fabric".into(), ..NewUser::default() };
        Root::new(&mut image).add_user(&user, 0).unwrap();
        harness.system(&Identity, &mut image).unwrap();
        assert!(image.paths().all(|path| !path.ends_with("id_ed25519")), "no secret in the template");
        harness.node(&Identity, 2, &mut image).unwrap();
        let public = image.text("/home/fabric/.ssh/id_ed25519.pub");
        assert_eq!(image.text("/home/fabric/.ssh/authorized_keys"), public);
        for (name, mode) in [("", 0o700), ("/id_ed25519", 0o600), ("/authorized_keys", 0o600)] {
            let metadata = image.metadata(format!("/home/fabric/.ssh{name}").as_ref()).unwrap();
            assert_eq!((metadata.mode, metadata.uid, metadata.gid), (mode, 1000, 1000));
        }
    }
}
