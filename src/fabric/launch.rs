//! The script that runs the nodes. Its first lines have the facts of this build; the rest, the
//! files in `script/`, is the same for all.

use std::fmt::Write;

use super::cluster::{Cluster, Node};
use super::libvirt::{domain_uuid, network_uuid};
use super::machine::{Machine, image_of_disk, slot};
use super::names::{ClusterId, Names, WELL_KNOWN_PART};
use super::network::NetworkPlan;
use super::seed::Seed;
use crate::recipe::FabricKind;

/// The name of the launch script, beside the images.
pub const LAUNCH_SCRIPT: &str = "fabric_emulation.bash";

/// Everything under the facts: functions, then `main.bash`, which calls them.
const BODY: [&str; 14] = [
    include_str!("script/lib.bash"),
    include_str!("script/names.bash"),
    include_str!("script/host.bash"),
    include_str!("script/uefi.bash"),
    include_str!("script/memory.bash"),
    include_str!("script/check.bash"),
    include_str!("script/choices.bash"),
    include_str!("script/additions.bash"),
    include_str!("script/virtiofs.bash"),
    include_str!("script/nodes.bash"),
    include_str!("script/ssh.bash"),
    include_str!("script/libvirt.bash"),
    include_str!("script/domains.bash"),
    include_str!("script/main.bash"),
];

/// The disk of a trial system, `kvm_probe.S` assembled: a boot sector that shows whether KVM works.
/// The signature of boot sectors follows it at byte 510.
const KVM_PROBE: &str = "fa31c08ed88ec0fcbf0010b9000c6631c066f3abc70600100320c70600200330c7060030830066b8001000000f22d866\
                         b8200000000f22e066b9800000c00f320d00010f30660f0116907c66b8110000800f22c0ea597c0800b80700000031\
                         c90fa20fbae308730aba05000000c4e269f7c8b02ae6f4f4ebfd0f1f800000000000000000000000000000000000\
                         9a20000f00807c0000";

/// The launch script, for bash 4 or later. It finds the images beside itself, so it holds no path.
#[must_use]
pub fn launch_script(cluster: &Cluster, seed: &Seed) -> String {
    facts(cluster, seed) + "\n" + &BODY.concat()
}

/// The first lines of the script: the facts of this build, and the functions that depend on them.
fn facts(cluster: &Cluster, seed: &Seed) -> String {
    let Cluster { prefix, nodes, machine, network, start_options, kernel_command_line } = cluster;
    let id = ClusterId::of(seed);
    let (option, second_interface) = interface(machine, "nodes", "$second_mac", slot::SECOND_NETWORK);
    // The words without quotes need none in bash: the recipe's types hold letters, digits and a few
    // harmless signs.
    format!(
        "#!/usr/bin/env bash
#
# Starts, stops and shows the virtual machines of a Fabric-Attached Memory Emulation. Written by fam-build; see `help`.

readonly nodes={count} prefix={prefix}
readonly memory_mib={memory} cpus={cpus} most_cpus={most_cpus} cpu_flags={cpu_flags}
readonly fabric={fabric} shm_device={shm_device} shm_mib={shm_mib}
readonly further_disks=({further_disks})
readonly sector_size={sector_size}
readonly subnet={subnet} user_network={user_network} node_addresses={node_addresses}
# The names of this cluster where it is the first of its host, and where another cluster has these.
{first}
{own}
readonly first_mac_part={first_mac_part} own_mac_part={own_mac_part} bridge_mac={bridge_mac}
readonly network_uuid={network_uuid}
# By the numbers of the nodes.
readonly addresses=({addresses})
readonly macs=({macs})
readonly second_macs=({second_macs})
readonly uuids=({uuids})
# What the recipe adds to each node, and what its kernel is told.
readonly recipe_options=({recipe_options})
readonly kernel_command_line={kernel_command_line}
readonly kvm_probe='{kvm_probe}'

# Adds to `arguments` the machine of a node, whose files are $image_path and $shm_path. Every device has its slot written
# down, so that the shared memory of ivshmem is at 00:04.0 whatever else there is.
add_machine() {{
    arguments+=(
{machine_arguments}    )
}}

# Adds a second network interface, on the network between the nodes.
add_second_interface() {{
    arguments+=({option} \"{second_interface}\")
}}
",
        count = nodes.len(),
        memory = machine.memory_mib(),
        cpus = machine.cpus,
        most_cpus = machine.most_cpus(),
        cpu_flags = if machine.hides_hypervisor() { ",hypervisor=off" } else { "" },
        fabric = machine.fabric,
        shm_device = machine.shared_memory_device(),
        shm_mib = machine.shared_mib(),
        further_disks = machine.disks.join(" "),
        sector_size = machine.sector_size,
        subnet = network.subnet,
        node_addresses = network.addresses,
        user_network = network.user_mode().map(|user_mode| user_mode.to_string()).unwrap_or_default(),
        first = names("first", &Names::first()),
        own = names("own", &Names::own(id)),
        first_mac_part = mac_part(WELL_KNOWN_PART),
        own_mac_part = mac_part(id.hardware_address_part()),
        bridge_mac = NetworkPlan::host_mac(id),
        network_uuid = network_uuid(seed),
        recipe_options = start_options.words().iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        kernel_command_line = quoted(kernel_command_line.as_str()),
        kvm_probe = escapes(KVM_PROBE),
        addresses = by_number(nodes, |node| node.address().to_string()),
        macs = by_number(nodes, |node| node.mac().to_string()),
        second_macs = by_number(nodes, |node| node.second_mac().to_string()),
        uuids = by_number(nodes, |node| domain_uuid(node, seed).to_string()),
        machine_arguments = machine_arguments(machine),
    )
}

/// Assignments of `names` to variables of bash that begin with `which`.
fn names(which: &str, names: &Names) -> String {
    format!(
        "readonly {which}_network={} {which}_bridge={} {which}_memory={} {which}_port={}",
        names.network,
        names.bridge,
        names.shared_memory_file(),
        names.port
    )
}

/// Two bytes as they stand in hardware addresses.
fn mac_part([third, fourth]: [u8; 2]) -> String {
    format!("{third:02x}:{fourth:02x}")
}

/// QEMU's arguments for the machine, a line each, as words of bash.
fn machine_arguments(machine: &Machine) -> String {
    let memory = match machine.most_memory_mib() {
        Some(most) => format!("{}M,slots=1,maxmem={most}M", machine.memory_mib()),
        None => format!("{}M", machine.memory_mib()),
    };
    let board = match machine.fabric {
        FabricKind::Ivshmem => machine.board().to_owned(),
        FabricKind::Nvdimm => format!("{},nvdimm=on", machine.board()),
        FabricKind::Cxl => format!("{},{}", machine.board(), machine.cxl_window()),
    };
    let mut arguments = vec![("-machine", board), ("-m", memory), ("-object", machine.memory_backend("$shm_path"))];
    let shared_memory = format!("{},memdev=fabric", machine.shared_memory_device());
    match machine.fabric {
        FabricKind::Ivshmem => arguments.push(device(machine, &shared_memory, slot::SHARED_MEMORY)),
        // Without a label area, of which each node would need its own: the whole module is one
        // namespace.
        FabricKind::Nvdimm => arguments.push(("-device", shared_memory + ",id=module")),
        FabricKind::Cxl => arguments.extend(machine.cxl_devices().map(|device| ("-device", device))),
    }
    let sectors = machine.own_sector_bytes();
    let sectors = sectors.map(|bytes| format!(",logical_block_size={bytes},physical_block_size={bytes}"));
    let sectors = sectors.unwrap_or_default();
    arguments.extend([
        device(machine, "VGA", slot::VGA),
        // With `discard`, blocks that the guest frees are freed in the image, too.
        ("-drive", "if=none,id=disk,format=qcow2,discard=unmap,file=$image_path".to_owned()),
        device(machine, &format!("virtio-blk-pci,drive=disk,bootindex=1{sectors}"), slot::DISK),
        ("-object", "rng-random,id=random,filename=/dev/urandom".to_owned()),
        device(machine, "virtio-rng-pci,rng=random", slot::RANDOM),
        interface(machine, "outside", "$mac", slot::NETWORK),
    ]);
    for (label, slot) in machine.further_disks() {
        let image = image_of_disk("${image_path%.qcow2}", label);
        arguments.push(("-drive", format!("if=none,id=disk-{label},format=qcow2,discard=unmap,file={image}")));
        let disk = format!("virtio-blk-pci,drive=disk-{label},serial={label}{sectors}");
        arguments.push(device(machine, &disk, slot));
    }
    arguments.iter().fold(String::new(), |mut text, (option, value)| {
        let _ = writeln!(text, "        {option} \"{value}\"");
        text
    })
}

/// An option of QEMU and its value, in which bash expands variables.
type Argument = (&'static str, String);

/// A device in a slot of the first bus.
fn device(machine: &Machine, device: &str, slot: u8) -> Argument {
    ("-device", format!("{device},bus={},addr={slot:02x}.0", machine.bus()))
}

/// A network interface on QEMU's network `netdev`. It boots from no network.
fn interface(machine: &Machine, netdev: &str, mac: &str, slot: u8) -> Argument {
    device(machine, &format!("virtio-net-pci,netdev={netdev},mac={mac},romfile="), slot)
}

/// The elements of an array of bash with the nodes' numbers as indexes.
fn by_number(nodes: &[Node], value: impl Fn(&Node) -> String) -> String {
    let elements: Vec<_> = nodes.iter().map(|node| format!("[{}]={}", node.number(), value(node))).collect();
    elements.join(" ")
}

/// The text as one word of bash, in which nothing is expanded.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Pairs of hexadecimal digits as `printf %b` of bash takes them.
fn escapes(hex: &str) -> String {
    let pairs = (0..hex.len()).step_by(2).map(|at| format!("\\x{}", &hex[at..at + 2]));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::super::cluster::example;
    use super::*;

    #[test]
    fn facts_differ_and_the_rest_is_the_same() {
        let disks = "disk.more = [{ size = '1G', label = 'data' }, { size = '1G', label = 'log' }]";
        let sectors = format!("{disks}\ndisk.sector-size = 4096");
        let cxl = "fabric.kind = 'cxl'\nnodes.cpus = 1\nnodes.start-options = ['--disk', \"it's.img\"]";
        let scripts = [
            (1, ""),
            (4, "fabric.kind = 'nvdimm'"),
            (2, cxl),
            (248, ""),
            (1, disks),
            (1, &sectors),
            (1, "nodes.addresses = 'static'"),
        ]
        .map(|(count, more)| launch_script(&example(count, more), &Seed::from_bytes([42; 32])));
        let heads = scripts.each_ref().map(|script| script.split_once("\n\nset -").unwrap().0);
        insta::assert_snapshot!("launch_heads", heads.join("\n---\n"));
        let bodies = scripts.each_ref().map(|script| script.split_once("\n\nset -").unwrap().1);
        assert!(bodies.iter().all(|body| *body == bodies[0]));
    }

    #[test]
    fn its_files_are_short() {
        for file in BODY {
            assert!(file.lines().count() < 200, "{}", file.lines().nth(1).unwrap());
        }
    }

    #[test]
    fn the_probe_is_what_its_source_says() {
        let directory = tempfile::tempdir().unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).current_dir(directory.path()).status().unwrap();
            assert!(status.success(), "{program}");
        };
        run("as", &["-o", "probe.o", concat!(env!("CARGO_MANIFEST_DIR"), "/src/fabric/kvm_probe.S")]);
        run("ld", &["-Ttext=0x7c00", "-o", "probe.elf", "probe.o"]);
        run("objcopy", &["-O", "binary", "-j", ".text", "probe.elf", "probe.bin"]);
        let code = fs_err::read(directory.path().join("probe.bin")).unwrap();
        assert!(code.len() <= 510);
        assert_eq!(hex::encode(&code), KVM_PROBE);
    }

    #[test]
    fn shellcheck_finds_nothing() {
        let mut shellcheck = Command::new("shellcheck")
            .args(["--shell=bash", "--severity=style", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        shellcheck
            .stdin
            .take()
            .unwrap()
            .write_all(launch_script(&example(4, ""), &Seed::from_bytes([42; 32])).as_bytes())
            .unwrap();
        let output = shellcheck.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
