//! What the documents have a newcomer type, typed as it stands there, by a normal user.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::bare::{command_in, move_in};
use support::cluster::Nodes;
use support::dialogue::Dialogue;
use support::{SMALL_SYSTEM, as_user, directory_of, mirror, public_binary, succeed};

fn document(name: &str) -> String {
    fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The indented blocks of a Markdown text, without their indentation.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        let block = blocks.last_mut().unwrap();
        match line.strip_prefix("    ") {
            Some(line) => *block += &format!("{line}\n"),
            // A blank line within a block belongs to it.
            None if line.is_empty() && !block.is_empty() => block.push('\n'),
            None if block.is_empty() => {}
            None => blocks.push(String::new()),
        }
    }
    blocks.iter().map(|block| format!("{}\n", block.trim_end())).filter(|block| block != "\n").collect()
}

/// The smallest system of Debian in which a user can build.
fn clean_root() -> tempfile::TempDir {
    let (build, root) = (directory_of("root"), directory_of("root"));
    let recipe = build.path().join("clean.toml");
    fs_err::write(&recipe, format!("include = [\"uidmap\"]\n{SMALL_SYSTEM}")).unwrap();
    let mut program = Command::new(public_binary());
    program.args(["--mirror", &mirror(), "--recipe"]).arg(recipe).arg("--output").arg(build.path());
    succeed(&mut program);
    let template = build.path().join("fabric_template.tar");
    succeed(Command::new("tar").args(["--numeric-owner", "-xpf"]).arg(template).arg("-C").arg(root.path()));
    fs_err::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    move_in(root.path());
    root
}

#[test]
fn the_first_plugin_in_a_clean_root() {
    let root = clean_root();
    let home = root.path().join("output");
    let shell = |commands: &str| {
        let mut shell = command_in(root.path(), "sh");
        shell.env("MIRROR", mirror()).args(["-ec", &format!("[ ! -d first ] || cd first\n{commands}")]);
        succeed(&mut shell)
    };
    let tutorial = document("plugins/TUTORIAL.md");
    let blocks = blocks(&tutorial);
    let [begin, check, checked, recipe, build, look, place, line, again] = &blocks[..] else {
        panic!("the tutorial has other blocks than this test: {blocks:#?}");
    };
    shell(begin);
    let said = shell(check);
    assert!(said.starts_with("ok\n") && said.ends_with(checked), "{said}");
    let (code, said) = support::fail(command_in(root.path(), "fam-build").args([
        "plugin",
        "check",
        "first/greet/greet",
        "--set",
        "txt=hello",
    ]));
    assert!(code == 2 && said.contains("setting text: is missing"), "{said}");
    fs_err::write(home.join("first/first.toml"), recipe).unwrap();
    shell(build);
    assert_eq!(shell(look), "Welcome to the fabric\n");

    let plugin = home.join("first/greet/greet");
    let text = fs_err::read_to_string(&plugin).unwrap();
    let stage = text.find(place.as_str()).expect("the plugin has the lines that the tutorial shows");
    let end = stage + place.find(";;").unwrap();
    fs_err::write(&plugin, format!("{}{line}        {}", &text[..end], &text[end..])).unwrap();
    let said = shell(again);
    let version = fs_err::read_to_string(root.path().join("etc/debian_version")).unwrap();
    assert!(said.ends_with(&format!("\nWelcome to the fabric\n{version}")), "{said}");
    assert!(!said.contains("Fetching"), "{said}");
}

/// The session of the README: what is typed at which prompt, and what it prints.
fn session() -> Vec<(String, String, Vec<String>)> {
    let readme = document("README.md");
    let section = readme.split_once("## An example session\n").unwrap().1.split_once("\n## ").unwrap().0;
    let mut session: Vec<(String, String, Vec<String>)> = Vec::new();
    for line in blocks(section).iter().flat_map(|block| block.lines()) {
        if let Some((prompt, command)) = line.split_once("$ ").filter(|(prompt, _)| !prompt.contains(' ')) {
            session.push((format!("{prompt}$ "), command.to_owned(), Vec::new()));
        } else if !line.is_empty() {
            session.last_mut().unwrap().2.push(line.to_owned());
        }
    }
    session
}

/// A line without what differs from one day, host or build to another.
fn timeless(line: &str) -> String {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words = line.split_whitespace().map(|word| {
        if months.contains(&word) { "MONTH".into() } else { word.replace(|c: char| c.is_ascii_digit(), "0") }
    });
    let mut line = words.collect::<Vec<_>>().join(" ");
    while line.contains("00") {
        line = line.replace("00", "0");
    }
    // "0.0 KiB" and "0 KiB"; a kernel's revision has more or fewer parts.
    while line.contains("0.0") {
        line = line.replace("0.0", "0");
    }
    line
}

const HOST: &str = "user@host:~$ ";
const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn the_session_of_the_readme() {
    if !support::cluster_has_its_turn("the_session_of_the_readme") {
        return;
    }
    let nodes = Nodes::new(33000);
    let output = nodes.directory.path().display().to_string();
    let shared_memory = nodes.shared_memory().display().to_string();
    let programs = directory_of("root");
    fs_err::set_permissions(programs.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs_err::copy(public_binary(), programs.path().join("fam-build")).unwrap();
    let here = |text: &str| text.replace("http://mirror.example/debian", &mirror()).replace("/var/tmp/fabric", &output);
    let mut shell = as_user("/usr/bin/env");
    shell.arg(format!("PATH={}:/usr/bin:/bin", programs.path().display()));
    // With an empty cache, as the session is.
    shell.arg(format!("XDG_CACHE_HOME={output}/cache"));
    shell.args(["PORT=33000", "ACCEL=tcg", "TERM=dumb"]).arg(format!("SHM={shared_memory}"));
    // A terminal, as sudo and ssh want one.
    let bash = format!("stty cols 300; PS1='{HOST}' exec bash --norc --noprofile -i");
    shell.args(["script", "--quiet", "--flush", "--command", &bash, "/dev/null"]);
    let mut terminal = Dialogue::start("the session".into(), &mut shell);
    terminal.wait_for(HOST, PATIENCE);
    let mut at = HOST.to_owned();
    for (prompt, command, expected) in session() {
        let prompt = if prompt == "$ " { HOST.into() } else { prompt };
        if prompt != at {
            // From one node to the host.
            assert_eq!(prompt, HOST);
            terminal.type_line("exit");
            terminal.wait_for(HOST, PATIENCE);
        }
        println!("{prompt}{command}");
        terminal.type_line(&here(&command));
        let node = command.strip_prefix("./fabric_emulation.bash ssh ");
        at = node.map_or(prompt, |node| format!("fabric@fabric{node}:~$ "));
        let mut printed = String::new();
        loop {
            let (which, before) = terminal.wait_for_any(&[&at, "[sudo] password for fabric: "], PATIENCE);
            printed += &before;
            if which == 0 {
                break;
            }
            terminal.type_line("rocks");
        }
        println!("{printed}");
        let printed = printed.replace(&shared_memory, "/dev/shm/fabric_em");
        let printed: Vec<_> = printed.lines().map(timeless).collect();
        for line in expected {
            // What accelerates depends on the host.
            if !line.starts_with("processors: ") {
                let line = timeless(&here(&line));
                assert!(printed.iter().any(|printed| printed.contains(&line)), "{line:?} is not in {printed:#?}");
            }
        }
    }
}
