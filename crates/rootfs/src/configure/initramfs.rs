//! The initramfs: kept from being made by maintainer scripts, then made once for each kernel.
//!
//! It takes seconds and one processor, and so does the configuration of packages that have no part
//! in it. So what it is made of is configured first ([`ingredients`]), and it is made while dpkg
//! goes on. Should a script ask for it after that, it is made again when everything is configured.

use fam_isolation::sandbox::{Command, Sandbox, Settings, StandIn};
use fam_progress::Progress;

use super::packages::{Package, with_dependencies};
use super::scripts::run_program;
use super::{Configuration, Error, Initramfs, in_tree, modules};
use crate::staging::Staging;

/// The program of initramfs-tools; dracut has one of that name for whoever calls it.
const UPDATE_INITRAMFS: &str = "/usr/sbin/update-initramfs";
const DRACUT: &str = "/usr/bin/dracut";

/// Drivers of the disks that QEMU, Proxmox, VMware, VirtualBox, Hyper-V and Xen offer, and of the
/// root file system. The rest of the hardware is driven from the root file system. Names that a
/// kernel has built in, or has not, are passed over: linux-image-cloud-amd64 is made without USB
/// and most kinds of SCSI.
///
/// What these drivers depend on comes with them. Left out: `ufshcd_pci`, since the sectors of UFS
/// have 4096 bytes, and those of our disks 512 unless a recipe asks for others; `mpt3sas` and
/// `mptfc`, whose controllers no hypervisor emulates; `pata_legacy` for ISA, which has to be asked
/// for by name.
///
/// With Linux 6.12 of trixie, the thirty modules beside those of virtio, NVMe, AHCI, IDE and what
/// Hyper-V, Xen and VMware have of their own are 1.1 MB, a twelfth of an initramfs.
const DRIVERS: [&str; 9] = [
    "virtio_pci virtio_mmio virtio_blk virtio_scsi virtio_net virtio_console",
    // `crc32c` is there for ext4, which finds it by the name of the algorithm and not as a module
    // that it depends on.
    "ext4 crc32c crc32c_intel",
    // Disks and CDs behind any controller that speaks SCSI, as SATA, IDE and USB do to Linux.
    "sd_mod sr_mod",
    "ahci ata_piix nvme",
    // QEMU's lsi53c895a (Proxmox's default) and lsi53c810; am53c974 and dc390; megasas.
    "sym53c8xx am53c974 megaraid_sas",
    // VMware's and VirtualBox's LSI Logic, parallel and SAS, and BusLogic; VMware's paravirtual.
    "mptspi mptsas BusLogic vmw_pvscsi",
    "xhci_pci ehci_pci uhci_hcd ohci_pci usb_storage uas sdhci_pci mmc_block",
    // The latter passes NVMe through, as Azure does.
    "hv_storvsc pci_hyperv",
    "xen_blkfront xen_scsifront",
];

/// For /etc/initramfs-tools/conf.d (initramfs.conf(5)). The guest's own update-initramfs reads it
/// too.
///
/// Level 9 of zstd, which initramfs-tools takes by itself, needs four times the time of level 3 for a file that is
/// smaller by 7 %; of a build, that time is spent when all else is done.
const CONFIGURATION: &str = "\
# Written by fam-build: this system runs in a virtual machine. With MODULES=most
# the initramfs boots on other hardware as well.
MODULES=list
# fsck is included for this type, which cannot be found out while the image is built.
FSTYPE=ext4
# Made in a quarter of the time that the usual level takes, and little larger.
COMPRESSLEVEL=3
";

/// A hook rather than a list in /etc/initramfs-tools/modules, which would have every driver loaded
/// at each boot: so they are only there, and udev loads those whose device exists.
fn hook() -> String {
    format!(
        "#!/bin/sh\n\
         # Written by fam-build: the drivers that a virtual machine may boot with.\n\
         case \"$1\" in prereqs) exit 0 ;; esac\n\
         . /usr/share/initramfs-tools/hook-functions\n\
         manual_add_modules {drivers}\n",
        drivers = DRIVERS.join(" \\\n    ")
    )
}

/// For /etc/dracut.conf.d (dracut.conf(5)), which the guest's own dracut reads too. Which file
/// system the root has cannot be found out while the image is built.
fn dracut_configuration(initramfs: Initramfs) -> String {
    let drivers = match initramfs {
        Initramfs::Vm => format!(
            "# The drivers that a virtual machine may boot with. Without these lines it is most there are.\n{}",
            DRIVERS.map(|drivers| format!("drivers+=\" {drivers} \"\n")).concat()
        ),
        Initramfs::Most => String::new(),
    };
    format!("# Written by fam-build.\nhostonly=\"no\"\nreproducible=\"yes\"\nfilesystems+=\" ext4 \"\n{drivers}")
}

/// Where the stand-ins note that a script asked for an initramfs.
const REQUESTED: &str = "/run/fam-build/initramfs-asked";

/// Take the place of the programs that make an initramfs while packages are configured: the
/// kernel's postinst, the trigger of initramfs-tools or dracut, and the postinst of whatever puts
/// something into an initramfs, would each make it anew.
pub(super) fn deferring() -> impl Iterator<Item = StandIn> {
    let content = format!("#!/bin/sh\necho >{REQUESTED}\n");
    [UPDATE_INITRAMFS, DRACUT].into_iter().map(move |path| StandIn {
        path: path.into(),
        content: content.clone(),
        even_if_missing: false,
    })
}

/// The program that makes an initramfs, if the tree has one.
fn generator(staging: &Staging) -> Result<Option<&'static str>, Error> {
    // dracut first: where it is installed, `update-initramfs` is a wrapper of its own.
    for program in [DRACUT, UPDATE_INITRAMFS] {
        if staging.exists(&in_tree(program))? {
            return Ok(Some(program));
        }
    }
    Ok(None)
}

/// With what `generator` makes the initramfs of this kernel.
fn arguments(generator: &str, kernel: &str) -> [String; 3] {
    match generator {
        // `--force` takes the place of an initramfs that was made before.
        DRACUT => ["--force".into(), format!("/boot/initrd.img-{kernel}"), kernel.into()],
        // `-u` does nothing for a kernel that has no initramfs yet.
        _ => ["-c", "-k", kernel].map(Into::into),
    }
}

/// Forgets who asked for an initramfs in this sandbox, which has the stand-in: it is made of what
/// they have done.
pub(super) fn forget(sandbox: &mut Sandbox) -> Result<(), Error> {
    sandbox.run(&Command::new("rm").args(["-f", REQUESTED]), |_| {})?;
    Ok(())
}

/// Whether anybody has asked for an initramfs since.
pub(super) fn was_requested(sandbox: &mut Sandbox) -> Result<bool, Error> {
    Ok(sandbox.run(&Command::new("test").args(["-e", REQUESTED]), |_| {})?.success())
}

/// Whether a kernel has no initramfs, though there is a program to make it.
pub(super) fn is_lacking(staging: &Staging) -> Result<bool, Error> {
    if generator(staging)?.is_none() {
        return Ok(false);
    }
    for kernel in modules::kernels(staging)? {
        if !staging.exists(&in_tree(&format!("boot/initrd.img-{kernel}")))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The packages that have a part in the initramfs, and all that these depend on. Empty where none
/// can be made.
pub(super) fn ingredients<'a>(staging: &Staging, packages: &'a [Package]) -> Result<Vec<&'a str>, Error> {
    if modules::kernels(staging)?.is_empty() || generator(staging)?.is_none() {
        return Ok(Vec::new());
    }
    let mut begin = Vec::new();
    for package in packages {
        if has_a_part(staging, package)? {
            begin.push(package.name.as_str());
        }
    }
    Ok(with_dependencies(packages, begin))
}

/// Whether a package is a kernel, brings hooks or settings for the initramfs, or asks for one: by a
/// call or by the trigger.
fn has_a_part(staging: &Staging, package: &Package) -> Result<bool, Error> {
    const BEGINNINGS: [&str; 9] = [
        "/boot/vmlinuz-",
        "/etc/dracut.conf.d/",
        "/etc/initramfs-tools/",
        "/etc/modprobe.d/",
        "/etc/modules-load.d/",
        "/etc/udev/",
        "/usr/lib/dracut/",
        "/usr/lib/modules/",
        "/usr/share/initramfs-tools/",
    ];
    let info = |member: &str| -> Result<String, Error> {
        let path = in_tree(&format!("var/lib/dpkg/info/{}.{member}", package.file_name()));
        let bytes = if staging.exists(&path)? { staging.read(&path)? } else { Vec::new() };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let brings = |path: &str| BEGINNINGS.iter().any(|beginning| path.starts_with(beginning));
    let postinst = info("postinst")?;
    // From Linux 7.2 on the files of a kernel are in other packages than the one that calls the
    // hooks.
    Ok(info("list")?.lines().any(brings)
        || ["update-initramfs", "linux-run-hooks"].iter().any(|program| postinst.contains(program))
        || info("triggers")?.contains("update-initramfs"))
}

/// Makes the initramfs of each kernel, if the tree has the program for it.
pub(super) fn make(staging: &Staging, configuration: &Configuration, progress: &Progress) -> Result<(), Error> {
    let kernels = modules::kernels(staging)?;
    let Some(path) = generator(staging)?.filter(|_| !kernels.is_empty()) else { return Ok(()) };
    let name = path.rsplit('/').next().unwrap_or(path);
    if configuration.initramfs == Initramfs::Vm && staging.exists(&in_tree("etc/initramfs-tools/hooks"))? {
        staging.write(&in_tree("etc/initramfs-tools/conf.d/virtual-machine"), CONFIGURATION.as_bytes(), 0o644)?;
        staging.write(&in_tree("etc/initramfs-tools/hooks/virtual-machine"), hook().as_bytes(), 0o755)?;
    }
    if staging.exists(&in_tree("etc/dracut.conf.d"))? {
        let text = dracut_configuration(configuration.initramfs);
        staging.write(&in_tree("etc/dracut.conf.d/virtual-machine.conf"), text.as_bytes(), 0o644)?;
    }
    // Without the stand-ins of `deferring`: here the programs themselves are meant.
    let settings = Settings {
        source_date_epoch: Some(configuration.source_date_epoch),
        stand_ins: StandIn::no_services(),
        network: None,
    };
    let mut sandbox = Sandbox::enter(staging.host_path(), &settings)?;
    for kernel in kernels {
        progress.detail(format!("making the initramfs of Linux {kernel}"));
        let arguments = arguments(path, &kernel);
        let program = format!("{name} {}", arguments.join(" "));
        let made = run_program(&mut sandbox, &Command::new(path).args(&arguments), &program, name, progress);
        made.map_err(|error| error.with_owner(staging))?;
    }
    sandbox.leave()?;
    Ok(())
}
