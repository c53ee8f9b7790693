//! Reads a tar stream: ustar, GNU long names and base-256 numbers, PAX records.
//!
//! Parsing only: what an entry's path may be, and what becomes of it, is for the callers. PAX
//! records are cut by their length, never at newlines, so binary values (capabilities, ACLs) come
//! through; sparse files, which other readers pass off as whole, are refused. Every length is
//! bounded before anything is allocated. Formats: pax(1) of POSIX, and the GNU tar manual, "Basic
//! Tar Format".

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use super::BLOCK;
use super::error::{Error, MAX_EXTENSION, MAX_LINK_BYTES, MAX_XATTR_BYTES};
use super::pax::Records;
use crate::{Kind, Timestamp, shown};

/// What an entry is: a file with the length of its data in bytes, a link with its target as
/// written, neither of them normalized or to be trusted.
pub type EntryKind = Kind<u64, Vec<u8>>;

/// An entry's metadata, extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name as written: not normalized and not to be trusted, but never empty and without NUL.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes (`SCHILY.xattr.*` records) by full name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the data begins: bytes from the start of the stream.
    pub offset: u64,
}

impl Header {
    /// Length of the data in bytes: 0 for everything but regular files.
    #[must_use]
    pub fn size(&self) -> u64 {
        if let EntryKind::File(size) = self.kind { size } else { 0 }
    }

    /// The target of a hard or symbolic link as written; empty for everything else.
    #[must_use]
    pub fn link(&self) -> &[u8] {
        match &self.kind {
            EntryKind::HardLink(target) | EntryKind::Symlink(target) => target,
            _ => &[],
        }
    }
}

/// Reads entries one after another. After [`TarReader::next_entry`] the reader itself is the
/// [`Read`] over that entry's data; what is left unread is passed over by the next call.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    position: u64,
    /// Data of the current entry not read yet, and the padding after it.
    left: u64,
    padding: u64,
    global: Records,
    skip: fn(&mut R, u64) -> io::Result<u64>,
    of_a_package: bool,
    ended: bool,
}

impl<R: Read> TarReader<R> {
    /// Reads from `input`, which should be buffered if small reads are dear.
    pub fn new(input: R) -> Self {
        Self::with_skip(input, |input, amount| io::copy(&mut input.take(amount), &mut io::sink()))
    }

    fn with_skip(input: R, skip: fn(&mut R, u64) -> io::Result<u64>) -> Self {
        Self {
            input,
            position: 0,
            left: 0,
            padding: 0,
            global: Records::default(),
            skip,
            of_a_package: false,
            ended: false,
        }
    }

    /// Reads the data archive of a package: refuses what dpkg (up to 1.23, the newest) refuses
    /// there, or takes for something else than every tar does. That is PAX headers, contiguous
    /// files, checksums of signed bytes, and directories that only the slash at their name's end
    /// tells.
    #[must_use]
    pub fn of_a_package(self) -> Self {
        Self { of_a_package: true, ..self }
    }

    /// The next entry, `None` at the end-of-archive mark.
    ///
    /// # Errors
    /// [`Error`]; the reader is of no use afterwards.
    pub fn next_entry(&mut self) -> Result<Option<Header>, Error> {
        if self.ended {
            return Ok(None);
        }
        self.skip_data()?;
        let mut records = self.global.clone();
        let mut long_name = None;
        let mut long_link = None;
        // Where the first header stands that is for the next entry alone, and what all of these
        // hold.
        let mut described = None;
        let mut described_bytes = 0;
        loop {
            let start = self.position;
            let mut block = [0; BLOCK as usize];
            self.fill(&mut block)?;
            if block.iter().all(|&byte| byte == 0) {
                self.ended = true;
                return described.map_or(Ok(None), |start| Err(Error::Dangling(start)));
            }
            let raw = RawHeader { block: &block, start };
            raw.verify_checksum(!self.of_a_package)?;
            match raw.flag() {
                b'x' | b'g' if self.of_a_package => return Err(Error::PaxInPackage(start)),
                b'x' => records.parse(&self.extension(&raw, &mut described_bytes)?).ok_or(Error::Pax(start))?,
                b'g' => {
                    let extension = self.extension(&raw, &mut 0)?;
                    self.global.parse(&extension).ok_or(Error::Pax(start))?;
                    // Into both: the entry whose extended headers were already begun is one of
                    // those that follow.
                    records.parse(&extension).ok_or(Error::Pax(start))?;
                    if self.global.are_of_one_entry() {
                        return Err(Error::Global(start));
                    }
                    continue;
                }
                b'L' => long_name = Some(until_nul(&self.extension(&raw, &mut described_bytes)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.extension(&raw, &mut described_bytes)?).to_vec()),
                _ => return self.entry(&raw, records, long_name, long_link).map(Some),
            }
            described = described.or(Some(start));
        }
    }

    /// The stream behind, wherever it stands: after the end-of-archive mark there may be padding.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn entry(
        &mut self,
        raw: &RawHeader<'_>,
        records: Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Header, Error> {
        let path = records.path.or(long_name).unwrap_or_else(|| raw.path());
        let link = records.link.or(long_link).unwrap_or_else(|| until_nul(raw.field(157, 100)).to_vec());
        let shown = || shown(&path);
        let number = |field, at, len, record: Option<u64>| match record {
            Some(value) => Ok(value),
            None => parse_number(raw.field(at, len))
                .and_then(|value| u64::try_from(value).ok())
                .ok_or_else(|| Error::Number { path: shown(), field }),
        };
        let small = |field, value: u64| u32::try_from(value).map_err(|_| Error::Number { path: shown(), field });

        // A NUL ends a name for the kernel and not for a reader that counts bytes: the two would
        // mean different files.
        if path.is_empty() || path.contains(&0) || link.contains(&0) {
            return Err(Error::Name(raw.start));
        }
        if records.sparse || raw.flag() == b'S' {
            return Err(Error::Sparse(shown()));
        }
        let device = || -> Result<(u32, u32), Error> {
            let field = "device number";
            // As many bits as Linux's dev_t has.
            let most = |at, most: u32| match small(field, number(field, at, 8, None)?)? {
                value if value <= most => Ok(value),
                _ => Err(Error::Number { path: shown(), field }),
            };
            Ok((most(329, 0xfff)?, most(337, 0xf_ffff)?))
        };
        let size = number("size", 124, 12, records.size)?;
        if link.len() > MAX_LINK_BYTES {
            return Err(Error::LinkTooLong { path: shown(), len: link.len() });
        }
        let target = || if link.is_empty() { Err(Error::Name(raw.start)) } else { Ok(link) };
        let kind = match raw.flag() {
            b'0' | 0 if self.of_a_package && path.ends_with(b"/") => return Err(Error::SlashedFile(shown())),
            b'7' if self.of_a_package => return Err(Error::Unsupported { path: shown(), flag: '7' }),
            // Before POSIX there was no type for directories: the slash at the end told.
            b'0' | 0 | b'7' if path.ends_with(b"/") => EntryKind::Directory,
            b'0' | 0 | b'7' => EntryKind::File(size),
            b'1' => EntryKind::HardLink(target()?),
            b'2' => EntryKind::Symlink(target()?),
            b'3' => device().map(|(major, minor)| EntryKind::CharDevice { major, minor })?,
            b'4' => device().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            flag => return Err(Error::Unsupported { path: shown(), flag: flag.into() }),
        };
        if size > 0 && !matches!(kind, EntryKind::File(_)) {
            return Err(Error::Sized(shown()));
        }
        let attributes = records.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if attributes > MAX_XATTR_BYTES {
            return Err(Error::Attributes { path: shown(), size: attributes });
        }
        // What is missing to whole blocks.
        let padding = size.wrapping_neg() % BLOCK;
        // An offset beyond the range of files cannot be honest, and would wrap.
        if self
            .position
            .checked_add(size)
            .and_then(|end| end.checked_add(padding))
            .is_none_or(|end| end > i64::MAX as u64)
        {
            return Err(Error::Number { path: shown(), field: "size" });
        }
        let mtime = match records.mtime {
            Some(time) => time,
            None => parse_number(raw.field(136, 12))
                .map(|seconds| Timestamp { seconds, nanoseconds: 0 })
                .ok_or_else(|| Error::Number { path: shown(), field: "mtime" })?,
        };
        let header = Header {
            kind,
            mode: (small("mode", number("mode", 100, 8, None)?)? & 0o7777) as u16,
            uid: small("uid", number("uid", 108, 8, records.uid)?)?,
            gid: small("gid", number("gid", 116, 8, records.gid)?)?,
            mtime,
            xattrs: records.xattrs,
            offset: self.position,
            path,
        };
        self.left = size;
        self.padding = padding;
        Ok(header)
    }

    /// The data of an extension header, whole; `before` counts what such headers have had for the
    /// same entry, so that no number of them takes more memory than one.
    fn extension(&mut self, raw: &RawHeader<'_>, before: &mut u64) -> Result<Vec<u8>, Error> {
        let size =
            parse_number(raw.field(124, 12)).and_then(|size| u64::try_from(size).ok()).ok_or(Error::Pax(raw.start))?;
        *before = before.saturating_add(size);
        if *before > MAX_EXTENSION {
            return Err(Error::TooLarge { offset: raw.start, size: *before });
        }
        let mut data = vec![0; size.next_multiple_of(BLOCK) as usize];
        self.fill(&mut data)?;
        data.truncate(size as usize);
        Ok(data)
    }

    fn skip_data(&mut self) -> Result<(), Error> {
        let amount = self.left + self.padding;
        if amount > 0 {
            let skipped =
                (self.skip)(&mut self.input, amount).map_err(|source| Error::Read { offset: self.position, source })?;
            self.position += skipped;
            if skipped < amount {
                return Err(Error::Truncated(self.position));
            }
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.input.read_exact(buffer).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Truncated(self.position),
            _ => Error::Read { offset: self.position, source },
        })?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}

impl<R: Read + Seek> TarReader<R> {
    /// Reads from `input`, its start being the archive's, and seeks over data that nobody reads. A
    /// file that ends within such data is noticed when the next header is missing.
    pub fn seekable(input: R) -> Self {
        Self::with_skip(input, |input, amount| {
            let offset = i64::try_from(amount).map_err(io::Error::other)?;
            input.seek(SeekFrom::Current(offset)).map(|_| amount)
        })
    }
}

impl<R: Read> Read for TarReader<R> {
    /// Reads data of the current entry: 0 at its end, an error of kind `UnexpectedEof` if the
    /// archive ends within it.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..len])?;
        if count == 0 {
            let message = format!("tar is cut off at byte {}", self.position);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.left -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

/// A header block, its fields where POSIX puts them.
struct RawHeader<'a> {
    block: &'a [u8; BLOCK as usize],
    start: u64,
}

impl RawHeader<'_> {
    fn field(&self, at: usize, len: usize) -> &[u8] {
        &self.block[at..at + len]
    }

    fn flag(&self) -> u8 {
        self.block[156]
    }

    /// The sum of all bytes, the checksum's own counted as blanks; some old programs summed signed
    /// bytes.
    fn verify_checksum(&self, may_be_signed: bool) -> Result<(), Error> {
        let counted = |at: usize, byte: u8| if (148..156).contains(&at) { b' ' } else { byte };
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (at, &byte) in self.block.iter().enumerate() {
            unsigned += i64::from(counted(at, byte));
            signed += i64::from(counted(at, byte).cast_signed());
        }
        match parse_number(self.field(148, 8)) {
            Some(sum) if sum == unsigned || may_be_signed && sum == signed => Ok(()),
            _ => Err(Error::Checksum(self.start)),
        }
    }

    /// The name of the block alone. Only POSIX headers have a prefix; GNU ones have times in its
    /// place.
    fn path(&self) -> Vec<u8> {
        let name = until_nul(self.field(0, 100));
        let prefix = until_nul(self.field(345, 155));
        if self.field(257, 6) == b"ustar\0" && !prefix.is_empty() {
            [prefix, b"/", name].concat()
        } else {
            name.to_vec()
        }
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Octal digits after blanks and before blanks or NULs, or base-256 when the first bit is set. A
/// field of NULs is 0. What follows a NUL is no digit, which each reader could take in its own way.
fn parse_number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        // Two's complement, big-endian; the first bit is only the mark, the second the sign.
        let negative = field[0] & 0x40 != 0;
        let first = if negative { field[0] } else { field[0] & 0x7f };
        return field[1..].iter().try_fold(i64::from(first.cast_signed()), |value, &byte| {
            value.checked_mul(256)?.checked_add(i64::from(byte))
        });
    }
    let ends = |byte: &u8| matches!(byte, 0 | b' ');
    let begin = field.iter().position(|&byte| byte != b' ')?;
    let digits = &field[begin..field.iter().rposition(|byte| !ends(byte)).map_or(begin, |last| last + 1)];
    if digits.is_empty() {
        return Some(0);
    }
    // The standard library would take a sign, too.
    let text = str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    i64::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests;
