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
use fam_progress::Progress;
use jiff::Timestamp;

use super::cache::{self, Cache, read_verified};
use super::fetch::{self, Download, Fetcher};
use super::http::{self, Http, HttpOptions, shown};
use super::index::{self, decompress};
use super::keyring::Keyring;
use super::release::{self, IndexFile, Listed, Release};
use super::signature::{self, MAX_SIGNED_BYTES, Verified, verify_detached, verify_inline};
use super::sources::Source;

mod error;

pub use error::Error;

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

/// The package index of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The component, as `main`; empty in a flat archive.
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

/// An index that is to be read, in any of its forms.
struct Wanted<'a> {
    /// The number of its source.
    number: usize,
    component: Option<&'a str>,
    forms: Vec<IndexFile>,
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
    /// The indexes of each component, in the order of the source: most have one, some have another for
    /// packages of `all`. A component that this suite lacks has none.
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
    /// suite or dates are not in order; when no suite has a component for the architecture; when an
    /// index cannot be fetched in any form, or is not the one that it lists.
    pub fn open_all(&self, sources: &[Source]) -> Result<Vec<OpenedSource>, Error> {
        // All of them, whichever fails first: where the suite itself is missing, that is what must
        // be said, and not that its updates are.
        let stop = AtomicBool::new(false);
        let Ok(releases) =
            parallel(self.options.jobs, &stop, sources, |source| Ok::<_, Infallible>(self.release(source)));
        let releases = releases.into_iter().collect::<Result<Vec<_>, _>>()?;
        let wanted = self.wanted_indexes(sources, &releases)?;
        let downloads: Vec<Vec<_>> = wanted
            .iter()
            .map(|Wanted { number, forms, .. }| {
                forms.iter().map(|form| sources[*number].download(&releases[*number].0, form)).collect()
            })
            .collect();
        let chosen = self.fetcher().fetch_forms(&downloads)?;
        let jobs: Vec<_> = wanted.iter().zip(chosen).map(|(wanted, form)| (wanted, &wanted.forms[form])).collect();
        // Fetching waits for the network; decompressing takes processors.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let indexes = parallel(threads, &stop, &jobs, |&(wanted, form)| {
            let Listed { size, digest } = &form.listed;
            let bytes = read_verified(&self.cache.path(digest), *size, digest)?;
            let text = decompress(form, bytes).map_err(|error| sources[wanted.number].index_error(error))?;
            let component = wanted.component.unwrap_or_default().to_owned();
            Ok::<_, Error>((wanted.number, Index { component, text }))
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

    /// The indexes of all components. A component that one suite lacks and another one has is warned
    /// of; one that none has was not meant.
    fn wanted_indexes<'a>(
        &self,
        sources: &'a [Source],
        releases: &[(Release, SignedBy)],
    ) -> Result<Vec<Wanted<'a>>, Error> {
        let (mut wanted, mut lacking) = (Vec::new(), Vec::new());
        for (number, (source, (release, _))) in sources.iter().zip(releases).enumerate() {
            for component in source.components() {
                match release.package_indexes(component, &source.architecture) {
                    Ok(indexes) => {
                        wanted.extend(indexes.into_iter().map(|forms| Wanted { number, component, forms }));
                    }
                    Err(error) => lacking.push((component, source.release_error(error))),
                }
            }
        }
        for (component, error) in lacking {
            if component.is_none() || !wanted.iter().any(|index: &Wanted<'_>| index.component == component) {
                return Err(error);
            }
            self.progress.warning(format!("{error}; other suites have it"), None);
        }
        Ok(wanted)
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
        self.cache.path(&download.digest)
    }

    /// Whether the cache has a file, whole.
    #[must_use]
    pub fn is_cached(&self, download: &Download) -> bool {
        self.cache.lookup(&download.digest, download.size).is_ok_and(|path| path.is_some())
    }

    fn fetcher(&self) -> Fetcher<'_> {
        Fetcher { http: &self.http, cache: &self.cache, jobs: self.options.jobs, progress: &self.progress }
    }

    /// The Release file of a source, and who signed it.
    fn release(&self, source: &Source) -> Result<(Release, SignedBy), Error> {
        let verified = self.signed_text(source)?;
        let release_error = |error| source.release_error(error);
        let release = Release::parse(&verified.text, verified.signed_at).map_err(release_error)?;
        release.check_suite(&source.suite).map_err(release_error)?;
        self.warn_of_oddities(source, &release);
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

    fn warn_of_oddities(&self, source: &Source, release: &Release) {
        let mut oddities = release.oddities.clone();
        if !release.has_name() && !source.is_flat() {
            oddities.push("it has neither Suite nor Codename, so nothing says that it is for this suite".to_owned());
        }
        for oddity in oddities {
            let (mirror, suite) = (shown(source.mirror()), &source.suite);
            let message = format!("the Release file of suite {suite} of {mirror}: {oddity}");
            self.progress.warning(message, Some("it is signed, and was taken; tell those who run the archive".into()));
        }
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
        let folder = match self.suite.strip_suffix('/') {
            Some(folder) => folder.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/"),
            None => format!("dists/{}", self.suite),
        };
        let separator = if folder.is_empty() { "" } else { "/" };
        format!("{}{separator}{folder}/{path}", self.mirror())
    }

    /// The components to read; `None` is the whole of a flat archive.
    fn components(&self) -> Vec<Option<&str>> {
        if self.is_flat() { vec![None] } else { self.components.iter().map(|name| Some(name.as_str())).collect() }
    }

    fn release_error(&self, source: release::Error) -> Error {
        Error::Release { mirror: shown(self.mirror()), suite: self.suite.clone(), source }
    }

    fn index_error(&self, source: index::Error) -> Error {
        Error::Index { mirror: shown(self.mirror()), suite: self.suite.clone(), source }
    }

    fn download(&self, release: &Release, file: &IndexFile) -> Download {
        let mut urls = vec![self.url(&file.path)];
        if release.acquire_by_hash {
            let folder = file.path.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
            let digest = &file.listed.digest;
            urls.insert(0, self.url(&format!("{folder}by-hash/{}/{digest}", digest.algorithm().field())));
        }
        let name = format!("index {} of {}", file.path, self.suite);
        Download { name, urls, size: file.listed.size, digest: file.listed.digest }
    }
}

#[cfg(test)]
mod tests;
