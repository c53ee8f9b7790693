//! Where logins go, and where they do not.

use super::*;
use crate::credentials::ProxyUrl;
use fam_progress::Hint as _;
use support::server::{Answer, Request, Server};

/// `ann:s@cret`
const ANN: &str = "Basic YW5uOnNAY3JldA==";
/// `pia:s@cret`
const PIA: &str = "Basic cGlhOnNAY3JldA==";

/// A client with the login of `ann` for the mirror at `url`, and of `pia` for the proxy there is.
fn client(url: &str, proxy: Option<&str>) -> Http {
    let with = |url: &str, user: &str| url.replace("http://", &format!("http://{user}:s%40cret@"));
    let mut logins = Logins::default();
    logins.add_mirror(&with(url, "ann").parse().unwrap());
    let proxy = match proxy {
        Some(proxy) => {
            let proxy: ProxyUrl = with(proxy, "pia").parse().unwrap();
            logins.add_proxy(&proxy);
            ProxyChoice::PerScheme { http: Some(proxy.clone()), https: Some(proxy), except: None }
        }
        None => ProxyChoice::Direct,
    };
    Http::new(HttpOptions { proxy, logins, attempts: 1, ..HttpOptions::default() }).unwrap()
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(String::as_str)
}

/// Answers those that have the login of `ann`.
fn guarded(request: &Request) -> Answer {
    if header(request, "authorization") == Some(ANN) {
        Answer::ok("body")
    } else {
        Answer::status(401).header("www-authenticate", "Basic realm=\"x\"")
    }
}

#[test]
fn a_login_is_sent_to_its_mirror() {
    let server = Server::new(guarded);
    let http = client(&format!("{}/debian", server.url), None);
    assert_eq!(http.get(&format!("{}/debian/x", server.url), 100).unwrap().unwrap(), b"body");
    assert!(http.exists(&format!("{}/debian-security/x", server.url)).unwrap());

    let without = Http::new(HttpOptions { proxy: ProxyChoice::Direct, ..HttpOptions::default() }).unwrap();
    let error = without.get(&format!("{}/debian/x", server.url), 100).unwrap_err();
    let hint = error.hint().unwrap();
    assert!(matches!(error, Error::Status { status: 401, .. }), "{error}");
    for way in ["~/.netrc", "/etc/apt/auth.conf.d", "http://USER:PASSWORD@HOST"] {
        assert!(hint.contains(way), "{hint}");
    }

    let refuses = Server::new(|_| Answer::status(401));
    let error = client(&refuses.url, None).get(&format!("{}/x", refuses.url), 100).unwrap_err().to_string();
    assert!(
        error.ends_with("401 Unauthorized, though the login for it was sent") && !error.contains("s@cret"),
        "{error}"
    );
}

#[test]
fn a_redirect_does_not_take_a_login_to_another_port() {
    let other = Server::new(|request| match header(request, "authorization") {
        None => Answer::ok("other"),
        Some(_) => Answer::status(500),
    });
    let leads_to = other.url.clone();
    let server = Server::new(move |request| match request.target.as_str() {
        "/away" => Answer::status(302).header("location", format!("{leads_to}/x")),
        "/with-a-login" => {
            Answer::status(302).header("location", format!("{}/x", leads_to.replace("//", "//eve:evil@")))
        }
        "/here" => Answer::status(307).header("location", "/there"),
        _ => guarded(request),
    });
    let http = client(&server.url, None);
    let get = |path: &str| http.get(&format!("{}{path}", server.url), 100).unwrap().unwrap();
    assert_eq!(get("/here"), b"body");
    assert_eq!(get("/away"), b"other");
    assert_eq!(get("/with-a-login"), b"other");
    assert!(other.requests().iter().all(|request| !request.headers.contains_key("authorization")));
    assert!(server.requests().iter().all(|request| header(request, "authorization") == Some(ANN)));
}

#[test]
fn a_redirect_away_and_back_ends_with_the_login() {
    let back = Server::new(|request| {
        let to = request.target.trim_start_matches("/?");
        Answer::status(302).header("location", format!("http://127.0.0.1:{to}/x"))
    });
    let away = back.url.clone();
    let server = Server::new(move |request| match request.target.strip_prefix("/away/") {
        Some(port) => Answer::status(302).header("location", format!("{away}/?{port}")),
        None => guarded(request),
    });
    let port = server.url.rsplit(':').next().unwrap();
    let body = client(&server.url, None).get(&format!("{}/away/{port}", server.url), 100).unwrap().unwrap();
    assert_eq!(body, b"body");
    assert!(!back.requests()[0].headers.contains_key("authorization"));
}

#[test]
fn a_proxy_has_its_login_at_each_step_and_the_mirror_its_own() {
    let proxy = Server::new(|request| match (header(request, "proxy-authorization"), request.target.as_str()) {
        (Some(PIA), "http://mirror.invalid/away") => Answer::status(302).header("location", "http://other.invalid/x"),
        (Some(PIA), "http://mirror.invalid/x") => guarded(request),
        (Some(PIA), "http://other.invalid/x") if header(request, "authorization").is_none() => Answer::ok("other"),
        (Some(PIA), _) => Answer::status(500),
        _ => Answer::status(407),
    });
    let http = client("http://mirror.invalid", Some(&proxy.url));
    assert_eq!(http.get("http://mirror.invalid/x", 100).unwrap().unwrap(), b"body");
    assert_eq!(http.get("http://mirror.invalid/away", 100).unwrap().unwrap(), b"other");
    // A mirror at the very place of the proxy has another login, or none.
    http.get(&format!("{}/x", proxy.url), 100).unwrap_err();
    assert_eq!(header(proxy.requests().last().unwrap(), "authorization"), None);
    // And by a tunnel, which is not let through here.
    http.get("https://mirror.invalid/x", 100).unwrap_err();
    let request = proxy.requests().pop().unwrap();
    assert_eq!((request.method.as_str(), header(&request, "proxy-authorization")), ("CONNECT", Some(PIA)));
    assert_eq!(header(&request, "authorization"), None);
}

#[test]
fn a_url_may_have_no_login() {
    let server = Server::new(|_| Answer::ok("body"));
    let url = server.url.replace("http://", "http://ann:s%40cret@");
    let error = client(&server.url, None).get(&format!("{url}/x"), 100).unwrap_err();
    assert!(matches!(error, Error::BadUrl { .. }) && !error.to_string().contains("cret"), "{error}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_client_shows_no_login() {
    let http = client("http://mirror.invalid/debian", Some("http://proxy.invalid:3128"));
    let shown = format!("{http:?}");
    for secret in ["ann", "s%40cret", "s@cret", &ANN[6..], &PIA[6..]] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
