//! Finding what a path means inside an image, as chroot(2) would: `..` stops at the top, absolute
//! links start there.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::{FileType, Problem, RootFs};

/// As many symbolic links as Linux follows in one path (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// The literal path that `path` means. The last component is followed where `follow_last` says so;
/// it need not exist.
pub(crate) fn resolve<F: RootFs + ?Sized>(fs: &F, path: &Path, follow_last: bool) -> Result<PathBuf, Problem> {
    if path.as_os_str().as_bytes().contains(&0) || path.as_os_str().is_empty() {
        return Err(Problem::BadPath);
    }
    let mut reached = PathBuf::from("/");
    // Components still to go, the next one last.
    let mut pending: Vec<OsString> = Vec::new();
    push(&mut pending, path);
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == ".." {
            // At the top this changes nothing.
            reached.pop();
            continue;
        }
        let next = reached.join(&name);
        let last = pending.is_empty();
        if last && !follow_last {
            return Ok(next);
        }
        match fs.metadata(&next) {
            Ok(metadata) => match metadata.file_type {
                FileType::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Problem::LinkLoop);
                    }
                    if target.is_absolute() {
                        reached = PathBuf::from("/");
                    }
                    push(&mut pending, &target);
                }
                FileType::Directory => reached = next,
                _ if last => reached = next,
                _ => return Err(Problem::NotADirectory),
            },
            Err(error) if error.is_not_found() && last => reached = next,
            Err(crate::Error::File { problem, .. }) => return Err(problem),
            Err(error) => return Err(Problem::Other(error.to_string())),
        }
    }
    Ok(reached)
}

fn push(pending: &mut Vec<OsString>, path: &Path) {
    pending.extend(path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryRoot;

    fn image() -> MemoryRoot {
        let mut image = MemoryRoot::new();
        for dir in ["/usr", "/usr/bin", "/etc", "/srv"] {
            image.create_dir(Path::new(dir), 0o755).unwrap();
        }
        for (link, target) in [
            ("/bin", "usr/bin"),
            ("/srv/out", "/../../etc"),
            ("/srv/abs", "/etc"),
            ("/srv/dangling", "/etc/new"),
            ("/loop", "loop"),
            ("/a", "b"),
            ("/b", "/a"),
        ] {
            image.symlink(Path::new(target), Path::new(link)).unwrap();
        }
        image.write(Path::new("/etc/passwd"), b"", crate::Attributes::default()).unwrap();
        image
    }

    #[test]
    fn stays_inside() {
        let image = image();
        for (given, expected) in [
            ("/etc/passwd", "/etc/passwd"),
            ("etc/./passwd", "/etc/passwd"),
            ("../../etc/passwd", "/etc/passwd"),
            ("/srv/../../../etc/passwd", "/etc/passwd"),
            ("/bin/sh", "/usr/bin/sh"),
            ("/bin/../bin", "/usr/bin"),
            ("/srv/out/passwd", "/etc/passwd"),
            ("/srv/abs/../etc/passwd", "/etc/passwd"),
            ("/srv/dangling", "/etc/new"),
            ("..", "/"),
        ] {
            assert_eq!(resolve(&image, Path::new(given), true), Ok(expected.into()), "{given}");
        }
        assert_eq!(resolve(&image, Path::new("/bin"), false), Ok("/bin".into()));
    }

    #[test]
    fn refuses() {
        let image = image();
        for (given, problem) in [
            ("/loop/x", Problem::LinkLoop),
            ("/a", Problem::LinkLoop),
            ("/etc/passwd/x", Problem::NotADirectory),
            ("/missing/x", Problem::NotFound),
            ("", Problem::BadPath),
            ("a\0b", Problem::BadPath),
        ] {
            assert_eq!(resolve(&image, Path::new(given), true), Err(problem), "{given:?}");
        }
    }
}
