//! The keyring that apt in a guest checks an archive with: one that a package has installed, which
//! upgrades keep up to date, or else one that is written.

use fam_plugin::{Archive, ArchiveKeys, Error, Result, Root};

/// Where packages put keyrings (Debian Policy names none; `sources.list(5)` does).
const INSTALLED: &str = "/usr/share/keyrings";
/// Where administrators put those of other archives, as `sources.list(5)` recommends.
const WRITTEN: &str = "/etc/apt/keyrings";
/// The keyring of Debian by its names, the newer one first. Packages install others beside it
/// that have only some of its keys.
const DEBIAN: [&str; 2] = ["debian-archive-keyring.pgp", "debian-archive-keyring.gpg"];

/// The file of the keyring for an archive, written where no package has one. None where the build
/// does not know the key: a lock of an older version does not name it.
pub(crate) fn of(archive: &Archive, root: &mut Root<'_>) -> Result<Option<String>> {
    let ArchiveKeys { vouching, armored } = &archive.keys;
    if armored.is_empty() {
        let mut usual = DEBIAN.iter().map(|name| format!("{INSTALLED}/{name}"));
        return Ok(usual.find(|path| archive.name == crate::sources::DEBIAN && root.exists(path)));
    }
    let key = hex::decode(vouching)
        .map_err(|error| Error::failed(format!("the key of {} as the build tells it: {error}", archive.url)))?;
    match installed(root, &key)? {
        Some(name) => Ok(Some(format!("{INSTALLED}/{name}"))),
        None => write(&archive.name, armored, root).map(Some),
    }
}

/// Writes the keys into a file of their own: of several armored blocks in one, apt before version 3
/// reads the first. Archives of one name may have different keys.
fn write(name: &str, armored: &str, root: &mut Root<'_>) -> Result<String> {
    root.create_dir_all(WRITTEN)?;
    // The ending tells apt that the keys are armored.
    let mut path = format!("{WRITTEN}/{name}.asc");
    let mut number = 1;
    while root.exists(&path) {
        if root.read_text(&path)? == armored {
            return Ok(path);
        }
        number += 1;
        path = format!("{WRITTEN}/{name}-{number}.asc");
    }
    root.write(&path, armored)?;
    Ok(path)
}

/// The name of an installed keyring that holds `key`, the packet of a primary key.
fn installed(root: &Root<'_>, key: &[u8]) -> Result<Option<String>> {
    if key.is_empty() || !root.exists(INSTALLED) {
        return Ok(None);
    }
    let mut names: Vec<String> = root
        .list(INSTALLED)?
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(|name| is_keyring(name))
        .collect();
    names.sort_by_key(|name| (DEBIAN.iter().position(|usual| usual == name).unwrap_or(DEBIAN.len()), name.clone()));
    for name in names {
        let path = format!("{INSTALLED}/{name}");
        // A link may lead nowhere.
        let holds = |bytes: Vec<u8>| bytes.windows(key.len()).any(|window| window == key);
        if root.read(&path).is_ok_and(holds) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether a file is a keyring in binary form, of keys that are in use.
fn is_keyring(name: &str) -> bool {
    (name.ends_with(".pgp") || name.ends_with(".gpg")) && !name.contains("removed")
}
