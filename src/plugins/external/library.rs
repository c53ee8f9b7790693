//! The process that a dynamic library is loaded into, and that is the plugin from then on: the
//! library exports one function, which speaks the protocol as an executable does. Whatever the
//! library does to its process, nothing but this one call is lost. It is never unloaded; the
//! process ends instead.

#![allow(unsafe_code, reason = "a function of a library is found by its name, and called")]

use std::ffi::{OsString, c_int};
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use fam_isolation::supervisor::protocol::control_of_this_process;
use fam_isolation::supervisor::reject_direct_invocation;
use fam_plugin::protocol::{Kind, Request, SYMBOL};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};

/// What libraries exported that were made for the first interface, a table of functions.
const OLD_SYMBOL: &str = "FAM_PLUGIN";

/// The function of a plugin. It takes a descriptor for its own, and gives the status with which its
/// process is to end.
type Main = unsafe extern "C" fn(descriptor: c_int) -> c_int;

/// The role's main function. The argument is the library's file.
pub(crate) fn library(arguments: &[OsString]) -> ExitCode {
    let (Ok(socket), [file]) = (control_of_this_process(), arguments) else { return reject_direct_invocation() };
    if keep_standard_streams_apart().is_err() {
        return ExitCode::FAILURE;
    }
    match load(Path::new(file)) {
        Ok(main) => {
            let descriptor = OwnedFd::from(socket).into_raw_fd();
            // SAFETY: the function has the name that is for functions of this type, and its library
            // stays loaded. The descriptor is open, and nothing else here uses it.
            let status = unsafe { main(descriptor) };
            // Of a status the kernel keeps the lowest byte.
            ExitCode::from(status.to_le_bytes()[0])
        }
        Err((message, hint)) => match refuse(socket, message, hint) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
    }
}

/// What the library reads or prints by itself, even while it is being loaded, is not for the
/// socket, nor is that of any program that it starts.
fn keep_standard_streams_apart() -> io::Result<()> {
    rustix::stdio::dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(())
}

/// Says in place of the library why it is none.
fn refuse(mut socket: UnixStream, message: String, hint: Option<&str>) -> io::Result<()> {
    // The call is read first: an end with something unread would be taken for a crash.
    BufReader::new(&mut socket).read_until(b'\n', &mut Vec::new())?;
    let hint = hint.map(Into::into);
    let mut line = serde_json::to_vec(&Request::Fail { kind: Kind::Load, key: String::new(), message, hint })?;
    line.push(b'\n');
    socket.write_all(&line)
}

/// Loads the library for good, and finds its function; or says what is wrong with it, and what to
/// do about that.
fn load(file: &Path) -> Result<Symbol<Main>, (String, Option<&'static str>)> {
    // Now: a function that is nowhere is to be missed here, and not in the midst of a stage.
    // SAFETY: this runs the library's initializers. What they may do, they may do to this process
    // alone.
    let library = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| (format!("cannot be loaded: {}", cause(&error)), None))?;
    let library = Box::leak(Box::new(library));
    // SAFETY: that a function by this name is of this type is what makes a library a plugin; one
    // that lies breaks its own process.
    if let Ok(main) = unsafe { library.get::<Main>(SYMBOL) } {
        return Ok(main);
    }
    // SAFETY: only whether there is such a symbol is looked at.
    if unsafe { library.get::<*const ()>(OLD_SYMBOL) }.is_ok() {
        return Err((
            format!("is made for version 1.0 of the library interface, the table {OLD_SYMBOL}, which is no more"),
            Some("build it again with the SDK of this program: `fam-build plugin new` brings it along"),
        ));
    }
    Err((
        format!("exports no function {SYMBOL}"),
        Some("a plugin in Rust exports it by fam_plugin::export!, one in C by FAM_PLUGIN_EXPORT"),
    ))
}

/// libloading says only that it failed; the loader's words are in the source.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
