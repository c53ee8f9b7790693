//! The manifest of a machine of KubeVirt whose disks are in OCI images, one in each
//! (<https://kubevirt.io/user-guide/storage/disks_and_volumes/#containerdisk>).

use std::fmt::{self, Write};
use std::str::FromStr;

use super::disk::Role;
use super::facts::{Facts, Machine};
use super::oci;
use crate::recipe::SectorSize;

/// Where OCI images are pushed: a registry, and the path in it. The name of the node follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry(String);

impl Default for Registry {
    /// A name that no registry has (RFC 2606).
    fn default() -> Self {
        Self("registry.example".to_owned())
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is no registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a registry was expected, with a path if there is one, as in registry.example:5000/fabric")]
pub struct InvalidRegistry;

impl FromStr for Registry {
    type Err = InvalidRegistry;

    fn from_str(text: &str) -> Result<Self, InvalidRegistry> {
        let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
        let is_part = |text: &str, also: &str| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c);
            text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits)
        };
        let host_fits = is_part(&host.to_ascii_lowercase(), ".-:");
        let path_fits = path.is_none_or(|path| path.split('/').all(|part| is_part(part, "._-")));
        if host_fits && path_fits { Ok(Self(text.to_owned())) } else { Err(InvalidRegistry) }
    }
}

/// The part of a manifest that starts a machine by UEFI, with a GRUB that is not signed.
const UEFI: &str = "        firmware:
          bootloader:
            efi:
              secureBoot: false
";

/// The part of a disk that has other sectors than usual.
fn sectors(size: SectorSize) -> String {
    if size == SectorSize::default() {
        return String::new();
    }
    format!(
        "              blockSize:\n                custom:\n                  logical: {size}\n                  physical: {size}\n"
    )
}

/// The tag of the image with a disk. All of a node have one name, and labels may have letters that only
/// a tag may have, too.
fn tag(role: &Role) -> String {
    match role {
        Role::Boot => "latest".to_owned(),
        Role::Further(label) => format!("disk-{label}"),
        Role::Seed => "seed".to_owned(),
    }
}

/// The manifest of `machine`, which has these disks, each with what the name of its archive begins with.
pub(super) fn manifest(
    facts: &Facts,
    machine: &Machine,
    machine_disks: &[(&str, &Role)],
    registry: &Registry,
) -> String {
    let name = &machine.name;
    let (mut pushes, mut disks, mut volumes) = (String::new(), String::new(), String::new());
    for (&(stem, role), number) in machine_disks.iter().zip(1..) {
        let image = format!("{registry}/{name}:{}", tag(role));
        // Volumes have names of the DNS, which labels need not be.
        let volume = match role {
            Role::Boot => "disk".to_owned(),
            Role::Further(_) => format!("disk{number}"),
            Role::Seed => "seed".to_owned(),
        };
        let _ = writeln!(pushes, "#   skopeo copy oci-archive:{} docker://{image}", oci::archive_name(stem));
        let _ = writeln!(disks, "            - name: {volume}\n              disk:\n                bus: virtio");
        if let Role::Further(label) = role {
            let _ = writeln!(disks, "              serial: \"{label}\"");
        }
        disks.push_str(&sectors(role.sector_size(facts.sector_size)));
        let _ = writeln!(volumes, "        - name: {volume}\n          containerDisk:\n            image: \"{image}\"");
    }
    let (whole, its) = if machine_disks.len() == 1 { ("the disk", "its disk") } else { ("the disks", "its disks") };
    format!(
        "# Written by fam-build export. Push {whole} first:
{pushes}# What the machine writes to {its} is gone when it stops. It has no memory in common with others.
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: {name}
spec:
  runStrategy: Always
  template:
    metadata:
      labels:
        kubevirt.io/vm: {name}
    spec:
      domain:
        cpu:
          cores: {cpus}
        memory:
          guest: {memory}Mi
        devices:
          disks:
{disks}          interfaces:
            - name: default
              model: virtio
              masquerade: {{}}
          rng: {{}}
{firmware}      networks:
        - name: default
          pod: {{}}
      volumes:
{volumes}",
        cpus = facts.cpus,
        memory = facts.memory_mib,
        firmware = if facts.sector_size.boots_by_bios() { "" } else { UEFI },
    )
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::example;
    use super::*;

    #[test]
    fn a_machine_runs_from_its_image() {
        let registry = "registry.example:5000/fabric".parse().unwrap();
        let further = |label: &str| Role::Further(label.parse().unwrap());
        let disks = [
            ("fabric2", &Role::Boot),
            ("fabric2-data", &further("data")),
            ("fabric2-Log.1", &further("Log.1")),
            ("fabric2-seed", &Role::Seed),
        ];
        for (name, sectors, disks) in
            [("kubevirt", 512, &disks[..1]), ("kubevirt_disks", 512, &disks), ("kubevirt_sectors", 4096, &disks)]
        {
            let facts = example(&format!("nodes.count = 2\nnodes.memory = '2G'\ndisk.sector-size = {sectors}"));
            let machine = &facts.machines(&[2]).unwrap()[0];
            insta::assert_snapshot!(name, manifest(&facts, machine, disks, &registry));
        }
    }

    #[test]
    fn registries() {
        for good in ["registry.example", "localhost:5000", "REGISTRY.example/a/b-c_d.e", "10.0.0.1:5000/x"] {
            assert_eq!(good.parse::<Registry>().unwrap().to_string(), good);
        }
        for bad in ["", "/x", "a/", "a//b", "a/B", "https://a/b", "a b", "a\"", "a/b\nc", "a/../b", "-a", "a/b:latest"]
        {
            assert!(bad.parse::<Registry>().is_err(), "{bad}");
        }
    }
}
