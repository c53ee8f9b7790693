//! Typed settings out of what a recipe says, with errors that a person can act on.
//!
//! serde's own errors over a [`Value`] do not say where in the settings they arose, and an unknown
//! key is ignored unless the type forbids it. This deserializer keeps the path to the value, and
//! refuses every key that a struct does not have, naming the nearest that it has.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use crate::{Error, Result, nearest};

/// Deserializes settings. `Null` counts as an empty map: a recipe that sets nothing.
///
/// # Errors
/// [`Error::Settings`], which names the setting as `users[0].name` and, for an unknown key, the
/// nearest one.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T> {
    let empty = Value::Object(Map::new());
    let value = match value {
        Value::Null => &empty,
        value => value,
    };
    T::deserialize(At { value, top: true }).map_err(|fault| Error::Settings {
        key: fault.key(),
        message: fault.message,
        hint: fault.hint,
    })
}

/// An error on its way up: each level adds its own step to the path.
#[derive(Debug)]
struct Fault {
    /// Steps from the value to the top, the innermost first.
    steps: Vec<Step>,
    message: String,
    hint: Option<String>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl Fault {
    fn key(&self) -> String {
        let mut key = String::new();
        for step in self.steps.iter().rev() {
            match step {
                Step::Key(name) if key.is_empty() => key.push_str(name),
                Step::Key(name) => {
                    key.push('.');
                    key.push_str(name);
                }
                Step::Index(index) => key.push_str(&format!("[{index}]")),
            }
        }
        key
    }

    fn beneath(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { steps: Vec::new(), message: message.to_string(), hint: None }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        unknown("value", variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom("is missing").beneath(Step::Key(field.into()))
    }
}

fn unknown(what: &str, given: &str, expected: &[&str]) -> Fault {
    let hint = match nearest(given, expected.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None if expected.is_empty() => "there is nothing to set".into(),
        None => format!("there are: {}", expected.join(", ")),
    };
    Fault { steps: Vec::new(), message: format!("unknown {what} {given:?}"), hint: Some(hint) }
}

/// A value that is to be deserialized; `top` where it is the settings as a whole.
struct At<'a> {
    value: &'a Value,
    top: bool,
}

impl<'a> At<'a> {
    fn beneath(value: &'a Value) -> Self {
        Self { value, top: false }
    }
}

impl<'de> de::Deserializer<'de> for At<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Value::Object(map) => visitor.visit_map(Entries { entries: map.iter(), current: None }),
            Value::String(text) => visitor.visit_borrowed_str(text),
            scalar => de::Deserializer::deserialize_any(scalar, visitor).map_err(de::Error::custom),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Value::Object(map) = self.value
            && let Some(key) = map.keys().find(|key| !fields.contains(&key.as_str()))
        {
            let fault = unknown("key", key, fields);
            return Err(fault);
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Object(map) if self.top => match map.keys().next() {
                Some(key) => Err(unknown("key", key, &[])),
                None => visitor.visit_unit(),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            Value::String(variant) => {
                visitor.visit_enum(IntoDeserializer::<Fault>::into_deserializer(variant.as_str()))
            }
            // A variant with contents: serde_json reads it, and its errors then say not where in it
            // they arose.
            value => de::Deserializer::deserialize_enum(value, name, variants, visitor).map_err(de::Error::custom),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        seed.deserialize(At::beneath(value)).map(Some).map_err(|fault| fault.beneath(Step::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'a> {
    entries: serde_json::map::Iter<'a>,
    current: Option<(&'a String, &'a Value)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.entries.next();
        match self.current {
            Some((key, _)) => seed.deserialize(StrDeserializer::new(key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, value)) = self.current.take() else {
            return Err(de::Error::custom("a value without its key"));
        };
        seed.deserialize(At::beneath(value)).map_err(|fault| fault.beneath(Step::Key(key.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "kebab-case")]
    struct Settings {
        users: Vec<User>,
        login_shell: Option<String>,
        kind: Kind,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct User {
        name: String,
        #[serde(default)]
        uid: Option<u32>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        Plain,
        Hashed,
    }

    #[test]
    fn reads_what_fits() {
        let settings: Settings =
            from_value(&json!({ "users": [{ "name": "a", "uid": 7 }], "login-shell": "/bin/sh", "kind": "hashed" }))
                .unwrap();
        assert_eq!(settings.users, [User { name: "a".into(), uid: Some(7) }]);
        assert_eq!(settings.kind, Kind::Hashed);
        assert_eq!(from_value::<Settings>(&Value::Null).unwrap(), Settings::default());
        from_value::<()>(&json!({})).unwrap();
        from_value::<()>(&Value::Null).unwrap();
    }

    #[test]
    fn says_where_and_what() {
        for (given, expected, hint) in [
            (json!({ "user": [] }), r#"setting (all): unknown key "user""#, Some(r#"did you mean "users"?"#)),
            (
                json!({ "users": [{ "name": "a" }, { "name": "b", "iud": 1 }] }),
                r#"setting users[1]: unknown key "iud""#,
                Some(r#"did you mean "uid"?"#),
            ),
            (json!({ "users": [{}] }), "setting users[0].name: is missing", None),
            (
                json!({ "users": [{ "name": 1 }] }),
                "setting users[0].name: invalid type: integer `1`, expected a string",
                None,
            ),
            (
                json!({ "users": [{ "name": "a", "uid": -1 }] }),
                "setting users[0].uid: invalid value: integer `-1`, expected u32",
                None,
            ),
            (json!({ "kind": "plian" }), r#"setting kind: unknown value "plian""#, Some(r#"did you mean "plain"?"#)),
            (
                json!({ "colour": "red" }),
                r#"setting (all): unknown key "colour""#,
                Some("there are: users, login-shell, kind"),
            ),
            (json!([]), "setting (all): invalid length 0, expected struct Settings with 3 elements", None),
        ] {
            match from_value::<Settings>(&given) {
                Ok(settings) => assert_eq!(given, json!([]), "{settings:?}"),
                Err(error) => {
                    assert_eq!(error.to_string(), expected);
                    assert_eq!(error.hint().as_deref(), hint);
                }
            }
        }
        let error = from_value::<()>(&json!({ "x": 1 })).unwrap_err();
        assert_eq!(error.to_string(), r#"setting (all): unknown key "x""#);
    }
}
