use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Timestamp;
use crate::tar::TarReader;

/// Files have no length yet.
fn any_kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        Just(EntryKind::File(0)),
        Just(EntryKind::Directory),
        any_name().prop_map(EntryKind::HardLink),
        any_name().prop_map(EntryKind::Symlink),
        Just(EntryKind::Fifo),
        (0..1_u32 << 12, 0..1_u32 << 20).prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
        (0..1_u32 << 12, 0..1_u32 << 20).prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
    ]
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    // Long enough to need prefixes and PAX records, with bytes that are no text.
    prop::collection::vec(prop_oneof![Just(b'/'), 1..=255_u8], 1..300).prop_map(|mut name| {
        name.insert(0, b'.');
        while name.last() == Some(&b'/') {
            name.pop();
        }
        name
    })
}

fn any_header() -> impl Strategy<Value = (Header, Vec<u8>)> {
    let xattrs = prop::collection::btree_map("[a-z]{1,8}\\.[a-zA-Z0-9_.]{1,20}", any::<Vec<u8>>(), 0..3);
    let numbers = (0..0o10000_u16, any::<u32>(), any::<u32>(), 0..i64::from(u32::MAX) * 4);
    let data = prop::collection::vec(any::<u8>(), 0..2000);
    (any_name(), any_kind(), numbers, xattrs, data).prop_map(
        |(mut path, mut kind, (mode, uid, gid, seconds), xattrs, mut data)| {
            match &mut kind {
                EntryKind::File(size) => *size = data.len() as u64,
                _ => data.clear(),
            }
            if kind == EntryKind::Directory {
                path.push(b'/');
            }
            let header = Header {
                path,
                kind,
                mode,
                uid,
                gid,
                mtime: Timestamp { seconds, nanoseconds: 0 },
                xattrs: xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
                offset: 0,
            };
            (header, data)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(entries in prop::collection::vec(any_header(), 0..8)) {
        let mut bytes = Vec::new();
        let mut writer = TarWriter::new(&mut bytes);
        for (header, data) in &entries {
            writer.header(header).unwrap();
            writer.contents(&mut &data[..], header.size()).unwrap();
        }
        prop_assert_eq!(writer.finish().unwrap(), bytes.len() as u64);
        prop_assert_eq!(bytes.len() % 10240, 0);
        let mut reader = TarReader::new(&bytes[..]);
        for (header, data) in &entries {
            let mut read = reader.next_entry().unwrap().unwrap();
            prop_assert_eq!(&bytes[read.offset as usize..][..data.len()], &data[..]);
            read.offset = 0;
            prop_assert_eq!(&read, header);
        }
        prop_assert_eq!(reader.next_entry().unwrap(), None);
    }
}

#[test]
fn records_count_their_own_digits() {
    for value_len in [0, 1, 85, 86, 87, 88, 985, 986, 987, 988, 9990] {
        let mut record = Vec::new();
        pax_record(b"k.name", &vec![b'x'; value_len], &mut record);
        let text = String::from_utf8(record.clone()).unwrap();
        assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), record.len());
    }
}

#[test]
fn too_short_contents_are_an_error() {
    let mut writer = TarWriter::new(Vec::new());
    let header = Header {
        path: b"./x".into(),
        kind: EntryKind::File(5),
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: BTreeMap::new(),
        offset: 0,
    };
    writer.header(&header).unwrap();
    assert_eq!(writer.contents(&mut &b"abc"[..], 5).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    for (bytes, fits) in [(&b"abcd"[..], false), (b"abcde", true), (b"abcdef", false)] {
        let mut writer = TarWriter::new(Vec::new());
        writer.header(&header).unwrap();
        let written = writer.contents_from(5, |output| output.write_all(bytes));
        assert_eq!(
            written.map_err(|error| error.kind()),
            if fits { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof) }
        );
        if fits {
            assert_eq!(writer.finish().unwrap(), 10_240);
        }
    }
}
