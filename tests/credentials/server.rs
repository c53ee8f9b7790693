//! A web server that asks for logins, and remembers what it was asked with.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::PASSWORD;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// A path, or the URL that a proxy is asked for.
    pub target: String,
    pub headers: HashMap<String, String>,
}

impl Request {
    /// Whether a header holds this login.
    pub fn has(&self, header: &str, user: &str, password: &str) -> bool {
        let login = STANDARD.encode(format!("{user}:{password}"));
        self.headers.get(header).is_some_and(|value| *value == format!("Basic {login}"))
    }

    /// Whether it has the login for the mirror.
    pub fn is_of_ann(&self) -> bool {
        self.has("authorization", "ann", PASSWORD)
    }
}

/// What is answered.
pub enum Reply {
    File(Vec<u8>),
    /// A status line and headers.
    Status(String),
}

/// The status line with which a login is asked for.
pub const UNAUTHORIZED: &str = "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a mirror\"";

/// A web server that also serves as a proxy; it ends with the tests.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts one on a free port.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                thread::spawn(move || {
                    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                    let first = lines.next()?;
                    let target = first.split(' ').nth(1)?.to_owned();
                    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
                        let (name, value) = line.split_once(": ")?;
                        Some((name.to_ascii_lowercase(), value.to_owned()))
                    });
                    let request = Request { target, headers: headers.collect() };
                    seen.lock().unwrap().push(request.clone());
                    let (status, body) = match answer(&request) {
                        Reply::File(body) => ("200 OK".to_owned(), body),
                        Reply::Status(status) => (status, Vec::new()),
                    };
                    let length = body.len();
                    let mut stream = &stream;
                    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
                        .ok()?;
                    if first.starts_with("HEAD") { Some(()) } else { stream.write_all(&body).ok() }
                });
            }
        });
        Self { address, requests }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same with a login.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{}@{}", password.replace('@', "%40"), self.address)
    }

    /// All that was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}
