//! Packages that the new system's own dpkg unpacks and configures, on top of those that are configured.
//!
//! Triggers wait for the end, as with apt: what they run may count on packages that are not yet configured.

use fam_isolation::sandbox::{Command, Sandbox, Settings, StandIn};
use fam_progress::Progress;

use super::scripts::{Scripts, dpkg};
use super::{Configuration, Error, packages, require_fit_names};
use crate::dpkg::Package;
use crate::staging::Staging;

/// An installation on top of a system that is going on.
#[derive(Debug)]
pub struct OnTop<'a> {
    staging: &'a Staging,
    scripts: Scripts<'a>,
    sandbox: Sandbox,
}

impl<'a> OnTop<'a> {
    /// Begins with the installation of these packages.
    ///
    /// # Errors
    /// [`Error`]
    pub fn begin(
        staging: &'a Staging,
        configuration: &Configuration,
        more: &[Package],
        progress: &'a Progress,
    ) -> Result<Self, Error> {
        let mut scripts = Scripts::new(configuration.limits, more.len(), progress);
        more.iter().for_each(|package| scripts.add(&package.name, &package.version));
        packages::read(staging)?.iter().for_each(|package| scripts.add(&package.name, &package.version));
        let source_date_epoch = Some(configuration.source_date_epoch);
        let settings = Settings { source_date_epoch, stand_ins: StandIn::no_services(), network: None };
        Ok(Self { staging, scripts, sandbox: Sandbox::enter(staging.host_path(), &settings)? })
    }

    /// Has dpkg unpack these files, one after another.
    ///
    /// # Errors
    /// [`Error`]
    pub fn unpack(&mut self, files: impl IntoIterator<Item = String>) -> Result<(), Error> {
        self.run(dpkg().args(["--no-triggers", "--unpack"]).args(files))
    }

    /// Has dpkg configure these packages, which are unpacked with all that they depend on.
    ///
    /// # Errors
    /// [`Error`]
    pub fn configure(&mut self, packages: impl IntoIterator<Item = String>) -> Result<(), Error> {
        self.run(dpkg().args(["--no-triggers", "--configure"]).args(packages))
    }

    /// Configures all that is left, and runs what was triggered.
    ///
    /// # Errors
    /// [`Error`]
    pub fn finish(mut self) -> Result<(), Error> {
        self.run(dpkg().args(["--configure", "-a"]))?;
        self.sandbox.leave()?;
        packages::require_installed(self.staging)?;
        require_fit_names(self.staging)
    }

    fn run(&mut self, command: Command) -> Result<(), Error> {
        self.scripts.dpkg(&mut self.sandbox, command).map_err(|error| error.with_owner(self.staging))
    }
}
