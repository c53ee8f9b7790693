//! The cleartext signature framework (RFC 9580, section 7): takes an `InRelease` file apart into
//! the text that is signed and the armored signatures. It verifies nothing.
//!
//! Stricter than the RFC on purpose, since the server of the file can shape everything that no
//! signature covers: the file is one signed message and nothing else, and has no character that two
//! readers might take for different things.

/// The parts of a signed message.
#[derive(Debug, PartialEq, Eq)]
pub struct Cleartext<'a> {
    /// The lines that are signed: dash escapes undone, blanks at their ends dropped (no signature
    /// covers those).
    pub lines: Vec<&'a str>,
    /// The block of signatures, with its first and last line.
    pub armor: &'a str,
}

impl Cleartext<'_> {
    /// What the signatures were made over: lines joined by CR LF, without a line end after the
    /// last.
    pub fn signed_bytes(&self) -> Vec<u8> {
        self.lines.join("\r\n").into_bytes()
    }

    /// The text for parsers.
    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }
}

/// Decodes text that is to be signed, or was: UTF-8 without control characters but newline and tab.
///
/// A bare CR matters most: in a place where a newline was, signatures stay valid for several
/// programs, but the lines that it joins are one, and a field such as Valid-Until vanishes.
pub fn decode(bytes: &[u8]) -> Result<&str, String> {
    let text = str::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
    match text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\t')) {
        Some((at, '\r')) => Err(format!("a carriage return at byte {at}")),
        Some((at, c)) => Err(format!("the control character U+{:04X} at byte {at}", u32::from(c))),
        None => Ok(text),
    }
}

/// Takes a signed message apart.
pub fn split(text: &str) -> Result<Cleartext<'_>, String> {
    let mut rest =
        text.strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----\n").ok_or("does not begin with a signed message")?;
    loop {
        let (header, after) = rest.split_once('\n').ok_or("ends among the armor headers")?;
        rest = after;
        match header {
            "" => break,
            // Any other header, NotDashEscaped above all, changes what the text means.
            _ if header.starts_with("Hash: ") => {}
            _ => return Err(format!("the armor header {header:?}")),
        }
    }
    let mut lines = Vec::new();
    let armor = loop {
        let (line, after) = rest.split_once('\n').ok_or("ends before the signature: it was cut off")?;
        if line == "-----BEGIN PGP SIGNATURE-----" {
            break rest;
        }
        rest = after;
        let line = match line.strip_prefix("- ") {
            Some(line) => line,
            None if line.starts_with('-') => return Err(format!("the line {line:?}, which is not dash-escaped")),
            None => line,
        };
        lines.push(line.trim_end_matches([' ', '\t']));
    };
    let (_, after) =
        armor.split_once("\n-----END PGP SIGNATURE-----").ok_or("ends within the signature: it was cut off")?;
    if !matches!(after, "" | "\n") {
        return Err("has something behind the signed message".to_owned());
    }
    Ok(Cleartext { lines, armor })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: x  \n- - dash\n- -----BEGIN PGP SIGNATURE-----\n\t\n\
        -----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn undoes_escapes_and_drops_blanks_at_line_ends() {
        let parts = split(MESSAGE).unwrap();
        assert_eq!(parts.lines, ["Origin: x", "- dash", "-----BEGIN PGP SIGNATURE-----", ""]);
        assert_eq!(parts.signed_bytes(), b"Origin: x\r\n- dash\r\n-----BEGIN PGP SIGNATURE-----\r\n");
        assert_eq!(parts.text(), "Origin: x\n- dash\n-----BEGIN PGP SIGNATURE-----\n\n");
        assert_eq!(parts.armor, "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n");
        assert!(split(MESSAGE.trim_end()).is_ok());
    }

    #[test]
    fn refuses_what_is_not_one_signed_message() {
        let cases = [
            (format!("Origin: evil\n\n{MESSAGE}"), "does not begin"),
            (format!("\n{MESSAGE}"), "does not begin"),
            (format!("{MESSAGE}Origin: evil\n"), "behind the signed"),
            (format!("{MESSAGE}{MESSAGE}"), "behind the signed"),
            (MESSAGE.replace("Hash: SHA256", "NotDashEscaped: yes"), "NotDashEscaped"),
            (MESSAGE.replace("Hash: SHA256\n\n", "Hash: SHA256\nOrigin: evil\n\n"), "armor header"),
            (MESSAGE.replace("- - dash", "- dash\n-evil"), "not dash-escaped"),
            (MESSAGE.replace("- - dash", "-----BEGIN PGP SIGNED MESSAGE-----"), "not dash-escaped"),
            (MESSAGE[..MESSAGE.len() - 8].to_owned(), "cut off"),
            (MESSAGE[..80].to_owned(), "cut off"),
            (String::new(), "does not begin"),
        ];
        for (message, reason) in cases {
            let error = split(&message).unwrap_err();
            assert!(error.contains(reason), "{message:?}: {error}");
        }
    }

    #[test]
    fn refuses_characters_that_can_hide_lines() {
        for (bytes, reason) in [
            (&b"a\rb"[..], "carriage return at byte 1"),
            (b"a\r\n", "carriage return"),
            (b"a\0", "U+0000"),
            (b"a\x0bb", "U+000B"),
            ("a\u{85}b".as_bytes(), "U+0085"),
            (b"\xff", "not UTF-8"),
        ] {
            assert!(decode(bytes).unwrap_err().contains(reason));
        }
        assert!(decode("é\tb\n".as_bytes()).is_ok());
    }
}
