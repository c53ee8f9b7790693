//! Encodes tar: ustar headers, with PAX records for what these cannot say.
//!
//! No names of owners, no fractions of seconds, no field that depends on where or when it is
//! written, so the bytes follow from the entries alone.

use std::io::{self, Read, Write};

use super::{BLOCK, COMMENT, EntryKind, Header};

const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;
/// tar(1) reads and writes this much at once, and warns where a file is no multiple of it.
const RECORD_BYTES: u64 = 20 * BLOCK;
/// Bytes are collected up to this size before they are written. They are still in the processor's cache then.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes entries one after another.
#[derive(Debug)]
pub struct TarWriter<W> {
    output: W,
    /// It is used again and again, and never made shorter: what was cut off would have to be cleared again.
    buffer: Vec<u8>,
    /// How much of the buffer is to be written.
    filled: usize,
    written: u64,
}

impl<W: Write> TarWriter<W> {
    /// Writes to `output`, in large pieces: it needs no buffer of its own.
    pub fn new(output: W) -> Self {
        Self { output, buffer: vec![0; 2 * BUFFER_BYTES], filled: 0, written: 0 }
    }

    /// Writes a comment on the whole archive, which programs that unpack it pass over: a PAX global
    /// header (pax(1p), keyword `comment`). Only at the beginning does
    /// [`comment`](crate::tarball::comment) find it.
    ///
    /// # Errors
    /// When the output fails.
    pub fn comment(&mut self, text: &str) -> io::Result<()> {
        let mut records = Vec::new();
        pax_record(COMMENT, text.as_bytes(), &mut records);
        self.extension(b'g', b"./PaxHeaders/comment", &records);
        self.flush_if_full()
    }

    fn extension(&mut self, flag: u8, name: &[u8], records: &[u8]) {
        let mut block = Block::new(flag, 0o644);
        block.name(name);
        block.number(124, 12, records.len() as u64);
        self.push(&block.sealed());
        self.push(records);
        self.pad(BLOCK);
    }

    /// Writes the header of an entry. The name and the link target are written as they are given,
    /// the time in whole seconds; the offset does not matter. For a file, its contents must follow
    /// ([`Self::contents`]).
    ///
    /// # Errors
    /// When the output fails.
    pub fn header(&mut self, header: &Header) -> io::Result<()> {
        let records = pax_records(header);
        if !records.is_empty() {
            self.extension(b'x', &extension_name(&header.path), &records);
        }
        let mut block = Block::new(type_flag(&header.kind), header.mode);
        block.name(&header.path);
        block.link(header.link());
        block.number(108, 8, u64::from(header.uid));
        block.number(116, 8, u64::from(header.gid));
        block.number(124, 12, header.size());
        block.number(136, 12, u64::try_from(header.mtime.seconds).unwrap_or(0));
        let (major, minor) = match &header.kind {
            &EntryKind::CharDevice { major, minor } | &EntryKind::BlockDevice { major, minor } => (major, minor),
            _ => (0, 0),
        };
        block.number(329, 8, u64::from(major));
        block.number(337, 8, u64::from(minor));
        self.push(&block.sealed());
        self.flush_if_full()
    }

    /// Writes the contents of a file, exactly the `size` bytes that its header has said.
    ///
    /// # Errors
    /// Of kind `UnexpectedEof` when `input` has fewer bytes; when input or output fail.
    pub fn contents(&mut self, input: &mut impl Read, size: u64) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let count = left.min(BUFFER_BYTES as u64) as usize;
            input.read_exact(self.room(count))?;
            left -= count as u64;
            self.flush_if_full()?;
        }
        self.pad(BLOCK);
        self.flush_if_full()
    }

    /// As [`contents`](Self::contents), of what `write` writes.
    ///
    /// # Errors
    /// Of kind `UnexpectedEof` when that is less or more than `size`; when `write` or the output
    /// fail.
    pub fn contents_from(&mut self, size: u64, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let mut contents = Contents { tar: self, left: size };
        write(&mut contents)?;
        if contents.left != 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file of an archive is too short"));
        }
        self.pad(BLOCK);
        self.flush_if_full()
    }

    /// Ends the archive. Returns its length in bytes.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(mut self) -> io::Result<u64> {
        // Two blocks of zeros end an archive.
        self.push(&[0; 2 * BLOCK as usize]);
        self.pad(RECORD_BYTES);
        self.flush()?;
        self.output.flush()?;
        Ok(self.written)
    }

    /// The next `count` bytes of the buffer, which the caller fills.
    fn room(&mut self, count: usize) -> &mut [u8] {
        let start = self.filled;
        self.filled += count;
        if self.buffer.len() < self.filled {
            self.buffer.resize(self.filled, 0);
        }
        &mut self.buffer[start..self.filled]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    fn pad(&mut self, unit: u64) {
        let end = self.written + self.filled as u64;
        let padding = end.next_multiple_of(unit) - end;
        self.room(padding as usize).fill(0);
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.filled >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.write_all(&self.buffer[..self.filled])?;
        self.written += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

/// The contents of a file while they are written.
struct Contents<'a, W> {
    tar: &'a mut TarWriter<W>,
    left: u64,
}

impl<W: Write> Write for Contents<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left =
            left.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "a file of an archive is too long"))?;
        self.tar.push(bytes);
        self.tar.flush_if_full()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn type_flag(kind: &EntryKind) -> u8 {
    match kind {
        EntryKind::File(_) => b'0',
        EntryKind::HardLink(_) => b'1',
        EntryKind::Symlink(_) => b'2',
        EntryKind::CharDevice { .. } => b'3',
        EntryKind::BlockDevice { .. } => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

/// The name under which programs that know no PAX would unpack the records.
fn extension_name(path: &[u8]) -> Vec<u8> {
    let last = path.split(|&byte| byte == b'/').rfind(|part| !part.is_empty() && *part != b".").unwrap_or_default();
    let name = [b"./PaxHeaders/", last].concat();
    name[..name.len().min(NAME_BYTES)].to_vec()
}

/// What does not fit the header: long names and extended attributes.
fn pax_records(header: &Header) -> Vec<u8> {
    let mut records = Vec::new();
    if split_name(&header.path).is_none() {
        pax_record(b"path", &header.path, &mut records);
    }
    if header.link().len() > NAME_BYTES {
        pax_record(b"linkpath", header.link(), &mut records);
    }
    for (name, value) in &header.xattrs {
        pax_record(&[b"SCHILY.xattr.", &name[..]].concat(), value, &mut records);
    }
    records
}

/// `length key=value newline`, where the length counts its own digits.
fn pax_record(key: &[u8], value: &[u8], records: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    // One digit more may make the number itself one digit longer.
    while rest + decimal_digits(len) != len {
        len = rest + decimal_digits(len);
    }
    records.extend(format!("{len} ").into_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Prefix and name of a ustar header; `None` if the path does not fit.
fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME_BYTES {
        return Some((b"", path));
    }
    // The slash between them is not stored; one at the end belongs to the name.
    let first = path.len() - NAME_BYTES - 1;
    let slash = (first..path.len() - 1).find(|&at| path[at] == b'/' && (1..=PREFIX_BYTES).contains(&at))?;
    Some((&path[..slash], &path[slash + 1..]))
}

/// A header block.
struct Block([u8; BLOCK as usize]);

impl Block {
    fn new(flag: u8, mode: u16) -> Self {
        let mut block = Self([0; BLOCK as usize]);
        // Magic and version of POSIX's form; GNU's own has blanks there.
        block.put(257, b"ustar\x0000");
        block.number(100, 8, u64::from(mode));
        for (at, len) in [(108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8)] {
            block.number(at, len, 0);
        }
        block.0[156] = flag;
        block
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A path that does not fit has its beginning here, and all of it in PAX records.
    fn name(&mut self, path: &[u8]) {
        let (prefix, name) = split_name(path).unwrap_or((b"", &path[..path.len().min(NAME_BYTES)]));
        self.put(0, name);
        self.put(345, prefix);
    }

    fn link(&mut self, target: &[u8]) {
        self.put(157, &target[..target.len().min(NAME_BYTES)]);
    }

    /// Octal digits and a NUL, or base-256 for larger numbers, which every tar of today reads.
    fn number(&mut self, at: usize, len: usize, value: u64) {
        let octal = format!("{value:0width$o}\0", width = len - 1);
        if octal.len() == len {
            self.put(at, octal.as_bytes());
        } else {
            self.0[at..at + len].fill(0);
            let bytes = value.to_be_bytes();
            let digits = bytes.len().min(len - 1);
            self.put(at + len - digits, &bytes[bytes.len() - digits..]);
            self.0[at] = 0x80;
        }
    }

    fn sealed(mut self) -> [u8; BLOCK as usize] {
        // The sum counts its own field as blanks (pax(1), "ustar Interchange Format").
        self.put(148, b"        ");
        let sum: u32 = self.0.iter().map(|&byte| u32::from(byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests;
