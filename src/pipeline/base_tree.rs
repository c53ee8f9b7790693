//! A base system in memory: its tree, and the tarball in which the bytes of its files lie.

use std::collections::BTreeMap;
use std::sync::Arc;

use fam_rootfs::layer;
use fam_rootfs::staging::Staging;
use fam_tree::{Entry, Kind, RootPath, Tree, tarball};
use fs_err::File;

use super::Error;

/// A base system in memory.
#[derive(Debug)]
pub(super) struct BaseTree {
    /// Without device nodes, which no staging tree has either.
    tree: Arc<Tree>,
    devices: BTreeMap<RootPath, Entry>,
    tarball: Arc<File>,
}

impl BaseTree {
    /// The base system of a layer's tarball.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn new(tarball: File) -> Result<Self, Error> {
        let is_device = |entry: &Entry| matches!(entry.kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. });
        let (devices, tree): (Vec<_>, Vec<_>) =
            tarball::index(&tarball)?.into_iter().partition(|(_, entry)| is_device(entry));
        let tree = Arc::new(tree.into_iter().collect());
        Ok(Self { tree, devices: devices.into_iter().collect(), tarball: Arc::new(tarball) })
    }

    /// The entries, without device nodes.
    pub(super) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Where the bytes of files lie.
    pub(super) fn tarball(&self) -> &Arc<File> {
        &self.tarball
    }

    /// Fills the empty tree `staging` with the base system, as it was `changed` meanwhile.
    ///
    /// # Errors
    /// When something cannot be read or made.
    pub(super) fn extract(&self, changed: &Tree, staging: &Staging) -> Result<(), Error> {
        layer::extract(changed, &self.tarball, staging)?;
        for (path, device) in &self.devices {
            staging.device(path.clone(), device.clone());
        }
        Ok(())
    }

    /// The system that the base system was `changed` to, as its tarball has it: see [`tarball::finished`].
    pub(super) fn finished(&self, changed: Tree, latest: i64) -> Tree {
        tarball::finished(changed, &self.devices, latest)
    }
}
