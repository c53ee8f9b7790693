//! The beginning of a plugin: a small project that builds, with a test, and with nothing beside it
//! but the SDK, which this program carries along.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fam_progress::Hint;
use serde::Serialize;

/// The languages that there is a beginning in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Language {
    /// A library.
    #[default]
    Rust,
    /// A library.
    C,
    /// An executable.
    Sh,
    /// An executable.
    Python,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Project {
    /// The directory, as it was named.
    pub directory: String,
    /// The files in it.
    pub files: Vec<String>,
    /// The plugin itself, in that directory, once it is built.
    pub plugin: String,
    /// The command that builds it, where it needs to be built.
    pub build: Option<String>,
    /// The command that tests it.
    pub test: String,
}

/// Why there is no project.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A recipe could not name it.
    #[error("{0:?} is no name for a plugin: small letters, digits and hyphens, a letter first")]
    Name(String),
    /// One that is built in has the name.
    #[error("{0:?} is a plugin that is built in")]
    Taken(String),
    /// Something is in the way.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// A file could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Name(_) | Self::Taken(_) => Some("choose another name".into()),
            Self::Exists(_) => Some("choose another directory with --directory".into()),
            Self::Io(_) => None,
        }
    }
}

/// A file of a project; in its name and text `@NAME@` stands for the plugin's name, and `@CRATE@`
/// for the same with underscores. A file of mode 0755 is executable.
struct File {
    name: &'static str,
    text: &'static str,
    mode: u32,
}

macro_rules! file {
    ($name:literal, $path:literal) => {
        File { name: $name, text: include_str!($path), mode: 0o644 }
    };
    ($name:literal, $path:literal, executable) => {
        File { name: $name, text: include_str!($path), mode: 0o755 }
    };
}

const RUST: &[File] = &[
    file!("Cargo.toml", "rust/Cargo.toml.in"),
    file!("README.md", "rust/README.md"),
    file!("src/lib.rs", "rust/src/lib.rs"),
];

/// The SDK without its workspace.
const SDK: &[File] = &[
    file!("fam-plugin/Cargo.toml", "rust/fam-plugin.toml.in"),
    file!("fam-plugin/README.md", "../../../plugins/sdk/README.md"),
    file!("fam-plugin/src/accounts.rs", "../../../plugins/sdk/src/accounts.rs"),
    file!("fam-plugin/src/authorized_keys.rs", "../../../plugins/sdk/src/authorized_keys.rs"),
    file!("fam-plugin/src/context.rs", "../../../plugins/sdk/src/context.rs"),
    file!("fam-plugin/src/error.rs", "../../../plugins/sdk/src/error.rs"),
    file!("fam-plugin/src/lib.rs", "../../../plugins/sdk/src/lib.rs"),
    file!("fam-plugin/src/plugin.rs", "../../../plugins/sdk/src/plugin.rs"),
    file!("fam-plugin/src/process.rs", "../../../plugins/sdk/src/process.rs"),
    file!("fam-plugin/src/programs.rs", "../../../plugins/sdk/src/programs.rs"),
    file!("fam-plugin/src/protocol/mod.rs", "../../../plugins/sdk/src/protocol/mod.rs"),
    file!("fam-plugin/src/protocol/reply.rs", "../../../plugins/sdk/src/protocol/reply.rs"),
    file!("fam-plugin/src/protocol/values.rs", "../../../plugins/sdk/src/protocol/values.rs"),
    file!("fam-plugin/src/provided.rs", "../../../plugins/sdk/src/provided.rs"),
    file!("fam-plugin/src/recipe_files.rs", "../../../plugins/sdk/src/recipe_files.rs"),
    file!("fam-plugin/src/remote.rs", "../../../plugins/sdk/src/remote.rs"),
    file!("fam-plugin/src/resolve.rs", "../../../plugins/sdk/src/resolve.rs"),
    file!("fam-plugin/src/root.rs", "../../../plugins/sdk/src/root.rs"),
    file!("fam-plugin/src/rootfs.rs", "../../../plugins/sdk/src/rootfs.rs"),
    file!("fam-plugin/src/settings.rs", "../../../plugins/sdk/src/settings.rs"),
    file!("fam-plugin/src/suggest.rs", "../../../plugins/sdk/src/suggest.rs"),
    file!("fam-plugin/src/testing.rs", "../../../plugins/sdk/src/testing.rs"),
    file!("fam-plugin/src/testing/memory_root.rs", "../../../plugins/sdk/src/testing/memory_root.rs"),
];

const C: &[File] = &[
    file!("Makefile", "c/Makefile"),
    file!("README.md", "c/README.md"),
    file!("@NAME@.c", "c/motd.c"),
    file!("test.c", "c/test.c"),
    file!("fam_json.h", "../../../plugins/sdk/c/fam_json.h"),
    file!("fam_plugin.c", "../../../plugins/sdk/c/fam_plugin.c"),
    file!("fam_plugin.h", "../../../plugins/sdk/c/fam_plugin.h"),
    file!("fam_protocol.h", "../../../plugins/sdk/c/fam_protocol.h"),
];

const SH: &[File] = &[
    file!("@NAME@", "sh/motd", executable),
    file!("README.md", "sh/README.md"),
    file!("test.sh", "sh/test.sh", executable),
];

const PYTHON: &[File] = &[
    file!("@NAME@.py", "python/motd.py", executable),
    file!("README.md", "python/README.md"),
    file!("test_plugin.py", "python/test_plugin.py"),
];

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Sh => "sh",
            Self::Python => "python",
        })
    }
}

impl Language {
    fn files(self) -> impl Iterator<Item = &'static File> {
        let (own, sdk): (&[File], &[File]) = match self {
            Self::Rust => (RUST, SDK),
            Self::C => (C, &[]),
            Self::Sh => (SH, &[]),
            Self::Python => (PYTHON, &[]),
        };
        own.iter().chain(sdk)
    }

    /// The plugin's file, and the commands that build and test it.
    fn commands(self) -> (&'static str, Option<&'static str>, &'static str) {
        match self {
            Self::Rust => ("target/release/lib@CRATE@.so", Some("cargo build --release"), "cargo test"),
            Self::C => ("@NAME@.so", Some("make"), "make check"),
            Self::Sh => ("@NAME@", None, "./test.sh"),
            Self::Python => ("@NAME@.py", None, "python3 -m unittest"),
        }
    }
}

/// Makes `directory` and in it the beginning of the plugin `name`.
///
/// # Errors
/// [`Error`]; nothing that was there is changed.
pub fn create(name: &str, language: Language, directory: &Path) -> Result<Project, Error> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain || !name.starts_with(|first: char| first.is_ascii_lowercase()) || name.ends_with('-') {
        return Err(Error::Name(name.into()));
    }
    if super::Registry::built_in().has(name) {
        return Err(Error::Taken(name.into()));
    }
    // An error where anything is there: no file of the user's is overwritten.
    match fs_err::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::Exists(directory.into()));
        }
        created => created?,
    }
    let own = |text: &str| text.replace("@NAME@", name).replace("@CRATE@", &name.replace('-', "_"));
    let mut files = Vec::new();
    for file in language.files() {
        let named = own(file.name);
        let path = directory.join(&named);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        fs_err::write(&path, own(file.text))?;
        fs_err::set_permissions(&path, PermissionsExt::from_mode(file.mode))?;
        files.push(named);
    }
    let (plugin, build, test) = language.commands();
    Ok(Project {
        directory: directory.display().to_string(),
        files,
        plugin: own(plugin),
        build: build.map(own),
        test: own(test),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brings_the_whole_sdk() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/sdk");
        for (directory, begin, files) in
            [("src", "fam-plugin/src/", SDK), ("src/protocol", "fam-plugin/src/protocol/", SDK), ("c", "", C)]
        {
            for entry in fs_err::read_dir(sdk.join(directory)).unwrap().map(|entry| entry.unwrap()) {
                let name = format!("{begin}{}", entry.file_name().to_str().unwrap());
                let is_there = files.iter().any(|file| file.name == name);
                assert!(is_there || entry.file_type().unwrap().is_dir(), "{name} is missing");
            }
        }
        let dependencies = |text: &str| -> Vec<String> {
            let table: toml::Table = text.parse().unwrap();
            table["dependencies"].as_table().unwrap().keys().cloned().collect()
        };
        let own = fs_err::read_to_string(sdk.join("Cargo.toml")).unwrap();
        assert_eq!(dependencies(SDK[0].text), dependencies(&own));
    }

    #[test]
    fn changes_nothing_that_is_there() {
        let temp = tempfile::tempdir().unwrap();
        let directory = temp.path().join("x");
        for (name, message) in [("Motd", "is no name"), ("a/b", "is no name"), ("users", "built in")] {
            let error = create(name, Language::C, &directory).unwrap_err();
            assert!(error.to_string().contains(message) && error.hint().is_some(), "{error}");
        }
        assert!(!directory.exists());
        let project = create("my-motd", Language::Sh, &directory).unwrap();
        assert_eq!(project.files, ["my-motd", "README.md", "test.sh"]);
        let text = fs_err::read_to_string(directory.join("my-motd")).unwrap();
        assert!(text.contains(r#""name":"my-motd""#) && !text.contains('@'), "{text}");
        assert!(matches!(create("my-motd", Language::C, &directory), Err(Error::Exists(_))));
    }
}
