//! Mirrors and proxies that fail, and archives that are not what they should be.

use std::net::TcpListener;
use std::process::Command;

use support::archive::{Archive, Deb, Fault, Mirror, Signer, days_from_now};
use support::server::{Answer, Server};
use support::{fail, succeed};

use crate::small::{Bench, SUITE, Who, archive, assert_fails, assert_nothing_left, packages_in, recipe_with};

support::tests! {
    needs ["gpg", "dpkg-deb"];
    mirrors_that_cannot_be_reached,
    proxies_that_refuse,
    a_suite_that_is_not_there_is_named_as_it_was_asked_for,
    a_release_file_that_was_tampered_with,
    an_archive_that_has_expired,
    files_that_are_not_those_of_the_index,
    a_page_in_place_of_a_file,
    a_file_that_comes_damaged_or_in_part_once_is_fetched_again,
    a_mirror_that_sends_the_client_elsewhere,
    archives_of_suites_that_are_no_longer_supported,
}

/// A build from `bench` with an empty cache must fail, and leave nothing.
#[track_caller]
fn fails(bench: &Bench, error: &[&str], hint: &str) {
    // What an earlier build fetched would not be fetched again.
    let _ = fs_err::remove_dir_all(bench.cache());
    assert_fails(&mut bench.build(&[]), 1, error, hint);
    assert_nothing_left(&bench.output());
    assert_eq!(packages_in(bench.directory.path()), 0, "nothing that was not vouched for is kept");
}

/// A port at which no program listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn mirrors_that_cannot_be_reached() {
    let bench = Bench::new(archive());
    let with = |mirror: &str, more: &[&str]| bench.build(&[&["--mirror", mirror], more].concat());
    let refused = format!("http://127.0.0.1:{}", closed_port());
    let error = ["connect to", "127.0.0.1", "refused"];
    assert_fails(&mut with(&format!("{refused}/debian"), &[]), 1, &error, "--mirror");
    // A mirror without a path has no sibling for the security archive, which `minimal` looks for.
    assert_fails(&mut with(&refused, &["--recipe", "minimal"]), 1, &error, "--mirror");
    let unknown = "http://no-such-host.invalid/debian";
    let check = "check the name of the mirror";
    assert_fails(&mut with(unknown, &[]), 1, &["resolve no-such-host.invalid"], check);
    let elsewhere = format!("{}/debian", bench.mirror.url());
    assert_fails(&mut with(&elsewhere, &[]), 1, &[&format!("has no suite {SUITE}:")], "dists");
    assert_nothing_left(&bench.output());
}

fn proxies_that_refuse() {
    let bench = Bench::new(archive());
    let through = |proxy: &str, error: &[&str], hint: &str| {
        let mirror = "http://mirror.invalid/debian";
        assert_fails(&mut bench.build(&["--proxy", proxy, "--mirror", mirror]), 1, error, hint);
    };
    let closed = format!("http://127.0.0.1:{}", closed_port());
    through(&closed, &["proxy", &closed, "refused"], "--proxy");
    let asks = Server::new(|_| Answer::status(407).header("proxy-authenticate", "Basic"));
    through(&asks.url, &["proxy", &asks.url, "407"], "USER:PASSWORD@");
    assert!(asks.targets().iter().all(|target| target.starts_with("http://mirror.invalid/debian/")));
    let forbids = Server::new(|_| Answer::status(403));
    through(&forbids.url, &["403", &forbids.url], "--proxy");
}

fn a_suite_that_is_not_there_is_named_as_it_was_asked_for() {
    let bench = Bench::new(archive());
    // With updates: the suite itself is what is missing, whichever answer comes first.
    let mut command = bench.build(&["--recipe", "minimal", "--suite", "trixy", "--security-mirror", "none"]);
    assert_fails(&mut command, 1, &["has no suite trixy:", bench.mirror.url()], "check the suite");
    assert_nothing_left(&bench.output());
}

fn a_release_file_that_was_tampered_with() {
    let mut files = archive().files();
    // Turns an attacker's index into the one that is vouched for.
    let release = files.get_mut(&format!("/dists/{SUITE}/InRelease")).unwrap();
    let at = String::from_utf8_lossy(release).find("SHA256:\n ").unwrap() + 12;
    release[at] = if release[at] == b'0' { b'1' } else { b'0' };
    let bench = Bench::of(Who::Root, Mirror::of(files, Signer::usual().keyring()));
    let signature = format!("signature of suite {SUITE}");
    fails(&bench, &[&signature, bench.mirror.url(), "does not match"], "tampered with");
    // Not one of ours: known keys are in the hint.
    let stranger = archive().signed_by(Signer::named("strangers-key")).files();
    let bench = Bench::of(Who::Root, Mirror::of(stranger, Signer::usual().keyring()));
    fails(&bench, &[&signature, "key not known"], "--keyring");
}

fn an_archive_that_has_expired() {
    let bench = Bench::new(archive().release("Valid-Until", days_from_now(-1)));
    fails(&bench, &[&format!("suite {SUITE}"), "expired: valid until"], "--accept-expired");
    let plan = support::succeed(&mut bench.build(&["plan", "--accept-expired", "--verbose"]));
    assert!(plan.contains("base"), "{plan}");
}

/// An archive with one package, which is no system: a build of it ends when it is to be configured.
fn lone_package() -> Archive {
    Archive::new(SUITE).with(Deb::new("base").essential().file("/usr/share/base", vec![7; 100_000]))
}

const DEB: &str = "/pool/base_1_all.deb";
const INDEX: &str = "/dists/tiny/main/binary-amd64/Packages";

fn files_that_are_not_those_of_the_index() {
    let bench = Bench::new(lone_package());
    let another_time = "try again later, or another mirror";
    for path in [DEB, INDEX] {
        for (fault, error, hint) in [
            (Fault::Changed, &["has the SHA-256", "and should have"][..], another_time),
            (Fault::Longer, &["bytes, and should have"], another_time),
            (Fault::Truncated(100), &["has 100 bytes, and should have"], another_time),
            (Fault::Status(404), &["404"], "the mirror changed since its index was read"),
        ] {
            bench.mirror.fault(path, fault);
            fails(&bench, &[&["fetch ", path], error].concat(), hint);
            bench.mirror.repair();
        }
    }
}

fn a_page_in_place_of_a_file() {
    let bench = Bench::new(lone_package());
    for path in [DEB, INDEX] {
        bench.mirror.fault(path, Fault::Html);
        fails(&bench, &["fetch ", path, "bytes, and should have"], "try again later, or another mirror");
        bench.mirror.repair();
    }
    bench.mirror.fault("/dists/tiny/InRelease", Fault::Html);
    fails(&bench, &["tiny"], "");
}

/// Asserts that a build has fetched all: it goes on to configure a package, and there is no dpkg
/// for that.
#[track_caller]
fn fetches_all(command: &mut Command) {
    let (code, stderr) = fail(command);
    assert!(code == 1 && stderr.contains("error: start dpkg: No such file"), "{stderr}");
}

fn a_file_that_comes_damaged_or_in_part_once_is_fetched_again() {
    for fault in [Fault::Changed, Fault::Cut(1000), Fault::Status(503)] {
        let bench = Bench::new(lone_package());
        bench.mirror.fault(DEB, Fault::Once(Box::new(fault)));
        fetches_all(&mut bench.build(&[]));
        assert_eq!(bench.mirror.requests_of(DEB), 2);
        assert_nothing_left(&bench.output());
    }
}

fn a_mirror_that_sends_the_client_elsewhere() {
    let (elsewhere, bench) = (lone_package().serve(), Bench::new(lone_package()));
    bench.mirror.fault(DEB, Fault::Redirect(format!("{}{DEB}", elsewhere.url())));
    fetches_all(&mut bench.build(&[]));
    assert_eq!((bench.mirror.requests_of(DEB), elsewhere.requests_of(DEB)), (1, 1));
    bench.mirror.fault(DEB, Fault::Redirect("ftp://127.0.0.1/base.deb".into()));
    fails(&bench, &[DEB], "");
}

/// A security archive outlives its packages, and a suite its updates.
fn archives_of_suites_that_are_no_longer_supported() {
    let bench = Bench::new(archive().with(Deb::new("pkg")));
    let recipe = recipe_with("").replace("security = false\n", "");
    bench.write("tiny.toml", &recipe);
    let old = Archive::new(&format!("{SUITE}-security")).with(Deb::new("pkg").field("Version", "2")).serve();
    old.fault("/pool/pkg_2_all.deb", Fault::Status(404));
    let with = |security: &str| bench.build(&["--include", "pkg", "--security-mirror", security]);
    let without = "by --security-mirror none (in a recipe: security = false)";
    assert_fails(&mut with(old.url()), 1, &["fetch pkg 2 all: fetch ", "/pool/pkg_2_all.deb: 404 Not Found"], without);
    assert_nothing_left(&bench.output());
    let gone = Archive::new("other").serve();
    assert_fails(&mut with(gone.url()), 1, &["has no suite tiny-security"], without);
    // What another archive lacks has nothing to do with it.
    bench.mirror.fault("/pool/pkg_1_all.deb", Fault::Status(404));
    assert_fails(&mut with("none"), 1, &["/pool/pkg_1_all.deb: 404 Not Found"], "the mirror changed");
    bench.mirror.repair();
    succeed(&mut with("none"));

    bench.write("tiny.toml", &recipe.replace("updates = false\n", ""));
    assert_fails(&mut with("none"), 1, &["has no suite tiny-updates"], "write updates = false into the recipe");
}
