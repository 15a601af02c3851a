//! What the types of a file share: texts with their places, and the parts of the JSON Schema that are made from the
//! registries.

use std::ops::RangeInclusive;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use toml::Spanned;

use crate::connect;
use crate::measurement::bounds::{LOCATE_HOPS, LOCATE_PACKETS, LOCATE_ROUNDS, METRICS, ROUNDS};
use crate::measurement::scalar::Scalar;
use crate::record::CONFIGURATIONS as NAMES;
use crate::step::{STEPS, netfilter, route};

/// A text with its place.
pub(in crate::measurement) type Text = Spanned<String>;

/// The pattern of a duration, or of a text with a param.
pub(super) const DURATION: &str = "^([0-9]+(ms|s|m)|.*\\$\\{.*)$";

/// The pattern of a number of octets, or of a text with a param.
pub(super) const SIZE: &str = "^([0-9]+(B|kB|KiB|MB|MiB)|.*\\$\\{.*)$";

/// An example from TOML.
pub(super) fn example(text: &str) -> Value {
    let table: Option<serde_json::Map<String, Value>> = toml::from_str(&format!("x = {text}")).ok();
    table.and_then(|mut table| table.shift_remove("x")).unwrap_or_default()
}

/// The pattern of a name in `${...}`.
pub(super) const NAME: &str = "^[a-z_][a-z0-9_]*$";

/// The pattern of a string that is a param of another type.
const PARAM: &str = "^\\$\\{[a-z0-9_ +*/%()-]+\\}$";

/// One of some names, each with its documentation for editors; or a param. An editor completes what is under `anyOf`,
/// which allows anything, and reports what `then` says: which names are known.
pub(super) fn names(words: &[(&str, &str)]) -> Schema {
    let (names, docs): (Vec<_>, Vec<_>) = words.iter().copied().unzip();
    json_schema!({
        "type": "string",
        "anyOf": [
            { "type": "string", "enum": names, "x-taplo": { "docs": { "enumValues": docs } } },
            {},
        ],
        "if": { "type": "string", "not": { "pattern": "\\$\\{" } },
        "then": { "enum": names },
    })
}

/// A whole number within bounds, or a param: in one schema, so that an editor says which bound a number exceeds.
pub(super) fn integer(least: i64, most: i64) -> Schema {
    json_schema!({
        "type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": PARAM,
    })
}

/// A whole number within a range, or a param.
pub(super) fn range(range: &RangeInclusive<i64>) -> Schema {
    integer(*range.start(), *range.end())
}

/// true, false, or a param.
pub(super) fn boolean(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["boolean", "string"], "pattern": PARAM })
}

pub(super) fn kind(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = connect::KINDS.iter().map(|kind| (kind.name, kind.doc)).collect();
    names(&words)
}

pub(super) fn kinds(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": kind(generator).to_value(), "default": [] })
}

/// The default of a param: a value, or a list of values.
pub(super) fn param(generator: &mut SchemaGenerator) -> Schema {
    let items = generator.subschema_for::<Scalar>().to_value();
    json_schema!({ "type": ["integer", "number", "string", "boolean", "array"], "items": items })
}

pub(super) fn sweep(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": NAME },
        "additionalProperties": {
            "type": ["array", "string"],
            "pattern": PARAM,
            "items": generator.subschema_for::<Scalar>().to_value(),
            "minItems": 1,
            "maxItems": NAMES.len() - 1,
            "description": "The values, or a param that is a list.",
            "examples": [[1, 10, 46]],
        },
    })
}

pub(super) fn rounds(_: &mut SchemaGenerator) -> Schema {
    range(&ROUNDS)
}

pub(super) fn locate_hops(_: &mut SchemaGenerator) -> Schema {
    range(&LOCATE_HOPS)
}

pub(super) fn locate_rounds(_: &mut SchemaGenerator) -> Schema {
    range(&LOCATE_ROUNDS)
}

pub(super) fn locate_packets(_: &mut SchemaGenerator) -> Schema {
    range(&LOCATE_PACKETS)
}

pub(super) fn between(_: &mut SchemaGenerator) -> Schema {
    let pattern = format!("^({})$|\\$\\{{", NAMES.join("|"));
    let name = serde_json::json!({ "type": "string", "pattern": pattern });
    json_schema!({ "type": "array", "items": name, "minItems": 2, "maxItems": 2 })
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

/// Makes one object of the kinds of step, each a key with its documentation from its row: so an editor completes the
/// kinds, and places a mistake inside a step at its key.
pub(super) fn steps(schema: &mut Schema) {
    let Some(Value::Array(kinds)) = schema.remove("oneOf") else { return };
    let mut properties = serde_json::Map::new();
    for kind in &kinds {
        let own = kind.get("properties").and_then(Value::as_object);
        for (name, property) in own.into_iter().flatten() {
            let mut property = property.clone();
            let row = STEPS.iter().find(|row| row.name == name);
            if let (Some(row), Value::Object(property)) = (row, &mut property) {
                let doc = format!("{}. Scope: {}. Undone: {}.", row.doc, row.scope.doc(), row.undo);
                let inner = example(row.example).get(row.name).cloned().unwrap_or_default();
                property.insert("description".into(), doc.into());
                property.insert("examples".into(), serde_json::json!([inner]));
            }
            properties.insert(name.clone(), property);
        }
    }
    let examples: Vec<Value> = STEPS.iter().map(|row| example(row.example)).collect();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), properties.into());
    schema.insert("additionalProperties".into(), false.into());
    schema.insert("minProperties".into(), 1.into());
    schema.insert("maxProperties".into(), 1.into());
    schema.insert("examples".into(), examples.into());
}
