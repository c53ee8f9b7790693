//! Where packages come from: a mirror, its suites and components; and what the apt sources of a
//! Debian host say of that.
//!
//! The formats are those of sources.list(5). They are read by field, as apt does; nothing is
//! guessed from the look of a line.

use std::path::Path;
use std::sync::Arc;

use fs_err as fs;
use jiff::Timestamp;

use super::deb822::stanzas;
use super::keyring::Keyring;

/// A suite of an archive, and what of it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The archive: `http://HOST/debian`, the directory that has `dists` in it. The client takes
    /// none with a login.
    pub mirror: String,
    /// The suite, by either of its names: `trixie`, `stable-updates`. In a flat archive, which has
    /// no `dists`, the directory that its indexes are in, with a slash at the end: `./`,
    /// `Debian_13/`. Its packages are named from the mirror's root, as everywhere.
    pub suite: String,
    /// The components: `main`. A flat archive has none.
    pub components: Vec<String>,
    /// The architecture: `amd64`.
    pub architecture: String,
    /// The keys that may vouch for it, as apt's Signed-By has it; those of the client where this is
    /// `None`.
    pub keyring: Option<Arc<Keyring>>,
    /// The time of the snapshot that it is: its Release file may have expired since.
    pub snapshot: Option<Timestamp>,
}

impl Source {
    /// The mirror without slashes at its end.
    #[must_use]
    pub fn mirror(&self) -> &str {
        self.mirror.trim_end_matches('/')
    }

    /// Whether the archive is a flat one.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        is_flat(&self.suite)
    }
}

/// Whether a suite is the directory of a flat archive, which has neither `dists` nor components.
#[must_use]
pub fn is_flat(suite: &str) -> bool {
    suite.ends_with('/')
}

/// One archive in the apt sources of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AptSource {
    /// The URI of the archive, as it is written.
    pub uri: String,
    /// The suite, or a path with a slash at its end.
    pub suite: String,
    /// The components that are enabled.
    pub components: Vec<String>,
    /// What its signatures are checked with, where that is named: files, or an armored key as the
    /// deb822 form has it, with a blank at the beginning of each line.
    pub signed_by: Option<String>,
    /// The architectures that packages are wanted of; all that apt is set up for where it is empty.
    pub architectures: Vec<String>,
    /// Whether it is taken without a signature.
    pub is_trusted: bool,
}

/// The mirrors that a Debian host itself uses, as its apt sources name them: they may have logins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostMirrors {
    /// The Debian archive.
    pub main: Option<String>,
    /// The security archive.
    pub security: Option<String>,
}

/// Finds the mirrors of the host whose `/etc` is `etc`, if it is a Debian host. Files that cannot
/// be read are passed over, as an answer is a convenience only.
#[must_use]
pub fn host_mirrors(etc: &Path) -> HostMirrors {
    let is_debian = fs::read_to_string(etc.join("os-release")).is_ok_and(|text| {
        text.lines().any(|line| matches!(line.trim(), "ID=debian" | "ID=\"debian\"" | "ID='debian'"))
    });
    if !is_debian {
        return HostMirrors::default();
    }
    choose(&apt_sources(&etc.join("apt")), |list| fs::read_to_string(list).ok())
}

/// All enabled binary archives in the sources of an apt directory, in the order in which apt reads
/// them.
#[must_use]
pub fn apt_sources(apt: &Path) -> Vec<AptSource> {
    let mut files = vec![apt.join("sources.list")];
    let mut parts: Vec<_> = fs::read_dir(apt.join("sources.list.d"))
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    parts.sort();
    files.extend(parts);
    let mut sources = Vec::new();
    for file in files {
        // apt passes over names with other characters, and other endings: backups of editors and
        // packages.
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
            continue;
        }
        let parse = match file.extension().and_then(|ending| ending.to_str()) {
            Some("list") => parse_one_line_sources,
            Some("sources") => parse_deb822_sources,
            _ => continue,
        };
        if let Ok(text) = fs::read_to_string(&file) {
            sources.extend(parse(&text));
        }
    }
    sources
}

/// Reads the one-line form: `deb [option=value …] URI suite component…`. Lines that apt would
/// refuse are passed over.
#[must_use]
pub fn parse_one_line_sources(text: &str) -> Vec<AptSource> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<AptSource> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => ("", rest),
    };
    let option = |name: &str| {
        options
            .split_whitespace()
            .find_map(|option| option.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    };
    let architectures = option("arch").unwrap_or_default().split(',').filter(|name| !name.is_empty());
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(AptSource {
        uri: words.next()?,
        suite: words.next()?,
        components: words.collect(),
        signed_by: option("signed-by").map(str::to_owned),
        architectures: architectures.map(str::to_owned).collect(),
        is_trusted: option("trusted").is_some_and(|value| !is_no(value)),
    })
}

/// Reads the deb822 form: stanzas with Types, URIs, Suites and Components, each a list. Disabled
/// ones are passed over.
#[must_use]
pub fn parse_deb822_sources(text: &str) -> Vec<AptSource> {
    // A comment may stand between the lines of one field.
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line.trim_end(), "\n"]).collect();
    let mut sources = Vec::new();
    for stanza in stanzas(&text) {
        let words = |name| stanza.get(name).unwrap_or_default().split_whitespace();
        let disabled = stanza.get("Enabled").is_some_and(is_no);
        if disabled || !words("Types").any(|kind| kind == "deb") {
            continue;
        }
        let components: Vec<_> = words("Components").map(str::to_owned).collect();
        let of_no_uri = AptSource {
            components,
            signed_by: stanza.get("Signed-By").map(str::to_owned),
            architectures: words("Architectures").map(str::to_owned).collect(),
            is_trusted: stanza.get("Trusted").is_some_and(|value| !is_no(value)),
            ..AptSource::default()
        };
        for uri in words("URIs") {
            for suite in words("Suites") {
                sources.push(AptSource { uri: uri.to_owned(), suite: suite.to_owned(), ..of_no_uri.clone() });
            }
        }
    }
    sources
}

/// Whether a value of apt's says no.
fn is_no(value: &str) -> bool {
    ["no", "false", "without", "off", "disable", "0"].iter().any(|no| value.trim().eq_ignore_ascii_case(no))
}

/// Reads the text of one file of sources, of the form that its name tells; where that tells none, of
/// the form that the text has.
#[must_use]
pub fn read_sources(file: &Path, text: &str) -> Vec<AptSource> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("list") => parse_one_line_sources(text),
        Some("sources") => parse_deb822_sources(text),
        _ => {
            let sources = parse_deb822_sources(text);
            if sources.is_empty() { parse_one_line_sources(text) } else { sources }
        }
    }
}

/// Picks Debian's own archives among the sources of a host. `read` reads the lists that
/// mirror+file: URIs name, which Debian's cloud images have.
fn choose(sources: &[AptSource], read: impl Fn(&str) -> Option<String>) -> HostMirrors {
    let mut best: [Option<(u8, String)>; 2] = [None, None];
    for source in sources {
        if !source.components.iter().any(|component| component == "main") {
            continue;
        }
        let Some((base, security)) = debian_suite(&source.suite) else { continue };
        let listed = source.uri.strip_prefix("mirror+file:").and_then(|path| {
            let path = path.strip_prefix("//").unwrap_or(path);
            read(path)?
                .lines()
                .find_map(|line| line.split_whitespace().next().filter(|uri| is_http(uri)).map(str::to_owned))
        });
        let uri = listed.unwrap_or_else(|| source.uri.clone());
        if !is_http(&uri) {
            continue;
        }
        let uri = uri.trim_end_matches('/').to_owned();
        let last = uri.rsplit('/').next().unwrap_or_default();
        let rank = match &source.signed_by {
            Some(keyring) if keyring.contains("debian-archive") => 3,
            _ if matches!(last, "debian" | "debian-security") => 2,
            None => 1,
            // Others publish for the suites of Debian too, under their own keys.
            Some(_) => continue,
        };
        // The suites that a mirror has are best known from those that all Debian mirrors have.
        let rank = rank * 2 + u8::from(base);
        let slot = &mut best[usize::from(security)];
        if slot.as_ref().is_none_or(|(other, _)| rank > *other) {
            *slot = Some((rank, uri));
        }
    }
    let [main, security] = best.map(|slot| slot.map(|(_, uri)| uri));
    HostMirrors { main, security }
}

fn is_http(uri: &str) -> bool {
    uri.starts_with("http://") || uri.starts_with("https://")
}

/// Whether a suite is one of Debian's: then whether it is a whole release, and whether it is of the
/// security archive.
fn debian_suite(suite: &str) -> Option<(bool, bool)> {
    const RELEASES: [&str; 13] = [
        "buster",
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
        "oldoldstable",
        "oldstable",
        "stable",
        "testing",
        "unstable",
        "experimental",
    ];
    let suite = suite.trim_end_matches('/');
    let (release, kind) = match suite.split_once(['-', '/']) {
        Some((release, kind)) => (release, Some(kind)),
        None => (suite, None),
    };
    if !RELEASES.contains(&release) {
        return None;
    }
    match kind {
        None => Some((true, false)),
        // Before bullseye, the security suite was called `buster/updates`.
        Some("security" | "updates") if kind == Some("security") || suite.contains('/') => Some((true, true)),
        Some("updates" | "backports" | "proposed-updates") => Some((false, false)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
