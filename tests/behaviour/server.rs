//! A web server for tests: each request is answered by a closure, one connection a request. It serves as an origin, and,
//! as a request to a proxy names a whole URL, as a proxy too.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// A path, or, of a proxy, a URL.
    pub target: String,
    /// The byte that it is to begin at.
    pub first: usize,
}

/// What it gets.
pub enum Reply {
    /// A file, or the rest of it.
    File(Vec<u8>),
    /// Half a file, and then silence.
    Half(Vec<u8>),
    /// A status line and headers.
    Status(&'static str),
}

/// A running server; it ends with the tests.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts one on a free port.
    pub fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                // A client that hangs up is what some tests are about.
                thread::spawn(move || serve(&stream.unwrap(), &*answer, &seen));
            }
        });
        Self { address, requests }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that was asked for so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&str) -> Reply, seen: &Mutex<Vec<Request>>) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let line = lines.next()?.ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?.to_owned());
    let mut first = 0;
    for header in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some(range) = header.to_ascii_lowercase().strip_prefix("range: bytes=") {
            first = range.trim_end_matches('-').parse().ok()?;
        }
    }
    let reply = answer(&target);
    seen.lock().unwrap().push(Request { target, first });
    let found = if first > 0 { "206 Partial Content" } else { "200 OK" };
    let (status, bytes, sent) = match reply {
        Reply::Status(status) => (status, vec![0; first], first),
        Reply::File(bytes) => {
            let length = bytes.len();
            (found, bytes, length)
        }
        Reply::Half(bytes) => {
            let half = bytes.len() / 2;
            (found, bytes, half.max(first))
        }
    };
    let range = if status.starts_with("206") {
        format!("Content-Range: bytes {first}-{}/{}\r\n", bytes.len() - 1, bytes.len())
    } else {
        String::new()
    };
    let length = bytes.len() - first;
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\n{range}Content-Length: {length}\r\nConnection: close\r\n\r\n").ok()?;
    if method == "HEAD" {
        return Some(());
    }
    stream.write_all(&bytes[first..sent]).ok()?;
    if sent < bytes.len() {
        thread::sleep(Duration::from_secs(600));
    }
    Some(())
}
