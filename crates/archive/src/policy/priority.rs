//! Priorities: the field Pin-Priority of `apt_preferences(5)`.

use std::fmt;
use std::num::NonZeroI16;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::InvalidPin;

/// The priority that a pin gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// From -32768 to 32767, but not 0.
    Number(NonZeroI16),
    /// Lower than all, and no pin of a package can raise it: the word `never`.
    Never,
}

const RULE: &str = "a number from -32768 to 32767 was expected, but not 0; or the word never";

impl FromStr for Priority {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        if text == "never" {
            return Ok(Self::Never);
        }
        text.parse().map(Self::Number).map_err(|_| InvalidPin::new(text, RULE))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Never => f.write_str("never"),
        }
    }
}

impl Serialize for Priority {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => number.serialize(serializer),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrNever;

        impl Visitor<'_> for NumberOrNever {
            type Value = Priority;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a priority, as 500 or \"never\"")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Priority, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Priority, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Priority, E> {
                match text {
                    "never" => Ok(Priority::Never),
                    other => Err(E::custom(InvalidPin::new(other, RULE))),
                }
            }
        }

        deserializer.deserialize_any(NumberOrNever)
    }
}
