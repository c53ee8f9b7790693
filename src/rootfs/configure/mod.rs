//! Configuration: has the maintainer scripts of an unpacked tree run, in a sandbox, by the tree's own dpkg.
//!
//! The tree comes with dpkg's database saying "install ok unpacked" of every package, though no script has run yet. What
//! dpkg would have done while unpacking is made up for first: the preinst scripts. Then dpkg configures everything.
//! The list of a kernel's modules and the initramfs, which scripts would make twice, are made once, beside dpkg.

mod clean;
mod essential;
mod initramfs;
mod modules;
mod packages;
mod scripts;
mod transcript;
mod updated;

use std::str::FromStr;
use std::sync::mpsc;
use std::thread;

use serde::{Deserialize, Serialize};

pub use clean::clean;
pub use updated::mark_up_to_date;

use self::scripts::{Scripts, dpkg};
use super::sandbox::{self, Sandbox, Settings, StandIn, TimeLimits};
use super::staging::{Staging, StagingError};
use crate::progress::{Progress, Task};
use crate::tree::RootPath;

/// What the initramfs can boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initramfs {
    /// The disks and file system of virtual machines: small, soon made, soon booted.
    #[default]
    Vm,
    /// Most hardware, as Debian makes it.
    Most,
}

impl FromStr for Initramfs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "vm" => Ok(Self::Vm),
            "most" => Ok(Self::Most),
            _ => Err(format!("{text:?} is no kind of initramfs: it is \"vm\" or \"most\"")),
        }
    }
}

/// How to configure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The kind of initramfs.
    pub initramfs: Initramfs,
    /// The time that programs should put into what they make, so that they make the same again.
    pub source_date_epoch: i64,
}

/// Why configuration stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A maintainer script, or what stands for one, failed.
    #[error("{script} script of package {package} failed: it {how}{}", quote(last_lines))]
    Script {
        /// The package.
        package: String,
        /// `pre-installation`, `post-installation`.
        script: String,
        /// How it ended.
        how: String,
        /// The last lines it printed.
        last_lines: Vec<String>,
    },
    /// A maintainer script, or what stands for one, took too long.
    #[error("{script} script of package {package} failed: {how}{}", quote(last_lines))]
    Stuck {
        /// The package.
        package: String,
        /// `pre-installation`, `post-installation`.
        script: String,
        /// Which limit it reached.
        how: String,
        /// The last lines it printed.
        last_lines: Vec<String>,
    },
    /// What runs the scripts was killed while one of them ran.
    #[error("{program} was killed while the {script} script of package {package} ran{}", quote(last_lines))]
    Killed {
        /// The program that was killed.
        program: String,
        /// The package.
        package: String,
        /// `pre-installation`, `post-installation`.
        script: String,
        /// The last lines that were printed.
        last_lines: Vec<String>,
    },
    /// A program other than a maintainer script failed.
    #[error("{program} {how}{}", quote(last_lines))]
    Program {
        /// The program, as typed.
        program: String,
        /// How it ended.
        how: String,
        /// The last lines it printed.
        last_lines: Vec<String>,
    },
    /// dpkg ended well but left packages unconfigured.
    #[error("dpkg did not configure {}{}", packages.join(", "), quote(last_lines))]
    Unconfigured {
        /// The packages.
        packages: Vec<String>,
        /// The last lines it printed.
        last_lines: Vec<String>,
    },
    /// dpkg's database cannot be read.
    #[error("/var/lib/dpkg/status of the new system: {0}")]
    Database(String),
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// A file of the tree could not be read or written.
    #[error(transparent)]
    Staging(#[from] StagingError),
}

impl Error {
    /// What the user should do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Script { package, .. } => Some(format!(
                "the whole output is in the log; a build without {package} (--include, the recipe) shows whether it is at fault"
            )),
            Self::Stuck { package, .. } => Some(format!(
                "it may wait for what a build does not have, as a running service or the network; the whole output is in the log, \
                 and a build without {package} (--include, the recipe) shows whether it is at fault"
            )),
            Self::Killed { package, .. } => Some(format!(
                "by the script itself, or by the kernel for lack of memory, which `dmesg` shows; a build without {package} \
                 (--include, the recipe) shows whether it is at fault"
            )),
            Self::Sandbox(error) => error.hint(),
            Self::Staging(error) => error.hint(),
            Self::Program { .. } | Self::Unconfigured { .. } | Self::Database(_) => None,
        }
    }
}

fn quote(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    format!("; its last lines:\n  {}", lines.join("\n  "))
}

/// Configures every package of the tree and makes the initramfs of every kernel. A maintainer script may take as long as
/// [`TimeLimits::default`] says.
///
/// # Errors
/// [`Error`]; the tree is good for nothing then.
pub fn configure(staging: &Staging, configuration: &Configuration, progress: &Progress) -> Result<(), Error> {
    configure_within(TimeLimits::default(), staging, configuration, progress)
}

/// As [`configure`], with other limits for each maintainer script.
///
/// # Errors
/// As [`configure`].
pub fn configure_within(
    limits: TimeLimits,
    staging: &Staging,
    configuration: &Configuration,
    progress: &Progress,
) -> Result<(), Error> {
    essential::make_usable(staging)?;
    let mut stand_ins = StandIn::no_services();
    stand_ins.extend(initramfs::not_yet());
    let listing = modules::Listing::prepare(staging)?;
    stand_ins.extend(listing.as_ref().map(modules::Listing::stand_in));
    let settings = Settings { source_date_epoch: Some(configuration.source_date_epoch), stand_ins };
    let (ready, may_begin) = mpsc::channel();
    let again = thread::scope(|scope| {
        let beside = scope.spawn(move || {
            if let Some(listing) = listing {
                listing.run(progress)?;
            }
            // Where configuration failed, nobody says so.
            if may_begin.recv().is_ok() { initramfs::make(staging, configuration, progress) } else { Ok(()) }
        });
        let begin = move || {
            let _ = ready.send(());
        };
        let configured = configure_packages(staging, settings, limits, begin, progress);
        let made = beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let again = configured?;
        made.map(|()| again)
    })?;
    if again { initramfs::make(staging, configuration, progress) } else { Ok(()) }
}

/// Configures all packages. Calls `initramfs_ready` when those are configured that an initramfs is made of, and tells whether
/// it has to be made again.
fn configure_packages(
    staging: &Staging,
    settings: Settings,
    limits: TimeLimits,
    initramfs_ready: impl FnOnce(),
    progress: &Progress,
) -> Result<bool, Error> {
    let packages = packages::read(staging)?;
    let sandbox = Sandbox::enter(staging.host_path(), settings)?;
    let task = progress.task(Task::Configure, packages.len() as u64);
    let mut scripts = Scripts::new(sandbox, limits, &packages, &task, progress);
    for package in packages::in_preinst_order(&packages) {
        scripts.preinst(staging, package)?;
    }
    // Everything else counts on the users and the directories that these two make, whatever they depend on.
    let first: Vec<&str> =
        packages.iter().map(|package| package.name.as_str()).filter(|name| packages::FIRST.contains(name)).collect();
    if !first.is_empty() {
        scripts.dpkg(dpkg().args(["--force-depends", "--configure"]).args(first))?;
    }
    let ingredients = initramfs::ingredients(staging, &packages)?;
    if !ingredients.is_empty() {
        let left = ingredients.iter().filter(|name| !packages::FIRST.contains(name)).copied();
        scripts.dpkg(dpkg().arg("--configure").args(left))?;
        initramfs_ready();
    }
    scripts.dpkg(dpkg().args(["--configure", "-a"]))?;
    let mut sandbox = scripts.into_sandbox();
    let asked = initramfs::asked(&mut sandbox)?;
    sandbox.leave()?;
    let left: Vec<String> =
        packages::read(staging)?.into_iter().filter(|package| !package.installed).map(|package| package.name).collect();
    if !left.is_empty() {
        return Err(Error::Unconfigured { packages: left, last_lines: Vec::new() });
    }
    Ok(asked.iter().any(|name| !ingredients.contains(&name.as_str())))
}

/// A path that is known to be fit.
fn in_tree(path: &str) -> RootPath {
    RootPath::new(path).unwrap_or_default()
}
