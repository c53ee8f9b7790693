//! The keyring that apt in a guest checks an archive with: one that a package has installed, which
//! upgrades keep up to date, or else one that is written.

use fam_plugin::{Archive, Error, Result, Root};

/// Where packages put keyrings (Debian Policy names none; `sources.list(5)` does).
const INSTALLED: &str = "/usr/share/keyrings";
/// Where administrators put those of other archives, as `sources.list(5)` recommends.
const WRITTEN: &str = "/etc/apt/keyrings";
/// The keyring of Debian by its names, the newer one first. Packages install others beside it
/// that have only some of its keys.
const DEBIAN: [&str; 2] = ["debian-archive-keyring.pgp", "debian-archive-keyring.gpg"];

/// The file of the keyring for an archive, written where no package has one.
pub(crate) fn of(archive: &Archive, root: &mut Root<'_>) -> Result<String> {
    let key = hex::decode(&archive.keys.vouching)
        .map_err(|error| Error::failed(format!("the key of {} as the build tells it: {error}", archive.url)))?;
    if let Some(name) = installed(root, &key)? {
        return Ok(format!("{INSTALLED}/{name}"));
    }
    // The ending tells apt that the keys are armored.
    let path = format!("{WRITTEN}/{}.asc", archive.name);
    root.create_dir_all(WRITTEN)?;
    let mut text = if root.exists(&path) { root.read_text(&path)? } else { String::new() };
    // Archives of one name may have different keys, as Debian and its security updates have.
    if !text.contains(&archive.keys.armored) {
        text.push_str(&archive.keys.armored);
        root.write(&path, text)?;
    }
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
