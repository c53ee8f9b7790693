//! Tells apt in the guest where packages come from: the mirror, the security archive, the proxy.
//! Where the recipe wants it, also with which login: that is written at the node stage, as a secret
//! is no part of what the nodes share.

mod logins;

use std::fmt;
use std::sync::Arc;

use fam_plugin::{Attributes, Context, Description, Error, Facts, Node, Plugin, Result, Root, Stage};
use serde::Deserialize;

pub use logins::{Login, Logins};
use logins::{Needed, auth_conf, split};

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
    /// Components; those of the build if not set.
    pub components: Option<Vec<String>>,
    /// Whether SUITE-updates is read, too. If not set: unless the suite is one that has none.
    pub updates: Option<bool>,
    /// Whether source packages are listed, too.
    pub deb_src: bool,
    /// URL of the proxy for the guests, or `none`; that of the build if not set.
    pub proxy: Option<String>,
    /// Whether the guests get the logins of the mirror and the proxy, in a file that root alone
    /// reads.
    pub credentials: bool,
}

const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";
const PROXY: &str = "/etc/apt/apt.conf.d/80fam-build-proxy";
const AUTH_DIRECTORY: &str = "/etc/apt/auth.conf.d";
const AUTH: &str = "/etc/apt/auth.conf.d/80fam-build.conf";
const OLD_SOURCES: &str = "/etc/apt/sources.list";

impl Plugin for AptSources {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("apt-sources", "tells apt of the mirror, the security archive and the proxy")
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
        for url in [Some(&facts.mirror), facts.security_mirror.as_ref()].into_iter().flatten() {
            match host_of(url) {
                None if is_file(url) => {
                    context.warning(format!(
                        "the mirror {url} is a directory of the build host: guests have no sources of it"
                    ));
                }
                None => return Err(Error::failed(format!("{url:?} cannot stand in a sources file"))),
                Some(host) if is_loopback(host) => context.warning(format!(
                    "the mirror {url} is the build host's own: guests will not reach it under that name"
                )),
                Some(_) => {}
            }
        }
        let keyring =
            ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"]
                .into_iter()
                .find(|path| root.exists(path))
                .unwrap_or("/usr/share/keyrings/debian-archive-keyring.gpg");
        match sources(settings, facts, keyring) {
            none if none.is_empty() => drop(root.remove(SOURCES)?),
            sources => {
                root.create_dir_all("/etc/apt/sources.list.d")?;
                root.write(SOURCES, sources)?;
            }
        }
        drop_empty_list(root, context)?;
        let proxy = proxy(settings, facts);
        match &proxy {
            Proxy::Usable(url, _) => {
                root.create_dir_all("/etc/apt/apt.conf.d")?;
                root.write(PROXY, format!("Acquire::http::Proxy \"{url}\";\nAcquire::https::Proxy \"{url}\";\n"))?;
            }
            Proxy::Unusable(why) => {
                context.warning(format!("{why}: guests go without a proxy"));
                root.remove(PROXY)?;
            }
            Proxy::None => drop(root.remove(PROXY)?),
        }
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
        let needed = self.needed(&context.facts, proxy(settings, &context.facts));
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
        let mirrors = [Some(&facts.mirror), facts.security_mirror.as_ref()].into_iter().flatten();
        let mut needed: Vec<Needed> =
            mirrors.filter_map(|url| Some(Needed { url: format!("{url}/"), login: known?.of_mirror(url)? })).collect();
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

/// The deb822 file, sources.list(5); empty where no archive is one that guests reach.
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
    let main = (!is_file(&facts.mirror)).then(|| stanza(&facts.mirror, &suites.join(" ")));
    let security = facts.security_mirror.as_ref().filter(|url| !rolling && !is_file(url));
    let security = security.map(|url| stanza(url, &format!("{suite}-security")));
    main.into_iter().chain(security).collect::<Vec<_>>().join("\n")
}

/// Whether the URL of a mirror names a directory of the build host.
fn is_file(url: &str) -> bool {
    url.split_once(':').is_some_and(|(scheme, _)| ["file", "copy"].contains(&scheme))
}

/// Removes a one-line sources file that says nothing: apt complains where both forms name a source
/// twice.
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

/// What the guests use as a proxy.
enum Proxy {
    None,
    /// Its URL without a login, and the login that the recipe gives it.
    Usable(String, Option<Login>),
    /// Why it is of no use to them.
    Unusable(String),
}

/// The proxy of the recipe, else that of the build. One on the build host's loopback is of no use
/// to a guest.
fn proxy(settings: &Settings, facts: &Facts) -> Proxy {
    let url = match (settings.proxy.as_deref(), facts.proxy.as_deref()) {
        (Some("none"), _) | (None, None) => return Proxy::None,
        (Some(url), _) | (None, Some(url)) => url,
    };
    let (url, login) = split(url);
    // Of SOCKS, apt speaks this alone (apt-transport-http(1)).
    if url.starts_with("socks") && !url.starts_with("socks5h:") {
        return Proxy::Unusable(format!("apt does not speak to the proxy {url}, of SOCKS only socks5h://"));
    }
    match host_of(&url) {
        Some(host) if !is_loopback(host) => Proxy::Usable(url, login),
        Some(_) => Proxy::Unusable(format!("the proxy {url} is the build host's own")),
        None => Proxy::Unusable("what is named as the proxy is no URL".to_owned()),
    }
}

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
        harness.system(&AptSources::default(), &mut image).unwrap();
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
        harness.system(&AptSources::default(), &mut image).unwrap();
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
            (Some("http://cache.lan:3142"), Some("http://user:pw@other.lan:3142/"), Some("http://other.lan:3142/")),
            (Some("http://cache.lan:3142"), Some("none"), None),
            (Some("http://localhost:3142"), None, None),
            (Some("http://[::1]:3142"), None, None),
            (Some("http://127.0.0.1:3142"), Some("http://192.168.42.254:3142"), Some("http://192.168.42.254:3142")),
            (Some("http://a\";b"), None, None),
            (Some("socks5h://cache.lan:1080"), None, Some("socks5h://cache.lan:1080")),
            (Some("socks5h://localhost:1080"), None, None),
            (Some("socks5://cache.lan:1080"), None, None),
            (Some("socks4a://cache.lan:1080"), None, None),
            (None, None, None),
        ] {
            let mut image = MemoryRoot::debian();
            let json = setting.map_or("{}".into(), |url| format!("{{ \"proxy\": {url:?} }}"));
            let harness = Harness::new().settings(&json).facts(|facts| facts.proxy = of_build.map(Into::into));
            harness.system(&AptSources::default(), &mut image).unwrap();
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
        for bad in [
            r#"{ "components": [] }"#,
            r#"{ "components": ["a b"] }"#,
            r#"{ "proxy": "cache" }"#,
            r#"{ "proxy": "http://u:p/w@h" }"#,
        ] {
            assert!(Harness::new().settings(bad).check(&AptSources::default()).is_err(), "{bad}");
        }
        let harness = Harness::new().facts(|facts| facts.mirror = "http://localhost/debian".into());
        let mut image = MemoryRoot::debian();
        image.put("etc/apt/sources.list", "deb http://mirror.example/debian trixie main\n", 0o644);
        harness.system(&AptSources::default(), &mut image).unwrap();
        assert_eq!(harness.warnings().len(), 2);
        let harness = Harness::new().facts(|facts| facts.mirror = "http://x/debian\nTrusted: yes".into());
        assert!(harness.system(&AptSources::default(), &mut image).is_err());
    }

    #[test]
    fn a_directory_of_the_build_host_is_no_source_of_guests() {
        let of_files = Some("file:///srv/debian");
        for (mirror, security, listed) in [
            (of_files, of_files, None),
            (Some("copy:///srv/debian"), None, None),
            (of_files, Some("http://mirror.example/debian-security"), Some("trixie-security")),
            (None, of_files, Some("trixie trixie-updates")),
        ] {
            let mut image = MemoryRoot::debian();
            let harness = Harness::new().facts(|facts| {
                facts.mirror = mirror.unwrap_or("http://mirror.example/debian").into();
                facts.security_mirror = security.map(Into::into);
            });
            harness.system(&AptSources::default(), &mut image).unwrap();
            match listed {
                Some(suites) => {
                    let text = image.text(SOURCES);
                    assert!(text.starts_with("Types:") && !text.contains("/srv"), "{text}");
                    assert_eq!(text.matches("Suites:").count(), 1);
                    assert!(text.contains(&format!("Suites: {suites}\n")), "{text}");
                }
                None => assert!(image.metadata(SOURCES.as_ref()).is_err()),
            }
            let warnings = harness.warnings();
            assert!(!warnings.is_empty() && warnings.iter().all(|it| it.contains("directory of the build host")));
        }
    }

    /// Knows a login for mirrors on one host, and one for a proxy.
    struct Known;

    impl Logins for Known {
        fn of_mirror(&self, url: &str) -> Option<Login> {
            let login = Login { user: "ann".into(), password: "s@cret".into() };
            url.starts_with("http://mirror.example/").then_some(login)
        }

        fn of_proxy(&self, url: &str) -> Option<Login> {
            let login = Login { user: "pia".into(), password: "s@cret".into() };
            (url == "http://cache.lan:3142").then_some(login)
        }
    }

    fn knowing() -> AptSources {
        AptSources::with_logins(Arc::new(Known))
    }

    #[test]
    fn guests_get_no_login_unless_the_recipe_says_so() {
        let mut image = MemoryRoot::debian();
        let harness = Harness::new().facts(|facts| facts.proxy = Some("http://cache.lan:3142".into()));
        harness.system(&knowing(), &mut image).unwrap();
        harness.node(&knowing(), 1, &mut image).unwrap();
        assert!(image.metadata(AUTH.as_ref()).is_err());
        let warnings = harness.warnings();
        let urls =
            "http://mirror.example/debian/ and http://mirror.example/debian-security/ and http://cache.lan:3142,";
        assert!(warnings.len() == 1 && warnings[0].contains(urls), "{warnings:?}");
        assert!(warnings[0].contains("credentials = true") && !warnings[0].contains("s@cret"), "{warnings:?}");
    }

    #[test]
    fn each_node_gets_the_logins_where_the_recipe_says_so() {
        let mut image = MemoryRoot::debian();
        let harness = Harness::new()
            .settings(r#"{ "credentials": true }"#)
            .facts(|facts| facts.proxy = Some("http://cache.lan:3142".into()));
        harness.system(&knowing(), &mut image).unwrap();
        assert!(image.metadata(AUTH.as_ref()).is_err(), "it is no part of what the nodes share");
        harness.node(&knowing(), 1, &mut image).unwrap();
        assert_eq!(
            image.text(AUTH),
            "machine http://mirror.example/debian/ login ann password s@cret\n\
             machine http://mirror.example/debian-security/ login ann password s@cret\n\
             machine http://cache.lan:3142 login pia password s@cret\n"
        );
        let metadata = image.metadata(AUTH.as_ref()).unwrap();
        assert_eq!((metadata.mode, metadata.uid, metadata.gid), (0o600, 0, 0));
        assert_eq!(harness.warnings(), Vec::<String>::new());
        assert!(!format!("{}{}", image.text(SOURCES), image.text(PROXY)).contains("s@cret"));
    }

    #[test]
    fn a_proxy_of_the_recipe_has_its_own_login() {
        let proxy = |credentials: bool| {
            let settings = format!(r#"{{ "proxy": "http://bob:b%20b@cache.lan:3142", "credentials": {credentials} }}"#);
            let harness = Harness::new().settings(&settings);
            let mut image = MemoryRoot::debian();
            let applied = harness.system(&AptSources::default(), &mut image);
            (applied, image.text(PROXY), harness.warnings())
        };
        let (applied, written, warnings) = proxy(false);
        assert!(applied.is_ok() && !written.contains("bob") && warnings.len() == 1, "{written} {warnings:?}");
        let error = proxy(true).0.unwrap_err();
        assert!(error.to_string().contains("has a blank in it") && error.hint().is_some(), "{error}");
    }

    #[test]
    fn without_logins_nothing_is_written_at_a_node() {
        let mut image = MemoryRoot::debian();
        let harness = Harness::new().settings(r#"{ "credentials": true }"#);
        harness.system(&AptSources::default(), &mut image).unwrap();
        harness.node(&AptSources::default(), 1, &mut image).unwrap();
        assert!(image.metadata(AUTH.as_ref()).is_err());
        assert_eq!(harness.warnings(), Vec::<String>::new());
    }
}
