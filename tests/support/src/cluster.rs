//! Nodes that the launch script runs, and what holds of a cluster however it is run. The cluster of
//! the default system is booted once, and all tests ask the same nodes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::shared::take_turn;
use crate::system::default_system;
use crate::{as_user, command_lines, directory_of, scratch, succeed, user};

/// Nodes in a directory, run by a normal user in user mode, without KVM.
#[derive(Debug)]
pub struct Nodes {
    /// The directory of the images and the script.
    pub directory: PathBuf,
    /// The directory of the shared memory.
    memory: PathBuf,
    /// Node N's ssh is at this port plus N.
    port: u16,
    /// The emulator, if not the host's own.
    pub emulator: Option<PathBuf>,
    /// The directories, if they go when this is dropped, and the nodes with them.
    owned: Option<[tempfile::TempDir; 2]>,
}

/// The files that the launch script needs to run four nodes.
const FOUR_NODES: [&str; 8] = [
    "fabric1.qcow2",
    "fabric2.qcow2",
    "fabric3.qcow2",
    "fabric4.qcow2",
    "fabric_emulation.bash",
    "fabric_ssh_key",
    "fabric_ssh_config",
    "fabric_known_hosts",
];

/// The four nodes of the default system, which run after this. The first test that asks boots them;
/// who asks while they run gets the same ones. `tests/run` stops what still runs at its end.
///
/// # Panics
/// If a node does not come up. It is stopped then, so that a second try starts that node again and
/// no other: where several processors are emulated, QEMU now and then aborts, or has its guest stop
/// while that sets up its devices (QEMU's issue 1921).
pub fn running_cluster() -> Nodes {
    let (system, nodes) = (default_system(), of_default_system());
    let _turn = take_turn("cluster");
    if !nodes.directory.join("fabric_emulation.bash").exists() {
        for directory in [&nodes.directory, &nodes.memory] {
            fs_err::create_dir_all(directory).unwrap();
            succeed(Command::new("chown").arg(user()).arg(directory));
        }
        system.copy(FOUR_NODES.map(str::to_owned), &nodes.directory);
    }
    let all = [1, 2, 3, 4];
    let run = all.map(|number| nodes.directory.join(format!("fabric_run/fabric{number}.pid")).exists());
    if run.contains(&false) {
        nodes.start(&[], &all);
    }
    nodes
}

/// The nodes of the default system, whether they run or not.
pub fn of_default_system() -> Nodes {
    let memory = Path::new("/dev/shm").join(scratch().file_name().unwrap());
    Nodes { directory: scratch().join("cluster"), memory, port: 31000, emulator: None, owned: None }
}

impl Nodes {
    /// An empty directory, which goes with the nodes when this is dropped. `port` differs from
    /// those of other tests, and is below 32768: from there on the kernel gives ports to whatever
    /// connects to something.
    pub fn new(port: u16) -> Self {
        let owned = [directory_of(user()), tempfile::tempdir_in("/dev/shm").unwrap()];
        succeed(Command::new("chown").arg(user()).arg(owned[1].path()));
        let [directory, memory] = owned.each_ref().map(|directory| directory.path().to_owned());
        Self { directory, memory, port, emulator: None, owned: Some(owned) }
    }

    /// The host's side of the shared memory.
    pub fn shared_memory(&self) -> PathBuf {
        self.memory.join("fabric_em")
    }

    /// The file with what the script said whenever it started nodes of the shared cluster.
    pub fn said(&self) -> PathBuf {
        self.directory.with_extension("said")
    }

    /// The variables that the launch script is run with.
    pub fn environment(&self) -> Vec<String> {
        let memory = self.shared_memory().display().to_string();
        let mut variables = vec!["ACCEL=tcg".to_owned(), format!("PORT={}", self.port), format!("SHM={memory}")];
        if !self.is_default() {
            variables.push("NET=user".to_owned());
        }
        variables.extend(self.emulator.as_ref().map(|emulator| format!("QEMU={}", emulator.display())));
        variables
    }

    /// Whether these are the nodes of the default system, which run as README has a newcomer run
    /// them.
    fn is_default(&self) -> bool {
        self.owned.is_none()
    }

    /// The launch script with these arguments.
    pub fn script(&self, arguments: &[&str]) -> Command {
        self.patient_script(120, arguments)
    }

    fn patient_script(&self, stop_timeout: u32, arguments: &[&str]) -> Command {
        let mut command = as_user("/usr/bin/env");
        command.args(self.environment()).args(["BOOT_TIMEOUT=200", &format!("STOP_TIMEOUT={stop_timeout}")]);
        if self.is_default() {
            command.arg("./fabric_emulation.bash").current_dir(&self.directory);
        } else {
            command.arg(self.directory.join("fabric_emulation.bash")).current_dir("/");
        }
        command.args(arguments);
        command
    }

    /// Runs the script with `arguments`, which start these nodes, and waits until all answer;
    /// returns what it said.
    #[track_caller]
    pub fn start(&self, arguments: &[&str], numbers: &[u32]) -> String {
        let mut said = succeed(&mut self.script(arguments));
        if self.is_default() {
            // A second try starts only those nodes that did not come up.
            let mut file = fs_err::OpenOptions::new().create(true).append(true).open(self.said()).unwrap();
            file.write_all(said.as_bytes()).unwrap();
        }
        let outputs = at_once(numbers, |number| self.wait_for(number));
        let mut failed = Vec::new();
        for (number, output) in numbers.iter().zip(outputs) {
            let stderr = String::from_utf8_lossy(&output.stderr);
            said += &stderr;
            if !output.status.success() {
                println!("{stderr}{}", self.last_words(*number));
                let _ = self.patient_script(0, &["stop", &number.to_string()]).output();
                failed.push(*number);
            }
        }
        assert!(failed.is_empty(), "these nodes do not come up: {failed:?}");
        said
    }

    /// Waits until a node answers, but not for ever for one that hangs and whose kernel goes on to
    /// complain of that.
    fn wait_for(&self, number: u32) -> Output {
        let script = self.script(&["ssh", &number.to_string(), "true"]);
        let mut command = Command::new("timeout");
        command.arg("420").arg(script.get_program()).args(script.get_args());
        command.current_dir(script.get_current_dir().unwrap()).output().unwrap()
    }

    /// The end of what a node wrote to its console, and the state of its processors if QEMU still
    /// runs.
    fn last_words(&self, number: u32) -> String {
        let log = self.script(&["log", &number.to_string()]).output().unwrap().stdout;
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(10)..].join("\n");
        let processors = self.processors(number).unwrap_or_else(|error| format!("no answer from QEMU: {error}\n"));
        format!("{end}\n{processors}")
    }

    /// What QEMU's monitor says of two processors of a node: where they are, and their interrupts in
    /// service and requested.
    fn processors(&self, number: u32) -> std::io::Result<String> {
        let answers = self.ask_monitor(number, &["info registers -a", "info lapic 0", "info lapic 1"])?;
        let lines = answers.iter().flat_map(|answer| answer.lines());
        let lines = lines.filter(|line| ["CPU#", "RIP", "ISR", "IRR"].iter().any(|name| line.starts_with(name)));
        Ok(lines.map(|line| format!("{}\n", line.trim_end())).collect())
    }

    /// What the monitor of a node's QEMU answers to these commands.
    ///
    /// # Errors
    /// It does not answer.
    pub fn ask_monitor(&self, number: u32, commands: &[&str]) -> std::io::Result<Vec<String>> {
        let monitor = UnixStream::connect(self.directory.join(format!("fabric_run/fabric{number}.qmp")))?;
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
        commands.iter().map(|command| ask("human-monitor-command", json!({ "command-line": command }))).collect()
    }

    /// Runs a shell command on node `number` as the user fabric; returns what it printed.
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
        let entries = [&self.directory, &self.memory].into_iter().flat_map(|directory| {
            fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap())
        });
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    }

    /// The command lines that name the directory.
    pub fn processes(&self) -> Vec<String> {
        let place = self.directory.to_str().unwrap();
        command_lines().into_iter().filter(|line| line.contains(place)).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if self.owned.is_some() && self.directory.join("fabric_run").exists() {
            let _ = self.patient_script(0, &["stop"]).output();
        }
    }
}

/// What runs the rest of a shell command as root, on a node, for the user fabric.
pub const SUDO: &str = "echo rocks | sudo -S -p ''";

/// The answers of these nodes to `ask`, which are all asked at the same time.
pub fn at_once<T: Send>(numbers: &[u32], ask: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let ask = &ask;
    std::thread::scope(|scope| {
        let asked: Vec<_> = numbers.iter().map(|&number| scope.spawn(move || ask(number))).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Runs a shell command on a node as the user fabric, as soon as it answers, and returns what it
/// printed.
pub type Ssh<'a> = &'a (dyn Fn(u32, &str) -> String + Sync);

/// Asserts that all four nodes come up without a failed unit, and that each reaches every other
/// by name over IPv4 and IPv6, and the host.
pub fn assert_up_and_connected(ssh: Ssh<'_>) {
    let all = [1, 2, 3, 4];
    // The state is "running" if no unit failed.
    let up = |number| ssh(number, "hostname; systemctl is-system-running --wait; systemctl --failed --quiet");
    assert_eq!(at_once(&all, up), all.map(|number| format!("fabric{number}\nrunning")));
    let met = at_once(&all, |number| {
        let command = format!(
            "for name in fabric1 fabric2 fabric3 fabric4; do ping -4 -q -c 1 -W 20 $name >/dev/null && echo $name; done
             for name in fabric1 fabric2 fabric3 fabric4; do ping -6 -q -c 1 -W 20 $name >/dev/null && echo $name; done
             for name in fabric1 fabric2 fabric3 fabric4; do [ $name = fabric{number} ] || ssh -4 $name hostname; done
             for name in fabric1 fabric2 fabric3 fabric4; do [ $name = fabric{number} ] || ssh -6 $name hostname; done
             ping -q -c 1 -W 20 vmhost >/dev/null && echo vmhost"
        );
        ssh(number, &command)
    });
    for (number, met) in all.iter().zip(met) {
        let names = || all.iter().map(|other| format!("fabric{other}"));
        let others = names().filter(|name| *name != format!("fabric{number}"));
        let expected: Vec<_> =
            names().chain(names()).chain(others.clone()).chain(others).chain(["vmhost".into()]).collect();
        assert_eq!(met.lines().collect::<Vec<_>>(), expected, "from fabric{number}");
    }
}

/// Asserts that what `hello_fabric` stores on one node is on the others and in `memory`, the host's
/// file, and that a counter of all four nodes loses nothing.
pub fn assert_memory_is_shared(ssh: Ssh<'_>, memory: &Path) {
    // Not at home, where README's session makes it.
    const PROGRAM: &str = "/tmp/hello_fabric";
    let said = ssh(1, &format!("cc -O2 -Wall -Werror -o {PROGRAM} hello_fabric.c && {SUDO} {PROGRAM}"));
    let uname = ssh(1, "uname -srvm");
    let (system, rest) = uname.split_once(' ').unwrap();
    let stored = format!("{system} fabric1 {rest}");
    assert!(said.starts_with(&format!("node 1 stored: {stored}\n")), "{said}");
    let offset = said.split_once("at byte ").unwrap().1.split_once(' ').unwrap().0;
    let memory = fs_err::read(memory).unwrap();
    assert!(memory[offset.parse::<usize>().unwrap()..].starts_with(stored.as_bytes()), "{offset}");

    ssh(1, &format!("for number in 2 3 4; do scp -q {PROGRAM} fabric$number:{PROGRAM} || exit; done"));
    let read = ssh(3, &format!("{SUDO} {PROGRAM} --read"));
    assert!(read.contains(&stored), "{read}");
    let counter = |read: &str| read.rsplit_once("counter: ").unwrap().1.parse::<u64>().unwrap();
    let before = counter(&read);
    at_once(&[1, 2, 3, 4], |number| ssh(number, &format!("{SUDO} {PROGRAM} --count 10000")));
    let read = ssh(4, &format!("{SUDO} {PROGRAM} --read"));
    assert_eq!(counter(&read), before + 40_000, "{read}");
}
