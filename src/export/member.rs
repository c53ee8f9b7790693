//! Archives around disks: members with nothing in them that depends on where or when they are
//! written.

use std::collections::BTreeMap;
use std::io::{self, Write};

use fam_tree::Timestamp;
use fam_tree::tar::{EntryKind, Header, TarWriter};

/// The owner, the group and the permissions of a member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub(super) id: u32,
    pub(super) mode: u16,
}

impl Attributes {
    /// Of a file for everybody.
    pub(super) const PLAIN: Self = Self { id: 0, mode: 0o644 };
}

pub(super) fn directory(name: &str, attributes: Attributes, time: i64) -> Header {
    header(format!("{name}/"), EntryKind::Directory, attributes, time)
}

pub(super) fn file(name: &str, size: u64, attributes: Attributes, time: i64) -> Header {
    header(name.to_owned(), EntryKind::File(size), attributes, time)
}

fn header(name: String, kind: EntryKind, Attributes { id, mode }: Attributes, seconds: i64) -> Header {
    let mtime = Timestamp { seconds, nanoseconds: 0 };
    Header { path: name.into_bytes(), kind, mode, uid: id, gid: id, mtime, xattrs: BTreeMap::new(), offset: 0 }
}

/// Adds a file with this text.
pub(super) fn add_text<W: Write>(tar: &mut TarWriter<W>, name: &str, text: &[u8], time: i64) -> io::Result<()> {
    tar.header(&file(name, text.len() as u64, Attributes::PLAIN, time))?;
    tar.contents(&mut &text[..], text.len() as u64)
}
