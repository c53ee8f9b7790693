//! The comment at the beginning of a tarball, which says what it was made of.

use std::io;
use std::os::unix::fs::FileExt;

use fs_err::File;

use crate::tar::{BLOCK, COMMENT};

/// The comment that [`TarWriter::comment`](crate::tar::TarWriter::comment) wrote as the first thing
/// of `file`; `None` if it begins otherwise.
///
/// # Errors
/// When the file cannot be read.
pub fn comment(file: &File) -> io::Result<Option<String>> {
    // The header and its records: a comment of ours fits into one block.
    let mut beginning = [0; 2 * BLOCK as usize];
    match file.file().read_exact_at(&mut beginning, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let (header, records) = beginning.split_at(BLOCK as usize);
    let is_global = header[156] == b'g' && header[257..].starts_with(b"ustar");
    Ok(if is_global { first_record(records) } else { None })
}

/// The value of the first record, `length comment=value newline`.
fn first_record(records: &[u8]) -> Option<String> {
    let blank = records.iter().position(|&byte| byte == b' ')?;
    let len: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
    let value = records.get(blank + 1..len)?.strip_prefix(COMMENT)?.strip_prefix(b"=")?.strip_suffix(b"\n")?;
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::TarWriter;

    #[test]
    fn is_found_at_the_beginning_only() {
        let written = |text: Option<&str>| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("tarball");
            let mut writer = TarWriter::new(fs_err::File::create(&path).unwrap());
            if let Some(text) = text {
                writer.comment(text).unwrap();
            }
            writer.finish().unwrap();
            comment(&File::open(&path).unwrap()).unwrap()
        };
        assert_eq!(written(Some("made of x")), Some("made of x".to_owned()));
        assert_eq!(written(None), None);
    }
}
