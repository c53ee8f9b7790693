//! Why an archive cannot be opened, and what a person can do about it.

use fam_progress::Hint;

use crate::sources::is_flat;
use crate::{cache, fetch, http, index, keyring, release, signature};

/// Why an archive could not be opened, or a file of it not be fetched.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A keyring cannot be used.
    #[error("{0}")]
    Keyring(#[from] keyring::Error),
    /// The cache cannot be used.
    #[error("{0}")]
    Cache(#[from] cache::Error),
    /// The mirror, or something on the way to it, failed.
    #[error("{0}")]
    Http(#[from] http::Error),
    /// The mirror does not have the suite.
    #[error("the mirror {mirror} has no suite {suite}: neither InRelease nor Release is there")]
    NoSuite { mirror: String, suite: String },
    /// The Release file has no signature.
    #[error("suite {suite} of {mirror} is not signed: Release is there, but no Release.gpg")]
    Unsigned { mirror: String, suite: String },
    /// The signatures of a Release file do not count.
    #[error("signature of suite {suite} of {mirror}: {source}")]
    Signature {
        mirror: String,
        suite: String,
        /// Why they do not.
        source: signature::Error,
    },
    /// A Release file cannot be used.
    #[error("the Release file of suite {suite} of {mirror}: {source}")]
    Release {
        mirror: String,
        suite: String,
        /// Why it cannot.
        source: release::Error,
    },
    /// An index is not what its Release file promises.
    #[error("suite {suite} of {mirror}: {source}")]
    Index {
        mirror: String,
        suite: String,
        /// What is wrong with it.
        source: index::Error,
    },
    /// A file could not be fetched.
    #[error("fetch {0}")]
    Fetch(#[from] fetch::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuite { suite, .. } if suite.ends_with("-security") => Some(
                "go on without security updates by --security-mirror none (in a recipe: security = false), or name an archive \
                 that has them with --security-mirror; a suite that is no longer supported loses its own"
                    .to_owned(),
            ),
            Self::NoSuite { suite, .. } if suite.ends_with("-updates") => {
                Some("for a suite without updates, write updates = false into the recipe; else check the mirror".to_owned())
            }
            Self::NoSuite { suite, .. } if is_flat(suite) => Some(
                "check the URL and the directory: a flat archive has its Release and Packages files in it, and one with `dists` \
                 has suites by name"
                    .to_owned(),
            ),
            Self::NoSuite { .. } => Some(
                "check the suite (trixie, bookworm, …) and the mirror (http://HOST/debian, the directory that has dists in it; \
                 with --snapshot, that of a snapshot service)"
                    .to_owned(),
            ),
            Self::Unsigned { .. } => Some("an archive must be signed; choose another mirror".to_owned()),
            _ => None,
        }
    }
}
