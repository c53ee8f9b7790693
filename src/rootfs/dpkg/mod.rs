//! dpkg's database, `/var/lib/dpkg`, written for packages that were unpacked here, so that the new system's own dpkg goes
//! on from there: every package is `install ok unpacked`, every conffile `newconffile`.

mod package;
mod status;
mod triggers;

pub use package::{Conffile, ControlError, Package};

use crate::rootfs::staging::{Attributes, Directory, Staging, StagingError};
use crate::tree::RootPath;

/// The suffix under which dpkg keeps a new conffile until the package is configured.
pub const NEW_CONFFILE: &[u8] = b".dpkg-new";

/// Why the database cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A package is malformed.
    #[error("package {package}: {source}")]
    Control {
        /// Which.
        package: String,
        /// How.
        source: ControlError,
    },
    /// The staging tree does not take it.
    #[error(transparent)]
    Staging(#[from] StagingError),
}

impl DatabaseError {
    /// What the user should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Control { source, .. } => source.hint(),
            Self::Staging(error) => error.hint(),
        }
    }
}

/// What the database tells of one unpacked package.
#[derive(Debug)]
pub struct Record<'a> {
    /// The package.
    pub package: &'a Package,
    /// Every path that it owns, in the order of its archive.
    pub files: &'a [RootPath],
    /// The sums of its files, where the package has no `md5sums` file of its own.
    pub md5sums: Option<&'a str>,
}

/// Writes the database of an empty system with these packages unpacked, `native` being its own architecture. Order
/// matters only for the order of lines about triggers.
///
/// # Errors
/// [`DatabaseError`]
pub fn write_database(staging: &Staging, native: &str, records: &[Record<'_>]) -> Result<(), DatabaseError> {
    let directory = |name: &'static str| staging.create_dir_all(&path(name)).map_err(DatabaseError::from);
    let dpkg = directory("var/lib/dpkg")?;
    for name in ["alternatives", "parts", "updates"] {
        dpkg.create_directory(name.as_bytes(), 0o755)?;
    }
    dpkg.write_file(b"arch", format!("{native}\n").as_bytes(), 0o644)?;
    // dpkg and its front ends expect these to exist.
    for name in ["diversions", "statoverride"] {
        dpkg.write_file(name.as_bytes(), b"", 0o644)?;
    }

    let info = directory("var/lib/dpkg/info")?;
    info.write_file(b"format", b"1\n", 0o644)?;
    let mut interest = triggers::Interest::default();
    let mut stanzas = Vec::with_capacity(records.len());
    for record in records {
        let package = record.package;
        let malformed = |source| DatabaseError::Control { package: package.name.clone(), source };
        interest.add(package).map_err(malformed)?;
        stanzas.push((&package.name, &package.architecture, status::unpacked_stanza(package).map_err(malformed)?));
        write_info(&info, record)?;
    }
    stanzas.sort();
    let status: Vec<String> = stanzas.into_iter().map(|(_, _, stanza)| stanza + "\n").collect();
    dpkg.write_file(b"status", status.concat().as_bytes(), 0o644)?;

    let triggers = directory("var/lib/dpkg/triggers")?;
    triggers.write_file(b"File", interest.files.as_bytes(), 0o644)?;
    triggers.write_file(b"Unincorp", b"", 0o644)?;
    for (name, packages) in &interest.explicit {
        triggers.write_file(name.as_bytes(), packages.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// The files of one package in `info`: its list, its sums, and what its control archive holds, as it holds it.
fn write_info(info: &Directory, record: &Record<'_>) -> Result<(), StagingError> {
    let stem = record.package.qualified_name();
    let name = |extension: &str| format!("{stem}.{extension}").into_bytes();
    let mut list = Vec::new();
    for file in record.files {
        list.push(b'/');
        list.extend_from_slice(if file.is_root() { b"." } else { file.as_bytes() });
        list.push(b'\n');
    }
    for (extension, file) in record.package.control.files.iter().filter(|(extension, _)| *extension != "list") {
        let name = name(extension);
        info.write_file(&name, &file.bytes, file.mode)?;
        let attributes = Attributes { mode: file.mode, uid: 0, gid: 0, mtime: file.mtime };
        info.set_attributes(&name, &attributes, &Default::default())?;
    }
    if let Some(sums) = record.md5sums {
        info.write_file(&name("md5sums"), sums.as_bytes(), 0o644)?;
    }
    info.write_file(&name("list"), &list, 0o644)
}

fn path(text: &'static str) -> RootPath {
    RootPath::new(text).expect("the paths above hold neither `..` nor NUL")
}
