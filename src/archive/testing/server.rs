//! A tiny HTTP server on the loopback interface. Each request goes to a closure, which may answer with anything, late, cut off,
//! or break off.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub(in super::super) struct Request {
    pub(in super::super) method: String,
    /// Path, or the whole URL if the client takes this for a proxy.
    pub(in super::super) target: String,
    pub(in super::super) headers: HashMap<String, String>,
}

impl Request {
    /// First byte that is asked for.
    pub(in super::super) fn range(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What is sent back.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Answer {
    pub(in super::super) status: u16,
    pub(in super::super) headers: Vec<(String, String)>,
    pub(in super::super) body: Vec<u8>,
    /// Where to break off; the announced length stays that of the body.
    pub(in super::super) cut: Option<usize>,
    /// Announce no length: the end of the connection ends the body.
    pub(in super::super) unannounced: bool,
    /// Let the connection serve another request.
    pub(in super::super) keep: bool,
    /// Silence before the body.
    pub(in super::super) stall: Duration,
}

impl Answer {
    pub(in super::super) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub(in super::super) fn status(status: u16) -> Self {
        Self { status, body: b"said so".to_vec(), ..Self::default() }
    }

    pub(in super::super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(in super::super) fn cut(mut self, at: usize) -> Self {
        self.cut = Some(at);
        self
    }

    /// The file as a good server sends it: in part, if part of it is asked for.
    pub(in super::super) fn file(body: &[u8], request: &Request) -> Self {
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

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

pub(in super::super) struct Server {
    pub(in super::super) url: String,
    log: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    port: u16,
}

impl Server {
    pub(in super::super) fn new(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
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
    pub(in super::super) fn files(files: HashMap<String, Vec<u8>>) -> Self {
        Self::new(move |request| match files.get(&request.target) {
            Some(body) => Answer::file(body, request),
            None => Answer::status(404),
        })
    }

    pub(in super::super) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    pub(in super::super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(in super::super) fn targets(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.target).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Serves one request; tells whether another may follow.
fn serve(reader: &mut BufReader<&TcpStream>, handler: &Handler, log: &Mutex<Vec<Request>>) -> Option<bool> {
    let mut connection = *reader.get_ref();
    connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
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
    let request = Request { method, target, headers };
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
        connection.write_all(&answer.body[..end]).ok()?;
    }
    Some(answer.keep)
}
