//! What is in a directory, for comparing two of them entry by entry.

use std::collections::BTreeMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// One entry, every aspect as text so that a difference can be shown.
pub type Aspects = BTreeMap<&'static str, String>;

/// Every entry beneath `root` by its path there (`/etc/passwd`), symbolic links not followed.
pub fn walk(root: &Path) -> BTreeMap<String, Aspects> {
    let mut found = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let mut children: Vec<_> =
            fs_err::read_dir(root.join(&directory)).unwrap().map(|child| child.unwrap().file_name()).collect();
        children.sort();
        for name in children {
            let relative = directory.join(name);
            let path = root.join(&relative);
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let shown = format!("/{}", relative.display());
            let mut aspects = Aspects::new();
            let kind = metadata.file_type();
            aspects.insert("mode", format!("{:04o}", metadata.mode() & 0o7777));
            aspects.insert("owner", format!("{}:{}", metadata.uid(), metadata.gid()));
            aspects.insert("xattrs", xattrs(&path));
            if kind.is_dir() {
                aspects.insert("type", "directory".into());
                directories.push(relative);
            } else if kind.is_symlink() {
                aspects.insert("type", "symbolic link".into());
                aspects.insert("target", fs_err::read_link(&path).unwrap().display().to_string());
            } else if kind.is_file() {
                aspects.insert("type", "file".into());
                let digest = Sha256::digest(fs_err::read(&path).unwrap());
                aspects.insert("content", digest.iter().map(|byte| format!("{byte:02x}")).collect());
                if metadata.nlink() > 1 {
                    let first = first_names.entry(metadata.ino()).or_insert_with(|| shown.clone());
                    aspects.insert("linked with", first.clone());
                }
            } else {
                let kind = if kind.is_char_device() {
                    "character device"
                } else if kind.is_block_device() {
                    "block device"
                } else {
                    "fifo or socket"
                };
                aspects.insert("type", format!("{kind} {}", metadata.rdev()));
            }
            found.insert(shown, aspects);
        }
    }
    found
}

fn xattrs(path: &Path) -> String {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut shown = Vec::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = std::ffi::OsString::from_vec(name.to_vec());
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, &name, &mut value[..]).unwrap();
        let value: String = value[..length].iter().map(|byte| format!("{byte:02x}")).collect();
        shown.push(format!("{}={value}", String::from_utf8_lossy(name.as_bytes())));
    }
    shown.sort();
    shown.join(" ")
}

/// A difference between two trees at one path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    pub path: String,
    /// `missing`, `added`, or the aspect that differs.
    pub aspect: &'static str,
    pub detail: String,
}

/// What differs in `ours` from `theirs`.
pub fn differences(ours: &BTreeMap<String, Aspects>, theirs: &BTreeMap<String, Aspects>) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut push = |path: &String, aspect, detail: String| all.push(Difference { path: path.clone(), aspect, detail });
    for (path, expected) in theirs {
        let Some(found) = ours.get(path) else {
            push(path, "missing", expected["type"].clone());
            continue;
        };
        for aspect in ["type", "mode", "owner", "target", "content", "linked with", "xattrs"] {
            let (found, expected) = (found.get(aspect), expected.get(aspect));
            if found != expected {
                let text =
                    |value: Option<&String>| value.map_or("none", |value| &value[..value.len().min(80)]).to_owned();
                push(path, aspect, format!("{}, expected {}", text(found), text(expected)));
            }
        }
    }
    for (path, found) in ours.iter().filter(|(path, _)| !theirs.contains_key(*path)) {
        push(path, "added", found["type"].clone());
    }
    all.sort();
    all
}
