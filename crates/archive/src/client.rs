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

use super::cache::Cache;
use super::fetch::{self, Download, Fetcher};
use super::http::{self, Http, HttpOptions, shown};
use super::index;
use super::keyring::Keyring;
use super::release::{self, IndexFile, Release};
use super::sources::Source;

mod error;
mod fetched;
mod signed;

pub use error::Error;
use fetched::FetchedIndex;
pub use fetched::FetchedSources;

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

    /// The cache that it fetches into.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
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
        self.read(self.fetch_indexes(sources)?)
    }

    /// As [`open_all`](Self::open_all), but leaves the indexes unread in the cache.
    ///
    /// # Errors
    /// As there, but for what is found when an index is read.
    pub fn fetch_indexes(&self, sources: &[Source]) -> Result<FetchedSources, Error> {
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
        let indexes = wanted.into_iter().zip(chosen).map(|(mut wanted, form)| FetchedIndex {
            source: wanted.number,
            component: wanted.component.unwrap_or_default().to_owned(),
            form: wanted.forms.swap_remove(form),
        });
        let indexes = indexes.collect();
        let opened = sources.iter().zip(releases).map(|(source, (release, signed_by))| OpenedSource {
            source: source.clone(),
            release,
            signed_by,
            indexes: Vec::new(),
        });
        Ok(FetchedSources { sources: opened.collect(), indexes })
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
#[cfg(test)]
mod unchanged_tests;
