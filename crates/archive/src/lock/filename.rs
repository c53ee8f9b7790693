//! The field Filename of an index: which ones are taken, and how they are asked for.

use percent_encoding::{AsciiSet, utf8_percent_encode};

use crate::file_url;

/// What is encoded in a URL: a plus sign, too, which stores as S3 take for a blank, and a tilde, as apt
/// does. Brackets are not, as apt does not.
const ENCODED: &AsciiSet = &file_url::ENCODED.add(b'+').add(b'~').remove(b'(').remove(b')');

/// A path that stays under the mirror's root.
pub(super) fn check(text: &str) -> Result<String, String> {
    let is_printable = !text.contains(char::is_control);
    let stays = !text.starts_with('/') && !text.ends_with('/') && text.split('/').all(|part| part != "..");
    let is_file = !matches!(text.rsplit('/').next(), None | Some("" | "."));
    if is_printable && stays && is_file {
        Ok(text.to_owned())
    } else {
        Err(format!("`{}` is not a plain relative path", text.escape_debug()))
    }
}

/// The path as a part of a URL: a `%` of the name is one of the URL's after decoding, so that a file
/// that is really called `a_1%3a2.deb` is found. Parts that say nothing are left out.
pub(super) fn in_url(filename: &str) -> String {
    let parts: Vec<_> = filename.split('/').filter(|part| *part != ".").collect();
    utf8_percent_encode(&parts.join("/"), ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_as_apt_does() {
        for (name, in_url_expected) in [
            ("pool/a/a_1-2_all.deb", "pool/a/a_1-2_all.deb"),
            ("pool/a_1%3a2.deb", "pool/a_1%253a2.deb"),
            ("pool/a_1:2+b1~rc.deb", "pool/a_1:2%2Bb1%7Erc.deb"),
            ("pool/a b(1).deb", "pool/a%20b(1).deb"),
            ("./a.deb", "a.deb"),
            ("a/./b//c.deb", "a/b//c.deb"),
            ("a?b#c.deb", "a%3Fb%23c.deb"),
            ("a\\..\\b.deb", "a%5C..%5Cb.deb"),
            ("%2e%2e/b.deb", "%252e%252e/b.deb"),
            ("é.deb", "%C3%A9.deb"),
        ] {
            assert_eq!(check(name).as_deref(), Ok(name));
            assert_eq!(in_url(name), in_url_expected);
        }
    }

    #[test]
    fn names_stay_under_the_root() {
        for bad in
            ["", ".", "./", "/a.deb", "../a.deb", "a/../b.deb", "a/..", "a/", "a/.", "a\nb.deb", "a\0.deb", "a\x7f"]
        {
            let error = check(bad).unwrap_err();
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
