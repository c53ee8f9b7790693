//! Suites whose Release files were verified, and whose indexes are in the cache: what they are is known
//! by their digests before any of them is read.

use fam_host::parallel::on_all_processors;

use super::{Client, Error, Index, OpenedSource};
use crate::cache::{Shelf, read_verified};
use crate::digest::Digest;
use crate::index::decompress;
use crate::release::{IndexFile, Listed};

/// Suites with indexes that are there to be [read](Client::read).
#[derive(Debug, Clone)]
pub struct FetchedSources {
    /// The suites, in the order in which they were asked for; they have no indexes yet.
    pub(super) sources: Vec<OpenedSource>,
    /// In the order in which they are read.
    pub(super) indexes: Vec<FetchedIndex>,
}

/// An index that is in the cache.
#[derive(Debug, Clone)]
pub(super) struct FetchedIndex {
    /// The number of its source.
    pub(super) source: usize,
    pub(super) component: String,
    pub(super) form: IndexFile,
}

impl FetchedSources {
    /// The suites, in the order in which they were asked for; they have no indexes yet.
    #[must_use]
    pub fn sources(&self) -> &[OpenedSource] {
        &self.sources
    }

    /// The indexes in the order in which they are read: the suite, the component, and the digest of the
    /// file, for which the Release file vouches.
    pub fn indexes(&self) -> impl Iterator<Item = (&OpenedSource, &str, &Digest)> {
        let indexes = self.indexes.iter();
        indexes.map(|index| (&self.sources[index.source], index.component.as_str(), &index.form.listed.digest))
    }

    /// The components that the suite at `number` has, of those that were asked for.
    #[must_use]
    pub fn components(&self, number: usize) -> Vec<String> {
        // Those of a flat archive have no name.
        let of_source = self.indexes.iter().filter(|index| index.source == number && !index.component.is_empty());
        let mut components: Vec<String> = of_source.map(|index| index.component.clone()).collect();
        components.dedup();
        components
    }
}

impl Client {
    /// Reads the indexes.
    ///
    /// # Errors
    /// When an index cannot be read, or is not the one that its Release file lists.
    pub fn read(&self, fetched: FetchedSources) -> Result<Vec<OpenedSource>, Error> {
        let FetchedSources { mut sources, indexes } = fetched;
        // Fetching waits for the network; decompressing takes processors.
        let texts = on_all_processors(&indexes, |FetchedIndex { source, form, .. }| {
            let Listed { size, digest } = &form.listed;
            let bytes = read_verified(&self.cache.path(digest), *size, digest)?;
            decompress(form, bytes).map_err(|error| sources[*source].source.index_error(error))
        })?;
        for (FetchedIndex { source, component, .. }, text) in indexes.into_iter().zip(texts) {
            sources[source].indexes.push(Index { component, text });
        }
        Ok(sources)
    }

    /// What was chosen from all that `key` names, if it was [kept](Self::keep_choice).
    #[must_use]
    pub fn kept_choice(&self, key: &Digest) -> Option<String> {
        String::from_utf8(self.cache.kept(Shelf::Chosen, &key.to_string())?).ok()
    }

    /// Keeps what was chosen from all that `key` names. Without it the next run chooses again, so this
    /// fails no run.
    pub fn keep_choice(&self, key: &Digest, text: &str) {
        if let Err(error) = self.cache.keep(Shelf::Chosen, &key.to_string(), text.as_bytes()) {
            self.progress.detail(format!("what was chosen is not kept: {error}"));
        }
    }
}
