//! The cluster on libvirt's bridge: four domains of libvirtd are what four processes of the launch
//! script are; then two of them give way to processes of a normal user, and all reach each other by
//! the leases of one network. It runs in namespaces, so that the host keeps its own libvirt,
//! network and settings. Needs root.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::cluster::{Ssh, assert_memory_is_shared, assert_up_and_connected};
use support::room::{OWN_LIBVIRT, OWN_NETWORK_AND_MEMORY, Room};
use support::system::default_system;
use support::{directory_of, succeed, user};

support::tests! {
    needs [support::harness::ROOT, "dnsmasq", "libvirtd", "qemu-system-x86_64", "ssh", "virsh"];
    domains_and_processes_share_the_bridge,
}

/// A place with a copy of the default build, where other users get through.
fn images(of: &[u32]) -> tempfile::TempDir {
    let directory = directory_of(user());
    fs_err::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let disks = of.iter().map(|number| format!("fabric{number}.qcow2"));
    let descriptions = (1..=4).map(|number| format!("fabric{number}.xml"));
    let rest = ["_network.xml", "_emulation.bash", "_ssh_key", "_ssh_config", "_known_hosts"];
    let names = disks.chain(descriptions).chain(rest.map(|name| format!("fabric{name}")));
    default_system().copy(names, directory.path());
    directory
}

fn domains_and_processes_share_the_bridge() {
    let begin = Instant::now();
    let step = |what: &str| println!("{:5.1} s: {what}", begin.elapsed().as_secs_f64());
    let (domains, processes) = (images(&[1, 2, 3, 4]), images(&[3, 4]));
    let room = Room::open(&[OWN_NETWORK_AND_MEMORY, OWN_LIBVIRT]);
    let as_root = |arguments: &[&str]| {
        let mut command = room.command("/usr/bin/env");
        command
            .args(["ACCEL=tcg", "STOP_TIMEOUT=120"])
            .arg(domains.path().join("fabric_emulation.bash"))
            .args(arguments);
        command
    };
    let as_user = |arguments: &[&str]| {
        let mut command = room.command("setpriv");
        let id = |flag: &str| succeed(Command::new("id").args([flag, user()])).trim().to_owned();
        command.args([
            "--reuid",
            &id("-u"),
            "--regid",
            &id("-g"),
            "--init-groups",
            "--reset-env",
            "--",
            "/usr/bin/env",
        ]);
        command.args(["ACCEL=tcg", "NET=bridge", "STOP_TIMEOUT=120", "SHM=/dev/shm/of_the_user"]);
        command.arg(processes.path().join("fabric_emulation.bash")).args(arguments);
        command
    };

    let said = support::fail(&mut as_user(&["start", "3"])).1;
    assert!(said.contains("the bridge fabric_em is not up\nhint: ") && said.contains("network up"), "{said}");
    succeed(&mut as_root(&["network", "up"]));
    assert!(succeed(room.command("ip").args(["address", "show", "fabric_em"])).contains("192.168.42.254/24"));

    // Each obstacle is named with the command that removes it, and those commands are all that is
    // needed.
    for _ in 0..3 {
        let said = support::fail(&mut as_user(&["start", "3"])).1;
        let hint = said.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap_or_else(|| panic!("{said}"));
        println!("{}", said.trim());
        // There is no sudo here; root needs none.
        succeed(room.command("bash").args(["-ec", &hint.replace("sudo ", "")]));
    }

    succeed(&mut as_root(&["libvirt", "define"]));
    assert_eq!(room.virsh(&["list", "--all", "--name"]).split_whitespace().count(), 4);
    succeed(&mut as_root(&["libvirt", "start"]));
    step("libvirt runs four nodes");
    let of_domain = |number: u32, command: &str| ssh(&room, domains.path(), number, command);
    assert_up_and_connected(&of_domain);
    step("all nodes are up, no unit failed, and every node reaches every other by name");
    assert_leases(&of_domain);
    assert_memory_is_shared(&of_domain, &room.path("/dev/shm/fabric_em"));
    step("the memory is shared");

    succeed(&mut as_root(&["libvirt", "shutdown", "3", "4"]));
    let said = succeed(&mut as_user(&["start", "3", "4"]));
    assert!(said.contains("network: bridge fabric_em of libvirt's network"), "{said}");
    let mixed = |number: u32, command: &str| {
        ssh(&room, if number <= 2 { domains.path() } else { processes.path() }, number, command)
    };
    assert_up_and_connected(&mixed);
    assert_leases(&mixed);
    step("two nodes are domains, two are processes of a user, and all reach each other");

    succeed(&mut as_user(&["stop"]));
    succeed(&mut as_root(&["libvirt", "shutdown"]));
    assert_eq!(room.virsh(&["list", "--name"]).trim(), "");
    succeed(&mut as_root(&["libvirt", "undefine"]));
    succeed(&mut as_root(&["network", "down"]));
    assert_eq!(room.virsh(&["list", "--all", "--name"]).trim(), "");
    assert!(!room.virsh(&["net-list", "--all", "--name"]).contains("fabric_emul"));
    step("all is gone");
}

/// Asserts that each node has its address, and the shared memory where it belongs.
fn assert_leases(ssh: Ssh<'_>) {
    for number in 1..=4 {
        let said = ssh(
            number,
            "ip -4 -brief address show eth0; test /mnt/fabric_emulation -ef /sys/bus/pci/devices/0000:00:04.0/resource2",
        );
        assert!(said.contains(&format!("192.168.42.{number}/24")), "{said}");
    }
}

/// A command on a node, whose images are in `directory`, as soon as it answers.
fn ssh(room: &Room, directory: &Path, number: u32, command: &str) -> String {
    let begin = Instant::now();
    loop {
        let mut ssh = room.command("ssh");
        ssh.arg("-F").arg(directory.join("fabric_ssh_config")).args([
            "-o",
            "ConnectTimeout=20",
            &format!("fabric{number}"),
            command,
        ]);
        let output = ssh.output().unwrap();
        // ssh's own failures have this status.
        if output.status.code() != Some(255) {
            assert!(output.status.success(), "fabric{number}: {command}: {output:?}");
            return String::from_utf8(output.stdout).unwrap().trim().to_owned();
        }
        assert!(begin.elapsed() < Duration::from_secs(600), "fabric{number} does not answer: {output:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
}
