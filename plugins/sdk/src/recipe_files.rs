//! Files that lie beside a recipe, as a setting of a plugin: the recipe names a path, the
//! plugin gets what is there.
//!
//! A plugin never sees the build host's files. It says in its
//! [`Description`](crate::Description) which of its settings name some, and the host reads them
//! before anything else is done and puts what it read in the place of the path. So their bytes are
//! settings like any other: part of what a template is made of. Files that the plugin only copies may
//! be of any size: of these the settings have the digests, and the host keeps the bytes.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Attributes, Result, Root};

/// The file or directory at a path beside the recipe. Settings have this type where
/// [`Description::reads`](crate::Description::reads) or
/// [`Description::copies`](crate::Description::copies) names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecipeFiles {
    /// The path as the recipe has it.
    pub path: String,
    /// The file; or the directory and all that is in it, each directory before what is in it, in
    /// byte order. Empty where nothing was read, as when settings are checked without their recipe.
    pub entries: Vec<RecipeEntry>,
}

/// A file, directory or symbolic link beside a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeEntry {
    /// Beneath the path that the recipe names; empty for what is there itself.
    pub path: PathBuf,
    /// What it is.
    #[serde(flatten)]
    pub kind: RecipeEntryKind,
}

/// What stands at a path beside a recipe. Owners and the finer points of modes are the build host's
/// own, and left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum RecipeEntryKind {
    /// A directory.
    Directory,
    /// A symbolic link, with its target as written.
    Symlink {
        /// The target.
        target: PathBuf,
    },
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
        /// Its bytes.
        #[serde(flatten)]
        contents: Contents,
    },
}

/// Bytes of a file, written as text where they are that; or what names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contents {
    /// UTF-8.
    Text(String),
    /// Anything else, in base64 (RFC 4648, section 4).
    Base64(#[serde(serialize_with = "to_base64", deserialize_with = "from_base64")] Vec<u8>),
    /// Bytes that the host keeps until [`Root::copy`] puts them into the image: those of files that
    /// [`Description::copies`](crate::Description::copies) names.
    Digest(FileDigest),
}

/// What names the bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// How many there are.
    pub size: u64,
    /// Their SHA-256, as 64 hexadecimal digits in lower case.
    pub sha256: String,
}

impl Contents {
    /// The bytes, where they are here.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text.as_bytes()),
            Self::Base64(bytes) => Some(bytes),
            Self::Digest(_) => None,
        }
    }
}

impl Root<'_> {
    /// Writes a whole file of what one beside the recipe holds, with that mode and owner. What is
    /// known by its digest may be of any size, and is copied by the host, at the system stage only.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File), with [`Problem::Changed`](crate::Problem::Changed) where
    /// the file beside the recipe is another one by now.
    pub fn copy(&mut self, contents: &Contents, path: impl AsRef<Path>, attributes: Attributes) -> Result<()> {
        let bytes = match contents {
            Contents::Digest(file) => {
                let resolved = self.follow("copy", path.as_ref())?;
                return self.fs.copy(file, &resolved, attributes);
            }
            Contents::Text(text) => text.as_bytes(),
            Contents::Base64(bytes) => bytes,
        };
        self.write_with(path, bytes, attributes)
    }
}

impl From<Vec<u8>> for Contents {
    fn from(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Base64(error.into_bytes()), Self::Text)
    }
}

impl RecipeFiles {
    /// The bytes of the file, where it is a single one, and they are here.
    #[must_use]
    pub fn file(&self) -> Option<&[u8]> {
        self.single()?.as_bytes()
    }

    /// Whether it is a single file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.single().is_some()
    }

    fn single(&self) -> Option<&Contents> {
        match &self.entries[..] {
            [RecipeEntry { path, kind: RecipeEntryKind::File { contents, .. } }] if path == Path::new("") => {
                Some(contents)
            }
            _ => None,
        }
    }
}

fn to_base64<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

impl<'de> Deserialize<'de> for RecipeFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathOrFiles;

        #[derive(Deserialize)]
        struct Files {
            path: String,
            entries: Vec<RecipeEntry>,
        }

        impl<'de> Visitor<'de> for PathOrFiles {
            type Value = RecipeFiles;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a file beside the recipe")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<RecipeFiles, E> {
                Ok(RecipeFiles { path: path.to_owned(), entries: Vec::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RecipeFiles, A::Error> {
                let Files { path, entries } = Files::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RecipeFiles { path, entries })
            }
        }

        deserializer.deserialize_any(PathOrFiles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::from_value;
    use serde_json::json;

    #[test]
    fn travels_as_settings() {
        let file = |path: &str, bytes: &[u8]| RecipeEntry {
            path: path.into(),
            kind: RecipeEntryKind::File { executable: true, contents: bytes.to_vec().into() },
        };
        let files = RecipeFiles {
            path: "tree".into(),
            entries: vec![
                RecipeEntry { path: "".into(), kind: RecipeEntryKind::Directory },
                file("a", b"text\n"),
                file("b", b"\xff\x00"),
                RecipeEntry { path: "c".into(), kind: RecipeEntryKind::Symlink { target: "a".into() } },
            ],
        };
        let value = serde_json::to_value(&files).unwrap();
        assert_eq!(
            value["entries"][2],
            json!({ "path": "b", "type": "file", "executable": true, "base64": "/wA=" }),
            "{value}"
        );
        assert_eq!(from_value::<RecipeFiles>(&value).unwrap(), files);
        assert_eq!(files.file(), None);
        assert_eq!(RecipeFiles { path: "a".into(), entries: vec![file("", b"x")] }.file(), Some(&b"x"[..]));
        let digest = json!({ "path": "a", "entries": [
            { "path": "", "type": "file", "executable": false, "digest": { "size": 5, "sha256": "00" } }] });
        let digest_only = from_value::<RecipeFiles>(&digest).unwrap();
        assert_eq!(serde_json::to_value(&digest_only).unwrap(), digest);
        assert_eq!((digest_only.file(), digest_only.is_file(), files.is_file()), (None, true, false));
        assert_eq!(from_value::<RecipeFiles>(&json!("tree")).unwrap().entries, []);
        let error = from_value::<RecipeFiles>(&json!(1)).unwrap_err();
        assert!(error.to_string().contains("expected the path of a file beside the recipe"), "{error}");
    }
}
