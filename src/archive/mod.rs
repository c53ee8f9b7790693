//! A Debian archive seen from a client.

use jiff::SignedDuration;

mod cleartext;
pub mod deb;
pub mod deb822;
#[cfg(test)]
pub(crate) mod deb_fixture;
pub mod dependency;
pub mod digest;
pub mod keyring;
pub mod signature;
pub mod packages;
pub mod version;

/// How far the clocks of an archive and of this host may differ before a date counts as in the future.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
