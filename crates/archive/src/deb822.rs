//! Stanzas of "Name: value" fields, the form of Release files, package indexes, control files and
//! `.sources` files. Parsing only; what the fields mean is for the callers. The format is that of
//! deb822(5).

use std::borrow::Cow;
use std::collections::HashSet;

use memchr::{memchr, memmem};

/// One stanza: fields in the order of the file. Values keep inner newlines and the blank that
/// begins each continuation line.
#[derive(Debug, Clone, Copy)]
pub struct Stanza<'a> {
    text: &'a str,
}

/// The stanzas of `text`, which blank lines separate.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches('\n');
            if rest.is_empty() {
                return None;
            }
            let stanza;
            (stanza, rest) = match memmem::find(rest.as_bytes(), b"\n\n") {
                Some(end) => (&rest[..end], &rest[end + 2..]),
                None => (rest, ""),
            };
            if !stanza.trim().is_empty() {
                return Some(Stanza { text: stanza });
            }
        }
    })
}

/// The text of `bytes`. A line that is not UTF-8 is taken for Latin-1, as a few old packages have
/// it: apt and dpkg pass such bytes on, and no byte of Latin-1 is without a meaning.
#[must_use]
pub fn decode(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let lines = error.as_bytes().split_inclusive(|&byte| byte == b'\n');
        lines
            .map(|line| match str::from_utf8(line) {
                Ok(line) => Cow::Borrowed(line),
                Err(_) => Cow::Owned(line.iter().copied().map(char::from).collect()),
            })
            .collect()
    })
}

impl<'a> Stanza<'a> {
    /// The raw text, without the blank line after it.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Fields as (name, raw value): a value runs over its continuation lines, blanks at its ends
    /// trimmed. Comment lines between fields are passed over.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let end_of_line =
                    |begin: usize| memchr(b'\n', &rest.as_bytes()[begin..]).map_or(rest.len(), |end| begin + end);
                let mut end = end_of_line(0);
                // A comment has no continuation lines.
                let comment = rest.starts_with('#');
                while !comment && (rest[end..].starts_with("\n ") || rest[end..].starts_with("\n\t")) {
                    end = end_of_line(end + 1);
                }
                let field = &rest[..end];
                rest = rest.get(end + 1..).unwrap_or("");
                if let (false, Some((name, value))) = (comment, field.split_once(':')) {
                    return Some((name, value.trim()));
                }
            }
        })
    }

    /// The value of the field `name`, in any case of letters.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The name of a field that is there twice. deb822(5) forbids that, and each reader could take
    /// another of the two.
    #[must_use]
    pub fn doubled(&self) -> Option<&'a str> {
        let mut seen = HashSet::new();
        self.fields().map(|(name, _)| name).find(|name| !seen.insert(name.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_and_continuations() {
        let text = "\nPackage: a\n# note\nDescription: short\n long\n .\n more\nEmpty:\n\n\nPackage: b\nVersion: 1:2\n";
        let all: Vec<_> = stanzas(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("description"), Some("short\n long\n .\n more"));
        assert_eq!(all[0].get("Empty"), Some(""));
        assert_eq!(all[1].get("Version"), Some("1:2"));
        assert_eq!(all[1].get("Missing"), None);
    }

    #[test]
    fn decodes_line_by_line() {
        for (bytes, text) in [
            (&b"a: \xc3\xa9\n"[..], "a: é\n"),
            (b"a: \xe9\nb: \xc3\xa9\n c \xff", "a: é\nb: é\n c ÿ"),
            (b"\xc3\xa9\xe9\n\n\xc3\xa9", "Ã©é\n\né"),
        ] {
            assert_eq!(decode(bytes.to_vec()), text);
        }
    }

    #[test]
    fn finds_a_field_that_is_there_twice() {
        for (text, doubled) in [
            ("A: 1\nB: 2\nC:\n A: 3\n", None),
            ("Date: 1\nB: 2\nDate:\n", Some("Date")),
            ("Date: 1\nB: 2\ndATE: 2\n", Some("dATE")),
        ] {
            assert_eq!(stanzas(text).next().unwrap().doubled(), doubled, "{text}");
        }
    }
}
