//! What a recipe says, typed: its keys, each of which is declared here and nowhere else. Every
//! value has been checked by the time a [`Recipe`] exists.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::archive::{Archive, Snapshot};
use super::bounds::{Cpus, DiskSize, NodeCount, NodeMemory, SharedMemory};
use super::include::Include;
use super::items::{
    Addresses, Architecture, Compression, FabricKind, Initramfs, Listed, PathRule, Pin, Plugin, Preseed, SectorSize,
    Variant,
};
use super::names::{Component, DiskLabel, KernelCommandLine, NodePrefix, PackageName, Suite};
use super::patch::{Addition, IncludeChange, List, PinChange, PluginChange, PluginPatch, PreseedPatch};
use super::recommends::Recommends;
use super::sourced::{Origin, Sourced};
use super::start_options::StartOptions;
use super::subnet::Subnet;
use super::volumes::{Swap, Volume};

/// A key of a recipe that has one value.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRow<'a> {
    /// The table that it is in. The outermost keys are in the one without a name.
    pub table: &'static str,
    /// The key as a recipe has it, with hyphens.
    pub key: String,
    /// Its value, as TOML has it.
    pub value: toml::Value,
    /// Who decided it.
    pub origin: &'a Origin,
}

impl<T: Serialize> Sourced<T> {
    fn add_rows<'a>(&'a self, table: &'static str, field: &str, rows: &mut Vec<KeyRow<'a>>) {
        let value = match toml::Value::try_from(&self.value) {
            Ok(value) => value,
            Err(error) => unreachable!("what was read from TOML can be written as TOML: {error}"),
        };
        rows.push(KeyRow { table, key: field.replace('_', "-"), value, origin: &self.origin });
    }
}

/// A table of a recipe, twice: with all its values, and as a file writes it, which may leave out
/// any. Lists of it, behind `lists`, have the key that stands before their items' type.
macro_rules! table {
    (
        $(#[$doc:meta])* $name:ident, $written:ident, $key:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:literal,)*
        }
        $(lists { $($(#[$list_doc:meta])* $list:ident: $list_key:literal $item:ty,)* })?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Sourced<$type>,)*
            $($($(#[$list_doc])* pub $list: Vec<Listed<$item>>,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: Sourced::built_in(word($default)),)* $($($list: Vec::new(),)*)? }
            }
        }

        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
        #[schemars(rename = $key)]
        pub(super) struct $written {
            $(
                $(#[$field_doc])*
                #[schemars(extend("default" = word::<$type>($default)))]
                $field: Option<$type>,
            )*
            $($(
                $(#[$list_doc])*
                #[serde(rename = $list_key)]
                pub(super) $list: Option<List<$item, Addition<$item>>>,
            )*)?
        }

        impl $name {
            fn override_with(&mut self, written: $written, origin: &Origin) {
                $(self.$field.override_with(written.$field, origin);)*
            }

            fn add_rows<'a>(&'a self, _: &'static str, _: &str, rows: &mut Vec<KeyRow<'a>>) {
                $(self.$field.add_rows($key, stringify!($field), rows);)*
            }
        }
    };
}

table! {
    /// The disk of each node.
    Disk, DiskPatch, "disk" {
        /// Its size as the guest sees it; the image takes only what is used.
        size: DiskSize = "8G",
        /// The size of its sectors in bytes, and that of further disks. BIOS boots from no disk with
        /// sectors of 4096 bytes: those start by UEFI alone.
        sector_size: SectorSize = "512",
        /// The label of the root file system.
        label: DiskLabel = "fabric",
        /// Whether the clusters of the images are compressed.
        compress: Compression = "zstd",
        /// The size of a swap partition, or none.
        swap: Swap = "none",
        /// Whether the root file system grows with the disk when a node boots, by systemd and
        /// systemd-repart.
        grow: bool = "true",
    }
    lists {
        /// Partitions in addition to those that every disk has.
        partitions: "partition" Volume,
        /// Disks in addition to the one that nodes boot from, each with a file system and without
        /// a partition table.
        more: "more" Volume,
    }
}

table! {
    /// The kernel of the machines.
    Kernel, KernelPatch, "kernel" {
        /// The package that brings it.
        package: PackageName = "linux-image-amd64",
        /// What GRUB passes to it, in addition to the root file system.
        cmdline: KernelCommandLine = "console=tty0 console=ttyS0,115200 net.ifnames=0 \
            systemd.default_timeout_start_sec=300 systemd.default_device_timeout_sec=300",
    }
}

table! {
    /// The memory that all nodes share.
    Fabric, FabricPatch, "fabric" {
        /// The device that shows it to the guests.
        kind: FabricKind = "ivshmem",
        /// How much memory they share.
        size: SharedMemory = "1G",
    }
}

table! {
    /// The nodes of the cluster, which are all alike.
    Nodes, NodesPatch, "nodes" {
        /// How many nodes there are.
        count: NodeCount = "4",
        /// The memory of each.
        memory: NodeMemory = "1G",
        /// The processors of each.
        cpus: Cpus = "2",
        /// What their names begin with.
        name: NodePrefix = "fabric",
        /// The network of their addresses.
        network: Subnet = "192.168.42.0/24",
        /// How they come by these addresses.
        addresses: Addresses = "dhcp",
        /// What is added to them whenever they are started: options of `fabric_emulation.bash
        /// start`, with file names seen from the directory of the images.
        start_options: StartOptions = "",
    }
}

/// The default of a key: the one that is given, else that of its type.
macro_rules! default {
    () => {
        Default::default()
    };
    ($default:expr) => {
        Sourced::built_in($default)
    };
}

/// These statements, unless the key is a list. Lists are merged and shown item by item.
macro_rules! unless_list {
    (list, $($statement:tt)*) => {};
    ($kind:ident, $($statement:tt)*) => {
        $($statement)*
    };
}

/// A recipe, twice: with all its values, and as a file writes it. Each key is a `value`, a `list`
/// whose items have a source each, or a `table` of those above. After `=` comes its default, and
/// after `=>` what a file writes.
macro_rules! recipe {
    (
        suite: $suite:ident;
        $(
            $(#[$doc:meta])*
            $kind:ident $key:ident: $type:ty $(= $default:expr)? => $(#[$attribute:meta])* $written:ty;
        )*
    ) => {
        /// Everything about the machines to build that is worth writing down and keeping. Where the
        /// packages come from and where the images go is a matter of the run, and belongs to
        /// [`Settings`](super::Settings).
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct Recipe {
            $($(#[$doc])* pub $key: $type,)*
        }

        /// What to build: the machines, their packages and the plugins that change them.
        ///
        /// `extends` names another recipe to build on: tables merge, a list replaces the other's,
        /// and `include`, `pin` and `plugin` may be tables that change the other's list instead. Where a
        /// recipe extends none, it must have a `suite`.
        #[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        #[schemars(
            title = "Recipe of fam-build",
            extend("anyOf" = [{ "required": ["suite"] }, { "required": ["extends"] }])
        )]
        pub(super) struct RecipePatch {
            /// The recipe to build on: the name of a shipped one, or a path (with a `/`, or ending
            /// in `.toml`) relative to the directory of this file.
            #[schemars(with = "Option<String>", length(min = 1))]
            pub extends: Option<Spanned<String>>,
            $($(#[$doc])* $(#[$attribute])* pub $key: $written,)*
        }

        impl Recipe {
            /// A recipe that says nothing but its suite: all else is the default.
            pub(super) fn of_suite($suite: Suite) -> Self {
                Self { $($key: default!($($default)?),)* }
            }

            /// Overrides each value that is written, except the lists.
            pub(super) fn override_with(&mut self, written: RecipePatch, origin: &Origin) {
                $(unless_list!($kind, self.$key.override_with(written.$key, origin););)*
            }

            /// A row for each key that is no list of items, the outermost keys first.
            #[must_use]
            pub fn rows(&self) -> Vec<KeyRow<'_>> {
                let mut rows = Vec::new();
                $(unless_list!($kind, self.$key.add_rows("", stringify!($key), &mut rows););)*
                rows
            }
        }
    };
}

recipe! {
    suite: suite;

    /// What it is for, in a sentence.
    value description: Sourced<String> => Option<String>;
    /// The suite to build from.
    value suite: Sourced<Suite> = suite => Option<Suite>;
    /// The architecture of the machines.
    value architecture: Sourced<Architecture> => #[schemars(extend("default" = Architecture::default()))]
        Option<Architecture>;
    /// The components to take packages from.
    value components: Sourced<Vec<Component>> = vec![word("main")] => #[schemars(extend("default" = ["main"]))]
        Option<Vec<Component>>;
    /// Whether the suite's `-updates` are read, too.
    value updates: Sourced<bool> = true => #[schemars(extend("default" = true))] Option<bool>;
    /// Whether the security archive is read, too.
    value security: Sourced<bool> = true => #[schemars(extend("default" = true))] Option<bool>;
    /// The time of a snapshot to build from, as `20261101T000000Z`. The mirror is then a
    /// snapshot service: its directory with one directory for each time.
    value snapshot: Sourced<Snapshot> => #[schemars(extend("default" = Snapshot::default()))] Option<Snapshot>;
    /// Archives to take packages from, in addition to that of the suite.
    list archives: Vec<Listed<Archive>> => #[serde(rename = "archive")] Option<List<Archive, Addition<Archive>>>;
    /// Files, seen from the directory of this recipe, with certificates of authorities to trust in
    /// addition to the host's, for https mirrors.
    value ca_certificates: Sourced<Vec<PathBuf>> => #[schemars(with = "Option<Vec<String>>", extend("default" = []))]
        Option<Vec<PathBuf>>;
    /// The set of packages to begin with, as mmdebstrap names them.
    value variant: Sourced<Variant> => #[schemars(extend("default" = Variant::default()))] Option<Variant>;
    /// Packages to install in addition to the variant's: of the archives, or of files that are seen
    /// from the directory of this recipe.
    list include: Vec<Sourced<Include>> => Option<List<Include, IncludeChange>>;
    /// Whether what packages recommend is installed, too, as apt's `APT::Install-Recommends` has it;
    /// or the packages of which it is, which does not go for what these bring in.
    value recommends: Sourced<Recommends> => #[schemars(extend("default" = Recommends::default()))]
        Option<Recommends>;
    /// Which versions are preferred, by the rules of `apt_preferences(5)`: of several pins that match
    /// a version, the first counts. Where a lock names the packages, they have a say in the guests alone.
    list pins: Vec<Listed<Pin>> => #[serde(rename = "pin")] Option<List<Pin, PinChange>>;
    /// Answers to the questions that packages ask by debconf, set before any of them is configured
    /// that asks.
    list debconf: Vec<Listed<Preseed>> => Option<List<PreseedPatch, Addition<PreseedPatch>>>;
    /// Which paths of packages are left out, by dpkg's rules: of those that fit a path, the last
    /// decides.
    list paths: Vec<Listed<PathRule>> => Option<List<PathRule, Addition<PathRule>>>;
    /// What the initramfs holds drivers for.
    value initramfs: Sourced<Initramfs> => #[schemars(extend("default" = Initramfs::default()))] Option<Initramfs>;
    /// The disk of each node.
    table disk: Disk => #[serde(default)] DiskPatch;
    /// The kernel of the nodes.
    table kernel: Kernel => #[serde(default)] KernelPatch;
    /// The memory that the nodes share.
    table fabric: Fabric => #[serde(default)] FabricPatch;
    /// The nodes of the cluster.
    table nodes: Nodes => #[serde(default)] NodesPatch;
    /// Plugins, in the order of application.
    list plugins: Vec<Plugin> => #[serde(rename = "plugin")] Option<List<PluginPatch, PluginChange>>;
}

/// Parses a default that is written in this file.
fn word<T: std::str::FromStr>(text: &str) -> T {
    match text.parse() {
        Ok(value) => value,
        Err(_) => unreachable!("the default `{text}` has the form that is asked for, as the tests show"),
    }
}
