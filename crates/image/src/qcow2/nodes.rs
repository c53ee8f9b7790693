//! Disks of several nodes, each complete by itself, whose bulk is compressed once.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use fs_err::File;
use rustix::fs::ioctl_ficlone;

use super::compress::write_clusters;
use super::tables::{Entries, finish};
use super::{CLUSTER_BYTES, OnBytes, Options};
use crate::error::Error;
use crate::map::DiskMap;
use crate::output::{self, Output};

/// What all nodes share, at the same place in each file that has it. Its entries are those of clusters that are not
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
        output: &mut Output<'_, '_>,
        options: Options,
        on_bytes: OnBytes<'_>,
    ) -> Result<Self, Error> {
        if let Some(other) = other {
            check_related(reference, other)?;
        }
        let shared = reference.clusters(CLUSTER_BYTES).filter(|&cluster| {
            let range = range_of(cluster);
            !reference.is_private(range.clone()) && other.is_none_or(|other| reference.same_in(other, range))
        });
        let clusters: Vec<u64> = shared.collect();
        output.set_len(0)?;
        // Behind the first cluster, which is for the header.
        let (entries, end) = write_clusters(reference, &clusters, output, CLUSTER_BYTES, options, on_bytes)?;
        Ok(Self { reference: Arc::clone(reference), clusters: clusters.into_iter().collect(), entries, end, options })
    }

    /// The clusters of `map` that are its own, and the entries of the bulk that it shares.
    pub(super) fn split(&self, map: &DiskMap) -> Result<(Vec<u64>, Entries), Error> {
        check_related(&self.reference, map)?;
        let shares = |&cluster: &u64| self.reference.same_in(map, range_of(cluster));
        let shared: BTreeSet<u64> = self.clusters.iter().copied().filter(shares).collect();
        let own = map.clusters(CLUSTER_BYTES).filter(|cluster| !shared.contains(cluster)).collect();
        let entries = self.entries.iter().filter(|(cluster, _)| shared.contains(cluster));
        Ok((own, entries.map(|(&cluster, &entry)| (cluster, entry)).collect()))
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

/// The bytes of a disk's cluster.
fn range_of(cluster: u64) -> Range<u64> {
    cluster * CLUSTER_BYTES..(cluster + 1) * CLUSTER_BYTES
}

fn check_related(one: &DiskMap, other: &DiskMap) -> Result<(), Error> {
    if one.size_bytes() == other.size_bytes() { Ok(()) } else { Err(Error::Unrelated) }
}

/// Writes images that are complete by themselves.
#[derive(Debug)]
pub struct FullImages {
    bulk: SharedClusters,
}

impl FullImages {
    /// Writes what the disk `first` shares with all nodes into `files`, one for each node, all empty.
    /// `second`, if there are further nodes, tells what that is.
    ///
    /// # Errors
    /// When contents cannot be read, or a file cannot be written.
    pub fn write_bulk(
        first: &Arc<DiskMap>,
        second: Option<&DiskMap>,
        files: &[&File],
        options: Options,
        on_bytes: OnBytes<'_>,
    ) -> Result<Self, Error> {
        // A clone shares the blocks of another file, where the file system can: nothing is written.
        // Whether it can shows on empty files.
        let can_clone = matches!(files, [one, other, ..] if ioctl_ficlone(other, one).is_ok());
        let (written, cloned) = files.split_at(if can_clone { 1 } else { files.len() });
        let on_bytes_of_all = |count| on_bytes(count * files.len() as u64);
        let bulk =
            output::write(written, |output| SharedClusters::write(first, second, output, options, &on_bytes_of_all))?;
        for file in cloned {
            ioctl_ficlone(file, written[0]).map_err(io::Error::from)?;
        }
        Ok(Self { bulk })
    }

    /// Adds what is a node's own to one of these files, which is an image then. Several may be
    /// written at once.
    ///
    /// # Errors
    /// When contents cannot be read or the file cannot be written, or `map` is a disk of another
    /// size.
    pub fn write_node(&self, map: &DiskMap, file: &File, on_bytes: OnBytes<'_>) -> Result<(), Error> {
        let (own, mut entries) = self.bulk.split(map)?;
        output::write(&[file], |output| {
            let (own_entries, end) = write_clusters(map, &own, output, self.bulk.end, self.bulk.options, on_bytes)?;
            entries.extend(own_entries);
            finish(output, map.size_bytes(), &entries, end, None)
        })
    }
}
