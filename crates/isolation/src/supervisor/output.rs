//! The output directory: one build at a time in it, artifacts that are whole once they have their
//! name, and nothing left of a build that was killed.
//!
//! Everything unfinished lies in `OUTPUT/.fam-build`, a directory that only the user may enter; so
//! OUTPUT may be a shared /tmp. A lock on a file in there shows that a build is at work, however an
//! earlier one ended.

use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fam_progress::Hint;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use fs_err::{File, OpenOptions};
use rustix::fs::{Access, AtFlags, CWD, FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use super::artifact::Artifact;
use super::init::begin_role;
use super::isolation::Isolation;
use super::launch::{self, launch};
use super::protocol::{Failure, Receiver, Sender};
use super::role::Role;

const WORK_DIRECTORY: &str = ".fam-build";
const LOCK_FILE: &str = "lock";

/// Why the output directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another build is at work there.
    #[error("another fam-build{} is working in {}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), path.display())]
    Busy {
        /// Its process number, where it could be read.
        pid: Option<u32>,
        /// The output directory.
        path: PathBuf,
    },
    /// `.fam-build` is not ours, or open to others.
    #[error("{} is {found}, not a directory of this user's alone", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// A name of an artifact that is no plain file name.
    #[error("{0:?} is no name for an artifact")]
    Name(String),
    /// Files of subordinate users could not be removed.
    #[error("remove {}: {failure}", path.display())]
    Remove {
        /// The file or directory that stays.
        path: PathBuf,
        /// What the process that removes it said.
        failure: Failure,
    },
    /// The process that removes such files could not be started.
    #[error("{0}")]
    Launch(#[from] launch::Error),
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { .. } => {
                Some("wait for it, or give this build another directory with --output or TMPDIR".into())
            }
            Self::Foreign { path, .. } => {
                Some(format!("choose another directory with --output or TMPDIR, or remove {}", path.display()))
            }
            Self::Io(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("free some space, or choose another directory with --output or TMPDIR".into())
                }
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    Some("choose a directory that you may write to, with --output or TMPDIR".into())
                }
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                    Some("--output takes a directory".into())
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// An output directory, as the worker is told of it. The lock is the supervisor's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputDir {
    path: PathBuf,
}

impl OutputDir {
    /// The directory that finished artifacts are in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory under it for what is unfinished; removed with all it holds when the build
    /// ends.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path.join(WORK_DIRECTORY)
    }

    /// Begins the artifact `name`, readable by all as far as the umask allows.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create(&self, name: &str) -> Result<Artifact, Error> {
        self.create_with_mode(name, 0o666)
    }

    /// As [`create`](Self::create), for its owner alone: what holds a root file system holds hashes
    /// of passwords, and a node's disk private keys.
    ///
    /// # Errors
    /// As there.
    pub fn create_private(&self, name: &str) -> Result<Artifact, Error> {
        self.create_with_mode(name, 0o600)
    }

    /// Begins the artifact `name` with the permission bits `mode`, less the umask's.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create_with_mode(&self, name: &str, mode: u32) -> Result<Artifact, Error> {
        let plain = Path::new(name).file_name().is_some_and(|last| last == name) && name != WORK_DIRECTORY;
        if !plain {
            return Err(Error::Name(name.to_owned()));
        }
        let unfinished = self.work().join(format!("{name}.part"));
        Artifact::create(unfinished, mode, self.path.join(name))
    }
}

/// The right to work in an output directory. Dropping it removes what is unfinished; after an
/// interruption that should happen under [`super::Interrupts::shield`].
#[derive(Debug)]
pub struct OutputLock {
    directory: OutputDir,
    isolation: Isolation,
    /// Whether the directory may be another build's by now.
    released: bool,
    /// Closing it gives the lock up.
    lock: File,
}

impl OutputLock {
    /// Makes `path` if it is missing, takes its lock, and removes what a killed build left there.
    /// Proves with that that the directory can be written to. `isolation` serves to remove files of
    /// subordinate users.
    ///
    /// # Errors
    /// [`Error`].
    pub fn acquire(path: &Path, isolation: &Isolation) -> Result<Self, Error> {
        fs_err::create_dir_all(path)?;
        let directory = OutputDir { path: fs_err::canonicalize(path)? };
        // Whoever held the lock removes the directory when done: then begin again.
        loop {
            make_private_directory(&directory.work())?;
            let Some(lock) = lock(&directory)? else { continue };
            let mut lock = Self { directory, isolation: isolation.clone(), released: false, lock };
            lock.note_process()?;
            lock.remove_leftovers()?;
            return Ok(lock);
        }
    }

    /// Whether a build is at work in `path`.
    #[must_use]
    pub fn is_held(path: &Path) -> bool {
        let lock = File::open(path.join(WORK_DIRECTORY).join(LOCK_FILE));
        lock.is_ok_and(|lock| {
            flock(lock.file(), FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
        })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &OutputDir {
        &self.directory
    }

    /// Removes what is unfinished and gives up the lock.
    ///
    /// # Errors
    /// [`Error`]; the next build tries again then.
    pub fn release(mut self) -> Result<(), Error> {
        self.clean()
    }

    /// Writes into the lock file who has it.
    fn note_process(&mut self) -> Result<(), Error> {
        self.lock.set_len(0)?;
        writeln!(self.lock, "{}", std::process::id())?;
        Ok(())
    }

    fn clean(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.released, true) {
            return Ok(());
        }
        self.remove_leftovers()?;
        fs_err::remove_file(self.directory.work().join(LOCK_FILE))?;
        // From here on another build may take the directory over.
        let _ = fs_err::remove_dir(self.directory.work());
        Ok(())
    }

    fn remove_leftovers(&self) -> Result<(), Error> {
        for entry in fs_err::read_dir(self.directory.work())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name != LOCK_FILE) {
                remove_tree(&path, &self.isolation)?;
            }
        }
        Ok(())
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // What cannot be removed now, the next build removes.
        let _ = self.clean();
    }
}

/// Checks that a build could work in `path`, and changes nothing. Gives back the directory that is
/// there already: `path` itself, or the nearest one above it.
///
/// # Errors
/// [`Error`].
pub fn check_output(path: &Path) -> Result<PathBuf, Error> {
    require_own(&path.join(WORK_DIRECTORY))?;
    Ok(nearest_writable(path)?)
}

/// `path`, or the nearest directory above it that is there, if this user may write to it.
///
/// # Errors
/// What the system says, and of which directory.
pub fn nearest_writable(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let nearest = absolute.ancestors().find_map(|directory| match fs_err::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Some(Ok(directory)),
        Ok(_) => {
            let text = format!("{} is no directory", directory.display());
            Some(Err(io::Error::new(io::ErrorKind::NotADirectory, text)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error)),
    });
    let directory = nearest.unwrap_or(Ok(Path::new("/")))?;
    rustix::fs::accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("write to {}: {error}", directory.display()))
    })?;
    Ok(directory.to_owned())
}

fn make_private_directory(path: &Path) -> Result<(), Error> {
    // Made first and looked at only where it was there: nobody can put anything in between.
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(Error::Io(io::Error::new(error.kind(), format!("create {}: {error}", path.display()))));
        }
        Ok(()) => return Ok(()),
    }
    require_own(path)
}

/// Checks that `path` is a directory of this user's alone, if it is there.
fn require_own(path: &Path) -> Result<(), Error> {
    // Not following a link: in a shared directory anyone may have put one there.
    let metadata = match fs_err::symlink_metadata(path) {
        // Removed by the build that had it, or not yet made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let found = if !metadata.is_dir() {
        Some("a file or link".to_owned())
    } else if metadata.uid() != rustix::process::geteuid().as_raw() {
        Some(format!("a directory of user {}", metadata.uid()))
    } else if metadata.mode() & 0o077 != 0 {
        Some(format!("a directory with mode {:04o}", metadata.mode() & 0o7777))
    } else {
        None
    };
    found.map_or(Ok(()), |found| Err(Error::Foreign { path: path.to_owned(), found }))
}

/// Takes the lock; `None` if the file was removed meanwhile by the build that held it.
fn lock(directory: &OutputDir) -> Result<Option<File>, Error> {
    let path = directory.work().join(LOCK_FILE);
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(&path);
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Only for the message.
            let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut text);
            return Err(Error::Busy { pid: text.trim().parse().ok(), path: directory.path.clone() });
        }
        Err(error) => return Err(Error::Io(error.into())),
    }
    let same = fs_err::symlink_metadata(&path)
        .is_ok_and(|named| file.metadata().is_ok_and(|held| (named.dev(), named.ino()) == (held.dev(), held.ino())));
    if !same {
        return Ok(None);
    }
    Ok(Some(file))
}

/// Removes `path` and all under it; where it holds files of subordinate users, inside a user
/// namespace that has them.
fn remove_tree(path: &Path, isolation: &Isolation) -> Result<(), Error> {
    let refused = match remove_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        other => return Ok(other?),
    };
    // What needs no namespace for itself may still find what a build left that did.
    let detected = if isolation.ids.needs_user_namespace() { isolation.clone() } else { Isolation::detect()? };
    let isolation = &detected;
    if !isolation.ids.needs_user_namespace() {
        return Err(refused.into());
    }
    let talk = |source| Error::Launch(launch::Error::not_started(Role::REMOVE, source));
    let mut launched = launch(Role::REMOVE, isolation.namespaces, &isolation.ids)?;
    let control = launched.control.try_clone().map_err(talk)?;
    Sender::new(control.try_clone().map_err(talk)?).send(&path).map_err(talk)?;
    let answer: Option<Result<(), Failure>> = Receiver::new(control).receive().map_err(talk)?;
    launched.wait();
    match answer {
        Some(Ok(())) => Ok(()),
        Some(Err(failure)) => Err(Error::Remove { path: path.to_owned(), failure }),
        None => Err(talk(io::Error::other("it died"))),
    }
}

/// Follows no link, not even one put there meanwhile (std's removal walks by descriptors).
fn remove_all(path: &Path) -> io::Result<()> {
    if fs_err::symlink_metadata(path)?.is_dir() { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) }
}

/// The role's main function.
pub(crate) fn remove() -> ExitCode {
    let control = match begin_role() {
        Ok(control) => control,
        Err(code) => return code,
    };
    let Ok(copy) = control.try_clone() else { return ExitCode::FAILURE };
    let removed = match Receiver::new(copy).receive::<PathBuf>() {
        Ok(Some(path)) => remove_all(&path).map_err(|error| Failure::message(error.to_string())),
        Ok(None) => return ExitCode::FAILURE,
        Err(error) => Err(Failure::message(format!("read the path: {error}"))),
    };
    let _ = Sender::new(control).send(&removed);
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn acquire(path: &Path) -> Result<OutputLock, Error> {
        OutputLock::acquire(path, &Isolation::none())
    }

    #[test]
    fn one_build_at_a_time() {
        let output = tempfile::tempdir().unwrap();
        assert!(!OutputLock::is_held(output.path()));
        let lock = acquire(output.path()).unwrap();
        assert!(OutputLock::is_held(output.path()));
        let error = acquire(output.path()).unwrap_err();
        assert!(matches!(error, Error::Busy { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
        assert!(error.hint().unwrap().contains("--output"));
        lock.release().unwrap();
        assert_eq!(fs_err::read_dir(output.path()).unwrap().count(), 0);
        drop(acquire(output.path()).unwrap());
        assert_eq!(fs_err::read_dir(output.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_artifact_has_its_name_when_it_is_whole() {
        let output = tempfile::tempdir().unwrap();
        let lock = acquire(output.path()).unwrap();
        let target = output.path().join("fabric1.xml");
        fs_err::write(&target, "old").unwrap();
        let mut artifact = lock.directory().create("fabric1.xml").unwrap();
        artifact.write_all(b"new").unwrap();
        assert_eq!(fs_err::read_to_string(&target).unwrap(), "old");
        assert_eq!(artifact.finish().unwrap(), fs_err::canonicalize(&target).unwrap());
        assert_eq!(fs_err::read_to_string(&target).unwrap(), "new");

        let secret = lock.directory().create_with_mode("fabric.seed", 0o600).unwrap();
        let unfinished = secret.unfinished_path().to_owned();
        assert_eq!(fs_err::metadata(&unfinished).unwrap().permissions().mode() & 0o777, 0o600);
        drop(secret);
        assert!(!unfinished.exists() && !output.path().join("fabric.seed").exists());
        for name in ["", ".", "..", "a/b", "/etc/passwd", "a/", ".fam-build"] {
            assert!(matches!(lock.directory().create(name), Err(Error::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn a_link_of_someone_elses_is_replaced_and_not_followed() {
        let output = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let victim = elsewhere.path().join("victim");
        fs_err::write(&victim, "precious").unwrap();
        symlink(&victim, output.path().join("fabric.lock")).unwrap();
        let lock = acquire(output.path()).unwrap();
        let mut artifact = lock.directory().create("fabric.lock").unwrap();
        artifact.write_all(b"new").unwrap();
        artifact.finish().unwrap();
        assert_eq!(fs_err::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs_err::read_to_string(output.path().join("fabric.lock")).unwrap(), "new");
    }

    #[test]
    fn refuses_a_work_directory_that_is_not_private() {
        let output = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let work = output.path().join(WORK_DIRECTORY);
        symlink(elsewhere.path(), &work).unwrap();
        assert!(matches!(acquire(output.path()), Err(Error::Foreign { .. })));
        fs_err::remove_file(&work).unwrap();
        fs_err::create_dir(&work).unwrap();
        fs_err::set_permissions(&work, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = acquire(output.path()).unwrap_err();
        assert!(error.to_string().contains("mode 0777"), "{error}");
    }

    #[test]
    fn removes_what_a_killed_build_left() {
        let output = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs_err::write(outside.path().join("kept"), "").unwrap();
        let staging = output.path().join(WORK_DIRECTORY).join("staging/usr/bin");
        fs_err::create_dir_all(&staging).unwrap();
        fs_err::set_permissions(output.path().join(WORK_DIRECTORY), std::fs::Permissions::from_mode(0o700)).unwrap();
        symlink(outside.path(), staging.join("link")).unwrap();
        fs_err::write(output.path().join(WORK_DIRECTORY).join("fabric1.qcow2.part"), "x").unwrap();
        let lock = acquire(output.path()).unwrap();
        assert_eq!(fs_err::read_dir(lock.directory().work()).unwrap().count(), 1, "only the lock");
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn checking_a_directory_changes_nothing() {
        let output = tempfile::tempdir().unwrap();
        let here = fs_err::canonicalize(output.path()).unwrap();
        assert_eq!(check_output(&here).unwrap(), here);
        assert_eq!(check_output(&here.join("new/deep")).unwrap(), here);
        assert_eq!(fs_err::read_dir(&here).unwrap().count(), 0);
        let file = here.join("file");
        fs_err::write(&file, "").unwrap();
        let error = check_output(&file.join("new")).unwrap_err();
        assert!(error.to_string().contains("file") && error.hint().is_some(), "{error}");
        symlink("/tmp", here.join(WORK_DIRECTORY)).unwrap();
        assert!(matches!(check_output(&here), Err(Error::Foreign { .. })));
    }

    #[test]
    fn names_the_directory_that_cannot_be_written() {
        let error = acquire(Path::new("/proc/fam-build")).unwrap_err();
        assert!(error.to_string().contains("/proc/fam-build"), "{error}");
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = acquire(file.path()).unwrap_err();
        assert!(error.hint().is_some(), "{error:?}");
    }
}
