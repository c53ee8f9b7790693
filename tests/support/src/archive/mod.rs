//! A small signed archive that tests make on the spot, and an HTTP server that serves it, with
//! faults where a test asks for them.
//!
//! ```no_run
//! use support::archive::{Archive, Deb, Fault};
//!
//! let mirror = Archive::new("tiny").with(Deb::new("a").essential()).with(Deb::new("b")).serve();
//! mirror.fault("/pool/b_1_all.deb", Fault::Cut(100));
//! // fam-build --mirror {mirror.url()} --keyring {mirror.keyring()} --suite tiny
//! ```

mod base;
mod deb;
mod form;
mod signer;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256, Sha512};

pub use base::{apt, base, debconf};
pub use deb::Deb;
pub use form::Form;
pub use signer::Signer;

use crate::server::{Answer, Request, Server, without_dots};

/// The files of an archive by their path, which begins with a slash.
pub type Files = HashMap<String, Vec<u8>>;

/// An archive that is being described: suites with one component, `main`, for amd64, each published in
/// the form that most archives have.
#[derive(Debug)]
pub struct Archive {
    suites: Vec<Suite>,
    signer: Signer,
}

#[derive(Debug)]
struct Suite {
    name: String,
    form: Form,
    /// The fields of its Release file other than those that list indexes.
    release: Vec<(String, String)>,
    debs: Vec<Deb>,
    /// Packages that are there already: their control files, and their bytes.
    made: Vec<(String, Vec<u8>)>,
}

impl Suite {
    fn new(name: &str) -> Self {
        let fields = [
            ("Origin", "Test".to_owned()),
            ("Label", "Test".to_owned()),
            ("Suite", name.to_owned()),
            ("Codename", name.to_owned()),
            ("Date", days_from_now(-10)),
            ("Valid-Until", days_from_now(7)),
            ("Components", "main".to_owned()),
            ("Architectures", "amd64".to_owned()),
        ];
        Self {
            name: name.to_owned(),
            form: Form::default(),
            release: fields.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            debs: Vec::new(),
            made: Vec::new(),
        }
    }
}

/// A time in the form of Release files.
pub fn days_from_now(days: i64) -> String {
    let time = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    time.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

impl Archive {
    /// An archive with one suite, which is empty and valid for a week.
    pub fn new(suite: &str) -> Self {
        Self { suites: vec![Suite::new(suite)], signer: Signer::usual() }
    }

    /// Has another key sign it.
    #[must_use]
    pub fn signed_by(self, signer: Signer) -> Self {
        Self { signer, ..self }
    }

    /// Begins another suite, to which the following calls apply.
    #[must_use]
    pub fn suite(mut self, name: &str) -> Self {
        self.suites.push(Suite::new(name));
        self
    }

    /// Sets a field of the suite's Release file; an empty value leaves the field out.
    #[must_use]
    pub fn release(mut self, name: &str, value: impl Into<String>) -> Self {
        let fields = &mut self.last().release;
        let value = value.into();
        match fields.iter_mut().find(|(other, _)| other == name) {
            Some(field) => field.1 = value,
            None => fields.push((name.to_owned(), value)),
        }
        self
    }

    /// Has the suite published in another form.
    #[must_use]
    pub fn form(mut self, form: Form) -> Self {
        self.last().form = form;
        self
    }

    /// Adds a package to the suite.
    #[must_use]
    pub fn with(mut self, deb: Deb) -> Self {
        self.last().debs.push(deb);
        self
    }

    /// Adds a package that is there already, with the text of its control file.
    #[must_use]
    pub fn with_made(mut self, control: String, bytes: Vec<u8>) -> Self {
        self.last().made.push((control, bytes));
        self
    }

    fn last(&mut self) -> &mut Suite {
        self.suites.last_mut().unwrap()
    }

    /// Makes all packages, indexes and signatures.
    pub fn files(&self) -> Files {
        let mut files = Files::new();
        for suite in &self.suites {
            let form = &suite.form;
            let mut indexes = form.empty_indexes();
            let mut add = |stanza: &str, filename: String, bytes: Vec<u8>| {
                let mut text = format!("{}\nFilename: {filename}\n", stanza.trim_end());
                writeln!(text, "Size: {}\n{}: {}\n", bytes.len(), form.digest, form.sum(&bytes)).unwrap();
                indexes.get_mut(form.index_of(stanza)).unwrap().extend(text.into_bytes());
                files.insert(without_dots(&format!("/{filename}")), bytes);
            };
            suite.debs.iter().for_each(|deb| add(&deb.stanza(), deb.filename(), deb.build()));
            for (control, bytes) in &suite.made {
                add(control, format!("pool/{}.deb", sha256(bytes)), bytes.clone());
            }
            let mut release = String::new();
            for (name, value) in suite.release.iter().filter(|(_, value)| !value.is_empty()) {
                writeln!(release, "{name}: {value}").unwrap();
            }
            let directory = form.directory(&suite.name);
            writeln!(release, "{}:", form.digest).unwrap();
            for (path, bytes) in form.published(&indexes) {
                writeln!(release, " {} {} {path}", form.sum(&bytes), bytes.len()).unwrap();
                if !form.is_absent(&path) {
                    files.insert(format!("{directory}{path}"), bytes);
                }
            }
            files.insert(format!("{directory}InRelease"), self.signer.clearsign(&release));
        }
        files
    }

    /// Serves it on the loopback interface, until the mirror is dropped.
    pub fn serve(self) -> Mirror {
        Mirror::of(self.files(), self.signer.keyring())
    }
}

/// The SHA-256 sum in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The SHA-512 sum in hexadecimal digits.
pub fn sha512(bytes: &[u8]) -> String {
    hex::encode(Sha512::digest(bytes))
}

/// What goes wrong with one file of a mirror.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Its last byte is another one.
    Changed,
    /// It is longer by one byte.
    Longer,
    /// It has so many bytes only, and the server says so.
    Truncated(usize),
    /// The connection closes after so many bytes of the file, though the server announced more.
    Cut(usize),
    /// Nothing comes after so many bytes of the file, and the connection stays open.
    Stalled(usize),
    /// So many bytes come in a second.
    Slow(usize),
    /// A status code instead of the file.
    Status(u16),
    /// The server sends the client to another URL.
    Redirect(String),
    /// A page for people, with the status 200, as captive portals send it.
    Html,
    /// The fault happens to the first request; those that follow get the file.
    Once(Box<Fault>),
}

impl Fault {
    fn answer(&self, body: &[u8], request: &Request) -> Answer {
        match self {
            Self::Changed => {
                let mut changed = body.to_vec();
                *changed.last_mut().unwrap() ^= 1;
                Answer::file(&changed, request)
            }
            Self::Longer => Answer::file(&[body, b"x"].concat(), request),
            Self::Truncated(bytes) => Answer::file(&body[..*bytes], request),
            Self::Cut(bytes) => Answer::file(body, request).cut(bytes.saturating_sub(request.range().unwrap_or(0))),
            Self::Stalled(bytes) => {
                Answer::file(body, request).hang(bytes.saturating_sub(request.range().unwrap_or(0)))
            }
            Self::Slow(bytes) => Answer { bytes_per_second: Some(*bytes), ..Answer::file(body, request) },
            Self::Status(status) => Answer::status(*status),
            Self::Redirect(url) => Answer::status(302).header("location", url),
            Self::Html => Answer::ok("<html><body>Please log in</body></html>").header("content-type", "text/html"),
            Self::Once(fault) => fault.answer(body, request),
        }
    }
}

/// An archive that is served.
#[allow(missing_debug_implementations, reason = "a server has nothing to show")]
pub struct Mirror {
    /// The server, which knows what was asked for.
    pub server: Server,
    faults: Arc<Mutex<HashMap<String, Fault>>>,
    keyring: PathBuf,
}

impl Mirror {
    /// Serves these files, which the owner of `keyring` signed or not.
    pub fn of(files: Files, keyring: PathBuf) -> Self {
        let faults: Arc<Mutex<HashMap<String, Fault>>> = Arc::default();
        let of_server = Arc::clone(&faults);
        let server = Server::new(move |request| {
            // A client that takes this for a proxy names a whole URL.
            let path = match request.target.strip_prefix("http://") {
                Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
                None => &request.target,
            };
            let path = crate::server::decoded(path);
            let Some(body) = files.get(&path) else { return Answer::status(404) };
            let mut faults = of_server.lock().unwrap();
            let fault = match faults.get(&path) {
                Some(Fault::Once(_)) => faults.remove(&path),
                fault => fault.cloned(),
            };
            match fault {
                Some(fault) => fault.answer(body, request),
                // As good servers do, this one knows the state of what is asked for again and again.
                None if path.ends_with("/InRelease") => {
                    let etag = format!("\"{}\"", sha256(body));
                    match request.headers.get("if-none-match") {
                        Some(known) if *known == etag => Answer { status: 304, ..Answer::default() },
                        _ => Answer::file(body, request).header("etag", etag),
                    }
                }
                None => Answer::file(body, request),
            }
        });
        Self { server, faults, keyring }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// The key that signed it, as a file for `--keyring`.
    pub fn keyring(&self) -> &std::path::Path {
        &self.keyring
    }

    /// From now on, this happens to the file at `path`.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.faults.lock().unwrap().insert(path.to_owned(), fault);
    }

    /// From now on, all files come as they are.
    pub fn repair(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// How often this path was asked for.
    pub fn requests_of(&self, path: &str) -> usize {
        self.server.targets().iter().filter(|target| crate::server::decoded(target).ends_with(path)).count()
    }
}
