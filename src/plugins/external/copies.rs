//! Which files beside the recipe a plugin in a file may have copied in a call: those of its own
//! settings, each as often as they name it. More often they count as bytes that it writes, so that
//! no plugin fills a disk with them.

use std::collections::BTreeMap;
use std::path::Path;

use fam_plugin::{FileDigest, Problem, Result, Value};
use serde::Deserialize;

use super::session::count_written;

/// How often each file may still be copied.
#[derive(Debug, Default)]
pub(super) struct Copies(BTreeMap<FileDigest, u64>);

impl Copies {
    /// Those of `settings`.
    pub(super) fn of(settings: &Value) -> Self {
        let mut copies = Self::default();
        copies.add(settings);
        copies
    }

    fn add(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(map) => {
                if let Some(digest) = map.get("digest").and_then(|digest| FileDigest::deserialize(digest).ok()) {
                    *self.0.entry(digest).or_default() += 1;
                }
                map.values().for_each(|inner| self.add(inner));
            }
            _ => {}
        }
    }

    /// Counts that `file` is copied to `path` once more; beyond what the settings name, as bytes that
    /// are `written`.
    ///
    /// # Errors
    /// The settings have no such file, or too many bytes are written.
    pub(super) fn take(&mut self, file: &FileDigest, path: &Path, written: &mut u64) -> Result<()> {
        match self.0.get_mut(file) {
            None => Err(Problem::Other("no file of the settings has this digest".into()).at("copy", path)),
            Some(0) => count_written(written, path, file.size),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plugin_copies_what_its_settings_name() {
        let file = |size: u64| json!({ "path": "", "type": "file", "digest": { "size": size, "sha256": "aa" } });
        let settings =
            json!({ "files": [{ "source": { "entries": [file(9), file(9)] } }, { "source": file(1 << 30) }] });
        let mut copies = Copies::of(&settings);
        let mut written = 0;
        let mut take = |size: u64| {
            let file = FileDigest { size, sha256: "aa".into() };
            copies.take(&file, "/x".as_ref(), &mut written).map_err(|error| error.to_string())
        };
        assert_eq!((take(9), take(9), take(1 << 30)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(take(1).unwrap_err(), "copy /x: no file of the settings has this digest");
        // From here on they count.
        assert_eq!(take(9), Ok(()));
        assert_eq!(take(1 << 30).unwrap_err(), "write /x: larger than the limit of 1073741824 bytes");
    }
}
