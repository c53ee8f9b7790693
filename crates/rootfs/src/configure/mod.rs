//! Configuration: has the maintainer scripts of an unpacked tree run, in a sandbox, by the tree's
//! own dpkg.
//!
//! Packages come into the tree in several steps (see [`super::install`]), and between these
//! [`Configurator`] runs preinst scripts, which dpkg would run while unpacking, and has dpkg
//! configure what has to be configured early. At the end dpkg configures everything that is left.
//! The list of a kernel's modules and the initramfs, which scripts would make twice, are made once,
//! beside dpkg.

mod cause;
mod clean;
mod debconf;
mod essential;
mod initramfs;
mod modules;
mod on_top;
mod packages;
mod printed;
mod scripts;
mod stages;
mod stopwatch;
mod systemd_update_done;
mod transcript;

use std::io;

use fam_isolation::sandbox::{self, TimeLimits};
use fam_progress::Hint;
use fam_tree::RootPath;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

pub use cause::Cause;
pub use clean::clean;
pub use debconf::Answers;
pub use on_top::OnTop;
pub use printed::Printed;
pub use stages::Configurator;
pub use systemd_update_done::mark_up_to_date;

use self::scripts::dpkg;
use super::names;
use super::staging::{self, Staging};

/// What the initramfs holds drivers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Display, EnumString)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Initramfs {
    /// The disks that virtual machines have, whatever their hypervisor: virtio, SCSI, SATA, IDE, NVMe,
    /// USB and SD cards.
    #[default]
    Vm,
    /// Most hardware there is, as Debian's installer sets it up; larger and slower to make and to
    /// boot.
    Most,
}

/// How to configure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The kind of initramfs.
    pub initramfs: Initramfs,
    /// The time that programs should put into what they make, so that they make the same again.
    pub source_date_epoch: i64,
    /// Answers to the questions of packages.
    pub answers: Answers,
    /// How long a maintainer script may take.
    pub limits: TimeLimits,
}

/// Why configuration stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A maintainer script, or what stands for one, failed.
    #[error("{script} script of package {package} failed: it {how}{printed}")]
    Script {
        /// The package.
        package: String,
        /// `pre-installation`, `post-installation`.
        script: String,
        /// How it ended.
        how: String,
        /// What it printed.
        printed: Box<Printed>,
    },
    /// A maintainer script, or what stands for one, took too long.
    #[error("{script} script of package {package} failed: {how}{printed}")]
    Stuck {
        /// The package.
        package: String,
        /// `pre-installation`, `post-installation`.
        script: String,
        /// Which limit it reached.
        how: String,
        /// What it printed.
        printed: Box<Printed>,
    },
    /// What runs the scripts was killed while one of them ran.
    #[error("{program} was killed while the {script} script of package {package} ran{printed}")]
    Killed {
        /// The program that was killed.
        program: String,
        /// The package.
        package: String,
        /// `pre-installation`, `post-installation`.
        script: String,
        /// What it printed.
        printed: Box<Printed>,
    },
    /// A program other than a maintainer script failed.
    #[error("{program} {how}{printed}")]
    Program {
        /// The program, as typed.
        program: String,
        /// How it ended.
        how: String,
        /// What it printed.
        printed: Box<Printed>,
    },
    /// dpkg ended well but left packages unconfigured.
    #[error("dpkg did not configure {}{printed}", packages.join(", "))]
    Unconfigured {
        /// The packages.
        packages: Vec<String>,
        /// What it printed.
        printed: Box<Printed>,
    },
    /// A maintainer script made a file that no image can hold.
    #[error("a maintainer script made {path}, whose name or link target is not UTF-8")]
    NotUtf8 {
        /// The file.
        path: RootPath,
    },
    /// dpkg's database cannot be read.
    #[error("/var/lib/dpkg/status of the new system: {0}")]
    Database(String),
    /// The sandbox failed.
    #[error("{0}")]
    Sandbox(#[from] sandbox::Error),
    /// A file of the tree could not be read or written.
    #[error("{0}")]
    Staging(#[from] staging::Error),
    /// The host allows no further thread.
    #[error("{0}")]
    Thread(#[source] io::Error),
}

impl Error {
    /// The same, with the package whose hook failed, where it was a hook.
    fn with_owner(mut self, staging: &Staging) -> Self {
        if let Self::Script { printed, .. } | Self::Program { printed, .. } = &mut self {
            printed.find_owner(staging);
        }
        self
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Script { package, how, printed, .. } => Some(hint(package, how, printed).unwrap_or_else(|| {
                let package = printed.owner().unwrap_or(package);
                format!(
                    "the whole output is in the log; a build without {package} (--include, the recipe) shows whether it is at \
                     fault"
                )
            })),
            Self::Stuck { package, how, printed, .. } => Some(hint(package, how, printed).unwrap_or_else(|| {
                format!(
                    "it may wait for what a build does not have, as a running service or the network; the whole output is in \
                     the log, and a build without {package} (--include, the recipe) shows whether it is at fault"
                )
            })),
            Self::Killed { package, .. } => Some(format!(
                "by the script itself, or by the kernel for lack of memory, which `dmesg` shows; a build without {package} \
                 (--include, the recipe) shows whether it is at fault"
            )),
            Self::Program { how, printed, .. } => printed.owner().map(|package| {
                hint(package, how, printed).unwrap_or_else(|| {
                    format!("a build without {package} (--include, the recipe) shows whether it is at fault")
                })
            }),
            Self::NotUtf8 { .. } => Some(
                "leave out the package whose script makes it: names in an image must be UTF-8; its scripts are in \
                 /var/lib/dpkg/info of a system that has it"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// What to do about a script of `package` that ended in this way, if its cause is known. The
/// package of a hook is at fault rather than the one that runs it.
fn hint(package: &str, how: &str, printed: &Printed) -> Option<String> {
    let package = printed.owner().unwrap_or(package);
    Some(Cause::of(how).as_ref().or(printed.cause())?.hint(package))
}

/// Checks that no script made a file that no image can hold.
fn require_fit_names(staging: &Staging) -> Result<(), Error> {
    match names::find_unfit(staging)? {
        Some(path) => Err(Error::NotUtf8 { path }),
        None => Ok(()),
    }
}

/// A path that is known to be fit.
fn in_tree(path: &str) -> RootPath {
    RootPath::new(path).unwrap_or_default()
}
