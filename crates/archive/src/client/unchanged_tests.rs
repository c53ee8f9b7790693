//! Release files that a server says are unchanged: what it is asked by, and that its word is not enough.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use fam_progress::Progress;
use fs_err as fs;
use jiff::SignedDuration;
use support::server::{Answer, Server};

use super::tests::{Archive, date, source};
use super::*;
use crate::digest::sha256;
use crate::testing::keys::{Spec, TestKey, now};

const INRELEASE: &str = "/debian/dists/trixie/InRelease";

/// A server that knows the states of its files.
struct Mirror {
    server: Server,
    files: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    /// Whether it says of every file that it is unchanged, where it is asked by a state.
    is_behind: Arc<Mutex<bool>>,
}

impl Mirror {
    fn of(archive: &Archive) -> Self {
        let files = Arc::new(Mutex::new(archive.files.clone()));
        let is_behind = Arc::new(Mutex::new(false));
        let (served, behind) = (Arc::clone(&files), Arc::clone(&is_behind));
        let server = Server::new(move |request| {
            let files = served.lock().unwrap();
            let Some(body) = files.get(&request.target) else { return Answer::status(404) };
            let etag = format!("\"{}\"", sha256(body));
            match request.headers.get("if-none-match") {
                Some(known) if *known == etag || *behind.lock().unwrap() => Answer::status(304),
                _ => Answer::file(body, request).header("etag", etag),
            }
        });
        Self { server, files, is_behind }
    }

    fn has(&self, archive: &Archive) {
        *self.files.lock().unwrap() = archive.files.clone();
    }

    fn open(&self, options: ClientOptions) -> Result<OpenedSource, Error> {
        Client::new(options, Progress::silent())?.open(&source(&self.server))
    }

    /// By which state of the file each request since the first `from` asked.
    fn asked_by(&self, from: usize) -> Vec<Option<String>> {
        let requests = self.server.requests().into_iter().filter(|request| request.target == INRELEASE);
        requests.skip(from).map(|request| request.headers.get("if-none-match").cloned()).collect()
    }

    fn state(&self) -> Option<String> {
        Some(format!("\"{}\"", sha256(&self.files.lock().unwrap()[INRELEASE])))
    }
}

fn is_older(result: &Result<OpenedSource, Error>) -> bool {
    matches!(result, Err(Error::Release { source: release::Error::Older { .. }, .. }))
}

#[test]
fn what_is_unchanged_is_not_sent_again() {
    let archive = Archive::new().signed();
    let mirror = Mirror::of(&archive);
    let first = mirror.open(archive.options()).unwrap();
    let second = mirror.open(archive.options()).unwrap();
    assert_eq!((first.release.date, first.signed_by), (second.release.date, second.signed_by));
    assert_eq!(first.indexes, second.indexes);
    assert_eq!(mirror.asked_by(0), [None, mirror.state()]);

    // A newer one is taken, and the one that is known from then on.
    let older = mirror.state();
    let newer = archive.change(&format!("Date: {}", date(-1)), &format!("Date: {}", date(0)));
    mirror.has(&newer);
    let third = mirror.open(newer.options()).unwrap();
    assert!(third.release.date > first.release.date);
    assert_eq!(mirror.open(newer.options()).unwrap().release.date, third.release.date);
    assert_eq!(mirror.asked_by(2), [older, mirror.state()]);

    // One that is older than what was seen is refused, as ever.
    let known = mirror.state();
    let older = newer.change(&format!("Date: {}", date(0)), &format!("Date: {}", date(-2)));
    mirror.has(&older);
    assert!(is_older(&mirror.open(older.options())) && is_older(&mirror.open(older.options())));
    assert_eq!(mirror.asked_by(4), [known.clone(), known]);
}

#[test]
fn what_is_kept_is_checked_as_if_it_had_just_come() {
    let archive = Archive::new().signed();
    let mirror = Mirror::of(&archive);
    mirror.open(archive.options()).unwrap();
    let known = mirror.state();

    // Time has passed, and something on the way says that all is as it was: the file itself counts.
    let later = ClientOptions { now: now() + SignedDuration::from_hours(24 * 7), ..archive.options() };
    let expired = mirror.open(later.clone()).unwrap_err();
    assert!(matches!(expired, Error::Release { source: release::Error::Expired { .. }, .. }), "{expired}");
    assert_eq!(mirror.asked_by(1), [known.clone(), None]);
    let dates = [(-1, 3), (6, 10)].map(|(old, new)| (date(old), date(new)));
    let newer = dates.iter().fold(archive, |archive, (old, new)| archive.change(old, new));
    mirror.has(&newer);
    *mirror.is_behind.lock().unwrap() = true;
    mirror.open(later.clone()).unwrap();
    assert_eq!(mirror.asked_by(3), [known, None]);
    mirror.open(later.clone()).unwrap();
    assert_eq!(mirror.asked_by(5), [mirror.state()]);

    // Its key is not trusted any more.
    let stranger = TestKey::new(Spec::default());
    fs::write(newer.keyring(), stranger.export()).unwrap();
    let error = mirror.open(later.clone()).unwrap_err();
    assert!(matches!(error, Error::Signature { .. }), "{error}");
    fs::write(newer.keyring(), newer.key.export()).unwrap();

    // What is damaged is not there.
    let signed: Vec<_> = fs::read_dir(later.cache_dir.join("signed")).unwrap().collect();
    let [Ok(kept)] = &signed[..] else { panic!("{signed:?}") };
    let mut bytes = fs::read(kept.path()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(kept.path(), bytes).unwrap();
    let before = mirror.asked_by(0).len();
    mirror.open(later.clone()).unwrap();
    mirror.open(later).unwrap();
    assert_eq!(mirror.asked_by(before), [None, mirror.state()]);
}

#[test]
fn a_choice_is_kept_by_its_key() {
    let archive = Archive::new().signed();
    let client = Client::new(archive.options(), Progress::silent()).unwrap();
    let [one, other] = [b"1", b"2"].map(|bytes| sha256(bytes));
    assert_eq!(client.kept_choice(&one), None);
    client.keep_choice(&one, "chosen");
    assert_eq!((client.kept_choice(&one).as_deref(), client.kept_choice(&other)), (Some("chosen"), None));
}
