//! Malformed and hostile root tarballs: what is made of each, or the error, which says what is
//! wrong and where. The faults that tar crates of Rust had are here by their numbers.

use std::io::Write;

use fam_progress::Hint;
use fs_err::File;
use support::handmade::tar::{archive, directory, file, link, member, record};

use super::{Error, open};
use crate::{Content, Entry, Kind, RootPath};

/// What is made of a tarball: a line for each entry, the error's text where it is refused.
fn opened(bytes: &[u8]) -> Result<Vec<String>, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.tar");
    fs_err::write(&path, bytes).unwrap();
    let scratch = || File::options().read(true).write(true).create_new(true).open(directory.path().join("scratch"));
    let result = open(File::open(&path).unwrap(), scratch).map_err(|error: Error| {
        let hint = if let Error::Tar { source, .. } = &error { source.hint() } else { error.hint() };
        assert!(hint.is_some(), "{error}");
        let text = error.to_string();
        assert!(text.contains("t.tar") && !text.contains('\n'), "{text}");
        text
    });
    let plain = fs_err::read(directory.path().join("scratch")).unwrap_or_else(|_| bytes.to_vec());
    let shown = |(path, entry): (&RootPath, &Entry)| match &entry.kind {
        Kind::Directory => format!("{path}/"),
        Kind::File(Content::Stored { offset, len }) => {
            let text = String::from_utf8_lossy(&plain[*offset as usize..][..*len as usize]).into_owned();
            format!("{path}: {text}")
        }
        Kind::HardLink(target) => format!("{path} = {target}"),
        Kind::Symlink(target) => format!("{path} -> {}", String::from_utf8_lossy(target)),
        other => format!("{path} {other:?}"),
    };
    Ok(result?.0.iter().filter(|(path, _)| !path.is_root()).map(shown).collect())
}

fn refused(what: &str, bytes: &[u8], part: &str) {
    match opened(bytes) {
        Err(error) => assert!(error.contains(part), "{what}: {error}"),
        Ok(tree) => panic!("{what}: {tree:?}"),
    }
}

fn taken(what: &str, bytes: &[u8], expected: &[&str]) {
    assert_eq!(
        opened(bytes).as_deref(),
        Ok(&expected.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()[..]),
        "{what}"
    );
}

/// PAX records for the entry that follows.
fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let records: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    member(b"x", b'x', &records, |_| {})
}

fn with_size(flag: u8, size: &[u8], data: &[u8]) -> Vec<u8> {
    member(b"./a", flag, data, |block| block[124..124 + size.len()].copy_from_slice(size))
}

#[test]
fn names() {
    let long = |name: &[u8]| [member(b"L", b'L', name, |_| {}), file("short", b"x")].concat();
    let name = |bytes: &[u8]| archive(&[member(bytes, b'0', b"x", |_| {})]);
    for (what, bytes, part) in [
        ("up", name(b"../x"), "path \"../x\" leaves the root"),
        ("up within", name(b"a/../x"), "leaves the root"),
        ("up at the end", name(b"a/.."), "leaves the root"),
        ("empty", name(b""), "tar header at byte 0 has an empty name"),
        ("empty by a long name", archive(&[long(b"\0")]), "tar header at byte 1024 has an empty name"),
        ("empty by PAX", archive(&[pax(&[("path", b"")]), file("x", b"")]), "at byte 1024 has an empty name"),
        ("NUL by PAX", archive(&[pax(&[("path", b"a\0b")]), file("x", b"")]), "a NUL byte in a name"),
        ("256 bytes", archive(&[long(&[b'n'; 256])]), "has a name of 256 bytes, more than the 255"),
        (
            "4097 bytes",
            archive(&[long(&[&b"d/".repeat(2048)[..], b"f"].concat())]),
            "has 4097 bytes, more than the 4096",
        ),
        (
            "2 MiB",
            archive(&[long(&[b'n'; 2 << 20])]),
            "tar extension header at byte 0 brings those of an entry to 2097152",
        ),
        ("up by PAX", archive(&[pax(&[("path", b"../x")]), file("x", b"")]), "leaves the root"),
        (
            "up by a prefix",
            archive(&[member(b"x", b'0', b"", |block| block[345..347].copy_from_slice(b".."))]),
            "leaves",
        ),
        (
            "a long name at the end",
            archive(&[file("x", b""), member(b"L", b'L', b"y\0", |_| {})]),
            "at byte 512 describes an entry that does not follow",
        ),
        (
            "a long link at the end",
            archive(&[file("x", b""), member(b"K", b'K', b"y\0", |_| {})]),
            "at byte 512 describes",
        ),
        ("the root as a file", name(b"."), "/ is no directory"),
        ("the root as a link", archive(&[link(".", b'2', "/")]), "/ is no directory"),
        ("the root as a hard link", archive(&[file("x", b""), link("./", b'1', "x")]), "/ is no directory"),
        ("PAX at the end", archive(&[file("x", b""), pax(&[("path", b"y")])]), "at byte 512 describes"),
    ] {
        refused(what, &bytes, part);
    }
    taken("absolute", &name(b"/x"), &["/x: x"]);
    taken("not UTF-8, which the image refuses", &name(b"a\xff"), &[r"/a\xff: x"]);
    taken("newline", &name(b"a\nb"), &[r"/a\nb: x"]);
    taken("255 bytes", &archive(&[long(&[b'n'; 255])]), &[&format!("/{}: x", "n".repeat(255))]);
    taken("PAX before a long name", &archive(&[pax(&[("path", b"pax")]), long(b"long\0")]), &["/pax: x"]);
}

#[test]
fn links() {
    let x = file("x", b"x");
    for (what, members, part) in [
        ("hard link out", vec![link("y", b'1', "../x")], "leaves the root"),
        ("hard link to nothing", vec![link("y", b'1', "x")], "/y is a hard link to /x, which is no file before it"),
        ("hard link to what follows", vec![link("y", b'1', "x"), x.clone()], "/y is a hard link to /x"),
        ("hard link to itself", vec![link("y", b'1', "y")], "/y is a hard link to /y"),
        ("hard link to a directory", vec![directory("d/"), link("y", b'1', "d")], "/y is a hard link to /d"),
        ("hard link to the root", vec![directory("./"), link("y", b'1', "./")], "/y is a hard link to /,"),
        ("hard link to no name", vec![link("y", b'1', "")], "at byte 0 has an empty name"),
        ("symbolic link to no name", vec![link("y", b'2', "")], "at byte 0 has an empty name"),
        (
            "file beneath a link",
            vec![link("l", b'2', "/etc"), file("l/x", b"")],
            "/l/x lies beneath /l, which is no directory",
        ),
        ("file far beneath a link", vec![link("l", b'2', "/etc"), file("l/a/b/x", b"")], "lies beneath /l"),
        ("file beneath a file", vec![x.clone(), file("x/y", b"")], "/x/y lies beneath /x"),
        (
            "link to 4096 bytes",
            vec![member(b"K", b'K', &[b'/'; 4096], |_| {}), link("y", b'2', "x")],
            "links to a name of 4096 bytes",
        ),
    ] {
        refused(what, &archive(&members), part);
    }
    taken("hard link", &archive(&[x.clone(), link("y", b'1', "./x")]), &["/x: x", "/y = /x"]);
    taken("given twice", &archive(&[x.clone(), link("x", b'1', "x")]), &["/x: x"]);
    taken("link out", &archive(&[link("l", b'2', "../../etc")]), &["/l -> ../../etc"]);
    taken("file over a link", &archive(&[link("l", b'2', "/etc/passwd"), file("l", b"x")]), &["/l: x"]);
    taken(
        "directory over a link",
        &archive(&[link("l", b'2', "/etc"), directory("l/"), file("l/x", b"x")]),
        &["/l/", "/l/x: x"],
    );
    taken("file over a directory", &archive(&[file("d/x", b""), file("d", b"x")]), &["/d: x"]);
}

#[test]
fn numbers_and_types() {
    for (what, bytes, part) in [
        (
            "size negative",
            archive(&[with_size(b'0', &[0xff; 12], b"")]),
            "tar entry \"./a\": size is not a usable number",
        ),
        ("size negative in digits", archive(&[with_size(b'0', b"-0000000001", b"")]), "size is not a usable number"),
        ("size signed", archive(&[with_size(b'0', b"+0000000001", b"")]), "size is not a usable number"),
        ("size of blanks", archive(&[with_size(b'0', &[b' '; 12], b"")]), "size is not a usable number"),
        (
            "size with more behind a NUL",
            archive(&[with_size(b'0', b"0000000\x00001", b"")]),
            "size is not a usable number",
        ),
        (
            "size of 2^63 - 1",
            archive(&[with_size(b'0', b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", b"")]),
            "size is not a usable number",
        ),
        ("size beyond the end", archive(&[with_size(b'0', b"77777777777", b"")]), "cut off"),
        (
            "size of a directory",
            archive(&[with_size(b'5', b"00000000010", b"01234567")]),
            "has a size, and is no regular file",
        ),
        (
            "size of a link",
            archive(&[member(b"./a", b'2', b"x", |block| block[157] = b'x')]),
            "has a size, and is no regular file",
        ),
        (
            "user negative",
            archive(&[member(b"a", b'0', b"", |block| block[108..116].fill(0xff))]),
            "uid is not a usable number",
        ),
        (
            "user of letters",
            archive(&[member(b"a", b'0', b"", |block| block[108..112].copy_from_slice(b"root"))]),
            "uid is not",
        ),
        (
            "mode of letters",
            archive(&[member(b"a", b'0', b"", |block| block[100..104].copy_from_slice(b"rwxr"))]),
            "mode is not",
        ),
        (
            "time of letters",
            archive(&[member(b"a", b'0', b"", |block| block[136..140].copy_from_slice(b"soon"))]),
            "mtime is not",
        ),
        ("device of letters", archive(&[member(b"a", b'3', b"", |block| block[329] = b'x')]), "device number is not"),
        ("sparse", archive(&[member(b"a", b'S', b"", |_| {})]), "tar entry \"a\" is a sparse file"),
        ("sparse by PAX", archive(&[pax(&[("GNU.sparse.major", b"1")]), file("a", b"")]), "is a sparse file"),
        ("continued", archive(&[member(b"a", b'M', b"", |_| {})]), "tar entry \"a\" has unsupported type 'M'"),
        ("unknown", archive(&[member(b"a", b'Z', b"", |_| {})]), "unsupported type 'Z'"),
        (
            "attributes of 65 KiB",
            archive(&[pax(&[("SCHILY.xattr.user.a", &[b'x'; 65 << 10])]), file("a", b"")]),
            "bytes of extended attributes",
        ),
        (
            "records of 2 MiB in three headers",
            archive(&[
                pax(&[("a", &[b'x'; 700 << 10])]),
                pax(&[("a", &[b'x'; 700 << 10])]),
                pax(&[("a", &[b'x'; 700 << 10])]),
                file("a", b""),
            ]),
            "brings those of an entry to",
        ),
    ] {
        refused(what, &bytes, part);
    }
    let far = member(b"a", b'0', b"", |block| {
        block[136..148].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe");
    });
    taken("time before 1970", &archive(&[far]), &["/a: "]);
    taken("device, then a file", &archive(&[member(b"a", b'3', b"", |_| {}), file("a", b"x")]), &["/a: x"]);
    taken("file of old tar", &archive(&[member(b"a", 0, b"x", |_| {})]), &["/a: x"]);
}

#[test]
fn ends() {
    let whole = archive(&[file("a", b"x"), file("b", b"y")]);
    let end = whole.len() - 1024;
    refused("no end", &whole[..end], "tar is cut off at byte 2048");
    refused("cut off in a header", &whole[..end - 600], "cut off at byte");
    refused("cut off in a file", &whole[..end - 100], "cut off at byte");
    refused("empty", b"", "cut off at byte 0");
    refused("text", &b"no tarball\n".repeat(100), "tar header at byte 0 has a wrong checksum");
    let mut damaged = whole.clone();
    damaged[1024] ^= 1;
    refused("a bit flipped", &damaged, "tar header at byte 1024 has a wrong checksum");
    taken("one block of zeros", &whole[..end + 512], &["/a: x", "/b: y"]);
    taken("entries behind the end", &[whole.clone(), archive(&[file("c", b"")])].concat(), &["/a: x", "/b: y"]);
    taken("garbage behind the end", &[whole, vec![0xff; 700]].concat(), &["/a: x", "/b: y"]);
    taken("nothing", &archive(&[]), &[]);
}

#[test]
fn damaged_compression() {
    let tar = archive(&[file("a", &[7; 5000])]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&tar).unwrap();
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(&tar).unwrap();
    for (what, packed) in
        [("gzip", gzip.finish().unwrap()), ("xz", xz.finish().unwrap()), ("zstd", zstd.finish().unwrap())]
    {
        let half = &packed[..packed.len() / 2];
        refused(what, half, "decompress ");
        let mut flipped = packed.clone();
        *flipped.get_mut(packed.len() / 2).unwrap() ^= 0x10;
        assert!(opened(&flipped).is_err(), "{what}, a bit flipped");
        refused(what, &[&packed[..], b"garbage!"].concat(), "decompress ");
        assert!(opened(&packed).is_ok(), "{what}");
    }
}

/// An archive in the contents of a file, which a reader that loses count takes for entries.
fn smuggled() -> Vec<u8> {
    [file("smuggled", b"evil"), file("more", b"")].concat()
}

/// `CVE-2025-62518` of tokio-tar and its like (`TARmageddon`, RUSTSEC-2025-0111): the header says
/// that the file is empty, its PAX record that it is not.
#[test]
fn cve_2025_62518_the_size_of_pax_records_counts() {
    let inner = smuggled();
    let header = member(b"outer", b'0', b"", |_| {});
    let bytes = archive(&[pax(&[("size", inner.len().to_string().as_bytes())]), header, inner, file("after", b"")]);
    let tree = opened(&bytes).unwrap();
    assert_eq!(tree.len(), 2, "{tree:?}");
    assert!(tree[0] == "/after: " && tree[1].starts_with("/outer: smuggled"), "{tree:?}");
}

/// `CVE-2026-33055` of tar (RUSTSEC-2026-0068): the same where the header has another size.
#[test]
fn cve_2026_33055_the_size_of_pax_records_counts_against_a_header_with_one() {
    let inner = smuggled();
    let header = member(b"outer", b'0', b"", |block| block[124..135].copy_from_slice(b"00000001000"));
    let bytes = archive(&[pax(&[("size", inner.len().to_string().as_bytes())]), header, inner, file("after", b"")]);
    assert_eq!(opened(&bytes).unwrap().len(), 2);
    let header = member(b"a", b'0', b"x", |block| block[124..135].copy_from_slice(b"00000002000"));
    taken("a shorter one", &archive(&[pax(&[("size", b"1")]), header, file("b", b"")]), &["/a: x", "/b: "]);
}

/// `RUSTSEC-2026-0112` of astral-tokio-tar (GHSA-3cv2-h65g-fgmm; tar had it, too): records are
/// about the next file, and not about a long name between.
#[test]
fn rustsec_2026_0112_pax_records_are_not_about_a_long_name() {
    let members = [
        pax(&[("size", b"4")]),
        member(b"L", b'L', &[b"long", &[0; 700][..]].concat(), |_| {}),
        file("short", b"data"),
    ];
    taken("a long name", &archive(&members), &["/long: data"]);
    let members = [pax(&[("size", b"4")]), member(b"K", b'K', b"to\0", |_| {}), file("short", b"data")];
    taken("a long link", &archive(&members), &["/short: data"]);
    let members =
        [pax(&[("size", b"4")]), member(b"g", b'g', &record("comment", &[b'x'; 600]), |_| {}), file("f", b"data")];
    taken("records for all", &archive(&members), &["/f: data"]);
}

/// astral-tokio-tar up to 0.5.6 passed over malformed PAX records, so that another reader would
/// find what it did not.
#[test]
fn malformed_pax_records_are_an_error() {
    for records in
        [&b"12 path=ab\n"[..], b"10 path=ab", b"10 path-ab\n", b"path=ab\n", b"-1 path=a\n", b"10 path=ab\nx"]
    {
        let bytes = archive(&[member(b"x", b'x', records, |_| {}), file("f", b"")]);
        refused("malformed", &bytes, "tar header at byte 0 has malformed PAX records");
    }
    for (key, value) in
        [("size", "-1"), ("size", "0x1"), ("size", "18446744073709551616"), ("uid", ""), ("mtime", "soon")]
    {
        let bytes = archive(&[pax(&[(key, value.as_bytes())]), file("f", b"")]);
        refused(key, &bytes, "tar header at byte 0 has malformed PAX records");
    }
}

/// `CVE-2018-20990` of tar: a hard link to a file outside, and then that file's new contents.
#[test]
fn cve_2018_20990_a_hard_link_leads_nowhere_outside() {
    for target in ["/etc/passwd", "../../etc/passwd", "etc/passwd"] {
        let error = opened(&archive(&[link("l", b'1', target), file("l", b"evil")])).unwrap_err();
        assert!(error.contains("leaves the root") || error.contains("no file before it"), "{error}");
    }
}

/// `CVE-2021-38511` of tar, `CVE-2025-59825` of astral-tokio-tar: directories, and files, through a
/// symbolic link.
#[test]
fn cve_2021_38511_nothing_goes_through_a_link() {
    for beneath in
        [directory("l/made/"), directory("l/a/b/"), file("l/x", b""), link("l/s", b'2', "x"), link("l/h", b'1', "f")]
    {
        let bytes = archive(&[file("f", b""), link("l", b'2', "../outside"), beneath]);
        refused("through a link", &bytes, "beneath /l, which is no directory");
    }
}

/// `CVE-2026-33056` of tar (RUSTSEC-2026-0067) and RUSTSEC-2026-0113 of astral-tokio-tar: the mode
/// of a directory set through a link of its name.
#[test]
fn cve_2026_33056_a_directory_takes_the_place_of_a_link() {
    for name in ["l", "l/", "l/."] {
        taken(name, &archive(&[link("l", b'2', "/etc"), member(name.as_bytes(), b'5', b"", |_| {})]), &["/l/"]);
    }
}
