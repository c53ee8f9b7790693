//! One call of a plugin: it is asked for one thing, and what it asks for meanwhile is done for it.
//! Every path goes through [`Root`], whoever sends it, so that it stays inside the image.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fam_plugin::protocol::{self, Bytes, Call, Contents, Kind, Mode, Reply, Request, Stat};
use fam_plugin::{
    Attributes, Command, Context, Description, Error, FileDigest, FileType, Metadata, Problem, Result, Root, Scope,
    SshKeys,
};

use super::copies::Copies;
use super::process::{self, Process};

/// How much a plugin may write in one call, all files together. It is for faults: nothing sensible
/// comes near.
const MAX_WRITTEN_BYTES: u64 = 1 << 30;
/// How many requests a plugin may make in one call; each may leave something in memory.
const MAX_REQUESTS: u64 = 1_000_000;

/// What a call is about: the context, when there is a build; and its files, at the stages.
pub(super) struct Session<'a, 'r> {
    process: Process,
    context: Option<&'a Context>,
    root: Option<&'a mut Root<'r>>,
    written: u64,
    copies: Copies,
}

/// What a plugin told in a call.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) description: Option<Description>,
    pub(super) ssh_keys: Option<SshKeys>,
}

impl<'a, 'r> Session<'a, 'r> {
    pub(super) fn new(process: Process) -> Self {
        Self { process, context: None, root: None, written: 0, copies: Copies::default() }
    }

    pub(super) fn with_context(self, context: &'a Context) -> Self {
        Self { context: Some(context), ..self }
    }

    pub(super) fn with_root(self, root: &'a mut Root<'r>) -> Self {
        Self { root: Some(root), ..self }
    }

    /// Makes the call, and serves the plugin until it is done. Gives what it told.
    pub(super) fn run(mut self, call: &Call) -> Result<Told, process::Error> {
        self.copies = Copies::of(&call.settings);
        self.process.send(call)?;
        let mut told = Told::default();
        for _ in 0..MAX_REQUESTS {
            let reply = match self.process.receive()? {
                Request::Done {} => return Ok(told),
                Request::Fail { kind, key, message, hint } => return Err(given_up(kind, key, message, hint)),
                Request::Describe(description) => {
                    told.description = Some(description);
                    Reply::ok()
                }
                Request::SshKeys(keys) => {
                    told.ssh_keys = Some(keys);
                    Reply::ok()
                }
                request => match self.serve(request) {
                    Ok(reply) => reply,
                    // Which program took all the time says more than that it is over.
                    Err(error @ Error::Run { .. }) if self.process.time_left().is_err() => {
                        return Err(process::Error::Plugin(error));
                    }
                    Err(error) => Reply::error(&error),
                },
            };
            self.process.send(&reply)?;
        }
        Err(process::Error::LimitExceeded(format!("made more than {MAX_REQUESTS} requests")))
    }

    fn serve(&mut self, request: Request) -> Result<Reply> {
        let time_left = self.process.time_left();
        let Some(context) = self.context else {
            return Err(Error::failed("there is no build yet: this is only for apply-system, apply-node and ssh-keys"));
        };
        let mut reply = Reply::ok();
        match request {
            Request::Log { message, warning } => {
                if warning {
                    context.warning(message);
                } else {
                    context.info(message);
                }
            }
            Request::Secret { label, node: of } => {
                let secret = match of {
                    None => context.secret(&label),
                    // Nodes count from 1, so the protocol has 0 for the whole cluster.
                    Some(0) => context.secret_of(Scope::Cluster, &label),
                    Some(number) => context.secret_of(Scope::Node(number), &label),
                };
                reply.secret = Some(protocol::Secret(secret));
            }
            request => return self.serve_files(request, context, time_left.unwrap_or_default()),
        }
        Ok(reply)
    }

    /// Does what is asked for of the image.
    fn serve_files(&mut self, request: Request, context: &Context, time_left: Duration) -> Result<Reply> {
        let Some(root) = &mut self.root else {
            return Err(Error::failed("there is no image here: this is only for apply-system and apply-node"));
        };
        let mut reply = Reply::ok();
        match request {
            Request::Describe(_)
            | Request::SshKeys(_)
            | Request::Done {}
            | Request::Fail { .. }
            | Request::Log { .. }
            | Request::Secret { .. } => unreachable!("the callers take these"),
            Request::Resolve { path, follow } => {
                let path = path_of(path);
                let resolved = root.resolve(&path, follow)?;
                reply.path = Some(Bytes(resolved.into_os_string().into_vec()));
            }
            Request::Stat { path, follow } => {
                let path = path_of(path);
                reply.stat = Some(stat(if follow { root.metadata(path)? } else { root.symlink_metadata(path)? }));
            }
            Request::Read { path, base64 } => {
                let bytes = Bytes(root.read(path_of(path))?);
                reply.contents = Some(if base64 { Contents::Base64(bytes) } else { Contents::Any(bytes) });
            }
            Request::Write { path, contents, mode, owner } => {
                let path = path_of(path);
                count_written(&mut self.written, &path, contents.0.len() as u64)?;
                root.write_with(path, contents.0, Attributes { mode: mode.map(|mode| mode.0), owner })?;
            }
            Request::Copy { sha256, size, path, mode, owner } => {
                let path = path_of(path);
                let file = FileDigest { size, sha256 };
                self.copies.take(&file, &path, &mut self.written)?;
                root.copy(
                    &fam_plugin::Contents::Digest(file),
                    path,
                    Attributes { mode: mode.map(|mode| mode.0), owner },
                )?;
            }
            Request::Append { path, contents } => {
                let path = path_of(path);
                count_written(&mut self.written, &path, contents.0.len() as u64)?;
                root.append(path, contents.0)?;
            }
            Request::EnsureLine { path, line } => {
                let path = path_of(path);
                count_written(&mut self.written, &path, line.len() as u64)?;
                root.ensure_line(path, &line)?;
            }
            Request::List { path } => {
                let names = root.list(path_of(path))?;
                reply.names = Some(names.into_iter().map(|name| Bytes(name.into_vec())).collect());
            }
            Request::CreateDir { path, mode } => {
                root.create_dir(path_of(path), mode.map_or(0o755, |mode| mode.0))?;
            }
            Request::CreateDirs { path } => root.create_dir_all(path_of(path))?,
            Request::Symlink { target, path } => root.symlink(path_of(target), path_of(path))?,
            Request::Remove { path } => {
                let path = path_of(path);
                if !root.remove(&path)? {
                    return Err(Problem::NotFound.at("remove", path));
                }
            }
            Request::SetMode { path, mode } => root.set_mode(path_of(path), mode.0)?,
            Request::SetOwner { path, uid, gid, follow: true } => root.set_owner(path_of(path), uid, gid)?,
            Request::SetOwner { path, uid, gid, follow: false } => root.set_symlink_owner(path_of(path), uid, gid)?,
            Request::Xattrs { path } => {
                let xattrs = root.xattrs(path_of(path))?;
                reply.xattrs = Some(xattrs.into_iter().map(|(name, value)| (Bytes(name), Bytes(value))).collect());
            }
            Request::SetXattr { path, name, value } => {
                let path = path_of(path);
                count_written(&mut self.written, &path, value.0.len() as u64)?;
                root.set_xattr(path, name.0, value.0)?;
            }
            Request::Run { program, args, env, network } => {
                let mut command = Command::new(program).args(args).network(network);
                command.env = env.into_iter().collect();
                command.time_limit = Some(time_left);
                let output = root.run_unchecked(&command)?;
                (reply.status, reply.output) = (Some(output.status), Some(output.text));
            }
            Request::AddUser(user) => {
                let account = root.add_user(&user, context.facts.source_date_epoch)?;
                (reply.uid, reply.gid) = (Some(account.uid), Some(account.gid));
            }
            Request::AddGroup(group) => reply.gid = Some(root.add_group(&group)?),
        }
        Ok(reply)
    }
}

/// Counts bytes that are to be written at `path`; an error where a call has written too many.
pub(super) fn count_written(written: &mut u64, path: &Path, len: u64) -> Result<()> {
    *written = written.saturating_add(len);
    if *written > MAX_WRITTEN_BYTES {
        return Err(Problem::TooLarge(MAX_WRITTEN_BYTES).at("write", path));
    }
    Ok(())
}

fn path_of(bytes: Bytes) -> PathBuf {
    OsString::from_vec(bytes.0).into()
}

fn stat(metadata: Metadata) -> Stat {
    let (file_type, target) = match metadata.file_type {
        FileType::File => (protocol::FileType::File, None),
        FileType::Directory => (protocol::FileType::Directory, None),
        FileType::Symlink(target) => (protocol::FileType::Symlink, Some(Bytes(target.into_os_string().into_vec()))),
        FileType::Special => (protocol::FileType::Special, None),
    };
    let Metadata { mode, uid, gid, size, .. } = metadata;
    Stat { file_type, mode: Mode(mode), uid, gid, size, target }
}

fn given_up(kind: Kind, key: String, message: String, hint: Option<String>) -> process::Error {
    let hint = hint.filter(|hint| !hint.is_empty());
    process::Error::Plugin(match kind {
        Kind::Setting => Error::Settings { key, message, hint },
        Kind::Run => Error::Run { program: key, message },
        Kind::Panic => {
            let hint = Some("this is a fault of the plugin: tell its author".into());
            Error::Crashed { message: format!("crashed: {message}"), hint }
        }
        Kind::Load => Error::Crashed { message, hint },
        Kind::Other => Error::Failed(message),
    })
}
