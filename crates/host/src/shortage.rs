//! Hints for when memory, a disk or a limit of this process is used up. That can happen in any
//! room, so it is found by the number of the system's error, wherever that is among the causes.

use std::error::Error;
use std::io;

/// What to do about `error` if a limit or a broken disk is the cause. This comes before the hint of
/// the room that failed.
pub fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    const MEMORY: &str = "memory ran out: raise the limit (`ulimit -v`, or that of the control group), or try --jobs 1";
    causes(error).find_map(|cause| match number(cause) {
        Some(libc::EMFILE) => Some("raise the limit on open files (`ulimit -n`): 1024 are enough"),
        Some(libc::ENFILE) => Some("the whole machine has too many files open: see /proc/sys/fs/file-max"),
        Some(libc::EFBIG) => {
            Some("raise the limit on the size of files (`ulimit -f`), or take a file system that can have larger ones")
        }
        Some(libc::EIO) => Some("the disk, or its file system, failed: see `dmesg`"),
        Some(libc::ENOMEM) => Some(MEMORY),
        _ => is_xz_without_memory(cause).then_some(MEMORY),
    })
}

/// What to do about `error` if the room that failed has no hint of its own.
pub fn last_hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    causes(error).find_map(|cause| match number(cause)? {
        libc::ENOSPC | libc::EDQUOT => Some("free some space, or choose another directory with --output or TMPDIR"),
        libc::EROFS => Some("choose a directory that you may write to, with --output or TMPDIR"),
        libc::EAGAIN => {
            Some("raise the limits on processes and memory (`ulimit -u`, `ulimit -v`, or those of the control group)")
        }
        _ => None,
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The number of the system's error that `error` is. `fs_err`, and what another process says, tell
/// it in the text alone; where that has several lines, they are a program's own.
fn number(error: &(dyn Error + 'static)) -> Option<i32> {
    let known = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    known.or_else(|| {
        let text = error.to_string();
        let (_, number) = text.strip_suffix(')')?.rsplit_once("(os error ")?;
        number.parse().ok().filter(|_| !text.contains('\n'))
    })
}

fn is_xz_without_memory(error: &(dyn Error + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let inner = inner.and_then(|error| error.downcast_ref());
    matches!(inner, Some(liblzma::stream::Error::Mem | liblzma::stream::Error::MemLimit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_progress::Failure;

    #[derive(Debug, thiserror::Error)]
    #[error("write the image: {0}")]
    struct Image(#[source] io::Error);

    fn says(said: Option<&str>, word: Option<&str>) -> bool {
        match (said, word) {
            (Some(said), Some(word)) => said.contains(word),
            (said, word) => said.is_none() && word.is_none(),
        }
    }

    #[test]
    fn is_found_among_the_causes() {
        for (number, first, last) in [
            (libc::EMFILE, Some("ulimit -n"), None),
            (libc::EFBIG, Some("ulimit -f"), None),
            (libc::ENOMEM, Some("ulimit -v"), None),
            (libc::EIO, Some("dmesg"), None),
            (libc::ENOSPC, None, Some("free some space")),
            (libc::EDQUOT, None, Some("free some space")),
            (libc::EROFS, None, Some("write to")),
            (libc::EAGAIN, None, Some("ulimit -u")),
            (libc::ENOENT, None, None),
        ] {
            let error = io::Error::from_raw_os_error(number);
            let told = Failure::message(format!("start the worker: {error}"));
            let quoted = Failure::message(format!("the script failed; its last lines:\n  {error}"));
            assert!(says(hint(&told), first) && says(last_hint(&told), last), "{number}");
            assert_eq!((hint(&quoted), last_hint(&quoted)), (None, None), "{number}");
            let error = Image(error);
            assert!(says(hint(&error), first) && says(last_hint(&error), last), "{number}");
        }
        let xz = Image(io::Error::other(liblzma::stream::Error::Mem));
        assert!(says(hint(&xz), Some("ulimit -v")));
        // An error of fs_err.
        let named = fs_err::write("/proc/self/attr/current/none", "").unwrap_err();
        assert_eq!(number(&named), Some(libc::ENOTDIR));
    }
}
