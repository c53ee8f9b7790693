//! The software bill of materials, `fabric.spdx.json`: what is installed in the system that the
//! images hold, where it came from, and what of it needs what.
//!
//! It is an SPDX 2.3 document in JSON. What it says comes from dpkg's database in the root tree and
//! from the lock; the time is that of the build. So it is a pure function of both, the same for
//! root and users, and also where the template is an older build's. Packages are described as
//! debsbom does it, with the same identifiers and relationships, so that what reads documents of
//! debsbom reads these: beyond that, they have URL, file name and SHA-256 of each `.deb` file that
//! the lock knows.
//!
//! [`installed`] reads the database, [`spdx`] has the types of the document; this module makes the
//! one of the other.

mod installed;
mod spdx;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use fam_archive::digest::sha256;
use fam_archive::lock::{Lock, LockedPackage};
use installed::{Installed, System};
use spdx::{Checksum, CreationInfo, Document, Package, Purpose, Relationship, RelationshipType, Vocabulary};

/// Identifies the system as a whole.
const SYSTEM: &str = "SPDXRef-system";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

/// What a document is made from: the texts of the system's own files, and the facts of its build.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Text of `/var/lib/dpkg/status`.
    pub status: &'a str,
    /// Text of `/var/lib/apt/extended_states`; empty where there is none.
    pub extended_states: &'a str,
    /// Text of `/usr/lib/os-release`; empty where there is none.
    pub os_release: &'a str,
    /// The packages that the system was built of, if it was built here.
    pub lock: Option<&'a Lock>,
    /// The suite that it was built of; else its own word for it is taken.
    pub suite: Option<&'a str>,
    /// The time of the build, in seconds since 1970.
    pub time: i64,
}

/// The document that describes a system; `None` of one in which no package is installed.
#[must_use]
pub fn render(known: &Known<'_>) -> Option<String> {
    let system = System::read(known.status, known.extended_states);
    if system.packages.is_empty() {
        return None;
    }
    let release = OsRelease::read(known.os_release);
    let vocabulary = Vocabulary {
        vendor: release.get("ID").filter(|id| is_token(id)).unwrap_or("debian"),
        suite: known.suite.or(release.get("VERSION_CODENAME")).filter(|suite| is_token(suite)),
    };
    let name = release.get("NAME").unwrap_or("Debian");
    let whole = Package {
        name: name.to_owned(),
        version: release.get("VERSION_ID").or(vocabulary.suite).map(str::to_owned),
        purpose: Some(Purpose::OperatingSystem),
        ..Package::new(SYSTEM.to_owned())
    };
    let mut contents = Contents::new(&system, known.lock, vocabulary);
    contents.packages.insert(0, whole);
    let mut document = Document {
        spdx_version: "SPDX-2.3",
        // The one licence that SPDX allows for its documents (SPDX 2.3, 6.2).
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: release.get("PRETTY_NAME").unwrap_or(name).to_owned(),
        namespace: String::new(),
        creation_info: CreationInfo {
            created: created(known.time),
            creators: vec![concat!("Tool: fam-build-", env!("CARGO_PKG_VERSION")).to_owned()],
        },
        packages: contents.packages,
        relationships: contents.relationships,
    };
    // Each document must have a namespace of its own, and the same document the same one again.
    let digest = sha256(document.to_json().as_bytes());
    document.namespace = format!("https://spdx.org/spdxdocs/fam-build-{digest}");
    Some(document.to_json())
}

/// Formats a point in time as SPDX does. A time before 1970, or out of range, becomes the beginning
/// of 1970.
fn created(seconds: i64) -> String {
    let in_range = Timestamp::from_second(seconds).ok().filter(|time| time.as_second() >= 0);
    in_range.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// Whether `text` can stand in a package URL as it is.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// The packages of a document and how they are related.
struct Contents {
    packages: Vec<Package>,
    relationships: Vec<Relationship>,
}

impl Contents {
    fn new(system: &System<'_>, lock: Option<&Lock>, vocabulary: Vocabulary<'_>) -> Self {
        let mut names = Identifiers::default();
        let binaries: Vec<String> = system.packages.iter().map(|package| names.of_binary(package)).collect();
        let sources = Sources::of(system, &mut names);
        let locked = ByIdentity::of(lock);
        let described = system.packages.iter().zip(&binaries).map(|(package, id)| {
            let mut described = vocabulary.binary(package, id.clone());
            if let Some(locked) = locked.get(package) {
                // Where a file of the build host was tells nobody anything.
                if !locked.mirror.is_file() {
                    described.download_location = locked.url();
                }
                described.file_name = locked.filename.rsplit('/').next().map(str::to_owned);
                described.checksums = vec![Checksum::of(&locked.digest)];
            }
            described
        });
        let mut packages: Vec<Package> = described.collect();
        packages.extend(
            sources
                .0
                .iter()
                .map(|(&(name, version), (id, maintainer))| vocabulary.source(name, version, *maintainer, id.clone())),
        );

        let mut relationships = vec![Relationship::new(DOCUMENT, RelationshipType::Describes, SYSTEM)];
        for (package, id) in system.packages.iter().zip(&binaries) {
            if package.is_chosen {
                relationships.push(Relationship::new(id, RelationshipType::PackageOf, SYSTEM));
            }
            for (target, comment) in system.needs(package) {
                let needs = Relationship::new(id, RelationshipType::DependsOn, &binaries[target]);
                relationships.push(needs.with_comment(comment));
            }
            for (source, comment) in &package.built_using {
                let from = Relationship::new(id, RelationshipType::GeneratedFrom, &sources.0[source].0);
                relationships.push(from.with_comment(Some(comment)));
            }
            relationships.push(Relationship::new(&sources.0[&package.source].0, RelationshipType::Generates, id));
        }
        Self { packages, relationships }
    }
}

/// The source packages, by name and version: the identifier and the maintainer of each.
struct Sources<'a>(BTreeMap<(&'a str, &'a str), (String, Option<&'a str>)>);

impl<'a> Sources<'a> {
    fn of(system: &System<'a>, names: &mut Identifiers) -> Self {
        let mut sources: BTreeMap<_, Option<&str>> = BTreeMap::new();
        for package in &system.packages {
            let maintainer = sources.entry(package.source).or_default();
            *maintainer = maintainer.or(package.maintainer);
            for (source, _) in &package.built_using {
                sources.entry(*source).or_default();
            }
        }
        let named = sources.into_iter().map(|(source, maintainer)| (source, (names.of_source(source), maintainer)));
        Self(named.collect())
    }
}

/// The packages of a lock, by name, version and architecture.
struct ByIdentity<'a>(HashMap<(&'a str, &'a str, &'a str), &'a LockedPackage>);

impl<'a> ByIdentity<'a> {
    fn of(lock: Option<&'a Lock>) -> Self {
        let packages = lock.map(|lock| lock.packages.as_slice()).unwrap_or_default();
        let by_identity = packages
            .iter()
            .map(|package| ((package.name.as_str(), package.version.as_str(), package.architecture.as_str()), package));
        Self(by_identity.collect())
    }

    fn get(&self, package: &Installed<'_>) -> Option<&'a LockedPackage> {
        self.0.get(&(package.name, package.version, package.architecture)).copied()
    }
}

/// Gives out identifiers, of which no two packages may have the same.
#[derive(Debug, Default)]
struct Identifiers(HashMap<String, usize>);

impl Identifiers {
    fn of_binary(&mut self, package: &Installed<'_>) -> String {
        self.unique(spdx::identifier(&format!("{}-{}", package.name, package.architecture)))
    }

    fn of_source(&mut self, (name, version): (&str, &str)) -> String {
        self.unique(format!("{}-srcpkg", spdx::identifier(&format!("{name}-{version}"))))
    }

    /// Names that differ only in characters that identifiers do not have get a number.
    fn unique(&mut self, identifier: String) -> String {
        let count = self.0.entry(identifier.clone()).or_default();
        *count += 1;
        if *count == 1 {
            return identifier;
        }
        let numbered = format!("{identifier}-{count}");
        self.unique(numbered)
    }
}

/// The `KEY=value` lines of os-release(5).
struct OsRelease<'a>(HashMap<&'a str, &'a str>);

impl<'a> OsRelease<'a> {
    fn read(text: &'a str) -> Self {
        let pairs = text.lines().filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            Some((key, value.trim().trim_matches(['"', '\''])))
        });
        Self(pairs.collect())
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied().filter(|value| !value.is_empty())
    }
}
