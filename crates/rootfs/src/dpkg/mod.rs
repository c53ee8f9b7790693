//! dpkg's database, `/var/lib/dpkg`, written for packages that were unpacked here, so that the new
//! system's own dpkg goes on from there: every package is `install ok unpacked`, every conffile
//! `newconffile`. And read for what scripts left in it that decides how further packages are
//! unpacked: diversions and overrides.

mod control;
mod diversions;
mod overrides;
pub mod package;
mod status;
mod triggers;

use fam_archive::deb822::stanzas;
use fam_progress::Hint;
use fam_tree::RootPath;

pub use diversions::{Diversions, Move};
pub use overrides::Overrides;
pub use package::{Conffile, Package};
pub use triggers::Activations;

use crate::staging::{self, Attributes, Directory, Staging};

/// The suffix under which dpkg keeps a new conffile until the package is configured.
pub const NEW_CONFFILE: &[u8] = b".dpkg-new";

const STATUS: &str = "var/lib/dpkg/status";

/// Why the database cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package is malformed.
    #[error("package {package}: {source}")]
    Control {
        /// Name of the package.
        package: String,
        /// What is wrong in its control archive.
        source: package::Error,
    },
    /// A script left a file of the database that dpkg could not read.
    #[error("/{file} of the new system is malformed")]
    Malformed {
        /// Its path in the new system, without the first slash.
        file: &'static str,
    },
    /// A script had the owner of a file overridden by one that there is not.
    #[error("/{file} of the new system names {name}, which it does not have")]
    Owner {
        /// The file that names the owner, without the first slash.
        file: &'static str,
        /// The user or group, by name or as `#NUMBER`.
        name: String,
    },
    /// The staging tree does not take it.
    #[error("{0}")]
    Staging(#[from] staging::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed { .. } | Self::Owner { .. } => {
                Some("a maintainer script made it so: the log shows those that ran before".into())
            }
            Self::Control { .. } | Self::Staging(_) => None,
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

/// Adds packages that were unpacked to the database, and begins one, `native` being its own
/// architecture, where there is none. Order matters only for the order of lines about triggers.
///
/// # Errors
/// [`Error`]
pub fn add(staging: &Staging, native: &str, records: &[Record<'_>]) -> Result<(), Error> {
    if !staging.exists(&path(STATUS))? {
        begin(staging, native)?;
    }
    let mut interest = triggers::Interest::default();
    let mut added = Vec::with_capacity(records.len());
    let info = staging.directory(&path("var/lib/dpkg/info"))?;
    for record in records {
        let package = record.package;
        let malformed = |source| Error::Control { package: package.name.clone(), source };
        interest.add(package).map_err(malformed)?;
        added.push((&package.name, &package.architecture, status::unpacked_stanza(package).map_err(malformed)?));
        write_info(&info, record)?;
    }
    let before = staging.read(&path(STATUS))?;
    let before = str::from_utf8(&before).map_err(|_| Error::Malformed { file: STATUS })?;
    let mut all: Vec<(&str, &str, &str)> = stanzas(before)
        .map(|stanza| {
            let field = |name| stanza.get(name).ok_or(Error::Malformed { file: STATUS });
            Ok((field("Package")?, field("Architecture")?, stanza.text()))
        })
        .collect::<Result<_, Error>>()?;
    all.extend(added.iter().map(|(name, architecture, text)| (name.as_str(), architecture.as_str(), text.as_str())));
    // By name and architecture, as dpkg writes the file.
    all.sort_unstable();
    let status: String = all.iter().map(|(_, _, text)| format!("{}\n\n", text.trim_end_matches('\n'))).collect();
    staging.write(&path(STATUS), status.as_bytes(), 0o644)?;
    interest.write(staging)
}

/// Writes the list of a package's files, which has changed.
///
/// # Errors
/// [`Error`]
pub fn write_list(staging: &Staging, package: &Package, files: &[RootPath]) -> Result<(), Error> {
    let info = staging.directory(&path("var/lib/dpkg/info"))?;
    Ok(info.write_file(format!("{}.list", package.qualified_name()).as_bytes(), &list(files), 0o644)?)
}

/// Writes the database of a system without packages.
fn begin(staging: &Staging, native: &str) -> Result<(), Error> {
    let dpkg = staging.create_dir_all(&path("var/lib/dpkg"))?;
    for name in ["alternatives", "info", "parts", "triggers", "updates"] {
        dpkg.create_directory(name.as_bytes(), 0o755)?;
    }
    dpkg.write_file(b"arch", format!("{native}\n").as_bytes(), 0o644)?;
    // dpkg and its front ends expect these to exist.
    for name in ["diversions", "statoverride", "status", "triggers/File", "triggers/Unincorp"] {
        staging.write(&path("var/lib/dpkg").join(name).unwrap_or_default(), b"", 0o644)?;
    }
    // Without it dpkg takes the directory for one of the older format, and renames the files of
    // `Multi-Arch: same` packages.
    staging.write(&path("var/lib/dpkg/info/format"), b"1\n", 0o644)?;
    Ok(())
}

/// The files of one package in `info`: its list, its sums, and what its control archive holds, as
/// it holds it.
fn write_info(info: &Directory, record: &Record<'_>) -> Result<(), staging::Error> {
    let stem = record.package.qualified_name();
    let name = |extension: &str| format!("{stem}.{extension}").into_bytes();
    // A control file named `list` would be the list of files; dpkg, too, leaves it out.
    for (extension, file) in record.package.control.files.iter().filter(|(extension, _)| *extension != "list") {
        let name = name(extension);
        // dpkg makes the one script executable that it runs before the database has it.
        let mode = if extension == "preinst" && file.mode & 0o555 != 0o555 { 0o755 } else { file.mode };
        info.write_file(&name, &file.bytes, mode)?;
        let attributes = Attributes { mode, uid: 0, gid: 0, mtime: file.mtime };
        info.set_attributes(&name, &attributes, &Default::default())?;
    }
    if let Some(sums) = record.md5sums {
        info.write_file(&name("md5sums"), sums.as_bytes(), 0o644)?;
    }
    info.write_file(&name("list"), &list(record.files), 0o644)
}

fn list(files: &[RootPath]) -> Vec<u8> {
    let line = |file: &RootPath| {
        let path = if file.is_root() { b"." } else { file.as_bytes() };
        [b"/", path, b"\n"].concat()
    };
    files.iter().flat_map(line).collect()
}

fn path(text: &'static str) -> RootPath {
    RootPath::new(text).expect("the paths above hold neither `..` nor NUL")
}
