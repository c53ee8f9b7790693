//! Opens files that must be regular ones: a FIFO in the place of one would be waited for without
//! end, and a device might be read without end. The kind is checked on what was opened, not on
//! the name before, so that no other file can take its place in between.

use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fs_err::File;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Why a regular file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else is there.
    #[error("{} is {found}, not a regular file", path.display())]
    Other {
        /// The path that was to be opened.
        path: PathBuf,
        /// What is there, as "a directory".
        found: &'static str,
    },
    /// It could not be opened at all; the error names it.
    #[error(transparent)]
    Io(io::Error),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => error,
            other => Self::new(io::ErrorKind::InvalidInput, other),
        }
    }
}

/// Whether a regular file can have been written by nobody but this user and root.
#[must_use]
pub fn is_own(metadata: &Metadata) -> bool {
    let own = rustix::process::geteuid().as_raw();
    metadata.is_file() && [0, own].contains(&metadata.uid()) && metadata.mode() & 0o022 == 0
}

/// Opens `path` for reading; follows symbolic links.
pub fn open(path: &Path) -> Result<File, Error> {
    open_with(path, OFlags::RDONLY, Mode::empty())
}

/// Opens, and with `O_CREAT` makes, a file that this program alone puts there: with `O_NOFOLLOW`, a
/// link is not one.
pub fn open_with(path: &Path, flags: OFlags, mode: Mode) -> Result<File, Error> {
    // A FIFO without a writer would block, and a terminal would become this process's.
    let always = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let at_path = |error: io::Error| {
        Error::Io(io::Error::new(error.kind(), format!("failed to open file `{}`: {error}", path.display())))
    };
    let found = match rustix::fs::open(path, flags | always, mode) {
        Ok(descriptor) => {
            let file = std::fs::File::from(descriptor);
            let kind = file.metadata().map_err(at_path)?.file_type();
            if kind.is_file() {
                return Ok(File::from_parts(file, path));
            }
            describe(kind)
        }
        Err(Errno::ISDIR) => "a directory",
        Err(Errno::LOOP) if flags.contains(OFlags::NOFOLLOW) => "a symbolic link",
        // Sockets, FIFOs without a reader, devices that are not there.
        Err(Errno::NXIO) => match fs_err::metadata(path) {
            Ok(metadata) => describe(metadata.file_type()),
            Err(error) => return Err(Error::Io(error)),
        },
        Err(error) => return Err(at_path(error.into())),
    };
    Err(Error::Other { path: path.to_owned(), found })
}

fn describe(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn opens_regular_files_alone_and_waits_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs_err::write(path("file"), "x").unwrap();
        fs_err::create_dir(path("directory")).unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW;
        for (name, reading, writing) in [
            ("file", "", ""),
            ("link", "", "a symbolic link, not a regular file"),
            ("directory", "a directory, not", "a directory, not"),
            ("fifo", "a FIFO, not", "a FIFO, not"),
            ("socket", "a socket, not", "a socket, not"),
            ("loop", "failed to open file", "a symbolic link, not"),
            ("missing/file", "failed to open file", "failed to open file"),
        ] {
            let said = |opened: Result<File, Error>| opened.map_or_else(|error| error.to_string(), |_| String::new());
            assert!(said(open(&path(name))).contains(reading), "{name}");
            assert_eq!(said(open(&path(name))).is_empty(), reading.is_empty(), "{name}");
            let written = said(open_with(&path(name), write, Mode::RUSR));
            assert!(written.contains(writing), "{name}: {written}");
            assert_eq!(written.is_empty(), writing.is_empty(), "{name}: {written}");
        }
        assert!(matches!(open(Path::new("/dev/null")), Err(Error::Other { found: "a device", .. })));
    }
}
