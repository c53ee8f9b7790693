//! What a recipe says, typed. Every value has been checked by the time a [`Recipe`] exists.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::bounds::{Cpus, DiskSize, NodeCount, NodeMemory, SharedMemory};
use super::debconf::Answer;
use super::names::{Component, DiskLabel, KernelCommandLine, NodePrefix, PackageName, PathPattern, PluginName, Suite};
pub use crate::archive::resolve::Variant;
pub use crate::image::qcow2::Compression;
pub use crate::rootfs::configure::Initramfs;

/// Everything about the machines to build that is worth writing down and keeping. Where the
/// packages come from and where the images go is a matter of the run, and belongs to
/// [`Settings`](super::Settings).
///
/// A recipe file says part of it: see [`Written`](super::written::Written), which has the same
/// keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// What it is for, in a sentence.
    pub description: String,
    /// The suite to build from.
    pub suite: Suite,
    /// The architecture of the machines.
    pub architecture: Architecture,
    /// The components to take packages from.
    pub components: Vec<Component>,
    /// Whether the suite's `-updates` are read, too.
    pub updates: bool,
    /// Whether the security archive is read, too.
    pub security: bool,
    /// Files with certificates of authorities to trust in addition to the host's, for https
    /// mirrors.
    #[serde(rename = "ca-certificates")]
    pub ca_certificates: Vec<PathBuf>,
    /// The set of packages to begin with.
    pub variant: Variant,
    /// Packages to install beside the variant's.
    pub include: Vec<PackageName>,
    /// Answers to questions of packages, in the order in which debconf takes them.
    pub debconf: Vec<Listed<Preseed>>,
    /// Which paths of packages are left out. Of the rules that fit a path, the last decides.
    pub paths: Vec<Listed<PathRule>>,
    /// How much of the machine the initramfs can boot from.
    pub initramfs: Initramfs,
    /// The disk of each node.
    pub disk: Disk,
    /// The kernel.
    pub kernel: Kernel,
    /// The memory that the nodes share.
    pub fabric: Fabric,
    /// The nodes.
    pub nodes: Nodes,
    /// Customization, in the order of application.
    pub plugins: Vec<Plugin>,
}

/// A recipe as something in it refers to it: by what people call it, and where the files beside it
/// are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The name of a shipped recipe, or the path of a file.
    pub recipe: String,
    /// The directory that a file is in. A shipped recipe has no files beside it.
    pub directory: Option<PathBuf>,
}

impl Source {
    /// The shipped recipe of this name.
    pub(super) fn shipped(name: &str) -> Self {
        Self { recipe: name.to_owned(), directory: None }
    }

    /// The recipe in this file.
    pub(super) fn file(path: &Path) -> std::io::Result<Self> {
        // The worker may have another current directory.
        let directory = std::path::absolute(path)?.parent().map(Path::to_owned);
        Ok(Self { recipe: path.display().to_string(), directory })
    }
}

/// What a recipe lists, and the recipe that does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// What it lists.
    pub what: T,
    /// The recipe.
    pub source: Source,
}

/// Answers to questions of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preseed {
    /// One.
    Answer(Answer),
    /// All those of a file, seen from the directory of the recipe.
    File(String),
}

impl fmt::Display for Preseed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => answer.fmt(f),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}

/// A rule for paths of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PathRule {
    /// What fits the pattern is left out.
    Exclude(PathPattern),
    /// What fits the pattern is not left out, though an earlier rule says so.
    Include(PathPattern),
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exclude(pattern) => write!(f, "exclude {pattern}"),
            Self::Include(pattern) => write!(f, "include {pattern}"),
        }
    }
}

/// An architecture that images can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// 64-bit x86.
    #[default]
    Amd64,
}

/// A table of a recipe, twice: with all its values, and as a file writes it, which may leave out
/// any.
macro_rules! table {
    (
        $(#[$doc:meta])* $name:ident, $written:ident, $key:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: word($default),)* }
            }
        }

        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        #[schemars(rename = $key)]
        pub(super) struct $written {
            $(
                $(#[$field_doc])*
                #[schemars(extend("default" = word::<$type>($default)))]
                $field: Option<$type>,
            )*
        }

        impl $written {
            /// Puts what is written over `table`, and tells the names of what it wrote.
            pub(super) fn lay(self, table: &mut $name, mut wrote: impl FnMut(&'static str)) {
                $(
                    if let Some(value) = self.$field {
                        table.$field = value;
                        wrote(concat!($key, ".", stringify!($field)));
                    }
                )*
            }
        }
    };
}

table! {
    /// The disk of each node.
    Disk, WrittenDisk, "disk" {
        /// Its size as the guest sees it; the image takes only what is used.
        size: DiskSize = "8G",
        /// The label of the root file system.
        label: DiskLabel = "fabric",
        /// Whether the clusters of the images are compressed.
        compress: Compression = "zstd",
    }
}

table! {
    /// The kernel of the machines.
    Kernel, WrittenKernel, "kernel" {
        /// The package that brings it.
        package: PackageName = "linux-image-amd64",
        /// What GRUB passes to it beside the root file system.
        cmdline: KernelCommandLine = "console=tty0 console=ttyS0,115200 net.ifnames=0 \
            systemd.default_timeout_start_sec=300 systemd.default_device_timeout_sec=300",
    }
}

table! {
    /// The memory that all nodes share.
    Fabric, WrittenFabric, "fabric" {
        /// The device that shows it to the guests.
        kind: FabricKind = "ivshmem",
        /// How much of it there is.
        size: SharedMemory = "1G",
    }
}

/// The device that shows the shared memory to the guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FabricKind {
    /// A PCI device, 1af4:1110 at 00:04.0, whose second base address register is the memory.
    #[default]
    Ivshmem,
    /// A memory module (NVDIMM), which Linux makes a device of direct access of.
    Nvdimm,
    /// Memory of a CXL device of type 3, which Linux makes a device of direct access of.
    Cxl,
}

table! {
    /// The nodes.
    Nodes, WrittenNodes, "nodes" {
        /// How many.
        count: NodeCount = "4",
        /// The memory of each.
        memory: NodeMemory = "1G",
        /// The processors of each.
        cpus: Cpus = "2",
        /// What their names begin with.
        name: NodePrefix = "fabric",
    }
}

/// One customization plugin to apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// Which plugin.
    pub name: PluginName,
    /// The file that it is in, seen from the directory of the recipe that lists it, where that is
    /// not to be found by the name.
    pub path: Option<PathBuf>,
    /// How many seconds it may take at each stage, of each node, if it is a file.
    pub time_limit: Option<NonZeroU32>,
    /// Its settings, which the plugin itself checks.
    pub settings: Map<String, Value>,
    /// The recipe that lists it.
    pub source: Source,
    /// The recipes that wrote settings of it, where that was another one: by the outermost key of
    /// the setting.
    pub set_by: BTreeMap<String, Source>,
}

impl Plugin {
    /// The recipe that wrote the setting of this name.
    #[must_use]
    pub fn source_of(&self, setting: &str) -> &Source {
        self.set_by.get(setting).unwrap_or(&self.source)
    }
}

/// A word that is written in this file and known to have the right form.
fn word<T: std::str::FromStr>(text: &str) -> T {
    match text.parse() {
        Ok(value) => value,
        Err(_) => unreachable!("the default `{text}` has the form that is asked for, as the tests show"),
    }
}

impl Recipe {
    /// What a recipe is that says nothing but its suite.
    pub(super) fn of_suite(suite: Suite) -> Self {
        Self {
            description: String::new(),
            suite,
            architecture: Architecture::default(),
            components: vec![word("main")],
            updates: true,
            security: true,
            ca_certificates: Vec::new(),
            variant: Variant::default(),
            include: Vec::new(),
            debconf: Vec::new(),
            paths: Vec::new(),
            initramfs: Initramfs::default(),
            disk: Disk::default(),
            kernel: Kernel::default(),
            fabric: Fabric::default(),
            nodes: Nodes::default(),
            plugins: Vec::new(),
        }
    }
}

/// An enumeration shows as a recipe writes it, and reads back.
macro_rules! show_as_written {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = serde::de::value::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::deserialize(serde::de::IntoDeserializer::into_deserializer(text))
            }
        }
    )*};
}

show_as_written!(Architecture, Variant, Initramfs, Compression, FabricKind);
