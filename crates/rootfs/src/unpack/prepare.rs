//! Makes one package ready to be placed: its data archive, entry by entry, with the bytes of its
//! files in a directory of its own beside the tree. This is nearly all the work of unpacking, and
//! depends on no other package.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Read, Seek, Write};

use fam_archive::deb::Deb;
use fam_host::pieces::for_each_piece;
use fam_tree::tar::{EntryKind, Header, TarReader};
use fam_tree::{Kind, MAX_NAME_BYTES, RootPath};
use md5::{Digest, Md5};

use super::{DebFile, Error, Filters};
use crate::dpkg::{NEW_CONFFILE, Package};
use crate::staging::{self, Attributes, Directory, Staging};

const BUFFER: usize = 256 << 10;
/// What the entries of a package may take in memory. The largest of Debian, some 100 000 files,
/// takes a third.
const MAX_ENTRIES_BYTES: usize = 256 << 20;
/// What an entry takes beside its names, and at most.
const ENTRY_BYTES: usize = 512;
/// What may follow the end of a tar archive: it is padded to a record of 10 KiB, or more by choice.
const MAX_TRAILER: u64 = 16 << 20;

/// A package that can be placed.
#[derive(Debug)]
pub struct Prepared {
    pub(super) package: Package,
    /// In the order of the archive.
    pub(super) entries: Vec<Entry>,
    /// The name of its directory beside the tree. The file of the entry at position 7 is called `7`
    /// there.
    pub(super) contents: Vec<u8>,
}

/// An entry of a data archive.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: RootPath,
    pub(super) what: What,
    pub(super) attributes: Attributes,
    /// Whether the package has it, but the tree does not get it.
    pub(super) excluded: bool,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum What {
    Directory,
    /// A regular file, with its MD5 sum where the package brings none. Of an excluded one nothing
    /// is read.
    File(Option<String>),
    /// The target, as written.
    Symlink(Vec<u8>),
    /// An earlier file of the same archive, and its MD5 sum.
    HardLink(RootPath, Option<String>),
    Fifo,
    Device(Kind),
}

impl Prepared {
    /// The package.
    #[must_use]
    pub fn package(&self) -> &Package {
        &self.package
    }
}

/// The preparation of one package, in one thread.
pub(super) struct Preparation<'a> {
    deb: &'a DebFile,
    filters: &'a Filters,
    directory: Directory,
    /// Regular files so far that are not excluded, which hard links may name, with their sums where
    /// those are wanted.
    files: HashMap<RootPath, Option<String>>,
    wants_sums: bool,
    conffiles: HashMap<RootPath, bool>,
    entries: Vec<Entry>,
    entries_bytes: usize,
    buffer: Vec<u8>,
}

impl<'a> Preparation<'a> {
    /// Begins with a new directory `contents` in `aside`.
    pub(super) fn new(
        aside: &Staging,
        contents: &[u8],
        deb: &'a DebFile,
        filters: &'a Filters,
        package: &Package,
    ) -> Result<Self, Error> {
        let make = || {
            let parent = aside.directory(&RootPath::root())?;
            parent.create_directory(contents, 0o700)?;
            parent.open_directory(contents)
        };
        Ok(Self {
            deb,
            filters,
            directory: make().map_err(|error| deb.staging_error(error))?,
            files: HashMap::new(),
            wants_sums: !package.has("md5sums"),
            conffiles: package.conffiles.iter().map(|it| (it.path.clone(), it.remove_on_upgrade)).collect(),
            entries: Vec::new(),
            entries_bytes: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// Reads the data archive of `file`. `go_on` is asked before each entry.
    pub(super) fn run<R: Read + Seek>(
        mut self,
        file: &mut Deb<R>,
        go_on: impl Fn() -> bool,
    ) -> Result<Vec<Entry>, Error> {
        let deb = self.deb;
        let data = file.data().map_err(|source| deb.error(source))?;
        let mut tar = TarReader::new(BufReader::with_capacity(BUFFER, data)).of_a_package();
        while let Some(header) = tar.next_entry().map_err(|source| deb.tar_error(source))? {
            if !go_on() {
                return Err(Error::Stopped);
            }
            // Two copies of the path are kept: one in the entry, one among the files that hard
            // links may name.
            self.entries_bytes += ENTRY_BYTES + 2 * header.path.len() + header.link().len();
            if self.entries_bytes > MAX_ENTRIES_BYTES {
                return Err(deb.data_error(io::Error::other("more entries than any package has")));
            }
            let entry = self.entry(header, &mut tar)?;
            self.entries.push(entry);
        }
        // The sums of the compressed form are checked when its end is read.
        let rest = io::copy(&mut tar.into_inner().take(MAX_TRAILER + 1), &mut io::sink());
        match rest.map_err(|source| deb.data_error(source))? {
            0..=MAX_TRAILER => Ok(self.entries),
            _ => Err(deb.data_error(io::Error::other("too much data after the end of the tar archive"))),
        }
    }

    fn entry(&mut self, header: Header, tar: &mut impl Read) -> Result<Entry, Error> {
        let deb = self.deb;
        let path =
            |bytes: &[u8]| RootPath::new(bytes).map_err(|source| Error::Path { package: deb.name.clone(), source });
        let at = path(&header.path)?;
        // dpkg's lists of files, which have a path a line, could say what is not so; dpkg refuses
        // it, too.
        if at.as_bytes().contains(&b'\n') {
            return Err(Error::Newline { package: deb.name.clone(), path: at });
        }
        // The image cannot hold it, which would show at the end only, and without the package's
        // name.
        if [at.as_bytes(), header.link()].into_iter().any(|name| str::from_utf8(name).is_err()) {
            return Err(Error::NotUtf8 { package: deb.name.clone(), path: at });
        }
        if let Some(problem) = self.problem(&header, &at) {
            return Err(Error::Entry { package: deb.name.clone(), path: at, problem });
        }
        let attributes = Attributes { mode: header.mode, uid: header.uid, gid: header.gid, mtime: header.mtime };
        let excluded = self.filters.exclude(&at, matches!(header.kind, EntryKind::Directory | EntryKind::Symlink(_)));
        let what = match header.kind {
            EntryKind::Directory => What::Directory,
            EntryKind::File(_) if excluded => What::File(None),
            EntryKind::File(_) => {
                let sum = self.file(tar, &at, &attributes)?;
                self.files.insert(at.clone(), sum.clone());
                What::File(sum)
            }
            EntryKind::Symlink(target) => What::Symlink(target),
            EntryKind::HardLink(target) => {
                let target = path(&target)?;
                let sum = if excluded { None } else { self.linked(&at, &target)? };
                What::HardLink(target, sum)
            }
            EntryKind::Fifo => What::Fifo,
            EntryKind::CharDevice { major, minor } => What::Device(Kind::CharDevice { major, minor }),
            EntryKind::BlockDevice { major, minor } => What::Device(Kind::BlockDevice { major, minor }),
        };
        Ok(Entry { path: at, what, attributes, excluded })
    }

    /// What is wrong with an entry as dpkg sees it, which takes the name as it is written for the
    /// path's name in its database.
    fn problem(&self, header: &Header, at: &RootPath) -> Option<&'static str> {
        let directory = header.kind == EntryKind::Directory;
        let written = header.path.strip_prefix(b".").unwrap_or(&header.path);
        let written = written.strip_prefix(b"/").unwrap_or(written);
        let written = if directory { written.strip_suffix(b"/").unwrap_or(written) } else { written };
        let node =
            matches!(header.kind, EntryKind::Fifo | EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. });
        let conffile = self.conffiles.get(at);
        if at.is_root() {
            return (!directory).then_some("is no directory in it");
        }
        Some(match () {
            () if written != at.as_bytes() => "is written with doubled slashes or with dots",
            () if at.file_name().len() + NEW_CONFFILE.len() > MAX_NAME_BYTES => {
                "has a name that is too long for dpkg, which puts `.dpkg-new` behind it"
            }
            () if node && self.files.contains_key(at) => "is a file in it, and then something else",
            () if !directory && at.starts_with(&dpkg_database()) => "belongs to dpkg's own database",
            () if conffile == Some(&true) => "is a conffile that is to be removed, and yet in it",
            () if conffile.is_some() && directory => "is a conffile, and a directory in it",
            () => return None,
        })
    }

    /// Takes note of a hard link to an earlier file; gives the sum of that.
    fn linked(&mut self, path: &RootPath, target: &RootPath) -> Result<Option<String>, Error> {
        if let Some(sum) = self.files.get(target).filter(|_| target != path).cloned() {
            self.files.insert(path.clone(), sum.clone());
            return Ok(sum);
        }
        let (package, path, is_target) = (self.deb.name.clone(), path.clone(), |entry: &&Entry| entry.path == *target);
        let target = target.clone();
        Err(match self.entries.iter().find(is_target) {
            Some(Entry { excluded: true, .. }) => Error::LinkToExcluded { package, path, target },
            _ => Error::HardLink { package, path, target },
        })
    }

    /// Writes the data of an entry; gives its MD5 sum if that is wanted.
    fn file(&mut self, tar: &mut impl Read, path: &RootPath, attributes: &Attributes) -> Result<Option<String>, Error> {
        let deb = self.deb;
        let failed = |error| deb.staging_error(named(path, error));
        let name = self.entries.len().to_string().into_bytes();
        let mut file = self.directory.create_file(&name).map_err(failed)?;
        let mut hasher = self.wants_sums.then(Md5::new);
        for_each_piece(
            tar,
            &mut self.buffer,
            |error| deb.data_error(error),
            |piece| {
                let written = file.write_all(piece);
                written
                    .map_err(|source| failed(staging::Error::Entry { action: "write", path: path.clone(), source }))?;
                if let Some(hasher) = &mut hasher {
                    hasher.update(piece);
                }
                Ok(())
            },
        )?;
        self.directory.finish_file(&name, &file, attributes, &BTreeMap::new()).map_err(failed)?;
        Ok(hasher.map(|hasher| format!("{:x}", hasher.finalize())))
    }
}

fn dpkg_database() -> RootPath {
    RootPath::new("var/lib/dpkg").expect("it holds neither `..` nor NUL")
}

/// The error with the path that the file will have, not the number that it has.
fn named(path: &RootPath, error: staging::Error) -> staging::Error {
    match error {
        staging::Error::Entry { action, source, .. } => staging::Error::Entry { action, path: path.clone(), source },
        other => other,
    }
}
