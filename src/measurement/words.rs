//! What the types of a file share: texts with their places, and the parts of the JSON Schema that are made from the
//! registries.

use std::ops::RangeInclusive;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use toml::Spanned;

use crate::connect;
use crate::measurement::bounds::{METRICS, ROUNDS};
use crate::measurement::scalar::Scalar;
use crate::record::CONFIGURATIONS as NAMES;
use crate::step::{STEPS, netfilter, route};

/// A text with its place.
pub(in crate::measurement) type Text = Spanned<String>;

/// The pattern of a duration, or of a text with a param.
pub(super) const DURATION: &str = "^([0-9]+(ms|s|m)|.*\\$\\{.*)$";

/// An example from TOML.
pub(super) fn example(text: &str) -> Value {
    let table: Option<serde_json::Map<String, Value>> = toml::from_str(&format!("x = {text}")).ok();
    table.and_then(|mut table| table.shift_remove("x")).unwrap_or_default()
}

/// The pattern of a name in `${...}`.
pub(super) const NAME: &str = "^[a-z_][a-z0-9_]*$";

/// The pattern of a string that is a param of another type.
const PARAM: &str = "^\\$\\{[a-z0-9_]+\\}$";

/// One of some names, each with its documentation for editors; or a param.
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

/// A whole number within a range, or a param.
pub(super) fn range(range: &RangeInclusive<i64>) -> Schema {
    integer(*range.start(), *range.end())
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
            "items": generator.subschema_for::<Scalar>().to_value(),
            "minItems": 1,
            "maxItems": NAMES.len() - 1,
        },
    })
}

pub(super) fn rounds(_: &mut SchemaGenerator) -> Schema {
    range(&ROUNDS)
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
    let found = METRICS.iter().find(|(metric, _)| *metric == name);
    found.map_or_else(Schema::default, |(_, bounds)| range(bounds))
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

/// Documents each kind of step from its row.
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
