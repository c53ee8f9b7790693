//! Names and what hangs on them: versions and providers.
//!
//! A name gets its number when it is first met, whether as a package or in a relation. apt numbers
//! its packages so too, and falls back on these numbers where it has no better reason to choose; so
//! the numbers are part of the result.

use std::collections::HashMap;
use std::sync::Arc;

use super::{PackageId, Span};

/// The number of a name, in the order in which the names were met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NameId(u32);

impl NameId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A package that provides a name; an empty span where it provides it without a version.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) package: PackageId,
    pub(super) version: Span,
}

#[derive(Debug)]
pub(super) struct Record {
    text: Arc<str>,
    pub(super) newest: Option<PackageId>,
    pub(super) providers: Vec<Provider>,
    pub(super) essential: bool,
    pub(super) protected: bool,
}

impl Record {
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

#[derive(Debug, Default)]
pub(super) struct Names {
    records: Vec<Record>,
    numbers: HashMap<Arc<str>, NameId>,
}

impl Names {
    pub(super) fn intern(&mut self, text: &str) -> NameId {
        if let Some(&id) = self.numbers.get(text) {
            return id;
        }
        // A name takes a byte of text at least, and texts end at 4 GiB; sources that many do not
        // fit into memory.
        let id = NameId(u32::try_from(self.records.len()).unwrap_or(u32::MAX));
        let text: Arc<str> = text.into();
        self.numbers.insert(Arc::clone(&text), id);
        self.records.push(Record { text, newest: None, providers: Vec::new(), essential: false, protected: false });
        id
    }

    pub(super) fn get(&self, text: &str) -> Option<NameId> {
        self.numbers.get(text).copied()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NameId> + use<> {
        (0..).take(self.records.len()).map(NameId)
    }

    pub(super) fn record(&self, id: NameId) -> &Record {
        &self.records[id.index()]
    }

    pub(super) fn record_mut(&mut self, id: NameId) -> &mut Record {
        &mut self.records[id.index()]
    }

    pub(super) fn provide(&mut self, name: NameId, provider: Provider) {
        self.record_mut(name).providers.push(provider);
    }

    /// Records that `provider` can stand for `name:any`, a dependency on the package of any
    /// architecture.
    pub(super) fn provide_any(&mut self, name: &str, provider: Provider) {
        let name = self.intern(&format!("{name}:any"));
        self.provide(name, provider);
    }
}
