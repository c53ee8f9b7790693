//! The EFI system partition: what a tree has under `/boot/efi`, as FAT32 (UEFI specification 2.10,
//! section 13.3).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use fam_tree::{RootPath, Tree};

use super::error::Error;
use super::fat::{self, VolumeLabel};

/// Where the tree has what belongs to the ESP.
pub(super) static MOUNT_POINT: LazyLock<RootPath> =
    LazyLock::new(|| "boot/efi".parse().expect("a constant without dots"));
const LABEL: VolumeLabel = VolumeLabel(*b"EFI        ");

/// What the ESP will hold: what is under `/boot/efi`.
///
/// # Errors
/// [`Error::Fat`] for what FAT cannot hold.
pub(super) fn plan<'a>(tree: &'a Tree, laid_last: &BTreeSet<RootPath>) -> Result<fat::Plan<'a>, Error> {
    fat::Plan::new(tree, &MOUNT_POINT, LABEL, laid_last)
}
