//! Whether a virtual machine writes to an image: QEMU holds a lock on a byte of it then.

use std::io;
use std::os::unix::fs::MetadataExt;

use fs_err::File;
use rustix::fs::{major, minor};

/// The byte that whoever may write to an image has locked, and may share with others (QEMU,
/// block/file-posix.c: `RAW_LOCK_PERM_BASE`, and the bit of `BLK_PERM_WRITE`).
const WRITERS_BYTE: u64 = 100 + 1;

/// Whether QEMU may write to `file`, an image of whatever format, as far as the kernel tells. Its list
/// has the locks of a file that the system call for one lock does not tell of: those that belong to no
/// process.
///
/// # Errors
/// When the file cannot be looked at.
pub fn has_writer(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    let name = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    // Without the list nothing is known, which is no reason to refuse.
    Ok(fs_err::read_to_string("/proc/locks").is_ok_and(|locks| is_locked(&locks, &name, WRITERS_BYTE)))
}

/// Whether a line of /proc/locks (`proc_locks(5)`) locks this byte of the file of this name, which is
/// its device and its inode.
fn is_locked(locks: &str, name: &str, byte: u64) -> bool {
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "POSIX" | "OFDLCK", _, _, _, file, first, last] = words[..] else { return false };
        let reaches = |last: &str| last == "EOF" || last.parse().is_ok_and(|last: u64| byte <= last);
        file == name && first.parse().is_ok_and(|first: u64| first <= byte) && reaches(last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        let locks = "1: POSIX  ADVISORY  READ  5433 08:01:7864448 128 128\n\
                     2: OFDLCK ADVISORY  READ  -1 08:01:77 100 101\n\
                     2: -> OFDLCK ADVISORY  WRITE -1 08:01:78 100 101\n\
                     3: OFDLCK ADVISORY  READ  -1 08:01:79 102 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 1 08:01:80 0 EOF\n\
                     5: POSIX  ADVISORY  WRITE 1 08:01:81 0 EOF\n";
        for (inode, expected) in [(77, true), (78, false), (79, false), (80, false), (81, true), (7, false)] {
            assert_eq!(is_locked(locks, &format!("08:01:{inode}"), WRITERS_BYTE), expected, "{inode}");
        }
    }
}
