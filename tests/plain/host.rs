//! What a build executes of the host: itself, newuidmap and newgidmap, and nothing else.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use support::archive::Deb;
use support::succeed;

use crate::small::{Bench, Who, archive};

support::tests! {
    needs [support::harness::ROOT, "strace", "newuidmap", "gpg", "dpkg-deb"];
    a_build_executes_nothing_of_the_host_but_what_maps_ids,
}

/// What a process did, in the order of a trace.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    /// Made a process, with its number as the host sees it.
    Made(u32),
    /// Left the host's file system.
    Pivoted,
    /// Executed a program.
    Executed(String),
}

/// Reads the output of `strace -f --decode-pids=pidns`.
fn read_trace(text: &str) -> Vec<(u32, Did)> {
    let mut unfinished: HashMap<u32, String> = HashMap::new();
    let mut trace = Vec::new();
    for line in text.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Ok(pid) = pid.parse() else { panic!("{line}") };
        let mut call = rest.trim_start().to_owned();
        if let Some(beginning) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(pid, beginning.to_owned());
            continue;
        }
        if let Some((_, end)) = call.split_once(" resumed>").filter(|_| call.starts_with("<... ")) {
            call = unfinished.remove(&pid).unwrap_or_default() + end;
        }
        let Some((_, result)) = call.rsplit_once(" = ") else { continue };
        let Some(number) = result.split(' ').next().and_then(|word| word.parse::<i64>().ok()) else { continue };
        if number < 0 {
            continue;
        }
        let done = if call.starts_with("execve(") {
            Did::Executed(call.split('"').nth(1).unwrap().to_owned())
        } else if call.starts_with("pivot_root(") {
            Did::Pivoted
        } else if ["clone(", "clone3(", "fork(", "vfork("].iter().any(|name| call.starts_with(name)) && number > 0 {
            // "= 7 /* 4711 in strace's PID NS */"
            let outside = result.split_once("/* ").and_then(|(_, comment)| comment.split(' ').next()?.parse().ok());
            Did::Made(outside.unwrap_or(u32::try_from(number).unwrap()))
        } else {
            continue;
        };
        trace.push((pid, done));
    }
    trace
}

fn a_build_executes_nothing_of_the_host_but_what_maps_ids() {
    let scripted = Deb::new("scripted").script("preinst", "ls /").script("postinst", "cat /etc/passwd");
    let bench = Bench::of(Who::User, archive().with(scripted).serve());
    let build = bench.build(&["--include", "scripted"]);

    let trace = bench.directory.path().join("trace");
    // Not with --seccomp-bpf, which takes the privilege of newuidmap away.
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "--decode-pids=pidns", "-e", "signal=none", "-e"]);
    strace.arg("trace=execve,pivot_root,clone,clone3,fork,vfork").arg("-o").arg(&trace);
    succeed(strace.arg(build.get_program()).args(build.get_args()));
    assert!(bench.output().join("fabric1.qcow2").exists());

    let trace = read_trace(&fs_err::read_to_string(trace).unwrap());
    let mut parents = HashMap::new();
    for (pid, did) in &trace {
        if let Did::Made(child) = did {
            parents.insert(*child, *pid);
        }
    }
    let program = support::public_program().display().to_string();
    let mut inside = HashSet::new();
    let (mut of_host, mut of_system) = (HashSet::new(), HashSet::new());
    let mut begun = false;
    for (pid, did) in trace {
        let mut line = vec![pid];
        while let Some(parent) = parents.get(line.last().unwrap()) {
            line.push(*parent);
        }
        match did {
            Did::Pivoted => drop(inside.insert(pid)),
            Did::Made(_) => {}
            Did::Executed(path) => {
                // Before come setpriv and env, by which the test became the user.
                begun |= path == program;
                if begun && line.iter().any(|one| inside.contains(one)) {
                    of_system.insert(path);
                } else if begun && !path.starts_with("/proc/self/fd/") {
                    // By that name the program executes its own copy in memory.
                    of_host.insert(path);
                }
            }
        }
    }
    let mut of_host: Vec<_> = of_host.iter().map(String::as_str).collect();
    of_host.sort_unstable();
    let find = |name: &str| succeed(Command::new("which").arg(name)).trim().to_owned();
    let mut allowed = ["/proc/self/exe".to_owned(), program, find("newuidmap"), find("newgidmap")];
    allowed.sort_unstable();
    assert_eq!(of_host, allowed);
    for program in ["/usr/bin/dpkg", "/usr/bin/ls", "/usr/bin/cat"] {
        assert!(of_system.contains(program), "{program} is not among {of_system:?}");
    }
}
