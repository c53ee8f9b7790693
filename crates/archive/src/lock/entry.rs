//! A package as a lock file has it: each key checked on its own, and one digest among them.

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{LockedPackage, check_digest, filename};
use crate::credentials::MirrorUrl;
use crate::digest::{Algorithm, Digest};
use crate::version::Version;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    #[serde(deserialize_with = "name")]
    name: String,
    #[serde(deserialize_with = "version")]
    version: String,
    #[serde(deserialize_with = "name")]
    architecture: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    essential: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    early: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    automatic: bool,
    size: u64,
    #[serde(default, rename = "installed-size")]
    installed_size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "sha256")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "sha512")]
    sha512: Option<String>,
    #[serde(deserialize_with = "checked_filename")]
    filename: String,
    mirror: MirrorUrl,
}

impl From<LockedPackage> for Entry {
    fn from(package: LockedPackage) -> Self {
        let LockedPackage { name, version, architecture, essential, early, automatic, size, installed_size, .. } =
            package;
        let digits = |algorithm| (package.digest.algorithm() == algorithm).then(|| package.digest.to_string());
        Self {
            name,
            version,
            architecture,
            essential,
            early,
            automatic,
            size,
            installed_size,
            sha256: digits(Algorithm::Sha256),
            sha512: digits(Algorithm::Sha512),
            filename: package.filename,
            mirror: package.mirror,
        }
    }
}

impl TryFrom<Entry> for LockedPackage {
    type Error = String;

    fn try_from(entry: Entry) -> Result<Self, Self::Error> {
        let Entry { name, version, architecture, essential, early, automatic, size, installed_size, .. } = entry;
        let digest = match (entry.sha256, entry.sha512) {
            (Some(digits), None) => check_digest(Algorithm::Sha256, &digits)?,
            (None, Some(digits)) => check_digest(Algorithm::Sha512, &digits)?,
            (None, None) => return Err("missing field `sha256` or `sha512`".to_owned()),
            (Some(_), Some(_)) => return Err("both `sha256` and `sha512`, of which one is enough".to_owned()),
        };
        let (filename, mirror) = (entry.filename, entry.mirror);
        Ok(Self {
            name,
            version,
            architecture,
            essential,
            early,
            automatic,
            size,
            installed_size,
            digest,
            filename,
            mirror,
        })
    }
}

fn check_name(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && text.bytes().all(is_allowed) { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a name")) }
}

fn check_version(text: &str) -> Result<String, String> {
    Version::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn checked<'de, T, D: Deserializer<'de>>(deserializer: D, check: fn(&str) -> Result<T, String>) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    check(&text).map_err(de::Error::custom)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, check_name)
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, check_version)
}

fn checked_filename<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, filename::check)
}

// What is wrong with a digest is said where it stands, not of the whole package.
fn sha256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |text| check_digest(Algorithm::Sha256, text).map(digits))
}

fn sha512<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |text| check_digest(Algorithm::Sha512, text).map(digits))
}

#[expect(clippy::unnecessary_wraps, reason = "serde gives an optional key its value so")]
fn digits(digest: Digest) -> Option<String> {
    Some(digest.to_string())
}
