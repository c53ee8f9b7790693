//! What the keys of a recipe hold that is more than a name or a number.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{Display, EnumString};

use super::debconf::Answer;
use super::names::{PathPattern, PluginName};
pub use fam_archive::policy::Pin;
pub use fam_archive::resolve::Variant;
pub use fam_image::SectorSize;
pub use fam_image::qcow2::Compression;
pub use fam_rootfs::configure::Initramfs;

/// Where an item of a recipe comes from: the recipe's name, and the directory to which the paths in
/// it are relative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The name of a shipped recipe, or the path of a file.
    pub recipe: String,
    /// The directory that a file is in; none for a shipped recipe, which names no files.
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

/// An item of a list, and the recipe that lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// The item, as the recipe has it.
    pub what: T,
    /// The recipe that lists it.
    pub source: Source,
}

/// Answers to questions of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preseed {
    /// An answer in the recipe itself.
    Answer(Answer),
    /// A file of answers, relative to the directory of the recipe.
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
pub type PathRule = fam_rootfs::unpack::PathRule<PathPattern>;

/// An architecture that images can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, Display, EnumString)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Architecture {
    /// 64-bit x86, by Debian's name.
    #[default]
    Amd64,
}

/// The device that shows the shared memory to the guests.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum, Display, EnumString,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum FabricKind {
    /// A PCI device, 1af4:1110 at 00:04.0, whose second base address register is the memory.
    #[default]
    Ivshmem,
    /// A memory module (NVDIMM), which Linux shows as a device of direct access (DAX).
    Nvdimm,
    /// Memory of a CXL device of type 3, which Linux shows as a device of direct access (DAX).
    Cxl,
}

/// How nodes come by their IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, Display, EnumString)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Addresses {
    /// They ask DHCP.
    #[default]
    Dhcp,
    /// Each has its own written down, which 247 nodes can have.
    Static,
}

/// One plugin to apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// The name by which the plugin is found.
    pub name: PluginName,
    /// The file that it is in, relative to the directory of the recipe that lists it; needed only
    /// where the name does not find it.
    pub path: Option<PathBuf>,
    /// How many seconds it may take at each stage, of each node, if it is a file.
    pub time_limit: Option<NonZeroU32>,
    /// Its settings, which the plugin itself checks.
    pub settings: Map<String, Value>,
    /// The recipe that lists it.
    pub source: Source,
    /// The recipes that wrote settings of it, where that is not `source`, by the outermost key of
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
