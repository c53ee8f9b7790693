//! Tests of the plugin host as a whole.

use fam_plugin::testing::Harness;
use fam_plugin::testing::MemoryRoot;
use fam_plugin::{Context, Plugin};
use fam_progress::Progress;
use serde_json::json;

use super::*;

fn request(name: &str, settings: Value) -> Request {
    Request::new(name, settings)
}

/// What the default recipe lists.
fn fabric() -> Vec<Request> {
    let users = json!({
        "root-password": "aresquare",
        "users": [{ "name": "fabric", "password": "rocks", "groups": ["sudo"] }],
    });
    vec![
        request("users", users),
        request("sudo", json!({ "nopasswd": true })),
        request("apt-sources", Value::Null),
        request("network", Value::Null),
        request("resolv-conf", Value::Null),
        request("fabric-symlink", Value::Null),
        request("demo", Value::Null),
        request("hostname", Value::Null),
        request("hosts", json!({})),
        request("identity", json!({ "cluster-key-users": ["fabric"] })),
    ]
}

fn build(seed: u8) -> Build {
    Build::new((*Harness::new().context().facts).clone(), [seed; 32], Progress::silent())
}

#[test]
fn applies_the_default_recipe() {
    let plan = Registry::built_in().plan(&fabric()).unwrap();
    let build = build(1);
    let mut image = MemoryRoot::debian();
    plan.apply_system(&mut image, &build).unwrap();
    let node = &build.facts().nodes[2];
    plan.apply_node(node, &mut image, &build).unwrap();
    assert_eq!(image.text("/etc/hostname"), "fabric3\n");
    assert!(image.text("/etc/shadow").contains("fabric:$6$"));
    assert!(image.text("/etc/ssh/ssh_known_hosts").contains("fabric4,192.168.42.4,fd48:5045:c0a8:2a::4 ssh-ed25519 "));
    // What the fabric's own ssh configuration will say is what the node has.
    let keys = plan.ssh_keys(&build).unwrap().unwrap();
    for node in &build.facts().nodes {
        let line = format!("{},{},{} {}\n", node.name, node.address, node.ipv6.unwrap(), keys.host_keys[&node.name][0]);
        assert!(image.text("/etc/ssh/ssh_known_hosts").contains(&line), "{line}");
    }
    assert!(keys.private_key.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    assert_eq!(plan.provided(), BTreeSet::from([Provided::NodeIdentity, Provided::SshKeys]));
    let without = Registry::built_in().plan(&fabric()[..9]).unwrap();
    assert!(without.provided().is_empty() && without.ssh_keys(&build).unwrap().is_none());
}

#[test]
fn reuses_the_template_only_if_nothing_changed() {
    let registry = Registry::built_in();
    let key = |requests: &[Request], build: &Build| registry.plan(requests).unwrap().system_key(build);
    let first = key(&fabric(), &build(1));
    assert_eq!(first, key(&fabric(), &build(1)));
    let mut facts = build(1).facts().clone();
    facts.nodes.truncate(1);
    facts.build_host = "elsewhere".into();
    assert_eq!(first, key(&fabric(), &Build::new(facts.clone(), [1; 32], Progress::silent())), "nodes do not matter");
    facts.suite = "sid".into();
    assert_ne!(first, key(&fabric(), &Build::new(facts, [1; 32], Progress::silent())));
    assert_ne!(first, key(&fabric(), &build(2)), "salts come from the seed");
    assert_ne!(first, key(&fabric()[1..], &build(1)));
}

#[test]
fn says_what_is_wrong_with_a_recipe() {
    let registry = Registry::built_in();
    for (requests, message, hint) in [
        (vec![request("hostnmae", Value::Null)], r#"there is no plugin "hostnmae""#, r#"did you mean "hostname"?"#),
        (
            vec![request("kubernetes", Value::Null)],
            r#"there is no plugin "kubernetes""#,
            "built in are apt-sources, demo, fabric-symlink, files, hostname, hosts, identity, locale, network, resolv-conf, script, ssh, sudo, timezone, users",
        ),
        (
            vec![request("demo", Value::Null), request("users", Value::Null)],
            "plugin demo must come after users, and the recipe lists it before",
            "move demo below users in the recipe",
        ),
        (
            vec![request("identity", Value::Null), request("identity", Value::Null)],
            "plugins identity and identity both provide node-identity, of which there can be but one",
            "leave one of the two out of the recipe",
        ),
        (
            vec![request("users", json!({ "user": [] }))],
            r#"plugin users: setting (all): unknown key "user""#,
            r#"did you mean "users"?"#,
        ),
    ] {
        let error = registry.plan(&requests).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(crate::hints::hint(&error).as_deref(), Some(hint));
    }
}

/// Goes wrong in the way that its settings say.
struct Faulty;

impl Plugin for Faulty {
    type Settings = std::collections::BTreeMap<String, String>;

    fn describe(&self) -> Description {
        Description::new("faulty", "goes wrong").at(Stage::System).at(Stage::Node)
    }

    fn check(&self, settings: &Self::Settings) -> PluginResult<()> {
        if settings.contains_key("check") { panic!("in check") } else { Ok(()) }
    }

    fn apply_system(&self, settings: &Self::Settings, _: &mut Root<'_>, _: &Context) -> PluginResult<()> {
        if settings.contains_key("system") { panic!("at {}", "system") } else { Ok(()) }
    }

    fn apply_node(&self, _: &Self::Settings, _: &mut Root<'_>, _: &Node, _: &Context) -> PluginResult<()> {
        Err(fam_plugin::Error::failed("no luck"))
    }
}

#[test]
fn names_the_plugin_that_fails() {
    let mut registry = Registry::built_in();
    registry.add(Arc::new(Faulty)).unwrap();
    assert_eq!(registry.add(Arc::new(Faulty)).unwrap_err().to_string(), r#"there are two plugins "faulty""#);
    let error = registry.plan(&[request("faulty", json!({ "check": "x" }))]).unwrap_err();
    assert_eq!(error.to_string(), "plugin faulty crashed: in check");
    let build = build(1);
    let mut image = MemoryRoot::debian();
    let plan = registry.plan(&[request("faulty", json!({ "system": "x" }))]).unwrap();
    let error = plan.apply_system(&mut image, &build).unwrap_err();
    assert_eq!(error.to_string(), "plugin faulty crashed: at system");
    let error = plan.apply_node(&build.facts().nodes[1], &mut image, &build).unwrap_err();
    assert_eq!(error.to_string(), "plugin faulty on fabric2: no luck");
}

#[test]
fn refuses_plugins_that_say_nothing() {
    struct Named(&'static str, bool);
    impl Plugin for Named {
        type Settings = ();
        fn describe(&self) -> Description {
            let description = Description::new(self.0, "");
            if self.1 { description.at(Stage::Node) } else { description }
        }
    }
    struct Terminal;
    impl Plugin for Terminal {
        type Settings = ();
        fn describe(&self) -> Description {
            Description::new("terminal", "clears\u{9b}2Jit").at(Stage::Node)
        }
    }
    struct Provider;
    impl Plugin for Provider {
        type Settings = ();
        fn describe(&self) -> Description {
            Description::new("provider", "").at(Stage::System).provides(Provided::SshKeys)
        }
    }
    let mut registry = Registry::empty();
    assert!(registry.add(Arc::new(Provider)).unwrap_err().to_string().contains("does not act at the node stage"));
    for bad in [Named("", true), Named("A b", true), Named("ok", false)] {
        assert!(registry.add(Arc::new(bad)).is_err());
    }
    let error = registry.add(Arc::new(Terminal)).unwrap_err().to_string();
    assert_eq!(error, "plugin \"terminal\" describes itself with control characters");
    registry.add(Arc::new(Named("ok", true))).unwrap();
}

#[test]
fn a_worker_takes_only_the_file_that_was_checked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("plugin");
    fs_err::write(&file, "#!/bin/sh\n").unwrap();
    let planned = |digest: &str| -> Vec<PlannedStep> {
        serde_json::from_value(json!([{
            "description": Description::new("plugin", "does something").at(Stage::Node),
            "origin": { "file": { "path": file, "form": "executable", "digest": digest } },
            "settings": { "key": "value" },
            "time_limit": null,
        }]))
        .unwrap()
    };
    let digest = hex::encode(Sha256::digest("#!/bin/sh\n"));
    let plan = Registry::built_in().take_over(planned(&digest)).unwrap();
    assert_eq!(plan.into_planned(), planned(&digest));
    fs_err::write(&file, "#!/bin/sh\ntrue\n").unwrap();
    let error = Registry::built_in().take_over(planned(&digest)).unwrap_err();
    assert!(error.to_string().contains("has changed since its settings were checked"), "{error}");
}
