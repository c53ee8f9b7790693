//! Names in the data archive: of entries, and of what links lead to.

use support::handmade::tar::{directory, file, link, member};

use super::{Case, Installed, Refused, Stricter, data};

/// A file with a long name in GNU's form.
fn long(name: &[u8]) -> [Vec<u8>; 2] {
    [member(b"././@LongLink", b'L', &[name, b"\0"].concat(), |_| {}), file("short", b"x")]
}

fn named(name: &[u8]) -> Vec<u8> {
    member(name, b'0', b"x", |_| {})
}

/// A path of directories that has this many bytes, with entries for them.
fn deep(len: usize) -> Vec<Vec<u8>> {
    let mut members = Vec::new();
    let mut path = b".".to_vec();
    while path.len() + 201 < len {
        path.extend([b"/", &[b'd'; 200][..]].concat());
        members.push(member(b"././@LongLink", b'L', &[&path[..], b"/\0"].concat(), |_| {}));
        members.push(directory("short/"));
    }
    path.push(b'/');
    path.resize(len, b'f');
    members.extend(long(&path));
    members
}

fn symlink(target: &[u8]) -> Vec<Vec<u8>> {
    vec![member(b"././@LongLink", b'K', &[target, b"\0"].concat(), |_| {}), link("./l", b'2', "x")]
}

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let x = file("./x", b"content");
    let within =
        |prefix: &[u8]| member(b"f", b'0', b"x", |block| block[345..345 + prefix.len()].copy_from_slice(prefix));
    vec![
        data("absolute", &[directory("/a/"), file("/a/f", b"x")], Installed),
        data("without a dot", &[directory("a/"), file("a/f", b"x")], Installed),
        data(
            "slashes doubled",
            &[directory(".//a//"), file(".//a//f", b"x")],
            Refused("/a is written with doubled slashes or with dots"),
        ),
        data(
            "dots within",
            &[directory("./a/"), file("./a/./f", b"x")],
            Stricter(
                "/a/f is written with doubled slashes or with dots",
                "dpkg's lists of files would have another name than conffiles and diversions",
            ),
        ),
        data(
            "up and out",
            &[file("../outside/evil", b"x")],
            Stricter(r#"path "../outside/evil" leaves the root"#, "it leaves the root"),
        ),
        data(
            "up within",
            &[directory("./a/"), file("./a/../f", b"x")],
            Stricter(r#"path "./a/../f" leaves the root"#, "no name goes up"),
        ),
        data("up at the end", &[directory("./a/.."), file("./f", b"x")], Refused(r#"path "./a/.." leaves the root"#)),
        data("dots that are a name", &[file("./...", b"x"), file("./..f", b"x")], Installed),
        data("the root as a file", &[named(b"./.")], Refused("/ is no directory in it")),
        data(
            "the root as a link",
            &[link("./", b'2', "outside")],
            Stricter("/ is no directory in it", "the root is a directory"),
        ),
        data("the root without its slash", &[directory("."), file("./f", b"x")], Installed),
        data("empty", &[named(b"")], Refused("has an empty name")),
        data(
            "empty after a long name",
            &[member(b"L", b'L', b"\0", |_| {}), x.clone()],
            Refused("tar header at byte 1024 has an empty name, or a NUL byte in a"),
        ),
        data(
            "newline",
            &[named(b"./a\n/etc/passwd")],
            Refused(r"newline not allowed in archive object name /a\n/etc/passwd"),
        ),
        data("newline at the end", &[named(b"./a\n")], Refused(r"newline not allowed in archive object name /a\n")),
        data("newline in the target of a link", &symlink(b"a\nb"), Installed),
        data("control characters", &[named(b"./a\x1b[31m\x07\r\t")], Installed),
        data("a backslash", &[named(b"./a\\b")], Installed),
        data("a blank", &[named(b"./a b")], Installed),
        data("not UTF-8", &[named(b"./a\xff")], Stricter("not UTF-8", "an image has UTF-8 names only")),
        data("overlong UTF-8", &[named(b"./a\xc0\xaf")], Stricter("not UTF-8", "an image has UTF-8 names only")),
        data("a name for another direction", &[named("./a\u{202e}txt.exe".as_bytes())], Installed),
        data("NUL in a long name", &long(b"./a\0b"), Installed),
        data(
            "100 bytes without NUL",
            &[member(&[b"./".to_vec(), vec![b'n'; 98]].concat(), b'0', b"x", |_| {})],
            Installed,
        ),
        data("a prefix of POSIX", &[directory("./a/"), within(b"./a")], Installed),
        data(
            "a prefix that leaves",
            &[directory("./a/"), within(b"./a/..")],
            Stricter(r#"path "./a/../f" leaves the root"#, "no name goes up"),
        ),
        data(
            "a prefix that leaves the root",
            &[within(b"../outside")],
            Stricter(r#"path "../outside/f" leaves the root"#, "it leaves the root"),
        ),
        data("a long name after a prefix", &[member(b"L", b'L', b"./long\0", |_| {}), within(b"./a")], Installed),
        data(
            "a name of 255 bytes",
            &long(&[b"./", &[b'n'; 255][..]].concat()),
            Refused("/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"),
        ),
        data("a name of 246 bytes", &long(&[b"./", &[b'n'; 246][..]].concat()), Installed),
        data("a name of 256 bytes", &long(&[b"./", &[b'n'; 256][..]].concat()), Refused("path")),
        data("a path of 1500 bytes", &deep(1500), Installed),
        data("a path of 4099 bytes", &deep(4099), Refused("path")),
        data(
            "a long name of 2 MiB",
            &long(&b"a/".repeat(1 << 20)),
            Refused("tar extension header at byte 0 brings those of an entry to"),
        ),
        data(
            "a long name twice",
            &[member(b"L", b'L', b"./one\0", |_| {}), member(b"L", b'L', b"./two\0", |_| {}), x.clone()],
            Installed,
        ),
        data(
            "a long name at the end",
            &[x.clone(), member(b"L", b'L', b"./y\0", |_| {})],
            Stricter(
                "tar header at byte 1024 describes an entry that does not follow",
                "an archive that was cut off looks the same",
            ),
        ),
        data(
            "a long link at the end",
            &[x.clone(), member(b"K", b'K', b"./y\0", |_| {})],
            Stricter(
                "tar header at byte 1024 describes an entry that does not follow",
                "an archive that was cut off looks the same",
            ),
        ),
        data("a long link for a file", &[member(b"K", b'K', b"./y\0", |_| {}), x.clone()], Installed),
        data(
            "a link to nothing",
            &[link("./l", b'2', "")],
            Refused("tar header at byte 0 has an empty name, or a NUL byte in a name"),
        ),
        data("a link to itself", &[link("./l", b'2', "l")], Installed),
        data("a link out", &[link("./l", b'2', "/etc/passwd"), link("./m", b'2', "../../outside")], Installed),
        data("a link to a target of 4095 bytes", &symlink(&[b'/'; 4095]), Installed),
        data(
            "a link to a target of 4096 bytes",
            &symlink(&[b'/'; 4096]),
            Refused(r#"tar entry "./l" links to a name of 4096 bytes, more than the"#),
        ),
        data("a link to a name not UTF-8", &symlink(b"a\xff"), Stricter("not UTF-8", "an image has UTF-8 names only")),
        data("hard link", &[x.clone(), link("./y", b'1', "./x")], Installed),
        data("hard link without a dot", &[x.clone(), link("./y", b'1', "x")], Installed),
        data("hard link by an absolute name", &[x.clone(), link("./y", b'1', "/x")], Installed),
        data("hard link of a hard link", &[x.clone(), link("./y", b'1', "./x"), link("./z", b'1', "./y")], Installed),
        data(
            "hard link out",
            &[link("./y", b'1', "../outside/secret")],
            Stricter(r#"path "../outside/secret" leaves the root"#, "it leaves the root"),
        ),
        data(
            "hard link by dots within",
            &[directory("./a/"), x.clone(), link("./y", b'1', "./a/../x")],
            Refused(r#"path "./a/../x" leaves the root"#),
        ),
        data(
            "hard link to itself",
            &[link("./y", b'1', "./y")],
            Refused("hard link /y leads to /y, which is no earlier file of the"),
        ),
        data(
            "hard link to itself, a file before",
            &[x.clone(), link("./x", b'1', "./x")],
            Refused("hard link /x leads to /x, which is no earlier file of the"),
        ),
        data(
            "hard link to nothing",
            &[link("./y", b'1', "./none")],
            Refused("hard link /y leads to /none, which is no earlier file of the"),
        ),
        data(
            "hard link to an empty name",
            &[link("./y", b'1', "")],
            Refused("tar header at byte 0 has an empty name, or a NUL byte in a name"),
        ),
        data(
            "hard link to a later file",
            &[link("./y", b'1', "./x"), x.clone()],
            Refused("hard link /y leads to /x, which is no earlier file of the"),
        ),
        data(
            "hard link to a directory",
            &[directory("./a/"), link("./y", b'1', "./a")],
            Refused("hard link /y leads to /a, which is no earlier file of the"),
        ),
        data(
            "hard link to the root",
            &[directory("./"), link("./y", b'1', "./")],
            Refused("hard link /y leads to /, which is no earlier file of the package"),
        ),
        data(
            "hard link to a symbolic link",
            &[link("./l", b'2', "x"), x.clone(), link("./y", b'1', "./l")],
            Refused("hard link /y leads to /l, which is no earlier file of the"),
        ),
        data(
            "hard link to a fifo",
            &[member(b"./p", b'6', b"", |_| {}), link("./y", b'1', "./p")],
            Stricter("hard link /y leads to /p, which is no earlier file of the", "there is no use of it"),
        ),
        data(
            "hard link to a device",
            &[member(b"./p", b'3', b"", |_| {}), link("./y", b'1', "./p")],
            Stricter(
                "hard link /y leads to /p, which is no earlier file of the",
                "devices are made when there is an image",
            ),
        ),
        data(
            "hard link with data",
            &[x.clone(), member(b"./y", b'1', b"data", |block| block[157..160].copy_from_slice(b"./x"))],
            Refused(r#"tar entry "./y" has a size, and is no regular file"#),
        ),
        data(
            "hard link that claims data",
            &[
                x.clone(),
                member(b"./y", b'1', b"", |block| {
                    block[157..160].copy_from_slice(b"./x");
                    block[124..135].copy_from_slice(b"00000000007");
                }),
            ],
            Stricter(r#"tar entry "./y" has a size, and is no regular file"#, "readers differ in whether data follows"),
        ),
        data(
            "a script of another package",
            &[
                directory("./var/"),
                directory("./var/lib/"),
                directory("./var/lib/dpkg/"),
                directory("./var/lib/dpkg/info/"),
                file("./var/lib/dpkg/info/other.postinst", b"x"),
            ],
            Stricter("belongs to dpkg's own database", "it would run as that package's"),
        ),
        data(
            "a file of the database",
            &[
                directory("./var/"),
                directory("./var/lib/"),
                directory("./var/lib/dpkg/"),
                directory("./var/lib/dpkg/info/"),
                file("./var/lib/dpkg/info/evil.postinst", b"x"),
            ],
            Stricter(
                "/var/lib/dpkg/info/evil.postinst belongs to dpkg's own database",
                "it would take the place of what dpkg notes",
            ),
        ),
    ]
}
