//! Recipe files, and the settings of a run that they are part of.
//!
//! A recipe says what to build: suite, packages, disk, kernel, shared memory, nodes, plugins.
//! It is TOML, read by [`Loaded::load`] into types that can hold only values that have been
//! checked, merged with the recipes that it extends. [`Settings`] adds what belongs to one run
//! (mirror, proxy, output directory), and what flags change of the recipe. Each value is a
//! [`Sourced`], which knows who decided it. Settings of plugins are carried along; the plugin host
//! checks them.
//!
//! A new key of a recipe is declared in `model`. If it has a flag, or `plan` shows it, it has a line in
//! the table of `rows`, and the flag is declared with its help in `flags`.

mod archive;
pub(crate) mod beside;
mod bounds;
mod debconf;
mod environment;
mod extend;
mod flags;
mod include;
mod items;
pub mod load;
mod model;
mod names;
pub mod parse;
mod patch;
mod recommends;
mod rows;
mod settings;
mod size;
mod sourced;
mod start_options;
mod subnet;
mod volumes;

pub use archive::{Archive, ArchiveKey, InvalidSnapshot, Snapshot};
pub use bounds::{Cpus, DiskSize, NodeCount, NodeMemory, OutOfBounds, SharedMemory, VolumeSize};
pub use debconf::{Answer, InvalidAnswer, InvalidLine};
pub use environment::Environment;
pub use extend::Loaded;
pub use flags::Flags;
pub use include::{Include, WantedPackage, Which};
pub use items::{
    Addresses, Architecture, Compression, FabricKind, Initramfs, Listed, PathRule, Pin, Plugin, Preseed, SectorSize,
    Source, Variant,
};
pub use load::{DEFAULT, SHIPPED, Shipped};
pub use model::{Disk, Fabric, Kernel, KeyRow, Nodes, Recipe};
pub use names::{
    ArchiveName, ArchiveSuite, Component, DiskLabel, InvalidName, KernelCommandLine, MountPoint, NodePrefix,
    PackageName, PathPattern, PluginName, Suite,
};
pub use patch::schema;
pub use recommends::Recommends;
pub use rows::SettingRow;
pub use settings::{Error, Security, Settings};
pub use size::{InvalidSize, Size};
pub use sourced::{Origin, Sourced};
pub use start_options::{InvalidStartOptions, StartOptions};
pub use subnet::{InvalidSubnet, Subnet};
pub use volumes::{Clash, SWAP_LABEL, Swap, Volume, VolumeFormat};
