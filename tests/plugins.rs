//! Plugins in files, as a user meets them: begun by `plugin new`, built with nothing but the SDK, named in a recipe, and found
//! in the image; and plugins that mean harm, of which nothing must be left but an error that names them.
//!
//! Needs root (to become a normal user), the machine's Debian mirror, cargo, cc, make, python3, debugfs, qemu-img, sgdisk.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::qemu::Machine;
use support::{SMALL_SYSTEM, fail, succeed};

/// A directory of this run of the tests; that of the run before goes.
fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let path = support::of_this_checkout("fam-build-plugins");
        let _ = fs_err::remove_dir_all(&path);
        fs_err::create_dir(&path).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    })
}

/// A directory in [`scratch`] that everyone may write to.
fn directory(name: &str) -> PathBuf {
    let path = scratch().join(name);
    fs_err::create_dir_all(&path).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    path
}

/// The program with this output directory, and nothing of the caller's environment but what finds programs.
fn fam_build(output: &Path) -> Command {
    let mut command = Command::new(support::FAM_BUILD);
    set_up(&mut command, output);
    command
}

fn as_user(output: &Path) -> Command {
    let mut command = support::as_user("/usr/bin/env");
    command.args([format!("TMPDIR={}", output.display()), "PATH=/usr/bin:/bin".into()]);
    command.arg(support::public_binary());
    command
}

fn set_up(command: &mut Command, output: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("MIRROR", support::mirror()).env("TMPDIR", output);
    for proxy in ["http_proxy", "https_proxy", "no_proxy"] {
        command.envs(std::env::var_os(proxy).map(|value| (proxy, value)));
    }
    command.env("XDG_CACHE_HOME", scratch().join("cache")).env("XDG_DATA_HOME", scratch().join("data"));
}

/// A recipe of a small system with these plugins.
fn recipe(name: &str, plugins: &str) -> PathBuf {
    let path = scratch().join(format!("{name}.toml"));
    // What plugins of the tests make use of.
    let include = "include = [\"openssh-server\", \"passwd\", \"tzdata\"]\n";
    fs_err::write(&path, format!("{include}{SMALL_SYSTEM}{plugins}")).unwrap();
    path
}

/// What debugfs finds of a file in a node's disk.
fn in_image(disk: &Path, path: &str) -> String {
    let raw = disk.with_extension("raw");
    succeed(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(disk).arg(&raw));
    let partition = succeed(Command::new("sgdisk").args(["-i", "3"]).arg(&raw));
    let sector = partition.lines().find_map(|line| line.strip_prefix("First sector: ")).unwrap();
    let offset = sector.split(' ').next().unwrap().parse::<u64>().unwrap() * 512;
    let mut debugfs = Command::new("debugfs");
    let text = succeed(debugfs.args(["-R", &format!("cat {path}"), &format!("{}?offset={offset}", raw.display())]));
    fs_err::remove_file(raw).unwrap();
    text
}

/// A root tarball with a few directories: images of it take no time and no network.
fn tarball() -> &'static Path {
    static TARBALL: OnceLock<PathBuf> = OnceLock::new();
    TARBALL.get_or_init(|| {
        let (root, tarball) = (scratch().join("root"), scratch().join("root.tar"));
        for name in ["etc", "usr/bin", "var"] {
            fs_err::create_dir_all(root.join(name)).unwrap();
        }
        fs_err::write(root.join("etc/motd"), "").unwrap();
        succeed(
            Command::new("tar")
                .args(["--numeric-owner", "--owner=0", "--group=0", "-cf"])
                .arg(&tarball)
                .arg("-C")
                .arg(root)
                .arg("."),
        );
        tarball
    })
}

fn compile(name: &str, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/hostile.c");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/sdk/include");
    let library = directory("hostile").join(format!("{name}.so"));
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Wno-unused", "-Werror", "-O0", "-shared", "-fPIC", "-o"]);
    succeed(cc.arg(&library).args(options).arg("-I").arg(include).arg(source));
    library
}

fn script() -> PathBuf {
    let path = directory("hostile").join("hostile");
    fs_err::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/hostile.sh"), &path).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// One in each language, begun, tested and built as the program says, without network; then all four in one build.
#[test]
fn one_in_each_language() {
    let place = directory("languages");
    let mut plugins = String::new();
    for (language, built) in [
        ("rust", "greet-rust/target/release/libgreet_rust.so"),
        ("c", "greet-c/greet-c.so"),
        ("sh", "greet-sh/greet-sh"),
        ("python", "greet-python/greet-python.py"),
    ] {
        let name = format!("greet-{language}");
        let mut new = fam_build(&place);
        let said = succeed(new.current_dir(&place).args(["plugin", "new", &name, "--lang", language, "--json"]));
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        let project = place.join(&name);
        let run = |command: &serde_json::Value| {
            let words: Vec<&str> = command.as_str().unwrap().split(' ').collect();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).current_dir(&project).env("CARGO_NET_OFFLINE", "true");
            // One profile: the dependencies are compiled once.
            if words.starts_with(&["cargo", "test"]) {
                command.arg("--release");
            }
            succeed(command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS"));
        };
        run(&report["report"]["test"]);
        // Each gets a file of its own to write, to be told apart in one image.
        for file in ["src/lib.rs", "greet-c.c", "greet-sh", "greet-python.py"] {
            if let Ok(text) = fs_err::read_to_string(project.join(file)) {
                fs_err::write(project.join(file), text.replace("/etc/motd", &format!("/etc/motd-{language}"))).unwrap();
            }
        }
        if report["report"]["build"].is_string() {
            run(&report["report"]["build"]);
        }
        assert_eq!(report["report"]["plugin"], built.split_once('/').unwrap().1);
        let file = place.join(built);
        let said = succeed(fam_build(&place).args(["plugin", "check"]).arg(&file).args(["--set", "text=hello"]));
        assert!(said.starts_with(&format!("{name}: greets at login\n")) && said.contains("settings fit"), "{said}");
        let (code, said) = fail(fam_build(&place).args(["plugin", "check"]).arg(&file).args(["--set", "txt=hello"]));
        assert!(code == 2 && said.contains(&format!("plugin {name}: setting ")), "{said}");
        plugins += &format!(
            "[[plugin.add]]\nname = \"{name}\"\npath = \"languages/{built}\"\nsettings = {{ text = \"hello from {language} 'ä'\" }}\n"
        );
    }
    let output = directory("languages/output");
    let recipe = scratch().join("languages.toml");
    fs_err::write(&recipe, format!("extends = \"minimal\"\nnodes.count = 1\n{plugins}")).unwrap();
    succeed(fam_build(&output).arg("--recipe").arg(&recipe));
    let disk = output.join("fabric1.qcow2");
    let mut guest = Machine::new(&disk).start();
    guest.wait_for_login();
    guest.log_in("root", "aresquare");
    for language in ["rust", "c", "sh", "python"] {
        let (greeting, file) =
            (format!("hello from {language} 'ä'\nThis is fabric1."), format!("/etc/motd-{language}"));
        assert_eq!(in_image(&disk, &file), format!("{greeting}\n"));
        assert_eq!(guest.check(&format!("cat {file}")), greeting);
    }
    drop(guest);
    // What a plugin is made of belongs to what the template is made of.
    let reused = |recipe: &Path| succeed(fam_build(&output).arg("--recipe").arg(recipe)).contains("that was there");
    assert!(reused(&recipe));
    let script = place.join("greet-sh/greet-sh");
    let text = fs_err::read_to_string(&script).unwrap();
    fs_err::write(&script, text.replace("This is", "You are on")).unwrap();
    assert!(!reused(&recipe), "a changed plugin makes a new template");
    assert!(in_image(&disk, "/etc/motd-sh").ends_with("\nYou are on fabric1.\n"));

    // By a normal user, found by name in a directory; a panic in a library is a clear error.
    let library = place.join("greet-rust/src/lib.rs");
    let text = fs_err::read_to_string(&library).unwrap();
    fs_err::write(
        &library,
        text.replace("root.append(", "assert!(node.number > 1, \"no luck\");\n        root.append("),
    )
    .unwrap();
    succeed(Command::new("cargo").args(["build", "--release", "--offline"]).current_dir(place.join("greet-rust")));
    let named = directory("named");
    fs_err::copy(place.join("greet-rust/target/release/libgreet_rust.so"), named.join("libgreet_rust.so")).unwrap();
    let user_output = scratch().join("of-user");
    fs_err::create_dir(&user_output).unwrap();
    succeed(Command::new("chown").arg(support::user()).arg(&user_output));
    let recipe = self::recipe("panic", "[[plugin]]\nname = \"greet-rust\"\nsettings = { text = \"x\" }\n");
    let (code, said) = fail(
        as_user(&user_output)
            .arg("--from-tarball")
            .arg(tarball())
            .arg("--recipe")
            .arg(recipe)
            .arg("--plugin-dir")
            .arg(named),
    );
    assert!(code == 1 && said.contains("plugin greet-rust on fabric1 crashed: no luck"), "{said}");
    assert_nothing_left(&user_output);
}

#[track_caller]
fn assert_nothing_left(output: &Path) {
    let mut names: Vec<_> = fs_err::read_dir(output).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| {
        !["fabric.seed", "fabric_emulation.log", "fabric_emulation.log.old"].map(Into::into).contains(name)
    });
    assert!(names.is_empty(), "left behind: {names:?}");
}

/// How many processes of the whole machine have this in their command line.
fn processes_with(word: &str) -> usize {
    let status = Command::new("pgrep").args(["--count", "--full", "--", word]).output().unwrap();
    String::from_utf8_lossy(&status.stdout).trim().parse().unwrap()
}

/// Runs a build that must fail with exit code 1, and in which the plugin `hostile` does what `act` says.
#[track_caller]
fn harm(file: &Path, act: &str, output: &Path, stage: &[&str]) -> String {
    let outside = directory("outside");
    // The limit of bytes is what ends this one, not that of time.
    let limit = if act == "many" { 120 } else { 3 };
    let plugins = format!(
        "[[plugin]]\nname = \"hostile\"\npath = \"{}\"\ntime-limit = {limit}\nsettings = {{ do = \"{act}\", outside = \"{}\" }}\n",
        file.display(),
        outside.display()
    );
    let recipe = recipe(&format!("hostile-{act}"), &plugins);
    let (code, said) = fail(fam_build(output).args(stage).arg("--recipe").arg(recipe));
    assert_eq!(code, 1, "{act}: {said}");
    assert!(!said.contains("panicked") && !said.contains("internal error"), "{act}: {said}");
    assert!(said.contains("\nhint: ") || said.starts_with("hint: "), "{act} has no hint: {said}");
    assert_nothing_left(output);
    said
}

#[test]
fn harm_at_the_node_stage() {
    let (library, script) = (compile("hostile", &[]), script());
    let output = directory("harm");
    let from = ["--from-tarball", tarball().to_str().unwrap()];
    let fault = "plugin hostile on fabric1 ";
    for (file, act, error) in [
        (&library, "abort", "was killed by signal 6"),
        (&library, "exit", "exited with status 0 before it was done"),
        (&library, "null", "was killed by signal 11"),
        (&library, "loop", "took longer than 3 s"),
        (&script, "garbage", "sent what is no request, \"this is no message\""),
        (&script, "unknown", "unknown variant `wriet`"),
        (&script, "endless", "sent a line of more than 67108864 bytes"),
        (&script, "exit", "exited with status 0 before it was done"),
        (&script, "status", "exited with status 7 before it was done\n  the reason why"),
        (&script, "silent", "took longer than 3 s"),
        (&script, "closed", "took longer than 3 s"),
        (&script, "flood", "took longer than 3 s"),
    ] {
        let said = harm(file, act, &output, &from);
        assert!(
            said.contains(&format!("error: {fault}{error}")) || said.contains(error) && said.contains(fault),
            "{act}: {said}"
        );
    }
    for (act, error) in [
        ("silent", "it gave up without a word"),
        ("huge", "write /huge: larger than the limit of "),
        ("many", "write /many"),
    ] {
        let said = harm(&library, act, &output, &from);
        assert!(said.contains(&format!("plugin hostile on fabric1: {error}")), "{act}: {said}");
    }
    assert_eq!(processes_with("^sleep 1000$"), 0);
}

#[test]
fn harm_at_the_system_stage() {
    let library = compile("hostile", &[]);
    let output = directory("harm-system");
    for (act, error) in [("abort", "was killed by signal 6"), ("run", "run sleep 1000: it was still running after ")] {
        let said = harm(&library, act, &output, &["--jobs", "2"]);
        assert!(said.contains("error: plugin hostile") && said.contains(error), "{act}: {said}");
    }
    assert_eq!(processes_with("^sleep 1000$"), 0);
    let mounts = fs_err::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(output.to_str().unwrap()), "{mounts}");
}

/// What would be harm, were it not confined, does no harm.
#[test]
fn stays_inside() {
    let (library, script) = (compile("hostile", &[]), script());
    let outside = directory("outside");
    for (file, act) in
        [(&script, "dots"), (&script, "link"), (&script, "directly"), (&script, "left-behind"), (&library, "print")]
    {
        let output = directory(&format!("inside-{act}"));
        let plugins = format!(
            "[[plugin]]\nname = \"hostile\"\npath = \"{}\"\nsettings = {{ do = \"{act}\", outside = \"{}\" }}\n",
            file.display(),
            outside.display()
        );
        let recipe = recipe(&format!("inside-{act}"), &plugins);
        succeed(fam_build(&output).arg("--from-tarball").arg(tarball()).arg("--recipe").arg(recipe));
        let left: Vec<_> = fs_err::read_dir(&outside).unwrap().collect();
        assert!(left.is_empty(), "{act}: {left:?}");
        match act {
            "dots" => assert_eq!(in_image(&output.join("fabric1.qcow2"), "/dots"), "inside"),
            "link" => assert_eq!(in_image(&output.join("fabric1.qcow2"), "/etc/link"), "inside"),
            _ => {}
        }
        assert_eq!(processes_with("^sleep 1000$"), 0);
        let log = fs_err::read_to_string(output.join("fabric_emulation.log")).unwrap();
        match act {
            "directly" => assert!(log.contains("Read-only file system"), "{log}"),
            "print" => assert!(log.contains("hostile: this is no message"), "{log}"),
            _ => {}
        }
    }
}

/// Files that are no plugins, or for another program, are told before anything is made.
#[test]
fn what_is_no_plugin() {
    let text = directory("hostile").join("text.so");
    fs_err::write(&text, "#!/bin/sh\n").unwrap();
    let plain = directory("hostile").join("plain");
    fs_err::write(&plain, "").unwrap();
    let binary = directory("hostile").join("no-interpreter");
    fs_err::write(&binary, "no first line\n").unwrap();
    fs_err::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let table = |magic: &str, major: &str, minor: &str, size: &str| {
        format!("-DTABLE={{ {magic}, {major}, {minor}, {size}, describe, nothing, apply, apply }}")
    };
    let (magic, size) = ("FAM_PLUGIN_MAGIC", "sizeof(fam_plugin)");
    let library = |name: &str, option: &str| compile(name, &[option]);
    for (file, error) in [
        (text, "is no dynamic library, though its name ends in .so"),
        (plain, "is neither a library (*.so) nor executable"),
        (binary, "cannot be started: execute it: Exec format error"),
        ("/no/such.so".into(), "cannot be read: "),
        (library("none", "-DNO_TABLE"), "exports no symbol FAM_PLUGIN"),
        (library("magic", &table("1", "1", "0", size)), "no table of a plugin"),
        (
            library("major", &table(magic, "2", "0", size)),
            "is made for version 2.0 of the plugin interface, and this program has 1.0",
        ),
        (library("minor", &table(magic, "1", "1", size)), "is made for version 1.1 of the plugin interface"),
        (library("size", &table(magic, "1", "0", "8")), "has a table of 8 bytes, where version 1.0 has 48"),
        (library("undefined", "-Dabort=no_such_function"), "cannot be loaded: "),
    ] {
        let output = scratch().join("never-made");
        let plugins = format!("[[plugin]]\nname = \"hostile\"\npath = \"{}\"\n", file.display());
        let recipe = recipe("no-plugin", &plugins);
        let (code, said) = fail(fam_build(&output).arg("--recipe").arg(recipe));
        assert!(
            code == 2 && said.contains(&format!("error: plugin {}: ", file.display())) && said.contains(error),
            "{said}"
        );
        assert!(!output.exists());
        let (code, said) = fail(fam_build(&output).args(["plugin", "check"]).arg(&file));
        assert!(code == 2 && said.contains(error), "{said}");
    }
}

#[test]
fn lists_what_there_is() {
    let place = directory("listed");
    fs_err::copy(script(), place.join("hostile")).unwrap();
    fs_err::write(place.join("text.so"), "").unwrap();
    let listed = fam_build(&place).args(["plugin", "list", "--plugin-dir"]).arg(&place).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(listed.stdout).unwrap(), String::from_utf8(listed.stderr).unwrap());
    assert!(listed.status.success() && stderr.contains("text.so: is no dynamic library"), "{stderr}");
    let row = |name: &str| stdout.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
    assert!(row("hostname").contains("built-in") && row("hostile").contains("executable"), "{stdout}");
    assert!(row("hostile").ends_with(place.join("hostile").to_str().unwrap()), "{stdout}");
    let json = succeed(fam_build(&place).args(["plugin", "list", "--json", "--plugin-dir"]).arg(&place));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["report"]["faults"].as_array().unwrap().len(), 1);
    let (code, said) = fail(fam_build(&place).args(["plugin", "list", "--plugin-dir", "/no/such"]));
    assert!(code == 2 && said.contains("look for plugins in /no/such"), "{said}");
}

/// Each built-in plugin, as a library that is loaded, makes the same image as built in.
#[test]
fn built_in_or_loaded_makes_no_difference() {
    let json = succeed(fam_build(scratch()).args(["plugin", "list", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let libraries = directory("libraries");
    let settings = |name: &str| match name {
        "users" => {
            "settings = { root-password = \"aresquare\", users = [{ name = \"fabric\", password = \"rocks\" }] }\n"
        }
        "identity" => "settings = { cluster-key-users = [\"fabric\"] }\n",
        "files" => "settings = { files = [{ target = \"/etc/note\", content = \"text\", owner = \"fabric\" }] }\n",
        "script" => "settings = { script = \"echo made >/etc/made\" }\n",
        "timezone" => "settings = { zone = \"Etc/UTC\" }\n",
        _ => "",
    };
    let mut names: Vec<&str> =
        json["report"]["plugins"].as_array().unwrap().iter().map(|plugin| plugin["name"].as_str().unwrap()).collect();
    // The one that others come after.
    names.sort_by_key(|name| *name != "users");
    let (mut built_in, mut loaded) = (String::new(), String::new());
    for name in names {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["rustc", "--quiet", "--release", "--offline", "--features", "library", "--crate-type", "cdylib"]);
        cargo.args(["--package", &format!("fam-{name}")]).current_dir(env!("CARGO_MANIFEST_DIR"));
        succeed(cargo.arg("--target-dir").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/libraries")));
        let library = format!("libfam_{}.so", name.replace('-', "_"));
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/libraries/release").join(&library);
        fs_err::copy(built, libraries.join(&library)).unwrap();
        built_in += &format!("[[plugin]]\nname = \"{name}\"\n{}", settings(name));
        loaded += &format!("[[plugin]]\nname = \"{name}\"\npath = \"libraries/{library}\"\n{}", settings(name));
    }
    let build = |name: &str, plugins: &str| {
        let output = directory(&format!("output-{name}"));
        fs_err::write(output.join("fabric.seed"), "11".repeat(32) + "\n").unwrap();
        fs_err::set_permissions(output.join("fabric.seed"), std::fs::Permissions::from_mode(0o600)).unwrap();
        succeed(fam_build(&output).env("SOURCE_DATE_EPOCH", "1750000000").arg("--recipe").arg(recipe(name, plugins)));
        succeed(Command::new("sha256sum").arg("fabric1.qcow2").arg("fabric_template.img").current_dir(output))
    };
    assert_eq!(build("built-in", &built_in), build("loaded", &loaded));
}
