//! Packages in files of this host, which a user names one by one or by their directory, as
//! `apt-get install ./x.deb` takes them.
//!
//! Each is read once, before a build begins: its control file, and the digest of its bytes. From then
//! on it is a package of the index like any other, in a source of its own, and is brought into the cache
//! by its digest. Nothing signs such a file: it is trusted because it was named.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};

use fam_host::regular;
use fam_progress::Hint;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::deb::{self, Deb};
use super::deb822::stanzas;
use super::digest::{Algorithm, Digest, Hasher};
use super::file_url;
use super::packages::{self, Origin, PackageIndex};

/// The suite of such packages, where people read it. No suite of an archive has a blank in its name.
const SUITE: &str = "local file";

/// A package in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalDeb {
    /// The file, by its whole path.
    pub path: PathBuf,
    /// The name of the package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The architecture that it is for, or `all`.
    pub architecture: String,
    /// The SHA-256 of the file.
    pub digest: Digest,
    /// Its stanza, as an index has it.
    stanza: String,
}

/// Why a file is no package that can be installed.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file or directory cannot be read; the error names it.
    #[error("local package: {source}")]
    Read {
        /// What the system said.
        source: io::Error,
    },
    /// It is no package.
    #[error("local package {}: {source}", path.display())]
    Deb {
        path: PathBuf,
        /// What is wrong with it.
        source: deb::Error,
    },
    /// Its control file lacks something that every package has, or has something that cannot be.
    #[error("local package {}: its control file: {reason}", path.display())]
    Control { path: PathBuf, reason: String },
    /// Its name cannot stand in an index or a lock.
    #[error(
        "local package {path:?}: the name of the file is not UTF-8, or has control characters or blanks at its ends"
    )]
    Name { path: PathBuf },
    /// A directory without packages.
    #[error("there is no .deb file in the directory {}", path.display())]
    Empty { path: PathBuf },
    /// It is for other machines.
    #[error("local package {}: it is for {architecture}, not for {wanted}", path.display())]
    Architecture { path: PathBuf, architecture: String, wanted: String },
    /// There is one name for two different packages.
    #[error("local packages {} and {} are both the package {name}", first.display(), second.display())]
    Twice { name: String, first: PathBuf, second: PathBuf },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { source } if source.kind() == io::ErrorKind::NotFound => {
                "a path in a recipe is taken from the recipe's directory, one of --include from the current directory"
                    .into()
            }
            Self::Read { .. } => "name a .deb file, or a directory with such files, that you can read".into(),
            Self::Deb { source, .. } => return source.hint(),
            Self::Control { .. } => "the file is damaged or was made by a broken tool: get it again".into(),
            Self::Name { .. } => "rename the file".into(),
            Self::Empty { .. } => "of a directory, the files NAME.deb directly in it are installed".into(),
            Self::Architecture { architecture, wanted, .. } => {
                format!(
                    "get the package for {wanted} instead of {architecture}; of a directory, every .deb in it is installed"
                )
            }
            Self::Twice { .. } => "name one of them; of a directory, every .deb in it is installed".into(),
        })
    }
}

/// The packages that `paths` name, files or directories, for machines of `architecture`: in the order
/// of the paths, those of a directory by name. A file that is named twice is there once.
///
/// # Errors
/// [`Error`]
pub fn read_all<'a>(paths: impl IntoIterator<Item = &'a Path>, architecture: &str) -> Result<Vec<LocalDeb>, Error> {
    let mut debs: Vec<LocalDeb> = Vec::new();
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for path in paths {
        for file in files(path)? {
            let deb = LocalDeb::read(&file)?;
            if deb.architecture != "all" && deb.architecture != architecture {
                let (architecture, wanted) = (deb.architecture, architecture.to_owned());
                return Err(Error::Architecture { path: file, architecture, wanted });
            }
            match by_name.entry(deb.name.clone()) {
                Entry::Vacant(place) => {
                    place.insert(debs.len());
                    debs.push(deb);
                }
                Entry::Occupied(place) if debs[*place.get()].digest == deb.digest => {}
                Entry::Occupied(place) => {
                    let first = debs[*place.get()].path.clone();
                    return Err(Error::Twice { name: deb.name, first, second: file });
                }
            }
        }
    }
    Ok(debs)
}

/// As [`read_all`], of those files alone that can be read.
#[must_use]
pub fn read_what_is_there<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<LocalDeb> {
    let files = paths.into_iter().flat_map(|path| files(path).unwrap_or_default());
    files.filter_map(|file| LocalDeb::read(&file).ok()).collect()
}

/// The file itself, or the packages directly in the directory.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = |source| Error::Read { source };
    if !fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(read)?;
    let mut files =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(read)?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "deb"));
    files.sort();
    if files.is_empty() { Err(Error::Empty { path: path.to_owned() }) } else { Ok(files) }
}

/// What an index has against a package, without the name of the index.
fn fault(error: &packages::Error) -> String {
    match error {
        packages::Error::MissingField { field, .. } => format!("it has no field {field}"),
        packages::Error::InvalidField { field, value, .. } => format!("its field {field} is invalid: {value:?}"),
        packages::Error::Relation { field, source, .. } => format!("its field {field}: {source}"),
        packages::Error::TooLarge { .. } => "it is too large".to_owned(),
    }
}

impl LocalDeb {
    /// Reads the package in the file at `path`.
    ///
    /// # Errors
    /// [`Error`]
    pub fn read(path: &Path) -> Result<Self, Error> {
        let at_path = || path.to_owned();
        let read = |source| Error::Read { source };
        let file_name = path.file_name().and_then(|name| name.to_str());
        let file_name = file_name
            .filter(|name| name.trim() == *name && !name.contains(char::is_control))
            .ok_or_else(|| Error::Name { path: at_path() })?;
        let mut file = regular::open(path).map_err(|error| read(error.into()))?;
        let in_deb = |source| Error::Deb { path: at_path(), source };
        let control = Deb::open(&mut file).and_then(|mut deb| deb.control()).map_err(in_deb)?;
        // On the same descriptor; the bytes that are installed must have this digest.
        io::Seek::rewind(&mut file).map_err(read)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.read(&mut file, u64::MAX - 1).map_err(read)?;
        let (size, digest) = (hasher.length(), hasher.finish());

        let invalid = |reason: String| Error::Control { path: at_path(), reason };
        // What begins with a blank would continue the field before it.
        let fields = stanzas(&control.stanza).next().filter(|fields| !fields.text().starts_with([' ', '\t']));
        let fields = fields.ok_or_else(|| invalid("it begins with no field".to_owned()))?;
        // Before what the control file itself may have under these names.
        let stanza = format!("Filename: {file_name}\nSize: {size}\nSHA256: {digest}\n{}\n", fields.text().trim_end());
        let value = |name: &str| fields.get(name).unwrap_or_default().to_owned();
        let path = std::path::absolute(path).map_err(read)?;
        let deb = Self {
            path,
            name: value("Package"),
            version: value("Version"),
            architecture: value("Architecture"),
            digest,
            stanza,
        };
        let architecture = if deb.architecture.is_empty() { "all" } else { &deb.architecture };
        let mut alone = PackageIndex::new(architecture);
        deb.add_to(&mut alone).map_err(|error| invalid(fault(&error)))?;
        if let Some(skipped) = alone.skipped().first() {
            return Err(invalid(fault(&skipped.reason)));
        }
        Ok(deb)
    }

    /// Adds it to an index, in a source of its own: before an equal version of an archive.
    ///
    /// # Errors
    /// As [`PackageIndex::add`].
    pub fn add_to(&self, index: &mut PackageIndex) -> Result<(), packages::Error> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let origin = Origin {
            mirror: file_url::of_path(directory),
            suite: SUITE.to_owned(),
            component: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            ..Origin::default()
        };
        index.add_first(self.stanza.clone(), origin)
    }

    /// What the resolver is asked for, so that this package is taken whatever archives have.
    #[must_use]
    pub fn request(&self) -> String {
        format!("{}={}", self.name, self.version)
    }

    /// The URL of its file.
    #[must_use]
    pub fn url(&self) -> String {
        file_url::of_path(&self.path)
    }
}

#[cfg(test)]
mod tests;
