//! The qcow2 header with its extensions.

use super::CLUSTER_BYTES;
use crate::error::Error;

pub(super) const MAGIC: &[u8; 4] = b"QFI\xfb";
const VERSION: u32 = 3;
const CLUSTER_BITS: u32 = CLUSTER_BYTES.trailing_zeros();
/// log2 of the bits of a refcount.
const REFCOUNT_ORDER: u32 = 4;
/// The header up to and with the compression type, a multiple of 8.
const HEADER_BYTES: u32 = 112;
const COMPRESSION_TYPE_BIT: u8 = 3;
const COMPRESSION_ZSTD: u8 = 1;
pub(super) const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_FEATURE_NAMES: u32 = 0x6803_f857;
pub(super) const LONGEST_BACKING_NAME: usize = 1023;

/// What the header says.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) size_bytes: u64,
    pub(super) l1_entries: u32,
    pub(super) l1_offset: u64,
    pub(super) refcount_table_offset: u64,
    pub(super) refcount_table_clusters: u32,
    /// Whether any cluster is compressed with zstd.
    pub(super) zstd: bool,
    /// The name of a qcow2 file that has what this one leaves out, relative to this one's
    /// directory.
    pub(super) backing_name: Option<&'a str>,
}

impl Header<'_> {
    /// The first cluster of the file, without its trailing zeros.
    ///
    /// # Errors
    /// [`Error::BackingName`].
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let backing = self.backing_name.unwrap_or_default();
        if backing.len() > LONGEST_BACKING_NAME {
            return Err(Error::BackingName { len: backing.len() });
        }
        let extensions = self.extensions();
        let backing_offset = if backing.is_empty() { 0 } else { u64::from(HEADER_BYTES) + extensions.len() as u64 };
        let incompatible = if self.zstd { 1_u64 << COMPRESSION_TYPE_BIT } else { 0 };

        let mut bytes = Vec::with_capacity(512);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(backing_offset.to_be_bytes());
        bytes.extend((backing.len() as u32).to_be_bytes());
        bytes.extend(CLUSTER_BITS.to_be_bytes());
        bytes.extend(self.size_bytes.to_be_bytes());
        bytes.extend(0_u32.to_be_bytes()); // not encrypted
        bytes.extend(self.l1_entries.to_be_bytes());
        bytes.extend(self.l1_offset.to_be_bytes());
        bytes.extend(self.refcount_table_offset.to_be_bytes());
        bytes.extend(self.refcount_table_clusters.to_be_bytes());
        bytes.extend([0; 4 + 8]); // no snapshots
        bytes.extend(incompatible.to_be_bytes());
        bytes.extend([0; 8 + 8]); // no compatible features, no autoclear ones
        bytes.extend(REFCOUNT_ORDER.to_be_bytes());
        bytes.extend(HEADER_BYTES.to_be_bytes());
        bytes.push(if self.zstd { COMPRESSION_ZSTD } else { 0 });
        bytes.resize(HEADER_BYTES as usize, 0);
        bytes.extend(extensions);
        bytes.extend(backing.as_bytes());
        Ok(bytes)
    }

    fn extensions(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut add_extension = |kind: u32, data: &[u8]| {
            bytes.extend(kind.to_be_bytes());
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        };
        if self.backing_name.is_some() {
            add_extension(EXTENSION_BACKING_FORMAT, b"qcow2");
        }
        if self.zstd {
            // A QEMU that is too old for the feature shows this name in its error.
            let mut name = [0; 48];
            // The first byte says, by 0, that it is an incompatible feature.
            name[1] = COMPRESSION_TYPE_BIT;
            name[2..18].copy_from_slice(b"compression type");
            add_extension(EXTENSION_FEATURE_NAMES, &name);
        }
        // The end of the extensions.
        add_extension(0, &[]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(backing_name: Option<&str>) -> Header<'_> {
        Header {
            size_bytes: 1 << 30,
            l1_entries: 2,
            l1_offset: 0x30000,
            refcount_table_offset: 0x10000,
            refcount_table_clusters: 1,
            zstd: true,
            backing_name,
        }
    }

    #[test]
    fn a_backing_file_is_named_behind_the_extensions() {
        let bytes = header(Some("base.qcow2")).encode().unwrap();
        let offset = u64::from_be_bytes(bytes[8..16].try_into().unwrap()) as usize;
        assert_eq!(&bytes[offset..], b"base.qcow2");
        assert_eq!(bytes[16..20], 10_u32.to_be_bytes());
        assert_eq!(bytes[112..125], [0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 5, b'q', b'c', b'o', b'w', b'2']);
        assert_eq!(bytes[79], 8);
        assert_eq!(bytes[104], 1);
    }

    #[test]
    fn refuses_a_name_that_qemu_would() {
        assert!(matches!(header(Some(&"x".repeat(1024))).encode(), Err(Error::BackingName { len: 1024 })));
    }
}
