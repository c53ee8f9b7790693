//! Opens tarballs as people have them: plain, or compressed by gzip, xz or zstd, which their first
//! bytes tell.

use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use fam_host::regular;
use fs_err::File;

use super::{Error, index};
use crate::Tree;

const LONGEST_MAGIC: usize = 6;
const COPY_BUFFER_BYTES: usize = 1 << 20;

/// Indexes `file`, a tarball that was just opened. Returns the tree with the file that its contents lie in: the
/// tarball itself, or, if that is compressed, the empty file that `scratch` made, now with the
/// decompressed tarball.
///
/// # Errors
/// When a file cannot be read or written, or the tarball is damaged.
pub fn open(mut file: File, scratch: impl FnOnce() -> io::Result<File>) -> Result<(Tree, File), Error> {
    // By the first bytes: the name of a file may say anything.
    let compression = Compression::of_file(&file)?;
    file.rewind()?;
    let Some(compression) = compression else {
        return Ok((index(&file)?, file));
    };
    let plain = scratch()?;
    compression.decompress(&file, &plain)?;
    let tree = index(&plain)?;
    Ok((tree, plain))
}

/// Whether [`open`] decompresses the tarball at `path`.
///
/// # Errors
/// When it cannot be read.
pub fn is_compressed(path: &Path) -> io::Result<bool> {
    Ok(Compression::of_file(&regular::open(path)?)?.is_some())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Gzip,
    Xz,
    Zstd,
}

impl Compression {
    fn of_file(file: &File) -> io::Result<Option<Self>> {
        let mut magic = Vec::with_capacity(LONGEST_MAGIC);
        file.take(LONGEST_MAGIC as u64).read_to_end(&mut magic)?;
        Ok(Self::of(&magic))
    }

    fn of(magic: &[u8]) -> Option<Self> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Decompresses all members or frames of `from`, as several compressors in a row write them.
    fn decompress(self, from: &File, to: &File) -> Result<(), Error> {
        let input = BufReader::with_capacity(COPY_BUFFER_BYTES, from);
        let mut output = io::BufWriter::with_capacity(COPY_BUFFER_BYTES, to);
        let name = |error: io::Error| match error.get_ref().map(ToString::to_string) {
            // What the files say names their paths; what the decoders say does not.
            Some(text) if [from, to].iter().any(|file| text.contains(&*file.path().to_string_lossy())) => error.into(),
            _ => Error::Compression { tarball: from.path().display().to_string(), source: error },
        };
        match self {
            Self::Gzip => io::copy(&mut flate2::bufread::MultiGzDecoder::new(input), &mut output),
            Self::Xz => io::copy(&mut liblzma::bufread::XzDecoder::new_multi_decoder(input), &mut output),
            Self::Zstd => io::copy(&mut zstd::stream::read::Decoder::with_buffer(input)?, &mut output),
        }
        .map_err(name)?;
        output.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use fam_progress::Hint as _;

    use super::*;
    use crate::tar::TarWriter;

    fn empty_tarball() -> Vec<u8> {
        let mut bytes = Vec::new();
        TarWriter::new(&mut bytes).finish().unwrap();
        bytes
    }

    #[test]
    fn compressed_tarballs_are_known_by_their_first_bytes() {
        let tar = empty_tarball();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&tar).unwrap();
        let zstd = zstd::stream::encode_all(&tar[..], 1).unwrap();
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes) in
            [("t.tar", tar), ("t.gz", gzip.finish().unwrap()), ("t.xz", xz.finish().unwrap()), ("t.zst", zstd)]
        {
            let path = directory.path().join(name);
            fs_err::write(&path, bytes).unwrap();
            let scratch = directory.path().join("scratch");
            let create = || File::options().read(true).write(true).create(true).truncate(true).open(&scratch);
            let (tree, _) = open(File::open(&path).unwrap(), create).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(tree.len(), 1, "{name}");
        }
    }

    #[test]
    fn damage_names_the_tarball() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("broken.tar.gz");
        fs_err::write(&path, [0x1f, 0x8b, 8, 0, 1]).unwrap();
        let error = open(File::open(&path).unwrap(), || File::create(directory.path().join("scratch"))).unwrap_err();
        assert!(error.to_string().contains("broken.tar.gz"), "{error}");
        assert!(error.hint().unwrap().contains("damaged"), "{error}");
    }
}
