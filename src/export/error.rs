//! Why nodes could not be exported.

use std::io;
use std::path::PathBuf;

use fam_host::space;
use fam_isolation::supervisor::{self, output};
use fam_progress::Hint;

use super::Format;
use crate::hints;
use crate::recipe::SectorSize;
use crate::report::Failure;

/// Why nodes could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each names its fields, or is the error of the module that it names")]
pub enum Error {
    /// There is no launch script, which tells what was built.
    #[error("find out what was built: {0}")]
    NotBuilt(#[source] io::Error),
    /// The launch script tells nothing, or what cannot be.
    #[error("{} does not tell what was built: {reason}", path.display())]
    Facts { path: PathBuf, reason: String },
    /// Others could have written a file whose contents would be taken for the node's.
    #[error("{} is not this user's own file, or others may write to it", .0.display())]
    Foreign(PathBuf),
    /// A node that was not built.
    #[error("there is no node {number}: {nodes} were built")]
    NoNode { number: u8, nodes: u8 },
    /// Two disks of a node that would have one name.
    #[error("{0} has a disk labelled seed, and a seed for cloud-init: what is written of both would have one name")]
    TwoSeeds(String),
    /// What reads the format has disks of one size of sectors.
    #[error("{format}: its disks have sectors of 512 bytes, and those of these nodes have {sector_size}")]
    SectorSize { format: Format, sector_size: SectorSize },
    #[error("{0}")]
    Image(#[from] fam_image::Error),
    #[error("{0}")]
    Output(#[from] output::Error),
    #[error("{0}")]
    Space(#[from] space::Error),
    #[error("{0}")]
    Interrupted(#[source] supervisor::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<fam_image::qcow2::reader::Error> for Error {
    fn from(error: fam_image::qcow2::reader::Error) -> Self {
        Self::Image(error.into())
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotBuilt(_) => Some("name the directory of the images with --output, or build them first".to_owned()),
            Self::Facts { .. } => Some("build the nodes again with this version".to_owned()),
            Self::Foreign(_) => Some("be the user who built it, and take write permission from others".to_owned()),
            // Not that of a build, which speaks of what was fetched.
            Self::Interrupted(_) => Some("nothing unfinished is left: run it again".to_owned()),
            Self::TwoSeeds(node) => {
                Some(format!("take {node}-seed.img away, or give the disk another label and build the nodes again"))
            }
            Self::SectorSize { .. } => {
                Some("take vhdx, oci or proxmox, or build the nodes without `sector-size` under [disk]".to_owned())
            }
            Self::NoNode { .. } => Some("without numbers, all nodes are written".to_owned()),
            _ => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NoNode { .. } => hints::usage(&error),
            _ => hints::failure(&error),
        }
    }
}
