//! A server that speaks HTTPS on the loopback interface, with a certificate of an authority that no
//! host trusts. `tls/make.sh` makes that.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The file with the authority's certificate.
pub(in super::super) fn authority() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/testing/tls/authority.pem"))
}

/// A running server; it ends with the tests.
pub(in super::super) struct TlsServer {
    pub(in super::super) url: String,
    /// The head of each request: its first line and its headers.
    pub(in super::super) heads: Arc<Mutex<Vec<String>>>,
}

impl TlsServer {
    /// Answers each request with what `answer` makes of its path: status line, headers and body.
    pub(in super::super) fn new(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut reader = BufReader::new(StreamOwned::new(connection, stream));
                // A client that does not trust the server ends the handshake, and this.
                let lines = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
                let head = lines.collect::<Vec<_>>().join("\n");
                let Some(path) = head.split(' ').nth(1).map(str::to_owned) else { continue };
                seen.lock().unwrap().push(head);
                let mut stream = reader.into_inner();
                let _ = stream.write_all(format!("HTTP/1.1 {}", answer(&path)).as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { url, heads }
    }
}
