//! What can go wrong between this host and a mirror, told apart by who has to act.

use std::path::PathBuf;
use std::time::Duration;

use fam_progress::Hint;

use super::shown;

/// Why a request failed.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client could not be made.
    #[error("start the HTTP client: {0}")]
    Setup(#[source] reqwest::Error),
    /// A URL is not one.
    #[error("URL {url}: {reason}")]
    BadUrl {
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The proxy's URL is not one.
    #[error("proxy {proxy}: {reason}")]
    BadProxy {
        proxy: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file with certificates of authorities cannot be used.
    #[error("certificates in {}: {reason}", path.display())]
    CaCertificate { path: PathBuf, reason: String },
    /// A file of this host cannot be read; the error names it.
    #[error("{source}")]
    File {
        /// What the system said.
        source: std::io::Error,
    },
    /// A host name has no address.
    #[error("resolve {}{host}: {reason}", if *proxy { "the proxy " } else { "" })]
    Unresolvable {
        /// The host, or the URL of the proxy.
        host: String,
        /// Whether it is a proxy.
        proxy: bool,
        /// What the resolver said.
        reason: String,
    },
    /// A host takes no connection.
    #[error("connect to {}{host}: {reason}", if *proxy { "the proxy " } else { "" })]
    Unreachable {
        /// The host, or the URL of the proxy.
        host: String,
        /// Whether it is a proxy.
        proxy: bool,
        /// What the system said.
        reason: String,
    },
    /// A server did not answer in time, or fell silent.
    #[error("fetch {url}{}: timed out", through(via))]
    Timeout { url: String, via: Option<String> },
    /// A server sends too slowly to be waited for.
    #[error("fetch {url}{}: too slow: {bytes} bytes in {} s", through(via), within.as_secs_f64())]
    Slow { url: String, via: Option<String>, bytes: u64, within: Duration },
    /// The proxy does not let the request pass.
    #[error("the proxy {proxy} refuses: {reason}")]
    ProxyRefused { proxy: String, reason: String },
    /// The server's certificate or its TLS was not accepted.
    #[error("fetch {url}: TLS: {reason}")]
    Tls { url: String, reason: String },
    /// The server answered, but not with what was asked for.
    #[error("fetch {url}{}: {status} {reason}", through(via))]
    Status {
        url: String,
        status: u16,
        reason: String,
        via: Option<String>,
        /// How long to wait before asking again, if the server says.
        retry_after: Option<Duration>,
    },
    /// A redirect that is not followed.
    #[error("fetch {url}: redirect: {reason}")]
    Redirect {
        url: String,
        /// Why it is not followed.
        reason: String,
    },
    /// The connection broke.
    #[error("fetch {url}: {reason}")]
    Broken { url: String, reason: String },
    /// The body ended before the file did.
    #[error("fetch {url}: cut off after {got} of {expected} bytes")]
    Short {
        url: String,
        /// How much there is now.
        got: u64,
        /// How much there should be.
        expected: u64,
    },
    /// The file is longer than is sensible.
    #[error("fetch {url}: longer than {limit} bytes")]
    TooLong {
        url: String,
        /// The most that is accepted.
        limit: u64,
    },
}

fn through(via: &Option<String>) -> String {
    via.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default()
}

impl Error {
    pub(super) fn redirect(url: &str, reason: &str) -> Self {
        Self::Redirect { url: shown(url), reason: reason.to_owned() }
    }

    pub(super) fn bad_url(url: &str, reason: impl std::fmt::Display) -> Self {
        Self::BadUrl { url: shown(url), reason: reason.to_string() }
    }

    /// Whether there is no such file: the server or this host says so.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 404 | 410),
            Self::File { source } => {
                matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
            }
            _ => false,
        }
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unresolvable { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Slow { .. }
            | Self::Broken { .. }
            | Self::Short { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            _ => false,
        }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        let proxy = "check --proxy, or http_proxy, https_proxy and NO_PROXY in the environment";
        Some(match self {
            Self::Setup(_) => return None,
            Self::BadUrl { .. } => "a mirror looks like http://HOST/debian or file:///DIRECTORY".to_owned(),
            Self::BadProxy { .. } => "a proxy looks like http://[USER:PASSWORD@]HOST:PORT, or the same with socks5h://".to_owned(),
            Self::File { .. } => "it must be a file that you can read".to_owned(),
            Self::Unresolvable { proxy: true, .. } | Self::Unreachable { proxy: true, .. } => proxy.to_owned(),
            Self::ProxyRefused { .. } => format!(
                "{proxy}; a login goes into the URL, as http://USER:PASSWORD@HOST:PORT (or socks5h://), or into a file of /etc/apt/auth.conf.d"
            ),
            Self::Unresolvable { .. } => {
                "check the name of the mirror and the network of this host; behind a proxy, use --proxy".to_owned()
            }
            Self::Unreachable { .. } | Self::Timeout { via: None, .. } | Self::Slow { via: None, .. } => {
                "check that the mirror is up, or choose another with --mirror; behind a proxy, use --proxy".to_owned()
            }
            Self::Timeout { via: Some(_), .. } | Self::Slow { via: Some(_), .. } => format!("check that proxy and mirror are up; {proxy}"),
            Self::CaCertificate { .. } => {
                "name a file of certificates that you can read, in PEM: it has lines `-----BEGIN CERTIFICATE-----`".to_owned()
            }
            Self::Tls { reason, .. } if reason.contains("UnknownIssuer") => {
                "this host does not know the authority that signed the mirror's certificate: name a file with the authority's \
                 own by --ca-certificate FILE, or by SSL_CERT_FILE in the environment; an http: mirror needs none, as its files \
                 are signed"
                    .to_owned()
            }
            Self::Tls { .. } => {
                "check the clock and the CA certificates of this host (package ca-certificates); an http: mirror needs none, as its \
                 files are signed"
                    .to_owned()
            }
            Self::Status { status: 401, .. } => {
                "the mirror asks for a user and password: put them into ~/.netrc, or into a file of /etc/apt/auth.conf.d, as \
                 `machine HOST login USER password PASSWORD` (there with http://HOST where it is no https), or into the URL, as \
                 http://USER:PASSWORD@HOST/debian"
                    .to_owned()
            }
            Self::Status { via: Some(_), .. } => format!("the mirror or the proxy refuses; {proxy}"),
            Self::Status { status: 403, .. } => {
                "check the URL of the mirror and the suite, as some servers say so of what they do not have; a login goes into ~/.netrc, \
                 or into a file of /etc/apt/auth.conf.d"
                    .to_owned()
            }
            Self::Status { .. } => "the mirror may be incomplete or busy; try again later, or choose another with --mirror".to_owned(),
            Self::Redirect { .. } => "name the final place with --mirror".to_owned(),
            Self::Broken { .. } | Self::Short { .. } => {
                "run it again: what was fetched so far is kept; if it happens again, choose another mirror with --mirror".to_owned()
            }
            Self::TooLong { .. } => "the mirror, or a proxy before it, serves something else than the file".to_owned(),
        })
    }
}
