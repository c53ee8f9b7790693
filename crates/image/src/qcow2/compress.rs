//! Clusters of a disk, read and compressed on several threads, handed to one writer in their order.
//!
//! Batches go round the workers in turn, and each worker has its own short queue, which the writer
//! empties in the same turn: order needs no sorting, and memory is bounded by the queues whatever
//! the disk's size.

use std::io::{self, Cursor};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use fam_host::parallel::spawn;
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

use super::tables::{Entries, Entry};
use super::{CLUSTER_BYTES, Compression, OnBytes, Options};
use crate::error::Error;
use crate::map::DiskMap;
use crate::output::Output;
use crate::sparse::{SparseDisk, for_each_encoded};

/// Clusters that a worker takes at once.
const BATCH: usize = 16;
/// Batches that a worker may be ahead of the writer.
const BATCHES_AHEAD: usize = 2;
/// zstd's fastest level of those that are not "fast" ones: on Debian's files the same size as
/// zlib's 6, in a tenth of its time.
const LEVEL: i32 = 1;

/// One cluster as it shall be stored.
enum Encoded {
    Zeros,
    Whole,
    Compressed,
}

/// Clusters in their order, with their stored bytes one after another.
#[derive(Default)]
struct Batch {
    clusters: Vec<(u64, Encoded, usize)>,
    bytes: Vec<u8>,
}

/// Writes `clusters` of `map` from the file offset `start` on, a cluster boundary. Returns where
/// they lie, without those that are all zeros, and the file offset behind them, again a cluster
/// boundary.
pub(super) fn write_clusters(
    map: &DiskMap,
    clusters: &[u64],
    output: &mut Output<'_, '_>,
    start: u64,
    options: Options,
    on_bytes: OnBytes<'_>,
) -> Result<(Entries, u64), Error> {
    let batches: Vec<&[u64]> = clusters.chunks(BATCH).collect();
    let workers = options.jobs.get().min(batches.len());
    let mut packer = Packer::new(output, start);
    thread::scope(|scope| {
        // Worker `n` has the batches `n`, `n + workers`, and so on: the writer knows whose turn it
        // is without asking.
        let queues = (0..workers)
            .map(|worker| -> io::Result<_> {
                let (filled, to_write) = sync_channel(BATCHES_AHEAD);
                let (written, to_fill) = channel();
                let own: Vec<&[u64]> = batches.iter().skip(worker).step_by(workers).copied().collect();
                spawn(scope, move || work(map, &own, options.compression, &filled, &to_fill))?;
                Ok((to_write, written))
            })
            .collect::<io::Result<Vec<_>>>()?;
        for index in 0..batches.len() {
            let (to_write, written) = &queues[index % workers];
            let batch = to_write.recv().expect("a worker sends every batch or its error")?;
            packer.batch(&batch)?;
            // The last ones are not taken back.
            let _ = written.send(batch);
            on_bytes(batches[index].len() as u64 * CLUSTER_BYTES);
        }
        Ok((packer.entries, packer.end))
    })
}

/// As [`write_clusters`], of all clusters of a disk that is there already, right behind the header.
pub(super) fn write_disk(
    disk: &mut dyn SparseDisk,
    output: &mut Output<'_, '_>,
    options: Options,
    on_bytes: OnBytes<'_>,
) -> Result<(Entries, u64), Error> {
    let encode = |clusters: &[&[u8]]| -> io::Result<Vec<(Encoded, Vec<u8>)>> {
        let mut encoder = Encoder::new(options.compression)?;
        let clusters = clusters.iter().map(|cluster| {
            encoder.cluster.copy_from_slice(cluster);
            let mut bytes = Vec::new();
            Ok((encoder.encode(&mut bytes)?, bytes))
        });
        clusters.collect()
    };
    let mut packer = Packer::new(output, CLUSTER_BYTES);
    for_each_encoded(disk, CLUSTER_BYTES, options.jobs, on_bytes, encode, &mut |number, (encoded, stored)| {
        Ok(packer.cluster(number, &encoded, &stored)?)
    })?;
    Ok((packer.entries, packer.end))
}

/// Encodes batches until there are no more, one fails, or the writer has given up. The memory of those
/// that were written is used again.
fn work(
    map: &DiskMap,
    batches: &[&[u64]],
    compression: Compression,
    filled: &SyncSender<io::Result<Batch>>,
    to_fill: &Receiver<Batch>,
) {
    let mut encoder = match Encoder::new(compression) {
        Ok(encoder) => encoder,
        Err(error) => return drop(filled.send(Err(error))),
    };
    for clusters in batches {
        let batch = encoder.batch(map, clusters, to_fill.try_recv().unwrap_or_default());
        let failed = batch.is_err();
        if filled.send(batch).is_err() || failed {
            return;
        }
    }
}

struct Encoder {
    compressor: Option<Compressor<'static>>,
    cluster: Vec<u8>,
}

impl Encoder {
    fn new(compression: Compression) -> io::Result<Self> {
        let compressor = match compression {
            Compression::Zstd => Some(Compressor::new(LEVEL)?),
            Compression::None => None,
        };
        Ok(Self { compressor, cluster: vec![0; CLUSTER_BYTES as usize] })
    }

    fn batch(&mut self, map: &DiskMap, clusters: &[u64], mut batch: Batch) -> io::Result<Batch> {
        batch.clusters.clear();
        batch.bytes.clear();
        for &number in clusters {
            map.read_at(number * CLUSTER_BYTES, &mut self.cluster)?;
            let start = batch.bytes.len();
            let encoded = self.encode(&mut batch.bytes)?;
            batch.clusters.push((number, encoded, batch.bytes.len() - start));
        }
        Ok(batch)
    }

    /// Encodes what stands in `cluster`, and appends it to `bytes`.
    fn encode(&mut self, bytes: &mut Vec<u8>) -> io::Result<Encoded> {
        if self.cluster.iter().all(|&byte| byte == 0) {
            return Ok(Encoded::Zeros);
        }
        if let Some(compressor) = &mut self.compressor {
            let start = bytes.len();
            bytes.reserve(compress_bound(CLUSTER_BYTES as usize));
            let mut end = Cursor::new(&mut *bytes);
            end.set_position(start as u64);
            let len = compressor.compress_to_buffer(&self.cluster, &mut end)?;
            // Else nothing is gained; QEMU, too, stores such a cluster as it is.
            if len < CLUSTER_BYTES as usize {
                return Ok(Encoded::Compressed);
            }
            bytes.truncate(start);
        }
        bytes.extend_from_slice(&self.cluster);
        Ok(Encoded::Whole)
    }
}

/// Gives places in the file to clusters as they come, and writes them.
struct Packer<'a, 'scope, 'env> {
    output: &'a mut Output<'scope, 'env>,
    entries: Entries,
    /// The first cluster boundary behind everything placed.
    end: u64,
    /// Where the compressed clusters end: inside a cluster of the file, as it may be, which is filled
    /// on.
    compressed_end: u64,
}

impl<'a, 'scope, 'env> Packer<'a, 'scope, 'env> {
    fn new(output: &'a mut Output<'scope, 'env>, start: u64) -> Self {
        Self { output, entries: Entries::new(), end: start, compressed_end: start }
    }

    fn batch(&mut self, batch: &Batch) -> io::Result<()> {
        let mut bytes = &batch.bytes[..];
        for (number, encoded, len) in &batch.clusters {
            let (stored, rest) = bytes.split_at(*len);
            bytes = rest;
            self.cluster(*number, encoded, stored)?;
        }
        Ok(())
    }

    fn cluster(&mut self, number: u64, encoded: &Encoded, stored: &[u8]) -> io::Result<()> {
        let entry = match encoded {
            Encoded::Zeros => return Ok(()),
            Encoded::Whole => self.whole(stored)?,
            Encoded::Compressed => self.compressed(stored)?,
        };
        self.entries.insert(number, entry);
        Ok(())
    }

    /// Puts it behind everything placed. What is left of a cluster that was begun is zeros until compressed ones come
    /// there, so that all of it is one piece, and few writes.
    fn whole(&mut self, stored: &[u8]) -> io::Result<Entry> {
        let offset = self.end;
        if self.compressed_end.next_multiple_of(CLUSTER_BYTES) == offset {
            self.output.write_zeros(self.compressed_end..offset)?;
        }
        self.output.write_all_at(stored, offset)?;
        self.end += CLUSTER_BYTES;
        Ok(Entry::Whole { offset })
    }

    /// Appends to the cluster of the file that was begun, if it has room or nothing lies behind it;
    /// else begins another one.
    fn compressed(&mut self, stored: &[u8]) -> io::Result<Entry> {
        let len = stored.len() as u64;
        let boundary = self.compressed_end.next_multiple_of(CLUSTER_BYTES);
        let nothing_behind = boundary == self.end;
        if self.compressed_end + len > boundary && !nothing_behind {
            self.compressed_end = self.end;
        }
        let offset = self.compressed_end;
        self.output.write_all_at(stored, offset)?;
        self.compressed_end += len;
        self.end = self.end.max(self.compressed_end.next_multiple_of(CLUSTER_BYTES));
        Ok(Entry::Compressed { offset, len })
    }
}
