//! Package indexes: from the verified bytes of a compressed file to text, in bounded memory.

use std::io::Read;

use fam_progress::Hint;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::digest::sha256;
use super::release::{Compression, IndexFile};

/// Several times what the largest index of Debian has. It is held in memory twice for a moment.
const MAX_PLAIN_BYTES: u64 = 256 << 20;
/// What the strongest preset of xz needs to decode is 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// Why an index is not what its Release file promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not decompress.
    #[error("decompress {path}: {reason}")]
    Compression {
        /// The file, under the suite.
        path: String,
        /// What the decompressor said.
        reason: String,
    },
    /// The plain text has another size or SHA-256 than the Release file lists.
    #[error("{path} is not the file that the Release file lists, once decompressed")]
    Differs {
        /// The file, under the suite.
        path: String,
    },
    /// It is larger than any index that makes sense.
    #[error("{path} has more than {MAX_PLAIN_BYTES} bytes, once decompressed")]
    TooLarge {
        /// The file, under the suite.
        path: String,
    },
    /// It is not UTF-8.
    #[error("{path} is not UTF-8")]
    Encoding {
        /// The file, under the suite.
        path: String,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(
            "the archive itself is damaged, as its signed Release file vouches for this file; choose another mirror"
                .to_owned(),
        )
    }
}

/// Decompresses `bytes`, which are those that the Release file lists.
pub(super) fn decompress(file: &IndexFile, bytes: Vec<u8>) -> Result<String, Error> {
    let limit = file.plain.map_or(MAX_PLAIN_BYTES, |plain| plain.size);
    let path = || file.path.clone();
    if limit > MAX_PLAIN_BYTES {
        return Err(Error::TooLarge { path: path() });
    }
    let failed = |reason: &dyn std::fmt::Display| Error::Compression { path: path(), reason: reason.to_string() };
    let plain = match file.compression {
        Compression::Plain => bytes,
        Compression::Gzip => read(MultiGzDecoder::new(&bytes[..]), limit).map_err(|error| failed(&error))?,
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(|error| failed(&error))?;
            read(XzDecoder::new_stream(&bytes[..], stream), limit).map_err(|error| failed(&error))?
        }
    };
    match file.plain {
        Some(listed) if plain.len() as u64 != listed.size || sha256(&plain) != listed.sha256 => {
            return Err(Error::Differs { path: path() });
        }
        None if plain.len() as u64 > limit => return Err(Error::TooLarge { path: path() }),
        _ => {}
    }
    String::from_utf8(plain).map_err(|_| Error::Encoding { path: path() })
}

fn read(decoder: impl Read, limit: u64) -> std::io::Result<Vec<u8>> {
    let expected = usize::try_from(limit).unwrap_or(0);
    // With a known size the text is read without growing; one byte more shows that it is longer.
    let mut plain = Vec::with_capacity(if limit == MAX_PLAIN_BYTES { 0 } else { expected + 1 });
    decoder.take(limit + 1).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::release::Listed;
    use super::*;

    const TEXT: &str = "Package: a\nVersion: 1\n";

    fn index(compression: Compression, plain: Option<&str>) -> IndexFile {
        let listed = Listed { size: 0, sha256: [0; 32] };
        let plain = plain.map(|text| Listed { size: text.len() as u64, sha256: sha256(text.as_bytes()) });
        IndexFile { path: "main/binary-amd64/Packages".to_owned(), compression, listed, plain }
    }

    fn xz(text: &str) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn decompresses_all_forms() {
        for (compression, bytes) in
            [(Compression::Xz, xz(TEXT)), (Compression::Gzip, gzip(TEXT)), (Compression::Plain, TEXT.into())]
        {
            for plain in [Some(TEXT), None] {
                assert_eq!(decompress(&index(compression, plain), bytes.clone()).unwrap(), TEXT);
            }
        }
        let two = [xz("Package: a\n"), xz("Version: 1\n")].concat();
        assert_eq!(decompress(&index(Compression::Xz, Some(TEXT)), two).unwrap(), TEXT);
    }

    #[test]
    fn refuses_what_differs_from_the_listed_plain_file() {
        for other in ["", "Package: a\nVersion: 2\n", "Package: a\nVersion: 1\n\n", "Package"] {
            for (compression, bytes) in
                [(Compression::Xz, xz(other)), (Compression::Gzip, gzip(other)), (Compression::Plain, other.into())]
            {
                let error = decompress(&index(compression, Some(TEXT)), bytes).unwrap_err();
                assert!(matches!(error, Error::Differs { .. }), "{other:?}: {error}");
            }
        }
    }

    #[test]
    fn a_bomb_is_cut_at_the_listed_size() {
        let bomb = xz(&"a".repeat(64 << 20));
        assert!(bomb.len() < 64 << 10);
        let error = decompress(&index(Compression::Xz, Some(TEXT)), bomb).unwrap_err();
        assert!(matches!(error, Error::Differs { .. }));
    }

    #[test]
    fn an_index_that_would_fill_the_memory_is_refused_unread() {
        let mut index = index(Compression::Xz, None);
        index.plain = Some(Listed { size: MAX_PLAIN_BYTES + 1, sha256: [0; 32] });
        assert!(matches!(decompress(&index, Vec::new()), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn refuses_damage_and_other_encodings() {
        let mut cut = xz(TEXT);
        cut.truncate(cut.len() / 2);
        assert!(matches!(decompress(&index(Compression::Xz, None), cut), Err(Error::Compression { .. })));
        let latin1 = decompress(&index(Compression::Plain, None), b"\xe9".to_vec());
        assert!(matches!(latin1, Err(Error::Encoding { .. })));
    }
}
