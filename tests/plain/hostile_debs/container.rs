//! The ar archive of a package.

use support::handmade::deb::ar;
use support::handmade::tar;

use super::compression::gzip;
use super::{Case, Installed, Refused, RefusedSince, Stricter, VERSION, case, proper_control};

/// A data archive with one file.
pub(super) fn proper_data() -> Vec<u8> {
    tar::archive(&[tar::directory("./"), tar::file("./f", &[7; 3000])])
}

/// A package whose first member has this for the size, and what is in it.
fn with_size(size: &str) -> Vec<u8> {
    let mut bytes = proper();
    bytes[8 + 48..8 + 58].copy_from_slice(format!("{size:<10}").as_bytes());
    bytes
}

fn with_version(text: &[u8]) -> Vec<u8> {
    ar(&[("debian-binary", text), ("control.tar", &proper_control()), ("data.tar", &proper_data())])
}

fn proper() -> Vec<u8> {
    ar(&[VERSION, ("control.tar", &proper_control()), ("data.tar", &proper_data())])
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = proper();
    change(&mut bytes);
    bytes
}

/// Cases of what stands where in the ar archive.
pub(super) fn cases() -> Vec<Case> {
    let (control, data) = (&proper_control()[..], &proper_data()[..]);
    let other = &tar::archive(&[tar::directory("./"), tar::file("./other", b"")])[..];
    let old = [format!("0.939000\n{}\n", gzip(control).len()).into_bytes(), gzip(control), gzip(data)].concat();
    vec![
        case("nothing wrong", proper(), Installed),
        case("empty", Vec::new(), Refused("this is no .deb file")),
        case("magic alone", b"!<arch>\n".to_vec(), Refused("this is no .deb file")),
        case("another magic", changed(|bytes| bytes[2] = b'A'), Refused("this is no .deb file")),
        case(
            "a thin archive",
            changed(|bytes| bytes[..8].copy_from_slice(b"!<thin>\n")),
            Refused("this is no .deb file"),
        ),
        case("line ends changed on the way", changed(|bytes| bytes.insert(7, b'\r')), Refused("this is no .deb file")),
        case("the format of 1995", old, Stricter("this is no .deb file", "nothing has been made in it since")),
        case(
            "a header cut off",
            proper()[..8 + 59].to_vec(),
            Refused("it has an odd number of bytes: something is missing at its end"),
        ),
        case(
            "header without its end",
            changed(|bytes| bytes[8 + 58] = b'x'),
            Refused("the member header at byte 8 is malformed"),
        ),
        case(
            "cut off in the control member",
            proper()[..300].to_vec(),
            Refused(r#"it is cut off within member "control.tar""#),
        ),
        case(
            "cut off in the data member",
            proper()[..proper().len() - 1024].to_vec(),
            Refused(r#"it is cut off within member "data.tar""#),
        ),
        case(
            "padding cut off",
            {
                let data = [data, b"\0"].concat();
                let mut bytes = ar(&[VERSION, ("control.tar", control), ("data.tar", &data)]);
                bytes.pop();
                bytes
            },
            RefusedSince("it has an odd number of bytes: something is missing at its end", "1.23.0"),
        ),
        case("size of letters", with_size("12a"), Refused("the member header at byte 8 is malformed")),
        case("size negative", with_size("-4"), Refused("the member header at byte 8 is malformed")),
        case("size with a sign", with_size("+4"), Refused("the member header at byte 8 is malformed")),
        case("size hexadecimal", with_size("0x4"), Refused("the member header at byte 8 is malformed")),
        case(
            "size in blanks before it",
            with_size("         4"),
            Stricter("the member header at byte 8 is malformed", "ar(5) aligns numbers left"),
        ),
        case("size of blanks", with_size(""), Refused("the member header at byte 8 is malformed")),
        case(
            "size and more",
            with_size("4 4"),
            Stricter("the member header at byte 8 is malformed", "ar(5) has one number there"),
        ),
        case("size beyond the end", with_size("9999999999"), Refused(r#"it is cut off within member "debian-binary""#)),
        case(
            "size not UTF-8",
            changed(|bytes| bytes[8 + 48] = 0xff),
            Refused("the member header at byte 8 is malformed"),
        ),
        case(
            "version without newline",
            with_version(b"2.0"),
            Refused(r#"its format version is "2.0", only 2.x is known"#),
        ),
        case("version empty", with_version(b""), Refused(r#"its format version is "", only 2.x is known"#)),
        case("version 1", with_version(b"1.0\n"), Refused(r#"its format version is "1.0", only 2.x is known"#)),
        case("version 3", with_version(b"3.0\n"), Refused(r#"its format version is "3.0", only 2.x is known"#)),
        case("version without minor", with_version(b"2\n"), Refused(r#"its format version is "2", only 2.x is known"#)),
        case(
            "version with empty minor",
            with_version(b"2.\n"),
            Refused(r#"its format version is "2.", only 2.x is known"#),
        ),
        case(
            "version and letters",
            with_version(b"2.x\n"),
            Refused(r#"its format version is "2.x", only 2.x is known"#),
        ),
        case(
            "version and junk",
            with_version(b"2.0 x\n"),
            Refused(r#"its format version is "2.0 x", only 2.x is known"#),
        ),
        case(
            "version too large",
            with_version(b"2.99999999999\n"),
            Refused(r#"its format version is "2.99999999999", only 2.x is known"#),
        ),
        case("a later minor version", with_version(b"2.17\n"), Installed),
        case("lines after the version", with_version(&[b"2.0\n", &[0xff; 5000][..]].concat()), Installed),
        case("no version", ar(&[("control.tar", control), ("data.tar", data)]), Refused("this is no .deb file")),
        case(
            "version later",
            ar(&[("control.tar", control), VERSION, ("data.tar", data)]),
            Refused("this is no .deb file"),
        ),
        case(
            "version doubled",
            ar(&[VERSION, VERSION, ("control.tar", control), ("data.tar", data)]),
            Refused(r#"member "debian-binary" stands where control.tar must"#),
        ),
        case(
            "no control",
            ar(&[VERSION, ("data.tar", data)]),
            Refused(r#"member "data.tar" stands where control.tar must"#),
        ),
        case("no data", ar(&[VERSION, ("control.tar", control)]), Refused("it has no data.tar member")),
        case(
            "data before control",
            ar(&[VERSION, ("data.tar", data), ("control.tar", control)]),
            Refused(r#"member "data.tar" stands where control.tar must"#),
        ),
        case(
            "control doubled",
            ar(&[VERSION, ("control.tar", control), ("control.tar", control), ("data.tar", data)]),
            Refused(r#"member "control.tar" stands where data.tar must"#),
        ),
        case(
            "data doubled",
            ar(&[VERSION, ("control.tar", control), ("data.tar", data), ("data.tar", other)]),
            Installed,
        ),
        case(
            "control empty",
            ar(&[VERSION, ("control.tar", b""), ("data.tar", data)]),
            Refused("tar is cut off at byte 0"),
        ),
        case(
            "data empty",
            ar(&[VERSION, ("control.tar", control), ("data.tar", b"")]),
            RefusedSince("tar is cut off at byte 0", "1.23.0"),
        ),
        case(
            "members to be ignored",
            ar(&[VERSION, ("_a", b"x"), ("control.tar", control), ("_b", b""), ("data.tar", data)]),
            Installed,
        ),
        case(
            "such a member first",
            ar(&[("_a", b"x"), VERSION, ("control.tar", control), ("data.tar", data)]),
            Refused("this is no .deb file"),
        ),
        case(
            "unknown member before",
            ar(&[VERSION, ("a", b"x"), ("control.tar", control), ("data.tar", data)]),
            Refused(r#"member "a" stands where control.tar must"#),
        ),
        case(
            "unknown member between",
            ar(&[VERSION, ("control.tar", control), ("a", b"x"), ("data.tar", data)]),
            Refused(r#"member "a" stands where data.tar must"#),
        ),
        case(
            "unknown member behind",
            ar(&[VERSION, ("control.tar", control), ("data.tar", data), ("a", b"x")]),
            Installed,
        ),
        case("no archive behind", [proper(), vec![0xff; 100]].concat(), Installed),
        case(
            "names with a slash",
            ar(&[("debian-binary/", b"2.0\n"), ("control.tar/", control), ("data.tar/", data)]),
            Installed,
        ),
        case(
            "a table of names",
            ar(&[VERSION, ("//", b"control.tar/\n"), ("control.tar", control), ("data.tar", data)]),
            Refused(r#"member "/" stands where control.tar must"#),
        ),
        case(
            "a name of BSD",
            ar(&[VERSION, ("#1/11", &[b"control.tar", control].concat()), ("data.tar", data)]),
            Refused("stands where control.tar must"),
        ),
        case(
            "capitals",
            ar(&[VERSION, ("CONTROL.TAR", control), ("data.tar", data)]),
            Refused(r#"member "CONTROL.TAR" stands where control.tar must"#),
        ),
        case(
            "name not UTF-8",
            changed(|bytes| bytes[8 + 60 + 4] = 0xff),
            Refused("the member header at byte 72 is malformed"),
        ),
    ]
}
