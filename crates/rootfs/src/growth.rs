//! What has the root file system grow with its disk when the system boots: Debian's own
//! systemd-repart gives the last partition, which is the root's, what a larger disk has beyond it, and
//! systemd-growfs grows the mounted file system (`x-systemd.growfs` in /etc/fstab).
//!
//! Both do nothing where nothing has to grow, and leave alone what is larger already, as after
//! cloud-init's growpart. A system without them gets no setting of them.

use fam_plugin::{Attributes, Root};
use fam_progress::Progress;

/// The option of the root file system's line in /etc/fstab.
pub const FSTAB_OPTION: &str = "x-systemd.growfs";

const REPART: &str = "usr/bin/systemd-repart";
const GROWFS: &str = "usr/lib/systemd/systemd-growfs";
const SETTINGS_DIRECTORY: &str = "etc/repart.d";
const SETTINGS: &str = "etc/repart.d/50-root.conf";
/// A partition of this type is there, so none is made; without a limit of its size it takes all
/// (repart.d(5)).
const ROOT_TAKES_ALL: &str = "\
# At boot, systemd-repart gives the root partition, which is the last one, what a larger disk has beyond it. Its file
# system then grows by the option x-systemd.growfs in /etc/fstab. Without this file nothing grows.
[Partition]
Type=root
";

/// Has systemd-repart grow the root partition, if the system has it; returns whether it does.
///
/// # Errors
/// [`fam_plugin::Error`]
pub fn prepare(root: &mut Root<'_>, progress: &Progress) -> fam_plugin::Result<bool> {
    if !root.exists(GROWFS) {
        progress.detail("the root file system does not grow with its disk: the system has no systemd");
        return Ok(false);
    }
    if !root.exists(REPART) {
        progress.warning(
            "the root file system will not grow with a larger disk: the system has no systemd-repart",
            Some("include the package systemd-repart, or set grow = false under [disk]".into()),
        );
        return Ok(false);
    }
    root.create_dir_all(SETTINGS_DIRECTORY)?;
    root.write_with(SETTINGS, ROOT_TAKES_ALL, Attributes::mode(0o644).owner(0, 0))?;
    Ok(true)
}
