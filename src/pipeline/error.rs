//! Why a build did not succeed: the errors of all parts under one roof.

use std::io;
use std::path::PathBuf;

use fam_archive::{client, fetch, http, keyring, local, lock, packages, resolve};
use fam_host::space;
use fam_isolation::sandbox;
use fam_isolation::supervisor::{self, launch, output};
use fam_progress::Hint;
use fam_rootfs::{bootloader, configure, install, layer, staging, unpack};
use fam_tree::{InvalidPath, tarball};

use crate::fabric::seed;
use crate::hints;
use crate::plugins;
use crate::report::Failure;

/// Why a build did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the error of the module that it names")]
pub enum Error {
    #[error("{0}")]
    Archive(#[from] client::Error),
    /// A security archive lists a package, and does not have it.
    #[error("fetch {0}")]
    SecurityPool(#[source] fetch::Error),
    #[error("look for the security archive: {0}")]
    Probe(#[from] http::Error),
    #[error("{0}")]
    Keyring(#[from] keyring::Error),
    #[error("{0}")]
    Index(#[from] packages::Error),
    #[error("{0}")]
    Local(#[from] local::Error),
    /// A package is named by a file and by which of the archives' versions.
    #[error("include names one package as {package} and as {}", path.display())]
    IncludedTwice { package: String, path: PathBuf },
    #[error("{0}")]
    Incomplete(#[source] lock::Error),
    #[error("choose the packages: {0}")]
    Resolve(#[from] resolve::Error),
    #[error("lock {}: {source}", path.display())]
    Lock { path: PathBuf, source: lock::Error },
    #[error("{0}")]
    Unpack(#[from] unpack::Error),
    #[error("{0}")]
    Configure(#[from] configure::Error),
    #[error("{0}")]
    Sandbox(#[from] sandbox::Error),
    #[error("{0}")]
    StagingTree(#[from] staging::Error),
    #[error("{0}")]
    BootLoader(#[from] bootloader::Error),
    /// A file of the new system, when it is completed.
    #[error("{0} in the new system")]
    File(#[from] fam_plugin::Error),
    #[error("{0}")]
    Layer(#[from] layer::Error),
    #[error("mount a file system in memory at {}: {source}", path.display())]
    Staging { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Plugin(#[from] plugins::Error),
    #[error("{0}")]
    Tarball(#[from] tarball::Error),
    #[error("{0}")]
    Image(#[from] fam_image::Error),
    #[error("{0}")]
    Seed(#[from] seed::Error),
    #[error("{0}")]
    Output(#[from] output::Error),
    #[error("{0}")]
    Space(#[from] space::Error),
    #[error("{0}")]
    Isolation(#[from] launch::Error),
    #[error("{0}")]
    Worker(#[from] supervisor::Error),
    /// A file that the request names is not there.
    #[error("read the file of {flag}: {source}")]
    Named { flag: &'static str, source: io::Error },
    /// Answers that the recipe or a flag names are not there, or none.
    #[error("answers for debconf: {place}: {reason}")]
    Answers { place: String, reason: String, hint: &'static str },
    /// An archive beside that of the suite cannot be used as it is named.
    #[error("{place}: {reason}")]
    FurtherArchive { place: String, reason: String, hint: &'static str },
    /// The directory that a partition or disk is to get cannot be read.
    #[error("the volume {label}: {reason}")]
    Volume { label: String, reason: String, hint: &'static str },
    /// A path that this program made is malformed, which would be a fault of it.
    #[error("{0}")]
    Path(#[from] InvalidPath),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::SecurityPool(_) => Some(
                "the security archive of a suite that is no longer supported loses packages that its index lists: go on without \
                 it by --security-mirror none (in a recipe: security = false), or name one that has them; that of a supported \
                 suite changed just now: run it again"
                    .into(),
            ),
            Self::IncludedTwice { .. } => Some("leave one of the two out".into()),
            Self::Named { flag, .. } => Some(format!("give {flag} the path of a file that you can read")),
            Self::Answers { hint, .. } | Self::FurtherArchive { hint, .. } | Self::Volume { hint, .. } => Some((*hint).into()),
            _ => None,
        }
    }
}

impl From<install::Error> for Error {
    fn from(error: install::Error) -> Self {
        match error {
            install::Error::Unpack(error) => error.into(),
            install::Error::Configure(error) => error.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            // The worker has said it all, unless it could not even begin.
            Error::Worker(supervisor::Error::Failed(failure)) => {
                let hint = failure.hint.clone().or_else(|| hints::hint(&error));
                Self { hint, ..failure.clone() }
            }
            // What the recipe asks of plugins is part of the request.
            Error::Plugin(
                plugins::Error::Unknown { .. }
                | plugins::Error::Settings { .. }
                | plugins::Error::Order { .. }
                | plugins::Error::ProvidedTwice { .. }
                | plugins::Error::Load { .. }
                | plugins::Error::Misnamed { .. }
                | plugins::Error::Ambiguous { .. }
                | plugins::Error::Directory { .. },
            )
            | Error::Archive(client::Error::Http(http::Error::CaCertificate { .. }))
            | Error::Local(_)
            | Error::IncludedTwice { .. }
            | Error::Lock { .. }
            | Error::Named { .. }
            | Error::FurtherArchive { .. }
            | Error::Volume { .. }
            | Error::Answers { .. } => hints::usage(&error),
            _ => hints::failure(&error),
        }
    }
}
