use std::io::{Cursor, Write};

use proptest::prelude::*;

use super::*;
use support::handmade::deb::{ar, deb, stanza};
use support::handmade::tar::{archive, directory, file, link};

fn open(bytes: &[u8]) -> Result<Deb<Cursor<&[u8]>>, Error> {
    Deb::open(Cursor::new(bytes))
}

fn everything(bytes: &[u8]) -> Result<(ControlArchive, Vec<u8>), Error> {
    let mut deb = open(bytes)?;
    let control = deb.control()?;
    let mut data = Vec::new();
    deb.data()?.read_to_end(&mut data)?;
    Ok((control, data))
}

fn control() -> Vec<u8> {
    archive(&[directory("./"), file("./control", b"Package: a\n")])
}

#[test]
fn reads_both_archives() {
    let data = archive(&[file("./x", b"content")]);
    let bytes = deb(
        &stanza("a", "1", ""),
        &[("preinst", "#!/bin/sh\n"), ("conffiles", "/etc/a\n")],
        &[file("./x", b"content")],
    );
    let (control, read) = everything(&bytes).unwrap();
    assert!(control.stanza.starts_with("Package: a\n"));
    assert_eq!(control.files.keys().collect::<Vec<_>>(), ["conffiles", "preinst"]);
    assert_eq!(control.files["preinst"].bytes, b"#!/bin/sh\n");
    assert_eq!(control.files["preinst"].mode, 0o644);
    assert_eq!(read, data);
}

#[test]
fn every_compression_of_dpkg() {
    let plain = archive(&[file("./x", &[42; 3000])]);
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let bzip2 = {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let xz = |stream| {
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let lzma =
        xz(liblzma::stream::Stream::new_lzma_encoder(&liblzma::stream::LzmaOptions::new_preset(1).unwrap()).unwrap());
    let xz = xz(liblzma::stream::Stream::new_easy_encoder(1, liblzma::stream::Check::Crc64).unwrap());
    let zstd = zstd::stream::encode_all(&plain[..], 1).unwrap();
    for (suffix, packed) in
        [("", &plain), (".gz", &gzip), (".bz2", &bzip2), (".lzma", &lzma), (".xz", &xz), (".zst", &zstd)]
    {
        let bytes =
            ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control()), (&format!("data.tar{suffix}"), packed)]);
        assert_eq!(everything(&bytes).unwrap().1, plain, "{suffix}");
        if !suffix.is_empty() {
            let cut = &packed[..packed.len() / 2];
            let bytes =
                ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control()), (&format!("data.tar{suffix}"), cut)]);
            assert!(everything(&bytes).is_err(), "{suffix} cut off");
        }
    }
}

#[test]
fn members_by_the_rules_of_deb5() {
    let (control, data) = (control(), archive(&[]));
    let extra = [
        ("debian-binary", &b"2.1\nmore\n"[..]),
        ("_future", b"odd"),
        ("control.tar/", &control),
        ("_x", b""),
        ("data.tar", &data),
        ("_gpgorigin", b"signature"),
        ("anything", b""),
    ];
    everything(&ar(&extra)).unwrap();

    let error = |members: &[(&str, &[u8])]| everything(&ar(members)).unwrap_err().to_string();
    assert_eq!(error(&[("control.tar", &control)]), "this is no .deb file");
    assert!(error(&[("debian-binary", b"3.0\n")]).contains("version is \"3.0\""));
    assert!(error(&[("debian-binary", b"2.0\n"), ("data.tar", &data)]).contains("where control.tar must"));
    assert!(error(&[("debian-binary", b"2.0\n"), ("control.tar", &control)]).contains("no data.tar member"));
    assert!(error(&[("debian-binary", b"2.0\n"), ("control.tar.rar", &control)]).contains("unknown compression"));
    assert!(everything(b"").unwrap_err().to_string().contains("no .deb"));
    assert!(everything(b"0.939000\n").unwrap_err().to_string().contains("no .deb"));
}

#[test]
fn control_archives_hold_plain_files_only() {
    let error = |member: Vec<u8>| {
        let control = archive(&[file("./control", b"Package: a\n"), member]);
        everything(&ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &archive(&[]))]))
            .unwrap_err()
            .to_string()
    };
    for name in ["../evil", "/etc/evil", "a/b", ".."] {
        assert!(error(file(name, b"")).contains("no plain file at the top"), "{name}");
    }
    assert!(error(link("./preinst", b'2', "/bin/true")).contains("no plain file"));
    assert!(error(directory("./preinst")).contains("no plain file"));
}

#[test]
fn every_truncation_is_noticed() {
    let bytes = deb(&stanza("a", "1", ""), &[], &[file("./x", &[1; 600])]);
    for len in 0..bytes.len() {
        assert!(everything(&bytes[..len]).is_err(), "cut at {len}");
    }
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0_usize..4000, value: u8) {
        let mut bytes = deb(&stanza("a", "1", ""), &[], &[file("./x", &[1; 600])]);
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = everything(&bytes);
    }
}
