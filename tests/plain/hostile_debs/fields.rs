//! The control file of a package: what it says.

use support::handmade::deb::stanza;
use support::handmade::tar::{archive, file};

use super::control::with;
use super::{Case, Installed, Refused, Stricter};

/// Cases of what the control file says.
pub(super) fn cases() -> Vec<Case> {
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
        bytes("Latin-1", &[proper.as_bytes(), b"X-A: caf\xe9\n"].concat(), Installed),
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
        more("a relation without a comparison", "Depends: a (1)", Installed),
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
