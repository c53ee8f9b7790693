use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use support::handmade::tar::{archive, member, record};

fn read(bytes: &[u8]) -> Result<Vec<(Header, Vec<u8>)>, Error> {
    let mut reader = TarReader::new(bytes);
    let mut all = Vec::new();
    while let Some(header) = reader.next_entry()? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).map_err(|source| Error::Read { offset: 0, source })?;
        all.push((header, data));
    }
    Ok(all)
}

#[test]
fn reads_kinds_and_metadata() {
    let bytes = archive(&[
        member(b"./", b'5', b"", |_| {}),
        member(b"./old/", 0, b"", |_| {}),
        member(b"./sudo", b'0', b"binary", |_| {}),
        member(b"./link", b'2', b"", |block| block[157..160].copy_from_slice(b"/to")),
        member(b"./hard", b'1', b"", |block| block[157..163].copy_from_slice(b"./sudo")),
        member(b"./null", b'3', b"", |block| {
            block[329..336].copy_from_slice(b"0000001");
            block[337..344].copy_from_slice(b"0000003");
        }),
        member(b"pipe", b'6', b"", |block| block[345..348].copy_from_slice(b"run")),
        member(b"gnu", b'6', b"", |block| {
            block[257..265].copy_from_slice(b"ustar  \0");
            block[345..348].copy_from_slice(b"run");
        }),
    ]);
    let all = read(&bytes).unwrap();
    let kinds: Vec<_> = all.iter().map(|(header, _)| (header.path.as_slice(), header.kind.clone())).collect();
    assert_eq!(
        kinds,
        [
            (&b"./"[..], EntryKind::Directory),
            (b"./old/", EntryKind::Directory),
            (b"./sudo", EntryKind::File(6)),
            (b"./link", EntryKind::Symlink(b"/to".into())),
            (b"./hard", EntryKind::HardLink(b"./sudo".into())),
            (b"./null", EntryKind::CharDevice { major: 1, minor: 3 }),
            (b"run/pipe", EntryKind::Fifo),
            (b"gnu", EntryKind::Fifo),
        ]
    );
    let (sudo, data) = &all[2];
    assert_eq!((sudo.mode, sudo.uid, sudo.gid), (0o4755, 0, 8));
    assert_eq!(sudo.mtime, Timestamp { seconds: 0o14000000000, nanoseconds: 0 });
    assert_eq!(data, b"binary");
    assert_eq!(&bytes[sudo.offset as usize..][..6], b"binary");
}

#[test]
fn applies_long_names_and_pax_records() {
    let long = [b"d/".repeat(200), b"name".to_vec()].concat();
    let capability = b"\x01\0\0\x02\0\x20\n12 path=bad\n\0";
    let records = [
        record("path", b"from/pax"),
        record("mtime", b"-1.5"),
        record("uid", b"3000000"),
        record("SCHILY.xattr.security.capability", capability),
        record("LIBARCHIVE.xattr.user.x", b"ignored"),
    ]
    .concat();
    let all = read(&archive(&[
        member(b"././@LongLink", b'L', &[&long[..], b"\0"].concat(), |_| {}),
        member(b"././@LongLink", b'K', &[&long[..], b"\0"].concat(), |_| {}),
        member(b"short", b'2', b"", |block| block[157] = b't'),
        member(b"PaxHeaders/f", b'x', &records, |_| {}),
        member(b"f", b'0', b"x", |_| {}),
        member(b"after", b'0', b"", |_| {}),
    ]))
    .unwrap();
    assert_eq!(all[0].0.path, long);
    assert_eq!(all[0].0.link(), long);
    assert_eq!(all[1].0.path, b"from/pax");
    assert_eq!(all[1].0.mtime, Timestamp { seconds: -2, nanoseconds: 500_000_000 });
    assert_eq!(all[1].0.uid, 3_000_000);
    assert_eq!(all[1].0.xattrs, BTreeMap::from([(b"security.capability".to_vec(), capability.to_vec())]));
    assert_eq!(all[2].0.path, b"after");
    assert!(all[2].0.xattrs.is_empty(), "records hold for one entry only");
}

#[test]
fn global_records_hold_until_overridden() {
    let all = read(&archive(&[
        member(b"g", b'g', &record("mtime", b"7.25"), |_| {}),
        member(b"a", b'0', b"", |_| {}),
        member(b"x", b'x', &record("mtime", b"8"), |_| {}),
        member(b"b", b'0', b"", |_| {}),
        member(b"c", b'0', b"", |_| {}),
    ]))
    .unwrap();
    let times: Vec<_> = all.iter().map(|(header, _)| (header.mtime.seconds, header.mtime.nanoseconds)).collect();
    assert_eq!(times, [(7, 250_000_000), (8, 0), (7, 250_000_000)]);
}

#[test]
fn numbers() {
    for (field, expected) in [
        (&b"0000644\0"[..], Some(0o644)),
        (b"   644 \0", Some(0o644)),
        (b"\0\0\0\0\0\0\0\0", Some(0)),
        (b"0000648\0", None),
        (b"+000644\0", None),
        (b"-000644\0", None),
        (b"        ", None),
        (b"0006\x0044\0", None),
        (b"0006 44\0", None),
        (b"\x80\0\0\0\0\0\x01\0", Some(256)),
        (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
        (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
        (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
    ] {
        assert_eq!(parse_number(field), expected, "{field:?}");
    }
}

#[test]
fn refuses_what_it_cannot_read_faithfully() {
    let pax = |data: &[u8]| archive(&[member(b"x", b'x', data, |_| {}), member(b"f", b'0', b"", |_| {})]);
    let shows = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(shows(&pax(&record("GNU.sparse.major", b"1"))).contains("sparse"));
    assert!(shows(&archive(&[member(b"f", b'S', b"", |_| {})])).contains("sparse"));
    assert!(shows(&archive(&[member(b"f", b'M', b"", |_| {})])).contains("unsupported type 'M'"));
    assert!(shows(&pax(&record("path", b"a\0b"))).contains("NUL"));
    assert!(shows(&archive(&[member(b"", b'0', b"", |_| {})])).contains("empty name"));
    assert!(shows(&archive(&[member(b"l", b'2', b"", |_| {})])).contains("empty name"));
    for malformed in [&b"5 a=b"[..], b"99 a=b\n", b"0 a=b\n", b"x a=b\n", b"6 a=b\n6", b"18446744073709551615 a=b\n"] {
        assert!(shows(&pax(malformed)).contains("malformed PAX"), "{malformed:?}");
    }
    let huge = |block: &mut [u8; 512]| block[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    assert!(shows(&archive(&[member(b"f", b'0', b"", huge)])).contains("size is not a usable number"));
    assert!(shows(&archive(&[member(b"f", b'L', b"", huge)])).contains("are allowed"));
    for record in [
        record("path", b"a"),
        record("linkpath", b"a"),
        record("size", b"1"),
        record("SCHILY.xattr.user.a", b"b"),
        record("GNU.sparse.major", b"1"),
    ] {
        let global = archive(&[member(b"g", b'g', &record, |_| {}), member(b"f", b'0', b"", |_| {})]);
        assert!(shows(&global).contains("to all entries"), "{record:?}");
    }
    let device = |major: &[u8; 8], minor: &[u8; 8]| {
        let change = |block: &mut [u8; 512]| {
            block[329..337].copy_from_slice(major);
            block[337..345].copy_from_slice(minor);
        };
        archive(&[member(b"d", b'4', b"", change)])
    };
    let most = EntryKind::BlockDevice { major: 0xfff, minor: 0xf_ffff };
    assert_eq!(read(&device(b"0007777\0", b"3777777\0")).unwrap()[0].0.kind, most);
    assert!(
        shows(&device(b"0010000\0", b"0000000\0")).contains("tar entry \"d\": device number is not a usable number")
    );
    assert!(shows(&device(b"0000000\0", b"4000000\0")).contains("device number is not a usable number"));
    let long_link = |len| {
        let target = [vec![b'/'; len], b"\0".to_vec()].concat();
        archive(&[member(b"K", b'K', &target, |_| {}), member(b"l", b'2', b"", |_| {})])
    };
    assert_eq!(read(&long_link(4095)).unwrap()[0].0.link().len(), 4095);
    assert!(shows(&long_link(4096)).contains("tar entry \"l\" links to a name of 4096 bytes"));
    let attributes = record("SCHILY.xattr.user.a", &vec![b'x'; 64 << 10]);
    assert!(shows(&pax(&attributes)).contains("tar entry \"f\" has 65542 bytes of extended attributes"));
    let mut damaged = archive(&[member(b"f", b'0', b"x", |_| {})]);
    damaged[0] ^= 1;
    assert!(shows(&damaged).contains("checksum"));
}

#[test]
fn what_describes_an_entry_must_be_followed_by_one() {
    let file = member(b"f", b'0', b"", |_| {});
    for header in [
        member(b"L", b'L', b"name\0", |_| {}),
        member(b"K", b'K', b"target\0", |_| {}),
        member(b"x", b'x', &record("mtime", b"1"), |_| {}),
    ] {
        let error = read(&archive(&[file.clone(), header])).unwrap_err().to_string();
        assert_eq!(error, "tar header at byte 512 describes an entry that does not follow");
    }
    let comment = member(b"g", b'g', &record("comment", b"x"), |_| {});
    assert_eq!(read(&archive(&[file, comment])).unwrap().len(), 1, "this is for all that follow, or none");
}

#[test]
fn packages_have_no_pax_headers() {
    for flag in *b"xg" {
        let pax = member(b"x", flag, &record("mtime", b"1"), |_| {});
        let bytes = archive(&[pax, member(b"f", b'0', b"", |_| {})]);
        let error = TarReader::new(&bytes[..]).of_a_package().next_entry().unwrap_err();
        assert!(matches!(error, Error::PaxInPackage(0)), "{error}");
    }
    let long = archive(&[member(b"L", b'L', b"long\0", |_| {}), member(b"f", b'0', b"", |_| {})]);
    assert_eq!(TarReader::new(&long[..]).of_a_package().next_entry().unwrap().unwrap().path, b"long");
}

#[test]
fn every_truncation_is_noticed() {
    let whole = archive(&[member(b"f", b'0', &[7; 700], |_| {}), member(b"g", b'0', b"x", |_| {})]);
    for len in (0..whole.len() - 512).step_by(64) {
        assert!(read(&whole[..len]).is_err(), "cut at {len}");
        let mut seeking = TarReader::seekable(Cursor::new(&whole[..len]));
        let failed = std::iter::from_fn(|| seeking.next_entry().transpose()).any(|entry| entry.is_err());
        assert!(failed, "cut at {len}, seeking");
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = read(&bytes);
    }

    #[test]
    fn garbage_records_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&archive(&[member(b"x", b'x', &bytes, |_| {}), member(b"f", b'0', b"", |_| {})]));
    }
}
