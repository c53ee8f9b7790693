//! The directories beside a recipe whose content partitions and disks get: owned by root, as the plugin
//! `files` puts them into the system. Contents are copied into one file of the build and never held in
//! memory.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fam_host::regular;
use fam_image::Contents;
use fam_tree::{Content, Entry, Kind, RootPath, Store, Timestamp, Tree};
use fs_err::File;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};

use super::Error;
use super::template::unnamed_file;
use crate::recipe::beside::{self, Found};
use crate::recipe::{Disk, Listed, Volume};

/// The contents of all sources.
#[derive(Debug, Default)]
pub(super) struct Sources {
    trees: BTreeMap<String, Arc<Tree>>,
    contents: Option<Arc<File>>,
    /// The SHA-256 of what lies there of each.
    digests: BTreeMap<String, [u8; 32]>,
}

impl Sources {
    /// Reads the sources of `disk`. Contents go into a file in the directory `work`; `timestamp` is
    /// the time of all that is read.
    ///
    /// # Errors
    /// [`Error`] where a source is no directory that the recipe can name, or cannot be read.
    pub(super) fn read(disk: &Disk, work: &Path, timestamp: i64) -> Result<Self, Error> {
        let mut sources = Self::default();
        let mut contents = None;
        let mut end = 0;
        for listed in with_source(disk) {
            let contents = match &mut contents {
                Some(contents) => contents,
                none => none.insert(Arc::new(unnamed_file(work)?)),
            };
            let begin = end;
            let mut tree = Tree::default();
            beside::walk(&place(listed)?, &mut |place, path, found| {
                let path = RootPath::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
                let (kind, mode) = match found {
                    Found::Directory => (Kind::Directory, 0o755),
                    Found::Symlink(target) => (Kind::Symlink(target.into_os_string().into_vec()), 0o777),
                    Found::Other => return Err(no_file(place)),
                    Found::File(_) => {
                        let file = regular::open_with(place, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())
                            .map_err(io::Error::from)?;
                        let is_program = file.metadata()?.permissions().mode() & 0o100 != 0;
                        let len = io::copy(&mut file.file(), &mut contents.file())?;
                        let content = Content::Stored { offset: Contents::offset_in_second(end), len };
                        end += len;
                        (Kind::File(content), if is_program { 0o755 } else { 0o644 })
                    }
                };
                let mtime = Timestamp { seconds: timestamp, nanoseconds: 0 };
                tree.insert(path, Entry { kind, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() });
                Ok(())
            })
            .map_err(|error: io::Error| unusable(listed, &error))?;
            sources.trees.insert(listed.what.label.to_string(), Arc::new(tree));
            // Of the copy, which is what goes into images, and is in memory still.
            let mut hasher = Sha256::new();
            contents.file().seek(SeekFrom::Start(begin))?;
            io::copy(&mut contents.file(), &mut hasher)?;
            sources.digests.insert(listed.what.label.to_string(), hasher.finalize().into());
        }
        sources.contents = contents;
        Ok(sources)
    }

    /// Names the bytes of all contents that the volume of this label gets.
    pub(super) fn digest(&self, label: &str) -> Option<&[u8; 32]> {
        self.digests.get(label)
    }

    /// What the volume of this label gets.
    pub(super) fn tree(&self, label: &str) -> Option<&Arc<Tree>> {
        self.trees.get(label)
    }

    /// Where contents lie: in `store`, and then in these sources.
    pub(super) fn contents(&self, store: &Arc<dyn Store>) -> Contents {
        let sources = self.contents.clone().map(|file| -> Arc<dyn Store> { file });
        Contents::new(Arc::clone(store), sources)
    }
}

/// Checks that all sources can be read and fit; returns their bytes.
///
/// # Errors
/// [`Error`]
pub(super) fn survey(disk: &Disk) -> Result<u64, Error> {
    let mut bytes = 0;
    for listed in with_source(disk) {
        let mut needed_bytes: u64 = 0;
        beside::walk(&place(listed)?, &mut |place, path, found| {
            RootPath::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
            match found {
                Found::File(metadata) => needed_bytes = needed_bytes.saturating_add(metadata.len()),
                Found::Other => return Err(no_file(place)),
                Found::Directory | Found::Symlink(_) => {}
            }
            Ok(())
        })
        .map_err(|error: io::Error| unusable(listed, &error))?;
        let available_bytes = listed.what.size.get().bytes();
        if needed_bytes > available_bytes {
            let source = Box::new(fam_image::Error::TooSmall { needed_bytes, available_bytes });
            return Err(fam_image::Error::Volume { label: listed.what.label.to_string(), source }.into());
        }
        bytes += needed_bytes;
    }
    Ok(bytes)
}

fn with_source(disk: &Disk) -> impl Iterator<Item = &Listed<Volume>> {
    disk.partitions.iter().chain(&disk.more).filter(|listed| listed.what.source.is_some())
}

/// The directory that a recipe names.
fn place(listed: &Listed<Volume>) -> Result<PathBuf, Error> {
    let path = listed.what.source.as_deref().unwrap_or_default();
    let refused = |reason: String, hint| Error::Volume { label: listed.what.label.to_string(), reason, hint };
    let Some(directory) = &listed.source.directory else {
        let hint = "name it in a recipe of your own, which may extend this one";
        return Err(refused("a recipe that is built in has no files beside it".into(), hint));
    };
    let place = beside::find(path, directory).map_err(|error| match error {
        beside::Error::Io(error) => unusable(listed, &error),
        error => refused(error.to_string(), beside::MOVE_IT),
    })?;
    if !place.is_dir() {
        return Err(refused(format!("{path:?} is no directory"), "put what the volume gets into a directory"));
    }
    Ok(place)
}

fn unusable(listed: &Listed<Volume>, error: &io::Error) -> Error {
    let hint = "`source` is a directory that you can read, as seen from that of the recipe which names it";
    Error::Volume { label: listed.what.label.to_string(), reason: error.to_string(), hint }
}

fn no_file(place: &Path) -> io::Error {
    let message = format!("{} is neither a file nor a directory nor a symbolic link", place.display());
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use fam_progress::Hint;
    use fs_err::os::unix::fs::FileExt;

    use super::*;
    use crate::recipe::{Environment, Flags, Settings};

    fn disk(directory: &Path, source: &str) -> Disk {
        let recipe = directory.join("r.toml");
        let volume = format!("[[disk.partition]]\nsize = '64M'\nlabel = 'data'\nsource = '{source}'\n");
        fs_err::write(&recipe, format!("suite = 'sid'\n{volume}")).unwrap();
        let flags = Flags { recipe: Some(recipe.to_str().unwrap().to_owned()), ..Flags::default() };
        Settings::new(flags, &Environment::default()).unwrap().recipe.disk
    }

    #[test]
    fn a_directory_becomes_a_tree_of_roots() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs_err::create_dir_all(at("tree/sub")).unwrap();
        fs_err::write(at("tree/sub/b"), "bb").unwrap();
        fs_err::write(at("tree/a"), "aaa").unwrap();
        fs_err::set_permissions(at("tree/a"), std::fs::Permissions::from_mode(0o711)).unwrap();
        fs_err::os::unix::fs::symlink("/etc/passwd", at("tree/link")).unwrap();
        let disk = disk(directory.path(), "./tree");
        assert_eq!(survey(&disk).unwrap(), 5);
        let sources = Sources::read(&disk, directory.path(), 7).unwrap();
        let tree = sources.tree("data").unwrap();
        let shown: Vec<_> =
            tree.iter().map(|(path, entry)| format!("{path} {:o} {}", entry.mode, entry.mtime.seconds)).collect();
        assert_eq!(shown, ["/ 755 7", "/a 755 7", "/link 777 7", "/sub 755 7", "/sub/b 644 7"]);
        let Kind::File(Content::Stored { offset, len }) = tree.get(&"sub/b".parse().unwrap()).unwrap().kind else {
            panic!("no file")
        };
        let mut bytes = vec![0; len as usize];
        let file = sources.contents.as_ref().unwrap();
        file.read_exact_at(&mut bytes, offset - Contents::offset_in_second(0)).unwrap();
        assert_eq!(bytes, b"bb");
    }

    #[test]
    fn nothing_else_of_the_host_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs_err::os::unix::fs::symlink("/etc", at("link")).unwrap();
        fs_err::write(at("file"), "").unwrap();
        fs_err::create_dir(at("odd")).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, at("odd/pipe"), kind, mode, 0).unwrap();
        fs_err::create_dir(at("large")).unwrap();
        File::create(at("large/file")).unwrap().set_len(65 << 20).unwrap();
        for (source, message) in [
            ("missing", "No such file or directory"),
            ("/etc", "\"/etc\" is no path of something beneath the recipe's directory"),
            ("a/../..", "\"a/../..\" is no path of something beneath the recipe's directory"),
            ("link", "\"link\" leads out of the recipe's directory"),
            ("file", "\"file\" is no directory"),
            ("odd", "pipe is neither a file nor a directory nor a symbolic link"),
            ("large", "the tree needs 68157440 bytes but its partition has 67108864"),
        ] {
            let error = survey(&disk(directory.path(), source)).unwrap_err();
            assert!(error.to_string().contains("the volume data: ") && error.to_string().contains(message), "{error}");
            assert!(error.hint().is_some() || crate::hints::hint(&error).is_some(), "{error}");
        }
    }
}
