//! What a recipe says, typed. Every value has been checked by the time a [`Recipe`] exists.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::bounds::{Cpus, DiskSize, NodeCount, NodeMemory, SharedMemory};
use super::names::{Component, DiskLabel, KernelCommandLine, NodePrefix, PackageName, PluginName, Suite};

/// Everything about the machines to build that is worth writing down and keeping. Where the packages come from and where
/// the images go is a matter of the run, and belongs to [`Settings`](super::Settings).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What it is for, in a sentence.
    #[serde(default)]
    pub description: String,
    /// The suite to build from.
    pub suite: Suite,
    /// The architecture of the machines.
    #[serde(default)]
    pub architecture: Architecture,
    /// The components to take packages from.
    #[serde(default = "main_only")]
    pub components: Vec<Component>,
    /// Whether the suite's `-updates` are read, too.
    #[serde(default = "yes")]
    pub updates: bool,
    /// Whether the security archive is read, too.
    #[serde(default = "yes")]
    pub security: bool,
    /// The set of packages to begin with.
    #[serde(default)]
    pub variant: Variant,
    /// Packages to install beside the variant's.
    #[serde(default)]
    pub include: Vec<PackageName>,
    /// How much of the machine the initramfs can boot from.
    #[serde(default)]
    pub initramfs: Initramfs,
    /// The disk of each node.
    #[serde(default)]
    pub disk: Disk,
    /// The kernel.
    #[serde(default)]
    pub kernel: Kernel,
    /// The memory that the nodes share.
    #[serde(default)]
    pub fabric: Fabric,
    /// The nodes.
    #[serde(default)]
    pub nodes: Nodes,
    /// Customization, in the order of application.
    #[serde(default, rename = "plugin")]
    pub plugins: Vec<Plugin>,
}

/// An architecture that images can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// 64-bit x86.
    #[default]
    Amd64,
}

/// The set of packages that a system begins with, as mmdebstrap names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Packages marked essential, and what they depend on.
    Essential,
    /// Essential packages and apt.
    Apt,
    /// Packages of priority required, and apt.
    #[default]
    Minbase,
    /// Minbase and build-essential.
    Buildd,
    /// Packages of priority required and important, and apt.
    Important,
    /// Packages of priority required, important and standard.
    Standard,
}

/// What the initramfs holds drivers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Initramfs {
    /// The disks that virtual machines have: virtio, SCSI, SATA and those on PCI Express.
    #[default]
    Vm,
    /// Most hardware there is, as Debian's installer sets it up; larger and slower to make and to boot.
    Most,
}

/// The disk of each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disk {
    /// Its size as the guest sees it; the image takes only what is used.
    pub size: DiskSize,
    /// The label of the root file system.
    pub label: DiskLabel,
    /// Whether the clusters of the images are compressed.
    pub compress: Compression,
}

/// How the clusters of a disk image are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Zstandard: a third of the size; needs QEMU 5.1.
    #[default]
    Zstd,
    /// None: larger images, which a guest reads a little faster.
    None,
}

/// The kernel of the machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kernel {
    /// The package that brings it.
    pub package: PackageName,
    /// What GRUB passes to it beside the root file system.
    pub cmdline: KernelCommandLine,
}

/// The memory that all nodes share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fabric {
    /// The device that shows it to the guests.
    pub kind: FabricKind,
    /// How much of it there is.
    pub size: SharedMemory,
}

/// The device that shows the shared memory to the guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FabricKind {
    /// A PCI device, 1af4:1110 at 00:04.0, whose second base address register is the memory.
    #[default]
    Ivshmem,
}

/// The nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nodes {
    /// How many.
    pub count: NodeCount,
    /// The memory of each.
    pub memory: NodeMemory,
    /// The processors of each.
    pub cpus: Cpus,
    /// What their names begin with.
    pub name: NodePrefix,
}

/// One customization plugin to apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Which plugin.
    pub name: PluginName,
    /// The file that it is in, seen from the recipe's directory, where that is not to be found by the name.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// How many seconds it may take at each stage, of each node, if it is a file.
    #[serde(default, rename = "time-limit")]
    pub time_limit: Option<NonZeroU32>,
    /// Its settings, which the plugin itself checks.
    #[serde(default, deserialize_with = "as_json")]
    pub settings: Map<String, Value>,
}

fn yes() -> bool {
    true
}

/// A word that is written in this file and known to have the right form.
fn word<T: std::str::FromStr>(text: &str) -> T {
    match text.parse() {
        Ok(value) => value,
        Err(_) => unreachable!("the default `{text}` has the form that is asked for, as the tests show"),
    }
}

fn main_only() -> Vec<Component> {
    vec![word("main")]
}

impl Default for Disk {
    fn default() -> Self {
        Self { size: word("8G"), label: word("fabric"), compress: Compression::default() }
    }
}

impl Default for Kernel {
    fn default() -> Self {
        Self { package: word("linux-image-amd64"), cmdline: word("console=tty0 console=ttyS0,115200 net.ifnames=0") }
    }
}

impl Default for Fabric {
    fn default() -> Self {
        Self { kind: FabricKind::default(), size: word("1G") }
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self { count: word("4"), memory: word("1G"), cpus: word("2"), name: word("fabric") }
    }
}

macro_rules! show_as_written {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        }
    )*};
}

show_as_written!(Architecture, Variant, Initramfs, Compression, FabricKind);

/// Settings of plugins travel as JSON, which has neither dates nor infinities: a date becomes a string, an infinity is
/// an error.
fn as_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    /// Under this key the toml crate hands a date to formats that have none.
    const DATE: &str = "$__toml_private_datetime";

    fn settle(value: Value) -> Result<Value, &'static str> {
        match value {
            Value::Null => Err("a setting of a plugin cannot be infinite or no number"),
            Value::Array(values) => values.into_iter().map(settle).collect(),
            Value::Object(mut map) => match map.remove(DATE) {
                Some(date) => Ok(date),
                None => settle_map(map).map(Value::Object),
            },
            plain => Ok(plain),
        }
    }

    fn settle_map(map: Map<String, Value>) -> Result<Map<String, Value>, &'static str> {
        map.into_iter().map(|(key, value)| Ok((key, settle(value)?))).collect()
    }

    settle_map(Map::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
