//! The file as it is written, before any name in it means anything.
//!
//! Every key is optional here, and every value that can be wrong keeps its place, so that one
//! reading finds all mistakes: what must be there, and what is a name of something, is looked at
//! in [`plan`](super::plan). The doc comments are the texts that an editor shows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use toml::Spanned;

use crate::chain::{self, Chain};
use crate::connect;

/// A text with its place.
pub(super) type Text = Spanned<String>;

/// A pathspider measurement: two configurations of this host, a connection to every target
/// under each, what is recorded of the packets, and what is concluded from it.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pathspider measurement", extend("required" = ["name", "config"]))]
pub(super) struct File {
    /// The measurement's name: letters, digits, - and _.
    #[schemars(with = "Option<String>", example = &"ecn", regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub(super) name: Option<Text>,
    /// A title of a few words.
    #[schemars(example = &"Explicit Congestion Notification")]
    pub(super) title: Option<String>,
    /// What is asked, and how the answers are to be read.
    pub(super) description: Option<String>,
    /// Where the subject is described: RFCs, papers.
    #[serde(default)]
    #[schemars(example = ["RFC 3168"])]
    pub(super) references: Vec<String>,
    /// The configurations that are compared.
    #[serde(default)]
    pub(super) config: Configs,
    /// How each target is connected to.
    #[serde(default)]
    pub(super) connect: Connect,
    /// Which functions look at which packets. Each function is listed in the chain of every
    /// header that it is to read.
    #[serde(default)]
    pub(super) observer: Observer,
    /// What is concluded from each record, in this order.
    #[serde(default)]
    #[schemars(with = "Vec<Condition>")]
    pub(super) conditions: Vec<Spanned<Condition>>,
}

/// The configurations that are compared.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["zero", "one"]))]
pub(super) struct Configs {
    /// The baseline.
    pub(super) zero: Option<Config>,
    /// The experiment.
    pub(super) one: Option<Config>,
}

/// One configuration of this host. Whatever its steps change is put back afterwards.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// A title of a few words.
    #[schemars(example = &"ECN off")]
    pub(super) title: Option<String>,
    /// What is changed, in this order; undone in the opposite one.
    #[serde(default)]
    #[schemars(with = "Vec<Step>")]
    pub(super) steps: Vec<Spanned<Step>>,
}

/// One step: a table with one key, its kind.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// Kernel parameters of the network namespace, by their dotted names: net.* only.
    #[schemars(example = BTreeMap::from([("net.ipv4.tcp_ecn", 2)]))]
    Sysctl(#[schemars(with = "BTreeMap<String, Setting>")] BTreeMap<Text, Spanned<Setting>>),
}

/// A value of a kernel parameter: written as number, text or truth value, kept as text.
#[derive(Debug)]
pub(super) struct Setting(pub(super) String);

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
        })
    }
}

/// How each target is connected to.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Connect {
    /// The kind of connection.
    #[serde(default)]
    #[schemars(schema_with = "kinds")]
    pub(super) kind: Option<Text>,
    /// How long one connection may take: a number with ms, s or m; more than zero, at most an hour.
    #[schemars(with = "Option<String>", example = &"5s", example = &"500ms")]
    #[schemars(regex(pattern = "^[0-9]+(ms|s|m)$"), extend("default" = super::plan::DEFAULT_TIMEOUT))]
    pub(super) timeout: Option<Text>,
}

/// Which functions look at which packets.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Observer {
    /// Functions that look at the first packet of a flow: they make room for the others' facts.
    #[serde(default)]
    #[schemars(schema_with = "new_flow")]
    pub(super) new_flow_chain: Vec<Text>,
    /// Functions that read IPv4 headers.
    #[serde(default)]
    #[schemars(schema_with = "ip4")]
    pub(super) ip4_chain: Vec<Text>,
    /// Functions that read IPv6 headers.
    #[serde(default)]
    #[schemars(schema_with = "ip6")]
    pub(super) ip6_chain: Vec<Text>,
    /// Functions that read TCP headers.
    #[serde(default)]
    #[schemars(schema_with = "tcp")]
    pub(super) tcp_chain: Vec<Text>,
    /// Functions that read UDP headers.
    #[serde(default)]
    #[schemars(schema_with = "udp")]
    pub(super) udp_chain: Vec<Text>,
    /// Functions that read ICMP messages, those about a flow's packets included.
    #[serde(default)]
    #[schemars(schema_with = "icmp4")]
    pub(super) icmp4_chain: Vec<Text>,
    /// Functions that read ICMPv6 messages, likewise.
    #[serde(default)]
    #[schemars(schema_with = "icmp6")]
    pub(super) icmp6_chain: Vec<Text>,
    /// Functions that read headers of other transports.
    #[serde(default)]
    #[schemars(schema_with = "l4")]
    pub(super) l4_chain: Vec<Text>,
}

impl Observer {
    /// Every chain with what is listed in it.
    pub(super) fn chains(&self) -> [(Chain, &[Text]); 8] {
        Chain::ALL.map(|chain| {
            let listed = match chain {
                Chain::NewFlow => &self.new_flow_chain,
                Chain::Ip4 => &self.ip4_chain,
                Chain::Ip6 => &self.ip6_chain,
                Chain::Tcp => &self.tcp_chain,
                Chain::Udp => &self.udp_chain,
                Chain::Icmp4 => &self.icmp4_chain,
                Chain::Icmp6 => &self.icmp6_chain,
                Chain::L4 => &self.l4_chain,
            };
            (chain, listed.as_slice())
        })
    }
}

/// One conclusion: a name, and exactly one of compare, first_of and value. Where a fact that it
/// needs was not observed, it is `insufficient`, never taken for false.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"], "oneOf" = [
    { "required": ["compare"] }, { "required": ["first_of"] }, { "required": ["value"] }
]))]
pub(super) struct Condition {
    /// Begins every label: lower-case letters, digits, _ and dots.
    #[schemars(with = "Option<String>", example = &"ecn.negotiation")]
    #[schemars(regex(pattern = "^[a-z0-9_]+(\\.[a-z0-9_]+)*$"))]
    pub(super) name: Option<Text>,
    /// When the condition applies at all: a boolean SQL expression over zero.x, one.x and
    /// target.x. If it is false there is no label.
    #[schemars(with = "Option<String>", example = &"one.tcp_connected")]
    pub(super) given: Option<Text>,
    /// A boolean column, compared between zero and one: works (true in both), broken (in zero
    /// only), transient (in one only), offline (in neither).
    #[schemars(with = "Option<String>", example = &"ok")]
    pub(super) compare: Option<Text>,
    /// Possible answers; the first whose `when` is true is the label's last word.
    #[schemars(with = "Option<Vec<Answer>>")]
    pub(super) first_of: Option<Spanned<Vec<Spanned<Answer>>>>,
    /// A SQL expression whose value becomes part of the label, after a colon.
    #[schemars(with = "Option<String>", example = &"one.pkt_rev")]
    pub(super) value: Option<Text>,
}

/// One possible answer.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["is"]))]
pub(super) struct Answer {
    /// The label's last word: lower-case letters, digits and _.
    #[schemars(with = "Option<String>", example = &"succeeded", regex(pattern = "^[a-z0-9_]+$"))]
    pub(super) is: Option<Text>,
    /// A boolean SQL expression over zero.x, one.x and target.x. Only the last answer may be
    /// without.
    #[schemars(with = "Option<String>", example = &"one.tcp_synack_ece AND NOT one.tcp_synack_cwr")]
    pub(super) when: Option<Text>,
}

/// One of some names, each with its explanation, as editors understand it.
fn names(words: &[(&str, &str)]) -> Schema {
    let (names, docs): (Vec<_>, Vec<_>) = words.iter().copied().unzip();
    json_schema!({
        "type": "string",
        "enum": names,
        "x-taplo": { "docs": { "enumValues": docs } },
    })
}

fn kinds(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = connect::KINDS.iter().map(|kind| (kind.name, kind.doc)).collect();
    let mut schema = names(&words);
    schema.insert("default".into(), super::plan::DEFAULT_KIND.into());
    schema
}

fn listed(chain: Chain) -> Schema {
    let functions = chain::functions().filter(|(_, function)| function.chains.has(chain));
    let words: Vec<_> = functions.map(|(_, function)| (function.name, function.doc)).collect();
    json_schema!({ "type": "array", "items": names(&words), "uniqueItems": true })
}

fn new_flow(_: &mut SchemaGenerator) -> Schema {
    listed(Chain::NewFlow)
}

fn ip4(_: &mut SchemaGenerator) -> Schema {
    listed(Chain::Ip4)
}

fn ip6(_: &mut SchemaGenerator) -> Schema {
    listed(Chain::Ip6)
}

fn tcp(_: &mut SchemaGenerator) -> Schema {
    listed(Chain::Tcp)
}

fn udp(_: &mut SchemaGenerator) -> Schema {
    listed(Chain::Udp)
}

fn icmp4(_: &mut SchemaGenerator) -> Schema {
    listed(Chain::Icmp4)
}

fn icmp6(_: &mut SchemaGenerator) -> Schema {
    listed(Chain::Icmp6)
}

fn l4(_: &mut SchemaGenerator) -> Schema {
    listed(Chain::L4)
}

/// The JSON Schema of measurement files.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(File).to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: a key that may be absent is not one that may be null.
fn without_null(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_null),
        serde_json::Value::Object(map) => {
            map.values_mut().for_each(without_null);
            if let Some(serde_json::Value::Array(types)) = map.get_mut("type") {
                types.retain(|t| t != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".into(), only);
                }
            }
            if let Some(serde_json::Value::Array(forms)) = map.get_mut("anyOf") {
                forms.retain(|form| form.get("type").is_none_or(|t| t != "null"));
                if let [serde_json::Value::Object(only)] = forms.as_slice() {
                    let only = only.clone();
                    map.shift_remove("anyOf");
                    map.extend(only);
                }
            }
            if map.get("default").is_some_and(serde_json::Value::is_null) {
                map.shift_remove("default");
            }
        }
        _ => {}
    }
}
