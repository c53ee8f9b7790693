//! One image with Debian's usual kernel and the initramfs for virtual machines, booted from each
//! controller of disks that QEMU has.
//!
//! As soon as the root file system is mounted, a program in place of init says which drivers lie
//! between it and the machine: so a boot ends where it would begin to be the same as any other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::harness::{ROOT, Test};
use support::qemu::Machine;
use support::shared::shared;
use support::{succeed, user};

use crate::suites::build_changed;

const NEEDS: [&str; 3] = [ROOT, "newuidmap", "qemu-system-x86_64"];

support::tests! {
    needs NEEDS;
    every_storage_device_of_qemu_is_booted_from_or_has_a_reason,
    the_initramfs_of_dracut_boots_from_the_default_controller_of_proxmox,
}

/// Each controller, as a test of its own.
pub fn each() -> Vec<Test> {
    let test = |controller: &'static Controller| {
        Test::new(module_path!(), controller.name, || boot(controller, &image("initramfs-tools"))).needs(&NEEDS)
    };
    CONTROLLERS.iter().map(test).collect()
}

/// A controller that QEMU emulates.
struct Controller {
    /// The device by QEMU's name, or what is tried with it.
    name: &'static str,
    /// QEMU's arguments for it and the disk.
    arguments: &'static str,
    /// Drivers of Linux that the root file system must be reached by.
    drivers: &'static [&'static str],
    /// Whether the firmware reads the disk. Else QEMU loads the kernel and the initramfs.
    by_firmware: bool,
}

const fn by_firmware(name: &'static str, arguments: &'static str, drivers: &'static [&'static str]) -> Controller {
    Controller { name, arguments, drivers, by_firmware: true }
}

/// Of a controller that the firmware has no driver for, or a slow one.
const fn by_kernel(name: &'static str, arguments: &'static str, drivers: &'static [&'static str]) -> Controller {
    Controller { name, arguments, drivers, by_firmware: false }
}

const CONTROLLERS: &[Controller] = &[
    by_firmware("virtio-blk-pci", "-device virtio-blk-pci,drive=disk", &["virtio_blk"]),
    by_firmware("virtio-scsi-pci", "-device virtio-scsi-pci -device scsi-hd,drive=disk", &["virtio_scsi"]),
    // The machine without PCI slots for disks, as small virtual machines have it.
    by_kernel(
        "virtio-blk-device",
        "-machine microvm -device virtio-blk-device,drive=disk",
        &["virtio_blk", "virtio-mmio"],
    ),
    by_kernel(
        "virtio-scsi-device",
        "-machine microvm -device virtio-scsi-device -device scsi-hd,drive=disk",
        &["virtio_scsi", "virtio-mmio"],
    ),
    // Linux shows such disks beneath a device of its own, which has no driver.
    by_firmware("nvme", "-device nvme,serial=1,drive=disk", &[]),
    by_firmware("ich9-ahci", "-device ich9-ahci,id=ahci -device ide-hd,bus=ahci.0,drive=disk", &["ahci"]),
    // The machine's own.
    by_firmware("piix3-ide", "-machine pc -device ide-hd,drive=disk", &["ata_piix"]),
    by_firmware(
        "piix4-ide",
        "-machine q35 -device piix4-ide,id=ide -device ide-hd,bus=ide.0,drive=disk",
        &["ata_piix"],
    ),
    by_firmware("lsi53c895a", LSI53C895A, &["sym53c8xx"]),
    by_kernel("lsi53c810", "-device lsi53c810 -device scsi-hd,drive=disk", &["sym53c8xx"]),
    by_firmware("am53c974", "-device am53c974 -device scsi-hd,drive=disk", &["am53c974"]),
    by_firmware("dc390", "-device dc390 -device scsi-hd,drive=disk", &["am53c974"]),
    by_firmware("megasas", "-device megasas -device scsi-hd,drive=disk", &["megaraid_sas"]),
    by_firmware("megasas-gen2", "-device megasas-gen2 -device scsi-hd,drive=disk", &["megaraid_sas"]),
    // Linux passes over a disk without an address of SAS, and QEMU makes none up.
    by_firmware("mptsas1068", "-device mptsas1068 -device scsi-hd,drive=disk,wwn=0x5000c50015ea71ac", &["mptsas"]),
    by_firmware("pvscsi", "-device pvscsi -device scsi-hd,drive=disk", &["vmw_pvscsi"]),
    by_firmware("sdhci-pci", "-device sdhci-pci -device sd-card,drive=disk", &["mmcblk", "sdhci-pci"]),
    by_firmware(
        "usb-storage-on-qemu-xhci",
        "-device qemu-xhci -device usb-storage,drive=disk",
        &["usb-storage", "xhci_hcd"],
    ),
    by_firmware(
        "usb-bot",
        "-device qemu-xhci -device usb-bot,id=bot -device scsi-hd,bus=bot.0,scsi-id=0,lun=0,drive=disk",
        &["usb-storage"],
    ),
    // The firmware takes minutes to read a kernel over these.
    by_kernel(
        "usb-storage-on-usb-ehci",
        "-device usb-ehci -device usb-storage,drive=disk",
        &["usb-storage", "ehci-pci"],
    ),
    by_kernel(
        "usb-storage-on-piix3-usb-uhci",
        "-device piix3-usb-uhci -device usb-storage,drive=disk",
        &["usb-storage", "uhci_hcd"],
    ),
    by_kernel(
        "usb-storage-on-pci-ohci",
        "-device pci-ohci -device usb-storage,drive=disk",
        &["usb-storage", "ohci-pci"],
    ),
    by_kernel(
        "usb-uas",
        "-device qemu-xhci -device usb-uas,id=uas -device scsi-hd,bus=uas.0,scsi-id=0,lun=0,drive=disk",
        &["uas"],
    ),
];

const LSI53C895A: &str = "-device lsi53c895a -device scsi-hd,drive=disk";

/// What QEMU lists among its devices for storage, and no image is booted from. A star stands for
/// any end of a name.
const NOT_TRIED: &[(&str, &str)] = &[
    ("floppy", "a floppy disk is too small for a system"),
    ("isa-fdc", "a floppy disk is too small for a system"),
    ("ide-cd", "a CD at a controller that is tried with a disk"),
    ("scsi-cd", "a CD at a controller that is tried with a disk"),
    ("ide-cf", "a disk at a controller that is tried with another"),
    ("scsi-block", "a disk of the host at a controller that is tried with another"),
    ("scsi-generic", "a disk of the host at a controller that is tried with another"),
    ("nvme-ns", "a part of nvme, which makes one by itself"),
    ("nvme-subsys", "a part of nvme"),
    ("virtio-blk-pci-*", "the same driver as virtio-blk-pci"),
    ("virtio-scsi-pci-*", "the same driver as virtio-scsi-pci"),
    ("vhost-scsi*", "a disk of the host's kernel; in the guest the same driver as virtio-scsi-pci"),
    ("vhost-user-blk*", "another program's disk; in the guest the same driver as virtio-blk-pci"),
    ("vhost-user-scsi*", "another program's disk; in the guest the same driver as virtio-scsi-pci"),
    ("vhost-user-fs-*", "a directory of the host, no disk"),
    ("virtio-9p-*", "a directory of the host, no disk"),
    ("usb-mtp", "a directory of the host, no disk"),
    ("nvdimm", "memory, no disk"),
    ("virtio-pmem", "memory, no disk"),
    ("cxl-type3", "memory, no disk"),
    ("sd-card-spi", "on a bus that machines of amd64 do not have"),
    ("isa-ide", "Linux looks for a controller on ISA only if it is told to"),
    ("ufs", "its sectors have 4096 bytes, and those of this disk 512"),
];

/// The program in place of init.
const INIT: &str = "/usr/local/sbin/say-drivers";
const SAID: &str = "The root is driven by ";

/// A directory with the image of a node, and the kernel and the initramfs of it.
fn image(generator: &str) -> PathBuf {
    shared(&format!("controllers-{generator}"), |directory| {
        succeed(Command::new("chown").arg(user()).arg(directory));
        let changes = format!(
            r#"
include.add = ["{generator}"]

[kernel]
package = "linux-image-amd64"
cmdline = "{CMDLINE} init={INIT}"

[[plugin.add]]
name = "script"
settings.script = '''
cat >{INIT} <<'END'
#!/bin/sh
path=$(readlink -f "/sys/dev/block/$(mountpoint -d /)") drivers=
while [ -n "$path" ] && [ "$path" != /sys ]; do
    [ ! -e "$path/driver" ] || drivers="$drivers $(basename "$(readlink "$path/driver")")"
    path=${{path%/*}}
done
echo "{SAID}$drivers ."
exec sleep infinity
END
chmod 755 {INIT}
'''
"#
        );
        build_changed(&changes, &[], directory);
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--wildcards", "--transform", r"s,.*/\(vmlinuz\|initrd.img\)-.*,\1,", "--file"]);
        tar.arg(directory.join("fabric_template.tar")).arg("--directory").arg(directory);
        succeed(tar.args(["./boot/vmlinuz-*", "./boot/initrd.img-*"]));
    })
}

/// `quiet` keeps the kernel's lines out of the program's.
const CMDLINE: &str = "console=ttyS0 quiet";

fn boot(controller: &Controller, image: &Path) {
    let disk = image.join("fabric1.qcow2");
    let mut machine = Machine::new(&disk);
    machine.controller = controller.arguments.split_whitespace().map(str::to_owned).collect();
    // Time in the guest goes by what it has executed. Else, on a busy machine, an initramfs waits
    // its 30 seconds for the root and gives up, while drivers are still being loaded.
    machine.arguments = ["-icount", "shift=1"].map(str::to_owned).to_vec();
    if !controller.by_firmware {
        let path = |name: &str| image.join(name).display().to_string();
        let command_line = format!("root=LABEL=minimal ro {CMDLINE} init={INIT}");
        machine.arguments.extend(["-kernel".into(), path("vmlinuz"), "-initrd".into(), path("initrd.img")]);
        machine.arguments.extend(["-append".into(), command_line]);
    }
    let mut console = machine.start();
    console.wait_for_boot(SAID);
    let drivers = console.wait_for(".", Duration::from_secs(60));
    println!("{}: {drivers}", controller.name);
    for driver in controller.drivers {
        assert!(drivers.split_whitespace().any(|found| found == *driver), "{}: {drivers}", controller.name);
    }
}

fn the_initramfs_of_dracut_boots_from_the_default_controller_of_proxmox() {
    boot(&by_firmware("lsi53c895a", LSI53C895A, &["sym53c8xx"]), &image("dracut"));
}

fn every_storage_device_of_qemu_is_booted_from_or_has_a_reason() {
    let help = succeed(Command::new("qemu-system-x86_64").args(["-device", "help"]));
    let (_, storage) = help.split_once("Storage devices:\n").unwrap();
    let (storage, _) = storage.split_once("\n\n").unwrap();
    let names: Vec<&str> = storage.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert!(names.contains(&"lsi53c895a") && names.len() > 20, "{names:?}");
    let is_tried = |name: &str| {
        let is_part = |word: &str| word.split(',').next() == Some(name);
        CONTROLLERS
            .iter()
            .any(|controller| controller.name == name || controller.arguments.split_whitespace().any(is_part))
    };
    let has_reason = |name: &str| {
        NOT_TRIED.iter().any(|(pattern, _)| {
            pattern.strip_suffix('*').map_or(*pattern == name, |beginning| name.starts_with(beginning))
        })
    };
    let unknown: Vec<_> = names.into_iter().filter(|name| is_tried(name) == has_reason(name)).collect();
    assert!(
        unknown.is_empty(),
        "each of QEMU's devices for storage is either in CONTROLLERS or in NOT_TRIED: {unknown:?}"
    );
}
