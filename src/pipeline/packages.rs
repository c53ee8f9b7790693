//! From archives to an exact set of packages: a fresh choice by the resolver, or what a lock says.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use fam_archive::cache::Cache;
use fam_archive::credentials::MirrorUrl;
use fam_archive::digest::{Digest, sha256};
use fam_archive::local::LocalDeb;
use fam_archive::lock::{self, Lock, LockedPackage, LockedSource};
use fam_archive::packages::{Origin, PackageIndex, Skipped};
use fam_archive::policy::Pin;
use fam_archive::resolve::{Request, Selection as Chosen, resolve};
use fam_archive::{Download, FetchedSources, OpenedSource, Source, client, deb822, fetch, file_url};
use fam_progress::Progress;
use fam_rootfs::install::schedule::{self, Node};
use fam_rootfs::unpack::DebFile;

use super::Error;
use super::archives::{Archives, NamedSource, ca_certificates, policy};
use super::further_archives::DEBIAN;
use super::job::facts;
use super::preflight::read_lock;
use super::template_key::program;
use crate::plugins::Build;
use crate::recipe::{FabricKind, PackageName, Settings};

/// Warns of packages that no build can have, since what their indexes say of them cannot be read.
fn warn_of_skipped(skipped: &[Skipped], progress: &Progress) {
    const SHOWN: usize = 3;
    if skipped.is_empty() {
        return;
    }
    let reasons: Vec<_> = skipped.iter().take(SHOWN).map(|skipped| skipped.reason.to_string()).collect();
    let rest = match skipped.len().saturating_sub(SHOWN) {
        0 => String::new(),
        others => format!("; and {others} others"),
    };
    progress.warning(
        format!("packages passed over, whose stanzas cannot be read: {}{rest}", reasons.join("; ")),
        Some("nothing else is missing; tell those who run the archive".into()),
    );
}

/// The exact packages of a build.
#[derive(Debug)]
pub(super) struct Selection {
    archives: Archives,
    lock: Lock,
    /// How the files of the packages are fetched, in the order of the lock.
    downloads: Vec<Download>,
    time: i64,
}

impl Selection {
    /// Takes the packages of the lock that `settings` name, else asks the indexes and the resolver.
    /// `local` are the packages in files that the settings name.
    pub(super) fn choose(
        settings: &Settings,
        archives: Archives,
        local: &[LocalDeb],
        progress: &Progress,
    ) -> Result<Self, Error> {
        let lock = match &settings.locked.value {
            Some(path) => {
                progress.step(format!("Taking the packages that {} locks", path.display()));
                let lock = read_lock(path)?;
                let fits = lock.check_architecture(&settings.recipe.architecture.to_string());
                fits.map_err(|source| Error::Lock { path: path.clone(), source })?;
                if lock.mirrors().any(|mirror| mirror.login().is_some()) {
                    progress.warning(
                        format!("{} has the login of a mirror in it", path.display()),
                        Some(format!(
                            "replace it by what `fam-build lock --locked {}` writes, which has none; if others could read it, \
                             change the password",
                            path.display()
                        )),
                    );
                }
                if !lock.reproducible {
                    progress.warning(
                        format!("{} is of a build that was not reproducible", path.display()),
                        Some("it has the packages, and not what a plugin fetched that had the network".into()),
                    );
                }
                lock
            }
            None => Self::resolve(settings, &archives, local, progress)?,
        };
        let time = settings
            .source_date_epoch
            .and_then(|time| i64::try_from(time).ok())
            .unwrap_or_else(|| lock.newest_date().map_or(0, jiff::Timestamp::as_second));
        let downloads = lock.packages.iter().map(|package| download(package, local)).collect();
        Ok(Self { archives, lock, downloads, time })
    }

    fn resolve(
        settings: &Settings,
        archives: &Archives,
        local: &[LocalDeb],
        progress: &Progress,
    ) -> Result<Lock, Error> {
        let recipe = &settings.recipe;
        let named = archives.sources(settings);
        let sources: Vec<_> = named.iter().map(|named| named.source.clone()).collect();
        progress.step(format!("Reading the indexes of {}", shown(&sources)));
        let fetched = archives.client.fetch_indexes(&sources)?;
        let locked_sources = fetched.sources().iter().zip(named).enumerate();
        let locked_sources = locked_sources
            .map(|(number, (opened, named))| locked_source(opened, fetched.components(number), named, settings));
        let locked_sources: Vec<_> = locked_sources.collect::<Result<_, _>>().map_err(Error::Incomplete)?;
        let policy = policy(settings, &locked_sources);
        let own = [&[recipe.kernel.package.as_str()], fabric_packages(recipe.fabric.kind.value)].concat();
        let include = super::local::requested(recipe, local, &own);
        let request = Request {
            variant: recipe.variant.value,
            include: &include,
            suite: Some(recipe.suite.as_str()),
            policy: &policy,
            recommends: &recipe.recommends.request(),
        };
        let architecture = recipe.architecture.to_string();
        let key = choice_key(&fetched, local, &architecture, &request)?;
        if let Some(mut lock) = archives.client.kept_choice(&key).and_then(|text| Lock::parse(&text).ok()) {
            progress.detail("the packages are those chosen before: indexes and what is asked for are unchanged");
            // Their dates are new with each Release file.
            lock.sources = locked_sources;
            return Ok(lock);
        }
        let mut index = PackageIndex::new(&architecture);
        // In the order of the sources: of equal versions, the first that is added counts.
        for mut opened in archives.client.read(fetched)? {
            for read in std::mem::take(&mut opened.indexes) {
                index.add(read.text, Origin { component: read.component, ..origin(&opened) })?;
            }
        }
        warn_of_skipped(index.skipped(), progress);
        // Last, as apt adds them; what providers are preferred depends on the order.
        for deb in local {
            deb.add_to(&mut index)?;
        }
        let selection = resolve(&index, &request)?;
        let names = recipe.recommends.names().iter().map(PackageName::as_str);
        let absent: Vec<_> = names.filter(|name| selection.get(name).is_none()).collect();
        if !absent.is_empty() {
            progress.warning(
                format!("Recommends were asked for of packages that are not installed: {}", absent.join(", ")),
                Some("check the names; `recommends` installs no package that is named in it, `include` does".into()),
            );
        }
        progress.detail(format!("{} of {} packages chosen", selection.packages().len(), index.len()));
        let lock = Lock::new(&selection, index.architecture(), locked_sources).map_err(Error::Incomplete)?;
        let lock = lock.with_early(&early_stage(&selection));
        // Of what was warned of here, the next run is to warn again.
        if index.skipped().is_empty() && absent.is_empty() {
            archives.client.keep_choice(&key, &lock.to_toml());
        }
        Ok(lock)
    }

    /// Notes in the lock to which plugins of this run the recipe gives the network.
    pub(super) fn with_networked(self, plugins: &[String]) -> Self {
        Self { lock: self.lock.with_networked(plugins), ..self }
    }

    /// Notes in the lock whether some packages are installed on top of others.
    pub(super) fn with_incremental(self, incremental: bool) -> Self {
        Self { lock: self.lock.with_incremental(incremental), ..self }
    }

    /// The files of the packages, in the order of the lock.
    pub(super) fn debs(&self) -> Vec<DebFile> {
        let debs = self.lock.packages.iter().zip(&self.downloads).map(|(package, download)| DebFile {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            path: self.archives.client.path(download),
            size: package.size,
            digest: package.digest,
        });
        debs.collect()
    }

    /// The positions in the lock of the packages of the first stage.
    pub(super) fn first_stage(&self) -> Vec<usize> {
        self.positions(|package| package.essential)
    }

    /// The positions in the lock of the packages of the early stage.
    pub(super) fn early_stage(&self) -> Vec<usize> {
        self.positions(|package| package.early)
    }

    fn positions(&self, is_meant: impl Fn(&LockedPackage) -> bool) -> Vec<usize> {
        let packages = self.lock.packages.iter().enumerate();
        packages.filter(|(_, package)| is_meant(package)).map(|(position, _)| position).collect()
    }

    /// Fetches what the cache does not have, before all else what is needed first or early, and calls `arrived` with
    /// the index of each package when its file is there.
    pub(super) fn fetch(&self, stop: &AtomicBool, arrived: &(dyn Fn(usize) + Sync)) -> Result<(), fetch::Error> {
        let before_others = self.positions(|package| package.essential || package.early);
        self.archives.client.fetch_each(&self.downloads, &before_others, stop, arrived)
    }

    /// The cache that they are fetched into.
    pub(super) fn cache(&self) -> &Cache {
        self.archives.client.cache()
    }

    /// Fetches the packages at these positions, as far as the cache does not have them.
    pub(super) fn fetch_some(&self, positions: &[usize]) -> Result<(), Error> {
        let downloads: Vec<_> = positions.iter().map(|&position| self.downloads[position].clone()).collect();
        let fetched = self.archives.client.fetch_each(&downloads, &[], &AtomicBool::new(false), &|_| ());
        fetched.map_err(|error| self.not_fetched(error))
    }

    /// The error for a package that could not be fetched. Its hint depends on whether the security
    /// archive lacks it.
    pub(super) fn not_fetched(&self, error: fetch::Error) -> Error {
        let is_missing_from = |mirror: &MirrorUrl| {
            error
                .missing_url()
                .is_some_and(|url| url.strip_prefix(&mirror.to_string()).is_some_and(|rest| rest.starts_with('/')))
        };
        match &self.archives.security_mirror {
            Some(mirror) if *mirror != self.archives.mirror && is_missing_from(mirror) => Error::SecurityPool(error),
            _ => client::Error::from(error).into(),
        }
    }

    /// The time that no file of the system is later than, in seconds since 1970.
    pub(super) fn time(&self) -> i64 {
        self.time
    }

    pub(super) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The facts that plugins get of a build with these packages.
    pub(super) fn build(&self, settings: &Settings, seed: [u8; 32], progress: &Progress) -> Result<Build, Error> {
        let Archives { mirror, security_mirror, .. } = &self.archives;
        let facts = fam_plugin::Facts {
            archives: self.archives.of_guests(&self.lock),
            preferences: policy(settings, &self.lock.sources).to_preferences(),
            ca_certificates: ca_certificates(settings)?,
            ..facts(settings, mirror, security_mirror.as_ref(), self.time)
        };
        Ok(Build::new(facts, seed, progress.clone()))
    }

    /// The settings, completed by the archives that were found.
    pub(super) fn with_resolved_archives(&self, settings: &Settings) -> Settings {
        self.archives.resolved(settings)
    }

    pub(super) fn download_bytes(&self) -> u64 {
        self.lock.packages.iter().map(|package| package.size).sum()
    }

    pub(super) fn installed_bytes(&self) -> u64 {
        self.lock.packages.iter().map(|package| package.installed_size.saturating_mul(1024)).sum()
    }

    /// The file of this host that a package is copied from, if it is.
    pub(super) fn file_of(&self, position: usize) -> Option<PathBuf> {
        file_url::path_of(self.downloads.get(position)?.urls.first()?)
    }

    /// Whether a package is in the cache already.
    pub(super) fn is_cached(&self, package: &LockedPackage) -> bool {
        self.archives.client.is_cached(&package.download())
    }
}

/// The positions of the packages of the early stage, by what the index says of their relations.
fn early_stage(selection: &Chosen<'_>) -> BTreeSet<usize> {
    let nodes = selection.packages().iter().map(|selected| {
        let stanza = deb822::stanzas(selected.package.stanza()).next()?;
        Node::new(&stanza, selected.essential_stage, false).ok()
    });
    // The index has none that cannot be read.
    let nodes: Vec<Node> = nodes.collect::<Option<_>>().unwrap_or_default();
    let first = schedule::first_stage(&nodes).into_iter().collect();
    schedule::awaited(&nodes, &first)
}

/// How a package is fetched: from the file that the settings name, if that has the bytes of the
/// lock, wherever it is now; else from where the lock says.
fn download(package: &LockedPackage, local: &[LocalDeb]) -> Download {
    let mut download = package.download();
    let same = local.iter().filter(|deb| deb.digest == package.digest).map(LocalDeb::url);
    download.urls.splice(..0, same);
    download
}

/// What a guest needs to make use of the shared memory, and to look at it.
fn fabric_packages(kind: FabricKind) -> &'static [&'static str] {
    match kind {
        FabricKind::Ivshmem => &[],
        FabricKind::Nvdimm => &["kmod", "ndctl", "daxctl"],
        FabricKind::Cxl => &["kmod", "cxl", "daxctl"],
    }
}

fn shown(sources: &[Source]) -> String {
    let suites: Vec<&str> = sources.iter().map(|source| source.suite.as_str()).collect();
    suites.join(", ")
}

/// Names all that packages are chosen by: this program, the indexes in the order in which they are read,
/// with what their Release files say of them, the packages in files, and what is asked for.
fn choice_key(
    fetched: &FetchedSources,
    local: &[LocalDeb],
    architecture: &str,
    request: &Request<'_>,
) -> Result<Digest, Error> {
    let indexes = fetched
        .indexes()
        .map(|(opened, component, digest)| (Origin { component: component.to_owned(), ..origin(opened) }, digest));
    let indexes: Vec<_> = indexes.collect();
    // Derived, and so whole: a field that one of them gets later is in it.
    let parts = format!("{:?}", (program()?, architecture, indexes, local, request));
    Ok(sha256(parts.as_bytes()))
}

/// Where the packages of a suite are from, of whatever component.
fn origin(opened: &OpenedSource) -> Origin {
    let OpenedSource { source, release, .. } = opened;
    Origin {
        mirror: source.mirror().to_owned(),
        suite: source.suite.clone(),
        release: release.names(),
        ..Origin::default()
    }
}

fn locked_source(
    opened: &OpenedSource,
    components: Vec<String>,
    named: NamedSource,
    settings: &Settings,
) -> Result<LockedSource, lock::Error> {
    let OpenedSource { source, release, signed_by, .. } = opened;
    Ok(LockedSource {
        mirror: source.mirror().parse()?,
        suite: source.suite.clone(),
        components,
        date: release.date,
        signed_by: Some(signed_by.fingerprint.clone()),
        name: Some(named.name).filter(|name| name != DEBIAN),
        snapshot: source.snapshot.map(|_| settings.recipe.snapshot.to_string()),
        pin: named.priority.map(|priority| Pin::of_archive(&origin(opened), priority)),
    })
}
