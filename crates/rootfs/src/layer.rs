//! A staging tree that is kept as a tarball, and made again of it.
//!
//! A tarball has no sockets, no time later than that of the build, no fractions of seconds, and nothing
//! in the directories that are filled when a system runs. [`settle`] takes all this out of a staging tree,
//! too. So a build that goes on from a settled tree finds the same as one that goes on from what
//! [`extract`] makes of the tree's tarball.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicBool;

use fam_host::parallel::parallel;
use fam_progress::Hint;
use fam_tree::{Content, Entry, Kind, RootPath, Tree, tarball};
use fs_err::File;
use fs_err::os::unix::fs::FileExt;

use super::staging::{self, Attributes, Directory, FileType, Staging};

/// Bytes that are copied at once. Where all of them are zeros, the file gets a hole.
const PIECE_BYTES: u64 = 64 << 10;
/// Threads that fill directories. More find the memory no faster.
const THREADS: usize = 4;

/// Why a tree could not be made of a tarball.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry could not be made.
    #[error("{0}")]
    Staging(#[from] staging::Error),
    /// The bytes of a file could not be copied.
    #[error("copy {path} from the tarball: {source}")]
    Copy {
        /// The file.
        path: RootPath,
        /// What the system said.
        source: io::Error,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Staging(error) => error.hint(),
            Self::Copy { .. } => None,
        }
    }
}

/// Takes out of the tree what its tarball would not have. No time is later than `latest`, in seconds since
/// 1970.
///
/// # Errors
/// [`staging::Error`]
pub fn settle(staging: &Staging, latest: i64) -> Result<(), staging::Error> {
    // The time that a tarball would have in this one's place, where it is another.
    let unlike = |mtime| Some(tarball::settled(mtime, latest)).filter(|settled| *settled != mtime);
    let mut directories = vec![RootPath::root()];
    let mut next = 0;
    // By path, and each closed again: a deep tree has more directories than a process may have open.
    while let Some(path) = directories.get(next).cloned() {
        let directory = staging.directory(&path)?;
        let is_emptied = tarball::LEFT_EMPTY.contains(&path.as_bytes());
        for name in directory.list()? {
            let metadata = directory.metadata(&name)?;
            match metadata.file_type {
                _ if is_emptied => directory.remove(&name)?,
                FileType::Socket => directory.unlink(&name)?,
                FileType::Directory => directories.extend(path.join(&name)),
                _ => {
                    if let Some(settled) = unlike(metadata.attributes.mtime) {
                        directory.set_time(&name, settled)?;
                    }
                }
            }
        }
        next += 1;
    }
    // Last, since a directory gets another time when something in it goes.
    for path in &directories {
        let directory = staging.directory(path)?;
        if let Some(settled) = unlike(directory.own_metadata()?.attributes.mtime) {
            directory.set_own_time(settled)?;
        }
    }
    Ok(())
}

/// Fills the empty tree `staging` with the entries of `tree`, whose bytes are in `tarball`.
///
/// # Errors
/// [`Error`]
pub fn extract(tree: &Tree, tarball: &File, staging: &Staging) -> Result<(), Error> {
    let (mut directories, mut hard_links) = (Vec::new(), Vec::new());
    let mut in_directories = BTreeMap::<RootPath, Vec<_>>::new();
    for (path, entry) in tree.iter() {
        if entry.kind == Kind::Directory {
            directories.push((path, entry));
        }
        let Some(parent) = path.parent() else { continue };
        match &entry.kind {
            Kind::Directory => drop(staging.directory(&parent)?.create_directory(path.file_name(), 0o700)?),
            Kind::HardLink(target) => hard_links.push((path, target)),
            _ => in_directories.entry(parent).or_default().push((path, entry)),
        }
    }
    // Each directory is filled by one thread: it lists what is in it in the same order always.
    let in_directories: Vec<_> = in_directories.into_iter().collect();
    parallel(THREADS, &AtomicBool::new(false), &in_directories, |(path, entries)| {
        let directory = staging.directory(path)?;
        entries.iter().try_for_each(|(path, entry)| place(path, entry, &directory, tarball, staging))
    })?;
    for (path, target) in hard_links {
        staging.parent(path)?.hard_link(path.file_name(), &staging.parent(target)?, target.file_name())?;
    }
    // Last, since a directory gets another time when something is made in it.
    for (path, entry) in directories {
        staging.directory(path)?.set_own_attributes(&attributes_of(entry), &entry.xattrs)?;
    }
    Ok(())
}

fn attributes_of(entry: &Entry) -> Attributes {
    Attributes { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime }
}

/// Makes an entry, but no directory and no hard link, in its directory.
fn place(
    path: &RootPath,
    entry: &Entry,
    directory: &Directory,
    tarball: &File,
    staging: &Staging,
) -> Result<(), Error> {
    let (name, attributes) = (path.file_name(), attributes_of(entry));
    match &entry.kind {
        Kind::Directory | Kind::HardLink(_) => {}
        Kind::File(content) => {
            let file = directory.create_file(name)?;
            copy(content, tarball, &file).map_err(|source| Error::Copy { path: path.clone(), source })?;
            directory.finish_file(name, &file, &attributes, &entry.xattrs)?;
        }
        Kind::Symlink(target) => {
            directory.symlink(name, target)?;
            directory.set_attributes(name, &attributes, &entry.xattrs)?;
        }
        Kind::Fifo => {
            directory.fifo(name)?;
            directory.set_attributes(name, &attributes, &entry.xattrs)?;
        }
        Kind::CharDevice { .. } | Kind::BlockDevice { .. } => staging.device(path.clone(), entry.clone()),
    }
    Ok(())
}

fn copy(content: &Content, tarball: &File, file: &std::fs::File) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;

    match content {
        Content::Inline(bytes) => file.write_all_at(bytes, 0),
        Content::InTarball { offset, len } => {
            let mut buffer = vec![0; PIECE_BYTES.min(*len) as usize];
            let mut done = 0;
            while done < *len {
                let piece = &mut buffer[..PIECE_BYTES.min(len - done) as usize];
                tarball.read_exact_at(piece, offset + done)?;
                if piece.iter().any(|&byte| byte != 0) {
                    file.write_all_at(piece, done)?;
                }
                done += piece.len() as u64;
            }
            file.set_len(*len)
        }
    }
}

#[cfg(test)]
mod tests;
