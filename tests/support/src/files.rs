//! What is in a directory, for comparing two of them entry by entry.

use std::collections::BTreeMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive::sha256;
use crate::succeed;

/// One entry, every aspect as text so that a difference can be shown.
pub type Aspects = BTreeMap<&'static str, String>;

/// Unpacks the tarball of a tree into a directory, which is made if it is not there.
pub fn extract(tarball: &Path, into: &Path) {
    fs_err::create_dir_all(into).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--numeric-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*"]);
    succeed(tar.arg("--file").arg(tarball).arg("--directory").arg(into));
}

/// The text of the file that a tarball has by the name `member`.
pub fn in_tarball(tarball: &Path, member: &str) -> String {
    succeed(Command::new("tar").args(["--extract", "--to-stdout"]).arg("--file").arg(tarball).arg(member))
}

/// Every entry under `root` by its path there (`/etc/passwd`), symbolic links not followed. Owners
/// have the names that the tree itself gives them, since the order of configuration decides the
/// numbers of system users.
pub fn walk(root: &Path) -> BTreeMap<String, Aspects> {
    let (users, groups) = (names(root, "etc/passwd"), names(root, "etc/group"));
    let owner = |names: &BTreeMap<u32, String>, id: u32| names.get(&id).cloned().unwrap_or_else(|| id.to_string());
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
            // Those of directories tell who made the last entry, not what a package says.
            if !kind.is_dir() {
                aspects.insert("time", metadata.mtime().to_string());
            }
            aspects.insert("mode", format!("{:04o}", metadata.mode() & 0o7777));
            aspects.insert("owner", format!("{}:{}", owner(&users, metadata.uid()), owner(&groups, metadata.gid())));
            aspects.insert("xattrs", xattrs(&path));
            if kind.is_dir() {
                aspects.insert("type", "directory".into());
                directories.push(relative);
            } else if kind.is_symlink() {
                aspects.insert("type", "symbolic link".into());
                aspects.insert("target", fs_err::read_link(&path).unwrap().display().to_string());
            } else if kind.is_file() {
                aspects.insert("type", "file".into());
                let content = fs_err::read(&path).unwrap();
                aspects.insert("lines", sha256(&sorted_lines(&shown, &content)));
                aspects.insert("content", sha256(&content));
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

/// Names by number in a passwd or group file.
fn names(root: &Path, file: &str) -> BTreeMap<u32, String> {
    let text = fs_err::read_to_string(root.join(file)).unwrap_or_default();
    let name = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(name).map(|(name, id)| (id, name)).collect()
}

/// The lines of a small file in order, in passwd and group files without the numbers that are given
/// to system users.
fn sorted_lines(path: &str, content: &[u8]) -> Vec<u8> {
    if content.len() > 1 << 20 {
        return content.to_owned();
    }
    let numbers = matches!(path.trim_end_matches('-'), "/etc/passwd" | "/etc/group");
    let mut lines: Vec<Vec<u8>> = content.split(|&byte| byte == b'\n').map(<[u8]>::to_owned).collect();
    if numbers {
        for line in &mut lines {
            let fields = String::from_utf8_lossy(line).into_owned();
            let dynamic = |field: &&str| field.parse::<u32>().is_ok_and(|id| (100..1000).contains(&id));
            let fields: Vec<&str> = fields.split(':').map(|field| if dynamic(&field) { "" } else { field }).collect();
            *line = fields.join(":").into_bytes();
        }
    }
    lines.sort();
    lines.join(&b'\n')
}

fn xattrs(path: &Path) -> String {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut shown = Vec::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = std::ffi::OsString::from_vec(name.to_vec());
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, &name, &mut value[..]).unwrap();
        let value = hex::encode(&value[..length]);
        shown.push(format!("{}={value}", String::from_utf8_lossy(name.as_bytes())));
    }
    shown.sort();
    shown.join(" ")
}

/// A difference between two trees at one path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The path in both trees.
    pub path: String,
    /// `missing`, `added`, `order` where a file has the same lines in another order (see
    /// [`sorted_lines`]), or the aspect that differs.
    pub aspect: &'static str,
    /// What was found, and what was expected.
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
        for aspect in ["type", "mode", "owner", "target", "content", "linked with", "xattrs", "time"] {
            let same_lines = aspect == "content" && found.get("lines") == expected.get("lines");
            let (found, expected) = (found.get(aspect), expected.get(aspect));
            if found != expected {
                let aspect = if same_lines { "order" } else { aspect };
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
