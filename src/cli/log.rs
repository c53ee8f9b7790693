//! The log of a build: every event with its time, whatever the screen shows. The log before it is
//! kept.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fs_err as fs;
use jiff::{Timestamp, Unit};

use super::text::visible;
use crate::progress::{Event, Reporter, Task};

/// The name of the log in the output directory.
pub const NAME: &str = "fabric_emulation.log";
/// The name under which the log before it is kept.
pub const OLD_NAME: &str = "fabric_emulation.log.old";

/// The log cannot be begun.
#[derive(Debug, thiserror::Error)]
#[error("begin the log: {0}")]
pub struct LogError(#[from] io::Error);

impl LogError {
    /// What the user should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some("artifacts go to --output DIR, else to TMPDIR, else to /tmp: name a directory of yours".to_owned())
    }
}

/// Writes events to `fabric_emulation.log`, one line each, as they come.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Mutex<fs::File>,
}

impl LogFile {
    /// Begins the log in `directory`, which is made if it is not there. Only the holder of the
    /// directory's lock may: the log of another run would be taken away from it.
    ///
    /// # Errors
    /// The directory or the file cannot be made, or the log before it cannot be renamed.
    pub fn create(directory: &Path) -> Result<Self, LogError> {
        fs::create_dir_all(directory)?;
        let path = directory.join(NAME);
        match fs::rename(&path, directory.join(OLD_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        // The directory may be /tmp: a link that somebody puts there meanwhile is not followed.
        let file = fs::OpenOptions::new().append(true).create_new(true).open(&path)?;
        Ok(Self { path, file: Mutex::new(file) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Reporter for LogFile {
    fn report(&self, event: Event) {
        let Some(text) = line(&event) else { return };
        let time = Timestamp::now().round(Unit::Millisecond).unwrap_or_default();
        if let Ok(mut file) = self.file.lock() {
            // A log on a full disk stops no build; the build finds out by itself.
            let _ = file.write_all(format!("{time} {text}\n").as_bytes());
        }
    }
}

fn line(event: &Event) -> Option<String> {
    let text = match event {
        Event::Step { message } => format!("step     {message}"),
        Event::Detail { message } => format!("detail   {message}"),
        Event::Warning { message, hint: None } => format!("warning  {message}"),
        Event::Warning { message, hint: Some(hint) } => format!("warning  {message} (hint: {hint})"),
        Event::Output { source, line } => format!("output   {source}: {line}"),
        Event::Begin { task, total } => format!("begin    {}: {total} {}", name(*task), unit(*task)),
        Event::End { task } => format!("end      {}", name(*task)),
        // Only the screen's bars want these.
        Event::At { .. } | Event::Advance { .. } => return None,
    };
    // A log is read in a terminal, too.
    Some(visible(&text).replace('\n', "\n  "))
}

pub(super) fn name(task: Task) -> &'static str {
    match task {
        Task::Download => "download",
        Task::Unpack => "unpack",
        Task::Configure => "configure",
        Task::Images => "images",
    }
}

fn unit(task: Task) -> &'static str {
    match task {
        Task::Configure => "packages",
        Task::Download | Task::Unpack | Task::Images => "bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;

    #[test]
    fn every_event_is_kept_with_its_time_and_the_log_before() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("new/output");
        drop(LogFile::create(&output).unwrap());
        fs::write(output.join(NAME), "first\n").unwrap();
        let progress = Progress::new(LogFile::create(&output).unwrap());
        progress.step("unpacking");
        progress.output("postinst of vim", "Setting up http://ann:secret@host");
        progress.warning("no security archive", Some("name one".to_owned()));
        progress.task(Task::Configure, 3).advance(3);
        progress.detail("two\nlines \x1b[31m\u{202e}");
        let text = fs::read_to_string(output.join(NAME)).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once("Z ").map_or(line, |(_, rest)| rest)).collect();
        assert_eq!(
            lines,
            [
                "step     unpacking",
                "output   postinst of vim: Setting up http://***@host",
                "warning  no security archive (hint: name one)",
                "begin    configure: 3 packages",
                "end      configure",
                "detail   two",
                "  lines \\u001b[31m\\u202e"
            ]
        );
        assert!(text.starts_with("20") && text.as_bytes()[10] == b'T', "{text}");
        assert_eq!(fs::read_to_string(output.join(OLD_NAME)).unwrap(), "first\n");
    }

    #[test]
    fn a_directory_that_cannot_be_written() {
        let error = LogFile::create(Path::new("/proc/nowhere")).unwrap_err();
        assert!(error.to_string().contains("/proc/nowhere"), "{error}");
        assert!(error.hint().is_some());
    }
}
