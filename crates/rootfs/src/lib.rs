//! A root tree: unpacked, then configured in a sandbox.

pub mod apt;
pub mod bootloader;
pub mod configure;
pub mod dpkg;
pub mod install;
pub mod names;
pub mod staging;
pub mod tmpfs;
pub mod unpack;
