//! OpenSSH's own tools read the keys: `ssh-keygen`, of Debian's openssh-client, must be installed.

#![allow(clippy::disallowed_methods, reason = "a test of a small crate needs no fs-err")]

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use fam_plugin::testing::{Harness, node};

fn ssh_keygen(args: &[&str], path: &std::path::Path) -> String {
    let output = Command::new("ssh-keygen").args(args).arg("-f").arg(path).output().expect("ssh-keygen is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("ssh-keygen prints text")
}

#[test]
fn ssh_keygen_takes_the_keys() {
    let dir = std::env::temp_dir().join(format!("fam-identity-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    let context = Harness::new().context();

    let private = dir.join("cluster");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&private).expect("a file");
    file.write_all(fam_identity::cluster_private_key(&context).expect("a key").as_bytes()).expect("written");
    drop(file);
    let public = fam_identity::cluster_public_key(&context).expect("a key");
    assert_eq!(ssh_keygen(&["-y"], &private).trim_end(), public);

    let known = dir.join("known_hosts");
    std::fs::write(&known, fam_identity::known_hosts(&context).expect("keys")).expect("written");
    let expected = fam_identity::host_public_key(&context, &node(3)).expect("a key");
    for name in ["fabric3", "192.168.42.3"] {
        assert!(ssh_keygen(&["-F", name], &known).contains(&expected), "{name}");
    }
    std::fs::remove_dir_all(&dir).expect("removed");
}
