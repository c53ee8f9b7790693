//! Mirrors and proxies that fail, and archives that are not what they should be.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use fam_build::archive::http::{Http, HttpOptions};

use crate::archive::{Deb, Files, archive, serve, signer};
use crate::server::{Reply, Server};
use crate::support;
use crate::world::{Who, assert_fails, assert_nothing_left, build, build_with_cache, of_recipe, of_tiny_recipe};

/// Runs a build with a cache of its own that must fail, and looks at what it leaves.
#[track_caller]
fn fails(arguments: &[&str], error: &[&str], hint: &str) {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("output");
    let mut command = build_with_cache(Who::Root, &output, &directory.path().join("cache"));
    if !arguments.contains(&"--recipe") {
        command.args(of_recipe());
    }
    assert_fails(command.args(arguments), 1, error, hint);
    assert_nothing_left(&output);
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn mirrors_that_cannot_be_reached() {
    let refused = format!("http://127.0.0.1:{}", closed_port());
    let address = refused.trim_start_matches("http://").split(':').next().unwrap().to_owned();
    fails(&["--mirror", &format!("{refused}/debian")], &["connect to", &address, "refused"], "--mirror");
    // A mirror without a path has no sibling for the security archive, which `minimal` looks for.
    fails(&["--recipe", "minimal", "--mirror", &refused], &["connect to", &address, "refused"], "--mirror");
    let unknown = "http://no-such-host.invalid/debian";
    fails(&["--mirror", unknown], &["resolve no-such-host.invalid"], "check the name of the mirror");
    fails(&["--mirror", &format!("{}/debian", support::mirror())], &["has no suite trixie:"], "dists");
}

#[test]
fn proxies_that_refuse() {
    let mirror = ["--mirror", "http://mirror.invalid/debian"];
    let closed = format!("http://127.0.0.1:{}", closed_port());
    fails(&[&mirror[..], &["--proxy", &closed]].concat(), &["proxy", &closed, "refused"], "--proxy");
    let asks = Server::start(|_| Reply::Status("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic"));
    let url = asks.url();
    fails(&[&mirror[..], &["--proxy", &url]].concat(), &["proxy", &url, "407"], "USER:PASSWORD@");
    assert!(asks.requests().iter().all(|request| request.target.starts_with("http://mirror.invalid/debian/")));
    let forbids = Server::start(|_| Reply::Status("403 Forbidden"));
    fails(&[&mirror[..], &["--proxy", &forbids.url()]].concat(), &["403", &forbids.url()], "--proxy");
}

#[test]
fn a_suite_that_is_not_there_is_named_as_it_was_asked_for() {
    let mirror = support::mirror();
    // With updates: the suite itself is what is missing, whichever answer comes first.
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("output");
    let mut command = build(Who::Root, &output);
    command.args(["--recipe", "minimal", "--suite", "trixy", "--security-mirror", "none"]);
    assert_fails(&mut command, 1, &["has no suite trixy:", &mirror], "check the suite");
    assert_nothing_left(&output);
}

/// The mirror as it is, but for the paths that `change` changes.
fn tampering(change: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Server {
    let http = Http::new(HttpOptions::default()).unwrap();
    let mirror = support::mirror();
    Server::start(move |path| match http.get(&format!("{mirror}{path}"), 64 << 20) {
        Ok(Some(bytes)) => Reply::File(change(path, bytes)),
        Ok(None) => Reply::Status("404 Not Found"),
        Err(error) => panic!("{error}"),
    })
}

#[test]
fn a_release_file_that_was_tampered_with() {
    let server = tampering(|path, bytes| {
        assert!(path.ends_with("/InRelease"), "nothing else is asked for: {path}");
        // Turns an attacker's index into the one that is vouched for.
        let text = String::from_utf8(bytes).unwrap();
        let at = text.find(" main/binary-amd64/Packages.xz").unwrap() - 30;
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        format!("{}{digit}{}", &text[..at], &text[at + 1..]).into_bytes()
    });
    let url = server.url();
    fails(&["--mirror", &url], &["signature of suite trixie", &url, "does not match"], "tampered with");
    // Not one of ours: known keys are in the hint.
    let stranger = serve(archive(&[Deb::new("fam-tiny", b"", "")], 7));
    fails(
        &["--mirror", &stranger.url(), "--suite", "tiny"],
        &["signature of suite tiny", "key not known"],
        "--keyring",
    );
}

/// The command that builds a system, or does what `verb` says, of an archive with one package, which the tests made.
fn tiny(server: &Server, directory: &Path, verb: &str) -> Command {
    let mut command = build_with_cache(Who::Root, &directory.join("output"), &directory.join("cache"));
    command.arg(verb).args(of_tiny_recipe("fam-tiny", directory)).args(["--mirror", &server.url()]);
    command.arg("--keyring").arg(signer().keyring());
    command
}

fn tiny_archive(valid_days: i64) -> Files {
    archive(&[Deb::new("fam-tiny", &[7; 100_000], "")], valid_days)
}

#[track_caller]
fn tiny_fails(files: Files, error: &[&str], hint: &str) {
    let directory = tempfile::tempdir().unwrap();
    assert_fails(&mut tiny(&serve(files), directory.path(), "build"), 1, error, hint);
    assert_nothing_left(&directory.path().join("output"));
    assert_eq!(crate::world::packages_in(&directory.path().join("cache/fam-build/sha256")), 0);
}

#[test]
fn an_archive_that_has_expired() {
    tiny_fails(tiny_archive(-1), &["suite tiny", "expired: valid until"], "--accept-expired");
    let directory = tempfile::tempdir().unwrap();
    let server = serve(tiny_archive(-1));
    let plan = support::succeed(tiny(&server, directory.path(), "plan").args(["--accept-expired", "--verbose"]));
    assert!(plan.contains("fam-tiny"), "{plan}");
}

const DEB: &str = "/pool/fam-tiny_1_all.deb";
const INDEX: &str = "/dists/tiny/main/binary-amd64/Packages";

#[test]
fn files_that_are_not_those_of_the_index() {
    let another_time = "try again later, or another mirror";
    for path in [DEB, INDEX] {
        let mut changed = tiny_archive(7);
        *changed.get_mut(path).unwrap().last_mut().unwrap() ^= 1;
        tiny_fails(changed, &["fetch ", path, "has the SHA-256", "and should have"], another_time);
        let mut longer = tiny_archive(7);
        longer.get_mut(path).unwrap().push(0);
        tiny_fails(longer, &["fetch ", path, "bytes, and should have"], another_time);
        let mut truncated = tiny_archive(7);
        truncated.get_mut(path).unwrap().truncate(100);
        tiny_fails(truncated, &["fetch ", path, "has 100 bytes, and should have"], another_time);
        let mut missing = tiny_archive(7);
        missing.remove(path);
        tiny_fails(missing, &["fetch ", path, "404"], "the mirror changed since its index was read");
    }
}

#[test]
fn a_package_that_comes_damaged_once_is_fetched_again() {
    let files = tiny_archive(7);
    let first = std::sync::atomic::AtomicBool::new(true);
    let server = Server::start(move |path| {
        let Some(bytes) = files.get(path) else { return Reply::Status("404 Not Found") };
        let mut bytes = bytes.clone();
        if path == DEB && first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            bytes[200] ^= 1;
        }
        Reply::File(bytes)
    });
    let directory = tempfile::tempdir().unwrap();
    // It has no dpkg: that it is what the build ends with proves that the package was taken.
    let (code, stderr) = support::fail(&mut tiny(&server, directory.path(), "build"));
    assert!(code == 1 && stderr.contains("==> Configuring 1 packages"), "{stderr}");
    assert_eq!(server.requests().iter().filter(|request| request.target == DEB).count(), 2);
    assert_nothing_left(&directory.path().join("output"));
}
