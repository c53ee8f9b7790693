//! qcow2 images, version 3 (QEMU, docs/interop/qcow2), written straight from a [`DiskMap`]: no raw
//! image in between.
//!
//! Clusters are 64 KiB and compressed with zstd, which QEMU has read since 5.1; incompressible ones
//! are stored as they are. Every file is laid out as
//!
//! ```text
//! header | bulk: what all nodes share | own clusters | L2 tables | refcount blocks, table | L1 table
//! ```
//!
//! The bulk is compressed once, on all cores, and is the same bytes at the same place in every
//! file, so that it is written to all at once, or cloned ([`FullImages`]); or it is a backing file,
//! to which nodes refer ([`OverlayImages`]). What is private to a node is never in the bulk.

mod compress;
mod header;
mod nodes;
pub mod reader;
mod tables;
mod thin;

use std::num::NonZero;

use fam_host::parallel::processors;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

pub use nodes::FullImages;
pub use reader::{Image, has_writer};
pub use thin::OverlayImages;

pub use super::sparse::OnBytes;

use super::error::Error;
use super::map::DiskMap;
use super::output;
use super::sparse::SparseDisk;

/// Bytes of a cluster, of the disk and of the file alike: what `qemu-img` takes by default.
pub const CLUSTER_BYTES: u64 = 64 << 10;

/// How the clusters of a disk image are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, Display, EnumString)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Compression {
    /// Zstandard: a third of the size; needs QEMU 5.1.
    #[default]
    Zstd,
    /// None: larger images, which a guest reads a little faster.
    None,
}

/// How images are written; no setting changes what a guest reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How clusters are stored.
    pub compression: Compression,
    /// Threads that compress.
    pub jobs: NonZero<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { compression: Compression::default(), jobs: processors() }
    }
}

/// Writes one disk that shares nothing with others.
///
/// # Errors
/// When contents cannot be read, or the file cannot be written.
pub fn write(
    map: &std::sync::Arc<DiskMap>,
    file: &fs_err::File,
    options: Options,
    on_bytes: OnBytes<'_>,
) -> Result<(), Error> {
    FullImages::write_bulk(map, None, &[file], options, on_bytes)?.write_node(map, file, on_bytes)
}

/// Writes a disk that is there already into the empty `file`, which stands on no other image. What is
/// written depends on what a guest sees, and not on how it was stored.
///
/// # Errors
/// When the disk cannot be read, or the file cannot be written.
pub fn write_disk(
    disk: &mut dyn SparseDisk,
    file: &fs_err::File,
    options: Options,
    on_bytes: OnBytes<'_>,
) -> Result<(), Error> {
    output::write_kept(file, |output| {
        output.set_len(0)?;
        let (entries, end) = compress::write_disk(disk, output, options, on_bytes)?;
        tables::finish(output, disk.size_bytes(), &entries, end, None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparse::testing::Pieces;
    use crate::testing::{assert_qemu_reads, written_to_file};

    #[test]
    fn a_disk_is_written_as_it_is_seen() {
        let mut disk = Pieces::example();
        for compression in [Compression::Zstd, Compression::None] {
            let [one, other] = [1, 3].map(|jobs| {
                let options = Options { compression, jobs: NonZero::new(jobs).expect("not zero") };
                written_to_file(|file| write_disk(&mut disk, file, options, &|_| ()))
            });
            assert_qemu_reads("qcow2", &one, &disk);
            assert_eq!(one, other);
        }
    }
}
