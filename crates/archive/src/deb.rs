//! The `.deb` container of deb(5): an ar archive that holds the format's version, `control.tar` and
//! `data.tar`.
//!
//! Opening reads the table of members only. The control archive is small and comes whole into
//! memory; the data archive is read as a stream of decompressed tar. Nothing here
//! touches a file system, and no length from the file is believed before it is compared with a
//! bound.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use bzip2::bufread::BzDecoder;
use fam_progress::Hint;
use fam_tree::Timestamp;
use fam_tree::tar::{self, EntryKind, TarReader};
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;
use zstd::stream::read::Decoder as ZstdDecoder;

use super::deb822;

const MAGIC: &[u8] = b"!<arch>\n";
const MEMBER_HEADER: u64 = 60;
/// `xz -9` needs 65 MiB; no archive in Debian takes more.
const XZ_MEMORY: u64 = 256 << 20;
const INPUT_BUFFER: usize = 128 << 10;
/// The largest control archive of Debian (a kernel's, with its md5sums) is about 1 MiB.
const MAX_CONTROL: u64 = 64 << 20;
/// The longest name of a control file, in bytes: dpkg's MAXCONTROLFILENAME.
const MAX_CONTROL_NAME: usize = 100;

/// Why a file is no usable `.deb`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("read: {0}")]
    Read(#[from] io::Error),
    /// It does not begin as an ar archive with a `debian-binary` member does.
    #[error("this is no .deb file")]
    NotADeb,
    /// A format before 2.0 or after it.
    #[error("its format version is {0:?}, only 2.x is known")]
    Version(String),
    /// Every member is padded to an even length, so the whole has one.
    #[error("it has an odd number of bytes: something is missing at its end")]
    OddSize,
    /// It ends within a member.
    #[error("it is cut off within member {0:?}")]
    Truncated(String),
    /// A member header that does not hold to ar(5).
    #[error("the member header at byte {0} is malformed")]
    MemberHeader(u64),
    /// A member stands where another is required.
    #[error("member {found:?} stands where {expected} must")]
    Premature {
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// A member that must be there is not.
    #[error("it has no {0} member")]
    Missing(&'static str),
    /// The member is compressed in a way that dpkg does not know either.
    #[error("member {0:?} has an unknown compression")]
    Compression(String),
    /// The control archive is no proper tar.
    #[error("control archive: {0}")]
    ControlTar(#[from] tar::Error),
    /// The control archive holds something that is no control file.
    #[error("control archive: {0:?} is no plain file at the top")]
    ControlEntry(String),
    /// The control archive is unreasonably large.
    #[error("control archive: more than {MAX_CONTROL} bytes")]
    ControlTooLarge,
    /// The control file is missing.
    #[error("control archive: no control file")]
    ControlFile,
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read(_) => None,
            Self::Version(_) | Self::Compression(_) => Some("the package is made for another version of dpkg".into()),
            _ => Some("the file is damaged or was made by a broken tool: get it again".into()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Bzip2,
    Lzma,
    Xz,
    Zstd,
}

/// How a control archive may be compressed, by the end of its name.
const CONTROL_COMPRESSIONS: [(&str, Compression); 4] =
    [("", Compression::None), (".gz", Compression::Gzip), (".xz", Compression::Xz), (".zst", Compression::Zstd)];
/// How a data archive may be compressed, too.
const COMPRESSIONS: [(&str, Compression); 6] = [
    ("", Compression::None),
    (".gz", Compression::Gzip),
    (".xz", Compression::Xz),
    (".zst", Compression::Zstd),
    (".bz2", Compression::Bzip2),
    (".lzma", Compression::Lzma),
];

#[derive(Debug, Clone, Copy)]
struct Member {
    offset: u64,
    size: u64,
    compression: Compression,
}

/// An opened `.deb`.
#[derive(Debug)]
pub struct Deb<R> {
    file: R,
    control: Member,
    data: Member,
}

/// The control archive: the stanza that describes the package, and the files for
/// `/var/lib/dpkg/info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlArchive {
    /// The text of the file `control`; lines that are not UTF-8 are taken for Latin-1.
    pub stanza: String,
    /// All other files (`preinst`, `conffiles`, `md5sums`, `triggers`, …) by name.
    pub files: BTreeMap<String, ControlFile>,
}

/// One file of a control archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// The contents of the file.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u16,
    /// When it was last modified.
    pub mtime: Timestamp,
}

impl<R: Read + Seek> Deb<R> {
    /// Reads the table of members, by the rules of deb(5): `debian-binary` first; between it and
    /// `data.tar` only `control.tar` and members whose name begins with `_`; after it anything,
    /// which is ignored.
    ///
    /// # Errors
    /// [`Error`]
    pub fn open(mut file: R) -> Result<Self, Error> {
        let end = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut magic = [0; MAGIC.len()];
        if end < MAGIC.len() as u64 || file.read_exact(&mut magic).is_err() || magic != MAGIC {
            return Err(Error::NotADeb);
        }
        if !end.is_multiple_of(2) {
            return Err(Error::OddSize);
        }
        let mut members = Members { file: &mut file, offset: MAGIC.len() as u64, end };
        match members.next()? {
            Some((name, offset, size)) if name == "debian-binary" => members.verify_version(offset, size)?,
            _ => return Err(Error::NotADeb),
        }
        let control = members.find("control.tar", &CONTROL_COMPRESSIONS)?;
        let data = members.find("data.tar", &COMPRESSIONS)?;
        Ok(Self { file, control, data })
    }

    /// Reads the control archive.
    ///
    /// # Errors
    /// [`Error`], also if the archive holds anything but plain files at its top.
    pub fn control(&mut self) -> Result<ControlArchive, Error> {
        let mut tar = TarReader::new(self.member(self.control)?);
        let mut stanza = None;
        let mut files = BTreeMap::new();
        let mut left = MAX_CONTROL;
        while let Some(header) = tar.next_entry()? {
            let name = header.path.strip_prefix(b"./").unwrap_or(&header.path);
            if header.kind == EntryKind::Directory && matches!(name, b"" | b".") {
                continue;
            }
            let refuse = || Error::ControlEntry(String::from_utf8_lossy(&header.path).into_owned());
            let name = str::from_utf8(name).map_err(|_| refuse())?;
            let plain = matches!(header.kind, EntryKind::File(_)) && name.len() <= MAX_CONTROL_NAME;
            // dpkg lists what is in its database a line a file.
            if !plain || name.contains(['/', '\n']) || matches!(name, "" | "." | "..") {
                return Err(refuse());
            }
            // Each file takes memory in addition to its bytes, and there may be many empty ones.
            left = left.checked_sub(header.size().saturating_add(1024)).ok_or(Error::ControlTooLarge)?;
            let mut bytes = Vec::new();
            tar.read_to_end(&mut bytes)?;
            if name == "control" {
                stanza = Some(deb822::decode(bytes));
            } else {
                files.insert(name.to_owned(), ControlFile { bytes, mode: header.mode, mtime: header.mtime });
            }
        }
        Ok(ControlArchive { stanza: stanza.ok_or(Error::ControlFile)?, files })
    }

    /// The data archive as a tar stream, decompressed as it is read. Reading it to its end checks
    /// the sums of the compressed form.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn data(&mut self) -> Result<impl Read, Error> {
        self.member(self.data)
    }

    fn member(&mut self, member: Member) -> Result<Box<dyn Read + '_>, Error> {
        self.file.seek(SeekFrom::Start(member.offset))?;
        let input = BufReader::with_capacity(INPUT_BUFFER, (&mut self.file).take(member.size));
        Ok(decompress(input, member.compression)?)
    }
}

/// As dpkg does, this reads several members of gzip one after another, but one stream of any other
/// format. dpkg passes over what follows; here that is an error, since it could only mislead.
fn decompress<'a>(input: impl BufRead + 'a, compression: Compression) -> io::Result<Box<dyn Read + 'a>> {
    let by_liblzma = |input, stream| Single::new(XzDecoder::new_stream(input, stream), XzDecoder::get_mut);
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Bzip2 => Box::new(Single::new(BzDecoder::new(input), BzDecoder::get_mut)),
        Compression::Lzma => Box::new(by_liblzma(input, Stream::new_lzma_decoder(XZ_MEMORY)?)),
        Compression::Xz => Box::new(by_liblzma(input, Stream::new_stream_decoder(XZ_MEMORY, 0)?)),
        Compression::Zstd => {
            Box::new(Single::new(ZstdDecoder::with_buffer(input)?.single_frame(), ZstdDecoder::get_mut))
        }
    })
}

/// The decoder of one stream, with which its input ends.
struct Single<D, R> {
    decoder: D,
    input: fn(&mut D) -> &mut R,
}

impl<D, R> Single<D, R> {
    fn new(decoder: D, input: fn(&mut D) -> &mut R) -> Self {
        Self { decoder, input }
    }
}

impl<D: Read, R: BufRead> Read for Single<D, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        if count == 0 && !buffer.is_empty() && !(self.input)(&mut self.decoder).fill_buf()?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more data follows the compressed data"));
        }
        Ok(count)
    }
}

/// Walks over the members of an ar archive.
struct Members<'a, R> {
    file: &'a mut R,
    offset: u64,
    end: u64,
}

impl<R: Read + Seek> Members<'_, R> {
    /// Name, offset and size of the next member.
    fn next(&mut self) -> Result<Option<(String, u64, u64)>, Error> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let malformed = Error::MemberHeader(self.offset);
        let mut header = [0; MEMBER_HEADER as usize];
        self.file.seek(SeekFrom::Start(self.offset))?;
        if self.end - self.offset < MEMBER_HEADER {
            return Err(malformed);
        }
        self.file.read_exact(&mut header)?;
        let field = |at: usize, len: usize| str::from_utf8(&header[at..at + len]).ok().map(str::trim_end);
        // GNU ar ends a name with a slash.
        let (Some(name), Some(size), Some("`\n")) = (field(0, 16), field(48, 10), str::from_utf8(&header[58..]).ok())
        else {
            return Err(malformed);
        };
        let name = name.strip_suffix('/').unwrap_or(name).to_owned();
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed);
        }
        let size: u64 = size.parse().map_err(|_| malformed)?;
        let offset = self.offset + MEMBER_HEADER;
        if size > self.end - offset {
            return Err(Error::Truncated(name));
        }
        // Each member is padded to an even length.
        self.offset = (offset + size).next_multiple_of(2);
        Ok(Some((name, offset, size)))
    }

    /// The version is a line of two numbers with a dot between them; dpkg passes over further
    /// lines.
    fn verify_version(&mut self, offset: u64, size: u64) -> Result<(), Error> {
        let mut beginning = Vec::new();
        self.file.seek(SeekFrom::Start(offset))?;
        // No version is that long.
        (&mut *self.file).take(size.min(32)).read_to_end(&mut beginning)?;
        let line = beginning.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line_ends = line.len() < beginning.len();
        let line = String::from_utf8_lossy(line).into_owned();
        let parse_number = |digits: &str| {
            let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            // dpkg reads them into an `int`.
            digits.parse::<i32>().ok().filter(|_| valid)
        };
        match line.split_once('.').map(|(major, minor)| (parse_number(major), parse_number(minor))) {
            Some((Some(2), Some(_))) if line_ends => Ok(()),
            _ => Err(Error::Version(line)),
        }
    }

    /// The next member, which must be `stem` with the end for one of these compressions; names that
    /// begin with `_` are passed.
    fn find(&mut self, stem: &'static str, compressions: &[(&str, Compression)]) -> Result<Member, Error> {
        while let Some((name, offset, size)) = self.next()? {
            if let Some(suffix) = name.strip_prefix(stem) {
                let known = compressions.iter().find(|(known, _)| *known == suffix);
                let &(_, compression) = known.ok_or(Error::Compression(name))?;
                return Ok(Member { offset, size, compression });
            }
            if !name.starts_with('_') {
                return Err(Error::Premature { found: name, expected: stem });
            }
        }
        Err(Error::Missing(stem))
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
