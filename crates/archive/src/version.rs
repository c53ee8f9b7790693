//! The order of Debian versions.
//!
//! A version is `[epoch:]upstream[-revision]` and is ordered by Debian Policy 5.6.12, the rule that
//! `dpkg --compare-versions` applies. [`compare`] takes any text, because it orders what archives
//! really hold; [`Version`] is the checked form.

use std::cmp::Ordering;
use std::fmt;

/// A well-formed version: `[epoch:]upstream[-revision]`.
///
/// Two versions may be equal without being the same text (`1.0` and `0:1.00-0`), so there is no
/// `Hash`.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    text: &'a str,
}

/// Why a text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing, or nothing between epoch and revision.
    #[error("version `{0}` has no upstream part")]
    Empty(String),
    /// The epoch is not an unsigned number of at most 2147483647, dpkg's own limit.
    #[error("version `{0}` has an epoch that is not a number")]
    Epoch(String),
    /// The revision, which a hyphen announces, is empty.
    #[error("version `{0}` ends in a hyphen")]
    Revision(String),
    /// A character that no part may have.
    #[error("version `{text}` has the character {character:?}")]
    Character {
        /// The whole version.
        text: String,
        /// The first character that is not allowed.
        character: char,
    },
}

impl<'a> Version<'a> {
    /// Checks `text` as dpkg does when it reads a database; an upstream part that begins with a
    /// letter, which Policy advises against, is let through.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let (epoch, upstream, revision) = split(text);
        if epoch.is_some_and(|epoch| !is_epoch(epoch)) {
            return Err(Error::Epoch(text.into()));
        }
        if upstream.is_empty() {
            return Err(Error::Empty(text.into()));
        }
        if revision.is_some_and(str::is_empty) {
            return Err(Error::Revision(text.into()));
        }
        let in_upstream = |c: char| c.is_ascii_alphanumeric() || ".+-~:".contains(c);
        let in_revision = |c: char| c.is_ascii_alphanumeric() || ".+~".contains(c);
        let stray = upstream.chars().find(|&c| !in_upstream(c));
        match stray.or_else(|| revision.and_then(|revision| revision.chars().find(|&c| !in_revision(c)))) {
            Some(character) => Err(Error::Character { text: text.into(), character }),
            None => Ok(Self { text }),
        }
    }

    /// The epoch; 0 where the text has none.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        split(self.text).0.and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
    }

    /// The part between epoch and revision.
    #[must_use]
    pub fn upstream(&self) -> &'a str {
        split(self.text).1
    }

    /// The Debian revision, of a package that is not native.
    #[must_use]
    pub fn revision(&self) -> Option<&'a str> {
        split(self.text).2
    }

    /// The text as it was read.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }
}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version<'_> {}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.text, other.text)
    }
}

/// Whether dpkg takes `text` for an epoch: it reads it into an `int`, and forbids a sign.
fn is_epoch(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i32>().is_ok()
}

/// Orders two versions, well-formed or not: by epoch, then upstream part, then revision, a missing
/// part counting as 0.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    if left == right {
        return Ordering::Equal;
    }
    let (left, right) = (split(left), split(right));
    compare_part(left.0.unwrap_or(""), right.0.unwrap_or(""))
        .then_with(|| compare_part(left.1, right.1))
        .then_with(|| compare_part(left.2.unwrap_or(""), right.2.unwrap_or("")))
}

/// Epoch, upstream part, revision: the first colon ends the epoch, the last hyphen begins the
/// revision.
fn split(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let (epoch, rest) = text.split_once(':').map_or((None, text), |(epoch, rest)| (Some(epoch), rest));
    let (upstream, revision) = rest.rsplit_once('-').map_or((rest, None), |(up, revision)| (up, Some(revision)));
    (epoch, upstream, revision)
}

/// Orders one part: runs of non-digits and of digits in turn, beginning with non-digits (which may
/// be empty).
fn compare_part(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while !left.is_empty() || !right.is_empty() {
        // Non-digits first, byte by byte, until the run ends in both at once.
        loop {
            let (l, r) = (weight(left), weight(right));
            if l != r {
                return l.cmp(&r);
            }
            if l == END {
                break;
            }
            (left, right) = (&left[1..], &right[1..]);
        }
        let (left_number, right_number) = (take_number(&mut left), take_number(&mut right));
        let order = left_number.len().cmp(&right_number.len()).then_with(|| left_number.cmp(right_number));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// The weight of the end of a run of non-digits.
const END: u16 = 1;

/// The weight of the first byte in a run of non-digits: a tilde before the end, letters before all
/// else.
fn weight(rest: &[u8]) -> u16 {
    match rest.first() {
        Some(b'~') => 0,
        None | Some(b'0'..=b'9') => END,
        Some(&byte) if byte.is_ascii_alphabetic() => u16::from(byte),
        Some(&byte) => u16::from(byte) + 256,
    }
}

/// Takes a run of digits, without its leading zeros, off the front: comparing lengths first then
/// compares numbers of any size.
fn take_number<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, tail) = rest.split_at(end);
    *rest = tail;
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn orders_as_policy_says() {
        // Each line ascends; equal ones stand with `=` between them.
        for line in [
            "~~ ~~a ~ 0 a",
            "1.0~~ 1.0~~a 1.0~ 1.0 1.0a 1.0+ 1.0.1",
            "1.0~rc1-1 1.0-1~bpo12+1 1.0-1 1.0-1+b1 1.0-1.1 1.0-2 1.0-10 1.0-10a",
            "9 10 99 100 18446744073709551615 18446744073709551616",
            "9999 0:10000 1:1 1:2 2:0 10:0",
            "1.2 1.2-0.1 1.2-1",
            "2.36-9+deb12u7 2.36-9+deb12u10 2.41-12",
            "1-a 1-+",
            "5.2.15-2 5.2.15-2+b7 5.2.37-2",
            "1.0-z 1.0a-1",
        ] {
            let versions: Vec<_> = line.split(' ').collect();
            for (i, left) in versions.iter().enumerate() {
                for (j, right) in versions.iter().enumerate() {
                    assert_eq!(compare(left, right), i.cmp(&j), "{left} against {right}");
                }
            }
        }
        for (left, right) in
            [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.00", "1.0"), ("0", ""), ("a0", "a"), ("1-0", "01")]
        {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} against {right}");
        }
    }

    #[test]
    fn takes_versions_apart() {
        let version = Version::parse("2:1.2-3:x~y-4.5").unwrap();
        assert_eq!((version.epoch(), version.upstream(), version.revision()), (2, "1.2-3:x~y", Some("4.5")));
        assert_eq!(Version::parse("1.0").unwrap().revision(), None);
        assert_eq!(Version::parse("0:1.0").unwrap(), Version::parse("1.00-0").unwrap());
    }

    #[test]
    fn refuses_what_is_no_version() {
        let refuse = |text: &str| Version::parse(text).unwrap_err().to_string();
        assert_eq!(refuse(""), "version `` has no upstream part");
        assert_eq!(refuse("1:"), "version `1:` has no upstream part");
        assert_eq!(refuse("a:1"), "version `a:1` has an epoch that is not a number");
        assert_eq!(refuse(":1"), "version `:1` has an epoch that is not a number");
        assert_eq!(refuse("2147483648:1"), "version `2147483648:1` has an epoch that is not a number");
        assert_eq!(refuse("1-"), "version `1-` ends in a hyphen");
        assert_eq!(refuse("1.0 beta"), "version `1.0 beta` has the character ' '");
        assert_eq!(refuse("1.0-1:2"), "version `1.0-1:2` has an epoch that is not a number");
        assert_eq!(refuse("1_0"), "version `1_0` has the character '_'");
    }

    proptest! {
        #[test]
        fn never_panics(a in ".*", b in ".*") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            let _ = Version::parse(&a);
        }

        #[test]
        fn shows_what_it_parsed(text in "([0-9]{1,4}:)?[0-9][a-z0-9.+~]{0,8}(-[a-z0-9.+~]{1,6})?") {
            let version = Version::parse(&text).unwrap();
            prop_assert_eq!(version.to_string(), text.clone());
            let epoch = if text.contains(':') { format!("{}:", version.epoch()) } else { String::new() };
            let revision = version.revision().map(|revision| format!("-{revision}")).unwrap_or_default();
            let rebuilt = format!("{epoch}{}{revision}", version.upstream());
            prop_assert!(Version::parse(&rebuilt).unwrap() == version);
        }
    }
}
