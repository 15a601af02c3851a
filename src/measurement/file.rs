//! The file as it is written, before its names are resolved.
//!
//! Every key is optional here, and every value that can be wrong keeps its place, so one
//! parse finds all mistakes; [`compile`](super::compile) checks required keys and resolves names.
//! The doc comments are the texts that an editor shows.

mod configs;
mod connect;
mod edns;
mod metric;
mod observer;
mod packet;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use toml::Spanned;

use super::bounds::{DEFAULT_ROUNDS, DEFAULT_SPREAD};
use super::params::ParamValue;
use super::scalar::Scalar;
use super::steps::Step;
use super::words::{self, Text};
pub(super) use configs::Configs;
pub(super) use connect::{Connect, OwnConnect, Prepare, Written};
pub(super) use edns::Edns;
pub(super) use metric::Metric;
pub(super) use observer::{Observer, Own};
pub(super) use packet::{Packet, TcpOption};

/// A pathspider measurement: configurations of this host, a connection to every target under
/// each, the facts that are recorded of the packets, and the conclusions.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pathspider measurement", extend(
    "required" = ["name"],
    "if" = { "not": { "required": ["extends"] } },
    "then" = { "required": ["config"], "properties": { "config": { "required": ["zero"] } } },
))]
pub(super) struct File {
    /// The version of this format that the file needs; it decides who can read it.
    #[schemars(range(min = 1, max = 1), example = 1, extend("default" = 1))]
    #[expect(dead_code, reason = "checked before anything else is parsed")]
    pub(super) format: Option<i64>,
    /// The measurement that this one builds on: the name of one that comes with the program, or a file relative to
    /// this one. It has the keys of that one and, in their place, its own; conditions are replaced by name, or added.
    #[schemars(example = &"ecn", example = &"./base.toml", length(min = 1))]
    #[expect(dead_code, reason = "read before anything else is parsed")]
    pub(super) extends: Option<String>,
    /// The measurement's name: letters, digits, - and _.
    #[schemars(with = "Option<String>", example = &"ecn", regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub(super) name: Option<Text>,
    /// A title of a few words; without it, the name.
    #[schemars(example = &"Explicit Congestion Notification")]
    pub(super) title: Option<String>,
    /// The question that the measurement answers, and how to read the answers.
    #[schemars(example = &"Does asking for ECN break the connection?")]
    pub(super) description: Option<String>,
    /// Descriptions of the subject: RFCs, papers.
    #[serde(default)]
    #[schemars(example = ["RFC 3168"])]
    pub(super) references: Vec<String>,
    /// Values that a user may change for a run without editing the file. In every string
    /// below, ${timeout} stands for the value, and $$ for a dollar. A string that consists only of
    /// ${name} becomes the value itself, with its type.
    #[serde(default)]
    #[schemars(example = words::example("{ timeout = { default = '5s', help = 'How long' } }"))]
    #[schemars(extend("propertyNames" = { "pattern": words::NAME }))]
    #[expect(dead_code, reason = "here for its types; values are substituted earlier")]
    pub(super) params: BTreeMap<String, Param>,
    /// The configurations that are compared.
    #[serde(default)]
    #[schemars(example = words::example("{ zero = {}, one = { steps = [{ sysctl = { 'net.ipv4.tcp_ecn' = 1 } }] } }"))]
    pub(super) config: Configs,
    /// How each target is connected to.
    #[serde(default)]
    #[schemars(example = words::example("{ kind = 'tcp', timeout = '5s' }"))]
    pub(super) connect: Connect,
    /// How a comparison's verdict of broken or transient is confirmed.
    #[serde(default)]
    #[schemars(example = words::example("{ rounds = 2, spread = '2s' }"))]
    pub(super) confirm: Confirm,
    /// The labels whose place on the path `run --locate` searches for, with copies of the packets that expire at a hop.
    #[schemars(example = words::example("{ labels = ['ecn.connectivity.broken'] }"))]
    pub(super) locate: Option<Locate>,
    /// The functions that read packets. Each function is listed in the chain of every
    /// header that it reads.
    #[serde(default)]
    #[schemars(example = words::example("{ use = ['basic', 'tcp'] }"))]
    pub(super) observer: Observer,
    /// The conclusions from each record, in this order.
    #[serde(default)]
    #[schemars(with = "Vec<Condition>")]
    #[schemars(example = words::example("[{ name = 'ecn.connectivity', compare = 'ok' }]"))]
    pub(super) conditions: Vec<Spanned<Condition>>,
    /// Numbers that are reported of each record, not labelled: columns of the struct `metric`.
    #[serde(default)]
    #[schemars(with = "Vec<Metric>")]
    #[schemars(example = words::example("[{ name = 'rtt', value = 'one.tcp_handshake_rtt', unit = 'ms' }]"))]
    pub(super) metrics: Vec<Spanned<Metric>>,
}

/// A named value.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["default"]))]
#[expect(dead_code, reason = "here for its types; values are substituted earlier")]
pub(super) struct Param {
    /// The value if the user does not change it; its type is that of the param. A list is for a sweep, or for an
    /// option that takes several values; the user sets it with commas, 8,10,46.
    #[schemars(example = &"5s", example = 2, example = [8, 46])]
    #[schemars(schema_with = "words::param")]
    pub(super) default: Option<ParamValue>,
    /// The purpose of the value.
    #[schemars(example = &"How long one connection may take")]
    pub(super) help: Option<String>,
}

/// One configuration of this host. Its steps are undone afterwards.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// A title of a few words; without it, the configuration's name.
    #[schemars(example = &"ECN off")]
    pub(super) title: Option<String>,
    /// The changes to this host, in this order; undone in reverse.
    #[serde(default)]
    #[schemars(with = "Vec<Step>")]
    #[schemars(example = words::example("[{ sysctl = { 'net.ipv4.tcp_ecn' = 1 } }]"))]
    pub(super) steps: Vec<Spanned<Step>>,
    /// Expands this configuration into several, one for every value (with several names: for every
    /// combination). ${codepoint} stands for the value in this configuration, and in conditions, which
    /// are then repeated for every value. Only the last configuration can sweep.
    #[serde(default)]
    #[schemars(schema_with = "words::sweep", example = BTreeMap::from([("codepoint", [1, 10, 46])]))]
    #[expect(dead_code, reason = "here for its types; it is expanded earlier")]
    pub(super) sweep: BTreeMap<String, Vec<Scalar>>,
    /// The differences of the connections under this configuration.
    #[serde(default)]
    #[schemars(example = words::example("{ kind = 'tcp', tfo = true }"))]
    pub(super) connect: OwnConnect,
}

/// How a comparison's verdict of broken or transient is confirmed: the target is re-probed
/// under every configuration, the baseline first, and the label is the one that the rounds confirm, or
/// intermittent, or not_confirmed.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirm {
    /// The number of rounds: 0 to 20. With 0 a target is probed once, and its first verdict is the label.
    #[serde(default)]
    #[schemars(schema_with = "words::rounds", example = 2, extend("default" = DEFAULT_ROUNDS))]
    pub(super) rounds: Option<Spanned<i64>>,
    /// The least time from the end of one round of a target to its next: a number with ms, s or m; at most an
    /// hour.
    #[schemars(with = "Option<String>", example = &"30s")]
    #[schemars(regex(pattern = "^([0-9]+(ms|s|m)|.*\\$\\{.*)$"), extend("default" = DEFAULT_SPREAD))]
    pub(super) spread: Option<Text>,
}

/// The labels whose place on the path is searched for.
///
/// After a target has one of them, confirmed, copies of its packets are sent with a limited TTL, and routers quote what came
/// there. The first label of the list that a target has is located. The labels about the place begin with the condition
/// without its last part: `ecn.hop`, `ecn.location` and `ecn.quote` for `ecn.connectivity.broken`.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["labels"]))]
pub(super) struct Locate {
    /// The labels; `*` stands for one part: "dscp.*.connectivity.broken".
    #[schemars(with = "Option<Vec<String>>", length(min = 1))]
    #[schemars(example = ["ecn.connectivity.broken"])]
    pub(super) labels: Option<Spanned<Vec<Text>>>,
    /// The largest TTL: 1 to 32.
    #[schemars(schema_with = "words::locate_hops", example = 20, extend("default" = 32))]
    pub(super) hops: Option<Spanned<i64>>,
    /// How often each hop at the border of the change is asked: 1 to 5.
    #[schemars(schema_with = "words::locate_rounds", example = 3, extend("default" = 3))]
    pub(super) rounds: Option<Spanned<i64>>,
    /// The most packets that a target is sent for it: 10 to 200.
    #[schemars(schema_with = "words::locate_packets", example = 40, extend("default" = 40))]
    pub(super) packets: Option<Spanned<i64>>,
}

/// One conclusion: a name, and exactly one of compare, first_of and value. If a fact that it
/// needs was not observed, it is `insufficient`, never false.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "required" = ["name"],
    // Not `oneOf`: an editor then says which key is missing, or which is one too many.
    "if" = { "not": { "anyOf": [{ "required": ["first_of"] }, { "required": ["value"] }] } },
    "then" = { "required": ["compare"] },
    "dependentSchemas" = {
        "compare": { "properties": { "first_of": false, "value": false } },
        "first_of": { "properties": { "value": false } }
    },
    "dependentRequired" = { "between": ["compare"] }
))]
pub(super) struct Condition {
    /// The beginning of every label: lower-case letters, digits, _ and dots.
    #[schemars(with = "Option<String>", example = &"ecn.negotiation")]
    #[schemars(regex(pattern = "^([a-z0-9_]|\\$\\{[^}]+\\})+(\\.([a-z0-9_]|\\$\\{[^}]+\\})+)*$"))]
    pub(super) name: Option<Text>,
    /// When the condition applies: a boolean SQL expression over zero.x, one.x and
    /// target.x. If it is false there is no label.
    #[schemars(with = "Option<String>", example = &"one.tcp_connected")]
    pub(super) given: Option<Text>,
    /// A boolean column, compared between zero and one: works (true in both), broken (in zero
    /// only), transient (in one only), offline (in neither). If there is only zero: online, offline.
    /// With `ok`, a host that answered with the same word in the column `answer` under both works too, and is never offline;
    /// one that answered less under one, or with a different word, is broken.
    #[schemars(with = "Option<String>", example = &"ok", regex(pattern = "^[A-Za-z0-9_${}]+$"))]
    pub(super) compare: Option<Text>,
    /// The two configurations that `compare` compares, the baseline first.
    #[serde(default)]
    #[schemars(schema_with = "words::between", example = ["zero", "two"], extend("default" = ["zero", "one"]))]
    pub(super) between: Option<Spanned<Vec<Text>>>,
    /// Possible answers; the first whose `when` is true is the label's last word.
    #[schemars(with = "Option<Vec<Answer>>", length(min = 1))]
    #[schemars(example = words::example("[{ is = 'seen', when = 'one.tcp_connected' }, { is = 'not_seen' }]"))]
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
    #[schemars(with = "Option<String>", example = &"succeeded")]
    #[schemars(regex(pattern = "^([a-z0-9_]|\\$\\{[^}]+\\})+$"))]
    pub(super) is: Option<Text>,
    /// A boolean SQL expression over zero.x, one.x and target.x. Only the last answer may omit
    /// it.
    #[schemars(with = "Option<String>", example = &"one.tcp_synack_ece AND NOT one.tcp_synack_cwr")]
    pub(super) when: Option<Text>,
}
