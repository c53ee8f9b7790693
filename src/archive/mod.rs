//! A Debian archive seen from a client.

pub mod deb822;
