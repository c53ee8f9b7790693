//! The files beside a recipe that settings of plugins name, read into the settings; of those that a
//! plugin only copies, their digests ([`super::copied_files`]). Which files can be named,
//! [`beside`] decides.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fam_plugin::{Contents, Description, RecipeEntry, RecipeEntryKind, RecipeFiles, Result, Value};

use super::copied_files::CopiedFiles;
use super::{Error, Request};
use crate::recipe::beside::{self, Found};

/// The most that a recipe may bring of what plugins read: it is held in memory, as the settings are.
const MAX_BYTES: u64 = 256 << 20;

/// Reads the files of one recipe.
#[derive(Debug)]
pub(super) struct RecipeReader {
    /// How many bytes it may still bring.
    left: u64,
}

impl RecipeReader {
    pub(super) fn new() -> Self {
        Self { left: MAX_BYTES }
    }

    /// The settings of `request` with what the recipe's files hold, wherever `description`, of the
    /// same plugin, says that a setting names files; and where those are that it copies.
    ///
    /// # Errors
    /// [`Error::Settings`], with the setting: there is no such file, or it cannot be read or be
    /// named.
    pub(super) fn read(
        &mut self,
        request: &Request,
        description: &Description,
    ) -> std::result::Result<(Value, CopiedFiles), Error> {
        let mut settings = request.settings.clone();
        let mut copied = CopiedFiles::default();
        let mut fill_in = |setting: &str, take: &mut Take<'_>| {
            let steps: Vec<&str> = setting.split('.').collect();
            let directory = request.directories.get(steps[0]).map(PathBuf::as_path);
            fill(&mut settings, &steps, String::new(), directory, take)
                .map_err(|source| Error::Settings { plugin: request.name.clone(), source: Box::new(source) })
        };
        for setting in &description.reads {
            fill_in(setting, &mut |place| read_whole(place, &mut self.left))?;
        }
        for setting in &description.copies {
            fill_in(setting, &mut |place| Ok(Contents::Digest(copied.add(place)?)))?;
        }
        Ok((settings, copied))
    }
}

/// What settings get of the regular file at a path.
type Take<'a> = dyn FnMut(&Path) -> std::result::Result<Contents, Unreadable> + 'a;

fn read_whole(place: &Path, left: &mut u64) -> std::result::Result<Contents, Unreadable> {
    let mut bytes = Vec::new();
    fs_err::File::open(place)?.take(*left + 1).read_to_end(&mut bytes)?;
    *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
        let why = format!("{} is, with what plugins read before it, larger than 256 MiB", place.display());
        Unreadable(why, Some("the plugin `files` copies files of any size into the system"))
    })?;
    Ok(bytes.into())
}

fn fill(value: &mut Value, steps: &[&str], key: String, directory: Option<&Path>, take: &mut Take<'_>) -> Result<()> {
    match (value, steps) {
        (Value::Array(items), _) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill(item, steps, format!("{key}[{index}]"), directory, take)?;
            }
            Ok(())
        }
        (Value::Object(map), [step, rest @ ..]) => match map.get_mut(*step) {
            Some(inner) => {
                let key = if key.is_empty() { (*step).to_owned() } else { format!("{key}.{step}") };
                fill(inner, rest, key, directory, take)
            }
            None => Ok(()),
        },
        (place @ Value::String(_), []) => {
            let path = place.as_str().unwrap_or_default().to_owned();
            let files = read(&path, directory, take).map_err(|reason| reason.at(key))?;
            *place = serde_json::to_value(files).map_err(|error| fam_plugin::Error::failed(error.to_string()))?;
            Ok(())
        }
        (Value::Object(_), []) => Err(fam_plugin::Error::setting(key, "must be a path")),
        // Of a wrong type: the plugin's own check says so.
        _ => Ok(()),
    }
}

/// The bytes of a file that a recipe in `directory` names, which lies there or under.
///
/// # Errors
/// [`Unreadable`]
pub fn read_recipe_file(path: &str, directory: Option<&Path>) -> std::result::Result<Vec<u8>, Unreadable> {
    let files = read(path, directory, &mut |place| read_whole(place, &mut { MAX_BYTES }))?;
    files.file().map(<[u8]>::to_vec).ok_or_else(|| Unreadable(format!("{path:?} is no file"), None))
}

/// Why a path of a recipe gives no files, and what to do.
#[derive(Debug)]
pub struct Unreadable(pub String, pub Option<&'static str>);

impl Unreadable {
    fn at(self, key: String) -> fam_plugin::Error {
        let error = fam_plugin::Error::setting(key, self.0);
        match self.1 {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl From<std::io::Error> for Unreadable {
    fn from(error: std::io::Error) -> Self {
        let hint = (error.kind() == std::io::ErrorKind::NotFound)
            .then_some("a path is taken from the directory of the recipe that has the setting");
        Self(error.to_string(), hint)
    }
}

impl From<beside::Error> for Unreadable {
    fn from(error: beside::Error) -> Self {
        match error {
            beside::Error::Io(error) => error.into(),
            error => Self(error.to_string(), Some(beside::MOVE_IT)),
        }
    }
}

fn read(path: &str, directory: Option<&Path>, take: &mut Take<'_>) -> std::result::Result<RecipeFiles, Unreadable> {
    let Some(directory) = directory else {
        return Err(Unreadable("a recipe that is built in has no files beside it".into(), None));
    };
    let mut files = RecipeFiles { path: path.to_owned(), entries: Vec::new() };
    beside::walk(&beside::find(path, directory)?, &mut |place, path, found| {
        files.entries.push(RecipeEntry { path: path.to_owned(), kind: entry_kind(place, path, found, take)? });
        Ok::<_, Unreadable>(())
    })?;
    Ok(files)
}

/// What settings say of what was found at `place`, which is called `path`.
fn entry_kind(
    place: &Path,
    path: &Path,
    found: Found,
    take: &mut Take<'_>,
) -> std::result::Result<RecipeEntryKind, Unreadable> {
    let nameless =
        |place: &Path| Unreadable(format!("{} has a name or target that is not UTF-8", place.display()), None);
    path.to_str().ok_or_else(|| nameless(place.parent().unwrap_or(place)))?;
    match found {
        Found::Directory => Ok(RecipeEntryKind::Directory),
        Found::Symlink(target) => {
            target.to_str().ok_or_else(|| nameless(place))?;
            Ok(RecipeEntryKind::Symlink { target })
        }
        Found::File(metadata) => {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            Ok(RecipeEntryKind::File { executable, contents: take(place)? })
        }
        Found::Other => {
            let name = place.file_name().unwrap_or(OsStr::new("/")).to_string_lossy();
            Err(Unreadable(format!("{name:?} is neither a file nor a directory nor a symbolic link"), None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::Stage;
    use serde_json::json;

    /// The settings of a plugin that takes files at two places of them.
    fn read_from(settings: Value, directory: Option<&Path>) -> std::result::Result<Value, String> {
        let description = Description::new("reader", "reads").at(Stage::System).reads("file").reads("list.source");
        let description = description.copies("copied");
        let mut request = Request::new("reader", settings);
        for key in ["file", "list", "copied"] {
            request.directories.extend(directory.map(|directory| (key.to_owned(), directory.to_owned())));
        }
        let shown = |error: Error| match directory {
            Some(directory) => error.to_string().replace(directory.to_str().unwrap(), "DIR"),
            None => error.to_string(),
        };
        RecipeReader::new().read(&request, &description).map(|(settings, _)| settings).map_err(shown)
    }

    #[test]
    fn files_and_trees_come_into_the_settings() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs_err::create_dir_all(at("tree/sub")).unwrap();
        fs_err::write(at("tree/sub/b"), "b").unwrap();
        fs_err::write(at("tree/a"), "a").unwrap();
        fs_err::set_permissions(at("tree/a"), std::fs::Permissions::from_mode(0o700)).unwrap();
        fs_err::os::unix::fs::symlink("/etc/passwd", at("tree/link")).unwrap();
        let settings =
            json!({ "file": "./tree/a", "list": [{ "source": "tree", "other": 1 }, {}], "copied": "tree/sub" });
        let settings = read_from(settings, Some(directory.path())).unwrap();
        let files: RecipeFiles = serde_json::from_value(settings["file"].clone()).unwrap();
        assert_eq!(files.file(), Some(&b"a"[..]));
        assert_eq!(
            settings["list"][0]["source"]["entries"],
            json!([
                { "path": "", "type": "directory" },
                { "path": "a", "type": "file", "executable": true, "text": "a" },
                { "path": "link", "type": "symlink", "target": "/etc/passwd" },
                { "path": "sub", "type": "directory" },
                { "path": "sub/b", "type": "file", "executable": false, "text": "b" },
            ])
        );
        assert_eq!((&settings["list"][0]["other"], &settings["list"][1]), (&json!(1), &json!({})));
        assert_eq!(
            settings["copied"]["entries"],
            json!([
                { "path": "", "type": "directory" },
                // sha256sum of it.
                { "path": "b", "type": "file", "executable": false, "digest": { "size": 1,
                    "sha256": "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d" } },
            ])
        );
    }

    #[test]
    fn nothing_else_of_the_host_is_read() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::os::unix::fs::symlink("/etc/passwd", directory.path().join("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            directory.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for (path, message) in [
            ("missing", "failed to canonicalize path `DIR/missing`: No such file or directory (os error 2)"),
            ("/etc/passwd", "\"/etc/passwd\" is no path of something beneath the recipe's directory"),
            ("a/../../b", "\"a/../../b\" is no path of something beneath the recipe's directory"),
            ("", "\"\" is no path of something beneath the recipe's directory"),
            ("link", "\"link\" leads out of the recipe's directory"),
            ("pipe", "\"pipe\" is neither a file nor a directory nor a symbolic link"),
        ] {
            let error = read_from(json!({ "list": [{ "source": path }] }), Some(directory.path())).unwrap_err();
            assert_eq!(error, format!("plugin reader: setting list[0].source: {message}"));
        }
        let forged = read_from(json!({ "file": { "path": "x", "entries": [] } }), Some(directory.path()));
        assert_eq!(forged.unwrap_err(), "plugin reader: setting file: must be a path");
        let forged = json!({ "path": "x", "entries": [{ "path": "", "type": "file", "executable": false,
            "digest": { "size": 1, "sha256": "00" } }] });
        let forged = read_from(json!({ "copied": forged }), Some(directory.path()));
        assert_eq!(forged.unwrap_err(), "plugin reader: setting copied: must be a path");
        fs_err::File::create(directory.path().join("large")).unwrap().set_len(MAX_BYTES + 1).unwrap();
        let large = read_from(json!({ "file": "large" }), Some(directory.path())).unwrap_err();
        let expected = "DIR/large is, with what plugins read before it, larger than 256 MiB";
        assert_eq!(large, format!("plugin reader: setting file: {expected}"));
        read_from(json!({ "copied": "large" }), Some(directory.path())).unwrap();
        let shipped = read_from(json!({ "file": "x" }), None);
        assert!(shipped.unwrap_err().contains("a recipe that is built in has no files beside it"));
    }
}
