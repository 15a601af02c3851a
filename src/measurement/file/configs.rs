//! `[config]`: the configurations by their names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use super::Config;
use crate::connect::{KindDef, kind};
use crate::record::CONFIGURATIONS as NAMES;

/// The configurations that an editor completes; the others have their names checked.
const COMPLETED: usize = 8;

/// The configurations that are compared, by their numbers.
#[derive(Debug, Default)]
pub(in crate::measurement) struct Configs(BTreeMap<usize, Spanned<Config>>);

impl Configs {
    /// The known kinds of connection that configurations name themselves.
    pub(in crate::measurement) fn kinds(&self) -> Vec<&'static KindDef> {
        let kinds = self.0.values().filter_map(|config| config.get_ref().connect.0.kind.as_ref());
        kinds.filter_map(|name| kind(name.get_ref())).collect()
    }

    /// All of them from the first to the last; `None` where one is missing.
    pub(in crate::measurement) fn into_list(mut self) -> Vec<Option<Spanned<Config>>> {
        let last = self.0.keys().next_back().copied().unwrap_or_default();
        (0..=last).map(|number| self.0.remove(&number)).collect()
    }
}

/// A configuration's number, written as its name.
struct Number(usize);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let number = NAMES.iter().position(|known| *known == name);
        number.map(Number).ok_or_else(|| D::Error::unknown_field(&name, &NAMES_OF_MESSAGES))
    }
}

/// The names that a message lists.
static NAMES_OF_MESSAGES: [&str; COMPLETED] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven"];

impl<'de> Deserialize<'de> for Configs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Configs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Configs, A::Error> {
                let mut configs = BTreeMap::new();
                while let Some(Number(number)) = map.next_key()? {
                    configs.insert(number, map.next_value()?);
                }
                Ok(Configs(configs))
            }
        }
        deserializer.deserialize_map(Table)
    }
}

impl JsonSchema for Configs {
    fn schema_name() -> Cow<'static, str> {
        "Configs".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let config = generator.subschema_for::<Config>().to_value();
        let mut properties = serde_json::Map::new();
        for (number, name) in NAMES_OF_MESSAGES.iter().enumerate() {
            let (doc, example) = match number {
                0 => ("The baseline.".to_owned(), "ECN off"),
                1 => ("The experiment.".to_owned(), "ECN on"),
                _ => (format!("Experiment {number}."), "ECN on"),
            };
            let mut property = serde_json::json!({
                "description": doc, "examples": [{ "title": example }],
            });
            if let (Some(to), Some(from)) = (property.as_object_mut(), config.as_object()) {
                to.extend(from.clone());
            }
            properties.insert((*name).to_owned(), property);
        }
        let pattern = format!("^({})$", NAMES[COMPLETED..].join("|"));
        json_schema!({
            "description": "The configurations that are compared: zero, one, two and so on, without gaps.",
            "type": "object",
            "properties": properties,
            "patternProperties": { pattern: config },
            "additionalProperties": false,
        })
    }
}
