//! A directory as the tree that its tarball has.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use fs_err::File;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{Error, LEFT_EMPTY, settled};
use crate::{Content, Entry, Kind, RootPath, Store, Timestamp, Tree};

/// Labels of the host's own `SELinux` policy, which mean nothing to the guest.
const HOST_LABEL: &[u8] = b"security.selinux";

/// Reads the tree under `root`, as a tarball of it has it: nothing in [`LEFT_EMPTY`], no sockets, no time later than
/// `latest`, in seconds since 1970. The contents of files stay where they are.
///
/// # Errors
/// When the tree cannot be read.
pub fn read(root: File, latest: i64) -> Result<(Tree, StagedFiles), Error> {
    let mut found = walk(root.as_fd())?;
    found.sort_unstable_by(|(path, _), (other, _)| path.cmp(other));
    let mut reading = Reading { root: root.as_fd(), latest, tree: Tree::default(), files: Files::default() };
    // By device and inode, for those that have several names.
    let mut first_names = HashMap::new();
    for (path, stat) in found {
        let has_other_names = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 1;
        let inode = (stat.st_dev, stat.st_ino);
        match first_names.get(&inode) {
            Some(first) if has_other_names => reading.other_name(path, first),
            _ => {
                if has_other_names {
                    first_names.insert(inode, path.clone());
                }
                reading.entry(path, &stat)?;
            }
        }
    }
    let Reading { tree, files, .. } = reading;
    Ok((tree, StagedFiles { root, files }))
}

/// The files of a directory, whose bytes are read there.
#[derive(Debug)]
pub struct StagedFiles {
    root: File,
    files: Files,
}

impl Store for StagedFiles {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (path, start) = self.files.at(offset)?;
        let failed = |error: io::Error| {
            let message = match error.kind() {
                ErrorKind::UnexpectedEof => format!("{path} of the staging tree changed while it was read"),
                _ => format!("read {path} of the staging tree: {error}"),
            };
            io::Error::new(error.kind(), message)
        };
        let file = open(self.root.as_fd(), path, OFlags::empty()).map_err(|errno| failed(errno.into()))?;
        std::fs::File::from(file).read_exact_at(buffer, offset - start).map_err(failed)
    }
}

/// Files one behind the other, with an offset for each.
#[derive(Debug, Default)]
struct Files {
    /// The offset of each, ascending.
    starts: Vec<(u64, RootPath)>,
    end: u64,
}

impl Files {
    /// Places a file of `len` bytes behind the others.
    fn push(&mut self, path: RootPath, len: u64) -> Content {
        let offset = self.end;
        self.starts.push((offset, path));
        // A byte between two, so that none goes on in the next one. A length may be any number: files have holes.
        self.end = offset.saturating_add(len).saturating_add(1);
        Content::Stored { offset, len }
    }

    /// The file at `offset`, and its own offset.
    fn at(&self, offset: u64) -> io::Result<(&RootPath, u64)> {
        let next = self.starts.partition_point(|(start, _)| *start <= offset);
        let found = next.checked_sub(1).map(|index| &self.starts[index]);
        found.map(|(start, path)| (path, *start)).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

/// A tree that is being read.
struct Reading<'a> {
    root: BorrowedFd<'a>,
    latest: i64,
    tree: Tree,
    files: Files,
}

impl Reading<'_> {
    fn entry(&mut self, path: RootPath, stat: &Stat) -> Result<(), Error> {
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let mut attributes = BTreeMap::new();
        let kind = match file_type {
            FileType::RegularFile => {
                attributes = self.xattrs(&path, OFlags::empty())?;
                Kind::File(self.files.push(path.clone(), stat.st_size.unsigned_abs()))
            }
            FileType::Directory => {
                attributes = self.xattrs(&path, OFlags::DIRECTORY)?;
                Kind::Directory
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(self.root, path.as_bytes(), Vec::new());
                Kind::Symlink(target.map_err(failed("read the link", &path))?.into_bytes())
            }
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket | FileType::Unknown => return Ok(()),
        };
        let entry = Entry {
            kind,
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: settled(Timestamp { seconds: stat.st_mtime, nanoseconds: 0 }, self.latest),
            xattrs: attributes,
        };
        self.tree.insert(path, entry);
        Ok(())
    }

    fn xattrs(&self, path: &RootPath, flags: OFlags) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
        xattrs(&open(self.root, path, flags).map_err(failed("open", path))?, path)
    }

    /// Puts another name of the file `first` at `path`.
    fn other_name(&mut self, path: RootPath, first: &RootPath) {
        let entry = self.tree.get(first).expect("it comes before").clone();
        self.tree.insert(path, Entry { kind: Kind::HardLink(first.clone()), ..entry });
    }
}

fn walk(root: BorrowedFd<'_>) -> Result<Vec<(RootPath, Stat)>, Error> {
    let top = RootPath::root();
    let stat = rustix::fs::fstat(root).map_err(failed("stat", &top))?;
    let mut found = vec![(top.clone(), stat)];
    let mut pending = vec![top];
    while let Some(directory) = pending.pop() {
        // By path, and closed again: held open, the directories of a deep tree would be more than a
        // process may have open.
        let fd = open(root, &directory, OFlags::DIRECTORY).map_err(failed("open", &directory))?;
        let entries = Dir::read_from(&fd).map_err(failed("list", &directory))?;
        for entry in entries {
            let entry = entry.map_err(failed("list", &directory))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = directory.join(name.to_bytes()).expect("a directory lists single names");
            let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("stat", &path))?;
            match FileType::from_raw_mode(stat.st_mode) {
                // A socket is of use only while the process that made it lives.
                FileType::Socket => continue,
                FileType::Directory if !LEFT_EMPTY.contains(&path.as_bytes()) => pending.push(path.clone()),
                _ => {}
            }
            found.push((path, stat));
        }
    }
    Ok(found)
}

/// Opens what is known to be no symbolic link, on a way without any.
fn open(root: BorrowedFd<'_>, path: &RootPath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let name = if path.is_root() { b"." } else { path.as_bytes() };
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, name, flags, Mode::empty(), resolve)
}

fn xattrs(file: impl AsFd, path: &RootPath) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let failed = || failed("read the extended attributes of", path);
    let mut list = match rustix::fs::flistxattr_query(&file) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        Ok(len) => vec![0; len],
        Err(errno) => return Err(failed()(errno)),
    };
    let len = rustix::fs::flistxattr(&file, &mut list).map_err(failed())?;
    let names = list[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty() && *name != HOST_LABEL);
    names
        .map(|name| {
            let len = rustix::fs::fgetxattr_query(&file, name).map_err(failed())?;
            let mut value = vec![0; len];
            // An empty buffer would ask for the length again.
            let len = if len == 0 { 0 } else { rustix::fs::fgetxattr(&file, name, &mut value).map_err(failed())? };
            value.truncate(len);
            Ok((name.to_vec(), value))
        })
        .collect()
}

fn failed(action: &'static str, path: &RootPath) -> impl FnOnce(Errno) -> Error {
    let path = path.clone();
    move |errno| Error::Staging { action, path, source: errno.into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use fs_err as fs;

    use super::*;

    fn read_directory(directory: &Path) -> (Tree, StagedFiles) {
        read(File::open(directory).unwrap(), 1000).unwrap()
    }

    fn path(text: &str) -> RootPath {
        text.parse().unwrap()
    }

    fn bytes(tree: &Tree, files: &StagedFiles, name: &str) -> io::Result<Vec<u8>> {
        let Kind::File(Content::Stored { offset, len }) = tree.get(&path(name)).unwrap().kind else { panic!("{name}") };
        let mut buffer = vec![0; len as usize];
        files.fill(&mut buffer, offset).map(|()| buffer)
    }

    #[test]
    fn a_directory_becomes_its_tree() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("usr/bin")).unwrap();
        fs::create_dir_all(at("proc/1")).unwrap();
        fs::create_dir_all(at("dev")).unwrap();
        fs::write(at("dev/leftover"), "x").unwrap();
        fs::write(at("usr/bin/z"), "hello").unwrap();
        fs::write(at("usr/empty"), "").unwrap();
        fs::hard_link(at("usr/bin/z"), at("usr/a")).unwrap();
        fs::set_permissions(at("usr/bin/z"), PermissionsExt::from_mode(0o4755)).unwrap();
        symlink("bin/z", at("usr/link")).unwrap();
        fs::write(at("usr").join("n".repeat(200)), "long").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("usr/socket")).unwrap();
        rustix::fs::setxattr(at("usr/a"), "user.binary", b"\n\0=\xff", rustix::fs::XattrFlags::empty()).unwrap();

        let (tree, files) = read_directory(directory.path());
        let names: Vec<String> = tree.iter().map(|(path, _)| path.to_string()).collect();
        let long = format!("/usr/{}", "n".repeat(200));
        let expected =
            ["/", "/dev", "/proc", "/usr", "/usr/a", "/usr/bin", "/usr/bin/z", "/usr/empty", "/usr/link", &long];
        assert_eq!(names, expected);
        let first = tree.get(&path("usr/a")).unwrap();
        assert_eq!((first.mode, first.mtime), (0o4755, Timestamp { seconds: 1000, nanoseconds: 0 }));
        assert_eq!(first.xattrs[&b"user.binary"[..]], b"\n\0=\xff");
        let other = Entry { kind: Kind::HardLink(path("usr/a")), ..first.clone() };
        assert_eq!(tree.get(&path("usr/bin/z")), Some(&other));
        assert_eq!(tree.get(&path("usr/link")).unwrap().kind, Kind::Symlink(b"bin/z".to_vec()));
        for (name, text) in [("usr/a", "hello"), ("usr/empty", ""), (&long[1..], "long")] {
            assert_eq!(bytes(&tree, &files, name).unwrap(), text.as_bytes(), "{name}");
        }
    }

    #[test]
    fn what_changes_afterwards_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["shorter", "gone", "link", "stays"] {
            fs::write(at(name), name).unwrap();
        }
        let (tree, files) = read_directory(directory.path());
        fs::write(at("shorter"), "s").unwrap();
        for name in ["gone", "link"] {
            fs::remove_file(at(name)).unwrap();
        }
        symlink("stays", at("link")).unwrap();
        for (name, message) in
            [("shorter", "/shorter of the staging tree changed"), ("gone", "read /gone of"), ("link", "read /link of")]
        {
            let error = bytes(&tree, &files, name).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(bytes(&tree, &files, "stays").unwrap(), b"stays");
    }

    #[test]
    fn holes_count_and_each_file_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("small"), "hello").unwrap();
        fs::hard_link(at("small"), at("again")).unwrap();
        fs::create_dir_all(at("var")).unwrap();
        File::create(at("var/sparse")).unwrap().set_len(1 << 40).unwrap();
        let (tree, _) = read_directory(directory.path());
        assert_eq!(tree.bytes(), (1 << 40) + 5);
        assert_eq!(tree.largest(), Some((&path("var/sparse"), 1 << 40)));
    }
}
