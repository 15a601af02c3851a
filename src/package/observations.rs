//! Observations for a path transparency observatory (PTO's OSF): a line of JSON for each label of each target, and a last line
//! about all of them.

use std::collections::BTreeSet;

use arrow_array::RecordBatch;
use arrow_array::temporal_conversions::timestamp_ns_to_datetime;
use serde_json::{Map, Value, json};

use super::folder::{Folder, Kind, Writer};
use super::{Description, REPOSITORY};
use crate::analysis::Source;
use crate::analysis::column::{self, Words};
use crate::error::Result;
use crate::record;
use crate::rule::INSUFFICIENT;
use crate::run::controls::CONTROL;
use crate::sink::{METADATA_PREFIX, metadata_of};

const NAME: &str = "observations.ndjson";
/// The observatory's type of such a file.
const FILE_TYPE: &str = "obs";

/// Writes the observations, and their metadata for `upload`.
pub(super) fn write(
    source: &Source,
    description: &Description<'_>,
    folder: &mut Folder,
) -> Result<()> {
    let mut writer = folder.begin(NAME)?;
    let mut names = BTreeSet::new();
    let configurations: Vec<&str> = record::configurations(&source.schema).collect();
    let mut columns: Vec<String> =
        [CONTROL, "conditions", "target.ip", "target.asn"].map(str::to_owned).into();
    for name in &configurations {
        columns.extend(["started", "duration", "sip"].map(|column| format!("{name}.{column}")));
    }
    let is_cut = description.request.redact;
    source
        .read(&columns, |batch| lines(batch, &configurations, is_cut, &mut names, &mut writer))?;
    let about = json!({
        "_analyzer": REPOSITORY,
        "_conditions": names,
        "pathspider_version": description.value("version"),
        "measurement_sha256": description.value("measurement_sha256"),
    });
    writer.write(format!("{about}\n").as_bytes())?;
    let doc = "Observations for a path transparency observatory: `pathspider upload`";
    folder.add_written(NAME, Kind::Lines, doc, writer, Vec::new())?;
    let mut metadata = Map::new();
    metadata.insert("_file_type".into(), FILE_TYPE.into());
    metadata.insert("_time_start".into(), description.started.as_str().into());
    metadata.insert("_time_end".into(), description.ended.as_str().into());
    let known = description.account.metadata.iter();
    // What is long, or names the host.
    let known = known.filter(|(key, value)| value.len() < 100 && key.as_str() != "command_line");
    metadata.extend(
        known.map(|(key, value)| (format!("{METADATA_PREFIX}{key}"), Value::from(value.as_str()))),
    );
    let name = metadata_of(std::path::Path::new(NAME));
    let doc = "The metadata of the observations";
    folder.add_json(&name.to_string_lossy(), doc, &Value::Object(metadata))
}

fn lines(
    batch: &RecordBatch,
    configurations: &[&str],
    is_cut: bool,
    names: &mut BTreeSet<String>,
    writer: &mut Writer,
) -> Result<()> {
    use arrow_array::Array as _;
    let Some(labels) = column::lists(batch, "conditions") else { return Ok(()) };
    let whole = |path: &[&str]| {
        column::find(batch, path).map(|column| column::wholes(&column)).unwrap_or_default()
    };
    let times: Vec<_> = configurations
        .iter()
        .map(|name| (whole(&[name, "started"]), whole(&[name, "duration"])))
        .collect();
    let sources: Vec<Words> =
        configurations.iter().map(|name| Words::of(batch, &[name, "sip"])).collect();
    let ips = Words::of(batch, &["target", "ip"]);
    let (systems, numbers) = (Words::of(batch, &["target", "asn"]), whole(&["target", "asn"]));
    let control = column::truth(batch, &[CONTROL]);
    let mut text = String::new();
    for (row, labels) in labels.into_iter().enumerate() {
        let is_control = control.as_ref().is_some_and(|c| c.is_valid(row) && c.value(row));
        let Some(ip) = ips.at(row).filter(|_| !is_control) else { continue };
        let at = |numbers: &[Option<i64>]| numbers.get(row).copied().flatten().filter(|n| *n > 0);
        let starts = times.iter().filter_map(|(started, _)| at(started));
        let ends = times.iter().filter_map(|(started, duration)| {
            Some(at(started)? + at(duration).unwrap_or_default())
        });
        let (Some(start), Some(end)) = (starts.min(), ends.max()) else { continue };
        let system = systems.at(row).map(str::to_owned).or(at(&numbers).map(|n| n.to_string()));
        let from = sources.iter().find_map(|words| words.at(row));
        let path = path(from, system.as_deref(), ip, is_cut);
        for label in labels {
            let (name, value) = match label.split_once(':') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (label, None),
            };
            if name.rsplit('.').next() == Some(INSUFFICIENT) {
                continue;
            }
            let mut line =
                vec![json!(""), json!(time(start)), json!(time(end)), json!(path), json!(name)];
            line.extend(value.map(Value::from));
            text += &format!("{}\n", Value::Array(line));
            names.insert(name);
        }
    }
    writer.write(text.as_bytes())
}

/// A path: this host, unknown hops, perhaps the network, the target.
fn path(from: Option<&str>, system: Option<&str>, to: &str, is_cut: bool) -> String {
    let element = |ip: &str, is_cut: bool| match (ip.contains(':'), is_cut) {
        (true, true) => format!("[{ip}]/48"),
        (true, false) => format!("[{ip}]"),
        (false, true) => format!("{ip}/24"),
        (false, false) => ip.to_owned(),
    };
    let from = from.map(|ip| format!("{} ", element(ip, false))).unwrap_or_default();
    let digits = system.map(|system| system.trim_start_matches("AS"));
    let system = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let system = system.map(|system| format!("AS{system} ")).unwrap_or_default();
    format!("{from}* {system}{}", element(to, is_cut))
}

/// A time by RFC 3339.
fn time(nanoseconds: i64) -> String {
    timestamp_ns_to_datetime(nanoseconds)
        .map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_its_elements_in_order() {
        for (from, system, to, is_cut, expected) in [
            (
                Some("198.51.100.7"),
                Some("AS64496"),
                "192.0.2.1",
                false,
                "198.51.100.7 * AS64496 192.0.2.1",
            ),
            (
                Some("2001:db8::7"),
                Some("64496"),
                "2001:db8:1::",
                false,
                "[2001:db8::7] * AS64496 [2001:db8:1::]",
            ),
            (None, None, "192.0.2.0", true, "* 192.0.2.0/24"),
            (None, Some("64496_64497"), "2001:db8::", true, "* [2001:db8::]/48"),
        ] {
            assert_eq!(path(from, system, to, is_cut), expected);
        }
        assert_eq!(time(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123456Z");
    }
}
