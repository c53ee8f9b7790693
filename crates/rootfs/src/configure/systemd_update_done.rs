//! Tells systemd that the new tree needs nothing of what it does at the first boot after an update
//! of /usr (systemd-update-done.service(8)): the linker's cache, system users and the journal's
//! catalog were made when the packages were configured, and would be made again as they are.

use super::in_tree;
use crate::staging::{self, Staging};

/// Older than /usr, or missing, they would have systemd update /etc and /var.
const MARKS: [&str; 2] = ["etc/.updated", "var/.updated"];

/// Marks the tree as up to date, if it is one of systemd. The marks are files made now, so no older
/// than /usr, and stay so where the times of both are later set to the time of the build.
///
/// # Errors
/// [`staging::Error`].
pub fn mark_up_to_date(staging: &Staging) -> Result<(), staging::Error> {
    if !staging.exists(&in_tree("usr/lib/systemd/systemd"))? {
        return Ok(());
    }
    for mark in MARKS {
        staging.write(
            &in_tree(mark),
            b"# As old as the image, which was made up to date; see systemd-update-done.service(8).\n",
            0o644,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trees_of_systemd_are_marked() {
        let directory = tempfile::tempdir().unwrap();
        for parent in ["etc", "var", "usr/lib/systemd"] {
            fs_err::create_dir_all(directory.path().join(parent)).unwrap();
        }
        let staging = Staging::open(directory.path()).unwrap();
        mark_up_to_date(&staging).unwrap();
        assert!(MARKS.iter().all(|mark| !directory.path().join(mark).exists()));
        fs_err::write(directory.path().join("usr/lib/systemd/systemd"), "").unwrap();
        mark_up_to_date(&staging).unwrap();
        let changed = |path: &str| fs_err::metadata(directory.path().join(path)).unwrap().modified().unwrap();
        assert!(MARKS.iter().all(|mark| changed(mark) >= changed("usr")));
    }
}
