//! The initramfs: kept from being made while packages are configured, then made once for each kernel.

use super::{Configuration, Error, Initramfs, in_tree, modules};
use crate::progress::Progress;
use crate::rootfs::sandbox::{Command, Sandbox, Settings, StandIn, Tail};
use crate::rootfs::staging::Staging;

const UPDATE_INITRAMFS: &str = "/usr/sbin/update-initramfs";

/// Drivers of the disks that QEMU and the common hypervisors offer, and of the root file system. The rest of the hardware
/// is driven from the root file system. Names that a kernel has built in, or has not, are passed over.
const DRIVERS: &str = "virtio_pci virtio_mmio virtio_blk virtio_scsi virtio_net virtio_console \
    ext4 crc32c crc32c_intel ahci ata_piix sd_mod sr_mod nvme xen_blkfront hv_storvsc vmw_pvscsi";

/// For /etc/initramfs-tools/conf.d (initramfs.conf(5)). The guest's own update-initramfs reads it too.
const CONFIGURATION: &str = "\
# Written by fam-build: this system runs in a virtual machine. With MODULES=most
# the initramfs boots on other hardware as well.
MODULES=list
# fsck is included for this type, which cannot be found out while the image is built.
FSTYPE=ext4
";

/// A hook rather than a list in /etc/initramfs-tools/modules, which would have every driver loaded at each boot: so they
/// are only there, and udev loads those whose device exists.
fn hook() -> String {
    format!(
        "#!/bin/sh\n\
         # Written by fam-build: the drivers that a virtual machine may boot with.\n\
         case \"$1\" in prereqs) exit 0 ;; esac\n\
         . /usr/share/initramfs-tools/hook-functions\n\
         manual_add_modules {DRIVERS}\n"
    )
}

/// Takes the place of update-initramfs while packages are configured: the kernel's postinst, the trigger of
/// initramfs-tools, and the postinst of whatever puts something into an initramfs, would each make it anew.
pub(super) fn not_yet() -> StandIn {
    StandIn { path: UPDATE_INITRAMFS.into(), content: "#!/bin/sh\nexit 0\n".into(), even_if_missing: false }
}

/// Makes the initramfs of each kernel, if the tree has the program for it.
pub(super) fn make(staging: &Staging, configuration: &Configuration, progress: &Progress) -> Result<(), Error> {
    let kernels = modules::kernels(staging)?;
    if kernels.is_empty() || !staging.exists(&in_tree(UPDATE_INITRAMFS))? {
        return Ok(());
    }
    if configuration.initramfs == Initramfs::Vm && staging.exists(&in_tree("etc/initramfs-tools/hooks"))? {
        staging.write(&in_tree("etc/initramfs-tools/conf.d/virtual-machine"), CONFIGURATION.as_bytes(), 0o644)?;
        staging.write(&in_tree("etc/initramfs-tools/hooks/virtual-machine"), hook().as_bytes(), 0o755)?;
    }
    let settings =
        Settings { source_date_epoch: Some(configuration.source_date_epoch), stand_ins: StandIn::no_services() };
    let mut sandbox = Sandbox::enter(staging.host_path(), settings)?;
    for kernel in kernels {
        progress.detail(format!("making the initramfs of Linux {kernel}"));
        let command = Command::new(UPDATE_INITRAMFS).args(["-c", "-k", kernel.as_str()]);
        let mut tail = Tail::default();
        let how = sandbox.run(&command, |line| {
            tail.push(line);
            progress.output("update-initramfs", line);
        })?;
        if !how.success() {
            let program = format!("update-initramfs -c -k {kernel}");
            return Err(Error::Program { program, how, last_lines: tail.into_lines() });
        }
    }
    sandbox.leave()?;
    Ok(())
}
