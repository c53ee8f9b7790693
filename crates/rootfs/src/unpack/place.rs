//! Puts prepared packages into the tree, one after another and entry by entry, as dpkg would: by
//! names that diversions give, with owners that overrides want, in place of what Replaces allows.
//! The bytes are there already; what is left is to rename files and to make all else.
//!
//! Directories get their attributes when all packages of a call are through. A directory that was
//! there before, be it of an earlier call or of a script, keeps what it has, its time included.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use fam_tree::{RootPath, Timestamp};

use super::claims::{Claim, Claims, Index};
use super::prepare::Prepared;
use super::{Error, Unpacked};
use crate::dpkg::{self, Activations, Diversions, Overrides, Package, Record};
use crate::staging::{self, Attributes, Directory, Staging};

mod package;

use package::Placing;

/// The placing of packages into a tree that begins empty. Nothing but this and the new system's own
/// programs changes it.
#[derive(Debug)]
pub struct Placement<'a> {
    staging: &'a Staging,
    /// Where the prepared packages' files are, on the same file system.
    aside: &'a Staging,
    architecture: &'a str,
    claims: Claims,
    /// What is placed, by position in the list of packages.
    placed: BTreeMap<Index, Unpacked>,
    /// Directories and links to them that were made without a package, and wait for one to say how
    /// they should be.
    ownerless: BTreeSet<RootPath>,
    diversions: Diversions,
    /// As they are when the next packages' scripts begin, once that is known.
    overrides: Option<Overrides>,
    activations: Activations,
    directories: Directories,
    /// Directories that packages have, and that are not there since they are excluded.
    excluded: HashSet<RootPath>,
}

/// The directories that change while packages are placed.
#[derive(Debug, Default)]
struct Directories {
    /// Those that are new, with what their packages want.
    new: BTreeMap<RootPath, Attributes>,
    /// Those that were there, with the time they had.
    old: BTreeMap<RootPath, Timestamp>,
}

/// A directory held open. Archives go through directories one after another, so one is kept.
#[derive(Debug)]
struct Parent {
    directory: Directory,
    real_path: RootPath,
}

impl<'a> Placement<'a> {
    /// Begins with a tree that no package has anything in, but perhaps `ownerless` directories and
    /// links to them.
    pub(super) fn new(
        staging: &'a Staging,
        aside: &'a Staging,
        architecture: &'a str,
        ownerless: BTreeSet<RootPath>,
    ) -> Self {
        Self {
            staging,
            aside,
            architecture,
            claims: Claims::default(),
            placed: BTreeMap::new(),
            ownerless,
            diversions: Diversions::default(),
            overrides: None,
            activations: Activations::default(),
            directories: Directories::default(),
            excluded: HashSet::new(),
        }
    }

    /// Says that the preinst scripts of the packages that are placed next are about to run. As with
    /// dpkg, which reads them once when it begins to unpack packages, overrides that these scripts
    /// make are for packages of a later call.
    ///
    /// # Errors
    /// [`Error::Database`]
    pub fn before_scripts(&mut self) -> Result<(), Error> {
        if self.overrides.is_none() {
            self.overrides = Some(Overrides::read(self.staging)?);
        }
        Ok(())
    }

    /// Places these packages, each with its position in the list, and adds them to dpkg's database.
    ///
    /// # Errors
    /// [`Error`]
    pub fn place(&mut self, packages: Vec<(usize, Prepared)>) -> Result<(), Error> {
        self.before_scripts()?;
        self.follow_scripts()?;
        let mut sums = BTreeMap::new();
        for (index, prepared) in packages {
            let name = prepared.package.name.clone();
            let failed = |source| Error::Staging { package: name.clone(), source };
            let contents = self.aside.directory(&RootPath::root()).map_err(failed)?;
            let files = contents.open_directory(&prepared.contents).map_err(failed)?;
            let conffiles = prepared.package.conffiles.iter().filter(|conffile| !conffile.remove_on_upgrade);
            let conffiles = conffiles.map(|conffile| conffile.path.clone()).collect();
            let wants_sums = !prepared.package.has("md5sums");
            self.placed.insert(index, Unpacked { package: prepared.package, files: Vec::new() });
            let mut placing = Placing { placement: self, package: name.clone(), index, files, conffiles, parent: None };
            let text = placing.run(prepared.entries)?;
            sums.insert(index, wants_sums.then_some(text));
            contents.remove(&prepared.contents).map_err(failed)?;
        }
        self.update_database(&sums)?;
        self.overrides = None;
        self.settle_directories().map_err(Error::Tree)
    }

    /// The package at this position in the list, if it is placed.
    #[must_use]
    pub fn package(&self, position: usize) -> Option<&Package> {
        self.placed.get(&position).map(|unpacked| &unpacked.package)
    }

    /// Every package that was placed, by its position in the list.
    #[must_use]
    pub fn into_unpacked(self) -> Vec<Unpacked> {
        self.placed.into_values().collect()
    }

    /// Takes over what scripts have diverted since the last call.
    fn follow_scripts(&mut self) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.diversions, Diversions::read(self.staging)?);
        self.activations = Activations::read(self.staging)?;
        for change in self.diversions.moves_since(&before) {
            let moves = |claim: &Claim| {
                let owner = self.placed.get(&claim.owner).map(|unpacked| unpacked.package.name.as_str());
                claim.path == *change.contested && owner != change.by
            };
            if let (Some(from), Some(to)) = (self.real_path(change.from)?, self.real_path(change.to)?) {
                self.claims.rename(&from, to, moves);
            }
        }
        Ok(())
    }

    /// The name under which `path` is claimed, if its directory is there.
    fn real_path(&self, path: &RootPath) -> Result<Option<RootPath>, Error> {
        let find = || {
            let parent = path.parent().unwrap_or_default();
            if !self.staging.is_directory(&parent)? {
                return Ok(None);
            }
            let parent = self.staging.real_path(&self.staging.directory(&parent)?)?;
            Ok(parent.join(path.file_name()).ok())
        };
        find().map_err(Error::Tree)
    }

    /// Adds the packages of this call to dpkg's database, and takes what they took over from
    /// earlier ones off the lists of those. `sums` has the text of md5sums for those that bring
    /// none.
    fn update_database(&mut self, sums: &BTreeMap<Index, Option<String>>) -> Result<(), dpkg::Error> {
        let mut records = Vec::new();
        for (&index, Unpacked { package, files }) in &mut self.placed {
            let before = files.len();
            files.retain(|path| !self.claims.was_taken(index, path));
            match sums.get(&index) {
                Some(md5sums) => records.push(Record { package, files, md5sums: md5sums.as_deref() }),
                None if files.len() != before => dpkg::write_list(self.staging, package, files)?,
                None => {}
            }
        }
        dpkg::add(self.staging, self.architecture, &records)?;
        self.activations.write(self.staging)
    }

    /// Sets what each new directory's package wants, now that nothing is made in any of them any
    /// more.
    fn settle_directories(&mut self) -> Result<(), staging::Error> {
        let Directories { new, old } = std::mem::take(&mut self.directories);
        for (path, attributes) in &new {
            self.staging.directory(path)?.set_own_attributes(attributes, &BTreeMap::new())?;
        }
        for (path, time) in old.iter().filter(|(path, _)| !new.contains_key(*path)) {
            self.staging.directory(path)?.set_own_time(*time)?;
        }
        Ok(())
    }
}
