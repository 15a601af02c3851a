//! `[[metrics]]` as written.

use schemars::JsonSchema;

use crate::measurement::words::Text;

/// A number of each record, with its summary: how many values, median, quantiles.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["name", "value"]))]
pub(in crate::measurement) struct Metric {
    /// Its name: parts of lower-case letters, digits and _, joined by dots.
    #[schemars(with = "Option<String>", example = &"rtt.difference")]
    pub(in crate::measurement) name: Option<Text>,
    /// When it applies: a boolean expression over the record. Where it is not true, there is no number.
    #[schemars(with = "Option<String>", example = &"zero.ok AND one.ok")]
    pub(in crate::measurement) given: Option<Text>,
    /// The number: an expression over the record. If it is computed from two configurations, the summary has a
    /// bootstrap interval of the median.
    #[schemars(with = "Option<String>", example = &"one.tcp_handshake_rtt - zero.tcp_handshake_rtt")]
    pub(in crate::measurement) value: Option<Text>,
    /// The unit: of a duration ns, us, ms, s, min or h, in which it is stored; otherwise a word for the summary.
    #[schemars(with = "Option<String>", example = &"ms")]
    pub(in crate::measurement) unit: Option<Text>,
}
