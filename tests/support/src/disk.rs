//! Partitions and files of disks, as sgdisk and debugfs see them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::succeed;

/// Where a partition lies in its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// The offset of its first byte.
    pub offset_bytes: u64,
    /// Its length.
    pub len_bytes: u64,
}

impl Partition {
    /// The partition of this number in a raw image.
    #[track_caller]
    pub fn of(image: &Path, number: u32) -> Self {
        Self::in_sectors(512, image, number)
    }

    /// The partition of this number of a device that has such sectors.
    #[track_caller]
    pub fn in_sectors(sector_bytes: u64, device: &Path, number: u32) -> Self {
        let printed = succeed(Command::new("/sbin/sgdisk").arg(format!("--info={number}")).arg(device));
        let sector = |label: &str| -> u64 {
            let line = printed.lines().find_map(|line| line.strip_prefix(label)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let (first, last) = (sector("First sector: "), sector("Last sector: "));
        Self { offset_bytes: first * sector_bytes, len_bytes: (last - first + 1) * sector_bytes }
    }
}

/// A loop device, which is read only. Detached when it is dropped.
#[derive(Debug)]
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Of a raw image, or of a part of it, with such sectors.
    #[track_caller]
    pub fn new(image: &Path, sector_bytes: u64, part: Option<Partition>) -> Self {
        let mut losetup = Command::new("/sbin/losetup");
        losetup.args(["--find", "--show", "--read-only"]).arg(format!("--sector-size={sector_bytes}"));
        if let Some(Partition { offset_bytes, len_bytes }) = part {
            losetup.arg(format!("--offset={offset_bytes}")).arg(format!("--sizelimit={len_bytes}"));
        }
        Self(succeed(losetup.arg(image)).trim().into())
    }

    /// Its path in /dev.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where libblkid, which the tools of util-linux and udev ask, finds the partition of this number.
    #[track_caller]
    pub fn partition(&self, number: u32) -> Partition {
        let mut partx = Command::new("partx");
        partx.args(["--show", "--noheadings", "--output", "START,SECTORS", "--nr", &number.to_string()]);
        let printed = succeed(partx.arg(&self.0));
        // It counts in 512 bytes whatever the sectors.
        let numbers: Vec<u64> = printed.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [start, sectors] = numbers[..] else { panic!("{printed}") };
        Partition { offset_bytes: start * 512, len_bytes: sectors * 512 }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("/sbin/losetup").arg("--detach").arg(&self.0).status();
    }
}

/// Copies a partition of a raw image to a file of its own, with its holes.
#[track_caller]
pub fn extract(image: &Path, number: u32, to: &Path) {
    let Partition { offset_bytes, len_bytes } = Partition::of(image, number);
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", image.display())).arg(format!("of={}", to.display()));
    dd.args(["bs=1M", "conv=sparse", "iflag=skip_bytes,count_bytes", "status=none"]);
    succeed(dd.arg(format!("skip={offset_bytes}")).arg(format!("count={len_bytes}")));
}

/// The root file system of a node's disk.
#[derive(Debug)]
pub struct RootFileSystem {
    raw: PathBuf,
    offset_bytes: u64,
}

impl RootFileSystem {
    /// Of this qcow2 image, beside which a raw copy stays until this is dropped.
    pub fn of(disk: &Path) -> Self {
        let raw = disk.with_extension("raw");
        succeed(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(disk).arg(&raw));
        let offset_bytes = Partition::of(&raw, 3).offset_bytes;
        Self { raw, offset_bytes }
    }

    /// The text of a file.
    pub fn cat(&self, path: &str) -> String {
        self.debugfs(&format!("cat {path}"))
    }

    /// What the file system says of a file.
    pub fn stat(&self, path: &str) -> String {
        self.debugfs(&format!("stat {path}"))
    }

    /// Its UUID.
    pub fn uuid(&self) -> String {
        let printed = self.debugfs("show_super_stats -h");
        printed.lines().find_map(|line| line.strip_prefix("Filesystem UUID:")).unwrap().trim().to_owned()
    }

    fn debugfs(&self, request: &str) -> String {
        let image = format!("{}?offset={}", self.raw.display(), self.offset_bytes);
        succeed(Command::new("/sbin/debugfs").args(["-R", request, &image]))
    }
}

impl Drop for RootFileSystem {
    fn drop(&mut self) {
        let _ = fs_err::remove_file(&self.raw);
    }
}
