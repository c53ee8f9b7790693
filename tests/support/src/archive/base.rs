//! Packages that make a root file system usable, of this host's programs.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::Deb;
use crate::bare::libraries;
use crate::succeed;

/// What maintainer scripts and dpkg call.
const PROGRAMS: &str = "sh awk base64 basename cat chmod chown cmp cp cut date diff dirname dpkg dpkg-deb dpkg-divert \
    dpkg-query dpkg-split dpkg-statoverride dpkg-trigger echo env expr find getent grep head hostname id install \
    ldconfig ln ls mkdir mknod mktemp mount mv perl readlink rm rmdir run-parts sed sleep sort start-stop-daemon stat su tail \
    tar touch tr true false umount uname unshare update-alternatives wc xargs";

/// An essential package with a shell, dpkg and what they need, copied from this host, which must be
/// a Debian system. With it, an archive of a few packages builds, configures and applies plugins as a
/// real one does.
pub fn base() -> Deb {
    let mut base = Deb::new("base").essential().field("Installed-Size", "20000");
    for path in base_files() {
        base = base.file_with_mode(&path, fs_err::read(&path).unwrap(), 0o755);
    }
    for (link, target) in [("/bin", "usr/bin"), ("/sbin", "usr/sbin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64")] {
        base = base.link(link, target);
    }
    base.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .file("/etc/group", "root:x:0:\n")
        .file("/etc/shadow", "root:*:20000:0:99999:7:::\n")
        .file("/etc/os-release", "ID=debian\n")
}

/// The programs of the base, and the libraries that they need.
fn base_files() -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for program in PROGRAMS.split_whitespace() {
        let places = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|place| format!("{place}/{program}"));
        let path = places.into_iter().find(|path| Path::new(path).exists());
        let path = path.unwrap_or_else(|| panic!("this host has no {program}"));
        files.extend(libraries(path.as_ref()).iter().map(|library| merged(library.to_str().unwrap())));
        files.insert(merged(&path));
    }
    files
}

/// The host's own apt, with what it checks signatures with: so a system that was built can ask its
/// archives for packages.
pub fn apt() -> Deb {
    let listed = succeed(Command::new("dpkg").args(["--listfiles", "apt"]));
    let is_needed = |path: &&str| {
        ["/usr/bin/", "/usr/lib/apt/methods/", "/etc/apt/apt.conf.d/"].iter().any(|place| path.starts_with(place))
    };
    // dpkg's tables name the architectures.
    let others = ["/usr/bin/gpgv", "/usr/share/dpkg/cputable", "/usr/share/dpkg/tupletable"];
    let programs = listed.lines().filter(is_needed).chain(others).filter(|path| Path::new(path).is_file());
    let mut files = BTreeSet::new();
    for path in programs {
        files.insert(path.to_owned());
        if fs_err::read(path).unwrap().starts_with(b"\x7fELF") {
            files.extend(libraries(path.as_ref()).iter().map(|library| merged(library.to_str().unwrap())));
        }
    }
    let directories =
        ["/etc/apt/preferences.d", "/var/lib/apt/lists/partial", "/var/cache/apt/archives/partial", "/var/log/apt"];
    let apt = directories.into_iter().fold(Deb::new("apt"), Deb::directory);
    files.difference(&base_files()).fold(apt, |apt, path| {
        let (contents, mode) = (fs_err::read(path).unwrap(), fs_err::metadata(path).unwrap().permissions().mode());
        apt.file_with_mode(path, contents, mode & 0o777)
    })
}

/// The host's own debconf, with the modules of Perl that it needs.
pub fn debconf() -> Deb {
    let listed = succeed(Command::new("dpkg").args(["--listfiles", "debconf", "perl-base"]));
    let is_needed = |path: &&str| path.starts_with("/usr/") && !path.starts_with("/usr/share/doc");
    let debconf = Deb::new("debconf").file("/etc/debconf.conf", fs_err::read("/etc/debconf.conf").unwrap());
    let debconf = debconf.control_file("conffiles", "/etc/debconf.conf\n").directory("/var/cache/debconf");
    // The base has Perl itself.
    listed.lines().filter(is_needed).filter(|path| !path.starts_with("/usr/bin/perl")).fold(debconf, |debconf, path| {
        let metadata = fs_err::symlink_metadata(path).unwrap();
        match metadata.is_file() {
            true => debconf.file_with_mode(path, fs_err::read(path).unwrap(), metadata.permissions().mode() & 0o777),
            false => debconf,
        }
    })
}

/// Where a file lies once / and /usr are merged.
fn merged(path: &str) -> String {
    match ["/bin/", "/sbin/", "/lib/", "/lib64/"].iter().any(|top| path.starts_with(top)) {
        true => format!("/usr{path}"),
        false => path.to_owned(),
    }
}
