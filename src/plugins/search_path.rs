//! Where plugins that are files are looked for.

use std::path::{Path, PathBuf};

use super::Error;
use super::external::Form;

/// Where plugins are looked for by name, beside those that are built in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPath {
    /// Directories that the user named; each must be there.
    pub named: Vec<PathBuf>,
    /// Directories that need not be there: the recipe's own, the user's.
    pub usual: Vec<PathBuf>,
}

impl SearchPath {
    /// The file of the plugin of that name, in the first directory that has one.
    pub(super) fn find(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        for directory in self.directories() {
            let mut files = plugins_in(directory, self.named.contains(directory))?;
            files.retain(|file| name_of(file).is_some_and(|found| found == name));
            match &files[..] {
                [] => {}
                [file] => return Ok(Some(file.clone())),
                [first, second, ..] => {
                    return Err(Error::Ambiguous { name: name.into(), first: first.clone(), second: second.clone() });
                }
            }
        }
        Ok(None)
    }

    /// All directories, in the order in which they are searched.
    pub fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        self.named.iter().chain(&self.usual)
    }
}

/// The files of a directory that may be plugins, by name.
pub(super) fn plugins_in(directory: &Path, must_exist: bool) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Directory { path: directory.to_owned(), source };
    let entries = match fs_err::read_dir(directory) {
        Err(_) if !must_exist => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if Form::of(&path).is_some() && name_of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The name of the plugin that a file of this name has: `libmy_plugin.so` and `my-plugin.py` have
/// `my-plugin`.
fn name_of(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_str()?;
    let is_library = file.extension().is_some_and(|extension| extension == "so");
    let stem = stem.strip_prefix("lib").filter(|_| is_library).unwrap_or(stem);
    Some(stem.replace('_', "-")).filter(|name| !name.is_empty() && !name.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn finds_files_by_the_name_of_the_plugin() {
        let temp = tempfile::tempdir().unwrap();
        let put = |name: &str, mode| {
            let path = temp.path().join(name);
            fs_err::write(&path, "").unwrap();
            fs_err::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let library = put("libmy_plugin.so", 0o644);
        let script = put("motd.py", 0o755);
        put("notes.txt", 0o644);
        put(".hidden", 0o755);
        let places = SearchPath { usual: vec!["/nowhere".into(), temp.path().into()], ..SearchPath::default() };
        assert_eq!(places.find("my-plugin").unwrap(), Some(library));
        assert_eq!(places.find("motd").unwrap(), Some(script));
        assert_eq!(places.find("notes").unwrap(), None);
        put("motd", 0o755);
        assert!(matches!(places.find("motd"), Err(Error::Ambiguous { .. })));
        let places = SearchPath { named: vec!["/nowhere".into()], ..SearchPath::default() };
        assert!(matches!(places.find("motd"), Err(Error::Directory { .. })));
    }
}
