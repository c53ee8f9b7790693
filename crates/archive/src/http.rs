//! HTTP for mirrors: GET with ranges through proxies, errors that say who failed, and retries of
//! those that may pass. Files of this host are read here, too, so that no caller has to know where a
//! mirror is.
//!
//! Nothing that comes from here is trusted: the callers verify the bytes. There is no HTTP cache but
//! what a caller keeps by itself, no cookie and no content coding, and a redirect never leads from https
//! to http, nor takes a login along to another place.
//!
//! `http::Error`, wherever it stands, is the error of this module. The crate of that name is written
//! `::http`.

use std::error::Error as _;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::blocking::{Client, Response};
use reqwest::header::{self, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode, Url};

use crate::credentials::{Login, Logins};
use crate::file_url;

mod certificates;
mod conditional;
mod error;
mod file;
mod proxy;
mod retry;
mod speed;

pub(super) use conditional::{Answer, Validators};
pub use error::Error;
pub use proxy::ProxyChoice;
pub(super) use retry::RetryState;
pub use speed::LeastSpeed;
use speed::Pace;

const MAX_REDIRECTS: usize = 10;

/// How to make requests.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Which proxy requests go through.
    pub proxy: ProxyChoice,
    /// The logins of mirrors and proxies. URLs have none.
    pub logins: Logins,
    /// Files with certificates of authorities to trust in addition to the host's, in PEM.
    pub ca_certificates: Vec<PathBuf>,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a server may be silent, before its answer and within it.
    pub stall_timeout: Duration,
    /// The least that a server has to send; a slower one counts as failed.
    pub least_speed: LeastSpeed,
    /// How many times in a row something may fail.
    pub attempts: u32,
    /// The pause after the first failure; doubled after each further one.
    pub pause: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            proxy: ProxyChoice::Environment,
            logins: Logins::default(),
            ca_certificates: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            least_speed: LeastSpeed::default(),
            attempts: 5,
            pause: Duration::from_millis(250),
        }
    }
}

/// A client with its connections, which all threads share.
#[derive(Debug)]
pub struct Http {
    client: Client,
    matcher: Option<Matcher>,
    options: HttpOptions,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    http: &'a Http,
    url: &'a str,
    body: Body,
    /// Where in the file the body begins.
    pub(super) first: u64,
    /// How long the file is in all, if the server says.
    pub(super) total: Option<u64>,
    /// By what the server knows this state of the file.
    validators: Validators,
}

/// What an answer is read from.
#[derive(Debug)]
enum Body {
    Http(Response, Pace),
    File(fs_err::File),
}

impl Http {
    /// Makes a client.
    ///
    /// # Errors
    /// When the proxy's URL is not one, or a file has no certificates.
    pub fn new(mut options: HttpOptions) -> Result<Self, Error> {
        options.proxy = options.proxy.direct_if_all_are_excepted()?;
        // Only the first call has an effect; that another part of the program was first does no
        // harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let matcher = options.proxy.matcher()?;
        let mut trusted = Vec::new();
        for path in &options.ca_certificates {
            trusted.extend(certificates::read(path)?);
        }
        let new_builder = || {
            let builder = Client::builder()
                .user_agent(concat!("fam-build/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(options.connect_timeout)
                // In the blocking client this bounds each wait: for the answer, and for each read
                // of the body.
                .timeout(options.stall_timeout)
                // Each step of a redirect is a request of its own here, with the login and the
                // proxy that are for its URL.
                .redirect(Policy::none())
                .tls_certs_merge(trusted.clone())
                .referer(false);
            options.proxy.apply(builder, &options.logins)
        };
        let client = match new_builder()?.build() {
            Ok(client) => client,
            // A host without CA certificates can still use http: mirrors, whose signatures are what
            // counts. What is wrong without certificates, too, is the cause.
            Err(_) => new_builder()?.tls_certs_only([]).build().map_err(Error::Setup)?,
        };
        Ok(Self { client, matcher, options })
    }

    pub(super) fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// Whether `url` exists: the server answers, and with success, or the file is there.
    ///
    /// # Errors
    /// When the server cannot be reached, fails, or asks for retries too often.
    pub fn exists(&self, url: &str) -> Result<bool, Error> {
        if let Some(path) = file_url::path_of(url) {
            return file::exists(&path);
        }
        let mut retries = RetryState::new(&self.options);
        loop {
            let head = self.send(&Method::HEAD, url, &HeaderMap::new());
            let answer = match head {
                Err(Error::Status { status: 405 | 501, .. }) => self.send(&Method::GET, url, &HeaderMap::new()),
                other => other,
            };
            match answer {
                Ok(_) => return Ok(true),
                Err(Error::Status { status: 400..=428 | 430..=499, .. }) => return Ok(false),
                Err(error) => retries.after(error)?,
            }
        }
    }

    /// Fetches a small file whole, or nothing if it does not exist.
    ///
    /// # Errors
    /// When it cannot be fetched, or is longer than `limit`.
    pub fn get(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut retries = RetryState::new(&self.options);
        loop {
            match self.get_once(url, limit) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.is_missing() => return Ok(None),
                Err(error) => retries.after(error)?,
            }
        }
    }

    fn get_once(&self, url: &str, limit: u64) -> Result<Vec<u8>, Error> {
        self.open(url, 0, true)?.read_whole(limit)
    }

    /// Begins to fetch `url` from the byte `first` on; the answer may be the whole file all the
    /// same. `fresh` asks caches on the way to look whether theirs is still the current one.
    pub(super) fn open<'a>(&'a self, url: &'a str, first: u64, fresh: bool) -> Result<Reply<'a>, Error> {
        self.open_with(url, first, fresh, HeaderMap::new())
    }

    /// As [`open`](Self::open), with these headers in addition.
    fn open_with<'a>(
        &'a self,
        url: &'a str,
        first: u64,
        fresh: bool,
        mut headers: HeaderMap,
    ) -> Result<Reply<'a>, Error> {
        if let Some(path) = file_url::path_of(url) {
            let (file, first, length) = file::open(&path, first)?;
            let (body, total) = (Body::File(file), Some(length));
            return Ok(Reply { http: self, url, body, first, total, validators: Validators::default() });
        }
        if first > 0 {
            let range = format!("bytes={first}-");
            headers.insert(header::RANGE, range.parse().map_err(|_| Error::bad_url(url, "range"))?);
        }
        if fresh {
            headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("max-age=0"));
        }
        let response = self.send(&Method::GET, url, &headers)?;
        let broken = |reason: &str| Error::Broken { url: shown(url), reason: reason.to_owned() };
        let (first, total) = if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
            let range = range.and_then(parse_content_range);
            range
                .filter(|range| range.0 == first)
                .ok_or_else(|| broken("answered with another range than was asked for"))?
        } else {
            (0, response.content_length())
        };
        let pace = Pace::new(self.options.least_speed, Instant::now());
        let validators = Validators::of(response.headers());
        Ok(Reply { http: self, url, body: Body::Http(response, pace), first, total, validators })
    }

    /// Requests `url`, and follows redirects. A login is for the place that was asked
    /// first: it does not go to another scheme, host or port with a redirect.
    fn send(&self, method: &Method, url: &str, headers: &HeaderMap) -> Result<Response, Error> {
        let first = http_url(url)?;
        let login = self.options.logins.of_mirror(url);
        let mut place = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client.request(method.clone(), place.clone()).headers(headers.clone());
            if let Some((user, password)) = login.map(Login::reveal).filter(|_| place.origin() == first.origin()) {
                request = request.basic_auth(user, Some(password));
            }
            let response = request.send().map_err(|error| self.classify(url, &error))?;
            match redirected(&place, &response).map_err(|reason| Error::redirect(url, reason))? {
                Some(next) => place = next,
                None => return self.judge(url, response, login.is_some()),
            }
        }
        Err(Error::redirect(url, "too many of them"))
    }

    /// Returns the answer if it has a body.
    fn judge(&self, url: &str, response: Response, has_login: bool) -> Result<Response, Error> {
        let status = response.status();
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let proxy = self.via(url).unwrap_or_else(|| "(transparent)".to_owned());
            return Err(Error::ProxyRefused { proxy, reason: "it asks for a user and password (407)".to_owned() });
        }
        if status.is_success() && status != StatusCode::NO_CONTENT {
            return Ok(response);
        }
        let mut reason = status.canonical_reason().unwrap_or("unknown status").to_owned();
        if status == StatusCode::UNAUTHORIZED && has_login {
            reason.push_str(", though the login for it was sent");
        }
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(retry::parse_retry_after);
        Err(Error::Status { url: shown(url), status: status.as_u16(), reason, via: self.via(url), retry_after })
    }

    /// The proxy that `url` is fetched through, without its password.
    fn via(&self, url: &str) -> Option<String> {
        let intercept = self.matcher.as_ref()?.intercept(&url.parse().ok()?)?;
        let proxy = intercept.uri();
        Some(format!(
            "{}://{}",
            proxy.scheme_str().unwrap_or("http"),
            proxy.authority().map(::http::uri::Authority::as_str)?
        ))
        .map(|proxy| shown(&proxy).trim_end_matches('/').to_owned())
    }

    fn classify(&self, url: &str, error: &reqwest::Error) -> Error {
        let mut chain = Vec::new();
        let mut tls = false;
        let mut next = error.source();
        while let Some(cause) = next {
            chain.push(cause.to_string());
            tls |= cause.is::<rustls::Error>();
            // io::Error hides what it wraps from source(), and may wrap another.
            let mut wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            while let Some(inner) = wrapped {
                tls |= inner.is::<rustls::Error>();
                wrapped = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            }
            next = cause.source();
        }
        let reason = chain.last().cloned().unwrap_or_else(|| "the request failed".to_owned());
        // reqwest tells these failures apart in the texts of the causes alone.
        let has = |text: &str| chain.iter().any(|cause| cause.contains(text));
        let via = self.via(url);
        let url = shown(url);
        if let (Some(proxy), true) = (&via, has("tunnel error")) {
            return Error::ProxyRefused { proxy: proxy.clone(), reason };
        }
        if let Some(proxy) = &via
            && let Some(said) = chain.iter().find_map(|cause| cause.strip_prefix("SOCKS error: "))
            && !said.contains("underlying connection")
        {
            return Error::ProxyRefused { proxy: proxy.clone(), reason: said.to_owned() };
        }
        if tls || has("tls handshake") {
            return Error::Tls { url, reason };
        }
        let host = || Url::parse(&url).ok()?.host_str().map(str::to_owned);
        // The names of mirrors are this host's to look up where the SOCKS of the proxy takes none.
        if has("resolving for socks proxy") {
            return Error::Unresolvable { host: host().unwrap_or_default(), proxy: false, reason };
        }
        let peer = || via.clone().or_else(host).unwrap_or_default();
        // To reqwest, a failed look-up is a failed connection, too; so it is looked for first.
        if has("dns error") {
            return Error::Unresolvable { host: peer(), proxy: via.is_some(), reason };
        }
        if error.is_timeout() {
            return Error::Timeout { url, via };
        }
        if error.is_connect() {
            return Error::Unreachable { host: peer(), proxy: via.is_some(), reason };
        }
        Error::Broken { url, reason }
    }
}

impl Reply<'_> {
    /// Reads all that comes.
    fn read_whole(&mut self, limit: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            let count = self.read(&mut buffer)?;
            if count == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&buffer[..count]);
            if bytes.len() as u64 > limit {
                return Err(Error::TooLong { url: shown(self.url), limit });
            }
        }
    }

    /// Reads on in the body; nothing means that the server ended it, which need not be the end of
    /// the file.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            let (response, pace) = match &mut self.body {
                Body::Http(response, pace) => (response, pace),
                Body::File(file) => return file.read(buffer).map_err(|source| Error::File { source }),
            };
            match response.read(buffer) {
                Ok(0) => return Ok(0),
                Ok(count) => {
                    return match pace.count(count as u64, Instant::now()) {
                        None => Ok(count),
                        Some(bytes) => Err(Error::Slow {
                            url: shown(self.url),
                            via: self.http.via(self.url),
                            bytes,
                            within: self.http.options.least_speed.within,
                        }),
                    };
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
                    return Err(match inner {
                        Some(inner) => self.http.classify(self.url, inner),
                        None => Error::Broken { url: shown(self.url), reason: error.to_string() },
                    });
                }
            }
        }
    }
}

/// A URL as it may be asked for. It has no login: those come from [`HttpOptions::logins`] alone.
fn http_url(url: &str) -> Result<Url, Error> {
    let parsed = Url::parse(url).map_err(|error| Error::bad_url(url, error))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(Error::bad_url(url, "only http and https are supported"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Error::bad_url(url, "a login has no place in it"));
    }
    Ok(parsed)
}

/// Where an answer to a request for `place` sends the client, if it does.
fn redirected(place: &Url, response: &Response) -> Result<Option<Url>, &'static str> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers().get(header::LOCATION).ok_or("it does not say where to")?;
    let next = location.to_str().ok().and_then(|location| place.join(location).ok());
    let mut next = next.ok_or("it leads to what is no URL")?;
    match (place.scheme(), next.scheme()) {
        ("https", "http") => return Err("from https to http"),
        (_, "http" | "https") => {}
        _ => return Err("to something other than http and https"),
    }
    // A server has no logins to give.
    let _ = next.set_username("").and_then(|()| next.set_password(None));
    Ok(Some(next))
}

/// `bytes 10-19/20` as first byte and total length.
fn parse_content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
}

/// A URL for people, without user and password.
pub(super) fn shown(url: &str) -> String {
    match Url::parse(url) {
        _ if file_url::is_file(url) => url.to_owned(),
        Ok(parsed) if parsed.has_host() && parsed.username().is_empty() && parsed.password().is_none() => {
            url.to_owned()
        }
        Ok(mut parsed) if parsed.has_host() => {
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            parsed.to_string()
        }
        // Not a URL of a host: whatever is before an @ may be a password.
        _ => url.rsplit_once('@').map_or(url, |(_, host)| host).to_owned(),
    }
}

#[cfg(test)]
mod login_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
