//! POSIX access control lists: from the form of the system calls to that of ext4.
//!
//! The system calls (`linux/posix_acl_xattr.h`) give version 2 and eight bytes an entry: tag,
//! permissions, id. On disk (`fs/ext4/acl.h`) it is version 1, and the id stands only where the tag
//! has one: named users and named groups.

const CALL_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;
const CALL_ENTRY_BYTES: usize = 8;
const NAMED_USER: u16 = 0x02;
const NAMED_GROUP: u16 = 0x08;

/// Whether the extended attribute `name` holds an access control list.
pub(super) fn is_acl(name: &str) -> bool {
    matches!(name, "system.posix_acl_access" | "system.posix_acl_default")
}

/// The on-disk form of `value`; `None` if it is no access control list.
pub(super) fn to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != CALL_VERSION || !entries.len().is_multiple_of(CALL_ENTRY_BYTES) {
        return None;
    }
    let mut disk = DISK_VERSION.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(CALL_ENTRY_BYTES) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let kept = if matches!(tag, NAMED_USER | NAMED_GROUP) { CALL_ENTRY_BYTES } else { 4 };
        disk.extend_from_slice(&entry[..kept]);
    }
    Some(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_ids_of_named_users_and_groups_only() {
        let call = [
            2, 0, 0, 0, // version
            0x01, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, // owner
            0x02, 0, 5, 0, 0xe8, 3, 0, 0, // user 1000
            0x04, 0, 5, 0, 0xff, 0xff, 0xff, 0xff, // group
            0x08, 0, 4, 0, 4, 0, 0, 0, // group 4
            0x10, 0, 5, 0, 0xff, 0xff, 0xff, 0xff, // mask
            0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, // others
        ];
        let disk = [
            1, 0, 0, 0, 1, 0, 7, 0, 2, 0, 5, 0, 0xe8, 3, 0, 0, 4, 0, 5, 0, 8, 0, 4, 0, 4, 0, 0, 0, 0x10, 0, 5, 0, 0x20,
            0, 0, 0,
        ];
        assert_eq!(to_disk(&call).unwrap(), disk);
    }

    #[test]
    fn refuses_what_is_no_list() {
        for malformed in [&b""[..], &[2, 0, 0], &[1, 0, 0, 0], &[2, 0, 0, 0, 1, 0, 7]] {
            assert_eq!(to_disk(malformed), None, "{malformed:?}");
        }
    }
}
