//! Logins of mirrors and proxies: that they are sent where they belong, and are found nowhere else,
//! in whatever a build writes, shows or hands to foreign code.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use support::archive::{Files, Signer};
use support::disk::RootFileSystem;
use support::files::in_tarball;
use support::server::{Answer, Request, Server};
use support::{directory_of, fail, program, succeed};

use crate::small::{SUITE, archive, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "debugfs", "dpkg-deb", "gpg", "qemu-img", "sgdisk", "unshare"];
    no_password_is_found_in_what_a_build_leaves,
    nodes_get_the_login_where_the_recipe_says_so,
    netrc_has_logins,
    apt_has_logins,
    locks_have_no_logins_and_take_those_of_the_mirror,
    a_redirect_takes_no_login_along,
    what_is_refused_is_shown_without_its_login,
}

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

/// Whether a header of a request holds this login.
fn has_login(request: &Request, header: &str, user: &str, password: &str) -> bool {
    let login = STANDARD.encode(format!("{user}:{password}"));
    request.headers.get(header).is_some_and(|value| *value == format!("Basic {login}"))
}

fn is_of_ann(request: &Request) -> bool {
    has_login(request, "authorization", "ann", PASSWORD)
}

fn unauthorized() -> Answer {
    Answer::status(401).header("www-authenticate", "Basic realm=\"a mirror\"")
}

/// Serves files to those that have the login of `ann`. As a proxy, it asks for that of `pia` as
/// well.
fn guarded(files: Files) -> Server {
    Server::new(move |request| {
        let path = match request.target.strip_prefix("http://") {
            Some(_) if !has_login(request, "proxy-authorization", "pia", PROXY_PASSWORD) => {
                return Answer::status(407).header("proxy-authenticate", "Basic");
            }
            Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => &request.target,
        };
        match files.get(path) {
            _ if !is_of_ann(request) => unauthorized(),
            Some(file) => Answer::file(file, request),
            None => Answer::status(404),
        }
    })
}

/// The URL of a server with a login in it.
fn with_login(server: &Server, user: &str, password: &str) -> String {
    server.url.replace("http://", &format!("http://{user}:{}@", password.replace('@', "%40")))
}

/// `fam-build` with a home and a cache of its own, and nothing else of the environment.
fn fam_build(place: &Path) -> Command {
    let mut command = Command::new(program());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", place);
    command.env("XDG_CACHE_HOME", place.join("cache")).stdin(Stdio::null());
    command
}

/// `fam-build` that does `verb` for the small system, from `mirror`, in `place`.
fn of_small_system(place: &Path, verb: &str, mirror: &str) -> Command {
    small_system_by(fam_build(place), place, verb, mirror)
}

/// The same by a command whose last argument is the program.
fn small_system_by(mut command: Command, place: &Path, verb: &str, mirror: &str) -> Command {
    let recipe = place.join("tiny.toml");
    fs_err::write(&recipe, recipe_with("")).unwrap();
    command.arg(verb).arg("--recipe").arg(recipe).arg("--output").arg(place.join("output"));
    command.args(["--mirror", mirror, "--keyring"]).arg(Signer::usual().keyring());
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

/// A recipe of a small system, and a directory of plugins for it: they look for the passwords
/// wherever they can.
fn recipe(place: &Path, credentials: bool) -> [PathBuf; 2] {
    let (recipe, plugins) = (place.join("recipe.toml"), place.join("plugins"));
    let _ = fs_err::create_dir(&plugins);
    let secrets = secrets().join("\n");
    fs_err::write(plugins.join("secrets"), &secrets).unwrap();
    support::write_executable(&plugins.join("spy"), SPY);
    let plugins_of_recipe = format!(
        "[[plugin]]\nname = \"apt-sources\"\nsettings = {{ credentials = {credentials}, updates = false }}\n\
         [[plugin]]\nname = \"spy\"\n[[plugin]]\nname = \"script\"\nsettings.script = \"\"\"{}\"\"\"\n",
        SPY_INSIDE.replace("SECRETS", &STANDARD.encode(secrets)),
    );
    // So that what is in the images can be found in them.
    let text = recipe_with(&plugins_of_recipe).replace("size = \"1G\"", "size = \"1G\"\ncompress = \"none\"");
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

fn no_password_is_found_in_what_a_build_leaves() {
    let (place, server) = (directory_of("root"), guarded(archive().files()));
    let place = place.path();
    let output = place.join("output");
    let command = |arguments: &[&str]| {
        let [recipe, plugins] = recipe(place, false);
        let url = with_login(&server, "ann", PASSWORD);
        let archive = format!("[[archive]]\nname = 'further'\nurl = '{url}'\nsuites = ['{SUITE}']\n");
        fs_err::write(&recipe, fs_err::read_to_string(&recipe).unwrap() + &archive).unwrap();
        let mut command = fam_build(place);
        command.args(arguments).arg("--recipe").arg(recipe).arg("--plugin-dir").arg(plugins);
        command.arg("--keyring").arg(Signer::usual().keyring());
        command.arg("--output").arg(&output).args(["--mirror", &with_login(&server, "ann", PASSWORD)]);
        command.env("PROXY", with_login(&server, "pia", PROXY_PASSWORD));
        command
    };
    let built = watched(command(&["--verbose"]).env("MIRROR", with_login(&server, "ann", PASSWORD)));
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
    fs_err::remove_file(place.join("recipe.toml")).unwrap();
    assert_no_secret_in(place);

    let warnings = screen.matches("credentials = true").count();
    assert_eq!(warnings, 1, "{screen}");
    let lock = fs_err::read_to_string(output.join("fabric.lock")).unwrap();
    assert!(lock.contains(&format!("mirror = \"{}\"", server.url)), "{lock}");
    let sbom = fs_err::read_to_string(output.join("fabric.spdx.json")).unwrap();
    assert!(sbom.contains(&format!("\"downloadLocation\": \"{}/pool/base_1_all.deb\"", server.url)), "{sbom}");
    let sources = in_tarball(&output.join("fabric_template.tar"), "./etc/apt/sources.list.d/debian.sources");
    assert!(sources.contains(&format!("URIs: {}\n", server.url)), "{sources}");
    let requests = server.requests();
    assert!(requests.iter().any(|request| request.target.ends_with(".deb") && request.target.starts_with("http://")));
}

fn nodes_get_the_login_where_the_recipe_says_so() {
    let (place, server) = (directory_of("root"), guarded(archive().files()));
    let place = place.path();
    let output = place.join("output");
    let [recipe, plugins] = recipe(place, true);
    let mut build = fam_build(place);
    build.arg("--recipe").arg(recipe).arg("--plugin-dir").arg(&plugins).arg("--output").arg(&output);
    build.arg("--keyring").arg(Signer::usual().keyring());
    let built = watched(build.args(["--mirror", &with_login(&server, "ann", PASSWORD)]));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert_no_secret("the screen", &built.stderr);

    let path = "/etc/apt/auth.conf.d/80fam-build.conf";
    let root = RootFileSystem::of(&output.join("fabric1.qcow2"));
    let (text, attributes) = (root.cat(path), root.stat(path));
    drop(root);
    assert_eq!(text, format!("machine {}/ login ann password {PASSWORD}\n", server.url));
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
    succeed(apt.arg(format!("{uri}/dists/{SUITE}/InRelease")).arg(place.join("fetched")));
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

fn netrc_has_logins() {
    let (place, server) = (directory_of("root"), guarded(archive().files()));
    let place = place.path();
    let url = server.url.clone();
    let entry = format!("machine 127.0.0.1 login ann password {PASSWORD}\n");
    write(&place.join(".netrc"), &entry, 0o600);
    let said = says(&mut of_small_system(place, "lock", &url));
    assert!(!said.contains("warning:"), "{said}");

    write(&place.join(".netrc"), &entry.replace(PASSWORD, "wrong"), 0o600);
    write(&place.join("other"), &entry, 0o644);
    let said = says(of_small_system(place, "lock", &url).env("NETRC", place.join("other")));
    assert!(said.contains("every user of this host can read") && said.contains("other"), "{said}");

    let (code, said) = fail(&mut of_small_system(place, "lock", &url));
    assert!(code == 1 && said.contains("401 Unauthorized, though the login for it was sent"), "{said}");
    assert!(!said.contains("wrong"), "{said}");
}

fn apt_has_logins() {
    let (place, server) = (directory_of("root"), guarded(archive().files()));
    let place = place.path();
    let url = server.url.clone();
    let entry = |machine: &str| format!("machine {machine} login ann password {PASSWORD}\n");
    // In a mount namespace of its own, so that the machine's own files stay as they are.
    let lock = || {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" /etc/apt/auth.conf.d && exec \"$@\"";
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", place);
        command.env("XDG_CACHE_HOME", place.join("cache")).args(["--mount", "/bin/sh", "-ec", script]);
        command.arg(place.join("parts")).arg(program());
        small_system_by(command, place, "lock", &url)
    };
    fs_err::create_dir(place.join("parts")).unwrap();
    write(&place.join("parts/10.conf"), &entry(&server.url), 0o600);
    says(&mut lock());
    // Without a scheme, an entry of apt's is for https alone.
    write(&place.join("parts/10.conf"), &entry("127.0.0.1"), 0o600);
    let (code, said) = fail(&mut lock());
    for way in ["401 Unauthorized", "~/.netrc", "/etc/apt/auth.conf.d", "http://USER:PASSWORD@HOST"] {
        assert!(code == 1 && said.contains(way), "{said}");
    }
    assert_no_secret("the screen", said.as_bytes());
}

fn locks_have_no_logins_and_take_those_of_the_mirror() {
    let (place, server) = (directory_of("root"), guarded(archive().files()));
    let place = place.path();
    let named = with_login(&server, "ann", PASSWORD);
    let lock = place.join("output/fabric.lock");
    says(&mut of_small_system(place, "lock", &named));
    let text = fs_err::read_to_string(&lock).unwrap();
    assert_eq!(text.matches(&format!("mirror = \"{}\"\n", server.url)).count(), 2, "{text}");

    let fetches = |lock: &Path, mirror: &str| {
        let _ = fs_err::remove_dir_all(place.join("cache"));
        let before = server.requests().len();
        let mut build = of_small_system(place, "build", mirror);
        let built = build.arg("--fresh").arg("--locked").arg(lock).output().unwrap();
        let said = String::from_utf8(built.stderr).unwrap();
        assert_no_secret("the screen", said.as_bytes());
        let after = server.requests().split_off(before);
        (after.iter().any(|request| request.target.ends_with(".deb") && is_of_ann(request)), said)
    };
    assert!(fetches(&lock, &named).0);
    let (fetched, said) = fetches(&lock, &server.url);
    assert!(!fetched && said.contains("401 Unauthorized"), "{said}");

    // One that an older program wrote.
    let old = place.join("old.lock");
    fs_err::write(&old, text.replace(&server.url, &with_login(&server, "ann", PASSWORD))).unwrap();
    let (fetched, said) = fetches(&old, "http://elsewhere.invalid/debian");
    assert!(fetched && said.contains("old.lock has the login of a mirror in it"), "{said}");
    says(of_small_system(place, "lock", "http://elsewhere.invalid/debian").arg("--locked").arg(&old));
    assert_eq!(fs_err::read_to_string(&lock).unwrap(), text);
    fs_err::remove_file(&old).unwrap();
    assert_no_secret_in(place);
}

fn a_redirect_takes_no_login_along() {
    let place = directory_of("root");
    let other = Server::files(archive().files());
    let to = other.url.clone();
    let server = Server::new(move |request| match is_of_ann(request) {
        true => Answer::status(302).header("location", format!("{to}{}", request.target)),
        false => unauthorized(),
    });
    let named = with_login(&server, "ann", PASSWORD);
    says(&mut of_small_system(place.path(), "lock", &named));
    let (first, second) = (server.requests(), other.requests());
    assert!(!second.is_empty() && first.iter().all(is_of_ann));
    assert!(second.iter().all(|request| !request.headers.contains_key("authorization")), "{second:?}");
}

fn what_is_refused_is_shown_without_its_login() {
    let (place, server) = (directory_of("root"), guarded(archive().files()));
    let host = server.url.replace("http://", "");
    for (name, value) in [
        ("MIRROR", format!("ftp://ann:{PASSWORD}@{host}")),
        ("PROXY", format!("socks://pia:{PROXY_PASSWORD}@{host}")),
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
