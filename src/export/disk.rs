//! The disks of a node while they are exported, and what is known beforehand of all of them.

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
use super::facts::{Facts, Machine};
use crate::fabric::{cloud_init, image_of_disk};
use crate::recipe::{DiskLabel, SectorSize};

/// The bill of materials of a build, which has its time.
const SBOM: &str = "fabric.spdx.json";
const LONGEST_SBOM: u64 = 64 << 20;
/// Stretches of a disk in which something is stored are counted in this unit: formats of fixed
/// blocks store no less.
const UNIT_BYTES: u64 = 1 << 20;
const SPARE_BYTES: u64 = 64 << 20;

/// What a disk is to its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// The node boots from it.
    Boot,
    /// It is one of the recipe's further disks, of this label.
    Further(DiskLabel),
    /// cloud-init reads it.
    Seed,
}

impl Role {
    /// What tells the disk from others of its node; nothing of the one that it boots from.
    pub(super) fn label(&self) -> Option<&str> {
        match self {
            Self::Boot => None,
            Self::Further(label) => Some(label.as_str()),
            Self::Seed => Some("seed"),
        }
    }

    /// The size of its sectors, where disks of the build have those of `built`. A seed is FAT with
    /// sectors of 512 bytes, and no disk with larger ones holds such.
    pub(super) fn sector_size(&self, built: SectorSize) -> SectorSize {
        if *self == Self::Seed { SectorSize::Bytes512 } else { built }
    }
}

/// A disk of a node. Reading it ends when the program is told to stop.
#[derive(Debug)]
pub(super) struct Disk<'a> {
    pub(super) role: Role,
    /// The name of its file.
    pub(super) file_name: String,
    image: Image,
    interrupts: &'a Interrupts,
}

impl<'a> Disk<'a> {
    /// Opens all disks of `machine` in `directory`: the one that it boots from, the further ones in the
    /// order of the recipe, then its seed for cloud-init, if there is one.
    pub(super) fn all_of(
        directory: &Path,
        facts: &Facts,
        machine: &Machine,
        interrupts: &'a Interrupts,
    ) -> Result<Vec<Self>, Error> {
        let name = &machine.name;
        let mut roles = vec![Role::Boot];
        roles.extend(facts.further_disks.iter().cloned().map(Role::Further));
        // As the launch script has it: nodes are started with it where it is there.
        if fs_err::symlink_metadata(directory.join(cloud_init::image(name))).is_ok() {
            let seed = Role::Seed.label();
            if roles.iter().any(|role| role.label().map(str::to_ascii_lowercase).as_deref() == seed) {
                return Err(Error::TwoSeeds(name.clone()));
            }
            roles.push(Role::Seed);
        }
        roles.into_iter().map(|role| Self::open(directory, name, role, interrupts)).collect()
    }

    fn open(directory: &Path, node: &str, role: Role, interrupts: &'a Interrupts) -> Result<Self, Error> {
        let file_name = match &role {
            Role::Boot => format!("{node}.qcow2"),
            Role::Further(label) => image_of_disk(node, label.as_str()),
            Role::Seed => cloud_init::image(node),
        };
        let path = directory.join(&file_name);
        // The directory may be /tmp, where anybody can put an image that stands on a secret file.
        let is_own = fs_err::symlink_metadata(&path).is_ok_and(|metadata| regular::is_own(&metadata));
        let image = if role == Role::Seed { Image::open_raw(&path)? } else { Image::open(&path)? };
        if is_own { Ok(Self { role, file_name, image, interrupts }) } else { Err(Error::Foreign(path)) }
    }

    /// What the names of its files begin with: that of the node, and the label.
    pub(super) fn stem(&self) -> &str {
        self.file_name.rsplit_once('.').map_or(&self.file_name, |(stem, _)| stem)
    }

    /// Whether it is written anew for `format`. Incus attaches raw files as they are.
    pub(super) fn is_written_for(&self, format: Format) -> bool {
        (format, &self.role) != (Format::Incus, &Role::Seed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    /// Checks that nothing wrote to the image while it was read.
    pub(super) fn require_unchanged(&self) -> Result<(), Error> {
        Ok(self.image.require_unchanged()?)
    }

    /// A number for the disk in a format that tells disks apart by numbers. It follows from the
    /// disk's name and its first bytes, among which its own number is (GPT, or the file system's), so
    /// that two clusters differ, and the same disk has it again.
    pub(super) fn id(&mut self, format: Format) -> Result<Uuid, Error> {
        let mut start = vec![0; UNIT_BYTES.min(self.bytes()) as usize];
        self.read_at(0, &mut start)?;
        let begin = format!("fam-build export {format} {}\n", self.stem());
        let digest = Sha256::new().chain_update(begin).chain_update(start);
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

/// Checks that what is written of these nodes has room. Compressed disks take half of what is stored at
/// the worst that systems of Debian come to; archives are made of disks that are written first: of
/// one, or in an OVA of all that a node has.
pub(super) fn require_room(directory: &Path, format: Format, nodes: &mut [Vec<Disk<'_>>]) -> Result<(), Error> {
    let (mut all, mut plain, mut most_unfinished) = (0, 0, 0);
    for disks in nodes {
        let mut unfinished = 0;
        for disk in disks.iter_mut().filter(|disk| disk.is_written_for(format)) {
            let stored = disk.stored_bytes()?;
            match (format, &disk.role) {
                (Format::Vdi | Format::Vhdx, _) | (Format::Incus, Role::Further(_)) => plain += stored,
                (Format::Ova, _) => unfinished += stored,
                (Format::Oci | Format::Incus, _) => unfinished = stored.max(unfinished),
                (Format::Vmdk | Format::Proxmox, _) => {}
            }
            all += stored;
        }
        most_unfinished = unfinished.max(most_unfinished);
    }
    let needed = plain + (all - plain + most_unfinished) / 2;
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
