//! A whole disk as a sorted list of pieces: what lies where, and where its bytes come from.
//!
//! A map holds metadata (some 30 MiB for a Debian root) and only spans of file contents, so it is
//! cheap to keep two and to compare them; the bytes themselves are read when an image is written.

use std::ops::Range;
use std::sync::Arc;

use std::io;

use fam_tree::{Content, Store};

use super::boot::BootCode;
use super::error::Error;

/// From this offset on, contents lie in the second store of [`Contents`]. No file is as long.
const SECOND_STORE: u64 = 1 << 62;

/// Where the contents of trees lie, of which each entry names bytes by one offset: in the store that the
/// trees come with, and behind [`Contents::offset_in_second`] in a second one, which has what the first
/// does not.
#[derive(Debug, Clone)]
pub struct Contents {
    first: Arc<dyn Store>,
    second: Option<Arc<dyn Store>>,
}

impl Contents {
    /// Contents in one store, and in a second one if there is one.
    #[must_use]
    pub fn new(first: Arc<dyn Store>, second: Option<Arc<dyn Store>>) -> Self {
        Self { first, second }
    }

    /// The offset by which an entry of a tree names the bytes at `offset` of the second store.
    #[must_use]
    pub fn offset_in_second(offset: u64) -> u64 {
        SECOND_STORE + offset
    }

    /// Whether the same offset names the same bytes in both.
    fn same(&self, other: &Self) -> bool {
        let same_second = match (&self.second, &other.second) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(&self.first, &other.first) && same_second
    }
}

impl Store for Contents {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.second {
            Some(second) if offset >= SECOND_STORE => second.fill(buffer, offset - SECOND_STORE),
            _ => self.first.fill(buffer, offset),
        }
    }
}

impl From<Arc<dyn Store>> for Contents {
    fn from(store: Arc<dyn Store>) -> Self {
        Self::new(store, None)
    }
}

impl<S: Store + 'static> From<Arc<S>> for Contents {
    fn from(store: Arc<S>) -> Self {
        Self::new(store, None)
    }
}

/// Where the bytes of a piece come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Bytes that the map itself holds, from this index on.
    Inline {
        /// Index of the first byte.
        start: usize,
    },
    /// Bytes in one of the stores of [`Contents`].
    Stored {
        /// Offset of the first byte, as contents have it.
        offset: u64,
    },
}

impl Source {
    fn advanced(self, by: u64) -> Self {
        match self {
            Self::Inline { start } => Self::Inline { start: start + by as usize },
            Self::Stored { offset } => Self::Stored { offset: offset + by },
        }
    }
}

/// A stretch of the disk with its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// First byte on the disk.
    pub offset: u64,
    /// Length in bytes, never 0.
    pub len: u64,
    /// Where the bytes come from.
    pub source: Source,
}

impl Piece {
    /// The byte after the last one.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// Every byte of a disk. What no piece covers is zero.
#[derive(Debug)]
pub struct DiskMap {
    size_bytes: u64,
    pieces: Vec<Piece>,
    bytes: Vec<u8>,
    contents: Contents,
    private: Vec<Range<u64>>,
    boot_code: BootCode,
}

impl DiskMap {
    /// The size of the disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The pieces by offset; none of them overlap.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// How many bytes the pieces have together.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len).sum()
    }

    /// Whether the disk boots by BIOS.
    #[must_use]
    pub fn boot_code(&self) -> BootCode {
        self.boot_code
    }

    /// The bytes of an inline piece.
    pub(super) fn inline(&self, start: usize, len: u64) -> &[u8] {
        &self.bytes[start..start + len as usize]
    }

    /// Fills `buffer` with the disk's bytes from `offset` on.
    ///
    /// # Errors
    /// When contents cannot be read, or end before they should.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        let mut index = self.piece_at(offset);
        let mut at = offset;
        while at < end {
            let run = self.run(&mut index, at, end);
            let place = &mut buffer[(at - offset) as usize..][..run.len as usize];
            match run.source {
                None => place.fill(0),
                Some(Source::Inline { start }) => place.copy_from_slice(self.inline(start, run.len)),
                Some(Source::Stored { offset }) => self.contents.fill(place, offset)?,
            }
            at += run.len;
        }
        Ok(())
    }

    /// The numbers of the clusters that any piece touches, ascending.
    pub fn clusters(&self, cluster_bytes: u64) -> impl Iterator<Item = u64> + '_ {
        let mut next = 0;
        self.pieces.iter().flat_map(move |piece| {
            let first = (piece.offset / cluster_bytes).max(next);
            let end = (piece.end() - 1) / cluster_bytes + 1;
            next = next.max(end);
            first..end
        })
    }

    /// Whether `range` of both disks comes from the same place. Zero bytes that one map holds and
    /// the other leaves out count as a difference.
    #[must_use]
    pub fn same_in(&self, other: &Self, range: Range<u64>) -> bool {
        if std::ptr::eq(self, other) {
            return true;
        }
        // Contents are not compared, only where they come from: that takes no reading, and nodes of
        // one build have one store.
        let same_contents = self.contents.same(&other.contents);
        let (mut index, mut other_index) = (self.piece_at(range.start), other.piece_at(range.start));
        let mut at = range.start;
        while at < range.end {
            let run = self.run(&mut index, at, range.end);
            let other_run = other.run(&mut other_index, at, range.end);
            let len = run.len.min(other_run.len);
            let same = match (run.source, other_run.source) {
                (None, None) => true,
                (Some(Source::Inline { start }), Some(Source::Inline { start: other_start })) => {
                    self.inline(start, len) == other.inline(other_start, len)
                }
                (Some(Source::Stored { offset }), Some(Source::Stored { offset: other_offset })) => {
                    same_contents && offset == other_offset
                }
                _ => false,
            };
            if !same {
                return false;
            }
            at += len;
        }
        true
    }

    /// Whether `range` holds contents of files that belong to this node alone.
    #[must_use]
    pub fn is_private(&self, range: Range<u64>) -> bool {
        let index = self.private.partition_point(|private| private.end <= range.start);
        self.private.get(index).is_some_and(|private| private.start < range.end)
    }

    fn piece_at(&self, offset: u64) -> usize {
        self.pieces.partition_point(|piece| piece.end() <= offset)
    }

    /// What stands at `at`, up to `end` or where it changes. `index` is that of the first piece
    /// that ends behind `at`, and moves on.
    fn run(&self, index: &mut usize, at: u64, end: u64) -> Run {
        while self.pieces.get(*index).is_some_and(|piece| piece.end() <= at) {
            *index += 1;
        }
        match self.pieces.get(*index) {
            Some(piece) if piece.offset <= at => {
                let source = piece.source.advanced(at - piece.offset);
                Run { len: piece.end().min(end) - at, source: Some(source) }
            }
            Some(piece) => Run { len: piece.offset.min(end) - at, source: None },
            None => Run { len: end - at, source: None },
        }
    }
}

/// A stretch with one source, or of zeros.
struct Run {
    len: u64,
    source: Option<Source>,
}

/// Collects pieces in any order.
#[derive(Debug)]
pub struct MapBuilder {
    map: DiskMap,
}

impl MapBuilder {
    /// Begins the map of an empty disk, with file contents taken from `contents`.
    pub fn new(size_bytes: u64, contents: impl Into<Contents>) -> Self {
        let (pieces, bytes, private) = (Vec::new(), Vec::new(), Vec::new());
        let contents = contents.into();
        Self { map: DiskMap { size_bytes, pieces, bytes, contents, private, boot_code: BootCode::None } }
    }

    pub(super) fn set_boot_code(&mut self, boot_code: BootCode) {
        self.map.boot_code = boot_code;
    }

    /// Puts `bytes` at `offset`, unless they are all zero.
    pub(super) fn put_bytes(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.iter().all(|&byte| byte == 0) {
            return;
        }
        // All zeros need no piece, and take no room in any image.
        let start = self.map.bytes.len();
        self.map.bytes.extend_from_slice(bytes);
        self.push(Piece { offset, len: bytes.len() as u64, source: Source::Inline { start } });
    }

    /// Puts `len` bytes of `content`, from `from` on, at `offset`; `private` if they belong to this
    /// node alone.
    pub fn put_content(&mut self, offset: u64, content: &Content, from: u64, len: u64, private: bool) {
        if len == 0 {
            return;
        }
        match content {
            Content::Inline(bytes) => self.put_bytes(offset, &bytes[from as usize..(from + len) as usize]),
            Content::Stored { offset: start, .. } => {
                self.push(Piece { offset, len, source: Source::Stored { offset: start + from } });
            }
        }
        if private {
            self.map.private.push(offset..offset + len);
        }
    }

    /// Bytes of `content` as they will be read.
    pub(super) fn read(&self, content: &Content) -> io::Result<Vec<u8>> {
        content.read(&self.map.contents)
    }

    /// Appends, joined to the piece before where both the disk and the source go on.
    fn push(&mut self, piece: Piece) {
        if let Some(last) = self.map.pieces.last_mut()
            && last.end() == piece.offset
            && last.source.advanced(last.len) == piece.source
        {
            last.len += piece.len;
        } else {
            self.map.pieces.push(piece);
        }
    }

    /// Sorts what was collected.
    ///
    /// # Errors
    /// [`Error::Overlap`] when two pieces meet, or one passes the end of the disk.
    pub fn finish(mut self) -> Result<DiskMap, Error> {
        let map = &mut self.map;
        map.pieces.sort_unstable_by_key(|piece| piece.offset);
        map.private.sort_unstable_by_key(|range| range.start);
        // The maps of several nodes are in memory at the same time.
        map.bytes.shrink_to_fit();
        let mut end = 0;
        for piece in &map.pieces {
            if piece.offset < end || piece.end() > map.size_bytes {
                return Err(Error::Overlap { offset: piece.offset });
            }
            end = piece.end();
        }
        Ok(self.map)
    }
}
