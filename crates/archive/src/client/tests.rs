use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fam_progress::{Event, Hint, Reporter};
use fs_err as fs;

use super::super::cache;
use super::super::digest::sha256;
use super::super::http::ProxyChoice;
use super::super::signature;
use super::super::testing::keys::{Sign, Spec, TestKey, now, sign_detached, sign_inline};
use super::*;
use support::server::{Answer, Server};

const PACKAGES: &str = "Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n";

#[derive(Default, Clone)]
struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// An archive of one suite, to be changed before it is served.
pub(super) struct Archive {
    pub(super) key: TestKey,
    release: String,
    pub(super) files: HashMap<String, Vec<u8>>,
    directory: tempfile::TempDir,
}

fn xz(text: &str) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

impl Archive {
    pub(super) fn new() -> Self {
        let index = xz(PACKAGES);
        let (plain, packed) = (sha256(PACKAGES.as_bytes()).to_string(), sha256(&index).to_string());
        let release = format!(
            "Origin: Test\nSuite: stable\nCodename: trixie\nDate: {}\nValid-Until: {}\nAcquire-By-Hash: yes\n\
             Architectures: amd64\nComponents: main contrib\nSHA256:\n {plain} {} main/binary-amd64/Packages\n \
             {packed} {} main/binary-amd64/Packages.xz\n {} 0 contrib/binary-amd64/Packages\n",
            date(-1),
            date(6),
            PACKAGES.len(),
            index.len(),
            sha256(b""),
        );
        let files = HashMap::from([
            (format!("/debian/dists/trixie/main/binary-amd64/by-hash/SHA256/{packed}"), index.clone()),
            ("/debian/dists/trixie/main/binary-amd64/Packages.xz".to_owned(), index),
            ("/debian/dists/trixie/contrib/binary-amd64/Packages".to_owned(), Vec::new()),
        ]);
        let directory = tempfile::tempdir().unwrap();
        let archive = Self { key: TestKey::new(Spec::default()), release, files, directory };
        fs::write(archive.keyring(), archive.key.export()).unwrap();
        archive
    }

    pub(super) fn keyring(&self) -> PathBuf {
        self.directory.path().join("keys.gpg")
    }

    pub(super) fn options(&self) -> ClientOptions {
        let http = HttpOptions {
            proxy: ProxyChoice::Direct,
            stall_timeout: Duration::from_secs(5),
            pause: Duration::from_millis(1),
            ..HttpOptions::default()
        };
        ClientOptions {
            http,
            keyrings: vec![self.keyring()],
            now: now(),
            ..ClientOptions::new(self.directory.path().join("cache"))
        }
    }

    fn put(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.files.insert(format!("/debian/dists/trixie/{name}"), bytes.into());
    }

    pub(super) fn signed(mut self) -> Self {
        let signed = self.key.sign_inline(&self.release);
        self.put("InRelease", signed);
        self
    }

    pub(super) fn change(mut self, from: &str, to: &str) -> Self {
        let changed = self.release.replace(from, to);
        assert_ne!(changed, self.release, "{from}");
        self.release = changed;
        self.signed()
    }

    fn serve(&self) -> Server {
        Server::files(self.files.clone())
    }

    fn open_with(&self, options: ClientOptions, server: &Server) -> Result<OpenedSource, Error> {
        Client::new(options, Progress::silent())?.open(&source(server))
    }

    fn open(&self) -> Result<OpenedSource, Error> {
        self.open_with(self.options(), &self.serve())
    }
}

pub(super) fn date(days: i64) -> String {
    (now() + jiff::SignedDuration::from_hours(24 * days)).strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

pub(super) fn source(server: &Server) -> Source {
    Source {
        mirror: format!("{}/debian/", server.url),
        suite: "trixie".to_owned(),
        components: vec!["main".to_owned(), "contrib".to_owned()],
        architecture: "amd64".to_owned(),
        ..Source::default()
    }
}

/// What a person would read.
fn told(error: &Error) -> String {
    let hint = match error {
        Error::Keyring(source) => source.hint(),
        Error::Cache(source) => source.hint(),
        Error::Http(source) => source.hint(),
        Error::Signature { source, .. } => source.hint(),
        Error::Release { source, .. } => source.hint(),
        Error::Index { source, .. } => source.hint(),
        Error::Fetch(source) => source.hint(),
        _ => error.hint(),
    };
    format!("{error}\nhint: {}", hint.unwrap())
}

#[test]
fn opens_a_suite_by_its_inrelease() {
    let archive = Archive::new().signed();
    let server = archive.serve();
    let opened = archive.open_with(archive.options(), &server).unwrap();
    assert_eq!((opened.release.suite.as_str(), opened.release.codename.as_str()), ("stable", "trixie"));
    assert_eq!(opened.signed_by.user_id, "Test Archive Key <test@example.org>");
    let texts: Vec<_> = opened.indexes.iter().map(|index| (index.component.as_str(), index.text.as_str())).collect();
    assert_eq!(texts, [("main", PACKAGES), ("contrib", "")]);
    assert!(server.targets().iter().any(|target| target.contains("/by-hash/SHA256/")));
    assert!(!server.targets().iter().any(|target| target.ends_with("/Packages.xz")));

    let before = server.targets().len();
    archive.open_with(archive.options(), &server).unwrap();
    assert_eq!(
        server.targets()[before..],
        ["/debian/dists/trixie/InRelease"],
        "the second time, indexes are in the cache"
    );
}

#[test]
fn opens_a_suite_by_release_and_its_signature() {
    let mut archive = Archive::new();
    let text = archive.release.clone();
    let (_, armored) = sign_detached(text.as_bytes(), &Sign::by(&archive.key.secret));
    archive.put("Release", text);
    assert!(matches!(archive.open(), Err(Error::Unsigned { .. })));
    archive.put("Release.gpg", armored);
    assert_eq!(archive.open().unwrap().indexes[0].text, PACKAGES);
}

#[test]
fn falls_back_to_the_plain_path_where_there_is_no_by_hash() {
    let mut archive = Archive::new().signed();
    archive.files.retain(|path, _| !path.contains("by-hash"));
    assert_eq!(archive.open().unwrap().indexes[0].text, PACKAGES);

    let archive = Archive::new().change("Acquire-By-Hash: yes", "Acquire-By-Hash: no");
    let server = archive.serve();
    archive.open_with(archive.options(), &server).unwrap();
    assert!(!server.targets().iter().any(|target| target.contains("by-hash")));
}

#[test]
fn refuses_keys_that_nobody_named() {
    let archive = Archive::new().signed();
    let error =
        archive.open_with(ClientOptions { keyrings: Vec::new(), ..archive.options() }, &archive.serve()).unwrap_err();
    let told = told(&error);
    assert!(matches!(error, Error::Signature { .. }), "{told}");
    assert!(told.contains("key not known") && told.contains("--keyring") && told.contains("Debian Archive"), "{told}");

    let options = ClientOptions { keyrings: vec!["/nonexistent.gpg".into()], ..archive.options() };
    assert!(matches!(archive.open_with(options, &archive.serve()), Err(Error::Keyring(_))));
}

#[test]
fn names_suite_and_mirror_when_there_is_no_such_suite() {
    let mut archive = Archive::new().signed();
    archive.files.clear();
    let server = archive.serve();
    let error = archive.open_with(archive.options(), &server).unwrap_err();
    assert!(matches!(error, Error::NoSuite { .. }));
    let told = told(&error);
    assert!(told.contains("trixie") && told.contains(&server.url) && told.contains("dists"), "{told}");
}

#[test]
fn refuses_another_suite_with_a_good_signature() {
    let archive = Archive::new().change("Suite: stable\nCodename: trixie", "Suite: oldstable\nCodename: bookworm");
    let error = archive.open().unwrap_err();
    assert!(matches!(error, Error::Release { source: release::Error::OtherSuite { .. }, .. }), "{error}");
}

#[test]
fn refuses_a_changed_inrelease() {
    let mut archive = Archive::new().signed();
    let changed =
        String::from_utf8(archive.key.sign_inline(&archive.release)).unwrap().replace("Origin: Test", "Origin: Evil");
    archive.put("InRelease", changed);
    let error = archive.open().unwrap_err();
    assert!(told(&error).contains("does not match the text"), "{error}");
    archive.put("InRelease", "<html>Please log in</html>\n");
    assert!(told(&archive.open().unwrap_err()).contains("proxy"));
    archive.put("InRelease", vec![b'a'; 2 << 20]);
    assert!(matches!(archive.open(), Err(Error::Http(http::Error::TooLong { .. }))));
}

#[test]
fn an_expired_release_needs_an_explicit_word() {
    let archive = Archive::new().change(&date(6), &date(-1));
    let late = |accept_expired| ClientOptions { accept_expired, ..archive.options() };
    let error = archive.open_with(late(false), &archive.serve()).unwrap_err();
    assert!(matches!(error, Error::Release { source: release::Error::Expired { .. }, .. }), "{error}");

    let recorder = Recorder::default();
    let client = Client::new(late(true), Progress::new(recorder.clone())).unwrap();
    client.open(&source(&archive.serve())).unwrap();
    let events = recorder.0.lock().unwrap();
    assert!(
        events.iter().any(|event| matches!(event, Event::Warning { message, .. } if message.contains("expired"))),
        "{events:?}"
    );
}

#[test]
fn a_key_that_has_expired_since_needs_an_explicit_word() {
    let mut archive = Archive::new();
    archive.key = TestKey::new(Spec { created: -1000, lifetime: Some(900), ..Spec::default() });
    fs::write(archive.keyring(), archive.key.export()).unwrap();
    let sign = Sign { day: -101, ..Sign::by(&archive.key.secret) };
    let signed = sign_inline(&archive.release, &[sign]);
    archive.put("InRelease", signed);
    let with = |accept_expired| ClientOptions { accept_expired, ..archive.options() };
    let error = archive.open_with(with(false), &archive.serve()).unwrap_err();
    assert!(matches!(error, Error::Signature { source: signature::Error::KeyExpired { .. }, .. }), "{error}");
    assert!(told(&error).contains("--accept-expired"), "{error}");

    let recorder = Recorder::default();
    let client = Client::new(with(true), Progress::new(recorder.clone())).unwrap();
    assert_eq!(client.open(&source(&archive.serve())).unwrap().indexes[0].text, PACKAGES);
    let events = recorder.0.lock().unwrap();
    let is_told = |event: &Event| matches!(event, Event::Warning { message, .. } if message.contains("has expired"));
    assert!(events.iter().any(is_told), "{events:?}");
}

#[test]
fn does_not_go_back_in_time() {
    let newer = Archive::new().signed();
    let signed_older = newer.key.sign_inline(&newer.release.replace(&date(-1), &date(-2)));
    let current = Arc::new(Mutex::new(newer.files.clone()));
    let served = Arc::clone(&current);
    let server = Server::new(move |request| match served.lock().unwrap().get(&request.target) {
        Some(body) => Answer::file(body, request),
        None => Answer::status(404),
    });
    newer.open_with(newer.options(), &server).unwrap();
    current.lock().unwrap().insert("/debian/dists/trixie/InRelease".to_owned(), signed_older);
    let error = newer.open_with(newer.options(), &server).unwrap_err();
    assert!(matches!(error, Error::Release { source: release::Error::Older { .. }, .. }), "{error}");
    let forced = ClientOptions { accept_expired: true, ..newer.options() };
    newer.open_with(forced, &server).unwrap();
    assert!(newer.open_with(newer.options(), &server).is_err(), "what was accepted once is not accepted for ever");
}

#[test]
fn a_damaged_record_of_what_was_seen_needs_an_explicit_word() {
    let archive = Archive::new().signed();
    let server = archive.serve();
    archive.open_with(archive.options(), &server).unwrap();
    let mut records = fs::read_dir(archive.options().cache_dir.join("seen")).unwrap();
    let record = records.next().unwrap().unwrap().path();
    fs::write(&record, b"\xff").unwrap();
    let error = archive.open_with(archive.options(), &server).unwrap_err();
    assert!(matches!(error, Error::Cache(cache::Error::Record { .. })), "{error}");
    assert!(told(&error).contains(record.to_str().unwrap()), "{error}");
    let forced = ClientOptions { accept_expired: true, ..archive.options() };
    archive.open_with(forced, &server).unwrap();
    archive.open_with(archive.options(), &server).unwrap();
}

#[test]
fn a_release_from_the_future_is_refused() {
    let archive = Archive::new().change(&date(-1), &date(1));
    let error = archive.open().unwrap_err();
    assert!(matches!(error, Error::Release { source: release::Error::Future { .. }, .. }), "{error}");
}

#[test]
fn indexes_must_be_those_of_the_release() {
    let path = |file: &str| format!("/debian/dists/trixie/main/binary-amd64/{file}");
    let mut archive = Archive::new().signed();
    let other = xz(&PACKAGES.replace("Version: 2", "Version: 3"));
    for body in archive.files.iter_mut().filter(|(path, _)| path.contains("main/")).map(|(_, body)| body) {
        body.clone_from(&other);
    }
    assert!(matches!(
        archive.open(),
        Err(Error::Fetch(fetch::Error::WrongDigest { .. } | fetch::Error::WrongSize { .. }))
    ));

    let mut missing = Archive::new().signed();
    missing.files.retain(|path, _| !path.contains("main/"));
    let error = missing.open().unwrap_err();
    assert!(told(&error).contains("404") && told(&error).contains("main/binary-amd64/Packages.xz"), "{error}");

    // Signed, of the right size, but not what the plain entry says.
    let plain = sha256(PACKAGES.as_bytes()).to_string();
    let lying = Archive::new().change(&plain, &sha256(b"other").to_string());
    assert!(matches!(lying.open(), Err(Error::Index { source: index::Error::Differs { .. }, .. })));
    assert!(lying.files.contains_key(&path("Packages.xz")));
}

/// What a client with this recorder warned of.
fn warnings(recorder: &Recorder) -> Vec<String> {
    let events = recorder.0.lock().unwrap();
    let warning = |event: &Event| match event {
        Event::Warning { message, .. } => Some(message.clone()),
        _ => None,
    };
    events.iter().filter_map(warning).collect()
}

#[test]
fn takes_another_form_of_an_index_that_is_not_there() {
    let text = PACKAGES.as_bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    let gzip = gzip.finish().unwrap();
    let path = "main/binary-amd64/Packages";
    for status in [403, 404, 410] {
        let entry = format!("contrib\nSHA256:\n {} {} {path}.gz\n", sha256(&gzip), gzip.len());
        let mut archive = Archive::new().change("contrib\nSHA256:\n", &entry);
        archive.files.retain(|path, _| !path.contains("main/"));
        archive.put(&format!("{path}.gz"), gzip.clone());
        let files = archive.files.clone();
        let server = Server::new(move |request| match files.get(&request.target) {
            Some(body) => Answer::file(body, request),
            None => Answer::status(if request.target.contains("Packages.xz") { status } else { 404 }),
        });
        let opened = archive.open_with(archive.options(), &server).unwrap();
        assert_eq!(opened.indexes[0].text, PACKAGES, "{status}");
        let before = server.targets().len();
        archive.open_with(archive.options(), &server).unwrap();
        assert_eq!(server.targets().len(), before + 1, "the form that is in the cache is as good");
    }
}

#[test]
fn a_component_that_another_suite_has_is_warned_of() {
    let archive = Archive::new().change("contrib/binary-amd64", "other/binary-amd64");
    let server = archive.serve();
    let told = told(&archive.open_with(archive.options(), &server).unwrap_err());
    assert!(told.contains("lists no contrib/binary-amd64/Packages"), "{told}");
    let recorder = Recorder::default();
    let client = Client::new(archive.options(), Progress::new(recorder.clone())).unwrap();
    let main_only = Source { components: vec!["main".to_owned()], ..source(&server) };
    let both = Source { components: vec!["other".to_owned(), "contrib".to_owned()], ..source(&server) };
    let with_contrib = Archive::new().signed();
    fs::write(with_contrib.keyring(), archive.key.export()).unwrap();
    let mut elsewhere = Archive { key: archive.key, ..Archive::new() }.signed();
    elsewhere.put("contrib/binary-amd64/Packages", Vec::new());
    let second = elsewhere.serve();
    let opened = client.open_all(&[main_only, both, source(&second)]).unwrap();
    let components =
        |opened: &OpenedSource| opened.indexes.iter().map(|index| index.component.clone()).collect::<Vec<_>>();
    assert_eq!(components(&opened[1]), ["other"]);
    assert_eq!(components(&opened[2]), ["main", "contrib"]);
    let warnings = warnings(&recorder);
    assert!(matches!(&warnings[..], [warning] if warning.contains("contrib")), "{warnings:?}");
}

#[test]
fn opens_flat_archives() {
    for (suite, folder) in [("./", ""), ("/", ""), ("Debian_13/", "Debian_13/"), ("./a//b/", "a/b/")] {
        let mut archive = Archive::new();
        let plain = format!("{} {} Packages", sha256(PACKAGES.as_bytes()), PACKAGES.len());
        archive.release = format!("Codename: whatever\nDate: {}\nAcquire-By-Hash: yes\nSHA256:\n {plain}\n", date(-1));
        let signed = archive.key.sign_inline(&archive.release);
        archive.files = HashMap::from([
            (format!("/debian/{folder}InRelease"), signed),
            (format!("/debian/{folder}by-hash/SHA256/{}", sha256(PACKAGES.as_bytes())), PACKAGES.into()),
        ]);
        let server = archive.serve();
        let client = Client::new(archive.options(), Progress::silent()).unwrap();
        let flat = Source { suite: suite.to_owned(), components: Vec::new(), ..source(&server) };
        let opened = client.open(&flat).unwrap();
        assert_eq!(opened.indexes, [Index { component: String::new(), text: PACKAGES.to_owned() }], "{suite}");
        let none = Source { suite: "none/".to_owned(), ..flat };
        let told = told(&client.open(&none).unwrap_err());
        assert!(told.contains("a flat archive has"), "{told}");
    }
}

#[test]
fn a_release_without_a_date_is_as_old_as_its_signature() {
    let dated = format!("Date: {}\n", date(-1));
    let dateless = Archive::new().change(&dated, "").change("Suite: stable\nCodename: trixie\n", "");
    let recorder = Recorder::default();
    let client = Client::new(dateless.options(), Progress::new(recorder.clone())).unwrap();
    let server = dateless.serve();
    let opened = client.open(&source(&server)).unwrap();
    assert_eq!(opened.release.date, now());
    let warnings = warnings(&recorder);
    assert!(warnings[0].contains("no Date") && warnings[1].contains("neither Suite nor Codename"), "{warnings:?}");
    // It counts among those that were seen.
    client.cache.remember(source(&server).mirror(), "trixie", now() + jiff::SignedDuration::from_secs(1)).unwrap();
    let told = told(&client.open(&source(&server)).unwrap_err());
    assert!(told.contains("goes back in time") && told.contains("--accept-expired"), "{told}");
}
