//! `.deb` files.

use super::tar;

/// An ar archive of these members.
pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, data) in members {
        out.extend_from_slice(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len()).as_bytes(),
        );
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

/// A stanza for a control file; `more` is further fields, each with its newline.
pub fn stanza(name: &str, version: &str, more: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\n{more}\
         Description: for a test\n"
    )
}

/// A `.deb` with plain members: control files besides `control` by name, and the members of the
/// data archive.
pub fn deb(stanza: &str, control: &[(&str, &str)], data: &[Vec<u8>]) -> Vec<u8> {
    let mut files = vec![tar::directory("./"), tar::file("./control", stanza.as_bytes())];
    files.extend(control.iter().map(|(name, text)| tar::file(&format!("./{name}"), text.as_bytes())));
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &tar::archive(&files)), ("data.tar", &tar::archive(data))])
}
