//! Vectors of trust: archives that are good or bad in one way each, with the verdict of apt 2, of
//! apt 3 and of fam-build. The tests ask the real apt and fam-build about each of them.
//!
//! A vector that fam-build accepts and an apt refuses cannot be written down: there is no function
//! for it. One that both apts accept and fam-build refuses has the reason.

mod case;
mod indexes;
mod keyrings;
mod keys;
mod messages;
mod packets;
mod releases;
mod signatures;
mod strength;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub use case::{Case, Served};
pub use keys::Keys;

use crate::apt::Apt;
use crate::archive::Files;
use crate::server::{Answer, Server};

/// An archive, and who accepts it.
#[derive(Debug, Clone, Copy)]
pub struct Vector {
    /// What is special about it.
    pub name: &'static str,
    /// How it is made.
    make: fn(Case<'_>) -> Case<'_>,
    /// Whether apt 2 and apt 3 accept it.
    apt: (bool, bool),
    /// What fam-build's error says, if it refuses it.
    error: Option<&'static str>,
    /// Why fam-build is stricter than both apts, if it is.
    reason: Option<&'static str>,
}

impl Vector {
    /// All accept it.
    const fn accepted(name: &'static str, make: fn(Case<'_>) -> Case<'_>) -> Self {
        Self { name, make, apt: (true, true), error: None, reason: None }
    }

    /// All refuse it; fam-build's error says this.
    const fn refused(name: &'static str, error: &'static str, make: fn(Case<'_>) -> Case<'_>) -> Self {
        Self { name, make, apt: (false, false), error: Some(error), reason: None }
    }

    /// apt 3 and fam-build refuse it, and apt 2 accepts it.
    const fn refused_as_by_apt_3(name: &'static str, error: &'static str, make: fn(Case<'_>) -> Case<'_>) -> Self {
        Self { name, make, apt: (true, false), error: Some(error), reason: None }
    }

    /// apt 2 and fam-build refuse it, and apt 3 accepts it.
    const fn refused_as_by_apt_2(name: &'static str, error: &'static str, make: fn(Case<'_>) -> Case<'_>) -> Self {
        Self { name, make, apt: (false, true), error: Some(error), reason: None }
    }

    /// Only fam-build refuses it, for this reason.
    const fn stricter(
        name: &'static str,
        error: &'static str,
        reason: &'static str,
        make: fn(Case<'_>) -> Case<'_>,
    ) -> Self {
        Self { name, make, apt: (true, true), error: Some(error), reason: Some(reason) }
    }
}

/// Vectors that are about the same thing.
pub type Group = &'static [Vector];

/// Which keys and digests are strong enough.
pub const STRENGTH: Group = strength::VECTORS;
/// The states that keys may be in, and the files that hold them.
pub const KEYRINGS: Group = keyrings::VECTORS;
/// When and how signatures are made, and how many.
pub const SIGNATURES: Group = signatures::VECTORS;
/// The form of signed messages.
pub const MESSAGES: Group = messages::VECTORS;
/// What Release files say.
pub const RELEASES: Group = releases::VECTORS;
/// Indexes and what the Release file says of them.
pub const INDEXES: Group = indexes::VECTORS;

/// fam-build's verdict on an archive at a URL: the text of the index, or the error. It remembers
/// what it saw in the directory.
pub type Ours = fn(url: &str, served: &Served, memory: &std::path::Path) -> Result<String, String>;

/// Asks `apt` and fam-build about each vector.
///
/// # Panics
/// With all vectors on which a verdict is another than the one written down.
pub fn compare(group: Group, apt: &Apt, ours: Ours) {
    let keys = Keys::default();
    let (next, differences) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(vector) = group.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = differences_of(vector, &keys, apt, ours);
                    differences
                        .lock()
                        .unwrap()
                        .extend(found.into_iter().map(|found| format!("{}: {found}", vector.name)));
                }
            });
        }
    });
    let differences = differences.into_inner().unwrap();
    println!("{} vectors, {} differences", group.len(), differences.len());
    for Vector { name, reason, .. } in group {
        if let Some(reason) = reason {
            println!("stricter than apt: {name}: {reason}");
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

fn differences_of(vector: &Vector, keys: &Keys, apt: &Apt, ours: Ours) -> Vec<String> {
    let served = (vector.make)(Case::new(keys)).serve();
    let memory = tempfile::tempdir().unwrap();
    let now: Arc<Mutex<Files>> = Arc::default();
    let of_server = Arc::clone(&now);
    let server = Server::new(move |request| match of_server.lock().unwrap().get(&request.target) {
        Some(body) => Answer::file(body, request),
        None => Answer::status(404),
    });
    let subscriber = apt.subscribe(&server.url, &served.asked, &served.keyring.0, served.keyring.1);
    let (mut theirs, mut own) = (Err(String::new()), Err(String::new()));
    for files in &served.times {
        now.lock().unwrap().clone_from(files);
        theirs = subscriber.update();
        own = ours(&server.url, &served, memory.path());
    }
    let mut differences = Vec::new();
    let expected = if apt.major() < 3 { vector.apt.0 } else { vector.apt.1 };
    if theirs.as_ref().is_ok_and(|index| *index == served.index) != expected {
        differences.push(format!(
            "apt {} does not {}: {theirs:?}",
            apt.major(),
            if expected { "accept it" } else { "refuse it" }
        ));
    }
    match (vector.error, own) {
        (None, Ok(index)) if index == served.index => {}
        (Some(part), Err(error)) if error.contains(part) => {}
        (expected, own) => differences.push(format!("fam-build's error is not {expected:?}: {own:?}")),
    }
    differences
}
