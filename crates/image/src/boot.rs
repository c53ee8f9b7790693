//! GRUB's BIOS stages: boot.img in the master boot record, core.img in the BIOS boot partition.
//!
//! Both come from the tree itself, where the target's own grub-mkimage made them; what is patched
//! here is what grub-bios-setup patches (util/setup.c; offsets of include/grub/i386/pc/boot.h and
//! include/grub/offsets.h). For UEFI there is nothing to do: the firmware finds
//! `EFI/BOOT/BOOTX64.EFI` in the ESP.
//!
//! All that BIOS stages count in sectors, they count in sectors of 512 bytes, and SeaBIOS does not
//! show others to them (src/hw/virtio-blk.c: "block size %d is unsupported"). So on a disk of
//! others they have no place, and only UEFI starts it.

use fam_tree::{Content, Kind, RootPath, Tree};

use super::disk::DiskLayout;
use super::error::Error;
use super::map::MapBuilder;
use super::sector::SectorSize;

/// Whether a disk boots by BIOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootCode {
    /// GRUB's boot and core images are in place.
    Grub,
    /// They are left out, since the disk has sectors of 4096 bytes. What boots it by UEFI is there.
    UefiOnly,
    /// The tree has no `/boot/grub/i386-pc/boot.img` and `core.img`: the disk boots by UEFI only,
    /// or not at all.
    None,
}

impl BootCode {
    /// What a disk of such sectors gets, which is made of `tree`.
    ///
    /// # Errors
    /// [`Error::BiosOnly`] where the tree starts by BIOS alone, from which such a disk does not.
    pub fn of(tree: &Tree, sector_size: SectorSize) -> Result<Self, Error> {
        let has = |path| regular_file(tree, path).is_some();
        let has_grub = has(BOOT_IMG) && has(CORE_IMG);
        if !sector_size.boots_by_bios() {
            return match (has(UEFI_LOADER), has_grub) {
                (true, _) => Ok(Self::UefiOnly),
                (false, true) => Err(Error::BiosOnly { sector_size }),
                (false, false) => Ok(Self::None),
            };
        }
        Ok(if has_grub { Self::Grub } else { Self::None })
    }
}

const BOOT_IMG: &str = "boot/grub/i386-pc/boot.img";
const CORE_IMG: &str = "boot/grub/i386-pc/core.img";
/// Where firmware looks on a disk that no boot entry names (UEFI 2.10, 3.5.1.1).
const UEFI_LOADER: &str = "boot/efi/EFI/BOOT/BOOTX64.EFI";

/// What these stages count in.
const SECTOR_SIZE: SectorSize = SectorSize::Bytes512;
const SECTOR_BYTES: u64 = SECTOR_SIZE.bytes();

/// The MBR's code area ends where the disk signature and the partition table begin.
const CODE_BYTES: usize = 440;
/// Room for a BIOS parameter block, which describes the disk and not GRUB; so it stays zero.
const BPB: std::ops::Range<usize> = 0x03..0x5a;
/// u64: the first sector of core.img.
const KERNEL_SECTOR: usize = 0x5c;
/// u8: the BIOS drive, 0xff for the one that was booted from.
const BOOT_DRIVE: usize = 0x64;
/// A two-byte jump over code that corrects the drive number of buggy firmware; made two NOPs on
/// hard disks.
const BOOT_DRIVE_CHECK: usize = 0x66;
const NOPS: [u8; 2] = [0x90, 0x90];
/// In the first sector of core.img: u64 first sector, u16 number of sectors, u16 segment of what
/// follows it.
const BLOCK_LIST: usize = 0x1f4;
/// Segment where the rest of core.img is loaded.
const KERNEL_SEGMENT: u16 = 0x820;

/// Installs boot code from the tree, if it is there, into an MBR and the BIOS boot partition.
///
/// # Errors
/// [`Error::BootCode`], or [`Error::BiosOnly`] for a disk that this code cannot start.
pub(super) fn install(
    tree: &Tree,
    layout: &DiskLayout,
    mbr: &mut [u8],
    builder: &mut MapBuilder,
) -> Result<BootCode, Error> {
    let boot_code = BootCode::of(tree, layout.sector_size)?;
    let files = (regular_file(tree, BOOT_IMG), regular_file(tree, CORE_IMG));
    let (BootCode::Grub, (Some(boot), Some(core))) = (boot_code, files) else { return Ok(boot_code) };
    // boot.img is a master boot record: one sector, of which everything behind [`CODE_BYTES`] is
    // left to the partition table.
    if boot.1.len() != SECTOR_BYTES {
        return Err(refused(boot.0, format!("{} bytes instead of {SECTOR_BYTES}", boot.1.len())));
    }
    // Its first sector only loads the rest, so one sector alone is no core image.
    if core.1.len() <= SECTOR_BYTES || core.1.len() > layout.bios_boot.len {
        let reason = format!("{} bytes, where {} fit the BIOS boot partition", core.1.len(), layout.bios_boot.len);
        return Err(refused(core.0, reason));
    }
    let code = builder.read(boot.1)?;
    if code[510..] != [0x55, 0xaa] {
        return Err(refused(boot.0, "no boot signature".to_owned()));
    }
    let core_lba = layout.bios_boot.first_lba(SECTOR_SIZE);
    patch_boot(&mut mbr[..CODE_BYTES], &code, core_lba);
    let mut image = builder.read(core.1)?;
    patch_core(&mut image, core_lba);
    builder.put_bytes(layout.bios_boot.offset, &image);
    Ok(boot_code)
}

fn patch_boot(mbr: &mut [u8], code: &[u8], core_lba: u64) {
    mbr.copy_from_slice(&code[..CODE_BYTES]);
    mbr[BPB].fill(0);
    mbr[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&core_lba.to_le_bytes());
    mbr[BOOT_DRIVE] = 0xff;
    mbr[BOOT_DRIVE_CHECK..BOOT_DRIVE_CHECK + 2].copy_from_slice(&NOPS);
}

fn patch_core(image: &mut Vec<u8>, core_lba: u64) {
    image.resize(image.len().next_multiple_of(SECTOR_BYTES as usize), 0);
    // boot.img loads the first sector; that one loads as many more as it says here, from the next
    // sector on.
    let following = (image.len() / SECTOR_BYTES as usize - 1) as u16;
    image[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(core_lba + 1).to_le_bytes());
    image[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&following.to_le_bytes());
    image[BLOCK_LIST + 10..BLOCK_LIST + 12].copy_from_slice(&KERNEL_SEGMENT.to_le_bytes());
}

fn regular_file<'a>(tree: &'a Tree, path: &str) -> Option<(RootPath, &'a Content)> {
    let path: RootPath = path.parse().expect("a constant without dots");
    let mut entry = tree.get(&path)?;
    // A tarball has hard links where a tree had several names of one file.
    if let Kind::HardLink(target) = &entry.kind {
        entry = tree.get(target)?;
    }
    match &entry.kind {
        Kind::File(content) => Some((path, content)),
        _ => None,
    }
}

fn refused(path: RootPath, reason: String) -> Error {
    Error::BootCode { path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_what_grub_bios_setup_patches() {
        let mut code = vec![0xaa; 512];
        code[0] = 0xeb;
        let mut mbr = vec![0; CODE_BYTES];
        patch_boot(&mut mbr, &code, 2048);
        assert_eq!(mbr[0], 0xeb);
        assert!(mbr[BPB].iter().all(|&byte| byte == 0));
        assert_eq!(mbr[0x5c..0x64], 2048_u64.to_le_bytes());
        assert_eq!(mbr[0x64..0x68], [0xff, 0xaa, 0x90, 0x90]);

        let mut core = vec![0x11; 512 * 3 + 1];
        patch_core(&mut core, 2048);
        assert_eq!(core.len(), 2048);
        assert_eq!(core[0x1f4..0x1fc], 2049_u64.to_le_bytes());
        assert_eq!(core[0x1fc..0x200], [3, 0, 0x20, 0x08]);
        assert_eq!(core[512 * 3..512 * 3 + 2], [0x11, 0]);
    }
}
