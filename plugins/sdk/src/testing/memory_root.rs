//! An image in memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Attributes, Command, Contents, Error, FileDigest, FileType, Metadata, Output, Problem, Result, RootFs};

#[derive(Debug, Clone)]
struct Entry {
    file_type: FileType,
    mode: u32,
    owner: (u32, u32),
    contents: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Entry {
    fn new(file_type: FileType, mode: u32) -> Self {
        Self { file_type, mode, owner: (0, 0), contents: Vec::new(), xattrs: BTreeMap::new() }
    }
}

type Program = Box<dyn FnMut(&Command) -> Result<Output>>;

/// An image in memory. It has no programs: what [`Root::run`] gives is up to the test.
pub struct MemoryRoot {
    entries: BTreeMap<PathBuf, Entry>,
    program: Option<Program>,
    commands: Vec<Command>,
    recipe_files: BTreeMap<FileDigest, Vec<u8>>,
}

impl fmt::Debug for MemoryRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRoot").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Default for MemoryRoot {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryRoot {
    /// An image with nothing but its root directory.
    #[must_use]
    pub fn new() -> Self {
        let root = Entry::new(FileType::Directory, 0o755);
        let entries = BTreeMap::from([(PathBuf::from("/"), root)]);
        Self { entries, program: None, commands: Vec::new(), recipe_files: BTreeMap::new() }
    }

    /// An image with the directories and account files that every Debian system has.
    #[must_use]
    pub fn debian() -> Self {
        let mut image = Self::new();
        for dir in [
            "bin",
            "etc",
            "etc/apt",
            "etc/apt/apt.conf.d",
            "etc/apt/sources.list.d",
            "etc/network",
            "etc/network/interfaces.d",
            "etc/skel",
            "etc/ssh",
            "etc/sudoers.d",
            "etc/systemd",
            "etc/systemd/system",
            "home",
            "mnt",
            "opt",
            "usr",
            "usr/bin",
            "usr/lib",
            "usr/sbin",
            "usr/share",
            "usr/share/keyrings",
            "var",
            "var/lib",
        ] {
            image.put_dir(dir, 0o755);
        }
        image.put_dir("root", 0o700);
        image.put("etc/passwd", DEBIAN_PASSWD, 0o644);
        image.put("etc/group", DEBIAN_GROUP, 0o644);
        image.put("etc/shadow", "root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\n", 0o640);
        image.put("etc/gshadow", "root:*::\ndaemon:*::\nsudo:*::\nusers:*::\n", 0o640);
        for secret in ["/etc/shadow", "/etc/gshadow"] {
            if let Some(entry) = image.entries.get_mut(Path::new(secret)) {
                entry.owner = (0, 42);
            }
        }
        image.put("etc/skel/.profile", "# ~/.profile\n", 0o644);
        image
    }

    /// Puts a file of root's, for the test to start from.
    pub fn put(&mut self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>, mode: u32) {
        let entry = Entry { contents: contents.as_ref().to_vec(), ..Entry::new(FileType::File, mode) };
        self.entries.insert(Path::new("/").join(path), entry);
    }

    /// Puts a directory of root's.
    pub fn put_dir(&mut self, path: impl AsRef<Path>, mode: u32) {
        self.entries.insert(Path::new("/").join(path), Entry::new(FileType::Directory, mode));
    }

    /// Keeps the bytes of a file beside the recipe, which the plugin may have copied from now on;
    /// gives what its settings have of it.
    pub fn recipe_file(&mut self, bytes: impl AsRef<[u8]>) -> Contents {
        let bytes = bytes.as_ref().to_vec();
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = FileDigest { size: bytes.len() as u64, sha256 };
        self.recipe_files.insert(digest.clone(), bytes);
        Contents::Digest(digest)
    }

    /// Sets what [`Root::run`](crate::Root::run) does. Without it, running anything is an error, as at the node
    /// stage.
    pub fn on_run(&mut self, program: impl FnMut(&Command) -> Result<Output> + 'static) {
        self.program = Some(Box::new(program));
    }

    /// The commands that were run.
    #[must_use]
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// The text of a file.
    ///
    /// # Panics
    /// Where it is missing or not UTF-8: the test fails.
    #[must_use]
    #[track_caller]
    pub fn text(&self, path: impl AsRef<Path>) -> String {
        let path = path.as_ref();
        match self.entries.get(path) {
            Some(Entry { file_type: FileType::File, contents, .. }) => match String::from_utf8(contents.clone()) {
                Ok(text) => text,
                Err(_) => panic!("{} is not UTF-8", path.display()),
            },
            other => panic!("{} is no file: {other:?}", path.display()),
        }
    }

    /// All paths, directories before what is in them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.entries.keys().map(PathBuf::as_path)
    }

    fn entry(&self, operation: &str, path: &Path) -> Result<&Entry> {
        self.entries.get(path).ok_or_else(|| Problem::NotFound.at(operation, path))
    }

    fn entry_mut(&mut self, operation: &str, path: &Path) -> Result<&mut Entry> {
        self.entries.get_mut(path).ok_or_else(|| Problem::NotFound.at(operation, path))
    }

    fn vacant(&self, operation: &str, path: &Path) -> Result<()> {
        match path.parent().and_then(|parent| self.entries.get(parent)) {
            Some(Entry { file_type: FileType::Directory, .. }) => {}
            Some(_) => return Err(Problem::NotADirectory.at(operation, path)),
            None => return Err(Problem::NotFound.at(operation, path)),
        }
        if self.entries.contains_key(path) { Err(Problem::AlreadyExists.at(operation, path)) } else { Ok(()) }
    }
}

impl RootFs for MemoryRoot {
    fn metadata(&self, path: &Path) -> Result<Metadata> {
        let entry = self.entry("look at", path)?;
        Ok(Metadata {
            file_type: entry.file_type.clone(),
            mode: entry.mode,
            uid: entry.owner.0,
            gid: entry.owner.1,
            size: entry.contents.len() as u64,
        })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let entry = self.entry("read", path)?;
        if entry.file_type == FileType::File {
            Ok(entry.contents.clone())
        } else {
            Err(Problem::NotAFile.at("read", path))
        }
    }

    fn write(&mut self, path: &Path, contents: &[u8], attributes: Attributes) -> Result<()> {
        let mut entry = match self.entries.get(path) {
            Some(present) if present.file_type == FileType::File => present.clone(),
            Some(_) => return Err(Problem::NotAFile.at("write", path)),
            None => {
                self.vacant("write", path)?;
                Entry::new(FileType::File, 0o644)
            }
        };
        entry.contents = contents.to_vec();
        entry.mode = attributes.mode.unwrap_or(entry.mode) & 0o7777;
        entry.owner = attributes.owner.unwrap_or(entry.owner);
        entry.xattrs.remove(b"security.capability".as_slice());
        self.entries.insert(path.into(), entry);
        Ok(())
    }

    fn copy(&mut self, file: &FileDigest, path: &Path, attributes: Attributes) -> Result<()> {
        let bytes = self.recipe_files.get(file).cloned();
        let unknown = || Problem::Other("no file of the settings has this digest".into()).at("copy", path);
        self.write(path, &bytes.ok_or_else(unknown)?, attributes)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        if self.entry("list", path)?.file_type != FileType::Directory {
            return Err(Problem::NotADirectory.at("list", path));
        }
        let mut names: Vec<OsString> = self
            .entries
            .keys()
            .filter(|candidate| candidate.parent() == Some(path))
            .filter_map(|candidate| candidate.file_name().map(ToOwned::to_owned))
            .collect();
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        Ok(names)
    }

    fn create_dir(&mut self, path: &Path, mode: u32) -> Result<()> {
        self.vacant("create directory", path)?;
        self.put_dir(path, mode & 0o7777);
        Ok(())
    }

    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()> {
        self.vacant("link", path)?;
        self.entries.insert(path.into(), Entry::new(FileType::Symlink(target.into()), 0o777));
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        self.entry("remove", path)?;
        self.entries.retain(|candidate, _| !candidate.starts_with(path));
        Ok(())
    }

    fn set_mode(&mut self, path: &Path, mode: u32) -> Result<()> {
        self.entry_mut("change mode of", path)?.mode = mode & 0o7777;
        Ok(())
    }

    fn set_owner(&mut self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        self.entry_mut("change owner of", path)?.owner = (uid, gid);
        Ok(())
    }

    fn xattrs(&self, path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        Ok(self.entry("read attributes of", path)?.xattrs.clone())
    }

    fn set_xattr(&mut self, path: &Path, name: &[u8], value: &[u8]) -> Result<()> {
        self.entry_mut("set attribute of", path)?.xattrs.insert(name.into(), value.into());
        Ok(())
    }

    fn run(&mut self, command: &Command) -> Result<Output> {
        self.commands.push(command.clone());
        match &mut self.program {
            Some(program) => program(command),
            None => Err(Error::Run { program: command.line(), message: "there are no programs here".into() }),
        }
    }
}

const DEBIAN_PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";
const DEBIAN_GROUP: &str = "root:x:0:\ndaemon:x:1:\nsudo:x:27:\nusers:x:100:\nnogroup:x:65534:\n";
