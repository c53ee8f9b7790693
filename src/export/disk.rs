//! The disk of a node while it is exported, and what is known beforehand of all of them.

use std::io::{self, Read};
use std::path::Path;

use fam_host::regular;
use fam_host::space::require_space;
use fam_image::SparseDisk;
use fam_image::qcow2::Image;
use fam_isolation::supervisor::Interrupts;
use rustix::fs::{Mode, OFlags};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Format;
use super::error::Error;
use super::facts::Machine;

/// The bill of materials of a build, which has its time.
const SBOM: &str = "fabric.spdx.json";
const LONGEST_SBOM: u64 = 64 << 20;
/// Stretches of a disk in which something is stored are counted in this unit: formats of fixed
/// blocks store no less.
const UNIT_BYTES: u64 = 1 << 20;
const SPARE_BYTES: u64 = 64 << 20;

/// The disk of a node. Reading it ends when the program is told to stop.
#[derive(Debug)]
pub(super) struct Disk<'a> {
    image: Image,
    interrupts: &'a Interrupts,
}

impl<'a> Disk<'a> {
    /// Opens the image of `machine` in `directory`.
    pub(super) fn open(directory: &Path, machine: &Machine, interrupts: &'a Interrupts) -> Result<Self, Error> {
        let path = directory.join(format!("{}.qcow2", machine.name));
        // The directory may be /tmp, where anybody can put an image that stands on a secret file.
        let is_own = fs_err::symlink_metadata(&path).is_ok_and(|metadata| regular::is_own(&metadata));
        let image = Image::open(&path)?;
        if is_own { Ok(Self { image, interrupts }) } else { Err(Error::Foreign(path)) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    /// Checks that nothing wrote to the image while it was read.
    pub(super) fn require_unchanged(&self) -> Result<(), Error> {
        Ok(self.image.require_unchanged()?)
    }

    /// A number for the disk in a format that tells disks apart by numbers. It follows from the
    /// node's name and the first bytes of the disk, among which its own number is (GPT), so that two
    /// clusters differ, and the same disk has it again.
    pub(super) fn id(&mut self, format: Format, name: &str) -> Result<Uuid, Error> {
        let mut start = vec![0; UNIT_BYTES.min(self.bytes()) as usize];
        self.read_at(0, &mut start)?;
        let digest = Sha256::new().chain_update(format!("fam-build export {format} {name}\n")).chain_update(start);
        let digest = digest.finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Ok(uuid::Builder::from_random_bytes(id).into_uuid())
    }

    /// About the bytes that are stored of the disk.
    fn stored_bytes(&mut self) -> Result<u64, Error> {
        let (mut stored, mut offset) = (0, 0);
        while offset < self.bytes() {
            let zeros = self.image.zeros_from(offset)? / UNIT_BYTES * UNIT_BYTES;
            stored += if zeros == 0 { UNIT_BYTES } else { 0 };
            offset += zeros.max(UNIT_BYTES);
        }
        Ok(stored)
    }
}

impl SparseDisk for Disk<'_> {
    fn size_bytes(&self) -> u64 {
        self.bytes()
    }

    fn zeros_from(&mut self, offset: u64) -> Result<u64, fam_image::Error> {
        self.image.zeros_from(offset)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), fam_image::Error> {
        if self.interrupts.received().is_some() {
            return Err(io::Error::other("interrupted").into());
        }
        self.image.read_at(offset, buffer)
    }
}

/// Checks that what is written has room. Compressed disks take half of what is stored at the worst
/// that systems of Debian come to; archives are made of a disk that is written first.
pub(super) fn require_room(directory: &Path, format: Format, disks: &mut [Disk<'_>]) -> Result<(), Error> {
    let mut stored = Vec::with_capacity(disks.len());
    for disk in disks {
        stored.push(disk.stored_bytes()?);
    }
    let (all, largest): (u64, u64) = (stored.iter().sum(), stored.iter().copied().max().unwrap_or(0));
    let needed = match format {
        Format::Vdi | Format::Vhdx => all,
        Format::Vmdk => all / 2,
        Format::Ova | Format::Oci | Format::Incus => (all + largest) / 2,
        Format::Proxmox => 0,
    };
    Ok(require_space(directory, "the export", needed + SPARE_BYTES)?)
}

/// The time of the build in `directory`, in seconds since 1970, as its bill of materials tells it. 0
/// where there is none, as with nodes of a tarball that has no packages.
pub(super) fn build_time(directory: &Path) -> i64 {
    let read = || -> Option<i64> {
        let path = directory.join(SBOM);
        let file = regular::open_with(&path, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()).ok()?;
        let mut text = String::new();
        file.take(LONGEST_SBOM).read_to_string(&mut text).ok()?;
        let document: Value = serde_json::from_str(&text).ok()?;
        let created = document["creationInfo"]["created"].as_str()?;
        Some(created.parse::<jiff::Timestamp>().ok()?.as_second())
    };
    read().unwrap_or(0)
}
