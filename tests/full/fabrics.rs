//! The fabrics beside ivshmem, as two nodes have them that start at the same time: a memory module
//! (NVDIMM), and memory of a CXL device. Linux makes a device of direct access of either; one node
//! writes there, the other and the host read. CXL memory is tried with the host's QEMU, and with that of
//! trixie's backports, which maps it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use support::cluster::Nodes;
use support::root::root_of;
use support::{as_user, mirror, public_program, succeed};
use tempfile::TempDir;

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "qemu-system-x86_64", "ssh"];
    nvdimm,
    cxl,
    cxl_memory_that_is_mapped,
}

/// A compiler and ssh, and else as little as boots quickly.
const RECIPE: &str = r#"
suite = "trixie"
variant = "minbase"
updates = false
security = false
include = [
    "systemd-sysv", "udev", "dbus", "libpam-systemd", "iproute2", "ifupdown", "dhcpcd-base", "netbase", "e2fsprogs",
    "openssh-server", "gcc", "libc6-dev", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin", "zstd",
]
kernel.package = "linux-image-cloud-amd64"
fabric.size = "256M"
nodes = { count = 2, memory = "512M", cpus = 1 }
plugin = [
    { name = "hostname" }, { name = "hosts" }, { name = "network" }, { name = "fabric-symlink" },
    { name = "users", settings = { root-password = "aresquare", users = [{ name = "fabric", password = "rocks" }] } },
    { name = "identity", settings = { cluster-key-users = ["root", "fabric"] } },
    { name = "demo" },
]
"#;

/// A command that root runs on a node.
fn on(nodes: &Nodes, node: u8, command: &str) -> Command {
    let mut ssh = as_user("/usr/bin/ssh");
    ssh.arg("-F").arg(nodes.directory.join("fabric_ssh_config"));
    ssh.arg(format!("root@fabric{node}")).arg(command);
    ssh
}

fn run(nodes: &Nodes, node: u8, command: &str) -> String {
    succeed(&mut on(nodes, node, command))
}

/// Asserts that each node has a device of the shared memory, and that what one stores there the
/// other reads.
fn assert_shared(nodes: &Nodes) {
    for node in [1, 2] {
        assert_eq!(run(nodes, node, "systemctl is-system-running --wait || systemctl --failed").trim(), "running");
        assert_eq!(run(nodes, node, "readlink /mnt/fabric_emulation").trim(), "/dev/dax0.0");
        run(nodes, node, "cc -O2 -Wall -Werror -o hello_fabric ~fabric/hello_fabric.c");
    }
    assert!(run(nodes, 2, "./hello_fabric --read").contains("no node stored anything yet"));
    let stored = run(nodes, 1, "./hello_fabric");
    let stored = stored.lines().next().unwrap().strip_prefix("node 1 stored: ").unwrap();
    assert!(stored.starts_with("Linux fabric1 "), "{stored}");
    assert!(run(nodes, 2, "./hello_fabric --read").contains(stored));
    run(nodes, 2, "./hello_fabric");
    let read = run(nodes, 1, "./hello_fabric --read");
    assert!(read.contains(stored) && read.contains(": Linux fabric2 "), "{read}");
    let memory = fs_err::read(nodes.shared_memory()).unwrap();
    assert!(memory.windows(stored.len()).any(|window| window == stored.as_bytes()), "the host does not see it");
}

/// Two nodes on a fabric of this kind, which have shared memory, and what the script said of them.
fn sharing(kind: &str, port: u16, emulator: Option<PathBuf>) -> (Nodes, String) {
    let mut nodes = Nodes::new(port);
    nodes.emulator = emulator;
    let recipe = nodes.directory.join("recipe.toml");
    fs_err::write(&recipe, RECIPE).unwrap();
    let mut program = as_user(public_program());
    program.args(["--mirror", &mirror(), "--thin", "--fabric", kind, "--recipe"]).arg(recipe);
    succeed(program.arg("--output").arg(&nodes.directory));
    let said = nodes.start(&["start"], &[1, 2]);
    assert_shared(&nodes);
    (nodes, said)
}

/// The processors' own atomic operations, on one memory, and so many that they meet.
fn assert_atomic(nodes: &Nodes) {
    let each: u64 = 50_000_000;
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 10;
    let command = format!("while [ $(date +%s) -lt {begin} ]; do sleep 0.1; done; ./hello_fabric --count {each}");
    let mut counting = [1, 2].map(|node| on(nodes, node, &command).spawn().unwrap());
    assert!(counting.iter_mut().all(|one| one.wait().unwrap().success()));
    let read = run(nodes, 2, "./hello_fabric --read");
    assert!(read.contains(&format!("counter: {}", 2 * each)), "{read}");
}

fn nvdimm() {
    assert_atomic(&sharing("nvdimm", 28000, None).0);
}

/// QEMU of the backports of trixie, in a root of its own: a program `qemu` in it, which runs it.
fn newer_qemu() -> TempDir {
    let root = root_of(
        r#"
        suite = "trixie"
        variant = "apt"
        include = ["qemu-system-x86"]
        kernel.package = "hostname"
        nodes.count = 1
        [[archive]]
        suites = ["trixie-backports"]
        [[pin]]
        packages = ["qemu-*", "seabios"]
        pin = "release n=trixie-backports"
        priority = 500
    "#,
    );
    // By its own loader, libraries, modules and firmware.
    let wrapper = r#"#!/bin/sh
root=${0%/*}/usr
export QEMU_MODULE_DIR=$root/lib/x86_64-linux-gnu/qemu
exec "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu" "$root/bin/qemu-system-x86_64" \
    -L "$root/share/seabios" -L "$root/share/qemu" "$@"
"#;
    support::write_executable(&root.path().join("qemu"), wrapper);
    root
}

fn cxl_memory_that_is_mapped() {
    let root = newer_qemu();
    let (nodes, said) = sharing("cxl", 30000, Some(root.path().join("qemu")));
    assert!(said.contains("CXL memory: maps its memory, which is as fast as other memory"), "{said}");
    for node in [1, 2] {
        let map = nodes.ask_monitor(node, &["info mtree -f"]).unwrap().concat();
        assert!(map.contains("ram): fabric"), "the region is no memory of the node: {map}");
    }
    assert_atomic(&nodes);
}

fn cxl() {
    let (nodes, _) = sharing("cxl", 29000, None);
    let listed = run(&nodes, 1, "cxl list --regions");
    assert!(listed.contains(r#""type":"ram""#) && listed.contains(r#""decode_state":"commit""#), "{listed}");
    // The memory is the fabric's and not the node's own.
    assert_eq!(run(&nodes, 1, "lsmod | grep -w kmem || echo none").trim(), "none");
    // One after another: QEMU makes two accesses of an atomic operation on emulated memory.
    for node in [1, 2] {
        run(&nodes, node, "./hello_fabric --count 10000");
    }
    assert!(run(&nodes, 2, "./hello_fabric --read").contains("counter: 20000"));
}
