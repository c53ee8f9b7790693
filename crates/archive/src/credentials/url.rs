//! Addresses of mirrors and proxies, checked for their form before anything is asked of them. The
//! login that an address may hold is set apart when it is read, and is no part of what is shown,
//! compared with other text or serialized.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::Login;
use crate::file_url;

/// The text is no address of a mirror or proxy. Where it has an `@`, nothing before that is shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address of a {what}: {rule}")]
pub struct InvalidUrl {
    text: String,
    what: &'static str,
    rule: &'static str,
}

impl InvalidUrl {
    fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { text: without_login(text), what, rule }
    }
}

/// Where a Debian archive is: the directory that holds `dists/` and `pool/`, without a slash at its
/// end. It is on a server, or on this host (`file:///srv/debian`, or `copy:` for `file:`).
///
/// Serialized, it has lost its login: that goes to other processes with [`Logins`](super::Logins)
/// alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MirrorUrl {
    url: String,
    login: Option<Login>,
}

/// A proxy, which speaks HTTP or SOCKS. Serialized, it has lost its login, as a mirror's has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProxyUrl {
    url: String,
    login: Option<Login>,
}

impl MirrorUrl {
    /// The address of this path with `suffix` appended to it; nothing where the mirror is a whole
    /// host.
    #[must_use]
    pub fn sibling(&self, suffix: &str) -> Option<Self> {
        let is_below = self.is_file() || !Place::of(&self.url)?.path.is_empty();
        is_below.then(|| Self { url: format!("{}{suffix}", self.url), login: self.login.clone() })
    }

    /// Whether it is a directory of this host.
    #[must_use]
    pub fn is_file(&self) -> bool {
        file_url::is_file(&self.url)
    }

    /// The address of a directory in it.
    #[must_use]
    pub fn join(&self, directory: &str) -> Self {
        Self { url: format!("{}/{directory}", self.url), login: self.login.clone() }
    }
}

impl FromStr for MirrorUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let trimmed = text.trim();
        let parsed = match file_url::normalized(trimmed) {
            Some(file) => file.map(|url| (url, None)),
            None => {
                let others = "only http://, https://, file:/ and copy:/ are read";
                parse(trimmed.trim_end_matches('/'), &["http", "https"], others)
            }
        };
        let (url, login) = parsed.map_err(|rule| InvalidUrl::new(text, "mirror", rule))?;
        Ok(Self { url, login })
    }
}

impl FromStr for ProxyUrl {
    type Err = InvalidUrl;

    /// As curl and apt do, takes `host:port` for `http://host:port`.
    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let trimmed = text.trim().trim_end_matches('/');
        let full = if trimmed.contains("://") { trimmed.to_owned() } else { format!("http://{trimmed}") };
        let schemes = ["http", "https", "socks5h", "socks5", "socks4a", "socks4"];
        let others = "only http://, https:// and socks5h:// are spoken, and socks5://, socks4a:// and socks4://";
        let (url, login) = parse(&full, &schemes, others).map_err(|rule| InvalidUrl::new(text, "proxy", rule))?;
        Ok(Self { url, login })
    }
}

/// The host of an address, whether it has a login or not, that of IPv6 without its brackets; nothing of
/// a file's.
#[must_use]
pub fn host(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else { return "" };
    let authority = rest.split('/').next().unwrap_or_default();
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    match address.strip_prefix('[').and_then(|address| address.split_once(']')) {
        Some((ipv6, _)) => ipv6,
        None => address.split_once(':').map_or(address, |(host, _)| host),
    }
}

/// Parts of an address that has no login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) scheme: &'a str,
    /// The host, an address of IPv6 without its brackets.
    pub(super) host: &'a str,
    /// The host as it is written, with brackets.
    pub(super) written_host: &'a str,
    pub(super) port: Option<u16>,
    /// The path with its slash, or nothing.
    pub(super) path: &'a str,
}

impl<'a> Place<'a> {
    /// The parts of `url`, if it has the form of an address.
    pub(super) fn of(url: &'a str) -> Option<Self> {
        Self::split(url).ok()
    }

    fn split(url: &'a str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or("http:// or https:// was expected at its beginning")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, written_host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, after)) => (address, &authority[..address.len() + 2], after.strip_prefix(':')),
            None => match authority.split_once(':') {
                Some((host, port)) => (host, host, Some(port)),
                None => (authority, authority, None),
            },
        };
        if host.is_empty() {
            return Err("the host is missing");
        }
        let port = port.map(str::parse).transpose().map_err(|_| "the port is no number from 0 to 65535")?;
        Ok(Self { scheme, host, written_host, port, path })
    }

    /// Whether `scheme` is the one of this address.
    pub(super) fn has_scheme(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// Whether the host is this very machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }

    /// Whether scheme, host and port are those of `other`.
    pub(super) fn has_origin_of(&self, other: &Place<'_>) -> bool {
        self.has_scheme(other.scheme)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.effective_port() == other.effective_port()
    }

    /// The port that is asked, which is that of the scheme where none is named.
    fn effective_port(&self) -> u16 {
        self.port.unwrap_or(if self.has_scheme("https") { 443 } else { 80 })
    }
}

/// Splits `url` into the address without its login, and the login; or returns why it is no address
/// of one of `schemes`: for another scheme, `others`.
fn parse(url: &str, schemes: &[&str], others: &'static str) -> Result<(String, Option<Login>), &'static str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err("http:// or https:// was expected at its beginning");
    };
    if !schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(others);
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control() || "\"'<>\\^`{|}?#".contains(c)) {
        return Err("it has a character that addresses do not have (in a password, write it as % and two digits)");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if path.contains('@') {
        // Else a part of the password would be taken for a path, and shown.
        return Err("it has an @ behind a slash (in a password, write the slash as %2F)");
    }
    // What is before the last @ is the login: many passwords have an @ of their own, and it is
    // often not escaped.
    let (url, login) = match authority.rfind('@') {
        Some(at) => (format!("{scheme}://{}", &rest[at + 1..]), login(&rest[..at])?),
        None => (url.to_owned(), None),
    };
    Place::split(&url)?;
    Ok((url, login))
}

/// The login that `user:password` stands for.
fn login(text: &str) -> Result<Option<Login>, &'static str> {
    let decode = |text| percent_decode_str(text).decode_utf8().map_err(|_| "its user or password is not UTF-8");
    if text.is_empty() {
        return Ok(None);
    }
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Ok(Some(Login::new(decode(user)?, decode(password)?)))
}

/// Shows text that may be a mistyped address, with `***` for what may be a login: all before the
/// last `@`.
#[must_use]
pub fn without_login(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.find("://").map_or("", |at| &before[..at + 3]);
            format!("{scheme}***@{after}")
        }
        None => text.to_owned(),
    }
}

macro_rules! url_traits {
    ($($name:ident),*) => {$(
        impl $name {
            /// The address, without its login.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.url
            }

            /// The login that the address was read with.
            #[must_use]
            pub fn login(&self) -> Option<&Login> {
                self.login.as_ref()
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidUrl;

            fn try_from(text: String) -> Result<Self, InvalidUrl> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(url: $name) -> Self {
                url.url
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.url)
            }
        }
    )*};
}

url_traits!(MirrorUrl, ProxyUrl);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mirrors() {
        for (text, url) in [
            ("http://ftp.us.debian.org/debian", "http://ftp.us.debian.org/debian"),
            ("https://mirror.example:8080/debian/", "https://mirror.example:8080/debian"),
            ("http://[::1]:3142/debian", "http://[::1]:3142/debian"),
            ("http://user:secret@mirror.example/debian", "http://mirror.example/debian"),
            ("file:/srv/debian/", "file:///srv/debian"),
            ("copy:/srv/a@b", "copy:///srv/a@b"),
        ] {
            assert_eq!(text.parse::<MirrorUrl>().unwrap().to_string(), url);
        }
        for (text, rule) in [
            ("mirror.example/debian", "http:// or https:// was expected"),
            ("ftp://mirror.example/debian", "only http://, https://, file:/ and copy:/"),
            ("./debian", "by its whole path, as in file:///srv/debian"),
            ("file:debian", "the whole path"),
            ("http:///debian", "the host is missing"),
            ("http://user:secret@/debian", "the host is missing"),
            ("http://mirror:port/debian", "the port is no number"),
            ("http://a b/debian", "it has a character"),
            ("http://a/debian\nEvil: 1", "it has a character"),
            ("http://a/debian?x=1", "it has a character"),
            ("http://user:%ff@a/debian", "is not UTF-8"),
            ("", "http:// or https:// was expected"),
        ] {
            let error = text.parse::<MirrorUrl>().unwrap_err().to_string();
            assert!(error.contains(rule) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn logins_are_set_apart_and_decoded() {
        for (text, user, password) in [
            ("http://ann:s%40cret@host/debian", "ann", "s@cret"),
            ("http://ann:s@cret@host/debian", "ann", "s@cret"),
            ("http://ann:a:b%3a%20c@host/debian", "ann", "a:b: c"),
            ("http://token@host/debian", "token", ""),
            ("http://:secret@host/debian", "", "secret"),
            ("http://ann:100%@host/debian", "ann", "100%"),
        ] {
            let url: MirrorUrl = text.parse().unwrap();
            assert_eq!(url.login().unwrap().reveal(), (user, password));
            assert_eq!(url.as_str(), "http://host/debian");
        }
        assert_eq!("http://@host/debian".parse::<MirrorUrl>().unwrap().login(), None);
        let sibling = "http://ann:secret@host/debian".parse::<MirrorUrl>().unwrap().sibling("-security").unwrap();
        assert_eq!((sibling.as_str(), sibling.login().is_some()), ("http://host/debian-security", true));
        assert_eq!("http://ann:secret@host".parse::<MirrorUrl>().unwrap().sibling("-security"), None);
        let beside_files = "file:/srv/debian".parse::<MirrorUrl>().unwrap().sibling("-security").unwrap();
        assert_eq!(beside_files.as_str(), "file:///srv/debian-security");
    }

    #[test]
    fn proxies_may_lack_a_scheme() {
        let proxy: ProxyUrl = "user:p@ss@proxy.example:3128/".parse().unwrap();
        assert_eq!(proxy.as_str(), "http://proxy.example:3128");
        assert_eq!(proxy.login().unwrap().reveal(), ("user", "p@ss"));
        let proxy: ProxyUrl = "socks5h://user:p@ss@proxy.example:1080".parse().unwrap();
        assert_eq!((proxy.as_str(), proxy.login().is_some()), ("socks5h://proxy.example:1080", true));
        assert!("socks://proxy".parse::<ProxyUrl>().is_err() && "file:///proxy".parse::<ProxyUrl>().is_err());
    }

    #[test]
    fn what_is_no_address_shows_no_login_either() {
        for text in ["ftp://user:secret@proxy", "user:sec ret@proxy", "http://user:secret/more@host", "user:secret@"] {
            let error = text.parse::<ProxyUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("sec"), "{error:?}");
        }
        for text in ["http://user:sec/ret@host/debian", "http://user:12/sec@host/debian"] {
            let error = text.parse::<MirrorUrl>().unwrap_err().to_string();
            assert!(error.starts_with("`http://***@host/debian` is no address of a mirror"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_password_shows(text in "(http|://|[a-z@:/\\[\\]ä]){0,12}", word in "[A-Z]{8}") {
            let _ = text.parse::<MirrorUrl>();
            let proxy: ProxyUrl = format!("http://user:{word}@host:80").parse().unwrap();
            let shown = format!("{proxy} {proxy:?} {}", serde_json::to_string(&proxy).unwrap());
            prop_assert!(!shown.contains(&word) && !shown.contains("user"), "{}", shown);
        }
    }
}
