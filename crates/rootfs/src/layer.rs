//! A tree in memory as a staging tree.
//!
//! What comes of it does not depend on whether the tree was read from a tarball or from another staging tree
//! ([`fam_tree::tarball::read_directory`]).

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;

use fam_host::parallel::parallel;
use fam_progress::Hint;
use fam_tree::{Content, Entry, Kind, RootPath, Store, Tree};

use super::staging::{self, Attributes, Directory, Staging};

/// Bytes that are copied at once. Where all of them are zeros, the file gets a hole.
const PIECE_BYTES: u64 = 64 << 10;
/// Threads that fill directories. More find the memory no faster.
const THREADS: usize = 4;

/// Why a staging tree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry could not be made.
    #[error("{0}")]
    Staging(#[from] staging::Error),
    /// The bytes of a file could not be copied.
    #[error("copy {path} into the staging tree: {source}")]
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

/// Fills the empty tree `staging` with the entries of `tree`, whose bytes are in `store`.
///
/// # Errors
/// [`Error`]
pub fn extract(tree: &Tree, store: &dyn Store, staging: &Staging) -> Result<(), Error> {
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
        entries.iter().try_for_each(|(path, entry)| place(path, entry, &directory, store, staging))
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
    store: &dyn Store,
    staging: &Staging,
) -> Result<(), Error> {
    let (name, attributes) = (path.file_name(), attributes_of(entry));
    match &entry.kind {
        Kind::Directory | Kind::HardLink(_) => {}
        Kind::File(content) => {
            let file = directory.create_file(name)?;
            copy(content, store, &file).map_err(|source| Error::Copy { path: path.clone(), source })?;
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

fn copy(content: &Content, store: &dyn Store, file: &std::fs::File) -> io::Result<()> {
    match content {
        Content::Inline(bytes) => file.write_all_at(bytes, 0),
        Content::Stored { offset, len } => {
            let mut buffer = vec![0; PIECE_BYTES.min(*len) as usize];
            let mut done = 0;
            while done < *len {
                let piece = &mut buffer[..PIECE_BYTES.min(len - done) as usize];
                store.fill(piece, offset + done)?;
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
