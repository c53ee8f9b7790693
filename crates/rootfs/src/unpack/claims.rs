//! Who owns which name in the tree, and who gets it where two packages want the same (Debian Policy
//! 7.6.1):
//! - a directory belongs to all;
//! - else the package that Replaces the other wins, of two that replace each other the later;
//! - else it is a conflict.
//!
//! A name is known by the real path of the directory it is in, so `/bin/x` and `/usr/bin/x` of a
//! merged /usr are one.

use std::collections::{HashMap, HashSet};

use fam_tree::RootPath;

use crate::dpkg::Package;

/// A position in the list of packages.
pub(super) type Index = usize;

/// One name and its owner.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) owner: Index,
    /// The path as the owner's archive has it.
    pub(super) path: RootPath,
    pub(super) directory: bool,
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

/// Two packages that want a name for what does not go together.
#[derive(Debug)]
pub(super) struct Contradiction {
    pub(super) held: Claim,
    pub(super) wanted: Claim,
}

/// All names claimed so far.
#[derive(Debug, Default)]
pub(super) struct Claims {
    names: HashMap<RootPath, Claim>,
    taken: HashMap<Index, HashSet<RootPath>>,
}

impl Claims {
    /// Who has the name.
    pub(super) fn holder(&self, name: &RootPath) -> Option<&Claim> {
        self.names.get(name)
    }

    /// Whether `claim` gets a name that is not a directory for both: [`Verdict::Make`] or
    /// [`Verdict::Lost`].
    pub(super) fn decide<'p>(
        &self,
        name: &RootPath,
        claim: &Claim,
        package: impl Fn(Index) -> Option<&'p Package>,
    ) -> Result<Verdict, Box<Contradiction>> {
        let Some(held) = self.names.get(name) else { return Ok(Verdict::Make) };
        let contradiction = || Err(Box::new(Contradiction { held: held.clone(), wanted: claim.clone() }));
        if held.directory != claim.directory {
            return contradiction();
        }
        if held.owner == claim.owner {
            return Ok(Verdict::Make);
        }
        let replaces = |left: Index, right: Index| match (package(left), package(right)) {
            (Some(left), Some(right)) => left.replaces(right),
            _ => false,
        };
        if replaces(claim.owner, held.owner) {
            return Ok(Verdict::Make);
        }
        if replaces(held.owner, claim.owner) { Ok(Verdict::Lost) } else { contradiction() }
    }

    /// Notes that the name is `claim`'s from now on, even if another had it.
    pub(super) fn hold(&mut self, name: RootPath, claim: Claim) {
        let owner = claim.owner;
        if let Some(held) = self.names.insert(name, claim)
            && held.owner != owner
        {
            self.taken.entry(held.owner).or_default().insert(held.path);
        }
    }

    /// Notes that the name is `claim`'s unless another has it.
    pub(super) fn hold_if_free(&mut self, name: RootPath, claim: Claim) {
        self.names.entry(name).or_insert(claim);
    }

    /// Notes that what had the name `from` is called `to`, if `moves` says so of its claim.
    pub(super) fn rename(&mut self, from: &RootPath, to: RootPath, moves: impl Fn(&Claim) -> bool) {
        if self.names.get(from).is_some_and(moves)
            && let Some(claim) = self.names.remove(from)
        {
            self.names.insert(to, claim);
        }
    }

    /// Whether the path was the package's and another package has it now.
    pub(super) fn was_taken(&self, package: Index, path: &RootPath) -> bool {
        self.taken.get(&package).is_some_and(|paths| paths.contains(path))
    }
}
