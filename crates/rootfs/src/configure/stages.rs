//! The steps of configuration: the first stage, what some packages wait for, and the rest.

use std::sync::mpsc;
use std::thread;

use fam_host::parallel::spawn;
use fam_isolation::sandbox::{Sandbox, Settings, StandIn};
use fam_progress::Progress;

use super::packages;
use super::scripts::Scripts;
use super::{Configuration, Error, debconf, dpkg, essential, initramfs, modules, require_fit_names};
use crate::dpkg::Package;
use crate::install::schedule::{DEBCONF, FOREMOST};
use crate::staging::Staging;

/// The configuration of a tree that packages are placed into step by step.
#[derive(Debug)]
pub struct Configurator<'a> {
    staging: &'a Staging,
    configuration: &'a Configuration,
    progress: &'a Progress,
    scripts: Scripts<'a>,
    /// Between the first script after a change of the tree and the next change.
    sandbox: Option<Sandbox>,
    /// Whether debconf has taken the answers.
    is_preseeded: bool,
}

impl<'a> Configurator<'a> {
    /// Begins, with `count` packages to come.
    #[must_use]
    pub fn new(staging: &'a Staging, configuration: &'a Configuration, count: usize, progress: &'a Progress) -> Self {
        let scripts = Scripts::new(configuration.limits, count, progress);
        Self { staging, configuration, progress, scripts, sandbox: None, is_preseeded: false }
    }

    /// Makes the essential packages, and what these depend on, a system that scripts can count on.
    /// They are in the tree; their preinst scripts run in this order. If debconf is one of them, it
    /// takes the answers before any of these scripts runs.
    ///
    /// # Errors
    /// [`Error`]
    pub fn first_stage(&mut self, packages: &[&Package]) -> Result<(), Error> {
        essential::make_usable(self.staging, packages)?;
        packages.iter().for_each(|package| self.add(package));
        if self.wants_preseeding() && packages.iter().any(|package| package.name == DEBCONF) {
            self.preseed()?;
        }
        for package in packages {
            self.preinst(package)?;
        }
        if let Some(sandbox) = &self.sandbox {
            self.progress.detail(sandbox.describe_ids());
        }
        // Everything else counts on the users and the directories that these two make, whatever
        // they depend on.
        let names = packages.iter().map(|package| package.name.as_str());
        let (foremost, others): (Vec<_>, Vec<_>) = names.partition(|name| FOREMOST.contains(name));
        self.run_dpkg(&["--force-depends", "--configure"], foremost)?;
        self.run_dpkg(&["--configure"], others)
    }

    /// Takes note of a package that is in the tree: from now on dpkg may run its scripts, those of
    /// triggers too.
    pub fn add(&mut self, package: &Package) {
        self.scripts.add(&package.name, &package.version);
    }

    /// Whether there are answers that debconf does not know yet.
    #[must_use]
    pub fn wants_preseeding(&self) -> bool {
        !self.is_preseeded && !self.configuration.answers.is_empty()
    }

    /// Has debconf take the answers. It is configured, or in the tree with its conffiles in their
    /// places.
    ///
    /// # Errors
    /// [`Error`]
    pub fn preseed(&mut self) -> Result<(), Error> {
        let (answers, staging, progress) = (&self.configuration.answers, self.staging, self.progress);
        progress.detail("debconf takes the answers to questions of packages");
        self.with_sandbox(|sandbox| debconf::preseed(answers, sandbox, staging, progress))?;
        self.is_preseeded = true;
        Ok(())
    }

    /// Runs the preinst of a package that is not in the tree yet, if it has one.
    ///
    /// # Errors
    /// [`Error`]
    pub fn preinst(&mut self, package: &Package) -> Result<(), Error> {
        if !package.has("preinst") {
            return Ok(());
        }
        let mut sandbox = self.enter()?;
        let ran = self.scripts.preinst(&mut sandbox, self.staging, package);
        ran.map_err(|error| error.with_owner(self.staging))?;
        self.sandbox = Some(sandbox);
        Ok(())
    }

    /// Has dpkg configure these packages, which are in the tree with all that they depend on.
    ///
    /// # Errors
    /// [`Error`]
    pub fn configure<'n>(&mut self, packages: impl IntoIterator<Item = &'n str>) -> Result<(), Error> {
        self.run_dpkg(&["--configure"], packages.into_iter().collect())
    }

    /// Lets go of the tree, so that packages can be placed.
    ///
    /// # Errors
    /// [`Error`]
    pub fn leave(&mut self) -> Result<(), Error> {
        Ok(self.sandbox.take().map_or(Ok(()), Sandbox::leave)?)
    }

    /// Configures all that is left, and makes the initramfs of every kernel.
    ///
    /// # Errors
    /// [`Error`]
    pub fn finish(mut self) -> Result<(), Error> {
        self.leave()?;
        if self.wants_preseeding() {
            let hint = Some("include the package debconf, or leave the answers out".to_owned());
            self.progress.warning("no package asks by debconf: the answers have no effect", hint);
        }
        let (staging, configuration, progress) = (self.staging, self.configuration, self.progress);
        let mut stand_ins = stand_ins();
        let listing = modules::Listing::prepare(staging)?;
        stand_ins.extend(listing.as_ref().map(modules::Listing::stand_in));
        let (ready, may_begin) = mpsc::channel();
        let again = thread::scope(|scope| {
            let beside = spawn(scope, move || {
                if let Some(listing) = listing {
                    // First: mkinitramfs finds the modules that others depend on in this list.
                    listing.run(progress)?;
                }
                // Where configuration fails, this never comes.
                if may_begin.recv().is_ok() { initramfs::make(staging, configuration, progress) } else { Ok(()) }
            });
            let beside = beside.map_err(Error::Thread)?;
            let begin = move || {
                let _ = ready.send(());
            };
            self.sandbox = Some(self.enter_with(stand_ins)?);
            let configured = self.configure_rest(begin);
            let made = beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // dpkg's failure comes first: where it failed, the other thread was not let go on, and
            // has nothing to say.
            let again = configured?;
            made.map(|()| again)
        })?;
        if again || initramfs::is_lacking(staging)? {
            initramfs::make(staging, configuration, progress)?;
        }
        require_fit_names(staging)
    }

    /// Configures all packages that are not. Calls `initramfs_ready` when those are configured that
    /// an initramfs is made of, and tells whether it has to be made again.
    fn configure_rest(&mut self, initramfs_ready: impl FnOnce()) -> Result<bool, Error> {
        let packages = packages::read(self.staging)?;
        packages.iter().for_each(|package| self.scripts.add(&package.name, &package.version));
        let ingredients = initramfs::ingredients(self.staging, &packages)?;
        if !ingredients.is_empty() {
            let left = packages.iter().filter(|package| !package.installed).map(|package| package.name.as_str());
            self.configure(left.filter(|name| ingredients.contains(name)))?;
            self.with_sandbox(initramfs::forget)?;
            initramfs_ready();
        }
        self.run_dpkg(&["--configure"], vec!["-a"])?;
        // Where none can be made, it does not matter who asks.
        let again = if ingredients.is_empty() { false } else { self.with_sandbox(initramfs::was_requested)? };
        // The next sandbox has a stand-in more, that of depmod.
        self.leave()?;
        packages::require_installed(self.staging)?;
        Ok(again)
    }

    /// Runs dpkg, if there is anything for it to do.
    fn run_dpkg(&mut self, options: &[&str], arguments: Vec<&str>) -> Result<(), Error> {
        if arguments.is_empty() {
            return Ok(());
        }
        let mut sandbox = self.enter()?;
        let ran = self.scripts.dpkg(&mut sandbox, dpkg().args(options.iter().copied()).args(arguments));
        ran.map_err(|error| error.with_owner(self.staging))?;
        self.sandbox = Some(sandbox);
        Ok(())
    }

    /// Does something in the sandbox, which stays.
    fn with_sandbox<T>(&mut self, act: impl FnOnce(&mut Sandbox) -> Result<T, Error>) -> Result<T, Error> {
        let mut sandbox = self.enter()?;
        let done = act(&mut sandbox)?;
        self.sandbox = Some(sandbox);
        Ok(done)
    }

    /// The sandbox that was entered before and not left, or a new one.
    fn enter(&mut self) -> Result<Sandbox, Error> {
        match self.sandbox.take() {
            Some(sandbox) => Ok(sandbox),
            None => self.enter_with(stand_ins()),
        }
    }

    fn enter_with(&self, stand_ins: Vec<StandIn>) -> Result<Sandbox, Error> {
        let source_date_epoch = Some(self.configuration.source_date_epoch);
        let settings = Settings { source_date_epoch, stand_ins, network: None };
        Ok(Sandbox::enter(self.staging.host_path(), &settings)?)
    }
}

/// What maintainer scripts find in place of the tree's own.
fn stand_ins() -> Vec<StandIn> {
    StandIn::no_services().into_iter().chain(initramfs::deferring()).collect()
}
