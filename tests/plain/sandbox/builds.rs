//! Builds in processes of their own.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use fam_isolation::supervisor::{Error, Interrupts, Isolation, OutputLock, run};
use fam_progress::{Event, Progress, Reporter};

use super::Job;
use crate::roles::{self, Done};

/// The argument with which this program is a supervisor, for a test that kills it.
pub const SUPERVISE: &str = "--supervise";

/// The supervisor's part as the command line does it, in a process of its own.
pub fn supervise(job: Job, output: &Path) -> ExitCode {
    struct Screen;
    impl Reporter for Screen {
        fn report(&self, event: Event) {
            if let Event::Step { message } = event {
                println!("{message}");
            }
        }
    }
    let interrupts = Interrupts::install().unwrap();
    let _shield = interrupts.shield();
    let isolation = Isolation::detect().unwrap();
    let lock = OutputLock::acquire(output, &isolation).unwrap();
    let job = roles::Job::Sandbox(job);
    let result: Result<Done, Error> = run(&job, &isolation, &Progress::new(Screen), &interrupts);
    lock.release().unwrap();
    match result {
        Ok(_) => println!("done"),
        Err(error) => {
            println!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

pub fn start_supervisor(job: &Job, output: &Path) -> Child {
    Command::new("/proc/self/exe")
        .args([SUPERVISE, &serde_json::to_string(job).unwrap()])
        .arg(output)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

pub fn interrupt(child: &Child) {
    let group = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
}

pub fn read_to_end(child: &mut Child) -> String {
    std::io::read_to_string(child.stdout.take().unwrap()).unwrap()
}

pub fn wait_for_line(child: &mut Child, expected: &str) {
    let mut line = String::new();
    // Unbuffered enough: the child says nothing after this line until it is ended.
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), expected);
}
