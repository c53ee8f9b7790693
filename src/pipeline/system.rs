//! The files of the new system while it is completed: in memory, until a program has to run in it.
//!
//! A program needs the files in a directory, and to put them there takes longer than all that is done without
//! programs. Either way the same comes of it (see [`crate::plugins`]). What depends on more of the kernel than its files
//! themselves, as ACLs do, is done in the directory, too.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use fam_isolation::sandbox;
use fam_plugin::{Attributes, Command, FileDigest, Metadata, Output, Problem, Result, RootFs};
use fam_rootfs::staging::Staging;
use fam_tree::{Store, Tree};

use super::Error;
use super::base::Maker;
use super::base_tree::BaseTree;
use super::network;
use super::staging_place::StagingPlace;
use crate::plugins::{CopiedFiles, OverlayRoot, StagingRoot};

/// More than this that is written does not stay in memory, where each node's disk would have it again.
const MAX_BYTES_IN_MEMORY: u64 = 16 << 20;

/// Where programs run.
const STAGING: &str = "staging-of-plugins";

/// The files of the new system.
pub(super) struct System<'a> {
    files: Files,
    maker: &'a Maker<'a>,
    /// What programs find inside.
    inside: sandbox::Settings,
    /// What plugins may copy.
    copied: CopiedFiles,
    time: i64,
    failure: Option<Error>,
}

enum Files {
    InMemory { base: BaseTree, root: OverlayRoot },
    Staged { place: StagingPlace, root: StagingRoot },
}

impl<'a> System<'a> {
    /// The files of a base system that `maker` made. Programs find inside what `inside` says; what is written has
    /// the time `time`, in seconds since 1970; plugins may copy the files `copied`.
    pub(super) fn new(
        base: BaseTree,
        maker: &'a Maker<'a>,
        inside: sandbox::Settings,
        copied: CopiedFiles,
        time: i64,
    ) -> Self {
        let root = OverlayRoot::new(Arc::clone(base.tree()), Arc::clone(base.store()), time);
        let files = Files::InMemory { base, root: root.with_copied_files(copied.clone()) };
        Self { files, maker, inside, copied, time, failure: None }
    }

    /// The files in a directory, where they are put if they are not there yet.
    ///
    /// # Errors
    /// [`Error`]
    pub(super) fn staging(&mut self) -> Result<Arc<Staging>, Error> {
        let (base, root) = match &self.files {
            Files::Staged { place, .. } => return Ok(Arc::clone(&place.staging)),
            Files::InMemory { base, root } => (base, root),
        };
        self.maker.progress.detail("the system is put into a directory");
        let place = self.maker.place(STAGING)?;
        base.extract(&root.changed_tree(), &place.staging)?;
        let staging = Arc::clone(&place.staging);
        let root = on_disk(&place, self.maker, &self.inside, &self.copied, self.time);
        self.files = Files::Staged { place, root };
        Ok(staging)
    }

    /// Why there is no directory, if that is the cause of what a plugin was told.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Ends the changes. Returns the system as its tarball has it, and where the bytes of its files lie.
    ///
    /// # Errors
    /// [`Error`]
    pub(super) fn complete(self) -> Result<(Tree, Arc<dyn Store>), Error> {
        match self.files {
            Files::InMemory { base, root } => {
                Ok((base.finished(root.changed_tree(), self.time), Arc::clone(base.store())))
            }
            Files::Staged { place, .. } => place.into_tree(self.time),
        }
    }

    fn files(&self) -> &dyn RootFs {
        match &self.files {
            Files::InMemory { root, .. } => root,
            Files::Staged { root, .. } => root,
        }
    }

    fn files_mut(&mut self) -> &mut dyn RootFs {
        match &mut self.files {
            Files::InMemory { root, .. } => root,
            Files::Staged { root, .. } => root,
        }
    }

    /// The files in a directory, where a program can run in them.
    fn staged(&mut self) -> Result<&mut dyn RootFs, String> {
        if let Err(error) = self.staging() {
            let message = error.to_string();
            self.failure = Some(error);
            return Err(message);
        }
        Ok(self.files_mut())
    }

    /// The files, for a change at `path` that writes so many bytes.
    fn changing(&mut self, operation: &str, path: &Path, bytes: u64) -> Result<&mut dyn RootFs> {
        let is_for_memory = match &self.files {
            Files::InMemory { root, .. } => {
                root.written().saturating_add(bytes) <= MAX_BYTES_IN_MEMORY && !root.has_acl_near(path)
            }
            Files::Staged { .. } => true,
        };
        if is_for_memory {
            return Ok(self.files_mut());
        }
        self.staged().map_err(|message| Problem::Other(message).at(operation, path))
    }
}

/// The files in `place`, as those that plugins change.
fn on_disk(
    place: &StagingPlace,
    maker: &Maker<'_>,
    inside: &sandbox::Settings,
    copied: &CopiedFiles,
    time: i64,
) -> StagingRoot {
    let root = StagingRoot::new(Arc::clone(&place.staging), inside.clone(), maker.progress.clone(), time);
    root.with_copied_files(copied.clone()).with_network(network::of_host(&maker.job.settings))
}

impl RootFs for System<'_> {
    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.files().metadata(path)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.files().read(path)
    }

    fn write(&mut self, path: &Path, contents: &[u8], attributes: Attributes) -> Result<()> {
        self.changing("write", path, contents.len() as u64)?.write(path, contents, attributes)
    }

    fn copy(&mut self, file: &FileDigest, path: &Path, attributes: Attributes) -> Result<()> {
        self.changing("copy", path, file.size)?.copy(file, path, attributes)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        self.files().list(path)
    }

    fn create_dir(&mut self, path: &Path, mode: u32) -> Result<()> {
        self.changing("create directory", path, 0)?.create_dir(path, mode)
    }

    fn symlink(&mut self, target: &Path, path: &Path) -> Result<()> {
        self.changing("link", path, 0)?.symlink(target, path)
    }

    fn remove(&mut self, path: &Path) -> Result<()> {
        self.files_mut().remove(path)
    }

    fn set_mode(&mut self, path: &Path, mode: u32) -> Result<()> {
        self.changing("change mode of", path, 0)?.set_mode(path, mode)
    }

    fn set_owner(&mut self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        self.changing("change owner of", path, 0)?.set_owner(path, uid, gid)
    }

    fn xattrs(&self, path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        self.files().xattrs(path)
    }

    fn set_xattr(&mut self, path: &Path, name: &[u8], value: &[u8]) -> Result<()> {
        // Which others there may be, and what else they change, the kernel knows.
        if OverlayRoot::is_plain(name) {
            return self.files_mut().set_xattr(path, name, value);
        }
        let failed = |message| Problem::Other(message).at("set attribute of", path);
        self.staged().map_err(failed)?.set_xattr(path, name, value)
    }

    fn run(&mut self, command: &Command) -> Result<Output> {
        let failed = |message| fam_plugin::Error::Run { program: command.line(), message };
        self.staged().map_err(failed)?.run(command)
    }
}
