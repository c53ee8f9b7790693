//! Fetches files into the cache: in parallel, those that are needed early and the largest first.
//! What was cut off is continued, and a file gets its name only when it is whole.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use fam_host::parallel::parallel;
use fam_progress::{Hint, Progress, Task, TaskHandle};

use super::cache::{self, Cache, Claim, Part};
use super::digest::{Algorithm, Digest};
use super::file_url;
use super::http::{self, Http, RetryState, shown};

/// Progress in bytes after which failures are counted anew.
const RETRY_RESET_BYTES: u64 = 64 << 10;
const BUFFER: usize = 128 << 10;
/// Progress is reported in steps of this many bytes.
const REPORT_STEP: u64 = 256 << 10;

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// What it is called in messages: "bash 5.2.37-2 amd64".
    pub name: String,
    /// Where it may be: the first of these places that has it is taken.
    pub urls: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
    /// The digest that its bytes must have.
    pub digest: Digest,
}

/// Why a file could not be fetched.
#[allow(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The mirror, or something on the way to it, failed.
    #[error("{name}: {source}")]
    Http {
        name: String,
        /// Why it failed.
        source: http::Error,
    },
    /// The cache failed.
    #[error("{0}")]
    Cache(#[from] cache::Error),
    /// The mirror's file has another size than the index says.
    #[error("{name}: {url} has {found} bytes, and should have {expected}")]
    WrongSize {
        name: String,
        url: String,
        /// The size that the index tells.
        expected: u64,
        /// The size that it has, or the least that it has.
        found: u64,
    },
    /// The mirror's file has another digest than the index says.
    #[error("{name}: {url} has the {algorithm} {found}, and should have {expected}")]
    WrongDigest {
        name: String,
        url: String,
        algorithm: Algorithm,
        /// The digest that the index tells.
        expected: String,
        /// The digest that it has.
        found: String,
    },
    /// Something else failed first.
    #[error("stopped")]
    Stopped,
}

impl Error {
    /// The URL that a mirror does not have, though its index lists it.
    #[must_use]
    pub fn missing_url(&self) -> Option<&str> {
        match self {
            Self::Http { source: http::Error::Status { url, .. }, .. } if self.is_missing() => Some(url),
            _ => None,
        }
    }

    fn is_missing(&self) -> bool {
        matches!(self, Self::Http { source, .. } if source.is_missing())
    }

    /// Whether the server does not give this file, while it may give others. Some say that a file
    /// is forbidden where there is none.
    fn is_absent(&self) -> bool {
        self.is_missing() || matches!(self, Self::Http { source: http::Error::Status { status: 403, .. }, .. })
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Http { source: http::Error::File { .. }, .. } if self.is_missing() => Some(
                "put the file back where it was; of a package in a lock, a file with the same SHA-256 that the recipe names \
                 does as well, wherever it is"
                    .to_owned(),
            ),
            Self::WrongSize { url, .. } | Self::WrongDigest { url, .. } if file_url::is_file(url) => {
                Some("the file is another one now: put the earlier one back, or choose the packages anew".to_owned())
            }
            Self::Http { .. } if self.is_missing() => Some(
                "the mirror changed since its index was read, or is incomplete; run it again, or choose another mirror".to_owned(),
            ),
            Self::WrongSize { .. } | Self::WrongDigest { .. } => Some(
                "the mirror is being updated, or it or a proxy before it serves damaged files; try again later, or another mirror"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Fetches files by `http` into `cache`, `jobs` of them at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetcher<'a> {
    pub(super) http: &'a Http,
    pub(super) cache: &'a Cache,
    pub(super) jobs: usize,
    pub(super) progress: &'a Progress,
}

impl Fetcher<'_> {
    /// Brings all files into the cache, and calls `arrived` with the number of each as soon as it
    /// is there and whole: first those whose numbers are in `early`, and whatever is so large that
    /// it would be the last to come if it began later; then the others; of each kind the largest
    /// first. Those that are there already are not fetched. The first failure sets `stop`, and when
    /// that is set, here or elsewhere, all ends; what was fetched so far stays.
    pub(super) fn fetch(
        &self,
        wanted: &[Download],
        early: &[usize],
        stop: &AtomicBool,
        arrived: &(dyn Fn(usize) + Sync),
    ) -> Result<(), Error> {
        let mut files: HashMap<_, Vec<usize>> = HashMap::new();
        for (number, file) in wanted.iter().enumerate() {
            // Several packages may have the same bytes, which are fetched once.
            files.entry(file.digest).or_default().push(number);
        }
        let mut files: Vec<_> = files.into_values().collect();
        let total: u64 = files.iter().map(|numbers| wanted[numbers[0]].size).fold(0, u64::saturating_add);
        files.sort_unstable_by_key(|numbers| {
            let size = wanted[numbers[0]].size;
            let long = size > total / self.jobs.max(1) as u64;
            let first = long || numbers.iter().any(|number| early.contains(number));
            (!first, std::cmp::Reverse(size), numbers[0])
        });
        let there = parallel(self.jobs, stop, &files, |numbers| {
            let file = &wanted[numbers[0]];
            Ok::<_, Error>(self.cache.lookup(&file.digest, file.size)?.is_some())
        })?;
        let mut missing = Vec::new();
        for (numbers, there) in files.iter().zip(there) {
            if there {
                numbers.iter().copied().for_each(arrived);
            } else {
                missing.push(numbers);
            }
        }
        if !missing.is_empty() {
            let total = missing.iter().map(|numbers| wanted[numbers[0]].size).sum();
            self.progress.detail(format!(
                "{} of {} files are to be fetched, {total} bytes; the others are in the cache",
                missing.len(),
                files.len(),
            ));
            let running = self.progress.task(Task::Download, total);
            parallel(self.jobs, stop, &missing, |numbers| {
                self.obtain(&wanted[numbers[0]], &running, stop)?;
                numbers.iter().copied().for_each(arrived);
                Ok::<_, Error>(())
            })?;
        }
        if stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Brings all files into the cache; gives their paths, in the same order.
    pub(super) fn fetch_all(&self, wanted: &[Download]) -> Result<Vec<PathBuf>, Error> {
        self.fetch(wanted, &[], &AtomicBool::new(false), &|_| {})?;
        Ok(wanted.iter().map(|file| self.cache.path(&file.digest)).collect())
    }

    /// Brings one of the forms of each file into the cache: one that is there already, else the first
    /// that the server lets it have. Returns which ones, in the same order.
    ///
    /// # Errors
    /// That of a file's first form, where the server has none of them.
    pub(super) fn fetch_forms(&self, wanted: &[Vec<Download>]) -> Result<Vec<usize>, Error> {
        let stop = AtomicBool::new(false);
        let there = parallel(self.jobs, &stop, wanted, |forms| {
            for (number, form) in forms.iter().enumerate() {
                if self.cache.lookup(&form.digest, form.size)?.is_some() {
                    return Ok(Some(number));
                }
            }
            Ok::<_, Error>(None)
        })?;
        let missing: Vec<_> = wanted.iter().zip(&there).filter(|(_, there)| there.is_none()).collect();
        let total = missing.iter().filter_map(|(forms, _)| forms.first()).map(|form| form.size).sum();
        let running = (!missing.is_empty()).then(|| self.progress.task(Task::Download, total));
        let jobs: Vec<_> = wanted.iter().zip(there).collect();
        parallel(self.jobs, &stop, &jobs, |(forms, there)| match (there, &running) {
            (None, Some(running)) => self.obtain_one(forms, running, &stop),
            _ => Ok(there.unwrap_or_default()),
        })
    }

    fn obtain_one(&self, forms: &[Download], running: &TaskHandle, stop: &AtomicBool) -> Result<usize, Error> {
        let mut first = None;
        for (number, form) in forms.iter().enumerate() {
            match self.obtain(form, running, stop) {
                Ok(()) => return Ok(number),
                Err(error) if error.is_absent() => {
                    self.progress.detail(format!("{error}; trying its other forms"));
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first.unwrap_or(Error::Stopped))
    }

    fn obtain(&self, wanted: &Download, running: &TaskHandle, stop: &AtomicBool) -> Result<(), Error> {
        let mut meter = Meter { running, reached: 0, reported: 0 };
        let waiting = || self.progress.detail(format!("{}: waiting for another build that fetches it", wanted.name));
        let mut part = match self.cache.claim(&wanted.digest, wanted.size, waiting)? {
            Claim::Cached => {
                meter.reach(wanted.size, true);
                return Ok(());
            }
            Claim::Part(part) => part,
        };
        if part.length() > 0 {
            self.progress.detail(format!("{}: continued at byte {}", wanted.name, part.length()));
        }
        meter.reach(part.length(), true);
        let mut urls = wanted.urls.iter();
        let mut url = urls.next().map_or("", String::as_str);
        let mut retries = RetryState::new(self.http.options());
        // A file that turns out wrong gets one more chance, whole and past all caches on the way:
        // it may have been pieced together from two versions, or a proxy may hold a stale or
        // damaged one.
        let mut last_chance = false;
        loop {
            let transfer = Transfer { http: self.http, wanted, url, fresh: last_chance, stop };
            let wrong = match transfer.run(&mut part, &mut meter, &mut retries) {
                Ok(()) => match part.publish()? {
                    Ok(_) => {
                        meter.reach(wanted.size, true);
                        return Ok(());
                    }
                    Err(found) => Error::WrongDigest {
                        name: wanted.name.clone(),
                        url: shown(url),
                        algorithm: found.algorithm(),
                        expected: wanted.digest.to_string(),
                        found: found.to_string(),
                    },
                },
                Err(Error::Http { source, name }) => {
                    if source.is_missing()
                        && let Some(next) = urls.next()
                    {
                        url = next;
                    } else if matches!(source, http::Error::Status { status: 416, .. }) && part.length() > 0 {
                        // The server's file ends before the part does: the part is not a beginning
                        // of it.
                        part.restart()?;
                    } else {
                        retries.after(source).map_err(|source| Error::Http { name, source })?;
                    }
                    continue;
                }
                Err(wrong @ Error::WrongSize { .. }) => wrong,
                Err(error) => return Err(error),
            };
            if last_chance {
                return Err(wrong);
            }
            self.progress.detail(format!("{wrong}; fetching it anew"));
            part.restart()?;
            last_chance = true;
        }
    }
}

/// One request for a file, or for what is missing of it.
struct Transfer<'a> {
    http: &'a Http,
    wanted: &'a Download,
    url: &'a str,
    fresh: bool,
    stop: &'a AtomicBool,
}

impl Transfer<'_> {
    fn run(&self, part: &mut Part, meter: &mut Meter<'_>, retries: &mut RetryState) -> Result<(), Error> {
        if part.is_full() {
            return Ok(());
        }
        let mut reply =
            self.http.open(self.url, part.length(), self.fresh).map_err(|source| self.http_error(source))?;
        if reply.first != part.length() {
            part.restart()?;
        }
        if let Some(total) = reply.total
            && total != self.wanted.size
        {
            return Err(self.wrong_size(total));
        }
        // Only bytes beyond all that was ever reached count as progress: a server may start from
        // the beginning each time, and break off each time.
        let mut next_reset = meter.reached + RETRY_RESET_BYTES;
        let mut buffer = vec![0; BUFFER];
        while !part.is_full() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let count = reply.read(&mut buffer).map_err(|source| self.http_error(source))?;
            if count == 0 {
                let (got, expected) = (part.length(), self.wanted.size);
                return Err(self.http_error(http::Error::Short { url: shown(self.url), got, expected }));
            }
            if part.length() + count as u64 > self.wanted.size {
                return Err(self.wrong_size(part.length() + count as u64));
            }
            part.append(&buffer[..count])?;
            meter.reach(part.length(), false);
            if meter.reached >= next_reset {
                retries.restore();
                next_reset = meter.reached + RETRY_RESET_BYTES;
            }
        }
        Ok(())
    }

    fn http_error(&self, source: http::Error) -> Error {
        Error::Http { name: self.wanted.name.clone(), source }
    }

    fn wrong_size(&self, found: u64) -> Error {
        let (name, url) = (self.wanted.name.clone(), shown(self.url));
        Error::WrongSize { name, url, expected: self.wanted.size, found }
    }
}

/// How far a file has come, which a restart does not undo.
struct Meter<'a> {
    running: &'a TaskHandle,
    reached: u64,
    reported: u64,
}

impl Meter<'_> {
    fn reach(&mut self, position: u64, now: bool) {
        self.reached = self.reached.max(position);
        let news = self.reached - self.reported;
        if news >= REPORT_STEP || (now && news > 0) {
            self.running.advance(news);
            self.reported = self.reached;
        }
    }
}

#[cfg(test)]
mod tests;
