//! Parsers of text.

use std::cmp::Ordering;
use std::path::Path;

use fam_archive::credentials::netrc::{Machine, parse_auth_conf, parse_netrc};
use fam_archive::deb822::stanzas;
use fam_archive::keyring::Keyring;
use fam_archive::lock::Lock;
use fam_archive::release::{Release, parse_date};
use fam_archive::sources::{parse_deb822_sources, parse_one_line_sources};
use fam_archive::version::{Version, compare};
use fam_archive::{cleartext, dependency, signature};
use fam_host::pattern;
use fam_plugin::protocol;

use crate::recipe::{Answer, Recipe};

fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

/// A signed message: without a key nothing is verified; taken apart and put together again it is the same.
pub fn inrelease(bytes: &[u8]) {
    let now = jiff::Timestamp::UNIX_EPOCH;
    assert!(signature::verify_inline(bytes, &Keyring::default(), now).is_err());
    let _ = Keyring::default().add(bytes, Path::new("keyring"));
    let Ok(decoded) = cleartext::decode(bytes) else { return };
    let Ok(message) = cleartext::split(decoded) else { return };
    let again: String = message
        .lines
        .iter()
        .map(|line| if line.starts_with('-') { format!("- {line}\n") } else { format!("{line}\n") })
        .collect();
    let again = format!("-----BEGIN PGP SIGNED MESSAGE-----\n\n{again}{}", message.armor);
    assert_eq!(cleartext::split(&again).as_ref(), Ok(&message));
    assert!(message.lines.iter().all(|line| !line.contains(['\r', '\n']) && !line.ends_with([' ', '\t'])));
    if let Ok(release) = Release::parse(&message.text(), jiff::Timestamp::UNIX_EPOCH) {
        let _ = release.package_indexes(Some("main"), "amd64");
    }
}

/// Stanzas: written again they are the same.
pub fn deb822(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let all: Vec<_> = stanzas(text).collect();
    for stanza in &all {
        assert!(text.contains(stanza.text()) && !stanza.text().contains("\n\n"));
        let fields: Vec<_> = stanza.fields().collect();
        for (name, value) in &fields {
            assert!(!name.contains(':') && value.trim() == *value);
            let first = fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
            assert_eq!(stanza.get(name), first.map(|(_, value)| *value));
        }
        let names: std::collections::BTreeSet<_> = fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        assert_eq!(stanza.doubled().is_some(), names.len() < fields.len());
    }
    let joined: Vec<_> = all.iter().map(|stanza| stanza.text().trim_end_matches('\n')).collect();
    let joined = joined.join("\n\n");
    let fields = |text| -> Vec<_> { stanzas(text).map(|stanza| stanza.fields().collect::<Vec<_>>()).collect() };
    assert_eq!(fields(&joined), fields(text));
}

/// Three versions, a line each: the order is total, and that of Debian Policy 5.6.12.
pub fn version(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let [a, b, c] = [next(), next(), next()];
    assert_eq!(compare(a, a), Ordering::Equal);
    assert_eq!(compare(a, b), compare(b, a).reverse());
    if compare(a, b).is_le() && compare(b, c).is_le() {
        assert!(compare(a, c).is_le());
    }
    if compare(a, b).is_eq() {
        assert_eq!(compare(a, c), compare(b, c));
    }
    if let (Ok(left), Ok(right)) = (Version::parse(a), Version::parse(b)) {
        let by_policy = left
            .epoch()
            .cmp(&right.epoch())
            .then_with(|| by_policy(left.upstream(), right.upstream()))
            .then_with(|| by_policy(left.revision().unwrap_or("0"), right.revision().unwrap_or("0")));
        assert_eq!(left.cmp(&right), by_policy);
        assert_eq!(left.as_str(), a);
    }
}

/// Compares two parts step by step as Debian Policy 5.6.12 words it: text, then number, and so on. Tildes
/// sort before the end, that before letters, letters before all else.
fn by_policy(mut left: &str, mut right: &str) -> Ordering {
    fn take<'a>(text: &mut &'a str, digits: bool) -> &'a str {
        let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
        let (taken, rest) = text.split_at(end);
        *text = rest;
        taken
    }
    let weights = |text: &str| -> Vec<u32> {
        let weight = |c: char| match c {
            '~' => 0,
            c if c.is_ascii_alphabetic() => u32::from(c),
            c => 1000 + u32::from(c),
        };
        text.chars().map(weight).chain([1]).collect()
    };
    while !left.is_empty() || !right.is_empty() {
        let text = weights(take(&mut left, false)).cmp(&weights(take(&mut right, false)));
        let [a, b] = [take(&mut left, true), take(&mut right, true)].map(|digits| digits.trim_start_matches('0'));
        let number = a.len().cmp(&b.len()).then_with(|| a.cmp(b));
        if text.then(number).is_ne() {
            return text.then(number);
        }
    }
    Ordering::Equal
}

/// A relation field: written again it is the same.
pub fn relation(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Ok(clauses) = dependency::parse(text) else { return };
    let shown: Vec<String> = clauses.iter().map(ToString::to_string).collect();
    assert_eq!(dependency::parse(&shown.join(", ")).as_ref(), Ok(&clauses));
    for alternative in clauses.iter().flat_map(|clause| &clause.alternatives) {
        assert!(!alternative.qualified_name.is_empty());
        if let Some(constraint) = alternative.constraint {
            let equal = constraint.accepts(constraint.version);
            assert_eq!(equal, constraint.comparison.accepts(Ordering::Equal));
        }
    }
}

/// A Release file: the paths of indexes lie within the suite.
pub fn release(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let _ = parse_date(text);
    let now = jiff::Timestamp::UNIX_EPOCH;
    let Ok(release) = Release::parse(text, now) else { return };
    let _ = release.check_suite("trixie");
    let _ = (release.check_not_future(now), release.check_not_expired(now));
    for component in [Some("main"), None] {
        let indexes = release.package_indexes(component, "amd64").unwrap_or_default();
        assert!(indexes.iter().all(|forms| !forms.is_empty()));
        let shown = format!("{indexes:?}");
        assert!(!shown.contains("../"), "{shown}");
    }
}

/// apt's sources in both forms.
pub fn sources(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    for source in parse_one_line_sources(text) {
        assert!(!source.uri.is_empty() && !source.suite.is_empty());
        let line = format!("deb {} {} {}\n", source.uri, source.suite, source.components.join(" "));
        let again = parse_one_line_sources(&line);
        if !source.uri.starts_with('[') {
            assert_eq!(again.len(), 1, "{line}");
            assert_eq!((&again[0].uri, &again[0].suite), (&source.uri, &source.suite));
        }
    }
    for source in parse_deb822_sources(text) {
        assert!(!source.uri.is_empty() && !source.suite.is_empty());
    }
}

/// A recipe: as JSON, in which processes hand it on, it is the same.
pub fn recipe(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    // A recipe that it extends would be read from the disk.
    if text.contains("extends") {
        return;
    }
    match Recipe::parse("fuzz.toml", text) {
        Ok(recipe) => {
            let written = serde_json::to_string(&recipe).expect("a recipe is plain data");
            let again: Recipe = serde_json::from_str(&written).expect("what is written can be read");
            assert_eq!(again, recipe);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A lock: written again it is the same, but for logins, which an old one may have and none is written
/// with.
pub fn lock(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Ok(lock) = Lock::parse(text) else { return };
    let written = lock.to_toml();
    let again = Lock::parse(&written).expect("what is written can be read");
    assert_eq!(again.to_toml(), written);
    assert_eq!(again.packages.len(), lock.packages.len());
}

/// netrc and auth.conf: what is shown has no password, and no entry is for every machine.
pub fn netrc(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let words = text.split_ascii_whitespace().filter(|word| word.contains("machine")).count();
    for machines in [parse_netrc(text), parse_auth_conf(text)] {
        assert!(machines.len() <= words, "{machines:?}");
        for Machine { login, .. } in machines {
            let shown = format!("{login:?}");
            let (_, password) = login.reveal();
            assert!(password.len() < 12 || !shown.contains(password));
        }
    }
}

/// A pattern and a path, a line each: they fit as fnmatch(3) has it.
pub fn path_pattern(bytes: &[u8]) {
    let (pattern, name) = bytes.split_at(bytes.iter().position(|&byte| byte == b'\n').unwrap_or(0));
    // The C library ends at NUL, goes by the locale, and takes time that grows with a power of the length.
    // It has rules of its own for malformed classes, and for brackets that are not closed; a table of tests
    // has those classes that are not malformed.
    let has_class = pattern.windows(2).any(|two| matches!(two, b"[:" | b"[=" | b"[."));
    let last_bracket = pattern.iter().rposition(|&byte| byte == b'[').unwrap_or(0);
    let is_open = pattern.get(last_bracket) == Some(&b'[')
        && !pattern[last_bracket..].get(2..).is_some_and(|inside| inside.contains(&b']'));
    if has_class || is_open || bytes.contains(&0) || bytes.len() > 64 || !bytes.is_ascii() {
        let _ = pattern::fits(pattern, name);
        return;
    }
    assert_eq!(pattern::fits(pattern, name), support::c_library::fnmatch(pattern, name));
}

/// A line from a plugin, or to one: written and read again it is the same.
pub fn plugin_protocol(bytes: &[u8]) {
    fn hold<M: serde::Serialize + serde::de::DeserializeOwned>(line: &[u8]) {
        let Ok(message) = serde_json::from_slice::<M>(line) else { return };
        let written = serde_json::to_string(&message).expect("a message is plain data");
        let again: M = serde_json::from_str(&written).expect("what is written can be read");
        assert_eq!(serde_json::to_string(&again).expect("a message is plain data"), written);
    }
    hold::<protocol::Request>(bytes);
    hold::<protocol::Reply>(bytes);
}

/// A file of answers: each line for debconf is read as the same answer.
pub fn debconf(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let Ok(answers) = Answer::parse_file(text) else { return };
    for answer in answers {
        let line = answer.reveal();
        assert!(!line.contains('\n'));
        assert_eq!(line.parse::<Answer>().as_ref(), Ok(&answer));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn versions_have_a_total_order(a in "[0-2a~+.:-]{0,6}", b in "[0-2a~+.:-]{0,6}", c in "[0-2a~+.:-]{0,6}") {
            super::version([a, b, c].join("\n").as_bytes());
        }
    }
}
