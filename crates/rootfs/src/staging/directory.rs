//! A directory of the staging tree held open: operations on single names in it, none of which
//! follows a symbolic link.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use fam_tree::{RootPath, Timestamp};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};

use super::{Attributes, Error, FileType, Metadata, at};

/// An open directory of the staging tree. All names given to it are single components.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: RootPath,
}

impl Directory {
    pub(super) fn new(fd: OwnedFd, path: RootPath) -> Self {
        Self { fd, path }
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &RootPath {
        &self.path
    }

    /// Makes a regular file, which must not exist yet, for root alone. Its attributes are set when
    /// its bytes are written: see [`Directory::finish_file`].
    ///
    /// # Errors
    /// [`Error`], of kind `AlreadyExists` where anything has the name.
    pub fn create_file(&self, name: &[u8]) -> Result<File, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = check(name).and_then(|()| rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR));
        Ok(File::from(self.at("create file", name, created)?))
    }

    /// Sets what a file gets last: owner, then permissions and extended attributes, which a change
    /// of owner takes away, then the time.
    ///
    /// # Errors
    /// [`Error`]
    pub fn finish_file(
        &self,
        name: &[u8],
        file: &File,
        attributes: &Attributes,
        xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), Error> {
        self.set_by_descriptor(name, file.as_fd(), attributes, xattrs)
    }

    /// Puts a file of root's with these bytes in place of whatever file has the name.
    ///
    /// # Errors
    /// [`Error`]
    pub fn write_file(&self, name: &[u8], bytes: &[u8], mode: u16) -> Result<(), Error> {
        let mut file = self.create_file_anew(name)?;
        self.at("write", name, file.write_all(bytes))?;
        self.at("set mode of", name, rustix::fs::fchmod(&file, Mode::from_raw_mode(mode.into())))
    }

    /// [`Directory::create_file`] after removing any file or link that has the name.
    ///
    /// # Errors
    /// [`Error`], also where a directory has the name.
    pub fn create_file_anew(&self, name: &[u8]) -> Result<File, Error> {
        match self.create_file(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.unlink(name)?;
                self.create_file(name)
            }
            other => other,
        }
    }

    /// Makes a directory, or finds one. Gives whether it was made: `false` where a directory, or a
    /// symbolic link perhaps to one, has the name already.
    ///
    /// # Errors
    /// [`Error`], of kind `AlreadyExists` where something else has the name.
    pub fn create_directory(&self, name: &[u8], mode: u16) -> Result<bool, Error> {
        match check(name).and_then(|()| rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode.into()))) {
            Ok(()) => {
                // Whatever the umask took away.
                let mode = Mode::from_raw_mode(mode.into());
                self.at("set mode of", name, rustix::fs::chmodat(&self.fd, name, mode, AtFlags::empty()))?;
                Ok(true)
            }
            Err(rustix::io::Errno::EXIST)
                if matches!(self.metadata(name)?.file_type, FileType::Directory | FileType::Symlink) =>
            {
                Ok(false)
            }
            failed => self.at("create directory", name, failed).map(|()| true),
        }
    }

    /// Makes a symbolic link. The target is taken as it is.
    ///
    /// # Errors
    /// [`Error`], of kind `AlreadyExists` where anything has the name.
    pub fn symlink(&self, name: &[u8], target: &[u8]) -> Result<(), Error> {
        let made = check(name).and_then(|()| rustix::fs::symlinkat(target, &self.fd, name));
        self.at("create symbolic link", name, made)
    }

    /// Makes `name` another name of what `target` is in the directory `other`, even if that is a
    /// symbolic link.
    ///
    /// # Errors
    /// [`Error`], of kind `AlreadyExists` where anything has the name.
    pub fn hard_link(&self, name: &[u8], other: &Self, target: &[u8]) -> Result<(), Error> {
        let made = check(name)
            .and_then(|()| check(target))
            .and_then(|()| rustix::fs::linkat(&other.fd, target, &self.fd, name, AtFlags::empty()));
        self.at("create hard link", name, made)
    }

    /// Makes a named pipe.
    ///
    /// # Errors
    /// [`Error`], of kind `AlreadyExists` where anything has the name.
    pub fn fifo(&self, name: &[u8]) -> Result<(), Error> {
        let mode = Mode::RUSR | Mode::WUSR;
        let made = check(name).and_then(|()| rustix::fs::mkfifoat(&self.fd, name, mode));
        self.at("create named pipe", name, made)
    }

    /// What has this name.
    ///
    /// # Errors
    /// [`Error`]
    pub fn metadata(&self, name: &[u8]) -> Result<Metadata, Error> {
        let stat = check(name).and_then(|()| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW));
        Ok(Metadata::new(&self.at("look at", name, stat)?))
    }

    /// Metadata of the directory itself.
    ///
    /// # Errors
    /// [`Error`]
    pub fn own_metadata(&self) -> Result<Metadata, Error> {
        Ok(Metadata::new(&at("look at", || self.path.clone(), rustix::fs::fstat(&self.fd))?))
    }

    /// The target of a symbolic link, as written.
    ///
    /// # Errors
    /// [`Error`]
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>, Error> {
        let target = check(name).and_then(|()| rustix::fs::readlinkat(&self.fd, name, Vec::new()));
        Ok(self.at("read symbolic link", name, target)?.into_bytes())
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// [`Error`]
    pub fn open_file(&self, name: &[u8]) -> Result<File, Error> {
        // NONBLOCK: to open a FIFO that a script put there would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = check(name).and_then(|()| rustix::fs::openat(&self.fd, name, flags, Mode::empty()));
        Ok(File::from(self.at("open", name, opened)?))
    }

    /// Opens the directory of this name.
    ///
    /// # Errors
    /// [`Error`], of kind `NotADirectory` for a symbolic link to one, too.
    pub fn open_directory(&self, name: &[u8]) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = check(name).and_then(|()| rustix::fs::openat(&self.fd, name, flags, Mode::empty()));
        Ok(Self { fd: self.at("open directory", name, opened)?, path: self.child(name) })
    }

    /// The names in this directory, sorted.
    ///
    /// # Errors
    /// [`Error`]
    pub fn list(&self) -> Result<Vec<Vec<u8>>, Error> {
        let read = || -> rustix::io::Result<Vec<Vec<u8>>> {
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::read_from(&self.fd)? {
                let name = entry?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.push(name);
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        at("list", || self.path.clone(), read())
    }

    /// Removes what has this name, with all under it. That nothing has it is no error.
    ///
    /// # Errors
    /// [`Error`]
    pub fn remove(&self, name: &[u8]) -> Result<(), Error> {
        match self.metadata(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(metadata) if metadata.file_type == FileType::Directory => {
                let inner = self.open_directory(name)?;
                inner.list()?.iter().try_for_each(|entry| inner.remove(entry))?;
                self.at("remove", name, rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR))
            }
            Ok(_) => self.unlink(name),
        }
    }

    /// Removes the name of anything but a directory.
    ///
    /// # Errors
    /// [`Error`]
    pub fn unlink(&self, name: &[u8]) -> Result<(), Error> {
        let removed = check(name).and_then(|()| rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()));
        self.at("remove", name, removed)
    }

    /// Renames an entry of this directory, over whatever has the new name.
    ///
    /// # Errors
    /// [`Error`]
    pub fn rename(&self, name: &[u8], new: &[u8]) -> Result<(), Error> {
        let renamed =
            check(name).and_then(|()| check(new)).and_then(|()| rustix::fs::renameat(&self.fd, name, &self.fd, new));
        self.at("rename", name, renamed)
    }

    /// Moves the entry `old` of the directory `from`, which is on the same file system, to `name`,
    /// over whatever file has it.
    ///
    /// # Errors
    /// [`Error`], also where a directory has the name.
    pub fn take(&self, name: &[u8], from: &Self, old: &[u8]) -> Result<(), Error> {
        let moved =
            check(name).and_then(|()| check(old)).and_then(|()| rustix::fs::renameat(&from.fd, old, &self.fd, name));
        self.at("create", name, moved)
    }

    /// Sets when what has this name, whatever it is, was last modified.
    ///
    /// # Errors
    /// [`Error`]
    fn set_time(&self, name: &[u8], mtime: Timestamp) -> Result<(), Error> {
        let set =
            check(name).and_then(|()| rustix::fs::utimensat(&self.fd, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW));
        self.at("set time of", name, set)
    }

    /// Sets when the directory itself was last modified.
    ///
    /// # Errors
    /// [`Error`]
    pub fn set_own_time(&self, mtime: Timestamp) -> Result<(), Error> {
        at("set time of", || self.path.clone(), rustix::fs::futimens(&self.fd, &times(mtime)))
    }

    /// Sets attributes of the directory itself.
    ///
    /// # Errors
    /// [`Error`]
    pub fn set_own_attributes(
        &self,
        attributes: &Attributes,
        xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), Error> {
        self.set_by_descriptor(b"", self.fd.as_fd(), attributes, xattrs)
    }

    /// Sets attributes of what has this name, whatever it is; symbolic links have no permissions.
    ///
    /// # Errors
    /// [`Error`]
    pub fn set_attributes(
        &self,
        name: &[u8],
        attributes: &Attributes,
        xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), Error> {
        let file_type = self.metadata(name)?.file_type;
        match file_type {
            FileType::Directory => return self.open_directory(name)?.set_own_attributes(attributes, xattrs),
            FileType::File => return self.set_by_descriptor(name, self.open_file(name)?.as_fd(), attributes, xattrs),
            _ => {}
        }
        let owner = (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)));
        let owned = rustix::fs::chownat(&self.fd, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
        self.at("set owner of", name, owned)?;
        // Through the descriptor's own name in /proc, since fchmodat with AT_SYMLINK_NOFOLLOW is
        // younger than Linux 6.5.
        if file_type != FileType::Symlink {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let entry = self.at("open", name, rustix::fs::openat(&self.fd, name, flags, Mode::empty()))?;
            let path = format!("/proc/self/fd/{}", entry.as_raw_fd());
            self.at("set mode of", name, rustix::fs::chmod(path, Mode::from_raw_mode(attributes.mode.into())))?;
        }
        for (key, value) in xattrs {
            let set = rustix::fs::lsetxattr(self.proc_path(name), key.as_slice(), value, XattrFlags::empty());
            self.at("set extended attribute of", name, set)?;
        }
        self.set_time(name, attributes.mtime)
    }

    /// The extended attributes of what has this name, by full name.
    ///
    /// # Errors
    /// [`Error`]
    pub fn xattrs(&self, name: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
        let path = self.proc_path(name);
        let read = || -> rustix::io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
            let mut keys = vec![0; rustix::fs::llistxattr_query(&path)?];
            let len = rustix::fs::llistxattr(&path, &mut keys[..])?;
            let mut all = BTreeMap::new();
            for key in keys[..len].split(|&byte| byte == 0).filter(|key| !key.is_empty()) {
                let mut value = vec![0; rustix::fs::lgetxattr_query(&path, key)?];
                let len = rustix::fs::lgetxattr(&path, key, &mut value[..])?;
                value.truncate(len);
                all.insert(key.to_vec(), value);
            }
            Ok(all)
        };
        match check(name).and_then(|()| read()) {
            // A file system without extended attributes.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(BTreeMap::new()),
            other => self.at("read extended attributes of", name, other),
        }
    }

    fn set_by_descriptor(
        &self,
        name: &[u8],
        fd: BorrowedFd<'_>,
        attributes: &Attributes,
        xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), Error> {
        let owner = (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)));
        // First: chown(2) clears setuid and setgid, and takes file capabilities away.
        self.at("set owner of", name, rustix::fs::fchown(fd, owner.0, owner.1))?;
        let mode = Mode::from_raw_mode(attributes.mode.into());
        self.at("set mode of", name, rustix::fs::fchmod(fd, mode))?;
        for (key, value) in xattrs {
            let set = rustix::fs::fsetxattr(fd, key.as_slice(), value, XattrFlags::empty());
            self.at("set extended attribute of", name, set)?;
        }
        self.at("set time of", name, rustix::fs::futimens(fd, &times(attributes.mtime)))
    }

    /// The calls for extended attributes know no directory descriptors; this leads to the name
    /// through ours.
    fn proc_path(&self, name: &[u8]) -> Vec<u8> {
        [format!("/proc/self/fd/{}/", self.fd.as_raw_fd()).as_bytes(), name].concat()
    }

    fn child(&self, name: &[u8]) -> RootPath {
        self.path.join(name).unwrap_or_else(|_| self.path.clone())
    }

    fn at<T, E: Into<io::Error>>(&self, action: &'static str, name: &[u8], result: Result<T, E>) -> Result<T, Error> {
        at(action, || self.child(name), result)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The path by which the kernel knows what is open.
pub(super) fn real_path(fd: BorrowedFd<'_>) -> rustix::io::Result<Vec<u8>> {
    Ok(rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?.into_bytes())
}

/// A name that is not a single component would leave the directory.
fn check(name: &[u8]) -> rustix::io::Result<()> {
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') { Err(rustix::io::Errno::INVAL) } else { Ok(()) }
}

fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
