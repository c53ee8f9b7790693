//! Nodes with static addresses: in user mode they have those that they have on a bridge, and the
//! launch script, the other nodes, the host and the outside are reached without DHCP.

use std::process::Command;

use support::cluster::{Nodes, at_once};
use support::{as_user, mirror, public_program, succeed, user};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "qemu-img", "qemu-system-x86_64", "ssh"];
    static_by_ifupdown,
    static_by_cloud_init_and_networkd,
}

/// Without a DHCP client.
const IFUPDOWN: &str = r#"
extends = "minimal"
include.drop = ["dhcpcd-base"]
include.add = ["ca-certificates", "openssh-server", "sudo"]

[nodes]
name = "fixed"
count = 2
network = "10.77.0.0/24"
addresses = "static"

[plugin.set.users]
users = [{ name = "fabric", password = "rocks" }]
[plugin.set.identity]
cluster-key-users = ["fabric"]
[[plugin.add]]
name = "sudo"
settings.nopasswd = true
"#;

fn static_by_ifupdown() {
    let nodes = started(16000, IFUPDOWN);
    each_is_reached(&nodes, "fixed", "10.77.0");
}

/// By the seeds of the build, and netplan.
fn static_by_cloud_init_and_networkd() {
    let nodes = started(16300, "extends = 'cloud'\nnodes = { count = 2, addresses = 'static' }\n");
    for number in [1, 2] {
        assert!(nodes.ssh(number, "cloud-init status --wait").ends_with("status: done"));
    }
    each_is_reached(&nodes, "cloud", "192.168.42");
}

/// Two nodes of a recipe that run.
fn started(port: u16, recipe: &str) -> Nodes {
    let nodes = Nodes::new(port);
    let file = nodes.directory.join("static.toml");
    fs_err::write(&file, recipe).unwrap();
    succeed(Command::new("chown").arg(user()).arg(&file));
    let mut build = as_user(public_program());
    build.args(["--mirror", &mirror(), "--thin", "--recipe"]).arg(&file).arg("--output").arg(&nodes.directory);
    succeed(&mut build);
    nodes.start(&["start"], &[1, 2]);
    nodes
}

/// Asserts that two nodes, and all around them, are reached by way of their addresses.
fn each_is_reached(nodes: &Nodes, name: &str, network: &str) {
    at_once(&[1, 2], |number| {
        let other = 3 - number;
        let ask = |command: &str| nodes.ssh(number, command);
        assert_eq!(ask("systemctl is-system-running --wait || systemctl --failed"), "running");
        let addresses = ask("ip -4 -brief address");
        for line in [format!("eth0 UP {network}.{number}/32"), format!("eth1 UP {network}.{number}/24")] {
            let is_line = |other: &str| other.split_whitespace().eq(line.split_whitespace());
            assert!(addresses.lines().any(is_line), "{line}\n{addresses}");
        }
        // There is no ping; an ssh server greets first.
        let greeting = |host: &str| format!("timeout 60 head -c 4 </dev/tcp/{host}/22");
        assert_eq!(ask(&greeting(&format!("{name}{other}"))), "SSH-");
        let ipv6 = ask(&format!("getent ahostsv6 {name}{other} | head -n 1 | cut -d ' ' -f 1"));
        for address in [&format!("{network}.{other}"), &ipv6] {
            assert_eq!(ask(&greeting(address)), "SSH-", "{address}");
        }
        let said = ask(&format!("sudo apt-get -q update 2>&1; ip route get {network}.254"));
        assert!(!said.contains("W: ") && !said.contains("E: "), "{said}");
        assert!(said.contains(&format!("{network}.254 dev eth0 ")), "{said}");
        // As on a bridge, where there is no second interface.
        let said = ask(&format!("sudo ip link set eth1 down; ip route get {network}.{other}"));
        assert!(said.contains(" dev eth0 ") && said.contains(&format!(" src {network}.{number} ")), "{said}");
        let said = ask(&format!("ip -6 route get {ipv6}"));
        assert!(said.contains(" dev eth0 ") && said.contains(" src fd48:5045:"), "{said}");
    });
}
