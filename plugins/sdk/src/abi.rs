//! The binary interface between fam-build and a plugin that is a dynamic library.
//!
//! A library exports one symbol, [`SYMBOL`], a [`Table`] of functions. Each is called with a
//! [`HostTable`], the functions that the plugin may call back. Only numbers, pointers and byte
//! slices with lengths cross; nobody frees what the other side allocated. `include/fam_plugin.h`
//! says the same in C.
//!
//! Within a major version tables only grow at their end, and the minor version counts how often
//! they did. A host takes plugins of its own major version and of no later minor version than its
//! own.

use std::ffi::c_void;

use crate::Problem;

/// The name of the exported symbol.
pub const SYMBOL: &str = "FAM_PLUGIN";
/// What every table of a plugin begins with.
pub const MAGIC: u64 = 0x0047_554c_504d_4146;
/// The major version of this interface.
pub const MAJOR: u16 = 1;
/// The minor version of this interface.
pub const MINOR: u16 = 0;

/// It was done.
pub const OK: i32 = 0;
/// [`Problem::NotFound`].
pub const NOT_FOUND: i32 = 1;
/// [`Problem::AlreadyExists`].
pub const ALREADY_EXISTS: i32 = 2;
/// [`Problem::NotADirectory`].
pub const NOT_A_DIRECTORY: i32 = 3;
/// [`Problem::NotAFile`].
pub const NOT_A_FILE: i32 = 4;
/// [`Problem::LinkLoop`].
pub const LINK_LOOP: i32 = 5;
/// [`Problem::BadPath`].
pub const BAD_PATH: i32 = 6;
/// Something else; [`HostTable::last_error`] says what.
pub const FAILED: i32 = 100;

/// [`HostTable::fail`]: in the plugin's own words.
pub const FAIL_OTHER: i32 = 0;
/// [`HostTable::fail`]: a setting does not fit; the key is its name.
pub const FAIL_SETTING: i32 = 1;
/// [`HostTable::fail`]: a program failed; the key is its command line.
pub const FAIL_RUN: i32 = 2;
/// [`HostTable::fail`]: the plugin panicked.
pub const FAIL_PANIC: i32 = 3;

/// [`HostTable::lookup`]: the settings of the recipe.
pub const SETTINGS: i32 = 0;
/// [`HostTable::lookup`]: what is known of the build.
pub const FACTS: i32 = 1;
/// [`HostTable::lookup`]: the node, at the node stage.
pub const NODE: i32 = 2;

/// [`HostTable::secret`]: that of the node at the node stage, of the cluster at the system stage.
pub const OWN: i64 = -1;
/// [`HostTable::secret`]: one for all nodes. Numbers from 1 are those of nodes.
pub const CLUSTER: i64 = 0;

/// [`Stat::file_type`]: a regular file.
pub const FILE: u32 = 0;
/// [`Stat::file_type`]: a directory.
pub const DIRECTORY: u32 = 1;
/// [`Stat::file_type`]: a symbolic link.
pub const SYMLINK: u32 = 2;
/// [`Stat::file_type`]: a device, a pipe or a socket.
pub const SPECIAL: u32 = 3;

/// [`Attributes::given`]: the mode.
pub const WITH_MODE: u32 = 1;
/// [`Attributes::given`]: owner and group.
pub const WITH_OWNER: u32 = 2;

/// The number of a problem; [`FAILED`] for those that have words of their own.
#[must_use]
pub fn code(problem: &Problem) -> i32 {
    match problem {
        Problem::NotFound => NOT_FOUND,
        Problem::AlreadyExists => ALREADY_EXISTS,
        Problem::NotADirectory => NOT_A_DIRECTORY,
        Problem::NotAFile => NOT_A_FILE,
        Problem::LinkLoop => LINK_LOOP,
        Problem::BadPath => BAD_PATH,
        Problem::Malformed(_) | Problem::TooLarge(_) | Problem::Other(_) => FAILED,
    }
}

/// The problem of a number, where the number says it all.
#[must_use]
pub fn problem(code: i32) -> Option<Problem> {
    Some(match code {
        NOT_FOUND => Problem::NotFound,
        ALREADY_EXISTS => Problem::AlreadyExists,
        NOT_A_DIRECTORY => Problem::NotADirectory,
        NOT_A_FILE => Problem::NotAFile,
        LINK_LOOP => Problem::LinkLoop,
        BAD_PATH => Problem::BadPath,
        _ => return None,
    })
}

/// Bytes with their length. What a plugin gives is only read during the call. What the host gives
/// stays until the plugin's next call of a host function. `data` may be null where `len` is 0.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Slice {
    /// The first byte.
    pub data: *const u8,
    /// How many there are.
    pub len: usize,
}

impl Slice {
    /// No bytes.
    pub const EMPTY: Self = Self { data: std::ptr::null(), len: 0 };

    /// These bytes. They must outlive what the slice is given to.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stat {
    /// [`FILE`], [`DIRECTORY`], [`SYMLINK`] or [`SPECIAL`].
    pub file_type: u32,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Length in bytes of a regular file.
    pub size: u64,
}

/// Mode and owner of a file that is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Attributes {
    /// [`WITH_MODE`], [`WITH_OWNER`], both or neither: which of the others count.
    pub given: u32,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

/// A function of a plugin. Gives [`OK`], or anything else after [`HostTable::fail`].
pub type Entry = unsafe extern "C" fn(host: *const HostTable) -> i32;

/// What a library exports. The first four fields are the same in every version for ever.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Table {
    /// [`MAGIC`].
    pub magic: u64,
    /// The [`MAJOR`] it was made for.
    pub major: u16,
    /// The [`MINOR`] it was made for.
    pub minor: u16,
    /// Size of this table in bytes.
    pub size: u32,
    /// Says what it is, by [`HostTable::describe`].
    pub describe: Entry,
    /// Checks the settings.
    pub check: Entry,
    /// Applies the system stage.
    pub apply_system: Entry,
    /// Applies the node stage.
    pub apply_node: Entry,
}

type Host = *const HostTable;

/// What a plugin may call, each with the table itself as the first argument, and only during a call
/// of the plugin. All but `log` and `secret` only from the thread that was called. Paths are the
/// image's, as plugins of any kind give them. What gives a number gives [`OK`], or what went wrong,
/// of which [`HostTable::last_error`] has the words.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
#[allow(missing_docs, reason = "the header explains each to those who call them")]
pub struct HostTable {
    /// Size of this table in bytes.
    pub size: u32,
    pub major: u16,
    pub minor: u16,
    /// The host's own.
    pub state: *mut c_void,
    pub describe: unsafe extern "C" fn(Host, json: Slice) -> i32,
    pub fail: unsafe extern "C" fn(Host, kind: i32, key: Slice, message: Slice, hint: Slice),
    pub last_error: unsafe extern "C" fn(Host, out: *mut Slice),
    pub log: unsafe extern "C" fn(Host, warning: i32, message: Slice),
    pub lookup: unsafe extern "C" fn(Host, document: i32, pointer: Slice, out: *mut Slice) -> i32,
    pub secret: unsafe extern "C" fn(Host, scope: i64, label: Slice, out: *mut [u8; 32]) -> i32,
    pub resolve: unsafe extern "C" fn(Host, path: Slice, follow: i32, out: *mut Slice) -> i32,
    pub stat: unsafe extern "C" fn(Host, path: Slice, follow: i32, out: *mut Stat, target: *mut Slice) -> i32,
    pub read: unsafe extern "C" fn(Host, path: Slice, out: *mut Slice) -> i32,
    pub write: unsafe extern "C" fn(Host, path: Slice, contents: Slice, attributes: *const Attributes) -> i32,
    pub append: unsafe extern "C" fn(Host, path: Slice, contents: Slice) -> i32,
    pub ensure_line: unsafe extern "C" fn(Host, path: Slice, line: Slice) -> i32,
    pub list: unsafe extern "C" fn(Host, path: Slice, out: *mut Slice) -> i32,
    pub create_dir: unsafe extern "C" fn(Host, path: Slice, mode: u32) -> i32,
    pub create_dirs: unsafe extern "C" fn(Host, path: Slice) -> i32,
    pub symlink: unsafe extern "C" fn(Host, target: Slice, path: Slice) -> i32,
    pub remove: unsafe extern "C" fn(Host, path: Slice) -> i32,
    pub set_mode: unsafe extern "C" fn(Host, path: Slice, mode: u32) -> i32,
    pub set_owner: unsafe extern "C" fn(Host, path: Slice, uid: u32, gid: u32, follow: i32) -> i32,
    pub xattrs: unsafe extern "C" fn(Host, path: Slice, out: *mut Slice) -> i32,
    pub xattr: unsafe extern "C" fn(Host, path: Slice, name: Slice, out: *mut Slice) -> i32,
    pub set_xattr: unsafe extern "C" fn(Host, path: Slice, name: Slice, value: Slice) -> i32,
    pub run: unsafe extern "C" fn(
        Host,
        arguments: *const Slice,
        argument_count: usize,
        environment: *const Slice,
        environment_count: usize,
        status: *mut i32,
        output: *mut Slice,
    ) -> i32,
    pub add_user: unsafe extern "C" fn(Host, json: Slice) -> i32,
    pub add_group: unsafe extern "C" fn(Host, json: Slice) -> i32,
}
