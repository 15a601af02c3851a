//! `[connect]` and `[config.NAME.connect]`. Besides a few keys of their own, their keys are the rows of the registry of
//! options, so a new row there is a new key here.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};
use toml::Spanned;

use super::edns::Edns;
use super::packet::Packet;
use crate::connect::options::{OPTIONS, OptionDef, Takes, option};
use crate::measurement::bounds::{DEFAULT_KIND, DEFAULT_TIMEOUT};
use crate::measurement::words::{self, Text};

/// How each target is connected to.
#[derive(Debug, Default)]
pub(in crate::measurement) struct Connect {
    pub(in crate::measurement) kind: Option<Text>,
    /// The kinds that a user may choose instead.
    pub(in crate::measurement) kinds: Vec<Text>,
    pub(in crate::measurement) timeout: Option<Text>,
    options: Vec<(&'static OptionDef, Written)>,
    /// The value of the option that takes a packet.
    pub(in crate::measurement) packet: Option<Spanned<Packet>>,
    pub(in crate::measurement) prepare: Prepare,
    pub(in crate::measurement) after: After,
}

/// The differences of the connections under one configuration.
#[derive(Debug, Default)]
pub(in crate::measurement) struct OwnConnect(pub(in crate::measurement) Connect);

/// The value of an option as it is written.
#[derive(Debug)]
pub(in crate::measurement) enum Written {
    Boolean(Spanned<bool>),
    Integer(Spanned<i64>),
    Text(Text),
    Texts(Spanned<Vec<Text>>),
    Edns(Spanned<Edns>),
}

impl Written {
    /// Its place in the file.
    pub(in crate::measurement) fn span(&self) -> Range<usize> {
        match self {
            Self::Boolean(value) => value.span(),
            Self::Integer(value) => value.span(),
            Self::Text(value) => value.span(),
            Self::Texts(value) => value.span(),
            Self::Edns(value) => value.span(),
        }
    }
}

impl Connect {
    /// The value of an option, except of one that takes a packet.
    pub(in crate::measurement) fn option(&self, option: &OptionDef) -> Option<&Written> {
        self.options.iter().find(|(known, _)| *known == option).map(|(_, written)| written)
    }

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        option: &'static OptionDef,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let written = match option.takes {
            Takes::Boolean => Written::Boolean(map.next_value()?),
            Takes::Integer(_) => Written::Integer(map.next_value()?),
            Takes::Text(_) | Takes::Word(_) | Takes::Size(_) => Written::Text(map.next_value()?),
            Takes::Texts | Takes::Words(_) => Written::Texts(map.next_value()?),
            Takes::Edns => Written::Edns(map.next_value()?),
            Takes::Packet => {
                self.packet = Some(map.next_value()?);
                return Ok(());
            }
        };
        self.options.push((option, written));
        Ok(())
    }
}

/// A key of the table; `OWN` is whether the table is that of one configuration.
enum Key<const OWN: bool> {
    Kind,
    Kinds,
    Timeout,
    Option(&'static OptionDef),
    Prepare,
    After,
}

impl<'de, const OWN: bool> Deserialize<'de> for Key<OWN> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        Ok(match key.as_str() {
            "kind" => Self::Kind,
            "kinds" if !OWN => Self::Kinds,
            "timeout" => Self::Timeout,
            "prepare" if !OWN => Self::Prepare,
            "after" if !OWN => Self::After,
            name => match option(name) {
                Some(option) => Self::Option(option),
                None => return Err(unknown::<OWN, _>(name)),
            },
        })
    }
}

/// The error for an unknown key, in serde's own words, which the diagnostics parse.
fn unknown<const OWN: bool, E: Error>(key: &str) -> E {
    let (before, after) = match OWN {
        true => (&["kind", "timeout"][..], &[][..]),
        false => (&["kind", "kinds", "timeout"][..], &["prepare", "after"][..]),
    };
    let options = OPTIONS.iter().map(|option| option.name);
    let known = before.iter().copied().chain(options).chain(after.iter().copied());
    let known: Vec<String> = known.map(|key| format!("`{key}`")).collect();
    E::custom(format!("unknown field `{key}`, expected one of {}", known.join(", ")))
}

/// Reads the table.
struct Table<const OWN: bool>;

impl<'de, const OWN: bool> Visitor<'de> for Table<OWN> {
    type Value = Connect;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct Connect")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Connect, A::Error> {
        let mut connect = Connect::default();
        while let Some(key) = map.next_key::<Key<OWN>>()? {
            match key {
                Key::Kind => connect.kind = Some(map.next_value()?),
                Key::Kinds => connect.kinds = map.next_value()?,
                Key::Timeout => connect.timeout = Some(map.next_value()?),
                Key::Option(option) => connect.read(option, &mut map)?,
                Key::Prepare => connect.prepare = map.next_value()?,
                Key::After => connect.after = map.next_value()?,
            }
        }
        Ok(connect)
    }
}

impl<'de> Deserialize<'de> for Connect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table::<false>)
    }
}

impl<'de> Deserialize<'de> for OwnConnect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table::<true>).map(Self)
    }
}

impl JsonSchema for Connect {
    fn schema_name() -> Cow<'static, str> {
        "Connect".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        table("How each target is connected to.", properties(false, generator))
    }
}

impl JsonSchema for OwnConnect {
    fn schema_name() -> Cow<'static, str> {
        "OwnConnect".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let doc = "The differences of the connections under one configuration; the rest is as in [connect].";
        table(doc, properties(true, generator))
    }
}

fn table(doc: &str, properties: Map<String, Value>) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "description": doc,
    })
}

/// The schema of every key. In `[connect]` keys have defaults; under a configuration the value of `[connect]` applies.
fn properties(own: bool, generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut all = Map::new();
    let mut add = |name: &str, schema: Schema, doc: &str, example: &str, default: &str| {
        let mut schema = schema;
        schema.insert("description".into(), doc.into());
        schema.insert("examples".into(), Value::Array(vec![words::example(example)]));
        if !own && !default.is_empty() {
            schema.insert("default".into(), words::example(default));
        }
        all.insert(name.into(), schema.to_value());
    };
    let quoted = |word: &str| format!("'{word}'");
    let kind = words::kind(generator);
    add("kind", kind, "The kind of connection.", "'tcp'", &quoted(DEFAULT_KIND));
    if !own {
        let doc = "The kinds that a user may choose instead.";
        add("kinds", words::kinds(generator), doc, "['tcp', 'https']", "");
    }
    let timeout = json_schema!({ "type": "string", "pattern": words::DURATION });
    let doc =
        "The timeout of one connection: a number with ms, s or m; more than zero, at most an hour.";
    add("timeout", timeout, doc, "'5s'", &quoted(DEFAULT_TIMEOUT));
    for option in OPTIONS {
        let schema = value(&option.takes, generator);
        add(option.name, schema, option.doc, option.example, option.default);
    }
    if !own {
        let doc = "Work that is done once for every target, before all configurations, which share the result.";
        let prepare = generator.subschema_for::<Prepare>();
        add("prepare", prepare, doc, "{ resolve = true, probe = 'tcp' }", "");
        let doc = "What is kept of a connection that has ended.";
        add("after", generator.subschema_for::<After>(), doc, "{ keep = [] }", "");
    }
    all
}

/// The schema of an option's value.
fn value(takes: &Takes, generator: &mut SchemaGenerator) -> Schema {
    match takes {
        Takes::Boolean => words::boolean(generator),
        Takes::Integer(range) => words::range(range),
        Takes::Text(pattern) => json_schema!({ "type": "string", "pattern": pattern }),
        Takes::Size(_) => json_schema!({ "type": "string", "pattern": words::SIZE }),
        Takes::Texts => {
            json_schema!({ "type": "array", "items": { "type": "string" }, "minItems": 1 })
        }
        Takes::Word(of) => words::names(of.all),
        Takes::Words(of) => {
            json_schema!({ "type": "array", "items": words::names(of.all).to_value(), "minItems": 1 })
        }
        Takes::Packet => generator.subschema_for::<Packet>(),
        Takes::Edns => generator.subschema_for::<Edns>(),
    }
}

/// Work that is done once for every target, before all configurations.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::measurement) struct Prepare {
    /// Whether names of targets are looked up.
    #[serde(default)]
    #[schemars(schema_with = "words::boolean", example = true, extend("default" = false))]
    pub(in crate::measurement) resolve: Option<bool>,
    /// A connection that shows whether the target is up at all.
    #[serde(default)]
    #[schemars(schema_with = "words::kind", example = &"tcp")]
    pub(in crate::measurement) probe: Option<Text>,
}

/// What is kept of a connection that has ended.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::measurement) struct After {
    /// Columns to keep of those that the kind of connection provides, besides those of every record;
    /// all of them by default.
    #[schemars(with = "Option<Vec<String>>", example = ["http_status", "tls_version"])]
    pub(in crate::measurement) keep: Option<Vec<Text>>,
}
