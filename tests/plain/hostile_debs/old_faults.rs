//! Faults that dpkg once had, each with its number. Those of dpkg-source are tried with the nearest
//! thing that a binary package can do.

use support::handmade::deb::{ar, deb, stanza};
use support::handmade::tar::{archive, directory, file, link, member};

use super::{Case, Endless, Installed, Refused, Stricter, VERSION, case, data, proper_control};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let mode = |name: &str, flag: u8, mode: &[u8; 7]| {
        member(name.as_bytes(), flag, b"", |block| block[100..107].copy_from_slice(mode))
    };
    let control = |members: &[Vec<u8>]| {
        let control = archive(&[&[file("./control", stanza("evil", "1.0", "").as_bytes())], members].concat());
        ar(&[VERSION, ("control.tar", &control), ("data.tar", &archive(&[file("./f", b"x")]))])
    };
    let after = |other: &[Vec<u8>], mut case: Case| {
        case.other = Some(deb(&stanza("other", "1.0", ""), &[], other));
        case
    };
    let old_format = |line: &str| [b"0.939000\n", line.as_bytes(), b"\n", &[b'x'; 100]].concat();
    let replacing = |members: &[Vec<u8>]| deb(&stanza("evil", "1.0", "Replaces: other\n"), &[], members);
    vec![
        after(
            &[mode("./x", b'0', b"0006755"), link("./y", b'1', "./x")],
            case("CVE-2004-2768: setuid of a file that is replaced", replacing(&[file("./x", b"new")]), Installed),
        ),
        data(
            "CVE-2010-0396: a name with dots",
            &[directory("./a/"), file("./a/../../outside/evil", b"x")],
            Stricter(r#"path "./a/../../outside/evil" leaves the root"#, "it leaves the root"),
        ),
        after(
            &[link("./a", b'2', "../outside")],
            data(
                "CVE-2010-0396: a name that goes through a link of another package",
                &[file("./a/evil", b"x")],
                Stricter("/a/evil is in a directory that neither it nor an earlier", "the link leaves the root"),
            ),
        ),
        data("CVE-2014-0471: dots behind a backslash", &[file("./\\056\\056\\057outside", b"x")], Installed),
        data("CVE-2014-0471: a name in quotes", &[directory("./\"a"), file("./\"a/b\"", b"x")], Installed),
        case(
            "CVE-2014-8625: formats in a field that a message shows",
            deb(&stanza("evil", "1.0", "").replace("amd64", "%n%n%s"), &[], &[]),
            Refused(r#"its control file has an invalid Architecture: "%n%n%s""#),
        ),
        case(
            "CVE-2015-0860: a long line in the format of 1995",
            old_format(&"1".repeat(60)),
            Refused("this is no .deb file"),
        ),
        case(
            "CVE-2015-0860: a number and blanks there",
            old_format(&("5".to_owned() + &" ".repeat(38))),
            Refused("this is no .deb file"),
        ),
        after(
            &[link("./a", b'2', "../outside")],
            data(
                "CVE-2022-1664: a directory over a link of another package",
                &[directory("./a/"), file("./a/evil", b"x")],
                Stricter("packages other and evil both hold /a, as a directory and as a", "the link leaves the root"),
            ),
        ),
        data(
            "CVE-2022-1664: a link, then a directory of its name",
            &[link("./a", b'2', "../outside"), directory("./a/"), file("./a/evil", b"x")],
            Installed,
        ),
        case(
            "CVE-2025-6297: a control directory without permissions",
            control(&[mode("./sub/", b'5', b"0000000")]),
            Refused(r#""./sub/" is no plain file at the top"#),
        ),
        case(
            "CVE-2025-6297: the top of the control archive without permissions",
            control(&[mode("./", b'5', b"0000000")]),
            Installed,
        ),
        case(
            "CVE-2026-2219: zstd that ends before it begins",
            ar(&[VERSION, ("control.tar", &proper_control()), ("data.tar.zst", b"")]),
            Endless("tar is cut off at byte 0"),
        ),
    ]
}
