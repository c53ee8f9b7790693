//! Tells apt in the guest where packages come from, as the build itself got them: the archives with
//! their keys, what decides between their versions, the authorities of private certificates, the
//! proxy. Where the recipe wants it, also with which login: that is written at the node stage, as a
//! secret is no part of what the nodes share.

mod certificates;
mod keyring;
mod logins;
mod proxy;
mod sources;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use fam_plugin::{Attributes, Context, Description, Error, Facts, Node, Plugin, Result, Root, Stage};
use serde::Deserialize;

pub use logins::{Login, Logins};
use logins::{Needed, auth_conf, split};
use proxy::Proxy;

/// The built-in `apt-sources`. By itself it knows no logins.
#[derive(Clone, Default)]
pub struct AptSources {
    logins: Option<Arc<dyn Logins>>,
}

impl fmt::Debug for AptSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AptSources")
    }
}

impl AptSources {
    /// The plugin of a build that knows these logins.
    #[must_use]
    pub fn with_logins(logins: Arc<dyn Logins>) -> Self {
        Self { logins: Some(logins) }
    }
}

/// What a recipe may set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Components of the suite; those of the build if not set.
    pub components: Option<Vec<String>>,
    /// Whether SUITE-updates is read, too. If not set: where the build read it.
    pub updates: Option<bool>,
    /// Whether source packages of the suite are listed, too.
    pub deb_src: bool,
    /// URL of the proxy for the guests, or `none`; that of the build if not set.
    pub proxy: Option<String>,
    /// Whether the guests get the logins of the mirror and the proxy, in a file that root alone
    /// reads.
    pub credentials: bool,
}

const PREFERENCES: &str = "/etc/apt/preferences.d/80fam-build";
const AUTH_DIRECTORY: &str = "/etc/apt/auth.conf.d";
const AUTH: &str = "/etc/apt/auth.conf.d/80fam-build.conf";

impl Plugin for AptSources {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("apt-sources", "tells apt of the archives, their keys and the proxy")
            .at(Stage::System)
            .at(Stage::Node)
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        if let Some(components) = &settings.components {
            if components.is_empty() {
                return Err(Error::setting("components", "holds none").with_hint("write [\"main\"]"));
            }
            let plain = |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
            if let Some(index) = components.iter().position(|name| !plain(name)) {
                return Err(Error::setting(format!("components[{index}]"), "is no name of a component"));
            }
        }
        match &settings.proxy {
            // It may hold a password, and is not shown.
            Some(proxy) if proxy != "none" && host_of(&split(proxy).0).is_none() => {
                let hint = "write http://HOST:PORT or none; in a password, write / as %2F";
                Err(Error::setting("proxy", "is no URL").with_hint(hint))
            }
            _ => Ok(()),
        }
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        let facts = &context.facts;
        let archives = sources::listed(settings, facts, context)?;
        sources::write(settings, &archives, root, context)?;
        if !facts.preferences.is_empty() {
            root.create_dir_all("/etc/apt/preferences.d")?;
            root.write(PREFERENCES, &facts.preferences)?;
        }
        certificates::install(&facts.ca_certificates, root)?;
        let proxy = Proxy::new(settings, facts);
        proxy.write(root, context)?;
        let needed = self.needed(facts, proxy);
        if settings.credentials {
            // Wrong now is better than wrong at each node.
            auth_conf(&needed)?;
        } else if !needed.is_empty() {
            let urls: Vec<_> = needed.iter().map(|needed| needed.url.as_str()).collect();
            context.warning(format!(
                "the guests' apt has no login for {}, and will be refused: to give it that of the build, say `credentials = true` \
                 in the settings of apt-sources",
                urls.join(" and ")
            ));
        }
        Ok(())
    }

    fn apply_node(&self, settings: &Settings, root: &mut Root<'_>, _: &Node, context: &Context) -> Result<()> {
        let needed = self.needed(&context.facts, Proxy::new(settings, &context.facts));
        if !settings.credentials || needed.is_empty() {
            return Ok(());
        }
        root.create_dir_all(AUTH_DIRECTORY)?;
        root.write_with(AUTH, auth_conf(&needed)?, Attributes::mode(0o600).owner(0, 0))
    }
}

impl AptSources {
    /// What the guests' apt needs a login for, as far as the build knows one.
    fn needed(&self, facts: &Facts, proxy: Proxy) -> Vec<Needed> {
        let known = self.logins.as_ref();
        let mut urls: Vec<&String> = facts.archives.iter().map(|archive| &archive.url).collect();
        urls.dedup();
        let mut needed: Vec<Needed> = urls
            .into_iter()
            .filter_map(|url| Some(Needed { url: format!("{url}/"), login: known?.of_mirror(url)? }))
            .collect();
        if let Proxy::Usable(url, own) = proxy
            && let Some(login) = own.or_else(|| known?.of_proxy(&url))
        {
            needed.push(Needed { url, login });
        }
        needed
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(AptSources);

/// The host of a URL without a login that can stand in apt's files: no space, no quote, no control
/// character.
fn host_of(url: &str) -> Option<&str> {
    let safe = url.bytes().all(|b| b.is_ascii_graphic() && !b"\"@".contains(&b));
    let (_, rest) = url.split_once("://").filter(|_| safe)?;
    let host = rest.split(['/', '?', '#']).next()?;
    let host = match host.strip_prefix('[') {
        Some(six) => six.split(']').next()?,
        None => host.split(':').next()?,
    };
    Some(host).filter(|host| !host.is_empty())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
