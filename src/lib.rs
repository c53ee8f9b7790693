//! fam-build turns a Debian mirror into ready-to-run virtual machines that share one memory.

pub mod archive;
pub mod cli;
pub mod credentials;

pub mod doctor;
pub mod fabric;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[allow(clippy::missing_panics_doc, reason = "to panic is what they are for")]
pub mod fuzz_targets;
pub mod image;
mod parallel;
pub mod pipeline;
pub mod plugins;
pub mod progress;
pub mod recipe;
mod regular;
pub mod report;
pub mod rootfs;
pub mod sbom;
mod shortage;
pub mod supervisor;
pub mod tree;
