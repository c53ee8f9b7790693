//! A [`Plugin`] as a dynamic library: the functions that its table holds, and the host as it is
//! seen through the host's table. No panic leaves it.

#![allow(unsafe_code, reason = "this is where pointers of the binary interface are made and read")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::abi::{self, HostTable, Slice, Table};
use crate::{
    Attributes, Command, Context, ErasedPlugin, Error, Facts, FileType, Host, Level, Metadata, Node, Output, Plugin,
    Problem, Result, Root, RootFs, Scope, Value,
};

/// Exports a [`Plugin`] that has a `Default` as a dynamic library. The crate needs, in its
/// `Cargo.toml`:
///
/// ```toml
/// [lib]
/// crate-type = ["cdylib", "rlib"]
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        /// By which fam-build finds the plugin.
        #[allow(unsafe_code)]
        #[doc(hidden)]
        // SAFETY: the name belongs to fam-build's plugins, one to a library.
        #[unsafe(no_mangle)]
        pub static FAM_PLUGIN: $crate::abi::Table = $crate::abi::Table::of::<$plugin>();
    };
}

impl Table {
    /// The table of a plugin. Every call works on a new value, so that none can hold
    /// anything back.
    #[must_use]
    pub const fn of<T: Plugin + Default>() -> Self {
        Self {
            magic: abi::MAGIC,
            major: abi::MAJOR,
            minor: abi::MINOR,
            size: size_of::<Self>() as u32,
            describe: describe::<T>,
            check: check::<T>,
            apply_system: apply_system::<T>,
            apply_node: apply_node::<T>,
        }
    }
}

unsafe extern "C" fn describe<T: Plugin + Default>(host: *const HostTable) -> i32 {
    enter(host, |remote| {
        let json = serde_json::to_vec(&Plugin::describe(&T::default())).map_err(|error| malformed(&error))?;
        // SAFETY: as `Remote` says.
        remote.done(unsafe { (remote.table().describe)(remote.0, Slice::of(&json)) })
    })
}

unsafe extern "C" fn check<T: Plugin + Default>(host: *const HostTable) -> i32 {
    enter(host, |remote| ErasedPlugin::check(&T::default(), &remote.document(abi::SETTINGS)?))
}

unsafe extern "C" fn apply_system<T: Plugin + Default>(host: *const HostTable) -> i32 {
    enter(host, |remote| {
        let settings: Value = remote.document(abi::SETTINGS)?;
        ErasedPlugin::apply_system(&T::default(), &settings, &mut Root::new(&mut { *remote }), &remote.context()?)
    })
}

unsafe extern "C" fn apply_node<T: Plugin + Default>(host: *const HostTable) -> i32 {
    enter(host, |remote| {
        let settings: Value = remote.document(abi::SETTINGS)?;
        let node: Node = remote.document(abi::NODE)?;
        let context = remote.context()?.for_node(&node);
        ErasedPlugin::apply_node(&T::default(), &settings, &mut Root::new(&mut { *remote }), &node, &context)
    })
}

/// Calls into the plugin; its errors and panics go to the host.
fn enter(host: *const HostTable, call: impl FnOnce(&Remote) -> Result<()>) -> i32 {
    let remote = Remote(host);
    match catch_unwind(AssertUnwindSafe(|| call(&remote))) {
        Ok(Ok(())) => return abi::OK,
        Ok(Err(Error::Settings { key, message, hint })) => {
            remote.fail(abi::FAIL_SETTING, &key, &message, &hint.unwrap_or_default());
        }
        Ok(Err(Error::Run { program, message })) => remote.fail(abi::FAIL_RUN, &program, &message, ""),
        Ok(Err(error)) => remote.fail(abi::FAIL_OTHER, "", &error.to_string(), ""),
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            remote.fail(abi::FAIL_PANIC, "", text.unwrap_or("no message"), "");
            // Its drop could panic again, outside of any catch.
            std::mem::forget(payload);
        }
    }
    abi::FAILED
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::failed(format!("talk to fam-build: {error}"))
}

/// The host through its table. Made of the pointer that a call of the host brings, and used during
/// that call: the host keeps the table for as long. A host of the same major version and no earlier
/// minor version, which the host sees to, has every function of the table.
#[derive(Debug, Clone, Copy)]
struct Remote(*const HostTable);

// SAFETY: `log` and `secret`, all that a context reaches, may be called from any thread.
unsafe impl Send for Remote {}
// SAFETY: as above.
unsafe impl Sync for Remote {}

impl Remote {
    fn table(&self) -> &HostTable {
        // SAFETY: as the type says.
        unsafe { &*self.0 }
    }

    fn fail(&self, kind: i32, key: &str, message: &str, hint: &str) {
        let [key, message, hint] = [key, message, hint].map(|text| Slice::of(text.as_bytes()));
        // SAFETY: as the type says; the slices outlive the call.
        unsafe { (self.table().fail)(self.0, kind, key, message, hint) };
    }

    /// Has a function fill a slice, and copies it before another call can change it.
    fn bytes(&self, call: impl FnOnce(*mut Slice) -> i32) -> Result<Vec<u8>, i32> {
        let mut out = Slice::EMPTY;
        match call(&raw mut out) {
            abi::OK if out.len == 0 || out.data.is_null() => Ok(Vec::new()),
            // SAFETY: the host gives as many bytes as it says, and keeps them until its next call.
            abi::OK => Ok(unsafe { std::slice::from_raw_parts(out.data, out.len) }.to_vec()),
            code => Err(code),
        }
    }

    fn last_error(&self) -> String {
        let text = self.bytes(|out| {
            // SAFETY: as the type says; `out` is a slice to be filled.
            unsafe { (self.table().last_error)(self.0, out) };
            abi::OK
        });
        String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()
    }

    fn done(&self, code: i32) -> Result<()> {
        if code == abi::OK { Ok(()) } else { Err(Error::Failed(self.last_error())) }
    }

    /// The error of a file operation, with the problem as such where the number says which it is.
    fn at(&self, operation: &str, path: &Path, code: i32) -> Error {
        match abi::problem(code) {
            Some(problem) => problem.at(operation, path),
            None => Error::Failed(self.last_error()),
        }
    }

    fn document<D: DeserializeOwned>(&self, document: i32) -> Result<D> {
        // SAFETY: as the type says.
        let json = self.bytes(|out| unsafe { (self.table().lookup)(self.0, document, Slice::EMPTY, out) });
        let json = json.map_err(|_| Error::Failed(self.last_error()))?;
        serde_json::from_slice(&json).map_err(|error| malformed(&error))
    }

    fn context(&self) -> Result<Context> {
        let facts: Facts = self.document(abi::FACTS)?;
        Ok(Context::new(Arc::new(facts), Arc::new(*self)))
    }
}

impl Host for Remote {
    fn secret(&self, scope: Scope, label: &str) -> [u8; 32] {
        let scope = match scope {
            Scope::Cluster => abi::CLUSTER,
            Scope::Node(number) => number.into(),
        };
        let mut secret = [0; 32];
        // SAFETY: as the type says; the slice and the array outlive the call.
        let code = unsafe { (self.table().secret)(self.0, scope, Slice::of(label.as_bytes()), &raw mut secret) };
        // Zeros would be a secret that everyone knows.
        assert!(code == abi::OK, "fam-build gives no secret");
        secret
    }

    fn log(&self, level: Level, message: &str) {
        let warning = i32::from(level == Level::Warning);
        // SAFETY: as the type says; the slice outlives the call.
        unsafe { (self.table().log)(self.0, warning, Slice::of(message.as_bytes())) };
    }
}

fn slice(path: &Path) -> Slice {
    Slice::of(path.as_os_str().as_bytes())
}

// SAFETY, for every call below: the table's functions are as `Remote` says, slices are of bytes
// that outlive the call, and pointers to results are of values on the stack.
impl RootFs for Remote {
    fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf, Problem> {
        let follow = i32::from(follow_last);
        // SAFETY: see above.
        let found = self.bytes(|out| unsafe { (self.table().resolve)(self.0, slice(path), follow, out) });
        match found {
            Ok(bytes) => Ok(OsString::from_vec(bytes).into()),
            Err(code) => Err(abi::problem(code).unwrap_or_else(|| Problem::Other(self.last_error()))),
        }
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        let mut stat = abi::Stat::default();
        // SAFETY: see above.
        let target = self.bytes(|out| unsafe { (self.table().stat)(self.0, slice(path), 0, &raw mut stat, out) });
        let target = target.map_err(|code| self.at("look at", path, code))?;
        let file_type = match stat.file_type {
            abi::FILE => FileType::File,
            abi::DIRECTORY => FileType::Directory,
            abi::SYMLINK => FileType::Symlink(OsString::from_vec(target).into()),
            _ => FileType::Special,
        };
        Ok(Metadata { file_type, mode: stat.mode, uid: stat.uid, gid: stat.gid, size: stat.size })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        // SAFETY: see above.
        let read = self.bytes(|out| unsafe { (self.table().read)(self.0, slice(path), out) });
        read.map_err(|code| self.at("read", path, code))
    }

    fn write(&mut self, path: &Path, contents: &[u8], attributes: Attributes) -> Result<()> {
        let (uid, gid) = attributes.owner.unwrap_or_default();
        let mut given = 0;
        if attributes.mode.is_some() {
            given |= abi::WITH_MODE;
        }
        if attributes.owner.is_some() {
            given |= abi::WITH_OWNER;
        }
        let attributes = abi::Attributes { given, mode: attributes.mode.unwrap_or_default(), uid, gid };
        // SAFETY: see above.
        match unsafe { (self.table().write)(self.0, slice(path), Slice::of(contents), &raw const attributes) } {
            abi::OK => Ok(()),
            code => Err(self.at("write", path, code)),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        // SAFETY: see above.
        let names = self.bytes(|out| unsafe { (self.table().list)(self.0, slice(path), out) });
        Ok(split(&names.map_err(|code| self.at("list", path, code))?).map(OsString::from_vec).collect())
    }

    fn create_dir(&mut self, path: &Path, mode: u32) -> Result<()> {
        // SAFETY: see above.
        match unsafe { (self.table().create_dir)(self.0, slice(path), mode) } {
            abi::OK => Ok(()),
            code => Err(self.at("create directory", path, code)),
        }
    }

    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()> {
        // SAFETY: see above.
        match unsafe { (self.table().symlink)(self.0, slice(target), slice(path)) } {
            abi::OK => Ok(()),
            code => Err(self.at("link", path, code)),
        }
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        // SAFETY: see above.
        match unsafe { (self.table().remove)(self.0, slice(path)) } {
            abi::OK => Ok(()),
            code => Err(self.at("remove", path, code)),
        }
    }

    fn set_mode(&mut self, path: &Path, mode: u32) -> Result<()> {
        // SAFETY: see above.
        match unsafe { (self.table().set_mode)(self.0, slice(path), mode) } {
            abi::OK => Ok(()),
            code => Err(self.at("change mode of", path, code)),
        }
    }

    fn set_owner(&mut self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        // SAFETY: see above.
        match unsafe { (self.table().set_owner)(self.0, slice(path), uid, gid, 0) } {
            abi::OK => Ok(()),
            code => Err(self.at("change owner of", path, code)),
        }
    }

    fn xattrs(&self, path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let at = |code| self.at("read attributes of", path, code);
        // SAFETY: see above.
        let names = self.bytes(|out| unsafe { (self.table().xattrs)(self.0, slice(path), out) }).map_err(at)?;
        let value = |name: Vec<u8>| {
            // SAFETY: see above.
            let value = self.bytes(|out| unsafe { (self.table().xattr)(self.0, slice(path), Slice::of(&name), out) });
            Ok((name, value.map_err(at)?))
        };
        split(&names).map(value).collect()
    }

    fn set_xattr(&mut self, path: &Path, name: &[u8], value: &[u8]) -> Result<()> {
        // SAFETY: see above.
        match unsafe { (self.table().set_xattr)(self.0, slice(path), Slice::of(name), Slice::of(value)) } {
            abi::OK => Ok(()),
            code => Err(self.at("set attribute of", path, code)),
        }
    }

    fn run(&mut self, command: &Command) -> Result<Output> {
        let environment: Vec<String> = command.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let slices = |texts: &mut dyn Iterator<Item = &String>| -> Vec<Slice> {
            texts.map(|text| Slice::of(text.as_bytes())).collect()
        };
        let arguments = slices(&mut std::iter::once(&command.program).chain(&command.args));
        let environment = slices(&mut environment.iter());
        let mut status = 0;
        // SAFETY: see above.
        let text = self.bytes(|out| unsafe {
            (self.table().run)(
                self.0,
                arguments.as_ptr(),
                arguments.len(),
                environment.as_ptr(),
                environment.len(),
                &raw mut status,
                out,
            )
        });
        match text {
            Ok(text) => Ok(Output { status, text: String::from_utf8_lossy(&text).into_owned() }),
            Err(_) => {
                let (program, text) = (command.line(), self.last_error());
                let message = text.strip_prefix(&format!("run {program}: ")).unwrap_or(&text).to_owned();
                Err(Error::Run { program, message })
            }
        }
    }
}

/// Names that each end with a NUL.
fn split(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == 0).map(|name| name.strip_suffix(b"\0").unwrap_or(name).to_vec())
}
