//! Functions of the C library that programs of Debian ask, as oracles.

use std::ffi::CString;

/// Whether `name` fits `pattern` by fnmatch(3), without flags, as dpkg asks it.
///
/// # Panics
/// Where either has a NUL.
#[must_use]
#[allow(unsafe_code, reason = "asks the function that dpkg asks")]
pub fn fnmatch(pattern: &[u8], name: &[u8]) -> bool {
    let [pattern, name] = [pattern, name].map(|text| CString::new(text).expect("no NUL in either"));
    // SAFETY: both are strings that end with NUL and live until the call returns; fnmatch keeps
    // neither.
    unsafe { libc::fnmatch(pattern.as_ptr(), name.as_ptr(), 0) == 0 }
}
