//! The proxy that apt in the guests uses.

use fam_plugin::{Context, Facts, Result, Root};

use crate::logins::{Login, split};
use crate::{Settings, host_of, is_loopback};

const FILE: &str = "/etc/apt/apt.conf.d/80fam-build-proxy";

/// What the guests use as a proxy.
pub(crate) enum Proxy {
    None,
    /// Its URL without a login, and the login that the recipe gives it.
    Usable(String, Option<Login>),
    /// Why it is of no use to them.
    Unusable(String),
}

impl Proxy {
    /// The proxy of the recipe, else that of the build. One on the build host's loopback is of no
    /// use to a guest.
    pub(crate) fn new(settings: &Settings, facts: &Facts) -> Self {
        let url = match (settings.proxy.as_deref(), facts.proxy.as_deref()) {
            (Some("none"), _) | (None, None) => return Self::None,
            (Some(url), _) | (None, Some(url)) => url,
        };
        let (url, login) = split(url);
        // Of SOCKS, apt speaks this alone (apt-transport-http(1)).
        if url.starts_with("socks") && !url.starts_with("socks5h:") {
            return Self::Unusable(format!("apt does not speak to the proxy {url}, of SOCKS only socks5h://"));
        }
        match host_of(&url) {
            Some(host) if !is_loopback(host) => Self::Usable(url, login),
            Some(_) => Self::Unusable(format!("the proxy {url} is the build host's own")),
            None => Self::Unusable("what is named as the proxy is no URL".to_owned()),
        }
    }

    /// Tells apt of it.
    pub(crate) fn write(&self, root: &mut Root<'_>, context: &Context) -> Result<()> {
        match self {
            Self::Usable(url, _) => {
                root.create_dir_all("/etc/apt/apt.conf.d")?;
                root.write(FILE, format!("Acquire::http::Proxy \"{url}\";\nAcquire::https::Proxy \"{url}\";\n"))
            }
            Self::Unusable(why) => {
                context.warning(format!("{why}: guests go without a proxy"));
                root.remove(FILE).map(drop)
            }
            Self::None => root.remove(FILE).map(drop),
        }
    }
}
