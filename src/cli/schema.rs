//! `pathspider schema`: JSON Schemas of measurement files and of records.

use arrow_schema::DataType;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::connect::Prepared;
use crate::error::{Exit, Result};
use crate::flags::Flag;
use crate::measurement::{self, PREPARE};
use crate::record;
use crate::report::catalogue;
use crate::report::page;
use crate::rule::{METRIC, confirm};
use crate::run::dictionary::unit_of;
use crate::run::evidence::{self, EVIDENCE};

/// Print the JSON Schema of measurement files, of lab files, of records, or of campaign files
///
/// For an editor: pathspider schema measurement > measurement.schema.json, and as the first line of the
/// measurement #:schema measurement.schema.json
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to describe
    #[arg(value_enum)]
    of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// A measurement file (TOML, read as if it were JSON)
    Measurement,
    /// A lab file, for `run --lab FILE` (TOML, read as if it were JSON)
    Lab,
    /// A record of a result, one line of NDJSON
    Record,
    /// A campaign file, for `fleet start` (TOML, read as if it were JSON)
    #[cfg(feature = "fleet")]
    Campaign,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let schema = match args.of {
        Of::Measurement => measurement::schema(),
        Of::Lab => lab(),
        Of::Record => record(),
        #[cfg(feature = "fleet")]
        Of::Campaign => campaign(),
    };
    page::print_own(&format!("{schema:#}\n"))?;
    Ok(Exit::Done)
}

/// The JSON Schema of campaign files.
#[cfg(feature = "fleet")]
fn campaign() -> Value {
    let mut schema = crate::fleet::campaign::schema();
    measurement::without_null(&mut schema);
    schema
}

/// The JSON Schema of lab files.
fn lab() -> Value {
    let mut schema = crate::lab::schema();
    measurement::without_null(&mut schema);
    schema
}

/// The JSON Schema of a record in NDJSON, with the columns of every function. Parts that depend on the measurement
/// (conditions, swept values) or on the target list are open.
pub fn record() -> Value {
    /// The configurations that are described one by one.
    const DESCRIBED: usize = 8;
    let mut target = Map::new();
    for (name, data_type, doc) in &catalogue::TARGET {
        // A target needs an address and a port.
        let nullable = !matches!(*name, "ip" | "port");
        target.insert((*name).into(), property(data_type, nullable, doc));
    }
    let mut facts = Map::new();
    let mut always = Vec::new();
    for field in record::fields() {
        let doc = field.doc.trim();
        let nullable = field.arrow().is_nullable();
        let mut property = property(&(field.data_type)(), nullable, doc);
        if let Some((least, most)) = field.bounds {
            property["minimum"] = least.into();
            // Many JSON readers lose precision with the largest 64-bit numbers.
            if most <= i64::from(u32::MAX) {
                property["maximum"] = most.into();
            }
        }
        property["x-by"] = field.by.into();
        property["x-filled-by"] = field.filled_by.as_str().into();
        if let Some(unit) = unit_of(field) {
            property["x-unit"] = unit.into();
        }
        facts.insert(field.name.into(), property);
        // Columns that no chain function fills are in every record.
        if crate::chain::function(field.by).is_none() {
            always.push(field.name);
        }
    }
    let configuration = |doc: &str| json!({ "$ref": "#/$defs/configuration", "description": doc });
    let mut properties = Map::new();
    properties.insert(
        "target".into(),
        json!({
            "type": "object", "description": "The target; further columns are those of the target list.",
            "properties": target, "required": catalogue::TARGET.each_ref().map(|(name, ..)| *name),
        }),
    );
    let [(position, _, of_position), (flags, _, of_flags), (control, _, of_control)] =
        catalogue::RECORD;
    properties.insert(
        position.into(),
        json!({ "type": "integer", "minimum": 1, "description": of_position }),
    );
    let words: Vec<Value> = Flag::ALL
        .iter()
        .map(|(_, word, doc)| json!({ "const": word, "description": doc }))
        .collect();
    properties.insert(
        flags.into(),
        json!({ "type": "array", "items": { "oneOf": words }, "description": of_flags }),
    );
    properties.insert(control.into(), json!({ "type": "boolean", "description": of_control }));
    let found: Map<String, Value> = Prepared::FIELDS
        .iter()
        .map(|field| {
            let of = property(&(field.data_type)(), field.arrow().is_nullable(), field.doc.trim());
            (field.name.to_owned(), of)
        })
        .collect();
    properties.insert(
        PREPARE.into(),
        json!({
            "type": "object", "properties": found, "required": Prepared::FIELDS.iter().map(|f| f.name).collect::<Vec<_>>(),
            "description": "Results of the preparation, if the measurement has [connect.prepare].",
        }),
    );
    properties.insert("zero".into(), configuration("What happened under the baseline."));
    properties.insert("one".into(), configuration("What happened under the experiment."));
    let (described, others) = record::CONFIGURATIONS.split_at(DESCRIBED);
    for name in described.iter().skip(2) {
        let doc = format!("What happened under configuration {name}, if the measurement has it.");
        properties.insert((*name).into(), configuration(&doc));
    }
    add_conclusions(&mut properties);
    properties.insert(EVIDENCE.into(), evidence());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pathspider record",
        "description": "One target's record: a line of NDJSON, or a row of Parquet.",
        "type": "object",
        "properties": properties,
        "patternProperties": {
            format!("^({})$", others.join("|")): configuration("What happened under a further configuration."),
        },
        "required": ["target", position, flags, control, "zero", "one"],
        "additionalProperties": false,
        "$defs": { "configuration": {
            "type": "object",
            "description": "The attempt under one configuration, and what the observer saw of it. Columns are there if the \
                            measurement's chains have the function that fills them (x-by); in Parquet null is NULL. x-filled-by \
                            says which part of a run knows the value: engine, reply (of the peer) or observer. x-unit is the unit of a number.",
            "properties": facts,
            "required": always,
        } },
    })
}

/// Where a target's packets are.
fn evidence() -> Value {
    let columns = evidence::COLUMNS.iter();
    let properties: Map<String, Value> =
        columns.map(|(name, of, doc)| ((*name).to_owned(), property(of, false, doc))).collect();
    json!({
        "type": ["object", "null"], "properties": properties,
        "required": evidence::COLUMNS.each_ref().map(|(name, ..)| *name),
        "description": evidence::DOC,
    })
}

/// Adds what the rules and confirmation rounds say of a record.
fn add_conclusions(properties: &mut Map<String, Value>) {
    let mut counts = Map::new();
    for (name, doc) in confirm::COUNTS {
        let mut count = property(&DataType::Int64, false, doc);
        count["minimum"] = 0.into();
        counts.insert(name.into(), count);
    }
    properties.insert(
        confirm::CONFIRM.into(),
        json!({
            "type": "object",
            "description": "Results of the confirmation rounds of a target that looked broken or transient: a property per \
                            condition that compares, its name with _ for each dot; null if it was not re-probed.",
            "additionalProperties": {
                "type": ["object", "null"], "properties": counts,
                "required": confirm::COUNTS.map(|(name, _)| name),
            },
        }),
    );
    properties.insert(
        "conditions".into(),
        json!({ "type": "array", "items": { "type": "string" }, "examples": [["ecn.connectivity.works"]],
                "description": "All labels of the record, in the order of the conditions." }),
    );
    let per_condition = "a property per condition, its name with _ for each dot";
    let doc = format!(
        "The result of each condition ({per_condition}): the last word of its label, or the value; null where it does not apply."
    );
    let value = json!({ "type": ["string", "number", "boolean", "null"] });
    properties.insert(
        "verdict".into(),
        json!({ "type": "object", "additionalProperties": value, "description": doc }),
    );
    properties.insert(
        METRIC.into(),
        json!({
            "type": "object", "additionalProperties": { "type": ["number", "null"] },
            "description": "The numbers of the measurement's metrics: a property per metric, its name with _ for each dot; \
                            null where it is unknown.",
        }),
    );
    let doc = format!("Why a condition is insufficient ({per_condition}); null where it is not.");
    let reason = json!({ "type": ["string", "null"] });
    properties.insert(
        "insufficient".into(),
        json!({ "type": "object", "additionalProperties": reason, "description": doc }),
    );
}

/// The schema of a column's values, as the NDJSON writer writes them.
fn property(data_type: &DataType, nullable: bool, doc: &str) -> Value {
    let word = match data_type {
        DataType::Boolean => "boolean",
        t if t.is_integer() => "integer",
        t if t.is_floating() => "number",
        DataType::List(_) => "array",
        DataType::Struct(_) => "object",
        // Strings, times, and other types written as strings.
        _ => "string",
    };
    let mut schema = Map::new();
    let types = if nullable { json!([word, "null"]) } else { word.into() };
    schema.insert("type".into(), types);
    match data_type {
        t if t.is_unsigned_integer() => {
            schema.insert("minimum".into(), 0.into());
            // Many JSON readers lose precision with the largest 64-bit numbers.
            if let Some(bits @ 1..=4) = t.primitive_width() {
                schema.insert("maximum".into(), ((1u64 << (8 * bits)) - 1).into());
            }
        }
        DataType::Timestamp(..) => {
            schema.insert("format".into(), "date-time".into());
        }
        DataType::List(item) => {
            schema.insert("items".into(), property(item.data_type(), item.is_nullable(), ""));
        }
        _ => {}
    }
    if !doc.is_empty() {
        schema.insert("description".into(), doc.into());
    }
    Value::Object(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_GOLDENS=1 cargo test` updates it.
    #[test]
    fn the_stored_schemas_are_current() {
        for (of, schema) in [("record", record()), ("lab", lab())] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("schema/{of}.schema.json"));
            let current = format!("{schema:#}\n");
            if std::env::var_os("UPDATE_GOLDENS").is_some() {
                std::fs::write(&path, &current).unwrap();
            }
            let stored = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(stored == current, "{} is stale: UPDATE_GOLDENS=1 cargo test", path.display());
        }
    }

    #[test]
    fn numbers_have_their_bounds() {
        assert_eq!(property(&DataType::UInt16, true, "")["maximum"], 65_535);
        assert_eq!(property(&DataType::UInt64, true, "").get("maximum"), None);
        assert_eq!(
            property(&DataType::Utf8, false, "x"),
            json!({"type": "string", "description": "x"})
        );
    }
}
