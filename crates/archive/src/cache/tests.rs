use std::os::unix::fs::PermissionsExt;

use rustix::fs::FileType;

use super::*;

fn cache() -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(directory.path().join("new/cache")).unwrap();
    (directory, cache)
}

fn part(cache: &Cache, body: &[u8]) -> Box<Part> {
    match cache.claim(&sha256(body), body.len() as u64, || panic!("nobody else has it")).unwrap() {
        Claim::Part(part) => part,
        Claim::Cached => panic!("it is in the cache"),
    }
}

/// A file with a bit flipped in each byte in turn, and cut off before it.
pub(super) fn damaged_at_each_byte(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..whole.len()).flat_map(|at| {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 1;
        [flipped, whole[..at].to_vec()]
    })
}

#[test]
fn a_file_has_its_name_only_when_it_is_whole() {
    let (_directory, cache) = cache();
    let digest = sha256(b"hello");
    let mut first = part(&cache, b"hello");
    first.append(b"hel").unwrap();
    assert_eq!(cache.lookup(&digest, 5).unwrap(), None);
    drop(first);

    let mut second = part(&cache, b"hello");
    assert_eq!((second.length(), second.is_full()), (3, false));
    second.append(b"lo").unwrap();
    let path = second.publish().unwrap().unwrap();
    assert_eq!(path, cache.path(&digest));
    assert_eq!(cache.lookup(&digest, 5).unwrap(), Some(path.clone()));
    assert_eq!(cache.lookup(&digest, 4).unwrap(), None);
    assert!(matches!(cache.claim(&digest, 5, || ()).unwrap(), Claim::Cached));
    assert_eq!(read_verified(&path, 5, &digest).unwrap(), b"hello");
    fs::write(&path, "hellO").unwrap();
    assert!(read_verified(&path, 5, &digest).is_err());
}

#[test]
fn wrong_bytes_are_never_published() {
    let (_directory, cache) = cache();
    let mut part = part(&cache, b"hello");
    part.append(b"hellO").unwrap();
    assert_eq!(part.publish().unwrap(), Err(sha256(b"hellO")));
    assert_eq!(part.length(), 0);
    assert_eq!(cache.lookup(&sha256(b"hello"), 5).unwrap(), None);
}

#[test]
fn who_dies_leaves_no_lock_and_a_part_to_continue() {
    let (_directory, cache) = cache();
    let body = vec![7; 100_000];
    let path = cache.root.join("part").join(sha256(&body).to_string());
    // As a killed process leaves it: bytes in the file, its descriptor closed by the kernel.
    fs::write(&path, &body[..60_000]).unwrap();
    let mut holder = std::process::Command::new("flock")
        .arg("--no-fork")
        .arg(&path)
        .args(["sh", "-c", "echo held; exec sleep 600"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 5];
    holder.stdout.take().unwrap().read_exact(&mut line).unwrap();

    let waited = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let claim = scope.spawn(|| {
            cache.claim(&sha256(&body), 100_000, || waited.store(true, std::sync::atomic::Ordering::SeqCst)).unwrap()
        });
        while !waited.load(std::sync::atomic::Ordering::SeqCst) {
            std::thread::yield_now();
        }
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(matches!(claim.join().unwrap(), Claim::Part(part) if part.length() == 60_000));
    });
}

#[test]
fn the_newest_date_is_remembered() {
    let (_directory, cache) = cache();
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let (mirror, suite) = ("http://mirror.example/debian", "trixie");
    assert_eq!(cache.newest_seen(mirror, suite).unwrap(), None);
    for (date, newest) in [
        ("2026-09-12T07:55:41Z", "2026-09-12T07:55:41Z"),
        ("2026-09-10T00:00:00Z", "2026-09-12T07:55:41Z"),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
    ] {
        cache.remember(mirror, suite, time(date)).unwrap();
        assert_eq!(cache.newest_seen(mirror, suite).unwrap(), Some(time(newest)));
    }
    assert_eq!(cache.newest_seen(mirror, "sid").unwrap(), None);
    assert_eq!(cache.newest_seen("http://other.example/debian", suite).unwrap(), None);
}

#[test]
fn a_damaged_record_lets_no_older_index_in() {
    let (_directory, cache) = cache();
    let (mirror, suite) = ("http://mirror.example/debian", "trixie");
    let date: Timestamp = "2026-09-12T07:55:41Z".parse().unwrap();
    cache.remember(mirror, suite, date).unwrap();
    let path = cache.seen_path(mirror, suite);
    let whole = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    let of_another = fs::read_to_string(&path).unwrap().replace(&seen_key(mirror, suite), &seen_key(mirror, "sid"));
    for damaged in [b"", &b"\xff\xfe"[..], &whole.as_bytes()[..40], &whole.as_bytes()[1..], of_another.as_bytes()] {
        fs::write(&path, damaged).unwrap();
        let error = cache.newest_seen(mirror, suite).unwrap_err();
        assert!(matches!(error, Error::Record { .. }), "{damaged:?}: {error}");
        assert!(error.to_string().contains("suite trixie"), "{error}");
        assert!(error.hint().unwrap().contains(path.to_str().unwrap()));
        cache.remember(mirror, suite, date).unwrap();
        assert_eq!(cache.newest_seen(mirror, suite).unwrap(), Some(date));
    }
}

#[test]
fn nothing_but_files_is_read_or_waited_for() {
    let (_directory, cache) = cache();
    let digest = sha256(b"hello");
    let mut part = part(&cache, b"hello");
    part.append(b"hello").unwrap();
    let path = part.publish().unwrap().unwrap();
    let record = cache.seen_path("m", "s");
    let claimed = cache.root.join("part").join(digest.to_string());
    let put_fifo = |path: &Path| {
        let _ = fs::remove_file(path);
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    };
    for path in [&path, &record, &claimed] {
        put_fifo(path);
    }
    let all = || {
        [
            (&path, cache.lookup(&digest, 5).unwrap_err()),
            (&path, read_verified(&path, 5, &digest).unwrap_err()),
            (&record, cache.newest_seen("m", "s").unwrap_err()),
            (&record, cache.remember("m", "s", Timestamp::UNIX_EPOCH).unwrap_err()),
            (&claimed, cache.claim(&digest, 5, || ()).unwrap_err()),
        ]
    };
    for (path, error) in all() {
        assert_eq!(error.to_string(), format!("cache: {} is a FIFO, not a regular file", path.display()));
        assert_eq!(error.hint().unwrap(), format!("remove {}", path.display()));
    }
    for path in [&path, &record, &claimed] {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }
    for (path, error) in all() {
        assert_eq!(error.to_string(), format!("cache: {} is a directory, not a regular file", path.display()));
    }
}

#[test]
fn says_where_it_cannot_write() {
    let (directory, cache) = cache();
    assert_eq!(fs::metadata(&cache.root).unwrap().permissions().mode() & 0o777, 0o700);
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Cache::open(file.join("cache")).unwrap_err();
    assert!(matches!(error, Error::Unwritable { .. }), "{error}");
    assert!(error.to_string().contains("file/cache") && error.hint().unwrap().contains("--cache-dir"), "{error}");
}

#[test]
fn a_full_disk_is_called_so() {
    let (_directory, cache) = cache();
    // The device that is always full stands for a full disk.
    let file = fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let (path, digest) = (PathBuf::from("/dev/full"), sha256(b"hello"));
    let mut part = Part { cache, path, file, digest, size: 5, hasher: Hasher::new(Algorithm::Sha256) };
    let error = part.append(b"hello").unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error}");
    assert!(error.hint().unwrap().contains("free some space"));
}
