//! Makes essential packages usable before anything is configured, since every script may count on
//! them (Debian Policy 3.8).
//!
//! dpkg alone would install them one after another onto a running system. debootstrap and
//! mmdebstrap, for the same reason, first put them there with tar, conffiles in their places.

use std::collections::BTreeMap;

use fam_tree::RootPath;

use super::{Error, in_tree};
use crate::dpkg::{Conffile, NEW_CONFFILE, Package};
use crate::staging::{self, FileType, Staging};

/// Puts conffiles of these packages in place, and a link at /usr/bin/awk.
pub(super) fn make_usable(staging: &Staging, packages: &[&Package]) -> Result<(), Error> {
    for package in packages {
        place_conffiles(staging, package)?;
    }
    Ok(link_awk(staging)?)
}

/// Copies each conffile from where it waits for dpkg to where programs read it: without
/// /etc/login.defs, for instance, pwconv leaves the ages of passwords empty. dpkg finds the copy
/// equal to what it has to install, and leaves it.
fn place_conffiles(staging: &Staging, package: &Package) -> Result<(), staging::Error> {
    for Conffile { path, .. } in package.conffiles.iter().filter(|conffile| !conffile.remove_on_upgrade) {
        let Ok(new) = RootPath::new([path.as_bytes(), NEW_CONFFILE].concat()) else { continue };
        if !staging.exists(&new)? || staging.exists(path)? {
            continue;
        }
        let metadata = staging.metadata(&new)?;
        if metadata.file_type != FileType::File {
            continue;
        }
        let parent = staging.parent(path)?;
        parent.write_file(path.file_name(), &staging.read(&new)?, metadata.attributes.mode)?;
        parent.set_attributes(path.file_name(), &metadata.attributes, &BTreeMap::new())?;
    }
    Ok(())
}

/// A script may use awk before the package that has it is configured; debootstrap makes this link
/// for the same reason. It is what update-alternatives will put there, by way of /etc/alternatives.
fn link_awk(staging: &Staging) -> Result<(), staging::Error> {
    let awk = in_tree("usr/bin/awk");
    for candidate in ["mawk", "gawk", "original-awk"] {
        if !staging.exists(&awk)? && staging.exists(&in_tree(&format!("usr/bin/{candidate}")))? {
            staging.symlink(&awk, candidate.as_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_archive::deb::{ControlArchive, ControlFile};
    use fam_tree::Timestamp;

    #[test]
    fn conffiles_of_essential_packages_are_there_before_dpkg_installs_them() {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        let package = |name: &str, conffiles: &str| {
            let bytes = conffiles.as_bytes().to_vec();
            let file = ControlFile { bytes, mode: 0o644, mtime: Timestamp { seconds: 0, nanoseconds: 0 } };
            let stanza = format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n");
            Package::new(ControlArchive { stanza, files: [("conffiles".into(), file)].into() }).unwrap()
        };
        let login = package("login", "/etc/login.defs\n/etc/kept\nremove-on-upgrade /etc/old\n/etc/none\n");
        let bash = package("bash", "");
        for (name, text) in
            [("login.defs.dpkg-new", "defs"), ("kept.dpkg-new", "new"), ("kept", "there"), ("ssh.conf.dpkg-new", "")]
        {
            file(&format!("etc/{name}"), text);
        }
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let defs = fs_err::OpenOptions::new().write(true).open(root.path().join("etc/login.defs.dpkg-new")).unwrap();
        defs.file().set_modified(time).unwrap();
        file("usr/bin/gawk", "");

        make_usable(&Staging::open(root.path()).unwrap(), &[&login, &bash]).unwrap();

        let mut names: Vec<_> =
            fs_err::read_dir(root.path().join("etc")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["kept", "kept.dpkg-new", "login.defs", "login.defs.dpkg-new", "ssh.conf.dpkg-new"]);
        let defs = root.path().join("etc/login.defs");
        assert_eq!(fs_err::read_to_string(&defs).unwrap(), "defs");
        assert_eq!(fs_err::metadata(&defs).unwrap().modified().unwrap(), time);
        assert_eq!(fs_err::read_to_string(root.path().join("etc/kept")).unwrap(), "there");
        assert_eq!(fs_err::read_link(root.path().join("usr/bin/awk")).unwrap(), std::path::Path::new("gawk"));
    }
}
