//! The process that a dynamic library is loaded into: it makes of the library a program that speaks
//! the protocol. Whatever the library does to its process, nothing but this one call is lost. It is
//! never unloaded; the process ends instead.

#![allow(unsafe_code, reason = "pointers of the binary interface are made and read here")]

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fam_isolation::supervisor::protocol::control_of_this_process;
use fam_isolation::supervisor::reject_direct_invocation;
use fam_plugin::abi::{self, Slice, Table};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::host_table::host_table;
use super::wire::{Call, Entry, Kind, Reply, Request};

/// The role's main function. The argument is the library's file.
pub(crate) fn library(arguments: &[OsString]) -> ExitCode {
    let (Ok(socket), [file]) = (control_of_this_process(), arguments) else { return reject_direct_invocation() };
    // What the library prints is not for the socket.
    if rustix::stdio::dup2_stdout(rustix::stdio::stderr()).is_err() {
        return ExitCode::FAILURE;
    }
    match serve(socket, Path::new(file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(socket: UnixStream, file: &Path) -> io::Result<()> {
    let mut reader = BufReader::new(socket);
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    let call: Call = serde_json::from_slice(&line)?;
    let entry = call.call;
    let state = Mutex::new(State { reader, call, result: Vec::new(), error: String::new(), failure: None });
    let last = match load(file) {
        Ok(table) => {
            let host = host_table(&state);
            let function = match entry {
                Entry::Describe => table.describe,
                Entry::Check => table.check,
                Entry::ApplySystem => table.apply_system,
                Entry::ApplyNode => table.apply_node,
            };
            // SAFETY: the library says that it is made for this interface; `host` is as that
            // describes, and lives on.
            let code = unsafe { function(&raw const host) };
            // After the last message this process may be ended before it comes to that by itself.
            // SAFETY: a null pointer means every stream of C.
            unsafe { libc::fflush(std::ptr::null_mut()) };
            let failure = lock(&state).failure.take();
            match (code, failure) {
                (_, Some(failure)) => failure,
                (abi::OK, None) => Request::Done {},
                (code, None) => fail(Kind::Other, format!("it gave up without a word (status {code})"), None),
            }
        }
        Err((message, hint)) => fail(Kind::Load, message, hint.map(Into::into)),
    };
    lock(&state).send(&last)
}

fn fail(kind: Kind, message: String, hint: Option<String>) -> Request {
    Request::Fail { kind, key: String::new(), message, hint }
}

/// Loads the library for good, and looks at what it says of itself before anything of it is used.
fn load(file: &Path) -> Result<&'static Table, (String, Option<&'static str>)> {
    // Now: a function that is nowhere is to be missed here, and not in the midst of a stage.
    // SAFETY: this runs the library's initializers. What they may do, they may do to this process
    // alone.
    let library = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| (format!("cannot be loaded: {}", cause(&error)), None))?;
    let library = Box::leak(Box::new(library));
    // SAFETY: only the address is taken; it is not followed before the checks below.
    let symbol = unsafe { library.get::<*const Table>(abi::SYMBOL) };
    let address = symbol.map_or(std::ptr::null(), |symbol| *symbol);
    if address.is_null() {
        return Err((
            format!("exports no symbol {}", abi::SYMBOL),
            Some("a plugin in Rust exports it by fam_plugin::export!, one in C as fam_plugin.h says"),
        ));
    }
    if !address.is_aligned() {
        return Err((format!("exports a symbol {} that is no table of a plugin", abi::SYMBOL), None));
    }
    // SAFETY: the symbol has an address in the library, which is aligned. The fields that come
    // first in every version are all that is read of it until it is known to be of the size of a
    // table; were the symbol smaller, what is read would be other bytes of the library.
    let (magic, major, minor, size) = unsafe {
        (
            (&raw const (*address).magic).read(),
            (&raw const (*address).major).read(),
            (&raw const (*address).minor).read(),
            (&raw const (*address).size).read(),
        )
    };
    if magic != abi::MAGIC {
        return Err((format!("exports a symbol {} that is no table of a plugin", abi::SYMBOL), None));
    }
    if major != abi::MAJOR || minor > abi::MINOR {
        return Err((
            format!(
                "is made for version {major}.{minor} of the plugin interface, and this program has {}.{}",
                abi::MAJOR,
                abi::MINOR
            ),
            Some("build it with the SDK of this program: `fam-build plugin new` brings it along"),
        ));
    }
    if size as usize != size_of::<Table>() {
        return Err((
            format!("has a table of {size} bytes, where version {major}.{minor} has {}", size_of::<Table>()),
            Some("build it with the SDK of this program, unchanged"),
        ));
    }
    // SAFETY: magic, version and size are those of a table, of which all fields are plain pointers
    // to functions; the library stays loaded.
    Ok(unsafe { &*address })
}

/// libloading says only that it failed; the loader's words are in the source.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// What the plugin's host knows during its call.
pub(super) struct State {
    reader: BufReader<UnixStream>,
    pub(super) call: Call,
    /// What the last slice that was given out shows.
    result: Vec<u8>,
    pub(super) error: String,
    pub(super) failure: Option<Request>,
}

impl State {
    fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line)
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Reply> {
        self.send(request)?;
        let mut line = Vec::new();
        // Files are read into memory whole, by any plugin; the other side sees to it that they are
        // not too large.
        self.reader.by_ref().read_until(b'\n', &mut line)?;
        Ok(serde_json::from_slice(&line)?)
    }

    /// Asks for something. Without anyone to ask, this process has no purpose.
    pub(super) fn ask(&mut self, request: &Request) -> Reply {
        let reply = self.exchange(request).unwrap_or_else(|_| std::process::exit(1));
        if let Some(error) = &reply.error {
            self.error.clone_from(error);
        }
        reply
    }

    /// Keeps `bytes` and has `out` show them.
    ///
    /// # Safety
    /// `out` is null or can be written.
    pub(super) unsafe fn give(&mut self, bytes: Vec<u8>, out: *mut Slice) {
        self.result = bytes;
        if !out.is_null() {
            // SAFETY: as the caller promises.
            unsafe { out.write(Slice::of(&self.result)) };
        }
    }

    pub(super) fn refuse(&mut self, error: &dyn std::fmt::Display) -> i32 {
        self.error = error.to_string();
        abi::FAILED
    }
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
