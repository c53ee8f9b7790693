//! Disks of several nodes as small overlays on one backing image.

use std::collections::BTreeSet;
use std::sync::Arc;

use fs_err::File;

use super::compress::write_clusters;
use super::nodes::SharedClusters;
use super::tables::{Entry, finish};
use super::{CLUSTER_BYTES, OnBytes, Options};
use crate::error::Error;
use crate::map::DiskMap;
use crate::output;

/// Writes a backing image with what all nodes share, and for each node an overlay with the rest.
#[derive(Debug)]
pub struct OverlayImages {
    bulk: SharedClusters,
}

impl OverlayImages {
    /// Writes what `first` shares with all nodes into the empty `file`. Private contents stay out
    /// of it, even where `second` is `None` because there is one node only.
    ///
    /// # Errors
    /// When contents cannot be read, or the file cannot be written.
    pub fn write_backing(
        first: &Arc<DiskMap>,
        second: Option<&DiskMap>,
        file: &File,
        options: Options,
        on_bytes: OnBytes<'_>,
    ) -> Result<Self, Error> {
        output::write(&[file], |output| {
            let bulk = SharedClusters::write(first, second, output, options, on_bytes)?;
            finish(output, first.size_bytes(), bulk.entries(), bulk.end(), None)?;
            Ok(Self { bulk })
        })
    }

    /// Writes a node's overlay into the empty `file`. `backing_name` is the backing image's name as
    /// seen from the directory of the overlay.
    ///
    /// # Errors
    /// When contents cannot be read or the file cannot be written, or the name is too long.
    pub fn write_node(
        &self,
        map: &DiskMap,
        backing_name: &str,
        file: &File,
        on_bytes: OnBytes<'_>,
    ) -> Result<(), Error> {
        let (own, shared) = self.bulk.split(map)?;
        // What the backing image has and this node has not must read as zeros.
        let hidden: BTreeSet<u64> = self.bulk.entries().keys().copied().filter(|c| !shared.contains_key(c)).collect();
        output::write(&[file], |output| {
            output.set_len(0)?;
            let options = self.bulk.options();
            let (mut entries, end) = write_clusters(map, &own, output, CLUSTER_BYTES, options, on_bytes)?;
            // What this node has in their place was written above, and stays.
            for cluster in hidden {
                entries.entry(cluster).or_insert(Entry::Zeros);
            }
            finish(output, map.size_bytes(), &entries, end, Some(backing_name))
        })
    }
}
