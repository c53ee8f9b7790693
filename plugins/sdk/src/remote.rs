//! The host of a plugin that runs in a process of its own: what the plugin wants of its files, of
//! secrets and of the log becomes requests of the protocol.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::{self, Bytes, MAX_CONTENTS_BYTES, Mode, Reply, Request};
use crate::{
    Attributes, Command, Error, FileDigest, FileType, Host, Level, Metadata, Output, Problem, Result, RootFs, Scope,
};

/// The two directions in which lines go; they may be one socket.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: BufReader<File>,
    writer: File,
}

impl Connection {
    pub(crate) fn new(reader: File, writer: File) -> Self {
        Self { reader: BufReader::new(reader), writer }
    }

    pub(crate) fn receive<M: DeserializeOwned>(&mut self) -> io::Result<M> {
        let mut line = Vec::new();
        // Files are read into memory whole, by any plugin; the other side sees to it that they are
        // not too large.
        self.reader.by_ref().read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is gone"));
        }
        Ok(serde_json::from_slice(&line)?)
    }

    pub(crate) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.writer.write_all(&line)
    }
}

/// fam-build, at the other end. Threads of the plugin share it.
#[derive(Debug, Clone)]
pub(crate) struct Remote(Arc<Mutex<Connection>>);

impl Remote {
    pub(crate) fn new(connection: Connection) -> Self {
        Self(Arc::new(Mutex::new(connection)))
    }

    /// Says the last thing of a call, which is not answered.
    pub(crate) fn say(&self, last: &Request) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).send(last)
    }

    fn exchange(&self, request: &Request) -> io::Result<Reply> {
        // Held until the answer is there: answers have no numbers, so the next one is to this
        // request.
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.send(request)?;
        connection.receive()
    }

    /// Asks for something; `failed` makes the error of a reply that says that it was not done.
    fn ask(&self, request: &Request, failed: impl FnOnce(&Reply) -> Option<Error>) -> Result<Reply> {
        let reply = self.exchange(request).map_err(|error| cannot_talk(&error))?;
        if reply.ok {
            return Ok(reply);
        }
        let error = failed(&reply);
        Err(error.unwrap_or_else(|| Error::Failed(reply.error.unwrap_or_else(|| "fam-build does not say why".into()))))
    }

    /// Asks for something that is not about a file.
    pub(crate) fn request(&self, request: &Request) -> Result<Reply> {
        self.ask(request, |_| None)
    }

    /// Asks for `operation` on the file at `path`. Its error has the problem as such, where the
    /// reply says which it is.
    fn file(&self, operation: &str, path: &Path, request: &Request) -> Result<Reply> {
        self.ask(request, |reply| Some(reply.problem()?.at(operation, path)))
    }
}

fn cannot_talk(error: &io::Error) -> Error {
    Error::failed(format!("talk to fam-build: {error}"))
}

/// The error of an answer without what was asked for.
fn incomplete(operation: &str, path: &Path) -> Error {
    Problem::Other("fam-build's answer has nothing of it".into()).at(operation, path)
}

fn bytes(path: &Path) -> Bytes {
    Bytes(path.as_os_str().as_bytes().to_vec())
}

fn path_of(bytes: Bytes) -> PathBuf {
    OsString::from_vec(bytes.0).into()
}

/// Refuses what would not fit into a line, before it is copied.
fn require_room(operation: &str, path: &Path, contents: &[u8]) -> Result<()> {
    if contents.len() > MAX_CONTENTS_BYTES {
        return Err(Problem::TooLarge(MAX_CONTENTS_BYTES as u64).at(operation, path));
    }
    Ok(())
}

impl Host for Remote {
    fn secret(&self, scope: Scope, label: &str) -> [u8; 32] {
        let node = match scope {
            Scope::Cluster => 0,
            Scope::Node(number) => number,
        };
        let reply = self.request(&Request::Secret { label: label.into(), node: Some(node) });
        match reply.map(|reply| reply.secret) {
            Ok(Some(secret)) => secret.0,
            // Zeros would be a secret that everyone knows.
            Ok(None) => panic!("fam-build gives no secret"),
            Err(error) => panic!("fam-build gives no secret: {error}"),
        }
    }

    fn log(&self, level: Level, message: &str) {
        // Where fam-build is gone, the next request that needs an answer fails.
        let _ = self.exchange(&Request::Log { message: message.into(), warning: level == Level::Warning });
    }
}

impl RootFs for Remote {
    fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf, Problem> {
        let request = Request::Resolve { path: bytes(path), follow: follow_last };
        match self.file("find", path, &request) {
            Ok(reply) => reply.path.map(path_of).ok_or(Problem::BadPath),
            Err(Error::File { problem, .. }) => Err(problem),
            Err(error) => Err(Problem::Other(error.to_string())),
        }
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        let reply = self.file("look at", path, &Request::Stat { path: bytes(path), follow: false })?;
        let protocol::Stat { file_type, mode: Mode(mode), uid, gid, size, target } =
            reply.stat.ok_or_else(|| incomplete("look at", path))?;
        let file_type = match file_type {
            protocol::FileType::File => FileType::File,
            protocol::FileType::Directory => FileType::Directory,
            protocol::FileType::Symlink => FileType::Symlink(target.map(path_of).unwrap_or_default()),
            protocol::FileType::Special => FileType::Special,
        };
        Ok(Metadata { file_type, mode, uid, gid, size })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let reply = self.file("read", path, &Request::Read { path: bytes(path), base64: false })?;
        reply.contents.map(protocol::Contents::into_bytes).ok_or_else(|| incomplete("read", path))
    }

    fn write(&mut self, path: &Path, contents: &[u8], attributes: Attributes) -> Result<()> {
        require_room("write", path, contents)?;
        let Attributes { mode, owner } = attributes;
        let (path_bytes, contents) = (bytes(path), Bytes(contents.to_vec()));
        let request = Request::Write { path: path_bytes, contents, mode: mode.map(Mode), owner };
        self.file("write", path, &request).map(drop)
    }

    fn copy(&mut self, file: &FileDigest, path: &Path, attributes: Attributes) -> Result<()> {
        let Attributes { mode, owner } = attributes;
        let (sha256, size) = (file.sha256.clone(), file.size);
        let request = Request::Copy { sha256, size, path: bytes(path), mode: mode.map(Mode), owner };
        self.file("copy", path, &request).map(drop)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let reply = self.file("list", path, &Request::List { path: bytes(path) })?;
        let names = reply.names.ok_or_else(|| incomplete("list", path))?;
        Ok(names.into_iter().map(|name| OsString::from_vec(name.0)).collect())
    }

    fn create_dir(&mut self, path: &Path, mode: u32) -> Result<()> {
        let request = Request::CreateDir { path: bytes(path), mode: Some(Mode(mode)) };
        self.file("create directory", path, &request).map(drop)
    }

    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()> {
        let request = Request::Symlink { target: bytes(target), path: bytes(path) };
        self.file("link", path, &request).map(drop)
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        self.file("remove", path, &Request::Remove { path: bytes(path) }).map(drop)
    }

    fn set_mode(&mut self, path: &Path, mode: u32) -> Result<()> {
        let request = Request::SetMode { path: bytes(path), mode: Mode(mode) };
        self.file("change mode of", path, &request).map(drop)
    }

    fn set_owner(&mut self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        let request = Request::SetOwner { path: bytes(path), uid, gid, follow: false };
        self.file("change owner of", path, &request).map(drop)
    }

    fn xattrs(&self, path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let reply = self.file("read attributes of", path, &Request::Xattrs { path: bytes(path) })?;
        let xattrs = reply.xattrs.ok_or_else(|| incomplete("read attributes of", path))?;
        Ok(xattrs.into_iter().map(|(name, value)| (name.0, value.0)).collect())
    }

    fn set_xattr(&mut self, path: &Path, name: &[u8], value: &[u8]) -> Result<()> {
        require_room("set attribute of", path, value)?;
        let (name, value) = (Bytes(name.to_vec()), Bytes(value.to_vec()));
        self.file("set attribute of", path, &Request::SetXattr { path: bytes(path), name, value }).map(drop)
    }

    fn run(&mut self, command: &Command) -> Result<Output> {
        let Command { program, args, env, network, .. } = command;
        let env = env.iter().cloned().collect();
        let request = Request::Run { program: program.clone(), args: args.clone(), env, network: *network };
        let reply = self.ask(&request, |reply| {
            let (program, text) = (command.line(), reply.error.clone()?);
            // The text begins as that of `Error::Run` does, which would then stand there twice.
            let message = text.strip_prefix(&format!("run {program}: ")).unwrap_or(&text).to_owned();
            Some(Error::Run { program, message })
        })?;
        let status = reply.status.ok_or_else(|| Error::failed("fam-build's answer has no status"))?;
        Ok(Output { status, text: reply.output.unwrap_or_default() })
    }
}
