//! The files beside a recipe: which of them it may name, and the walk through a directory of them.
//!
//! Only what lies in the recipe's own directory, or under it, can be named: a recipe that somebody
//! else wrote cannot take other files of the host into an image.

use std::io;
use std::path::{Component, Path, PathBuf};

/// What to do about a path that leads elsewhere.
pub(crate) const MOVE_IT: &str = "move it beside the recipe, or beneath, and name it from there";

/// Why a path of a recipe leads to nothing that it may name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is empty, absolute, or has a `..`.
    #[error("{0:?} is no path of something beneath the recipe's directory")]
    NotBeneath(String),
    /// A link leads away.
    #[error("{0:?} leads out of the recipe's directory")]
    LeadsOut(String),
    /// Nothing is there, or it cannot be looked at.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Where `path` of a recipe in `directory` leads, without links.
///
/// # Errors
/// [`Error`]
pub(crate) fn find(path: &str, directory: &Path) -> Result<PathBuf, Error> {
    if path.is_empty()
        || !Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(Error::NotBeneath(path.to_owned()));
    }
    // Both without links: a link in the directory may lead out of it, and the directory itself may
    // be one.
    let (top, place) = (fs_err::canonicalize(directory)?, fs_err::canonicalize(directory.join(path))?);
    if place.starts_with(&top) { Ok(place) } else { Err(Error::LeadsOut(path.to_owned())) }
}

/// What is at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// A directory; what is in it comes after it.
    Directory,
    /// A regular file.
    File(std::fs::Metadata),
    /// A symbolic link, with its target as written.
    Symlink(PathBuf),
    /// A device, a pipe or a socket.
    Other,
}

/// Visits what is at `place`, and all under it in byte order, with the path of each on the host and
/// its path beneath `place`, which is empty for `place` itself. Links are not followed.
///
/// # Errors
/// The first of `visit`, or a directory cannot be read.
pub(crate) fn walk<E: From<io::Error>>(
    place: &Path,
    visit: &mut dyn FnMut(&Path, &Path, Found) -> Result<(), E>,
) -> Result<(), E> {
    walk_on(place, Path::new(""), visit)
}

fn walk_on<E: From<io::Error>>(
    place: &Path,
    path: &Path,
    visit: &mut dyn FnMut(&Path, &Path, Found) -> Result<(), E>,
) -> Result<(), E> {
    let metadata = fs_err::symlink_metadata(place)?;
    if !metadata.is_dir() {
        let found = if metadata.is_symlink() {
            Found::Symlink(fs_err::read_link(place)?)
        } else if metadata.is_file() {
            Found::File(metadata)
        } else {
            Found::Other
        };
        return visit(place, path, found);
    }
    visit(place, path, Found::Directory)?;
    let mut names = Vec::new();
    for entry in fs_err::read_dir(place)? {
        names.push(entry?.file_name());
    }
    // The order that the system gives differs from host to host, and what is read goes into
    // templates and disks.
    names.sort();
    names.iter().try_for_each(|name| walk_on(&place.join(name), &path.join(name), visit))
}
