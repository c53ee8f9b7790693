//! The values of which messages are made that JSON has no types for.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes: a string where they are UTF-8 and not much longer as such, else `{"base64": "…"}`. A
/// plugin may use either for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    base64: String,
}

/// Text up to this length stays text however many of its characters JSON escapes, since scripts
/// read it more easily.
const SHORT_TEXT_BYTES: usize = 1 << 20;

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !is_longer_as_text(&self.0) => serializer.serialize_str(text),
            _ => encoded(&self.0).serialize(serializer),
        }
    }
}

/// Whether JSON's escapes make a string longer than base64. In short text only those of control
/// characters count, which take six bytes.
fn is_longer_as_text(bytes: &[u8]) -> bool {
    let is_short = bytes.len() <= SHORT_TEXT_BYTES;
    let added = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | b'\x08' | b'\x0c' => usize::from(!is_short),
        byte if byte.is_ascii_control() => 5,
        _ => 0,
    };
    bytes.iter().map(added).sum::<usize>() > bytes.len() / 3
}

fn encoded(bytes: &[u8]) -> Encoded {
    Encoded { base64: STANDARD.encode(bytes) }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a string or {\"base64\": \"…\"} is needed")]
        enum Form {
            Text(String),
            Encoded(Encoded),
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Encoded(Encoded { base64 }) => {
                STANDARD.decode(base64.trim()).map(Self).map_err(|error| D::Error::custom(format!("base64: {error}")))
            }
        }
    }
}

/// Permission bits: written in octal as a string, or as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a mode is needed: an octal string, as \"0644\", or a number")]
        enum Form {
            Octal(String),
            Number(u32),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Octal(text) => u32::from_str_radix(&text, 8)
                .map(Self)
                .map_err(|_| D::Error::custom(format!("{text:?} is no octal mode"))),
        }
    }
}

/// The contents of a file: as any bytes, or in base64 whatever they are.
#[derive(Debug)]
pub enum Contents {
    /// As [`Bytes`] are written.
    Any(Bytes),
    /// Always in base64.
    Base64(Bytes),
}

impl Contents {
    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Any(bytes) | Self::Base64(bytes) => bytes.0,
        }
    }
}

impl Serialize for Contents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any(bytes) => bytes.serialize(serializer),
            Self::Base64(bytes) => encoded(&bytes.0).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Contents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Bytes::deserialize(deserializer).map(Self::Any)
    }
}

/// 32 bytes, in hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(pair).collect();
        let secret = bytes.and_then(|bytes| bytes.try_into().ok());
        secret.map(Self).ok_or_else(|| D::Error::custom("64 hexadecimal digits are needed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{MAX_CONTENTS_BYTES, MAX_LINE_BYTES};
    use serde_json::json;

    #[test]
    fn bytes_are_text_or_base64() {
        for (bytes, json) in [
            (&b"a\n"[..], json!("a\n")),
            (b"\"\n\"\n", json!("\"\n\"\n")),
            (&[0xff, 0], json!({ "base64": "/wA=" })),
            (&[0, 0], json!({ "base64": "AAA=" })),
        ] {
            assert_eq!(serde_json::to_value(Bytes(bytes.into())).unwrap(), json);
            assert_eq!(serde_json::from_value::<Bytes>(json).unwrap().0, bytes);
        }
        assert_eq!(serde_json::from_value::<Bytes>(json!({ "base64": "aGk=\n" })).unwrap().0, b"hi");
        for bad in [json!(1), json!({ "base64": "?" }), json!({ "base46": "" })] {
            assert!(serde_json::from_value::<Bytes>(bad).is_err());
        }
    }

    #[test]
    fn the_most_that_may_be_written_fits_into_a_line() {
        for byte in [b'x', b'\n', b'"', 0, 0xff] {
            let line = serde_json::to_vec(&Bytes(vec![byte; MAX_CONTENTS_BYTES])).unwrap();
            assert!(line.len() + 8192 <= MAX_LINE_BYTES, "{byte}: {}", line.len());
        }
    }

    #[test]
    fn secrets_are_64_digits() {
        let text = serde_json::to_string(&Secret([0xa5; 32])).unwrap();
        assert_eq!(text, format!("\"{}\"", "a5".repeat(32)));
        assert_eq!(serde_json::from_str::<Secret>(&text).unwrap(), Secret([0xa5; 32]));
        for bad in ["a5", &"a".repeat(63), &"ä".repeat(32), &"a5".repeat(33)] {
            assert!(serde_json::from_value::<Secret>(json!(bad)).is_err(), "{bad}");
        }
    }
}
