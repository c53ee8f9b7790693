//! Paths inside a root file system.

use std::borrow::Borrow;
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// The longest path that a root holds: Linux's `PATH_MAX`.
pub const MAX_PATH_BYTES: usize = 4096;
/// The longest component of a path: Linux's `NAME_MAX`.
pub const MAX_NAME_BYTES: usize = 255;

/// A path inside a root: components joined by single slashes, with no slash before or after, none
/// of them empty, `.` or `..`, no NUL, at most [`MAX_NAME_BYTES`] each and [`MAX_PATH_BYTES`] in
/// all. The root itself is the empty path. Bytes, since a file name need not be UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RootPath(Vec<u8>);

/// Bytes that name no place inside a root. The path in it is [fit to be shown](shown).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// A component is `..`.
    #[error("path {0} leaves the root")]
    Leaves(String),
    /// Paths end at a NUL byte, so none can hold one.
    #[error("path {0} holds a NUL byte")]
    Nul(String),
    /// The whole is longer than the kernel takes.
    #[error("path {path} has {len} bytes, more than the {MAX_PATH_BYTES} that Linux takes")]
    TooLong {
        /// The path.
        path: String,
        /// Its length.
        len: usize,
    },
    /// A component is longer than a directory takes.
    #[error("path {path} has a name of {len} bytes, more than the {MAX_NAME_BYTES} that Linux takes")]
    NameTooLong {
        /// The path.
        path: String,
        /// The length of the component.
        len: usize,
    },
}

/// A name from outside for an error: in quotes, and as [`escaped`] says.
pub(crate) fn shown(name: &[u8]) -> String {
    format!("\"{}\"", escaped(name))
}

/// Text whose unprintable characters, and bytes that are no UTF-8, are escaped as in Rust, and
/// which is cut where it is long.
fn escaped(name: &[u8]) -> String {
    const LONGEST_BYTES: usize = 300;
    let mut text = String::new();
    for chunk in name[..name.len().min(LONGEST_BYTES)].utf8_chunks() {
        // Without the quotes that `Debug` puts around a string.
        let valid = format!("{:?}", chunk.valid());
        let _ = write!(text, "{}{}", &valid[1..valid.len() - 1], chunk.invalid().escape_ascii());
    }
    if name.len() > LONGEST_BYTES {
        text.push('…');
    }
    text
}

impl RootPath {
    /// The root directory.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Normalizes `bytes` as they stand in archives and settings: leading `/` and `./`, doubled and
    /// trailing slashes, and `.` components are dropped.
    ///
    /// # Errors
    /// [`InvalidPath`] for a `..` component, a NUL byte, or what is too long for Linux.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, InvalidPath> {
        let bytes = bytes.as_ref();
        let mut path = Vec::with_capacity(bytes.len().min(MAX_PATH_BYTES));
        for component in bytes.split(|&b| b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(InvalidPath::Leaves(shown(bytes))),
                _ if component.contains(&0) => return Err(InvalidPath::Nul(shown(bytes))),
                _ if component.len() > MAX_NAME_BYTES => {
                    return Err(InvalidPath::NameTooLong { path: shown(bytes), len: component.len() });
                }
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(InvalidPath::TooLong { path: shown(bytes), len: path.len() });
        }
        Ok(Self(path))
    }

    /// The bytes, without a leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root directory.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|component| !component.is_empty())
    }

    /// The directory that holds this entry; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn file_name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
        &self.0[start..]
    }

    /// This path with one component more.
    ///
    /// # Errors
    /// [`InvalidPath`] as [`RootPath::new`].
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<Self, InvalidPath> {
        Self::new([self.as_bytes(), b"/", name.as_ref()].concat())
    }

    /// Whether `self` is `ancestor` or lies under it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self.0.strip_prefix(ancestor.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

/// Ordered and compared as its bytes are.
impl Borrow<[u8]> for RootPath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for RootPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for RootPath {
    /// For people: with a leading slash, as a person in the guest would write it, but [`escaped`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", escaped(&self.0))
    }
}

impl fmt::Debug for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes() {
        for (given, expected) in [("./usr/bin/", "/usr/bin"), ("/", "/"), ("", "/"), ("a//b/./c", "/a/b/c"), (".", "/")]
        {
            assert_eq!(given.parse::<RootPath>().unwrap().to_string(), expected);
        }
        for hostile in ["..", "a/../b", "/../etc", "a\0b"] {
            assert!(hostile.parse::<RootPath>().is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn takes_what_linux_takes() {
        let name = "n".repeat(MAX_NAME_BYTES);
        let longest = format!("{}/{}/n", [name.as_str(); 15].join("/"), &name[1..]);
        assert_eq!(longest.len(), MAX_PATH_BYTES);
        assert!(RootPath::new(format!("./{longest}//")).is_ok());
        let error = RootPath::new(longest + "n").unwrap_err().to_string();
        assert!(error.starts_with("path \"nnn") && error.contains("…\" has 4097 bytes, more than the 4096"), "{error}");
        assert!(error.len() < 400, "{error}");
        let error = RootPath::new(name + "n").unwrap_err().to_string();
        assert!(error.contains("has a name of 256 bytes, more than the 255"), "{error}");
    }

    #[test]
    fn shows_no_bytes_as_they_are_but_text() {
        assert_eq!(shown("./ä 'b'".as_bytes()), "\"./ä 'b'\"");
        assert_eq!(shown(b"\x1b]0;x\x07\n\xff\""), r#""\u{1b}]0;x\u{7}\n\xff\"""#);
        assert_eq!(shown("\u{9b}\u{202e}".as_bytes()), r#""\u{9b}\u{202e}""#);
        assert_eq!(RootPath::new("a\n\x1b[31m").unwrap().to_string(), r"/a\n\u{1b}[31m");
        // Cut within a character.
        assert!(shown(&"ä".repeat(200).into_bytes()[1..]).ends_with("ä\\xc3…\""));
    }

    #[test]
    fn walks_up_and_down() {
        let path: RootPath = "usr/lib/x".parse().unwrap();
        assert_eq!(path.file_name(), b"x");
        assert_eq!(path.parent().unwrap().to_string(), "/usr/lib");
        assert!(path.starts_with(&"usr".parse().unwrap()));
        assert!(!path.starts_with(&"us".parse().unwrap()));
        assert_eq!(RootPath::root().parent(), None);
        assert_eq!("etc".parse::<RootPath>().unwrap().parent(), Some(RootPath::root()));
    }
}
