//! Everything that can be found wrong before the first byte is fetched.

use std::path::Path;

use super::Error;
use super::job::Job;
use super::packages::Selection;
use crate::archive::lock::Lock;
use crate::fabric::Seed;
use crate::recipe::Settings;
use crate::supervisor::{Isolation, OutputLock, require_space};

const SEED: &str = "fabric.seed";
/// What a build takes at the least, whatever it is a build of.
const LEAST_BYTES: u64 = 256 << 20;

/// A build that may begin: the job, the means to keep it apart from the host, and the right to its output directory.
#[derive(Debug)]
pub struct Preflight {
    pub(super) job: Job,
    pub(super) isolation: Isolation,
    pub(super) lock: OutputLock,
}

impl Preflight {
    /// Checks what `settings` ask for. Makes the output directory, and a seed in it, where there is none yet.
    ///
    /// # Errors
    /// [`Error`] with whatever would keep the build from succeeding, as far as that shows without the network.
    pub fn check(settings: &Settings) -> Result<Self, Error> {
        super::plugins::customization(settings)?;
        for keyring in &settings.keyrings {
            crate::archive::keyring::Keyring::debian()?.add_file(keyring)?;
        }
        if let Some(path) = &settings.locked {
            read_lock(path)?;
        }
        let isolation = match &settings.from_tarball {
            Some(tarball) => {
                fs_err::File::open(tarball).map_err(|source| Error::Named { flag: "--from-tarball", source })?;
                Isolation::none()
            }
            None => Isolation::detect()?,
        };
        let lock = OutputLock::acquire(&settings.output, &isolation)?;
        let output = lock.directory().clone();
        require_space(output.path(), "a build", LEAST_BYTES)?;
        let seed = match &settings.seed {
            Some(path) => Seed::read(path)?,
            None => Seed::read_or_create(&output.path().join(SEED))?,
        };
        let job = Job::new(settings.clone(), output, *seed.bytes());
        Ok(Self { job, isolation, lock })
    }
}

/// The seed that a build would take, where it is there already.
pub(super) fn present_seed(settings: &Settings) -> Result<Option<Seed>, Error> {
    let own = settings.output.join(SEED);
    match &settings.seed {
        Some(path) => Ok(Some(Seed::read(path)?)),
        None if own.exists() => Ok(Some(Seed::read(&own)?)),
        None => Ok(None),
    }
}

/// Reads the lock that `--locked` names.
pub(super) fn read_lock(path: &Path) -> Result<Lock, Error> {
    let text = fs_err::read_to_string(path).map_err(|source| Error::Named { flag: "--locked", source })?;
    Lock::parse(&text).map_err(|source| Error::Lock { path: path.to_owned(), source })
}

/// Checks, now that the packages are known, that what the build writes has room: the tarball, the raw image, and the
/// compressed image of each node, beside what earlier artifacts of the same names will give back only at the end.
pub(super) fn check_space(job: &Job, selection: &Selection) -> Result<(), Error> {
    let installed = selection.installed_bytes();
    let node = if job.settings.thin { 16 << 20 } else { installed / 2 };
    let images = installed / 2 * u64::from(job.settings.thin) + node * job.nodes.len() as u64;
    let what = format!("the build (tarball, raw image, {} nodes)", job.nodes.len());
    require_space(job.output.path(), &what, 2 * installed + images + LEAST_BYTES)?;
    require_space(&job.settings.cache_dir, "the cache of packages", selection.download_bytes() + (64 << 20))?;
    Ok(())
}
