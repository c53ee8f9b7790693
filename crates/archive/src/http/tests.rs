use std::net::TcpListener;

use super::*;
use crate::credentials::ProxyUrl;
use fam_progress::Hint as _;
use support::server::{Answer, Server};

fn options() -> HttpOptions {
    HttpOptions {
        proxy: ProxyChoice::Direct,
        logins: Logins::default(),
        ca_certificates: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(5),
        least_speed: LeastSpeed::default(),
        attempts: 3,
        pause: Duration::from_millis(1),
    }
}

fn direct() -> Http {
    Http::new(options()).unwrap()
}

fn through(url: &str, except: Option<&str>) -> Http {
    let url: ProxyUrl = url.parse().unwrap();
    let mut logins = Logins::default();
    logins.add_proxy(&url);
    let (http, https, except) = (Some(url.clone()), Some(url), except.map(str::to_owned));
    Http::new(HttpOptions { proxy: ProxyChoice::PerScheme { http, https, except }, logins, ..options() }).unwrap()
}

/// A port of the loopback interface at which nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn gets_what_there_is() {
    let server = Server::new(|request| match request.target.as_str() {
        "/here" => Answer::ok("body"),
        "/large" => Answer::ok(vec![0; 1000]),
        "/gone" => Answer::status(410),
        _ => Answer::status(404),
    });
    let get = |path: &str| direct().get(&format!("{}{path}", server.url), 100);
    assert_eq!(get("/here").unwrap().unwrap(), b"body");
    assert_eq!(get("/nowhere").unwrap(), None);
    assert_eq!(get("/gone").unwrap(), None);
    assert!(matches!(get("/large"), Err(Error::TooLong { limit: 100, .. })));
    assert_eq!(server.requests()[0].headers["user-agent"], concat!("fam-build/", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_file_exists_if_the_server_says_so() {
    let server = Server::new(|request| match (request.method.as_str(), request.target.as_str()) {
        (_, "/here") | ("GET", "/no-head") => Answer::ok("body"),
        (_, "/no-head") => Answer::status(405),
        (_, "/broken") => Answer::status(500),
        (_, "/forbidden") => Answer::status(403),
        _ => Answer::status(404),
    });
    let exists = |path: &str| direct().exists(&format!("{}{path}", server.url));
    assert!(exists("/here").unwrap());
    assert!(exists("/no-head").unwrap());
    assert!(!exists("/nowhere").unwrap());
    assert!(!exists("/forbidden").unwrap());
    assert!(matches!(exists("/broken"), Err(Error::Status { status: 500, .. })));
}

#[test]
fn tries_again_what_may_pass() {
    for (status, times) in [(500, 3), (502, 3), (503, 3), (429, 3), (408, 3), (400, 1), (401, 1), (403, 1)] {
        let server = Server::new(move |_| Answer::status(status));
        let error = direct().get(&format!("{}/x", server.url), 100).unwrap_err();
        assert!(matches!(error, Error::Status { status: is, .. } if is == status), "{error}");
        assert_eq!(server.requests().len(), times, "{status}");
        assert!(error.hint().is_some());
    }
    let calls = std::sync::atomic::AtomicU32::new(0);
    let server = Server::new(move |_| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Answer::status(503).header("retry-after", "0"),
        1 => Answer::ok("body").cut(2),
        _ => Answer::ok("body"),
    });
    assert_eq!(direct().get(&format!("{}/x", server.url), 100).unwrap().unwrap(), b"body");
}

#[test]
fn a_silent_server_times_out() {
    let server = Server::new(|request| Answer {
        stall: Duration::from_millis(if request.target == "/slow" { 1500 } else { 0 }),
        ..Answer::ok("body")
    });
    let http = Http::new(HttpOptions { stall_timeout: Duration::from_millis(300), attempts: 1, ..options() }).unwrap();
    let error = http.get(&format!("{}/slow", server.url), 100).unwrap_err();
    assert!(matches!(error, Error::Timeout { via: None, .. }), "{error}");
    assert!(http.get(&format!("{}/fast", server.url), 100).is_ok());
}

#[test]
fn a_server_that_trickles_is_given_up() {
    let server = Server::new(|request| Answer {
        bytes_per_second: (request.target == "/slow").then_some(1),
        ..Answer::ok("a body of some bytes")
    });
    let least_speed = LeastSpeed { bytes: 1000, within: Duration::from_millis(500) };
    let http = Http::new(HttpOptions { least_speed, attempts: 2, ..options() }).unwrap();
    let error = http.get(&format!("{}/slow", server.url), 100).unwrap_err().to_string();
    assert!(error.contains("/slow: too slow: ") && error.ends_with(" bytes in 0.5 s"), "{error}");
    assert!(http.get(&format!("{}/fast", server.url), 100).is_ok());
}

#[test]
fn follows_redirects_within_bounds() {
    let server = Server::new(|request| match request.target.as_str() {
        "/there" => Answer::ok("body"),
        "/once" => Answer::status(302).header("location", "/there"),
        path => Answer::status(301).header("location", format!("{path}x")),
    });
    assert_eq!(direct().get(&format!("{}/once", server.url), 100).unwrap().unwrap(), b"body");
    let error = direct().get(&format!("{}/endless", server.url), 100).unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert!(server.requests().len() <= 2 + 1 + MAX_REDIRECTS);
}

#[test]
fn says_who_cannot_be_reached() {
    let port = closed_port();
    let error = direct().get(&format!("http://127.0.0.1:{port}/debian"), 100).unwrap_err();
    assert!(matches!(&error, Error::Unreachable { host, proxy: false, .. } if host == "127.0.0.1"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");

    let error = direct().get("http://no-such-host.invalid/debian", 100).unwrap_err();
    assert!(
        matches!(&error, Error::Unresolvable { host, proxy: false, .. } if host == "no-such-host.invalid"),
        "{error}"
    );

    let error = through(&format!("http://user:secret@127.0.0.1:{port}"), None).get("http://mirror.invalid/debian", 100);
    let error = error.unwrap_err();
    assert_eq!(error.to_string().split(": ").next().unwrap(), format!("connect to the proxy http://127.0.0.1:{port}"));
    assert!(error.hint().unwrap().contains("--proxy"));

    for bad in ["mirror.example/debian", "ftp://mirror.example/debian", "http://"] {
        assert!(matches!(direct().get(bad, 100), Err(Error::BadUrl { .. })), "{bad}");
    }
}

#[test]
fn a_proxy_gets_whole_urls_and_its_password() {
    let proxy = Server::new(|request| match request.headers.get("proxy-authorization").map(String::as_str) {
        // user:pa ss
        Some("Basic dXNlcjpwYSBzcw==") => Answer::ok(request.target.clone()),
        _ => Answer::status(407),
    });
    let address = proxy.url.strip_prefix("http://").unwrap();
    for url in [format!("http://user:pa%20ss@{address}"), format!("user:pa%20ss@{address}")] {
        let body = through(&url, None).get("http://mirror.invalid/debian/x", 100).unwrap().unwrap();
        assert_eq!(body, b"http://mirror.invalid/debian/x");
    }
    let error =
        through(&format!("http://user:wrong@{address}"), None).get("http://mirror.invalid/debian/x", 100).unwrap_err();
    assert!(matches!(error, Error::ProxyRefused { .. }), "{error}");
    let message = format!("{error} {}", error.hint().unwrap());
    assert!(message.contains("407") && message.contains(address) && !message.contains("wrong"), "{message}");
}

#[test]
fn a_proxy_that_refuses_to_connect_is_named() {
    let proxy = Server::new(|request| Answer::status(if request.method == "CONNECT" { 403 } else { 503 }));
    let error = through(&proxy.url, None).get("https://mirror.invalid/debian/x", 100).unwrap_err();
    assert!(matches!(&error, Error::ProxyRefused { proxy: named, .. } if *named == proxy.url), "{error}");
    let error = through(&proxy.url, None).get("http://mirror.invalid/debian/x", 100).unwrap_err();
    assert!(error.to_string().contains(&format!("through the proxy {}", proxy.url)), "{error}");
}

#[test]
fn no_proxy_holds_for_a_named_proxy_too() {
    let proxy = Server::new(|_| Answer::ok("proxy"));
    let server = Server::new(|_| Answer::ok("server"));
    let get = |except| through(&proxy.url, except).get(&format!("{}/x", server.url), 100).unwrap().unwrap();
    assert_eq!(get(None), b"proxy");
    assert_eq!(get(Some("example.org")), b"proxy");
    for except in ["127.0.0.1", "example.org, 127.0.0.0/8", "*"] {
        assert_eq!(get(Some(except)), b"server", "{except}");
    }
}

#[test]
fn bad_proxies_are_refused_without_their_password() {
    // It has the form of an address, and the bytes of a host.
    let http = Some("http://user:secret@proxy%20.example".parse().unwrap());
    let proxy = ProxyChoice::PerScheme { http, https: None, except: None };
    let error = Http::new(HttpOptions { proxy, ..options() }).unwrap_err();
    assert!(matches!(error, Error::BadProxy { .. }) && !error.to_string().contains("secret"), "{error}");
}

#[test]
fn tls_errors_are_told_apart() {
    let server = Server::new(|_| Answer::ok("not TLS"));
    let error = direct().get(&format!("{}/x", server.url.replace("http:", "https:")), 100).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[test]
fn content_ranges() {
    for (value, expected) in [
        ("bytes 10-19/20", Some((10, Some(20)))),
        ("bytes 10-19/*", Some((10, None))),
        ("bytes 19-10/20", None),
        ("bytes 10-20/20", None),
        ("bytes */20", None),
        ("items 10-19/20", None),
        ("", None),
    ] {
        assert_eq!(parse_content_range(value), expected, "{value}");
    }
}

#[test]
fn shown_urls_have_no_password() {
    assert_eq!(shown("http://user:secret@host:80/x"), "http://host/x");
    assert_eq!(shown("http://host/x"), "http://host/x");
    assert_eq!(shown("user:secret@host"), "host");
}

/// Runs a test of this program again, in another environment.
pub(super) fn again(test: &str, environment: &[(&str, &str)]) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("http::{test}"), "--nocapture"])
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn the_environment_names_proxies_and_exceptions() {
    const PROXIED: &str = "FAM_TEST_PROXIED";
    if let Ok(url) = std::env::var(PROXIED) {
        let http = Http::new(HttpOptions { proxy: ProxyChoice::Environment, ..options() }).unwrap();
        let get = |url: &str| http.get(url, 100).unwrap().unwrap();
        assert_eq!(get(&url), b"proxy");
        assert_eq!(get(&std::env::var("FAM_TEST_SERVER").unwrap()), b"server");
        return;
    }
    let (proxy, server) = (Server::new(|_| Answer::ok("proxy")), Server::new(|_| Answer::ok("server")));
    again(
        "tests::the_environment_names_proxies_and_exceptions",
        &[
            (PROXIED, "http://mirror.invalid/debian/x"),
            ("FAM_TEST_SERVER", &format!("{}/x", server.url)),
            ("http_proxy", &proxy.url),
            ("no_proxy", "127.0.0.1,example.org"),
        ],
    );
}

#[test]
fn http_works_without_any_ca_certificates() {
    if let Ok(url) = std::env::var("FAM_TEST_NO_CERTIFICATES") {
        assert_eq!(direct().get(&url, 100).unwrap().unwrap(), b"body");
        return;
    }
    let server = Server::new(|_| Answer::ok("body"));
    let url = format!("{}/x", server.url);
    let nowhere = "/nonexistent";
    again(
        "tests::http_works_without_any_ca_certificates",
        &[("FAM_TEST_NO_CERTIFICATES", &url), ("SSL_CERT_FILE", nowhere), ("SSL_CERT_DIR", nowhere)],
    );
}

#[test]
fn each_scheme_goes_through_its_own_proxy() {
    let proxy = || Server::new(|_| Answer::ok("proxied"));
    let (plain, tls) = (proxy(), proxy());
    let client = |http: Option<&Server>, https: Option<&Server>, except: Option<&str>| {
        let url = |server: Option<&Server>| server.map(|server| server.url.parse().unwrap());
        let proxy = ProxyChoice::PerScheme { http: url(http), https: url(https), except: except.map(str::to_owned) };
        Http::new(HttpOptions { proxy, ..options() }).unwrap()
    };
    let both = client(Some(&plain), Some(&tls), None);
    assert_eq!(both.get("http://mirror.invalid/x", 100).unwrap().unwrap(), b"proxied");
    assert_eq!((plain.requests().len(), tls.requests().len()), (1, 0));
    // The proxy does not let it through: that it was asked is what counts.
    both.get("https://mirror.invalid/x", 100).unwrap_err();
    assert_eq!(plain.requests().len(), 1);
    assert_eq!(tls.requests()[0].method, "CONNECT");
    let only_https = client(None, Some(&tls), None);
    assert!(matches!(only_https.get("http://mirror.invalid/x", 100), Err(Error::Unresolvable { proxy: false, .. })));
    let excepted = client(Some(&plain), Some(&tls), Some("mirror.invalid"));
    assert!(excepted.get("https://mirror.invalid/x", 100).is_err());
    assert_eq!(plain.requests().len(), 1);
}
