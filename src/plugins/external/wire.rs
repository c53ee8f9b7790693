//! What a plugin's process and this program say to each other: JSON lines, as docs/plugins/protocol.md
//! explains to those who write them by hand.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fam_plugin::{Description, Facts, NewGroup, NewUser, Node, Problem, Value, abi};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of the protocol.
pub(super) const PROTOCOL: u32 = 1;

/// The longest line that is taken from a plugin. It is held in memory.
pub(super) const MAX_LINE_BYTES: usize = 64 << 20;

/// What a plugin is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Entry {
    Describe,
    Check,
    ApplySystem,
    ApplyNode,
}

impl Entry {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Check => "check",
            Self::ApplySystem => "apply-system",
            Self::ApplyNode => "apply-node",
        }
    }
}

/// The first line to a plugin.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) protocol: u32,
    pub(super) call: Entry,
    pub(super) settings: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) facts: Option<Facts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<Node>,
}

/// Bytes: a string where they are UTF-8 and no longer as such, else `{"base64": "…"}`. A plugin may
/// use either for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    base64: String,
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !is_longer_as_text(&self.0) => serializer.serialize_str(text),
            _ => encoded(&self.0).serialize(serializer),
        }
    }
}

/// Whether JSON's six bytes for a control character make a string longer than base64.
fn is_longer_as_text(bytes: &[u8]) -> bool {
    let escaped = bytes.iter().filter(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()).count();
    escaped * 5 > bytes.len() / 3
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
pub(super) struct Mode(pub(super) u32);

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

/// Why a plugin gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    #[default]
    Other,
    Setting,
    Run,
    Panic,
    Load,
}

/// A line from a plugin. Each but `done` and `fail` is answered by one line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Request {
    Describe(Description),
    Done {},
    Fail {
        #[serde(default)]
        kind: Kind,
        #[serde(default)]
        key: String,
        message: String,
        #[serde(default)]
        hint: Option<String>,
    },
    Log {
        message: String,
        #[serde(default)]
        warning: bool,
    },
    Secret {
        label: String,
        /// 0 is the cluster.
        #[serde(default)]
        node: Option<u32>,
    },
    Resolve {
        path: Bytes,
        #[serde(default = "yes")]
        follow: bool,
    },
    Stat {
        path: Bytes,
        #[serde(default = "yes")]
        follow: bool,
    },
    Read {
        path: Bytes,
        #[serde(default)]
        base64: bool,
    },
    Write {
        path: Bytes,
        contents: Bytes,
        #[serde(default)]
        mode: Option<Mode>,
        #[serde(default)]
        owner: Option<(u32, u32)>,
    },
    Append {
        path: Bytes,
        contents: Bytes,
    },
    EnsureLine {
        path: Bytes,
        line: String,
    },
    List {
        path: Bytes,
    },
    CreateDir {
        path: Bytes,
        #[serde(default)]
        mode: Option<Mode>,
    },
    CreateDirs {
        path: Bytes,
    },
    Symlink {
        target: Bytes,
        path: Bytes,
    },
    Remove {
        path: Bytes,
    },
    SetMode {
        path: Bytes,
        mode: Mode,
    },
    SetOwner {
        path: Bytes,
        uid: u32,
        gid: u32,
        #[serde(default = "yes")]
        follow: bool,
    },
    Xattrs {
        path: Bytes,
    },
    SetXattr {
        path: Bytes,
        name: Bytes,
        value: Bytes,
    },
    Run {
        program: String,
        #[serde(default)]
        args: Vec<String>,
        #[serde(default)]
        env: BTreeMap<String, String>,
    },
    AddUser(NewUser),
    AddGroup(NewGroup),
}

fn yes() -> bool {
    true
}

/// For fuzzing: panics if a request is another one when it is written and read again.
#[cfg(any(test, fuzzing))]
pub(crate) fn assert_request_round_trip(line: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(line) else { return };
    let written = serde_json::to_string(&request).expect("a request is plain data");
    let again: Request = serde_json::from_str(&written).expect("what is written can be read");
    assert_eq!(serde_json::to_string(&again).expect("a request is plain data"), written);
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stat {
    #[serde(rename = "type")]
    pub(super) file_type: FileType,
    pub(super) mode: Mode,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FileType {
    File,
    Directory,
    Symlink,
    Special,
}

/// The contents of a file: as any bytes, or in base64 whatever they are.
#[derive(Debug)]
pub(super) enum Contents {
    Any(Bytes),
    Base64(Bytes),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) [u8; 32]);

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
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

/// The answer to a request: `ok`, first, says whether it was done.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Reply {
    pub(super) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stat: Option<Stat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) contents: Option<Contents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) names: Option<Vec<Bytes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) xattrs: Option<Vec<(Bytes, Bytes)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gid: Option<u32>,
}

impl Reply {
    pub(super) fn ok() -> Self {
        Self { ok: true, ..Self::default() }
    }

    pub(super) fn error(error: &fam_plugin::Error) -> Self {
        let problem = match error {
            fam_plugin::Error::File { problem, .. } => name_of(abi::code(problem)),
            _ => "failed",
        };
        Self { problem: Some(problem.into()), error: Some(error.to_string()), ..Self::default() }
    }

    /// The number by which the C interface knows how it went.
    pub(super) fn code(&self) -> i32 {
        match &self.problem {
            _ if self.ok => abi::OK,
            Some(name) => PROBLEMS.iter().find(|(_, known)| known == name).map_or(abi::FAILED, |(code, _)| *code),
            None => abi::FAILED,
        }
    }
}

const PROBLEMS: [(i32, &str); 6] = [
    (abi::NOT_FOUND, "not-found"),
    (abi::ALREADY_EXISTS, "already-exists"),
    (abi::NOT_A_DIRECTORY, "not-a-directory"),
    (abi::NOT_A_FILE, "not-a-file"),
    (abi::LINK_LOOP, "link-loop"),
    (abi::BAD_PATH, "bad-path"),
];

fn name_of(code: i32) -> &'static str {
    PROBLEMS.iter().find(|(known, _)| *known == code).map_or("failed", |(_, name)| name)
}

/// The error of a path that fam-build itself looks at, as that of a file inside.
pub(super) fn too_large(operation: &str, path: &[u8], limit: u64) -> fam_plugin::Error {
    Problem::TooLarge(limit).at(operation, String::from_utf8_lossy(path).as_ref())
}

/// The beginning of a line, for messages.
pub(super) fn excerpt(line: &[u8]) -> impl fmt::Display {
    const SHOWN: usize = 60;
    let text = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned();
    let more = if line.len() > SHOWN { "…" } else { "" };
    format!("{text:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_text_or_base64() {
        for (bytes, json) in [
            (&b"a\n"[..], json!("a\n")),
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
    fn requests_are_strict() {
        let request = |text: &str| serde_json::from_str::<Request>(text);
        assert!(matches!(
            request(r#"{"op":"write","path":"/a","contents":"b","mode":"0600","owner":[1,2]}"#).unwrap(),
            Request::Write { mode: Some(Mode(0o600)), owner: Some((1, 2)), .. }
        ));
        assert!(matches!(request(r#"{"op":"done"}"#).unwrap(), Request::Done {}));
        for (bad, why) in [
            (r#"{"op":"wriet"}"#, "unknown variant `wriet`"),
            (r#"{"op":"write","path":"/a","contents":"b","moed":1}"#, "unknown field `moed`"),
            (r#"{"op":"write","path":"/a"}"#, "missing field `contents`"),
            (r#"{"op":"set-mode","path":"/a","mode":"rw"}"#, "is no octal mode"),
            (r#"{"op":"add-user","nmae":"x"}"#, "unknown field `nmae`"),
        ] {
            let error = request(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn replies_begin_with_ok() {
        assert_eq!(serde_json::to_string(&Reply::ok()).unwrap(), r#"{"ok":true}"#);
        let reply = Reply::error(&Problem::NotFound.at("read", "/a"));
        let expected = r#"{"ok":false,"problem":"not-found","error":"read /a: no such file or directory"}"#;
        assert_eq!(serde_json::to_string(&reply).unwrap(), expected);
        assert_eq!((reply.code(), Reply::ok().code()), (abi::NOT_FOUND, abi::OK));
    }
}
