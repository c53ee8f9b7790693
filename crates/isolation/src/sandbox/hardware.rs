//! What programs of a sandbox see of hardware: nothing of the host's, and the same on every host.
//!
//! Hooks of packages shape the new system by what they find. With `MODULES=dep` an initramfs gets
//! the drivers of the machine that it is made on, and the swap space of /proc/swaps becomes the one
//! to resume from. In /sys they find the directories that every machine has, with nothing in them
//! but the loopback interface. The files of /proc that tell of hardware are covered by others, as
//! on a machine without any.

/// Directories of /sys (sysfs(5)), each after the one it is in.
pub(super) const SYS_DIRECTORIES: &[&str] = &[
    "block",
    "bus",
    "bus/cpu",
    "bus/cpu/devices",
    "bus/pci",
    "bus/pci/devices",
    "bus/pci/drivers",
    "bus/platform",
    "bus/platform/devices",
    "bus/scsi",
    "bus/scsi/devices",
    "bus/usb",
    "bus/usb/devices",
    "bus/virtio",
    "bus/virtio/devices",
    "class",
    "class/block",
    "class/dmi",
    "class/drm",
    "class/graphics",
    "class/input",
    "class/mem",
    "class/misc",
    "class/net",
    "class/scsi_host",
    "class/tty",
    "dev",
    "dev/block",
    "dev/char",
    "devices",
    "devices/platform",
    "devices/system",
    "devices/system/cpu",
    "devices/system/cpu/cpu0",
    "devices/system/memory",
    "devices/system/node",
    "devices/virtual",
    "devices/virtual/block",
    "devices/virtual/net",
    "devices/virtual/net/lo",
    "firmware",
    "fs",
    "fs/cgroup",
    "hypervisor",
    "kernel",
    "kernel/debug",
    "kernel/mm",
    "kernel/security",
    "module",
    "power",
];

/// Files of /sys: a processor, without which lscpu fails, and the loopback interface, which a
/// network namespace has.
pub(super) const SYS_FILES: &[(&str, &str)] = &[
    ("devices/system/cpu/online", "0\n"),
    ("devices/system/cpu/possible", "0\n"),
    ("devices/system/cpu/present", "0\n"),
    ("devices/virtual/net/lo/address", "00:00:00:00:00:00\n"),
    // `IFF_UP | IFF_LOOPBACK`, and below `ARPHRD_LOOPBACK`, as the kernel's own file has them.
    ("devices/virtual/net/lo/flags", "0x9\n"),
    ("devices/virtual/net/lo/ifindex", "1\n"),
    ("devices/virtual/net/lo/mtu", "65536\n"),
    ("devices/virtual/net/lo/operstate", "unknown\n"),
    ("devices/virtual/net/lo/type", "772\n"),
    ("devices/virtual/net/lo/uevent", "INTERFACE=lo\nIFINDEX=1\n"),
];

/// Links of /sys, and their targets.
pub(super) const SYS_LINKS: &[(&str, &str)] = &[("class/net/lo", "../../devices/virtual/net/lo")];

/// Files of /proc (proc(5)) that tell of hardware or of the host's keys, and what programs read
/// instead. A kernel need not have all of them.
pub(super) const PROC_FILES: &[(&str, &str)] = &[
    ("cmdline", "\n"),
    ("config.gz", ""),
    ("consoles", ""),
    ("crypto", ""),
    ("diskstats", ""),
    ("dma", ""),
    ("fb", ""),
    ("interrupts", ""),
    ("iomem", ""),
    ("ioports", ""),
    ("kallsyms", ""),
    ("kcore", ""),
    ("key-users", ""),
    ("keys", ""),
    ("locks", ""),
    ("mdstat", "Personalities : \nunused devices: <none>\n"),
    ("misc", ""),
    ("modules", ""),
    ("mtrr", ""),
    ("partitions", "major minor  #blocks  name\n\n"),
    ("slabinfo", ""),
    ("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    ("timer_list", ""),
];

/// Directories of /proc that do so, in whose place programs find an empty one.
pub(super) const PROC_DIRECTORIES: &[&str] = &["acpi", "asound", "bus", "driver", "irq", "scsi"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_a_directory_that_comes_before() {
        let mut made = vec![""];
        for path in SYS_DIRECTORIES {
            assert!(made.contains(&path.rsplit_once('/').map_or("", |(parent, _)| parent)), "{path}");
            made.push(path);
        }
        for path in SYS_FILES.iter().chain(SYS_LINKS).map(|(path, _)| path) {
            assert!(made.contains(&path.rsplit_once('/').unwrap().0), "{path}");
        }
    }
}
