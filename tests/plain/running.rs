//! A build that is going on, seen from outside: what it says, and every process that belongs to it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::small::MARK;

/// Long, as a machine may be busy with something else.
const PATIENCE: Duration = Duration::from_secs(300);

/// A process, as /proc shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    parent: i32,
    /// When it began: what tells it from a later one of the same number.
    begin: String,
    is_zombie: bool,
    command: String,
    environment: Vec<u8>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}: {}", self.pid, self.parent, self.command)
    }
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let read = |file: &str| fs_err::read(format!("/proc/{pid}/{file}")).ok();
        let stat = String::from_utf8_lossy(&read("stat")?).into_owned();
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(Self {
            pid,
            parent: fields[1].parse().ok()?,
            begin: fields[19].to_owned(),
            is_zombie: fields[0] == "Z",
            command: String::from_utf8_lossy(&read("cmdline")?).replace('\0', " "),
            environment: read("environ")?,
        })
    }

    fn is_alive(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.begin == self.begin && !now.is_zombie)
    }

    fn kill(&self) {
        kill_process(Pid::from_raw(self.pid).unwrap(), Signal::KILL).unwrap();
    }
}

/// What is to be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The whole foreground group, by SIGINT, as a terminal does it for ctrl-C.
    CtrlC,
    Supervisor,
    /// The supervisor with whatever is in its process group, as `kill -9 -PID` does it.
    Group,
    Worker,
    /// One of the processes around the worker and the scripts, by its role.
    Around(&'static str),
    /// The process whose command line has this.
    Script(&'static str),
}

/// A build that is going on.
pub struct Run {
    child: Child,
    mark: String,
    lines: Receiver<String>,
    said: String,
}

impl Run {
    /// Starts a build; its arguments hold its mark.
    pub fn start(command: &mut Command) -> Self {
        let mark = command.get_args().filter_map(|argument| argument.to_str()).find(|text| text.starts_with(MARK));
        let mark = mark.unwrap().to_owned();
        let mut child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, mark, lines, said: String::new() }
    }

    /// Waits until it says this.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.wait_for_one_of(&[text]);
    }

    /// Waits until it has said one of these.
    #[track_caller]
    pub fn wait_for_one_of(&mut self, texts: &[&str]) {
        while !texts.iter().any(|text| self.said.contains(text)) {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said.extend([line.as_str(), "\n"]),
                Err(error) => panic!("{error} while waiting for {texts:?}: {}", self.said),
            }
        }
    }

    /// Every process that has its mark, or descends from one that has.
    fn processes(&self) -> Vec<Process> {
        let entries = fs_err::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let all: HashMap<i32, Process> = pids.filter_map(|pid| Some((pid, Process::read(pid)?))).collect();
        let has_mark =
            |process: &Process| process.environment.split(|byte| *byte == 0).any(|one| one == self.mark.as_bytes());
        let belongs = |process: &Process| {
            let mut next = Some(process);
            while let Some(process) = next {
                if has_mark(process) {
                    return true;
                }
                next = all.get(&process.parent);
            }
            false
        };
        all.values().filter(|process| belongs(process) && !process.is_zombie).cloned().collect()
    }

    /// The process of it whose command line has `part`; waits for it.
    #[track_caller]
    fn find(&self, part: &str) -> Process {
        let begin = Instant::now();
        loop {
            let all = self.processes();
            if let Some(found) = all.iter().find(|process| process.command.contains(part)) {
                return found.clone();
            }
            let said = || self.lines.try_iter().collect::<Vec<_>>().join("\n");
            assert!(!self.has_ended(), "it ended without {part:?}: {}{}", self.said, said());
            assert!(begin.elapsed() < PATIENCE, "no {part:?} among {all:#?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a process of it has this in its command line.
    #[track_caller]
    pub fn wait_for_process(&self, part: &str) {
        self.find(part);
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        Process::read(self.child.id().try_into().unwrap()).is_none_or(|process| process.is_zombie)
    }

    /// Waits for its own end.
    #[allow(dead_code, reason = "tests of one of the two programs that have this file use it")]
    pub fn wait(mut self) -> Output {
        let status = self.child.wait().unwrap();
        self.ended(status)
    }

    /// What is known of a build that has ended.
    fn ended(&mut self, status: ExitStatus) -> Output {
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.said.extend([line.as_str(), "\n"]);
        }
        Output { status, stdout: Vec::new(), stderr: std::mem::take(&mut self.said).into_bytes() }
    }

    /// The number of the process that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills `victim`, waits for the end of the build, and asserts that no process of it is left.
    #[track_caller]
    pub fn kill(mut self, victim: Victim) -> Output {
        let before = self.processes();
        match victim {
            Victim::CtrlC => kill_process_group(Pid::from_child(&self.child), Signal::INT).unwrap(),
            Victim::Supervisor => self.child.kill().unwrap(),
            Victim::Group => kill_process_group(Pid::from_child(&self.child), Signal::KILL).unwrap(),
            Victim::Worker => self.find("--fam-build-role=worker").kill(),
            Victim::Around(part) | Victim::Script(part) => self.find(part).kill(),
        }
        let status = self.child.wait().unwrap();
        let killed = Instant::now();
        loop {
            let left: Vec<_> =
                self.processes().into_iter().chain(before.iter().filter(|one| one.is_alive()).cloned()).collect();
            if left.is_empty() {
                break;
            }
            // Who was not told, because the supervisor itself was killed, has a moment.
            let is_told = !matches!(victim, Victim::Supervisor | Victim::Group);
            let allowed = if is_told { Duration::ZERO } else { Duration::from_secs(5) };
            assert!(killed.elapsed() < allowed, "{victim:?} left processes: {left:#?}");
            thread::sleep(Duration::from_millis(10));
        }
        self.ended(status)
    }
}

impl Drop for Run {
    /// A test that failed leaves no build going on.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
