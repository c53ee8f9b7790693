//! The placing of one package, entry by entry.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::rc::Rc;

use fam_tree::{Entry as TreeEntry, RootPath};

use super::super::claims::{Claim, Contradiction, Index, Verdict};
use super::super::prepare::{Entry, What};
use super::{Error, Parent, Placement};
use crate::dpkg::NEW_CONFFILE;
use crate::staging::{self, Attributes, Directory, FileType};

/// The placing of one package.
pub(super) struct Placing<'p, 'a> {
    pub(super) placement: &'p mut Placement<'a>,
    pub(super) package: String,
    pub(super) index: Index,
    /// Its files, by the numbers of their entries.
    pub(super) files: Directory,
    pub(super) conffiles: HashSet<RootPath>,
    pub(super) parent: Option<Rc<Parent>>,
}

/// Where an entry belongs.
struct Place {
    parent: Rc<Parent>,
    /// The path that the entry has on disk, but for the suffix of a new conffile.
    path: RootPath,
    /// The name on disk.
    name: Vec<u8>,
    /// The name that is claimed.
    real_path: RootPath,
}

impl Placing<'_, '_> {
    /// Places all entries; gives the text for `md5sums`, of those sums that the entries have. As
    /// with dpkg, symbolic links come after all else, so that nothing of the package goes through
    /// them.
    pub(super) fn run(&mut self, entries: Vec<Entry>) -> Result<String, Error> {
        let mut sums = HashMap::new();
        let mut listed = Vec::with_capacity(entries.len());
        let is_link = |(_, entry): &(usize, Entry)| matches!(entry.what, What::Symlink(_));
        let (links, others): (Vec<_>, Vec<_>) = entries.into_iter().enumerate().partition(is_link);
        for (number, entry) in others.into_iter().chain(links) {
            let verdict = if entry.excluded { self.leave_out(&entry)? } else { self.entry(number, &entry)? };
            if verdict == Verdict::Lost {
                continue;
            }
            if let What::File(Some(sum)) | What::HardLink(_, Some(sum)) = entry.what {
                sums.insert(entry.path.clone(), sum);
            }
            listed.push(entry.path);
        }
        // As dpkg generates them: every regular file and hard link, conffiles too, as often as it
        // is listed, with the sum of the last.
        let mut text = String::new();
        for (path, sum) in listed.iter().filter_map(|path| Some((path, sums.get(path)?))) {
            let _ = writeln!(text, "{sum}  {}", String::from_utf8_lossy(path.as_bytes()));
        }
        if let Some(unpacked) = self.placement.placed.get_mut(&self.index) {
            unpacked.files = listed;
        }
        Ok(text)
    }

    fn entry(&mut self, number: usize, entry: &Entry) -> Result<Verdict, Error> {
        let place = self.place(&entry.path)?;
        self.note_activation(&place.path);
        let mut attributes = entry.attributes;
        let overridden = self.placement.overrides.as_ref().is_some_and(|them| them.apply(&entry.path, &mut attributes));
        if matches!(entry.what, What::Directory) {
            return self.directory(&place, entry, attributes);
        }
        let claim = Claim { owner: self.index, path: entry.path.clone(), directory: false };
        match self.found(&place.parent.directory, place.path.file_name())? {
            // dpkg replaces no directory by a link, nor a link to a directory by a directory
            // (Debian Policy 6.6).
            Some(FileType::Directory) if matches!(entry.what, What::Symlink(_)) => return Ok(Verdict::Shared),
            Some(FileType::Directory) => {
                let claims = &mut self.placement.claims;
                let held = claims.holder(&place.real_path).cloned();
                let held = held.unwrap_or(Claim { directory: true, ..claim.clone() });
                return Err(self.contradiction(&Contradiction { held, wanted: claim }));
            }
            // One that no package has made is made again, with the attributes that this one gives.
            Some(FileType::Symlink)
                if self.is_same_directory(&place, entry)? && !self.placement.ownerless.remove(&place.real_path) =>
            {
                return Ok(Verdict::Shared);
            }
            _ => {}
        }
        let verdict = self.decide(&place.real_path, &claim)?;
        if verdict == Verdict::Make {
            self.placement.staging.forget_device(&place.path);
            // Before the new file takes the name: by another name of the old one, a user could keep
            // a setuid program with a fault that an upgrade corrects (CVE-2004-2768).
            self.take_privileges(&place).map_err(|error| self.error(error))?;
            self.make(number, &place, entry, &attributes, overridden).map_err(|error| self.error(error))?;
            self.placement.claims.hold(place.real_path, claim);
        }
        Ok(verdict)
    }

    /// Notes that the package has brought `path`, which triggers may be about.
    fn note_activation(&mut self, path: &RootPath) {
        let Placement { activations, placed, .. } = &mut *self.placement;
        if let Some(unpacked) = placed.get(&self.index) {
            activations.note(&unpacked.package, path);
        }
    }

    /// Makes nothing of an excluded entry. As with dpkg, its path is the package's all the same: on
    /// its list, heard by triggers, and in conflict with that of another.
    fn leave_out(&mut self, entry: &Entry) -> Result<Verdict, Error> {
        let path = self.used_path(&entry.path)?;
        self.note_activation(&path);
        let directory = matches!(entry.what, What::Directory);
        let may_be_there = directory || matches!(entry.what, What::Symlink(_));
        if may_be_there && self.placement.staging.is_directory(&path).map_err(|error| self.error(error))? {
            return Ok(Verdict::Shared);
        }
        // Its directory may be excluded, too; then no other path can lead to it.
        let name = self.placement.real_path(&path)?.unwrap_or_else(|| path.clone());
        let claim = Claim { owner: self.index, path: entry.path.clone(), directory };
        // Of a directory dpkg assumes that all may have it.
        if !directory && self.decide(&name, &claim)? == Verdict::Lost {
            return Ok(Verdict::Lost);
        }
        self.placement.claims.hold_if_free(name, claim);
        self.placement.excluded.extend(directory.then_some(path));
        Ok(Verdict::Shared)
    }

    /// Takes privileges from the file that is replaced, as dpkg does: it may have another name.
    fn take_privileges(&self, place: &Place) -> Result<(), staging::Error> {
        let (directory, name) = (&place.parent.directory, place.name.as_slice());
        let found = match directory.metadata(name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        if found.file_type != FileType::File || found.attributes.mode & 0o7000 == 0 {
            return Ok(());
        }
        let plain = Attributes { mode: 0o600, ..found.attributes };
        directory.set_attributes(name, &plain, &BTreeMap::new())
    }

    fn make(
        &self,
        number: usize,
        place: &Place,
        entry: &Entry,
        attributes: &Attributes,
        overridden: bool,
    ) -> Result<(), staging::Error> {
        let Placement { staging, .. } = &*self.placement;
        let (directory, name) = (&place.parent.directory, place.name.as_slice());
        match &entry.what {
            What::Directory => Ok(()),
            // Its attributes were set when it was prepared, but those that an override gives.
            What::File(_) => {
                directory.take(name, &self.files, number.to_string().as_bytes())?;
                if overridden { directory.set_attributes(name, attributes, &BTreeMap::new()) } else { Ok(()) }
            }
            What::HardLink(target, _) => {
                let used = self.placement.diversions.name(target, &self.package);
                directory.remove(name)?;
                directory.hard_link(name, &staging.parent(used)?, &self.name_on_disk(target, used))?;
                // Of all names of a file, the last says how it should be.
                directory.set_attributes(name, attributes, &BTreeMap::new())
            }
            What::Symlink(target) => {
                directory.remove(name)?;
                directory.symlink(name, target)?;
                directory.set_attributes(name, attributes, &BTreeMap::new())
            }
            What::Fifo => {
                directory.remove(name)?;
                directory.fifo(name)?;
                directory.set_attributes(name, attributes, &BTreeMap::new())
            }
            What::Device(kind) => {
                let Attributes { mode, uid, gid, mtime } = *attributes;
                directory.remove(name)?;
                let device = TreeEntry { kind: kind.clone(), mode, uid, gid, mtime, xattrs: BTreeMap::new() };
                staging.device(place.path.clone(), device);
                Ok(())
            }
        }
    }

    /// A directory that is there, perhaps through a link, is taken as it is.
    fn directory(&mut self, place: &Place, entry: &Entry, attributes: Attributes) -> Result<Verdict, Error> {
        let claim = Claim { owner: self.index, path: entry.path.clone(), directory: true };
        let there = self.placement.staging.is_directory(&place.path).map_err(|error| self.error(error))?;
        if !there {
            let other = self.placement.claims.holder(&place.real_path).is_some_and(|held| !held.directory);
            if other && self.decide(&place.real_path, &claim)? == Verdict::Lost {
                return Ok(Verdict::Lost);
            }
            // A file that no package has, or a link that leads nowhere, makes room.
            let directory = &place.parent.directory;
            let made = directory.remove(&place.name).and_then(|()| directory.create_directory(&place.name, 0o755));
            made.map_err(|error| self.error(error))?;
        }
        let Placement { claims, ownerless, directories, .. } = &mut *self.placement;
        if !there || ownerless.remove(&place.real_path) {
            directories.new.insert(place.real_path.clone(), attributes);
        }
        claims.hold_if_free(place.real_path.clone(), claim);
        Ok(if there { Verdict::Shared } else { Verdict::Make })
    }

    /// The name that diversions leave for `path`. Nothing may have a name that another's file was
    /// diverted to.
    fn used_path(&self, path: &RootPath) -> Result<RootPath, Error> {
        let diversions = &self.placement.diversions;
        match diversions.contested(path) {
            Some(contested) => {
                Err(Error::Diverted { package: self.package.clone(), path: path.clone(), contested: contested.clone() })
            }
            None => Ok(diversions.name(path, &self.package).clone()),
        }
    }

    fn place(&mut self, listed: &RootPath) -> Result<Place, Error> {
        let path = self.used_path(listed)?;
        self.require_included_parents(&path)?;
        let parent = self.parent(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::NoDirectory { package: self.package.clone(), path: listed.clone() },
            _ => self.error(error),
        })?;
        let real_path = parent.real_path.join(path.file_name());
        let real_path = real_path.map_err(|source| Error::Path { package: self.package.clone(), source })?;
        let name = self.name_on_disk(listed, &path);
        Ok(Place { parent, name, real_path, path })
    }

    /// Finds that no directory above `path` is missing because it is excluded: dpkg cannot unpack
    /// that either.
    fn require_included_parents(&self, path: &RootPath) -> Result<(), Error> {
        let Placement { excluded, staging, .. } = &*self.placement;
        if excluded.is_empty() {
            return Ok(());
        }
        let mut parents = std::iter::successors(path.parent(), RootPath::parent);
        let Some(directory) = parents.find(|parent| excluded.contains(parent)) else { return Ok(()) };
        // A later package may have brought it, or a script.
        if staging.is_directory(&directory).map_err(|error| self.error(error))? {
            return Ok(());
        }
        Err(Error::InExcluded { package: self.package.clone(), directory, path: path.clone() })
    }

    /// The directory that holds `path` (the root holds itself). As with dpkg, it must be there.
    fn parent(&mut self, path: &RootPath) -> Result<Rc<Parent>, staging::Error> {
        let wanted = path.parent().unwrap_or_default();
        if let Some(parent) = self.parent.as_ref().filter(|parent| *parent.directory.path() == wanted) {
            return Ok(Rc::clone(parent));
        }
        let staging = self.placement.staging;
        let directory = staging.directory(&wanted)?;
        let real_path = staging.real_path(&directory)?;
        let time = directory.own_metadata()?.attributes.mtime;
        self.placement.directories.old.entry(real_path.clone()).or_insert(time);
        Ok(Rc::clone(self.parent.insert(Rc::new(Parent { directory, real_path }))))
    }

    /// What has the name, if anything has.
    fn found(&self, directory: &Directory, name: &[u8]) -> Result<Option<FileType>, Error> {
        match directory.metadata(name) {
            Ok(metadata) => Ok(Some(metadata.file_type)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Whether an entry is a link to the directory that the link in its place leads to, too.
    fn is_same_directory(&self, place: &Place, entry: &Entry) -> Result<bool, Error> {
        let What::Symlink(target) = &entry.what else { return Ok(false) };
        let leads_to = |target: &[u8]| self.placement.staging.linked_directory(&place.path, target);
        let same = || {
            let there = leads_to(&place.parent.directory.read_link(&place.name)?)?;
            Ok(there.is_some() && there == leads_to(target)?)
        };
        same().map_err(|error| self.error(error))
    }

    fn decide(&self, name: &RootPath, claim: &Claim) -> Result<Verdict, Error> {
        let Placement { claims, placed, .. } = &*self.placement;
        let package = |index: Index| placed.get(&index).map(|unpacked| &unpacked.package);
        let verdict = claims.decide(name, claim, package);
        verdict.map_err(|contradiction| self.contradiction(&contradiction))
    }

    fn error(&self, source: staging::Error) -> Error {
        Error::Staging { package: self.package.clone(), source }
    }

    fn contradiction(&self, Contradiction { held, wanted }: &Contradiction) -> Error {
        let name = |claim: &Claim| {
            self.placement.placed.get(&claim.owner).map_or_else(String::new, |it| it.package.name.clone())
        };
        if held.owner == wanted.owner {
            return Error::Contradiction { package: self.package.clone(), path: wanted.path.clone() };
        }
        // By their positions in the list, so that the message is the same whichever was placed
        // first.
        let (first, second) = if held.owner < wanted.owner { (held, wanted) } else { (wanted, held) };
        Error::Conflict {
            path: first.path.clone(),
            first: name(first),
            second: name(second),
            kinds: if held.directory == wanted.directory { "" } else { ", as a directory and as a file" },
        }
    }

    /// The name of `path`, called `used` because of diversions: a conffile waits beside its place.
    fn name_on_disk(&self, path: &RootPath, used: &RootPath) -> Vec<u8> {
        let suffix = if self.conffiles.contains(path) { NEW_CONFFILE } else { b"" };
        [used.file_name(), suffix].concat()
    }
}
