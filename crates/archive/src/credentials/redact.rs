//! Takes logins out of text, whatever wrote it: the last line of defence.

use std::borrow::Cow;

/// What hints have in the place of a login.
const PLACEHOLDER: &str = "USER:PASSWORD";

/// `text` without the logins of the URLs in it: `http://***@host` for `http://user:password@host`.
///
/// Nothing relies on this: what the program writes is made of URLs without logins. But a program
/// inside the new system may print one that it knows, and a mistyped option may be shown as it was
/// typed.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(slashes) = rest.find("//") {
        let (before, authority) = rest.split_at(slashes + 2);
        shown.push_str(before);
        rest = authority;
        let ends_authority = |c: char| c.is_whitespace() || c.is_control() || "/?#\"'<>`\\".contains(c);
        let end = authority.find(ends_authority).unwrap_or(authority.len());
        // Hints tell where a login goes, and must stay as they are.
        let is_login = |at: &usize| *at > 0 && authority[..*at].trim_start_matches('[') != PLACEHOLDER;
        if let Some(at) = authority[..end].rfind('@').filter(is_login) {
            shown.push_str("***");
            rest = &authority[at..];
            found = true;
        }
    }
    if !found {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn logins_are_taken_out_and_nothing_else() {
        for (text, shown) in [
            ("fetch http://ann:s%40cret@host:80/debian: 404", "fetch http://***@host:80/debian: 404"),
            ("http://ann:s@cret@host", "http://***@host"),
            ("HTTPS://token@host and ftp://a:b@c/d", "HTTPS://***@host and ftp://***@c/d"),
            ("\"http://ann:secret@host\"", "\"http://***@host\""),
            ("http://[::1]:80/x http://ann:b@[::1]/x", "http://[::1]:80/x http://***@[::1]/x"),
            ("//ann:secret@host", "//***@host"),
        ] {
            assert_eq!(redact(text), shown);
        }
        for text in [
            "",
            "//",
            "a//b",
            "http://host/pool/a@b.deb",
            "mail ann@host",
            "http://@host",
            "getty@tty1",
            "////@",
            "as http://USER:PASSWORD@HOST or http://[USER:PASSWORD@]HOST:PORT",
        ] {
            assert!(matches!(redact(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_once_is_enough(text in "(http|//|[a-z@:/ ä\"])*") {
            let once = redact(&text).into_owned();
            prop_assert_eq!(redact(&once).into_owned(), once);
        }
    }
}
