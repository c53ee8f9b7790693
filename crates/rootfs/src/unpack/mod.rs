//! Unpacks packages into the staging tree, and writes dpkg's database of them.
//!
//! Nearly all the work is to read, verify and decompress, and depends on no other package: it is
//! done for many packages at once, as they come, into a directory beside the tree ([`prepare`]).
//! Then packages are put into the tree one after another, in an order that somebody else decides on
//! ([`place`]): so the result is that of dpkg, and whatever the threads' timing. Conffiles are
//! unpacked as `.dpkg-new`, as dpkg does until a package is configured. Maintainer scripts are the
//! business of the configuration; what they divert and override is followed here.

mod claims;
mod error;
mod filters;
mod place;
mod preparations;
mod prepare;

pub use error::Error;
pub use filters::{Filters, PathRule};
pub use place::Placement;
pub use preparations::{Arrivals, Preparations};
pub use prepare::Prepared;

use std::collections::BTreeSet;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;

use fam_archive::digest::Digest;
use fam_progress::Progress;
use fam_tree::RootPath;

use crate::dpkg::Package;
use crate::staging::{self, Staging};

/// A `.deb` in the cache, and what the signed index says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebFile {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, or `all`.
    pub architecture: String,
    /// Where the file lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

/// How to unpack.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// The architecture of the new system.
    pub architecture: String,
    /// Whether `/bin`, `/lib`, `/sbin` lead into `/usr`, as in every release since bookworm.
    pub merged_usr: bool,
    /// Which paths of packages are left out.
    pub filters: Filters,
    /// How many packages are unpacked at a time; `None` for as many as there are processors.
    pub jobs: Option<NonZero<usize>>,
}

/// A package that was unpacked.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// The package: names, conffiles, maintainer scripts, stanza.
    pub package: Package,
    /// Its paths, as dpkg lists them.
    pub files: Vec<RootPath>,
}

/// Unpacks `debs` into `staging`, which should hold nothing yet that belongs to a package, and
/// writes dpkg's database. No script runs. Each file's SHA-256 is verified on the descriptor that
/// is then read. Gives the packages in the order of `debs`, in which they are placed, too.
///
/// # Errors
/// [`Error`]. The staging tree is of no use then.
pub fn unpack(
    debs: &[DebFile],
    staging: &Staging,
    options: &UnpackOptions,
    progress: &Progress,
) -> Result<Vec<Unpacked>, Error> {
    let root = staging.directory(&RootPath::root()).map_err(Error::Tree)?;
    root.create_directory(ASIDE.as_bytes(), 0o700).map_err(Error::Tree)?;
    let aside = Staging::open(&staging.host_path().join(ASIDE)).map_err(Error::Tree)?;
    let (sender, arrivals) = mpsc::channel();
    for index in 0..debs.len() {
        sender.send(index).expect("the receiver is on the line above");
    }
    drop(sender);
    let stop = AtomicBool::new(false);
    let preparations =
        Preparations { debs, first: &[], early: &[], filters: &options.filters, aside: &aside, stop: &stop, progress };
    let mut prepared = thread::scope(|scope| {
        let mut prepared = preparations.begin(scope, arrivals, options.jobs)?;
        prepared.wait_for_all()?;
        Ok::<_, Error>(prepared)
    })?;
    let mut placement = begin(staging, &aside, options)?;
    placement.place(prepared.take(0..debs.len()))?;
    root.remove(ASIDE.as_bytes()).map_err(Error::Tree)?;
    Ok(placement.into_unpacked())
}

/// Where files lie before they are placed, if there is no better place.
const ASIDE: &str = ".fam-build-unpack";

/// Makes of an empty directory the tree that packages are placed into. `aside`, where they are
/// prepared, is on the same file system.
///
/// # Errors
/// [`Error`]
pub fn begin<'a>(staging: &'a Staging, aside: &'a Staging, options: &'a UnpackOptions) -> Result<Placement<'a>, Error> {
    let mut made = BTreeSet::from([RootPath::root()]);
    if options.merged_usr {
        made.extend(merge_usr(staging, &options.architecture).map_err(Error::Tree)?);
    }
    Ok(Placement::new(staging, aside, &options.architecture, made))
}

/// Makes the links of a merged /usr before anything is unpacked, so that a package's `/bin` leads
/// to `/usr/bin` from the start. base-files brings the same links since trixie; before, usrmerge or
/// debootstrap made them. Gives what it made.
fn merge_usr(staging: &Staging, architecture: &str) -> Result<Vec<RootPath>, staging::Error> {
    let root = staging.directory(&RootPath::root())?;
    root.create_directory(b"usr", 0o755)?;
    let usr = root.open_directory(b"usr")?;
    let mut made = vec![RootPath::new("usr").unwrap_or_default()];
    // Those whose programs name a dynamic loader in /lib64.
    let lib64 = matches!(architecture, "amd64" | "loong64" | "mips64el" | "ppc64" | "ppc64el" | "sparc64");
    for name in ["bin", "lib", "sbin"].into_iter().chain(lib64.then_some("lib64")) {
        usr.create_directory(name.as_bytes(), 0o755)?;
        match root.symlink(name.as_bytes(), format!("usr/{name}").as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        made.extend([name.to_owned(), format!("usr/{name}")].map(|path| RootPath::new(path).unwrap_or_default()));
    }
    Ok(made)
}

#[cfg(test)]
mod tests;
