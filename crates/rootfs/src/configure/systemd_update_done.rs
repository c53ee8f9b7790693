//! Tells systemd that the new tree needs nothing of what it does at the first boot after an update
//! of /usr (systemd-update-done.service(8)): the linker's cache, system users and the journal's
//! catalog were made when the packages were configured, and would be made again as they are.

use fam_plugin::{Attributes, Result, Root};

/// Older than /usr, or missing, they would have systemd update /etc and /var.
const MARKS: [&str; 2] = ["etc/.updated", "var/.updated"];

/// Marks the tree as up to date, if it is one of systemd. The marks have the time of the build, and nothing in
/// the finished tree is younger.
///
/// # Errors
/// [`fam_plugin::Error`]
pub fn mark_up_to_date(root: &mut Root<'_>) -> Result<()> {
    if !root.exists("usr/lib/systemd/systemd") {
        return Ok(());
    }
    for mark in MARKS {
        let text = "# As old as the image, which was made up to date; see systemd-update-done.service(8).\n";
        root.write_with(mark, text, Attributes::mode(0o644).owner(0, 0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fam_plugin::testing::MemoryRoot;

    use super::*;

    #[test]
    fn only_trees_of_systemd_are_marked() {
        let mut files = MemoryRoot::new();
        let mut root = Root::new(&mut files);
        for directory in ["etc", "var", "usr/lib/systemd"] {
            root.create_dir_all(directory).unwrap();
        }
        mark_up_to_date(&mut root).unwrap();
        assert!(MARKS.iter().all(|mark| !root.exists(mark)));
        root.write("usr/lib/systemd/systemd", "").unwrap();
        mark_up_to_date(&mut root).unwrap();
        assert!(MARKS.iter().all(|mark| root.exists(mark)));
    }
}
