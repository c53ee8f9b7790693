//! The archives of a build: which they are, and what the guests are told of them.

use std::collections::BTreeMap;
use std::fmt;
use std::iter;
use std::path::{Path, PathBuf};

use fam_archive::credentials::{Logins, MirrorUrl};
use fam_archive::http::{HttpOptions, ProxyChoice};
use fam_archive::lock::{Lock, LockedSource};
use fam_archive::policy::{Policy, Priority};
use fam_archive::sources::{host_mirrors, is_flat};
use fam_archive::{Client, ClientOptions, Source};
use fam_plugin::{ArchiveKeys, CaCertificate};
use fam_progress::Progress;

use super::Error;
use super::further_archives::{DEBIAN, FurtherArchive, further_archives};
use crate::recipe::{Origin, Security, Settings, Sourced};

/// The names of the suite that has no updates and no security archive of its own.
const ROLLING: [&str; 2] = ["sid", "unstable"];
/// Where a Debian host names its mirrors, as a plan shows it.
const APT_SOURCES: &str = "apt sources";
/// Connections to a mirror, unless `--jobs` says: at 30 ms, eight of them are five times as fast as
/// apt's one (ARCHITECTURE.md, "Blocking HTTP on threads").
const PARALLEL_DOWNLOADS: usize = 8;

/// The archives of a build, and the client to them.
pub(super) struct Archives {
    pub(super) client: Client,
    pub(super) mirror: MirrorUrl,
    /// Who decided on the mirror.
    origin: Origin,
    pub(super) security_mirror: Option<MirrorUrl>,
    further: Vec<FurtherArchive>,
}

/// A suite to read.
#[derive(Debug)]
pub(super) struct NamedSource {
    pub(super) source: Source,
    /// What a guest calls its archive.
    pub(super) name: String,
    /// What its versions count, if it was given a priority.
    pub(super) priority: Option<Priority>,
}

impl fmt::Debug for Archives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archives")
            .field("mirror", &self.mirror)
            .field("security_mirror", &self.security_mirror)
            .field("further", &self.further)
            .finish_non_exhaustive()
    }
}

impl Archives {
    /// Decides which archives packages come from, asking the network only whether a security
    /// archive is there.
    pub(super) fn open(settings: &Settings, logins: &Logins, progress: &Progress) -> Result<Self, Error> {
        let client = Client::new(client_options(settings, logins), progress.clone())?;
        let further = further_archives(settings)?;
        let (mirror, origin) = mirror(settings);
        let suite = settings.recipe.suite.as_str();
        let security_mirror = match &settings.security.value {
            Security::None => None,
            _ if ROLLING.contains(&suite) => None,
            Security::Archive(url) => Some(at_snapshot(url, settings)),
            // The host's own, if the mirror is the host's own, too; else the sibling of the mirror,
            // if that has the suite.
            Security::Find => match (host_security(settings), security_sibling(settings)) {
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
        // By hint, since several archives may have their login from the same file.
        let concerns: BTreeMap<_, _> = iter::once(&mirror)
            .chain(&security_mirror)
            .chain(further.iter().filter_map(|archive| archive.url.as_ref()))
            .flat_map(|mirror| logins.concerns(mirror))
            .map(|concern| (concern.hint, concern.message))
            .collect();
        for (hint, message) in concerns {
            progress.warning(message, Some(hint));
        }
        Ok(Self { client, mirror, origin, security_mirror, further })
    }

    /// All suites to read. The first are those that belong to the suite of the recipe.
    pub(super) fn sources(&self, settings: &Settings) -> Vec<NamedSource> {
        let recipe = &settings.recipe;
        let suite = recipe.suite.as_str();
        let snapshot = recipe.snapshot.time();
        let source = |mirror: &MirrorUrl, suite: String| Source {
            mirror: mirror.to_string(),
            suite,
            components: recipe.components.iter().map(ToString::to_string).collect(),
            architecture: recipe.architecture.to_string(),
            snapshot,
            ..Source::default()
        };
        let mut sources = vec![source(&self.mirror, suite.to_owned())];
        if recipe.updates.value && !ROLLING.contains(&suite) {
            sources.push(source(&self.mirror, format!("{suite}-updates")));
        }
        if let Some(mirror) = &self.security_mirror {
            sources.push(source(mirror, format!("{suite}-security")));
        }
        let of_suite = |source| NamedSource { source, name: DEBIAN.to_owned(), priority: None };
        let mut named: Vec<_> = sources.into_iter().map(of_suite).collect();
        for archive in &self.further {
            let url = archive.url.as_ref();
            for suite in &archive.suites {
                let source = Source {
                    components: archive.components.clone(),
                    keyring: archive.keyring.clone(),
                    // Others keep no snapshots that go with that of Debian.
                    snapshot: snapshot.filter(|_| url.is_none()),
                    ..source(url.unwrap_or(&self.mirror), suite.clone())
                };
                named.push(NamedSource { source, name: archive.name.clone(), priority: archive.priority });
            }
        }
        named
    }

    /// The archives of a lock as apt in the guests is to know them. Suites that differ in nothing
    /// else stand together.
    pub(super) fn of_guests(&self, lock: &Lock) -> Vec<fam_plugin::Archive> {
        let mut archives: Vec<fam_plugin::Archive> = Vec::new();
        // Of a suite that has none of the components, apt has nothing to ask.
        let has_any = |source: &&LockedSource| !source.components.is_empty() || is_flat(&source.suite);
        for source in lock.sources.iter().filter(has_any) {
            let LockedSource { mirror, suite, components, signed_by, name, snapshot, .. } = source;
            let archive = fam_plugin::Archive {
                name: name.clone().unwrap_or_else(|| DEBIAN.to_owned()),
                url: mirror.to_string(),
                suites: Vec::new(),
                components: components.clone(),
                keys: signed_by.as_deref().and_then(|fingerprint| self.keys(source, fingerprint)).unwrap_or_default(),
                snapshot: snapshot.clone(),
            };
            match archives.last_mut() {
                Some(last) if (fam_plugin::Archive { suites: Vec::new(), ..last.clone() }) == archive => {
                    last.suites.push(suite.clone());
                }
                _ => archives.push(fam_plugin::Archive { suites: vec![suite.clone()], ..archive }),
            }
        }
        archives
    }

    /// The key of this fingerprint, and those that came in one file with it, if it is one of those
    /// that may vouch for the source. Keys of other archives are not looked at: guests would trust
    /// what comes along with them.
    fn keys(&self, source: &LockedSource, fingerprint: &str) -> Option<ArchiveKeys> {
        let is_of = |archive: &&FurtherArchive| {
            source.name.as_deref().unwrap_or(DEBIAN) == archive.name && archive.suites.contains(&source.suite)
        };
        let own = self.further.iter().find(is_of).and_then(|archive| archive.keyring.as_deref());
        let keyring = own.unwrap_or(self.client.keyring());
        let vouching = hex::encode(keyring.packet(fingerprint)?);
        Some(ArchiveKeys { vouching, armored: keyring.armored_file_of(fingerprint)? })
    }

    /// The settings, completed by the archives that were found.
    pub(super) fn resolved(&self, settings: &Settings) -> Settings {
        let mut resolved = settings.clone();
        if settings.mirror.is_none() {
            resolved.mirror = Sourced { value: Some(self.mirror.clone()), origin: self.origin.clone() };
        }
        if settings.security.value == Security::Find {
            let (value, origin) = match self.security_mirror.clone() {
                Some(url) if self.security_mirror == security_sibling(settings) => {
                    (Security::Archive(url), Origin::Default)
                }
                Some(url) => (Security::Archive(url), Origin::Host(APT_SOURCES.into())),
                None => (Security::None, Origin::Default),
            };
            resolved.security = Sourced { value, origin };
        }
        resolved
    }
}

/// What decides between the versions of several archives: the pins of the recipe, and then those
/// that give archives their priorities.
pub(super) fn policy(settings: &Settings, sources: &[LockedSource]) -> Policy {
    let of_recipe = settings.recipe.pins.iter().map(|pin| &pin.what);
    let of_archives = sources.iter().filter_map(|source| source.pin.as_ref());
    Policy::new(of_recipe.chain(of_archives).cloned().collect())
}

/// The mirror that a build takes, and who decided on it. Asks nothing of the network.
#[must_use]
pub fn mirror(settings: &Settings) -> (MirrorUrl, Origin) {
    let (base, origin) = mirror_of_now(settings);
    (at_snapshot(&base, settings), origin)
}

/// The mirror without the directory of a snapshot.
fn mirror_of_now(settings: &Settings) -> (MirrorUrl, Origin) {
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

/// The archive as it was at the time of the snapshot, if the settings name one: snapshot services
/// have a directory for each time.
fn at_snapshot(archive: &MirrorUrl, settings: &Settings) -> MirrorUrl {
    match settings.recipe.snapshot.time() {
        Some(_) => archive.join(&settings.recipe.snapshot.to_string()),
        None => archive.clone(),
    }
}

/// The security archive of this host's apt, where the mirror is that of its apt, too.
pub(super) fn host_security(settings: &Settings) -> Option<MirrorUrl> {
    let is_of_host = settings.mirror.is_none() && settings.recipe.snapshot.time().is_none();
    let security = host_mirrors(Path::new("/etc")).security.filter(|_| is_of_host);
    security.and_then(|url| url.parse().ok())
}

/// The place of the security archive beside the mirror: `…/debian-security` beside `…/debian`. A
/// mirror that is a whole host has nothing beside it.
fn security_sibling(settings: &Settings) -> Option<MirrorUrl> {
    let sibling = mirror_of_now(settings).0.sibling("-security")?;
    Some(at_snapshot(&sibling, settings))
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
    let ca_certificates = ca_files(settings).cloned().collect();
    HttpOptions { proxy, logins: logins.clone(), ca_certificates, ..HttpOptions::default() }
}

fn ca_files(settings: &Settings) -> impl Iterator<Item = &PathBuf> {
    settings.recipe.ca_certificates.iter().chain(&settings.ca_certificates.value)
}

/// The certificates of private authorities, for the guests. The client has read the same files.
pub(super) fn ca_certificates(settings: &Settings) -> Result<Vec<CaCertificate>, Error> {
    let mut certificates: Vec<CaCertificate> = Vec::new();
    for path in ca_files(settings) {
        let pem = fs_err::read_to_string(path).map_err(|source| Error::Named { flag: "--ca-certificate", source })?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let letters: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let taken = |name: &str| certificates.iter().any(|other| other.name == name);
        let mut numbered = (2..).map(|number| format!("{letters}-{number}"));
        let name = iter::once(letters.clone()).chain(&mut numbered).find(|name| !taken(name)).unwrap_or_default();
        certificates.push(CaCertificate { name, pem });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Environment, Flags};

    fn settings(mirror: &str, snapshot: Option<&str>) -> Settings {
        let flags = Flags {
            mirror: Some(mirror.parse().unwrap()),
            snapshot: snapshot.map(|time| time.parse().unwrap()),
            ..Flags::default()
        };
        Settings::new(flags, &Environment::default()).unwrap()
    }

    #[test]
    fn the_security_archive_is_beside_the_mirror() {
        for (url, snapshot, security) in [
            ("http://mirror.example/debian", None, Some("http://mirror.example/debian-security")),
            ("http://mirror.example:80/a/debian", None, Some("http://mirror.example:80/a/debian-security")),
            ("http://mirror.example:80", None, None),
            (
                "http://mirror.example/archive/debian",
                Some("20261101T000000Z"),
                Some("http://mirror.example/archive/debian-security/20261101T000000Z"),
            ),
        ] {
            let beside = security_sibling(&settings(url, snapshot)).map(|url| url.to_string());
            assert_eq!(beside.as_deref(), security, "{url}");
        }
    }

    #[test]
    fn a_snapshot_is_a_directory_of_its_service() {
        let at = |settings: &Settings| mirror(settings).0.to_string();
        let time = Some("20261101T000000Z");
        assert_eq!(
            at(&settings("http://mirror.example/debian/", time)),
            "http://mirror.example/debian/20261101T000000Z"
        );
        let flags = Flags { snapshot: time.map(|time| time.parse().unwrap()), ..Flags::default() };
        let settings = Settings::new(flags, &Environment::default()).unwrap();
        assert!(at(&settings).ends_with("/debian/20261101T000000Z"), "{}", at(&settings));
        assert_eq!(host_security(&settings), None);
    }
}
