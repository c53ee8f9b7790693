//! Opens Debian archives: fetches and verifies their Release files, reads their package indexes,
//! and fetches their files.
//!
//! Every byte that is returned is authenticated: a key signs the Release file, which has the
//! digests of the indexes, which have those of the packages.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use fam_host::parallel::parallel;
use fam_progress::{Hint, Progress};
use jiff::Timestamp;

use super::cache::{self, Cache, read_verified};
use super::digest::hex;
use super::fetch::{self, Download, Fetcher};
use super::http::{self, Http, HttpOptions, shown};
use super::index::{self, decompress};
use super::keyring::{self, Keyring};
use super::release::{self, IndexFile, Release};
use super::signature::{self, MAX_SIGNED_BYTES, Verified, verify_detached, verify_inline};
use super::sources::Source;

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// How to make requests, and through which proxy.
    pub http: HttpOptions,
    /// Files with keys that are trusted besides Debian's.
    pub keyrings: Vec<PathBuf>,
    /// Where the cache is.
    pub cache_dir: PathBuf,
    /// How many files are fetched at the same time.
    pub jobs: usize,
    /// Whether Release files are accepted that have expired, are older than one seen before, or are
    /// signed by a key that has expired since. Each is warned of.
    pub accept_expired: bool,
    /// The time by which dates are judged.
    pub now: Timestamp,
}

impl ClientOptions {
    /// The defaults, with the cache in `cache_dir`.
    #[must_use]
    pub fn new(cache_dir: PathBuf) -> Self {
        let (http, keyrings) = (HttpOptions::default(), Vec::new());
        Self { http, keyrings, cache_dir, jobs: 8, accept_expired: false, now: Timestamp::now() }
    }
}

/// Why an archive could not be opened, or a file of it not be fetched.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A keyring cannot be used.
    #[error("{0}")]
    Keyring(#[from] keyring::Error),
    /// The cache cannot be used.
    #[error("{0}")]
    Cache(#[from] cache::Error),
    /// The mirror, or something on the way to it, failed.
    #[error("{0}")]
    Http(#[from] http::Error),
    /// The mirror does not have the suite.
    #[error("the mirror {mirror} has no suite {suite}: neither InRelease nor Release is there")]
    NoSuite { mirror: String, suite: String },
    /// The Release file has no signature.
    #[error("suite {suite} of {mirror} is not signed: Release is there, but no Release.gpg")]
    Unsigned { mirror: String, suite: String },
    /// The signatures of a Release file do not count.
    #[error("signature of suite {suite} of {mirror}: {source}")]
    Signature {
        mirror: String,
        suite: String,
        /// Why they do not.
        source: signature::Error,
    },
    /// A Release file cannot be used.
    #[error("the Release file of suite {suite} of {mirror}: {source}")]
    Release {
        mirror: String,
        suite: String,
        /// Why it cannot.
        source: release::Error,
    },
    /// An index is not what its Release file promises.
    #[error("suite {suite} of {mirror}: {source}")]
    Index {
        mirror: String,
        suite: String,
        /// What is wrong with it.
        source: index::Error,
    },
    /// A file could not be fetched.
    #[error("fetch {0}")]
    Fetch(#[from] fetch::Error),
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuite { suite, .. } if suite.ends_with("-security") => Some(
                "go on without security updates by --security-mirror none (in a recipe: security = false), or name an archive \
                 that has them with --security-mirror; a suite that is no longer supported loses its own"
                    .to_owned(),
            ),
            Self::NoSuite { suite, .. } if suite.ends_with("-updates") => {
                Some("for a suite without updates, write updates = false into the recipe; else check the mirror".to_owned())
            }
            Self::NoSuite { .. } => Some(
                "check the suite (trixie, bookworm, …) and the mirror (http://HOST/debian, the directory that has dists in it)"
                    .to_owned(),
            ),
            Self::Unsigned { .. } => Some("an archive must be signed; choose another mirror".to_owned()),
            _ => None,
        }
    }
}

/// The package index of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The component, as `main`.
    pub component: String,
    /// The stanzas of its packages, verified.
    pub text: String,
}

/// A key that vouches for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// Its fingerprint, in hexadecimal. It may be that of a subkey.
    pub fingerprint: String,
    /// The first user ID of the key, or of the one that the subkey belongs to.
    pub user_id: String,
}

impl fmt::Display for SignedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.fingerprint, self.user_id)
    }
}

/// A suite of an archive.
#[derive(Debug, Clone)]
pub struct OpenedSource {
    /// What was asked for.
    pub source: Source,
    /// Its Release file, verified.
    pub release: Release,
    /// The key that vouches for it.
    pub signed_by: SignedBy,
    /// An index for each component, in the order of the source.
    pub indexes: Vec<Index>,
}

/// A client of Debian archives.
#[derive(Debug)]
pub struct Client {
    http: Http,
    cache: Cache,
    keyring: Keyring,
    options: ClientOptions,
    progress: Progress,
}

impl Client {
    /// Makes a client: reads the keyrings and opens the cache, and asks nothing of the network.
    ///
    /// # Errors
    /// When a keyring, the cache or the proxy cannot be used.
    pub fn new(options: ClientOptions, progress: Progress) -> Result<Self, Error> {
        let mut keyring = Keyring::debian()?;
        for path in &options.keyrings {
            keyring.add_file(path)?;
        }
        let http = Http::new(options.http.clone())?;
        let cache = Cache::open(&options.cache_dir)?;
        Ok(Self { http, cache, keyring, options, progress })
    }

    /// The keys that vouch for sources that name none of their own.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Whether the server has `url`.
    ///
    /// # Errors
    /// When the server cannot be reached or fails.
    pub fn exists(&self, url: &str) -> Result<bool, http::Error> {
        self.http.exists(url)
    }

    /// Opens one source.
    ///
    /// # Errors
    /// As [`open_all`](Self::open_all).
    pub fn open(&self, source: &Source) -> Result<OpenedSource, Error> {
        Ok(self.open_all(std::slice::from_ref(source))?.remove(0))
    }

    /// Opens several sources at the same time; they come back in the same order.
    ///
    /// # Errors
    /// That of the first source that has one: when a Release file cannot be fetched, or its signature,
    /// suite or dates are not in order; when it lacks a component or the architecture; when an
    /// index cannot be fetched, or is not the one that it lists.
    pub fn open_all(&self, sources: &[Source]) -> Result<Vec<OpenedSource>, Error> {
        // All of them, whichever fails first: where the suite itself is missing, that is what must
        // be said, and not that its updates are.
        let stop = AtomicBool::new(false);
        let Ok(releases) =
            parallel(self.options.jobs, &stop, sources, |source| Ok::<_, Infallible>(self.release(source)));
        let releases = releases.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut files = Vec::new();
        for (number, (source, (release, _))) in sources.iter().zip(&releases).enumerate() {
            for component in &source.components {
                let file = release.package_index(component, &source.architecture);
                let file = file.map_err(|error| source.release_error(error))?;
                files.push((number, component, file));
            }
        }
        let wanted: Vec<_> =
            files.iter().map(|(number, _, file)| sources[*number].download(&releases[*number].0, file)).collect();
        let paths = self.fetcher().fetch_all(&wanted)?;
        let jobs: Vec<_> = files.into_iter().zip(paths).collect();
        // Fetching waits for the network; decompressing takes processors.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let indexes = parallel(threads, &stop, &jobs, |((number, component, file), path)| {
            let bytes = read_verified(path, file.listed.size, &file.listed.sha256)?;
            let text = decompress(file, bytes).map_err(|error| sources[*number].index_error(error))?;
            Ok::<_, Error>((*number, Index { component: (*component).clone(), text }))
        })?;
        let mut opened: Vec<_> = sources
            .iter()
            .zip(releases)
            .map(|(source, (release, signed_by))| OpenedSource {
                source: source.clone(),
                release,
                signed_by,
                indexes: Vec::new(),
            })
            .collect();
        for (number, index) in indexes {
            opened[number].indexes.push(index);
        }
        Ok(opened)
    }

    /// Brings files into the cache, and returns their paths in the same order. Those that are there
    /// already, and whole, are not fetched; the digest of every file was right when this returns.
    ///
    /// # Errors
    /// When one of them cannot be fetched; those that were fetched before stay in the cache, and a part
    /// of a file is continued the next time.
    pub fn fetch(&self, downloads: &[Download]) -> Result<Vec<PathBuf>, fetch::Error> {
        self.fetcher().fetch_all(downloads)
    }

    /// As [`fetch`](Self::fetch), and calls `arrived` with the index of each file as soon as it is
    /// at its [`path`](Self::path): first those that are needed `early`, then the largest. `stop`
    /// is shared with the work on files that are there: a failure here sets it, and when it is set
    /// this gives up soon.
    ///
    /// # Errors
    /// As there; [`fetch::Error::Stopped`] when `stop` was set elsewhere.
    pub fn fetch_each(
        &self,
        downloads: &[Download],
        early: &[usize],
        stop: &AtomicBool,
        arrived: &(dyn Fn(usize) + Sync),
    ) -> Result<(), fetch::Error> {
        self.fetcher().fetch(downloads, early, stop, arrived)
    }

    /// Where the cache has a file, or will have it.
    #[must_use]
    pub fn path(&self, download: &Download) -> PathBuf {
        self.cache.path(&download.sha256)
    }

    /// Whether the cache has a file, whole.
    #[must_use]
    pub fn is_cached(&self, download: &Download) -> bool {
        self.cache.lookup(&download.sha256, download.size).is_ok_and(|path| path.is_some())
    }

    fn fetcher(&self) -> Fetcher<'_> {
        Fetcher { http: &self.http, cache: &self.cache, jobs: self.options.jobs, progress: &self.progress }
    }

    /// The Release file of a source, and who signed it.
    fn release(&self, source: &Source) -> Result<(Release, SignedBy), Error> {
        let verified = self.signed_text(source)?;
        let release_error = |error| source.release_error(error);
        let release = Release::parse(&verified.text).map_err(release_error)?;
        release.check_suite(&source.suite).map_err(release_error)?;
        release.check_not_future(self.options.now).map_err(release_error)?;
        let now = source.snapshot.unwrap_or(self.options.now);
        let seen = match self.cache.newest_seen(source.mirror(), &source.suite) {
            Err(error @ cache::Error::Record { .. }) if self.options.accept_expired => {
                self.progress.warning(format!("{error}; begun anew, as was asked for"), None);
                None
            }
            seen => seen?,
        };
        let older =
            seen.filter(|&seen| release.date < seen).map(|seen| release::Error::Older { date: release.date, seen });
        for objection in [release.check_not_expired(now).err(), older].into_iter().flatten() {
            let error = source.release_error(objection);
            if !self.options.accept_expired {
                return Err(error);
            }
            self.progress.warning(format!("{error}; accepted, as was asked for"), None);
        }
        self.cache.remember(source.mirror(), &source.suite, release.date)?;
        let signed_by = SignedBy { fingerprint: verified.fingerprint, user_id: verified.user_id };
        self.progress.detail(format!(
            "suite {} of {}: dated {}, signed at {} by {signed_by}",
            source.suite,
            shown(source.mirror()),
            release.date,
            verified.signed_at
        ));
        Ok((release, signed_by))
    }

    fn signed_text(&self, source: &Source) -> Result<Verified, Error> {
        let (mirror, suite) = (shown(source.mirror()), source.suite.clone());
        let (keyring, now) = (source.keyring.as_deref().unwrap_or(&self.keyring), self.options.now);
        // InRelease first: a Release file and its signature may come from two states of the mirror.
        let verified = if let Some(inline) = self.http.get(&source.url("InRelease"), MAX_SIGNED_BYTES)? {
            verify_inline(&inline, keyring, now)
        } else {
            let Some(text) = self.http.get(&source.url("Release"), MAX_SIGNED_BYTES)? else {
                return Err(Error::NoSuite { mirror, suite });
            };
            let Some(signature) = self.http.get(&source.url("Release.gpg"), MAX_SIGNED_BYTES)? else {
                return Err(Error::Unsigned { mirror, suite });
            };
            verify_detached(&text, &signature, keyring, now)
        };
        let source = match verified {
            Ok(verified) => return Ok(verified),
            // A snapshot is not signed anew, and the key was in order when it signed.
            Err(signature::Error::KeyExpired { verified, .. }) if source.snapshot.is_some() => return Ok(*verified),
            Err(source) => source,
        };
        let reason = source.to_string();
        match source {
            signature::Error::KeyExpired { verified, .. } if self.options.accept_expired => {
                self.progress.warning(format!("suite {suite} of {mirror}: {reason}; accepted, as was asked for"), None);
                Ok(*verified)
            }
            source => Err(Error::Signature { mirror, suite, source }),
        }
    }
}

impl Source {
    /// Where a file of the suite is.
    fn url(&self, path: &str) -> String {
        format!("{}/dists/{}/{path}", self.mirror(), self.suite)
    }

    fn release_error(&self, source: release::Error) -> Error {
        Error::Release { mirror: shown(self.mirror()), suite: self.suite.clone(), source }
    }

    fn index_error(&self, source: index::Error) -> Error {
        Error::Index { mirror: shown(self.mirror()), suite: self.suite.clone(), source }
    }

    fn download(&self, release: &Release, file: &IndexFile) -> Download {
        let mut urls = vec![self.url(&file.path)];
        if release.acquire_by_hash
            && let Some((folder, _)) = file.path.rsplit_once('/')
        {
            urls.insert(0, self.url(&format!("{folder}/by-hash/SHA256/{}", hex(&file.listed.sha256))));
        }
        let name = format!("index {} of {}", file.path, self.suite);
        Download { name, urls, size: file.listed.size, sha256: file.listed.sha256 }
    }
}

#[cfg(test)]
mod tests;
