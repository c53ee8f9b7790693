//! The lists of one recipe file, before it is merged with others: each may be a list of its own, or
//! a change of another recipe's.
//!
//! These types are both the parser and, through [`schema`], the published schema, so that the two
//! cannot differ.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use toml::Spanned;

use super::debconf;
use super::include::Include;
use super::items::Pin;
use super::model::RecipePatch;
use super::names::PluginName;

/// A list of its own, or a change of the list of the recipe that is extended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum List<T, C> {
    Whole(Vec<T>),
    Change(C),
}

/// A change of the list of packages: `include.add = [...]`, `include.drop = [...]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct IncludeChange {
    /// Packages to install in addition to those of the recipe that is extended.
    pub add: Vec<Include>,
    /// Packages of the recipe that is extended to leave out; they must be there. A name alone leaves
    /// out that package in whichever version.
    #[schemars(with = "Vec<Include>")]
    pub drop: Vec<Spanned<Include>>,
}

/// A change of a list in which later items count more: `debconf.add = [...]`, `paths.add = [...]`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Addition<T> {
    /// What comes after the items of the recipe that is extended.
    pub add: Vec<T>,
}

/// A change of the list of pins, in which earlier items count more: `[[pin.add]]`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PinChange {
    /// What comes before the pins of the recipe that is extended.
    pub add: Vec<Pin>,
}

/// An answer as a line for debconf-set-selections, or a file of such lines, with its place in the
/// text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PreseedPatch(pub Spanned<LineOrFile>);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum LineOrFile {
    /// A line that is not read yet.
    Line(String),
    File(String),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AnswersFile")]
struct PreseedFile {
    /// A file of answers, beside this recipe or under its directory.
    #[schemars(length(min = 1))]
    file: String,
}

impl<'de> Deserialize<'de> for PreseedPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for LineOrFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = LineOrFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an answer, as \"PACKAGE QUESTION TYPE VALUE\", or { file = \"NAME\" }")
            }

            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<LineOrFile, E> {
                Ok(LineOrFile::Line(line.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<LineOrFile, A::Error> {
                PreseedFile::deserialize(MapAccessDeserializer::new(table)).map(|it| LineOrFile::File(it.file))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for PreseedPatch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Answer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An answer as debconf-set-selections(1) reads it: package, question, type and value; or a file of them.",
            "anyOf": [{ "type": "string", "pattern": debconf::PATTERN }, generator.subschema_for::<PreseedFile>()],
        })
    }
}

/// A change of the list of plugins, applied in this order: `plugin.drop = ["demo"]`,
/// `[plugin.set.users]`, `[[plugin.add]]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PluginChange {
    /// Plugins of the recipe that is extended to leave out; they must be there.
    #[schemars(with = "Vec<PluginName>")]
    pub drop: Vec<Spanned<PluginName>>,
    /// Settings to change of plugins that are listed, by the name of the plugin: tables merge, all
    /// else replaces.
    #[schemars(with = "BTreeMap<PluginName, Map<String, Value>>")]
    pub set: BTreeMap<PluginName, Spanned<PluginSettings>>,
    /// Plugins to apply after those of the recipe that is extended.
    pub add: Vec<PluginPatch>,
}

/// One plugin to apply.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Plugin")]
pub(super) struct PluginPatch {
    /// The name of the plugin.
    pub name: PluginName,
    /// The file that it is in, relative to the directory of this recipe; needed only where the name
    /// does not find it.
    #[schemars(with = "Option<String>", length(min = 1))]
    pub path: Option<PathBuf>,
    /// How many seconds it may take at each stage, of each node, if it is a file.
    #[serde(rename = "time-limit")]
    pub time_limit: Option<NonZeroU32>,
    /// Its settings, which the plugin itself checks.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>")]
    pub settings: PluginSettings,
}

/// Settings of a plugin. They travel as JSON, which has neither dates nor infinities: a date
/// becomes a string, an infinity is an error.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PluginSettings(pub Map<String, Value>);

impl<'de> Deserialize<'de> for PluginSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        map_without_dates(Map::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

fn without_dates(value: Value) -> Result<Value, &'static str> {
    /// Under this key the toml crate hands a date to formats that have none.
    const DATE: &str = "$__toml_private_datetime";

    match value {
        // serde_json makes null of an infinity and of what is no number.
        Value::Null => Err("a setting of a plugin cannot be infinite or no number"),
        Value::Array(values) => values.into_iter().map(without_dates).collect(),
        Value::Object(mut map) => match map.remove(DATE) {
            Some(date) => Ok(date),
            None => map_without_dates(map).map(Value::Object),
        },
        plain => Ok(plain),
    }
}

fn map_without_dates(map: Map<String, Value>) -> Result<Map<String, Value>, &'static str> {
    map.into_iter().map(|(key, value)| Ok((key, without_dates(value)?))).collect()
}

impl<'de, T: Deserialize<'de>, C: Deserialize<'de>> Deserialize<'de> for List<T, C> {
    // Not an untagged enumeration: that forgets where in the text an error is.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T, C>(PhantomData<(T, C)>);

        impl<'de, T: Deserialize<'de>, C: Deserialize<'de>> Visitor<'de> for Either<T, C> {
            type Value = List<T, C>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or a table of changes to one")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(List::Whole)
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Self::Value, A::Error> {
                C::deserialize(MapAccessDeserializer::new(table)).map(List::Change)
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl<T: JsonSchema, C: JsonSchema> JsonSchema for List<T, C> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("ListOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (list, change) = (generator.subschema_for::<Vec<T>>(), generator.subschema_for::<C>());
        json_schema!({ "anyOf": [list, change] })
    }
}

/// The JSON Schema (draft 2020-12) of a recipe, by which editors complete and check.
///
/// It says all that the parser checks of one file, but for what a schema cannot express: that the
/// shared memory is a power of two, the bounds of sizes, and that what is dropped or set is in the
/// recipe that is extended.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(without_null));
    settings.into_generator().into_root_schema_for::<RecipePatch>().to_value()
}

/// What may be left out is an `Option` here, which JSON writes as null, too. TOML has no null.
fn without_null(schema: &mut Schema) {
    let is_null = |value: &Value| value == "null" || value.get("type").is_some_and(|kind| kind == "null");
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| !is_null(kind));
        if let [one] = &kinds[..] {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(kinds)) = schema.get_mut("enum") {
        kinds.retain(|kind| !kind.is_null());
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| !is_null(choice));
        if let [Value::Object(one)] = &choices[..] {
            let one = one.clone();
            schema.remove("anyOf");
            for (key, value) in one {
                schema.ensure_object().entry(key).or_insert(value);
            }
        }
    }
}
