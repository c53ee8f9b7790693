//! Who owns which name, while packages are unpacked at the same time.
//!
//! dpkg unpacks one package after another, so what it makes of two packages with the same path depends on their order.
//! Here the outcome must depend on no timing. Each name is claimed before it is made, and making happens under the
//! claim's lock; when a second package comes, the packages' own metadata decides who keeps the name, whoever came first:
//! - a directory belongs to all, and the earliest package of the given order sets its attributes;
//! - a directory wins over a symbolic link (dpkg leaves a directory alone that meets a link);
//! - links with the same target are the same;
//! - else the package that Replaces the other wins, of two that replace each other the later;
//! - else it is a conflict.
//!
//! A name is known by the identity of the directory it is in, so `/bin/x` and `/usr/bin/x` of a merged /usr are one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::UnpackError;
use crate::rootfs::dpkg::Package;
use crate::rootfs::staging::Attributes;
use crate::tree::RootPath;

/// Device and inode of a directory, and a name in it.
pub(super) type Key = ((u64, u64), Vec<u8>);

/// A position in the list of packages.
pub(super) type Index = usize;

/// What was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claimed {
    /// A directory with what its owner gives it.
    Directory(Attributes, BTreeMap<Vec<u8>, Vec<u8>>),
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// Anything else.
    Other,
}

/// One name and its owner.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) owner: Index,
    /// The path as the owner's archive has it.
    pub(super) path: RootPath,
    pub(super) what: Claimed,
}

/// What a claim comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The name is this package's: make the entry, in place of what may be there.
    Make,
    /// The name is this package's too, and what it wants is there already.
    Shared,
    /// Another package keeps the name, and the path is not this package's.
    Lost,
}

/// Enough that threads seldom wait for each other.
const SHARDS: usize = 64;

/// All names claimed so far.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    packages: &'a [OnceLock<Package>],
    shards: Vec<Mutex<HashMap<Key, Claim>>>,
    hasher: RandomState,
    taken: Mutex<HashSet<(Index, RootPath)>>,
}

impl<'a> Claims<'a> {
    /// No claims yet. A package's metadata must be in `packages` before it claims anything.
    pub(super) fn new(packages: &'a [OnceLock<Package>]) -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self { packages, shards, hasher: RandomState::new(), taken: Mutex::default() }
    }

    /// Claims a name, and on [`Verdict::Make`] runs `make` while nobody else can claim it.
    ///
    /// # Errors
    /// [`UnpackError::Conflict`]; whatever `make` fails with.
    pub(super) fn claim<T>(
        &self,
        key: Key,
        claim: Claim,
        make: impl FnOnce() -> Result<T, UnpackError>,
    ) -> Result<(Verdict, Option<T>), UnpackError> {
        let mut shard = self.shard(&key);
        let verdict = shard.get_mut(&key).map_or(Ok(Verdict::Make), |held| self.decide(held, &claim))?;
        if verdict != Verdict::Make {
            return Ok((verdict, None));
        }
        let made = make()?;
        shard.insert(key, claim);
        Ok((verdict, Some(made)))
    }

    /// Whether the package's own entry is to be what stands at the name.
    pub(super) fn holds(&self, key: &Key, package: Index) -> bool {
        self.shard(key)
            .get(key)
            .is_some_and(|held| held.owner == package && !matches!(held.what, Claimed::Directory(..)))
    }

    /// Whether the path was the package's and another package has it now.
    pub(super) fn was_taken(&self, package: Index, path: &RootPath) -> bool {
        lock(&self.taken).contains(&(package, path.clone()))
    }

    /// Every claim, in no order.
    pub(super) fn into_all(self) -> impl Iterator<Item = (Key, Claim)> {
        self.shards.into_iter().flat_map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn decide(&self, held: &mut Claim, new: &Claim) -> Result<Verdict, UnpackError> {
        use Claimed::{Directory, Symlink};
        match (&held.what, &new.what) {
            (Directory(..), Directory(..)) => {
                if new.owner < held.owner {
                    *held = new.clone();
                }
                return Ok(Verdict::Shared);
            }
            (Directory(..), Symlink(_)) => return Ok(Verdict::Shared),
            (Symlink(_), Directory(..)) => return Ok(Verdict::Make),
            (Symlink(left), Symlink(right)) if left == right => {
                if new.owner < held.owner {
                    *held = new.clone();
                }
                return Ok(Verdict::Shared);
            }
            (Directory(..), _) | (_, Directory(..)) => return Err(self.conflict(held, new)),
            _ if held.owner == new.owner => return Ok(Verdict::Make),
            _ => {}
        }
        let replaces = |left: Index, right: Index| match (self.packages[left].get(), self.packages[right].get()) {
            (Some(left), Some(right)) => left.replaces(right),
            _ => false,
        };
        let new_wins = match (replaces(new.owner, held.owner), replaces(held.owner, new.owner)) {
            (false, false) => return Err(self.conflict(held, new)),
            (true, true) => new.owner > held.owner,
            (new_wins, _) => new_wins,
        };
        if !new_wins {
            return Ok(Verdict::Lost);
        }
        lock(&self.taken).insert((held.owner, held.path.clone()));
        Ok(Verdict::Make)
    }

    fn conflict(&self, held: &Claim, new: &Claim) -> UnpackError {
        let name =
            |claim: &Claim| self.packages[claim.owner].get().map(|package| package.name.clone()).unwrap_or_default();
        let (first, second) = if held.owner < new.owner { (held, new) } else { (new, held) };
        let is_directory = |claim: &Claim| matches!(claim.what, Claimed::Directory(..));
        UnpackError::Conflict {
            path: first.path.clone(),
            first: name(first),
            second: name(second),
            kinds: if is_directory(first) == is_directory(second) { "" } else { ", as a directory and as a file" },
        }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<Key, Claim>> {
        lock(&self.shards[self.hasher.hash_one(key) as usize % SHARDS])
    }
}

/// A thread that panicked ends the whole unpacking, so what it left behind is never used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
