//! Machines as one file for VMware and VirtualBox: an archive of a description (OVF 1.1, DMTF
//! DSP0243), the digests of all files, and a stream-optimized disk.
//!
//! The disk is on an IDE controller (PIIX4), the one that both hypervisors have under the same name
//! and that the nodes' initramfs drives. An AHCI controller is `vmware.sata.ahci` to the one and `AHCI` to
//! the other, and VirtualBox has refused descriptions with VMware's name; the driver of LSI's SCSI is not
//! in the initramfs.

use std::io::{self, Read, Write};

use fam_tree::tar::TarWriter;
use sha2::{Digest, Sha256};

use super::facts::{Facts, Machine};
use super::member::{Attributes, add_text, file};

/// A disk in the archive.
#[derive(Debug)]
pub(super) struct Vmdk {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// The size of the disk that a guest sees.
    pub(super) disk_bytes: u64,
}

/// The name of the disk of `machine` in the archive.
pub(super) fn disk_name(machine: &Machine) -> String {
    format!("{}-disk1.vmdk", machine.name)
}

/// Writes the archive: the description comes first, as the standard wants it.
pub(super) fn write(
    output: impl Write,
    facts: &Facts,
    machine: &Machine,
    vmdk: &Vmdk,
    disk: &mut impl Read,
    time: i64,
) -> io::Result<()> {
    let description = description(facts, machine, vmdk);
    let (name, disk_name) = (format!("{}.ovf", machine.name), disk_name(machine));
    let description_sha256 = hex::encode(Sha256::digest(&description));
    let digests = format!("SHA256({name})= {description_sha256}\nSHA256({disk_name})= {}\n", vmdk.sha256);
    let mut tar = TarWriter::new(output);
    add_text(&mut tar, &name, description.as_bytes(), time)?;
    add_text(&mut tar, &format!("{}.mf", machine.name), digests.as_bytes(), time)?;
    tar.header(&file(&disk_name, vmdk.bytes, Attributes::PLAIN, time))?;
    tar.contents(disk, vmdk.bytes)?;
    tar.finish().map(drop)
}

/// The description. In each item the elements are in the order of the alphabet, as the schema wants
/// them. None of the words needs escapes in XML: the facts hold letters, digits and hyphens.
fn description(facts: &Facts, machine: &Machine, vmdk: &Vmdk) -> String {
    /// Debian on 64 bits (`CIM_OperatingSystem`, `OsType`).
    const DEBIAN: u32 = 96;
    /// The hardware of ESXi 5.5 and Workstation 10, which all later ones run.
    const HARDWARE: &str = "vmx-10";
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="{disk_name}" ovf:id="file1" ovf:size="{vmdk_bytes}"/>
  </References>
  <DiskSection>
    <Info>The disk</Info>
    <Disk ovf:capacity="{disk_bytes}" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
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
      <Item>
        <rasd:Description>Processors</rasd:Description>
        <rasd:ElementName>{cpus} processors</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>{cpus}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:Description>Memory</rasd:Description>
        <rasd:ElementName>{memory} MiB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>{memory}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:Description>IDE controller</rasd:Description>
        <rasd:ElementName>IDE 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>PIIX4</rasd:ResourceSubType>
        <rasd:ResourceType>5</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:Description>Disk</rasd:Description>
        <rasd:ElementName>Disk 1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>NAT</rasd:Connection>
        <rasd:Description>Network adapter</rasd:Description>
        <rasd:ElementName>Network adapter 1</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>E1000</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#,
        disk_name = disk_name(machine),
        name = machine.name,
        vmdk_bytes = vmdk.bytes,
        disk_bytes = vmdk.disk_bytes,
        cpus = facts.cpus,
        memory = facts.memory_mib,
    )
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::example;
    use super::*;

    #[test]
    fn the_description_names_the_machine_and_its_disk() {
        let facts = example("nodes.count = 2\nnodes.memory = '2G'");
        let machine = &facts.machines(&[2]).unwrap()[0];
        let vmdk = Vmdk { bytes: 123_456, sha256: "5e".repeat(32), disk_bytes: 8 << 30 };
        insta::assert_snapshot!("ovf", description(&facts, machine, &vmdk));
    }
}
