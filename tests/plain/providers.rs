//! Plugins of someone's own that provide what the built-in `identity` does: the cluster gets its
//! ssh configuration and its disks' numbers all the same, and what they tell is checked.

use std::path::Path;
use std::process::Command;

use support::disk::RootFileSystem;
use support::workshop::Workshop;
use support::{fail, succeed, write_executable};

use crate::small::assert_nothing_left;

support::tests! {
    needs [support::harness::ROOT, "debugfs", "python3", "qemu-img", "sgdisk", "ssh"];
    another_plugin_gives_the_cluster_its_keys,
    keys_that_are_none_are_refused,
    two_for_one_thing_are_refused,
}

/// Tells the keys in its settings. `@PROVIDES@` is what it provides.
const PROVIDER: &str = r#"#!/usr/bin/env python3
import json, sys

def ask(**request):
    print(json.dumps(request), flush=True)
    return json.loads(sys.stdin.readline())

call = json.loads(sys.stdin.readline())
settings = call["settings"]
if call["call"] == "describe":
    ask(op="describe", name="own", summary="has keys of its own", stages=["node"], provides=[@PROVIDES@])
elif call["call"] == "apply-node":
    ask(op="write", path="/etc/key.pub", contents=settings["host"])
elif call["call"] == "ssh-keys":
    assert "node" not in call and len(ask(op="secret", label="own/key", node=1)["secret"]) == 64
    assert "no image" in ask(op="read", path="/etc/motd")["error"]
    ask(**{"op": "log", "message": "keys of " + call["facts"]["nodes"][0]["name"]})
    if "host" in settings:
        ask(**{"op": "ssh-keys", "private-key": settings["private"], "host-keys": {settings.get("node", "fabric1"): [settings["host"]]}})
print('{"op":"done"}')
"#;

fn provider(place: &Path, provides: &str) {
    write_executable(&place.join("own"), PROVIDER.replace("@PROVIDES@", provides));
}

/// A key of ssh-keygen's, private and public.
fn key(place: &Path, name: &str) -> (String, String) {
    let file = place.join(name);
    succeed(Command::new("ssh-keygen").args(["-q", "-t", "ecdsa", "-N", "", "-C", name, "-f"]).arg(&file));
    (fs_err::read_to_string(&file).unwrap(), fs_err::read_to_string(file.with_extension("pub")).unwrap())
}

fn recipe(workshop: &Workshop, settings: &[(&str, &str)]) -> std::path::PathBuf {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let settings: String = settings.iter().map(|(name, value)| format!("{name} = {}\n", quoted(value))).collect();
    workshop.recipe("own", &format!("[[plugin]]\nname = \"own\"\npath = \"own\"\n[plugin.settings]\n{settings}"))
}

fn another_plugin_gives_the_cluster_its_keys() {
    let workshop = Workshop::new();
    let (tarball, keys) = (workshop.tarball(), workshop.directory("keys"));
    let ((private, public), (_, host)) = (key(&keys, "cluster"), key(&keys, "host"));
    let build = |provides: &str| {
        provider(workshop.path(), provides);
        let output = workshop.directory(&format!("output-{}", provides.len()));
        let recipe = recipe(&workshop, &[("private", private.trim_end()), ("host", &host)]);
        let mut build = workshop.fam_build(&output);
        let said = succeed(build.arg("--from-tarball").arg(&tarball).arg("--recipe").arg(recipe));
        let uuid = RootFileSystem::of(&output.join("fabric1.qcow2")).uuid();
        (output, said, uuid)
    };
    let (output, said, own) = build("\"node-identity\", \"ssh-keys\"");
    assert!(said.contains("fabric_ssh_config"), "{said}");
    let config = output.join("fabric_ssh_config");
    let understood = succeed(Command::new("ssh").arg("-G").arg("-F").arg(config).arg("fabric1"));
    let file = |name: &str| output.join(name).display().to_string();
    for line in [
        format!("identityfile {}", file("fabric_ssh_key")),
        format!("userknownhostsfile {}", file("fabric_known_hosts")),
        "hostkeyalias fabric1".into(),
    ] {
        assert!(understood.lines().any(|other| other == line), "{line}: {understood}");
    }
    let derived = succeed(Command::new("ssh-keygen").args(["-y", "-f"]).arg(output.join("fabric_ssh_key")));
    assert_eq!(derived, public);
    let known = fs_err::read_to_string(output.join("fabric_known_hosts")).unwrap();
    assert_eq!(known, format!("fabric1 {}\n", host.trim_end().strip_suffix(" host").unwrap()));
    let log = fs_err::read_to_string(output.join("fabric_emulation.log")).unwrap();
    assert!(log.contains("own: keys of fabric1") && !log.contains("PRIVATE"), "{log}");

    // Each thing by itself, and neither.
    let (output, said, template) = build("\"ssh-keys\"");
    assert!(said.contains("fabric_ssh_config") && output.join("fabric_ssh_key").exists(), "{said}");
    let (output, said, alone) = build("\"node-identity\"");
    assert!(!said.contains("fabric_ssh_config") && !output.join("fabric_ssh_key").exists(), "{said}");
    let (_, _, neither) = build("");
    assert_eq!(template, neither, "the template's");
    assert!(own != template && alone != template, "its own, of its seed");
}

fn keys_that_are_none_are_refused() {
    let workshop = Workshop::new();
    let (tarball, output) = (workshop.tarball(), workshop.directory("output"));
    provider(workshop.path(), "\"ssh-keys\"");
    let (private, host) = ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "ssh-ed25519 AAAA");
    for (settings, error) in [
        (vec![("private", private), ("host", host), ("node", "fabric2")], "\"fabric2\", which is no node"),
        (vec![("private", private), ("host", "ssh-ed25519 AAAA\n* ssh-ed25519 AAAA")], "of fabric1 that is none: "),
        (vec![("private", "x"), ("host", host)], "a private ssh key that is none"),
    ] {
        let mut build = workshop.fam_build(&output);
        build.arg("--from-tarball").arg(&tarball).arg("--recipe").arg(recipe(&workshop, &settings));
        let (code, said) = fail(&mut build);
        assert!(code == 1 && said.contains("error: plugin own: tells ") && said.contains(error), "{said}");
        assert_nothing_left(&output);
    }
}

fn two_for_one_thing_are_refused() {
    let workshop = Workshop::new();
    provider(workshop.path(), "\"ssh-keys\"");
    let both = "[[plugin]]\nname = \"identity\"\n[[plugin]]\nname = \"own\"\npath = \"own\"\n";
    let recipe = workshop.recipe("both", both);
    let (code, said) = fail(workshop.fam_build(workshop.path()).args(["recipe", "check"]).arg(recipe));
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("plugins identity and own both provide ssh-keys, of which there can be but one")
            && said.contains("hint: leave own out of the recipe"),
        "{said}"
    );
    provider(workshop.path(), "\"ssh-kyes\"");
    let (_, said) =
        fail(workshop.fam_build(workshop.path()).args(["plugin", "check"]).arg(workshop.path().join("own")));
    assert!(said.contains("unknown variant `ssh-kyes`, expected `node-identity` or `ssh-keys`"), "{said}");

    provider(workshop.path(), "\"ssh-keys\"");
    let shown = |arguments: &[&str]| {
        let mut command = workshop.fam_build(workshop.path());
        succeed(command.args(arguments).current_dir(workshop.path()))
    };
    assert!(shown(&["plugin", "check", "own"]).contains("\n  provides ssh-keys\n"));
    let list = shown(&["plugin", "list", "--plugin-dir", "."]);
    let row = |name: &str| list.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
    assert!(row("NAME").contains(" PROVIDES ") && row("own").contains(" ssh-keys "), "{list}");
    assert!(row("identity").contains(" node-identity, ssh-keys "), "{list}");
    let json: serde_json::Value = serde_json::from_str(&shown(&["plugin", "list", "--json"])).unwrap();
    let plugins = json["report"]["plugins"].as_array().unwrap();
    let identity = plugins.iter().find(|plugin| plugin["name"] == "identity").unwrap();
    assert_eq!(identity["provides"], serde_json::json!(["node-identity", "ssh-keys"]));
}
