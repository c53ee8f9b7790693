//! The machine that every node is: processors, memory, devices with their places, and the device
//! that shows the shared memory. The XML for libvirt and the arguments for QEMU are written from
//! it.

use crate::recipe::{Cpus, Disk, Fabric, FabricKind, NodeMemory, Nodes, SectorSize, SharedMemory};

/// The slots of devices on the first PCI bus. Every device has its slot written down, so that the
/// shared memory of ivshmem is at 00:04.0 whatever else a hypervisor or its user adds.
pub(super) mod slot {
    pub(crate) const VGA: u8 = 2;
    pub(crate) const NETWORK: u8 = 3;
    pub(crate) const SHARED_MEMORY: u8 = 4;
    pub(crate) const DISK: u8 = 5;
    /// The second network interface, in user-mode networking.
    pub(crate) const SECOND_NETWORK: u8 = 6;
    pub(crate) const RANDOM: u8 = 7;
    pub(crate) const CXL_HOST_BRIDGE: u8 = 8;
    /// The first of the disks beside the one that nodes boot from, of which there are ten at most: on
    /// q35 the last slots are the mainboard's own.
    pub(crate) const FURTHER_DISKS: u8 = 16;
}

/// The PCI address of the shared memory in a guest, on a fabric of the kind ivshmem.
#[must_use]
pub fn ivshmem_address() -> String {
    format!("0000:00:{:02x}.0", slot::SHARED_MEMORY)
}

/// The hardware that each node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The memory of each node, without the shared memory.
    pub memory: NodeMemory,
    /// How many processors each node has.
    pub cpus: Cpus,
    /// The device that shows the shared memory to the guest.
    pub fabric: FabricKind,
    /// The size of the memory that all nodes share.
    pub shared_memory: SharedMemory,
    /// The labels of the disks beside the one that it boots from.
    pub disks: Vec<String>,
    /// The size of the sectors of all its disks.
    pub sector_size: SectorSize,
}

/// The file name of the disk of this label of a node.
#[must_use]
pub fn image_of_disk(node: &str, label: &str) -> String {
    format!("{node}-{label}.qcow2")
}

impl Machine {
    pub(super) fn new(nodes: &Nodes, fabric: &Fabric, disk: &Disk) -> Self {
        Self {
            disks: disk.more.iter().map(|listed| listed.what.label.to_string()).collect(),
            sector_size: disk.sector_size.value,
            memory: nodes.memory.value,
            cpus: nodes.cpus.value,
            fabric: fabric.kind.value,
            shared_memory: fabric.size.value,
        }
    }

    /// The disks beside the one that it boots from: labels, with their slots.
    pub(super) fn further_disks(&self) -> impl Iterator<Item = (&str, u8)> {
        self.disks.iter().map(String::as_str).zip(slot::FURTHER_DISKS..)
    }

    /// The size of sectors that its disks must be told to have, which is not that of any disk.
    pub(super) fn own_sector_bytes(&self) -> Option<u64> {
        (self.sector_size != SectorSize::default()).then(|| self.sector_size.bytes())
    }

    /// Whether it must be started by UEFI.
    pub(super) fn needs_uefi(&self) -> bool {
        !self.sector_size.boots_by_bios()
    }

    /// Its memory in MiB.
    pub(super) fn memory_mib(&self) -> u64 {
        self.memory.get().mebibytes()
    }

    /// The shared memory in MiB.
    pub(super) fn shared_mib(&self) -> u64 {
        self.shared_memory.get().mebibytes()
    }

    /// How many processors it can have at most; always room for a second. Where there can be only
    /// one, QEMU without KVM splits an atomic operation into a load and a store, which is not
    /// atomic to other nodes.
    pub(super) fn most_cpus(&self) -> u8 {
        self.cpus.get().max(2)
    }

    /// The type of its mainboard, as QEMU and libvirt name it. CXL needs PCI Express.
    pub(super) fn board(&self) -> &'static str {
        match self.fabric {
            // Without a version, that is the newest of the QEMU that runs it: an image is bound to
            // none.
            FabricKind::Ivshmem | FabricKind::Nvdimm => "pc",
            FabricKind::Cxl => "q35",
        }
    }

    /// The name that QEMU gives to its first PCI bus.
    pub(super) fn bus(&self) -> &'static str {
        match self.fabric {
            FabricKind::Ivshmem | FabricKind::Nvdimm => "pci.0",
            FabricKind::Cxl => "pcie.0",
        }
    }

    /// The device that QEMU must have for the shared memory.
    pub(super) fn shared_memory_device(&self) -> &'static str {
        match self.fabric {
            FabricKind::Ivshmem => "ivshmem-plain",
            FabricKind::Nvdimm => "nvdimm",
            FabricKind::Cxl => "cxl-type3",
        }
    }

    /// The most memory that it can have in MiB, where the shared memory is a module in addition to
    /// its own.
    pub(super) fn most_memory_mib(&self) -> Option<u64> {
        (self.fabric == FabricKind::Nvdimm).then(|| self.memory_mib() + self.shared_mib())
    }

    /// Whether its processors hide that there is a hypervisor. Where Linux sees one, it makes no
    /// region of CXL memory, since the caches might not be flushed for it.
    pub(super) fn hides_hypervisor(&self) -> bool {
        self.fabric == FabricKind::Cxl
    }

    /// QEMU's object of the shared memory, in the file `path`, in which commas are doubled.
    pub(super) fn memory_backend(&self, path: &str) -> String {
        format!("memory-backend-file,id=fabric,share=on,mem-path={path},size={}M", self.shared_mib())
    }

    /// What QEMU's option `-machine` has of CXL: one window, as large as the shared memory.
    pub(super) fn cxl_window(&self) -> String {
        format!("cxl=on,cxl-fmw.0.targets.0=cxl_host,cxl-fmw.0.size={}M", self.shared_mib())
    }

    /// QEMU's devices from the first bus to the CXL memory, which is volatile and so needs no label
    /// area. libvirt numbers the chassis of its own root ports from 1, so this one is far above.
    pub(super) fn cxl_devices(&self) -> [String; 3] {
        [
            format!("pxb-cxl,id=cxl_host,bus={},addr={:02x}.0,bus_nr=12", self.bus(), slot::CXL_HOST_BRIDGE),
            "cxl-rp,id=cxl_port,bus=cxl_host,port=0,chassis=99,slot=99".to_owned(),
            format!("{},id=cxl_memory,bus=cxl_port,volatile-memdev=fabric", self.shared_memory_device()),
        ]
    }
}
