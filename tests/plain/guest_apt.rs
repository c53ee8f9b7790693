//! Archives beside that of the suite, and what apt in the guests knows of them: it asks every one
//! that the build read, with the keys that vouched for it, and says nothing against any.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use support::archive::{Archive, Deb, Files, Mirror, Signer, apt};
use support::directory_of;
use support::documents::path;
use support::files::extract;

use crate::small::{Bench, SUITE, Who, archive, assert_fails, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "apt-get", "dpkg-deb", "gpg", "gpgv", "python3", "tar"];
    archives_of_others_have_their_own_keys,
    a_file_of_sources_says_the_same_as_a_recipe,
    a_derivative_has_its_own_key_and_no_updates,
    a_snapshot_is_judged_as_of_then,
    an_authority_of_ones_own_is_trusted_by_the_guests,
    archives_that_cannot_be_used_are_refused_at_once,
}

/// The lines of a recipe that has apt tell of its sources.
const APT_SOURCES: &str = "[[plugin]]\nname = 'apt-sources'\n";

/// A vendor's archive, with a key that nobody else has.
fn vendor() -> Archive {
    let tool = Deb::new("vendors-tool").field("Depends", "helper");
    let helper = Deb::new("helper").field("Version", "2");
    Archive::new("stable").signed_by(Signer::named("vendors-key")).with(tool).with(helper)
}

fn vendors_key() -> String {
    Signer::named("vendors-key").keyring().display().to_string()
}

/// The archive of the suite, with apt in it.
fn with_apt() -> Archive {
    archive().with(apt()).with(Deb::new("helper"))
}

/// Builds by a recipe with these lines before that of the small system, and these tables after it.
fn build(bench: &Bench, lines: &str, tables: &str, arguments: &[&str]) -> Output {
    bench.write("tiny.toml", &format!("{lines}{}{tables}", recipe_with(APT_SOURCES)));
    let output = bench.build(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The system that was built, in a directory.
struct Guest(tempfile::TempDir);

impl Guest {
    fn of(bench: &Bench) -> Self {
        let root = directory_of("root");
        extract(&bench.output().join("fabric_template.tar"), root.path());
        Self(root)
    }

    fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.0.path().join(path)).unwrap()
    }

    fn apt(&self, arguments: &[&str]) -> String {
        let root = self.0.path();
        let output = Command::new("chroot").arg(root).args(arguments).env("LC_ALL", "C").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        said.into_owned()
    }

    /// Has apt ask all its sources. It must have nothing against any of them.
    #[track_caller]
    fn update(&self) {
        fs_err::create_dir_all(self.0.path().join("tmp")).unwrap();
        // The small system has no user for downloads.
        let said = self.apt(&["apt-get", "-oAPT::Sandbox::User=root", "update"]);
        let complaint = said.lines().find(|line| line.starts_with("W:") || line.starts_with("E:"));
        assert_eq!(complaint, None, "{said}");
    }

    /// The version of a package that apt would install, and where it finds it.
    fn candidate(&self, package: &str) -> String {
        let said = self.apt(&["apt-cache", "policy", package]);
        said.lines().find_map(|line| line.trim().strip_prefix("Candidate: ")).unwrap_or("none").to_owned()
    }
}

fn archives_of_others_have_their_own_keys() {
    let vendor = vendor().serve();
    let bench = Bench::of(Who::Root, with_apt().serve());
    fs_err::copy(vendors_key(), bench.directory.path().join("vendor.gpg")).unwrap();
    let lines = "include = ['apt', 'vendors-tool']\n";
    let archive =
        format!("[[archive]]\nname = 'vendor'\nurl = '{}'\nsuites = ['stable']\nkey = 'vendor.gpg'\n", vendor.url());
    build(&bench, lines, &archive, &[]);
    let guest = Guest::of(&bench);
    guest.update();
    assert_eq!((guest.candidate("vendors-tool").as_str(), guest.candidate("helper").as_str()), ("1", "2"));
    // Each key vouches for its own archive, and no other.
    let (own, other) =
        (guest.read("etc/apt/sources.list.d/debian.sources"), guest.read("etc/apt/sources.list.d/vendor.sources"));
    assert!(own.contains("Signed-By: /etc/apt/keyrings/debian.asc\n"), "{own}");
    assert!(other.contains("Signed-By: /etc/apt/keyrings/vendor.asc\n"), "{other}");

    // The lock knows where each package and each key is from, and makes the same system.
    let lock = bench.output().join("fabric.lock");
    let text = fs_err::read_to_string(&lock).unwrap();
    assert!(text.contains("name = \"vendor\"\n") && text.matches("signed-by = ").count() == 2, "{text}");
    assert!(
        text.contains(&format!("filename = \"pool/vendors-tool_1_all.deb\"\nmirror = \"{}\"", vendor.url())),
        "{text}"
    );
    let kept = bench.write("kept.lock", &text);
    let before = fs_err::read(bench.output().join("fabric_template.tar")).unwrap();
    build(&bench, lines, &archive, &["--locked", kept.to_str().unwrap(), "--fresh"]);
    assert!(
        before == fs_err::read(bench.output().join("fabric_template.tar")).unwrap(),
        "the lock makes another system"
    );

    // A key that vouches for another archive is no key of this one.
    fs_err::copy(Signer::usual().keyring(), bench.directory.path().join("vendor.gpg")).unwrap();
    assert_fails(&mut bench.build(&["plan"]), 1, &["signature of suite stable", "key not known"], "--keyring");
}

fn a_file_of_sources_says_the_same_as_a_recipe() {
    let vendor = vendor().serve();
    let bench = Bench::of(Who::Root, with_apt().serve());
    let armored = Signer::named("vendors-key").armored();
    let margin: String =
        armored.lines().map(|line| format!(" {}\n", if line.is_empty() { "." } else { line })).collect();
    let url = vendor.url();
    let locks: Vec<String> = [
        ("vendor.list", format!("# the vendor's\ndeb [arch=amd64 signed-by={}] {url} stable main\n", vendors_key())),
        (
            "vendor.sources",
            format!(
                "Types: deb deb-src\nURIs: {url}/\nSuites: stable\nComponents: main\nSigned-By: {}\n",
                vendors_key()
            ),
        ),
        ("vendor.sources", format!("Types: deb\nURIs: {url}\nSuites: stable\nComponents: main\nSigned-By:\n{margin}")),
        // For another kind of machine, which is no error.
        (
            "other.list",
            format!(
                "deb [arch=amd64 signed-by={}] {url} stable main\ndeb [arch=arm64] http://other.example stable main\n",
                vendors_key()
            ),
        ),
    ]
    .into_iter()
    .map(|(name, text)| {
        let file = bench.write(name, &text);
        build(&bench, "include = ['apt', 'vendors-tool']\n", "", &["--archive", file.to_str().unwrap()]);
        let guest = Guest::of(&bench);
        guest.update();
        assert_eq!(guest.candidate("vendors-tool"), "1", "{name}");
        fs_err::read_to_string(bench.output().join("fabric.lock"))
            .unwrap()
            .replace("name = \"other\"", "name = \"vendor\"")
    })
    .collect();
    assert!(locks.windows(2).all(|pair| pair[0] == pair[1]), "{locks:?}");
}

fn a_derivative_has_its_own_key_and_no_updates() {
    // Its key is in no package; it has no updates and no security archive.
    let bench = Bench::of(Who::User, with_apt().serve());
    build(&bench, "include = ['apt']\n", "", &[]);
    let guest = Guest::of(&bench);
    guest.update();
    let sources = guest.read("etc/apt/sources.list.d/debian.sources");
    assert_eq!(
        sources,
        format!(
            "Types: deb\nURIs: {}\nSuites: {SUITE}\nComponents: main\nSigned-By: /etc/apt/keyrings/debian.asc\n",
            bench.mirror.url()
        )
    );
    // A package of its keys takes over, once it is there.
    let keyring = fs_err::read(Signer::usual().keyring()).unwrap();
    let archive = with_apt().with(Deb::new("keys").file("/usr/share/keyrings/own-archive-keyring.gpg", keyring));
    let bench = Bench::of(Who::User, archive.serve());
    build(&bench, "include = ['apt', 'keys']\n", "", &[]);
    let guest = Guest::of(&bench);
    guest.update();
    let sources = guest.read("etc/apt/sources.list.d/debian.sources");
    assert!(sources.ends_with("Signed-By: /usr/share/keyrings/own-archive-keyring.gpg\n"), "{sources}");
    assert!(!guest.0.path().join("etc/apt/keyrings").exists());
}

const TIME: &str = "20200301T000000Z";

/// A snapshot service: the files of an archive, long past, as the state of `time`.
fn snapshot(time: &str) -> Mirror {
    let archive = with_apt()
        .release("Date", "Sat, 29 Feb 2020 20:00:00 UTC")
        .release("Valid-Until", "Sat, 07 Mar 2020 20:00:00 UTC");
    let files: Files =
        archive.files().into_iter().map(|(path, bytes)| (format!("/archive/{time}{path}"), bytes)).collect();
    Mirror::of(files, Signer::usual().keyring())
}

fn a_snapshot_is_judged_as_of_then() {
    let bench = Bench::of(Who::Root, snapshot(TIME));
    let service = format!("{}/archive", bench.mirror.url());
    let lines = format!("include = ['apt']\nsnapshot = '{TIME}'\n");
    build(&bench, &lines, "", &["--mirror", &service]);
    let guest = Guest::of(&bench);
    guest.update();
    let sources = guest.read("etc/apt/sources.list.d/debian.sources");
    assert!(
        sources.contains(&format!("URIs: {service}/{TIME}\n")) && sources.contains("Check-Valid-Until: no\n"),
        "{sources}"
    );
    let lock = fs_err::read_to_string(bench.output().join("fabric.lock")).unwrap();
    assert!(lock.contains(&format!("snapshot = \"{TIME}\"\n")), "{lock}");
    assert!(lock.contains(&format!("mirror = \"{service}/{TIME}\"\n")), "{lock}");

    // As of now, it has expired.
    let there = format!("{service}/{TIME}");
    bench.write("tiny.toml", &recipe_with(""));
    assert_fails(
        &mut bench.build(&["plan", "--mirror", &there]),
        1,
        &["expired: valid until 2020-03-07"],
        "--snapshot",
    );
    // As of a time after it had expired, too.
    let bench = Bench::of(Who::Root, snapshot("20200401T000000Z"));
    let service = format!("{}/archive", bench.mirror.url());
    let mut plan = bench.build(&["plan", "--mirror", &service, "--snapshot", "20200401T000000Z"]);
    assert_fails(&mut plan, 1, &["expired: valid until 2020-03-07", "and it is 2020-04-01"], "--accept-expired");
}

/// Serves a directory over https on a free port, which it prints first.
const HTTPS: &str = r#"
import functools, http.server, ssl, sys
directory, certificate, key = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

fn an_authority_of_ones_own_is_trusted_by_the_guests() {
    let place = directory_of("root");
    for (path, bytes) in with_apt().files() {
        let file = place.path().join(path.trim_start_matches('/'));
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(file, bytes).unwrap();
    }
    let of_tests = path("crates/archive/src/testing/tls");
    let [authority, certificate, key] = ["authority.pem", "server.pem", "server.key"].map(|name| of_tests.join(name));
    let mut python = Command::new("python3");
    python.args(["-c", HTTPS]).args([place.path(), &certificate, &key]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = python.spawn().unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
    let url = format!("https://127.0.0.1:{}", port.trim());

    let bench = Bench::new(archive());
    bench.write("tiny.toml", &recipe_with(""));
    assert_fails(&mut bench.build(&["plan", "--mirror", &url]), 1, &["certificate"], "--ca-certificate");
    let lines = format!("include = ['apt']\nca-certificates = ['{}']\n", authority.display());
    build(&bench, &lines, "", &["--mirror", &url]);
    let guest = Guest::of(&bench);
    assert!(guest.read("usr/local/share/ca-certificates/authority.crt").contains("BEGIN CERTIFICATE"));
    guest.update();
    server.kill().unwrap();
    server.wait().unwrap();
}

fn archives_that_cannot_be_used_are_refused_at_once() {
    let bench = Bench::new(archive());
    for (lines, error, hint) in [
        ("[[archive]]\nsuites = ['x']\nkey = 'no.gpg'\n", "no.gpg", "gpg --export"),
        ("[[archive]]\nsuites = ['x']\nkey = 'tiny.toml'\n", "no OpenPGP public key in it", "gpg --export"),
        ("[[archive]]\nsuites = ['x']\nkey = '-----BEGIN PGP PUBLIC KEY BLOCK-----'\n", "without its", "gpg --export"),
    ] {
        bench.write("tiny.toml", &(recipe_with("") + lines));
        for verb in ["plan", "build"] {
            assert_fails(&mut bench.build(&[verb]), 2, &["archive MIRROR x", error], hint);
        }
        let recipe = bench.directory.path().join("tiny.toml");
        let mut check = Command::new(support::program());
        assert_fails(check.args(["recipe", "check"]).arg(recipe), 2, &["archive MIRROR x", error], hint);
    }
    bench.write("tiny.toml", &recipe_with(""));
    for (text, error, hint) in [
        ("# nothing\n", "names no archive of binary packages", "sources.list(5)"),
        ("deb [trusted=yes] http://a.example x main\n", "without a signature", "signed-by"),
        (
            "deb [signed-by=0123456789ABCDEF] http://a.example x main\n",
            "signed-by=0123456789ABCDEF is no file",
            "whole path",
        ),
        ("deb [signed-by=/no/such.gpg] http://a.example x main\n", "/no/such.gpg", "gpg --export"),
        ("deb ftp://ann:secret@a.example x main\n", "ftp://***@a.example", "URL"),
    ] {
        let file = bench.write("further.list", text);
        let output = bench.build(&["plan", "--archive", file.to_str().unwrap()]).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
        crate::small::assert_failed(&output, 2, &["further.list", error], hint);
    }
    assert_eq!(bench.mirror.server.targets(), Vec::<String>::new(), "the network was asked");
}
