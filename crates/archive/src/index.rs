//! Package indexes: from the verified bytes of a compressed file to text, in bounded memory.

use std::io::{self, Read};

use bzip2::bufread::MultiBzDecoder;
use fam_host::parallel::processors;
use fam_progress::Hint;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, MtStreamBuilder, Stream};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::deb822;
use super::release::{Compression, IndexFile};

/// Several times what the largest index of Debian has. It is held in memory twice for a moment.
const MAX_PLAIN_BYTES: u64 = 256 << 20;
/// What the strongest preset of xz needs to decode is 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;
/// The largest window of zstd, as a power of two: 128 MiB, what `zstd --ultra -22` needs.
const ZSTD_WINDOW_LOG: u32 = 27;

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
    /// The plain text has another size or digest than the Release file lists.
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
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(
            "the archive itself is damaged, as its signed Release file vouches for this file; choose another mirror"
                .to_owned(),
        )
    }
}

/// Decompresses `bytes`, which are those that the Release file lists. Lines that are not UTF-8 are
/// taken for Latin-1.
pub(super) fn decompress(file: &IndexFile, bytes: Vec<u8>) -> Result<String, Error> {
    let limit = file.plain.map_or(MAX_PLAIN_BYTES, |plain| plain.size);
    let path = || file.path.clone();
    if limit > MAX_PLAIN_BYTES {
        return Err(Error::TooLarge { path: path() });
    }
    let plain = match file.compression {
        Compression::Plain => Ok(bytes),
        Compression::Gzip => read(MultiGzDecoder::new(&bytes[..]), limit),
        Compression::Bzip2 => read(MultiBzDecoder::new(&bytes[..]), limit),
        Compression::Xz => read_xz(&bytes, limit),
        Compression::Lzma => Stream::new_lzma_decoder(XZ_MEMORY)
            .map_err(io::Error::from)
            .and_then(|stream| read(XzDecoder::new_stream(&bytes[..], stream), limit)),
        Compression::Zstd => ZstdDecoder::with_buffer(&bytes[..]).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            read(decoder, limit)
        }),
    };
    let plain = plain.map_err(|error| Error::Compression { path: path(), reason: error.to_string() })?;
    match file.plain {
        Some(listed) if plain.len() as u64 != listed.size || !listed.digest.is_of(&plain) => {
            return Err(Error::Differs { path: path() });
        }
        None if plain.len() as u64 > limit => return Err(Error::TooLarge { path: path() }),
        _ => {}
    }
    Ok(deb822::decode(plain))
}

/// All processors decompress blocks of an xz file at once, if it has several: the largest indexes of Debian have
/// one for each 24 MiB of text.
fn read_xz(bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let threads = u32::try_from(processors().get()).unwrap_or(u32::MAX);
    let threaded =
        MtStreamBuilder::new().threads(threads).memlimit_threading(XZ_MEMORY).memlimit_stop(XZ_MEMORY).decoder()?;
    let mut decoder = XzDecoder::new_stream(bytes, threaded);
    match read(&mut decoder, limit) {
        Ok(plain) if decoder.get_ref().is_empty() => Ok(plain),
        // The host allows no further thread; or there are several streams, one after another, of which this decoder
        // knows the first alone; or the file is damaged, and then this finds it again.
        _ => read(XzDecoder::new_stream(bytes, Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?), limit),
    }
}

fn read(decoder: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let expected = usize::try_from(limit).unwrap_or(0);
    // With a known size the text is read without growing; one byte more shows that it is longer.
    let mut plain = Vec::with_capacity(if limit == MAX_PLAIN_BYTES { 0 } else { expected + 1 });
    decoder.take(limit + 1).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::digest::sha256;
    use super::super::release::Listed;
    use super::*;

    const TEXT: &str = "Package: a\nVersion: 1\n";

    fn index(compression: Compression, plain: Option<&str>) -> IndexFile {
        let listed = Listed { size: 0, digest: sha256(b"") };
        let plain = plain.map(|text| Listed { size: text.len() as u64, digest: sha256(text.as_bytes()) });
        IndexFile { path: "main/binary-amd64/Packages".to_owned(), compression, listed, plain }
    }

    fn pack(compression: Compression, text: &str) -> Vec<u8> {
        let text = text.as_bytes();
        let by_liblzma = |stream| {
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        match compression {
            Compression::Plain => text.into(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Xz => by_liblzma(Stream::new_easy_encoder(1, liblzma::stream::Check::Crc64).unwrap()),
            Compression::Lzma => {
                by_liblzma(Stream::new_lzma_encoder(&liblzma::stream::LzmaOptions::new_preset(1).unwrap()).unwrap())
            }
            Compression::Zstd => zstd::encode_all(text, 1).unwrap(),
        }
    }

    fn forms() -> impl Iterator<Item = Compression> {
        Compression::PREFERENCE.into_iter().map(|(compression, _)| compression)
    }

    #[test]
    fn decompresses_all_forms() {
        for compression in forms() {
            for plain in [Some(TEXT), None] {
                assert_eq!(decompress(&index(compression, plain), pack(compression, TEXT)).unwrap(), TEXT);
            }
            // A file of lzma has one stream.
            if compression != Compression::Lzma {
                let two = [pack(compression, "Package: a\n"), pack(compression, "Version: 1\n")].concat();
                assert_eq!(decompress(&index(compression, Some(TEXT)), two).unwrap(), TEXT, "{compression:?}");
            }
        }
    }

    #[test]
    fn an_xz_file_may_have_several_blocks_and_streams() {
        let text: String = (0..1000).map(|number| format!("Package: p{number}\nVersion: {number}\n\n")).collect();
        let encoder = MtStreamBuilder::new().threads(2).preset(1).block_size(4096).encoder().unwrap();
        let mut stream = liblzma::write::XzEncoder::new_stream(Vec::new(), encoder);
        stream.write_all(text.as_bytes()).unwrap();
        let stream = stream.finish().unwrap();
        for count in 1..3 {
            let (bytes, text) = (stream.repeat(count), text.repeat(count));
            for plain in [Some(text.as_str()), None] {
                assert_eq!(decompress(&index(Compression::Xz, plain), bytes.clone()).unwrap(), text);
            }
            // A multiple of four zeros may follow a stream (The .xz File Format, 2.2).
            let padded = [&bytes[..], &[0; 4]].concat();
            assert_eq!(decompress(&index(Compression::Xz, None), padded).unwrap(), text);
            let mut damaged = bytes;
            let middle = damaged.len() / 2 + 100;
            damaged[middle] ^= 1;
            let error = decompress(&index(Compression::Xz, None), damaged).unwrap_err();
            assert!(matches!(error, Error::Compression { .. }), "{error}");
        }
    }

    #[test]
    fn refuses_what_differs_from_the_listed_plain_file() {
        for other in ["", "Package: a\nVersion: 2\n", "Package: a\nVersion: 1\n\n", "Package"] {
            for compression in forms() {
                let error = decompress(&index(compression, Some(TEXT)), pack(compression, other)).unwrap_err();
                assert!(matches!(error, Error::Differs { .. }), "{other:?}: {error}");
            }
        }
    }

    #[test]
    fn a_bomb_is_cut_at_the_listed_size() {
        for compression in forms().filter(|form| *form != Compression::Plain) {
            let bomb = pack(compression, &"a".repeat(16 << 20));
            assert!(bomb.len() < 512 << 10);
            let error = decompress(&index(compression, Some(TEXT)), bomb).unwrap_err();
            assert!(matches!(error, Error::Differs { .. }), "{compression:?}");
        }
    }

    #[test]
    fn a_decoder_gets_no_more_memory_than_an_honest_file_needs() {
        // The size of the dictionary stands in the header of lzma, whatever it holds.
        let mut lzma = pack(Compression::Lzma, TEXT);
        lzma[1..5].copy_from_slice(&(512_u32 << 20).to_le_bytes());
        let mut large = zstd::Encoder::new(Vec::new(), 1).unwrap();
        large.window_log(28).unwrap();
        large.write_all(TEXT.as_bytes()).unwrap();
        for (compression, bytes) in [(Compression::Lzma, lzma), (Compression::Zstd, large.finish().unwrap())] {
            let error = decompress(&index(compression, Some(TEXT)), bytes).unwrap_err();
            assert!(matches!(error, Error::Compression { .. }), "{compression:?}: {error}");
        }
    }

    #[test]
    fn an_index_that_would_fill_the_memory_is_refused_unread() {
        let mut index = index(Compression::Xz, None);
        index.plain = Some(Listed { size: MAX_PLAIN_BYTES + 1, digest: sha256(b"") });
        assert!(matches!(decompress(&index, Vec::new()), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn refuses_damage() {
        for compression in forms().filter(|form| *form != Compression::Plain) {
            let mut cut = pack(compression, TEXT);
            cut.truncate(cut.len() / 2);
            let error = decompress(&index(compression, None), cut).unwrap_err();
            assert!(matches!(error, Error::Compression { .. }), "{compression:?}: {error}");
        }
    }

    #[test]
    fn takes_lines_that_are_not_utf_8_for_latin_1() {
        let bytes = b"Package: a\nHomepage: caf\xe9\nDescription: caf\xc3\xa9\n".to_vec();
        let text = decompress(&index(Compression::Plain, None), bytes).unwrap();
        assert_eq!(text, "Package: a\nHomepage: café\nDescription: café\n");
    }
}
