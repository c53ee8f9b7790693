//! Plugins in files that mean harm, of which nothing must be left but an error that names them; and
//! files that are no plugins.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::disk::RootFileSystem;
use support::workshop::Workshop;
use support::{fail, succeed};

use crate::small::{Bench, archive, assert_nothing_left, recipe_with};

support::tests! {
    needs [support::harness::ROOT, "cc", "debugfs", "dpkg-deb", "gpg", "pgrep", "qemu-img", "sgdisk"];
    harm_at_the_node_stage,
    harm_at_the_system_stage,
    stays_inside,
    what_is_no_plugin,
    lists_what_there_is,
    settings_that_name_files_bring_them,
}

fn compile(place: &Path, name: &str, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plain/plugins/hostile.c");
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/sdk/c");
    let library = place.join(format!("{name}.so"));
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Wno-unused", "-Werror", "-O0", "-shared", "-fPIC", "-o"]);
    succeed(cc.arg(&library).args(options).arg("-I").arg(&sdk).arg(source).arg(sdk.join("fam_plugin.c")));
    library
}

fn script(place: &Path) -> PathBuf {
    let path = place.join("hostile");
    fs_err::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plain/plugins/hostile.sh"), &path).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// How many processes of the whole machine have this in their command line.
fn processes_with(word: &str) -> usize {
    let status = Command::new("pgrep").args(["--count", "--full", "--", word]).output().unwrap();
    String::from_utf8_lossy(&status.stdout).trim().parse().unwrap()
}

/// The table of a recipe that has the plugin `hostile` do what `act` says, for as long as `limit`
/// seconds.
fn hostile(file: &Path, act: &str, outside: &Path, limit: u32) -> String {
    format!(
        "[[plugin]]\nname = \"hostile\"\npath = \"{}\"\ntime-limit = {limit}\nsettings = {{ do = \"{act}\", outside = \"{}\" }}\n",
        file.display(),
        outside.display()
    )
}

/// Runs a build that must fail with exit code 1, a hint, and nothing left; returns what it said.
#[track_caller]
fn assert_fails(build: &mut Command, output: &Path) -> String {
    let (code, said) = fail(build);
    assert_eq!(code, 1, "{said}");
    assert!(!said.contains("panicked") && !said.contains("internal error"), "{said}");
    assert!(said.contains("\nhint: ") || said.starts_with("hint: "), "no hint: {said}");
    assert_nothing_left(output);
    said
}

fn harm_at_the_node_stage() {
    let workshop = Workshop::new();
    let (library, script) = (compile(workshop.path(), "hostile", &[]), script(workshop.path()));
    let (output, outside, tarball) = (workshop.directory("harm"), workshop.directory("outside"), workshop.tarball());
    let harm = |file: &Path, act: &str| {
        // The limit of bytes is what ends this one, not that of time.
        let limit = if act == "many" { 120 } else { 3 };
        let recipe = workshop.recipe(act, &hostile(file, act, &outside, limit));
        let mut build = workshop.fam_build(&output);
        println!("{act}");
        assert_fails(build.arg("--from-tarball").arg(&tarball).arg("--recipe").arg(recipe), &output)
    };
    let fault = "plugin hostile on fabric1 ";
    for (file, act, error) in [
        (&library, "abort", "was killed by signal 6"),
        (&library, "exit", "exited with status 0 before it was done"),
        (&library, "null", "was killed by signal 11"),
        (&library, "loop", "took longer than 3 s"),
        (&library, "garbage", "sent what is no request, \"this is no message\""),
        (&script, "garbage", "sent what is no request, \"this is no message\""),
        (&script, "unknown", "unknown variant `wriet`"),
        (&script, "endless", "sent a line of more than 67108864 bytes"),
        (&script, "exit", "exited with status 0 before it was done"),
        (&script, "status", "exited with status 7 before it was done\n  the reason why"),
        (&script, "silent", "took longer than 3 s"),
        (&script, "closed", "took longer than 3 s"),
        (&script, "flood", "took longer than 3 s"),
    ] {
        let said = harm(file, act);
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
        let said = harm(&library, act);
        assert!(said.contains(&format!("plugin hostile on fabric1: {error}")), "{act}: {said}");
    }
    assert_eq!(processes_with("^sleep 1000$"), 0);
}

fn harm_at_the_system_stage() {
    let workshop = Workshop::new();
    let library = compile(workshop.path(), "hostile", &[]);
    let bench = Bench::new(archive());
    for (act, error) in [("abort", "was killed by signal 6"), ("run", "run sleep 1000: it was still running after ")] {
        bench.write("tiny.toml", &recipe_with(&hostile(&library, act, workshop.path(), 3)));
        let said = assert_fails(&mut bench.build(&["--jobs", "2"]), &bench.output());
        assert!(said.contains("error: plugin hostile") && said.contains(error), "{act}: {said}");
    }
    assert_eq!(processes_with("^sleep 1000$"), 0);
    let mounts = fs_err::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(bench.output().to_str().unwrap()), "{mounts}");
}

/// What would be harm, were it not confined, does no harm.
fn stays_inside() {
    let workshop = Workshop::new();
    let (library, script) = (compile(workshop.path(), "hostile", &[]), script(workshop.path()));
    let (outside, tarball) = (workshop.directory("outside"), workshop.tarball());
    for (file, act) in
        [(&script, "dots"), (&script, "link"), (&script, "directly"), (&script, "left-behind"), (&library, "print")]
    {
        let output = workshop.directory(&format!("inside-{act}"));
        let recipe = workshop.recipe(act, &hostile(file, act, &outside, 120));
        let mut build = workshop.fam_build(&output);
        succeed(build.arg("--from-tarball").arg(&tarball).arg("--recipe").arg(recipe));
        let left: Vec<_> = fs_err::read_dir(&outside).unwrap().collect();
        assert!(left.is_empty(), "{act}: {left:?}");
        match act {
            "dots" => assert_eq!(RootFileSystem::of(&output.join("fabric1.qcow2")).cat("/dots"), "inside"),
            "link" => assert_eq!(RootFileSystem::of(&output.join("fabric1.qcow2")).cat("/etc/link"), "inside"),
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
fn what_is_no_plugin() {
    let workshop = Workshop::new();
    let place = workshop.path();
    let text = place.join("text.so");
    fs_err::write(&text, "#!/bin/sh\n").unwrap();
    let plain = place.join("plain");
    fs_err::write(&plain, "").unwrap();
    let binary = place.join("no-interpreter");
    fs_err::write(&binary, "no first line\n").unwrap();
    fs_err::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let library = |name: &str, option: &str| compile(place, name, &[option]);
    for (file, error) in [
        (text, "is no dynamic library, though its name ends in .so"),
        (plain, "is neither a library (*.so) nor executable"),
        (binary, "cannot be started: execute it: Exec format error"),
        ("/no/such.so".into(), "cannot be read: "),
        (library("none", "-DNO_SYMBOL"), "exports no function fam_plugin_main"),
        (
            library("old", "-DOLD_TABLE"),
            "is made for version 1.0 of the library interface, the table FAM_PLUGIN, which is no more\nhint: build it again with the SDK",
        ),
        (library("leaves", "-DLEAVES"), "exited with status 3 before it was done"),
        (library("undefined", "-Dabort=no_such_function"), "cannot be loaded: "),
    ] {
        let output = place.join("never-made");
        let plugins = format!("[[plugin]]\nname = \"hostile\"\npath = \"{}\"\n", file.display());
        let recipe = workshop.recipe("no-plugin", &plugins);
        let (code, said) = fail(workshop.fam_build(&output).arg("--recipe").arg(recipe));
        assert!(
            code == 2 && said.contains(&format!("error: plugin {}: ", file.display())) && said.contains(error),
            "{said}"
        );
        assert!(!output.exists());
        let (code, said) = fail(workshop.fam_build(&output).args(["plugin", "check"]).arg(&file));
        assert!(code == 2 && said.contains(error), "{said}");
    }
}

fn lists_what_there_is() {
    let workshop = Workshop::new();
    let place = workshop.directory("listed");
    script(&place);
    fs_err::write(place.join("text.so"), "").unwrap();
    let listed = workshop.fam_build(&place).args(["plugin", "list", "--plugin-dir"]).arg(&place).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(listed.stdout).unwrap(), String::from_utf8(listed.stderr).unwrap());
    assert!(listed.status.success() && stderr.contains("text.so: is no dynamic library"), "{stderr}");
    let row = |name: &str| stdout.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
    assert!(row("hostname").contains("built-in") && row("hostile").contains("executable"), "{stdout}");
    assert!(row("hostile").ends_with(place.join("hostile").to_str().unwrap()), "{stdout}");
    let json = succeed(workshop.fam_build(&place).args(["plugin", "list", "--json", "--plugin-dir"]).arg(&place));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["report"]["faults"].as_array().unwrap().len(), 1);
    let (code, said) = fail(workshop.fam_build(&place).args(["plugin", "list", "--plugin-dir", "/no/such"]));
    assert!(code == 2 && said.contains("look for plugins in /no/such"), "{said}");
}

/// What a plugin says of its setting `file`, which names a file beside the recipe.
const READER: &str = r#"#!/usr/bin/env python3
import json, sys
call = json.loads(sys.stdin.readline())
if call["call"] == "describe":
    print(json.dumps({"op": "describe", "name": "reader", "summary": "reads", "stages": ["node"], "reads": ["file"]}), flush=True)
    sys.stdin.readline()
else:
    print(json.dumps({"op": "fail", "message": "got " + json.dumps(call["settings"]["file"])}), flush=True)
    sys.exit()
print('{"op":"done"}')
"#;

fn settings_that_name_files_bring_them() {
    let workshop = Workshop::new();
    let plugin = workshop.path().join("reader");
    fs_err::write(&plugin, READER).unwrap();
    fs_err::set_permissions(&plugin, PermissionsExt::from_mode(0o755)).unwrap();
    fs_err::write(workshop.path().join("motd"), "hello\n").unwrap();
    let check = |file: &str| {
        let table = format!("[[plugin]]\nname = \"reader\"\npath = \"reader\"\nsettings.file = \"{file}\"\n");
        let recipe = workshop.recipe("reads", &table);
        fail(workshop.fam_build(workshop.path()).args(["recipe", "check"]).arg(recipe)).1
    };
    let said = check("motd");
    let file =
        r#"got {"entries": [{"executable": false, "path": "", "text": "hello\n", "type": "file"}], "path": "motd"}"#;
    assert!(said.contains(file), "{said}");
    assert!(
        check("/etc/shadow").contains("plugin reader: setting file: \"/etc/shadow\" is no path of something beneath")
    );
}
