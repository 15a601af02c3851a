//! Records as PATHspider 2 (Python) wrote them, for programs that read those.
//!
//! A line has the job as the target list gave it (`dip`, `dp`, `domain`, the list's own columns), `sip`, `sp` (of the
//! first configuration's attempt), `path`, `time` and `conditions`; with flows also `missed_flows` and
//! `flow_results`. It deliberately differs from upstream as follows:
//!
//! * `missed_flows` counts flows that were missed; upstream's 2.0 counted those that were seen.
//! * `sip` is the observed source address. `sip_public` and `sip_asn`, which upstream got from a web service, are
//!   missing, and the path begins with `*` if no flow was observed.
//! * The target's AS number comes from `dip_asn`, `info` or `canid_info`; upstream overlooked the last, which its own
//!   resolver wrote.
//! * A condition that could not be judged is left out, as upstream had no word for it.

use std::fmt;
use std::path::Path;

use arrow_array::{
    Array, ArrayRef, RecordBatch, StructArray,
    cast::AsArray as _,
    temporal_conversions::timestamp_ns_to_datetime,
    types::{
        Float64Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use arrow_schema::{DataType, TimeUnit};
use serde_json::{Map, Value, json};

use super::encode;
use super::ndjson::NdjsonSink;
use super::{Sink, Written};
use crate::error::{Error, Result};
use crate::field::FilledBy;

/// What must be known about a record's columns to write them like upstream.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The possible names of configurations.
    pub configurations: &'static [&'static str],
    /// Which component fills a column of a configuration. Upstream had its own words for the engine's columns.
    pub filled_by: fn(&str) -> FilledBy,
}

/// The suffix of labels of conditions that could not be judged.
const NOT_JUDGED: &str = ".insufficient";
/// Upstream's times: UTC without saying so.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.6f";

/// Writes upstream's records.
pub struct UpstreamSink {
    lines: NdjsonSink,
    flows: bool,
    known: Known,
    rows: u64,
    /// From the start of the first attempt to the end of the last, in nanoseconds.
    span: Option<(i64, i64)>,
}

impl fmt::Debug for UpstreamSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamSink").field("to", &self.lines).field("flows", &self.flows).finish()
    }
}

/// Opens a sink for upstream's records: `path` ends in .ndjson or .jsonl, or is `-`.
///
/// A file gets a metadata file `NAME.meta.json`, as other NDJSON does, with `_time_start` and `_time_end`, as
/// upstream's `pspdr metadata` wrote.
///
/// # Errors
/// [`Error::Usage`] for any other name, and as [`open`](super::open).
pub fn open(path: &Path, flows: bool, known: Known) -> Result<Box<dyn Sink>> {
    let lines = match path.as_os_str() == "-" {
        true => NdjsonSink::stdout(),
        false => {
            check(path)?;
            NdjsonSink::create(path)?
        }
    };
    Ok(Box::new(UpstreamSink { lines, flows, known, rows: 0, span: None }))
}

/// Checks that upstream's records can have this name.
///
/// # Errors
/// [`Error::Usage`] with what to write instead.
pub fn check(path: &Path) -> Result<()> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        _ if path.as_os_str() == "-" => Ok(()),
        Some("ndjson" | "jsonl") => Ok(()),
        _ => Err(Error::Usage(format!(
            "write {}: records of --format pathspider are NDJSON; the name must end in .ndjson or \
             .jsonl, or be - for standard output",
            path.display()
        ))),
    }
}

impl Sink for UpstreamSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut text = Vec::with_capacity(batch.num_rows() * 512);
        let records = Records::of(batch, self.known)
            .ok_or_else(|| Error::Failed("write records as upstream: they lack a column".into()))?;
        for row in 0..batch.num_rows() {
            let record = records.record(row, self.rows, self.flows);
            // To memory, and from a JSON value: neither can fail.
            text.extend_from_slice(Value::Object(record).to_string().as_bytes());
            text.push(b'\n');
            self.rows += 1;
            if let Some((from, to)) = records.span(row) {
                let (first, last) = self.span.unwrap_or((from, to));
                self.span = Some((first.min(from), last.max(to)));
            }
        }
        self.lines.write_lines(&text, batch.num_rows() as u64)
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(self: Box<Self>, metadata: &[(String, String)]) -> Result<Written> {
        let bare = match self.span {
            Some((from, to)) => vec![
                ("_time_start".to_owned(), date(from, "%Y-%m-%dT%H:%M:%SZ")),
                ("_time_end".to_owned(), date(to, "%Y-%m-%dT%H:%M:%SZ")),
            ],
            None => Vec::new(),
        };
        self.lines.finish_with(&bare, metadata)
    }
}

/// A batch with its columns looked up once.
struct Records<'a> {
    target: &'a StructArray,
    configurations: Vec<&'a StructArray>,
    conditions: &'a arrow_array::ListArray,
    filled_by: fn(&str) -> FilledBy,
}

impl<'a> Records<'a> {
    /// `None` if a column that every record has is missing.
    fn of(batch: &'a RecordBatch, known: Known) -> Option<Self> {
        let schema = batch.schema_ref();
        let configurations = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .filter(|(field, _)| known.configurations.contains(&field.name().as_str()))
            .map(|(_, column)| column.as_struct_opt())
            .collect::<Option<Vec<_>>>()?;
        let target = batch.column_by_name("target")?.as_struct_opt()?;
        target.column_by_name("ip")?.as_string_opt::<i32>()?;
        let whole = configurations.iter().all(|configuration| {
            let there = |name: &str| configuration.column_by_name(name);
            let (state, observed) = (there("state"), there("observed"));
            state.is_some_and(|state| state.data_type() == &DataType::Utf8)
                && observed.is_some_and(|observed| observed.data_type() == &DataType::Boolean)
        });
        let conditions = batch.column_by_name("conditions")?.as_list_opt::<i32>()?;
        conditions.values().as_string_opt::<i32>()?;
        let filled_by = known.filled_by;
        whole.then_some(Self { target, configurations, conditions, filled_by })
    }

    fn record(&self, row: usize, number: u64, flows: bool) -> Map<String, Value> {
        let mut record = job(self.target, row);
        let observed =
            |configuration: &&StructArray| boolean(configuration, "observed", row) == Some(true);
        let sip = self.configurations.iter().find_map(|c| text(c, "sip", row));
        if let Some(sip) = &sip {
            record.insert("sip".into(), sip.as_str().into());
        }
        let sp = self.configurations.first().and_then(|c| port(c, row));
        record.insert("sp".into(), sp.into());
        let mut path = vec![Value::from(sip.unwrap_or_else(|| "*".into()))];
        path.extend(network(&record));
        path.extend(record.get("dip").cloned());
        record.insert("path".into(), path.into());
        if let Some((from, to)) = self.span(row) {
            record.insert("time".into(), json!({ "from": date(from, TIME), "to": date(to, TIME) }));
        }
        let missed = self.configurations.iter().filter(|c| !observed(c)).count();
        let mut conditions: Vec<Value> = Vec::new();
        let labels = self.conditions.value(row);
        let labels = labels.as_string::<i32>().iter().flatten();
        conditions.extend(labels.filter(|label| !label.ends_with(NOT_JUDGED)).map(Value::from));
        if missed > 0 {
            conditions.push("pathspider.not_observed".into());
            conditions.push(format!("pathspider.missed_flows:{missed}").into());
        }
        record.insert("conditions".into(), conditions.into());
        if flows {
            record.insert("missed_flows".into(), missed.into());
            let flow = |(config, columns): (usize, &&StructArray)| {
                let mut flow = self.flow(columns, row);
                flow.insert("config".into(), config.into());
                flow.insert("jobId".into(), number.into());
                Value::Object(flow)
            };
            let flows: Vec<Value> = self.configurations.iter().enumerate().map(flow).collect();
            record.insert("flow_results".into(), flows.into());
        }
        record
    }

    fn flow(&self, columns: &StructArray, row: usize) -> Map<String, Value> {
        let mut flow = Map::new();
        let observed = boolean(columns, "observed", row) == Some(true);
        let mut set = |key: &str, value: Value| drop(flow.insert(key.to_owned(), value));
        for (key, column) in [("dip", "ip"), ("dp", "port")] {
            if let Some(column) = self.target.column_by_name(column) {
                set(key, value(column, row));
            }
        }
        set("sp", port(columns, row).into());
        set("observed", observed.into());
        set("spdr_state", state(text(columns, "state", row).as_deref()).into());
        for (key, column) in [("spdr_start", "started"), ("spdr_stop", "ended")] {
            set(key, time(columns, column, row).map(|at| date(at, TIME)).into());
        }
        if let Some(error) = text(columns, "error", row) {
            set("error", error.into());
        }
        if let Some(answer) = text(columns, "answer", row) {
            set("answer", answer.into());
        }
        let facts = columns.fields().iter().zip(columns.columns());
        for (field, column) in facts {
            let name = field.name();
            let written = match (self.filled_by)(name) {
                FilledBy::Engine => false,
                // The target is known in any case.
                _ if ["dip", "dp", "sp"].contains(&name.as_str()) => column.is_valid(row),
                // Upstream's records omit what was not observed; a missing fact is None.
                FilledBy::Observer => observed || column.is_valid(row),
                FilledBy::Reply | FilledBy::Sweep => true,
            };
            if written {
                set(name, value(column, row));
            }
        }
        flow
    }

    /// When the attempts of a row began and ended.
    fn span(&self, row: usize) -> Option<(i64, i64)> {
        let times = |column: &'static str| {
            self.configurations.iter().filter_map(move |c| time(c, column, row))
        };
        Some((times("started").min()?, times("ended").max()?))
    }
}

/// The target as the list had it.
fn job(target: &StructArray, row: usize) -> Map<String, Value> {
    let mut job = Map::new();
    for (field, column) in target.fields().iter().zip(target.columns()) {
        if column.is_null(row) {
            continue;
        }
        let key = match field.name().as_str() {
            "ip" => "dip",
            "port" => "dp",
            "name" => "domain",
            "extra" => {
                // Values without a column of their own: the members of an object.
                if let Value::Object(members) = structured(value(column, row)) {
                    for (key, value) in members {
                        job.entry(key).or_insert(value);
                    }
                }
                continue;
            }
            own => own,
        };
        let value = match key {
            "dip" | "dp" | "domain" => value(column, row),
            _ => structured(value(column, row)),
        };
        job.insert(key.to_owned(), value);
    }
    job
}

/// The target's AS number, if the list has it.
fn network(job: &Map<String, Value>) -> Option<Value> {
    let number = ["info", "canid_info"].iter().filter_map(|key| job.get(*key)?.get("ASN"));
    let number = job.get("dip_asn").into_iter().chain(number).find_map(|number| match number {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.trim_start_matches("AS").to_owned()),
        _ => None,
    })?;
    Some(format!("AS{number}").into())
}

/// Upstream's number for the state of an attempt: 0 ok, 1 failed, 2 timed out, 3 skipped.
fn state(word: Option<&str>) -> u8 {
    match word {
        Some("ok") => 0,
        Some("failed") => 1,
        Some("timeout") => 2,
        _ => 3,
    }
}

/// Parses arrays and objects, which columns hold as text.
fn structured(value: Value) -> Value {
    match &value {
        Value::String(text) if text.starts_with(['{', '[']) => {
            serde_json::from_str(text).unwrap_or(value)
        }
        _ => value,
    }
}

/// A cell; times in seconds, as in upstream.
fn value(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let at = column.as_primitive::<TimestampNanosecondType>().value(row);
            (at as f64 / 1e9).into()
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            (0..items.len()).map(|item| value(&items, item)).collect()
        }
        // Any other type, which only files of other programs have.
        _ => encode::value(column, row).unwrap_or(Value::Null),
    }
}

fn boolean(columns: &StructArray, name: &str, row: usize) -> Option<bool> {
    let column = columns.column_by_name(name)?.as_boolean_opt()?;
    column.is_valid(row).then(|| column.value(row))
}

fn text(columns: &StructArray, name: &str, row: usize) -> Option<String> {
    let column = columns.column_by_name(name)?.as_string_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn port(columns: &StructArray, row: usize) -> Option<u16> {
    let column = columns.column_by_name("source_port")?.as_primitive_opt::<UInt16Type>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn time(columns: &StructArray, name: &str, row: usize) -> Option<i64> {
    let column = columns.column_by_name(name)?;
    let column = column.as_primitive_opt::<TimestampNanosecondType>()?;
    column.is_valid(row).then(|| column.value(row))
}

fn date(at: i64, format: &str) -> String {
    timestamp_ns_to_datetime(at).map_or_else(String::new, |at| at.format(format).to_string())
}
