//! The step `traffic_class` as written, and marks by name or number.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use toml::Spanned;

use super::bounds::DSCP;
use super::checker::Checker;
use super::dscp::{NAMES, codepoint};
use super::words::{self, Text};
use crate::connect::forge;
use crate::error::did_you_mean;
use crate::step::traffic_class::{self, On};

/// Marks of this configuration's packets, of both versions of IP; bits that are not named stay as they are.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("if" = { "not": { "required": ["dscp"] } }, "then" = { "required": ["ecn"] }))]
pub(super) struct TrafficClass {
    /// The DSCP (RFC 2474).
    #[serde(default)]
    #[schemars(with = "Option<Mark>", example = &"ef")]
    pub(super) dscp: Option<Spanned<Mark>>,
    /// The ECN codepoint (RFC 3168).
    #[serde(default)]
    #[schemars(schema_with = "ecn", example = &"ect1")]
    pub(super) ecn: Option<Spanned<Mark>>,
    /// Which packets are marked.
    #[serde(default)]
    #[schemars(schema_with = "on", example = &"data", extend("default" = "all"))]
    pub(super) on: Option<Text>,
}

/// A codepoint by name or number.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    Number(i64),
    Name(String),
}

impl<'de> Deserialize<'de> for Mark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Mark;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or a string")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Mark, E> {
                Ok(Mark::Number(value))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Mark, E> {
                Ok(Mark::Name(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl JsonSchema for Mark {
    fn schema_name() -> Cow<'static, str> {
        "Mark".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = NAMES.iter().map(|(name, ..)| *name).collect();
        let mut schema = by_name_or_number(&names, *DSCP.end());
        let doc = format!("A DSCP by name ({}) or number.", names.join(", "));
        schema.insert("description".into(), doc.into());
        schema
    }
}

/// Without `anyOf`, with which an editor would not say what is wrong. Numbers in quotes are those of a sweep.
fn by_name_or_number(names: &[&str], most: i64) -> Schema {
    let offered = json_schema!({ "type": "string", "enum": names }).to_value();
    let upper = names.iter().map(|name| name.to_uppercase());
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).chain(upper).collect();
    json_schema!({
        "type": ["integer", "string"],
        "anyOf": [offered, {}],
        "minimum": 0,
        "maximum": most,
        "pattern": format!("^({}|[0-9]+|.*\\$\\{{.*)$", names.join("|")),
    })
}

fn ecn(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = forge::ECN.iter().map(|(name, ..)| *name).collect();
    by_name_or_number(&names, 3)
}

fn on(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<_> = traffic_class::ON.iter().map(|(name, _, doc)| (*name, *doc)).collect();
    words::names(&names)
}

impl Checker<'_> {
    /// The step, if it is right.
    pub(super) fn traffic_class(
        &mut self,
        written: &TrafficClass,
    ) -> Option<traffic_class::TrafficClass> {
        let words: Vec<_> = traffic_class::ON.iter().map(|(name, on, _)| (*name, *on)).collect();
        let on = match &written.on {
            Some(on) => self.word(on, "kind of packet", &words),
            None => Some(On::default()),
        };
        let dscp = written.dscp.as_ref().map(|mark| self.dscp(mark));
        let ecn = written.ecn.as_ref().map(|mark| {
            let names: Vec<_> = forge::ECN.iter().map(|(name, value, _)| (*name, *value)).collect();
            self.mark(
                "ecn",
                mark,
                3,
                |name| {
                    names
                        .iter()
                        .find(|(known, _)| *known == name)
                        .map(|(_, value)| i64::from(*value))
                },
                &names.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            )
        });
        let both = |mark: Option<Option<u8>>| match mark {
            Some(None) => None,
            Some(Some(value)) => Some(Some(value)),
            None => Some(None),
        };
        Some(traffic_class::TrafficClass { dscp: both(dscp)?, ecn: both(ecn)?, on: on? })
    }

    /// A DSCP by name or number.
    pub(super) fn dscp(&mut self, mark: &Spanned<Mark>) -> Option<u8> {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        self.mark("dscp", mark, *DSCP.end(), codepoint, &names)
    }

    fn mark(
        &mut self,
        key: &str,
        mark: &Spanned<Mark>,
        most: i64,
        named: impl Fn(&str) -> Option<i64>,
        names: &[&str],
    ) -> Option<u8> {
        let number = match mark.get_ref() {
            Mark::Number(number) => *number,
            Mark::Name(name) => {
                // A sweep over names and numbers has both as texts.
                match named(&name.to_lowercase()).or_else(|| name.parse().ok()) {
                    Some(number) => number,
                    None => {
                        let help = did_you_mean(name, names.iter().copied()).unwrap_or_else(|| {
                            format!(
                                "write a number from 0 to {most}, or one of {}",
                                names.join(", ")
                            )
                        });
                        let message = format!("`{name}` is no {key} codepoint");
                        self.mistake("E0211", mark.span(), message, Some(help));
                        return None;
                    }
                }
            }
        };
        self.range(key, mark.span(), number, &(0..=most))?;
        u8::try_from(number).ok()
    }
}
