//! The kernels of a tree and the list of their modules.
//!
//! Reading thousands of compressed modules for that list (depmod) is the longest single step of a
//! configuration, and depends on no package's configuration. So it is done in a sandbox of its own,
//! at the same time.

use fam_isolation::sandbox::{Command, Sandbox, Settings, StandIn};
use fam_progress::Progress;
use fam_tree::RootPath;

use super::scripts::run_program;
use super::{Error, in_tree};
use crate::staging::{self, FileType, Staging};

const DEPMOD: &str = "/usr/sbin/depmod";

/// There while the modules of a kernel are being listed, beside them.
const UNFINISHED: &str = ".fam-build-depmod";

/// The versions that have both modules and a kernel. Names that would mean something to a shell are
/// passed over.
pub(super) fn kernels(staging: &Staging) -> Result<Vec<String>, staging::Error> {
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

/// Whether a package has brought the kernel: into /boot, or (from Linux 7.2 on) beside its modules,
/// from where a postinst brings it to /boot.
fn has_kernel(staging: &Staging, version: &str) -> Result<bool, staging::Error> {
    Ok(staging.exists(&in_tree(&format!("boot/vmlinuz-{version}")))?
        || staging.exists(&in_tree(&format!("usr/lib/modules/{version}/vmlinuz")))?)
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
    /// Prepares it, if the tree has kernels, and depmod in the form that leaves room for a
    /// stand-in.
    pub(super) fn prepare(staging: &'a Staging) -> Result<Option<Self>, Error> {
        let kernels = kernels(staging)?;
        let depmod = in_tree(DEPMOD);
        let link = staging.exists(&depmod)? && staging.metadata(&depmod)?.file_type == FileType::Symlink;
        // Of a link the stand-in is only found by its name, in PATH. So it can still run the real
        // program by its path, and so can `run`.
        if kernels.is_empty() || !link {
            return Ok(None);
        }
        for version in &kernels {
            staging.write(&unfinished(version), b"", 0o600)?;
        }
        Ok(Some(Self { staging, kernels }))
    }

    /// What the maintainer scripts find as depmod. The first call for each of the kernels, that of
    /// its own package, is what is being done. A later one (someone has added a module) waits for
    /// it, and is then carried out.
    pub(super) fn stand_in(&self) -> StandIn {
        let versions = self.kernels.join("|");
        // `mkdir` succeeds for one caller alone, however many there are. With options, depmod would
        // do something else than what is being done.
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
        let mut sandbox = Sandbox::enter(self.staging.host_path(), &Settings::default())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_in_boot_or_beside_its_modules() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::open(root.path()).unwrap();
        for path in ["boot/vmlinuz-6.12.1-amd64", "boot/vmlinuz-6.9", "boot/vmlinuz-$(id)"] {
            staging.create_dir_all(&in_tree("boot")).unwrap();
            staging.write(&in_tree(path), b"", 0o644).unwrap();
        }
        for version in ["6.12.1-amd64", "7.2.13+deb14-amd64", "5.10.0", "$(id)"] {
            staging.create_dir_all(&in_tree(&format!("usr/lib/modules/{version}"))).unwrap();
        }
        staging.write(&in_tree("usr/lib/modules/7.2.13+deb14-amd64/vmlinuz"), b"", 0o644).unwrap();
        let mut kernels = kernels(&staging).unwrap();
        kernels.sort();
        assert_eq!(kernels, ["6.12.1-amd64", "7.2.13+deb14-amd64"]);
    }
}
