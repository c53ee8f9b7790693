//! Whose Recommends are installed, as recipes and the flag say it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::names::{InvalidName, PackageName};

/// Whose Recommends are installed. A recipe says `true`, `false` or a list of names; the flag says
/// `all`, `none` or names with commas between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Recommends {
    /// Those of no package.
    #[default]
    None,
    /// Those of every package that is installed.
    All,
    /// Those of these packages, but not of what they bring in.
    Of(Vec<PackageName>),
}

impl Recommends {
    /// The packages that are named.
    #[must_use]
    pub fn names(&self) -> &[PackageName] {
        match self {
            Self::None | Self::All => &[],
            Self::Of(names) => names,
        }
    }

    /// What the resolver is asked for.
    #[must_use]
    pub fn request(&self) -> fam_archive::resolve::Recommends {
        match self {
            Self::None => fam_archive::resolve::Recommends::None,
            Self::All => fam_archive::resolve::Recommends::All,
            Self::Of(names) => fam_archive::resolve::Recommends::Of(names.iter().map(ToString::to_string).collect()),
        }
    }
}

impl FromStr for Recommends {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            names => names.split(',').map(str::parse).collect::<Result<_, _>>().map(Self::Of),
        }
    }
}

impl fmt::Display for Recommends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            _ if self.names().is_empty() => f.write_str("none"),
            _ => f.write_str(&self.names().iter().map(PackageName::as_str).collect::<Vec<_>>().join(" ")),
        }
    }
}

impl Serialize for Recommends {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => false.serialize(serializer),
            Self::All => true.serialize(serializer),
            Self::Of(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Recommends {
    // Not an untagged enumeration: that forgets where in the text an error is.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Recommends;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a list of packages")
            }

            fn visit_bool<E>(self, all: bool) -> Result<Recommends, E> {
                Ok(if all { Recommends::All } else { Recommends::None })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Recommends, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(names)).map(Recommends::Of)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Recommends {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Recommends".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "boolean" }, generator.subschema_for::<Vec<PackageName>>()] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_and_a_recipe_say_the_same() {
        for (flag, recipe, shown) in [
            ("all", "true", "all"),
            ("none", "false", "none"),
            ("docker.io", r#"["docker.io"]"#, "docker.io"),
            ("docker.io,git", r#"["docker.io", "git"]"#, "docker.io git"),
        ] {
            let of_flag: Recommends = flag.parse().unwrap();
            let of_recipe: Recommends = toml::Value::deserialize(toml::de::ValueDeserializer::parse(recipe).unwrap())
                .unwrap()
                .try_into()
                .unwrap();
            assert_eq!(of_flag, of_recipe);
            assert_eq!(of_flag.to_string(), shown);
            assert_eq!(toml::Value::try_from(&of_flag).unwrap().to_string(), recipe);
        }
        assert_eq!(Recommends::Of(Vec::new()).to_string(), "none");
    }

    #[test]
    fn what_is_no_name_is_an_error() {
        for bad in ["", "all,", "Docker", "a b"] {
            assert!(bad.parse::<Recommends>().is_err(), "{bad}");
        }
    }
}
