//! Plugins that try to reach the host: what they find of it, and what each try comes to, by root
//! and by a normal user. And what plugins of several languages need of the host, which must be
//! there. What Landlock keeps out needs Linux 6.12.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::harness::{ROOT, Test};
use support::{fail, succeed};

/// The tests of this file. Node.js is not always there, so it has a test of its own.
pub fn tests() -> Vec<Test> {
    let test = |name, run: fn()| Test::new(module_path!(), name, run);
    vec![
        test("a_plugin_that_is_checked_is_confined", a_plugin_that_is_checked_is_confined)
            .needs(&[ROOT, "cc", "python3"]),
        test("a_plugin_in_a_build_is_confined", a_plugin_in_a_build_is_confined).needs(&[ROOT, "python3"]),
        test("plugins_of_any_language_work", plugins_of_any_language_work).needs(&[ROOT, "bash", "perl", "python3"]),
        test("plugins_of_node_work", plugins_of_node_work).needs(&[ROOT, "/usr/bin/node"]),
        test("a_plugin_does_not_act_on_the_terminal", a_plugin_does_not_act_on_the_terminal).needs(&[ROOT]),
    ]
}

/// A home of the user who builds, with a project in it, and what a plugin must not reach.
struct Host {
    directory: tempfile::TempDir,
    user: Option<&'static str>,
    /// Other places with sockets, taken away at the end.
    outside: Vec<tempfile::TempDir>,
    _sockets: Vec<(UnixListener, UnixDatagram)>,
    _fifos: Vec<std::fs::File>,
}

impl Host {
    fn new(user: Option<&'static str>) -> Self {
        let directory = support::directory_of(user.unwrap_or("root"));
        let mut host = Self { directory, user, outside: Vec::new(), _sockets: Vec::new(), _fifos: Vec::new() };
        host.put(".ssh/id_ed25519", 0o600, "private");
        host.put(".netrc", 0o600, "private");
        host.put("project/data.txt", 0o644, "of the recipe");
        host.put("project/vms/fabric.seed", 0o600, &format!("{}\n", "11".repeat(32)));
        let escape = fs_err::read_to_string("tests/plain/plugins/escape.py").unwrap();
        host.put("project/plugins/escape.py", 0o755, &escape);
        host.put("project/plugins/data.txt", 0o644, "of the plugin");
        for parent in ["/tmp", "/run"] {
            let place = tempfile::tempdir_in(parent).unwrap();
            host.open_ways_out(place.path());
            host.outside.push(place);
        }
        host.open_ways_out(&host.path("project/plugins"));
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, mode: u32, text: &str) -> PathBuf {
        let file = self.path(name);
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(&file, text).unwrap();
        fs_err::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        succeed(Command::new("chown").arg("-R").arg(self.user.unwrap_or("root")).arg(self.directory.path()));
        file
    }

    /// Sockets and a FIFO in a directory, open to everyone, and read by this test.
    fn open_ways_out(&mut self, directory: &Path) {
        let (stream, datagram, fifo) = (directory.join("stream"), directory.join("datagram"), directory.join("fifo"));
        self._sockets.push((UnixListener::bind(&stream).unwrap(), UnixDatagram::bind(&datagram).unwrap()));
        succeed(Command::new("mkfifo").arg(&fifo));
        self._fifos.push(fs_err::OpenOptions::new().read(true).write(true).open(&fifo).unwrap().into_parts().0);
        fs_err::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
        for path in [stream, datagram, fifo] {
            fs_err::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        }
    }

    /// The program, run by the user at home.
    fn fam_build(&self) -> Command {
        let mut command = match self.user {
            Some(_) => support::as_user("/usr/bin/env"),
            None => Command::new("env"),
        };
        command.env_remove("XDG_DATA_HOME").env_remove("XDG_CACHE_HOME");
        command.arg(format!("HOME={}", self.directory.path().display()));
        command.arg(format!("PATH={}/bin:/usr/local/bin:/usr/bin:/bin", self.directory.path().display()));
        command.arg(support::public_program());
        command
    }

    /// What a plugin is to try.
    fn given(&self) -> Value {
        let mut ways = BTreeMap::from([("beside".to_owned(), self.path("project/plugins"))]);
        ways.extend(
            self.outside
                .iter()
                .map(|place| (place.path().parent().unwrap().display().to_string(), place.path().into())),
        );
        let in_each =
            |name: &str| -> BTreeMap<_, _> { ways.iter().map(|(place, path)| (place, path.join(name))).collect() };
        let sockets: BTreeMap<_, _> = ["stream", "datagram"]
            .iter()
            .flat_map(|kind| in_each(kind).into_iter().map(move |(place, path)| (format!("{kind} {place}"), path)))
            .collect();
        json!({
            "sockets": sockets,
            "fifos": in_each("fifo"),
            "read": {
                "beside": self.path("project/plugins/data.txt"),
                "recipe": self.path("project/data.txt"),
                "seed": self.path("project/vms/fabric.seed"),
                "ssh": self.path(".ssh/id_ed25519"),
                "netrc": self.path(".netrc"),
                "shadow": "/etc/shadow",
                "hostname": "/etc/hostname",
                "sys": "/sys/kernel/uevent_seqnum",
                "keys": "/proc/keys",
            },
            "write": {
                "beside": self.path("project/plugins/new"),
                "recipe": self.path("project/new"),
                "itself": self.path("project/plugins/escape.py"),
                "home": self.path("new"),
                "usr": "/usr/new",
                "root": "/new",
                "tmp": "/tmp/new",
                "var": "/var/tmp/new",
                "dev": "/dev/new",
            },
        })
    }

    /// Whether anything of what is to be kept from plugins has changed.
    fn assert_untouched(&self) {
        for path in ["project/plugins/new", "project/new", "new"] {
            assert!(!self.path(path).exists(), "{path}");
        }
        assert!(!Path::new("/usr/new").exists() && !Path::new("/tmp/new").exists());
        for (stream, datagram) in &self._sockets {
            stream.set_nonblocking(true).unwrap();
            datagram.set_nonblocking(true).unwrap();
            assert!(stream.accept().is_err(), "there was a connection");
            assert!(datagram.recv(&mut [0]).is_err(), "there was a datagram");
        }
    }
}

/// What the plugin says came of its tries, in the error of a command that fails by it.
#[track_caller]
fn said(command: &mut Command) -> Value {
    let (_, text) = fail(command);
    let start = text.find('{').unwrap_or_else(|| panic!("{text}"));
    let (json, _) = text[start..].split_once("}\n").unwrap_or_else(|| panic!("{text}"));
    serde_json::from_str(&format!("{json}}}")).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What must come of the tries, of which those without a name here must come to `EPERM`.
fn expected(try_: &str, with_recipe: bool) -> &'static [&'static str] {
    const ABSENT: &[&str] = &["ENOENT"];
    const READ_ONLY: &[&str] = &["EROFS", "EACCES"];
    match try_ {
        "/dev/null" | "/dev/zero" | "/dev/full" | "/dev/random" | "/dev/urandom" | "write temporary" | "socketpair"
        | "fork" | "read beside" => &["ok"],
        "read recipe" if with_recipe => &["ok"],
        "write recipe" if with_recipe => READ_ONLY,
        "write beside" | "write itself" | "write usr" | "write root" | "write dev" => READ_ONLY,
        // A directory on the way to the plugin is there, with nothing else in it.
        "write home" | "write recipe" | "write var" | "write tmp" => &["EROFS", "EACCES", "ENOENT"],
        "core_pattern" | "sysrq" => ABSENT,
        "fifo beside" => &["EACCES"],
        "clone3" => &["ENOSYS"],
        _ if try_.starts_with("/dev/") || try_.starts_with("fifo ") || try_.starts_with("read ") => ABSENT,
        _ => &["EPERM"],
    }
}

#[track_caller]
fn assert_confined(said: &Value, with_recipe: bool) {
    let (mut tries, mut wrong) = (0, Vec::new());
    for (name, came) in said.as_object().unwrap() {
        match (name.as_str(), came) {
            // The first process, and the plugin's own.
            ("processes", count) => assert!(count.as_u64().unwrap() <= 4, "{said:#}"),
            ("dev", names) => assert_eq!(names, "fd full null random shm stderr stdin stdout urandom zero"),
            ("root", names) => {
                for name in names.as_str().unwrap().split(' ') {
                    assert!(!["root", "run", "sys", "srv", "opt", "mnt", "boot"].contains(&name), "{said:#}");
                }
            }
            ("oom", value) => assert_eq!(value, "1000"),
            ("NoNewPrivs", value) => assert_eq!(value, "1"),
            ("Seccomp", value) => assert_eq!(value, "2"),
            _ => {
                tries += 1;
                let expected = expected(name, with_recipe);
                if !expected.contains(&came.as_str().unwrap()) {
                    wrong.push(format!("{name}: {came}, expected {expected:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(tries > 60, "{said:#}");
}

fn users() -> [Option<&'static str>; 2] {
    [None, Some(support::user())]
}

fn a_plugin_that_is_checked_is_confined() {
    for user in users() {
        let host = Host::new(user);
        let check = |file: &str| {
            let mut command = host.fam_build();
            command.args(["plugin", "check"]).arg(host.path(file)).arg("--set").arg(format!("given={}", host.given()));
            said(&mut command)
        };
        assert_confined(&check("project/plugins/escape.py"), false);
        let library = host.path("project/plugins/escape.so");
        let mut cc = Command::new("cc");
        cc.args(["-std=gnu99", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I", "plugins/sdk/c", "-o"]);
        succeed(cc.arg(library).args(["tests/plain/plugins/escape.c", "plugins/sdk/c/fam_plugin.c"]));
        assert_confined(&check("project/plugins/escape.so"), false);
        host.assert_untouched();
    }
}

fn a_plugin_in_a_build_is_confined() {
    for user in users() {
        let host = Host::new(user);
        let (root, tarball) = (host.path("root"), host.path("project/root.tar"));
        for name in ["etc", "usr/bin", "var"] {
            fs_err::create_dir_all(root.join(name)).unwrap();
        }
        succeed(Command::new("tar").arg("-cf").arg(&tarball).arg("-C").arg(&root).arg("."));
        let recipe = format!(
            "{}[[plugin]]\nname = \"escape\"\npath = \"plugins/escape.py\"\nsettings.at = \"apply-node\"\nsettings.given = '''{}'''\n",
            support::SMALL_SYSTEM,
            host.given()
        );
        let recipe = host.put("project/recipe.toml", 0o644, &recipe);
        let mut build = host.fam_build();
        build.arg("--recipe").arg(&recipe).arg("--from-tarball").arg(&tarball);
        assert_confined(&said(build.arg("--output").arg(host.path("project/vms"))), true);
        host.assert_untouched();
    }
}

/// A plugin that only describes itself and checks settings, with what else it does before that.
fn plugin(first_line: &str, before: &str, program: &str) -> String {
    format!("#!{first_line}\n{before}\n{program}\n")
}

const SHELL: &str = r#"read -r call
[ "$FAM_CALL" != describe ] || { echo '{"op":"describe","name":"works","summary":"works","stages":["node"]}'; read -r reply; }
echo '{"op":"done"}'"#;

fn plugins_of_any_language_work() {
    const PYTHON: &str = r#"import json, sys
if json.loads(sys.stdin.readline())["call"] == "describe":
    print('{"op":"describe","name":"works","summary":"works","stages":["node"]}', flush=True)
    sys.stdin.readline()
print('{"op":"done"}', flush=True)"#;
    const PERL: &str = r#"$| = 1; my $call = <STDIN>;
if ($ENV{FAM_CALL} eq "describe") { print "{\"op\":\"describe\",\"name\":\"works\",\"summary\":\"works\",\"stages\":[\"node\"]}\n"; <STDIN>; }
print "{\"op\":\"done\"}\n";"#;
    for user in users() {
        let host = Host::new(user);
        // As pyenv has it: a script that is found in the PATH, and the interpreter that it starts,
        // both at home.
        host.put(".pyenv/versions/3/bin/python3", 0o755, "#!/bin/sh\nexec /usr/bin/python3 \"$@\"\n");
        let shim = format!("#!/usr/bin/env sh\nexec {} \"$@\"\n", host.path(".pyenv/versions/3/bin/python3").display());
        host.put(".pyenv/shims/mypython", 0o755, &shim);
        host.put("bin/tool", 0o755, "#!/bin/sh\necho tool\n");
        std::os::unix::fs::symlink("../.pyenv/shims/mypython", host.path("bin/mypython")).unwrap();
        let files = "t=$(mktemp) && echo x >$t && [ -s $t ] && rm $t && cat <<E >/dev/null\nx\nE\n[ $(tool) = tool ] && [ $(cat data.txt | wc -l) = 0 ] || exit 9";
        let python = "import hashlib, multiprocessing, os, ssl, subprocess, tempfile\n\
                      with tempfile.TemporaryFile() as file: file.write(b'x')\n\
                      assert subprocess.run(['id', '-un'], capture_output=True, check=True).stdout == b'root\\n'\n\
                      with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]\n\
                      os.cpu_count(); hashlib.new('sha256')";
        for (name, text) in [
            ("sh", plugin("/bin/sh", files, SHELL)),
            ("bash", plugin("/usr/bin/env bash", "[[ $(cat <(echo x)) = x ]] || exit 9", SHELL)),
            ("python", plugin("/usr/bin/env -S python3 -I", python, PYTHON)),
            ("pyenv", plugin("/usr/bin/env mypython", "", PYTHON)),
            ("perl", plugin("/usr/bin/perl", "use POSIX; use File::Temp; File::Temp->new();", PERL)),
        ] {
            let file = host.put(&format!("project/plugins/{name}"), 0o755, &text);
            succeed(host.fam_build().args(["plugin", "check"]).arg(&file).args(["--set", "text=x"]));
        }
        // One that lies at home itself is all that is seen of home, but for what is in the PATH.
        let home = host.directory.path().display();
        let nothing_else =
            format!("[ \"$(ls -A {home} | tr '\\n' ' ')\" = 'bin works ' ] || {{ ls -A {home} >&2; exit 9; }}");
        let file = host.put("works", 0o755, &plugin("/bin/sh", &nothing_else, SHELL));
        let mut check = host.fam_build();
        succeed(check.args(["plugin", "check"]).arg(file).args(["--set", "text=x"]));
    }
}

fn plugins_of_node_work() {
    const NODE: &str = r#"const fs = require("fs");
const line = () => { let text = ""; const byte = Buffer.alloc(1); while (fs.readSync(0, byte) && byte[0] != 10) text += byte; return text; };
if (JSON.parse(line()).call == "describe") {
    fs.writeSync(1, '{"op":"describe","name":"works","summary":"works","stages":["node"]}\n'); line();
}
fs.writeSync(1, '{"op":"done"}\n');"#;
    for user in users() {
        let host = Host::new(user);
        let text = plugin("/usr/bin/env node", "require('child_process').execFileSync('true');", NODE);
        let file = host.put("project/plugins/node", 0o755, &text);
        succeed(host.fam_build().args(["plugin", "check"]).arg(&file).args(["--set", "text=x"]));
    }
}

/// What a plugin says of a wrong setting steers no terminal, as text or as JSON.
fn a_plugin_does_not_act_on_the_terminal() {
    let host = Host::new(None);
    let said = r#"{"op":"fail","message":"\u001b]0;title\u0007\u009b2J\nerror: \u202eenon"}"#;
    let text = format!(
        "#!/bin/sh\nread -r call\nif [ \"$FAM_CALL\" = check ]; then printf '%s\\n' '{said}'; exit; fi\necho '{}'\nread -r reply\necho '{}'\n",
        r#"{"op":"describe","name":"talks","summary":"x","stages":["node"]}"#, r#"{"op":"done"}"#
    );
    let file = host.put("project/plugins/talks", 0o755, &text);
    let check = |json: &[&str]| {
        let output = host.fam_build().args(["plugin", "check"]).arg(&file).args(["--set", "a=b"]).args(json).output();
        let output = output.unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!text.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
        text
    };
    let text = check(&[]);
    assert!(text.contains("plugin talks: \\u001b]0;title\\u0007\\u009b2J\n  error: \\u202eenon\n"), "{text}");
    let json: Value = serde_json::from_str(check(&["--json"]).lines().next().unwrap()).unwrap();
    let what = json["failure"]["what"].as_str().unwrap();
    assert!(what.ends_with("\u{1b}]0;title\u{7}\u{9b}2J\nerror: \u{202e}enon"), "{what:?}");
}
