//! Whether a file is still as it was: by what its file system says of it, without reading it.
//!
//! make, git and ccache do the same with the time of the last change to the bytes. Here the time of the
//! last change to the inode counts, too, which no program sets: who changes bytes and puts their time
//! back is found out. Both are times of the kernel's timer, so two changes within one of its ticks look
//! like one; what could hide in that is taken for changed.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fs_err::File;
use serde::{Deserialize, Serialize};

/// The longest tick of Linux's timer (`CONFIG_HZ=100`).
const TICK: Duration = Duration::from_millis(10);
/// After this long, whatever happens to a file gets another time.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// What changes with whatever is done to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileState {
    device: u64,
    inode: u64,
    owner: u32,
    mode: u32,
    size_bytes: u64,
    /// When its bytes were changed last, in seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// When its inode was changed last: its bytes, its name, its owner, its times.
    changed: (i64, i64),
}

impl FileState {
    /// The state of an open file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            owner: metadata.uid(),
            mode: metadata.mode(),
            size_bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether the file is this user's.
    pub(super) fn is_own(&self) -> bool {
        self.owner == rustix::process::geteuid().as_raw()
    }

    /// Whether a change after `now`, by the clock of the file system, would show.
    pub(super) fn is_settled(&self, now: (i64, i64)) -> bool {
        // A file system that counts whole seconds has no nanoseconds in any time.
        let is_exact = self.modified.1 != 0 && self.changed.1 != 0;
        is_exact && is_later(now, self.modified) && is_later(now, self.changed)
    }

    /// Whether the bytes are those of `before`, and were not touched when the file got its name, which
    /// is the last that was done to it.
    pub(super) fn has_bytes_of(&self, before: &Self) -> bool {
        let same = Self { changed: before.changed, ..self.clone() } == *before;
        same && is_later(self.changed, self.modified)
    }

    /// When the bytes were changed last: of a file that was just made, what the clock of its file system
    /// says.
    pub(super) fn modified(&self) -> (i64, i64) {
        self.modified
    }
}

/// Whether `time` is at least a tick behind `other`.
fn is_later(time: (i64, i64), other: (i64, i64)) -> bool {
    let nanoseconds =
        |(seconds, nanoseconds): (i64, i64)| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    nanoseconds(time) - nanoseconds(other) >= TICK.as_nanos().cast_signed()
}

fn now() -> (i64, i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_secs().cast_signed(), now.subsec_nanos().into())
}

/// A file that is read, with its state before anything of it was.
#[derive(Debug)]
pub(super) struct Watched {
    file: Arc<File>,
    before: FileState,
}

impl Watched {
    /// Looks at a file that was just opened.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut before = FileState::of(&file)?;
        if !before.is_settled(now()) {
            thread::sleep(PAUSE);
            before = FileState::of(&file)?;
        }
        Ok(Self { file: Arc::new(file), before })
    }

    /// The file.
    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Tells it that the file got another name. Whatever else was done to it before shows still.
    pub(super) fn was_renamed(&mut self) {
        if let Ok(state) = FileState::of(&self.file)
            && state.has_bytes_of(&self.before)
        {
            self.before = state;
        }
    }

    /// Its state, if nothing has changed it since; `None` as well where that would not show.
    pub(super) fn unchanged(&self) -> Option<&FileState> {
        let is_unchanged = FileState::of(&self.file).is_ok_and(|state| state == self.before);
        Some(&self.before).filter(|state| is_unchanged && state.is_settled(now()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use super::*;

    #[test]
    fn whatever_is_done_to_a_file_shows() {
        type Change = fn(&File);
        let changes: [(&str, Change); 6] = [
            ("nothing", |_| ()),
            ("more bytes", |mut file| file.write_all(b"x").unwrap()),
            ("other bytes", |file| file.file().write_all_at(b"x", 0).unwrap()),
            ("other bytes, and the time put back", |file| {
                let times = std::fs::FileTimes::new().set_modified(file.metadata().unwrap().modified().unwrap());
                file.file().write_all_at(b"x", 0).unwrap();
                file.file().set_times(times).unwrap();
            }),
            ("another mode", |file| file.set_permissions(std::fs::Permissions::from_mode(0o640)).unwrap()),
            ("another name", |file| fs_err::rename(file.path(), file.path().with_extension("other")).unwrap()),
        ];
        for (what, change) in changes {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let options =
                || File::options().read(true).append(false).write(true).create(true).truncate(false).open(&path);
            options().unwrap().write_all(b"abc").unwrap();
            let watched = Watched::new(options().unwrap()).unwrap();
            change(&options().unwrap());
            assert_eq!(watched.unchanged().is_some(), what == "nothing", "{what}");
        }
    }

    #[test]
    fn a_name_of_its_own_is_no_change() {
        for is_changed in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let mut file = File::create_new(&path).unwrap();
            let mut watched = Watched::new(File::open(&path).unwrap()).unwrap();
            if is_changed {
                file.write_all(b"x").unwrap();
            }
            thread::sleep(PAUSE);
            fs_err::rename(&path, path.with_extension("other")).unwrap();
            watched.was_renamed();
            thread::sleep(PAUSE);
            assert_eq!(watched.unchanged().is_some(), !is_changed);
        }
    }

    #[test]
    fn what_could_hide_in_a_tick_counts_as_changed() {
        let state =
            |modified, changed| FileState { device: 1, inode: 2, owner: 3, mode: 4, size_bytes: 5, modified, changed };
        let ms = |ms: i64| (7, ms * 1_000_000 + 1);
        for (modified, changed, now, settled) in [
            (ms(0), ms(100), ms(110), true),
            (ms(0), ms(100), ms(109), false),
            // Its bytes may have any time, that of another host's clock among them.
            (ms(200), ms(100), ms(110), false),
            (ms(0), ms(100), (8, 0), true),
            (ms(0), ms(100), (6, 999_999_999), false),
            // Seconds alone.
            ((5, 0), (6, 0), (9, 1), false),
        ] {
            assert_eq!(state(modified, changed).is_settled(now), settled, "{modified:?} {changed:?} {now:?}");
        }
        for (before, after, same) in [
            (state(ms(0), ms(0)), state(ms(0), ms(20)), true),
            (state(ms(0), ms(0)), state(ms(20), ms(20)), false),
            // Named so soon that a change since would have the same time.
            (state(ms(0), ms(0)), state(ms(0), ms(4)), false),
            (state(ms(0), ms(0)), FileState { inode: 9, ..state(ms(0), ms(20)) }, false),
            (state(ms(0), ms(0)), FileState { size_bytes: 9, ..state(ms(0), ms(20)) }, false),
        ] {
            assert_eq!(after.has_bytes_of(&before), same, "{before:?} {after:?}");
        }
    }
}
