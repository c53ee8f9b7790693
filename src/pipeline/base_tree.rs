//! A base system in memory: its tree, and where the bytes of its files lie.

use std::collections::BTreeMap;
use std::sync::Arc;

use fam_rootfs::layer;
use fam_rootfs::staging::Staging;
use fam_tree::{Entry, Kind, RootPath, Store, Tree, tarball};

use super::Error;

/// A base system in memory.
#[derive(Debug)]
pub(super) struct BaseTree {
    /// Without device nodes, which no staging tree has either.
    tree: Arc<Tree>,
    devices: BTreeMap<RootPath, Entry>,
    store: Arc<dyn Store>,
}

impl BaseTree {
    /// The base system of a tree with files whose bytes are in `store`.
    pub(super) fn new(tree: Tree, store: Arc<dyn Store>) -> Self {
        let is_device = |entry: &Entry| matches!(entry.kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. });
        let (devices, tree): (Vec<_>, Vec<_>) = tree.into_iter().partition(|(_, entry)| is_device(entry));
        let tree = Arc::new(tree.into_iter().collect());
        Self { tree, devices: devices.into_iter().collect(), store }
    }

    /// The entries, without device nodes.
    pub(super) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Where the bytes of files lie.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Fills the empty tree `staging` with the base system, as it was `changed` meanwhile.
    ///
    /// # Errors
    /// When something cannot be read or made.
    pub(super) fn extract(&self, changed: &Tree, staging: &Staging) -> Result<(), Error> {
        layer::extract(changed, &*self.store, staging)?;
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
