//! Links, which are made when all packages are through: a symbolic link that another package means as a directory must not
//! be followed by those who come after it only, and a hard link must find what finally stands at its target.

use std::collections::BTreeMap;
use std::io;

use super::claims::{Claims, Index, Key};
use crate::rootfs::staging::{Attributes, FileType, Staging, StagingError};
use crate::tree::RootPath;

/// A link to make.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) path: RootPath,
    /// The name on disk, which for a conffile is not that of the path.
    pub(super) name: Vec<u8>,
    /// The claim under which it is made.
    pub(super) key: Key,
    pub(super) attributes: Attributes,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) target: LinkTarget,
}

/// Where a link leads.
#[derive(Debug)]
pub(super) enum LinkTarget {
    /// The text of a symbolic link.
    Symbolic(Vec<u8>),
    /// A file of the same package, and its name on disk.
    Hard { path: RootPath, name: Vec<u8> },
}

impl Link {
    /// Makes the link, if `package` still holds its name. A directory that is there stays, as with dpkg.
    pub(super) fn make(&self, staging: &Staging, claims: &Claims<'_>, package: Index) -> Result<(), StagingError> {
        if !claims.holds(&self.key, package) {
            return Ok(());
        }
        let parent = staging.parent(&self.path)?;
        let found = match parent.metadata(&self.name) {
            Ok(metadata) => Some(metadata.file_type),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match &self.target {
            LinkTarget::Symbolic(_) if found == Some(FileType::Directory) => Ok(()),
            LinkTarget::Symbolic(target) => {
                if found != Some(FileType::Symlink) || parent.read_link(&self.name)? != *target {
                    parent.remove(&self.name)?;
                    parent.symlink(&self.name, target)?;
                }
                parent.set_attributes(&self.name, &self.attributes, &self.xattrs)
            }
            LinkTarget::Hard { path, name } => {
                parent.remove(&self.name)?;
                parent.hard_link(&self.name, &staging.parent(path)?, name)
            }
        }
    }
}
