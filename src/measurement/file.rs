//! The file as it is written, before any name in it means anything.
//!
//! Every key is optional here, and every value that can be wrong keeps its place, so that one
//! reading finds all mistakes: what must be there, and what is a name of something, is looked at
//! in [`plan`](super::plan). The doc comments are the texts that an editor shows.

mod connect;
mod observer;
mod packet;
mod steps;
mod words;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use toml::Spanned;

use super::bounds::{DEFAULT_ROUNDS, DEFAULT_SPREAD};
use super::scalar::Scalar;
use crate::connect::{KindDef, kind};
pub(super) use connect::{Connect, OwnConnect, Prepare, Written};
pub(super) use observer::Observer;
pub(super) use packet::{Packet, TcpOption};
pub(super) use steps::{Command, Netfilter, Route, SockoptValue, Step};
pub(super) use words::Text;

/// A pathspider measurement: configurations of this host, a connection to every target under
/// each, what is recorded of the packets, and what is concluded from it.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pathspider measurement", extend("required" = ["name", "config"]))]
pub(super) struct File {
    /// The version of this format that the file needs; it decides who can read it.
    #[schemars(range(min = 1, max = 1), example = 1, extend("default" = 1))]
    #[expect(dead_code, reason = "looked at before anything else is read")]
    pub(super) format: Option<i64>,
    /// The measurement's name: letters, digits, - and _.
    #[schemars(with = "Option<String>", example = &"ecn", regex(pattern = "^[A-Za-z0-9_-]+$"))]
    pub(super) name: Option<Text>,
    /// A title of a few words; without it, the name.
    #[schemars(example = &"Explicit Congestion Notification")]
    pub(super) title: Option<String>,
    /// What is asked, and how the answers are to be read.
    #[schemars(example = &"Does asking for ECN break the connection?")]
    pub(super) description: Option<String>,
    /// Where the subject is described: RFCs, papers.
    #[serde(default)]
    #[schemars(example = ["RFC 3168"])]
    pub(super) references: Vec<String>,
    /// Values that a user may change without editing the file: --set timeout=3s. In every string
    /// below, ${timeout} stands for the value, and $$ for a dollar. A string that is nothing but
    /// ${name} becomes the value itself, with its type.
    #[serde(default)]
    #[schemars(example = words::example("{ timeout = { default = '5s', help = 'How long' } }"))]
    #[schemars(extend("propertyNames" = { "pattern": words::NAME }))]
    #[expect(dead_code, reason = "here for its types; the values are put in before")]
    pub(super) params: BTreeMap<String, Param>,
    /// The configurations that are compared.
    #[serde(default)]
    #[schemars(example = words::example("{ zero = {}, one = { steps = [{ sysctl = { 'net.ipv4.tcp_ecn' = 1 } }] } }"))]
    pub(super) config: Configs,
    /// How each target is connected to.
    #[serde(default)]
    #[schemars(example = words::example("{ kind = 'tcp', timeout = '5s' }"))]
    pub(super) connect: Connect,
    /// What is done about a target that looks broken or transient by a condition that compares.
    #[serde(default)]
    #[schemars(example = words::example("{ rounds = 2, spread = '2s' }"))]
    pub(super) confirm: Confirm,
    /// Which functions look at which packets. Each function is listed in the chain of every
    /// header that it is to read.
    #[serde(default)]
    #[schemars(example = words::example("{ use = ['basic', 'tcp'] }"))]
    pub(super) observer: Observer,
    /// What is concluded from each record, in this order.
    #[serde(default)]
    #[schemars(with = "Vec<Condition>")]
    #[schemars(example = words::example("[{ name = 'ecn.connectivity', compare = 'ok' }]"))]
    pub(super) conditions: Vec<Spanned<Condition>>,
}

/// A value with a name.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["default"]))]
#[expect(dead_code, reason = "here for its types; the values are put in before")]
pub(super) struct Param {
    /// The value if the user does not give one; its type is that of the param.
    #[schemars(example = &"5s", example = 2)]
    pub(super) default: Option<Scalar>,
    /// What the value is for.
    #[schemars(example = &"How long one connection may take")]
    pub(super) help: Option<String>,
}

/// The configurations that are compared. Each is written `zero`, `one`, `two`, ... without gaps.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["zero"]))]
pub(super) struct Configs {
    /// The baseline.
    #[schemars(with = "Option<Config>", example = words::example("{ title = 'ECN off' }"))]
    pub(super) zero: Option<Spanned<Config>>,
    /// The experiment.
    #[schemars(with = "Option<Config>", example = words::example("{ title = 'ECN on' }"))]
    pub(super) one: Option<Spanned<Config>>,
    /// The second experiment.
    #[schemars(with = "Option<Config>", example = words::example("{ title = 'ECN on' }"))]
    pub(super) two: Option<Spanned<Config>>,
    /// The third experiment.
    #[schemars(with = "Option<Config>", example = words::example("{ title = 'ECN on' }"))]
    pub(super) three: Option<Spanned<Config>>,
    /// The fourth experiment.
    #[schemars(with = "Option<Config>", example = words::example("{ title = 'ECN on' }"))]
    pub(super) four: Option<Spanned<Config>>,
    /// The fifth experiment.
    #[schemars(with = "Option<Config>", example = words::example("{ title = 'ECN on' }"))]
    pub(super) five: Option<Spanned<Config>>,
    /// The sixth experiment.
    #[schemars(with = "Option<Config>", example = words::example("{ title = 'ECN on' }"))]
    pub(super) six: Option<Spanned<Config>>,
    /// The seventh experiment.
    #[schemars(with = "Option<Config>", example = words::example("{ title = 'ECN on' }"))]
    pub(super) seven: Option<Spanned<Config>>,
}

impl Configs {
    /// The kinds of connection that configurations have of their own, as far as they are known.
    pub(super) fn kinds(&self) -> Vec<&'static KindDef> {
        let Self { zero, one, two, three, four, five, six, seven } = self;
        let all = [zero, one, two, three, four, five, six, seven].into_iter().flatten();
        let kinds = all.filter_map(|config| config.get_ref().connect.0.kind.as_ref());
        kinds.filter_map(|name| kind(name.get_ref())).collect()
    }

    /// All eight, in their order.
    pub(super) fn into_list(self) -> [Option<Spanned<Config>>; 8] {
        let Self { zero, one, two, three, four, five, six, seven } = self;
        [zero, one, two, three, four, five, six, seven]
    }
}

/// One configuration of this host. Whatever its steps change is put back afterwards.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// A title of a few words; without it, the configuration's name.
    #[schemars(example = &"ECN off")]
    pub(super) title: Option<String>,
    /// What is changed, in this order; undone in the opposite one.
    #[serde(default)]
    #[schemars(with = "Vec<Step>")]
    #[schemars(example = words::example("[{ sysctl = { 'net.ipv4.tcp_ecn' = 1 } }]"))]
    pub(super) steps: Vec<Spanned<Step>>,
    /// Makes several configurations of this one, one for every value (of several names: for every
    /// combination). ${codepoint} stands for the value in this configuration, and in conditions, which
    /// are then made once for every value. Only the last configuration can sweep.
    #[serde(default)]
    #[schemars(schema_with = "words::sweep", example = BTreeMap::from([("codepoint", [1, 10, 46])]))]
    #[expect(dead_code, reason = "here for its types; it is carried out before")]
    pub(super) sweep: BTreeMap<String, Vec<Scalar>>,
    /// What is different about the connections under this configuration.
    #[serde(default)]
    #[schemars(example = words::example("{ kind = 'tcp', tfo = true }"))]
    pub(super) connect: OwnConnect,
}

/// What is done about a target that looks broken or transient by a condition that compares: it is asked again
/// under every configuration, the baseline first, and the label is the one that the rounds confirm, or
/// intermittent, or not_confirmed.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirm {
    /// How often: 0 to 20. With 0 a target is asked once, and the label is what it looked like then.
    #[serde(default)]
    #[schemars(schema_with = "words::rounds", example = 2, extend("default" = DEFAULT_ROUNDS))]
    pub(super) rounds: Option<Spanned<i64>>,
    /// The least time from the end of one asking of a target to its next: a number with ms, s or m; at most an
    /// hour.
    #[schemars(with = "Option<String>", example = &"30s")]
    #[schemars(regex(pattern = "^([0-9]+(ms|s|m)|.*\\$\\{.*)$"), extend("default" = DEFAULT_SPREAD))]
    pub(super) spread: Option<Text>,
}

/// One conclusion: a name, and exactly one of compare, first_of and value. Where a fact that it
/// needs was not observed, it is `insufficient`, never taken for false.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name"], "oneOf" = [
    { "required": ["compare"] }, { "required": ["first_of"] }, { "required": ["value"] }
], "dependentRequired" = { "between": ["compare"] }))]
pub(super) struct Condition {
    /// Begins every label: lower-case letters, digits, _ and dots.
    #[schemars(with = "Option<String>", example = &"ecn.negotiation")]
    #[schemars(regex(
        pattern = "^([a-z0-9_]|\\$\\{[a-z0-9_]+\\})+(\\.([a-z0-9_]|\\$\\{[a-z0-9_]+\\})+)*$"
    ))]
    pub(super) name: Option<Text>,
    /// When the condition applies at all: a boolean SQL expression over zero.x, one.x and
    /// target.x. If it is false there is no label.
    #[schemars(with = "Option<String>", example = &"one.tcp_connected")]
    pub(super) given: Option<Text>,
    /// A boolean column, compared between zero and one: works (true in both), broken (in zero
    /// only), transient (in one only), offline (in neither). If there is only zero: online, offline.
    /// Of `ok`, a host that answered with the same word in the column `answer` under both works too, and is never offline;
    /// one that answered less under one, or with another word, is broken.
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
    #[schemars(regex(pattern = "^([a-z0-9_]|\\$\\{[a-z0-9_]+\\})+$"))]
    pub(super) is: Option<Text>,
    /// A boolean SQL expression over zero.x, one.x and target.x. Only the last answer may be
    /// without.
    #[schemars(with = "Option<String>", example = &"one.tcp_synack_ece AND NOT one.tcp_synack_cwr")]
    pub(super) when: Option<Text>,
}
