//! A second build into the same directory: what stays as it is, what is written anew, and that the
//! bytes are those of a build into an empty one.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::archive::{Archive, Deb, days_from_now};
use support::succeed;

use crate::small::{Bench, SUITE, Who, archive, assert_fails, names};

support::tests! {
    needs [support::harness::ROOT, "cmp", "gpg", "dpkg-deb", "newuidmap", "qemu-img", "qemu-io"];
    an_unchanged_build_leaves_everything_as_it_is,
    what_changed_is_written_anew_and_nothing_else,
    images_of_thin_nodes_are_kept_with_what_they_lie_on,
    images_of_a_tarball_are_kept_while_it_is_the_same,
    a_record_that_is_none_is_no_record,
    packages_are_chosen_once_from_the_same_indexes,
    indexes_that_changed_are_read,
}

/// The record of the images.
const RECORD: &str = ".fabric_images.json";

const RECIPE: &str = "
extends = './tiny.toml'
nodes.count = 3

[[disk.partition]]
size = '32M'
label = 'data'
source = 'data'

[[disk.more]]
size = '32M'
label = 'more'
source = 'more'

[[plugin.add]]
name = 'identity'

[[plugin.add]]
name = 'hosts'
";

/// A place for builds of [`RECIPE`], with a seed.
struct Rebuilds {
    bench: Bench,
    arguments: Vec<String>,
}

/// The inode of each artifact, and the time of its bytes.
type Stamps = BTreeMap<String, (u64, i64, i64)>;

impl Rebuilds {
    fn of(who: Who, arguments: &[&str]) -> Self {
        let bench = Bench::of(who, archive().serve());
        let at = |name: &str| bench.directory.path().join(name);
        for (path, text) in [("data/file", "in a partition\n"), ("more/file", "on a disk\n")] {
            fs_err::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs_err::write(at(path), text).unwrap();
        }
        let recipe = bench.write("all.toml", RECIPE).display().to_string();
        let own = ["--recipe", &recipe, "--seed", &bench.seed()];
        let arguments = own.iter().chain(arguments).map(ToString::to_string).collect();
        Self { bench, arguments }
    }

    fn new(arguments: &[&str]) -> Self {
        Self::of(Who::Root, arguments)
    }

    fn at(&self, artifact: &str) -> PathBuf {
        self.bench.output().join(artifact)
    }

    fn command(&self, more: &[&str]) -> Command {
        let arguments = self.arguments.iter().map(String::as_str).chain(more.iter().copied());
        self.bench.build(&arguments.collect::<Vec<_>>())
    }

    /// Builds, and says what was said.
    fn build(&self, more: &[&str]) -> String {
        let output = self.command(more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    fn stamps(&self) -> Stamps {
        let artifacts =
            names(&self.bench.output()).into_iter().filter(|name| !name.starts_with("fabric_emulation.log"));
        let stamp = |name: String| {
            let metadata = fs_err::symlink_metadata(self.at(&name)).unwrap();
            (name, (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
        };
        artifacts.map(stamp).collect()
    }

    /// Builds; returns the images and tarballs that were written anew.
    fn rewritten(&self, more: &[&str]) -> Vec<String> {
        let before = self.stamps();
        self.build(more);
        let after = self.stamps();
        let is_disk = |name: &str| name.contains(".qcow2") || name.contains(".img") || name.contains(".tar");
        let is_other = |name: &&String| is_disk(name) && before.get(*name) != after.get(*name);
        after.keys().filter(is_other).cloned().collect()
    }

    /// Asserts that all artifacts are those of a build into an empty directory.
    #[track_caller]
    fn assert_as_if_new(&self, more: &[&str]) {
        let empty = self.bench.directory.path().join("empty");
        let _ = fs_err::remove_dir_all(&empty);
        self.build(&[more, &["--output", empty.to_str().unwrap()]].concat());
        let is_compared = |name: &String| {
            // Domains and the ssh configuration name the directory; the record has inodes.
            !name.starts_with("fabric_emulation.log")
                && !name.ends_with(".xml")
                && name != "fabric_ssh_config"
                && name != RECORD
        };
        let all: Vec<_> = names(&empty).into_iter().filter(is_compared).collect();
        assert!(all.len() > 8, "{all:?}");
        for name in all {
            succeed(Command::new("cmp").arg(self.at(&name)).arg(empty.join(&name)));
        }
        fs_err::remove_dir_all(&empty).unwrap();
    }
}

fn an_unchanged_build_leaves_everything_as_it_is() {
    for who in [Who::Root, Who::User] {
        let rebuilds = Rebuilds::of(who, &[]);
        assert!(!rebuilds.build(&[]).contains("Reusing"));
        let stamps = rebuilds.stamps();
        assert!(stamps.contains_key("fabric3-more.qcow2") && stamps.contains_key(RECORD), "{stamps:?}");
        for _ in 0..2 {
            let said = rebuilds.build(&[]);
            assert!(said.contains("Reusing") && said.contains("Keeping fabric1-more.qcow2, fabric1.qcow2"), "{said}");
            assert_eq!(rebuilds.stamps(), stamps, "{who:?}");
        }
        let mode = fs_err::metadata(rebuilds.at(RECORD)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "whoever reads it could try passwords");
        rebuilds.assert_as_if_new(&[]);
    }
}

/// Changes a byte of a file, and puts the time of its bytes back.
fn change_unseen(path: &Path) {
    let file = fs_err::File::options().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.file().read_exact_at(&mut byte, 70_000).unwrap();
    file.file().write_all_at(&[byte[0] ^ 1], 70_000).unwrap();
    file.file().set_times(std::fs::FileTimes::new().set_modified(modified)).unwrap();
}

fn what_changed_is_written_anew_and_nothing_else() {
    const BOOT: [&str; 3] = ["fabric1.qcow2", "fabric2.qcow2", "fabric3.qcow2"];
    const MORE: [&str; 3] = ["fabric1-more.qcow2", "fabric2-more.qcow2", "fabric3-more.qcow2"];
    let rebuilds = Rebuilds::new(&[]);
    let at = |artifact: &str| rebuilds.at(artifact);
    let beside = |path: &str, text: &str| fs_err::write(rebuilds.bench.directory.path().join(path), text).unwrap();
    rebuilds.build(&[]);
    let check = |what: &str, more: &[&str], expected: &[&str]| {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(rebuilds.rewritten(more), expected, "{what}");
    };
    check("nothing", &[], &[]);
    change_unseen(&at("fabric1.qcow2"));
    check("a byte of an image, at the same time", &[], &["fabric1.qcow2"]);
    succeed(Command::new("qemu-io").args(["-c", "write 1M 64k"]).arg(at("fabric3.qcow2")));
    check("what a node wrote", &[], &["fabric3.qcow2"]);
    fs_err::remove_file(at("fabric2.qcow2")).unwrap();
    fs_err::remove_file(at("fabric1-more.qcow2")).unwrap();
    check("images that are gone", &[], &["fabric2.qcow2", "fabric1-more.qcow2"]);
    succeed(Command::new("touch").arg(at("fabric_template.img")));
    check("a time", &[], &["fabric_template.img"]);
    fs_err::rename(at("fabric2.qcow2"), at("kept")).unwrap();
    fs_err::copy(at("kept"), at("fabric2.qcow2")).unwrap();
    check("a copy in its place", &[], &["fabric2.qcow2"]);
    fs_err::remove_file(at("fabric2.qcow2")).unwrap();
    std::os::unix::fs::symlink("kept", at("fabric2.qcow2")).unwrap();
    check("a link in its place", &[], &["fabric2.qcow2"]);
    fs_err::set_permissions(at("fabric3.qcow2"), PermissionsExt::from_mode(0o644)).unwrap();
    check("a mode", &[], &["fabric3.qcow2"]);
    rebuilds.assert_as_if_new(&[]);
    check("nothing again", &[], &[]);

    beside("more/file", "other\n");
    check("the content of a disk", &[], &MORE);
    // As long as before: contents lie one behind another in one file.
    beside("data/file", "in another one\n");
    check("the content of a partition", &[], &[&BOOT[..], &["fabric_template.img"]].concat());
    let larger = RECIPE.replace("size = '32M'\nlabel = 'more'", "size = '40M'\nlabel = 'more'");
    beside("all.toml", &larger);
    check("the size of a disk", &[], &[&BOOT[..], &MORE, &["fabric_template.img"]].concat());
    let thin = [&BOOT[..], &MORE, &["fabric_backing.qcow2", "fabric_backing-more.qcow2"]].concat();
    rebuilds.assert_as_if_new(&[]);
    check("thin nodes", &["--thin"], &thin);
    rebuilds.assert_as_if_new(&["--thin"]);
    check("whole nodes", &[], &[&BOOT[..], &MORE].concat());
    beside("all.toml", &larger.replace("nodes.count = 3", "nodes.count = 3\ndisk.compress = 'none'"));
    check("no compression", &[], &[&BOOT[..], &MORE].concat());
    check("fewer nodes", &["--nodes", "2"], &[]);
    check("a node more", &[], &["fabric3.qcow2", "fabric3-more.qcow2"]);
    rebuilds.assert_as_if_new(&[]);
    // From the fifth on, /etc/hosts of all names them.
    let further = ["fabric4.qcow2", "fabric5.qcow2", "fabric4-more.qcow2", "fabric5-more.qcow2"];
    check("a fifth node", &["--nodes", "5"], &[&BOOT[..], &MORE, &further].concat());
    rebuilds.assert_as_if_new(&["--nodes", "5"]);
    rebuilds.build(&[]);

    let all = [&BOOT[..], &MORE, &["fabric_template.img", "fabric_template.tar"]].concat();
    let identity = "[[plugin.add]]\nname = 'identity'\n";
    for password in ["a password", "another password"] {
        let users = format!("[[plugin.add]]\nname = 'users'\nsettings.root-password = '{password}'\n\n{identity}");
        beside("all.toml", &RECIPE.replace(identity, &users));
        check(password, &[], &all);
    }
    let before = rebuilds.stamps();
    rebuilds.build(&["--fresh"]);
    let after = rebuilds.stamps();
    assert!(all.iter().all(|name| before[*name] != after[*name]), "{before:?} {after:?}");
    rebuilds.assert_as_if_new(&[]);
}

fn images_of_thin_nodes_are_kept_with_what_they_lie_on() {
    let rebuilds = Rebuilds::new(&["--thin"]);
    rebuilds.build(&[]);
    assert_eq!(rebuilds.rewritten(&[]), Vec::<String>::new());
    // A node that runs may write to its image at any time.
    let image = rebuilds.at("fabric2.qcow2");
    let mut running = Command::new("qemu-io").arg(&image).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let inode = format!(":{} ", fs_err::metadata(&image).unwrap().ino());
    let is_locked = || fs_err::read_to_string("/proc/locks").unwrap().contains(&inode);
    assert!((0..500).any(|_| is_locked() || {
        std::thread::sleep(Duration::from_millis(20));
        false
    }));
    assert_eq!(rebuilds.rewritten(&[]), ["fabric2.qcow2"]);
    running.stdin.take().unwrap().write_all(b"quit\n").unwrap();
    assert!(running.wait().unwrap().success());

    change_unseen(&rebuilds.at("fabric_backing.qcow2"));
    assert_eq!(rebuilds.rewritten(&[]), ["fabric_backing.qcow2"]);
    fs_err::remove_file(rebuilds.at("fabric_backing.qcow2")).unwrap();
    fs_err::remove_file(rebuilds.at("fabric1.qcow2")).unwrap();
    assert_eq!(rebuilds.rewritten(&[]), ["fabric1.qcow2", "fabric_backing.qcow2"]);
    for node in ["fabric1.qcow2", "fabric2.qcow2", "fabric3.qcow2", "fabric3-more.qcow2"] {
        succeed(Command::new("qemu-img").arg("check").arg(rebuilds.at(node)));
    }
    rebuilds.assert_as_if_new(&[]);
}

fn images_of_a_tarball_are_kept_while_it_is_the_same() {
    let rebuilds = Rebuilds::new(&[]);
    rebuilds.build(&[]);
    let place = rebuilds.bench.directory.path();
    let (plain, packed) = (place.join("root.tar"), place.join("root.tar.gz"));
    fs_err::rename(rebuilds.at("fabric_template.tar"), &plain).unwrap();
    let gzip = Command::new("gzip").args(["--keep", "--stdout", "--fast"]).arg(&plain).output().unwrap();
    assert!(gzip.status.success());
    fs_err::write(&packed, gzip.stdout).unwrap();
    let images = 7;
    for tarball in [plain, packed] {
        let from = ["--from-tarball", tarball.to_str().unwrap()];
        assert_eq!(rebuilds.rewritten(&from).len(), images);
        assert_eq!(rebuilds.rewritten(&from), Vec::<String>::new());
        // Another file under the name has the same bytes, which only reading it would tell.
        let bytes = fs_err::read(&tarball).unwrap();
        fs_err::remove_file(&tarball).unwrap();
        fs_err::write(&tarball, bytes).unwrap();
        assert_eq!(rebuilds.rewritten(&from).len(), images);
        rebuilds.assert_as_if_new(&from);
    }
}

fn a_record_that_is_none_is_no_record() {
    let rebuilds = Rebuilds::new(&[]);
    rebuilds.build(&[]);
    let record = fs_err::read_to_string(rebuilds.at(RECORD)).unwrap();
    let images = 7;
    for text in [
        "",
        "{}",
        &record[..record.len() / 2],
        &record.replace("\"format\": 1", "\"format\": 2"),
        &record.replace("\"made_of\": \"", "\"made_of\": \"0"),
        &record.replace("\"inode\": ", "\"inode\": 1"),
    ] {
        fs_err::write(rebuilds.at(RECORD), text).unwrap();
        assert_eq!(rebuilds.rewritten(&[]).len(), images, "{text}");
        assert_eq!(rebuilds.rewritten(&[]).len(), 0, "{text}");
    }
    // In /tmp, others may have put one there.
    succeed(Command::new("chown").arg(support::user()).arg(rebuilds.at(RECORD)));
    assert_eq!(rebuilds.rewritten(&[]).len(), images);
    fs_err::remove_file(rebuilds.at(RECORD)).unwrap();
    assert_eq!(rebuilds.rewritten(&[]).len(), images);
    fs_err::remove_file(rebuilds.at(RECORD)).unwrap();
    fs_err::create_dir(rebuilds.at(RECORD)).unwrap();
    assert!(!rebuilds.build(&[]).contains("error"));
}

/// Builds; returns whether the packages are those of a choice made before, and the lock.
fn chosen(bench: &Bench, more: &[&str]) -> (bool, String) {
    succeed(&mut bench.build(more));
    let text = |name: &str| fs_err::read_to_string(bench.output().join(name)).unwrap();
    (text("fabric_emulation.log").contains("the packages are those chosen before"), text("fabric.lock"))
}

fn packages_are_chosen_once_from_the_same_indexes() {
    let bench = Bench::new(archive().with(Deb::new("pkg")).with(Deb::new("other")));
    let (_, lock) = chosen(&bench, &[]);
    assert_eq!(chosen(&bench, &[]), (true, lock.clone()));
    let asked = bench.mirror.server.requests().into_iter().filter(|request| request.target.ends_with("/InRelease"));
    let by_state: Vec<bool> = asked.map(|request| request.headers.contains_key("if-none-match")).collect();
    assert_eq!(by_state, [false, true]);

    // Whatever is asked for besides is another choice.
    let more: [&[&str]; 4] = [
        &["--include", "pkg"],
        &["--include", "pkg,other"],
        &["--include", "pkg", "--recommends", "all"],
        &["--variant", "apt", "--include", "pkg"],
    ];
    for more in more {
        let (known, other) = chosen(&bench, more);
        assert!(!known && other.contains("name = \"pkg\""), "{more:?}: {other}");
        assert_eq!(chosen(&bench, more), (true, other), "{more:?}");
    }
    // And back.
    assert_eq!(chosen(&bench, &[]), (true, lock.clone()));

    let shelf = bench.cache().join("fam-build/chosen");
    assert_eq!(names(&shelf).len(), 1 + more.len());
    for name in names(&shelf) {
        let mut bytes = fs_err::read(shelf.join(&name)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs_err::write(shelf.join(&name), bytes).unwrap();
    }
    assert_eq!(chosen(&bench, &[]), (false, lock.clone()), "what is damaged is not taken");
    assert_eq!(chosen(&bench, &[]), (true, lock.clone()));
    fs_err::remove_dir_all(&shelf).unwrap();
    assert_eq!(chosen(&bench, &[]), (false, lock));
}

fn indexes_that_changed_are_read() {
    let bench = Bench::new(archive());
    let place = support::directory_of("root");
    let url = format!("file://{}", place.path().display());
    let publish = |version: &str, days: i64| {
        let archive: Archive = archive().release("Date", days_from_now(days));
        for (path, bytes) in archive.with(Deb::new("pkg").field("Version", version)).files() {
            let path = place.path().join(path.trim_start_matches('/'));
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, bytes).unwrap();
        }
    };
    let arguments = ["--mirror", &url, "--include", "pkg"];
    for (version, days) in [("1", -9), ("2", -8), ("1", -7)] {
        publish(version, days);
        let (known, lock) = chosen(&bench, &arguments);
        // The third time the index is that of the first again.
        assert_eq!(known, days == -7, "{lock}");
        assert!(lock.contains(&format!("version = \"{version}\"")), "{lock}");
        let again = chosen(&bench, &arguments);
        assert_eq!(again, (true, lock));
    }
    publish("2", -8);
    assert_fails(
        &mut bench.build(&arguments),
        1,
        &[&format!("suite {SUITE}"), "goes back in time"],
        "--accept-expired",
    );
}
