//! The functions that a library calls: each makes a request of the protocol of its arguments, and
//! sends it.

#![allow(unsafe_code, reason = "pointers of the binary interface are read and written here")]

use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard};

use fam_plugin::abi::{self, HostTable, Slice};
use fam_plugin::{Description, Problem, Value};

use super::library::{State, lock};
use super::wire::{self, Bytes, Contents, Kind, MAX_LINE_BYTES, Mode, Request};

/// The most bytes that fit into a line, encoded.
const MAX_CONTENTS_BYTES: usize = MAX_LINE_BYTES / 4 * 3 - 4096;

type Host = *const HostTable;

/// The state behind a table.
///
/// # Safety
/// `host` is the table that the plugin was called with.
unsafe fn of<'a>(host: Host) -> MutexGuard<'a, State> {
    // SAFETY: the table was made by `host_table`, of a state that outlives the call of the plugin.
    lock(unsafe { &*(*host).state.cast::<Mutex<State>>() })
}

/// The bytes that a plugin gives.
///
/// # Safety
/// `slice` is empty, or shows as many bytes as it says.
unsafe fn bytes(slice: Slice) -> Vec<u8> {
    if slice.data.is_null() || slice.len == 0 {
        return Vec::new();
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(slice.data, slice.len) }.to_vec()
}

/// # Safety
/// As [`bytes`].
unsafe fn text(slice: Slice) -> String {
    // SAFETY: as the caller promises.
    String::from_utf8_lossy(&unsafe { bytes(slice) }).into_owned()
}

/// The table of a host that keeps its state there. The state must outlive every use of the table.
pub(super) fn host_table(state: &Mutex<State>) -> HostTable {
    HostTable {
        size: size_of::<HostTable>() as u32,
        major: abi::MAJOR,
        minor: abi::MINOR,
        state: (&raw const *state).cast_mut().cast::<c_void>(),
        describe,
        fail: give_up,
        last_error,
        log,
        lookup,
        secret,
        resolve,
        stat,
        read,
        write,
        append,
        ensure_line,
        list,
        create_dir,
        create_dirs,
        symlink,
        remove,
        set_mode,
        set_owner,
        xattrs,
        xattr,
        set_xattr,
        run,
        add_user,
        add_group,
    }
}

// SAFETY, for every function below: a plugin calls them with its host's table, with slices that
// show what they say, and with pointers to results that can be written, or null. That is the
// interface; a plugin that breaks it breaks its own process.

unsafe extern "C" fn describe(host: Host, json: Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, json) = unsafe { (of(host), bytes(json)) };
    match serde_json::from_slice::<Description>(&json) {
        Ok(description) => state.ask(&Request::Describe(description)).code(),
        Err(error) => state.refuse(&format_args!("describe: {error}: {}", wire::excerpt(&json))),
    }
}

unsafe extern "C" fn give_up(host: Host, kind: i32, key: Slice, message: Slice, hint: Slice) {
    let kind = match kind {
        abi::FAIL_SETTING => Kind::Setting,
        abi::FAIL_RUN => Kind::Run,
        abi::FAIL_PANIC => Kind::Panic,
        _ => Kind::Other,
    };
    // SAFETY: see above.
    let (mut state, key, message, hint) = unsafe { (of(host), text(key), text(message), text(hint)) };
    state.failure = Some(Request::Fail { kind, key, message, hint: Some(hint) });
}

unsafe extern "C" fn last_error(host: Host, out: *mut Slice) {
    // SAFETY: see above.
    let mut state = unsafe { of(host) };
    let error = state.error.clone().into_bytes();
    // SAFETY: see above.
    unsafe { state.give(error, out) };
}

unsafe extern "C" fn log(host: Host, warning: i32, message: Slice) {
    // SAFETY: see above.
    let (mut state, message) = unsafe { (of(host), text(message)) };
    state.ask(&Request::Log { message, warning: warning != 0 });
}

unsafe extern "C" fn lookup(host: Host, document: i32, pointer: Slice, out: *mut Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, pointer) = unsafe { (of(host), text(pointer)) };
    let value = match document {
        abi::SETTINGS => Ok(state.call.settings.clone()),
        abi::FACTS => serde_json::to_value(&state.call.facts),
        abi::NODE => serde_json::to_value(&state.call.node),
        _ => return state.refuse(&format_args!("there is no document {document}")),
    };
    let found = value.ok().and_then(|value| match value.pointer(&pointer)? {
        // The whole is always JSON.
        Value::String(text) if !pointer.is_empty() => Some(text.clone().into_bytes()),
        value => serde_json::to_vec(value).ok(),
    });
    match found {
        Some(found) => {
            // SAFETY: see above.
            unsafe { state.give(found, out) };
            abi::OK
        }
        None => {
            state.error = format!("there is no {pointer}");
            abi::NOT_FOUND
        }
    }
}

unsafe extern "C" fn secret(host: Host, scope: i64, label: Slice, out: *mut [u8; 32]) -> i32 {
    // SAFETY: see above.
    let (mut state, label) = unsafe { (of(host), text(label)) };
    let node = match scope {
        abi::OWN => None,
        number => match u32::try_from(number) {
            Ok(number) => Some(number),
            Err(_) => return state.refuse(&format_args!("there is no node {number}")),
        },
    };
    let reply = state.ask(&Request::Secret { label, node });
    let Some(wire::Secret(secret)) = reply.secret else { return abi::FAILED };
    // SAFETY: see above.
    unsafe { out.write(secret) };
    abi::OK
}

unsafe extern "C" fn resolve(host: Host, path: Slice, follow: i32, out: *mut Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), Bytes(bytes(path))) };
    let reply = state.ask(&Request::Resolve { path, follow: follow != 0 });
    let code = reply.code();
    // SAFETY: see above.
    unsafe { state.give(reply.path.map_or(Vec::new(), |path| path.0), out) };
    code
}

unsafe extern "C" fn stat(host: Host, path: Slice, follow: i32, out: *mut abi::Stat, target: *mut Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), Bytes(bytes(path))) };
    let reply = state.ask(&Request::Stat { path, follow: follow != 0 });
    let code = reply.code();
    let Some(stat) = reply.stat else { return code };
    let file_type = match stat.file_type {
        wire::FileType::File => abi::FILE,
        wire::FileType::Directory => abi::DIRECTORY,
        wire::FileType::Symlink => abi::SYMLINK,
        wire::FileType::Special => abi::SPECIAL,
    };
    let wire::Stat { mode: Mode(mode), uid, gid, size, .. } = stat;
    if !out.is_null() {
        // SAFETY: see above.
        unsafe { out.write(abi::Stat { file_type, mode, uid, gid, size }) };
    }
    // SAFETY: see above.
    unsafe { state.give(stat.target.map_or(Vec::new(), |target| target.0), target) };
    code
}

unsafe extern "C" fn read(host: Host, path: Slice, out: *mut Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), Bytes(bytes(path))) };
    let reply = state.ask(&Request::Read { path, base64: false });
    let code = reply.code();
    let contents = match reply.contents {
        Some(Contents::Any(bytes) | Contents::Base64(bytes)) => bytes.0,
        None => Vec::new(),
    };
    // SAFETY: see above.
    unsafe { state.give(contents, out) };
    code
}

/// Refuses what would not fit into a line, before it is copied.
fn too_large(state: &mut State, operation: &str, path: &[u8], contents: Slice) -> Option<i32> {
    if contents.len <= MAX_CONTENTS_BYTES {
        return None;
    }
    Some(state.refuse(&wire::too_large(operation, path, MAX_CONTENTS_BYTES as u64)))
}

unsafe extern "C" fn write(host: Host, path: Slice, contents: Slice, attributes: *const abi::Attributes) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), bytes(path)) };
    if let Some(refused) = too_large(&mut state, "write", &path, contents) {
        return refused;
    }
    // SAFETY: see above; a null pointer asks for nothing special.
    let (contents, attributes) = unsafe { (Bytes(bytes(contents)), attributes.as_ref().copied().unwrap_or_default()) };
    let given = |flag| attributes.given & flag != 0;
    let mode = given(abi::WITH_MODE).then_some(Mode(attributes.mode));
    let owner = given(abi::WITH_OWNER).then_some((attributes.uid, attributes.gid));
    state.ask(&Request::Write { path: Bytes(path), contents, mode, owner }).code()
}

unsafe extern "C" fn append(host: Host, path: Slice, contents: Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), bytes(path)) };
    if let Some(refused) = too_large(&mut state, "append to", &path, contents) {
        return refused;
    }
    // SAFETY: see above.
    let contents = Bytes(unsafe { bytes(contents) });
    state.ask(&Request::Append { path: Bytes(path), contents }).code()
}

unsafe extern "C" fn ensure_line(host: Host, path: Slice, line: Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path, line) = unsafe { (of(host), Bytes(bytes(path)), text(line)) };
    state.ask(&Request::EnsureLine { path, line }).code()
}

/// Names, each with a NUL at its end.
fn joined(names: impl IntoIterator<Item = Bytes>) -> Vec<u8> {
    names.into_iter().flat_map(|name| name.0.into_iter().chain([0])).collect()
}

unsafe extern "C" fn list(host: Host, path: Slice, out: *mut Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), Bytes(bytes(path))) };
    let reply = state.ask(&Request::List { path });
    let code = reply.code();
    // SAFETY: see above.
    unsafe { state.give(joined(reply.names.unwrap_or_default()), out) };
    code
}

unsafe extern "C" fn create_dir(host: Host, path: Slice, mode: u32) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), Bytes(bytes(path))) };
    state.ask(&Request::CreateDir { path, mode: Some(Mode(mode)) }).code()
}

unsafe extern "C" fn create_dirs(host: Host, path: Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), Bytes(bytes(path))) };
    state.ask(&Request::CreateDirs { path }).code()
}

unsafe extern "C" fn symlink(host: Host, target: Slice, path: Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, target, path) = unsafe { (of(host), Bytes(bytes(target)), Bytes(bytes(path))) };
    state.ask(&Request::Symlink { target, path }).code()
}

unsafe extern "C" fn remove(host: Host, path: Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), Bytes(bytes(path))) };
    state.ask(&Request::Remove { path }).code()
}

unsafe extern "C" fn set_mode(host: Host, path: Slice, mode: u32) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), Bytes(bytes(path))) };
    state.ask(&Request::SetMode { path, mode: Mode(mode) }).code()
}

unsafe extern "C" fn set_owner(host: Host, path: Slice, uid: u32, gid: u32, follow: i32) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), Bytes(bytes(path))) };
    state.ask(&Request::SetOwner { path, uid, gid, follow: follow != 0 }).code()
}

unsafe extern "C" fn xattrs(host: Host, path: Slice, out: *mut Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), Bytes(bytes(path))) };
    let reply = state.ask(&Request::Xattrs { path });
    let code = reply.code();
    let names = reply.xattrs.unwrap_or_default().into_iter().map(|(name, _)| name);
    // SAFETY: see above.
    unsafe { state.give(joined(names), out) };
    code
}

unsafe extern "C" fn xattr(host: Host, path: Slice, name: Slice, out: *mut Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path, name) = unsafe { (of(host), bytes(path), bytes(name)) };
    let reply = state.ask(&Request::Xattrs { path: Bytes(path.clone()) });
    let (code, all) = (reply.code(), reply.xattrs.unwrap_or_default());
    match all.into_iter().find(|(known, _)| known.0 == name) {
        Some((_, value)) => {
            // SAFETY: see above.
            unsafe { state.give(value.0, out) };
            abi::OK
        }
        None if code == abi::OK => {
            let error = Problem::NotFound.at("read attribute of", String::from_utf8_lossy(&path).as_ref());
            state.refuse(&error);
            abi::NOT_FOUND
        }
        None => code,
    }
}

unsafe extern "C" fn set_xattr(host: Host, path: Slice, name: Slice, value: Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, path) = unsafe { (of(host), bytes(path)) };
    if let Some(refused) = too_large(&mut state, "set attribute of", &path, value) {
        return refused;
    }
    // SAFETY: see above.
    let (name, value) = unsafe { (Bytes(bytes(name)), Bytes(bytes(value))) };
    state.ask(&Request::SetXattr { path: Bytes(path), name, value }).code()
}

/// # Safety
/// `first` is the first of `count` slices, each of which shows what it says.
unsafe fn texts(first: *const Slice, count: usize) -> Vec<String> {
    if first.is_null() || count == 0 {
        return Vec::new();
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(first, count).iter().map(|slice| text(*slice)).collect() }
}

unsafe extern "C" fn run(
    host: Host,
    arguments: *const Slice,
    argument_count: usize,
    environment: *const Slice,
    environment_count: usize,
    status: *mut i32,
    output: *mut Slice,
) -> i32 {
    // SAFETY: see above.
    let (mut state, mut args, environment) =
        unsafe { (of(host), texts(arguments, argument_count), texts(environment, environment_count)) };
    if args.is_empty() {
        return state.refuse(&"run: there is no program");
    }
    let program = args.remove(0);
    let pair = |entry: String| entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let env = environment.into_iter().filter_map(pair).collect();
    let reply = state.ask(&Request::Run { program, args, env });
    let code = reply.code();
    if !status.is_null() {
        // SAFETY: see above.
        unsafe { status.write(reply.status.unwrap_or(-1)) };
    }
    // SAFETY: see above.
    unsafe { state.give(reply.output.unwrap_or_default().into_bytes(), output) };
    code
}

unsafe extern "C" fn add_user(host: Host, json: Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, json) = unsafe { (of(host), bytes(json)) };
    match serde_json::from_slice(&json) {
        Ok(user) => state.ask(&Request::AddUser(user)).code(),
        Err(error) => state.refuse(&format_args!("add user: {error}")),
    }
}

unsafe extern "C" fn add_group(host: Host, json: Slice) -> i32 {
    // SAFETY: see above.
    let (mut state, json) = unsafe { (of(host), bytes(json)) };
    match serde_json::from_slice(&json) {
        Ok(group) => state.ask(&Request::AddGroup(group)).code(),
        Err(error) => state.refuse(&format_args!("add group: {error}")),
    }
}
