//! The JSON Schema of measurement files, for editors: made from the types in `file`, and from the
//! registries wherever a word is a name of something.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::NAMES;
use super::file::File;
use crate::connect;
use crate::step::{STEPS, netfilter, route};

/// The JSON Schema of measurement files.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(File).to_value();
    without_null(&mut schema);
    schema
}

/// An example, written as TOML.
pub(super) fn example(text: &str) -> Value {
    let table: Option<serde_json::Map<String, Value>> = toml::from_str(&format!("x = {text}")).ok();
    table.and_then(|mut table| table.shift_remove("x")).unwrap_or_default()
}

/// What a name in `${...}` looks like.
pub(super) const NAME: &str = "^[a-z_][a-z0-9_]*$";

/// A string in which a param stands for the value of another type.
const PARAM: &str = "^\\$\\{[a-z0-9_]+\\}$";

/// One of some names, each with its explanation, as editors understand it; or a param.
pub(super) fn names(words: &[(&str, &str)]) -> Schema {
    let (names, docs): (Vec<_>, Vec<_>) = words.iter().copied().unzip();
    json_schema!({
        "anyOf": [
            { "type": "string", "enum": names, "x-taplo": { "docs": { "enumValues": docs } } },
            { "type": "string", "pattern": "\\$\\{" },
        ],
    })
}

/// A whole number within bounds, or a param.
pub(super) fn integer(least: i64, most: i64) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "integer", "minimum": least, "maximum": most },
            { "type": "string", "pattern": PARAM },
        ],
    })
}

/// true, false, or a param.
pub(super) fn boolean(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": PARAM }] })
}

pub(super) fn kind(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = connect::KINDS.iter().map(|kind| (kind.name, kind.doc)).collect();
    names(&words)
}

pub(super) fn kinds(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": kind(generator).to_value(), "default": [] })
}

pub(super) fn sweep(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": NAME },
        "additionalProperties": {
            "type": "array",
            "items": generator.subschema_for::<super::Scalar>().to_value(),
            "minItems": 1,
            "maxItems": NAMES.len() - 1,
        },
    })
}

pub(super) fn http_version(_: &mut SchemaGenerator) -> Schema {
    names(connect::HTTP_VERSIONS)
}

pub(super) fn groups(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": names(connect::GROUPS).to_value(), "minItems": 1 })
}

pub(super) fn method(_: &mut SchemaGenerator) -> Schema {
    names(connect::METHODS)
}

pub(super) fn question(_: &mut SchemaGenerator) -> Schema {
    names(connect::QUESTIONS)
}

pub(super) fn repeat(_: &mut SchemaGenerator) -> Schema {
    let range = super::connection::REPEATS;
    integer(*range.start(), *range.end())
}

pub(super) fn rounds(_: &mut SchemaGenerator) -> Schema {
    let range = super::confirm::ROUNDS;
    integer(*range.start(), *range.end())
}

pub(super) fn between(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = NAMES.iter().map(|name| (*name, "")).collect();
    json_schema!({ "type": "array", "items": names(&words).to_value(), "minItems": 2, "maxItems": 2 })
}

pub(super) fn hook(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = netfilter::HOOKS.iter().map(|(name, _, doc)| (*name, *doc)).collect();
    names(&words)
}

pub(super) fn features(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": names(route::FEATURES).to_value() })
}

fn metric(name: &str) -> Schema {
    let range = super::steps::METRICS.iter().find(|(metric, _)| *metric == name);
    range.map_or_else(Schema::default, |(_, range)| integer(*range.start(), *range.end()))
}

pub(super) fn mss(_: &mut SchemaGenerator) -> Schema {
    metric("advmss")
}

pub(super) fn window(_: &mut SchemaGenerator) -> Schema {
    metric("initcwnd")
}

pub(super) fn mtu(_: &mut SchemaGenerator) -> Schema {
    metric("mtu")
}

pub(super) fn hoplimit(_: &mut SchemaGenerator) -> Schema {
    metric("hoplimit")
}

/// Each kind of step, as the registry describes it.
pub(super) fn steps(schema: &mut Schema) {
    let Some(Value::Array(kinds)) = schema.get_mut("oneOf") else { return };
    for kind in kinds {
        let Some(kind) = kind.as_object_mut() else { continue };
        let row = kind
            .get("properties")
            .and_then(Value::as_object)
            .and_then(|properties| STEPS.iter().find(|row| properties.contains_key(row.name)));
        let Some(row) = row else { continue };
        let doc = format!("{}. Scope: {}. Undone: {}.", row.doc, row.scope.doc(), row.undo);
        kind.insert("description".into(), doc.clone().into());
        kind.insert("examples".into(), serde_json::json!([example(row.example)]));
        let inner = example(row.example).get(row.name).cloned().unwrap_or_default();
        let own = kind.get_mut("properties").and_then(|properties| properties.get_mut(row.name));
        if let Some(Value::Object(own)) = own {
            own.insert("description".into(), doc.into());
            own.insert("examples".into(), serde_json::json!([inner]));
        }
    }
}

/// TOML has no null: a key that may be absent is not one that may be null.
fn without_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(map) => {
            map.values_mut().for_each(without_null);
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|t| t != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(forms)) = map.get_mut("anyOf") {
                forms.retain(|form| form.get("type").is_none_or(|t| t != "null"));
                if let [Value::Object(only)] = forms.as_slice() {
                    let only = only.clone();
                    map.shift_remove("anyOf");
                    map.extend(only);
                }
            }
            if map.get("default").is_some_and(Value::is_null) {
                map.shift_remove("default");
            }
        }
        _ => {}
    }
}
