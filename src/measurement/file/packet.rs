//! A crafted packet as it is written.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use toml::Spanned;

use super::edns::Edns;
use crate::connect::QUESTIONS;
use crate::connect::forge::{self, Words};
use crate::connect::query::NAME;
use crate::measurement::bounds::{KIND, LENGTH, SCALE, SIXTEEN, TTL};
use crate::measurement::traffic_class::Mark;
use crate::measurement::words::{self, Text};

/// The packet that connections of the kind `forge` send, once. Missing keys are those of a plain SYN;
/// in [config.NAME.connect], those of [connect].
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("dependentSchemas" = {
    "payload": { "properties": { "payload_hex": false, "question": false } },
    "payload_hex": { "properties": { "question": false } },
}))]
pub(in crate::measurement) struct Packet {
    /// The transport.
    #[serde(default)]
    #[schemars(schema_with = "protocol", example = &"tcp", extend("default" = "tcp"))]
    pub(in crate::measurement) protocol: Option<Text>,
    /// The TTL, or hop limit.
    #[serde(default)]
    #[schemars(schema_with = "ttl", example = 64, extend("default" = 64))]
    pub(in crate::measurement) ttl: Option<Spanned<i64>>,
    /// The codepoint in the IP header (RFC 2474).
    #[serde(default)]
    #[schemars(with = "Option<Mark>", example = &"ef", extend("default" = 0))]
    pub(in crate::measurement) dscp: Option<Spanned<Mark>>,
    /// The ECN field of the IP header (RFC 3168).
    #[serde(default)]
    #[schemars(schema_with = "ecn", example = &"ect0", extend("default" = "not-ect"))]
    pub(in crate::measurement) ecn: Option<Text>,
    /// Flags of the IPv4 header.
    #[serde(default)]
    #[schemars(schema_with = "ip_flags", example = ["evil"], extend("default" = []))]
    pub(in crate::measurement) ip_flags: Option<Vec<Text>>,
    /// Flags of the TCP header. With the function tcp_setup, flows that begin without a SYN are
    /// not observed.
    #[serde(default)]
    #[schemars(schema_with = "tcp_flags", example = ["syn", "ece", "cwr"], extend("default" = ["syn"]))]
    pub(in crate::measurement) tcp_flags: Option<Spanned<Vec<Text>>>,
    /// The TCP window, unscaled.
    #[serde(default)]
    #[schemars(schema_with = "window", example = 1024, extend("default" = 65535))]
    pub(in crate::measurement) window: Option<Spanned<i64>>,
    /// TCP options in order, together at most 40 octets; padded with zeros.
    #[schemars(with = "Option<Vec<TcpOption>>", example = words::example("[{ mss = 1460 }, { sack_permitted = true }]"))]
    pub(in crate::measurement) tcp_options: Option<Spanned<Vec<Spanned<TcpOption>>>>,
    /// Octets of the whole IP packet. A DNS query is padded with the EDNS option Padding (RFC 7830), any other payload
    /// with zeros: they are the data of a segment, which a SYN may have too (RFC 9293, 3.4). A packet that is larger than
    /// the MTU of this host's interface is not sent.
    #[serde(default)]
    #[schemars(schema_with = "length", example = 1500)]
    pub(in crate::measurement) length: Option<Spanned<i64>>,
    /// The payload, as text.
    #[schemars(with = "Option<String>", example = &"hello")]
    pub(in crate::measurement) payload: Option<Text>,
    /// The payload, as hexadecimal digits, two for each octet.
    #[schemars(with = "Option<String>", example = &"00ff", regex(pattern = "^([0-9a-fA-F]{2})*$|\\$\\{"))]
    pub(in crate::measurement) payload_hex: Option<Text>,
    /// The payload, as a DNS query of this type for `qname`, or else for the target's name (example.org for a
    /// target without name); for UDP.
    #[serde(default)]
    #[schemars(schema_with = "question", example = &"A")]
    pub(in crate::measurement) question: Option<Text>,
    /// The name in the query, instead of the target's; `.` is the root.
    #[schemars(with = "Option<String>", example = &"example.net", regex(pattern = NAME))]
    pub(in crate::measurement) qname: Option<Text>,
    /// Adds EDNS to the query (RFC 6891).
    #[serde(default)]
    #[schemars(with = "Option<Edns>", example = words::example("{ buffer = 4096 }"))]
    pub(in crate::measurement) edns: Option<Spanned<Edns>>,
    /// The UDP checksum.
    #[serde(default)]
    #[schemars(schema_with = "checksum", example = &"zero", extend("default" = "right"))]
    pub(in crate::measurement) udp_checksum: Option<Text>,
    /// What counts as an answer. By default: `syn_ack` for a SYN, `dns` for a query, otherwise `any`.
    #[serde(default)]
    #[schemars(schema_with = "answer", example = &"any")]
    pub(in crate::measurement) answer: Option<Text>,
}

/// One TCP option: a table with one of these keys, and `data` next to `kind` or `exid`.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
#[schemars(transform = one_option)]
pub(in crate::measurement) struct TcpOption {
    /// Maximum Segment Size (RFC 9293, 3.7.1).
    #[serde(default)]
    #[schemars(schema_with = "sixteen", example = 1460)]
    pub(in crate::measurement) mss: Option<Spanned<i64>>,
    /// Window Scale (RFC 7323, 2): a shift count.
    #[serde(default)]
    #[schemars(schema_with = "scale", example = 7)]
    pub(in crate::measurement) window_scale: Option<Spanned<i64>>,
    /// SACK-permitted (RFC 2018, 2); false omits it.
    #[serde(default)]
    #[schemars(schema_with = "words::boolean", example = true)]
    pub(in crate::measurement) sack_permitted: Option<bool>,
    /// Timestamps (RFC 7323, 3) with the TSval 1 and the TSecr 0; false omits them.
    #[serde(default)]
    #[schemars(schema_with = "words::boolean", example = true)]
    pub(in crate::measurement) timestamps: Option<bool>,
    /// No-Operation, one octet; false omits it.
    #[serde(default)]
    #[schemars(schema_with = "words::boolean", example = true)]
    pub(in crate::measurement) nop: Option<bool>,
    /// Any other option, by its number.
    #[serde(default)]
    #[schemars(schema_with = "kind", example = 253)]
    pub(in crate::measurement) kind: Option<Spanned<i64>>,
    /// The ExID of an experiment (RFC 6994), as four or eight hexadecimal digits: an option of the kind 253, or 254 with
    /// `kind = 254`, that begins with it.
    #[schemars(with = "Option<String>", example = &"abcd", regex(pattern = "^([0-9a-fA-F]{4}){1,2}$|\\$\\{"))]
    pub(in crate::measurement) exid: Option<Text>,
    /// The octets of such an option after kind, length and ExID, as hexadecimal digits.
    #[schemars(with = "Option<String>", example = &"f989", regex(pattern = "^([0-9a-fA-F]{2})*$|\\$\\{"))]
    pub(in crate::measurement) data: Option<Text>,
}

/// Allows one of the options: next to each, none of the later ones, so that an editor points to the second.
fn one_option(schema: &mut Schema) {
    // The last two go together.
    const OPTIONS: [&str; 7] =
        ["mss", "window_scale", "sack_permitted", "timestamps", "nop", "kind", "exid"];
    let without = OPTIONS.iter().enumerate().map(|(number, option)| {
        let later = OPTIONS[number + 1..].iter().map(|later| ((*later).to_owned(), false.into()));
        let later: serde_json::Map<String, Value> = later.collect();
        ((*option).to_owned(), serde_json::json!({ "properties": later }))
    });
    let mut without: serde_json::Map<String, Value> = without.take(OPTIONS.len() - 2).collect();
    let data = serde_json::json!({
        "if": { "not": { "required": ["exid"] } }, "then": { "required": ["kind"] },
    });
    without.insert("data".to_owned(), data);
    schema.insert("dependentSchemas".into(), without.into());
}

fn of<T>(all: Words<T>) -> Schema {
    let all: Vec<_> = all.iter().map(|(name, _, doc)| (*name, *doc)).collect();
    words::names(&all)
}

fn protocol(_: &mut SchemaGenerator) -> Schema {
    of(forge::PROTOCOLS)
}

fn ecn(_: &mut SchemaGenerator) -> Schema {
    of(forge::ECN)
}

fn question(_: &mut SchemaGenerator) -> Schema {
    words::names(QUESTIONS)
}

fn checksum(_: &mut SchemaGenerator) -> Schema {
    of(forge::CHECKSUMS)
}

fn answer(_: &mut SchemaGenerator) -> Schema {
    of(forge::ANSWERS)
}

fn ip_flags(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": words::names(forge::IP_FLAGS).to_value() })
}

fn tcp_flags(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = forge::TCP_FLAGS.iter().map(|(name, _)| (*name, "")).collect();
    json_schema!({ "type": "array", "items": words::names(&words).to_value() })
}

fn ttl(_: &mut SchemaGenerator) -> Schema {
    words::range(&TTL)
}

fn length(_: &mut SchemaGenerator) -> Schema {
    words::range(&LENGTH)
}

fn window(_: &mut SchemaGenerator) -> Schema {
    words::range(&SIXTEEN)
}

fn sixteen(_: &mut SchemaGenerator) -> Schema {
    words::range(&SIXTEEN)
}

fn scale(_: &mut SchemaGenerator) -> Schema {
    words::range(&SCALE)
}

fn kind(_: &mut SchemaGenerator) -> Schema {
    words::range(&KIND)
}
