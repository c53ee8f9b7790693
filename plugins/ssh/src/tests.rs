//! Against an image in memory; sshd is played.

use super::*;
use fam_plugin::testing::{Harness, MemoryRoot};
use fam_plugin::{Output, RootFs};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFf5Yl5g5Zl0h3n2tZ0a1Zx1m0nY3m5nQ6c1s9rVdQzE me@home";

fn image(says: &'static str, status: i32) -> MemoryRoot {
    let mut image = MemoryRoot::debian();
    image.put("usr/sbin/sshd", "", 0o755);
    image.put("etc/ssh/ssh_host_rsa_key", "secret", 0o600);
    image.put("etc/ssh/sshd_config", "", 0o644);
    image.on_run(move |_| Ok(Output { status, text: says.into() }));
    image
}

fn keys(user: &str, text: &str) -> String {
    format!(
        r#"{{ "authorized-keys": [{{ "user": "{user}", "file": {{ "path": "id.pub", "entries": [
            {{ "path": "", "type": "file", "executable": false, "text": "{text}" }}] }} }}] }}"#
    )
}

#[test]
fn options_are_written_and_tried() {
    let mut image = image("sshd: no hostkeys available -- exiting.\n", 1);
    let settings = r#"{ "options": { "PermitRootLogin": "prohibit-password", "PasswordAuthentication": false,
                                     "Port": 2222, "AcceptEnv": ["LANG", "LC_*"] } }"#;
    Harness::new().settings(settings).system(&Ssh, &mut image).unwrap();
    assert_eq!(
        image.text(CONFIGURATION),
        "AcceptEnv LANG\nAcceptEnv LC_*\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPort 2222\n"
    );
    assert_eq!(image.commands()[0].line(), "/usr/sbin/sshd -t");
    assert!(image.metadata("/etc/ssh/ssh_host_rsa_key".as_ref()).is_ok());
}

#[test]
fn what_sshd_refuses_fails_the_build() {
    let mut image = image("/etc/ssh/sshd_config.d/00-fam-build.conf: line 1: Bad configuration option: Foo\n", 255);
    let error = Harness::new().settings(r#"{ "options": { "Foo": 1 } }"#).system(&Ssh, &mut image).unwrap_err();
    assert!(error.to_string().contains("line 1: Bad configuration option: Foo"), "{error}");
    let error = Harness::new().system(&Ssh, &mut MemoryRoot::debian()).unwrap_err();
    assert_eq!(error.to_string(), "the system has no sshd: the recipe has to include `openssh-server`");
}

#[test]
fn keys_beside_the_recipe_open_users() {
    let mut image = image("", 0);
    Harness::new().settings(&keys("root", &format!("# mine\\n{KEY}\\n"))).system(&Ssh, &mut image).unwrap();
    assert_eq!(image.text("/root/.ssh/authorized_keys"), format!("{KEY}\n"));
    assert_eq!(image.metadata("/root/.ssh/authorized_keys".as_ref()).unwrap().mode, 0o600);
    for (settings, message) in [
        (keys("nobody2", KEY), "the system has no user \"nobody2\""),
        (keys("root", ""), "setting authorized-keys[0].file: \"id.pub\" holds no key"),
        (
            keys("root", "-----BEGIN OPENSSH PRIVATE KEY-----"),
            "setting authorized-keys[0].file: \"id.pub\" is a private key: name the public one, which ends in .pub",
        ),
        (
            keys("root", "hello"),
            "setting authorized-keys[0].file: \"id.pub\" has a line that is no public key: \"hello\"",
        ),
    ] {
        let error = Harness::new().settings(&settings).system(&Ssh, &mut image).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn host_keys_of_the_first_boot() {
    let mut image = image("", 0);
    Harness::new().settings(r#"{ "host-keys": "first-boot" }"#).system(&Ssh, &mut image).unwrap();
    assert!(image.metadata("/etc/ssh/ssh_host_rsa_key".as_ref()).is_err());
    assert!(image.metadata("/etc/ssh/sshd_config".as_ref()).is_ok());
    let link = format!("/etc/systemd/system/multi-user.target.wants/{UNIT}");
    assert!(image.metadata(link.as_ref()).is_ok());
}

#[test]
fn checks() {
    for (settings, message) in [
        (r#"{ "options": { "Permit Root": "x" } }"#, "setting options.Permit Root: is no keyword of sshd_config(5)"),
        (r#"{ "options": { "Match": "User x" } }"#, "setting options.Match: stands for more than itself"),
        (r#"{ "options": { "Banner": "a\nPort 1" } }"#, "setting options.Banner: is empty, or more than one line"),
        (r#"{ "host-keys": "frist-boot" }"#, "setting host-keys: unknown value \"frist-boot\""),
    ] {
        assert_eq!(Harness::new().settings(settings).check(&Ssh).unwrap_err().to_string(), message);
    }
}
