//! The staging tree: every file operation of a build on it, each confined under its root.
//!
//! Paths are resolved by the kernel with `openat2(RESOLVE_IN_ROOT)`, so a symbolic link inside the
//! tree, absolute or with any number of `..`, leads to where it would lead in the finished system
//! and never out of it. The last component of whatever is made, changed or removed is never
//! followed. Works the same as real root and as root of a user namespace, which may not make device
//! nodes: those are only noted ([`Staging::device`]), for whoever writes the tree out.

mod directory;
mod metadata;

pub use directory::Directory;
pub use metadata::{Attributes, FileType, Metadata};

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fam_progress::Hint;
use fam_tree::{Entry, RootPath};
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Why an operation on the staging tree failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory itself cannot be opened.
    #[error("open staging directory {}: {source}", path.display())]
    Open {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel lacks `openat2`, or a sandbox forbids it.
    #[error("this kernel cannot confine file operations to a directory: openat2: {0}")]
    Kernel(io::Error),
    /// An operation on an entry failed.
    #[error("{action} {path} in the staging tree: {source}")]
    Entry {
        /// What was tried: `create file`, `set owner of`, …
        action: &'static str,
        /// The path in the new system.
        path: RootPath,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The kind of I/O error underneath.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Open { source, .. } | Self::Kernel(source) | Self::Entry { source, .. } => source.kind(),
        }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { .. } => None,
            Self::Kernel(_) => {
                Some("Linux 5.6 or later is needed; in a container, its seccomp profile must allow openat2".into())
            }
            Self::Entry { action, source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                    "the staging tree's file system is full: make room, or set TMPDIR or --output to a larger one"
                        .into(),
                ),
                io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied if *action == "set owner of" => {
                    Some("the user's ranges in /etc/subuid and /etc/subgid must hold 65536 ids each".into())
                }
                _ => None,
            },
        }
    }
}

pub(super) fn at<T, E: Into<io::Error>>(
    action: &'static str,
    path: impl FnOnce() -> RootPath,
    result: Result<T, E>,
) -> Result<T, Error> {
    result.map_err(|source| Error::Entry { action, path: path(), source: source.into() })
}

/// An open staging tree. Threads share it by reference.
#[derive(Debug)]
pub struct Staging {
    root: OwnedFd,
    host_path: PathBuf,
    /// The same place without links, as the kernel calls it.
    real_path: Vec<u8>,
    devices: Mutex<BTreeMap<RootPath, Entry>>,
}

impl Staging {
    /// Opens the tree whose root is the directory `path`.
    ///
    /// # Errors
    /// [`Error::Open`]; [`Error::Kernel`] where the kernel is too old.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|source| Error::Open { path: path.to_owned(), source: source.into() })?;
        let real_path = directory::real_path(root.as_fd())
            .map_err(|source| Error::Open { path: path.to_owned(), source: source.into() })?;
        let staging = Self { root, host_path: path.to_owned(), real_path, devices: Mutex::default() };
        // Tried once here, so that a later failure of openat2 is one of the path and not of the
        // kernel.
        staging.resolve(b".", OFlags::PATH).map_err(|source| Error::Kernel(source.into()))?;
        Ok(staging)
    }

    /// Where the root lies on the host: for mounting, and for telling.
    #[must_use]
    pub fn host_path(&self) -> &Path {
        &self.host_path
    }

    /// Opens the directory `path`; symbolic links on the way and at the end are followed within the
    /// root.
    ///
    /// # Errors
    /// [`Error`], of kind `NotFound` or `NotADirectory` where there is none.
    pub fn directory(&self, path: &RootPath) -> Result<Directory, Error> {
        let found = self.resolve(path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
        Ok(Directory::new(at("open directory", || path.clone(), found)?, path.clone()))
    }

    /// Whether a directory is at `path`, or a symbolic link that leads to one.
    ///
    /// # Errors
    /// [`Error`]
    pub fn is_directory(&self, path: &RootPath) -> Result<bool, Error> {
        match self.resolve(path.as_bytes(), OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(false),
            failed => at("look at", || path.clone(), failed).map(|_| true),
        }
    }

    /// The path of an open directory without any link on the way: the same for all paths that lead
    /// to it.
    ///
    /// # Errors
    /// [`Error`], also where it was moved out of the tree or removed.
    pub fn real_path(&self, directory: &Directory) -> Result<RootPath, Error> {
        let beneath = |path: Vec<u8>| {
            // `/a/bc` begins with `/a/b`, and is not beneath it.
            let rest = path.strip_prefix(self.real_path.as_slice()).filter(|rest| matches!(rest, [] | [b'/', ..]));
            rest.and_then(|rest| RootPath::new(rest).ok()).ok_or(io::Error::from(io::ErrorKind::NotFound))
        };
        let found = directory::real_path(directory.as_fd()).map_err(io::Error::from).and_then(beneath);
        at("find the path of", || directory.path().clone(), found)
    }

    /// The real path of the directory that a symbolic link at `link` with this target leads to, if
    /// it leads to one.
    ///
    /// # Errors
    /// [`Error`]
    pub fn linked_directory(&self, link: &RootPath, target: &[u8]) -> Result<Option<RootPath>, Error> {
        let above = link.parent().unwrap_or_default();
        let path = if target.starts_with(b"/") { target.to_vec() } else { [above.as_bytes(), b"/", target].concat() };
        match self.resolve(&path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(found) => self.real_path(&Directory::new(found, link.clone())).map(Some),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(None),
            failed => at("follow", || link.clone(), failed).map(|_| None),
        }
    }

    /// Opens the directory that holds `path`.
    ///
    /// # Errors
    /// As [`Staging::directory`]; the root is in no directory, which is an error of kind
    /// `InvalidInput`.
    pub fn parent(&self, path: &RootPath) -> Result<Directory, Error> {
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput);
        self.directory(&at("open the directory of", || path.clone(), parent)?)
    }

    /// Makes the directory `path` and those above it, with mode 0755, where they are missing.
    ///
    /// # Errors
    /// [`Error`]
    pub fn create_dir_all(&self, path: &RootPath) -> Result<Directory, Error> {
        match self.directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = match path.parent() {
                    Some(parent) => self.create_dir_all(&parent)?,
                    None => return Err(error),
                };
                above.create_directory(path.file_name(), 0o755)?;
                self.directory(path)
            }
            other => other,
        }
    }

    /// The bytes of the file at `path`; symbolic links are followed within the root.
    ///
    /// # Errors
    /// [`Error`]
    pub fn read(&self, path: &RootPath) -> Result<Vec<u8>, Error> {
        // To open a FIFO that a script put there would wait for a writer.
        let opened = self.resolve(path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK);
        let mut file = fs_err::File::from_parts(at("open", || path.clone(), opened)?.into(), self.host(path));
        let mut bytes = Vec::new();
        at("read", || path.clone(), file.read_to_end(&mut bytes))?;
        Ok(bytes)
    }

    /// Puts a file of root's with these bytes and permission bits at `path`, in place of any file
    /// that is there.
    ///
    /// # Errors
    /// [`Error`]
    pub fn write(&self, path: &RootPath, bytes: &[u8], mode: u16) -> Result<(), Error> {
        self.parent(path)?.write_file(path.file_name(), bytes, mode)
    }

    /// Makes a symbolic link. The target is taken as it is.
    ///
    /// # Errors
    /// [`Error`], of kind `AlreadyExists` where anything is at `path`.
    pub fn symlink(&self, path: &RootPath, target: &[u8]) -> Result<(), Error> {
        self.parent(path)?.symlink(path.file_name(), target)
    }

    /// What is at `path` itself.
    ///
    /// # Errors
    /// [`Error`]
    pub fn metadata(&self, path: &RootPath) -> Result<Metadata, Error> {
        if path.is_root() {
            self.directory(path)?.own_metadata()
        } else {
            self.parent(path)?.metadata(path.file_name())
        }
    }

    /// Whether anything is at `path`, a dangling symbolic link included.
    ///
    /// # Errors
    /// [`Error`]
    pub fn exists(&self, path: &RootPath) -> Result<bool, Error> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Names in the directory at `path`, sorted.
    ///
    /// # Errors
    /// [`Error`]
    pub fn list(&self, path: &RootPath) -> Result<Vec<Vec<u8>>, Error> {
        self.directory(path)?.list()
    }

    /// Removes what is at `path`, with all under it. That nothing is there is no error.
    ///
    /// # Errors
    /// [`Error`]
    pub fn remove(&self, path: &RootPath) -> Result<(), Error> {
        match self.parent(path) {
            Ok(parent) => parent.remove(path.file_name()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Notes a device node that belongs at `path`. It is made nowhere, as root neither: the tree
    /// that is written out must not depend on who built it.
    pub fn device(&self, path: RootPath, entry: Entry) {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).insert(path, entry);
    }

    /// Forgets a device node that was noted, since something else took its place.
    pub fn forget_device(&self, path: &RootPath) {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }

    /// The device nodes noted so far, by path.
    #[must_use]
    pub fn devices(&self) -> BTreeMap<RootPath, Entry> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn host(&self, path: &RootPath) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.host_path.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
    }

    fn resolve(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        // openat2(2) refuses an empty path.
        let path = if path.is_empty() { b"." } else { path };
        loop {
            // IN_ROOT alone need not keep refusing links such as /proc/1/root for ever: openat2(2)
            // asks to name NO_MAGICLINKS, too.
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // A rename somewhere above, while `..` was being resolved, makes the kernel ask for
                // another try.
                Err(rustix::io::Errno::AGAIN) => {}
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests;
