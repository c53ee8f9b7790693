//! The cluster as libvirt describes it: one network, one domain a node
//! (<https://libvirt.org/formatnetwork.html>, <https://libvirt.org/formatdomain.html>).

use std::fmt::Write;
use std::path::Path;

use uuid::Uuid;

use super::cluster::{Cluster, Node};
use super::machine::{Machine, image_of_disk, slot};
use super::names::{ClusterId, Names};
use super::network::NetworkPlan;
use super::seed::Seed;
use crate::recipe::FabricKind;

/// The UUID of a cluster's network, by which it is known whatever it is called.
pub(super) fn network_uuid(seed: &Seed) -> Uuid {
    seed.uuid("network")
}

/// The UUID of a node's domain.
pub(super) fn domain_uuid(node: &Node, seed: &Seed) -> Uuid {
    seed.uuid(&format!("domain {}", node.name()))
}

/// What runs the domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// The host's processors, through KVM.
    Kvm,
    /// QEMU's own translation of instructions, where there is no KVM.
    Qemu,
}

/// The libvirt network of the cluster: behind NAT, with a name and a fixed lease for each node. It has
/// the well-known names; the launch script puts others in their place where another cluster has them.
#[must_use]
pub fn network_xml(cluster: &Cluster, seed: &Seed) -> String {
    let network = &cluster.network;
    let names_on_host = Names::first();
    let (mut names, mut leases) = (String::new(), String::new());
    for node in &cluster.nodes {
        let (address, name, mac) = (node.address(), node.name(), node.mac());
        let _ = writeln!(names, "    <host ip='{address}'><hostname>{name}</hostname></host>");
        let _ = writeln!(leases, "      <host mac='{mac}' name='{name}' ip='{address}'/>");
    }
    let [first, last] = network.dhcp_range();
    // IPv6 is the nodes' own matter: the host has no address of it, and forwards and announces none.
    // Without spanning tree and delay, since a bridge else holds back for seconds what comes over a
    // new port.
    format!(
        "<network ipv6='yes'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <forward mode='nat'/>
  <bridge name='{bridge}' stp='off' delay='0'/>
  <mac address='{host_mac}'/>
  <dns>
    <host ip='{host}'><hostname>vmhost</hostname></host>
{names}  </dns>
  <ip address='{host}' netmask='{netmask}'>
    <dhcp>
      <range start='{first}' end='{last}'/>
{leases}    </dhcp>
  </ip>
</network>
",
        name = names_on_host.network,
        uuid = network_uuid(seed),
        bridge = names_on_host.bridge,
        host_mac = NetworkPlan::host_mac(ClusterId::of(seed)),
        host = network.host_address(),
        netmask = network.subnet.netmask(),
    )
}

/// The libvirt domain of `node`, whose image lies in `directory`, an absolute path, as libvirt
/// needs it. It has the well-known names, as the network.
///
/// Every device has its slot written down, so that the shared memory of a machine with ivshmem is
/// at 00:04.0 whatever else libvirt or its user adds.
#[must_use]
pub fn domain_xml(cluster: &Cluster, node: &Node, seed: &Seed, directory: &Path, hypervisor: Hypervisor) -> String {
    let name = node.name();
    let (kind, cpu) = match hypervisor {
        // As in the launch script: programs may fail on CXL memory in KVM.
        Hypervisor::Kvm if cluster.machine.fabric != FabricKind::Cxl => ("kvm", "host-model"),
        Hypervisor::Kvm | Hypervisor::Qemu => ("qemu", "maximum"),
    };
    let machine = &cluster.machine;
    // libvirt finds the firmware. That of Secure Boot needs another mainboard, and signed boot loaders.
    let (firmware, firmware_features) = if machine.needs_uefi() {
        let without = "    <firmware>\n      <feature enabled='no' name='secure-boot'/>\n    </firmware>\n";
        (" firmware='efi'", without)
    } else {
        ("", "")
    };
    let Shared { namespace, most_memory, cpu: cpu_more, device: shmem, arguments } = Shared::new(machine);
    format!(
        // The screens are for this host alone, since VNC has no password here.
        "<domain type='{kind}'{namespace}>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
{most_memory}  <memory unit='MiB'>{memory}</memory>
  {vcpu}
  <os{firmware}>
    <type arch='x86_64' machine='{board}'>hvm</type>
{firmware_features}    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='{cpu}'{cpu_more}
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='{image}'/>
{sectors}      <target dev='vda' bus='virtio'/>
{disk}    </disk>
{disks}    <interface type='network'>
      <mac address='{mac}'/>
      <source network='{network}'/>
      <model type='virtio'/>
{nic}    </interface>
{shmem}    <serial type='pty'>
      <target port='0'/>
    </serial>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <graphics type='vnc' autoport='yes' listen='127.0.0.1'/>
    <video>
      <model type='vga'/>
{video}    </video>
    <memballoon model='none'/>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
{rng}    </rng>
  </devices>
{arguments}</domain>
",
        uuid = domain_uuid(node, seed),
        memory = machine.memory_mib(),
        vcpu = vcpu(machine),
        board = machine.board(),
        network = Names::first().network,
        image = escaped(&directory.join(node.image()).display().to_string()),
        mac = node.mac(),
        video = at_slot(slot::VGA),
        nic = at_slot(slot::NETWORK),
        sectors = sectors(machine),
        disk = at_slot(slot::DISK),
        disks = further_disks(machine, node, directory),
        rng = at_slot(slot::RANDOM),
    )
}

/// The disks beside the one that a domain boots from.
fn further_disks(machine: &Machine, node: &Node, directory: &Path) -> String {
    let mut elements = String::new();
    for ((label, slot), letter) in machine.further_disks().zip('b'..) {
        let image = escaped(&directory.join(image_of_disk(node.name(), label)).display().to_string());
        let _ = write!(
            elements,
            "    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='{image}'/>
{sectors}      <target dev='vd{letter}' bus='virtio'/>
      <serial>{label}</serial>
{address}    </disk>
",
            sectors = sectors(machine),
            address = at_slot(slot)
        );
    }
    elements
}

/// The element of a disk for the size of its sectors, where that is not the usual one.
fn sectors(machine: &Machine) -> String {
    let element = |bytes| format!("      <blockio logical_block_size='{bytes}' physical_block_size='{bytes}'/>\n");
    machine.own_sector_bytes().map(element).unwrap_or_default()
}

fn vcpu(machine: &Machine) -> String {
    let (cpus, most) = (machine.cpus.get(), machine.most_cpus());
    if most == cpus { format!("<vcpu>{cpus}</vcpu>") } else { format!("<vcpu current='{cpus}'>{most}</vcpu>") }
}

/// The parts of a domain that depend on the kind of fabric.
struct Shared {
    /// The attribute of the domain that declares elements for QEMU's own arguments.
    namespace: &'static str,
    /// The element before the memory, where some can be plugged.
    most_memory: String,
    /// The rest of the element of the processors.
    cpu: String,
    device: String,
    /// QEMU's own arguments, where libvirt has no element.
    arguments: String,
}

impl Shared {
    fn new(machine: &Machine) -> Self {
        let (memory, shared) = (machine.memory_mib(), machine.shared_mib());
        let names = Names::first();
        let file = names.shared_memory_file();
        let plain = Self {
            namespace: "",
            most_memory: String::new(),
            cpu: "/>".to_owned(),
            device: String::new(),
            arguments: String::new(),
        };
        match machine.fabric {
            FabricKind::Ivshmem => Self {
                device: format!(
                    "    <shmem name='{name}'>
      <model type='ivshmem-plain'/>
      <size unit='M'>{shared}</size>
{address}    </shmem>
",
                    name = names.shared_memory,
                    address = at_slot(slot::SHARED_MEMORY),
                ),
                ..plain
            },
            // libvirt plugs memory into a node of NUMA only.
            FabricKind::Nvdimm => Self {
                most_memory: machine
                    .most_memory_mib()
                    .map_or(String::new(), |most| format!("  <maxMemory slots='1' unit='MiB'>{most}</maxMemory>\n")),
                cpu: format!(
                    ">
    <numa>
      <cell id='0' cpus='0-{last}' memory='{memory}' unit='MiB'/>
    </numa>
  </cpu>",
                    last = machine.most_cpus() - 1
                ),
                device: format!(
                    "    <memory model='nvdimm' access='shared'>
      <source>
        <path>{file}</path>
      </source>
      <target>
        <size unit='MiB'>{shared}</size>
        <node>0</node>
      </target>
    </memory>
"
                ),
                ..plain
            },
            FabricKind::Cxl => Self {
                namespace: " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'",
                cpu: ">\n    <feature policy='disable' name='hypervisor'/>\n  </cpu>".to_owned(),
                arguments: qemu_arguments(
                    [("-machine", machine.cxl_window()), ("-object", machine.memory_backend(&file))]
                        .into_iter()
                        .chain(machine.cxl_devices().map(|device| ("-device", device))),
                ),
                ..plain
            },
        }
    }
}

fn qemu_arguments(arguments: impl Iterator<Item = (&'static str, String)>) -> String {
    let mut element = String::from("  <qemu:commandline>\n");
    for (option, value) in arguments {
        let _ = writeln!(element, "    <qemu:arg value='{option}'/>\n    <qemu:arg value='{value}'/>");
    }
    element + "  </qemu:commandline>\n"
}

fn at_slot(slot: u8) -> String {
    format!("      <address type='pci' domain='0x0000' bus='0x00' slot='0x{slot:02x}' function='0x0'/>\n")
}

/// The text inside an attribute that is quoted by apostrophes.
fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '\'' => result.push_str("&apos;"),
            _ => result.push(c),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::super::cluster::example;
    use super::*;

    fn seed() -> Seed {
        Seed::from_bytes([42; 32])
    }

    #[test]
    fn networks_of_1_4_and_40_nodes() {
        for count in [1, 4, 40] {
            insta::assert_snapshot!(format!("network_{count}"), network_xml(&example(count, ""), &seed()));
        }
    }

    #[test]
    fn domains() {
        for (number, hypervisor) in [(1, Hypervisor::Kvm), (4, Hypervisor::Kvm), (40, Hypervisor::Qemu)] {
            let cluster = example(number, "");
            let node = cluster.nodes.last().unwrap();
            let xml = domain_xml(&cluster, node, &seed(), Path::new("/tmp/it's <here> & there"), hypervisor);
            insta::assert_snapshot!(format!("domain_{number}"), xml);
        }
        for fabric in [FabricKind::Nvdimm, FabricKind::Cxl] {
            let cluster = example(1, &format!("fabric.kind = '{fabric}'"));
            let xml = domain_xml(&cluster, &cluster.nodes[0], &seed(), Path::new("/tmp"), Hypervisor::Kvm);
            insta::assert_snapshot!(format!("domain_{fabric}"), xml);
        }
        let disks = "disk.more = [{ size = '1G', label = 'data' }, { size = '1G', label = 'log' }]";
        let sectors = "disk.more = [{ size = '1G', label = 'data' }]\ndisk.sector-size = 4096";
        for (name, recipe) in [("disks", disks), ("sectors", sectors)] {
            let cluster = example(1, recipe);
            let xml = domain_xml(&cluster, &cluster.nodes[0], &seed(), Path::new("/tmp"), Hypervisor::Kvm);
            insta::assert_snapshot!(format!("domain_{name}"), xml);
        }
    }
}
