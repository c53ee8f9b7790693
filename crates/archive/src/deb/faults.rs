//! Old faults of apt in reading packages, tried here: files made by hand, each field of which lies.

use std::io::Cursor;

use super::*;
use support::handmade::deb::{ar, stanza};
use support::handmade::tar::{archive, file, member};

/// What the readers of a package say to it: to its members, its control archive, and each entry of
/// its data archive.
fn read(bytes: &[u8]) -> Result<usize, String> {
    let mut deb = Deb::open(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    deb.control().map_err(|error| error.to_string())?;
    let mut tar = TarReader::new(deb.data().map_err(|error| error.to_string())?).of_a_package();
    let mut entries = 0;
    while tar.next_entry().map_err(|error| error.to_string())?.is_some() {
        std::io::copy(&mut tar, &mut std::io::sink()).map_err(|error| error.to_string())?;
        entries += 1;
    }
    Ok(entries)
}

fn control() -> Vec<u8> {
    archive(&[file("./control", stanza("a", "1", "").as_bytes())])
}

/// A good package; the header of its member `number` is changed.
fn with_header(number: usize, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let members = [("debian-binary", b"2.0\n".to_vec()), ("control.tar", control()), ("data.tar", archive(&[]))];
    let before: usize = members[..number].iter().map(|(_, data)| 60 + data.len().next_multiple_of(2)).sum();
    let mut bytes = ar(&members.each_ref().map(|(name, data)| (*name, data.as_slice())));
    assert_eq!(read(&bytes), Ok(0));
    change(&mut bytes[8 + before..][..60]);
    bytes
}

/// A package with this data archive.
fn with_data(members: &[Vec<u8>]) -> Vec<u8> {
    ar(&[("debian-binary", &b"2.0\n"[..]), ("control.tar", &control()[..]), ("data.tar", &archive(members)[..])])
}

/// apt read beyond names of ar's members that BSD's form announces, or that have no end, and beyond
/// names in tar.
#[test]
fn cve_2020_3810_names_without_an_end() {
    for name in [
        &b"#1/40           "[..],
        b"#1/             ",
        b"#1/-5           ",
        b"#1/99999999999999",
        b"control.tar.xzzz",
        &[0xff; 16],
        &[0; 16],
    ] {
        for number in 0..3 {
            let bytes = with_header(number, |header| header[..16].copy_from_slice(&name[..16]));
            assert!(read(&bytes).is_err(), "{name:?} for member {number}");
        }
    }
    // All bytes of a name, a link's target and an extension are there, and none ends it.
    for flag in [b'0', b'1', b'2', b'5', b'L', b'K', b'?'] {
        let full = member(&[b'n'; 100], flag, b"", |block| {
            block[157..257].fill(b't');
            block[345..500].fill(b'p');
        });
        match (flag, read(&with_data(&[full]))) {
            (b'0' | b'1' | b'2' | b'5', result) => assert_eq!(result, Ok(1)),
            (_, result) => assert!(result.is_err(), "{}", char::from(flag)),
        }
    }
}

/// Sizes of ar's members, of tar's entries and of long names overflowed.
#[test]
fn cve_2020_27350_sizes_that_overflow() {
    for size in [
        "9999999999",
        "-1        ",
        "4294967295",
        "4294967292",
        "4294967356",
        "          ",
        "0x10      ",
        "1 1       ",
        "+4        ",
        "1e3       ",
    ] {
        for number in 0..3 {
            let bytes = with_header(number, |header| header[48..58].copy_from_slice(size.as_bytes()));
            assert!(read(&bytes).is_err(), "{size:?} for member {number}");
        }
    }
    let claims = [
        b"77777777777\0".to_vec(),
        b"777777777777".to_vec(),
        // 2^32 + 16: what is left of it in 32 bits is harmless.
        b"40000000020\0".to_vec(),
        b"-0000000001\0".to_vec(),
        b"not a number".to_vec(),
        [&[0x80, 0, 0, 0][..], &i64::MAX.to_be_bytes()].concat(),
        [&[0x80, 0, 0, 0][..], &u64::MAX.to_be_bytes()].concat(),
        [&[0x80, 0, 0, 1][..], &16_u64.to_be_bytes()].concat(),
        vec![0xff; 12],
    ];
    for claim in &claims {
        for flag in [b'0', b'L', b'K'] {
            let lies = member(b"x", flag, b"sixteen bytes...", |block| block[124..136].copy_from_slice(claim));
            let bytes = with_data(&[lies.clone(), file("./y", b"")]);
            assert!(read(&bytes).is_err(), "{claim:?} of {}", char::from(flag));
        }
        // apt allocated what the control file claims, and one byte more.
        let lies = member(b"./control", b'0', b"Package: a\n", |block| block[124..136].copy_from_slice(claim));
        let bytes =
            ar(&[("debian-binary", &b"2.0\n"[..]), ("control.tar", &archive(&[lies])), ("data.tar", &archive(&[]))]);
        assert!(read(&bytes).is_err(), "control file of {claim:?}");
    }
}
