//! Tells apt in the guest where packages come from: the mirror, the security archive, the proxy.

use fam_plugin::{Context, Customize, Description, Error, Facts, Result, Root, Stage};
use serde::Deserialize;

/// The built-in `apt-sources`.
#[derive(Debug, Clone, Copy, Default)]
pub struct AptSources;

/// What a recipe may set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Components; those of the build if not set.
    pub components: Option<Vec<String>>,
    /// Whether SUITE-updates is read, too. If not set: unless the suite is one that has none.
    pub updates: Option<bool>,
    /// Whether source packages are listed, too.
    pub deb_src: bool,
    /// URL of the proxy for the guests, or `none`; that of the build if not set.
    pub proxy: Option<String>,
}

const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";
const PROXY: &str = "/etc/apt/apt.conf.d/80fam-build-proxy";
const OLD_SOURCES: &str = "/etc/apt/sources.list";

impl Customize for AptSources {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("apt-sources", "tells apt of the mirror, the security archive and the proxy")
            .at(Stage::System)
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
            Some(proxy) if proxy != "none" && host_of(proxy).is_none() => {
                Err(Error::setting("proxy", format!("{proxy:?} is no URL")).with_hint("write http://HOST:PORT or none"))
            }
            _ => Ok(()),
        }
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        let facts = &context.facts;
        for url in [Some(&facts.mirror), facts.security_mirror.as_ref()].into_iter().flatten() {
            match host_of(url) {
                None => return Err(Error::failed(format!("{url:?} cannot stand in a sources file"))),
                Some(host) if is_loopback(host) => context.warning(format!(
                    "the mirror {url} is the build host's own: guests will not reach it under that name"
                )),
                Some(_) if url.contains('@') => {
                    context.warning("the password of the mirror can be read by every user of the guests");
                }
                Some(_) => {}
            }
        }
        let keyring =
            ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"]
                .into_iter()
                .find(|path| root.exists(path))
                .unwrap_or("/usr/share/keyrings/debian-archive-keyring.gpg");
        root.create_dir_all("/etc/apt/sources.list.d")?;
        root.write(SOURCES, sources(settings, facts, keyring))?;
        drop_empty_list(root, context)?;
        match proxy(settings, context) {
            Some(url) => {
                root.create_dir_all("/etc/apt/apt.conf.d")?;
                root.write(PROXY, format!("Acquire::http::Proxy \"{url}\";\nAcquire::https::Proxy \"{url}\";\n"))
            }
            None => root.remove(PROXY).map(drop),
        }
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(AptSources);

/// The deb822 file, sources.list(5).
fn sources(settings: &Settings, facts: &Facts, keyring: &str) -> String {
    let suite = &facts.suite;
    let rolling = ["sid", "unstable", "experimental"].contains(&suite.as_str());
    let mut suites = vec![suite.clone()];
    if settings.updates.unwrap_or(!rolling) {
        suites.push(format!("{suite}-updates"));
    }
    let components = match settings.components.as_ref().unwrap_or(&facts.components).join(" ") {
        none if none.is_empty() => "main".into(),
        components => components,
    };
    let types = if settings.deb_src { "deb deb-src" } else { "deb" };
    let stanza = |url: &str, suites: &str| {
        format!("Types: {types}\nURIs: {url}\nSuites: {suites}\nComponents: {components}\nSigned-By: {keyring}\n")
    };
    let mut text = stanza(&facts.mirror, &suites.join(" "));
    if let Some(url) = facts.security_mirror.as_ref().filter(|_| !rolling) {
        text.push('\n');
        text.push_str(&stanza(url, &format!("{suite}-security")));
    }
    text
}

/// Removes a one-line sources file that says nothing: apt complains where both forms name a source twice.
fn drop_empty_list(root: &mut Root<'_>, context: &Context) -> Result<()> {
    if !root.exists(OLD_SOURCES) {
        return Ok(());
    }
    let says =
        root.read_text(OLD_SOURCES)?.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
    if says {
        context.warning(format!("{OLD_SOURCES} names sources of its own, and is kept"));
        return Ok(());
    }
    root.remove(OLD_SOURCES).map(drop)
}

/// The proxy that a guest can use. One on the build host's loopback is of no use to it.
fn proxy(settings: &Settings, context: &Context) -> Option<String> {
    let url = match settings.proxy.as_deref() {
        Some("none") => return None,
        Some(url) => url,
        None => context.facts.proxy.as_deref()?,
    };
    match host_of(url) {
        Some(host) if !is_loopback(host) => Some(url.into()),
        Some(_) => {
            context.warning(format!("the proxy {url} is the build host's own: guests go without a proxy"));
            None
        }
        None => {
            context.warning(format!("the proxy {url:?} is no URL: guests go without a proxy"));
            None
        }
    }
}

/// The host of a URL that can stand in apt's files: no space, no quote, no control character.
fn host_of(url: &str) -> Option<&str> {
    let safe = url.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    let (_, rest) = url.split_once("://").filter(|_| safe)?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(six) => six.split(']').next()?,
        None => host.split(':').next()?,
    };
    Some(host).filter(|host| !host.is_empty())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::RootFs;
    use fam_plugin::testing::{Harness, MemoryRoot};

    #[test]
    fn lists_mirror_and_security() {
        let mut image = MemoryRoot::debian();
        image.put("etc/apt/sources.list", "# See sources.list.d\n\n", 0o644);
        image.put("usr/share/keyrings/debian-archive-keyring.pgp", "", 0o644);
        let harness = Harness::new();
        harness.system(&AptSources, &mut image).unwrap();
        let expected = "\
Types: deb
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb
URIs: http://mirror.example/debian-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp
";
        assert_eq!(image.text(SOURCES), expected);
        assert!(image.metadata(OLD_SOURCES.as_ref()).is_err());
        assert!(image.metadata(PROXY.as_ref()).is_err());
        assert_eq!(harness.warnings(), Vec::<String>::new());
    }

    #[test]
    fn knows_the_suites_without_updates() {
        let mut image = MemoryRoot::debian();
        let harness = Harness::new()
            .facts(|facts| facts.suite = "sid".into())
            .settings(r#"{ "components": ["main", "contrib"], "deb-src": true }"#);
        harness.system(&AptSources, &mut image).unwrap();
        let expected = "\
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: sid
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
";
        assert_eq!(image.text(SOURCES), expected);
    }

    #[test]
    fn sets_a_proxy_that_guests_reach() {
        for (of_build, setting, written) in [
            (Some("http://cache.lan:3142"), None, Some("http://cache.lan:3142")),
            (Some("http://user:pw@cache.lan:3142/"), None, Some("http://user:pw@cache.lan:3142/")),
            (Some("http://cache.lan:3142"), Some("none"), None),
            (Some("http://localhost:3142"), None, None),
            (Some("http://[::1]:3142"), None, None),
            (Some("http://127.0.0.1:3142"), Some("http://192.168.42.254:3142"), Some("http://192.168.42.254:3142")),
            (Some("http://a\";b"), None, None),
            (None, None, None),
        ] {
            let mut image = MemoryRoot::debian();
            let json = setting.map_or("{}".into(), |url| format!("{{ \"proxy\": {url:?} }}"));
            let harness = Harness::new().settings(&json).facts(|facts| facts.proxy = of_build.map(Into::into));
            harness.system(&AptSources, &mut image).unwrap();
            match written {
                Some(url) => assert_eq!(
                    image.text(PROXY),
                    format!("Acquire::http::Proxy \"{url}\";\nAcquire::https::Proxy \"{url}\";\n")
                ),
                None => assert!(image.metadata(PROXY.as_ref()).is_err(), "{of_build:?} {setting:?}"),
            }
        }
    }

    #[test]
    fn checks_and_warns() {
        for bad in [r#"{ "components": [] }"#, r#"{ "components": ["a b"] }"#, r#"{ "proxy": "cache" }"#] {
            assert!(Harness::new().settings(bad).check(&AptSources).is_err(), "{bad}");
        }
        let harness = Harness::new().facts(|facts| facts.mirror = "http://localhost/debian".into());
        let mut image = MemoryRoot::debian();
        image.put("etc/apt/sources.list", "deb http://mirror.example/debian trixie main\n", 0o644);
        harness.system(&AptSources, &mut image).unwrap();
        assert_eq!(harness.warnings().len(), 2);
        let harness = Harness::new().facts(|facts| facts.mirror = "http://x/debian\nTrusted: yes".into());
        assert!(harness.system(&AptSources, &mut image).is_err());
    }
}
