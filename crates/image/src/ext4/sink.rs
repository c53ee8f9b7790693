//! Takes the metadata that mkext4 emits into the map of the disk, and gives it a node's own UUID on
//! the way.
//!
//! Every checksum of ext4 metadata is seeded with the file system's UUID. With the feature
//! `metadata_csum_seed` the seed is a field of the superblock instead, so another UUID changes the
//! superblocks alone: what `tune2fs -O metadata_csum_seed -U` does. Linux has
//! known it since 4.4; Debian's GRUB since 2.06-8 (bookworm).

use std::io;

use mkext4::RegionSink;
use mkext4::csum;
use mkext4::spec::{Superblock, incompat};
use uuid::Uuid;

use super::{BLOCK_BYTES, GROUP_BLOCKS};
use crate::map::MapBuilder;

/// The first superblock stands behind a boot sector's room; the copies stand at the beginning of
/// their groups.
const FIRST_SUPERBLOCK: usize = 1024;

/// Puts metadata into a map at the place of its partition.
#[derive(Debug)]
pub(super) struct MetadataSink<'a> {
    builder: &'a mut MapBuilder,
    partition_offset: u64,
    new_uuid: Option<NewUuid>,
}

#[derive(Debug)]
struct NewUuid {
    layout_uuid: Uuid,
    uuid: Uuid,
}

impl<'a> MetadataSink<'a> {
    /// The metadata was made with `layout_uuid` and shall bear `fs_uuid`.
    pub(super) fn new(builder: &'a mut MapBuilder, partition_offset: u64, layout_uuid: Uuid, fs_uuid: Uuid) -> Self {
        let new_uuid = (fs_uuid != layout_uuid).then_some(NewUuid { layout_uuid, uuid: fs_uuid });
        Self { builder, partition_offset, new_uuid }
    }
}

impl RegionSink for MetadataSink<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = self.partition_offset + offset;
        if let Some(new_uuid) = &self.new_uuid
            // Superblocks stand at the beginning of groups alone.
            && offset.is_multiple_of(GROUP_BLOCKS * BLOCK_BYTES)
        {
            let mut bytes = bytes.to_vec();
            let start = if offset == 0 { FIRST_SUPERBLOCK } else { 0 };
            new_uuid.apply(&mut bytes[start..start + Superblock::LEN]);
            self.builder.put_bytes(at, &bytes);
        } else {
            self.builder.put_bytes(at, bytes);
        }
        Ok(())
    }

    fn zeros(&mut self, _: u64, _: u64) -> io::Result<()> {
        // What the map leaves out reads as zeros.
        Ok(())
    }
}

impl NewUuid {
    /// Changes a superblock; leaves alone what is none, as groups without a copy begin with other
    /// things.
    fn apply(&self, block: &mut [u8]) {
        let Ok(mut superblock) = Superblock::decode(block) else { return };
        if superblock.uuid != *self.layout_uuid.as_bytes() {
            return;
        }
        superblock.uuid = *self.uuid.as_bytes();
        superblock.feature_incompat |= incompat::CSUM_SEED;
        superblock.checksum_seed = csum::fs_seed(self.layout_uuid.as_bytes());
        superblock.encode(block);
        // Encoded twice, since the checksum is of the encoded bytes and stands among them.
        superblock.checksum = csum::superblock(block);
        superblock.encode(block);
    }
}
