//! Why an image could not be read.

use std::io;
use std::path::PathBuf;

use fam_progress::Hint;

/// Why an image could not be read.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not begin as qcow2 images do.
    #[error("{} is no qcow2 image of version 2 or 3", path.display())]
    NotQcow2 { path: PathBuf },
    /// QEMU can read it, and this program cannot.
    #[error("{} cannot be read here: {what}", path.display())]
    Unsupported { path: PathBuf, what: String },
    /// It contradicts itself.
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    /// It stands on another image whose name is no plain file name.
    #[error("{} stands on {name:?}, which is no name of a file beside it", path.display())]
    BackingName { path: PathBuf, name: String },
    /// Images stand on one another without end, or nearly so.
    #[error("{} stands on more than {most} images", path.display())]
    TooDeep { path: PathBuf, most: usize },
    /// A virtual machine writes to it.
    #[error("{} is in use: a virtual machine runs on it", path.display())]
    InUse { path: PathBuf },
    /// Something wrote to it meanwhile.
    #[error("{} changed while it was read", path.display())]
    Changed { path: PathBuf },
    /// It cannot be opened or read; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::InUse { .. } | Self::Changed { .. } => {
                Some("shut the node down first, as `fam-build stop N` does".to_owned())
            }
            Self::Unsupported { .. } | Self::BackingName { .. } | Self::TooDeep { .. } => {
                Some("make an image of it that is whole by itself: qemu-img convert -O qcow2 OLD NEW".to_owned())
            }
            Self::NotQcow2 { .. } => Some("build the node again".to_owned()),
            Self::Damaged { .. } => {
                Some("`qemu-img check` says what is wrong with it; build the node again".to_owned())
            }
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                Some("name the directory of the images with --output, or build them first".to_owned())
            }
            _ => None,
        }
    }
}

/// As [`Error`], of parts that do not know the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    NotQcow2,
    Unsupported(String),
    Damaged(String),
}

impl Fault {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    pub(super) fn at(self, path: &std::path::Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::NotQcow2 => Error::NotQcow2 { path },
            Self::Unsupported(what) => Error::Unsupported { path, what },
            Self::Damaged(what) => Error::Damaged { path, what },
        }
    }
}
