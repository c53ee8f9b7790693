//! Caches that are damaged, each file of each kind in each way: what can be fetched again is, and
//! what stands in the way is named.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode};
use support::{succeed, user};

use super::{Place, said};
use crate::small::{Who, archive, assert_failed};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "gpg", "dpkg-deb"];
    what_was_fetched_is_damaged,
    the_record_of_what_was_seen_is_damaged,
    something_else_is_in_the_place_of_a_file,
    what_cannot_be_read,
    what_was_begun_is_damaged,
}

/// How a file is damaged.
type Damage = fn(&Path);

fn rewrite(path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bytes = fs_err::read(path).unwrap();
    fs_err::write(path, change(bytes)).unwrap();
}

/// The file stays one: it is shorter, longer, or has other bytes.
const BYTES: [(&str, Damage); 6] = [
    ("empty", |path| rewrite(path, |_| Vec::new())),
    ("cut short", |path| rewrite(path, |bytes| bytes[..bytes.len() / 2].to_vec())),
    ("longer", |path| rewrite(path, |bytes| [&bytes[..], b"\n"].concat())),
    ("first bit flipped", |path| {
        rewrite(path, |mut bytes| {
            bytes[0] ^= 1;
            bytes
        });
    }),
    ("last bit flipped", |path| {
        rewrite(path, |mut bytes| {
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        });
    }),
    ("zeros", |path| rewrite(path, |bytes| vec![0; bytes.len()])),
];

/// Something else has the file's name.
const OTHERS: [(&str, &str, Damage); 5] = [
    ("a directory", "a directory", |path| fs_err::create_dir(path).unwrap()),
    ("a FIFO", "a FIFO", |path| rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap()),
    ("a link to a file", "a symbolic link", |path| symlink("/etc/passwd", path).unwrap()),
    ("a link to nothing", "a symbolic link", |path| symlink("/nowhere/at/all", path).unwrap()),
    ("a link to itself", "a symbolic link", |path| symlink(path, path).unwrap()),
];

impl Place {
    fn cached(&self, directory: &str) -> Vec<PathBuf> {
        let mut find = Command::new("find");
        let found = succeed(find.arg(self.bench.cache().join("fam-build").join(directory)).args(["-type", "f"]));
        let mut files: Vec<_> = found.lines().map(PathBuf::from).collect();
        files.sort();
        assert!(!files.is_empty(), "{directory}");
        files
    }
}

fn what_was_fetched_is_damaged() {
    let place = Place::new(Who::Root, archive(), &[]);
    // The package, and the index.
    for file in place.cached("sha256") {
        for (case, damage) in BYTES {
            damage(&file);
            place.clear();
            place.assert_works(&format!("{} was {case}", file.display()));
        }
    }
}

fn the_record_of_what_was_seen_is_damaged() {
    let place = Place::new(Who::Root, archive(), &[]);
    for file in place.cached("seen") {
        let good = fs_err::read(&file).unwrap();
        let of_another: Damage = |path| {
            rewrite(path, |bytes| String::from_utf8(bytes).unwrap().replace(['a', 'b'], "c").into_bytes());
        };
        let without_date: Damage = |path| rewrite(path, |bytes| [b"x", &bytes[..]].concat());
        let more = [("of another", of_another), ("without a date", without_date)];
        // A bit of the year makes a date of it that may have been seen.
        for (case, damage) in BYTES.into_iter().chain(more).filter(|(case, _)| *case != "first bit flipped") {
            damage(&file);
            place.clear();
            let output = place.build().output().unwrap();
            let error = "the record of the newest indexes of suite tiny that were ever seen is damaged";
            assert_failed(&output, 1, &[error, file.to_str().unwrap()], "--accept-expired");
            place.assert_whole(case);
            succeed(place.build().arg("--accept-expired"));
            assert_eq!(fs_err::read(&file).unwrap(), good, "{case}");
            place.assert_works(case);
        }
    }
}

fn something_else_is_in_the_place_of_a_file() {
    let place = Place::new(Who::Root, archive(), &[]);
    for file in place.cached("sha256").into_iter().chain(place.cached("seen")) {
        for (case, is, put) in OTHERS {
            let kept = fs_err::read(&file).unwrap();
            fs_err::remove_file(&file).unwrap();
            put(&file);
            place.clear();
            let output = place.build().output().unwrap();
            let path = file.to_str().unwrap();
            assert_failed(&output, 1, &[&format!("{path} is {is}, not a regular file")], &format!("remove {path}"));
            assert!(!place.bench.output().join(".fam-build").exists(), "{}", said(&output));
            if file.symlink_metadata().unwrap().is_dir() {
                fs_err::remove_dir(&file).unwrap();
            } else {
                fs_err::remove_file(&file).unwrap();
            }
            if path.contains("/seen/") {
                fs_err::write(&file, kept).unwrap();
            }
            place.assert_works(case);
        }
    }
    let passwd = fs_err::read_to_string("/etc/passwd").unwrap();
    assert!(passwd.starts_with("root:"), "a link is not written through");
}

/// Root reads everything, also root of a user's namespace, where a build works. So this is asked of
/// what a user does without one.
fn what_cannot_be_read() {
    let place = Place::new(Who::User, archive(), &[]);
    let root = place.bench.cache().join("fam-build");
    let is_index = |path: &PathBuf| !fs_err::read(path).unwrap().starts_with(b"!<arch>");
    let files = place.cached("sha256").into_iter().filter(is_index).chain(place.cached("seen"));
    for path in files.chain([root.join("sha256"), root.join("part"), root.join("seen")]) {
        let before = fs_err::metadata(&path).unwrap().permissions();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        place.clear();
        let output = place.bench.build(&["lock"]).output().unwrap();
        let error = format!("the cache {} cannot be used", root.display());
        assert_failed(&output, 1, &[&error, "Permission denied"], "--cache-dir DIR");
        assert!(!place.bench.output().join(".fam-build").exists(), "{}", said(&output));
        fs_err::set_permissions(&path, before).unwrap();
        place.assert_works(&format!("{} could not be read", path.display()));
    }
}

/// The beginning of a file that another build fetched, which is gone on with.
fn what_was_begun_is_damaged() {
    for who in [Who::Root, Who::User] {
        let place = Place::new(who, archive(), &[]);
        for file in place.cached("sha256") {
            let bytes = fs_err::read(&file).unwrap();
            let part = place.bench.cache().join("fam-build/part").join(file.file_name().unwrap());
            for (case, begun) in [
                ("empty", Vec::new()),
                ("a beginning", bytes[..bytes.len() / 2].to_vec()),
                ("the whole", bytes.clone()),
                ("another's beginning", vec![7; bytes.len() / 2]),
                ("another's whole", vec![7; bytes.len()]),
                ("longer than the whole", vec![7; bytes.len() + 1]),
            ] {
                fs_err::remove_file(&file).unwrap();
                fs_err::write(&part, begun).unwrap();
                if who == Who::User {
                    succeed(Command::new("chown").arg(user()).arg(&part));
                }
                place.clear();
                place.assert_works(case);
            }
        }
    }
}
