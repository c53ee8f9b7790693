//! A staging directory as a tarball: walked first, then written in byte order of the paths.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use fam_host::behind::{Behind, write_behind};
use fs_err::File;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{Error, LEFT_EMPTY, Summary, header_of, settled, written_name};
use crate::tar::{EntryKind, Header, TarWriter};
use crate::{Content, Entry, Kind, RootPath, Timestamp};

/// Labels of the host's own `SELinux` policy, which mean nothing to the guest.
const HOST_LABEL: &[u8] = b"security.selinux";

/// The entries under a directory that belong into a tarball of it. Nothing in `/dev`, `/proc`,
/// `/run`, `/sys` and `/tmp` does. Sockets do not, as with every tar.
#[derive(Debug)]
pub struct Survey<'a> {
    root: BorrowedFd<'a>,
    found: Vec<(RootPath, Stat)>,
}

impl<'a> Survey<'a> {
    /// Walks the tree under `root`.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn of(root: BorrowedFd<'a>) -> Result<Self, Error> {
        Ok(Self { root, found: walk(root)? })
    }

    /// Length of all files, holes included, which a tarball has as zeros.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // A name more of a file takes nothing.
        let mut seen = HashSet::new();
        let counts = |stat: &&Stat| stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino));
        let lengths = self.files().map(|(_, stat)| stat).filter(counts).map(|stat| stat.st_size.unsigned_abs());
        lengths.fold(0, u64::saturating_add)
    }

    /// The largest file and its length.
    #[must_use]
    pub fn largest(&self) -> Option<(&RootPath, u64)> {
        let lengths = self.files().map(|(path, stat)| (path, stat.st_size.unsigned_abs()));
        lengths.max_by_key(|(_, length)| *length)
    }

    fn files(&self) -> impl Iterator<Item = (&RootPath, &Stat)> {
        let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        self.found.iter().filter(move |(_, stat)| is_file(stat)).map(|(path, stat)| (path, stat))
    }

    /// Writes a tarball into `out`.
    ///
    /// Names are `./path`, owners are numbers, times are whole seconds and none is later than
    /// `latest_mtime`. A file with several names has its contents under the first of them. Entries
    /// of `deferred` are written too, in place of whatever stands there: device nodes that nobody
    /// may create in a user namespace. A `comment` stands before everything else.
    ///
    /// # Errors
    /// When the tree cannot be read, changes meanwhile, or the tarball cannot be written.
    pub fn write(
        &self,
        deferred: &BTreeMap<RootPath, Entry>,
        latest_mtime: i64,
        comment: Option<&str>,
        out: &File,
    ) -> Result<Summary, Error> {
        let mut names: BTreeMap<&RootPath, Found<'_>> =
            self.found.iter().map(|(path, stat)| (path, Found::Staged(stat))).collect();
        names.extend(deferred.iter().map(|(path, entry)| (path, Found::Deferred(entry))));

        let bytes = write_behind(out, |out| {
            let writer = TarWriter::new(out);
            let mut writing = Writing { root: self.root, latest_mtime, writer, first_names: HashMap::new() };
            if let Some(text) = comment {
                writing.writer.comment(text)?;
            }
            for (path, found) in &names {
                match found {
                    Found::Staged(stat) => writing.staged(path, stat)?,
                    Found::Deferred(entry) => writing.deferred(path, entry)?,
                }
            }
            Ok::<_, Error>(writing.writer.finish()?)
        })?;
        Ok(Summary { entries: names.len() as u64, bytes })
    }
}

enum Found<'a> {
    Staged(&'a Stat),
    Deferred(&'a Entry),
}

fn walk(root: BorrowedFd<'_>) -> Result<Vec<(RootPath, Stat)>, Error> {
    let top = RootPath::root();
    let stat = rustix::fs::fstat(root).map_err(failed("stat", &top))?;
    let mut found = vec![(top.clone(), stat)];
    let mut pending = vec![top];
    while let Some(directory) = pending.pop() {
        // By path, and closed again: held open, the directories of a deep tree would be more than a
        // process may have open.
        let fd = open(root, &directory, OFlags::DIRECTORY)?;
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

struct Writing<'a> {
    root: BorrowedFd<'a>,
    latest_mtime: i64,
    writer: TarWriter<Behind>,
    /// By device and inode, for those that have several names.
    first_names: HashMap<(u64, u64), Vec<u8>>,
}

impl Writing<'_> {
    fn staged(&mut self, path: &RootPath, stat: &Stat) -> Result<(), Error> {
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let name = written_name(path, file_type == FileType::Directory);
        if file_type == FileType::RegularFile && stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.first_names.get(&inode) {
                let header = self.header(name, EntryKind::HardLink(first.clone()), stat);
                return Ok(self.writer.header(&header)?);
            }
            self.first_names.insert(inode, name.clone());
        }
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match file_type {
            FileType::RegularFile => EntryKind::File(stat.st_size.unsigned_abs()),
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(self.root, path.as_bytes(), Vec::new());
                EntryKind::Symlink(target.map_err(failed("read the link", path))?.into_bytes())
            }
            FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
            FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket | FileType::Unknown => return Ok(()),
        };
        let mut header = self.header(name, kind, stat);
        match file_type {
            FileType::RegularFile => return self.regular_file(path, header),
            FileType::Directory => header.xattrs = xattrs(&open(self.root, path, OFlags::DIRECTORY)?, path)?,
            _ => {}
        }
        Ok(self.writer.header(&header)?)
    }

    /// The header of an entry of the staging directory, without its extended attributes.
    fn header(&self, path: Vec<u8>, kind: EntryKind, stat: &Stat) -> Header {
        Header {
            path,
            kind,
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: settled(Timestamp { seconds: stat.st_mtime, nanoseconds: 0 }, self.latest_mtime),
            xattrs: BTreeMap::new(),
            offset: 0,
        }
    }

    fn regular_file(&mut self, path: &RootPath, mut header: Header) -> Result<(), Error> {
        let mut file = std::fs::File::from(open(self.root, path, OFlags::empty())?);
        header.xattrs = xattrs(&file, path)?;
        self.writer.header(&header)?;
        self.writer.contents(&mut file, header.size()).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Changed { path: path.clone() },
            _ => source.into(),
        })
    }

    fn deferred(&mut self, path: &RootPath, entry: &Entry) -> Result<(), Error> {
        let header = header_of(path, entry, self.latest_mtime);
        let mut contents: &[u8] = match &entry.kind {
            Kind::File(Content::Inline(bytes)) => bytes,
            Kind::File(Content::InTarball { .. }) => {
                let message = "its contents lie in another tarball".to_owned();
                let source = io::Error::new(io::ErrorKind::InvalidInput, message);
                return Err(Error::Staging { action: "write", path: path.clone(), source });
            }
            _ => &[],
        };
        self.writer.header(&header)?;
        Ok(self.writer.contents(&mut contents, header.size())?)
    }
}

/// Opens what is known to be no symbolic link, on a way without any.
fn open(root: BorrowedFd<'_>, path: &RootPath, flags: OFlags) -> Result<OwnedFd, Error> {
    let name = if path.is_root() { b"." } else { path.as_bytes() };
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, name, flags, Mode::empty(), resolve).map_err(failed("open", path))
}

fn xattrs(file: impl std::os::fd::AsFd, path: &RootPath) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
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
    use std::os::fd::AsFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::tarball::index;

    fn written(directory: &std::path::Path, deferred: &BTreeMap<RootPath, Entry>) -> (Summary, crate::Tree, Vec<u8>) {
        let root = File::open(directory).unwrap();
        let out = tempfile::NamedTempFile::new().unwrap();
        let file = File::options().read(true).write(true).open(out.path()).unwrap();
        let summary = Survey::of(root.as_fd()).unwrap().write(deferred, 1000, None, &file).unwrap();
        let tree = index(&File::open(out.path()).unwrap()).unwrap();
        (summary, tree, fs_err::read(out.path()).unwrap())
    }

    #[test]
    fn a_directory_becomes_its_tree() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs_err::create_dir_all(at("usr/bin")).unwrap();
        fs_err::create_dir_all(at("proc/1")).unwrap();
        fs_err::create_dir_all(at("dev")).unwrap();
        fs_err::write(at("dev/leftover"), "x").unwrap();
        fs_err::write(at("usr/bin/z"), "hello").unwrap();
        fs_err::hard_link(at("usr/bin/z"), at("usr/a")).unwrap();
        fs_err::set_permissions(at("usr/bin/z"), PermissionsExt::from_mode(0o4755)).unwrap();
        symlink("bin/z", at("usr/link")).unwrap();
        fs_err::write(at("usr").join("n".repeat(200)), "long").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("usr/socket")).unwrap();
        rustix::fs::setxattr(at("usr/a"), "user.binary", b"\n\0=\xff", rustix::fs::XattrFlags::empty()).unwrap();
        let null: RootPath = "dev/null".parse().unwrap();
        let device = Entry {
            kind: Kind::CharDevice { major: 1, minor: 3 },
            mode: 0o666,
            uid: 0,
            gid: 0,
            mtime: Timestamp { seconds: 2000, nanoseconds: 5 },
            xattrs: BTreeMap::new(),
        };
        let deferred = BTreeMap::from([(null.clone(), device)]);

        let (summary, tree, bytes) = written(directory.path(), &deferred);
        let names: Vec<String> = tree.iter().map(|(path, _)| path.to_string()).collect();
        let long = format!("/usr/{}", "n".repeat(200));
        assert_eq!(
            names,
            ["/", "/dev", "/dev/null", "/proc", "/usr", "/usr/a", "/usr/bin", "/usr/bin/z", "/usr/link", &long]
        );
        assert_eq!(summary, Summary { entries: 10, bytes: bytes.len() as u64 });
        let first = tree.get(&"usr/a".parse().unwrap()).unwrap();
        assert_eq!((first.mode, first.mtime.seconds), (0o4755, 1000));
        assert_eq!(first.xattrs[&b"user.binary"[..]], b"\n\0=\xff");
        let other = tree.get(&"usr/bin/z".parse().unwrap()).unwrap();
        assert_eq!(other.kind, Kind::HardLink("usr/a".parse().unwrap()));
        let device = tree.get(&null).unwrap();
        assert_eq!((&device.kind, device.mtime.seconds), (&Kind::CharDevice { major: 1, minor: 3 }, 1000));
        assert_eq!(written(directory.path(), &deferred).2, bytes);
    }
    #[test]
    fn a_survey_counts_holes_and_each_file_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs_err::write(at("small"), "hello").unwrap();
        fs_err::hard_link(at("small"), at("again")).unwrap();
        fs_err::create_dir_all(at("var")).unwrap();
        File::create(at("var/sparse")).unwrap().set_len(1 << 40).unwrap();
        let root = File::open(directory.path()).unwrap();
        let survey = Survey::of(root.as_fd()).unwrap();
        assert_eq!(survey.bytes(), (1 << 40) + 5);
        assert_eq!(survey.largest(), Some((&"var/sparse".parse().unwrap(), 1 << 40)));
    }
}
