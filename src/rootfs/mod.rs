//! A root tree: unpacked, then configured in a sandbox.

pub mod staging;
