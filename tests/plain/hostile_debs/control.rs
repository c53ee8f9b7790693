//! The control archive of a package: what is in it.

use support::handmade::deb::{ar, stanza};
use support::handmade::tar::{archive, directory, file, link, member, record};

use super::{Case, Endless, Installed, Refused, Stricter, VERSION, case};

fn control() -> Vec<u8> {
    file("./control", stanza("evil", "1.0", "").as_bytes())
}

/// A package with this control archive.
pub(super) fn with(what: &'static str, control: &[u8], verdict: super::Verdict) -> Case {
    let data = archive(&[directory("./"), file("./f", b"x"), directory("./etc/"), file("./etc/c", b"x")]);
    case(what, ar(&[VERSION, ("control.tar", control), ("data.tar", &data)]), verdict)
}

/// A package with a control file and more.
fn beside(what: &'static str, members: &[Vec<u8>], verdict: super::Verdict) -> Case {
    with(what, &archive(&[&[control()], members].concat()), verdict)
}

/// Cases of what is in the archive.
pub(super) fn cases() -> Vec<Case> {
    let script = |name: &str, text: &str| file(name, text.as_bytes());
    let long = |len| format!("./{}", "n".repeat(len));
    let named = |name: &[u8]| member(name, b'0', b"", |_| {});
    vec![
        with("no control file", &archive(&[file("./md5sums", b"")]), Refused("no control file")),
        with("nothing", &archive(&[]), Refused("no control file")),
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
