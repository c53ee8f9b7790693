//! The header of an image that is there already, versions 2 and 3 (QEMU, docs/interop/qcow2,
//! "Header"). Everything in it may be a lie until it is checked.

use super::super::header::{EXTENSION_BACKING_FORMAT, LONGEST_BACKING_NAME, MAGIC};
use super::error::Fault;

/// How much of an image is read for its header: QEMU writes header, extensions and the name of the
/// backing file one after another, in less than a tenth of that.
pub(super) const HEAD_BYTES: usize = 64 << 10;

const V2_HEADER_BYTES: usize = 72;
const V3_HEADER_BYTES: usize = 104;
/// What QEMU takes, so that no table is larger than 32 MiB.
const MOST_L1_ENTRIES: u64 = (32 << 20) / 8;
/// The largest disk: as many bytes as VHDX knows, so that no image takes for ever to be read.
const MOST_DISK_BYTES: u64 = 64 << 40;

/// Incompatible features, by their bits.
mod feature {
    /// The refcounts may be wrong; what is read does not depend on them.
    pub(super) const DIRTY: u64 = 1 << 0;
    pub(super) const CORRUPT: u64 = 1 << 1;
    pub(super) const EXTERNAL_DATA: u64 = 1 << 2;
    pub(super) const COMPRESSION_TYPE: u64 = 1 << 3;
    pub(super) const EXTENDED_L2: u64 = 1 << 4;
}

/// The format of a backing file, as the image itself tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackingFormat {
    Qcow2,
    Raw,
}

/// What the header says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// log2 of the bytes of a cluster, 9 to 21.
    pub(super) cluster_bits: u32,
    /// The size of the disk, a multiple of 512.
    pub(super) size_bytes: u64,
    pub(super) l1_entries: u64,
    pub(super) l1_offset: u64,
    /// Whether compressed clusters are zstd's, else they are deflate's.
    pub(super) zstd: bool,
    /// Whether entries of L2 tables may say that a cluster is all zeros: from version 3 on.
    pub(super) knows_zeros: bool,
    /// Whether each entry of an L2 table has a second half, with two bits for each of 32 parts.
    pub(super) extended: bool,
    /// The name of the image on which this one stands, and its format.
    pub(super) backing: Option<(String, BackingFormat)>,
}

impl Header {
    /// Parses the first [`HEAD_BYTES`] of an image, or all of a shorter one.
    pub(super) fn parse(head: &[u8]) -> Result<Self, Fault> {
        let fields = Fields(head);
        if !head.starts_with(MAGIC) {
            return Err(Fault::NotQcow2);
        }
        let version = fields.u32(4)?;
        let header_bytes = match version {
            2 => V2_HEADER_BYTES,
            3 => fields.u32(100)? as usize,
            _ => return Err(Fault::NotQcow2),
        };
        if version == 3 && (header_bytes < V3_HEADER_BYTES || header_bytes > head.len()) {
            return Err(Fault::damaged(format!("its header has {header_bytes} bytes")));
        }
        let features = if version == 3 { fields.u64(72)? } else { 0 };
        check_features(features)?;
        let cluster_bits = fields.u32(20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(Fault::damaged(format!("its clusters have 2^{cluster_bits} bytes")));
        }
        let extended = features & feature::EXTENDED_L2 != 0;
        if extended && cluster_bits < 14 {
            return Err(Fault::damaged("its clusters are too small to have parts"));
        }
        if fields.u32(32)? != 0 {
            return Err(Fault::Unsupported("it is encrypted".to_owned()));
        }
        let zstd = features & feature::COMPRESSION_TYPE != 0 && compression_type(&fields, header_bytes)?;
        let mut header = Self {
            cluster_bits,
            size_bytes: fields.u64(24)?,
            l1_entries: fields.u32(36)?.into(),
            l1_offset: fields.u64(40)?,
            zstd,
            knows_zeros: version == 3,
            extended,
            backing: None,
        };
        header.check_size()?;
        header.backing = backing(&fields, header_bytes, &header)?;
        Ok(header)
    }

    pub(super) fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// How many clusters an L2 table has entries for. A table is one cluster.
    pub(super) fn l2_entries(&self) -> u64 {
        self.cluster_bytes() / if self.extended { 16 } else { 8 }
    }

    fn check_size(&self) -> Result<(), Fault> {
        let size = self.size_bytes;
        if size == 0 || !size.is_multiple_of(512) {
            return Err(Fault::damaged(format!("its disk has {size} bytes")));
        }
        if size > MOST_DISK_BYTES {
            return Err(Fault::Unsupported(format!("its disk has {size} bytes, which is more than 64 TiB")));
        }
        let needed = size.div_ceil(self.cluster_bytes()).div_ceil(self.l2_entries());
        if self.l1_entries > MOST_L1_ENTRIES || self.l1_entries < needed {
            let found = self.l1_entries;
            return Err(Fault::damaged(format!("its first table has {found} entries, and the disk takes {needed}")));
        }
        Ok(())
    }
}

fn check_features(features: u64) -> Result<(), Fault> {
    use feature::{COMPRESSION_TYPE, CORRUPT, DIRTY, EXTENDED_L2, EXTERNAL_DATA};
    if features & EXTERNAL_DATA != 0 {
        return Err(Fault::Unsupported("its data is in a file of its own".to_owned()));
    }
    if features & CORRUPT != 0 {
        return Err(Fault::damaged("QEMU has marked it so"));
    }
    let unknown = features & !(DIRTY | COMPRESSION_TYPE | EXTENDED_L2);
    if unknown != 0 {
        return Err(Fault::Unsupported(format!("it has the unknown feature {}", unknown.trailing_zeros())));
    }
    Ok(())
}

/// Whether clusters are compressed with zstd.
fn compression_type(fields: &Fields<'_>, header_bytes: usize) -> Result<bool, Fault> {
    let kind = if header_bytes > V3_HEADER_BYTES { fields.bytes(V3_HEADER_BYTES, 1)?[0] } else { 0 };
    match kind {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Fault::Unsupported(format!("its clusters are compressed in the unknown way {other}"))),
    }
}

fn backing(
    fields: &Fields<'_>,
    header_bytes: usize,
    header: &Header,
) -> Result<Option<(String, BackingFormat)>, Fault> {
    let (offset, len) = (fields.u64(8)?, fields.u32(16)? as usize);
    if offset == 0 || len == 0 {
        return Ok(None);
    }
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let within = offset >= header_bytes && offset.saturating_add(len) as u64 <= header.cluster_bytes();
    if len > LONGEST_BACKING_NAME || !within {
        return Err(Fault::damaged("the name of its backing file is in no place for it"));
    }
    let name = std::str::from_utf8(fields.bytes(offset, len)?);
    let name = name.map_err(|_| Fault::Unsupported("the name of its backing file is not UTF-8".to_owned()))?;
    let format = match backing_format(fields, header_bytes, offset)? {
        Some(b"qcow2") => BackingFormat::Qcow2,
        Some(b"raw") => BackingFormat::Raw,
        // To guess it would let the contents of a raw disk name any file of the host.
        None => return Err(Fault::Unsupported("it does not say of which format its backing file is".to_owned())),
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            return Err(Fault::Unsupported(format!("its backing file is of the format {other}")));
        }
    };
    Ok(Some((name.to_owned(), format)))
}

/// Looks through the extensions, which lie between the header and the name of the backing file.
fn backing_format<'a>(fields: &Fields<'a>, header_bytes: usize, end: usize) -> Result<Option<&'a [u8]>, Fault> {
    let mut at = header_bytes;
    while at + 8 <= end {
        let (kind, len) = (fields.u32(at)?, fields.u32(at + 4)? as usize);
        match kind {
            0 => break,
            EXTENSION_BACKING_FORMAT => return fields.bytes(at + 8, len).map(Some),
            _ => at = at.saturating_add(8).saturating_add(len).saturating_add(7) & !7,
        }
    }
    Ok(None)
}

/// Big-endian numbers at their offsets.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&self, at: usize, len: usize) -> Result<&'a [u8], Fault> {
        let bytes = self.0.get(at..).and_then(|rest| rest.get(..len));
        bytes.ok_or_else(|| Fault::damaged("it ends within its header"))
    }

    fn u32(&self, at: usize) -> Result<u32, Fault> {
        Ok(u32::from_be_bytes(self.bytes(at, 4)?.try_into().expect("four bytes")))
    }

    fn u64(&self, at: usize) -> Result<u64, Fault> {
        Ok(u64::from_be_bytes(self.bytes(at, 8)?.try_into().expect("eight bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 3 that stands on `base`, and changes of it.
    fn head(changes: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; 200];
        head[..4].copy_from_slice(MAGIC);
        for (at, value) in [(4, 3_u32), (8 + 4, 144), (16, 4), (20, 16), (36, 16), (100, 112)] {
            head[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        head[24..32].copy_from_slice(&(8_u64 << 30).to_be_bytes());
        head[40..48].copy_from_slice(&0x30000_u64.to_be_bytes());
        head[112..125].copy_from_slice(b"\xe2\x79\x2a\xca\0\0\0\x05qcow2");
        head[144..148].copy_from_slice(b"base");
        for (at, bytes) in changes {
            head[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn a_header_is_read() {
        let expected = Header {
            cluster_bits: 16,
            size_bytes: 8 << 30,
            l1_entries: 16,
            l1_offset: 0x30000,
            zstd: false,
            knows_zeros: true,
            extended: false,
            backing: Some(("base".to_owned(), BackingFormat::Qcow2)),
        };
        assert_eq!(Header::parse(&head(&[])), Ok(expected.clone()));
        let dirty_zstd = Header { zstd: true, ..expected.clone() };
        assert_eq!(Header::parse(&head(&[(79, b"\x09"), (104, b"\x01")])), Ok(dirty_zstd));
        let alone = Header { backing: None, ..expected };
        assert_eq!(Header::parse(&head(&[(15, b"\0")])), Ok(alone));
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        for (changes, expected) in [
            (&[(0, &b"QFI\xfa"[..])][..], "NotQcow2"),
            (&[(7, b"\x04")], "NotQcow2"),
            (&[(35, b"\x02")], "encrypted"),
            (&[(79, b"\x04")], "a file of its own"),
            (&[(79, b"\x02")], "marked"),
            (&[(74, b"\x10")], "unknown feature 44"),
            (&[(79, b"\x08"), (104, b"\x07")], "unknown way 7"),
            (&[(79, b"\x10"), (23, b"\x0d")], "too small"),
            (&[(23, b"\x16")], "2^22"),
            (&[(23, b"\x08")], "2^8"),
            (&[(31, b"\x01")], "8589934593 bytes"),
            (&[(24, b"\x80")], "bytes"),
            (&[(39, b"\x0f")], "15 entries"),
            (&[(36, b"\x01")], "entries"),
            (&[(103, b"\x67")], "header has 103"),
            (&[(102, b"\x01")], "header has"),
            (&[(8, b"\xff")], "no place"),
            (&[(18, b"\x04")], "no place"),
            (&[(15, b"\x10")], "no place"),
            (&[(15, b"\xc8")], "ends within"),
            (&[(144, b"\xff")], "not UTF-8"),
            (&[(120, b"vmdk\0")], "the format vmdk"),
            (&[(112, b"\0\0\0\0")], "does not say"),
        ] {
            let found = format!("{:?}", Header::parse(&head(changes)).unwrap_err());
            assert!(found.contains(expected), "{found} does not say {expected}");
        }
        for len in 0..150 {
            assert!(Header::parse(&head(&[])[..len.min(147)]).is_err(), "{len}");
        }
    }
}
