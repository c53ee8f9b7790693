//! Servers whose authority the host does not know.

use super::super::testing::tls::{TlsServer, authority};
use super::*;
use fam_progress::Hint as _;
use support::server::{Answer, Server};

fn trusting(ca_certificates: Vec<PathBuf>, logins: Logins) -> Http {
    let proxy = ProxyChoice::Direct;
    Http::new(HttpOptions { proxy, ca_certificates, logins, attempts: 1, ..HttpOptions::default() }).unwrap()
}

const OK: &str = "200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";

#[test]
fn an_authority_is_trusted_where_it_is_named() {
    let server = TlsServer::new(|_| OK.to_owned());
    let url = format!("{}/x", server.url);
    let get = |files: &[PathBuf]| trusting(files.to_vec(), Logins::default()).get(&url, 100);
    assert_eq!(get(&[authority()]).unwrap().unwrap(), b"body");
    let error = get(&[]).unwrap_err();
    assert!(matches!(&error, Error::Tls { reason, .. } if reason.contains("UnknownIssuer")), "{error:?}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("--ca-certificate") && hint.contains("SSL_CERT_FILE"), "{hint}");
}

#[test]
fn an_authority_is_trusted_where_the_environment_names_it() {
    const URL: &str = "FAM_TEST_TLS_URL";
    if let Ok(url) = std::env::var(URL) {
        assert_eq!(trusting(Vec::new(), Logins::default()).get(&url, 100).unwrap().unwrap(), b"body");
        return;
    }
    let server = TlsServer::new(|_| OK.to_owned());
    let test = "tls_tests::an_authority_is_trusted_where_the_environment_names_it";
    tests::again(test, &[(URL, &server.url), ("SSL_CERT_FILE", authority().to_str().unwrap())]);
}

#[test]
fn a_redirect_takes_neither_request_nor_login_from_https_to_http() {
    let plain = Server::new(|_| Answer::ok("plain"));
    let to = plain.url.clone();
    let server = TlsServer::new(move |path| match path {
        "/away" => format!("302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: {to}/x\r\n\r\n"),
        _ => OK.to_owned(),
    });
    let mut logins = Logins::default();
    logins.add_mirror(&server.url.replace("https://", "https://ann:secret@").parse().unwrap());
    let http = trusting(vec![authority()], logins);
    assert_eq!(http.get(&format!("{}/x", server.url), 100).unwrap().unwrap(), b"body");
    let error = http.get(&format!("{}/away", server.url), 100).unwrap_err();
    assert!(matches!(&error, Error::Redirect { reason, .. } if reason == "from https to http"), "{error}");
    assert!(plain.requests().is_empty());
    let heads = server.heads.lock().unwrap();
    assert!(heads.len() == 2 && heads.iter().all(|head| head.contains("authorization: Basic ")), "{heads:?}");
}
