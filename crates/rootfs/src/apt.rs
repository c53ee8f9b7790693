//! What apt leaves in /var/lib/apt and /var/cache/apt beside the packages that it installs: which
//! of them came only because others need them, and directories to download into that belong to its
//! own user.

use std::collections::BTreeMap;

use fam_tree::RootPath;

use super::staging::{self, Attributes, Staging};

/// Where apt downloads to, as its user without privileges.
const PARTIAL: [&str; 2] = ["var/cache/apt/archives/partial", "var/lib/apt/lists/partial"];
/// As whom apt downloads (`APT::Sandbox::User`, apt.conf(5)).
const USER: &[u8] = b"_apt";

/// Leaves the state of an apt that installed everything there is, the packages of the names
/// `automatic` because others need them: so `apt autoremove` may take these away, and nothing else,
/// once that is no more. Does nothing where the new system has no apt.
///
/// # Errors
/// [`staging::Error`]
pub fn record<'a>(
    staging: &Staging,
    architecture: &str,
    automatic: impl Iterator<Item = &'a str>,
) -> Result<(), staging::Error> {
    let state = path("var/lib/apt");
    if !staging.exists(&state)? {
        return Ok(());
    }
    // Packages of architecture `all` are listed under the native one.
    let stanzas: String =
        automatic.map(|name| format!("Package: {name}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n")).collect();
    staging.directory(&state)?.write_file(b"extended_states", stanzas.as_bytes(), 0o644)?;

    // Without the user apt downloads as root, with a warning; the directories stay root's then.
    let Some(uid) = user(&staging.read(&path("etc/passwd"))?) else { return Ok(()) };
    for partial in PARTIAL.map(path) {
        if staging.exists(&partial)? {
            let directory = staging.directory(&partial)?;
            let mtime = directory.own_metadata()?.attributes.mtime;
            // As apt's own `SetupAPTPartialDirectory` leaves them at the first download.
            directory.set_own_attributes(&Attributes { mode: 0o700, uid, gid: 0, mtime }, &BTreeMap::new())?;
        }
    }
    Ok(())
}

/// The number of apt's user in the text of a passwd file.
fn user(passwd: &[u8]) -> Option<u32> {
    let mut users = passwd.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b':'));
    let mut fields = users.find_map(|mut fields| (fields.next() == Some(USER)).then_some(fields))?;
    std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()
}

fn path(text: &str) -> RootPath {
    RootPath::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_automatic_packages_in_the_form_of_apt() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::open(root.path()).unwrap();
        let states = root.path().join("var/lib/apt/extended_states");
        record(&staging, "amd64", ["libc6"].into_iter()).unwrap();
        assert!(!states.exists(), "no apt");

        fs_err::create_dir_all(root.path().join("var/lib/apt")).unwrap();
        fs_err::create_dir_all(root.path().join("etc")).unwrap();
        fs_err::write(root.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        record(&staging, "amd64", ["libc6", "vim"].into_iter()).unwrap();
        let expected = "Package: libc6\nArchitecture: amd64\nAuto-Installed: 1\n\n\
            Package: vim\nArchitecture: amd64\nAuto-Installed: 1\n\n";
        assert_eq!(fs_err::read_to_string(states).unwrap(), expected);
    }

    #[test]
    fn finds_its_user() {
        for (passwd, uid) in [
            ("root:x:0:0\n_apt:x:42:65534:::", Some(42)),
            ("_apt2:x:1:1\n_apt:x:100", Some(100)),
            ("x_apt:x:42", None),
            ("_apt:x", None),
            ("_apt:x:-1:0", None),
            ("", None),
        ] {
            assert_eq!(user(passwd.as_bytes()), uid, "{passwd:?}");
        }
    }
}
