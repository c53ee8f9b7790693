//! What the plugin writes, in a root of its own.

use std::sync::Arc;

use fam_plugin::testing::{Harness, MemoryRoot};
use fam_plugin::{Archive, ArchiveKeys, CaCertificate, Output, RootFs};

use super::*;

const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";
const PROXY: &str = "/etc/apt/apt.conf.d/80fam-build-proxy";
const OLD_LIST: &str = "/etc/apt/sources.list";
/// The bytes of the key that vouches for the archives of the harness.
const KEY: &[u8] = b"\xc0\xff\xee";

/// A system whose package of keys has that of the archives.
fn debian() -> MemoryRoot {
    let mut image = MemoryRoot::debian();
    let keyring = [b"others", KEY, b"others"].concat();
    image.put("usr/share/keyrings/debian-archive-keyring.pgp", keyring, 0o644);
    image
}

#[test]
fn lists_the_archives_of_the_build() {
    let mut image = debian();
    image.put("etc/apt/sources.list", "# See sources.list.d\n\n", 0o644);
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
    for absent in [OLD_LIST, PROXY, PREFERENCES] {
        assert!(image.metadata(absent.as_ref()).is_err(), "{absent}");
    }
    assert_eq!(harness.warnings(), Vec::<String>::new());
}

#[test]
fn settings_change_the_archives_of_the_suite() {
    for (settings, suites, components, types) in [
        (
            r#"{ "components": ["main", "contrib"], "deb-src": true }"#,
            "trixie trixie-updates",
            "main contrib",
            "deb deb-src",
        ),
        (r#"{ "updates": false }"#, "trixie", "main", "deb"),
        (r#"{ "updates": true }"#, "trixie trixie-updates", "main", "deb"),
    ] {
        let mut image = debian();
        Harness::new().settings(settings).system(&AptSources::default(), &mut image).unwrap();
        let expected =
            format!("Types: {types}\nURIs: http://mirror.example/debian\nSuites: {suites}\nComponents: {components}\n");
        assert!(image.text(SOURCES).starts_with(&expected), "{settings}: {}", image.text(SOURCES));
        assert!(image.text(SOURCES).contains("\nSuites: trixie-security\n"));
    }
    // What the build did not read is listed on request alone: it may not be there.
    let mut image = debian();
    let harness = Harness::new().facts(|facts| facts.archives[0].suites = vec!["trixie".into()]);
    harness.system(&AptSources::default(), &mut image).unwrap();
    assert!(image.text(SOURCES).contains("\nSuites: trixie\n"));
    harness.settings(r#"{ "updates": true }"#).system(&AptSources::default(), &mut image).unwrap();
    assert!(image.text(SOURCES).contains("\nSuites: trixie trixie-updates\n"));
}

/// An archive beside Debian's.
fn vendor() -> Archive {
    Archive {
        name: "vendor".into(),
        url: "https://vendor.example/apt".into(),
        suites: vec!["./".into()],
        components: Vec::new(),
        keys: ArchiveKeys { vouching: "0102".into(), armored: "the vendor's key\n".into() },
        snapshot: None,
    }
}

#[test]
fn each_further_archive_has_a_file_and_a_keyring() {
    let mut image = debian();
    let harness = Harness::new().settings(r#"{ "deb-src": true }"#).facts(|facts| {
        facts.archives.push(vendor());
        facts.archives[0].snapshot = Some("20261101T000000Z".into());
        facts.preferences = "Package: *\nPin: origin vendor.example\nPin-Priority: 100\n".into();
    });
    harness.system(&AptSources::default(), &mut image).unwrap();
    let expected =
        "Types: deb\nURIs: https://vendor.example/apt\nSuites: ./\nSigned-By: /etc/apt/keyrings/vendor.asc\n";
    assert_eq!(image.text("/etc/apt/sources.list.d/vendor.sources"), expected);
    assert_eq!(image.text("/etc/apt/keyrings/vendor.asc"), "the vendor's key\n");
    assert!(image.text(PREFERENCES).starts_with("Package: *\n"));
    assert_eq!(image.text(SOURCES).matches("Check-Valid-Until: no\n").count(), 1);
    // A key that a package brings is kept up to date by it.
    image.put("usr/share/keyrings/vendor-keyring.gpg", b"\x01\x02", 0o644);
    image.put("usr/share/keyrings/debian-archive-removed-keys.gpg", b"\x01\x02", 0o644);
    harness.system(&AptSources::default(), &mut image).unwrap();
    let text = image.text("/etc/apt/sources.list.d/vendor.sources");
    assert!(text.ends_with("Signed-By: /usr/share/keyrings/vendor-keyring.gpg\n"), "{text}");
}

#[test]
fn keys_that_no_package_has_are_written_once() {
    // An older Debian, whose keyring lacks the key that vouched.
    let mut image = MemoryRoot::debian();
    image.put("usr/share/keyrings/debian-archive-keyring.gpg", "others", 0o644);
    let harness = Harness::new().facts(|facts| facts.archives[1].keys.armored = "the security archive's key\n".into());
    harness.system(&AptSources::default(), &mut image).unwrap();
    for (suites, path, keys) in [
        ("trixie trixie-updates", "/etc/apt/keyrings/debian.asc", "the keys of the archive\n"),
        ("trixie-security", "/etc/apt/keyrings/debian-2.asc", "the security archive's key\n"),
    ] {
        assert_eq!(image.text(path), keys);
        let expected = format!("Suites: {suites}\nComponents: main\nSigned-By: {path}\n");
        assert!(image.text(SOURCES).contains(&expected), "{}", image.text(SOURCES));
    }
    // Once more, and nothing is written anew.
    let before = image.text(SOURCES);
    harness.system(&AptSources::default(), &mut image).unwrap();
    assert_eq!(image.text(SOURCES), before);
    assert!(image.metadata("/etc/apt/keyrings/debian-3.asc".as_ref()).is_err());
}

#[test]
fn keys_that_the_build_does_not_know_are_those_of_debian() {
    // The lock of an older version does not say who vouched.
    let mut image = debian();
    let harness = Harness::new().facts(|facts| {
        facts.archives.iter_mut().for_each(|archive| archive.keys = ArchiveKeys::default());
        facts.archives.push(Archive { keys: ArchiveKeys::default(), ..vendor() });
    });
    harness.system(&AptSources::default(), &mut image).unwrap();
    let of_debian = "Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp\n";
    assert_eq!(image.text(SOURCES).matches(of_debian).count(), 2);
    assert!(!image.text("/etc/apt/sources.list.d/vendor.sources").contains("Signed-By"));
    let warnings = harness.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("https://vendor.example/apt"), "{warnings:?}");
}

#[test]
fn files_of_the_build_host_are_no_archive_of_a_guest() {
    let mut image = debian();
    let harness =
        Harness::new().facts(|facts| facts.archives.push(Archive { url: "file:///srv/apt".into(), ..vendor() }));
    harness.system(&AptSources::default(), &mut image).unwrap();
    assert!(image.metadata("/etc/apt/sources.list.d/vendor.sources".as_ref()).is_err());
    let warnings = harness.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("file:///srv/apt"), "{warnings:?}");
}

#[test]
fn authorities_of_private_certificates_are_trusted() {
    let certificate = CaCertificate { name: "house".into(), pem: "the certificate".into() };
    let harness = Harness::new().facts(|facts| facts.ca_certificates.push(certificate));
    let mut image = debian();
    harness.system(&AptSources::default(), &mut image).unwrap();
    assert_eq!(image.text("/usr/local/share/ca-certificates/house.crt"), "the certificate");
    assert_eq!(image.text("/etc/apt/fam-build-certificates.pem"), "the certificate\n");
    let expected = "Acquire::https::CAInfo \"/etc/apt/fam-build-certificates.pem\";\n";
    assert_eq!(image.text("/etc/apt/apt.conf.d/80fam-build-certificates"), expected);

    let mut image = debian();
    image.on_run(|command| {
        assert_eq!(command.program, "update-ca-certificates");
        Ok(Output::default())
    });
    image.put("usr/sbin/update-ca-certificates", "", 0o755);
    harness.system(&AptSources::default(), &mut image).unwrap();
    assert!(image.metadata("/etc/apt/apt.conf.d/80fam-build-certificates".as_ref()).is_err());
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
    let harness = Harness::new().facts(|facts| facts.archives[0].url = "http://localhost/debian".into());
    let mut image = MemoryRoot::debian();
    image.put("etc/apt/sources.list", "deb http://mirror.example/debian trixie main\n", 0o644);
    harness.system(&AptSources::default(), &mut image).unwrap();
    assert_eq!(harness.warnings().len(), 2);
    let harness = Harness::new().facts(|facts| facts.archives[0].url = "http://x/debian\nTrusted: yes".into());
    assert!(harness.system(&AptSources::default(), &mut image).is_err());
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
    let urls = "http://mirror.example/debian/ and http://mirror.example/debian-security/ and http://cache.lan:3142,";
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
