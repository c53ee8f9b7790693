//! The numbers of disks, and the files of a system that name its disk by them.
//!
//! The template's numbers are the same in every build, so its files can name its disk. A node with
//! numbers of its own gets these files with its own numbers in the place of the template's.

use std::sync::Arc;

use fam_image::{Identity, VolumeIdentity};
use fam_plugin::{Scope, Secrets};
use fam_tree::{Change, Content, Entry, Kind, Overlay, RootPath};
use sha2::{Digest, Sha256};

use super::template::Template;
use super::volumes;
use crate::recipe::Disk;

/// The files that name file systems by their UUID. The last is of the signed GRUB.
const NAMING: [&str; 3] = ["etc/fstab", "boot/grub/grub.cfg", "boot/efi/EFI/debian/grub.cfg"];

/// The numbers of all disks of a build.
#[derive(Debug)]
pub(super) struct DiskIds {
    /// Those of the template's disk.
    pub(super) template: Identity,
    /// What the recipe has on the disks.
    disk: Disk,
    /// What those of nodes are derived from; `None` where all nodes have the template's.
    secrets: Option<Secrets>,
}

impl DiskIds {
    /// The template's numbers, and with `secrets` numbers of its own for each node.
    pub(super) fn new(disk: &Disk, secrets: Option<Secrets>) -> Self {
        Self { template: of_template(disk), disk: disk.clone(), secrets }
    }

    /// The numbers of the disk of node `number`, counted from 1.
    pub(super) fn of_node(&self, number: u32) -> Identity {
        let Some(secrets) = &self.secrets else { return self.template.clone() };
        identity(&self.disk, |part| secrets.derive(Scope::Node(number), &format!("image/{part}")))
    }

    /// Has the files of node `number` name its own disk where they name the template's. `overlay`
    /// holds what plugins changed for this node.
    pub(super) fn name_own_disk(&self, number: u32, template: &Template, overlay: &mut Overlay) {
        let own = self.of_node(number);
        if own == self.template {
            return;
        }
        for path in NAMING.iter().filter_map(|path| RootPath::new(path).ok()) {
            let entry = match overlay.get(&path) {
                Some(Change::Put(entry)) => entry,
                Some(Change::Remove) => continue,
                None => match template.tree.get(&path) {
                    Some(entry) => entry,
                    None => continue,
                },
            };
            // What is no file, or no text, is not what names disks.
            let Some(text) = template.text_of(entry) else { continue };
            let mut named = text.clone();
            for (of_template, of_node) in self.uuids(&self.template).iter().zip(&self.uuids(&own)) {
                named = named.replace(of_template, of_node);
            }
            if named != text {
                let kind = Kind::File(Content::Inline(Arc::from(named.into_bytes())));
                overlay.set(path, Change::Put(Entry { kind, ..entry.clone() }));
            }
        }
    }

    /// How files name all that these numbers are of.
    fn uuids(&self, identity: &Identity) -> Vec<String> {
        let mut uuids = vec![root_uuid(identity), esp_uuid(identity)];
        uuids.extend(volumes::uuids(&self.disk, identity));
        uuids
    }
}

/// The UUID of the root file system, as /etc/fstab and kernels' command lines have it.
pub(super) fn root_uuid(identity: &Identity) -> String {
    identity.fs_uuid.to_string()
}

/// The volume id of the EFI system partition, as files name it.
pub(super) fn esp_uuid(identity: &Identity) -> String {
    serial_number(identity.esp_volume_id)
}

/// The serial number of a FAT, as Linux shows it in place of a UUID.
pub(super) fn serial_number(id: u32) -> String {
    format!("{:04X}-{:04X}", id >> 16, id & 0xffff)
}

/// The numbers of the disks of every template with these volumes. No secret goes into them, nor
/// anything of the recipe but the labels of volumes: a tarball may become disks of another recipe.
pub(super) fn of_template(disk: &Disk) -> Identity {
    identity(disk, |part| Sha256::digest(format!("fam-build template disk {part}")).into())
}

/// Numbers for the disks of a machine, from 32 bytes for each part that nothing else is made of.
fn identity(disk: &Disk, bytes: impl Fn(&str) -> [u8; 32]) -> Identity {
    let [a, b, c] = ["a", "b", "c"].map(&bytes);
    let uuid = |bytes: &[u8]| {
        let mut half = [0; 16];
        half.copy_from_slice(&bytes[..16]);
        // Version 4 in form; where the bytes come from does not show.
        uuid::Builder::from_random_bytes(half).into_uuid()
    };
    let volume = |label: &str| {
        let bytes = bytes(&format!("volume {label}"));
        VolumeIdentity { guid: uuid(&bytes[..16]), fs_uuid: uuid(&bytes[16..]) }
    };
    Identity {
        disk_guid: uuid(&a[..16]),
        bios_guid: uuid(&a[16..]),
        esp_guid: uuid(&b[..16]),
        root_guid: uuid(&b[16..]),
        fs_uuid: uuid(&c[..16]),
        esp_volume_id: u32::from_le_bytes([c[16], c[17], c[18], c[19]]),
        partitions: volumes::partition_labels(disk).into_iter().map(volume).collect(),
        disks: volumes::disk_labels(disk).into_iter().map(volume).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fat_shows_its_volume_id_as_linux_does() {
        let identity = Identity { esp_volume_id: 0x0a1b_002c, ..of_template(&Disk::default()) };
        assert_eq!(esp_uuid(&identity), "0A1B-002C");
    }
}
