//! A Debian archive seen from a client.

pub mod deb822;
pub mod dependency;
pub mod lock;
pub mod packages;
pub mod resolve;
pub mod version;
