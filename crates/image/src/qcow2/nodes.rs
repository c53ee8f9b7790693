//! Disks of several nodes, each complete by itself, whose bulk is compressed once.

use std::collections::BTreeSet;
use std::sync::Arc;

use fs_err::File;

use super::compress::write_clusters;
use super::tables::{Entries, finish};
use super::{CLUSTER_BYTES, OnBytes, Options};
use crate::error::Error;
use crate::map::DiskMap;
use crate::output::Output;

/// What all nodes share, at its place in one file. Its entries are those of clusters that are not
/// all zeros.
#[derive(Debug)]
pub(super) struct SharedClusters {
    reference: Arc<DiskMap>,
    /// The clusters that were considered, zeros included.
    clusters: BTreeSet<u64>,
    entries: Entries,
    end: u64,
    options: Options,
}

impl SharedClusters {
    /// Writes what `reference` shares with others into `output`: everything except private contents
    /// and what differs from `other`, which stands for all further nodes. Writes no tables.
    pub(super) fn write(
        reference: &Arc<DiskMap>,
        other: Option<&DiskMap>,
        output: &mut Output<'_>,
        options: Options,
        on_bytes: OnBytes<'_>,
    ) -> Result<Self, Error> {
        if let Some(other) = other {
            check_related(reference, other)?;
        }
        let shared = reference.clusters(CLUSTER_BYTES).filter(|cluster| {
            let range = cluster * CLUSTER_BYTES..(cluster + 1) * CLUSTER_BYTES;
            !reference.is_private(range.clone()) && other.is_none_or(|other| reference.same_in(other, range))
        });
        let clusters: Vec<u64> = shared.collect();
        output.set_len(0)?;
        // Behind the first cluster, which is for the header.
        let (entries, end) = write_clusters(reference, &clusters, output, CLUSTER_BYTES, options, on_bytes)?;
        Ok(Self { reference: Arc::clone(reference), clusters: clusters.into_iter().collect(), entries, end, options })
    }

    /// Whether the node of `map` has this cluster in common with the bulk.
    fn has(&self, map: &DiskMap, cluster: u64) -> bool {
        let range = cluster * CLUSTER_BYTES..(cluster + 1) * CLUSTER_BYTES;
        self.clusters.contains(&cluster) && self.reference.same_in(map, range)
    }

    /// The clusters of `map` that are its own, and the entries of the bulk that it shares.
    pub(super) fn split(&self, map: &DiskMap) -> Result<(Vec<u64>, Entries), Error> {
        check_related(&self.reference, map)?;
        let own = map.clusters(CLUSTER_BYTES).filter(|&cluster| !self.has(map, cluster)).collect();
        let shared = self.entries.iter().filter(|&(&cluster, _)| self.has(map, cluster));
        Ok((own, shared.map(|(&cluster, &entry)| (cluster, entry)).collect()))
    }

    /// The file offset behind the bulk.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(super) fn options(&self) -> Options {
        self.options
    }
}

fn check_related(one: &DiskMap, other: &DiskMap) -> Result<(), Error> {
    if one.size_bytes() == other.size_bytes() { Ok(()) } else { Err(Error::Unrelated) }
}

/// Writes images that are complete by themselves: the first node's, from which the others take the
/// bulk.
#[derive(Debug)]
pub struct FullImages {
    bulk: SharedClusters,
}

impl FullImages {
    /// Writes the disk `first` into the empty `file`. `second`, if there are further nodes, tells
    /// what of it is bulk.
    ///
    /// # Errors
    /// When the tarball cannot be read, or the file cannot be written.
    pub fn write_first(
        first: &Arc<DiskMap>,
        second: Option<&DiskMap>,
        file: &File,
        options: Options,
        on_bytes: OnBytes<'_>,
    ) -> Result<Self, Error> {
        // The images of the other nodes are copied from it.
        let mut output = Output::kept(file);
        let images = Self { bulk: SharedClusters::write(first, second, &mut output, options, on_bytes)? };
        images.complete(first, &mut output, on_bytes)?;
        Ok(images)
    }

    /// Writes another disk into the empty `file`, taking the bulk from `first_file`, where
    /// [`Self::write_first`] put it. Several may be written at once.
    ///
    /// # Errors
    /// When a file cannot be read or written, or `map` is a disk of another size.
    pub fn write_next(
        &self,
        map: &DiskMap,
        first_file: &File,
        file: &File,
        on_bytes: OnBytes<'_>,
    ) -> Result<(), Error> {
        let mut output = Output::passing(file);
        // A clone shares the blocks of the first image, where the file system can: no byte is
        // copied.
        if rustix::fs::ioctl_ficlone(file, first_file).is_ok() {
            // Cuts off what is the first node's own, and its tables.
            output.set_len(self.bulk.end)?;
        } else {
            output.set_len(0)?;
            output.copy_from(first_file, CLUSTER_BYTES, CLUSTER_BYTES, self.bulk.end - CLUSTER_BYTES)?;
        }
        on_bytes(self.bulk.clusters.len() as u64 * CLUSTER_BYTES);
        self.complete(map, &mut output, on_bytes)
    }

    /// Adds a node's own clusters and the tables to a file that has the bulk.
    fn complete(&self, map: &DiskMap, output: &mut Output<'_>, on_bytes: OnBytes<'_>) -> Result<(), Error> {
        let (own, mut entries) = self.bulk.split(map)?;
        let (own_entries, end) = write_clusters(map, &own, output, self.bulk.end, self.bulk.options, on_bytes)?;
        entries.extend(own_entries);
        finish(output, map.size_bytes(), &entries, end, None)
    }
}
