//! URLs of files of this host, as apt writes them: `file:/srv/debian`, `copy:/srv/debian`, and the
//! same with three slashes. To apt, `copy:` has packages copied before they are used; here all are.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

const SCHEMES: [&str; 2] = ["file", "copy"];

/// What a path in a URL encodes. The others mean themselves, to this program and to servers.
pub(crate) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@')
    .remove(b'=')
    .remove(b',')
    .remove(b'!');

/// Scheme and path of a URL of a file, as they are written.
fn split(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some((scheme, rest))
}

/// Whether `url` is that of a file of this host.
#[must_use]
pub fn is_file(url: &str) -> bool {
    split(url).is_some()
}

/// The path that `url` names, if it is that of a file of this host.
#[must_use]
pub fn path_of(url: &str) -> Option<PathBuf> {
    let (_, rest) = split(url)?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    Some(OsString::from_vec(percent_decode_str(path).collect()).into())
}

/// The URL of an absolute path.
#[must_use]
pub(crate) fn of_path(path: &Path) -> String {
    format!("file://{}", percent_encode(path.as_os_str().as_bytes(), ENCODED))
}

/// A URL of a file in the one form that is compared and shown, with three slashes; nothing of other
/// text, and an error where it names no absolute path.
pub(crate) fn normalized(text: &str) -> Option<Result<String, &'static str>> {
    if text.starts_with(['/', '.', '~']) {
        return Some(Err("a directory of this host is named by its whole path, as in file:///srv/debian"));
    }
    let (scheme, rest) = split(text)?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    // Without its last slash, the root is nothing.
    if !path.starts_with('/') && rest != "//" {
        return Some(Err("the whole path of a directory of this host was expected, as in file:///srv/debian"));
    }
    if path.chars().any(|c| c.is_whitespace() || c.is_control() || "\"'<>\\^`{|}?#".contains(c)) {
        return Some(Err("it has a character that addresses do not have (write a blank as %20)"));
    }
    Some(Ok(format!("{}://{}", scheme.to_ascii_lowercase(), path.trim_end_matches('/'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_path() {
        for (text, url) in [
            ("file:/srv/debian", "file:///srv/debian"),
            ("file:///srv/debian/", "file:///srv/debian"),
            ("FILE:///srv/debian//", "file:///srv/debian"),
            ("copy:/srv/debian", "copy:///srv/debian"),
            ("copy:///srv/a@b%20c", "copy:///srv/a@b%20c"),
            ("file:///", "file://"),
            ("file://", "file://"),
        ] {
            assert_eq!(normalized(text), Some(Ok(url.to_owned())), "{text}");
        }
        for text in ["file:srv", "file:./srv", "file://host/srv", "file:", "copy:srv", "./srv", "/srv", "../x"] {
            assert!(normalized(text).unwrap().unwrap_err().contains("whole path"), "{text}");
        }
        assert!(normalized("file:/a b").unwrap().is_err());
        assert_eq!(normalized("http://host/debian"), None);
    }

    #[test]
    fn paths_both_ways() {
        for path in ["/srv/debian", "/a b/ü#?%41/x_1%3a4_all.deb", "/@"] {
            let url = of_path(Path::new(path));
            assert_eq!(path_of(&url), Some(path.into()), "{url}");
            assert!(normalized(&url).unwrap().is_ok(), "{url}");
        }
        assert_eq!(path_of("copy:/a%20b"), Some("/a b".into()));
        assert_eq!(path_of("http://host/a"), None);
        let odd = PathBuf::from(OsString::from_vec(b"/\xff".to_vec()));
        assert_eq!(path_of(&of_path(&odd)), Some(odd));
    }
}
