//! Files of this host in the place of a server's.

use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;

use fam_host::regular;
use fs_err::File;

use super::Error;

/// Whether there is such a file.
pub(super) fn exists(path: &Path) -> Result<bool, Error> {
    match open(path, 0) {
        Ok(_) => Ok(true),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a file to be read from the byte `first` on, or from its beginning if it has fewer: the file,
/// where it is read from, and its length.
pub(super) fn open(path: &Path, first: u64) -> Result<(File, u64, u64), Error> {
    let opened = || {
        let mut file = regular::open(path)?;
        let length = file.metadata()?.len();
        let first = if first > length { 0 } else { first };
        file.seek(SeekFrom::Start(first))?;
        Ok::<_, io::Error>((file, first, length))
    };
    opened().map_err(|source| Error::File { source })
}

#[cfg(test)]
mod tests {
    use super::super::{Http, HttpOptions};
    use super::*;
    use crate::file_url;

    #[test]
    fn files_are_read_as_those_of_a_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b%41@ü");
        fs_err::write(&path, "0123456789").unwrap();
        let (url, http) = (file_url::of_path(&path), Http::new(HttpOptions::default()).unwrap());
        assert!(http.exists(&url).unwrap());
        assert_eq!(http.get(&url, 10).unwrap().unwrap(), b"0123456789");
        assert!(matches!(http.get(&url, 9), Err(Error::TooLong { .. })));
        for (first, begins, rest) in [(0, 0, "0123456789"), (4, 4, "456789"), (10, 10, ""), (11, 0, "0123456789")] {
            let mut reply = http.open(&url, first, true).unwrap();
            let mut buffer = [0; 32];
            let count = reply.read(&mut buffer).unwrap();
            assert_eq!((reply.first, reply.total, &buffer[..count]), (begins, Some(10), rest.as_bytes()));
        }
        for missing in ["nothing", "a b%41@ü/below"] {
            let url = file_url::of_path(&directory.path().join(missing));
            assert!(!http.exists(&url).unwrap() && http.get(&url, 10).unwrap().is_none(), "{missing}");
        }
        let error = http.get(&file_url::of_path(directory.path()), 10).unwrap_err().to_string();
        assert!(error.contains("is a directory, not a regular file"), "{error}");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            directory.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let error = http.exists(&file_url::of_path(&directory.path().join("fifo"))).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
