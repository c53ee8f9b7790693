//! Copies files into the new system: from beside the recipe, or written in the recipe itself.

use std::path::{Component, Path};

use fam_plugin::{Attributes, Context, Description, Error, Plugin, RecipeEntryKind, RecipeFiles, Result, Root, Stage};
use serde::Deserialize;

/// The built-in `files`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files;

/// What a recipe may set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// What to copy, in this order.
    pub files: Vec<Copied>,
}

/// A file or directory tree to copy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Copied {
    /// Where to, an absolute path: of the file itself, or of the directory that the tree becomes.
    pub target: String,
    /// What, beside the recipe.
    #[serde(default)]
    pub source: Option<RecipeFiles>,
    /// The text of the file, where there is no source.
    #[serde(default)]
    pub content: Option<String>,
    /// Permission bits of files, in octal. Else 0755 for what its owner may execute, and 0644.
    #[serde(default)]
    pub mode: Option<String>,
    /// Permission bits of directories that are made, in octal. Else 0755.
    #[serde(default)]
    pub directory_mode: Option<String>,
    /// Owner, by a name or number of the new system. Else root.
    #[serde(default)]
    pub owner: Option<String>,
    /// Group, by a name or number of the new system. Else the owner's own.
    #[serde(default)]
    pub group: Option<String>,
}

impl Plugin for Files {
    type Settings = Settings;

    fn describe(&self) -> Description {
        Description::new("files", "copies files and directory trees into the system")
            .at(Stage::System)
            .copies("files.source")
            .version(env!("CARGO_PKG_VERSION"))
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        for (index, copied) in settings.files.iter().enumerate() {
            let key = |name: &str| format!("files[{index}].{name}");
            match (&copied.source, &copied.content) {
                (None, None) => {
                    return Err(Error::setting(key("source"), "is missing").with_hint("or write the text as `content`"));
                }
                (Some(_), Some(_)) => {
                    return Err(
                        Error::setting(key("content"), "is set beside source").with_hint("leave one of them out")
                    );
                }
                _ => {}
            }
            let target = Path::new(&copied.target);
            let plain = target.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            if !target.is_absolute() || !plain || copied.target.contains('\0') {
                return Err(Error::setting(key("target"), "is no absolute path without `..`"));
            }
            // A source that was not read passes for a tree: so it is where settings are checked
            // without their recipe.
            let is_tree = copied.source.as_ref().is_some_and(|files| !files.is_file());
            if !is_tree && (copied.target.ends_with('/') || target.parent().is_none()) {
                return Err(Error::setting(key("target"), "is a directory, and the source is a file")
                    .with_hint("write the whole path of the file"));
            }
            mode(copied.mode.as_deref(), 0).map_err(|message| Error::setting(key("mode"), message))?;
            mode(copied.directory_mode.as_deref(), 0)
                .map_err(|message| Error::setting(key("directory-mode"), message))?;
        }
        Ok(())
    }

    fn apply_system(&self, settings: &Settings, root: &mut Root<'_>, context: &Context) -> Result<()> {
        for copied in &settings.files {
            let owner = owner(root, copied)?;
            let target = Path::new(&copied.target);
            if let Some(parent) = target.parent() {
                root.create_dir_all(parent)?;
            }
            match (&copied.source, &copied.content) {
                (_, Some(text)) => root.write_with(target, text, attributes(false, copied, owner)?)?,
                (Some(files), None) if files.entries.is_empty() => {
                    return Err(Error::failed(format!("{:?} was not read", files.path)));
                }
                (Some(files), None) => {
                    for entry in &files.entries {
                        let path =
                            if entry.path == Path::new("") { target.to_owned() } else { target.join(&entry.path) };
                        match &entry.kind {
                            RecipeEntryKind::Directory => directory(root, &path, copied, owner)?,
                            RecipeEntryKind::Symlink { target } => root.symlink(target, &path)?,
                            RecipeEntryKind::File { executable, contents } => {
                                root.copy(contents, &path, attributes(*executable, copied, owner)?)?;
                            }
                        }
                    }
                    context.info(format!("{}: {} entries to {}", files.path, files.entries.len(), copied.target));
                }
                (None, None) => return Err(Error::failed("there is nothing to copy")),
            }
        }
        Ok(())
    }
}

#[cfg(feature = "library")]
fam_plugin::export!(Files);

/// Those of a file.
fn attributes(executable: bool, copied: &Copied, owner: (u32, u32)) -> Result<Attributes> {
    let mode = mode(copied.mode.as_deref(), if executable { 0o755 } else { 0o644 }).map_err(Error::failed)?;
    Ok(Attributes::mode(mode).owner(owner.0, owner.1))
}

/// Makes a directory. One that is there keeps its mode and owner: it may be a package's.
fn directory(root: &mut Root<'_>, path: &Path, copied: &Copied, owner: (u32, u32)) -> Result<()> {
    if root.metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(());
    }
    root.create_dir(path, mode(copied.directory_mode.as_deref(), 0o755).map_err(Error::failed)?)?;
    root.set_owner(path, owner.0, owner.1)
}

fn mode(text: Option<&str>, default: u32) -> std::result::Result<u32, String> {
    let Some(text) = text else { return Ok(default) };
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        // The standard library takes a sign, too.
        Ok(mode) if mode <= 0o7777 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(mode),
        _ => Err(format!("{text:?} are no permission bits in octal, as in \"0644\"")),
    }
}

/// The numbers of owner and group.
fn owner(root: &Root<'_>, copied: &Copied) -> Result<(u32, u32)> {
    let (uid, own_group) = match copied.owner.as_deref() {
        None => (0, 0),
        // A name of digits alone is a name where there is such a user, as for chown(1).
        Some(owner) => match (owner.parse(), root.account(owner)?) {
            (_, Some(account)) => (account.uid, account.gid),
            (Ok(number), None) => (number, number),
            (Err(_), None) => return Err(Error::failed(format!("the system has no user {owner:?}"))),
        },
    };
    let gid = match copied.group.as_deref() {
        None => own_group,
        Some(group) => match (group.parse(), root.group_id(group)?) {
            (_, Some(gid)) | (Ok(gid), None) => gid,
            (Err(_), None) => return Err(Error::failed(format!("the system has no group {group:?}"))),
        },
    };
    Ok((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fam_plugin::testing::{Harness, MemoryRoot};
    use fam_plugin::{Contents, FileDigest, FileType, RootFs};

    const TREE: &str = r#"{ "path": "tree", "entries": [
        { "path": "", "type": "directory" },
        { "path": "bin", "type": "directory" },
        { "path": "bin/run", "type": "file", "executable": true, "text": "x" },
        { "path": "blob", "type": "file", "executable": false, "base64": "/wA=" },
        { "path": "link", "type": "symlink", "target": "bin/run" }] }"#;

    fn apply(settings: &str) -> MemoryRoot {
        let mut image = MemoryRoot::debian();
        Harness::new().settings(settings).system(&Files, &mut image).unwrap();
        image
    }

    #[test]
    fn copies_a_tree() {
        let image = apply(&format!(r#"{{ "files": [{{ "source": {TREE}, "target": "/opt/tool" }}] }}"#));
        let of = |path: &str| {
            let metadata = image.metadata(path.as_ref()).unwrap();
            (metadata.mode, metadata.uid, metadata.gid)
        };
        assert_eq!(of("/opt/tool"), (0o755, 0, 0));
        assert_eq!(of("/opt/tool/bin/run"), (0o755, 0, 0));
        assert_eq!(of("/opt/tool/blob"), (0o644, 0, 0));
        assert_eq!(image.read("/opt/tool/blob".as_ref()).unwrap(), b"\xff\x00");
        let link = image.metadata("/opt/tool/link".as_ref()).unwrap();
        assert_eq!(link.file_type, FileType::Symlink("bin/run".into()));
    }

    #[test]
    fn what_has_a_digest_is_copied_by_the_host() {
        let mut image = MemoryRoot::debian();
        let Contents::Digest(FileDigest { size, sha256 }) = image.recipe_file("large") else { panic!("a digest") };
        let source = format!(
            r#"{{ "path": "blob", "entries": [{{ "path": "", "type": "file", "executable": true,
                "digest": {{ "size": {size}, "sha256": "{sha256}" }} }}] }}"#
        );
        let settings = format!(r#"{{ "files": [{{ "source": {source}, "target": "/opt/blob", "owner": "3" }}] }}"#);
        Harness::new().settings(&settings).system(&Files, &mut image).unwrap();
        assert_eq!(image.text("/opt/blob"), "large");
        let metadata = image.metadata("/opt/blob".as_ref()).unwrap();
        assert_eq!((metadata.mode, metadata.uid, metadata.gid), (0o755, 3, 3));
        let directory = settings.replace("/opt/blob", "/opt/");
        let error = Harness::new().settings(&directory).check(&Files).unwrap_err();
        assert_eq!(error.to_string(), "setting files[0].target: is a directory, and the source is a file");
        let unknown = settings.replace(&sha256, &sha256.replace('0', "1"));
        let error = Harness::new().settings(&unknown).system(&Files, &mut image).unwrap_err();
        assert_eq!(error.to_string(), "copy /opt/blob: no file of the settings has this digest");
    }

    #[test]
    fn a_tree_merges_into_what_is_there() {
        let mut image = MemoryRoot::debian();
        image.put_dir("opt/tool", 0o711);
        let settings = format!(r#"{{ "files": [{{ "source": {TREE}, "target": "/opt/tool/", "owner": "7" }}] }}"#);
        Harness::new().settings(&settings).system(&Files, &mut image).unwrap();
        let metadata = image.metadata("/opt/tool".as_ref()).unwrap();
        assert_eq!((metadata.mode, metadata.uid), (0o711, 0));
        assert_eq!(image.metadata("/opt/tool/bin".as_ref()).unwrap().uid, 7);
    }

    #[test]
    fn modes_and_owners_are_set() {
        let image = apply(
            r#"{ "files": [
                { "content": "hello\n", "target": "/etc/motd" },
                { "content": "k", "target": "/srv/a/key", "mode": "0600", "owner": "daemon", "group": "users" },
                { "content": "n", "target": "/srv/a/n", "mode": "4755", "owner": "1234" }] }"#,
        );
        assert_eq!(image.text("/etc/motd"), "hello\n");
        let of = |path: &str| {
            let metadata = image.metadata(path.as_ref()).unwrap();
            (metadata.mode, metadata.uid, metadata.gid)
        };
        assert_eq!(of("/srv/a/key"), (0o600, 1, 100));
        assert_eq!(of("/srv/a/n"), (0o4755, 1234, 1234));
    }

    #[test]
    fn checks() {
        for (file, message) in [
            (r#""target": "/x""#, "source: is missing"),
            (r#""target": "/x", "content": "", "source": "x""#, "content: is set beside source"),
            (r#""target": "x", "content": """#, "target: is no absolute path without `..`"),
            (r#""target": "/a/../x", "content": """#, "target: is no absolute path without `..`"),
            (r#""target": "/etc/", "content": """#, "target: is a directory, and the source is a file"),
            (
                r#""target": "/x", "content": "", "mode": "rw-""#,
                "mode: \"rw-\" are no permission bits in octal, as in \"0644\"",
            ),
            (
                r#""target": "/x", "content": "", "mode": "+644""#,
                "mode: \"+644\" are no permission bits in octal, as in \"0644\"",
            ),
            (
                r#""target": "/x", "content": "", "mode": "17777""#,
                "mode: \"17777\" are no permission bits in octal, as in \"0644\"",
            ),
        ] {
            let harness = Harness::new().settings(&format!(r#"{{ "files": [{{ {file} }}] }}"#));
            assert_eq!(harness.check(&Files).unwrap_err().to_string(), format!("setting files[0].{message}"));
        }
        let harness =
            Harness::new().settings(r#"{ "files": [{ "content": "", "target": "/x", "owner": "nobody2" }] }"#);
        let error = harness.system(&Files, &mut MemoryRoot::debian()).unwrap_err();
        assert_eq!(error.to_string(), "the system has no user \"nobody2\"");
    }
}
