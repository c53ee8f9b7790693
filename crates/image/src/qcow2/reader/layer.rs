//! One file of an image: which stretch of the disk lies where in it.

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress};
use fs_err::File;
use fs_err::os::unix::fs::FileExt;
use zstd::stream::read::Decoder;

use super::error::{Error, Fault};
use super::header::{HEAD_BYTES, Header};

/// What QEMU counts in, whatever the sectors of the disk.
pub(super) const SECTOR_BYTES: u64 = 512;
const COMPRESSED: u64 = 1 << 62;
const ALL_ZEROS: u64 = 1;
/// Bits of an entry that are the offset of a table or cluster.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Parts of a cluster where entries are extended.
const PARTS: u64 = 32;
/// The largest window of a zstd frame, as log2 of bytes: more than any cluster has.
const LARGEST_WINDOW_LOG: u32 = 22;

/// What a file says of a stretch of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Nothing: what the backing file has counts.
    Nothing,
    /// It is all zeros.
    Zeros,
    /// It lies at this offset of the file.
    Stored { offset: u64 },
    /// It lies in a compressed cluster, from this byte of the cluster on.
    Compressed { entry: u64, within: u64 },
}

/// A stretch of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) mapping: Mapping,
    pub(super) len: u64,
}

/// An image file, or a raw one on which images stand.
#[derive(Debug)]
pub(super) enum Layer {
    Qcow2(Qcow2),
    Raw { file: File, len: u64 },
}

impl Layer {
    /// A raw disk.
    pub(super) fn raw(file: File) -> Result<Self, Error> {
        let len = file.metadata()?.len();
        Ok(Self::Raw { file, len })
    }

    pub(super) fn file(&self) -> &File {
        match self {
            Self::Qcow2(image) => &image.file,
            Self::Raw { file, .. } => file,
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Self::Qcow2(image) => image.header.size_bytes,
            Self::Raw { len, .. } => *len,
        }
    }

    /// What it says of `offset`, which lies within its disk, and of as much behind as is alike.
    pub(super) fn run(&mut self, offset: u64) -> Result<Run, Error> {
        match self {
            Self::Qcow2(image) => image.run(offset),
            Self::Raw { len, .. } => Ok(Run { mapping: Mapping::Stored { offset }, len: *len - offset }),
        }
    }

    /// Fills `buffer` with what lies there.
    pub(super) fn read(&mut self, mapping: Mapping, buffer: &mut [u8]) -> Result<(), Error> {
        match (mapping, self) {
            (Mapping::Nothing | Mapping::Zeros, _) => buffer.fill(0),
            (Mapping::Stored { offset }, layer) => read_or_zeros(layer.file(), buffer, offset)?,
            (Mapping::Compressed { entry, within }, Self::Qcow2(image)) => {
                let cluster = image.decompressed(entry)?;
                buffer.copy_from_slice(&cluster[within as usize..][..buffer.len()]);
            }
            (Mapping::Compressed { .. }, Self::Raw { .. }) => unreachable!("a raw disk has no compressed clusters"),
        }
        Ok(())
    }
}

/// A qcow2 file. Of its tables and compressed clusters the last one that was used is in memory: a
/// disk is read from its beginning to its end.
#[derive(Debug)]
pub(super) struct Qcow2 {
    file: File,
    len: u64,
    header: Header,
    /// Offsets of L2 tables.
    l1: Vec<u64>,
    /// The offset and the entries of an L2 table.
    l2: Option<(u64, Vec<u64>)>,
    /// The entry and the contents of a compressed cluster.
    cluster: Option<(u64, Vec<u8>)>,
}

impl Qcow2 {
    /// Reads the header and the first table.
    pub(super) fn open(file: File) -> Result<Self, Error> {
        let len = file.metadata()?.len();
        let mut head = vec![0; (HEAD_BYTES as u64).min(len) as usize];
        read_or_zeros(&file, &mut head, 0)?;
        let header = Header::parse(&head).map_err(|fault| fault.at(file.path()))?;
        let l1_bytes = header.l1_entries * 8;
        if header.l1_offset.checked_add(l1_bytes).is_none_or(|end| end > len) {
            return Err(Fault::damaged("its first table lies outside of it").at(file.path()));
        }
        let l1 = read_entries(&file, header.l1_offset, l1_bytes)?;
        Ok(Self { file, len, header, l1, l2: None, cluster: None })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    fn damaged(&self, what: impl Into<String>) -> Error {
        Fault::damaged(what).at(self.file.path())
    }

    fn run(&mut self, offset: u64) -> Result<Run, Error> {
        let left = self.header.size_bytes - offset;
        let (cluster_bytes, l2_entries) = (self.header.cluster_bytes(), self.header.l2_entries());
        let cluster = offset / cluster_bytes;
        let table_offset = self.l1[(cluster / l2_entries) as usize] & OFFSET;
        if table_offset == 0 {
            let table_bytes = l2_entries * cluster_bytes;
            return Ok(Run { mapping: Mapping::Nothing, len: left.min(table_bytes - offset % table_bytes) });
        }
        self.load_table(table_offset)?;
        let mut run = self.run_in_table(cluster % l2_entries, offset % cluster_bytes)?;
        // Empty stretches are joined, so that they cost no more than what is stored.
        let joins = |mapping| matches!(mapping, Mapping::Nothing | Mapping::Zeros);
        while joins(run.mapping) && run.len < left {
            let next = offset + run.len;
            if next / cluster_bytes / l2_entries != cluster / l2_entries {
                break;
            }
            let more = self.run_in_table(next / cluster_bytes % l2_entries, next % cluster_bytes)?;
            if more.mapping != run.mapping {
                break;
            }
            run.len += more.len;
        }
        Ok(Run { len: run.len.min(left), ..run })
    }

    fn load_table(&mut self, offset: u64) -> Result<(), Error> {
        if self.l2.as_ref().is_some_and(|(loaded, _)| *loaded == offset) {
            return Ok(());
        }
        let cluster_bytes = self.header.cluster_bytes();
        if !offset.is_multiple_of(cluster_bytes) || offset >= self.len {
            return Err(self.damaged(format!("a table lies at {offset:#x}")));
        }
        self.l2 = Some((offset, read_entries(&self.file, offset, cluster_bytes)?));
        Ok(())
    }

    /// What the loaded table says of the cluster at `index`, from the byte `within` on.
    fn run_in_table(&self, index: u64, within: u64) -> Result<Run, Error> {
        let Header { extended, knows_zeros, .. } = self.header;
        let cluster_bytes = self.header.cluster_bytes();
        let (_, table) = self.l2.as_ref().expect("a table was loaded");
        let entry = table[index as usize * if extended { 2 } else { 1 }];
        let left = cluster_bytes - within;
        if entry & COMPRESSED != 0 {
            return Ok(Run { mapping: Mapping::Compressed { entry, within }, len: left });
        }
        let stored = entry & OFFSET;
        if !stored.is_multiple_of(cluster_bytes) {
            return Err(self.damaged(format!("a cluster lies at {stored:#x}")));
        }
        if extended {
            let parts = table[index as usize * 2 + 1];
            return self.run_in_parts(stored, parts, within);
        }
        let mapping = match (entry & ALL_ZEROS != 0, stored) {
            (true, _) if !knows_zeros => return Err(self.damaged("it has clusters that its version does not know")),
            (true, _) => Mapping::Zeros,
            (false, 0) => Mapping::Nothing,
            (false, _) => Mapping::Stored { offset: stored + within },
        };
        Ok(Run { mapping, len: left })
    }

    /// As above, where each part of a cluster has a bit that says that it is stored (bits 0 to 31 of
    /// `parts`), and one that says that it is all zeros (bits 32 to 63).
    fn run_in_parts(&self, stored: u64, parts: u64, within: u64) -> Result<Run, Error> {
        let part_bytes = self.header.cluster_bytes() / PARTS;
        let bit = |part: u64| (parts >> part & 1 != 0, parts >> (PARTS + part) & 1 != 0);
        let first = within / part_bytes;
        let mapping = match bit(first) {
            (true, true) => return Err(self.damaged("a part of a cluster is stored and zeros")),
            (true, false) if stored == 0 => return Err(self.damaged("a part of a cluster is stored nowhere")),
            (true, false) => Mapping::Stored { offset: stored + within },
            (false, true) => Mapping::Zeros,
            (false, false) => Mapping::Nothing,
        };
        let alike = (first..PARTS).take_while(|&part| bit(part) == bit(first)).count() as u64;
        Ok(Run { mapping, len: (first + alike) * part_bytes - within })
    }

    fn decompressed(&mut self, entry: u64) -> Result<&[u8], Error> {
        if self.cluster.as_ref().is_none_or(|(read, _)| *read != entry) {
            let cluster = self.decompress(entry)?;
            self.cluster = Some((entry, cluster));
        }
        Ok(self.cluster.as_ref().map_or(&[], |(_, cluster)| cluster))
    }

    fn decompress(&self, entry: u64) -> Result<Vec<u8>, Error> {
        // The offset has the lower bits; the number of further sectors that the stored bytes touch
        // has those above it.
        let offset_bits = 62 - (self.header.cluster_bits - 8);
        let offset = entry & ((1 << offset_bits) - 1);
        let further_sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
        let end = (offset / SECTOR_BYTES + 1 + further_sectors) * SECTOR_BYTES;
        if offset >= self.len {
            return Err(self.damaged(format!("a compressed cluster lies at {offset:#x}")));
        }
        let mut stored = vec![0; (end.min(self.len) - offset) as usize];
        read_or_zeros(&self.file, &mut stored, offset)?;
        let mut cluster = vec![0; self.header.cluster_bytes() as usize];
        let done = if self.header.zstd { unzstd(&stored, &mut cluster) } else { inflate(&stored, &mut cluster) };
        done.map_err(|error| self.damaged(format!("the compressed cluster at {offset:#x}: {error}")))?;
        Ok(cluster)
    }
}

/// Fills `cluster` from a frame, behind which there may be anything.
fn unzstd(stored: &[u8], cluster: &mut [u8]) -> io::Result<()> {
    let mut decoder = Decoder::with_buffer(stored)?.single_frame();
    decoder.window_log_max(LARGEST_WINDOW_LOG)?;
    decoder.read_exact(cluster)
}

/// Fills `cluster` from deflate's bytes without a header, behind which there may be anything.
fn inflate(stored: &[u8], cluster: &mut [u8]) -> io::Result<()> {
    let mut decompress = Decompress::new(false);
    decompress.decompress(stored, cluster, FlushDecompress::Finish)?;
    if decompress.total_out() == cluster.len() as u64 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early"))
}

fn read_entries(file: &File, offset: u64, len: u64) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; len as usize];
    read_or_zeros(file, &mut bytes, offset)?;
    Ok(bytes.chunks_exact(8).map(|entry| u64::from_be_bytes(entry.try_into().expect("eight bytes"))).collect())
}

/// Reads at `offset`. What lies behind the end of the file is zeros, as it is to QEMU.
fn read_or_zeros(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer[filled..].fill(0);
    Ok(())
}
