//! What a fam-build customization is written against.
//!
//! A customization changes the system that a build makes. It implements [`Customize`]: it says what
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
//! use fam_plugin::{Context, Customize, Description, Result, Root, Stage};
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
//! impl Customize for Motd {
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

pub mod abi;
mod accounts;
mod authorized_keys;
mod context;
mod customize;
mod error;
mod library;
mod near;
mod recipe_files;
mod resolve;
mod root;
mod rootfs;
pub mod settings;
pub mod testing;

pub use accounts::{Account, NewGroup, NewUser, is_account_name};
pub use context::{Context, Fabric, Facts, Host, Level, Node, Scope, Secrets};
pub use customize::{Customize, Description, Plugin, Stage};
pub use error::{Error, Problem, Result};
pub use near::nearest;
pub use recipe_files::{Contents, RecipeEntry, RecipeEntryKind, RecipeFiles};
pub use root::Root;
pub use rootfs::{Attributes, Command, FileType, Metadata, Output, RootFs};
/// The type that settings arrive as, before they are deserialized.
pub use serde_json::Value;
