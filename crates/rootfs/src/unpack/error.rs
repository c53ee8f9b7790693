//! Why packages cannot be unpacked.

use std::io;
use std::path::{Path, PathBuf};

use fam_archive::deb;
use fam_progress::Hint;
use fam_tree::tar;
use fam_tree::{InvalidPath, RootPath};

use super::DebFile;
use crate::dpkg::{self, package};
use crate::staging;

/// Why packages cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read; the source names it.
    #[error("package {package}: {source}")]
    Read {
        /// Name of the package.
        package: String,
        /// What the system said; it names the file.
        source: io::Error,
    },
    /// The file is not the one that the signed index lists.
    #[error("package {package}: {} does not have the size and SHA-256 of the signed index", path.display())]
    Damaged {
        /// Name of the package.
        package: String,
        /// The file in the cache.
        path: PathBuf,
    },
    /// The file is what the index lists, and yet no proper package.
    #[error("package {package}: {}: {source}", path.display())]
    Deb {
        /// Name of the package.
        package: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with the archive.
        source: deb::Error,
    },
    /// The file holds another package than the index says.
    #[error("{} holds {found}, the index says {expected}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Name, version and architecture of the index.
        expected: String,
        /// Those of the file.
        found: String,
    },
    /// The control archive is malformed.
    #[error("package {package}: {source}")]
    Control {
        /// Name of the package.
        package: String,
        /// What is wrong in it.
        source: package::Error,
    },
    /// The data archive is malformed.
    #[error("package {package}: data archive: {source}")]
    Tar {
        /// Name of the package.
        package: String,
        /// What is wrong, and at which byte.
        source: tar::Error,
    },
    /// The data archive cannot be decompressed, or holds what it must not.
    #[error("package {package}: data archive: {source}")]
    Data {
        /// Name of the package.
        package: String,
        /// What the decoder said, or which bound was passed.
        source: io::Error,
    },
    /// An entry would lie outside the root.
    #[error("package {package}: data archive: {source}")]
    Path {
        /// Name of the package.
        package: String,
        /// The path, and why it names no place in a root.
        source: InvalidPath,
    },
    /// A path that would be two lines in dpkg's lists of files.
    #[error("package {package}: data archive: newline not allowed in archive object name {path}")]
    Newline {
        /// Name of the package.
        package: String,
        /// The path in the new system.
        path: RootPath,
    },
    /// A name that the root file system's layout does not take.
    #[error("package {package}: data archive: the name or link target of {path} is not UTF-8")]
    NotUtf8 {
        /// Name of the package.
        package: String,
        /// The path in the new system.
        path: RootPath,
    },
    /// An entry that dpkg would not take, or not as it is meant.
    #[error("package {package}: data archive: {path} {problem}")]
    Entry {
        /// Name of the package.
        package: String,
        /// The path in the new system.
        path: RootPath,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An entry in a directory that is not there.
    #[error("package {package}: data archive: {path} is in a directory that neither it nor an earlier package has")]
    NoDirectory {
        /// Name of the package.
        package: String,
        /// The path in the new system.
        path: RootPath,
    },
    /// A path that is a directory and something else in the same package.
    #[error("package {package}: data archive: {path} is to be a directory and something else")]
    Contradiction {
        /// Name of the package.
        package: String,
        /// The path in the new system.
        path: RootPath,
    },
    /// A hard link to something that the package did not bring before it.
    #[error("package {package}: hard link {path} leads to {target}, which is no earlier file of the package")]
    HardLink {
        /// Name of the package.
        package: String,
        /// The link.
        path: RootPath,
        /// Where it leads.
        target: RootPath,
    },
    /// A hard link to what the rules for paths leave out.
    #[error("package {package}: the rules for paths exclude {target}, but not its hard link {path}")]
    LinkToExcluded {
        /// Name of the package.
        package: String,
        /// The link.
        path: RootPath,
        /// Where it leads.
        target: RootPath,
    },
    /// Something in a directory that the rules for paths leave out.
    #[error("package {package}: the rules for paths exclude the directory {directory}, but not {path} in it")]
    InExcluded {
        /// Name of the package.
        package: String,
        /// The directory.
        directory: RootPath,
        /// What is in it.
        path: RootPath,
    },
    /// Two packages hold the same path, and neither Replaces the other.
    #[error("packages {first} and {second} both hold {path}{kinds}")]
    Conflict {
        /// The path.
        path: RootPath,
        /// The earlier package.
        first: String,
        /// The later package.
        second: String,
        /// More, where they do not even agree on what it is.
        kinds: &'static str,
    },
    /// A package has a file of a name that a diversion gave to another's.
    #[error("package {package} holds {path}, to which the diverted {contested} was renamed")]
    Diverted {
        /// The package.
        package: String,
        /// The name.
        path: RootPath,
        /// The name that the diverted file had.
        contested: RootPath,
    },
    /// A package that Conflicts with another one or Breaks it. The resolver chooses no such two, so
    /// the list of packages is somebody's own.
    #[error("package {package} conflicts with {other} or breaks it, and both are to be installed")]
    Excluded {
        /// The package that says so.
        package: String,
        /// The other one.
        other: String,
    },
    /// A package is given twice.
    #[error("package {0} is to be unpacked twice")]
    Twice(String),
    /// The staging tree does not take something of a package.
    #[error("package {package}: {source}")]
    Staging {
        /// Name of the package.
        package: String,
        /// The operation that failed.
        source: staging::Error,
    },
    /// The staging tree does not take what belongs to no package alone.
    #[error("{0}")]
    Tree(#[source] staging::Error),
    /// dpkg's database cannot be written.
    #[error("dpkg's database: {0}")]
    Database(#[from] dpkg::Error),
    /// The host allows no further thread.
    #[error("{0}")]
    Thread(#[source] io::Error),
    /// Another package failed meanwhile. Never returned where there is that failure to return.
    #[error("stopped since another package failed")]
    Stopped,
}

impl Error {
    /// The file in the cache that must be fetched again, if that is what is wrong.
    #[must_use]
    pub fn damaged_file(&self) -> Option<&Path> {
        match self {
            Self::Damaged { path, .. } => Some(path),
            _ => None,
        }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { path, .. } => Some(format!("delete {}, it is fetched again", path.display())),
            Self::Conflict { first, second, .. } => Some(format!("leave {first} or {second} out")),
            Self::Excluded { package, other } => {
                Some(format!("leave {package} or {other} out; `fam-build lock` chooses packages that go together"))
            }
            Self::Diverted { package, .. } => {
                Some(format!("leave {package} out, or the package that diverts the file"))
            }
            Self::LinkToExcluded { target, .. } => {
                Some(format!("in the recipe, exclude both, or add {{ include = \"{target}\" }} to `paths`"))
            }
            Self::InExcluded { directory, .. } => Some(format!(
                "in the recipe, exclude all that is in it (\"{directory}/*\"), or add {{ include = \"{directory}\" }} to `paths`"
            )),
            Self::Identity { .. }
            | Self::Path { .. }
            | Self::Newline { .. }
            | Self::Entry { .. }
            | Self::NoDirectory { .. }
            | Self::Contradiction { .. }
            | Self::HardLink { .. } => Some("the package is malformed: leave it out, or take another mirror".into()),
            Self::NotUtf8 { package, .. } => Some(format!("leave {package} out: names in an image must be UTF-8")),
            _ => None,
        }
    }
}

impl DebFile {
    pub(super) fn read_error(&self, source: io::Error) -> Error {
        Error::Read { package: self.name.clone(), source }
    }

    pub(super) fn error(&self, source: deb::Error) -> Error {
        Error::Deb { package: self.name.clone(), path: self.path.clone(), source }
    }

    pub(super) fn tar_error(&self, source: tar::Error) -> Error {
        Error::Tar { package: self.name.clone(), source }
    }

    pub(super) fn data_error(&self, source: io::Error) -> Error {
        Error::Data { package: self.name.clone(), source }
    }

    pub(super) fn staging_error(&self, source: staging::Error) -> Error {
        Error::Staging { package: self.name.clone(), source }
    }
}
