//! The entries of the data archive: types, numbers, what replaces what, and where the archive ends.

use support::handmade::tar::{archive, directory, file, link, member, record};

use super::{Case, Installed, Refused, Stricter, data, raw_data};

/// A file with bytes of its header replaced.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    member(b"./x", b'0', b"content", |block| block[at..at + bytes.len()].copy_from_slice(bytes))
}

fn of_type(flag: u8) -> Vec<u8> {
    member(b"./x", flag, b"", |_| {})
}

fn device(flag: u8, major: &[u8; 8], minor: &[u8; 8]) -> Vec<u8> {
    member(b"./d", flag, b"", |block| {
        block[329..337].copy_from_slice(major);
        block[337..345].copy_from_slice(minor);
    })
}

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let (x, null) = (file("./x", b"content"), device(b'3', b"0000001\0", b"0000003\0"));
    let whole = archive(&[directory("./"), x.clone()]);
    let base_256 = |len: usize, value: i64| -> Vec<u8> {
        let mut bytes = vec![if value < 0 { 0xff } else { 0 }; len];
        bytes[len - 8.min(len)..].copy_from_slice(&value.to_be_bytes()[8 - 8.min(len)..]);
        bytes[0] = if value < 0 { 0xff } else { 0x80 };
        bytes
    };
    vec![
        data("nothing", &[], Installed),
        data(
            "a PAX header",
            &[member(b"p", b'x', &record("mtime", b"1"), |_| {}), x.clone()],
            Refused("tar header at byte 0 is one of PAX, which dpkg does not take in"),
        ),
        data(
            "a global PAX header",
            &[member(b"p", b'g', &record("comment", b"x"), |_| {}), x.clone()],
            Refused("tar header at byte 0 is one of PAX, which dpkg does not take in"),
        ),
        data(
            "PAX attributes",
            &[member(b"p", b'x', &record("SCHILY.xattr.security.capability", b"x"), |_| {}), x.clone()],
            Refused("tar header at byte 0 is one of PAX, which dpkg does not take in"),
        ),
        data(
            "a PAX size",
            &[member(b"p", b'x', &record("size", b"0"), |_| {}), x.clone()],
            Refused("tar header at byte 0 is one of PAX, which dpkg does not take in"),
        ),
        data(
            "a sparse file of GNU",
            &[of_type(b'S')],
            Refused(r#"tar entry "./x" is a sparse file, which is not supported"#),
        ),
        data("a volume label", &[of_type(b'V'), x.clone()], Refused(r#"tar entry "./x" has unsupported type 'V'"#)),
        data("a continued file", &[of_type(b'M')], Refused(r#"tar entry "./x" has unsupported type 'M'"#)),
        data("a directory of names", &[of_type(b'D')], Refused(r#"tar entry "./x" has unsupported type 'D'"#)),
        data(
            "a header of Solaris",
            &[of_type(b'X'), x.clone()],
            Refused(r#"tar entry "./x" has unsupported type 'X'"#),
        ),
        data("an unknown type", &[of_type(b'Z'), x.clone()], Refused(r#"tar entry "./x" has unsupported type 'Z'"#)),
        data("a type not ASCII", &[of_type(0xff), x.clone()], Refused(r#"tar entry "./x" has unsupported type 'ÿ'"#)),
        data("a contiguous file", &[of_type(b'7')], Refused(r#"tar entry "./x" has unsupported type '7'"#)),
        data("a file of old tar", &[of_type(0)], Installed),
        data(
            "a directory by its slash",
            &[member(b"./d/", b'0', b"", |_| {})],
            Stricter(
                r#"tar entry "./d/" is a file whose name ends with a slash"#,
                "dpkg makes a file of it, and every tar a directory",
            ),
        ),
        data(
            "a directory by its slash, with data",
            &[member(b"./d/", b'0', b"content", |_| {})],
            Stricter(
                r#"tar entry "./d/" is a file whose name ends with a slash"#,
                "dpkg makes a file of it, and every tar a directory",
            ),
        ),
        data(
            "a directory with data",
            &[member(b"./d/", b'5', b"content", |_| {})],
            Refused(r#"tar entry "./d/" has a size, and is no regular file"#),
        ),
        data(
            "a symbolic link with data",
            &[member(b"./l", b'2', b"content", |block| block[157] = b'x')],
            Refused(r#"tar entry "./l" has a size, and is no regular file"#),
        ),
        data("a fifo", &[of_type(b'6')], Installed),
        data(
            "a fifo with a size",
            &[member(b"./p", b'6', b"", |block| block[124..135].copy_from_slice(b"00000000007")), x.clone()],
            Stricter(r#"tar entry "./p" has a size, and is no regular file"#, "readers differ in whether data follows"),
        ),
        data("a character device", std::slice::from_ref(&null), Installed),
        data("a block device", &[device(b'4', b"0000010\0", b"0000001\0")], Installed),
        data(
            "a device with numbers too large",
            &[device(b'3', b"0010000\0", b"0000000\0")],
            Refused(r#"tar entry "./d": device number is not a usable number"#),
        ),
        data(
            "a device with numbers of letters",
            &[device(b'3', b"abcdefg\0", b"0000000\0")],
            Stricter(r#"tar entry "./d": device number is not a usable number"#, "it is no number"),
        ),
        data("a device, then a file of the same name", &[null.clone(), file("./d", b"x")], Installed),
        data(
            "a file, then a device of the same name",
            &[file("./d", b"x"), null.clone()],
            Refused("/d is a file in it, and then something else"),
        ),
        data("a fifo, then a file of the same name", &[of_type(b'6'), x.clone()], Installed),
        data(
            "a file, then a fifo of the same name",
            &[x.clone(), of_type(b'6')],
            Refused("/x is a file in it, and then something else"),
        ),
        data("a file twice", &[x.clone(), file("./x", b"again")], Installed),
        data(
            "a directory twice",
            &[directory("./d/"), member(b"./d/", b'5', b"", |block| block[100..107].copy_from_slice(b"0000700"))],
            Installed,
        ),
        data("a symbolic link twice", &[link("./l", b'2', "a"), link("./l", b'2', "b")], Installed),
        data("a file, then a link of the same name", &[x.clone(), link("./x", b'2', "y")], Installed),
        data("a link, then a file of the same name", &[link("./x", b'2', "y"), x.clone()], Installed),
        data(
            "a file over a directory",
            &[directory("./x/"), x.clone()],
            Stricter("/x is to be a directory and something else", "what is in the directory would be lost"),
        ),
        data(
            "a directory over a file",
            &[x.clone(), directory("./x/")],
            Refused("/x is to be a directory and something else"),
        ),
        data(
            "a link over a directory",
            &[directory("./x/"), file("./x/f", b"x"), link("./x", b'2', "outside")],
            Installed,
        ),
        data(
            "a directory over a link",
            &[directory("./d/"), link("./x", b'2', "d"), directory("./x/"), file("./x/f", b"x")],
            Installed,
        ),
        data(
            "a file beneath a file",
            &[x.clone(), file("./x/y", b"x")],
            Refused("open directory /x in the staging tree: Not a directory (os"),
        ),
        data(
            "a file beneath a link out",
            &[link("./x", b'2', "../outside"), file("./x/evil", b"x")],
            Refused("/x/evil is in a directory that neither it nor an earlier"),
        ),
        data(
            "a file beneath a link inside",
            &[directory("./d/"), link("./x", b'2', "d"), file("./x/f", b"x")],
            Refused("/x/f is in a directory that neither it nor an earlier package"),
        ),
        data(
            "a link, then its directory, then a file beneath",
            &[link("./x", b'2', "../outside"), directory("./x/"), file("./x/evil", b"x")],
            Installed,
        ),
        data(
            "a hard link over a directory",
            &[x.clone(), directory("./d/"), link("./d", b'1', "./x")],
            Stricter("/d is to be a directory and something else", "what is in the directory would be lost"),
        ),
        data(
            "a file whose directory is missing",
            &[file("./a/b/f", b"x")],
            Refused("/a/b/f is in a directory that neither it nor an earlier package"),
        ),
        data(
            "a directory whose directory is missing",
            &[directory("./a/b/")],
            Refused("/a/b is in a directory that neither it nor an earlier package"),
        ),
        data(
            "a link whose directory is missing",
            &[link("./a/l", b'2', "x")],
            Refused("/a/l is in a directory that neither it nor an earlier package"),
        ),
        data(
            "a file, then its directory",
            &[file("./a/f", b"x"), directory("./a/")],
            Refused("/a/f is in a directory that neither it nor an earlier package"),
        ),
        data("setuid, setgid and sticky", &[changed(100, b"0007777")], Installed),
        data("no permissions at all", &[changed(100, b"0000000")], Installed),
        data("a mode with the type in it", &[changed(100, b"0104755")], Installed),
        data(
            "a mode of letters",
            &[changed(100, b"rwxrwxr")],
            Stricter(r#"tar entry "./x": mode is not a usable number"#, "it is no number"),
        ),
        data(
            "a mode too large",
            &[changed(100, b"\x80\0\0\x01\0\0\0\0")],
            Stricter(r#"tar entry "./x": mode is not a usable number"#, "it is no mode"),
        ),
        data(
            "a negative mode",
            &[changed(100, &base_256(8, -1))],
            Stricter(r#"tar entry "./x": mode is not a usable number"#, "it is no mode"),
        ),
        data(
            "a user number of letters",
            &[changed(108, b"abcdefg")],
            Refused(r#"tar entry "./x": uid is not a usable number"#),
        ),
        data("a large user number", &[changed(108, &base_256(8, 3_000_000_000))], Installed),
        data(
            "a user number too large",
            &[changed(108, &base_256(8, 1 << 33))],
            Refused(r#"tar entry "./x": uid is not a usable number"#),
        ),
        data(
            "a negative user number",
            &[changed(108, &base_256(8, -1))],
            Refused(r#"tar entry "./x": uid is not a usable number"#),
        ),
        data(
            "a negative group number",
            &[changed(116, &base_256(8, -1))],
            Refused(r#"tar entry "./x": gid is not a usable number"#),
        ),
        data("a size of letters", &[changed(124, b"abc")], Refused(r#"tar entry "./x": size is not a usable number"#)),
        data(
            "a size of blanks",
            &[member(b"./x", b'0', b"", |block| block[124..136].fill(b' '))],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data("a size of NUL bytes", &[member(b"./x", b'0', b"", |block| block[124..136].fill(0))], Installed),
        data("blanks before the size", &[changed(124, b"          7\0")], Installed),
        data(
            "NUL within the size",
            &[changed(124, b"0000007\x00007\0")],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data(
            "a blank within the size",
            &[changed(124, b"0000007 007\0")],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data(
            "a sign before the size",
            &[changed(124, b"+0000000007\0")],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data(
            "a decimal size",
            &[changed(124, b"00000000008\0")],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data("a size in base 256", &[changed(124, &base_256(12, 7))], Installed),
        data(
            "a negative size",
            &[changed(124, &base_256(12, -1))],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data(
            "a negative size in digits",
            &[changed(124, b"-0000000007\0")],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data(
            "a size of 2^63 - 1",
            &[changed(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data(
            "a size of 2^64 - 1",
            &[changed(124, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff")],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data(
            "a size beyond 64 bits",
            &[changed(124, b"\x80\0\x01\0\0\0\0\0\0\0\0\x07")],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data("a size beyond the end", &[changed(124, b"77777777777\0")], Refused("tar is cut off at byte 2048")),
        data(
            "base 256 with another mark",
            &[changed(124, b"\x81\0\0\0\0\0\0\0\0\0\0\x07")],
            Refused(r#"tar entry "./x": size is not a usable number"#),
        ),
        data("a negative time", &[changed(136, &base_256(12, -86_400))], Installed),
        data("a time of 2^40", &[changed(136, &base_256(12, 1 << 40))], Installed),
        data(
            "a time beyond 64 bits",
            &[changed(136, b"\x80\0\x01\0\0\0\0\0\0\0\0\x07")],
            Refused(r#"tar entry "./x": mtime is not a usable number"#),
        ),
        data(
            "a time of letters",
            &[changed(136, b"yesterday")],
            Refused(r#"tar entry "./x": mtime is not a usable number"#),
        ),
        data(
            "a negative time in digits",
            &[changed(136, b"-0000000001\0")],
            Refused(r#"tar entry "./x": mtime is not a usable number"#),
        ),
        raw_data(
            "a wrong checksum",
            &{
                let mut bytes = whole.clone();
                bytes[512] ^= 1;
                bytes
            },
            Refused("tar header at byte 512 has a wrong checksum: this is no tar"),
        ),
        raw_data(
            "a checksum of letters",
            &{
                let mut bytes = whole.clone();
                bytes[512 + 148..512 + 155].copy_from_slice(b"abcdefg");
                bytes
            },
            Refused("tar header at byte 512 has a wrong checksum: this is no tar"),
        ),
        raw_data(
            "a checksum of signed bytes",
            &{
                let mut bytes = archive(&[member("./\u{e9}".as_bytes(), b'0', b"", |_| {})]);
                bytes[148..156].fill(b' ');
                let sum: i64 = bytes[..512].iter().map(|&byte| i64::from(byte.cast_signed())).sum();
                bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
                bytes
            },
            Refused("tar header at byte 0 has a wrong checksum: this is no tar"),
        ),
        raw_data(
            "a wrong checksum where the name is empty",
            &{
                let mut bytes = archive(&[x.clone(), member(b"", b'0', b"", |_| {}), file("./y", b"x")]);
                bytes[1024 + 100] ^= 1;
                bytes
            },
            Stricter(
                "tar header at byte 1024 has a wrong checksum: this is no tar",
                "dpkg takes it for the end of the archive",
            ),
        ),
        raw_data(
            "no end",
            &whole[..whole.len() - 1024],
            Stricter("tar is cut off at byte 1536", "an archive that was cut off looks the same"),
        ),
        raw_data("one block of zeros at the end", &whole[..whole.len() - 512], Installed),
        raw_data("half a block at the end", &whole[..whole.len() - 1024 + 100], Refused("tar is cut off at byte 1536")),
        raw_data("zeros alone", &[0; 10240], Installed),
        raw_data(
            "one block, then an entry",
            &[&whole[..whole.len() - 512], &file("./y", b"x")[..], &[0; 1024]].concat(),
            Installed,
        ),
        raw_data("the end, then an entry", &[&whole[..], &file("./y", b"x")[..], &[0; 1024]].concat(), Installed),
        raw_data("the end, then garbage", &[&whole[..], &[0xff; 5000]].concat(), Installed),
        raw_data("cut off in a header", &whole[..512 + 100], Refused("tar is cut off at byte 512")),
        raw_data("cut off in a file", &file("./x", &[7; 2000])[..1500], Refused("tar is cut off at byte 1500")),
        raw_data("cut off in the padding", &whole[..512 + 512 + 100], Refused("tar is cut off at byte 1124")),
        raw_data("garbage", &[0x55; 4096], Refused("tar header at byte 0 has a wrong checksum: this is no tar")),
        raw_data(
            "text",
            "no archive\n".repeat(100).as_bytes(),
            Refused("tar header at byte 0 has a wrong checksum: this is no tar"),
        ),
    ]
}
