//! Unpacks packages into the staging tree, all cores at work, and writes dpkg's database of them.
//!
//! What dpkg would do one package after another is done for all at once, with the same result and whatever the threads'
//! timing: who owns a name is decided from the packages' metadata ([`claims`]), links come last ([`links`]), attributes of
//! directories after them. Conffiles are unpacked as `.dpkg-new`, as dpkg does until a package is configured.
//! Maintainer scripts are the business of the configuration, and so are diversions, which preinst scripts make.

mod claims;
mod error;
mod extract;
mod links;

pub use error::UnpackError;

use std::io::{self, Read, Seek, SeekFrom};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use sha2::{Digest, Sha256};

use crate::archive::deb::Deb;
use crate::progress::{Progress, Running, Task};
use crate::regular;
use crate::rootfs::dpkg::{self, Package, Record};
use crate::rootfs::staging::{FileType, Staging, StagingError};
use crate::tree::RootPath;
use claims::{Claim, Claimed, Claims, Index, Key};
use extract::{Extracted, Extraction};

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
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// How to unpack.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// The architecture of the new system.
    pub architecture: String,
    /// Whether `/bin`, `/lib`, `/sbin` lead into `/usr`, as in every release since bookworm.
    pub merged_usr: bool,
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

/// Unpacks `debs` into `staging`, which should hold nothing yet that belongs to a package, and writes dpkg's database.
/// Each file's SHA-256 is verified on the descriptor that is then read. Gives the packages in the order of `debs`; where
/// several hold the same directory, the first of them sets its attributes.
///
/// # Errors
/// [`UnpackError`]. The staging tree is of no use then.
pub fn unpack(
    debs: &[DebFile],
    staging: &Staging,
    options: &UnpackOptions,
    progress: &Progress,
) -> Result<Vec<Unpacked>, UnpackError> {
    // The largest first, so that none of them is left for the end.
    let mut order: Vec<Index> = (0..debs.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(debs[index].size));
    let (sender, arrivals) = mpsc::channel();
    for index in order {
        sender.send(index).expect("the receiver is on the line above");
    }
    drop(sender);
    unpack_arriving(debs, arrivals, &AtomicBool::new(false), staging, options, progress)
}

/// As [`unpack`], where the files are still being fetched: each is unpacked when its index in `debs` comes, until no more
/// can come. `stop` is shared with whoever fetches: a failure here sets it, and when it is set this gives up soon.
///
/// # Errors
/// As there; [`UnpackError::Stopped`] when somebody else set `stop`, or not all files came.
pub fn unpack_arriving(
    debs: &[DebFile],
    arrivals: Receiver<usize>,
    stop: &AtomicBool,
    staging: &Staging,
    options: &UnpackOptions,
    progress: &Progress,
) -> Result<Vec<Unpacked>, UnpackError> {
    let unpacked = unpack_all(debs, arrivals, stop, staging, options, progress);
    if unpacked.is_err() {
        stop.store(true, Ordering::Relaxed);
    }
    unpacked
}

fn unpack_all(
    debs: &[DebFile],
    arrivals: Receiver<usize>,
    stop: &AtomicBool,
    staging: &Staging,
    options: &UnpackOptions,
    progress: &Progress,
) -> Result<Vec<Unpacked>, UnpackError> {
    let mut names: Vec<&str> = debs.iter().map(|deb| deb.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(UnpackError::Twice(twice[0].to_owned()));
    }
    if options.merged_usr {
        merge_usr(staging, &options.architecture).map_err(UnpackError::Tree)?;
    }
    let packages: Vec<OnceLock<Package>> = debs.iter().map(|_| OnceLock::new()).collect();
    let claims = Claims::new(&packages);
    let extraction = Extractions { debs, packages: &packages, claims: &claims, staging, stop, progress };
    let extracted = extraction.run(arrivals, options.jobs)?;

    for (index, (deb, package)) in debs.iter().zip(&extracted).enumerate() {
        for link in &package.links {
            link.make(staging, &claims, index).map_err(|error| deb.staging_error(error))?;
        }
    }
    let files: Vec<Vec<RootPath>> = extracted
        .iter()
        .enumerate()
        .map(|(index, package)| package.files.iter().filter(|path| !claims.was_taken(index, path)).cloned().collect())
        .collect();
    let claimed: Vec<(Key, Claim)> = claims.into_all().collect();
    let packages: Vec<Package> = packages.into_iter().filter_map(OnceLock::into_inner).collect();
    let records: Vec<Record<'_>> = packages
        .iter()
        .zip(&files)
        .zip(&extracted)
        .map(|((package, files), extracted)| Record { package, files, md5sums: extracted.md5sums.as_deref() })
        .collect();
    dpkg::write_database(staging, &options.architecture, &records)?;
    set_directory_attributes(claimed, staging).map_err(UnpackError::Tree)?;
    Ok(packages.into_iter().zip(files).map(|(package, files)| Unpacked { package, files }).collect())
}

/// Makes the links of a merged /usr before anything is unpacked, so that a package's `/bin` leads to `/usr/bin` from the
/// start. base-files brings the same links since trixie; before, usrmerge or debootstrap made them.
fn merge_usr(staging: &Staging, architecture: &str) -> Result<(), StagingError> {
    let root = staging.directory(&RootPath::root())?;
    root.create_directory(b"usr", 0o755)?;
    let usr = root.open_directory(b"usr")?;
    let lib64 = matches!(architecture, "amd64" | "loong64" | "mips64el" | "ppc64" | "ppc64el" | "sparc64");
    for name in ["bin", "lib", "sbin"].into_iter().chain(lib64.then_some("lib64")) {
        usr.create_directory(name.as_bytes(), 0o755)?;
        match root.symlink(name.as_bytes(), format!("usr/{name}").as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

/// The unpacking of all packages by several threads.
struct Extractions<'a> {
    debs: &'a [DebFile],
    /// Filled as the packages' control archives are read.
    packages: &'a [OnceLock<Package>],
    claims: &'a Claims<'a>,
    staging: &'a Staging,
    stop: &'a AtomicBool,
    progress: &'a Progress,
}

impl Extractions<'_> {
    /// Unpacks what arrives on as many threads as are asked for.
    fn run(&self, arrivals: Receiver<Index>, jobs: Option<NonZero<usize>>) -> Result<Vec<Extracted>, UnpackError> {
        let jobs = jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
        let running = self.progress.task(Task::Unpack, self.debs.iter().map(|deb| deb.size).sum());
        let results: Mutex<Vec<(Index, Result<Extracted, UnpackError>)>> = Mutex::default();
        // One thread waits for the next package, the others for their turn to wait.
        let arrivals = Mutex::new(arrivals);
        let next = || arrivals.lock().unwrap_or_else(PoisonError::into_inner).recv();
        thread::scope(|scope| {
            for _ in 0..jobs.min(self.debs.len()) {
                scope.spawn(|| {
                    while let Ok(index) = next()
                        && !self.stopped()
                    {
                        let result = self.extract(index, &running);
                        let deb = &self.debs[index];
                        match &result {
                            Ok(_) => self.progress.detail(format!("unpacked {} {}", deb.name, deb.version)),
                            Err(_) => self.stop.store(true, Ordering::Relaxed),
                        }
                        results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(index, result)| (matches!(result, Err(UnpackError::Stopped)), *index));
        let extracted: Vec<Extracted> = results.into_iter().map(|(_, result)| result).collect::<Result<_, _>>()?;
        if extracted.len() == self.debs.len() { Ok(extracted) } else { Err(UnpackError::Stopped) }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn extract(&self, index: Index, running: &Running) -> Result<Extracted, UnpackError> {
        let deb = &self.debs[index];
        let read_error = |source| UnpackError::Read { package: deb.name.clone(), source };
        let mut file = regular::open(&deb.path).map_err(|error| read_error(error.into()))?;
        verify(deb, &mut file)?;
        let mut metered = Metered { inner: file, running, left: deb.size };
        let mut archive = Deb::open(&mut metered).map_err(|source| deb.error(source))?;
        let control = archive.control().map_err(|source| deb.error(source))?;
        let package =
            Package::new(control).map_err(|source| UnpackError::Control { package: deb.name.clone(), source })?;
        for (expected, found) in
            [(&deb.name, &package.name), (&deb.version, &package.version), (&deb.architecture, &package.architecture)]
        {
            if expected != found {
                return Err(UnpackError::Identity {
                    path: deb.path.clone(),
                    expected: format!("{} {} {}", deb.name, deb.version, deb.architecture),
                    found: format!("{} {} {}", package.name, package.version, package.architecture),
                });
            }
        }
        let package = self.packages[index].get_or_init(|| package);
        let extraction = Extraction::new(self.staging, self.claims, deb, package, index);
        let extracted = extraction.run(&mut archive, || !self.stopped())?;
        metered.finish();
        Ok(extracted)
    }
}

/// Hashes the whole file and rewinds it, so that what is unpacked is read from the very descriptor that was verified.
fn verify(deb: &DebFile, file: &mut fs_err::File) -> Result<(), UnpackError> {
    let mut hasher = Sha256::new();
    let read_error = |source| UnpackError::Read { package: deb.name.clone(), source };
    let size =
        io::copy(&mut io::Read::take(&mut *file, deb.size.saturating_add(1)), &mut hasher).map_err(read_error)?;
    let found: [u8; 32] = hasher.finalize().into();
    if size != deb.size || found != deb.sha256 {
        return Err(UnpackError::Damaged { package: deb.name.clone(), path: deb.path.clone() });
    }
    file.rewind().map_err(read_error)
}

/// Sets what each directory's owner wants, now that nothing is made in any of them any more.
fn set_directory_attributes(claimed: Vec<(Key, Claim)>, staging: &Staging) -> Result<(), StagingError> {
    for ((_, name), claim) in claimed {
        let Claimed::Directory(attributes, xattrs) = claim.what else { continue };
        if name.is_empty() {
            staging.directory(&RootPath::root())?.set_own_attributes(&attributes, &xattrs)?;
            continue;
        }
        // A symbolic link that is meant as a directory keeps what it has.
        let parent = staging.parent(&claim.path)?;
        if parent.metadata(&name)?.file_type == FileType::Directory {
            parent.set_attributes(&name, &attributes, &xattrs)?;
        }
    }
    Ok(())
}

/// Reports how much of a file has been read. It is read about once after the verification.
struct Metered<'a, R> {
    inner: R,
    running: &'a Running,
    left: u64,
}

impl<R> Metered<'_, R> {
    fn advance(&mut self, amount: u64) {
        let amount = amount.min(self.left);
        self.left -= amount;
        self.running.advance(amount);
    }

    /// Counts what nobody had to read.
    fn finish(mut self) {
        self.advance(self.left);
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.advance(count as u64);
        Ok(count)
    }
}

impl<R: Seek> Seek for Metered<'_, R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

#[cfg(test)]
mod tests;
