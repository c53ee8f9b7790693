//! The parts of a pin as JSON Schema.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Packages, Priority, Versions};

impl JsonSchema for Packages {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PinnedPackages".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = json_schema!({ "type": "string", "pattern": r"\S" });
        json_schema!({ "anyOf": [text, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
    }
}

impl JsonSchema for Versions {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PinnedVersions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern =
            r"^\s*([Vv][Ee][Rr][Ss][Ii][Oo][Nn]|[Rr][Ee][Ll][Ee][Aa][Ss][Ee]|[Oo][Rr][Ii][Gg][Ii][Nn])[ \t]+\S";
        json_schema!({ "type": "string", "pattern": pattern })
    }
}

impl JsonSchema for Priority {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PinPriority".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": i16::MIN, "maximum": i16::MAX, "not": { "const": 0 } },
                { "const": "never" },
            ]
        })
    }
}
