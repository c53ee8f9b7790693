//! The layers of the cache, as a build uses them: which one it starts from, reading it, and keeping its own.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fam_archive::cache::{Cache, Layer};
use fam_archive::client;
use fam_host::parallel::both;
use fam_host::space::require_space;
use fam_progress::Progress;
use fam_rootfs::configure::Answers;
use fam_tree::{Store, Tree, tarball};

use super::Error;
use super::base_tree::BaseTree;
use super::ingredients::Ingredients;
use super::packages::Selection;
use crate::recipe::Settings;
use crate::report::PlannedLayer;

/// What is left free where the cache is.
const SPARE_BYTES: u64 = 64 << 20;

/// A layer that is being kept meanwhile. Dropped, it waits for that: also where the build failed, since the next
/// one is to go on from here. Without the layer that takes longer, so what goes wrong fails no build.
#[derive(Debug)]
pub(super) struct Keeping {
    writing: Option<JoinHandle<Result<(), Error>>>,
    progress: Progress,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        match self.writing.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => remark(&error, &self.progress),
            Some(Err(panic)) if !thread::panicking() => std::panic::resume_unwind(panic),
            _ => {}
        }
    }
}

fn remark(error: &dyn std::fmt::Display, progress: &Progress) {
    progress.detail(format!("no layer is kept of these packages: {error}"));
}

/// What a build starts from.
#[derive(Debug)]
pub(super) struct Choice {
    /// Where layers are; `None` where there are to be none, or none of these packages.
    layers: Option<Layers>,
    found: Option<Found>,
}

/// A layer to start from.
#[derive(Debug)]
pub(super) struct Found {
    layer: Layer,
    made_of: Ingredients,
    is_exact: bool,
    rest: Vec<usize>,
}

impl Found {
    /// How many packages it has.
    pub(super) fn packages(&self) -> usize {
        self.made_of.packages()
    }

    /// Whether it is of these very packages, and nothing about it is another way.
    pub(super) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// The positions in the lock of the packages that it lacks.
    pub(super) fn rest(&self) -> &[usize] {
        &self.rest
    }
}

/// Where layers are, and what one of this build is made of.
#[derive(Debug)]
struct Layers {
    cache: Cache,
    limit: u64,
    ingredients: Ingredients,
}

impl Layers {
    fn open(settings: &Settings, answers: &Answers, selection: &Selection) -> Result<Option<Self>, Error> {
        let limit = settings.layers.bytes();
        if limit == 0 {
            return Ok(None);
        }
        let Some(ingredients) = Ingredients::new(settings, answers, selection)? else { return Ok(None) };
        Ok(Some(Self { cache: selection.cache().clone(), limit, ingredients }))
    }

    /// The layer of these very packages.
    fn exact(&self) -> Option<Found> {
        let layer = self.cache.layer(&self.ingredients.to_text())?;
        Some(Found { layer, made_of: self.ingredients.clone(), is_exact: true, rest: Vec::new() })
    }

    /// The layer that lacks the fewest of these packages, and has no others.
    fn nearest_without_others(&self) -> Option<Found> {
        let found = self.cache.layers().into_iter().filter_map(|layer| {
            let made_of = Ingredients::of_layer(&layer)?;
            let rest = self.ingredients.on_top_of(&made_of)?;
            Some(Found { layer, made_of, is_exact: false, rest })
        });
        found.min_by_key(|found| (found.rest.len(), found.layer.made_of().to_owned()))
    }

    /// Begins a layer of the tree, which is written into the cache while the build goes on.
    fn keep(&self, tree: &Tree, store: &Arc<dyn Store>, progress: &Progress) -> Result<Keeping, Error> {
        let bytes = tree.bytes();
        require_space(self.cache.directory(), "a layer of the packages", bytes.saturating_add(SPARE_BYTES))?;
        let new = self.cache.new_layer(bytes, self.limit).map_err(client::Error::from)?;
        let Some(new) = new else {
            return Err(io::Error::other(format!("--layers allows less than its {} MiB", bytes >> 20)).into());
        };
        let (tree, store, made_of) = (tree.clone(), Arc::clone(store), self.ingredients.to_text());
        let writing = thread::Builder::new().spawn(move || {
            tarball::write(&tree, &*store, None, new.file())?;
            Ok(new.finish(&made_of).map_err(client::Error::from)?)
        })?;
        Ok(Keeping { writing: Some(writing), progress: progress.clone() })
    }
}

impl Choice {
    /// The layer of these very packages; with `--incremental`, else the nearest one that has no others; else none.
    pub(super) fn new(settings: &Settings, answers: &Answers, selection: &Selection) -> Result<Self, Error> {
        let layers = Layers::open(settings, answers, selection)?;
        let usable = layers.as_ref().filter(|_| !settings.fresh.value);
        let exact = usable.and_then(Layers::exact);
        let found = exact.or_else(|| usable.filter(|_| settings.incremental.value)?.nearest_without_others());
        Ok(Self { layers, found })
    }

    /// What the layer was made of from which the build starts, if that is not of these very packages.
    pub(super) fn other_layer(&self) -> Option<&str> {
        self.found.as_ref().filter(|found| !found.is_exact).map(|found| found.layer.made_of())
    }

    /// As a plan says it; `None` where there is no layer at all.
    pub(super) fn plan(&self) -> Option<PlannedLayer> {
        let Layers { cache, ingredients, .. } = self.layers.as_ref()?;
        let planned = |made_of: &Ingredients, is_start| PlannedLayer {
            packages: made_of.packages(),
            is_start,
            differences: Some(ingredients.differences(made_of).to_string()).filter(|text| !text.is_empty()),
        };
        if let Some(found) = &self.found {
            return Some(planned(&found.made_of, true));
        }
        let others = cache.layers().iter().filter_map(Ingredients::of_layer).collect::<Vec<_>>();
        let nearest = others.iter().min_by_key(|other| ingredients.differences(other).distance())?;
        Some(planned(nearest, false))
    }

    pub(super) fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// Reads a layer; `None` if it is not whole. Such a one is removed.
    ///
    /// # Errors
    /// When it is whole and cannot be read.
    pub(super) fn open(&self, found: &Found) -> Result<Option<BaseTree>, Error> {
        let Some(Layers { cache, .. }) = &self.layers else { return Ok(None) };
        let layer = &found.layer;
        if let Some(tarball) = cache.open_layer(layer) {
            let (tree, is_whole) = both(|| tarball::index(&tarball), || layer.is_whole(&tarball).unwrap_or(false));
            // What was made of other bytes than those that were kept says nothing, errors included.
            if is_whole {
                return Ok(Some(BaseTree::new(tree?, Arc::new(tarball))));
            }
        }
        // Where it cannot be removed, no new one can take its place, and the log says why.
        let _ = cache.remove_layer(layer);
        Ok(None)
    }

    /// Begins to keep the tree of a base system as a layer, if there are to be any.
    pub(super) fn keep(&self, tree: &Tree, store: &Arc<dyn Store>, progress: &Progress) -> Option<Keeping> {
        let keeping = self.layers.as_ref()?.keep(tree, store, progress);
        keeping.inspect_err(|error| remark(error, progress)).ok()
    }
}
