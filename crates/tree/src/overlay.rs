//! What plugins change of a tree, held in memory until it is written out.

use std::collections::BTreeMap;

use super::{Entry, RootPath, Tree, under};

/// One change to a tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// This entry stands at the path, whatever was there.
    Put(Entry),
    /// Nothing stands at the path. A removed directory lists each entry under it as removed, too.
    Remove,
}

/// Changes by path. Applied to a [`Tree`] they give the tree of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Overlay {
    changes: BTreeMap<RootPath, Change>,
}

impl Overlay {
    /// The change at exactly `path`.
    #[must_use]
    pub fn get(&self, path: &RootPath) -> Option<&Change> {
        self.changes.get(path)
    }

    /// Records a change, over any earlier one at the same path.
    pub fn set(&mut self, path: RootPath, change: Change) {
        self.changes.insert(path, change);
    }

    /// All changes in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&RootPath, &Change)> {
        self.changes.iter()
    }

    /// The changes under `path`, however deep, without that at the path itself.
    pub fn under<'a>(&'a self, path: &'a RootPath) -> impl Iterator<Item = (&'a RootPath, &'a Change)> {
        under(&self.changes, path)
    }

    /// The tree with every change made.
    #[must_use]
    pub fn apply(&self, tree: &Tree) -> Tree {
        let mut result = tree.clone();
        for (path, change) in &self.changes {
            match change {
                Change::Put(entry) => drop(result.insert(path.clone(), entry.clone())),
                Change::Remove => drop(result.remove(path)),
            }
        }
        result
    }
}
