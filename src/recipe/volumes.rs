//! What a recipe's disks hold beside the system: swap, partitions, and further disks.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

use super::bounds::{OutOfBounds, VolumeSize};
use super::items::SectorSize;
use super::model::Disk;
use super::names::{DiskLabel, MountPoint};

/// Partitions that a table has room for, beside those that every disk has and swap.
const MOST_PARTITIONS: usize = 100;
/// Disks that a machine has slots for, beside the one that it boots from.
const MOST_DISKS: usize = 10;

/// What is in a partition or disk of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, Display, EnumString)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum VolumeFormat {
    /// An ext4 file system; 16M at least.
    #[default]
    Ext4,
    /// A FAT32 file system; 64M to 1T, 260M at least where sectors have 4096 bytes.
    Vfat,
    /// Nothing: it is left to the guest.
    None,
}

/// A partition beside those that every disk has, or a disk beside the one that nodes boot from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenVolume", into = "WrittenVolume")]
pub struct Volume {
    /// Its size.
    pub size: VolumeSize,
    /// The label of its file system, the name of the partition, or the serial number of the disk.
    pub label: DiskLabel,
    /// What is in it.
    pub format: VolumeFormat,
    /// Where it is mounted, if it is.
    pub mount: Option<MountPoint>,
    /// The directory whose content it gets, relative to that of the recipe.
    pub source: Option<String>,
}

impl JsonSchema for Volume {
    fn schema_name() -> Cow<'static, str> {
        WrittenVolume::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        WrittenVolume::json_schema(generator)
    }
}

/// A partition beside those that every disk has, or a disk beside the one that nodes boot from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Volume")]
struct WrittenVolume {
    /// Its size.
    size: VolumeSize,
    /// Its name: the label of its file system, the name of the partition, the serial number of the
    /// disk. FAT takes 11 characters, without a dot.
    label: DiskLabel,
    /// What is in it.
    #[serde(default, rename = "type")]
    #[schemars(extend("default" = VolumeFormat::default()))]
    format: VolumeFormat,
    /// Where the nodes mount it: what the system has under this directory lies in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mount: Option<MountPoint>,
    /// A directory, seen from that of this recipe, whose content it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    source: Option<String>,
}

impl TryFrom<WrittenVolume> for Volume {
    type Error = &'static str;

    fn try_from(written: WrittenVolume) -> Result<Self, Self::Error> {
        let WrittenVolume { size, label, format, mount, source } = written;
        let mib = size.get().mebibytes();
        match format {
            VolumeFormat::None if mount.is_some() => return Err("what has no file system cannot have a `mount`"),
            VolumeFormat::None if source.is_some() => return Err("what has no file system cannot have a `source`"),
            VolumeFormat::Ext4 if mib < 16 => return Err("the `size` of an ext4 file system must be 16M or more"),
            VolumeFormat::Vfat if !(64..=1 << 20).contains(&mib) => {
                return Err("the `size` of a vfat file system must be from 64M to 1T");
            }
            VolumeFormat::Vfat if label.as_str().len() > 11 || label.as_str().contains('.') => {
                return Err("the `label` of a vfat file system must be 1 to 11 of a-z, A-Z, 0-9, - and _");
            }
            _ => {}
        }
        Ok(Self { size, label, format, mount, source })
    }
}

impl From<Volume> for WrittenVolume {
    fn from(volume: Volume) -> Self {
        let Volume { size, label, format, mount, source } = volume;
        Self { size, label, format, mount, source }
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.label, self.size, self.format)?;
        if let Some(mount) = &self.mount {
            write!(f, " on {mount}")?;
        }
        self.source.as_ref().map_or(Ok(()), |source| write!(f, " from {source}"))
    }
}

/// The size of a swap partition, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Swap(Option<VolumeSize>);

impl Swap {
    /// The size, if there is a swap partition.
    #[must_use]
    pub fn size(self) -> Option<VolumeSize> {
        self.0
    }
}

impl FromStr for Swap {
    type Err = OutOfBounds;

    fn from_str(text: &str) -> Result<Self, OutOfBounds> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|size| Self(Some(size))) }
    }
}

impl TryFrom<String> for Swap {
    type Error = OutOfBounds;

    fn try_from(text: String) -> Result<Self, OutOfBounds> {
        text.parse()
    }
}

impl From<Swap> for String {
    fn from(swap: Swap) -> Self {
        swap.to_string()
    }
}

impl fmt::Display for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(size) => size.fmt(f),
            None => f.write_str("none"),
        }
    }
}

impl JsonSchema for Swap {
    fn schema_name() -> Cow<'static, str> {
        "Swap".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<VolumeSize>(), { "type": "string", "const": "none" }] })
    }
}

/// Two partitions or disks that contradict each other, or too many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// Two have one label.
    #[error("two partitions or disks are called {0}")]
    Label(DiskLabel),
    /// Two have one mount point.
    #[error("two partitions or disks are to be mounted on {0}")]
    Mount(MountPoint),
    /// A FAT32 has more clusters than so many sectors are.
    #[error("the vfat file system {label} must have {}M or more where sectors have {sector_size} bytes", least_fat_mib(*.sector_size))]
    FatTooSmall {
        /// The label of its partition or disk.
        label: DiskLabel,
        /// The size of the sectors.
        sector_size: SectorSize,
    },
    /// There are more than a disk or a machine takes.
    #[error("{given} of {key}, where at most {most} can be")]
    TooMany {
        /// The key of the recipe.
        key: &'static str,
        /// How many there are.
        given: usize,
        /// How many there can be.
        most: usize,
    },
}

/// The size of the smallest FAT32 in mebibytes.
pub(super) fn least_fat_mib(sector_size: SectorSize) -> u64 {
    sector_size.least_fat_bytes() >> 20
}

/// The label of the swap partition.
pub const SWAP_LABEL: &str = "swap";

impl Disk {
    /// Checks the partitions and disks against each other.
    pub(super) fn check(&self) -> Result<(), Clash> {
        for (key, given, most) in [
            ("[[disk.partition]]", self.partitions.len(), MOST_PARTITIONS),
            ("[[disk.more]]", self.more.len(), MOST_DISKS),
        ] {
            if given > most {
                return Err(Clash::TooMany { key, given, most });
            }
        }
        let (mut labels, mut mounts) = (BTreeSet::new(), BTreeSet::new());
        for volume in self.partitions.iter().chain(&self.more).map(|listed| &listed.what) {
            // FAT has no lower case.
            if !labels.insert(volume.label.as_str().to_ascii_lowercase())
                || volume.label == self.label.value
                || (self.swap.size().is_some() && volume.label.as_str() == SWAP_LABEL)
            {
                return Err(Clash::Label(volume.label.clone()));
            }
            let sector_size = self.sector_size.value;
            if volume.format == VolumeFormat::Vfat && volume.size.get().mebibytes() < least_fat_mib(sector_size) {
                return Err(Clash::FatTooSmall { label: volume.label.clone(), sector_size });
            }
            if let Some(mount) = &volume.mount
                && !mounts.insert(mount)
            {
                return Err(Clash::Mount(mount.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fam_progress::Hint;

    use super::*;
    use crate::recipe::{Environment, Flags, Recipe, Settings};

    fn disk(text: &str) -> Result<Disk, String> {
        let recipe = Recipe::parse("x.toml", &format!("suite = 'sid'\n{text}"));
        recipe.map(|recipe| recipe.disk).map_err(|error| error.to_string())
    }

    #[test]
    fn volumes_of_each_kind() {
        let disk = disk(
            "disk.swap = '1G'\n[[disk.partition]]\nsize = '64M'\nlabel = 'seed'\ntype = 'vfat'\nsource = './seed'\n\
             [[disk.more]]\nsize = '2G'\nlabel = 'data'\nmount = '/srv/data'\n\
             [[disk.more]]\nsize = '1M'\nlabel = 'raw'\ntype = 'none'",
        )
        .unwrap();
        let shown = |volumes: &[crate::recipe::Listed<Volume>]| -> Vec<String> {
            volumes.iter().map(|listed| listed.what.to_string()).collect()
        };
        assert_eq!(disk.swap.to_string(), "1G");
        assert_eq!(shown(&disk.partitions), ["seed 64M vfat from ./seed"]);
        assert_eq!(shown(&disk.more), ["data 2G ext4 on /srv/data", "raw 1M none"]);
        assert_eq!(disk.check(), Ok(()));
    }

    #[test]
    fn volumes_that_cannot_be() {
        for (text, message) in [
            ("label = 'a'", "missing key `size`"),
            ("size = '1G'", "missing key `label`"),
            ("size = '1G'\nlabel = 'a b'", "`a b` is no disk label"),
            ("size = '1000'\nlabel = 'a'", "the volume size must be whole mebibytes from 1M to 16T, not 1000"),
            ("size = '15M'\nlabel = 'a'", "16M or more"),
            ("size = '63M'\nlabel = 'a'\ntype = 'vfat'", "from 64M to 1T"),
            ("size = '2T'\nlabel = 'a'\ntype = 'vfat'", "from 64M to 1T"),
            ("size = '1G'\nlabel = 'twelve-chars'\ntype = 'vfat'", "1 to 11 of"),
            ("size = '1G'\nlabel = 'a.b'\ntype = 'vfat'", "1 to 11 of"),
            ("size = '1G'\nlabel = 'a'\ntype = 'none'\nmount = '/srv'", "cannot have a `mount`"),
            ("size = '1G'\nlabel = 'a'\ntype = 'none'\nsource = 'x'", "cannot have a `source`"),
            ("size = '1G'\nlabel = 'a'\ntype = 'ext3'", "unknown value `ext3` (did you mean `ext4`?)"),
            ("size = '1G'\nlabel = 'a'\nmount = 'srv'", "`srv` is no mount point"),
            ("size = '1G'\nlabel = 'a'\nmnt = '/srv'", "unknown key `mnt`"),
        ] {
            for key in ["partition", "more"] {
                let error = disk(&format!("[[disk.{key}]]\n{text}")).unwrap_err();
                assert!(error.contains(message), "{text}: {error}");
            }
        }
        assert!(disk("disk.swap = 'nine'").unwrap_err().contains("`nine` is no size"));
    }

    #[test]
    fn volumes_that_contradict_each_other() {
        let vfat = |sector_size: u32, mib: u32| {
            let volume = format!("[[disk.more]]\nsize = '{mib}M'\nlabel = 'seed'\ntype = 'vfat'\n");
            format!("disk.sector-size = {sector_size}\n{volume}")
        };
        assert_eq!(disk(&vfat(512, 64)).unwrap().check(), Ok(()));
        assert_eq!(disk(&vfat(4096, 260)).unwrap().check(), Ok(()));
        let volume = |key: &str, label: &str, mount: &str| {
            format!("[[disk.{key}]]\nsize = '64M'\nlabel = '{label}'\nmount = '{mount}'\n")
        };
        for (text, message) in [
            (volume("partition", "a", "/a") + &volume("more", "A", "/b"), "two partitions or disks are called A"),
            (volume("partition", "fabric", "/a"), "called fabric"),
            (vfat(4096, 259), "the vfat file system seed must have 260M or more where sectors have 4096 bytes"),
            (format!("disk.swap = '1G'\n{}", volume("more", "swap", "/a")), "called swap"),
            (volume("more", "a", "/a") + &volume("more", "b", "/a"), "are to be mounted on /a"),
            (
                (0..11).map(|n| volume("more", &format!("n{n}"), &format!("/n{n}"))).collect(),
                "11 of [[disk.more]], where at most 10 can be",
            ),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("x.toml");
            fs_err::write(&file, format!("suite = 'sid'\n{text}")).unwrap();
            let flags = Flags { recipe: Some(file.display().to_string()), ..Flags::default() };
            let error = Settings::new(flags, &Environment::default()).unwrap_err();
            assert!(error.to_string().contains(message), "{text}: {error}");
            assert!(error.hint().is_some());
        }
    }
}
