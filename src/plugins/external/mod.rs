//! Plugins that are files: dynamic libraries, and executables in any language.
//!
//! Each call of one is a process of its own, in namespaces of its own ([`init`]), with a limit of
//! time. A library is loaded into such a process ([`library`]), and both kinds speak the same
//! protocol ([`fam_plugin::protocol`]) with the [`session`] that does for them what they ask for.
//! So a plugin that crashes, hangs, exits or talks nonsense is an error like any other, and nothing
//! of it is left.

mod copies;
mod init;
mod library;
mod mounts;
mod process;
mod restrict;
mod session;
mod view;

pub use view::HostFiles;

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fam_isolation::supervisor::{Role, RoleMain};
use fam_plugin::protocol::{Call, Entry, VERSION};
use fam_plugin::{Context, Description, ErasedPlugin, Error, Node, Result, Root, SshKeys, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use init::Start;
use process::Process;
use session::{Session, Told};

/// The first process around a plugin.
const PLUGIN: Role = Role::new("plugin").outlives_thread();
/// A plugin that is a dynamic library.
const LIBRARY: Role = Role::new("library");

/// The hidden roles of plugins in files, for the program's `main`.
pub const ROLES: [(Role, RoleMain); 2] = [(PLUGIN, |_| init::init()), (LIBRARY, library::library)];

/// How long a plugin may take for one stage of one node, where the recipe does not say.
pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(120);
/// How long it may take, at most, to describe itself and to check settings: nothing is done then.
const ANSWER_TIME_LIMIT: Duration = Duration::from_secs(20);

/// What kind of file a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A dynamic library with the function of a plugin; its name ends in `.so`.
    Library,
    /// A program that speaks the protocol.
    Executable,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Library => "library",
            Self::Executable => "executable",
        })
    }
}

impl Form {
    /// The form of the plugin in a file, by its name and mode; `None` where it can be none.
    pub(super) fn of(file: &Path) -> Option<Self> {
        let metadata = fs_err::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
        if file.extension().is_some_and(|extension| extension == "so") {
            Some(Self::Library)
        } else if metadata.permissions().mode() & 0o111 != 0 {
            Some(Self::Executable)
        } else {
            None
        }
    }
}

/// A plugin in a file.
#[derive(Debug, Clone)]
pub(super) struct External {
    pub(super) file: PathBuf,
    pub(super) form: Form,
    /// SHA-256 of the file, in hexadecimal.
    pub(super) digest: String,
    pub(super) description: Description,
    pub(super) time_limit: Duration,
    host_files: HostFiles,
}

impl External {
    /// Reads the plugin in `file`, and has it describe itself. It sees `host_files` in addition to
    /// what it needs to run.
    ///
    /// # Errors
    /// [`Error::Crashed`] where the file is no plugin.
    pub(super) fn load(file: &Path, host_files: HostFiles) -> Result<Self> {
        let file = fs_err::canonicalize(file).map_err(|error| unreadable(&error))?;
        let form = Form::of(&file).ok_or_else(|| {
            no_plugin("is neither a library (*.so) nor executable", Some("make it executable: chmod +x"))
        })?;
        let (digest, begin) = read(&file).map_err(|error| unreadable(&error))?;
        // The loader's own words for such a file would be about its header.
        if form == Form::Library && begin != *b"\x7fELF" {
            let message = "is no dynamic library, though its name ends in .so";
            return Err(no_plugin(message, Some("a plugin in another form is an executable file without .so")));
        }
        if form == Form::Library && cfg!(target_feature = "crt-static") {
            let message = "is a dynamic library, and this fam-build is static, which can load none";
            let hint = "take the dynamic fam-build of the .deb (docs/installing.md), or make the plugin an executable";
            return Err(no_plugin(message, Some(hint)));
        }
        let nothing_yet = Description::new("", "");
        let mut plugin = Self::new(&file, form, &digest, nothing_yet, host_files);
        let call = plugin.call(Entry::Describe, &Value::Null);
        match plugin.answer(&call)?.description {
            Some(description) => plugin.description = description,
            None => return Err(no_plugin("did not describe itself when asked to", None)),
        }
        Ok(plugin)
    }

    /// The plugin in `file`, which has described itself so before.
    ///
    /// # Errors
    /// [`Error::Crashed`] where the file is another one by now.
    pub(super) fn known(
        file: &Path,
        form: Form,
        digest: &str,
        description: Description,
        host_files: HostFiles,
    ) -> Result<Self> {
        let failed = |message: String| Error::Crashed { message, hint: Some("run the build again".into()) };
        let (found, _) = read(file).map_err(|error| failed(format!("cannot be read any more: {error}")))?;
        if found != digest {
            return Err(failed("has changed since its settings were checked".into()));
        }
        Ok(Self::new(file, form, digest, description, host_files))
    }

    fn new(file: &Path, form: Form, digest: &str, description: Description, host_files: HostFiles) -> Self {
        let (file, digest) = (file.to_owned(), digest.to_owned());
        Self { file, form, digest, description, time_limit: DEFAULT_TIME_LIMIT, host_files }
    }

    fn call(&self, call: Entry, settings: &Value) -> Call {
        let settings = if settings.is_null() { Value::Object(serde_json::Map::new()) } else { settings.clone() };
        Call { protocol: VERSION, call, settings, facts: None, node: None }
    }

    fn start(
        &self,
        call: &Call,
        limit: Duration,
        print: impl Fn(&str) + Send + 'static,
    ) -> Result<Process, process::Error> {
        Process::start(&Start::new(&self.file, self.form, environment(call), &self.host_files), limit, print)
    }

    /// A call before there is anything to change.
    fn answer(&self, call: &Call) -> Result<Told> {
        let process = self.start(call, self.time_limit.min(ANSWER_TIME_LIMIT), |_| {})?;
        Ok(Session::new(process).run(call)?)
    }

    /// Begins a call in a build.
    fn session<'a, 'r>(&self, call: &Call, context: &'a Context) -> Result<Session<'a, 'r>> {
        let log = context.clone();
        let process = self.start(call, self.time_limit, move |line| log.info(line))?;
        Ok(Session::new(process).with_context(context))
    }

    fn apply(&self, call: &Call, root: &mut Root<'_>, context: &Context) -> Result<()> {
        self.session(call, context)?.with_root(root).run(call)?;
        Ok(())
    }
}

impl ErasedPlugin for External {
    fn describe(&self) -> Description {
        self.description.clone()
    }

    fn check(&self, settings: &Value) -> Result<()> {
        self.answer(&self.call(Entry::Check, settings)).map(drop)
    }

    fn apply_system(&self, settings: &Value, root: &mut Root<'_>, context: &Context) -> Result<()> {
        let facts = Some((*context.facts).clone());
        self.apply(&Call { facts, ..self.call(Entry::ApplySystem, settings) }, root, context)
    }

    fn apply_node(&self, settings: &Value, root: &mut Root<'_>, node: &Node, context: &Context) -> Result<()> {
        let (facts, node) = (Some((*context.facts).clone()), Some(node.clone()));
        self.apply(&Call { facts, node, ..self.call(Entry::ApplyNode, settings) }, root, context)
    }

    fn ssh_keys(&self, settings: &Value, context: &Context) -> Result<SshKeys> {
        let call = Call { facts: Some((*context.facts).clone()), ..self.call(Entry::SshKeys, settings) };
        let keys = self.session(&call, context)?.run(&call)?.ssh_keys;
        keys.ok_or_else(|| Error::failed("it provides ssh keys, and does not tell them"))
    }
}

/// The error for a file that is no plugin.
fn no_plugin(message: impl Into<String>, hint: Option<&str>) -> Error {
    Error::Crashed { message: message.into(), hint: hint.map(Into::into) }
}

fn unreadable(error: &io::Error) -> Error {
    no_plugin(format!("cannot be read: {error}"), None)
}

/// The SHA-256 of a file in hexadecimal, and its first four bytes.
fn read(file: &Path) -> io::Result<(String, Vec<u8>)> {
    let mut opened = fs_err::File::open(file)?;
    let mut begin = Vec::new();
    opened.by_ref().take(4).read_to_end(&mut begin)?;
    let mut hash = Sha256::new();
    hash.update(&begin);
    io::copy(&mut opened, &mut hash)?;
    Ok((hex::encode(hash.finalize()), begin))
}

/// The call in variables, for languages in which JSON is hard to read: what is asked for, settings
/// that are no lists or tables, and the node.
fn environment(call: &Call) -> Vec<(String, String)> {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    let mut variables = vec![("FAM_CALL".to_owned(), call.call.name().to_owned())];
    for (key, value) in call.settings.as_object().into_iter().flatten() {
        let name: String =
            key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        variables.extend(plain(value).map(|value| (format!("FAM_SETTING_{name}"), value)));
    }
    if let Some(facts) = &call.facts {
        variables.push(("FAM_SUITE".into(), facts.suite.clone()));
        variables.push(("SOURCE_DATE_EPOCH".into(), facts.source_date_epoch.to_string()));
    }
    if let Some(node) = &call.node {
        variables.push(("FAM_NODE_NUMBER".into(), node.number.to_string()));
        variables.push(("FAM_NODE_NAME".into(), node.name.clone()));
        variables.push(("FAM_NODE_MAC".into(), node.mac.clone()));
        variables.push(("FAM_NODE_ADDRESS".into(), node.address.to_string()));
        variables.extend(node.ipv6.map(|address| ("FAM_NODE_IPV6".into(), address.to_string())));
    }
    // The kernel takes neither.
    variables.retain(|(_, value)| !value.contains('\0') && value.len() < 64 << 10);
    variables
}
