//! Finds programs of the host, and runs them for a limited time.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// The standard library cannot wait for a process with a limit, so its end is looked for this
/// often.
const POLL: Duration = Duration::from_millis(20);
/// How long the rest of the output may take once the program has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
const MOST_OUTPUT_BYTES: usize = 1 << 20;

/// What a program answered.
#[derive(Debug)]
pub(super) struct ProbeOutput {
    /// How it ended; `None` if it had to be killed.
    pub(super) status: Option<ExitStatus>,
    /// Everything that it wrote.
    pub(super) text: String,
}

impl ProbeOutput {
    pub(super) fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The last line, which of an error is the one that matters.
    pub(super) fn last_line(&self) -> &str {
        self.text.trim_end().lines().last().unwrap_or("it says nothing")
    }
}

/// Runs `command` for at most `patience`.
pub(super) fn run_probe(mut command: Command, patience: Duration) -> io::Result<ProbeOutput> {
    let (mut reader, writer) = io::pipe()?;
    // What programs say is compared and shown, so in one language.
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command holds the writing end of the pipe, which must close when the program ends.
    drop(command);
    let text = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&text);
    let listener = std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut chunk) {
            let mut text = collected.lock().unwrap_or_else(PoisonError::into_inner);
            // What is beyond the limit is read all the same: else the program would wait for room
            // in the pipe.
            if text.len() < MOST_OUTPUT_BYTES {
                text.extend_from_slice(&chunk[..count]);
            }
        }
    });
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(POLL);
    };
    // A program that it left behind may hold the pipe open.
    let deadline = Instant::now() + LAST_WORDS;
    while !listener.is_finished() && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    let text = text.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(ProbeOutput { status, text: String::from_utf8_lossy(&text).into_owned() })
}

/// Whether this user may execute the file.
fn is_executable(path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|metadata| metadata.is_file())
        && accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// Finds a program as a shell does: a name in PATH, anything with a slash where it says.
pub(super) fn find(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let name = Path::new(name.as_ref());
    if name.components().count() > 1 {
        return is_executable(name).then(|| name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| is_executable(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> ProbeOutput {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run_probe(command, patience).unwrap()
    }

    #[test]
    fn hears_both_outputs_and_the_exit_code() {
        let answer = shell("echo one; echo two >&2; exit 3", Duration::from_secs(10));
        assert_eq!((answer.text.as_str(), answer.last_line()), ("one\ntwo\n", "two"));
        assert_eq!(answer.status.unwrap().code(), Some(3));
        assert!(!answer.succeeded());
        assert!(shell("true", Duration::from_secs(10)).succeeded());
    }

    #[test]
    fn is_not_kept_waiting() {
        let begin = Instant::now();
        assert!(shell("exec sleep 60", Duration::from_millis(100)).status.is_none());
        // What it leaves behind holds its output open.
        assert!(shell("sleep 8 & echo done", Duration::from_secs(60)).text.contains("done"));
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    }

    #[test]
    fn finds_programs() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("/bin/sh"), Some("/bin/sh".into()));
        assert_eq!(find("no-such-program"), None);
        assert_eq!(find("/etc/passwd"), None);
        assert_eq!(find("/etc"), None);
    }
}
