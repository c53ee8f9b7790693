//! Unpacks one package: its data archive, entry by entry, into the staging tree. Directories and files are made at once,
//! links are left for [`super::links`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::rc::Rc;

use md5::{Digest, Md5};

use super::claims::{Claim, Claimed, Claims, Index, Key, Verdict};
use super::links::{Link, LinkTarget};
use super::{DebFile, UnpackError};
use crate::archive::deb::Deb;
use crate::rootfs::dpkg::{NEW_CONFFILE, Package};
use crate::rootfs::staging::{Attributes, Directory, Staging, StagingError};
use crate::tree::tar_reader::{EntryKind, Header, TarReader};
use crate::tree::{Entry, Kind, RootPath};

const BUFFER: usize = 256 << 10;
/// What may follow the end of a tar archive: it is padded to a record of 10 KiB, or more by choice.
const MAX_TRAILER: u64 = 16 << 20;

/// What came out of a package.
#[derive(Debug, Default)]
pub(super) struct Extracted {
    /// The paths in the order of the archive; those that another package kept are left out.
    pub(super) files: Vec<RootPath>,
    /// Links to make.
    pub(super) links: Vec<Link>,
    /// The text for its `md5sums`, where the package brings none.
    pub(super) md5sums: Option<String>,
}

/// The directory in which entries are being made. Archives go through directories one after another, so one is kept.
struct Parent {
    directory: Directory,
    identity: (u64, u64),
}

/// The unpacking of one package, in one thread.
pub(super) struct Extraction<'a> {
    staging: &'a Staging,
    claims: &'a Claims<'a>,
    deb: &'a DebFile,
    index: Index,
    conffiles: HashSet<&'a RootPath>,
    parent: Option<Rc<Parent>>,
    /// Regular files so far, which hard links may name, with their sums where those are wanted.
    own_files: HashMap<RootPath, Option<String>>,
    wants_sums: bool,
    out: Extracted,
    buffer: Vec<u8>,
}

impl<'a> Extraction<'a> {
    pub(super) fn new(
        staging: &'a Staging,
        claims: &'a Claims<'a>,
        deb: &'a DebFile,
        package: &'a Package,
        index: Index,
    ) -> Self {
        let conffiles = package.conffiles.iter().filter(|conffile| !conffile.remove_on_upgrade);
        let wants_sums = !package.has("md5sums");
        Self {
            staging,
            claims,
            deb,
            index,
            conffiles: conffiles.map(|conffile| &conffile.path).collect(),
            parent: None,
            own_files: HashMap::new(),
            wants_sums,
            out: Extracted { md5sums: wants_sums.then(String::new), ..Extracted::default() },
            buffer: vec![0; BUFFER],
        }
    }

    /// Unpacks the data archive of `file`. `go_on` is asked before each entry.
    pub(super) fn run<R: Read + Seek>(
        mut self,
        file: &mut Deb<R>,
        go_on: impl Fn() -> bool,
    ) -> Result<Extracted, UnpackError> {
        let deb = self.deb;
        let data = file.data().map_err(|source| deb.error(source))?;
        let mut tar = TarReader::new(BufReader::with_capacity(BUFFER, data)).without_pax();
        while let Some(header) = tar.next_entry().map_err(|source| deb.tar_error(source))? {
            if !go_on() {
                return Err(UnpackError::Stopped);
            }
            let path = RootPath::new(&header.path)
                .map_err(|source| UnpackError::Path { package: deb.name.clone(), source })?;
            // dpkg's lists of files, which have a path a line, could say what is not so; dpkg refuses it, too.
            if path.as_bytes().contains(&b'\n') {
                return Err(UnpackError::Newline { package: deb.name.clone(), path });
            }
            // The image cannot hold it, which would show at the end only, and without the package's name.
            if [path.as_bytes(), &header.link].into_iter().any(|name| str::from_utf8(name).is_err()) {
                return Err(UnpackError::NotUtf8 { package: deb.name.clone(), path });
            }
            if self.entry(header, &path, &mut tar)? != Verdict::Lost {
                self.out.files.push(path);
            }
        }
        // The sums of the compressed form are checked when its end is read.
        let rest = io::copy(&mut tar.into_inner().take(MAX_TRAILER + 1), &mut io::sink());
        match rest.map_err(|source| deb.data_error(source))? {
            0..=MAX_TRAILER => Ok(self.out),
            _ => Err(deb.data_error(io::Error::other("too much data after the end of the tar archive"))),
        }
    }

    fn entry(&mut self, header: Header, path: &RootPath, tar: &mut impl Read) -> Result<Verdict, UnpackError> {
        let parent = self.parent(path)?;
        let mut name = path.file_name().to_vec();
        let key = (parent.identity, name.clone());
        if matches!(header.kind, EntryKind::File | EntryKind::HardLink) {
            name = self.name_on_disk(path);
        }
        let (claims, directory, deb) = (self.claims, &parent.directory, self.deb);
        let claim = |what| Claim { owner: self.index, path: path.clone(), what };
        let in_package = |error: StagingError| deb.staging_error(error);
        let attributes = attributes(&header);

        let verdict = match header.kind {
            EntryKind::Directory => {
                let claim = claim(Claimed::Directory(attributes, header.xattrs));
                // The root is there.
                let make = || if path.is_root() { Ok(false) } else { directory.create_directory(&name, 0o755) };
                claims.claim(key, claim, || make().map_err(in_package))?.0
            }
            _ if path.is_root() => return Err(deb.data_error(io::Error::other("the root is no directory in it"))),
            EntryKind::File => {
                let make = || directory.create_file_anew(&name).map_err(in_package);
                let (verdict, file) = claims.claim(key, claim(Claimed::Other), make)?;
                let mut sum = None;
                if let Some(mut file) = file {
                    sum = self.copy(tar, &mut file, path)?;
                    directory.finish_file(&name, &file, &attributes, &header.xattrs).map_err(in_package)?;
                }
                self.record_sum(path, sum.as_deref());
                self.own_files.insert(path.clone(), sum);
                verdict
            }
            EntryKind::Fifo => {
                let make = || {
                    directory.remove(&name)?;
                    directory.fifo(&name)?;
                    directory.set_attributes(&name, &attributes, &header.xattrs)
                };
                claims.claim(key, claim(Claimed::Other), || make().map_err(in_package))?.0
            }
            EntryKind::CharDevice { major, minor } => {
                let entry = device(attributes, header.xattrs, Kind::CharDevice { major, minor });
                self.device(key, path, entry)?
            }
            EntryKind::BlockDevice { major, minor } => {
                let entry = device(attributes, header.xattrs, Kind::BlockDevice { major, minor });
                self.device(key, path, entry)?
            }
            EntryKind::Symlink => {
                let verdict = claims.claim(key.clone(), claim(Claimed::Symlink(header.link.clone())), || Ok(()))?.0;
                let target = LinkTarget::Symbolic(header.link);
                self.out.links.push(Link { path: path.clone(), name, key, attributes, xattrs: header.xattrs, target });
                verdict
            }
            EntryKind::HardLink => {
                let target = self.hard_link_target(&header, path)?;
                let verdict = claims.claim(key.clone(), claim(Claimed::Other), || Ok(()))?.0;
                let sum = self.own_files.get(&target).cloned().flatten();
                self.record_sum(path, sum.as_deref());
                self.own_files.insert(path.clone(), sum);
                let target = LinkTarget::Hard { name: self.name_on_disk(&target), path: target };
                self.out.links.push(Link { path: path.clone(), name, key, attributes, xattrs: header.xattrs, target });
                verdict
            }
        };
        Ok(verdict)
    }

    fn device(&self, key: Key, path: &RootPath, entry: Entry) -> Result<Verdict, UnpackError> {
        let claim = Claim { owner: self.index, path: path.clone(), what: Claimed::Other };
        let note = || {
            self.staging.device(path.clone(), entry);
            Ok(())
        };
        Ok(self.claims.claim(key, claim, note)?.0)
    }

    /// The directory that holds `path` (the root holds itself). A symbolic link that this package brought earlier may
    /// lead to it; what no entry of the archive announces is made, as tar does.
    fn parent(&mut self, path: &RootPath) -> Result<Rc<Parent>, UnpackError> {
        let wanted = path.parent().unwrap_or_default();
        if let Some(parent) = self.parent.as_ref().filter(|parent| *parent.directory.path() == wanted) {
            return Ok(Rc::clone(parent));
        }
        let directory = match self.staging.directory(&wanted) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for link in self.out.links.iter().filter(|link| wanted.starts_with(&link.path)) {
                    link.make(self.staging, self.claims, self.index).map_err(|error| self.deb.staging_error(error))?;
                }
                self.staging.create_dir_all(&wanted)
            }
            other => other,
        };
        let identified = directory.and_then(|directory| Ok((directory.own_metadata()?.identity, directory)));
        let (identity, directory) = identified.map_err(|error| self.deb.staging_error(error))?;
        Ok(Rc::clone(self.parent.insert(Rc::new(Parent { directory, identity }))))
    }

    fn name_on_disk(&self, path: &RootPath) -> Vec<u8> {
        let suffix = if self.conffiles.contains(path) { NEW_CONFFILE } else { b"" };
        [path.file_name(), suffix].concat()
    }

    fn hard_link_target(&self, header: &Header, path: &RootPath) -> Result<RootPath, UnpackError> {
        let target = RootPath::new(&header.link)
            .map_err(|source| UnpackError::Path { package: self.deb.name.clone(), source })?;
        if !self.own_files.contains_key(&target) {
            let package = self.deb.name.clone();
            return Err(UnpackError::HardLink { package, path: path.clone(), target });
        }
        Ok(target)
    }

    /// Copies the data of an entry; gives its MD5 sum if that is wanted.
    fn copy(&mut self, tar: &mut impl Read, file: &mut File, path: &RootPath) -> Result<Option<String>, UnpackError> {
        let mut hasher = self.wants_sums.then(Md5::new);
        loop {
            let len = match tar.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.deb.data_error(error)),
            };
            file.write_all(&self.buffer[..len]).map_err(|source| {
                self.deb.staging_error(StagingError::Entry { action: "write", path: path.clone(), source })
            })?;
            if let Some(hasher) = &mut hasher {
                hasher.update(&self.buffer[..len]);
            }
        }
        Ok(hasher.map(|hasher| format!("{:x}", hasher.finalize())))
    }

    /// As dpkg generates a missing `md5sums`: every regular file and hard link, conffiles too.
    fn record_sum(&mut self, path: &RootPath, sum: Option<&str>) {
        if let (Some(text), Some(sum)) = (&mut self.out.md5sums, sum) {
            let _ = writeln!(text, "{sum}  {}", String::from_utf8_lossy(path.as_bytes()));
        }
    }
}

fn attributes(header: &Header) -> Attributes {
    Attributes { mode: header.mode, uid: header.uid, gid: header.gid, mtime: header.mtime }
}

fn device(attributes: Attributes, xattrs: BTreeMap<Vec<u8>, Vec<u8>>, kind: Kind) -> Entry {
    let Attributes { mode, uid, gid, mtime } = attributes;
    Entry { kind, mode, uid, gid, mtime, xattrs }
}
