//! Swap spaces, as mkswap makes them: one page with a header, of which the kernel reads the rest's
//! size (Linux, include/linux/swap.h, `union swap_header`).

use uuid::Uuid;

/// That of the processors that the systems are for.
const PAGE_BYTES: u64 = 4096;
const SIGNATURE: &[u8; 10] = b"SWAPSPACE2";
const VERSION: u32 = 1;
/// Behind room for a boot sector: version, last page, number of bad pages, UUID, label.
const HEADER: usize = 1024;
const LABEL_BYTES: usize = 16;

/// The first page of a swap space of `len_bytes`, which is all that it has.
pub(super) fn header(len_bytes: u64, uuid: Uuid, label: &str) -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES as usize];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    let last_page = u32::try_from(len_bytes / PAGE_BYTES - 1).unwrap_or(u32::MAX);
    put(HEADER, &VERSION.to_le_bytes());
    put(HEADER + 4, &last_page.to_le_bytes());
    put(HEADER + 12, uuid.as_bytes());
    put(HEADER + 28, &label.as_bytes()[..label.len().min(LABEL_BYTES)]);
    put(PAGE_BYTES as usize - SIGNATURE.len(), SIGNATURE);
    page
}
