//! A root tree: unpacked, then configured in a sandbox.

pub mod configure;
pub mod sandbox;
pub mod dpkg;
pub mod staging;
pub mod unpack;
