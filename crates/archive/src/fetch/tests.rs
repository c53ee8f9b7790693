use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use fam_progress::{Event, Reporter};
use fs_err as fs;

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use support::server::{Answer, Request, Server};

use super::super::digest::sha256;
use super::super::http::{HttpOptions, ProxyChoice};

use super::*;

struct Bench {
    http: Http,
    cache: Cache,
    directory: tempfile::TempDir,
    events: Arc<Mutex<Vec<Event>>>,
    progress: Progress,
}

struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Bench {
    fn new() -> Self {
        let options = HttpOptions {
            proxy: ProxyChoice::Direct,
            stall_timeout: Duration::from_secs(2),
            pause: Duration::from_millis(1),
            attempts: 4,
            ..HttpOptions::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path().join("cache")).unwrap();
        let events = Arc::default();
        let progress = Progress::new(Recorder(Arc::clone(&events)));
        Self { http: Http::new(options).unwrap(), cache, directory, events, progress }
    }

    fn fetch(&self, wanted: &[Download]) -> Result<Vec<PathBuf>, Error> {
        Fetcher { http: &self.http, cache: &self.cache, jobs: 4, progress: &self.progress }.fetch_all(wanted)
    }

    fn part(&self, body: &[u8]) -> PathBuf {
        self.directory.path().join("cache/part").join(sha256(body).to_string())
    }

    fn downloads(&self) -> Vec<Event> {
        let is_download = |event: &Event| {
            matches!(
                event,
                Event::Begin { task: Task::Download, .. }
                    | Event::Advance { task: Task::Download, .. }
                    | Event::End { task: Task::Download }
            )
        };
        self.events.lock().unwrap().iter().filter(|event| is_download(event)).cloned().collect()
    }
}

/// Bytes that differ everywhere, so that none in a wrong place goes unnoticed.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i * 31 + (i >> 8) * 7) % 251).unwrap()).collect()
}

fn wanted(url: &str, body: &[u8]) -> Download {
    let (name, urls) = ("test 1 all".to_owned(), vec![url.to_owned()]);
    Download { name, urls, size: body.len() as u64, digest: sha256(body) }
}

/// What comes back when a server answers the requests for one file one after the other in these
/// ways, the last for ever.
fn play(body: &[u8], acts: Vec<fn(&[u8], &Request) -> Answer>) -> (Bench, Server, Result<Vec<PathBuf>, Error>) {
    let bench = Bench::new();
    let (result, server) = play_again(&bench, body, acts);
    (bench, server, result)
}

fn play_again(
    bench: &Bench,
    body: &[u8],
    acts: Vec<fn(&[u8], &Request) -> Answer>,
) -> (Result<Vec<PathBuf>, Error>, Server) {
    let calls = AtomicUsize::new(0);
    let served = body.to_vec();
    let server = Server::new(move |request| {
        let act = acts[calls.fetch_add(1, Ordering::Relaxed).min(acts.len() - 1)];
        act(&served, request)
    });
    (bench.fetch(&[wanted(&format!("{}/f", server.url), body)]), server)
}

fn ranges(server: &Server) -> Vec<Option<usize>> {
    server.requests().iter().map(Request::range).collect()
}

#[test]
fn fetches_each_file_once_and_in_order() {
    let bodies: Vec<_> = (1..=30).map(|i| body(i * 1000)).collect();
    let files = bodies.iter().enumerate().map(|(i, body)| (format!("/{i}"), body.clone()));
    let server = Server::files(files.collect::<HashMap<_, _>>());
    let bench = Bench::new();
    let mut list: Vec<_> =
        bodies.iter().enumerate().map(|(i, body)| wanted(&format!("{}/{i}", server.url), body)).collect();
    list.push(list[3].clone());
    let paths = bench.fetch(&list).unwrap();
    for (path, body) in paths.iter().zip(&bodies) {
        assert_eq!(fs::read(path).unwrap(), *body);
    }
    assert_eq!(paths[30], paths[3]);
    assert_eq!(server.requests().len(), 30);
    // Largest first; four are under way at a time, and may overtake each other.
    let largest: Vec<_> = (22..30).map(|number| format!("/{number}")).collect();
    assert!(server.targets()[..4].iter().all(|target| largest.contains(target)), "{:?}", server.targets());

    let total: u64 = bodies.iter().map(|body| body.len() as u64).sum();
    let events = bench.downloads();
    assert_eq!(events.first(), Some(&Event::Begin { task: Task::Download, total }));
    assert_eq!(events.last(), Some(&Event::End { task: Task::Download }));
    assert!(events.contains(&Event::Advance { task: Task::Download, done: total }));

    bench.events.lock().unwrap().clear();
    assert_eq!(bench.fetch(&list).unwrap(), paths);
    assert_eq!(server.requests().len(), 30, "the second time, all is in the cache");
    assert_eq!(bench.downloads(), []);
    assert_eq!(fs::read_dir(bench.directory.path().join("cache/part")).unwrap().count(), 0);
}

#[test]
fn what_is_needed_early_comes_first_but_for_what_takes_longest() {
    let sizes = [5000, 9000, 2000, 90_000, 1000, 8000];
    let bodies: Vec<_> = sizes.iter().map(|&size| body(size)).collect();
    let files = bodies.iter().enumerate().map(|(i, body)| (format!("/{i}"), body.clone()));
    let server = Server::files(files.collect::<HashMap<_, _>>());
    let bench = Bench::new();
    let list: Vec<_> =
        bodies.iter().enumerate().map(|(i, body)| wanted(&format!("{}/{i}", server.url), body)).collect();
    bench.fetch(&list).unwrap();
    let arrived = std::sync::Mutex::new(Vec::new());
    let fetcher = Fetcher { http: &bench.http, cache: &bench.cache, jobs: 4, progress: &bench.progress };
    fetcher.fetch(&list, &[2, 4], &AtomicBool::new(false), &|number| arrived.lock().unwrap().push(number)).unwrap();
    assert_eq!(*arrived.lock().unwrap(), [3, 2, 4, 1, 5, 0], "those in the cache come in the order of fetching");
}

#[test]
fn continues_after_cuts() {
    let body = body(600_000);
    let cut: fn(&[u8], &Request) -> Answer = |body, request| Answer::file(body, request).cut(100_000);
    let (_bench, server, result) = play(&body, vec![cut]);
    assert_eq!(fs::read(&result.unwrap()[0]).unwrap(), body);
    let expected = [None, Some(100_000), Some(200_000), Some(300_000), Some(400_000), Some(500_000)];
    assert_eq!(ranges(&server), expected, "more failures than attempts, but each a step forward");

    let unannounced: fn(&[u8], &Request) -> Answer =
        |body, request| Answer { unannounced: true, ..Answer::file(body, request).cut(400_000) };
    let (_bench, server, result) = play(&body, vec![unannounced]);
    assert_eq!(fs::read(&result.unwrap()[0]).unwrap(), body);
    assert_eq!(ranges(&server), [None, Some(400_000)]);
}

#[test]
fn gives_up_where_there_is_no_progress_and_keeps_the_part() {
    let body = body(100_000);
    let stuck: fn(&[u8], &Request) -> Answer = |body, request| match request.range() {
        None => Answer::file(body, request).cut(30_000),
        Some(_) => Answer::file(body, request).cut(0),
    };
    let (bench, server, result) = play(&body, vec![stuck]);
    let error = result.unwrap_err();
    assert!(matches!(&error, Error::Http { source, .. } if source.is_transient()), "{error}");
    assert!(error.to_string().starts_with("test 1 all: "), "{error}");
    assert_eq!(server.requests().len(), 4);
    assert_eq!(fs::read(bench.part(&body)).unwrap(), body[..30_000]);

    // The next build goes on from there.
    let (result, server) = play_again(&bench, &body, vec![Answer::file]);
    assert_eq!(fs::read(&result.unwrap()[0]).unwrap(), body);
    assert_eq!(ranges(&server), [Some(30_000)]);
}

#[test]
fn a_server_that_ignores_ranges_cannot_keep_us_for_ever() {
    let body = body(1_000_000);
    let (_bench, server, result) = play(&body, vec![|body, _| Answer::ok(body).cut(500_000)]);
    assert!(result.is_err());
    assert!(server.requests().len() <= 5);
    let (_bench, server, result) =
        play(&body, vec![|body, _| Answer::ok(body).cut(500_000), |body, _| Answer::ok(body)]);
    assert_eq!(fs::read(&result.unwrap()[0]).unwrap(), body);
    assert_eq!(ranges(&server), [None, Some(500_000)]);
}

#[test]
fn a_bad_part_is_dropped_and_the_file_fetched_whole() {
    let body = body(50_000);
    for (part, expected) in [
        (vec![0; 20_000], vec![Some(20_000), None]),
        (vec![0; 50_000], vec![None]),
        (vec![0; 60_000], vec![None]),
        (body.clone(), vec![]),
    ] {
        let bench = Bench::new();
        fs::write(bench.part(&body), &part).unwrap();
        let (result, server) = play_again(&bench, &body, vec![Answer::file]);
        assert_eq!(fs::read(&result.unwrap()[0]).unwrap(), body);
        assert_eq!(ranges(&server), expected, "part of {} bytes", part.len());
    }
}

#[test]
fn answers_that_do_not_fit_the_part_are_not_trusted() {
    let body = body(50_000);
    let acts: [fn(&[u8], &Request) -> Answer; 4] = [
        |_, _| Answer::status(416),
        |body, _| Answer { status: 206, ..Answer::ok(&body[10..]) }.header("content-range", "bytes 10-49999/50000"),
        |body, _| Answer { status: 206, ..Answer::ok(&body[20_000..]) },
        |body, _| {
            Answer { status: 206, ..Answer::ok(&body[20_000..]) }.header("content-range", "bytes 20000-59999/60000")
        },
    ];
    for act in acts {
        let bench = Bench::new();
        fs::write(bench.part(&body), &body[..20_000]).unwrap();
        let (result, _) = play_again(&bench, &body, vec![act, Answer::file]);
        assert_eq!(fs::read(&result.unwrap()[0]).unwrap(), body);
    }
}

#[test]
fn a_wrong_file_is_fetched_twice_and_then_refused() {
    let right = body(50_000);
    let other: fn(&[u8], &Request) -> Answer = |body, request| {
        let mut other = body.to_vec();
        other[7] ^= 1;
        Answer::file(&other, request)
    };
    let (bench, server, result) = play(&right, vec![other]);
    let error = result.unwrap_err();
    assert!(matches!(&error, Error::WrongDigest { .. }) && error.hint().is_some(), "{error}");
    assert!(error.to_string().contains(&sha256(&right).to_string()), "{error}");
    assert_eq!(server.requests().len(), 2);
    assert_eq!(server.requests()[1].headers["cache-control"], "max-age=0", "the second time past caches on the way");
    assert_eq!(fs::read_dir(bench.directory.path().join("cache/sha256")).unwrap().count(), 0);

    let (_bench, _server, result) = play(&right, vec![other, Answer::file]);
    assert_eq!(fs::read(&result.unwrap()[0]).unwrap(), right);

    let longer: fn(&[u8], &Request) -> Answer = |body, _| Answer::ok([body, b"x"].concat());
    let shorter: fn(&[u8], &Request) -> Answer = |body, _| Answer::ok(&body[1..]);
    let longer_unannounced: fn(&[u8], &Request) -> Answer =
        |body, _| Answer { unannounced: true, ..Answer::ok([body, b"x"].concat()) };
    for (act, size) in [(longer, Some(50_001)), (shorter, Some(49_999)), (longer_unannounced, None)] {
        let (_bench, server, result) = play(&right, vec![act]);
        match (result, size) {
            (Err(Error::WrongSize { expected: 50_000, found, .. }), Some(size)) => assert_eq!(found, size),
            // It depends on the network whether what follows the bytes that were asked for is seen
            // at all.
            (Err(Error::WrongSize { .. }), None) => {}
            (Ok(paths), None) => assert_eq!(fs::read(&paths[0]).unwrap(), right),
            other => panic!("{other:?}"),
        }
        assert!(server.requests().len() <= 2);
    }
}

#[test]
fn a_missing_file_is_looked_for_in_the_next_place() {
    let body = body(1000);
    let server = Server::files(HashMap::from([("/plain".to_owned(), body.clone())]));
    let bench = Bench::new();
    let urls = ["/by-hash", "/plain"].map(|path| format!("{}{path}", server.url)).to_vec();
    let paths = bench.fetch(&[Download { urls, ..wanted("", &body) }]).unwrap();
    assert_eq!(fs::read(&paths[0]).unwrap(), body);

    let error = bench.fetch(&[wanted(&format!("{}/nowhere", server.url), b"x")]).unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    assert!(error.hint().unwrap().contains("mirror changed"));
}

#[test]
fn damage_in_the_cache_is_found_and_repaired() {
    let body = body(5000);
    let server = Server::files(HashMap::from([("/f".to_owned(), body.clone())]));
    let bench = Bench::new();
    let list = [wanted(&format!("{}/f", server.url), &body)];
    let path = bench.fetch(&list).unwrap().remove(0);
    for damaged in [vec![0; 5000], body[..4999].to_vec(), Vec::new()] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(bench.fetch(&list).unwrap().remove(0), path);
        assert_eq!(fs::read(&path).unwrap(), body);
    }
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_failure_stops_the_others() {
    let slow = Server::new(|request| {
        if request.target == "/bad" {
            return Answer::status(403);
        }
        Answer { stall: Duration::from_millis(700), ..Answer::ok(vec![0; 10]) }
    });
    let bench = Bench::new();
    let mut list: Vec<_> = (0..40_u8).map(|i| wanted(&format!("{}/{i}", slow.url), &[i; 10])).collect();
    list.push(wanted(&format!("{}/bad", slow.url), &body(1000)));
    let begin = Instant::now();
    let error = bench.fetch(&list).unwrap_err();
    assert!(matches!(error, Error::Http { source: http::Error::Status { status: 403, .. }, .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(slow.requests().len() < 20);
}

#[test]
fn two_builds_share_one_download() {
    let body = body(300_000);
    let calls = Arc::new(AtomicU32::new(0));
    let (served, counted) = (body.clone(), Arc::clone(&calls));
    let server = Server::new(move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        Answer { stall: Duration::from_millis(300), ..Answer::file(&served, request) }
    });
    let bench = Bench::new();
    let list = [wanted(&format!("{}/f", server.url), &body)];
    let paths: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| bench.fetch(&list).unwrap().remove(0))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(paths.iter().all(|path| fs::read(path).unwrap() == body));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(fs::read_dir(bench.directory.path().join("cache/part")).unwrap().count(), 0);
}

#[test]
fn connections_are_kept() {
    let server = Server::new(|request| Answer { keep: true, ..Answer::ok(request.target.clone().into_bytes()) });
    let bench = Bench::new();
    let list: Vec<_> = (10..90).map(|i| wanted(&format!("{}/{i}", server.url), format!("/{i}").as_bytes())).collect();
    bench.fetch(&list).unwrap();
    assert_eq!(server.requests().len(), 80);
    // Not one each of the four threads: a request may find that the last connection is not yet back
    // in the pool.
    assert!(server.connections() < 20, "{} connections for 80 requests of 4 threads", server.connections());
}
