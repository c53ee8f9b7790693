//! What a plugin of fam-build is written against.
//!
//! A plugin changes the system that a build makes. It implements [`Plugin`]: it says what
//! it is, checks its settings before anything is built, and then acts at one or both [`Stage`]s. At
//! the *system* stage it changes the one root file system that all nodes share, and may run
//! programs of the new system. At the *node* stage it changes what node N alone gets; this stage is
//! pure: files only, no programs, same input, same bytes.
//!
//! All it can touch is the [`Root`] it is given, and all it knows of the build is in the
//! [`Context`]. A path is always taken inside the image, whatever it holds: `..` stops at the top,
//! and an absolute symbolic link starts there.
//!
//! ```
//! use fam_plugin::{Context, Plugin, Description, Result, Root, Stage};
//! use fam_plugin::testing::{Harness, MemoryRoot};
//! use serde::Deserialize;
//!
//! /// Greets at login.
//! struct Motd;
//!
//! #[derive(Deserialize)]
//! struct Settings {
//!     text: String,
//! }
//!
//! impl Plugin for Motd {
//!     type Settings = Settings;
//!
//!     fn describe(&self) -> Description {
//!         Description::new("motd", "greets at login").at(Stage::System)
//!     }
//!
//!     fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, _: &Context) -> Result<()> {
//!         root.write("/etc/motd", format!("{}\n", settings.text))
//!     }
//! }
//!
//! let mut image = MemoryRoot::debian();
//! Harness::new().settings(r#"{ "text": "hello" }"#).system(&Motd, &mut image)?;
//! assert_eq!(image.text("/etc/motd"), "hello\n");
//! # Ok::<(), fam_plugin::Error>(())
//! ```

mod accounts;
mod authorized_keys;
mod context;
mod error;
mod plugin;
mod process;
mod programs;
pub mod protocol;
mod provided;
mod recipe_files;
mod remote;
mod resolve;
mod root;
mod rootfs;
pub mod settings;
mod suggest;
pub mod testing;

pub use accounts::{Account, NewGroup, NewUser, is_account_name};
pub use context::{Archive, ArchiveKeys, CaCertificate, Context, Fabric, Facts, Host, Level, Node, Scope, Secrets};
pub use error::{Error, Problem, Result};
pub use plugin::{Description, ErasedPlugin, Plugin, Stage};
pub use process::{main, serve};
pub use provided::{Provided, SshKeys};
pub use recipe_files::{Contents, FileDigest, RecipeEntry, RecipeEntryKind, RecipeFiles};
pub use root::Root;
pub use rootfs::{Attributes, Command, FileType, Metadata, Output, RootFs};
/// The type that settings arrive as, before they are deserialized.
pub use serde_json::Value;
pub use suggest::nearest;
