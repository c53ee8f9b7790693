//! A Debian archive seen from a client.

use jiff::SignedDuration;

pub mod cache;
pub mod cleartext;
pub mod client;
pub mod credentials;
pub mod deb;
pub mod deb822;
pub mod dependency;
pub mod digest;
pub mod fetch;
pub mod http;
pub mod index;
pub mod keyring;
pub mod lock;
pub mod packages;
pub mod release;
pub mod resolve;
pub mod signature;
pub mod sources;
#[cfg(test)]
mod testing;
pub mod version;

pub use client::{Client, ClientOptions, Index, OpenedSource};
pub use fetch::Download;
pub use sources::Source;

/// How far the clocks of an archive and of this host may differ before a Release file counts as
/// from the future: as far as apt's `Acquire::Max-FutureTime` says.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(10);
