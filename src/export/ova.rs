//! Machines as one file for VMware and VirtualBox: an archive of a description (OVF 1.1, DMTF
//! DSP0243), the digests of all files, and stream-optimized disks.
//!
//! The disks are on IDE controllers (PIIX4), the one kind that both hypervisors have under the same name
//! and that every kernel of Debian drives from the nodes' initramfs. An AHCI controller is
//! `vmware.sata.ahci` to the one and `AHCI` to the other, and VirtualBox has refused descriptions with
//! VMware's name. There is room for four disks on IDE; further ones are on LSI's SAS, which Debian's kernel
//! for clouds does not drive.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use fam_tree::tar::TarWriter;
use sha2::{Digest, Sha256};

use super::facts::{Facts, Machine};
use super::member::{Attributes, add_text, file};

/// Controllers of IDE that a machine can have, and disks that one takes.
const IDE_CONTROLLERS: usize = 2;
const IDE_DISKS: usize = 2;
/// The place on a SCSI bus that is the controller's own.
const SCSI_CONTROLLER_PLACE: usize = 7;

/// A disk in the archive.
#[derive(Debug)]
pub(super) struct Vmdk<R> {
    /// The name of its file in the archive.
    pub(super) name: String,
    /// What tells it from others of the machine; nothing of the one that it boots from.
    pub(super) label: Option<String>,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// The size of the disk that a guest sees.
    pub(super) disk_bytes: u64,
    /// Its file, read from where it is.
    pub(super) file: R,
}

/// The name in the archive of the disk of `machine` with this number, counted from 1.
pub(super) fn disk_name(machine: &Machine, number: usize) -> String {
    format!("{}-disk{number}.vmdk", machine.name)
}

/// Writes the archive: the description comes first, as the standard wants it.
pub(super) fn write<R: Read>(
    output: impl Write,
    facts: &Facts,
    machine: &Machine,
    disks: &mut [Vmdk<R>],
    time: i64,
) -> io::Result<()> {
    let description = description(facts, machine, disks);
    let name = format!("{}.ovf", machine.name);
    let mut digests = format!("SHA256({name})= {}\n", hex::encode(Sha256::digest(&description)));
    for Vmdk { name, sha256, .. } in &*disks {
        digests += &format!("SHA256({name})= {sha256}\n");
    }
    let mut tar = TarWriter::new(output);
    add_text(&mut tar, &name, description.as_bytes(), time)?;
    add_text(&mut tar, &format!("{}.mf", machine.name), digests.as_bytes(), time)?;
    for disk in disks {
        tar.header(&file(&disk.name, disk.bytes, Attributes::PLAIN, time))?;
        tar.contents(&mut disk.file, disk.bytes)?;
    }
    tar.finish().map(drop)
}

/// Items of the hardware, each with the next number.
struct Items {
    text: String,
    next_id: usize,
}

impl Items {
    /// Adds an item with these elements, in the order of the alphabet, as the schema wants them; returns
    /// its number, which is the element `InstanceID`.
    fn add(&mut self, elements: &[(&str, &str)]) -> usize {
        let id = self.next_id;
        self.next_id += 1;
        let id_text = id.to_string();
        let at = elements.partition_point(|(name, _)| *name < "InstanceID");
        let (before, after) = elements.split_at(at);
        self.text += "      <Item>\n";
        for (name, value) in before.iter().chain(&[("InstanceID", id_text.as_str())]).chain(after) {
            self.text += &format!("        <rasd:{name}>{value}</rasd:{name}>\n");
        }
        self.text += "      </Item>\n";
        id
    }
}

/// The processors, the memory, the controllers with their disks, and the network adapter.
fn items<R>(facts: &Facts, disks: &[Vmdk<R>]) -> String {
    let mut items = Items { text: String::new(), next_id: 1 };
    let (cpus, memory) = (facts.cpus.to_string(), facts.memory_mib.to_string());
    items.add(&[
        ("Description", "Processors"),
        ("ElementName", &format!("{cpus} processors")),
        ("ResourceType", "3"),
        ("VirtualQuantity", &cpus),
    ]);
    items.add(&[
        ("AllocationUnits", "byte * 2^20"),
        ("Description", "Memory"),
        ("ElementName", &format!("{memory} MiB of memory")),
        ("ResourceType", "4"),
        ("VirtualQuantity", &memory),
    ]);
    // The controller and the place on it of each disk, in their order.
    let mut places = Vec::new();
    for controller in 0..disks.len().div_ceil(IDE_DISKS).min(IDE_CONTROLLERS) {
        let id = items.add(&[
            ("Address", &controller.to_string()),
            ("Description", "IDE controller"),
            ("ElementName", &format!("IDE {controller}")),
            ("ResourceSubType", "PIIX4"),
            ("ResourceType", "5"),
        ]);
        places.extend((0..IDE_DISKS).map(|place| (id, place)));
    }
    if disks.len() > places.len() {
        let id = items.add(&[
            ("Address", "0"),
            ("Description", "SCSI controller"),
            ("ElementName", "SCSI 0"),
            ("ResourceSubType", "lsilogicsas"),
            ("ResourceType", "6"),
        ]);
        let free = (0..).filter(|&place| place != SCSI_CONTROLLER_PLACE);
        places.extend(free.take(disks.len() - places.len()).map(|place| (id, place)));
    }
    for ((disk, number), (controller, place)) in disks.iter().zip(1..).zip(places) {
        let label = disk.label.as_ref().map(|label| format!(": {label}")).unwrap_or_default();
        items.add(&[
            ("AddressOnParent", &place.to_string()),
            ("Description", "Disk"),
            ("ElementName", &format!("Disk {number}{label}")),
            ("HostResource", &format!("ovf:/disk/vmdisk{number}")),
            ("Parent", &controller.to_string()),
            ("ResourceType", "17"),
        ]);
    }
    items.add(&[
        ("AutomaticAllocation", "true"),
        ("Connection", "NAT"),
        ("Description", "Network adapter"),
        ("ElementName", "Network adapter 1"),
        ("ResourceSubType", "E1000"),
        ("ResourceType", "10"),
    ]);
    items.text
}

/// The description. None of the words needs escapes in XML: the facts hold letters, digits, and a few
/// harmless signs.
fn description<R>(facts: &Facts, machine: &Machine, disks: &[Vmdk<R>]) -> String {
    /// Debian on 64 bits (`CIM_OperatingSystem`, `OsType`).
    const DEBIAN: u32 = 96;
    /// The hardware of ESXi 5.5 and Workstation 10, which all later ones run.
    const HARDWARE: &str = "vmx-10";
    const STREAM_OPTIMIZED: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";
    let (mut files, mut sections) = (String::new(), String::new());
    for (Vmdk { name, bytes, disk_bytes, .. }, number) in disks.iter().zip(1..) {
        let _ = writeln!(files, r#"    <File ovf:href="{name}" ovf:id="file{number}" ovf:size="{bytes}"/>"#);
        let _ = writeln!(
            sections,
            r#"    <Disk ovf:capacity="{disk_bytes}" ovf:diskId="vmdisk{number}" ovf:fileRef="file{number}" ovf:format="{STREAM_OPTIMIZED}"/>"#
        );
    }
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
{files}  </References>
  <DiskSection>
    <Info>{disks_info}</Info>
{sections}  </DiskSection>
  <NetworkSection>
    <Info>The network</Info>
    <Network ovf:name="NAT">
      <Description>A network with DHCP</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A node, built by fam-build</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="{DEBIAN}">
      <Info>The operating system</Info>
      <Description>Debian_64</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>The hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{HARDWARE}</vssd:VirtualSystemType>
      </System>
{items}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#,
        name = machine.name,
        disks_info = if disks.len() == 1 { "The disk" } else { "The disks" },
        items = items(facts, disks),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::facts::tests::example;
    use super::*;

    fn described(facts: &Facts, machine: &Machine, labels: &[Option<&str>]) -> String {
        let vmdk = |(label, number): (&Option<&str>, usize)| Vmdk {
            name: disk_name(machine, number),
            label: label.map(str::to_owned),
            bytes: 123_456,
            sha256: "5e".repeat(32),
            disk_bytes: 8 << 30,
            file: io::empty(),
        };
        description(facts, machine, &labels.iter().zip(1..).map(vmdk).collect::<Vec<_>>())
    }

    #[test]
    fn the_description_names_the_machine_and_its_disks() {
        let facts = example("nodes.count = 2\nnodes.memory = '2G'");
        let machine = &facts.machines(&[2]).unwrap()[0];
        insta::assert_snapshot!("ovf", described(&facts, machine, &[None]));
        insta::assert_snapshot!("ovf_disks", described(&facts, machine, &[None, Some("data"), Some("seed")]));
    }

    #[test]
    fn each_disk_has_a_place_of_its_own() {
        let facts = example("nodes.count = 1");
        let machine = &facts.machines(&[]).unwrap()[0];
        for (count, controllers) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (12, 3)] {
            let labels: Vec<_> = (0..count).map(|number| (number > 0).then_some("x")).collect();
            let text = described(&facts, machine, &labels);
            let values = |name: &str| -> Vec<String> {
                let (begin, end) = (format!("<rasd:{name}>"), format!("</rasd:{name}>"));
                text.lines()
                    .filter_map(|line| Some(line.trim().strip_prefix(&begin)?.strip_suffix(&end)?.to_owned()))
                    .collect()
            };
            assert_eq!(values("Address").len(), controllers, "{count}");
            let places: BTreeSet<_> = values("Parent").into_iter().zip(values("AddressOnParent")).collect();
            assert_eq!(places.len(), count);
            let ids = values("InstanceID");
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
            assert!(values("Parent").iter().all(|parent| ids.contains(parent)));
            assert!(!values("AddressOnParent").contains(&"7".to_owned()));
        }
    }
}
