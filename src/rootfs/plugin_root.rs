//! The staging tree as system-stage plugins see it: files through [`Staging`], programs through [`Sandbox`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use fam_plugin::{
    Attributes as Wanted, Command, Error, FileType as PluginFileType, Metadata as PluginMetadata, Output, Problem, Result,
    RootFs,
};

use super::sandbox::{self, Sandbox, Tail};
use super::staging::{Attributes, Directory, FileType, Metadata, Staging, StagingError};
use crate::progress::Progress;
use crate::supervisor::Ended;
use crate::tree::RootPath;

/// Larger files than this are not for plugins to hold in memory.
const LARGEST_FILE_BYTES: u64 = 1 << 30;
/// Capabilities of a program belong to its bytes: the kernel, too, drops them when these change.
const CAPABILITY: &[u8] = b"security.capability";

/// The tree and a sandbox around it.
#[derive(Debug)]
pub struct PluginRoot<'a> {
    staging: &'a Staging,
    sandbox: &'a mut Sandbox,
    progress: &'a Progress,
}

impl<'a> PluginRoot<'a> {
    /// Gives plugins the tree `staging`; programs run in `sandbox`, which is around the same tree.
    pub fn new(staging: &'a Staging, sandbox: &'a mut Sandbox, progress: &'a Progress) -> Self {
        Self { staging, sandbox, progress }
    }

    /// The directory that holds the entry at `path`, and the entry's name in it.
    fn place(&self, operation: &'static str, path: &Path) -> Result<(Directory, Vec<u8>)> {
        let inside = RootPath::new(path.as_os_str().as_bytes()).map_err(|_| Problem::BadPath.at(operation, path))?;
        let directory = self.staging.parent(&inside).map_err(|error| problem(&error).at(operation, path))?;
        Ok((directory, inside.file_name().to_vec()))
    }

    /// Changes attributes of the entry at `path`.
    fn change(&self, operation: &'static str, path: &Path, change: impl FnOnce(&mut Attributes)) -> Result<()> {
        let (directory, name) = self.place(operation, path)?;
        let failed = |error: StagingError| problem(&error).at(operation, path);
        let mut attributes = directory.metadata(&name).map_err(failed)?.attributes;
        let xattrs = directory.xattrs(&name).map_err(failed)?;
        change(&mut attributes);
        directory.set_attributes(&name, &attributes, &xattrs).map_err(failed)
    }
}

fn problem(error: &StagingError) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => Problem::NotFound,
        io::ErrorKind::AlreadyExists => Problem::AlreadyExists,
        io::ErrorKind::NotADirectory => Problem::NotADirectory,
        _ => Problem::Other(error.to_string()),
    }
}

impl RootFs for PluginRoot<'_> {
    fn metadata(&self, path: &Path) -> Result<PluginMetadata> {
        let failed = |error: StagingError| problem(&error).at("look at", path);
        if path == Path::new("/") {
            let root = self.staging.directory(&RootPath::root()).map_err(failed)?;
            return Ok(described(&root.own_metadata().map_err(failed)?, PluginFileType::Directory));
        }
        let (directory, name) = self.place("look at", path)?;
        let metadata = directory.metadata(&name).map_err(failed)?;
        let file_type = match metadata.file_type {
            FileType::File => PluginFileType::File,
            FileType::Directory => PluginFileType::Directory,
            FileType::Symlink => {
                let target = directory.read_link(&name).map_err(failed)?;
                PluginFileType::Symlink(PathBuf::from(OsString::from_vec(target)))
            }
            _ => PluginFileType::Special,
        };
        Ok(described(&metadata, file_type))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let failed = |error: StagingError| problem(&error).at("read", path);
        let (directory, name) = self.place("read", path)?;
        let metadata = directory.metadata(&name).map_err(failed)?;
        if metadata.file_type != FileType::File {
            return Err(Problem::NotAFile.at("read", path));
        }
        if metadata.size > LARGEST_FILE_BYTES {
            return Err(Problem::TooLarge(LARGEST_FILE_BYTES).at("read", path));
        }
        let mut bytes = Vec::new();
        let file = directory.open_file(&name).map_err(failed)?;
        file.take(LARGEST_FILE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| Problem::Other(error.to_string()).at("read", path))?;
        Ok(bytes)
    }

    fn write(&mut self, path: &Path, contents: &[u8], wanted: Wanted) -> Result<()> {
        let failed = |error: StagingError| problem(&error).at("write", path);
        let (directory, name) = self.place("write", path)?;
        let (mut attributes, xattrs) = match directory.metadata(&name) {
            Ok(metadata) if metadata.file_type == FileType::File => {
                let mut xattrs = directory.xattrs(&name).map_err(failed)?;
                xattrs.remove(CAPABILITY);
                (metadata.attributes, xattrs)
            }
            Ok(_) => return Err(Problem::NotAFile.at("write", path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (Attributes { mode: 0o644, uid: 0, gid: 0, mtime: Default::default() }, BTreeMap::new())
            }
            Err(error) => return Err(failed(error)),
        };
        // Under another name first: whoever reads sees the old file or the new one, whole.
        let unfinished = [b".fam-build.", &name[..name.len().min(200)]].concat();
        let mut file = directory.create_file_anew(&unfinished).map_err(failed)?;
        file.write_all(contents).map_err(|error| Problem::Other(error.to_string()).at("write", path))?;
        let written = directory.metadata(&unfinished).map_err(failed)?;
        attributes.mtime = written.attributes.mtime;
        attributes.mode = wanted.mode.map_or(attributes.mode, permissions);
        (attributes.uid, attributes.gid) = wanted.owner.unwrap_or((attributes.uid, attributes.gid));
        directory.finish_file(&unfinished, &file, &attributes, &xattrs).map_err(failed)?;
        directory.rename(&unfinished, &name).map_err(failed)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let inside = RootPath::new(path.as_os_str().as_bytes()).map_err(|_| Problem::BadPath.at("list", path))?;
        let names = self.staging.list(&inside).map_err(|error| problem(&error).at("list", path))?;
        Ok(names.into_iter().map(OsString::from_vec).collect())
    }

    fn create_dir(&mut self, path: &Path, mode: u32) -> Result<()> {
        let (directory, name) = self.place("create directory", path)?;
        match directory.create_directory(&name, permissions(mode)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Problem::AlreadyExists.at("create directory", path)),
            Err(error) => Err(problem(&error).at("create directory", path)),
        }
    }

    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()> {
        let (directory, name) = self.place("link", path)?;
        directory.symlink(&name, target.as_os_str().as_bytes()).map_err(|error| problem(&error).at("link", path))
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        let (directory, name) = self.place("remove", path)?;
        let failed = |error: StagingError| problem(&error).at("remove", path);
        directory.metadata(&name).map_err(failed)?;
        directory.remove(&name).map_err(failed)
    }

    fn set_mode(&mut self, path: &Path, mode: u32) -> Result<()> {
        self.change("change mode of", path, |attributes| attributes.mode = permissions(mode))
    }

    fn set_owner(&mut self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        self.change("change owner of", path, |attributes| (attributes.uid, attributes.gid) = (uid, gid))
    }

    fn xattrs(&self, path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let (directory, name) = self.place("read attributes of", path)?;
        directory.xattrs(&name).map_err(|error| problem(&error).at("read attributes of", path))
    }

    fn set_xattr(&mut self, path: &Path, key: &[u8], value: &[u8]) -> Result<()> {
        let (directory, name) = self.place("set attribute of", path)?;
        let failed = |error: StagingError| problem(&error).at("set attribute of", path);
        let attributes = directory.metadata(&name).map_err(failed)?.attributes;
        let xattrs = BTreeMap::from([(key.to_vec(), value.to_vec())]);
        directory.set_attributes(&name, &attributes, &xattrs).map_err(failed)
    }

    fn run(&mut self, command: &Command) -> Result<Output> {
        let mut inside = sandbox::Command::new(&command.program).args(command.args.clone());
        for (name, value) in &command.env {
            inside = inside.env(name, value);
        }
        let mut tail = Tail::default();
        let ended = self.sandbox.run(&inside, |line| {
            tail.push(line);
            self.progress.output(&command.program, line);
        });
        let ended = ended.map_err(|error| Error::Run { program: command.line(), message: error.to_string() })?;
        let status = match ended {
            Ended::Exited(status) => status,
            Ended::Signaled(signal) => 128 + signal,
        };
        Ok(Output { status, text: tail.into_lines().join("\n") })
    }
}

fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

fn described(metadata: &Metadata, file_type: PluginFileType) -> PluginMetadata {
    let Attributes { mode, uid, gid, .. } = metadata.attributes;
    let size = if metadata.file_type == FileType::File { metadata.size } else { 0 };
    PluginMetadata { file_type, mode: mode.into(), uid, gid, size }
}
