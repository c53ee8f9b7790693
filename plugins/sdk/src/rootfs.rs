//! What a host offers of the image's files: few operations, each on one path that is already
//! resolved.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::resolve::resolve;
use crate::{Error, FileDigest, Problem, Result};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, with its target as written.
    Symlink(PathBuf),
    /// A device, a pipe or a socket.
    Special,
}

/// What is known of an entry beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub file_type: FileType,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Length in bytes of a regular file; 0 for anything else.
    pub size: u64,
}

impl Metadata {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Directory
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.file_type == FileType::File
    }
}

/// Mode and owner for a file that is written. What is not said is kept from the file that was
/// there, or else is 0644 and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Numeric owner and group.
    pub owner: Option<(u32, u32)>,
}

impl Attributes {
    /// This mode; the owner as it was.
    #[must_use]
    pub fn mode(mode: u32) -> Self {
        Self { mode: Some(mode), owner: None }
    }

    /// The same, with an owner.
    #[must_use]
    pub fn owner(self, uid: u32, gid: u32) -> Self {
        Self { owner: Some((uid, gid)), ..self }
    }
}

/// A program to run inside the new system. Its standard input is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Command {
    /// A path, or a name to be found in the new system's usual PATH.
    pub program: String,
    /// Arguments, without the program's own name.
    pub args: Vec<String>,
    /// Variables added to a small fixed environment.
    pub env: Vec<(String, String)>,
    /// How long it may take, where that is limited. It is killed then, and running it is an error.
    pub time_limit: Option<Duration>,
    /// Whether it is to reach the network of the host. It does where the recipe says so: see
    /// [`Description::network`](crate::Description::network).
    pub network: bool,
}

impl Command {
    /// Begins a command without arguments.
    pub fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), ..Self::default() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Asks for the network of the host, or not.
    #[must_use]
    pub fn network(self, network: bool) -> Self {
        Self { network, ..self }
    }

    /// Program and arguments in one line, for messages.
    #[must_use]
    pub fn line(&self) -> String {
        std::iter::once(&self.program).chain(&self.args).map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Exit status; 128 and the signal's number where a signal ended it.
    pub status: i32,
    /// What it printed on both outputs, as text; the beginning is left out where it is much.
    pub text: String,
}

/// The files of an image, as the host keeps them. [`Root`](crate::Root) is what plugins use.
///
/// Every path is absolute and resolved: no `.`, `..` or doubled slash, and no component before the
/// last is a symbolic link. No operation follows the last one either. A host must all the same see
/// to it that nothing outside the image is reached, as an image may be changed by programs at the
/// same time.
pub trait RootFs {
    /// The literal path that `path`, of any form, means inside the image: `..` stops at the top,
    /// absolute links start there. The last component is followed where `follow_last` says so; it
    /// need not exist.
    ///
    /// # Errors
    /// What is in the way.
    fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf, Problem> {
        resolve(self, path, follow_last)
    }

    /// What stands at `path`.
    ///
    /// # Errors
    /// [`Problem::NotFound`] where nothing does.
    fn metadata(&self, path: &Path) -> Result<Metadata>;

    /// The bytes of a regular file.
    ///
    /// # Errors
    /// [`Problem::NotAFile`] for anything else; `TooLarge` beyond the host's limit.
    fn read(&self, path: &Path) -> Result<Vec<u8>>;

    /// Puts a regular file of these bytes at `path`, at once: whoever reads sees the old file or
    /// the new one, whole. Other names of a file that was there (hard links) keep the old bytes.
    /// Extended attributes of that file are kept, but for capabilities, which the kernel drops from
    /// a changed file, too.
    ///
    /// # Errors
    /// [`Problem::NotAFile`] where something else is there.
    fn write(&mut self, path: &Path, contents: &[u8], attributes: Attributes) -> Result<()>;

    /// As [`RootFs::write`], of the bytes of a file beside the recipe, which the settings of a plugin
    /// name by this digest. Its size has no limit.
    ///
    /// # Errors
    /// [`Problem::Changed`] where the file has other bytes by now; always at the node stage.
    fn copy(&mut self, file: &FileDigest, path: &Path, attributes: Attributes) -> Result<()> {
        let _ = (file, attributes);
        let problem = "files beside the recipe can be copied at the system stage only";
        Err(Problem::Other(problem.into()).at("copy", path))
    }

    /// The names in a directory, in byte order, without `.` and `..`.
    ///
    /// # Errors
    /// [`Problem::NotADirectory`] for anything else.
    fn list(&self, path: &Path) -> Result<Vec<OsString>>;

    /// Makes a directory, owned by root, in one that exists.
    ///
    /// # Errors
    /// [`Problem::AlreadyExists`].
    fn create_dir(&mut self, path: &Path, mode: u32) -> Result<()>;

    /// Makes a symbolic link to `target`, which is not checked.
    ///
    /// # Errors
    /// [`Problem::AlreadyExists`].
    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()>;

    /// Removes an entry, a directory with all that is in it.
    ///
    /// # Errors
    /// [`Problem::NotFound`].
    fn remove(&mut self, path: &Path) -> Result<()>;

    /// Sets the permission bits. Never called for a symbolic link.
    ///
    /// # Errors
    /// [`Problem::NotFound`].
    fn set_mode(&mut self, path: &Path, mode: u32) -> Result<()>;

    /// Sets owner and group, of a symbolic link itself where it is one.
    ///
    /// # Errors
    /// [`Problem::NotFound`].
    fn set_owner(&mut self, path: &Path, uid: u32, gid: u32) -> Result<()>;

    /// The extended attributes by full name.
    ///
    /// # Errors
    /// [`Problem::NotFound`].
    fn xattrs(&self, path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>>;

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// [`Problem::NotFound`].
    fn set_xattr(&mut self, path: &Path, name: &[u8], value: &[u8]) -> Result<()>;

    /// Runs a program inside the new system and waits for it.
    ///
    /// # Errors
    /// [`Error::Run`] where it cannot be started, as always at the node stage. A program that ends
    /// with another status than 0 is no error here.
    fn run(&mut self, command: &Command) -> Result<Output> {
        Err(Error::Run { program: command.line(), message: "programs can be run at the system stage only".into() })
    }
}
