//! fam-build turns a Debian mirror into ready-to-run virtual machines that share one memory.

pub mod cli;
pub mod doctor;
pub mod export;
pub mod fabric;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[allow(clippy::missing_panics_doc, reason = "to panic is what they are for")]
pub mod fuzz_targets;
pub mod hints;
pub mod pipeline;
pub mod plugins;
pub mod recipe;
pub mod report;
pub mod sbom;
