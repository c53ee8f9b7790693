//! The cluster under test: what the main job makes, once for all tests; its nodes, run by the launch script; and what holds
//! of nodes however they are run.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{as_user, directory_of, mirror, of_this_checkout, public_binary, succeed, user};

/// The default recipe with four nodes, built by a normal user. The first test that asks builds it; those of other binaries
/// find it unchanged. Nobody may write to it.
pub fn default_build() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let output = of_this_checkout("fam-build-default");
        fs_err::create_dir_all(&output).unwrap();
        succeed(Command::new("chown").arg(user()).arg(&output));
        let begin = Instant::now();
        let mut build = as_user(public_binary());
        succeed(build.args(["--nodes", "4", "--mirror", &mirror(), "--output"]).arg(&output));
        println!("four nodes by a normal user: {:.1} s", begin.elapsed().as_secs_f64());
        output
    })
}

/// Copies files of the default build, which share their blocks with it where the file system can.
pub fn copy_of_default_build(names: impl IntoIterator<Item = String>, to: &Path) {
    for name in names {
        let mut copy = Command::new("cp");
        copy.args(["--preserve=mode,ownership", "--reflink=auto"]).arg(default_build().join(name));
        succeed(copy.arg(to));
    }
}

/// Nodes in a directory of their own, run by a normal user in user mode, without KVM. Dropped, they leave nothing running.
#[derive(Debug)]
pub struct Nodes {
    pub directory: tempfile::TempDir,
    shared_memory: tempfile::TempDir,
    /// Node N's ssh is at this port plus N.
    port: u16,
}

impl Nodes {
    /// An empty directory; `port` differs from those of other tests.
    pub fn new(port: u16) -> Self {
        let shared_memory = tempfile::tempdir_in("/dev/shm").unwrap();
        succeed(Command::new("chown").arg(user()).arg(shared_memory.path()));
        Self { directory: directory_of(user()), shared_memory, port }
    }

    /// The host's side of the shared memory.
    pub fn shared_memory(&self) -> PathBuf {
        self.shared_memory.path().join("fabric_em")
    }

    /// The launch script with these arguments.
    pub fn script(&self, arguments: &[&str]) -> Command {
        self.patient_script(120, arguments)
    }

    fn patient_script(&self, stop_timeout: u32, arguments: &[&str]) -> Command {
        let mut command = as_user("/usr/bin/env");
        command.args(["ACCEL=tcg", "NET=user", "BOOT_TIMEOUT=200"]).arg(format!("PORT={}", self.port));
        command.arg(format!("STOP_TIMEOUT={stop_timeout}"));
        command.arg(format!("SHM={}", self.shared_memory().display()));
        command.arg(self.directory.path().join("fabric_emulation.bash")).args(arguments).current_dir("/");
        command
    }

    /// Runs the script with `arguments`, which start these nodes, and waits until all answer; gives back what it said.
    ///
    /// Where several processors are emulated, QEMU now and then aborts or has its guest stop while that sets up its devices
    /// (QEMU's issue 1921). For that one node may be started again, and what it came to is printed.
    #[track_caller]
    pub fn start(&self, arguments: &[&str], numbers: &[u32]) -> String {
        let said = succeed(&mut self.script(arguments));
        let errors = at_once(numbers, |number| {
            let output = self.script(&["ssh", &number.to_string(), "true"]).output().unwrap();
            (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
        });
        let failed: Vec<_> = numbers.iter().zip(errors).filter_map(|(number, error)| Some((*number, error?))).collect();
        assert!(failed.len() <= 1, "{failed:?}");
        for (number, error) in failed {
            println!("{error}{}STARTED AGAIN: fabric{number}", self.last_words(number));
            let _ = self.patient_script(0, &["stop", &number.to_string()]).output();
            succeed(&mut self.script(&["start", &number.to_string()]));
            self.ssh(number, "true");
        }
        said
    }

    /// The end of what a node wrote to its console, and the state of its processors if QEMU still runs.
    fn last_words(&self, number: u32) -> String {
        let log = self.script(&["log", &number.to_string()]).output().unwrap().stdout;
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(10)..].join("\n");
        let monitor = self.directory.path().join(format!("fabric_run/fabric{number}.qmp"));
        let processors = processors(&monitor).unwrap_or_else(|error| format!("no answer from QEMU: {error}\n"));
        format!("{end}\n{processors}")
    }

    /// Runs a shell command on node `number` as the user fabric; gives back what it printed.
    #[track_caller]
    pub fn ssh(&self, number: u32, command: &str) -> String {
        succeed(&mut self.script(&["ssh", &number.to_string(), command])).trim().to_owned()
    }

    /// Runs a command on each of these nodes at once.
    pub fn ssh_all(&self, numbers: &[u32], command: impl Fn(u32) -> String + Sync) -> Vec<String> {
        at_once(numbers, |number| self.ssh(number, &command(number)))
    }

    /// Names of all that is in the directory and of the shared memory.
    pub fn files(&self) -> Vec<String> {
        let entries = [self.directory.path(), self.shared_memory.path()].into_iter().flat_map(|directory| {
            fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap())
        });
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    }

    /// The command lines that name the directory.
    pub fn processes(&self) -> Vec<String> {
        let place = self.directory.path().to_str().unwrap();
        let lines = fs_err::read_dir("/proc").unwrap().filter_map(|entry| {
            let line = fs_err::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        lines.filter(|line| line.contains(place)).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if self.directory.path().join("fabric_run").exists() {
            let _ = self.patient_script(0, &["stop"]).output();
        }
    }
}

/// What QEMU's monitor says of two processors: where they are, and their interrupts in service and requested.
fn processors(monitor: &Path) -> std::io::Result<String> {
    let monitor = UnixStream::connect(monitor)?;
    monitor.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut lines = BufReader::new(&monitor).lines();
    let mut ask = |execute: &str, arguments: Value| -> std::io::Result<String> {
        writeln!(&monitor, "{}", json!({ "execute": execute, "arguments": arguments }))?;
        loop {
            let line = lines.next().ok_or(std::io::ErrorKind::UnexpectedEof)??;
            if let Some(answer) = serde_json::from_str::<Value>(&line)?.get("return") {
                return Ok(answer.as_str().unwrap_or_default().to_owned());
            }
        }
    };
    ask("qmp_capabilities", json!({}))?;
    let mut said = String::new();
    for command in ["info registers -a", "info lapic 0", "info lapic 1"] {
        let state = ask("human-monitor-command", json!({ "command-line": command }))?;
        for line in state.lines().filter(|line| ["CPU#", "RIP", "ISR", "IRR"].iter().any(|name| line.starts_with(name)))
        {
            said += &format!("{}\n", line.trim_end());
        }
    }
    Ok(said)
}

pub const SUDO: &str = "echo rocks | sudo -S -p ''";

/// What `ask` gives back for each of these nodes, asked at the same time.
pub fn at_once<T: Send>(numbers: &[u32], ask: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let ask = &ask;
    std::thread::scope(|scope| {
        let asked: Vec<_> = numbers.iter().map(|&number| scope.spawn(move || ask(number))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Runs a shell command on a node as the user fabric, as soon as it answers, and gives back what it printed.
pub type Ssh<'a> = &'a (dyn Fn(u32, &str) -> String + Sync);

/// Asserts that all four nodes come up without a failed unit, and that each reaches every other, and the host, by name.
pub fn assert_up_and_connected(ssh: Ssh<'_>) {
    let all = [1, 2, 3, 4];
    // The state is "running" if no unit failed.
    let up = |number| ssh(number, "hostname; systemctl is-system-running --wait; systemctl --failed --quiet");
    assert_eq!(at_once(&all, up), all.map(|number| format!("fabric{number}\nrunning")));
    let met = at_once(&all, |number| {
        let command = format!(
            "for name in fabric1 fabric2 fabric3 fabric4; do ping -q -c 1 -W 20 $name >/dev/null && echo $name; done
             for name in fabric1 fabric2 fabric3 fabric4; do [ $name = fabric{number} ] || ssh $name hostname; done
             ping -q -c 1 -W 20 vmhost >/dev/null && echo vmhost"
        );
        ssh(number, &command)
    });
    for (number, met) in all.iter().zip(met) {
        let names = || all.iter().map(|other| format!("fabric{other}"));
        let others = names().filter(|name| *name != format!("fabric{number}"));
        let expected: Vec<_> = names().chain(others).chain(["vmhost".into()]).collect();
        assert_eq!(met.lines().collect::<Vec<_>>(), expected, "from fabric{number}");
    }
}

/// Asserts that what `hello_fabric` stores on one node is on the others and in `memory`, the host's file, and that a counter
/// of all four nodes loses nothing.
pub fn assert_memory_is_shared(ssh: Ssh<'_>, memory: &Path) {
    let said = ssh(1, &format!("cc -O2 -Wall -Werror -o hello_fabric hello_fabric.c && {SUDO} ./hello_fabric"));
    let uname = ssh(1, "uname -srvm");
    let (system, rest) = uname.split_once(' ').unwrap();
    let stored = format!("{system} fabric1 {rest}");
    assert!(said.starts_with(&format!("node 1 stored: {stored}\n")), "{said}");
    let offset = said.split_once("at byte ").unwrap().1.split_once(' ').unwrap().0;
    let memory = fs_err::read(memory).unwrap();
    assert!(memory[offset.parse::<usize>().unwrap()..].starts_with(stored.as_bytes()), "{offset}");

    ssh(1, "for number in 2 3 4; do scp -q hello_fabric fabric$number: || exit; done");
    let read = ssh(3, &format!("{SUDO} ./hello_fabric --read"));
    assert!(read.contains(&stored) && read.ends_with("counter: 0"), "{read}");
    at_once(&[1, 2, 3, 4], |number| ssh(number, &format!("{SUDO} ./hello_fabric --count 10000")));
    let read = ssh(4, &format!("{SUDO} ./hello_fabric --read"));
    assert!(read.ends_with("counter: 40000"), "{read}");
}
