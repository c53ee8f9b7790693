//! Which cluster of the disk lies where in the file, and the tables that say so.

use std::collections::BTreeMap;
use std::io;

use super::CLUSTER_BYTES;
use super::header::Header;
use crate::error::Error;
use crate::output::Output;

const SECTOR_BYTES: u64 = 512;
/// L2 entries of a table, which is one cluster.
const L2_ENTRIES: u64 = CLUSTER_BYTES / 8;
/// Refcounts of a block, which is one cluster of 16-bit numbers.
const REFCOUNTS_PER_BLOCK: u64 = CLUSTER_BYTES / 2;
/// Set where exactly one reference leads to a cluster, so that it may be written in place.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ALL_ZEROS: u64 = 1;
/// A compressed entry has the file offset below this bit, and from it on the number of further
/// sectors.
const COMPRESSED_OFFSET_BITS: u32 = 62 - (CLUSTER_BYTES.trailing_zeros() - 8);

/// Where a cluster of the disk lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// As it is, at this file offset.
    Whole { offset: u64 },
    /// Compressed: `len` bytes at this file offset, across cluster boundaries as it may be.
    Compressed { offset: u64, len: u64 },
    /// Nowhere: it is all zeros, whatever a backing file says.
    Zeros,
}

impl Entry {
    fn encode(self) -> u64 {
        match self {
            Self::Whole { offset } => offset | COPIED,
            Self::Compressed { offset, len } => {
                let further_sectors = (offset + len - 1) / SECTOR_BYTES - offset / SECTOR_BYTES;
                COMPRESSED | further_sectors << COMPRESSED_OFFSET_BITS | offset
            }
            Self::Zeros => ALL_ZEROS,
        }
    }

    /// The clusters of the file that it refers to.
    fn host_clusters(self) -> std::ops::Range<u64> {
        match self {
            Self::Whole { offset } => offset / CLUSTER_BYTES..offset / CLUSTER_BYTES + 1,
            Self::Compressed { offset, len } => offset / CLUSTER_BYTES..(offset + len - 1) / CLUSTER_BYTES + 1,
            Self::Zeros => 0..0,
        }
    }
}

/// Entries by number of the disk's cluster.
pub(super) type Entries = BTreeMap<u64, Entry>;

/// Writes tables for `entries` behind `data_end`, and then the header: from then on the file is an
/// image.
pub(super) fn finish(
    output: &mut Output<'_, '_>,
    size_bytes: u64,
    entries: &Entries,
    data_end: u64,
    backing_name: Option<&str>,
) -> Result<(), Error> {
    let mut end_cluster = data_end.div_ceil(CLUSTER_BYTES);
    let l1_entries = size_bytes.div_ceil(CLUSTER_BYTES).div_ceil(L2_ENTRIES);
    let l1 = write_l2_tables(output, entries, l1_entries, &mut end_cluster)?;

    let l1_clusters = (l1_entries * 8).div_ceil(CLUSTER_BYTES);
    // The tables come last, when it is known how many clusters they have to count.
    let (blocks, table_clusters) = refcount_clusters(end_cluster + l1_clusters);
    let first_block = end_cluster;
    let table = first_block + blocks;
    let l1_cluster = table + table_clusters;
    end_cluster = l1_cluster + l1_clusters;

    write_refcounts(output, entries, data_end.div_ceil(CLUSTER_BYTES)..end_cluster, first_block..table)?;
    let table_bytes: Vec<u8> = (first_block..table).flat_map(|block| (block * CLUSTER_BYTES).to_be_bytes()).collect();
    output.write_all_at(&table_bytes, table * CLUSTER_BYTES)?;
    let l1_bytes: Vec<u8> = l1.iter().flat_map(|entry| entry.to_be_bytes()).collect();
    output.write_all_at(&l1_bytes, l1_cluster * CLUSTER_BYTES)?;
    output.set_len(end_cluster * CLUSTER_BYTES)?;

    let header = Header {
        size_bytes,
        l1_entries: l1_entries as u32,
        l1_offset: l1_cluster * CLUSTER_BYTES,
        refcount_table_offset: table * CLUSTER_BYTES,
        refcount_table_clusters: table_clusters as u32,
        zstd: entries.values().any(|entry| matches!(entry, Entry::Compressed { .. })),
        backing_name,
    };
    output.write_all_at(&header.encode()?, 0)?;
    Ok(output.flush()?)
}

/// Writes the L2 tables that hold anything, and returns the L1 table.
fn write_l2_tables(
    output: &mut Output<'_, '_>,
    entries: &Entries,
    l1_entries: u64,
    end_cluster: &mut u64,
) -> io::Result<Vec<u64>> {
    let mut l1 = vec![0; l1_entries as usize];
    let mut remaining = entries.iter().peekable();
    while let Some(&(&first, _)) = remaining.peek() {
        let index = first / L2_ENTRIES;
        let mut table = vec![0; CLUSTER_BYTES as usize];
        while let Some((&cluster, entry)) = remaining.next_if(|&(&cluster, _)| cluster / L2_ENTRIES == index) {
            let at = (cluster % L2_ENTRIES) as usize * 8;
            table[at..at + 8].copy_from_slice(&entry.encode().to_be_bytes());
        }
        let offset = *end_cluster * CLUSTER_BYTES;
        output.write_all_at(&table, offset)?;
        l1[index as usize] = offset | COPIED;
        *end_cluster += 1;
    }
    Ok(l1)
}

/// How many refcount blocks, and clusters of the table of these blocks, it takes to count `others`
/// and themselves.
fn refcount_clusters(others: u64) -> (u64, u64) {
    let (mut blocks, mut table) = (0, 0);
    loop {
        let needed_blocks = (others + blocks + table).div_ceil(REFCOUNTS_PER_BLOCK);
        let needed_table = (needed_blocks * 8).div_ceil(CLUSTER_BYTES);
        if (needed_blocks, needed_table) == (blocks, table) {
            return (blocks, table);
        }
        (blocks, table) = (needed_blocks, needed_table);
    }
}

/// Counts exactly what refers to each cluster: the header, the tables (`metadata`), and the
/// entries.
fn write_refcounts(
    output: &mut Output<'_, '_>,
    entries: &Entries,
    metadata: std::ops::Range<u64>,
    blocks: std::ops::Range<u64>,
) -> io::Result<()> {
    let mut counts = vec![0_u16; ((blocks.end - blocks.start) * REFCOUNTS_PER_BLOCK) as usize];
    counts[0] = 1;
    counts[metadata.start as usize..metadata.end as usize].fill(1);
    // Several compressed clusters may share one of the file, which then has as many references.
    for cluster in entries.values().flat_map(|entry| entry.host_clusters()) {
        counts[cluster as usize] += 1;
    }
    let bytes: Vec<u8> = counts.iter().flat_map(|count| count.to_be_bytes()).collect();
    output.write_all_at(&bytes, blocks.start * CLUSTER_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_encode_as_specified() {
        assert_eq!(Entry::Whole { offset: 0x50000 }.encode(), 0x8000_0000_0005_0000);
        assert_eq!(Entry::Zeros.encode(), 1);
        // 600 bytes from 0x101f0 on touch sectors 0x80 to 0x82.
        assert_eq!(Entry::Compressed { offset: 0x101f0, len: 600 }.encode(), 1 << 62 | 2 << 54 | 0x101f0);
        assert_eq!(Entry::Compressed { offset: 0x1fff0, len: 17 }.host_clusters(), 1..3);
        assert_eq!(Entry::Compressed { offset: 0x1fff0, len: 16 }.host_clusters(), 1..2);
    }

    #[test]
    fn refcount_blocks_count_themselves() {
        for (others, expected) in [
            (1, (1, 1)),
            (REFCOUNTS_PER_BLOCK - 2, (1, 1)),
            (REFCOUNTS_PER_BLOCK - 1, (2, 1)),
            (REFCOUNTS_PER_BLOCK * 8192, (8193, 2)),
        ] {
            assert_eq!(refcount_clusters(others), expected, "{others}");
        }
    }
}
