//! What the GRUB of a root tree can read of the disks that are made of the tree.

use fam_archive::deb822::stanzas;
use fam_archive::version::Version;

use super::template::{DPKG_STATUS, Template};

/// From this version on Debian's GRUB reads ext4 with `metadata_csum_seed`. That of bullseye says
/// `unknown filesystem`.
const FIRST_TO_KNOW_SEEDS: &str = "2.06-8";
/// The packages that GRUB is installed from.
const PACKAGES: [&str; 2] = ["grub-pc-bin", "grub-efi-amd64-bin"];

/// Whether nodes may have the metadata of one file system, and differ in its UUID alone (see
/// [`fam_image`]): their GRUB must know the feature. Where dpkg's database does not say which
/// GRUB there is, it is assumed to.
pub(super) fn knows_checksum_seeds(template: &Template) -> bool {
    template.text(DPKG_STATUS).is_none_or(|status| !has_old_grub(&status))
}

fn has_old_grub(status: &str) -> bool {
    let Ok(first) = Version::parse(FIRST_TO_KNOW_SEEDS) else { return false };
    stanzas(status).filter(|stanza| stanza.get("Package").is_some_and(|name| PACKAGES.contains(&name))).any(|stanza| {
        stanza.get("Version").and_then(|version| Version::parse(version).ok()).is_some_and(|version| version < first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bullseyes_grub_is_old() {
        for (version, is_old) in
            [("2.06-3~deb11u6", true), ("2.06-13+deb12u1", false), ("2.12-9", false), ("2.14-4", false)]
        {
            let status = format!("Package: bash\nVersion: 1\n\nPackage: grub-pc-bin\nVersion: {version}\n");
            assert_eq!(has_old_grub(&status), is_old, "{version}");
        }
        assert!(!has_old_grub("Package: lilo\nVersion: 1\n"));
    }
}
