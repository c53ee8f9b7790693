//! Paths inside a root file system.

use std::fmt;
use std::str::FromStr;

/// A path inside a root: components joined by single slashes, with no slash before or after, none of them empty, `.` or
/// `..`, no NUL. The root itself is the empty path. Bytes, since a file name need not be UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RootPath(Vec<u8>);

/// Bytes that name no place inside a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {0:?} leaves the root or holds a NUL byte")]
pub struct InvalidPath(pub String);

impl RootPath {
    /// The root directory.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Normalizes `bytes` as they stand in archives and settings: leading `/` and `./`, doubled and trailing slashes, and
    /// `.` components are dropped.
    ///
    /// # Errors
    /// [`InvalidPath`] for a `..` component or a NUL byte.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, InvalidPath> {
        let bytes = bytes.as_ref();
        let mut path = Vec::with_capacity(bytes.len());
        for component in bytes.split(|&b| b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(InvalidPath(String::from_utf8_lossy(bytes).into_owned())),
                _ if component.contains(&0) => {
                    return Err(InvalidPath(String::from_utf8_lossy(bytes).into_owned()));
                }
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
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

    /// Whether `self` is `ancestor` or lies beneath it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self.0.strip_prefix(ancestor.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl FromStr for RootPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for RootPath {
    /// With a leading slash, as a person in the guest would write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
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
