//! What has the root file system grow with its disk when the system boots: Debian's own
//! systemd-repart gives the last partition, which is the root's, what a larger disk has beyond it, and
//! systemd-growfs grows the mounted file system (`x-systemd.growfs` in /etc/fstab).
//!
//! Both do nothing where nothing has to grow, and leave alone what is larger already, as after
//! cloud-init's growpart. A system without them gets no setting of them.

use fam_progress::Progress;
use fam_tree::{InvalidPath, RootPath};

use super::staging::{self, Staging};

/// The option of the root file system's line in /etc/fstab.
pub const FSTAB_OPTION: &str = "x-systemd.growfs";

const REPART: &str = "usr/bin/systemd-repart";
const GROWFS: &str = "usr/lib/systemd/systemd-growfs";
const SETTINGS: &str = "etc/repart.d/50-root.conf";
/// A partition of this type is there, so none is made; without a limit of its size it takes all
/// (repart.d(5)).
const ROOT_TAKES_ALL: &str = "\
# At boot, systemd-repart gives the root partition, which is the last one, what a larger disk has beyond it. Its file
# system then grows by the option x-systemd.growfs in /etc/fstab. Without this file nothing grows.
[Partition]
Type=root
";

/// Why the system could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the new system.
    #[error("{0}")]
    Staging(#[from] staging::Error),
    /// A path of this module is malformed, which would be a fault of it.
    #[error("{0}")]
    Path(#[from] InvalidPath),
}

/// Has systemd-repart grow the root partition, if the system has it; returns whether it does.
///
/// # Errors
/// [`Error`]
pub fn prepare(staging: &Staging, progress: &Progress) -> Result<bool, Error> {
    let has = |path: &str| -> Result<bool, Error> { Ok(staging.exists(&RootPath::new(path)?)?) };
    if !has(GROWFS)? {
        progress.detail("the root file system does not grow with its disk: the system has no systemd");
        return Ok(false);
    }
    if !has(REPART)? {
        progress.warning(
            "the root file system will not grow with a larger disk: the system has no systemd-repart",
            Some("include the package systemd-repart, or set grow = false under [disk]".into()),
        );
        return Ok(false);
    }
    let path = RootPath::new(SETTINGS)?;
    if let Some(directory) = path.parent() {
        staging.create_dir_all(&directory)?;
    }
    staging.write(&path, ROOT_TAKES_ALL.as_bytes(), 0o644)?;
    Ok(true)
}
