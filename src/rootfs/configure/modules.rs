//! The kernels of a tree and the list of their modules.
//!
//! Reading thousands of compressed modules for that list (depmod) is the longest single step of a configuration, and
//! depends on no package's configuration. So it is done in a sandbox of its own, at the same time.

use super::scripts::run_program;
use super::{Error, in_tree};
use crate::progress::Progress;
use crate::rootfs::sandbox::{Command, Sandbox, Settings, StandIn};
use crate::rootfs::staging::{FileType, Staging, StagingError};
use crate::tree::RootPath;

const DEPMOD: &str = "/usr/sbin/depmod";

/// There while the modules of a kernel are being listed, beside them.
const UNFINISHED: &str = ".fam-build-depmod";

/// The versions that have both modules and a kernel. Names that would mean something to a shell are passed over.
pub(super) fn kernels(staging: &Staging) -> Result<Vec<String>, StagingError> {
    let modules = in_tree("usr/lib/modules");
    if !staging.exists(&modules)? {
        return Ok(Vec::new());
    }
    let mut kernels = Vec::new();
    for version in staging.list(&modules)? {
        let Ok(version) = String::from_utf8(version) else { continue };
        let fit = version.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b));
        if fit && version.starts_with(|c: char| c.is_ascii_digit()) && has_kernel(staging, &version)? {
            kernels.push(version);
        }
    }
    Ok(kernels)
}

/// Since Debian 14 a kernel comes with its modules, and its postinst copies it to /boot.
fn has_kernel(staging: &Staging, version: &str) -> Result<bool, StagingError> {
    let places = [format!("boot/vmlinuz-{version}"), format!("usr/lib/modules/{version}/vmlinuz")];
    places.iter().try_fold(false, |found, place| Ok(found || staging.exists(&in_tree(place))?))
}

fn unfinished(version: &str) -> RootPath {
    in_tree(&format!("usr/lib/modules/{version}/{UNFINISHED}"))
}

/// The right to list the modules of some kernels while packages are configured.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    staging: &'a Staging,
    kernels: Vec<String>,
}

impl<'a> Listing<'a> {
    /// Prepares it, if the tree has kernels, and depmod in the form that leaves room for a stand-in.
    pub(super) fn prepare(staging: &'a Staging) -> Result<Option<Self>, Error> {
        let kernels = kernels(staging)?;
        let depmod = in_tree(DEPMOD);
        let link = staging.exists(&depmod)? && staging.metadata(&depmod)?.file_type == FileType::Symlink;
        if kernels.is_empty() || !link {
            return Ok(None);
        }
        for version in &kernels {
            staging.write(&unfinished(version), b"", 0o600)?;
        }
        Ok(Some(Self { staging, kernels }))
    }

    /// What the maintainer scripts find as depmod. The first call for each of the kernels, that of its own package, is
    /// what is being done. A later one (someone has added a module) waits for it, and is then carried out.
    pub(super) fn stand_in(&self) -> StandIn {
        let versions = self.kernels.join("|");
        let content = format!(
            "#!/bin/sh\n\
             if [ $# = 1 ]; then\n\
             \tcase \"$1\" in {versions}) mkdir \"/run/fam-build/depmod-$1\" 2>/dev/null && exit 0 ;; esac\n\
             fi\n\
             while ls /usr/lib/modules/*/{UNFINISHED} >/dev/null 2>&1; do sleep 0.1; done\n\
             exec {DEPMOD} \"$@\"\n"
        );
        StandIn { path: DEPMOD.into(), content, even_if_missing: false }
    }

    /// Does it.
    pub(super) fn run(self, progress: &Progress) -> Result<(), Error> {
        let mut sandbox = Sandbox::enter(self.staging.host_path(), Settings::default())?;
        for version in &self.kernels {
            let command = Command::new(DEPMOD).arg(version);
            run_program(&mut sandbox, &command, &format!("depmod {version}"), "depmod", progress)?;
        }
        sandbox.leave()?;
        Ok(())
    }
}

impl Drop for Listing<'_> {
    /// However it ended: whoever waits for it must not wait for ever.
    fn drop(&mut self) {
        for version in &self.kernels {
            let _ = self.staging.remove(&unfinished(version));
        }
    }
}
