//! fam-build turns a Debian mirror into ready-to-run virtual machines that share one memory.

pub mod archive;
pub mod cli;
pub mod credentials;
pub mod customize;
pub mod doctor;
pub mod fabric;
pub mod image;
mod parallel;
pub mod pipeline;
pub mod progress;
pub mod recipe;
mod regular;
pub mod report;
pub mod rootfs;
pub mod sbom;
mod shortage;
pub mod supervisor;
pub mod tree;
