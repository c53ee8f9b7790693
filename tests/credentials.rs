//! Logins of mirrors and proxies: that they are sent where they belong, and are found nowhere else, in whatever a build
//! writes, shows or hands to foreign code.
//!
//! Needs root, the machine's Debian mirror, gpg, debugfs, qemu-img, sgdisk, and apt.

#![allow(clippy::unwrap_used)]

#[path = "credentials/archive.rs"]
mod archive;
#[path = "credentials/server.rs"]
mod server;
mod support;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;

use archive::Archive;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fam_build::archive::http::{Http, HttpOptions};
use server::{Reply, Request, Server, UNAUTHORIZED};
use support::{FAM_BUILD, SMALL_SYSTEM, fail, mirror, succeed};

const PASSWORD: &str = "s@cret-of-ann";
const PROXY_PASSWORD: &str = "pr@xy-of-pia";

/// What must be found nowhere: the passwords plain, in a URL, and in a header.
fn secrets() -> Vec<String> {
    [("ann", PASSWORD), ("pia", PROXY_PASSWORD)]
        .into_iter()
        .flat_map(|(user, password)| {
            let header = STANDARD.encode(format!("{user}:{password}"));
            [password.to_owned(), password.replace('@', "%40"), header]
        })
        .collect()
}

#[track_caller]
fn assert_no_secret(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    for secret in secrets() {
        assert!(!text.contains(&secret), "{what} has {secret}: {text}");
    }
}

/// Looks into every file of a directory.
#[track_caller]
fn assert_no_secret_in(directory: &Path) {
    let secrets = secrets();
    let patterns = secrets.iter().flat_map(|secret| ["-e", secret]);
    let found = Command::new("grep").args(["-raFl"]).args(patterns).arg(directory).output().unwrap();
    assert_eq!(found.status.code(), Some(1), "found in {}", String::from_utf8_lossy(&found.stdout));
}

/// The machine's mirror behind a login, and behind a proxy that asks for another.
fn guarded_mirror() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let (http, mirror) = (Http::new(HttpOptions::default()).unwrap(), mirror());
        Server::start(move |request| {
            let path = match request.target.strip_prefix("http://") {
                Some(_) if !request.has("proxy-authorization", "pia", PROXY_PASSWORD) => {
                    return Reply::Status("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic".into());
                }
                Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
                None => &request.target,
            };
            if !request.is_of_ann() {
                return Reply::Status(UNAUTHORIZED.into());
            }
            match http.get(&format!("{mirror}{path}"), 64 << 20).unwrap() {
                Some(bytes) => Reply::File(bytes),
                None => Reply::Status("404 Not Found".into()),
            }
        })
    })
}

/// The program with a home and a cache of its own, and nothing else of the environment.
fn fam_build(place: &Path) -> Command {
    let mut command = Command::new(FAM_BUILD);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", place);
    command.env("XDG_CACHE_HOME", place.join("cache")).stdin(Stdio::null());
    command
}

/// A plugin in a file that looks for the passwords wherever it can, and fails if it finds one.
const SPY: &str = r#"#!/bin/sh
read -r call
case $call in
*'"call":"describe"'*)
    echo '{"op":"describe","name":"spy","summary":"looks around","stages":["system","node"]}'
    ;;
*)
    { printf '%s\n' "$call"; env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; } 2>/dev/null >"$TMPDIR/seen"
    if grep -aqFf secrets "$TMPDIR/seen"; then
        echo '{"op":"fail","message":"a password can be seen from a plugin"}'
        exit
    fi
    ;;
esac
echo '{"op":"done"}'
"#;

/// What the script inside the new system does of the same.
const SPY_INSIDE: &str = r"
echo 'SECRETS' | base64 -d >/tmp/secrets
if { env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; } 2>/dev/null | grep -aqFf /tmp/secrets; then
    echo 'a password can be seen from the new system'
    exit 1
fi
";

/// A recipe of a small system, and a directory of plugins for it: they look for the passwords wherever they can.
fn recipe(place: &Path, credentials: bool) -> [PathBuf; 2] {
    let (recipe, plugins) = (place.join("recipe.toml"), place.join("plugins"));
    let _ = fs_err::create_dir(&plugins);
    let secrets = secrets().join("\n");
    fs_err::write(plugins.join("secrets"), &secrets).unwrap();
    fs_err::write(plugins.join("spy"), SPY).unwrap();
    fs_err::set_permissions(plugins.join("spy"), PermissionsExt::from_mode(0o755)).unwrap();
    let text = format!(
        "{}[[plugin]]\nname = \"apt-sources\"\nsettings = {{ credentials = {credentials}, updates = false }}\n\
         [[plugin]]\nname = \"spy\"\n[[plugin]]\nname = \"script\"\nsettings.script = \"\"\"{}\"\"\"\n",
        // So that what is in the images can be found in them.
        SMALL_SYSTEM.replace("size = \"1G\"", "size = \"1G\"\ncompress = \"none\""),
        SPY_INSIDE.replace("SECRETS", &STANDARD.encode(secrets)),
    );
    fs_err::write(&recipe, text).unwrap();
    [recipe, plugins]
}

/// Runs a build, and looks meanwhile at what all processes of builds show of themselves.
fn watched(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |stream: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    };
    thread::scope(|scope| {
        let (stdout, stderr) = (scope.spawn(move || read(&mut stdout)), scope.spawn(move || read(&mut stderr)));
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            for entry in fs_err::read_dir("/proc").unwrap() {
                let process = entry.unwrap().path();
                let Ok(arguments) = fs_err::read(process.join("cmdline")) else { continue };
                if String::from_utf8_lossy(&arguments).contains("--fam-build-role=") {
                    assert_no_secret("the command line of a process", &arguments);
                    assert_no_secret("its environment", &fs_err::read(process.join("environ")).unwrap_or_default());
                }
            }
            thread::sleep(std::time::Duration::from_millis(20));
        };
        Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    })
}

/// The text of a file in a node's disk, and what debugfs says of it.
fn in_disk(disk: &Path, path: &str) -> (String, String) {
    let raw = disk.with_extension("raw");
    succeed(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(disk).arg(&raw));
    let partition = succeed(Command::new("sgdisk").args(["-i", "3"]).arg(&raw));
    let sector = partition.lines().find_map(|line| line.strip_prefix("First sector: ")).unwrap();
    let offset = sector.split(' ').next().unwrap().parse::<u64>().unwrap() * 512;
    let image = format!("{}?offset={offset}", raw.display());
    let ask = |request: &str| succeed(Command::new("debugfs").args(["-R", &format!("{request} {path}"), &image]));
    let found = (ask("cat"), ask("stat"));
    fs_err::remove_file(raw).unwrap();
    found
}

fn in_tarball(tarball: &Path, path: &str) -> String {
    succeed(Command::new("tar").arg("-xOf").arg(tarball).arg(path))
}

#[test]
fn no_password_is_found_in_what_a_build_leaves() {
    let (place, server) = (support::directory_of("root"), guarded_mirror());
    let place = place.path();
    let output = place.join("output");
    let command = |arguments: &[&str]| {
        let [recipe, plugins] = recipe(place, false);
        let mut command = fam_build(place);
        command.args(arguments).arg("--recipe").arg(recipe).arg("--plugin-dir").arg(plugins);
        command.arg("--output").arg(&output).args(["--mirror", &server.url_of("ann", PASSWORD)]);
        command.env("PROXY", server.url_of("pia", PROXY_PASSWORD));
        command
    };
    let built = watched(command(&["--verbose"]).env("MIRROR", server.url_of("ann", PASSWORD)));
    let screen = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "{screen}");
    assert_no_secret("the screen", &built.stderr);
    assert_no_secret("standard output", &built.stdout);
    for verb in
        [&["plan", "--json"][..], &["plan", "--verbose"], &["doctor", "--json"], &["recipe", "show"], &["--json"]]
    {
        let Output { stdout, stderr, .. } = command(verb).output().unwrap();
        assert!(!stdout.is_empty());
        assert_no_secret(&format!("{verb:?}"), &stdout);
        assert_no_secret(&format!("{verb:?}"), &stderr);
    }
    fs_err::remove_file(place.join("plugins/secrets")).unwrap();
    assert_no_secret_in(place);

    let warnings = screen.matches("credentials = true").count();
    assert_eq!(warnings, 1, "{screen}");
    let lock = fs_err::read_to_string(output.join("fabric.lock")).unwrap();
    assert!(lock.contains(&format!("mirror = \"{}\"", server.url())), "{lock}");
    let sources = in_tarball(&output.join("fabric_template.tar"), "./etc/apt/sources.list.d/debian.sources");
    assert!(sources.contains(&format!("URIs: {}\n", server.url())), "{sources}");
    let requests = server.requests();
    assert!(requests.iter().any(|request| request.target.ends_with(".deb") && request.target.starts_with("http://")));
}

#[test]
fn nodes_get_the_login_where_the_recipe_says_so() {
    let (place, server) = (support::directory_of("root"), guarded_mirror());
    let place = place.path();
    let output = place.join("output");
    let [recipe, plugins] = recipe(place, true);
    let mut build = fam_build(place);
    build.arg("--recipe").arg(recipe).arg("--plugin-dir").arg(&plugins).arg("--output").arg(&output);
    let built = watched(build.args(["--mirror", &server.url_of("ann", PASSWORD)]));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert_no_secret("the screen", &built.stderr);

    let (text, attributes) = in_disk(&output.join("fabric1.qcow2"), "/etc/apt/auth.conf.d/80fam-build.conf");
    assert_eq!(text, format!("machine {}/ login ann password {PASSWORD}\n", server.url()));
    assert!(attributes.contains("Mode:  0600") && attributes.contains("User:     0   Group:     0"), "{attributes}");
    let mode = fs_err::metadata(output.join("fabric1.qcow2")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs_err::remove_file(output.join("fabric1.qcow2")).unwrap();
    fs_err::remove_file(plugins.join("secrets")).unwrap();
    assert_no_secret_in(place);

    // What apt makes of the two files.
    let parts = place.join("parts");
    fs_err::create_dir(&parts).unwrap();
    fs_err::write(parts.join("80fam-build.conf"), text).unwrap();
    let sources = in_tarball(&output.join("fabric_template.tar"), "./etc/apt/sources.list.d/debian.sources");
    let uri = sources.lines().find_map(|line| line.strip_prefix("URIs: ")).unwrap();
    let mut apt = Command::new("/usr/lib/apt/apt-helper");
    apt.env_clear().arg("-o").arg(format!("Dir::Etc::netrcparts={}", parts.display())).arg("download-file");
    succeed(apt.arg(format!("{uri}/dists/trixie/InRelease")).arg(place.join("fetched")));
}

fn write(path: &Path, text: &str, mode: u32) {
    fs_err::write(path, text).unwrap();
    fs_err::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Runs a command that succeeds; what it says has no password.
#[track_caller]
fn says(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{said}");
    assert_no_secret("the screen", said.as_bytes());
    said
}

#[test]
fn netrc_has_logins() {
    let (place, archive) = (tempfile::tempdir().unwrap(), Archive::get());
    let (place, server) = (place.path(), archive.guarded());
    let url = format!("{}/debian", server.url());
    let entry = format!("machine 127.0.0.1 login ann password {PASSWORD}\n");
    write(&place.join(".netrc"), &entry, 0o600);
    let said = says(&mut archive.command(place, "lock", &url));
    assert!(!said.contains("warning:"), "{said}");

    write(&place.join(".netrc"), &entry.replace(PASSWORD, "wrong"), 0o600);
    write(&place.join("other"), &entry, 0o644);
    let said = says(archive.command(place, "lock", &url).env("NETRC", place.join("other")));
    assert!(said.contains("every user of this host can read") && said.contains("other"), "{said}");

    let (code, said) = fail(&mut archive.command(place, "lock", &url));
    assert!(code == 1 && said.contains("401 Unauthorized, though the login for it was sent"), "{said}");
    assert!(!said.contains("wrong"), "{said}");
}

#[test]
fn apt_has_logins() {
    let (place, archive) = (tempfile::tempdir().unwrap(), Archive::get());
    let (place, server) = (place.path(), archive.guarded());
    let url = format!("{}/debian", server.url());
    let entry = |machine: &str| format!("machine {machine} login ann password {PASSWORD}\n");
    // In a mount namespace of its own, so that the machine's own files stay as they are.
    let lock = || {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" /etc/apt/auth.conf.d && exec \"$@\"";
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", place);
        command.env("XDG_CACHE_HOME", place.join("cache")).args(["--mount", "/bin/sh", "-ec", script]);
        command.arg(place.join("parts")).arg(FAM_BUILD);
        archive.wrapped(command, place, "lock", &url)
    };
    fs_err::create_dir(place.join("parts")).unwrap();
    write(&place.join("parts/10.conf"), &entry(&server.url()), 0o600);
    says(&mut lock());
    // Without a scheme, an entry of apt's is for https alone.
    write(&place.join("parts/10.conf"), &entry("127.0.0.1"), 0o600);
    let (code, said) = fail(&mut lock());
    for way in ["401 Unauthorized", "~/.netrc", "/etc/apt/auth.conf.d", "http://USER:PASSWORD@HOST/debian"] {
        assert!(code == 1 && said.contains(way), "{said}");
    }
    assert_no_secret("the screen", said.as_bytes());
}

#[test]
fn locks_have_no_logins_and_take_those_of_the_mirror() {
    let (place, archive) = (tempfile::tempdir().unwrap(), Archive::get());
    let (place, server) = (place.path(), archive.guarded());
    let named = format!("{}/debian", server.url_of("ann", PASSWORD));
    let lock = place.join("output/fabric.lock");
    says(&mut archive.command(place, "lock", &named));
    let text = fs_err::read_to_string(&lock).unwrap();
    assert_eq!(text.matches(&format!("mirror = \"{}/debian\"\n", server.url())).count(), 2, "{text}");

    // Without a dpkg the build does not come far, but far enough.
    let fetches = |lock: &Path, mirror: &str| {
        let _ = fs_err::remove_dir_all(place.join("cache"));
        let before = server.requests().len();
        let (_, said) = fail(archive.command(place, "build", mirror).arg("--locked").arg(lock));
        assert_no_secret("the screen", said.as_bytes());
        let after = server.requests().split_off(before);
        (after.iter().any(|request| request.target.ends_with(".deb") && request.is_of_ann()), said)
    };
    assert!(fetches(&lock, &named).0);
    let (fetched, said) = fetches(&lock, &format!("{}/debian", server.url()));
    assert!(!fetched && said.contains("401 Unauthorized"), "{said}");

    // One that an older program wrote.
    let old = place.join("old.lock");
    fs_err::write(&old, text.replace(&server.url(), &server.url_of("ann", PASSWORD))).unwrap();
    let (fetched, said) = fetches(&old, "http://elsewhere.invalid/debian");
    assert!(fetched && said.contains("old.lock has the login of a mirror in it"), "{said}");
    says(archive.command(place, "lock", "http://elsewhere.invalid/debian").arg("--locked").arg(&old));
    assert_eq!(fs_err::read_to_string(&lock).unwrap(), text);
    fs_err::remove_file(&old).unwrap();
    assert_no_secret_in(place);
}

#[test]
fn a_redirect_takes_no_login_along() {
    let (place, archive) = (tempfile::tempdir().unwrap(), Archive::get());
    let other = Server::start(|request| archive.answer(request));
    let to = other.url();
    let server = Server::start(move |request| {
        let line = if request.is_of_ann() { "302 Found\r\nLocation: " } else { UNAUTHORIZED };
        Reply::Status(if line == UNAUTHORIZED { line.into() } else { format!("{line}{to}{}", request.target) })
    });
    let named = format!("{}/debian", server.url_of("ann", PASSWORD));
    says(&mut archive.command(place.path(), "lock", &named));
    let (first, second) = (server.requests(), other.requests());
    assert!(!second.is_empty() && first.iter().all(Request::is_of_ann));
    assert!(second.iter().all(|request| !request.headers.contains_key("authorization")), "{second:?}");
}

#[test]
fn what_is_refused_is_shown_without_its_login() {
    let (place, archive) = (tempfile::tempdir().unwrap(), Archive::get());
    let server = archive.guarded();
    let host = server.url().replace("http://", "");
    for (name, value) in [
        ("MIRROR", format!("ftp://ann:{PASSWORD}@{host}")),
        ("PROXY", format!("socks5://pia:{PROXY_PASSWORD}@{host}")),
        ("http_proxy", format!("pia:{PROXY_PASSWORD} @{host}")),
    ] {
        let (code, said) = fail(fam_build(place.path()).arg("plan").env(name, value));
        assert!(code == 2 && said.contains(&host), "{said}");
        assert_no_secret("the screen", said.as_bytes());
    }
    let (code, said) = fail(fam_build(place.path()).arg("--mirror").arg(format!("http://ann:{PASSWORD} @{host}")));
    assert!(code == 2 && said.contains(&host), "{said}");
    assert_no_secret("the screen", said.as_bytes());
    // A mirror that is not there, and a proxy that is not one.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for arguments in [
        ["--mirror".to_owned(), format!("http://ann:{PASSWORD}@{gone}/debian")],
        ["--proxy".to_owned(), format!("http://pia:{PROXY_PASSWORD}@{gone}")],
    ] {
        let mut command = fam_build(place.path());
        command.arg("--output").arg(place.path().join("output")).args(["--security-mirror", "none"]).args(arguments);
        let (code, said) = fail(&mut command);
        assert!(code == 1 && said.contains("127.0.0.1"), "{said}");
        assert_no_secret("the screen", said.as_bytes());
    }
    assert_no_secret_in(place.path());
}
