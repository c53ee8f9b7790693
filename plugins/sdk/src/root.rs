//! The handle by which a plugin changes the image.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Attributes, FileType, Metadata, Problem, Result, RootFs};

/// The files of the image. Paths are taken from the image's top, with or without a leading slash,
/// and symbolic links on the way are followed inside the image; the last component is followed
/// except where a method says otherwise.
pub struct Root<'a> {
    pub(crate) fs: &'a mut dyn RootFs,
    pub(crate) has_network: bool,
}

impl fmt::Debug for Root<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root")
    }
}

impl<'a> Root<'a> {
    /// The handle on what a host keeps. What it runs has no network.
    pub fn new(fs: &'a mut dyn RootFs) -> Self {
        Self { fs, has_network: false }
    }

    pub(crate) fn follow(&self, operation: &str, path: &Path) -> Result<PathBuf> {
        self.fs.resolve(path, true).map_err(|problem| problem.at(operation, path))
    }

    /// Resolves all but the last component. The root directory itself is refused: it is never what
    /// was meant.
    pub(crate) fn literal(&self, operation: &str, path: &Path) -> Result<PathBuf> {
        let literal = self.fs.resolve(path, false).map_err(|problem| problem.at(operation, path))?;
        if literal == Path::new("/") { Err(Problem::BadPath.at(operation, path)) } else { Ok(literal) }
    }

    /// The path without links, `.` and `..` that `path` means inside the image. The last component
    /// is followed where `follow_last` says so; it need not exist.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn resolve(&self, path: impl AsRef<Path>, follow_last: bool) -> Result<PathBuf> {
        let path = path.as_ref();
        self.fs.resolve(path, follow_last).map_err(|problem| problem.at("find", path))
    }

    /// What stands at `path`.
    ///
    /// # Errors
    /// [`Problem::NotFound`] where nothing does.
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        let resolved = self.follow("look at", path.as_ref())?;
        self.fs.metadata(&resolved)
    }

    /// What stands at `path`, the symbolic link itself where it is one.
    ///
    /// # Errors
    /// [`Problem::NotFound`] where nothing does.
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        let path = path.as_ref();
        let resolved = self.fs.resolve(path, false).map_err(|problem| problem.at("look at", path))?;
        self.fs.metadata(&resolved)
    }

    /// Whether something stands at `path`; a link that leads nowhere does not count.
    #[must_use]
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.metadata(path).is_ok()
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let resolved = self.follow("read", path.as_ref())?;
        self.fs.read(&resolved)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// [`Problem::Malformed`] where it is not UTF-8.
    pub fn read_text(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        String::from_utf8(self.read(path)?).map_err(|_| Problem::Malformed("not UTF-8".into()).at("read", path))
    }

    /// Writes a whole file. Mode and owner of a file that is there are kept; a new one is 0644 and
    /// root's.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&mut self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<()> {
        self.write_with(path, contents, Attributes::default())
    }

    /// Writes a whole file with that mode and owner.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_with(
        &mut self,
        path: impl AsRef<Path>,
        contents: impl AsRef<[u8]>,
        attributes: Attributes,
    ) -> Result<()> {
        let resolved = self.follow("write", path.as_ref())?;
        self.fs.write(&resolved, contents.as_ref(), attributes)
    }

    /// Adds to the end of a file, which is made where it is missing.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn append(&mut self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        let mut bytes = self.read_or_empty(path)?;
        bytes.extend_from_slice(contents.as_ref());
        self.write(path, bytes)
    }

    /// Changes the text of a file, which counts as empty where it is missing.
    ///
    /// # Errors
    /// [`Error::File`], or what `change` gives.
    pub fn edit(&mut self, path: impl AsRef<Path>, change: impl FnOnce(String) -> Result<String>) -> Result<()> {
        let path = path.as_ref();
        let text = String::from_utf8(self.read_or_empty(path)?)
            .map_err(|_| Problem::Malformed("not UTF-8".into()).at("edit", path))?;
        let changed = change(text.clone())?;
        // What has not changed is not written: at the node stage it would become the node's own,
        // and lie apart from what all nodes share.
        if changed == text && self.exists(path) { Ok(()) } else { self.write(path, changed) }
    }

    /// Makes sure that `line` is a line of the file, at its end where it was missing.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn ensure_line(&mut self, path: impl AsRef<Path>, line: &str) -> Result<()> {
        self.edit(path, |mut text| {
            if !text.lines().any(|present| present == line) {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                text.push_str(line);
                text.push('\n');
            }
            Ok(text)
        })
    }

    /// The names in a directory, in byte order.
    ///
    /// # Errors
    /// [`Problem::NotADirectory`] for anything else.
    pub fn list(&self, path: impl AsRef<Path>) -> Result<Vec<OsString>> {
        let resolved = self.follow("list", path.as_ref())?;
        self.fs.list(&resolved)
    }

    /// Makes a directory in one that exists.
    ///
    /// # Errors
    /// [`Problem::AlreadyExists`].
    pub fn create_dir(&mut self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let literal = self.literal("create directory", path.as_ref())?;
        self.fs.create_dir(&literal, mode)
    }

    /// Makes a directory, and those above it, with mode 0755 where they are missing.
    ///
    /// # Errors
    /// [`Problem::NotADirectory`] where something else is in the way.
    pub fn create_dir_all(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        match self.metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Ok(()),
            Ok(_) => return Err(Problem::NotADirectory.at("create directory", path)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_dir_all(parent)?;
        }
        // Through a link that leads nowhere, the directory is made where it leads.
        let resolved = self.follow("create directory", path)?;
        match self.fs.metadata(&resolved) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            _ => self.fs.create_dir(&resolved, 0o755),
        }
    }

    /// Makes a symbolic link at `path` to `target`. A link that is there is replaced, anything else
    /// is not.
    ///
    /// # Errors
    /// [`Problem::AlreadyExists`].
    pub fn symlink(&mut self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let (target, path) = (target.as_ref(), path.as_ref());
        let literal = self.literal("link", path)?;
        match self.fs.metadata(&literal) {
            Ok(Metadata { file_type: FileType::Symlink(present), .. }) if present == target => return Ok(()),
            Ok(Metadata { file_type: FileType::Symlink(_), .. }) => self.fs.remove(&literal)?,
            Ok(_) => return Err(Problem::AlreadyExists.at("link", path)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        self.fs.symlink(target, &literal)
    }

    /// Removes what stands at `path`, a link itself, a directory with all that is in it. Gives
    /// whether something was.
    ///
    /// # Errors
    /// [`Error::File`]; that nothing was there is no error.
    pub fn remove(&mut self, path: impl AsRef<Path>) -> Result<bool> {
        let literal = match self.literal("remove", path.as_ref()) {
            Err(error) if error.is_not_found() => return Ok(false),
            literal => literal?,
        };
        match self.fs.remove(&literal) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the permission bits.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_mode(&mut self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let resolved = self.follow("change mode of", path.as_ref())?;
        self.fs.set_mode(&resolved, mode)
    }

    /// Sets owner and group.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_owner(&mut self, path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        let resolved = self.follow("change owner of", path.as_ref())?;
        self.fs.set_owner(&resolved, uid, gid)
    }

    /// Sets owner and group of what stands at `path`, of the symbolic link itself where it is one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_symlink_owner(&mut self, path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        let literal = self.literal("change owner of", path.as_ref())?;
        self.fs.set_owner(&literal, uid, gid)
    }

    /// The extended attributes by full name.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn xattrs(&self, path: impl AsRef<Path>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let resolved = self.follow("read attributes of", path.as_ref())?;
        self.fs.xattrs(&resolved)
    }

    /// Sets an extended attribute, as `security.capability`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn set_xattr(&mut self, path: impl AsRef<Path>, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        let resolved = self.follow("set attribute of", path.as_ref())?;
        self.fs.set_xattr(&resolved, name.as_ref(), value.as_ref())
    }

    /// Enables a systemd unit that the image holds, as `systemctl enable` would where the unit says
    /// `WantedBy=TARGET`.
    ///
    /// # Errors
    /// [`Problem::NotFound`] where the image has no such unit file.
    pub fn enable_unit(&mut self, unit: &str, wanted_by: &str) -> Result<()> {
        // In the order in which systemd looks for units (systemd.unit(5)).
        let file = ["/etc/systemd/system", "/usr/lib/systemd/system"]
            .iter()
            .map(|dir| Path::new(dir).join(unit))
            .find(|path| self.exists(path))
            .ok_or_else(|| Problem::NotFound.at("enable", unit))?;
        let wants = Path::new("/etc/systemd/system").join(format!("{wanted_by}.wants"));
        self.create_dir_all(&wants)?;
        self.symlink(file, wants.join(unit))
    }

    fn read_or_empty(&self, path: &Path) -> Result<Vec<u8>> {
        match self.read(path) {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            read => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryRoot;

    #[test]
    fn keeps_mode_and_owner_unless_told() {
        let mut image = MemoryRoot::debian();
        let mut root = Root::new(&mut image);
        root.write_with("/etc/secret", "1", Attributes::mode(0o600).owner(3, 4)).unwrap();
        root.append("/etc/secret", "2").unwrap();
        let metadata = root.metadata("/etc/secret").unwrap();
        assert_eq!((metadata.mode, metadata.uid, metadata.gid, metadata.size), (0o600, 3, 4, 2));
        root.write_with("/etc/secret", "", Attributes::mode(0o644)).unwrap();
        assert_eq!(root.metadata("/etc/secret").unwrap().uid, 3);
    }

    #[test]
    fn ensures_lines_once() {
        let mut image = MemoryRoot::debian();
        let mut root = Root::new(&mut image);
        root.write("/etc/x", "a\nb").unwrap();
        for _ in 0..2 {
            root.ensure_line("/etc/x", "c").unwrap();
            root.ensure_line("/etc/x", "a").unwrap();
        }
        assert_eq!(root.read_text("/etc/x").unwrap(), "a\nb\nc\n");
    }

    #[test]
    fn makes_directories_and_removes_trees() {
        let mut image = MemoryRoot::debian();
        let mut root = Root::new(&mut image);
        root.create_dir_all("/opt/a/b/c").unwrap();
        root.create_dir_all("/opt/a/b").unwrap();
        root.write("opt/a/b/c/file", "x").unwrap();
        assert_eq!(root.list("/opt/a/b").unwrap(), ["c"]);
        assert!(root.create_dir_all("/opt/a/b/c/file").is_err());
        assert!(root.remove("/opt/a").unwrap());
        assert!(!root.remove("/opt/a").unwrap());
        assert!(!root.remove("/opt/a/b/c").unwrap());
        assert!(root.remove("/").is_err(), "the root itself stays");
        assert!(root.remove("/etc/../..").is_err());
    }

    #[test]
    fn links_replace_links_only() {
        let mut image = MemoryRoot::debian();
        let mut root = Root::new(&mut image);
        root.symlink("/run/a", "/etc/link").unwrap();
        root.symlink("/run/b", "/etc/link").unwrap();
        assert_eq!(root.symlink_metadata("/etc/link").unwrap().file_type, FileType::Symlink("/run/b".into()));
        root.write("/etc/file", "").unwrap();
        assert!(root.symlink("/run/c", "/etc/file").is_err());
    }
}
