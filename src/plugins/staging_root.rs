//! The files of the new system while it is being made: the staging tree, with a sandbox to run its
//! programs in.
//!
//! The staging tree itself confines every operation under its root; here they are put into the
//! terms of plugins. What is done by files alone comes out as in memory (see
//! [`super::overlay_root`]). A program gets a sandbox of its own, so that between two programs the
//! tree is as it will be written out.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fam_isolation::sandbox::{self, Command as SandboxCommand, Network, RESOLV_CONF, Sandbox, Settings, TimeLimits};
use fam_isolation::supervisor::ExitStatus;
use fam_plugin::{
    Attributes, Command, FileDigest, FileType as PluginFileType, Metadata as PluginMetadata, Output, Problem, Result,
    RootFs,
};
use fam_progress::Progress;
use fam_rootfs::names;
use fam_rootfs::staging::{self, Attributes as StagingAttributes, Directory, FileType, Metadata, Staging};
use fam_tree::{RootPath, Timestamp};

use super::copied_files::CopiedFiles;
use super::overlay_root::{CAPABILITY, MAX_FILE_BYTES, check_names, literal, outlives_writing, permissions, unfit};

/// How much of what a program prints is kept for the plugin; the log has it all.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// The name under which a file is written before it replaces another. A crash leaves it in a
/// staging tree that nobody will use.
const UNFINISHED: &[u8] = b".fam-build-unfinished";

/// A staging tree, as files that plugins change.
#[derive(Debug)]
pub struct StagingRoot {
    staging: Arc<Staging>,
    sandbox: Settings,
    progress: Progress,
    mtime: Timestamp,
    copied: CopiedFiles,
    network: Network,
}

impl StagingRoot {
    /// The files of `staging`. Programs find inside what `sandbox` says, and what they print goes
    /// to `progress`; what is written has the time `source_date_epoch`, in seconds since 1970.
    pub fn new(staging: Arc<Staging>, sandbox: Settings, progress: Progress, source_date_epoch: i64) -> Self {
        let mtime = Timestamp { seconds: source_date_epoch, nanoseconds: 0 };
        let (copied, network) = (CopiedFiles::default(), Network::default());
        Self { staging, sandbox, progress, mtime, copied, network }
    }

    /// Lets plugins copy these files, which lie beside the recipe.
    #[must_use]
    pub fn with_copied_files(self, copied: CopiedFiles) -> Self {
        Self { copied, ..self }
    }

    /// Programs that ask for the network find `network` in it.
    #[must_use]
    pub fn with_network(self, network: Network) -> Self {
        Self { network, ..self }
    }

    /// The open directory of an entry other than the root, and the path of the entry.
    fn parent(&self, operation: &str, path: &Path) -> Result<(Directory, RootPath)> {
        let literal = literal(operation, path)?;
        let parent = self.staging.parent(&literal).map_err(|error| at(operation, path, &error))?;
        Ok((parent, literal))
    }

    /// Puts a regular file at `path`, whose bytes `fill` writes; a crash leaves no half of one there.
    fn put(
        &self,
        operation: &str,
        path: &Path,
        attributes: Attributes,
        fill: impl FnOnce(&mut File) -> Result<(), Problem>,
    ) -> Result<()> {
        check_names(operation, path, None)?;
        let (parent, literal) = self.parent(operation, path)?;
        let name = literal.file_name();
        let (present, mut xattrs) = match parent.metadata(name) {
            Ok(Metadata { file_type: FileType::File, attributes, .. }) => {
                (attributes, parent.xattrs(name).map_err(|error| at(operation, path, &error))?)
            }
            Ok(_) => return Err(Problem::NotAFile.at(operation, path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (StagingAttributes { mode: 0o644, uid: 0, gid: 0, mtime: self.mtime }, BTreeMap::new())
            }
            Err(error) => return Err(at(operation, path, &error)),
        };
        xattrs.retain(|key, _| outlives_writing(key));
        let (uid, gid) = attributes.owner.unwrap_or((present.uid, present.gid));
        let mode = attributes.mode.map_or(present.mode, permissions);
        let attributes = StagingAttributes { mode, uid, gid, mtime: self.mtime };
        let failed = |error| at(operation, path, &error);
        let replace = || -> Result<()> {
            let mut file = parent.create_file_anew(UNFINISHED).map_err(failed)?;
            fill(&mut file).map_err(|problem| problem.at(operation, path))?;
            parent.finish_file(UNFINISHED, &file, &attributes, &xattrs).map_err(failed)?;
            parent.rename(UNFINISHED, name).map_err(failed)
        };
        keeping_time(&parent, failed, || {
            replace().inspect_err(|_| {
                // What went wrong before is what counts.
                let _ = parent.remove(UNFINISHED);
            })
        })
    }

    /// Makes something new at `path` by `make`, which gets its directory and its name.
    fn make(
        &self,
        operation: &str,
        path: &Path,
        mode: u16,
        make: impl FnOnce(&Directory, &[u8]) -> Result<bool, staging::Error>,
    ) -> Result<()> {
        let (parent, literal) = self.parent(operation, path)?;
        let (name, failed) = (literal.file_name(), |error| at(operation, path, &error));
        let attributes = StagingAttributes { mode, uid: 0, gid: 0, mtime: self.mtime };
        keeping_time(&parent, failed, || {
            if !make(&parent, name).map_err(failed)? {
                return Err(Problem::AlreadyExists.at(operation, path));
            }
            // It may have got the group of its directory.
            parent.set_attributes(name, &attributes, &BTreeMap::new()).map_err(failed)
        })
    }

    fn change(
        &self,
        operation: &str,
        path: &Path,
        change: impl FnOnce(&mut StagingAttributes, &mut BTreeMap<Vec<u8>, Vec<u8>>),
    ) -> Result<()> {
        let literal = literal(operation, path)?;
        let act = || -> Result<(), staging::Error> {
            if literal.is_root() {
                let root = self.staging.directory(&literal)?;
                let mut attributes = root.own_metadata()?.attributes;
                let mut xattrs = BTreeMap::new();
                change(&mut attributes, &mut xattrs);
                return root.set_own_attributes(&attributes, &xattrs);
            }
            let (parent, name) = (self.staging.parent(&literal)?, literal.file_name());
            let mut attributes = parent.metadata(name)?.attributes;
            // Setting the owner takes capabilities away, even where it is the same.
            let mut xattrs = parent.xattrs(name)?;
            xattrs.retain(|key, _| key == CAPABILITY);
            change(&mut attributes, &mut xattrs);
            parent.set_attributes(name, &attributes, &xattrs)
        };
        act().map_err(|error| at(operation, path, &error))
    }
}

impl RootFs for StagingRoot {
    fn metadata(&self, path: &Path) -> Result<PluginMetadata> {
        let literal = literal("look at", path)?;
        let metadata = self.staging.metadata(&literal).map_err(|error| at("look at", path, &error))?;
        let file_type = match metadata.file_type {
            FileType::File => PluginFileType::File,
            FileType::Directory => PluginFileType::Directory,
            FileType::Symlink => {
                let (parent, literal) = self.parent("look at", path)?;
                let target = parent.read_link(literal.file_name()).map_err(|error| at("look at", path, &error))?;
                PluginFileType::Symlink(PathBuf::from(OsString::from_vec(target)))
            }
            FileType::Fifo | FileType::CharDevice | FileType::BlockDevice | FileType::Socket => PluginFileType::Special,
        };
        let size = if file_type == PluginFileType::File { metadata.size } else { 0 };
        let StagingAttributes { mode, uid, gid, .. } = metadata.attributes;
        Ok(PluginMetadata { file_type, mode: mode.into(), uid, gid, size })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let (parent, literal) = self.parent("read", path)?;
        let metadata = parent.metadata(literal.file_name()).map_err(|error| at("read", path, &error))?;
        if metadata.file_type != FileType::File {
            return Err(Problem::NotAFile.at("read", path));
        }
        let file = parent.open_file(literal.file_name()).map_err(|error| at("read", path, &error))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| other("read", path, &error))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            Err(Problem::TooLarge(MAX_FILE_BYTES).at("read", path))
        } else {
            Ok(bytes)
        }
    }

    fn write(&mut self, path: &Path, contents: &[u8], attributes: Attributes) -> Result<()> {
        if contents.len() as u64 > MAX_FILE_BYTES {
            return Err(Problem::TooLarge(MAX_FILE_BYTES).at("write", path));
        }
        self.put("write", path, attributes, |file| {
            file.write_all(contents).map_err(|error| Problem::Other(error.to_string()))
        })
    }

    fn copy(&mut self, file: &FileDigest, path: &Path, attributes: Attributes) -> Result<()> {
        self.put("copy", path, attributes, |to| self.copied.copy(file, to))
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let names = self.staging.list(&literal("list", path)?).map_err(|error| at("list", path, &error))?;
        Ok(names.into_iter().map(OsString::from_vec).collect())
    }

    fn create_dir(&mut self, path: &Path, mode: u32) -> Result<()> {
        check_names("create directory", path, None)?;
        let mode = permissions(mode);
        self.make("create directory", path, mode, |parent, name| parent.create_directory(name, mode))
    }

    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()> {
        check_names("link", path, Some(target))?;
        let target = target.as_os_str().as_bytes();
        self.make("link", path, 0o777, |parent, name| parent.symlink(name, target).map(|()| true))
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        let (parent, literal) = self.parent("remove", path)?;
        let name = literal.file_name();
        let failed = |error| at("remove", path, &error);
        // That nothing is there is no error to the staging tree.
        keeping_time(&parent, failed, || parent.metadata(name).and_then(|_| parent.remove(name)).map_err(failed))
    }

    fn set_mode(&mut self, path: &Path, mode: u32) -> Result<()> {
        self.change("change mode of", path, |attributes, _| attributes.mode = permissions(mode))
    }

    fn set_owner(&mut self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        self.change("change owner of", path, |attributes, _| (attributes.uid, attributes.gid) = (uid, gid))
    }

    fn xattrs(&self, path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let (parent, literal) = self.parent("read attributes of", path)?;
        parent.xattrs(literal.file_name()).map_err(|error| at("read attributes of", path, &error))
    }

    fn set_xattr(&mut self, path: &Path, name: &[u8], value: &[u8]) -> Result<()> {
        self.change("set attribute of", path, |_, xattrs| drop(xattrs.insert(name.into(), value.into())))
    }

    fn run(&mut self, command: &Command) -> Result<Output> {
        let failed =
            |error: sandbox::Error| fam_plugin::Error::Run { program: command.line(), message: error.to_string() };
        let mut inside = SandboxCommand::new(&command.program).args(&command.args);
        for (name, value) in &command.env {
            inside = inside.env(name, value);
        }
        if let Some(limit) = command.time_limit {
            inside = inside.within(TimeLimits { whole: limit, silent: limit });
        }
        let mut settings = self.sandbox.clone();
        if command.network {
            settings.network = Some(self.network.clone());
            self.progress.detail(format!("{} has the network of this host", command.program));
        }
        let stand_ins = settings.stand_ins.iter().map(|stand_in| Path::new(&stand_in.path));
        let resolv_conf = settings.network.as_ref().map(|_| Path::new(RESOLV_CONF));
        let absent: Vec<PathBuf> = stand_ins
            .chain(resolv_conf)
            .filter(|path| self.metadata(path).is_err_and(|error| error.is_not_found()))
            .map(Path::to_owned)
            .collect();
        let mut sandbox = Sandbox::enter(self.staging.host_path(), &settings).map_err(failed)?;
        let mut printed = Printed::default();
        let ended = sandbox.run(&inside, |line| {
            self.progress.output(&command.program, line);
            printed.push(line);
        });
        // Also after a failure, so that the stand-ins go.
        let left = sandbox.leave();
        if ended.is_err() || left.is_err() {
            // A sandbox that was ended cannot take them away.
            for path in absent {
                let _ = self.remove(&path);
            }
        }
        let ended = ended.map_err(failed)?;
        left.map_err(failed)?;
        let unfit_name = names::find_unfit(&self.staging);
        let unfit_name = unfit_name
            .map_err(|error| fam_plugin::Error::Run { program: command.line(), message: error.to_string() })?;
        if let Some(path) = unfit_name {
            return Err(unfit("keep", &path));
        }
        let status = match ended {
            ExitStatus::Exited(status) => status,
            // As a shell counts it in `$?`.
            ExitStatus::Signaled(signal) => 128 + signal,
        };
        Ok(Output { status, text: printed.text() })
    }
}

/// Changes what is in `directory` by `change`, and gives it back the time that it had.
fn keeping_time(
    directory: &Directory,
    failed: impl Fn(staging::Error) -> fam_plugin::Error,
    change: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let mtime = directory.own_metadata().map_err(&failed)?.attributes.mtime;
    change()?;
    directory.set_own_time(mtime).map_err(failed)
}

/// The last lines that a program printed.
#[derive(Debug, Default)]
struct Printed {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Printed {
    fn push(&mut self, line: &str) {
        self.bytes += line.len() + 1;
        self.lines.push_back(format!("{line}\n"));
        while self.bytes > MAX_TEXT_BYTES
            && let Some(first) = self.lines.pop_front()
        {
            self.bytes -= first.len();
        }
    }

    fn text(self) -> String {
        self.lines.into_iter().collect()
    }
}

fn at(operation: &str, path: &Path, error: &staging::Error) -> fam_plugin::Error {
    let problem = match error.kind() {
        io::ErrorKind::NotFound => Problem::NotFound,
        io::ErrorKind::AlreadyExists => Problem::AlreadyExists,
        io::ErrorKind::NotADirectory => Problem::NotADirectory,
        io::ErrorKind::IsADirectory => Problem::NotAFile,
        io::ErrorKind::InvalidInput => Problem::BadPath,
        _ => match error {
            staging::Error::Entry { source, .. } => Problem::Other(source.to_string()),
            error => Problem::Other(error.to_string()),
        },
    };
    problem.at(operation, path)
}

fn other(operation: &str, path: &Path, error: &io::Error) -> fam_plugin::Error {
    Problem::Other(error.to_string()).at(operation, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_end_of_what_is_printed() {
        let mut printed = Printed::default();
        let line = "x".repeat(1023);
        for _ in 0..5000 {
            printed.push(&line);
        }
        printed.push("last");
        let text = printed.text();
        assert!(text.len() <= MAX_TEXT_BYTES && text.len() > MAX_TEXT_BYTES - 2048);
        assert!(text.ends_with("x\nlast\n"));
    }
}
