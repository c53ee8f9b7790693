//! The archives that a recipe and `--archive` name beside that of the suite, with their keys.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fam_archive::credentials::{MirrorUrl, host, without_login};
use fam_archive::keyring::Keyring;
use fam_archive::policy::Priority;
use fam_archive::sources::{AptSource, read_sources};

use super::Error;
use crate::recipe::{Archive, ArchiveKey, Listed, Settings};

/// What files about the archives of the suite are called in a guest.
pub(super) const DEBIAN: &str = "debian";

/// An archive beside that of the suite.
#[derive(Debug)]
pub(super) struct FurtherArchive {
    /// What its files are called in a guest.
    pub(super) name: String,
    /// Where it is, if not at the mirror of the suite.
    pub(super) url: Option<MirrorUrl>,
    pub(super) suites: Vec<String>,
    pub(super) components: Vec<String>,
    /// The keys that may vouch for it, if not those of the build.
    pub(super) keyring: Option<Arc<Keyring>>,
    /// What its versions count, if it was given a priority.
    pub(super) priority: Option<Priority>,
}

/// Reads them, the recipe's first, with the files that they name.
pub(super) fn further_archives(settings: &Settings) -> Result<Vec<FurtherArchive>, Error> {
    let mut archives = Vec::new();
    for listed in &settings.recipe.archives {
        archives.push(of_recipe(listed)?);
    }
    for path in settings.archive_files.iter() {
        let text = fs_err::read_to_string(path).map_err(|source| Error::Named { flag: "--archive", source })?;
        let place = path.display().to_string();
        let sources = read_sources(path, &text);
        if sources.is_empty() {
            let hint = "write `deb URL SUITE COMPONENT…` into a file that ends in .list, or the deb822 form of sources.list(5)";
            return Err(Error::FurtherArchive { place, reason: "names no archive of binary packages".into(), hint });
        }
        for source in sources.into_iter().filter(|source| is_for(source, settings)) {
            archives.push(of_file(path, source)?);
        }
    }
    Ok(archives)
}

/// Whether packages of the build's architecture are asked for.
fn is_for(source: &AptSource, settings: &Settings) -> bool {
    let own = settings.recipe.architecture.to_string();
    source.architectures.is_empty() || source.architectures.contains(&own)
}

fn of_recipe(listed: &Listed<Archive>) -> Result<FurtherArchive, Error> {
    let Listed { what: archive, source } = listed;
    let place = format!("archive {archive} of recipe {}", source.recipe);
    let keyring = match &archive.key {
        None => None,
        Some(ArchiveKey::File(path)) => {
            let path = source.directory.as_deref().unwrap_or(Path::new("")).join(path);
            Some(keyring_of_files(&[path], &place)?)
        }
        Some(ArchiveKey::Armored(text)) => Some(keyring_of_text(text, &place)?),
    };
    Ok(FurtherArchive {
        name: archive.name.as_ref().map_or_else(|| default_name(archive.url.as_ref()), ToString::to_string),
        url: archive.url.clone(),
        suites: archive.suites.iter().map(ToString::to_string).collect(),
        components: archive.components.iter().map(ToString::to_string).collect(),
        keyring,
        priority: archive.priority,
    })
}

fn of_file(path: &Path, source: AptSource) -> Result<FurtherArchive, Error> {
    let place = format!("{}, archive {} {}", path.display(), without_login(&source.uri), source.suite);
    let url: MirrorUrl = source.uri.parse().map_err(|error| Error::FurtherArchive {
        place: place.clone(),
        reason: format!("{error}"),
        hint: "name it by a URL of a kind that fam-build fetches from",
    })?;
    if source.is_trusted {
        return Err(Error::FurtherArchive {
            place,
            reason: "trusted=yes would take it without a signature".into(),
            hint: "have it signed and name the key by signed-by; single packages can be included as .deb files",
        });
    }
    let keyring = match source.signed_by.as_deref() {
        None => None,
        Some(text) if text.contains("-----BEGIN") => Some(keyring_of_text(&without_margin(text), &place)?),
        Some(files) => {
            let files: Vec<PathBuf> =
                files.split([',', ' ', '\t', '\n']).filter(|file| !file.is_empty()).map(PathBuf::from).collect();
            if let Some(other) = files.iter().find(|file| !file.is_absolute()) {
                return Err(Error::FurtherArchive {
                    place,
                    reason: format!("signed-by={} is no file", other.display()),
                    hint: "name the file of the key by its whole path, instead of by a fingerprint",
                });
            }
            Some(keyring_of_files(&files, &place)?)
        }
    };
    let stem = path.file_stem().map_or(Cow::Borrowed(""), |stem| stem.to_string_lossy()).to_lowercase();
    let name = if stem.parse::<crate::recipe::ArchiveName>().is_ok() { stem } else { default_name(Some(&url)) };
    let components = source.components;
    Ok(FurtherArchive { name, url: Some(url), suites: vec![source.suite], components, keyring, priority: None })
}

/// The host of the URL. What is at the mirror of the suite stands with it.
fn default_name(url: Option<&MirrorUrl>) -> String {
    let Some(url) = url else { return DEBIAN.to_owned() };
    let name: String =
        host(url.as_str()).to_lowercase().chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) { name } else { "archive".to_owned() }
}

/// A key that stands in a field of a deb822 file: each line begins with a blank, and an empty one is
/// a dot.
fn without_margin(text: &str) -> String {
    let lines = text.lines().map(|line| match line.trim() {
        "." => "",
        line => line,
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn keyring_of_files(paths: &[PathBuf], place: &str) -> Result<Arc<Keyring>, Error> {
    let mut keyring = Keyring::default();
    for path in paths {
        keyring.add_file(path).map_err(|error| key_error(place, &error))?;
    }
    Ok(Arc::new(keyring))
}

fn keyring_of_text(text: &str, place: &str) -> Result<Arc<Keyring>, Error> {
    let mut keyring = Keyring::default();
    keyring.add(text.as_bytes(), Path::new("written there")).map_err(|error| key_error(place, &error))?;
    Ok(Arc::new(keyring))
}

fn key_error(place: &str, error: &fam_archive::keyring::Error) -> Error {
    Error::FurtherArchive {
        place: place.to_owned(),
        reason: error.to_string(),
        hint: "a key is a file of public keys as `gpg --export` (or `gpg --armor --export`) writes them, or the armored text",
    }
}
