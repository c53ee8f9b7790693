//! A small HTTP server on the loopback interface. A closure answers each request, with whatever it
//! likes: late, slowly, in part, or not at all. It serves as an origin and, as a request to a proxy
//! names a whole URL, as a proxy too.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `HEAD`, or `CONNECT` to a proxy.
    pub method: String,
    /// The path, or the whole URL if the client takes this for a proxy.
    pub target: String,
    /// The headers, their names in lower case.
    pub headers: HashMap<String, String>,
}

impl Request {
    /// The first byte that is asked for, if not the whole file is.
    pub fn range(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What is sent back.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers other than those that say how long the body is, and whether the connection stays.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How many bytes of the body are sent; the announced length stays that of the whole body.
    pub cut: Option<usize>,
    /// After what is sent, says nothing instead of closing the connection.
    pub hang: bool,
    /// Announces no length: the end of the connection ends the body.
    pub unannounced: bool,
    /// Lets the connection serve another request.
    pub keep: bool,
    /// How long to say nothing before the body.
    pub stall: Duration,
    /// How many bytes of the body to send in a second, if not all at once.
    pub bytes_per_second: Option<usize>,
}

impl Answer {
    /// A whole file.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    /// A status with a few words.
    pub fn status(status: u16) -> Self {
        Self { status, body: b"said so".to_vec(), ..Self::default() }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sends this many bytes of the body, then closes the connection.
    #[must_use]
    pub fn cut(self, at: usize) -> Self {
        Self { cut: Some(at), ..self }
    }

    /// Sends this many bytes of the body, then nothing.
    #[must_use]
    pub fn hang(self, at: usize) -> Self {
        Self { cut: Some(at), hang: true, ..self }
    }

    /// A file as a good server sends it: a part of it, if a part is asked for.
    pub fn file(body: &[u8], request: &Request) -> Self {
        match request.range() {
            None => Self::ok(body),
            Some(first) if first >= body.len() => {
                Self::status(416).header("content-range", format!("bytes */{}", body.len()))
            }
            Some(first) => Self { status: 206, ..Self::ok(&body[first..]) }
                .header("content-range", format!("bytes {first}-{}/{}", body.len() - 1, body.len())),
        }
    }
}

/// What a proxy answers that knows these archives, each by the beginning of its URLs, and nothing else.
pub fn answer_of<U: AsRef<str>>(archives: &HashMap<U, HashMap<String, Vec<u8>>>, request: &Request) -> Answer {
    let of = archives.iter().find_map(|(url, files)| Some((request.target.strip_prefix(url.as_ref())?, files)));
    match of.and_then(|(path, files)| files.get(&decoded(path))) {
        Some(file) => Answer::file(file, request),
        None => Answer::status(404),
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// The path that a target of a request names.
pub fn decoded(target: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = target.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    without_dots(&String::from_utf8(bytes).unwrap())
}

/// The path without the parts that say nothing.
pub fn without_dots(path: &str) -> String {
    path.split('/').filter(|part| *part != ".").collect::<Vec<_>>().join("/")
}

/// A running server. It ends when it is dropped.
#[allow(missing_debug_implementations, reason = "a closure has nothing to show")]
pub struct Server {
    /// Its URL, without a slash at the end.
    pub url: String,
    log: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    port: u16,
}

impl Server {
    /// Starts one on a free port.
    pub fn new(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let connections = Arc::new(AtomicUsize::new(0));
        let (log_of_thread, stop_of_thread, count) = (log.clone(), stop.clone(), connections.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stop_of_thread.load(Ordering::Relaxed) {
                    break;
                }
                let (handler, log) = (handler.clone(), log_of_thread.clone());
                if let Ok(connection) = connection {
                    count.fetch_add(1, Ordering::Relaxed);
                    std::thread::spawn(move || {
                        let mut reader = BufReader::new(&connection);
                        while serve(&mut reader, &*handler, &log) == Some(true) {}
                    });
                }
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), log, connections, stop, port }
    }

    /// Serves files by path, as a good server does.
    pub fn files(files: HashMap<String, Vec<u8>>) -> Self {
        Self::new(move |request| match files.get(&decoded(&request.target)) {
            Some(body) => Answer::file(body, request),
            None => Answer::status(404),
        })
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What was asked for so far.
    pub fn targets(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.target).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Serves one request; returns whether another may follow, or nothing if the client hung up.
fn serve(reader: &mut BufReader<&TcpStream>, handler: &Handler, log: &Mutex<Vec<Request>>) -> Option<bool> {
    let mut connection = *reader.get_ref();
    connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = read_request(reader)?;
    log.lock().unwrap().push(request.clone());
    let answer = handler(&request);
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", answer.status);
    if !answer.keep {
        head += "connection: close\r\n";
    }
    if !answer.unannounced {
        head += &format!("content-length: {}\r\n", answer.body.len());
    }
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    connection.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    std::thread::sleep(answer.stall);
    if request.method != "HEAD" {
        let end = answer.cut.unwrap_or(answer.body.len()).min(answer.body.len());
        for part in answer.body[..end].chunks(answer.bytes_per_second.unwrap_or(usize::MAX)) {
            connection.write_all(part).ok()?;
            if answer.bytes_per_second.is_some() {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
    if answer.hang {
        std::thread::sleep(Duration::from_secs(600));
    }
    Some(answer.keep)
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut lines = reader.by_ref().lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, target, headers })
}
