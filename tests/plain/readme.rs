//! The session that README shows a newcomer. Its first command is the build of the default system,
//! and its second the start of the cluster, which other tests use as well: what those printed was
//! kept. All others are typed here, in a terminal, at the nodes that run.

use std::time::Duration;

use support::cluster::running_cluster;
use support::dialogue::Dialogue;
use support::documents::{blocks, document};
use support::system::default_system;
use support::{as_user, mirror};

support::tests! {
    needs [support::harness::ROOT, "newuidmap", "qemu-system-x86_64", "script", "ssh", "strings"];
    the_session_of_the_readme,
}

/// What is typed at which prompt, and what it prints.
#[derive(Debug)]
struct Command {
    prompt: String,
    typed: String,
    prints: Vec<String>,
}

fn session() -> Vec<Command> {
    let readme = document("README.md");
    let section = readme.split_once("## An example session\n").unwrap().1.split_once("\n## ").unwrap().0;
    let mut session: Vec<Command> = Vec::new();
    for line in blocks(section).iter().flat_map(|block| block.lines()) {
        if let Some((prompt, typed)) = line.split_once("$ ").filter(|(prompt, _)| !prompt.contains(' ')) {
            session.push(Command { prompt: format!("{prompt}$ "), typed: typed.to_owned(), prints: Vec::new() });
        } else if !line.is_empty() {
            session.last_mut().unwrap().prints.push(line.to_owned());
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

/// Asserts that all lines of `expected` are in what was printed, but for what depends on the host
/// or on how soon a node is asked.
fn assert_printed(expected: &[String], printed: &str) {
    let printed: Vec<_> = printed.lines().map(timeless).collect();
    for line in expected {
        if !line.starts_with("processors: ") && !line.starts_with("waiting for ") {
            let line = timeless(line);
            assert!(printed.iter().any(|printed| printed.contains(&line)), "{line:?} is not in {printed:#?}");
        }
    }
}

const HOST: &str = "user@host:~$ ";
const PATIENCE: Duration = Duration::from_secs(900);

fn the_session_of_the_readme() {
    let (system, nodes) = (default_system(), running_cluster());
    let session = session();
    let [build, directory, start, rest @ ..] = &session[..] else { panic!("{session:#?}") };
    assert_eq!(
        build.typed.replace("http://mirror.example/debian", &mirror()),
        format!("fam-build --mirror {} --nodes 4 --output /var/tmp/fabric", mirror())
    );
    assert_printed(&build.prints, &system.said);
    assert_eq!((&*directory.typed, &*start.typed), ("cd /var/tmp/fabric", "./fabric_emulation.bash"));
    let (usual, memory) = ("/dev/shm/fabric_em", nodes.shared_memory().display().to_string());
    let (here, there) = (|text: &str| text.replace(usual, &memory), |text: &str| text.replace(&memory, usual));
    assert_printed(&start.prints, &there(&fs_err::read_to_string(nodes.said()).unwrap()));

    let mut shell = as_user("/usr/bin/env");
    shell.args(nodes.environment()).args(["PATH=/usr/bin:/bin", "TERM=dumb"]);
    // A terminal, as sudo and ssh want one.
    let bash = format!("stty cols 300; cd {}; PS1='{HOST}' exec bash --norc --noprofile -i", nodes.directory.display());
    shell.args(["script", "--quiet", "--flush", "--command", &bash, "/dev/null"]);
    let mut terminal = Dialogue::start("the session".into(), &mut shell);
    terminal.wait_for(HOST, PATIENCE);
    let mut at = HOST.to_owned();
    for Command { prompt, typed, prints } in rest {
        let prompt = if prompt == "$ " { HOST } else { prompt };
        if prompt != at {
            // From one node to the host.
            assert_eq!(prompt, HOST);
            terminal.type_line("exit");
            terminal.wait_for(HOST, PATIENCE);
        }
        println!("{prompt}{typed}");
        terminal.type_line(&here(typed));
        let node = typed.strip_prefix("./fabric_emulation.bash ssh ");
        at = node.map_or(prompt.to_owned(), |node| format!("fabric@fabric{node}:~$ "));
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
        assert_printed(prints, &there(&printed));
    }
}
