//! What nodes have beside the three partitions of their disk: swap, partitions and further disks. What
//! of them can be wrong without the network, their lines in /etc/fstab, and what the images are laid
//! out from.

use std::fmt::Write as _;
use std::sync::Arc;

use fam_image::{DiskLayout, Format, Identity, VolumeIdentity};
use fam_tree::RootPath;

use super::Error;
use super::volume_sources::{self, Sources};
use crate::recipe::{Disk, Listed, MountPoint, SWAP_LABEL, Settings, Volume, VolumeFormat};

/// A partition or a disk, as its image is made.
#[derive(Debug)]
struct Planned<'a> {
    label: &'a str,
    size_bytes: u64,
    format: Format,
    mount: Option<&'a MountPoint>,
}

impl<'a> Planned<'a> {
    fn new(Listed { what, .. }: &'a Listed<Volume>) -> Self {
        let format = match what.format {
            VolumeFormat::Ext4 => Format::Ext4,
            VolumeFormat::Vfat => Format::Vfat,
            VolumeFormat::None => Format::None,
        };
        Self { label: what.label.as_str(), size_bytes: what.size.get().bytes(), format, mount: what.mount.as_ref() }
    }
}

/// The partitions of `disk` in the order of the table: swap is the first.
fn partitions(disk: &Disk) -> Vec<Planned<'_>> {
    let swap = disk.swap.size().map(|size| Planned {
        label: SWAP_LABEL,
        size_bytes: size.get().bytes(),
        format: Format::Swap,
        mount: None,
    });
    swap.into_iter().chain(disk.partitions.iter().map(Planned::new)).collect()
}

fn further_disks(disk: &Disk) -> Vec<Planned<'_>> {
    disk.more.iter().map(Planned::new).collect()
}

/// The labels of the partitions, in the order of the table.
pub(super) fn partition_labels(disk: &Disk) -> Vec<&str> {
    partitions(disk).iter().map(|volume| volume.label).collect()
}

/// The labels of the further disks, in the order of the recipe.
pub(super) fn disk_labels(disk: &Disk) -> Vec<&str> {
    further_disks(disk).iter().map(|volume| volume.label).collect()
}

/// Checks, as far as it shows without the network, that the disk has room for its partitions, and
/// the volumes for the directories whose content they get.
///
/// # Errors
/// [`Error`]
pub(super) fn check(settings: &Settings) -> Result<(), Error> {
    layout(settings)?;
    volume_sources::survey(&settings.recipe.disk).map(drop)
}

/// Where the partitions lie, if the ESP is as small as it can be.
///
/// # Errors
/// The disk is too small for them.
pub(super) fn layout(settings: &Settings) -> Result<DiskLayout, Error> {
    let disk = &settings.recipe.disk;
    let further: Vec<u64> = partitions(disk).iter().map(|volume| volume.size_bytes).collect();
    Ok(DiskLayout::new(disk.size.get().bytes(), disk.sector_size.value, 0, &further)?)
}

/// The bytes of all volumes that hold parts of the system.
pub(super) fn mounted_bytes(disk: &Disk) -> u64 {
    let volumes = partitions(disk).into_iter().chain(further_disks(disk));
    volumes.filter(|volume| volume.mount.is_some()).map(|volume| volume.size_bytes).sum()
}

/// The directories on which volumes are mounted, those above others first.
pub(super) fn mount_points(disk: &Disk) -> Vec<&MountPoint> {
    let volumes = disk.partitions.iter().chain(&disk.more);
    let mut mounts: Vec<_> = volumes.filter_map(|listed| listed.what.mount.as_ref()).collect();
    mounts.sort();
    mounts
}

/// The lines of /etc/fstab for swap and what is mounted, by the numbers of `ids`.
pub(super) fn fstab(disk: &Disk, ids: &Identity) -> String {
    let mut lines = String::new();
    let mut mounted = Vec::new();
    for (volume, id) in partitions(disk).into_iter().zip(&ids.partitions) {
        if volume.format == Format::Swap {
            let _ = writeln!(lines, "UUID={}\tnone\tswap\tsw\t0\t0", uuid(&volume, id));
        }
        mounted.extend(volume.mount.map(|mount| (mount, "", uuid(&volume, id), volume.format)));
    }
    for (volume, id) in further_disks(disk).into_iter().zip(&ids.disks) {
        // A node that is started without the disk waits for it, and then does without.
        let options = ",nofail,x-systemd.before=local-fs.target";
        mounted.extend(volume.mount.map(|mount| (mount, options, uuid(&volume, id), volume.format)));
    }
    // By the paths, so that what is mounted on another file system comes after that.
    mounted.sort_unstable_by_key(|&(mount, ..)| mount);
    for (mount, more, uuid, format) in mounted {
        // fsck.vfat is in a package that hardly any system has.
        let (kind, options, pass) =
            if format == Format::Vfat { ("vfat", "umask=0022", 0) } else { ("ext4", "defaults", 2) };
        let _ = writeln!(lines, "UUID={uuid}\t{mount}\t{kind}\t{options}{more}\t0\t{pass}");
    }
    lines
}

/// The UUIDs of all volumes, as files of a system have them.
pub(super) fn uuids(disk: &Disk, ids: &Identity) -> Vec<String> {
    let partitions = partitions(disk).into_iter().zip(&ids.partitions);
    let disks = further_disks(disk).into_iter().zip(&ids.disks);
    partitions.chain(disks).map(|(volume, id)| uuid(&volume, id)).collect()
}

fn uuid(volume: &Planned<'_>, id: &VolumeIdentity) -> String {
    match volume.format {
        Format::Vfat => super::disk_ids::serial_number(id.volume_id()),
        Format::None | Format::Swap | Format::Ext4 => id.fs_uuid.to_string(),
    }
}

/// The volumes as images are laid out from them, partitions and disks, with the content of
/// `sources`. Their metadata is that of the numbers `layout`.
pub(super) fn to_lay_out(
    disk: &Disk,
    layout: &Identity,
    sources: &Sources,
) -> (Vec<fam_image::Volume>, Vec<fam_image::Volume>) {
    let volume = |(planned, id): (Planned<'_>, &VolumeIdentity)| fam_image::Volume {
        label: planned.label.to_owned(),
        size_bytes: planned.size_bytes,
        format: planned.format,
        mount: planned.mount.map(|mount| RootPath::new(mount.as_str()).expect("a mount point is a path")),
        source: sources.tree(planned.label).map(Arc::clone),
        layout_uuid: id.fs_uuid,
    };
    let partitions = partitions(disk).into_iter().zip(&layout.partitions).map(volume).collect();
    let disks = further_disks(disk).into_iter().zip(&layout.disks).map(volume).collect();
    (partitions, disks)
}

#[cfg(test)]
mod tests {
    use super::super::disk_ids;
    use super::*;
    use crate::recipe::Recipe;

    fn disk(text: &str) -> Disk {
        Recipe::parse("x.toml", &format!("suite = 'sid'\n{text}")).unwrap().disk
    }

    #[test]
    fn a_table_names_swap_then_what_is_mounted_by_its_path() {
        let disk = disk(
            "disk.swap = '1G'\n[[disk.partition]]\nsize = '1G'\nlabel = 'deep'\nmount = '/srv/a/b'\n\
             [[disk.partition]]\nsize = '64M'\nlabel = 'boot2'\ntype = 'vfat'\nmount = '/mnt'\n\
             [[disk.more]]\nsize = '1G'\nlabel = 'data'\nmount = '/srv'\n\
             [[disk.more]]\nsize = '1G'\nlabel = 'blank'\ntype = 'none'",
        );
        let ids = disk_ids::of_template(&disk);
        let uuids = uuids(&disk, &ids);
        let [swap, deep, vfat, data, blank] = uuids.as_slice() else { panic!("{uuids:?}") };
        assert_eq!((swap.len(), deep.len(), vfat.len(), blank.len()), (36, 36, 9, 36));
        assert_eq!(
            fstab(&disk, &ids),
            format!(
                "UUID={swap}\tnone\tswap\tsw\t0\t0\nUUID={vfat}\t/mnt\tvfat\tumask=0022\t0\t0\n\
                 UUID={data}\t/srv\text4\tdefaults,nofail,x-systemd.before=local-fs.target\t0\t2\n\
                 UUID={deep}\t/srv/a/b\text4\tdefaults\t0\t2\n"
            )
        );
        assert_eq!(mounted_bytes(&disk), (2 << 30) + (64 << 20));
    }

    #[test]
    fn numbers_follow_from_labels_alone() {
        let one = disk("[[disk.partition]]\nsize = '1G'\nlabel = 'a'\n[[disk.more]]\nsize = '1G'\nlabel = 'b'");
        let two = disk(
            "disk.swap = '2G'\n[[disk.partition]]\nsize = '2G'\nlabel = 'b'\n[[disk.partition]]\nsize = '2G'\nlabel = 'a'",
        );
        let (one, two) = (disk_ids::of_template(&one), disk_ids::of_template(&two));
        assert_eq!(one.partitions[0], two.partitions[2]);
        assert_eq!(one.disks[0], two.partitions[1]);
        assert_ne!(two.partitions[0], two.partitions[1]);
        assert_ne!(one.partitions[0].guid, one.partitions[0].fs_uuid);
    }
}
