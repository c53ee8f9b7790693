//! Names that no image can hold: the layout of ext4 takes those in UTF-8 alone (see
//! [`fam_image`]).
//!
//! Packages with such names are refused when they are unpacked. Scripts and programs make files,
//! too; so this is asked after them, while it is known who it was.

use fam_tree::RootPath;

use super::staging::{self, FileType, Staging};

/// An entry whose name or link target is not UTF-8, if the tree has one.
///
/// # Errors
/// [`staging::Error`] where a directory cannot be read.
pub fn find_unfit(staging: &Staging) -> Result<Option<RootPath>, staging::Error> {
    // Paths rather than open directories, of which there may be more than a process may have open.
    let mut left = vec![RootPath::root()];
    while let Some(path) = left.pop() {
        let directory = staging.directory(&path)?;
        for name in directory.list()? {
            let file_type = directory.metadata(&name)?.file_type;
            let target = if file_type == FileType::Symlink { directory.read_link(&name)? } else { Vec::new() };
            let is_fit = str::from_utf8(&name).is_ok() && str::from_utf8(&target).is_ok();
            match path.join(&name) {
                Ok(path) if !is_fit => return Ok(Some(path)),
                Ok(path) if file_type == FileType::Directory => left.push(path),
                _ => {}
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_targets_are_looked_at_however_deep() {
        let path = |bytes: &[u8]| RootPath::new(bytes).unwrap();
        for unfit in [&b"x\xe9"[..], b"a/b/c/x\xe9", b"a/x\xe9/y"] {
            let root = tempfile::tempdir().unwrap();
            let staging = Staging::open(root.path()).unwrap();
            staging.create_dir_all(&path("a/b/c/ä".as_bytes())).unwrap();
            assert_eq!(find_unfit(&staging).unwrap(), None);
            staging.symlink(&path(b"a/link"), b"\xff").unwrap();
            assert_eq!(find_unfit(&staging).unwrap(), Some(path(b"a/link")));
            staging.remove(&path(b"a/link")).unwrap();
            staging.create_dir_all(&path(unfit)).unwrap();
            let found = find_unfit(&staging).unwrap().unwrap().to_string();
            assert!(found.ends_with("x\\xe9"), "{found}");
        }
    }
}
