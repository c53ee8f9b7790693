//! A Debian archive seen from a client: what apt does up to the moment at which dpkg takes over.
//!
//! A [`Client`] opens suites, each Release file checked against a [keyring](keyring), each index and
//! package against what is signed. [`PackageIndex`](packages::PackageIndex) holds the packages of
//! all of them, a [`Policy`](policy::Policy) says which version is preferred, [`resolve`](resolve::resolve)
//! chooses among them as apt would, and a [`Lock`](lock::Lock) keeps the choice. Packages are fetched into a cache that several programs may share.
//!
//! Nothing here prints, asks the environment, or knows of the system that packages are for.
//!
//! ```
//! use fam_archive::packages::{Origin, PackageIndex};
//! use fam_archive::resolve::{Recommends, Request, Variant, resolve};
//!
//! let stanza = |name: &str, more: &str| format!(
//!     "Package: {name}\nVersion: 1\nArchitecture: all\nFilename: pool/{name}.deb\nSize: 1\nSHA256: {}\n{more}\n",
//!     "0".repeat(64),
//! );
//! let text = stanza("base", "Essential: yes\n") + &stanza("editor", "Depends: library\n") + &stanza("library", "");
//! let origin = Origin { mirror: "http://mirror.example/debian".into(), suite: "stable".into(), ..Origin::default() };
//! let mut index = PackageIndex::new("amd64");
//! index.add(text, origin)?;
//!
//! let request = Request { variant: Variant::Essential, include: &["editor".to_owned()], ..Request::default() };
//! let chosen = resolve(&index, &request)?;
//! let names: Vec<&str> = chosen.packages().iter().map(|selected| selected.package.name()).collect();
//! assert_eq!(names, ["base", "editor", "library"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub mod file_url;
pub mod http;
pub mod index;
pub mod keyring;
pub mod local;
pub mod lock;
pub mod packages;
pub mod policy;
pub mod release;
pub mod resolve;
pub mod signature;
pub mod sources;
#[cfg(test)]
mod testing;
pub mod version;

pub use client::{Client, ClientOptions, FetchedSources, Index, OpenedSource, SignedBy};
pub use fetch::Download;
pub use sources::Source;

/// How far the clocks of an archive and of this host may differ before a Release file counts as
/// from the future: as far as apt's `Acquire::Max-FutureTime` says.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(10);
