//! From a [`Tree`](fam_tree::Tree) to disk images: partition table, boot code, ESP, ext4, FAT, swap,
//! raw and qcow2 files.
//!
//! Everything here is a pure function of its arguments: no clock, no randomness, no privilege, no
//! mount, no host program. [`lay_out`] decides the place of every byte and gives a [`DiskMap`],
//! which says for each stretch of the disk either its bytes or where in the store they lie; file
//! contents are never held in memory. [`raw`] and [`qcow2`] walk such a map.
//!
//! What is there already is read again by [`qcow2::Image`], also after a guest has run on it, and
//! written in the formats of other hypervisors: [`vmdk`], [`vdi`], [`vhdx`].
//!
//! Nodes share work: files that a node changes are laid out last, so the maps of two nodes differ
//! in few clusters, and [`qcow2::FullImages`] compresses what is common once.
//!
//! ```
//! use std::collections::BTreeSet;
//! use std::sync::Arc;
//!
//! use fam_image::{Identity, ImageSettings, SectorSize, lay_out, raw};
//! use fam_tree::tarball;
//! use fs_err::File;
//! use uuid::Uuid;
//! # let directory = tempfile::tempdir()?;
//! # let root = directory.path().join("root.tar");
//! # fam_tree::tar::TarWriter::new(File::create(&root)?).finish()?;
//!
//! let tarball = Arc::new(File::open(&root)?);
//! let tree = tarball::index(&tarball)?;
//! let identity = Identity {
//!     disk_guid: Uuid::from_u128(1),
//!     bios_guid: Uuid::from_u128(2),
//!     esp_guid: Uuid::from_u128(3),
//!     root_guid: Uuid::from_u128(4),
//!     fs_uuid: Uuid::from_u128(5),
//!     esp_volume_id: 6,
//!     partitions: Vec::new(),
//!     disks: Vec::new(),
//! };
//! let settings = ImageSettings {
//!     size_bytes: 512 << 20,
//!     sector_size: SectorSize::Bytes512,
//!     label: "root".into(),
//!     layout_uuid: identity.fs_uuid,
//!     timestamp: 0,
//!     partitions: Vec::new(),
//!     disks: Vec::new(),
//! };
//! let disk = lay_out(&tree, tarball, &BTreeSet::new(), &identity, &settings)?;
//! raw::write(&disk, &File::create(directory.path().join("disk.img"))?, &|_| {})?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod boot;
mod disk;
mod error;
mod esp;
mod ext4;
mod fat;
mod gpt;
mod layout;
pub mod map;
mod output;
pub mod qcow2;
pub mod raw;
mod sector;
mod sparse;
mod swap;
#[cfg(test)]
mod testing;
pub mod vdi;
pub mod vhdx;
pub mod vmdk;
mod volume;

pub use boot::BootCode;
pub use disk::{DiskLayout, Partition, ROOT_PARTITION};
pub use error::Error;
pub use layout::{Identity, ImageSettings, lay_out, lay_out_further};
pub use map::{Contents, DiskMap, Piece, Source};
pub use output::{Stream, write_stream};
pub use sector::{InvalidSectorSize, SectorSize};
pub use sparse::{OnBytes, SparseDisk};
pub use volume::{Format, Volume, VolumeIdentity};
