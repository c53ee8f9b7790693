//! The page of the keys of recipes, from the schema that the program prints.

use fam_build::recipe;
use serde_json::Value;

use super::{cell, code, page_of, table};

pub fn page() -> String {
    let schema = recipe::schema();
    let schema = Schema(&schema);
    let mut page = page_of(
        "Keys of recipes",
        "[Recipes](../recipes.md) says what they are for. A recipe must have `suite` or `extends`; where it extends another, \
         keys that it leaves out are the other's. `fam-build recipe schema` prints the JSON Schema of which this page is made.",
    );
    let (tables, keys): (Vec<_>, Vec<_>) =
        schema.properties(schema.0).into_iter().partition(|&(_, property)| schema.is_table(property));
    schema.add_keys(&mut page, "", &keys);
    for (name, property) in tables {
        page += &format!("\n## \\[{name}]\n\n{}\n", text(property, "description"));
        let keys = schema.properties(schema.resolve(property));
        schema.add_keys(&mut page, &format!("{name}."), &keys);
    }
    for (key, name, what) in [
        ("disk.partition", "Volume", "One partition, or a disk in `[[disk.more]]`"),
        ("pin", "Pin", "One pin"),
        ("plugin", "Plugin", "One plugin to apply"),
    ] {
        page += &format!("\n## \\[\\[{key}]]\n\n{what}, here or in `[[{key}.add]]`.\n");
        schema.add_keys(&mut page, "", &schema.properties(&schema.0["$defs"][name]));
    }
    page
}

/// A JSON Schema, with all that its parts refer to.
struct Schema<'a>(&'a Value);

impl<'a> Schema<'a> {
    /// What a part says, or refers to.
    fn resolve(&self, part: &'a Value) -> &'a Value {
        match part["$ref"].as_str() {
            Some(name) => self.0.pointer(name.trim_start_matches('#')).expect("a definition that is there"),
            None => part,
        }
    }

    fn properties(&self, part: &'a Value) -> Vec<(&'a str, &'a Value)> {
        part["properties"].as_object().unwrap().iter().map(|(name, property)| (name.as_str(), property)).collect()
    }

    /// Whether a property is a table with keys of its own.
    fn is_table(&self, property: &'a Value) -> bool {
        self.resolve(property)["properties"].is_object()
    }

    /// The forms that a part may have.
    fn forms(&self, part: &'a Value) -> Vec<&'a Value> {
        let part = self.resolve(part);
        let forms = ["oneOf", "anyOf"].iter().find_map(|forms| part[*forms].as_array());
        forms.map_or_else(|| vec![part], |forms| forms.iter().flat_map(|form| self.forms(form)).collect())
    }

    /// Adds a table of keys. The changes that a key may hold in place of a list follow it.
    fn add_keys(&self, page: &mut String, prefix: &str, keys: &[(&'a str, &'a Value)]) {
        let mut rows = Vec::new();
        for &(name, property) in keys {
            let name = format!("{prefix}{name}");
            let forms = self.forms(property);
            let is_list = forms.iter().any(|form| form["type"] == "array");
            let (changes, forms): (Vec<_>, Vec<_>) =
                forms.into_iter().partition(|form| is_list && form["properties"].is_object());
            rows.push(self.row(&name, property, &forms));
            for (key, change) in changes.into_iter().flat_map(|change| self.properties(change)) {
                rows.push(self.row(&format!("{name}.{key}"), change, &self.forms(change)));
            }
        }
        table(page, ["Key", "Type", "Default", "Meaning"], &rows);
    }

    fn row(&self, name: &str, property: &'a Value, forms: &[&'a Value]) -> [String; 4] {
        let types: Vec<_> = forms.iter().map(|&form| self.type_of(form)).collect();
        let default = match &property["default"] {
            Value::Null => String::new(),
            default => code(&default.to_string()),
        };
        let mut meaning = cell(text(property, "description"));
        for &form in forms {
            for note in self.notes(property, form) {
                meaning = format!("{meaning} {note}");
            }
        }
        let are_words = forms.iter().all(|form| form["const"].is_string());
        [code(name), types.join(if are_words { ", " } else { " or " }), default, meaning]
    }

    /// The type of a value, in the words of TOML.
    fn type_of(&self, form: &'a Value) -> String {
        if let Some(value) = form["const"].as_str() {
            return code(&format!("{value:?}"));
        }
        match form["type"].as_str().unwrap() {
            "array" => {
                let items: Vec<_> = self.forms(&form["items"]).into_iter().map(|item| self.type_of(item)).collect();
                format!("list of {}", items.join(" or "))
            }
            "integer" if form["enum"].is_array() => {
                let numbers = form["enum"].as_array().unwrap().iter().map(|number| code(&number.to_string()));
                numbers.collect::<Vec<_>>().join(" or ")
            }
            "integer" => match (form["minimum"].as_i64(), form["maximum"].as_i64()) {
                (Some(least), Some(most)) => format!("integer, {least} to {most}"),
                (Some(least), None) => format!("integer, {least} or more"),
                bounds => panic!("{bounds:?}: {form}"),
            },
            "object" if form["properties"].is_object() => {
                let keys: Vec<_> = self.properties(form).into_iter().map(|(key, _)| format!("{key} = …")).collect();
                code(&format!("{{ {} }}", keys.join(", ")))
            }
            "object" => "table".to_owned(),
            other => other.to_owned(),
        }
    }

    /// What the types of a value say of it beyond its key: the meaning of each word, the form of a
    /// name.
    fn notes(&self, property: &'a Value, form: &'a Value) -> Vec<String> {
        let description = text(form, "description");
        let is_new = !description.is_empty() && text(property, "description") != description;
        if let (Some(value), true) = (form["const"].as_str(), is_new) {
            return vec![format!("{}: {}", code(value), cell(description))];
        }
        if form["type"] == "array" {
            let items = &form["items"];
            return self.forms(items).into_iter().flat_map(|item| self.notes(property, item)).collect();
        }
        // The same sentence is the error about a name of another form.
        let description = description.replace(" were expected", "").replace(" was expected", "");
        if form["pattern"].is_string() && is_new { vec![cell(&description)] } else { Vec::new() }
    }
}

fn text<'a>(part: &'a Value, key: &str) -> &'a str {
    part[key].as_str().unwrap_or_default()
}
