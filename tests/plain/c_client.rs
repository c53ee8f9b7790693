//! The client for plugins in C (plugins/sdk/c), which runs in the plugin's own process: that it
//! carries any bytes, with Rust's serde at the other end; and that no answer, however damaged, has
//! it touch memory that is not its own, by sanitizers and by valgrind.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fam_plugin::protocol::{Bytes, Contents, FileType, Mode, Reply, Request, Secret, Stat};
use fam_plugin::{Error, NewUser, Problem};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::json;
use support::harness::Test;
use support::succeed;

/// The tests of this file. valgrind is not always there.
pub fn tests() -> Vec<Test> {
    let test = |name, run: fn()| Test::new(module_path!(), name, run).needs(&["cc"]);
    vec![
        test("carries_any_bytes", carries_any_bytes),
        test("tells_what_it_is_told", tells_what_it_is_told),
        test("damaged_answers_do_no_harm", damaged_answers_do_no_harm),
        test("valgrind_finds_nothing", valgrind_finds_nothing).needs(&["valgrind"]),
    ]
}

const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// tests/plain/plugins/client.c as a program.
fn client(place: &Path, options: &[&str]) -> PathBuf {
    let program = place.join("client");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]);
    cc.args(["-O1", "-g", "-I", "plugins/sdk/c", "-o"]).arg(&program).args(options);
    succeed(cc.args(["tests/plain/plugins/client.c", "plugins/sdk/c/fam_plugin.c"]));
    program
}

/// Calls the program, answers its requests, and returns how it ended the call.
fn call(program: &Path, call: &serde_json::Value, mut answer: impl FnMut(Request) -> Reply) -> Request {
    let mut command = Command::new(program);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    writeln!(to, "{call}").unwrap();
    let mut last = None;
    for line in from.lines() {
        let line = line.unwrap();
        assert!(last.is_none(), "after the last message: {line}");
        match serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")) {
            end @ (Request::Done {} | Request::Fail { .. }) => last = Some(end),
            request => writeln!(to, "{}", serde_json::to_string(&answer(request)).unwrap()).unwrap(),
        }
    }
    assert!(child.wait().unwrap().success());
    last.expect("a last message")
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    contents: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Bytes of each kind that is written in another way.
fn contents(random: &mut StdRng) -> Vec<u8> {
    const TEXT: [&str; 8] = ["a", "\"", "\\", "\n", "ä", "€", "😀", "\u{1}"];
    let length = *[0, 1, 2, 3, 4, 5, 100, 5000].get(random.gen_range(0..8)).unwrap();
    match random.gen_range(0..3) {
        0 => {
            let mut bytes = vec![0; length];
            random.fill_bytes(&mut bytes);
            bytes
        }
        1 => (0..length).flat_map(|_| TEXT[random.gen_range(0..TEXT.len())].bytes()).collect(),
        _ => TEXT[random.gen_range(0..TEXT.len())].repeat(length).into_bytes(),
    }
}

fn carries_any_bytes() {
    let place = tempfile::tempdir().unwrap();
    let program = client(place.path(), &SANITIZERS);
    let mut random = StdRng::seed_from_u64(1);
    let mut files: BTreeMap<Vec<u8>, File> = BTreeMap::new();
    for number in 0..300 {
        let mut name = format!("{number}").into_bytes();
        name.extend([&b""[..], b" ", b"\"\\", "ä".as_bytes(), b"\xff", b"\x7f\n"][number % 6]);
        let xattrs = (0..number % 3).map(|index| (format!("user.{index}").into_bytes(), contents(&mut random)));
        let file = File {
            xattrs: xattrs.collect(),
            contents: contents(&mut random),
            mode: random.gen_range(0..=0o7777),
            owner: (random.r#gen(), random.r#gen()),
        };
        files.insert(name, file);
    }
    files.insert(b"large".into(), File { contents: vec![b'\n'; 5 << 20], ..files[&b"0"[..]].clone() });
    let name_of = |path: &Bytes| path.0.strip_prefix(b"/").unwrap().to_vec();
    let empty = File { contents: vec![], mode: 0, owner: (0, 0), xattrs: BTreeMap::new() };
    let mut copies: BTreeMap<Vec<u8>, File> = BTreeMap::new();
    let asked = json!({ "protocol": 1, "call": "apply-node", "settings": {} });
    let last = call(&program, &asked, |request| {
        let mut reply = Reply::ok();
        match request {
            Request::List { .. } => reply.names = Some(files.keys().cloned().map(Bytes).collect()),
            Request::Stat { path, follow: false } => {
                let File { mode, owner: (uid, gid), .. } = files[&name_of(&path)];
                let (file_type, size, target) = (FileType::File, u64::MAX, None);
                reply.stat = Some(Stat { file_type, mode: Mode(mode), uid, gid, size, target });
            }
            Request::Read { path, .. } => {
                reply.contents = Some(Contents::Any(Bytes(files[&name_of(&path)].contents.clone())));
            }
            Request::Xattrs { path } => {
                let xattrs = files[&name_of(&path)].xattrs.clone().into_iter();
                reply.xattrs = Some(xattrs.map(|(name, value)| (Bytes(name), Bytes(value))).collect());
            }
            Request::Write { path, contents, mode, owner } => {
                let (mode, owner) = (mode.unwrap().0, owner.unwrap());
                copies.insert(name_of(&path), File { contents: contents.0, mode, owner, ..empty.clone() });
            }
            Request::SetXattr { path, name, value } => {
                copies.get_mut(&name_of(&path)).unwrap().xattrs.insert(name.0, value.0);
            }
            other => panic!("{other:?}"),
        }
        reply
    });
    assert!(matches!(last, Request::Done {}), "{last:?}");
    let copied: BTreeMap<_, _> =
        copies.into_iter().map(|(name, file)| (name.strip_prefix(b"copy-").unwrap().to_vec(), file)).collect();
    for (name, file) in &files {
        assert!(copied[name] == *file, "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(copied.len(), files.len());
}

fn tells_what_it_is_told() {
    let place = tempfile::tempdir().unwrap();
    let program = client(place.path(), &SANITIZERS);
    let settings =
        json!({ "a": "\"ä😀\u{0}\n", "a/b": [0, { "~": [true, null] }], "list": (0..20).collect::<Vec<_>>() });
    let asked = json!({ "protocol": 1, "call": "apply-system", "settings": settings });
    let mut told = Vec::new();
    let last = call(&program, &asked, |request| {
        let mut reply = Reply::ok();
        match request {
            Request::Log { message, warning } => told.push((warning, message)),
            Request::Secret { label, node } => {
                assert_eq!((label.as_str(), node), ("client/label", Some(7)));
                reply.secret = Some(Secret(std::array::from_fn(|index| 0xf0 - index as u8)));
            }
            Request::Run { network: true, env, .. } if env.is_empty() => {
                return Reply::error(&Error::failed("no network"));
            }
            Request::Run { program, args, env, network: false } => {
                assert_eq!((program.as_str(), args), ("printf", vec!["%s\n".into(), "\u{fffd}ä\"".into()]));
                assert_eq!(env, BTreeMap::from([("A".into(), "1=2".into()), ("B".into(), "\n".into())]));
                (reply.status, reply.output) = (Some(-2_147_483_647), Some("ä\n".into()));
            }
            Request::Copy { sha256, size, path, mode, owner } if sha256 == "c0ffee" => {
                assert_eq!((size, path.0.as_slice()), (6_000_000_000, &b"/a\n"[..]));
                assert_eq!((mode, owner), (Some(Mode(0o640)), Some((7, 4_000_000_000))));
            }
            Request::Copy { sha256, size: 0, mode: None, owner: None, .. } if sha256 == "0" => {
                return Reply::error(&Problem::Changed("x".into()).at("copy", "/b"));
            }
            Request::AddUser(user) => assert_eq!(user, NewUser { name: "ann".into(), ..NewUser::default() }),
            Request::Resolve { .. } => return Reply::error(&Problem::NotFound.at("find", "/no/such")),
            other => panic!("{other:?}"),
        }
        reply
    });
    let whole = settings.to_string();
    let expected = [
        (false, whole.as_str()),
        // A string of C ends at its NUL.
        (false, "\"ä😀"),
        (false, "[true,null]"),
        (false, "10"),
        (true, "there is no /none"),
        (true, "there is no /list/x"),
        (true, "there is no /list/"),
        (true, "there is no /a/b"),
        (false, "f0d1"),
        (false, "status -2147483647: ä\n"),
        (true, "no network"),
        (false, "copy /b: x has changed since the settings were checked"),
        (false, "add-user: what the plugin says is no JSON object"),
    ];
    assert_eq!(told.iter().map(|(warning, text)| (*warning, text.as_str())).collect::<Vec<_>>(), expected);
    // What a function gives without a word of its own is told in the host's.
    let Request::Fail { message, .. } = last else { panic!("{last:?}") };
    assert_eq!(message, Error::to_string(&Problem::NotFound.at("find", "/no/such")));

    let newer = json!({ "protocol": 2, "do": "something" });
    let last = call(&program, &newer, |request| panic!("{request:?}"));
    let Request::Fail { message, hint, .. } = last else { panic!("{last:?}") };
    assert_eq!(message, "speaks version 1 of the plugins' protocol, and this program version 2");
    assert!(hint.unwrap().starts_with("build it again with the SDK"));
}

fn damaged_answers_do_no_harm() {
    let place = tempfile::tempdir().unwrap();
    let program = client(place.path(), &SANITIZERS);
    succeed(Command::new(program).arg("10000").arg("tests/plain/plugins/answers.jsonl"));
}

fn valgrind_finds_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--leak-check=full", "--error-exitcode=9"]).arg(client(place.path(), &[]));
    succeed(valgrind.args(["500", "tests/plain/plugins/answers.jsonl"]));
}
