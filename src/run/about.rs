//! Metadata of a run that are known before it starts.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::counts::Counts;
use super::site;
use crate::hex::hex;
use crate::measurement::Plan;
use crate::rule::Rules;
use crate::sink::{self, Metadata};
use crate::step::Step;

/// `2026-11-22T18:30:00Z`, by Arrow's own formatting.
pub fn utc(time: SystemTime) -> String {
    formatted(time, "%Y-%m-%dT%H:%M:%SZ")
}

/// The same with milliseconds: `2026-11-22T18:30:00.125Z`.
pub fn utc_exact(time: SystemTime) -> String {
    formatted(time, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

fn formatted(time: SystemTime, format: &str) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let milliseconds = i64::try_from(since.as_millis()).unwrap_or_default();
    arrow_array::temporal_conversions::timestamp_ms_to_datetime(milliseconds)
        .map_or_else(String::new, |time| time.format(format).to_string())
}

/// The params of a plan and their values, as a JSON object of strings.
pub fn params(plan: &Plan) -> String {
    let values = plan.params.iter().map(|param| (param.name.clone(), param.value.to_string()));
    json!(values.collect::<BTreeMap<_, _>>()).to_string()
}

pub(super) fn owned<const N: usize>(pairs: [(&str, String); N]) -> Metadata {
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The metadata known when a run starts; `more` comes from its spec. [`KEYS`](super::keys::KEYS) documents each key.
pub(super) fn about(
    plan: &Plan,
    interface: &str,
    started: &str,
    invoked_by: &str,
    more: Metadata,
) -> Metadata {
    let mut about =
        [site::host(), site::interface(interface), site::sysctls(plan, interface)].concat();
    about.extend(owned([
        ("measurement", plan.text.clone()),
        ("params", params(plan)),
        ("measurement_sha256", sha256(&plan.text)),
        ("configurations", configurations(plan)),
        ("conditions_sql", conditions_sql(&plan.rules)),
        ("metrics_sql", metrics_sql(&plan.rules)),
        ("command_line", invoked_by.to_owned()),
        ("started", started.to_owned()),
    ]));
    about.extend(more);
    about
}

/// The metadata of a part, written during the run. The sink prefixes each key with `pathspider.`. A part cannot say
/// whether the run became complete.
pub fn metadata_meanwhile(about: &Metadata, counts: &Counts, records: u64) -> Metadata {
    let now = owned([("whole_run", sink::RUN.to_owned()), ("records", records.to_string())]);
    [about.clone(), now, counts.metadata()].concat()
}

/// What each configuration does, as a JSON object.
fn configurations(plan: &Plan) -> String {
    let all = plan.configs.iter().map(|config| {
        let steps: Vec<String> = config.steps.iter().map(Step::describe).collect();
        let of = json!({
            "title": config.title, "kind": config.connection.kind.name,
            "timeout": config.connection.timeout.as_secs_f64(), "steps": steps,
        });
        (config.name.to_owned(), of)
    });
    serde_json::Value::Object(all.collect()).to_string()
}

/// The hash of a measurement's text, in hexadecimal.
pub fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// The verdict of each condition as an SQL expression over the file: a JSON object.
pub fn conditions_sql(rules: &Rules) -> String {
    let sql = rules.iter().map(|rule| (rule.name().to_owned(), rule.sql().into()));
    serde_json::Value::Object(sql.collect()).to_string()
}

/// Each metric as an SQL expression over the file: a JSON object.
pub fn metrics_sql(rules: &Rules) -> String {
    let sql = rules.metrics().map(|metric| (metric.name().to_owned(), metric.sql().into()));
    serde_json::Value::Object(sql.collect()).to_string()
}
