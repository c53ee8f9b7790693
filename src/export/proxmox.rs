//! A script that makes machines of Proxmox VE of the nodes' images, which it takes as they are
//! (qm(1), `import-from`). Nodes with ivshmem get the shared memory by QEMU's own arguments.

use super::facts::{Facts, Machine};
use crate::fabric::ivshmem_address;
use crate::recipe::{FabricKind, SectorSize};

/// The name of the script.
pub(super) const SCRIPT: &str = "fabric_proxmox.bash";

/// Everything under the facts.
const BODY: &str = include_str!("proxmox.bash");

/// The script for these nodes, for root on a host of Proxmox VE.
pub(super) fn script(facts: &Facts, machines: &[Machine]) -> String {
    let numbers: Vec<_> = machines.iter().map(|machine| machine.number.to_string()).collect();
    let macs: Vec<_> = machines.iter().map(|machine| format!("[{}]={}", machine.number, machine.mac)).collect();
    let further_disks: Vec<_> = facts.further_disks.iter().map(ToString::to_string).collect();
    let address = ivshmem_address();
    let slot = address.rsplit(':').next().unwrap_or_default();
    // Proxmox has its devices on the first bus in fixed slots, and in this one a watchdog, where a
    // machine has one.
    let memory = match facts.fabric {
        FabricKind::Ivshmem => format!(
            "-object memory-backend-file,id=fabric,share=on,mem-path={},size={}M \
             -device ivshmem-plain,memdev=fabric,bus=pci.0,addr={slot}",
            facts.shared_file, facts.shared_mib
        ),
        // Their mainboards need more than arguments at the end of QEMU's command line.
        FabricKind::Nvdimm | FabricKind::Cxl => String::new(),
    };
    // Its disks have no setting for it, so it is that of QEMU's device.
    let sectors = match facts.sector_size {
        SectorSize::Bytes512 => String::new(),
        size @ SectorSize::Bytes4096 => {
            ["logical", "physical"].map(|which| format!("-global virtio-blk-pci.{which}_block_size={size}")).join(" ")
        }
    };
    format!(
        "#!/usr/bin/env bash
#
# Makes machines of Proxmox VE of the nodes' images beside it. Written by fam-build export.

readonly nodes=({numbers}) prefix={prefix} memory_mib={memory_mib} cpus={cpus} fabric={fabric}
readonly macs=({macs})
readonly further_disks=({further_disks})
readonly shared_memory='{memory}' sectors='{sectors}'

{BODY}",
        numbers = numbers.join(" "),
        prefix = facts.prefix,
        memory_mib = facts.memory_mib,
        cpus = facts.cpus,
        fabric = facts.fabric,
        macs = macs.join(" "),
        further_disks = further_disks.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::super::facts::tests::example;
    use super::*;

    fn of(recipe: &str) -> String {
        let facts = example(recipe);
        script(&facts, &facts.machines(&[]).unwrap())
    }

    /// What is printed and what fails when it runs beside these files, with a `qm` that prints how it
    /// was called.
    fn run(script: &str, arguments: &[&str], images: &[&str]) -> (String, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for image in images {
            fs_err::write(path(image), "").unwrap();
        }
        fs_err::write(path(SCRIPT), script).unwrap();
        let qm = "qm() { printf 'qm'; printf ' [%s]' \"$@\"; printf '\\n'; }\nid() { echo 0; }\nexport -f qm id\n";
        let command = format!("{qm}bash {} {}", path(SCRIPT).display(), arguments.join(" "));
        let output = Command::new("bash").args(["-c", &command]).env("STORAGE", "tank").output().unwrap();
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap().replace(&directory.path().display().to_string(), "DIRECTORY")
        };
        (text(output.stdout), text(output.stderr))
    }

    #[test]
    fn a_machine_is_made_of_each_image() {
        let script = of("nodes.count = 2");
        let (printed, failed) = run(&script, &["200"], &["fabric1.qcow2", "fabric2.qcow2"]);
        assert_eq!(failed, "");
        insta::assert_snapshot!("proxmox", printed);
        let (printed, failed) = run(&script, &[], &["fabric1.qcow2"]);
        assert_eq!(printed, "");
        assert!(failed.contains("DIRECTORY/fabric2.qcow2 is not there"), "{failed}");
        let (printed, failed) = run(&script, &["x"], &["fabric1.qcow2", "fabric2.qcow2"]);
        assert!(printed.is_empty() && failed.contains("usage"), "{failed}");
        let (printed, failed) = run(&of("nodes.count = 1\nfabric.kind = 'cxl'"), &[], &["fabric1.qcow2"]);
        assert!(printed.contains("[fabric1]") && !printed.contains("--args"), "{printed}");
        assert!(failed.contains("without the shared memory"), "{failed}");
        for fabric in ["ivshmem", "cxl"] {
            let script = of(&format!("nodes.count = 1\ndisk.sector-size = 4096\nfabric.kind = '{fabric}'"));
            let (printed, _) = run(&script, &[], &["fabric1.qcow2", "fabric1-seed.img"]);
            assert!(printed.contains("[--ide0]"), "{printed}");
            assert!(
                printed.contains("[--bios] [ovmf] [--efidisk0] [tank:1,efitype=4m,pre-enrolled-keys=0]"),
                "{printed}"
            );
            let sizes =
                "-global virtio-blk-pci.logical_block_size=4096 -global virtio-blk-pci.physical_block_size=4096]";
            assert!(printed.contains(sizes), "{printed}");
            assert_eq!(printed.contains("[-global"), fabric == "cxl", "{printed}");
        }
    }

    #[test]
    fn a_machine_gets_its_further_disks_and_its_seed() {
        let script =
            of("nodes.count = 2\ndisk.more = [{ size = '1G', label = 'data' }, { size = '1G', label = 'Log.1' }]");
        let images = ["", "-data", "-Log.1"].map(|disk| [1, 2].map(|node| format!("fabric{node}{disk}.qcow2")));
        let mut images: Vec<_> = images.iter().flatten().map(String::as_str).collect();
        images.push("fabric2-seed.img");
        let (printed, failed) = run(&script, &[], &images);
        assert_eq!(failed, "");
        insta::assert_snapshot!("proxmox_disks", printed);
        images.retain(|image| *image != "fabric2-data.qcow2");
        let (printed, failed) = run(&script, &[], &images);
        assert_eq!(printed, "");
        assert!(failed.contains("DIRECTORY/fabric2-data.qcow2 is not there"), "{failed}");
    }

    #[test]
    fn shellcheck_finds_nothing() {
        let mut shellcheck = Command::new("shellcheck");
        let shellcheck = shellcheck.args(["--shell=bash", "--severity=style", "-"]);
        let mut shellcheck = shellcheck.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shellcheck.stdin.take().unwrap().write_all(of("nodes.count = 2").as_bytes()).unwrap();
        let output = shellcheck.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
