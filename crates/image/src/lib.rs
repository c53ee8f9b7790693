//! From a [`Tree`](fam_tree::Tree) to disk images: partition table, boot code, ESP, ext4, raw
//! and qcow2 files.
//!
//! Everything here is a pure function of its arguments: no clock, no randomness, no privilege, no
//! mount, no host program. [`lay_out`] decides the place of every byte and gives a [`DiskMap`],
//! which says for each stretch of the disk either its bytes or where in the tarball they lie; file
//! contents are never held in memory. [`raw`] and [`qcow2`] walk such a map.
//!
//! Nodes share work: files that a node changes are laid out last, so the maps of two nodes differ
//! in few clusters, and [`qcow2::FullImages`] compresses what is common once.

mod boot;
mod disk;
mod error;
mod esp;
mod ext4;
mod gpt;
mod layout;
pub mod map;
mod output;
pub mod qcow2;
pub mod raw;

pub use boot::BootCode;
pub use disk::{DiskLayout, Partition, ROOT_PARTITION, SECTOR_BYTES};
pub use error::Error;
pub use layout::{Identity, ImageSettings, lay_out};
pub use map::{DiskMap, Piece, Source};
