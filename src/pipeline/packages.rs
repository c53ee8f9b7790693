//! From archives to an exact set of packages: a fresh choice by the resolver, or what a lock says.

use std::collections::BTreeMap;
use std::fmt;
use std::iter;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use fam_archive::credentials::{Logins, MirrorUrl};
use fam_archive::http::{HttpOptions, ProxyChoice};
use fam_archive::lock::{self, Lock, LockedPackage, LockedSource};
use fam_archive::packages::PackageIndex;
use fam_archive::resolve::{Request, resolve};
use fam_archive::sources::host_mirrors;
use fam_archive::{Client, ClientOptions, Download, OpenedSource, Source, client, fetch};
use fam_progress::Progress;
use fam_rootfs::unpack::DebFile;

use super::Error;
use super::job::facts;
use super::preflight::read_lock;
use crate::plugins::Build;
use crate::recipe::{FabricKind, Origin, PackageName, Security, Settings, Sourced};

/// The names of the suite that has no updates and no security archive of its own.
const ROLLING: [&str; 2] = ["sid", "unstable"];
/// Where a Debian host names its mirrors, as a plan shows it.
const APT_SOURCES: &str = "apt sources";
/// Connections to a mirror, unless `--jobs` says: at 30 ms, eight of them are five times as fast as
/// apt's one (ARCHITECTURE.md, "Blocking HTTP on threads").
const PARALLEL_DOWNLOADS: usize = 8;

/// The archives of a build, and the client to them.
pub(super) struct Archives {
    client: Client,
    mirror: MirrorUrl,
    /// Who decided on the mirror.
    origin: Origin,
    security_mirror: Option<MirrorUrl>,
}

impl fmt::Debug for Archives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archives")
            .field("mirror", &self.mirror)
            .field("security_mirror", &self.security_mirror)
            .finish()
    }
}

impl Archives {
    /// Decides which archives packages come from, asking the network only whether a security
    /// archive is there.
    pub(super) fn open(settings: &Settings, logins: &Logins, progress: &Progress) -> Result<Self, Error> {
        let client = Client::new(client_options(settings, logins), progress.clone())?;
        let (mirror, origin) = mirror(settings);
        let suite = settings.recipe.suite.as_str();
        let security_mirror = match &settings.security.value {
            Security::None => None,
            _ if ROLLING.contains(&suite) => None,
            Security::Archive(url) => Some(url.clone()),
            // The host's own, if the mirror is the host's own, too; else the sibling of the mirror,
            // if that has the suite.
            Security::Find => match (host_security(settings), security_sibling(&mirror)) {
                (Some(url), _) => Some(url),
                (None, Some(sibling)) if client.exists(&format!("{sibling}/dists/{suite}-security/InRelease"))? => {
                    Some(sibling)
                }
                (None, sibling) => {
                    let why = match sibling {
                        Some(sibling) => format!("{sibling} does not have {suite}-security"),
                        None => "the mirror's URL has no path for it to be beside".to_owned(),
                    };
                    progress.warning(
                        format!("no security archive: {why}"),
                        Some("name one with --security-mirror URL, or say --security-mirror none".into()),
                    );
                    None
                }
            },
        };
        // By hint, since both archives may have their login from the same file.
        let concerns: BTreeMap<_, _> = iter::once(&mirror)
            .chain(&security_mirror)
            .flat_map(|mirror| logins.concerns(mirror))
            .map(|concern| (concern.hint, concern.message))
            .collect();
        for (hint, message) in concerns {
            progress.warning(message, Some(hint));
        }
        Ok(Self { client, mirror, origin, security_mirror })
    }

    fn sources(&self, settings: &Settings) -> Vec<Source> {
        let recipe = &settings.recipe;
        let suite = recipe.suite.as_str();
        let source = |mirror: &MirrorUrl, suite: String| Source {
            mirror: mirror.to_string(),
            suite,
            components: recipe.components.iter().map(ToString::to_string).collect(),
            architecture: recipe.architecture.to_string(),
        };
        let mut sources = vec![source(&self.mirror, suite.to_owned())];
        if recipe.updates.value && !ROLLING.contains(&suite) {
            sources.push(source(&self.mirror, format!("{suite}-updates")));
        }
        if let Some(mirror) = &self.security_mirror {
            sources.push(source(mirror, format!("{suite}-security")));
        }
        sources
    }
}

/// The mirror that a build takes, and who decided on it. Asks nothing of the network.
#[must_use]
pub fn mirror(settings: &Settings) -> (MirrorUrl, Origin) {
    match &settings.mirror.value {
        Some(mirror) => (mirror.clone(), settings.mirror.origin.clone()),
        None => match host_mirrors(Path::new("/etc")).main.and_then(|url| url.parse().ok()) {
            Some(mirror) => (mirror, Origin::Host(APT_SOURCES.into())),
            None => (fallback_mirror(), Origin::Default),
        },
    }
}

/// The mirror where nothing names one.
pub(super) fn fallback_mirror() -> MirrorUrl {
    match "http://ftp.us.debian.org/debian".parse() {
        Ok(mirror) => mirror,
        Err(error) => unreachable!("it has the form of an address: {error}"),
    }
}

/// The security archive of this host's apt, where the mirror is that of its apt, too.
pub(super) fn host_security(settings: &Settings) -> Option<MirrorUrl> {
    let security = host_mirrors(Path::new("/etc")).security.filter(|_| settings.mirror.is_none());
    security.and_then(|url| url.parse().ok())
}

/// The place of the security archive beside a mirror: `…/debian-security` beside `…/debian`. A
/// mirror that is a whole host has nothing beside it.
fn security_sibling(mirror: &MirrorUrl) -> Option<MirrorUrl> {
    mirror.sibling("-security")
}

fn client_options(settings: &Settings, logins: &Logins) -> ClientOptions {
    let mut options = ClientOptions::new(settings.cache_dir.value.clone());
    options.keyrings.clone_from(&settings.keyrings.value);
    options.jobs = settings.jobs.map_or(PARALLEL_DOWNLOADS, std::num::NonZero::get);
    options.accept_expired = settings.accept_expired.value;
    options.http = http_options(settings, logins);
    options
}

/// How a build makes requests.
#[must_use]
pub fn http_options(settings: &Settings, logins: &Logins) -> HttpOptions {
    // The environment was read once, into the settings; the client does not ask it again.
    let proxy = ProxyChoice::PerScheme {
        http: settings.http_proxy.value.clone(),
        https: settings.https_proxy.value.clone(),
        except: settings.no_proxy.value.clone(),
    };
    let ca_certificates =
        settings.recipe.ca_certificates.iter().chain(&settings.ca_certificates.value).cloned().collect();
    HttpOptions { proxy, logins: logins.clone(), ca_certificates, ..HttpOptions::default() }
}

/// The exact packages of a build.
#[derive(Debug)]
pub(super) struct Selection {
    archives: Archives,
    lock: Lock,
    time: i64,
}

impl Selection {
    /// Takes the packages of the lock that `settings` name, else asks the indexes and the resolver.
    pub(super) fn choose(settings: &Settings, archives: Archives, progress: &Progress) -> Result<Self, Error> {
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
                lock
            }
            None => Self::resolve(settings, &archives, progress)?,
        };
        let time = settings
            .source_date_epoch
            .and_then(|time| i64::try_from(time).ok())
            .unwrap_or_else(|| lock.newest_date().map_or(0, jiff::Timestamp::as_second));
        Ok(Self { archives, lock, time })
    }

    fn resolve(settings: &Settings, archives: &Archives, progress: &Progress) -> Result<Lock, Error> {
        let recipe = &settings.recipe;
        let sources = archives.sources(settings);
        progress.step(format!("Reading the indexes of {}", shown(&sources)));
        let opened = archives.client.open_all(&sources)?;
        let locked_sources = opened.iter().map(locked_source).collect::<Result<_, _>>().map_err(Error::Incomplete)?;
        let mut index = PackageIndex::new(&recipe.architecture.to_string());
        // In the order of the sources: of equal versions, the first that is added counts.
        for OpenedSource { source, indexes, .. } in opened {
            for read in indexes {
                let origin = fam_archive::packages::Origin {
                    mirror: source.mirror().to_owned(),
                    suite: source.suite.clone(),
                    component: read.component,
                };
                index.add(read.text, origin)?;
            }
        }
        let mut include: Vec<String> =
            recipe.include.iter().chain([&recipe.kernel.package]).map(|package| package.to_string()).collect();
        include.extend(fabric_packages(recipe.fabric.kind.value).iter().map(ToString::to_string));
        let request = Request {
            variant: recipe.variant.value,
            include: &include,
            suite: Some(recipe.suite.as_str()),
            recommends: &recipe.recommends.request(),
        };
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
        Lock::new(&selection, index.architecture(), locked_sources).map_err(Error::Incomplete)
    }

    /// The files of the packages, in the order of the lock.
    pub(super) fn debs(&self) -> Vec<DebFile> {
        let debs = self.lock.packages.iter().map(|package| DebFile {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            path: self.archives.client.path(&package.download()),
            size: package.size,
            sha256: package.sha256,
        });
        debs.collect()
    }

    /// The positions in the lock of the packages of the first stage.
    pub(super) fn first_stage(&self) -> Vec<usize> {
        let packages = self.lock.packages.iter().enumerate();
        packages.filter(|(_, package)| package.essential).map(|(position, _)| position).collect()
    }

    /// Fetches what the cache does not have, the first stage early, and calls `arrived` with the
    /// index of each package when its file is there.
    pub(super) fn fetch(&self, stop: &AtomicBool, arrived: &(dyn Fn(usize) + Sync)) -> Result<(), fetch::Error> {
        let downloads: Vec<Download> = self.lock.packages.iter().map(LockedPackage::download).collect();
        self.archives.client.fetch_each(&downloads, &self.first_stage(), stop, arrived)
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

    pub(super) fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The facts that plugins get of a build with these packages.
    pub(super) fn build(&self, settings: &Settings, seed: [u8; 32], progress: &Progress) -> Build {
        let Archives { mirror, security_mirror, .. } = &self.archives;
        Build::new(facts(settings, mirror, security_mirror.as_ref(), self.time), seed, progress.clone())
    }

    /// The settings, completed by the archives that were found.
    pub(super) fn with_resolved_archives(&self, settings: &Settings) -> Settings {
        let Archives { mirror, security_mirror, origin, .. } = &self.archives;
        let mut resolved = settings.clone();
        if settings.mirror.is_none() {
            resolved.mirror = Sourced { value: Some(mirror.clone()), origin: origin.clone() };
        }
        if settings.security.value == Security::Find {
            let (value, origin) = match security_mirror.clone() {
                Some(url) if *security_mirror == security_sibling(mirror) => (Security::Archive(url), Origin::Default),
                Some(url) => (Security::Archive(url), Origin::Host(APT_SOURCES.into())),
                None => (Security::None, Origin::Default),
            };
            resolved.security = Sourced { value, origin };
        }
        resolved
    }

    pub(super) fn download_bytes(&self) -> u64 {
        self.lock.packages.iter().map(|package| package.size).sum()
    }

    pub(super) fn installed_bytes(&self) -> u64 {
        self.lock.packages.iter().map(|package| package.installed_size.saturating_mul(1024)).sum()
    }

    /// Whether a package is in the cache already.
    pub(super) fn is_cached(&self, package: &LockedPackage) -> bool {
        self.archives.client.is_cached(&package.download())
    }
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

fn locked_source(opened: &OpenedSource) -> Result<LockedSource, lock::Error> {
    Ok(LockedSource {
        mirror: opened.source.mirror().parse()?,
        suite: opened.source.suite.clone(),
        components: opened.source.components.clone(),
        date: opened.release.date,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_security_archive_is_beside_the_mirror() {
        let beside = |mirror: &str| security_sibling(&mirror.parse().unwrap()).map(|url| url.to_string());
        assert_eq!(beside("http://mirror.example/debian").unwrap(), "http://mirror.example/debian-security");
        assert_eq!(beside("http://mirror.example:80/a/debian").unwrap(), "http://mirror.example:80/a/debian-security");
        assert_eq!(beside("http://mirror.example:80"), None);
    }
}
