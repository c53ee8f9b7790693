//! What is added to the nodes whenever they are started: options of the launch script's `start`, in a
//! recipe.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use fam_plugin::nearest;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The options, each of which takes a value.
const OPTIONS: [&str; 8] =
    ["--disk", "--cdrom", "--forward", "--share", "--virtiofs", "--kernel", "--initrd", "--append"];
/// The word behind which all are QEMU's own.
const END: &str = "--";

/// Words for `fabric_emulation.bash start`: options with their values, and behind `--` arguments of
/// QEMU. No numbers of nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct StartOptions(Vec<String>);

/// Words are no [`StartOptions`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStartOptions {
    /// There is no such option.
    #[error("`{word}` is no option of start; there are {} and `--`", OPTIONS.join(", "))]
    Unknown {
        /// The word in its place.
        word: String,
    },
    /// An option has a name much like that of another.
    #[error("`{word}` is no option of start; is it {like}?")]
    Misspelled {
        /// The word in its place.
        word: String,
        /// What may have been meant.
        like: &'static str,
    },
    /// The value of an option is missing.
    #[error("{option} has no value")]
    NoValue {
        /// The option.
        option: &'static str,
    },
    /// The value of `--forward` is something else than two ports.
    #[error("--forward {value}: two ports were expected, as in 8080:80")]
    NoPorts {
        /// What stands there.
        value: String,
    },
    /// A character that no launch script could show.
    #[error("{word:?} has a control character")]
    Control {
        /// The word with it.
        word: String,
    },
}

impl StartOptions {
    /// The words.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for StartOptions {
    type Error = InvalidStartOptions;

    fn try_from(words: Vec<String>) -> Result<Self, InvalidStartOptions> {
        if let Some(word) = words.iter().find(|word| word.chars().any(char::is_control)) {
            return Err(InvalidStartOptions::Control { word: word.clone() });
        }
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if word == END {
                break;
            }
            let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            let option = find(name).ok_or_else(|| unknown(name))?;
            let value = value.or_else(|| rest.next().map(String::as_str));
            let value = value.ok_or(InvalidStartOptions::NoValue { option })?;
            if option == "--forward" && !are_ports(value) {
                return Err(InvalidStartOptions::NoPorts { value: value.to_owned() });
            }
        }
        Ok(Self(words))
    }
}

fn find(name: &str) -> Option<&'static str> {
    OPTIONS.into_iter().find(|option| *option == name)
}

fn unknown(name: &str) -> InvalidStartOptions {
    let word = name.to_owned();
    match nearest(name, OPTIONS) {
        Some(like) => InvalidStartOptions::Misspelled { word, like },
        None => InvalidStartOptions::Unknown { word },
    }
}

fn are_ports(value: &str) -> bool {
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port != 0);
    value.split_once(':').is_some_and(|(host, guest)| is_port(host) && is_port(guest))
}

impl From<StartOptions> for Vec<String> {
    fn from(options: StartOptions) -> Self {
        options.0
    }
}

impl FromStr for StartOptions {
    type Err = InvalidStartOptions;

    /// Options whose words have no blanks.
    fn from_str(text: &str) -> Result<Self, InvalidStartOptions> {
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().try_into()
    }
}

impl fmt::Display for StartOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl JsonSchema for StartOptions {
    fn schema_name() -> Cow<'static, str> {
        "StartOptions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": { "type": "string" },
            "description": "Options of `fabric_emulation.bash start`, word by word.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<StartOptions, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        words.try_into().map_err(|error: InvalidStartOptions| error.to_string())
    }

    #[test]
    fn options_have_values() {
        for words in [
            &[][..],
            &["--disk", "my data.img", "--disk=x{}.qcow2"],
            &["--forward", "8080:80", "--share", "/srv:src", "--virtiofs", "/srv", "--", "-device", "e1000", "3"],
            &["--kernel", "bzImage", "--append", "quiet splash"],
        ] {
            assert_eq!(read(words).unwrap().words(), words);
        }
        for (words, message) in [
            (&["--disk"][..], "--disk has no value"),
            (&["--disks", "x"], "`--disks` is no option of start; is it --disk?"),
            (&["3"], "`3` is no option of start; there are --disk, "),
            (&["-device", "x"], "`-device` is no option of start; "),
            (&["--forward", "8080"], "--forward 8080: two ports were expected"),
            (&["--forward=0:80"], "--forward 0:80: two ports were expected"),
            (&["--append", "a\nb"], "\"a\\nb\" has a control character"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.starts_with(message), "{words:?}: {error}");
        }
    }
}
