//! Which proxy requests go through, and how the HTTP library is told of it.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::blocking::ClientBuilder;
use reqwest::{NoProxy, Proxy, Url};

use super::Error;
use crate::credentials::{Login, Logins, ProxyUrl};

/// Which proxy requests go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyChoice {
    /// The one that `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` name (in either case of
    /// letters), if any.
    Environment,
    /// One for each scheme, or none, but for the hosts that `except` lists as `NO_PROXY` does.
    PerScheme {
        /// The proxy for `http://`.
        http: Option<ProxyUrl>,
        /// The proxy for `https://`.
        https: Option<ProxyUrl>,
        /// Hosts, domains and networks that are reached directly.
        except: Option<String>,
    },
    /// No proxy: every host is reached directly.
    Direct,
}

/// The proxies for `http://` and `https://`, and the exceptions.
type Named<'a> = (Option<&'a ProxyUrl>, Option<&'a ProxyUrl>, Option<&'a String>);

impl ProxyChoice {
    fn named(&self) -> Option<Named<'_>> {
        match self {
            Self::Environment | Self::Direct => None,
            Self::PerScheme { http, https, except } => Some((http.as_ref(), https.as_ref(), except.as_ref())),
        }
    }

    /// [`Direct`](Self::Direct) where the exceptions are all hosts.
    pub(super) fn direct_if_all_are_excepted(self) -> Result<Self, Error> {
        if let Some((http, https, Some(except))) = self.named()
            && except.split(',').any(|host| host.trim() == "*")
        {
            // The library's matcher takes the star for names only, and mirrors may be addresses.
            for url in [http, https].into_iter().flatten() {
                proxy_url(url)?;
            }
            return Ok(Self::Direct);
        }
        Ok(self)
    }

    /// What tells which proxy a URL is fetched through.
    pub(super) fn matcher(&self) -> Result<Option<Matcher>, Error> {
        let Some((http, https, except)) = self.named() else {
            return Ok((*self == Self::Environment).then(Matcher::from_env));
        };
        let mut matcher = Matcher::builder().no(except.cloned().unwrap_or_default());
        if let Some(url) = http {
            matcher = matcher.http(proxy_url(url)?.to_string());
        }
        if let Some(url) = https {
            matcher = matcher.https(proxy_url(url)?.to_string());
        }
        Ok(Some(matcher.build()))
    }

    /// Has requests go through the proxies, with their logins.
    pub(super) fn apply(&self, builder: ClientBuilder, logins: &Logins) -> Result<ClientBuilder, Error> {
        let Some((http, https, except)) = self.named() else {
            return Ok(if *self == Self::Direct { builder.no_proxy() } else { builder });
        };
        // Without this, reqwest would read the environment, too.
        let mut builder = builder.no_proxy();
        for (url, proxy) in [(http, Proxy::http as fn(Url) -> _), (https, Proxy::https)] {
            let Some(url) = url else { continue };
            let proxy: Proxy = proxy(proxy_url(url)?).map_err(|error| bad_proxy(url, error))?;
            let proxy = match logins.of_proxy(url.as_str()).map(Login::reveal) {
                Some((user, password)) => proxy.basic_auth(user, password),
                None => proxy,
            };
            builder = builder.proxy(proxy.no_proxy(except.and_then(|except| NoProxy::from_string(except))));
        }
        Ok(builder)
    }
}

fn proxy_url(proxy: &ProxyUrl) -> Result<Url, Error> {
    Url::parse(proxy.as_str()).map_err(|error| bad_proxy(proxy, error))
}

fn bad_proxy(proxy: &ProxyUrl, reason: impl std::fmt::Display) -> Error {
    Error::BadProxy { proxy: proxy.to_string(), reason: reason.to_string() }
}
