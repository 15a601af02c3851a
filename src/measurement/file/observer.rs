//! `[observer]`: its keys are those of the registry of chains, so a new chain there is
//! a new key here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use crate::chain::own::Fold;
use crate::chain::{self, Chain};
use crate::measurement::words::{self, Text};

/// The functions that read packets.
#[derive(Debug, Default)]
pub(in crate::measurement) struct Observer {
    /// Groups, whose functions are placed in their chains.
    pub(in crate::measurement) groups: Vec<Text>,
    chains: Vec<(Chain, Vec<Text>)>,
    /// Columns of the measurement's own, with their places.
    pub(in crate::measurement) own: Vec<(Fold, BTreeMap<String, Spanned<Own>>)>,
}

/// A column of the measurement's own.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::measurement) struct Own {
    /// The packets of one direction only: fwd, those of this host, or rev. Without it, all.
    #[schemars(with = "Option<String>", extend("enum" = ["fwd", "rev"]), example = &"rev")]
    pub(in crate::measurement) direction: Option<Text>,
    /// Which packets count: a boolean expression over `pathspider list packet-fields`.
    #[schemars(with = "Option<String>", example = &"tcp.window = 0 AND NOT tcp.rst")]
    pub(in crate::measurement) when: Option<Text>,
    /// The value that is taken of a packet: an expression over the same fields. Not for count and any.
    #[schemars(with = "Option<String>", example = &"tcp.window")]
    pub(in crate::measurement) value: Option<Text>,
    /// What the column means.
    #[schemars(example = &"How often the server closed its window")]
    pub(in crate::measurement) help: Option<String>,
}

impl Observer {
    /// Every chain with what is listed in it.
    pub(in crate::measurement) fn chains(&self) -> impl Iterator<Item = (Chain, &[Text])> {
        Chain::ALL.into_iter().map(|chain| (chain, self.chain(chain)))
    }

    /// What is listed in a chain.
    pub(in crate::measurement) fn chain(&self, chain: Chain) -> &[Text] {
        let listed = self.chains.iter().find(|(other, _)| *other == chain);
        listed.map_or(&[], |(_, listed)| listed.as_slice())
    }
}

/// A key of the table.
enum Key {
    Use,
    Own(Fold),
    Chain(Chain),
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        if key == "use" {
            return Ok(Key::Use);
        }
        if let Some((fold, ..)) = Fold::ALL.into_iter().find(|(_, name, _)| *name == key) {
            return Ok(Key::Own(fold));
        }
        if let Some(chain) = Chain::ALL.into_iter().find(|chain| chain.key() == key) {
            return Ok(Key::Chain(chain));
        }
        let chains = Chain::ALL.iter().map(|chain| chain.key());
        let known = Fold::ALL.iter().map(|(_, name, _)| *name).chain(chains);
        let known: Vec<String> = known.map(|name| format!("`{name}`")).collect();
        // In serde's own words, which the diagnostics parse.
        let known = known.join(", ");
        Err(D::Error::custom(format!("unknown field `{key}`, expected one of `use`, {known}")))
    }
}

impl<'de> Deserialize<'de> for Observer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Observer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("struct Observer")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Observer, A::Error> {
                let mut observer = Observer::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Use => observer.groups = map.next_value()?,
                        Key::Own(fold) => observer.own.push((fold, map.next_value()?)),
                        Key::Chain(chain) => observer.chains.push((chain, map.next_value()?)),
                    }
                }
                Ok(observer)
            }
        }
        deserializer.deserialize_map(Table)
    }
}

impl JsonSchema for Observer {
    fn schema_name() -> Cow<'static, str> {
        "Observer".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut own = |fold: Fold| {
            let mut own = Own::json_schema(generator).to_value();
            let needed = if fold.adds_up() { "when" } else { "value" };
            own["required"] = serde_json::json!([needed]);
            if fold.adds_up()
                && let Some(properties) = own["properties"].as_object_mut()
            {
                properties.shift_remove("value");
            }
            own
        };
        let groups: Vec<_> = chain::GROUPS.iter().map(|group| (group.name, group.doc)).collect();
        let first = groups.first().map_or("", |(name, _)| *name);
        let mut properties = serde_json::Map::new();
        properties.insert(
            "use".into(),
            serde_json::json!({
                "description": "Groups of functions, each placed in all its chains. May be combined with \
                    chains; a function runs once.",
                "type": "array",
                "items": words::names(&groups),
                "default": [],
                "examples": [[first]],
            }),
        );
        for chain in Chain::ALL {
            let fitting = chain::functions().filter(|(_, function)| function.chains.has(chain));
            let functions: Vec<_> =
                fitting.map(|(_, function)| (function.name, function.doc)).collect();
            let first = functions.first().map_or("", |(name, _)| *name);
            properties.insert(
                chain.key().into(),
                serde_json::json!({
                    "description": format!("Functions that read {}.", chain.reads()),
                    "type": "array",
                    "items": words::names(&functions),
                    "uniqueItems": true,
                    "default": [],
                    "examples": [[first]],
                }),
            );
        }
        for (fold, name, doc) in Fold::ALL {
            let example = match fold.adds_up() {
                true => serde_json::json!({ "zero_window": { "when": "tcp.window = 0" } }),
                false => {
                    serde_json::json!({ "window": { "direction": "rev", "value": "tcp.window" } })
                }
            };
            properties.insert(
                name.into(),
                serde_json::json!({
                    "description": format!("Columns of one's own, by name. {doc}"),
                    "type": "object",
                    "propertyNames": { "pattern": words::NAME },
                    "additionalProperties": own(fold),
                    "examples": [example],
                }),
            );
        }
        json_schema!({
            "description": "The functions that read packets.",
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
        })
    }
}
