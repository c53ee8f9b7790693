//! Addresses of mirrors and proxies, checked for their form before anything is asked of them. Shown without passwords.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The text is no address of a mirror or proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address of a {what}: {rule}")]
pub struct InvalidUrl {
    text: String,
    what: &'static str,
    rule: &'static str,
}

/// Where a Debian archive is: the directory that holds `dists/` and `pool/`, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MirrorUrl(String);

/// A proxy for HTTP, with `user:password@` where it asks for that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProxyUrl(String);

impl FromStr for MirrorUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let url = text.trim().trim_end_matches('/');
        match flaw(url) {
            Some(rule) => Err(InvalidUrl { text: redacted(text), what: "mirror", rule }),
            None => Ok(Self(url.to_owned())),
        }
    }
}

impl FromStr for ProxyUrl {
    type Err = InvalidUrl;

    /// As curl and apt do, takes `host:port` for `http://host:port`.
    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let trimmed = text.trim().trim_end_matches('/');
        let url = if trimmed.contains("://") { trimmed.to_owned() } else { format!("http://{trimmed}") };
        match flaw(&url) {
            Some(rule) => Err(InvalidUrl { text: redacted(text), what: "proxy", rule }),
            None => Ok(Self(url)),
        }
    }
}

/// What keeps `url` from being the address of something that speaks HTTP.
fn flaw(url: &str) -> Option<&'static str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some("http:// or https:// was expected at its beginning");
    };
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Some("only http:// and https:// are spoken");
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control() || "\"'<>\\^`{|}?#".contains(c)) {
        return Some("it has a character that addresses do not have");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match host_and_port.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, after)) => (address, after.strip_prefix(':')),
        None => match host_and_port.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_and_port, None),
        },
    };
    if host.is_empty() {
        return Some("the host is missing");
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() => Some("the port is no number from 0 to 65535"),
        _ => None,
    }
}

/// The address without the password, for screens and logs.
fn redacted(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |slash| start + slash);
    let Some(at) = url[start..end].rfind('@').map(|at| start + at) else { return url.to_owned() };
    match url[start..at].find(':') {
        Some(colon) => format!("{}:***{}", &url[..start + colon], &url[at..]),
        None => url.to_owned(),
    }
}

macro_rules! url_traits {
    ($($name:ident),*) => {$(
        impl $name {
            /// The address in full, with its password.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
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
                url.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&redacted(&self.0))
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
            ("http://user:secret@mirror.example/debian", "http://user:***@mirror.example/debian"),
        ] {
            assert_eq!(text.parse::<MirrorUrl>().unwrap().to_string(), url);
        }
        for (text, rule) in [
            ("mirror.example/debian", "http:// or https:// was expected"),
            ("ftp://mirror.example/debian", "only http:// and https://"),
            ("http:///debian", "the host is missing"),
            ("http://mirror:port/debian", "the port is no number"),
            ("http://a b/debian", "it has a character"),
            ("http://a/debian\nEvil: 1", "it has a character"),
            ("http://a/debian?x=1", "it has a character"),
            ("", "http:// or https:// was expected"),
        ] {
            let error = text.parse::<MirrorUrl>().unwrap_err().to_string();
            assert!(error.contains(rule), "{text}: {error}");
        }
    }

    #[test]
    fn proxies_may_lack_a_scheme_and_hide_their_password() {
        let proxy: ProxyUrl = "user:p@ss@proxy.example:3128/".parse().unwrap();
        assert_eq!(proxy.as_str(), "http://user:p@ss@proxy.example:3128");
        assert_eq!(proxy.to_string(), "http://user:***@proxy.example:3128");
        let error = "ftp://user:secret@proxy".parse::<ProxyUrl>().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_password_shows(text in "(http|://|[a-z@:/\\[\\]ä]){0,12}", word in "[A-Z]{8}") {
            let _ = text.parse::<MirrorUrl>();
            let proxy: ProxyUrl = format!("http://user:{word}@host:80").parse().unwrap();
            prop_assert!(!proxy.to_string().contains(&word));
        }
    }
}
