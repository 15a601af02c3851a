//! Steps as they are written: each is a table with one key, its kind.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use toml::Spanned;

use super::words::{self, Text};
use crate::step::sockopt::{SOCKOPTS, Takes};

/// One step: a table with one key, its kind.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = words::steps)]
pub(in crate::measurement) enum Step {
    Sysctl(#[schemars(schema_with = "sysctls")] BTreeMap<Text, Spanned<Setting>>),
    Netfilter(Netfilter),
    Route(Route),
    Sockopt(#[schemars(schema_with = "sockopts")] BTreeMap<Text, Spanned<SockoptValue>>),
    Command(Command),
}

/// A value of a kernel parameter: written as number, text or boolean, kept as text.
#[derive(Debug)]
pub(in crate::measurement) struct Setting(pub(in crate::measurement) String);

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Setting;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer, a string or a boolean")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Setting, E> {
                Ok(Setting(value.to_string()))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Setting, E> {
                Ok(Setting(value.to_string()))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Setting, E> {
                Ok(Setting(u8::from(value).to_string()))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Setting, E> {
                Ok(Setting(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl JsonSchema for Setting {
    fn schema_name() -> Cow<'static, str> {
        "Setting".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A value of a kernel parameter; true is written as 1, false as 0.",
            "type": ["integer", "string", "boolean"],
            "minLength": 1,
        })
    }
}

/// A rule of nftables for this configuration's packets.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["rule"]))]
pub(in crate::measurement) struct Netfilter {
    /// One rule in the syntax of nft(8). It applies to packets of this configuration only, without a match of
    /// its own. `dscp set 46`, without ip or ip6, is for both versions of IP; `ip dscp set 46` is for IPv4, and IPv6
    /// targets are skipped.
    #[schemars(with = "Option<String>", example = &"dscp set 46", length(min = 1))]
    #[schemars(regex(pattern = "^[^;#\\r\\n]*$"))]
    pub(in crate::measurement) rule: Option<Text>,
    /// The hook in a packet's path where the rule applies.
    #[serde(default)]
    #[schemars(schema_with = "words::hook", example = &"output", extend("default" = "output"))]
    pub(in crate::measurement) hook: Option<Text>,
}

/// Metrics of this configuration's routes; missing ones stay unchanged.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "dependentRequired" = { "mtu_lock": ["mtu"] }))]
pub(in crate::measurement) struct Route {
    /// Features of the route.
    #[serde(default)]
    #[schemars(schema_with = "words::features", example = ["ecn"])]
    pub(in crate::measurement) features: Vec<Text>,
    /// The MSS to announce, in bytes.
    #[serde(default)]
    #[schemars(schema_with = "words::mss", example = 1400)]
    pub(in crate::measurement) advmss: Option<Spanned<i64>>,
    /// The initial congestion window, in segments.
    #[serde(default)]
    #[schemars(schema_with = "words::window", example = 10)]
    pub(in crate::measurement) initcwnd: Option<Spanned<i64>>,
    /// The MTU, in bytes.
    #[serde(default)]
    #[schemars(schema_with = "words::mtu", example = 1280)]
    pub(in crate::measurement) mtu: Option<Spanned<i64>>,
    /// Whether path MTU discovery is disabled; needs `mtu`.
    #[serde(default)]
    #[schemars(schema_with = "words::boolean", example = true, extend("default" = false))]
    pub(in crate::measurement) mtu_lock: Option<Spanned<bool>>,
    /// The TTL, or hop limit.
    #[serde(default)]
    #[schemars(schema_with = "words::hoplimit", example = 64)]
    pub(in crate::measurement) hoplimit: Option<Spanned<i64>>,
    /// The congestion control; the kernel must support it.
    #[schemars(with = "Option<String>", example = &"cubic", regex(pattern = "^[a-z0-9_]+$|\\$\\{"))]
    pub(in crate::measurement) congctl: Option<Text>,
    /// Whether ACKs are sent immediately.
    #[serde(default)]
    #[schemars(schema_with = "words::boolean", example = true)]
    pub(in crate::measurement) quickack: Option<bool>,
    /// Whether TCP Fast Open works without a cookie (RFC 7413, 4.1.2).
    #[serde(default)]
    #[schemars(schema_with = "words::boolean", example = true)]
    pub(in crate::measurement) fastopen_no_cookie: Option<bool>,
}

/// A program to run, and the program that undoes it. No shell interprets the words. It runs only
/// if the user allows commands.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["run"]))]
pub(in crate::measurement) struct Command {
    /// The program and its arguments.
    #[schemars(with = "Option<Vec<String>>", length(min = 1), example = ["dish", "east"])]
    pub(in crate::measurement) run: Option<Spanned<Vec<String>>>,
    /// The program that undoes it, and its arguments.
    #[schemars(with = "Option<Vec<String>>", length(min = 1), example = ["dish", "west"])]
    pub(in crate::measurement) undo: Option<Spanned<Vec<String>>>,
    /// The timeout of each: a number with ms, s or m; more than zero, at most an hour.
    #[schemars(with = "Option<String>", example = &"30s", regex(pattern = "^([0-9]+(ms|s|m)|.*\\$\\{.*)$"))]
    #[schemars(extend("default" = crate::step::command::DEFAULT_TIMEOUT))]
    pub(in crate::measurement) timeout: Option<Text>,
}

/// A value of a socket option, before its type is checked.
#[derive(Debug)]
pub(in crate::measurement) enum SockoptValue {
    Integer(i64),
    Boolean(bool),
    Text(String),
    List(Vec<i64>),
}

impl<'de> Deserialize<'de> for SockoptValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = SockoptValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a string, a boolean or an array of numbers")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<SockoptValue, E> {
                Ok(SockoptValue::Integer(value))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<SockoptValue, E> {
                Ok(SockoptValue::Boolean(value))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<SockoptValue, E> {
                Ok(SockoptValue::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SockoptValue, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(SockoptValue::List(list))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Kernel parameters by their names.
fn sysctls(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": "^net[./][a-z0-9_./-]+$" },
        "additionalProperties": generator.subschema_for::<Setting>().to_value(),
    })
}

/// Every option that has a name, and `raw`.
fn sockopts(_: &mut SchemaGenerator) -> Schema {
    let mut properties = serde_json::Map::new();
    for row in SOCKOPTS {
        let mut schema = match &row.takes {
            Takes::Integer(range) => words::integer(*range.start(), *range.end()),
            Takes::Boolean => words::boolean(&mut SchemaGenerator::default()),
            Takes::Text => json_schema!({ "type": "string", "minLength": 1 }),
        };
        let doc = format!("{} ({})", row.doc, row.constant);
        schema.insert("description".into(), doc.into());
        let example = words::example(row.example);
        schema.insert("examples".into(), serde_json::json!([example]));
        properties.insert(row.name.into(), schema.to_value());
    }
    properties.insert(
        "raw".into(),
        serde_json::json!({
            "description": "An option without a name here: level, option and value, as numbered in the kernel's headers.",
            "type": "array",
            "items": words::integer(i64::from(i32::MIN), i64::from(i32::MAX)).to_value(),
            "minItems": 3,
            "maxItems": 3,
            "examples": [[6, 30, 1]],
        }),
    );
    json_schema!({
        "description": "Options of each socket, set before it connects.",
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": properties,
    })
}
