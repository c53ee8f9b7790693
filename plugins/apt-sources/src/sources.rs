//! The sources themselves: a file in deb822 form for each archive, `sources.list(5)`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fam_plugin::{Archive, Context, Error, Facts, Result, Root};

use crate::{Settings, host_of, is_loopback, keyring};

const DIRECTORY: &str = "/etc/apt/sources.list.d";
const OLD_LIST: &str = "/etc/apt/sources.list";
/// What the archives of the suite itself are called. The settings are about these alone.
pub(crate) const DEBIAN: &str = "debian";

/// The archives of the build that a guest can ask for packages, with what the settings change of
/// them. The other ones are warned of.
pub(crate) fn listed(settings: &Settings, facts: &Facts, context: &Context) -> Result<Vec<Archive>> {
    let mut archives = Vec::new();
    for archive in &facts.archives {
        let url = &archive.url;
        if !url.starts_with("http://") && !url.starts_with("https://") {
            context.warning(format!(
                "the archive {url} is a directory of the build host: apt in the guests goes without it"
            ));
            continue;
        }
        match host_of(url) {
            None => return Err(Error::failed(format!("{url:?} cannot stand in a sources file"))),
            Some(host) if is_loopback(host) => context
                .warning(format!("the mirror {url} is the build host's own: guests will not reach it under that name")),
            Some(_) => {}
        }
        let mut archive = archive.clone();
        if archive.name == DEBIAN {
            change(&mut archive, settings, &facts.suite);
        }
        if !archive.suites.is_empty() {
            archives.push(archive);
        }
    }
    Ok(archives)
}

/// What the settings say of the archives of the suite.
fn change(archive: &mut Archive, settings: &Settings, suite: &str) {
    // A flat archive has none.
    if let Some(components) = settings.components.as_ref().filter(|_| !archive.components.is_empty()) {
        archive.components.clone_from(components);
    }
    let updates = format!("{suite}-updates");
    let has_updates = archive.suites.contains(&updates);
    match settings.updates {
        Some(false) => archive.suites.retain(|other| *other != updates),
        // They are beside the suite, in one archive.
        Some(true) if !has_updates && archive.suites.iter().any(|other| other == suite) => archive.suites.push(updates),
        _ => {}
    }
}

/// Writes the files. Those archives that have one name stand in one file, in their order.
pub(crate) fn write(settings: &Settings, archives: &[Archive], root: &mut Root<'_>, context: &Context) -> Result<()> {
    root.create_dir_all(DIRECTORY)?;
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for archive in archives {
        let text = texts.entry(&archive.name).or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        let keyring = keyring::of(archive, root)?;
        if keyring.is_none() {
            context.warning(format!(
                "the key of the archive {} is not known: apt in the guests takes it only if a package has installed the key",
                archive.url
            ));
        }
        text.push_str(&stanza(settings, archive, keyring.as_deref()));
    }
    for (name, text) in texts {
        root.write(format!("{DIRECTORY}/{name}.sources"), text)?;
    }
    drop_empty_list(root, context)
}

fn stanza(settings: &Settings, archive: &Archive, keyring: Option<&str>) -> String {
    let Archive { name, url, suites, components, snapshot, .. } = archive;
    // Whoever publishes packages for Debian rarely publishes their sources.
    let types = if settings.deb_src && name == DEBIAN { "deb deb-src" } else { "deb" };
    let mut text = format!("Types: {types}\nURIs: {url}\nSuites: {}\n", suites.join(" "));
    if !components.is_empty() {
        let _ = writeln!(text, "Components: {}", components.join(" "));
    }
    if snapshot.is_some() {
        text.push_str("Check-Valid-Until: no\n");
    }
    if let Some(keyring) = keyring {
        let _ = writeln!(text, "Signed-By: {keyring}");
    }
    text
}

/// Removes a one-line sources file that says nothing: apt complains where both forms name a source
/// twice.
fn drop_empty_list(root: &mut Root<'_>, context: &Context) -> Result<()> {
    if !root.exists(OLD_LIST) {
        return Ok(());
    }
    let says = root.read_text(OLD_LIST)?.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
    if says {
        context.warning(format!("{OLD_LIST} names sources of its own, and is kept"));
        return Ok(());
    }
    root.remove(OLD_LIST).map(drop)
}
