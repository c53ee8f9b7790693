//! Numbers and sizes of a recipe that must lie within bounds, checked where they are read.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::size::{InvalidSize, SIZE_PATTERN, Size};

/// A value outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    /// A number is too small or too large.
    #[error("{what} must be {least} to {most}, not {given}")]
    Number {
        /// What was counted.
        what: &'static str,
        /// The least that is possible.
        least: u8,
        /// The most that is possible.
        most: u8,
        /// What was asked for.
        given: String,
    },
    /// A size breaks the rule of its key.
    #[error("the {what} must be {rule}, not {given}")]
    Size {
        /// What was measured.
        what: &'static str,
        /// What is possible.
        rule: &'static str,
        /// What was asked for.
        given: Size,
    },
    /// The text is not a size.
    #[error("{0}")]
    NoSize(#[from] InvalidSize),
}

macro_rules! bounded_number {
    ($(#[$doc:meta])* $name:ident, $what:literal, $least:literal..=$most:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(u8);

        impl $name {
            /// The number, which lies within its bounds.
            #[must_use]
            pub const fn get(self) -> u8 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = OutOfBounds;

            fn try_from(number: i64) -> Result<Self, OutOfBounds> {
                // By way of text: an error then shows any number, whatever its type.
                number.to_string().parse()
            }
        }

        impl FromStr for $name {
            type Err = OutOfBounds;

            fn from_str(text: &str) -> Result<Self, OutOfBounds> {
                match text.trim().parse() {
                    Ok(number @ $least..=$most) => Ok(Self(number)),
                    _ => Err(OutOfBounds::Number { what: $what, least: $least, most: $most, given: text.to_owned() }),
                }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "integer",
                    "minimum": $least,
                    "maximum": $most,
                    "description": concat!($what, ", ", $least, " to ", $most),
                })
            }
        }

        impl From<$name> for i64 {
            fn from(number: $name) -> Self {
                number.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! bounded_size {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Size);

        impl $name {
            /// The size, which keeps the rule of its key.
            #[must_use]
            pub const fn get(self) -> Size {
                self.0
            }
        }

        impl TryFrom<Size> for $name {
            type Error = OutOfBounds;

            fn try_from(size: Size) -> Result<Self, OutOfBounds> {
                let check: fn(Size) -> bool = $check;
                if check(size) { Ok(Self(size)) } else { Err(OutOfBounds::Size { what: $what, rule: $rule, given: size }) }
            }
        }

        impl FromStr for $name {
            type Err = OutOfBounds;

            fn from_str(text: &str) -> Result<Self, OutOfBounds> {
                text.parse::<Size>()?.try_into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = OutOfBounds;

            fn try_from(text: String) -> Result<Self, OutOfBounds> {
                text.parse()
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": SIZE_PATTERN,
                    "description": concat!("The ", $what, ": ", $rule, "."),
                })
            }
        }

        impl From<$name> for String {
            fn from(size: $name) -> Self {
                size.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

bounded_number! {
    /// How many nodes: as many as their network has addresses without the host's own .254.
    NodeCount, "the number of nodes", 1..=253
}

bounded_number! {
    /// How many processors a node has.
    Cpus, "the number of processors of a node", 1..=64
}

bounded_size! {
    /// The size of a node's disk as the guest sees it.
    DiskSize, "disk size", "whole mebibytes from 512M to 16T",
    |size| size.is_whole_mebibytes() && (512 << 20..=16 << 40).contains(&size.bytes())
}

bounded_size! {
    /// The size of a partition or a disk beside those that every node has.
    VolumeSize, "volume size", "whole mebibytes from 1M to 16T",
    |size| size.is_whole_mebibytes() && (1 << 20..=16 << 40).contains(&size.bytes())
}

bounded_size! {
    /// The memory of one node.
    NodeMemory, "memory of a node", "whole mebibytes from 256M to 1T",
    |size| size.is_whole_mebibytes() && (256 << 20..=1 << 40).contains(&size.bytes())
}

bounded_size! {
    /// The memory that all nodes share. It becomes a PCI base address register, whose size is a
    /// power of two.
    SharedMemory, "shared memory", "a power of two from 1M to 1T",
    |size| size.bytes().is_power_of_two() && (1 << 20..=1 << 40).contains(&size.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_bounds() {
        assert_eq!("253".parse::<NodeCount>().unwrap().get(), 253);
        for bad in ["0", "254", "-1", "1000", "four", "", "4.0"] {
            assert_eq!(
                bad.parse::<NodeCount>().unwrap_err().to_string(),
                format!("the number of nodes must be 1 to 253, not {bad}")
            );
        }
        assert!(NodeCount::try_from(i64::MIN).is_err());
    }

    #[test]
    fn sizes_keep_to_their_bounds() {
        assert_eq!("1G".parse::<SharedMemory>().unwrap().get(), Size::GIB);
        assert_eq!(
            "3G".parse::<SharedMemory>().unwrap_err().to_string(),
            "the shared memory must be a power of two from 1M to 1T, not 3G"
        );
        assert!("0".parse::<SharedMemory>().is_err());
        assert!("100M".parse::<DiskSize>().is_err());
        assert!("1073741825".parse::<DiskSize>().is_err());
        assert!("8G".parse::<DiskSize>().is_ok());
        assert!("1X".parse::<NodeMemory>().unwrap_err().to_string().contains("unit"));
    }
}
