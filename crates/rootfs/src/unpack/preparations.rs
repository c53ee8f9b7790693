//! Many packages at a time made ready to be placed, as they come from the mirror, and handed out
//! when all of a stage are ready.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use fam_archive::deb::Deb;
use fam_host::parallel::{processors, spawn};
use fam_host::pieces::for_each_piece;
use fam_host::regular;
use fam_progress::{Progress, Task, TaskHandle};

use super::claims::Index;
use super::prepare::{Preparation, Prepared};
use super::{DebFile, Error, Filters};
use crate::dpkg::Package;
use crate::staging::{self, Directory, Staging};

const COPY_BUFFER_BYTES: usize = 256 << 10;

/// The preparation of packages by several threads.
#[derive(Debug)]
pub struct Preparations<'a> {
    /// The packages.
    pub debs: &'a [DebFile],
    /// The positions of those that are needed first.
    pub first: &'a [usize],
    /// The positions of those that are needed after them.
    pub early: &'a [usize],
    /// Which of their paths are left out.
    pub filters: &'a Filters,
    /// Where their files are put.
    pub aside: &'a Staging,
    /// Shared with the fetching of the packages: a failure here sets it, and when it is set this
    /// gives up soon.
    pub stop: &'a AtomicBool,
    /// Where it is reported.
    pub progress: &'a Progress,
}

/// Packages as they become ready.
#[derive(Debug)]
pub struct Arrivals<'a> {
    stop: &'a AtomicBool,
    results: Receiver<(Index, Result<Prepared, Error>)>,
    prepared: Vec<Option<Prepared>>,
    /// Whether each has been ready at some time.
    arrived: Vec<bool>,
}

impl<'a> Preparations<'a> {
    /// Prepares the packages whose positions come, until no more can come, on as many threads of
    /// `scope` as are asked for.
    ///
    /// # Errors
    /// [`Error::Twice`], [`Error::Thread`]
    pub fn begin<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        arrivals: Receiver<usize>,
        jobs: Option<NonZero<usize>>,
    ) -> Result<Arrivals<'a>, Error> {
        // Two versions of a package would share a directory of dpkg's database, and one would
        // overwrite the other's files.
        let mut names: Vec<&str> = self.debs.iter().map(|deb| deb.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Twice(twice[0].to_owned()));
        }
        let jobs = jobs.unwrap_or_else(processors).get();
        let running = Arc::new(self.progress.task(Task::Unpack, self.debs.iter().map(|deb| deb.size).sum()));
        let waiting = Arc::new(Mutex::new(Waiting { arrivals, ready: BinaryHeap::new() }));
        let (sender, results) = mpsc::channel();
        for number in 0..jobs.min(self.debs.len()) {
            let (waiting, running, sender) = (Arc::clone(&waiting), Arc::clone(&running), sender.clone());
            let work = move || {
                // One thread waits for the next package, the others for their turn to wait.
                let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next(|index| self.urgency(index));
                while let Some(index) = next()
                    && !self.stopped()
                {
                    let result = self.prepare(index, &running);
                    if result.is_err() {
                        self.stop.store(true, Ordering::Relaxed);
                    }
                    // Where it cannot be sent any more, something else has failed.
                    let _ = sender.send((index, result));
                }
            };
            // If the host allows no more threads, those that run do all the work.
            let started = spawn(scope, work);
            if number == 0 {
                started.map_err(Error::Thread)?;
            }
        }
        let prepared = std::iter::repeat_with(|| None).take(self.debs.len()).collect();
        Ok(Arrivals { stop: self.stop, results, prepared, arrived: vec![false; self.debs.len()] })
    }

    /// Which of several packages is to be prepared next: one that is needed first or early, else the largest. If that
    /// one came last, all other threads would wait for it at the end.
    fn urgency(&self, index: Index) -> Urgency {
        (self.first.contains(&index), self.early.contains(&index), self.debs[index].size)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn prepare(&self, index: Index, running: &TaskHandle) -> Result<Prepared, Error> {
        let deb = &self.debs[index];
        let mut metered = Metered { inner: deb.open()?, running, left: deb.size };
        let mut archive = Deb::open(&mut metered).map_err(|source| deb.error(source))?;
        let package = deb.package(&mut archive)?;
        let contents = index.to_string().into_bytes();
        let preparation = Preparation::new(self.aside, &contents, deb, self.filters, &package)?;
        let entries = preparation.run(&mut archive, || !self.stopped())?;
        metered.finish();
        self.progress.detail(format!("unpacked {} {}", deb.name, deb.version));
        Ok(Prepared { package, entries, contents })
    }
}

/// Whether a package is needed first, whether it is needed early, and its size.
type Urgency = (bool, bool, u64);

/// Packages that wait to be prepared.
struct Waiting {
    arrivals: Receiver<Index>,
    ready: BinaryHeap<(Urgency, Reverse<Index>)>,
}

impl Waiting {
    /// The most urgent of the packages that are there; waits for one where none is. `None` if no more can come.
    fn next(&mut self, urgency: impl Fn(Index) -> Urgency) -> Option<Index> {
        let entry = |index| (urgency(index), Reverse(index));
        self.ready.extend(self.arrivals.try_iter().map(entry));
        if self.ready.is_empty() {
            return self.arrivals.recv().ok();
        }
        self.ready.pop().map(|(_, Reverse(index))| index)
    }
}

impl DebFile {
    /// Opens the file, hashes all of it and rewinds it, so that what is unpacked is read from the very
    /// descriptor that was verified.
    fn open(&self) -> Result<fs_err::File, Error> {
        let mut file = regular::open(&self.path).map_err(|error| self.read_error(error.into()))?;
        if !self.digest.is_of_reader(&mut file, self.size).map_err(|error| self.read_error(error))? {
            return Err(Error::Damaged { package: self.name.clone(), path: self.path.clone() });
        }
        file.rewind().map_err(|error| self.read_error(error))?;
        Ok(file)
    }

    /// Copies the file into a directory of the new system; returns the package.
    pub(crate) fn copy(&self, directory: &Directory, name: &[u8]) -> Result<Package, Error> {
        let mut file = self.open()?;
        let mut copy = directory.create_file(name).map_err(|error| self.staging_error(error))?;
        let path = || directory.path().join(name).unwrap_or_default();
        let read_error = |error| self.read_error(error);
        for_each_piece(&mut file, &mut vec![0; COPY_BUFFER_BYTES], read_error, |piece| {
            // Where the tree has no room, it is not the package that is at fault.
            let failed = |source| staging::Error::Entry { action: "write", path: path(), source };
            copy.write_all(piece).map_err(|source| self.staging_error(failed(source)))
        })?;
        file.rewind().map_err(|error| self.read_error(error))?;
        self.package(&mut Deb::open(&mut file).map_err(|source| self.error(source))?)
    }

    /// Reads the control archive, and finds that it is of the package that the index says.
    fn package<R: Read + Seek>(&self, archive: &mut Deb<R>) -> Result<Package, Error> {
        let control = archive.control().map_err(|source| self.error(source))?;
        let package = Package::new(control).map_err(|source| Error::Control { package: self.name.clone(), source })?;
        let expected = (&self.name, &self.version, &self.architecture);
        if expected == (&package.name, &package.version, &package.architecture) {
            return Ok(package);
        }
        Err(Error::Identity {
            path: self.path.clone(),
            expected: format!("{} {} {}", self.name, self.version, self.architecture),
            found: format!("{} {} {}", package.name, package.version, package.architecture),
        })
    }
}

impl Arrivals<'_> {
    /// Waits until these packages are ready, or something has failed.
    ///
    /// # Errors
    /// That of the preparation that failed, or [`Error::Stopped`] if that was none.
    pub fn wait_for(&mut self, wanted: impl IntoIterator<Item = usize>) -> Result<(), Error> {
        for index in wanted {
            while !self.arrived[index] {
                self.take_next()?;
            }
        }
        Ok(())
    }

    /// Waits until all packages are ready.
    ///
    /// # Errors
    /// As [`Arrivals::wait_for`].
    pub fn wait_for_all(&mut self) -> Result<(), Error> {
        self.wait_for(0..self.prepared.len())
    }

    /// The packages at these positions that are ready, to look at.
    pub fn ready(&self, positions: impl IntoIterator<Item = usize>) -> impl Iterator<Item = &Prepared> {
        positions.into_iter().filter_map(|index| self.prepared[index].as_ref())
    }

    /// Takes the packages at these positions, those that are ready.
    pub fn take(&mut self, positions: impl IntoIterator<Item = usize>) -> Vec<(usize, Prepared)> {
        positions.into_iter().filter_map(|index| Some((index, self.prepared[index].take()?))).collect()
    }

    fn take_next(&mut self) -> Result<(), Error> {
        match self.results.recv() {
            Ok((index, Ok(prepared))) => {
                self.prepared[index] = Some(prepared);
                self.arrived[index] = true;
                Ok(())
            }
            Ok((index, Err(error))) => Err(self.first_failure(index, error)),
            // All threads have ended, and have not been given all packages.
            Err(_) => Err(Error::Stopped),
        }
    }

    /// The error to report of several failures: that of the first package, but for those that only
    /// stopped.
    fn first_failure(&mut self, index: Index, error: Error) -> Error {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = vec![(index, error)];
        failures.extend(self.results.iter().filter_map(|(index, result)| Some((index, result.err()?))));
        // The list's order and not that in which threads failed, so that the same packages give the
        // same error.
        let rank = |(index, error): &(Index, Error)| (matches!(error, Error::Stopped), *index);
        failures.into_iter().min_by_key(rank).map_or(Error::Stopped, |(_, error)| error)
    }
}

/// Reports how much of a file has been read. It is read about once after the verification.
struct Metered<'a, R> {
    inner: R,
    running: &'a TaskHandle,
    left: u64,
}

impl<R> Metered<'_, R> {
    fn advance(&mut self, amount: u64) {
        let amount = amount.min(self.left);
        self.left -= amount;
        self.running.advance(amount);
    }

    /// Counts what was not read.
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
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_first_comes_next_and_then_the_largest() {
        let (sender, arrivals) = mpsc::channel();
        let mut waiting = Waiting { arrivals, ready: BinaryHeap::new() };
        let mut next = || waiting.next(|index| (index == 3, index == 4, [10, 30, 30, 1, 20][index]));
        (0..3).for_each(|index| sender.send(index).unwrap());
        assert_eq!(next(), Some(1));
        (3..5).for_each(|index| sender.send(index).unwrap());
        drop(sender);
        assert_eq!([(); 5].map(|()| next()), [Some(3), Some(4), Some(2), Some(0), None]);
    }
}
