//! A directory for the staging tree, in memory where that has room.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use fam_host::space::{available_memory, require_space};
use fam_progress::Progress;
use fam_rootfs::staging::Staging;
use fam_rootfs::tmpfs;
use fam_tree::tarball::StagedFiles;
use fam_tree::{Store, Tree, tarball};

use super::Error;
use super::job::Job;
use super::packages::Selection;

/// Memory that a build takes in addition to the staging tree.
const WORKING_MEMORY_BYTES: u64 = 700 << 20;

/// A directory for the staging tree, and the tree in it. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct StagingPlace {
    /// The tree, empty at first.
    pub(super) staging: Arc<Staging>,
    /// For files that do not belong to the tree yet; on the same file system, so that they can be
    /// renamed into it.
    pub(super) aside: Staging,
    path: PathBuf,
}

impl StagingPlace {
    /// Takes memory if there is enough: nothing of the tree has to last, and the mount ends with
    /// the worker's namespace. Else takes the disk of the output directory. It is called `name` among
    /// those of a build. Plugins will copy `copied_bytes` into it.
    pub(super) fn prepare(
        name: &str,
        job: &Job,
        selection: &Selection,
        copied_bytes: u64,
        progress: &Progress,
    ) -> Result<Self, Error> {
        let path = job.output.work().join(name);
        fs_err::create_dir(&path)?;
        // A quarter more than the packages: scripts and plugins make files, too.
        let packages = selection.installed_bytes();
        let needed = packages.saturating_add(packages / 4).saturating_add(copied_bytes);
        if available_memory().is_some_and(|available| available > needed.saturating_add(WORKING_MEMORY_BYTES)) {
            tmpfs::mount(&path, needed + WORKING_MEMORY_BYTES)
                .map_err(|source| Error::Staging { path: path.clone(), source })?;
            progress.detail("the staging tree is in memory");
        } else {
            require_space(&path, "the staging tree", needed)?;
            progress.detail("the staging tree is on disk: memory is short");
        }
        let (root, aside) = (path.join("root"), path.join("aside"));
        fs_err::create_dir(&aside)?;
        fs_err::create_dir(&root)?;
        // Whatever the umask: other users of the new system must reach the tree, too.
        for directory in [&path, &root] {
            fs_err::set_permissions(directory, PermissionsExt::from_mode(0o755))?;
        }
        Ok(Self { staging: Arc::new(Staging::open(&root)?), aside: Staging::open(&aside)?, path })
    }

    /// Reads the tree, as its tarball has it: with device nodes, and with no time later than `latest`, in seconds
    /// since 1970. The bytes of its files stay in the place, and the place stays as long as the store does.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub(super) fn into_tree(self, latest: i64) -> Result<(Tree, Arc<dyn Store>), Error> {
        let (tree, files) = tarball::read_directory(fs_err::File::open(self.staging.host_path())?, latest)?;
        let tree = tarball::finished(tree, &self.staging.devices(), latest);
        Ok((tree, Arc::new(Staged { files, _place: self })))
    }
}

impl Drop for StagingPlace {
    /// Frees the memory of the tree. What cannot be removed here is removed with the work
    /// directory.
    fn drop(&mut self) {
        if rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH).is_ok() {
            let _ = fs_err::remove_dir(&self.path);
        } else {
            let _ = fs_err::remove_dir_all(&self.path);
        }
    }
}

/// The files of a staging tree.
#[derive(Debug)]
struct Staged {
    files: StagedFiles,
    _place: StagingPlace,
}

impl Store for Staged {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.files.fill(buffer, offset)
    }
}
