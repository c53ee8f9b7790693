//! Recipe files and the settings laid over them.
//!
//! A recipe says what to build: suite, packages, disk, kernel, shared memory, nodes, customization.
//! It is TOML, read by [`Loaded::load`] into types that can hold only values that have been
//! checked, with the recipes that it extends under it. What belongs to one run (mirror, proxy,
//! output directory) and what flags and environment change of the recipe is laid over it by
//! [`Settings`], which remembers where each value came from. Settings of plugins are carried along;
//! the plugin host checks them.

mod bounds;
mod debconf;
mod extend;
mod layers;
mod lines;
mod load;
mod model;
mod names;
mod parse;
mod settings;
mod size;
mod written;

pub use bounds::{Cpus, DiskSize, NodeCount, NodeMemory, OutOfBounds, SharedMemory};
pub use debconf::{Answer, InvalidAnswer, InvalidLine};
pub use extend::Loaded;
pub use layers::{Environment, Flags};
pub use load::{DEFAULT, LoadError, SHIPPED, Shipped};
pub use model::{
    Architecture, Compression, Disk, Fabric, FabricKind, Initramfs, Kernel, Listed, Nodes, PathRule, Plugin, Preseed,
    Recipe, Source, Variant,
};
pub use names::{
    Component, DiskLabel, InvalidName, KernelCommandLine, NodePrefix, PackageName, PathPattern, PluginName, Suite,
};
pub use parse::ParseError;
pub use settings::{Origin, Security, SettingLine, Settings, SettingsError};
pub use size::{InvalidSize, Size};
pub use written::schema;
