//! Why a build did not succeed: the errors of all rooms under one roof.

use std::io;
use std::path::PathBuf;

use crate::archive::ClientError;
use crate::archive::fetch::FetchError;
use crate::archive::http::HttpError;
use crate::archive::keyring::KeyringError;
use crate::archive::lock::LockError;
use crate::archive::packages::IndexError;
use crate::archive::resolve::ResolveError;
use crate::fabric::SeedError;
use crate::plugins::PluginError;
use crate::report::Failure;
use crate::rootfs::bootloader;
use crate::rootfs::configure;
use crate::rootfs::install::InstallError;
use crate::rootfs::sandbox;
use crate::rootfs::staging::StagingError;
use crate::rootfs::unpack::UnpackError;
use crate::shortage;
use crate::supervisor::{self, LaunchError, OutputError, SpaceError};
use crate::tree::tarball::TarballError;

/// Why a build did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the error of the room it names")]
pub enum Error {
    #[error(transparent)]
    Archive(#[from] ClientError),
    /// A security archive lists a package, and does not have it.
    #[error("fetch {0}")]
    SecurityPool(FetchError),
    #[error("look for the security archive: {0}")]
    Probe(#[from] HttpError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Incomplete(LockError),
    #[error("choose the packages: {0}")]
    Resolve(#[from] ResolveError),
    #[error("lock {}: {source}", path.display())]
    Lock { path: PathBuf, source: LockError },
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error(transparent)]
    Configure(#[from] configure::Error),
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    #[error(transparent)]
    StagingTree(#[from] StagingError),
    #[error(transparent)]
    BootLoader(#[from] bootloader::Error),
    #[error("mount a file system in memory at {}: {source}", path.display())]
    Staging { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Tarball(#[from] TarballError),
    #[error(transparent)]
    Image(#[from] crate::image::Error),
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Space(#[from] SpaceError),
    #[error(transparent)]
    Isolation(#[from] LaunchError),
    #[error(transparent)]
    Worker(#[from] supervisor::Error),
    /// A file that the request names is not there.
    #[error("read the file of {flag}: {source}")]
    Named { flag: &'static str, source: io::Error },
    /// Answers that the recipe or a flag names are not there, or none.
    #[error("answers for debconf: {place}: {reason}")]
    Answers { place: String, reason: String, hint: &'static str },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// What the user should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let first = shortage::hint(self).map(str::to_owned);
        first.or_else(|| self.own_hint()).or_else(|| shortage::last_hint(self).map(str::to_owned))
    }

    fn own_hint(&self) -> Option<String> {
        match self {
            Self::Archive(error) => error.hint(),
            Self::SecurityPool(_) => Some(
                "the security archive of a suite that is no longer supported loses packages that its index lists: go on without \
                 it by --security-mirror none (in a recipe: security = false), or name one that has them; that of a supported \
                 suite changed just now: run it again"
                    .into(),
            ),
            Self::Probe(error) => error.hint(),
            Self::Keyring(error) => error.hint(),
            Self::Index(error) => error.hint(),
            Self::Incomplete(error) => error.hint(),
            Self::Resolve(error) => error.hint(),
            Self::Lock { source, .. } => source.hint(),
            Self::Unpack(error) => error.hint(),
            Self::Configure(error) => error.hint(),
            Self::Sandbox(error) => error.hint(),
            Self::StagingTree(error) => error.hint(),
            Self::BootLoader(error) => error.hint(),
            Self::Plugin(error) => error.hint(),
            Self::Tarball(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Seed(error) => error.hint(),
            Self::Output(error) => error.hint(),
            Self::Space(error) => error.hint(),
            Self::Isolation(error) => error.hint(),
            Self::Worker(error) => error.hint(),
            Self::Answers { hint, .. } => Some((*hint).into()),
            Self::Named { flag, .. } => Some(format!("give {flag} the path of a file that you can read")),
            Self::Staging { .. } | Self::Io(_) => None,
        }
    }
}

impl From<InstallError> for Error {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Unpack(error) => error.into(),
            InstallError::Configure(error) => error.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            // The worker has said it all, unless it could not even begin.
            Error::Worker(supervisor::Error::Failed(failure)) => {
                let hint = failure.hint.clone().or_else(|| error.hint());
                Self { hint, ..failure.clone() }
            }
            // What the recipe asks of plugins is part of the request.
            Error::Plugin(
                PluginError::Unknown { .. }
                | PluginError::Settings { .. }
                | PluginError::Order { .. }
                | PluginError::ProvidedTwice { .. }
                | PluginError::Load { .. }
                | PluginError::Misnamed { .. }
                | PluginError::Ambiguous { .. }
                | PluginError::Directory { .. },
            )
            | Error::Archive(ClientError::Http(HttpError::CaCertificate { .. }))
            | Error::Lock { .. }
            | Error::Named { .. }
            | Error::Answers { .. } => Self::usage(&error, error.hint()),
            _ => Self::new(&error, error.hint()),
        }
    }
}
