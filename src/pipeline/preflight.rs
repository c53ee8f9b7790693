//! Everything that can be found wrong before the first byte is fetched.

use std::path::Path;

use fam_archive::client;
use fam_archive::credentials::Logins;
use fam_archive::http::Http;
use fam_archive::lock::Lock;
use fam_host::regular;
use fam_host::space::require_space;
use fam_isolation::supervisor::{Isolation, OutputLock};
use fam_tree::{RootPath, tarball};

use super::Error;
use super::answers::answers;
use super::further_archives::further_archives;
use super::job::Job;
use super::packages::Selection;
use super::{volume_sources, volumes};
use crate::fabric::Seed;
use crate::recipe::Settings;

const SEED: &str = "fabric.seed";
/// The bytes that even the smallest build takes.
pub const LEAST_BYTES: u64 = 256 << 20;
/// How many times as large a compressed root tarball becomes when it is unpacked, at the least: by
/// gzip, the weakest compression.
const COMPRESSION: u64 = 2;

/// A build that passed its checks: the job, its isolation from the host, and the lock of its output
/// directory.
#[derive(Debug)]
pub struct Preflight {
    pub(super) job: Job,
    pub(super) isolation: Isolation,
    pub(super) lock: OutputLock,
}

impl Preflight {
    /// Checks what `settings` ask for. Makes the output directory, and a seed in it, where there is
    /// none yet.
    ///
    /// # Errors
    /// [`Error`] with whatever would keep the build from succeeding, as far as that shows without
    /// the network.
    pub fn check(settings: &Settings) -> Result<Self, Error> {
        let logins = logins(settings)?;
        let plugins = super::plugins::plan(settings, &logins)?;
        volumes::check(settings)?;
        let copied_bytes = plugins.copied_files().bytes();
        if settings.from_tarball.is_none() {
            check_disk_of(settings, copied_bytes)?;
        }
        let answers = answers(settings)?;
        let local = super::local::packages(settings)?;
        for keyring in &settings.keyrings.value {
            fam_archive::keyring::Keyring::debian()?.add_file(keyring)?;
        }
        further_archives(settings)?;
        let isolation = match &settings.from_tarball.value {
            Some(tarball) => {
                regular::open(tarball)
                    .map_err(|error| Error::Named { flag: "--from-tarball", source: error.into() })?;
                // Without scripts to run, no namespaces are needed.
                Isolation::none()
            }
            None => {
                check_client(settings, &logins)?;
                Isolation::detect()?
            }
        };
        let lock = OutputLock::acquire(&settings.output, &isolation)?;
        let output = lock.directory().clone();
        match &settings.from_tarball.value {
            Some(tarball) => require_room_for_images(output.path(), tarball, settings)?,
            None => require_room_for_files(output.path(), settings, copied_bytes)?,
        }
        let seed = match &settings.seed.value {
            Some(path) => Seed::read(path)?,
            None => Seed::read_or_create(&output.path().join(SEED))?,
        };
        let job = Job {
            settings: settings.clone(),
            output,
            seed: *seed.bytes(),
            plugins: plugins.into_planned(),
            local,
            logins,
            answers,
        };
        Ok(Self { job, isolation, lock })
    }
}

/// Checks the files of certificates and the URLs of proxies, as far as the HTTP client does when it
/// is made.
pub(super) fn check_client(settings: &Settings, logins: &Logins) -> Result<(), Error> {
    Http::new(super::http_options(settings, logins)).map_err(client::Error::from)?;
    Ok(())
}

/// The seed that a build would take; `None` where the build would first make one.
///
/// # Errors
/// There is one that cannot be read.
pub fn present_seed(settings: &Settings) -> Result<Option<Seed>, Error> {
    let own = settings.output.join(SEED);
    match &settings.seed.value {
        Some(path) => Ok(Some(Seed::read(path)?)),
        None if own.exists() => Ok(Some(Seed::read(&own)?)),
        None => Ok(None),
    }
}

/// The logins of a run, also those of an old lock that it takes.
pub(super) fn logins(settings: &Settings) -> Result<Logins, Error> {
    let lock = settings.locked.as_deref().map(read_lock).transpose()?;
    Ok(super::logins::logins(settings, lock.as_ref()))
}

/// Reads the lock that `--locked` names.
pub(super) fn read_lock(path: &Path) -> Result<Lock, Error> {
    let text = fs_err::read_to_string(path).map_err(|source| Error::Named { flag: "--locked", source })?;
    Lock::parse(&text).map_err(|source| Error::Lock { path: path.to_owned(), source })
}

/// Checks, now that the packages are known, that the disk can hold them at all. What their maintainers
/// say they take is the least: ext4 counts in larger units than they do, and plugins add files, of which
/// `copied_bytes` are known.
pub(super) fn check_disk(settings: &Settings, selection: &Selection, copied_bytes: u64) -> Result<(), Error> {
    // Rules for paths leave out what no maintainer has counted.
    let packages = if settings.recipe.paths.is_empty() { selection.installed_bytes() } else { 0 };
    check_disk_of(settings, packages.saturating_add(copied_bytes))
}

/// Checks that files of `needed_bytes` fit the disk of the recipe.
fn check_disk_of(settings: &Settings, needed_bytes: u64) -> Result<(), Error> {
    let available_bytes =
        volumes::layout(settings)?.root.len.saturating_add(volumes::mounted_bytes(&settings.recipe.disk));
    if needed_bytes > available_bytes {
        return Err(fam_image::Error::TooSmall { needed_bytes, available_bytes }.into());
    }
    Ok(())
}

/// Checks, now that the packages are known, that what the build writes has room: the tarball, the
/// raw image, and the compressed image of each node, in addition to earlier artifacts of the same
/// names, which are replaced only at the end. Plugins copy `copied_bytes` into the system.
pub(super) fn check_space(job: &Job, selection: &Selection, copied_bytes: u64) -> Result<(), Error> {
    let remark = remark_on_files(copied_bytes);
    require_room(job, &remark, selection.installed_bytes().saturating_add(copied_bytes))?;
    require_space(&job.settings.cache_dir, "the cache of packages", selection.download_bytes() + (64 << 20))?;
    Ok(())
}

/// Checks, now that the root file system is there, that what the build writes has room: the `bytes` of its files,
/// the `largest` of them among them. Scripts and
/// plugins can make any file, of any length: a file with holes took nothing until now.
pub(super) fn check_room(job: &Job, bytes: u64, largest: Option<(&RootPath, u64)>) -> Result<(), Error> {
    let largest = largest.map_or_else(String::new, |(path, bytes)| {
        format!(", where the largest file of the system is {path} with {} MiB,", bytes >> 20)
    });
    require_room(job, &largest, bytes)
}

/// Checks that what a build writes of a system with `content` bytes of files has room. `remark`
/// goes into the error.
fn require_room(job: &Job, remark: &str, content: u64) -> Result<(), Error> {
    let what = format!("{}{remark}", what_is_written(&job.settings));
    let content = content.saturating_add(volume_sources::survey(&job.settings.recipe.disk)?);
    Ok(require_space(job.output.path(), &what, bytes_written(&job.settings, content))?)
}

fn what_is_written(settings: &Settings) -> String {
    format!("the build (tarball, raw image, {} nodes)", settings.recipe.nodes.count.get())
}

/// What an error about room says of the files beside the recipe that are copied into the system.
fn remark_on_files(copied_bytes: u64) -> String {
    match copied_bytes >> 20 {
        0 => String::new(),
        mebibytes => format!(", with {mebibytes} MiB of files beside the recipe,"),
    }
}

/// Checks, before packages are known, that `output` has room for what even the smallest build
/// writes, with the files that plugins copy.
fn require_room_for_files(output: &Path, settings: &Settings, copied_bytes: u64) -> Result<(), Error> {
    if copied_bytes == 0 {
        return Ok(require_space(output, "a build", LEAST_BYTES)?);
    }
    let what = what_is_written(settings) + &remark_on_files(copied_bytes);
    Ok(require_space(output, &what, bytes_written(settings, copied_bytes))?)
}

/// About the bytes that a build writes of packages that take `installed` bytes when they are
/// installed.
#[must_use]
pub fn bytes_written(settings: &Settings, installed: u64) -> u64 {
    installed.saturating_add(image_bytes(settings, installed)).saturating_add(LEAST_BYTES)
}

/// About the bytes of the raw image and of the nodes' images, with `content` bytes of files in
/// each. zstd makes them half as large at the worst that systems of Debian come to.
fn image_bytes(settings: &Settings, content: u64) -> u64 {
    // An overlay holds only what is a node's own.
    let node = if settings.thin.value { 16 << 20 } else { content / 2 };
    let backing = content / 2 * u64::from(settings.thin.value);
    let nodes = node.saturating_mul(u64::from(settings.recipe.nodes.count.get()));
    content.saturating_add(backing).saturating_add(nodes)
}

/// Checks that images of `tarball` have room in `output`, and a copy of it where it is compressed.
///
/// # Errors
/// [`Error`] where there is too little, or the tarball cannot be read.
pub fn require_room_for_images(output: &Path, tarball: &Path, settings: &Settings) -> Result<(), Error> {
    let unreadable = |source| Error::Named { flag: "--from-tarball", source };
    let bytes = fs_err::metadata(tarball).map_err(unreadable)?.len();
    let is_compressed = tarball::is_compressed(tarball).map_err(unreadable)?;
    let content = if is_compressed { bytes.saturating_mul(COMPRESSION) } else { bytes };
    let copy = content * u64::from(is_compressed);
    let content = content.saturating_add(volume_sources::survey(&settings.recipe.disk)?);
    let nodes = settings.recipe.nodes.count.value;
    let what = format!("the build ({}raw image, {nodes} nodes)", if is_compressed { "unpacked tarball, " } else { "" });
    require_space(output, &what, copy.saturating_add(image_bytes(settings, content)).saturating_add(LEAST_BYTES))?;
    Ok(())
}
