//! How the members of a package are compressed.

use std::io::Write;

use support::handmade::deb::{ar, stanza};
use support::handmade::tar;

use super::container::proper_data;
use super::{Case, Installed, Refused, RefusedSince, Stricter, VERSION, case, proper_control};

/// Cases of compressed members.
pub(super) fn cases() -> Vec<Case> {
    let (control, data) = (&proper_control()[..], &proper_data()[..]);
    let with = |name: &str, data: &[u8]| ar(&[VERSION, ("control.tar", control), (name, data)]);
    let controlled = |name: &str, control: &[u8]| ar(&[VERSION, (name, control), ("data.tar", data)]);
    let half = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    let flipped = |mut bytes: Vec<u8>| {
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
        bytes
    };
    let twice = |pack: fn(&[u8]) -> Vec<u8>| [pack(&data[..1000]), pack(&data[1000..])].concat();
    let behind = |bytes: Vec<u8>, more: &[u8]| [bytes, more.to_vec()].concat();
    vec![
        case(
            "unknown for control",
            controlled("control.tar.rar", control),
            Refused(r#"member "control.tar.rar" has an unknown compression"#),
        ),
        case(
            "unknown for data",
            with("data.tar.Z", data),
            Refused(r#"member "data.tar.Z" has an unknown compression"#),
        ),
        case("a dot alone", with("data.tar.", data), Refused(r#"member "data.tar." has an unknown compression"#)),
        case("a letter behind", with("data.tarx", data), Refused(r#"member "data.tarx" has an unknown compression"#)),
        case("control by gzip", controlled("control.tar.gz", &gzip(control)), Installed),
        case("control by xz", controlled("control.tar.xz", &xz(control)), Installed),
        case("control by zstd", controlled("control.tar.zst", &zst(control)), Installed),
        case(
            "control by bzip2",
            controlled("control.tar.bz2", &bzip2(control)),
            Refused(r#"member "control.tar.bz2" has an unknown compression"#),
        ),
        case(
            "control by lzma",
            controlled("control.tar.lzma", &lzma(control)),
            Refused(r#"member "control.tar.lzma" has an unknown compression"#),
        ),
        case("data by gzip", with("data.tar.gz", &gzip(data)), Installed),
        case("data by xz", with("data.tar.xz", &xz(data)), Installed),
        case("data by zstd", with("data.tar.zst", &zst(data)), Installed),
        case("data by bzip2", with("data.tar.bz2", &bzip2(data)), Installed),
        case("data by lzma", with("data.tar.lzma", &lzma(data)), Installed),
        case("gzip cut off", with("data.tar.gz", &half(gzip(data))), Refused("tar is cut off at byte 512")),
        case("xz cut off", with("data.tar.xz", &half(xz(data))), Refused("tar is cut off at byte 512")),
        case("zstd cut off", with("data.tar.zst", &half(zst(data))), Refused("tar is cut off at byte 0")),
        case("bzip2 cut off", with("data.tar.bz2", &half(bzip2(data))), Refused("tar is cut off at byte 0")),
        case("lzma cut off", with("data.tar.lzma", &half(lzma(data))), Refused("tar is cut off at byte 0")),
        case(
            "gzip damaged",
            with("data.tar.gz", &flipped(gzip(data))),
            Refused("tar header at byte 512 has a wrong checksum: this is no tar"),
        ),
        case("xz damaged", with("data.tar.xz", &flipped(xz(data))), Refused("read tar at byte 0: lzma data error")),
        case(
            "zstd damaged",
            with("data.tar.zst", &flipped(zst(data))),
            Refused("read tar at byte 0: Data corruption detected"),
        ),
        case(
            "bzip2 damaged",
            with("data.tar.bz2", &flipped(bzip2(data))),
            Refused("read tar at byte 0: bzip2: invalid data"),
        ),
        case(
            "control damaged",
            controlled("control.tar.xz", &flipped(xz(control))),
            Refused("read tar at byte 1135: lzma data error"),
        ),
        case(
            "gzip without its sum",
            with("data.tar.gz", &gzip(data)[..gzip(data).len() - 4]),
            Refused("unexpected end of file"),
        ),
        case("gzip empty", with("data.tar.gz", b""), RefusedSince("tar is cut off at byte 0", "1.23.0")),
        case("xz empty", with("data.tar.xz", b""), Refused("tar is cut off at byte 0")),
        case(
            "gzip that is none",
            with("data.tar.gz", data),
            Stricter("read tar at byte 0: invalid gzip header", "the name says that it is"),
        ),
        case(
            "xz that is none",
            with("data.tar.xz", data),
            Refused("read tar at byte 0: stream/file format not recognized"),
        ),
        case("xz called gzip", with("data.tar.gz", &xz(data)), Refused("read tar at byte 0: invalid gzip header")),
        case("two members of gzip", with("data.tar.gz", &twice(gzip)), Installed),
        case(
            "two streams of xz",
            with("data.tar.xz", &twice(xz)),
            Refused("read tar at byte 512: more data follows the compressed data"),
        ),
        case(
            "two frames of zstd",
            with("data.tar.zst", &twice(zst)),
            Refused("read tar at byte 512: more data follows the compressed data"),
        ),
        case(
            "two streams of bzip2",
            with("data.tar.bz2", &twice(bzip2)),
            Refused("read tar at byte 512: more data follows the compressed data"),
        ),
        case(
            "zeros behind gzip",
            with("data.tar.gz", &behind(gzip(data), &[0; 64])),
            Stricter("invalid gzip header", "nothing belongs there"),
        ),
        case(
            "garbage behind gzip",
            with("data.tar.gz", &behind(gzip(data), b"garbage!")),
            Stricter("unexpected end of file", "nothing belongs there"),
        ),
        case(
            "zeros behind xz",
            with("data.tar.xz", &behind(xz(data), &[0; 64])),
            Stricter("more data follows the compressed data", "nothing belongs there"),
        ),
        case(
            "garbage behind xz",
            with("data.tar.xz", &behind(xz(data), b"garbage!")),
            Stricter("more data follows the compressed data", "nothing belongs there"),
        ),
        case(
            "garbage behind zstd",
            with("data.tar.zst", &behind(zst(data), b"garbage!")),
            Stricter("more data follows the compressed data", "nothing belongs there"),
        ),
        case(
            "garbage behind bzip2",
            with("data.tar.bz2", &behind(bzip2(data), b"garbage!")),
            Stricter("more data follows the compressed data", "nothing belongs there"),
        ),
        case(
            "a skippable frame of zstd",
            with("data.tar.zst", &[b"\x50\x2a\x4d\x18\x04\0\0\0skip", &zst(data)[..]].concat()),
            Stricter(
                "read tar at byte 0: more data follows the compressed data",
                "dpkg takes it for the whole, and installs no file",
            ),
        ),
        case(
            "lzma for 1.5 GiB of memory",
            with("data.tar.lzma", &{
                let mut bytes = lzma(data);
                bytes[1..5].copy_from_slice(&0x6000_0000_u32.to_le_bytes());
                bytes
            }),
            Stricter("read tar at byte 0: memory limit reached", "memory is bounded"),
        ),
        case(
            "zstd for 2 GiB of memory",
            with("data.tar.zst", &{
                let mut bytes = zst(data);
                bytes[5] = 21 << 3;
                bytes
            }),
            Refused("read tar at byte 0: Frame requires too much memory for decoding"),
        ),
    ]
}

/// Packages that would take much memory, or time, for few bytes.
pub(super) fn bombs() -> Vec<Case> {
    let zeros = |len: u64| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), len), &mut encoder).unwrap();
        encoder.finish().unwrap()
    };
    let control = &gzip(&proper_control())[..];
    let packed = |control: &[u8], data: &[u8]| ar(&[VERSION, ("control.tar.gz", control), ("data.tar.gz", data)]);
    let large = |size: u64| {
        tar::member(b"./x", b'0', b"", |block| block[124..135].copy_from_slice(format!("{size:011o}").as_bytes()))
    };
    let control_file = tar::file("./control", stanza("evil", "1.0", "").as_bytes());
    let many = |members: &mut dyn Iterator<Item = Vec<u8>>| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for member in members {
            encoder.write_all(&member).unwrap();
        }
        encoder.finish().unwrap()
    };
    vec![
        case(
            "zeros behind the data archive",
            packed(control, &[gzip(&proper_data()), zeros(1 << 30)].concat()),
            Refused("too much data after the end"),
        ),
        case(
            "a control file of 1 GiB",
            packed(
                &[gzip(&[control_file.clone(), large(1 << 30)].concat()), zeros(1 << 30)].concat(),
                &gzip(&proper_data()),
            ),
            Refused("control archive: more than"),
        ),
        case(
            "millions of entries",
            packed(control, &many(&mut (0..600_000).map(|number| tar::file(&format!("./{number}"), b"")))),
            Refused("more entries than any package has"),
        ),
        case(
            "millions of control files",
            packed(
                &many(&mut (0..100_000).map(|number| tar::file(&format!("./{number}"), b""))),
                &gzip(&proper_data()),
            ),
            Refused("control archive: more than"),
        ),
        case(
            "PAX records without an entry",
            packed(
                &many(&mut (0..2000).map(|number| {
                    tar::member(
                        b"x",
                        b'x',
                        &tar::record(&format!("SCHILY.xattr.user.{number}"), &vec![b'x'; 1 << 19]),
                        |_| {},
                    )
                })),
                &gzip(&proper_data()),
            ),
            Refused("of an entry to"),
        ),
        case(
            "a long name of 1 GiB",
            packed(
                control,
                &[
                    gzip(&tar::member(b"L", b'L', b"", |block| block[124..135].copy_from_slice(b"10000000000"))),
                    zeros(1 << 30),
                ]
                .concat(),
            ),
            Refused("of an entry to"),
        ),
    ]
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    by_liblzma(bytes, liblzma::stream::Stream::new_easy_encoder(1, liblzma::stream::Check::Crc64).unwrap())
}

fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
    by_liblzma(bytes, liblzma::stream::Stream::new_lzma_encoder(&options).unwrap())
}

fn by_liblzma(bytes: &[u8], stream: liblzma::stream::Stream) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum, and without the length in the header.
fn zst(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
