//! Patterns, as fnmatch(3) takes them without flags in the C locale, which is how dpkg(1) compares
//! paths: an asterisk and a question mark stand for slashes, too. Not known are equivalence classes
//! and collating symbols (`[=a=]`, `[.a.]`), which mean nothing in that locale.
//!
//! Paths are as long and as strange as a package makes them. So this neither recurses nor tries
//! what an earlier asterisk could take once a later one is reached: the time is at most the product
//! of both lengths.

/// Whether the whole of `name` fits `pattern`.
#[must_use]
pub fn fits(mut pattern: &[u8], mut name: &[u8]) -> bool {
    // What follows the last asterisk, and where in the name that was tried last.
    let mut last_asterisk: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, name) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                last_asterisk = Some((rest, name));
                pattern = rest;
                continue;
            }
            (_, [byte, behind @ ..]) => {
                if let Some(rest) = behind_one(pattern, *byte) {
                    (pattern, name) = (rest, behind);
                    continue;
                }
            }
            (_, []) => return false,
        }
        let Some((rest, [_, behind @ ..])) = last_asterisk else { return false };
        last_asterisk = Some((rest, behind));
        (pattern, name) = (rest, behind);
    }
}

/// The length of what a pattern has before its first special character.
#[must_use]
pub fn plain_len(pattern: &[u8]) -> usize {
    pattern.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(pattern.len())
}

/// What is left of `pattern` behind its first element, if that stands for `byte`.
fn behind_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (fits, rest) = match pattern {
        [b'?', rest @ ..] => (true, rest),
        [b'\\', escaped, rest @ ..] => (*escaped == byte, rest),
        // A bracket that is not closed stands for itself.
        [b'[', rest @ ..] => bracket(rest, byte).unwrap_or((byte == b'[', rest)),
        // A backslash at the end fits nothing.
        [b'\\'] | [] => return None,
        [plain, rest @ ..] => (*plain == byte, rest),
    };
    fits.then_some(rest)
}

/// Whether `byte` is one of those that a bracket expression stands for, and what follows it. None
/// if it has no end.
fn bracket(inside: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match inside {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    let mut is_first = true;
    loop {
        match rest {
            [b']', behind @ ..] if !is_first => return Some((found != negated, behind)),
            [b'[', b':', class @ ..] if let Some((name, behind)) = class_name(class) => {
                match is_in_class(name, byte) {
                    Some(is_in_class) => found |= is_in_class,
                    // With a class that there is not, the C library gives up, unless it has already
                    // found the byte.
                    None if !found => return Some((false, behind)),
                    None => {}
                }
                rest = behind;
            }
            _ => {
                let (begin, behind) = literal(rest)?;
                let (end, behind) = match behind {
                    [b'-', end @ ..] if !matches!(end, [b']', ..] | []) => literal(end)?,
                    _ => (begin, behind),
                };
                found |= (begin..=end).contains(&byte);
                rest = behind;
            }
        }
        is_first = false;
    }
}

fn literal(pattern: &[u8]) -> Option<(u8, &[u8])> {
    match pattern {
        [b'\\', escaped, rest @ ..] => Some((*escaped, rest)),
        [b'\\'] | [] => None,
        [plain, rest @ ..] => Some((*plain, rest)),
    }
}

/// The name of a character class up to `:]`, and what follows.
fn class_name(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = pattern.iter().position(|byte| !byte.is_ascii_lowercase())?;
    let (name, rest) = pattern.split_at(len);
    Some((name, rest.strip_prefix(b":]")?))
}

/// Whether `byte` is in a class; None if there is no class of that name.
fn is_in_class(name: &[u8], byte: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == b'\x0b',
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use support::c_library::fnmatch;

    use super::*;

    #[test]
    fn patterns_fit_as_in_the_c_library() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("/usr/share/doc/*", "/usr/share/doc/a/b", true),
            ("/usr/share/doc/*", "/usr/share/doc", false),
            ("/usr/*/READ*", "/usr/share/doc/package/README", true),
            ("*.la", "/usr/lib/x.la", true),
            ("/a?b", "/a/b", true),
            ("/man[1-9]/x", "/man8/x", true),
            ("/man[!1-9]/x", "/man8/x", false),
            ("/man[^1-9]/x", "/mann/x", true),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[a-]", "-", true),
            ("[[:digit:]x]", "7", true),
            ("[[:none:]]", "n", false),
            ("[z-a]", "m", false),
            ("a[b", "a[b", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", false),
            ("*a*b*", "xxaxxbxx", true),
            ("[b[:foo:]-]", "b", true),
            ("[[:foo:]b]", "b", false),
            ("[[:foo:]b]", "[", false),
            ("[![:foo:]b]", "c", false),
        ] {
            assert_eq!(fnmatch(pattern.as_bytes(), name.as_bytes()), expected, "the C library: {pattern} {name}");
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_name_costs_no_time() {
        let pattern = "*a".repeat(50) + "b";
        assert!(!fits(pattern.as_bytes(), "a".repeat(4096).as_bytes()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn any_pattern_fits_as_in_the_c_library(
            pattern in "([ab/*?!^-]|\\[|\\]|\\\\|\\[[!^]?[ab/-]{1,3}\\]|\\[:alpha:\\]){0,8}",
            name in "[ab/!^\\[\\]\\\\-]{0,8}",
        ) {
            // A range that ends in a class is one thing to the C library before it has found the byte,
            // and another behind it.
            prop_assume!(!pattern.contains("-[:"));
            prop_assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), fnmatch(pattern.as_bytes(), name.as_bytes()), "{} {}", pattern, name);
        }
    }
}
