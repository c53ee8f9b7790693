//! The archive client against the real mirror, which is that of the machine's own apt sources.

use std::path::Path;
use std::sync::{Arc, Mutex};

use fam_archive::deb822::stanzas;
use fam_archive::digest::Algorithm;
use fam_archive::release;
use fam_archive::sources::host_mirrors;
use fam_archive::{Client, ClientOptions, Download, Source, client};
use fam_build::hints;
use fam_progress::{Event, Progress, Reporter, Task};

support::tests! {
    needs ["dpkg-deb"];
    opens_suites_and_fetches_packages_once,
    says_what_is_wrong_with_a_source,
    a_suite_is_expired_once_its_time_is_over,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Recorder {
    /// The bytes of all downloads since the last call: announced and done.
    fn take_downloads(&self) -> (u64, u64) {
        let (mut announced, mut finished, mut current) = (0, 0, 0);
        for event in std::mem::take(&mut *self.0.lock().unwrap()) {
            match event {
                Event::Begin { task: Task::Download, total } => announced += total,
                Event::Advance { task: Task::Download, done } => current = current.max(done),
                Event::End { task: Task::Download } => finished += std::mem::take(&mut current),
                _ => {}
            }
        }
        (announced, finished)
    }
}

fn mirror() -> (String, String) {
    let mirrors = host_mirrors(Path::new("/etc"));
    let main = mirrors.main.expect("this test needs a Debian host whose apt sources name a Debian mirror");
    let security = mirrors.security.unwrap_or_else(|| format!("{main}-security"));
    (main, security)
}

fn source(mirror: &str, suite: &str) -> Source {
    Source {
        mirror: mirror.to_owned(),
        suite: suite.to_owned(),
        components: vec!["main".to_owned()],
        architecture: "amd64".to_owned(),
        ..Source::default()
    }
}

fn client(cache: &Path) -> (Client, Recorder) {
    let recorder = Recorder::default();
    (Client::new(ClientOptions::new(cache.to_owned()), Progress::new(recorder.clone())).unwrap(), recorder)
}

fn opens_suites_and_fetches_packages_once() {
    let cache = tempfile::tempdir().unwrap();
    let (main, security) = mirror();
    let sources = [
        source(&main, "trixie"),
        source(&main, "trixie-updates"),
        source(&security, "trixie-security"),
        source(&main, "bookworm"),
    ];
    let (first, recorder) = client(cache.path());
    let opened = first.open_all(&sources).unwrap();
    let (announced, done) = recorder.take_downloads();
    assert!(announced > 10_000_000 && done == announced, "{done} of {announced} bytes");
    for (opened, (codename, key)) in opened.iter().zip([
        ("trixie", "Debian Archive Automatic Signing Key"),
        ("trixie-updates", "Debian Archive Automatic Signing Key"),
        ("trixie-security", "Debian Security Archive Automatic Signing Key"),
        ("bookworm", "Debian Archive Automatic Signing Key"),
    ]) {
        assert_eq!((opened.release.origin.as_str(), opened.release.codename.as_str()), ("Debian", codename));
        assert!(opened.signed_by.user_id.contains(key), "{}", opened.signed_by);
        assert_eq!(opened.indexes.len(), 1);
        assert_eq!(opened.indexes[0].component, "main");
    }
    assert!(stanzas(&opened[0].indexes[0].text).count() > 60_000);

    let names = ["bash", "base-files", "hostname", "sed", "tzdata"];
    let downloads: Vec<_> = stanzas(&opened[0].indexes[0].text)
        .filter(|stanza| names.contains(&stanza.get("Package").unwrap()))
        .map(|stanza| Download {
            name: stanza.get("Package").unwrap().to_owned(),
            urls: vec![format!("{main}/{}", stanza.get("Filename").unwrap())],
            size: stanza.get("Size").unwrap().parse().unwrap(),
            digest: Algorithm::Sha256.parse(stanza.get("SHA256").unwrap()).unwrap(),
        })
        .collect();
    assert_eq!(downloads.len(), names.len());
    let total: u64 = downloads.iter().map(|download| download.size).sum();
    let paths = first.fetch(&downloads).unwrap();
    assert_eq!(recorder.take_downloads(), (total, total));
    for (path, download) in paths.iter().zip(&downloads) {
        assert_eq!(std::fs::metadata(path).unwrap().len(), download.size);
        let package =
            std::process::Command::new("dpkg-deb").args(["--field"]).arg(path).arg("Package").output().unwrap();
        assert_eq!(String::from_utf8(package.stdout).unwrap().trim(), download.name);
    }

    let (second, recorder) = client(cache.path());
    let again = second.open_all(&sources).unwrap();
    assert_eq!(second.fetch(&downloads).unwrap(), paths);
    assert_eq!(recorder.take_downloads(), (0, 0), "the second time, all is in the cache");
    for (first, again) in opened.iter().zip(&again) {
        assert_eq!(first.indexes, again.indexes);
    }
}

fn says_what_is_wrong_with_a_source() {
    let cache = tempfile::tempdir().unwrap();
    let (main, security) = mirror();
    let (client, _) = client(cache.path());

    let error = client.open(&source(&main, "trixy")).unwrap_err();
    assert!(matches!(error, client::Error::NoSuite { .. }), "{error}");
    assert!(
        error.to_string().contains("trixy") && error.to_string().contains(&main) && hints::hint(&error).is_some(),
        "{error}"
    );

    let mut odd = source(&main, "trixie");
    odd.components = vec!["universe".to_owned()];
    let error = client.open(&odd).unwrap_err();
    assert!(matches!(error, client::Error::Release { source: release::Error::NoComponent { .. }, .. }), "{error}");

    assert!(client.exists(&format!("{security}/dists/trixie-security/InRelease")).unwrap());
    assert!(!client.exists(&format!("{main}-nonsense/dists/trixie/InRelease")).unwrap());
}

fn a_suite_is_expired_once_its_time_is_over() {
    let cache = tempfile::tempdir().unwrap();
    let (_, security) = mirror();
    let source = source(&security, "trixie-security");
    let options = |accept_expired| ClientOptions {
        // No Release file of the security archive is valid for so long.
        now: jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 60),
        accept_expired,
        ..ClientOptions::new(cache.path().to_owned())
    };
    let error = Client::new(options(false), Progress::silent()).unwrap().open(&source).unwrap_err();
    assert!(matches!(error, client::Error::Release { source: release::Error::Expired { .. }, .. }), "{error}");
    let recorder = Recorder::default();
    Client::new(options(true), Progress::new(recorder.clone())).unwrap().open(&source).unwrap();
    let events = recorder.0.lock().unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::Warning { message, .. } if message.contains("expired"))));
}
