//! Files beside a recipe that the plugin `files` copies into the system, of any size: they are not
//! held in memory, they come out byte by byte as they lie there, and what has changed since they
//! were looked at is no part of an image.
//!
//! The kernel holds builds to their limit of memory; tar, cmp and diff compare the bytes.

use std::fs::Permissions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::files::{extract, in_tarball};
use support::mounted::Mounted;
use support::server::{Answer, Server};
use support::succeed;

use crate::small::{Bench, Who, archive, assert_fails, assert_nothing_left, names, recipe_with};

support::tests! {
    needs [
        support::harness::ROOT, "newuidmap", "setpriv", "prlimit", "gpg", "dpkg-deb", "tar", "cmp", "diff", "python3",
    ];
    a_file_larger_than_memory_may_be_is_copied,
    trees_come_out_as_they_lie_there,
    a_changed_byte_makes_another_template,
    what_changes_during_a_build_is_named,
    what_has_no_room_is_told_before_the_network,
    a_worker_that_may_not_read_a_file_says_so_at_once,
    a_plugin_in_a_file_has_its_files_copied,
}

const MIB: u64 = 1 << 20;

/// The table of a recipe that copies `source` to `target`.
fn copies(source: &str, target: &str) -> String {
    format!("[[plugin]]\nname = \"files\"\n[[plugin.settings.files]]\nsource = \"{source}\"\ntarget = \"{target}\"\n")
}

impl Bench {
    fn copying(who: Who, source: &str, target: &str) -> Self {
        let bench = Self::of(who, archive().serve());
        bench.write("tiny.toml", &recipe_with(&copies(source, target)));
        bench
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn template(&self) -> PathBuf {
        self.output().join("fabric_template.tar")
    }
}

/// Writes a file of which each eight bytes say where they are.
fn write_pattern(path: &Path, mebibytes: u64) {
    let mut file = BufWriter::new(fs_err::File::create(path).unwrap());
    (0..mebibytes * MIB / 8).for_each(|word| file.write_all(&word.to_le_bytes()).unwrap());
    file.flush().unwrap();
}

/// The same command, of whose processes none may have more memory of its own.
fn with_memory(command: &Command, mebibytes: u64) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--data={}", mebibytes * MIB)).arg("--").arg(command.get_program()).args(command.get_args());
    limited
}

fn a_file_larger_than_memory_may_be_is_copied() {
    for (who, size) in [(Who::Root, 700), (Who::User, 500)] {
        let bench = Bench::copying(who, "blob", "/opt/blob");
        write_pattern(&bench.beside("blob"), size);
        // The resolver reserves 256 MiB for its stack, of which it uses next to nothing.
        succeed(&mut with_memory(&bench.build(&[]), 448));
        let compare = "tar --extract --to-stdout --file \"$1\" ./opt/blob | cmp - \"$2\"";
        succeed(Command::new("sh").args(["-c", compare, "sh"]).arg(bench.template()).arg(bench.beside("blob")));
        let listed =
            succeed(Command::new("tar").arg("-tvf").arg(bench.template()).args(["--numeric-owner", "./opt/blob"]));
        assert!(listed.starts_with("-rw-r--r-- 0/0 "), "{listed}");
        let log = fs_err::read_to_string(bench.output().join("fabric_emulation.log")).unwrap();
        let peak = log.lines().find_map(|line| line.split_once("peak memory of the worker: ")).expect("a peak").1;
        println!("{who:?}: {peak} for {size} MiB");
        assert!(peak.trim_end_matches(" MiB").parse::<u64>().unwrap() < 256, "{peak}");
    }
}

fn trees_come_out_as_they_lie_there() {
    let bench = Bench::copying(Who::Root, "tree", "/opt/tree");
    let tree = bench.beside("tree");
    fs_err::create_dir_all(tree.join("empty")).unwrap();
    fs_err::create_dir_all(tree.join("deep/er")).unwrap();
    for number in 0..300_u32 {
        fs_err::write(tree.join(format!("deep/{number}")), number.to_be_bytes().repeat(number as usize)).unwrap();
    }
    write_pattern(&tree.join("deep/er/large"), 3);
    fs_err::write(tree.join("deep/er/the same"), fs_err::read(tree.join("deep/er/large")).unwrap()).unwrap();
    fs_err::set_permissions(tree.join("deep/7"), Permissions::from_mode(0o740)).unwrap();
    std::os::unix::fs::symlink("er/large", tree.join("deep/link")).unwrap();
    succeed(&mut bench.build(&[]));
    let out = bench.beside("out");
    extract(&bench.template(), &out);
    succeed(Command::new("diff").args(["--recursive", "--no-dereference"]).arg(&tree).arg(out.join("opt/tree")));
    let mode = |path: &str| fs_err::metadata(out.join("opt/tree").join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("deep/7"), mode("deep/8"), mode("empty")), (0o755, 0o644, 0o755));
    bench.write("tiny.toml", &recipe_with(&copies("tre", "/opt/tree")));
    let error = ["plugin files: setting files[0].source: ", "No such file"];
    assert_fails(&mut bench.build(&[]), 2, &error, "from the directory of the recipe");
}

fn a_changed_byte_makes_another_template() {
    let bench = Bench::copying(Who::Root, "blob", "/opt/blob");
    write_pattern(&bench.beside("blob"), 2);
    let reuses = || {
        let report = succeed(&mut bench.build(&["--json"]));
        let plan = succeed(&mut bench.build(&["plan", "--json"]));
        assert!(plan.contains("\"reuses_template\":true"), "what was built is there: {plan}");
        report.contains("\"reused_template\":true")
    };
    assert!(!reuses());
    assert!(reuses());
    // The same bytes in another file, made at another time, with other permissions.
    let bytes = fs_err::read(bench.beside("blob")).unwrap();
    fs_err::remove_file(bench.beside("blob")).unwrap();
    fs_err::write(bench.beside("blob"), &bytes).unwrap();
    fs_err::set_permissions(bench.beside("blob"), Permissions::from_mode(0o600)).unwrap();
    assert!(reuses());
    let mut changed = bytes;
    changed[1_234_567] ^= 1;
    fs_err::write(bench.beside("blob"), &changed).unwrap();
    let plan = succeed(&mut bench.build(&["plan", "--json"]));
    assert!(plan.contains("\"reuses_template\":false"), "{plan}");
    assert!(!reuses());
    let compare = "tar --extract --to-stdout --file \"$1\" ./opt/blob | cmp - \"$2\"";
    succeed(Command::new("sh").args(["-c", compare, "sh"]).arg(bench.template()).arg(bench.beside("blob")));
    // Executable is part of it, too.
    fs_err::set_permissions(bench.beside("blob"), Permissions::from_mode(0o700)).unwrap();
    assert!(!reuses());
}

fn what_changes_during_a_build_is_named() {
    let files = archive().files();
    let bench = Bench::copying(Who::Root, "blob", "/opt/blob");
    let path = bench.beside("blob");
    write_pattern(&path, 2);
    let original = fs_err::read(&path).unwrap();
    let mut same_size = original.clone();
    *same_size.last_mut().unwrap() ^= 0x80;
    for other in [same_size, original[1..].to_vec(), [&original[..], b"more"].concat()] {
        fs_err::write(&path, &original).unwrap();
        let (of_server, changed) = (files.clone(), path.clone());
        // When the archive is asked for the first time, the file was hashed.
        let server = Server::new(move |request| {
            fs_err::write(&changed, &other).unwrap();
            of_server.get(&request.target).map_or_else(|| Answer::status(404), |body| Answer::file(body, request))
        });
        let mut build = bench.build(&["--mirror", &server.url]);
        let error =
            format!("plugin files: copy /opt/blob: {} has changed since the settings were checked", path.display());
        assert_fails(&mut build, 1, &[&error], "leave the files of a recipe as they are while it is built");
        assert_nothing_left(&bench.output());
    }
}

fn what_has_no_room_is_told_before_the_network() {
    let bench = Bench::copying(Who::Root, "blob", "/opt/blob");
    let file = fs_err::File::create(bench.beside("blob")).unwrap();
    file.set_len(400 * MIB).unwrap();
    fs_err::create_dir(bench.output()).unwrap();
    {
        let _disk = Mounted::in_memory(&bench.output(), "size=700M");
        let error = [
            "0.7 GiB free",
            "the build (tarball, raw image, 1 nodes), with 400 MiB of files beside the recipe, takes 1.2 GiB",
        ];
        assert_fails(&mut bench.build(&[]), 1, &error, "free some space");
        assert!(names(&bench.output()).is_empty());
    }
    // The disk of the nodes has 1 GiB.
    file.set_len(1024 * MIB).unwrap();
    assert_fails(&mut bench.build(&[]), 1, &["the tree needs 1073741824 bytes but its partition has "], "--size 3G");
    assert_eq!(bench.mirror.server.requests().len(), 0);
    assert!(names(&bench.output()).is_empty());
}

/// A worker of a normal user's has that user's own group, and no other.
fn a_worker_that_may_not_read_a_file_says_so_at_once() {
    const GROUP: &str = "64321";
    let bench = Bench::copying(Who::User, "blob", "/opt/blob");
    fs_err::write(bench.beside("blob"), "of the group\n").unwrap();
    succeed(Command::new("chown").arg(format!("root:{GROUP}")).arg(bench.beside("blob")));
    let permissions = |mode| fs_err::set_permissions(bench.beside("blob"), Permissions::from_mode(mode)).unwrap();
    permissions(0o640);
    let build = bench.build(&[]);
    let in_group = |argument: &std::ffi::OsStr| {
        if argument == "--init-groups" { format!("--groups={GROUP}").into() } else { argument.to_owned() }
    };
    let mut build_in_group = Command::new(build.get_program());
    build_in_group.args(build.get_args().map(in_group));
    let error = ["plugin files: files to copy: ", bench.beside("blob").to_str().unwrap(), "Permission denied"]
        .map(str::to_owned);
    let error: Vec<&str> = error.iter().map(String::as_str).collect();
    assert_fails(&mut build_in_group, 1, &error, "chmod o+r");
    assert_eq!(bench.mirror.server.requests().len(), 0);
    assert_nothing_left(&bench.output());
    permissions(0o644);
    succeed(&mut build_in_group);
    assert_eq!(in_tarball(&bench.template(), "./opt/blob"), "of the group\n");
}

/// Copies what its setting `tree` names, and tries what it may not.
const COPIER: &str = r#"#!/usr/bin/env python3
import json, sys
call = json.loads(sys.stdin.readline())
def ask(**request):
    print(json.dumps(request), flush=True)
    return json.loads(sys.stdin.readline())
if call["call"] == "describe":
    ask(op="describe", name="copier", summary="copies", stages=["system", "node"], copies=["tree"])
elif call["call"].startswith("apply"):
    for entry in call["settings"]["tree"]["entries"]:
        path = "/srv/" + call["call"] + "/" + entry["path"]
        if entry["type"] == "directory":
            ask(op="create-dirs", path=path)
            continue
        assert set(entry) == {"path", "type", "executable", "digest"}, entry
        answer = ask(op="copy", path=path, mode="0640", owner=[7, 8], **entry["digest"])
        ask(op="log", message="copy: " + json.dumps(answer))
    other = ask(op="copy", path="/srv/x", sha256="ab" * 32, size=3)
    ask(op="log", message="unknown: " + json.dumps(other))
print('{"op":"done"}')
"#;

fn a_plugin_in_a_file_has_its_files_copied() {
    for who in [Who::Root, Who::User] {
        let bench = Bench::of(who, archive().serve());
        let plugin = "[[plugin]]\nname = \"copier\"\npath = \"copier\"\nsettings.tree = \"tree\"\n";
        bench.write("tiny.toml", &recipe_with(plugin));
        let copier = bench.write("copier", COPIER);
        fs_err::set_permissions(copier, Permissions::from_mode(0o755)).unwrap();
        fs_err::create_dir(bench.beside("tree")).unwrap();
        fs_err::write(bench.beside("tree/small"), "text\n").unwrap();
        write_pattern(&bench.beside("tree/large"), 80);
        succeed(&mut bench.build(&[]));
        let compare = "tar --extract --to-stdout --file \"$1\" ./srv/apply-system/large | cmp - \"$2\"";
        succeed(Command::new("sh").args(["-c", compare, "sh"]).arg(bench.template()).arg(bench.beside("tree/large")));
        let listed = succeed(
            Command::new("tar").arg("-tvf").arg(bench.template()).args(["--numeric-owner", "./srv/apply-system/small"]),
        );
        assert!(listed.starts_with("-rw-r----- 7/8 "), "{listed}");
        let log = fs_err::read_to_string(bench.output().join("fabric_emulation.log")).unwrap();
        let unknown = "\"error\": \"copy /srv/x: no file of the settings has this digest\"";
        assert_eq!(log.matches("copier: copy: {\"ok\": true}").count(), 2, "{log}");
        assert_eq!(log.matches(unknown).count(), 2, "{log}");
        assert_eq!(log.matches("can be copied at the system stage only").count(), 2, "{log}");
    }
}
