//! Old faults of apt, tried on fam-build: each attack as it was made, on archives that are signed
//! as they should be. Those in reading packages are unit tests of `archive::deb`.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use fam_archive::digest::Algorithm;
use fam_archive::http::{HttpOptions, ProxyChoice};
use fam_archive::{Client, ClientOptions, Download, OpenedSource, Source};
use fam_progress::Progress;
use support::archive::{Archive, Deb, Files, Signer, sha256};
use support::server::{Answer, Request, Server};
use support::succeed;

use crate::small::SUITE;

support::tests! {
    needs ["dpkg-deb", "gpg", "gzip"];
    cve_2011_1829_no_signed_message_at_the_beginning,
    cve_2013_1051_text_beside_the_signed_message,
    cve_2014_0487_not_modified_is_not_verified,
    cve_2014_0488_what_came_unsigned_is_kept,
    cve_2014_0489_compressed_indexes_are_not_verified,
    cve_2014_0490_a_package_is_not_verified,
    cve_2016_1252_long_lines_hide_what_is_not_signed,
    cve_2018_0501_another_place_without_a_signature,
    cve_2019_3462_a_redirect_speaks_for_the_mirror,
}

const INRELEASE: &str = "/dists/tiny/InRelease";
const INDEX: &str = "/dists/tiny/main/binary-amd64/Packages";
const DEB: &str = "/pool/base_1_all.deb";

/// What the archive has, and what the attacker would have installed: a package of the same name,
/// version and size.
fn files(what: &str) -> Files {
    Archive::new(SUITE).with(Deb::new("base").file("/usr/share/base", what)).files()
}

fn good() -> Files {
    files("good")
}

fn evil() -> Files {
    files("evil")
}

/// The text that an `InRelease` signs.
fn signed_text(files: &Files) -> String {
    let message = str::from_utf8(&files[INRELEASE]).unwrap();
    let (_, rest) = message.split_once("\n\n").unwrap();
    rest.split("-----BEGIN PGP SIGNATURE-----").next().unwrap().to_owned()
}

type Answers = dyn Fn(&Request) -> Answer + Send;

/// A server whose answers can be changed, and a cache.
struct Place {
    answers: Arc<Mutex<Box<Answers>>>,
    server: Server,
    directory: tempfile::TempDir,
}

impl Place {
    fn new(files: Files) -> Self {
        let answers: Arc<Mutex<Box<Answers>>> = Arc::new(Mutex::new(Box::new(serve(files))));
        let of_server = Arc::clone(&answers);
        let server = Server::new(move |request| (of_server.lock().unwrap())(request));
        Self { answers, server, directory: tempfile::tempdir().unwrap() }
    }

    fn answer(&self, answers: impl Fn(&Request) -> Answer + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answers);
    }

    fn client(&self) -> Client {
        let http = HttpOptions {
            proxy: ProxyChoice::Direct,
            attempts: 1,
            pause: std::time::Duration::from_millis(1),
            ..HttpOptions::default()
        };
        let keyrings = vec![Signer::usual().keyring()];
        let options = ClientOptions { http, keyrings, ..ClientOptions::new(self.directory.path().join("cache")) };
        Client::new(options, Progress::silent()).unwrap()
    }

    fn open(&self) -> Result<OpenedSource, String> {
        let source = Source {
            mirror: self.server.url.clone(),
            suite: SUITE.to_owned(),
            components: vec!["main".to_owned()],
            architecture: "amd64".to_owned(),
            ..Source::default()
        };
        self.client().open(&source).map_err(|error| error.to_string())
    }

    /// Asserts that the archive is refused with this error, before anything of its index is asked
    /// for.
    #[track_caller]
    fn refused(&self, error: &str) {
        let before = self.server.targets().len();
        let said = self.open().unwrap_err();
        assert!(said.contains(error), "{said}");
        assert!(!self.server.targets()[before..].iter().any(|target| target.contains("Packages")), "{said}");
    }

    /// The text of the good archive's index is what opening the archive gives.
    #[track_caller]
    fn opens_as_good(&self) {
        assert_eq!(self.open().unwrap().indexes[0].text.as_bytes(), good()[INDEX]);
    }

    /// Whether a file below the cache holds these bytes.
    fn keeps(&self, bytes: &[u8]) -> bool {
        let found = succeed(Command::new("find").arg(self.directory.path()).args(["-type", "f"]));
        found.lines().any(|path| fs_err::read(path).unwrap() == bytes)
    }
}

fn serve(files: Files) -> impl Fn(&Request) -> Answer + Send {
    move |request| files.get(&request.target).map_or_else(|| Answer::status(404), |body| Answer::file(body, request))
}

/// The evil archive with this `InRelease`.
fn evil_with(inrelease: impl Into<Vec<u8>>) -> Files {
    let mut files = evil();
    files.insert(INRELEASE.to_owned(), inrelease.into());
    files
}

/// Before 0.8.15.2, apt took an `InRelease` for signed that had no signed message at its beginning.
fn cve_2011_1829_no_signed_message_at_the_beginning() {
    let (text, message) = (signed_text(&evil()), String::from_utf8(good()[INRELEASE].clone()).unwrap());
    let signature = &message[message.find("-----BEGIN PGP SIGNATURE-----").unwrap()..];
    for inrelease in [
        text.clone(),
        format!("{text}{signature}"),
        format!("{text}\n{message}"),
        format!("\n\n{text}\n{message}"),
        format!("Hash: SHA512\n\n{text}{signature}"),
    ] {
        Place::new(evil_with(inrelease)).refused("does not begin with a signed message");
    }
    Place::new(good()).opens_as_good();
}

/// Before 0.9.7.8, apt had gpgv judge the signed message of an `InRelease`, and read the whole
/// file.
fn cve_2013_1051_text_beside_the_signed_message() {
    let (text, message) = (signed_text(&evil()), String::from_utf8(good()[INRELEASE].clone()).unwrap());
    let begin = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n";
    let signature = message.find("-----BEGIN PGP SIGNATURE-----").unwrap();
    let strangers = Signer::named("strangers-key").clearsign(&text);
    for inrelease in [
        format!("{text}\n{message}"),
        format!("{message}\n{text}"),
        format!("{message}{begin}{text}{}", &message[signature..]),
        format!("{begin}{text}{}{message}", &message[signature..]),
        format!("{}{text}{}", &message[..signature], &message[signature..]),
        format!("{}{message}", String::from_utf8(strangers.clone()).unwrap()),
        format!("{message}{}", String::from_utf8(strangers).unwrap()),
        message.replacen('\n', &format!("\n{text}"), 1),
        message.replacen("-----END PGP SIGNATURE-----", &format!("\n{text}-----END PGP SIGNATURE-----"), 1),
    ] {
        Place::new(evil_with(inrelease)).refused("signature of suite tiny");
    }
}

/// Before 1.0.9, apt did not verify a file again of which the mirror said that it had not changed.
fn cve_2014_0487_not_modified_is_not_verified() {
    let place = Place::new(good());
    place.opens_as_good();
    place.answer(|_| Answer::status(304));
    place.refused("304");
    // A file that is there already counts for what it is, not for what it was.
    place.answer(serve(good()));
    let cached = place.directory.path().join("cache/sha256");
    let path = succeed(Command::new("find").arg(cached).args(["-type", "f"]));
    let evil = &evil()[INDEX];
    fs_err::write(path.trim(), evil).unwrap();
    place.answer(|request| if request.target == INRELEASE { serve(good())(request) } else { Answer::status(304) });
    assert!(place.open().is_err());
    place.answer(serve(good()));
    place.opens_as_good();
    let conditions = ["if-modified-since", "if-none-match", "if-range"];
    let asks = |request: &Request| conditions.iter().any(|name| request.headers.contains_key(*name));
    assert!(!place.server.requests().iter().any(asks), "no answer can be that nothing changed");
    // Where the server names the state of a signed file, that alone is asked for by it. What is kept of
    // it is verified each time, and does not vouch for any other file.
    let named = |files: Files| {
        move |request: &Request| match request.headers.get("if-none-match") {
            Some(state) if state == "\"1\"" => Answer::status(304),
            _ => serve(files.clone())(request).header("etag", "\"1\""),
        }
    };
    place.answer(named(good()));
    place.opens_as_good();
    place.opens_as_good();
    let asked: Vec<String> = place.server.requests().into_iter().filter(asks).map(|request| request.target).collect();
    assert_eq!(asked, [INRELEASE]);
}

/// Before 1.0.9, apt kept what it had fetched while an archive was not signed.
fn cve_2014_0488_what_came_unsigned_is_kept() {
    let mut unsigned = evil();
    let text = signed_text(&unsigned);
    unsigned.remove(INRELEASE);
    unsigned.insert("/dists/tiny/Release".to_owned(), text.into_bytes());
    let place = Place::new(unsigned);
    place.refused("is not signed");
    place.answer(serve(good()));
    place.opens_as_good();
    assert!(!place.keeps(&evil()[INDEX]));
    // The other way: what was signed once is not enough later.
    let mut files = good();
    let text = signed_text(&files);
    files.remove(INRELEASE);
    files.insert("/dists/tiny/Release".to_owned(), text.into_bytes());
    place.answer(serve(files));
    assert!(place.open().unwrap_err().contains("is not signed"));
}

/// Before 1.0.9, apt with `Acquire::GzipIndexes` did not verify a compressed index.
fn cve_2014_0489_compressed_indexes_are_not_verified() {
    let directory = tempfile::tempdir().unwrap();
    let (good, evil) = (good(), evil());
    let gzip = |bytes: &[u8], name: &str| {
        let path = directory.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        succeed(Command::new("gzip").args(["--no-name", "--keep"]).arg(&path));
        fs_err::read(path.with_extension("gz")).unwrap()
    };
    let (packed, packed_evil) = (gzip(&good[INDEX], "good"), gzip(&evil[INDEX], "evil"));
    let lists = |packed: &[u8]| {
        let text = signed_text(&good);
        let entry = format!(" {} {} main/binary-amd64/Packages.gz\n", sha256(packed), packed.len());
        Signer::usual().clearsign(&(text + &entry))
    };
    let open = |release: &[u8], served: &[u8]| {
        let mut files = good.clone();
        files.insert(INRELEASE.to_owned(), lists(release));
        files.insert(format!("{INDEX}.gz"), served.to_vec());
        Place::new(files).open()
    };
    assert_eq!(open(&packed, &packed).unwrap().indexes[0].text.as_bytes(), good[INDEX]);
    let error = open(&packed, &packed_evil).unwrap_err();
    assert!(error.contains("Packages.gz has"), "{error}");
    // Even one that is listed is compared with what is listed of its plain form.
    let error = open(&packed_evil, &packed_evil).unwrap_err();
    assert!(error.contains("not the file that the Release file lists, once decompressed"), "{error}");
}

/// Before 1.0.9, `apt-get download` did not verify what it fetched.
fn cve_2014_0490_a_package_is_not_verified() {
    let (good, evil) = (good(), evil());
    assert!(good[DEB] != evil[DEB] && good[DEB].len() == evil[DEB].len());
    let mut files = good.clone();
    files.insert(DEB.to_owned(), evil[DEB].clone());
    let place = Place::new(files);
    let download = download(&place);
    let client = place.client();
    let error = client.fetch(std::slice::from_ref(&download)).unwrap_err().to_string();
    assert!(error.contains("has the SHA-256"), "{error}");
    assert!(!client.is_cached(&download) && !place.keeps(&evil[DEB]));
    place.answer(serve(good.clone()));
    let paths = client.fetch(std::slice::from_ref(&download)).unwrap();
    assert_eq!(fs_err::read(&paths[0]).unwrap(), good[DEB]);
}

/// The package that the index names.
fn download(place: &Place) -> Download {
    let opened = place.open().unwrap();
    let field = |name: &str| {
        let line = opened.indexes[0].text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap().to_owned()
    };
    Download {
        name: field("Package"),
        urls: vec![format!("{}/{}", place.server.url, field("Filename"))],
        size: field("Size").parse().unwrap(),
        digest: Algorithm::Sha256.parse(&field("SHA256")).unwrap(),
    }
}

/// Before 1.4.1, apt took a failure to read a long line of an `InRelease` for the end of the file,
/// and so split off less than it read later.
fn cve_2016_1252_long_lines_hide_what_is_not_signed() {
    let (text, message) = (signed_text(&evil()), String::from_utf8(good()[INRELEASE].clone()).unwrap());
    let signature = message.find("-----BEGIN PGP SIGNATURE-----").unwrap();
    // Around the sizes of buffers, and the limit of what is read at all.
    for size in [1 << 12, 1 << 16, (1 << 20) - message.len(), 1 << 20, 32 << 20] {
        let long = "a".repeat(size);
        for inrelease in [
            format!("{long}\n{text}\n{message}"),
            format!("{message}{long}\n\n{text}"),
            format!("{}{long}\n\n{text}{}", &message[..signature], &message[signature..]),
            message.replacen('\n', &format!("\nHash: {long}\n\n{text}"), 1),
        ] {
            Place::new(evil_with(inrelease)).refused("tiny");
        }
    }
}

/// Before 1.6.4, apt's mirror method took another mirror's files without a signature, after the
/// first one had failed.
fn cve_2018_0501_another_place_without_a_signature() {
    let text = signed_text(&evil());
    let mut elsewhere = evil_with(text.clone());
    elsewhere.insert("/dists/tiny/Release".to_owned(), text.into_bytes());
    let elsewhere = Server::files(elsewhere);
    let url = elsewhere.url.clone();
    let redirect = move |status: u16, target: &str| Answer::status(status).header("location", format!("{url}{target}"));
    let place = Place::new(HashMap::new());
    for status in [301, 302, 303, 307, 308] {
        let redirect = redirect.clone();
        place.answer(move |request| redirect(status, &request.target));
        place.refused("does not begin with a signed message");
    }
    for status in [401, 403, 404, 410, 500, 503] {
        let redirect = redirect.clone();
        place.answer(move |request| match request.target.as_str() {
            INRELEASE => Answer::status(status),
            other => redirect(302, other),
        });
        place.refused("");
    }
    assert!(!elsewhere.targets().iter().any(|target| target.contains("Packages")));
}

/// Before 1.4.9, apt's method for HTTP decoded the place that a redirect names, and wrote it, with
/// newlines, into the protocol by which it tells apt that a file is there and what its digest is.
fn cve_2019_3462_a_redirect_speaks_for_the_mirror() {
    let (good, evil) = (good(), evil());
    let said = format!(
        "201 URI Done\nURI: http://mirror{DEB}\nFilename: /var/lib/apt/lists/Release.gpg\nSize: {}\nSHA256-Hash: {}\n\n",
        good[DEB].len(),
        sha256(&good[DEB])
    );
    let encoded = said.replace('\n', "%0A").replace(' ', "%20");
    for location in [
        format!("/new%0A%0A{encoded}"),
        format!("/new%0D%0A%0D%0A{encoded}"),
        format!("/new?{encoded}"),
        format!("/new\r\n\r\n{said}"),
        format!("/new\r\nSHA256-Hash: {}", sha256(&good[DEB])),
        format!("//127.0.0.1%0A{encoded}/new"),
    ] {
        let place = Place::new(good.clone());
        let download = download(&place);
        let (before, evil_deb) = (place.server.requests().len(), evil[DEB].clone());
        let to = location.clone();
        place.answer(move |request| match request.target.as_str() {
            DEB => Answer::status(302).header("location", &to),
            _ => Answer::ok(&evil_deb[..]),
        });
        let client = place.client();
        assert!(client.fetch(std::slice::from_ref(&download)).is_err(), "{location}");
        assert!(!client.is_cached(&download) && !place.keeps(&evil[DEB]), "{location}");
        for request in &place.server.requests()[before..] {
            assert!(!request.headers.keys().any(|name| name.contains("sha256") || name.contains("uri")), "{request:?}");
        }
    }
}
