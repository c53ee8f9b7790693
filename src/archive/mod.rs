//! A Debian archive seen from a client.

pub mod deb;
pub mod deb822;
#[cfg(test)]
pub(crate) mod deb_fixture;
pub mod dependency;
pub mod version;
