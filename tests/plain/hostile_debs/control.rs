//! The control archive of a package: what is in it, and what its control file says.

use support::handmade::deb::{ar, stanza};
use support::handmade::tar::{archive, directory, file, link, member, record};

use super::{Case, Endless, Installed, Refused, Stricter, VERSION, case};

fn control() -> Vec<u8> {
    file("./control", stanza("evil", "1.0", "").as_bytes())
}

/// A package with this control archive.
fn with(what: &'static str, control: &[u8], verdict: super::Verdict) -> Case {
    let data = archive(&[directory("./"), file("./f", b"x"), directory("./etc/"), file("./etc/c", b"x")]);
    case(what, ar(&[VERSION, ("control.tar", control), ("data.tar", &data)]), verdict)
}

/// A package with a control file and more.
fn beside(what: &'static str, members: &[Vec<u8>], verdict: super::Verdict) -> Case {
    with(what, &archive(&[&[control()], members].concat()), verdict)
}

/// Cases of what is in the archive.
pub(super) fn archives() -> Vec<Case> {
    let script = |name: &str, text: &str| file(name, text.as_bytes());
    let long = |len| format!("./{}", "n".repeat(len));
    let named = |name: &[u8]| member(name, b'0', b"", |_| {});
    vec![
        with("no control file", &archive(&[file("./md5sums", b"")]), Refused("no control file in UTF-8")),
        with("nothing", &archive(&[]), Refused("no control file in UTF-8")),
        with(
            "no end",
            &control(),
            Stricter("tar is cut off at byte 1024", "an archive that was cut off looks the same"),
        ),
        with("control without a dot", &archive(&[file("control", stanza("evil", "1.0", "").as_bytes())]), Installed),
        with(
            "control twice, the second counts",
            &archive(&[file("./control", b"Package: other\n"), control()]),
            Installed,
        ),
        with(
            "control twice, the first is right",
            &archive(&[control(), file("./control", b"Package: other\n")]),
            Refused("its control file has no Version field"),
        ),
        with(
            "control as a symbolic link",
            &archive(&[file("./text", stanza("evil", "1.0", "").as_bytes()), link("./control", b'2', "text")]),
            Stricter(r#""./control" is no plain file at the top"#, "control files are plain files"),
        ),
        with(
            "control as a link out",
            &archive(&[link("./control", b'2', "/etc/hostname")]),
            Refused(r#""./control" is no plain file at the top"#),
        ),
        with(
            "control as a hard link",
            &archive(&[file("./text", stanza("evil", "1.0", "").as_bytes()), link("./control", b'1', "./text")]),
            Stricter(r#""./control" is no plain file at the top"#, "control files are plain files"),
        ),
        with(
            "control as a directory",
            &archive(&[directory("./control/")]),
            Refused(r#""./control/" is no plain file at the top"#),
        ),
        with(
            "control as a fifo",
            &archive(&[member(b"./control", b'6', b"", |_| {})]),
            Endless(r#""./control" is no plain file at the top"#),
        ),
        with(
            "control as a device",
            &archive(&[member(b"./control", b'3', b"", |block| {
                block[329..336].copy_from_slice(b"0000001");
                block[337..344].copy_from_slice(b"0000003");
            })]),
            Refused(r#""./control" is no plain file at the top"#),
        ),
        with(
            "control of unknown type",
            &archive(&[member(b"./control", b'Q', stanza("evil", "1.0", "").as_bytes(), |_| {})]),
            Stricter(r#"tar entry "./control" has unsupported type 'Q'"#, "control files are plain files"),
        ),
        with(
            "control by a PAX header",
            &archive(&[
                member(b"x", b'x', &record("path", b"./control"), |_| {}),
                file("./y", stanza("evil", "1.0", "").as_bytes()),
            ]),
            Installed,
        ),
        with(
            "control longer than the archive",
            &file("./control", &[b'x'; 9000])[..2048],
            Refused("read: tar is cut off at byte 2048"),
        ),
        with(
            "a damaged header",
            &{
                let mut bytes = archive(&[control(), file("./x", b"")]);
                let at = bytes.len() - 1024 - 512;
                bytes[at] ^= 1;
                bytes
            },
            Refused("tar header at byte 1024 has a wrong checksum: this is no tar"),
        ),
        beside("a subdirectory", &[directory("./sub/")], Refused(r#""./sub/" is no plain file at the top"#)),
        beside(
            "a file in a subdirectory",
            &[file("./sub/x", b"")],
            Refused(r#""./sub/x" is no plain file at the top"#),
        ),
        beside(
            "a name that leaves",
            &[file("../outside/evil", b"")],
            Refused(r#""../outside/evil" is no plain file at the top"#),
        ),
        beside(
            "an absolute name",
            &[file("/evil", b"")],
            Stricter(r#""/evil" is no plain file at the top"#, "it is no name of a control file"),
        ),
        beside("the directory above", &[named(b"..")], Refused(r#"".." is no plain file at the top"#)),
        beside("a name of 100 bytes", &[member(b"L", b'L', long(100).as_bytes(), |_| {}), named(b"x")], Installed),
        beside(
            "a name of 101 bytes",
            &[member(b"L", b'L', long(101).as_bytes(), |_| {}), named(b"x")],
            Refused(r#""./nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"#),
        ),
        beside(
            "a name with a newline",
            &[named(b"./a\nb")],
            Stricter(r#""./a\nb" is no plain file at the top"#, "dpkg lists its files by line"),
        ),
        beside(
            "a name not UTF-8",
            &[named(b"./a\xff")],
            Stricter(r#""./a�" is no plain file at the top"#, "it is no name of a control file"),
        ),
        beside("a name with blanks", &[named(b"./a b")], Installed),
        beside("an unknown file", &[file("./whatever", b"x")], Installed),
        beside("a list of files", &[file("./list", b"/etc/passwd\n")], Installed),
        beside(
            "a symbolic link",
            &[link("./x", b'2', "/etc/passwd")],
            Stricter(r#""./x" is no plain file at the top"#, "it would show a file of another place"),
        ),
        beside(
            "a link and a file through it",
            &[link("./x", b'2', "../../../outside"), file("./x/evil", b"")],
            Refused(r#""./x" is no plain file at the top"#),
        ),
        beside(
            "a hard link",
            &[file("./a", b"x"), link("./b", b'1', "./a")],
            Stricter(r#""./b" is no plain file at the top"#, "control files are plain files"),
        ),
        beside("a fifo", &[member(b"./x", b'6', b"", |_| {})], Endless(r#""./x" is no plain file at the top"#)),
        beside(
            "a setuid file",
            &[member(b"./x", b'0', b"x", |block| block[100..107].copy_from_slice(b"0006755"))],
            Installed,
        ),
        beside(
            "a sparse file",
            &[member(b"./x", b'S', b"", |_| {})],
            Stricter(r#"tar entry "./x" is a sparse file, which is not supported"#, "control files are plain files"),
        ),
        beside("md5sums forged", &[file("./md5sums", b"00000000000000000000000000000000  f\n../../x  y\n")], Installed),
        beside("md5sums of garbage", &[file("./md5sums", &[0xff; 600])], Installed),
        beside("a conffile", &[file("./conffiles", b"/etc/c\n")], Installed),
        beside("a conffile that is not there", &[file("./conffiles", b"/etc/none\n")], Installed),
        beside(
            "a conffile out of the root",
            &[file("./conffiles", b"/../outside/evil\n")],
            Stricter(r#"its conffiles file: path "/../outside/evil" leaves the root"#, "it leaves the root"),
        ),
        beside(
            "a relative conffile",
            &[file("./conffiles", b"etc/c\n")],
            Refused(r#"its conffiles file has a malformed line: "etc/c""#),
        ),
        beside(
            "a conffile without newline",
            &[file("./conffiles", b"/etc/c")],
            Refused(r#"its conffiles file has a malformed line: "/etc/c""#),
        ),
        beside("an empty line in conffiles", &[file("./conffiles", b"\n/etc/c\n")], Installed),
        beside(
            "an unknown flag in conffiles",
            &[file("./conffiles", b"keep /etc/c\n")],
            Refused(r#"its conffiles file has a malformed line: "keep /etc/c""#),
        ),
        beside(
            "a flag alone in conffiles",
            &[file("./conffiles", b"remove-on-upgrade \n")],
            Refused(r#"its conffiles file has a malformed line: "remove-on-upgrade""#),
        ),
        beside(
            "a conffile to be removed that is there",
            &[file("./conffiles", b"remove-on-upgrade /etc/c\n")],
            Refused("/etc/c is a conffile that is to be removed, and yet in it"),
        ),
        beside(
            "a conffile of 2000 bytes",
            &[file("./conffiles", format!("/{}\n", "n/".repeat(1000)).as_bytes())],
            Refused("its conffiles file has a malformed line:"),
        ),
        beside("conffiles not UTF-8", &[file("./conffiles", b"/etc/\xff\n")], Installed),
        beside(
            "a directory as conffile",
            &[file("./conffiles", b"/etc\n")],
            Refused("/etc is a conffile, and a directory in it"),
        ),
        beside(
            "an unknown directive in triggers",
            &[file("./triggers", b"frobnicate x\n")],
            Refused(r#"its triggers file has a malformed line: "frobnicate x""#),
        ),
        beside(
            "a trigger without a name",
            &[file("./triggers", b"interest\n")],
            Refused(r#"its triggers file has a malformed line: "interest""#),
        ),
        beside(
            "a trigger that is a path out",
            &[file("./triggers", b"interest ../../outside/evil\n")],
            Refused(r#"its triggers file has a malformed line: "interest"#),
        ),
        beside("a trigger by an absolute path out", &[file("./triggers", b"interest /../outside/evil\n")], Installed),
        beside(
            "a trigger with a reserved name",
            &[file("./triggers", b"interest File\n")],
            Stricter(
                r#"its triggers file has a malformed line: "interest File""#,
                "dpkg itself has a file of that name",
            ),
        ),
        beside(
            "an activation of a path out",
            &[file("./triggers", b"activate ../x\n")],
            Stricter(
                r#"its triggers file has a malformed line: "activate ../x""#,
                "dpkg says so only when it is configured",
            ),
        ),
        beside(
            "a blank before a conffile",
            &[file("./conffiles", b" /etc/c\n")],
            Refused(r#"its conffiles file has a malformed line: " /etc/c""#),
        ),
        beside(
            "a tab behind a flag in conffiles",
            &[file("./conffiles", b"remove-on-upgrade\t/etc/none\n")],
            Refused("its conffiles file has a malformed line:"),
        ),
        beside("a preinst of no bytes", &[script("./preinst", "")], Installed),
        beside("a preinst that is not executable", &[script("./preinst", "#!/bin/sh\n")], Installed),
        beside("a postinst of no bytes", &[script("./postinst", "")], Installed),
    ]
}

/// Cases of what the control file says.
pub(super) fn fields() -> Vec<Case> {
    let of = |what, text: &str, verdict| with(what, &archive(&[file("./control", text.as_bytes())]), verdict);
    let bytes = |what, text: &[u8], verdict| with(what, &archive(&[file("./control", text)]), verdict);
    let proper = stanza("evil", "1.0", "");
    let without =
        |field: &str| -> String { proper.split_inclusive('\n').filter(|line| !line.starts_with(field)).collect() };
    let replaced = |from: &str, to: &str| proper.replace(from, to);
    let more = |what, line: &str, verdict| of(what, &stanza("evil", "1.0", &format!("{line}\n")), verdict);
    vec![
        of("empty", "", Refused("holds 0 stanzas instead of one")),
        of("newlines", "\n\n\n", Refused("its control file holds 0 stanzas instead of one")),
        of("no Package", &without("Package"), Refused("its control file has no Package field")),
        of("no Version", &without("Version"), Refused("its control file has no Version field")),
        of("no Architecture", &without("Architecture"), Refused("its control file has no Architecture field")),
        of("no Maintainer", &without("Maintainer"), Installed),
        of("no Description", &without("Description"), Installed),
        of(
            "Package empty",
            &replaced("Package: evil", "Package:"),
            Refused(r#"its control file has an invalid Package: """#),
        ),
        of(
            "a name that is a path",
            &replaced("Package: evil", "Package: ../evil"),
            Refused(r#"its control file has an invalid Package: "../evil""#),
        ),
        of(
            "a name with a slash",
            &replaced("Package: evil", "Package: ev/il"),
            Refused(r#"its control file has an invalid Package: "ev/il""#),
        ),
        of(
            "a name with a blank",
            &replaced("Package: evil", "Package: ev il"),
            Refused(r#"its control file has an invalid Package: "ev il""#),
        ),
        of(
            "a name that begins with a dash",
            &replaced("Package: evil", "Package: -evil"),
            Refused(r#"its control file has an invalid Package: "-evil""#),
        ),
        of(
            "a name not ASCII",
            &replaced("Package: evil", "Package: \u{e9}vil"),
            Refused(r#"its control file has an invalid Package: "évil""#),
        ),
        of(
            "a name in capitals",
            &replaced("Package: evil", "Package: EVIL"),
            Stricter("holds EVIL 1.0 amd64, the index says evil 1.0 amd64", "the index says another"),
        ),
        of(
            "another package",
            &replaced("Package: evil", "Package: other"),
            Stricter("holds other 1.0 amd64, the index says evil 1.0 amd64", "the index says another"),
        ),
        of(
            "another version",
            &replaced("Version: 1.0", "Version: 2.0"),
            Stricter("holds evil 2.0 amd64, the index says evil 1.0 amd64", "the index says another"),
        ),
        of(
            "another architecture",
            &replaced("amd64", "all"),
            Stricter("holds evil 1.0 all, the index says evil 1.0 amd64", "the index says another"),
        ),
        of(
            "a foreign architecture",
            &replaced("amd64", "s390x"),
            Refused("holds evil 1.0 s390x, the index says evil 1.0 amd64"),
        ),
        of(
            "an architecture that is a path",
            &replaced("amd64", "../x"),
            Refused(r#"its control file has an invalid Architecture: "../x""#),
        ),
        of(
            "an architecture with a blank",
            &replaced("amd64", "am d64"),
            Refused(r#"its control file has an invalid Architecture: "am d64""#),
        ),
        of(
            "Architecture empty",
            &replaced("Architecture: amd64", "Architecture:"),
            Refused(r#"its control file has an invalid Architecture: """#),
        ),
        of(
            "Version empty",
            &replaced("Version: 1.0", "Version:"),
            Refused(r#"its control file has an invalid Version: """#),
        ),
        of(
            "a version with a blank",
            &replaced("Version: 1.0", "Version: 1 0"),
            Refused(r#"its control file has an invalid Version: "1 0""#),
        ),
        of(
            "a version of letters",
            &replaced("Version: 1.0", "Version: a"),
            Refused(r#"its control file has an invalid Version: "a""#),
        ),
        of(
            "a version with a slash",
            &replaced("Version: 1.0", "Version: 1/0"),
            Refused(r#"its control file has an invalid Version: "1/0""#),
        ),
        of(
            "an epoch alone",
            &replaced("Version: 1.0", "Version: 1:"),
            Refused(r#"its control file has an invalid Version: "1:""#),
        ),
        of(
            "no epoch before the colon",
            &replaced("Version: 1.0", "Version: :1"),
            Refused(r#"its control file has an invalid Version: ":1""#),
        ),
        of(
            "an epoch too large",
            &replaced("Version: 1.0", "Version: 99999999999:1"),
            Refused(r#"its control file has an invalid Version: "99999999999:1""#),
        ),
        of(
            "a negative epoch",
            &replaced("Version: 1.0", "Version: -1:1"),
            Refused(r#"its control file has an invalid Version: "-1:1""#),
        ),
        of(
            "an empty revision",
            &replaced("Version: 1.0", "Version: 1-"),
            Refused(r#"its control file has an invalid Version: "1-""#),
        ),
        more("a field twice", "Section: a\nSection: b", Refused("its control file has the field Section twice")),
        more(
            "a field twice in other letters",
            "Section: a\nSECTION: b",
            Refused("its control file has the field SECTION twice"),
        ),
        more("an unknown field twice", "X-A: a\nX-A: b", Refused("its control file has the field X-A twice")),
        of(
            "two stanzas",
            &(proper.clone() + "\n" + &proper),
            Refused("its control file holds 2 stanzas instead of one"),
        ),
        of(
            "an empty line within",
            &replaced("Maintainer", "\nMaintainer"),
            Refused("its control file holds 2 stanzas instead of one"),
        ),
        of(
            "a line without a colon",
            &replaced("Maintainer: ", "Maintainer "),
            Refused("its control file has a line that dpkg does not take:"),
        ),
        of(
            "a field without a name",
            &replaced("Maintainer: ", ": "),
            Refused(r#"its control file has a line that dpkg does not take: ": Nobody"#),
        ),
        of(
            "a blank in the name of a field",
            &replaced("Maintainer: ", "Main tainer: "),
            Refused(r#"its control file has a line that dpkg does not take: "Main"#),
        ),
        of(
            "a name of a field that begins with a dash",
            &replaced("Maintainer: ", "-Maintainer: "),
            Refused("its control file has a line that dpkg does not take:"),
        ),
        of(
            "a continuation first",
            &(" x\n".to_owned() + &proper),
            Refused(r#"its control file has a line that dpkg does not take: " x""#),
        ),
        of("no newline at the end", proper.trim_end(), Refused("its control file has a line that dpkg does not take:")),
        of("line ends of DOS", &proper.replace('\n', "\r\n"), Installed),
        bytes(
            "a NUL byte",
            &[proper.as_bytes(), b"X-A: \0\n"].concat(),
            Stricter(
                r#"its control file has a line that dpkg does not take: "X-A: \0""#,
                "dpkg's database would be cut off there",
            ),
        ),
        bytes(
            "not UTF-8",
            &[proper.as_bytes(), b"X-A: \xff\n"].concat(),
            Stricter("no control file in UTF-8", "other programs read it as text"),
        ),
        more("a comment", "# comment", Refused("a line that dpkg does not take")),
        more(
            "an end of file of DOS",
            "X-A: \u{1a}",
            Refused(r#"its control file has a line that dpkg does not take: "X-A:"#),
        ),
        more("a value of 1 MiB", &format!("X-A: {}", "x".repeat(1 << 20)), Installed),
        more("a relation not closed", "Depends: a (>= 1", Refused("relation `a (>= 1`: a parenthesis is not closed")),
        more("a relation of garbage", "Depends: !$%", Refused(r#"Depends has "!$%", which dpkg does not take"#)),
        more(
            "a relation with a bad version",
            "Replaces: a (>= x y)",
            Refused(r#"Replaces has "a (>= x y)", which dpkg does not take"#),
        ),
        more(
            "a relation with an unknown operator",
            "Depends: a (=> 1)",
            Refused("relation `a (=> 1)`: the comparison is none of << <= = >= >>"),
        ),
        more(
            "alternatives in Conflicts",
            "Conflicts: a | b",
            Refused(r#"Conflicts has "a | b", which dpkg does not take"#),
        ),
        more("Provides with a range", "Provides: a (>= 1)", Installed),
        more("a relation to no architecture", "Depends: a:", Refused(r#"Depends has "a:", which dpkg does not take"#)),
        more("a comma at the end of a relation", "Depends: a,", Refused(r#"Depends has ",""#)),
        more(
            "a relation with a version of letters",
            "Depends: a (>= x)",
            Refused(r#"Depends has "a (>= x)", which dpkg does not take"#),
        ),
        more(
            "a relation without a comparison",
            "Depends: a (1)",
            Stricter("relation `a (1)`: the comparison is none of << <= = >= >>", "apt does not take it either"),
        ),
        more("a relation of one sign", "Depends: a (> 1)", Installed),
        more(
            "a restriction in a relation",
            "Depends: a [amd64]",
            Refused("relation `a [amd64]`: restrictions have no place in a binary"),
        ),
        more("a blank line in a field", "X-A: a\n \n b", Refused("a line that dpkg does not take")),
        more("Multi-Arch: same for all", "Multi-Arch: same", Installed),
        of(
            "Multi-Arch: same, and for all",
            &(replaced("amd64", "all") + "Multi-Arch: same\n"),
            Refused(r#"its control file has an invalid Multi-Arch: "same""#),
        ),
        more(
            "Status",
            "Status: install ok installed",
            Refused("its control file has the field Status, which no package may have"),
        ),
        more(
            "Config-Version",
            "Config-Version: 1",
            Refused("its control file has the field Config-Version, which no package"),
        ),
        more("Conffiles", "Conffiles:\n /etc/passwd 00000000000000000000000000000000", Installed),
        more(
            "Essential neither yes nor no",
            "Essential: maybe",
            Refused(r#"its control file has an invalid Essential: "maybe""#),
        ),
        more(
            "Multi-Arch of no known value",
            "Multi-Arch: some",
            Refused(r#"its control file has an invalid Multi-Arch: "some""#),
        ),
        more("Installed-Size of letters", "Installed-Size: much", Installed),
        more("Priority of no known value", "Priority: highest", Installed),
        more("Filename", "Filename: ../../x", Installed),
        more(
            "Triggers-Pending",
            "Triggers-Pending: x",
            Refused("its control file has the field Triggers-Pending, which no"),
        ),
    ]
}
