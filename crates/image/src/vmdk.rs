//! VMware's virtual disks, stream-optimized (VMware, "Virtual Disk Format 5.0").
//!
//! Of the forms that the format has it is this one that vSphere takes, and that is in every OVA:
//! each grain (64 KiB) is compressed, and the tables come behind what they refer to, so that it is
//! written and read in one go:
//!
//! ```text
//! header | descriptor | grains, each 512 of them followed by their table | directory | footer | end
//! ```
//!
//! The footer is the header again, which then knows where the directory is.

use std::io::{self, Write};
use std::num::NonZero;

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::error::Error;
use crate::sparse::{OnBytes, SparseDisk, for_each_encoded};

const SECTOR_BYTES: u64 = 512;
const GRAIN_SECTORS: u64 = 128;
const GRAIN_BYTES: u64 = GRAIN_SECTORS * SECTOR_BYTES;
const ENTRIES_PER_TABLE: u64 = 512;
const DESCRIPTOR_SECTORS: u64 = 20;
/// The sectors before the first grain, as VMware's own programs have it.
const OVERHEAD_SECTORS: u64 = 128;
/// What the header says of the directory's place: the footer knows it.
const AT_END: u64 = u64::MAX;
/// Tables refer to sectors by 32 bits.
const MOST_SECTORS: u64 = u32::MAX as u64;

/// Kinds of sectors between grains.
#[derive(Debug, Clone, Copy)]
enum Marker {
    End = 0,
    GrainTable = 1,
    GrainDirectory = 2,
    Footer = 3,
}

/// How a disk is written; nothing of it changes what a guest reads.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The name of the file, which the descriptor in it repeats.
    pub name: &'a str,
    /// What tells these contents from others. All ones, and all ones but the last, mean none.
    pub content_id: u32,
    /// Threads that compress.
    pub jobs: NonZero<usize>,
}

/// Writes `disk` to `output`, which is not read nor gone back in.
///
/// # Errors
/// When the disk cannot be read or is too large, or the output fails.
pub fn write(
    disk: &mut dyn SparseDisk,
    output: &mut dyn Write,
    options: Options<'_>,
    on_bytes: OnBytes<'_>,
) -> Result<(), Error> {
    let sectors = disk.size_bytes() / SECTOR_BYTES;
    let tables = sectors.div_ceil(GRAIN_SECTORS * ENTRIES_PER_TABLE);
    let mut stream = Stream { output, at: 0 };
    stream.write(&header(sectors, AT_END))?;
    let mut text = descriptor(sectors, options);
    text.resize((DESCRIPTOR_SECTORS * SECTOR_BYTES) as usize, 0);
    stream.write(&text)?;
    stream.pad_to(OVERHEAD_SECTORS)?;

    let mut directory = vec![0_u32; tables as usize];
    let mut table = Table { number: 0, entries: Vec::new() };
    for_each_encoded(disk, GRAIN_BYTES, options.jobs, on_bytes, compress, &mut |grain, compressed| {
        if grain / ENTRIES_PER_TABLE != table.number {
            stream.table(&mut table, &mut directory)?;
            table.number = grain / ENTRIES_PER_TABLE;
        }
        table.entries.resize(ENTRIES_PER_TABLE as usize, 0);
        table.entries[(grain % ENTRIES_PER_TABLE) as usize] = stream.sector()?;
        stream.grain(grain, &compressed)
    })?;
    stream.table(&mut table, &mut directory)?;

    let directory_bytes = bytes_of(&directory);
    stream.marker(Marker::GrainDirectory, directory_bytes.len() as u64)?;
    let directory_at = stream.sector()?;
    stream.write(&directory_bytes)?;
    stream.marker(Marker::Footer, SECTOR_BYTES)?;
    stream.write(&header(sectors, directory_at.into()))?;
    stream.marker(Marker::End, 0)?;
    stream.output.flush()?;
    Ok(())
}

/// The entries of the table that is being filled: sectors of grains. Empty while there is none.
struct Table {
    number: u64,
    entries: Vec<u32>,
}

struct Stream<'a> {
    output: &'a mut dyn Write,
    /// How many bytes were written.
    at: u64,
}

impl Stream<'_> {
    /// Writes bytes, and zeros up to the end of the sector.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.at + bytes.len() as u64;
        let padding = end.next_multiple_of(SECTOR_BYTES) - end;
        self.output.write_all(bytes)?;
        self.output.write_all(&[0; SECTOR_BYTES as usize][..padding as usize])?;
        self.at = end + padding;
        Ok(())
    }

    fn pad_to(&mut self, sector: u64) -> io::Result<()> {
        self.write(&vec![0; (sector * SECTOR_BYTES - self.at) as usize])
    }

    /// The sector that is written next.
    fn sector(&self) -> Result<u32, Error> {
        let sector = self.at / SECTOR_BYTES;
        if sector > MOST_SECTORS {
            return Err(Error::DiskTooLarge { format: "vmdk", most: "2 TiB of compressed contents" });
        }
        Ok(sector as u32)
    }

    fn grain(&mut self, number: u64, compressed: &[u8]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(12 + compressed.len());
        bytes.extend((number * GRAIN_SECTORS).to_le_bytes());
        bytes.extend((compressed.len() as u32).to_le_bytes());
        bytes.extend(compressed);
        Ok(self.write(&bytes)?)
    }

    /// Writes the sector that says that so many bytes of this kind follow.
    fn marker(&mut self, kind: Marker, bytes: u64) -> io::Result<()> {
        let mut marker = Vec::with_capacity(16);
        marker.extend(bytes.div_ceil(SECTOR_BYTES).to_le_bytes());
        marker.extend(0_u32.to_le_bytes());
        marker.extend((kind as u32).to_le_bytes());
        // With zeros up to the end of a sector, also where all of it is zeros.
        marker.resize(SECTOR_BYTES as usize, 0);
        self.write(&marker)
    }

    /// Writes the table, if it has any entry, and begins an empty one.
    fn table(&mut self, table: &mut Table, directory: &mut [u32]) -> Result<(), Error> {
        if !table.entries.is_empty() {
            self.marker(Marker::GrainTable, ENTRIES_PER_TABLE * 4)?;
            directory[table.number as usize] = self.sector()?;
            self.write(&bytes_of(&table.entries))?;
            table.entries.clear();
        }
        Ok(())
    }
}

fn bytes_of(entries: &[u32]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

/// Compresses grains as zlib does (RFC 1950).
fn compress(grains: &[&[u8]]) -> io::Result<Vec<Vec<u8>>> {
    let mut compress = Compress::new(Compression::default(), true);
    let grains = grains.iter().map(|grain| {
        compress.reset();
        // More than zlib needs for bytes that do not compress.
        let mut compressed = Vec::with_capacity(grain.len() + grain.len() / 64 + 64);
        match compress.compress_vec(grain, &mut compressed, FlushCompress::Finish)? {
            Status::StreamEnd => Ok(compressed),
            Status::Ok | Status::BufError => Err(io::Error::other("a grain does not fit its buffer")),
        }
    });
    grains.collect()
}

/// The sparse extent's header, one sector.
fn header(sectors: u64, directory: u64) -> Vec<u8> {
    const VERSION: u32 = 3;
    /// The newlines below are valid; grains are compressed; there are markers.
    const FLAGS: u32 = 1 << 0 | 1 << 16 | 1 << 17;
    const DEFLATE: u16 = 1;
    let mut bytes = Vec::with_capacity(SECTOR_BYTES as usize);
    bytes.extend(b"KDMV");
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(FLAGS.to_le_bytes());
    bytes.extend(sectors.to_le_bytes());
    bytes.extend(GRAIN_SECTORS.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes()); // where the descriptor is
    bytes.extend(DESCRIPTOR_SECTORS.to_le_bytes());
    bytes.extend((ENTRIES_PER_TABLE as u32).to_le_bytes());
    bytes.extend(0_u64.to_le_bytes()); // no second directory
    bytes.extend(directory.to_le_bytes());
    bytes.extend(OVERHEAD_SECTORS.to_le_bytes());
    bytes.push(0); // it was closed
    bytes.extend(b"\n \r\n");
    bytes.extend(DEFLATE.to_le_bytes());
    bytes.resize(SECTOR_BYTES as usize, 0);
    bytes
}

fn descriptor(sectors: u64, options: Options<'_>) -> Vec<u8> {
    // The geometry that any disk of more than 4 GB has.
    const HEADS: u64 = 255;
    const SECTORS: u64 = 63;
    let cylinders = sectors.div_ceil(HEADS * SECTORS).min(65_535);
    // Quotes and newlines would end the name.
    let name = options.name.replace(['"', '\n', '\r'], "_");
    let content_id = options.content_id;
    format!(
        "# Disk DescriptorFile
version=1
encoding=\"UTF-8\"
CID={content_id:08x}
parentCID=ffffffff
createType=\"streamOptimized\"

# Extent description
RW {sectors} SPARSE \"{name}\"

# The Disk Data Base
#DDB

ddb.adapterType = \"ide\"
ddb.geometry.cylinders = \"{cylinders}\"
ddb.geometry.heads = \"{HEADS}\"
ddb.geometry.sectors = \"{SECTORS}\"
ddb.virtualHWVersion = \"10\"
"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparse::testing::Pieces;
    use crate::testing::assert_qemu_reads;

    fn written(disk: &mut Pieces, jobs: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let options = Options { name: "disk.vmdk", content_id: 0x1234_5678, jobs: NonZero::new(jobs).unwrap() };
        write(disk, &mut bytes, options, &|_| ()).unwrap();
        bytes
    }

    #[test]
    fn qemu_reads_what_is_written() {
        let mut disk = Pieces::example();
        let bytes = written(&mut disk, 2);
        assert_qemu_reads("vmdk", &bytes, &disk);
        assert_eq!(bytes, written(&mut disk, 1));
        let text = String::from_utf8_lossy(&bytes[512..1200]).into_owned();
        assert!(text.contains("CID=12345678\n") && text.contains("RW 10243 SPARSE \"disk.vmdk\"\n"), "{text}");
    }

    #[test]
    fn tables_without_grains_are_left_out() {
        let sector = b"contents".repeat(64);
        let size_bytes = 200 << 20;
        for pieces in [vec![], vec![(size_bytes - 512, sector.clone())], vec![(0, sector), (64 << 20, vec![1])]] {
            let mut disk = Pieces { size_bytes, pieces };
            let bytes = written(&mut disk, 1);
            assert_qemu_reads("vmdk", &bytes, &disk);
            // Overhead, a grain and a table for each piece, directory, footer, end.
            assert!(bytes.len() < (128 + 2 * 8 + 6) * 512, "{}", bytes.len());
        }
    }
}
