//! The host's network inside a sandbox, for programs that are to have it.
//!
//! Such a sandbox has no network namespace of its own: what it reaches is what this process reaches.
//! What else a network namespace keeps apart, the [filter](super::filter) does: sockets with names
//! in memory (`unix(7)`, "abstract"), by which services of the host are talked to, and connections
//! from elsewhere. No capability of a network is left.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::mounts::{clone_of_file, make_stand_in_directory, move_onto, write_at};
use crate::supervisor::launch::Step;

/// What programs find of the host's network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What /etc/resolv.conf says inside; nothing where the host has none.
    pub resolv_conf: Option<String>,
    /// Variables, such as those that name proxies.
    pub environment: BTreeMap<String, String>,
}

/// Where programs look for their servers of names.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Its bytes where they are mounted over the tree's own; on the tmpfs of /run.
const SOURCE: &str = "/run/fam-build/resolv.conf";
/// What is in the tree's /run is the sandbox's own.
const OWN: &str = "/run";
/// As many symbolic links as the kernel follows.
const LINKS: usize = 40;

/// A file that was put into the tree, and has to be taken away.
#[derive(Debug)]
pub(super) struct Placed(String);

/// Has programs find `text` at [`RESOLV_CONF`], after [`super::mounts::Mounts::enter`]: mounted over
/// the tree's file, wherever its links lead; where nothing is there, put there.
pub(super) fn place_resolv_conf(text: &str) -> Result<Option<Placed>, Step> {
    let path = followed(Path::new(RESOLV_CONF)).map_err(|error| not_placed(Path::new(RESOLV_CONF), error))?;
    let failed = |error| not_placed(&path, error);
    let mode = Mode::from_raw_mode(0o644);
    match rustix::fs::lstat(&path) {
        Ok(_) => {
            make_stand_in_directory().map_err(failed)?;
            write_at(CWD, Path::new(SOURCE), text, mode).map_err(failed)?;
            move_onto(&clone_of_file(SOURCE).map_err(failed)?, &path)?;
            Ok(None)
        }
        // As systemd-resolved and resolvconf have it: a link to what they write when they run.
        Err(Errno::NOENT) if path.starts_with(OWN) => {
            make_directories(path.parent().unwrap_or(Path::new(OWN))).map_err(failed)?;
            write_at(CWD, &path, text, mode).map_err(failed)?;
            Ok(None)
        }
        Err(Errno::NOENT) if path == Path::new(RESOLV_CONF) => {
            write_at(CWD, &path, text, mode).map_err(failed)?;
            Ok(Some(Placed(text.to_owned())))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Takes away what was put into the tree. What a program has put there instead stays.
pub(super) fn take_resolv_conf_away(Placed(text): &Placed) -> Result<(), Step> {
    // Looked at before it is opened: it may be a FIFO by now. No program runs any more.
    let is_of_this_size = rustix::fs::lstat(RESOLV_CONF).is_ok_and(|status| {
        FileType::from_raw_mode(status.st_mode).is_file() && u64::try_from(status.st_size) == Ok(text.len() as u64)
    });
    if !is_of_this_size || fs_err::read(RESOLV_CONF).ok().as_deref() != Some(text.as_bytes()) {
        return Ok(());
    }
    rustix::fs::unlink(RESOLV_CONF).map_err(|error| Step::new(format!("take away {RESOLV_CONF}"), error))
}

fn not_placed(path: &Path, error: Errno) -> Step {
    Step::new(format!("put the host's resolv.conf at {}", path.display()), error)
}

/// Makes a directory, and those above it; this process's umask takes nothing away.
fn make_directories(path: &Path) -> Result<(), Errno> {
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    above.into_iter().skip(1).try_for_each(|directory| match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    })
}

/// Where an absolute path leads, with all links followed, whether or not anything is there.
fn followed(path: &Path) -> Result<PathBuf, Errno> {
    let mut reached = PathBuf::from("/");
    let mut left = steps(path);
    let mut links = 0;
    while let Some(step) = left.pop() {
        if step == ".." {
            reached.pop();
            continue;
        }
        let next = reached.join(&step);
        match rustix::fs::readlink(&next, Vec::new()) {
            Ok(target) => {
                links += 1;
                if links > LINKS {
                    return Err(Errno::LOOP);
                }
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    reached = PathBuf::from("/");
                }
                left.extend(steps(&target));
            }
            // It is no link, or not there.
            Err(Errno::INVAL | Errno::NOENT) => reached = next,
            Err(error) => return Err(error),
        }
    }
    Ok(reached)
}

/// The components of a path that lead anywhere, the first of them last.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_to_where_nothing_is() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().canonicalize().unwrap();
        let link = |name: &str, target: &Path| fs_err::os::unix::fs::symlink(target, top.join(name)).unwrap();
        fs_err::create_dir(top.join("etc")).unwrap();
        link("etc/relative", Path::new("../run/systemd/./resolve/stub"));
        link("etc/resolvconf", &top.join("run/resolvconf"));
        link("etc/through", Path::new("resolvconf/run/../resolv.conf"));
        link("etc/loop", Path::new("loop"));
        fs_err::write(top.join("etc/file"), "").unwrap();
        for (path, leads_to) in [
            ("etc/file", "etc/file"),
            ("etc/none", "etc/none"),
            ("etc/relative", "run/systemd/resolve/stub"),
            ("etc/through", "run/resolvconf/resolv.conf"),
        ] {
            assert_eq!(followed(&top.join(path)), Ok(top.join(leads_to)), "{path}");
        }
        assert_eq!(followed(&top.join("etc/loop")), Err(Errno::LOOP));
    }
}
