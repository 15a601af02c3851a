//! Evidence: the packets of targets with certain labels, as pcapng files in a folder (`--evidence`).
//!
//! The capture keeps the packets of every attempt in memory, within a `Budget`. When a wave has been merged they wait here
//! until the records of their targets are final, confirmation rounds included. Then they are written or dropped, and the
//! record says in which file they are. A file is on disk before the part that has the record.

mod file;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::types::UInt16Type;
use arrow_array::{
    Array as _, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray,
    cast::AsArray as _,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use self::file::{Files, Place};
use super::controls::CONTROL;
use super::record;
use super::totals::words;
use crate::connect::Ended;
use crate::error::{Error, Result};
use crate::measurement::Plan;
use crate::observer::pcapng::{self, Interface};
use crate::observer::{Frame, Packets};
use crate::printable;
use crate::targets::Target;

/// The column of a record that says where its target's packets are.
pub const EVIDENCE: &str = "evidence";

/// Its meaning.
pub const DOC: &str = "Where the target's packets are; NULL if they were not kept.";

/// The columns in it.
pub static COLUMNS: [(&str, DataType, &str); 3] = [
    (
        "file",
        DataType::Utf8,
        "The pcapng file in the folder of `--evidence` that has the target's packets.",
    ),
    (
        "packets",
        DataType::Int64,
        "Packets of the target in that file, of all configurations and rounds.",
    ),
    (
        "omitted",
        DataType::Int64,
        "Packets of the target that were captured and not kept for want of memory; no file has them.",
    ),
];

/// Labels whose packets are evidence unless others are named, too.
pub const LABELS: [&str; 2] = ["broken", "transient"];
/// Octets of all files, unless another limit is given.
pub const LIMIT: u64 = 1 << 30;
/// Targets in a file, unless another number is given.
pub const PER_FILE: usize = 1000;
/// Octets of memory for packets whose verdict is not known yet.
pub const MEMORY: usize = 64 << 20;

/// What becomes evidence, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The folder of the files.
    pub folder: PathBuf,
    /// Labels besides `broken` and `transient`: the last word of a label, or a whole label.
    pub labels: Vec<String>,
    /// Octets of all files at most.
    pub limit: u64,
    /// Targets in a file at most.
    pub per_file: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { folder: PathBuf::new(), labels: Vec::new(), limit: LIMIT, per_file: PER_FILE }
    }
}

impl Settings {
    /// The labels and words whose packets are evidence.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        LABELS.into_iter().chain(self.labels.iter().map(String::as_str))
    }

    /// Checks that the measurement has these labels.
    ///
    /// # Errors
    /// [`Error::Usage`] with the words that there are.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        let labels: Vec<String> = plan.rules.iter().flat_map(|rule| rule.labels()).collect();
        let is_known = |wanted: &str| {
            // The values of a condition are not known before the run.
            let of_value = wanted.split_once(':').map(|(name, _)| format!("{name}:..."));
            labels.iter().any(|label| is(label, wanted) || Some(label) == of_value.as_ref())
        };
        let Some(unknown) = self.labels.iter().find(|label| !is_known(label)) else {
            return Ok(());
        };
        let mut known: Vec<&str> = labels.iter().filter_map(|label| word(label)).collect();
        known.sort_unstable();
        known.dedup();
        Err(Error::Usage(format!(
            "--evidence-label {unknown}: {} has no such label; it has the words {}, and `pathspider explain {}` lists whole \
             labels",
            plan.name,
            known.join(", "),
            plan.name
        )))
    }
}

/// The last word of a label.
fn word(label: &str) -> Option<&str> {
    label.rsplit_once(['.', ':']).map(|(_, word)| word)
}

/// Whether a label is the wanted one, or ends in the wanted word.
fn is(label: &str, wanted: &str) -> bool {
    label == wanted || word(label) == Some(wanted)
}

/// The schema of records with the column.
pub fn with_column(records: &Schema) -> Schema {
    let mut fields = records.fields().to_vec();
    fields.push(Arc::new(Field::new(EVIDENCE, DataType::Struct(columns()), true)));
    Schema::new_with_metadata(fields, records.metadata().clone())
}

fn columns() -> Fields {
    COLUMNS.iter().map(|(name, of, _)| Field::new(*name, of.clone(), true)).collect()
}

/// The packets of one attempt.
struct Flow {
    configuration: usize,
    round: u16,
    packets: Packets,
}

/// The packets of a target whose record is not final.
#[derive(Default)]
struct Waiting {
    flows: Vec<Flow>,
    rounds: u16,
}

/// Collects and writes evidence.
pub struct Evidence {
    settings: Settings,
    /// Names and titles of the configurations.
    configurations: Vec<String>,
    /// What sections are about.
    about: String,
    interface: Interface,
    files: Files,
    /// By position in the list.
    waiting: HashMap<u64, Waiting>,
    counts: [u64; 4],
}

impl Evidence {
    /// Opens the folder, which is created if it does not exist. The names of the files begin with the run's identifier, so
    /// runs can share a folder. A file that a killed session of this run left is cut to its whole blocks.
    ///
    /// # Errors
    /// [`Error::Usage`] if the folder cannot be written to.
    pub fn open(
        settings: &Settings,
        plan: &Plan,
        run_id: &str,
        interface: Interface,
    ) -> Result<Self> {
        let files = Files::open(settings, run_id)?;
        let configurations = plan.configs.iter().map(|config| match config.title.as_str() {
            title if title == config.name => title.to_owned(),
            title => format!("{} ({})", config.name, printable::line(title)),
        });
        let (configurations, waiting) = (configurations.collect(), HashMap::new());
        let about = format!("{}, run {run_id}", printable::line(&plan.name));
        let counts = Default::default();
        let settings = settings.clone();
        Ok(Self { settings, configurations, about, interface, files, waiting, counts })
    }

    /// What was written so far, as in [`Counts`](super::counts::Counts::evidence).
    pub fn counts(&self) -> [u64; 4] {
        self.counts
    }

    /// Takes the packets of a wave's attempts, by configuration and then by target. The first `again` targets are in a
    /// confirmation round.
    pub fn hold(
        &mut self,
        targets: &[Target],
        attempts: &[Vec<Ended>],
        packets: Vec<(u16, Packets)>,
        again: usize,
    ) {
        let mut by_port: HashMap<u16, Packets> = packets.into_iter().collect();
        for (row, target) in targets.iter().enumerate() {
            let waiting = self.waiting.entry(target.position).or_default();
            waiting.rounds += u16::from(row < again);
            let round = waiting.rounds;
            let of_row = attempts.iter().map(|attempts| attempts[row].attempt.source_port);
            waiting.flows.extend(of_row.enumerate().filter_map(|(configuration, port)| {
                let packets = by_port.remove(&port?)?;
                Some(Flow { configuration, round, packets })
            }));
        }
    }

    /// Adds the column to final records: writes the packets of targets with a wanted label, and drops those of the others.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn attach(&mut self, records: &RecordBatch) -> Result<RecordBatch> {
        let rows = Rows::of(records);
        let mut places = Vec::with_capacity(records.num_rows());
        for (row, labels) in words(records, "conditions").enumerate() {
            let waiting = rows.position(row).and_then(|position| self.waiting.remove(&position));
            let is_wanted = |label: &String| self.settings.wanted().any(|wanted| is(label, wanted));
            places.push(match waiting.filter(|_| labels.iter().any(is_wanted)) {
                Some(waiting) => self.write(&waiting, &rows, row, &labels)?,
                None => None,
            });
        }
        let schema: SchemaRef = Arc::new(with_column(&records.schema()));
        let mut all = records.columns().to_vec();
        all.push(column(&places));
        RecordBatch::try_new(schema, all).map_err(|why| Error::failed("attach evidence", why))
    }

    /// Writes the packets of a target. `None` if there are none, or if the limit is reached.
    fn write(
        &mut self,
        waiting: &Waiting,
        rows: &Rows<'_>,
        row: usize,
        labels: &[String],
    ) -> Result<Option<Place>> {
        let of = |count: fn(&Packets) -> u64| -> u64 {
            waiting.flows.iter().map(|flow| count(&flow.packets)).sum()
        };
        let (kept, omitted) = (of(Packets::kept), of(Packets::omitted));
        let [targets, packets, targets_omitted, packets_omitted] = &mut self.counts;
        *packets_omitted += omitted;
        if kept == 0 {
            return Ok(None);
        }
        let target = rows.describe(row);
        let labels = labels.iter().map(|label| printable::line(label)).collect::<Vec<_>>();
        let labels = labels.join(" ");
        let mut section = Vec::new();
        let comment = format!("{}: {target}; {labels}", self.about);
        pcapng::section(&mut section, &comment, &self.interface);
        let mut frames: Vec<(Frame<'_>, usize)> = waiting
            .flows
            .iter()
            .enumerate()
            .flat_map(|(number, flow)| flow.packets.frames().map(move |frame| (frame, number)))
            .collect();
        frames.sort_by_key(|(frame, _)| frame.time);
        let comments: Vec<String> = waiting
            .flows
            .iter()
            .map(|flow| {
                let configuration = &self.configurations[flow.configuration];
                format!("{target}; configuration {configuration}; round {}; {labels}", flow.round)
            })
            .collect();
        for (Frame { time, wire, data }, flow) in frames {
            pcapng::packet(&mut section, time.0, wire, data, &comments[flow]);
        }
        let Some(name) = self.files.add(&section)? else {
            *targets_omitted += 1;
            *packets_omitted += kept;
            return Ok(None);
        };
        *targets += 1;
        *packets += kept;
        Ok(Some(Place { file: name, packets: kept, omitted }))
    }

    /// Syncs what was written to disk.
    ///
    /// # Errors
    /// Names the file.
    pub fn sync(&mut self) -> Result<()> {
        self.files.sync()
    }
}

/// The columns of records that describe targets.
struct Rows<'a> {
    positions: Option<Vec<u64>>,
    ip: Option<&'a StringArray>,
    port: Option<&'a arrow_array::UInt16Array>,
    name: Option<&'a StringArray>,
    control: Option<&'a BooleanArray>,
}

impl<'a> Rows<'a> {
    fn of(records: &'a RecordBatch) -> Self {
        let target = records.column_by_name("target").and_then(|target| target.as_struct_opt());
        let text = |name| target?.column_by_name(name)?.as_string_opt();
        let port = || target?.column_by_name("port")?.as_primitive_opt::<UInt16Type>();
        Self {
            positions: record::positions(records),
            ip: text("ip"),
            port: port(),
            name: text("name"),
            control: records.column_by_name(CONTROL).and_then(|column| column.as_boolean_opt()),
        }
    }

    fn position(&self, row: usize) -> Option<u64> {
        self.positions.as_ref()?.get(row).copied()
    }

    /// A target in a comment.
    fn describe(&self, row: usize) -> String {
        let text = |of: Option<&StringArray>| {
            of.filter(|of| of.is_valid(row)).map(|of| of.value(row).to_owned())
        };
        let ip = text(self.ip).unwrap_or_default();
        let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
        let port = self.port.map_or(0, |ports| ports.value(row));
        let name = text(self.name).filter(|name| !name.is_empty());
        let name = name.map_or(String::new(), |name| format!(" ({})", printable::short(&name)));
        let position = self.position(row).unwrap_or_default();
        let is_control = self.control.is_some_and(|control| control.value(row));
        let control = if is_control { ", control" } else { "" };
        format!("target {ip}:{port}{name}, position {position}{control}")
    }
}

fn column(places: &[Option<Place>]) -> ArrayRef {
    let file = places.iter().map(|place| place.as_ref().map(|place| place.file.as_str()));
    let file = file.collect::<StringArray>();
    let number = |of: fn(&Place) -> u64| -> ArrayRef {
        let number = |place: &Option<Place>| {
            place.as_ref().map(|place| i64::try_from(of(place)).unwrap_or(i64::MAX))
        };
        Arc::new(places.iter().map(number).collect::<Int64Array>())
    };
    let arrays = vec![
        Arc::new(file) as ArrayRef,
        number(|place| place.packets),
        number(|place| place.omitted),
    ];
    let nulls = places.iter().map(Option::is_some).collect::<Vec<_>>();
    Arc::new(StructArray::new(columns(), arrays, Some(NullBuffer::from(nulls))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::SHIPPED;

    #[test]
    fn a_label_is_named_by_its_last_word_or_as_a_whole() {
        let label = "ecn.connectivity.broken";
        assert!(is(label, "broken") && is(label, label) && is("mss:1460", "1460"));
        assert!(!is(label, "connectivity") && !is(label, "ken"));
    }

    #[test]
    fn only_labels_of_the_measurement_can_be_wanted() {
        let (name, text) = SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap();
        let fields = crate::targets::Reader::from_targets(Vec::new()).fields();
        let plan = Plan::load(name, text, &fields).unwrap();
        let settings = |label: &str| Settings { labels: vec![label.into()], ..Settings::default() };
        for known in ["offline", "insufficient", "intermittent", "ecn.connectivity.works"] {
            settings(known).check(&plan).unwrap();
        }
        for unknown in ["brokne", "ecn.connectivity", "ecn.connectivity:7", ""] {
            let why = settings(unknown).check(&plan).unwrap_err().to_string();
            assert!(why.contains("insufficient, intermittent"), "{why}");
        }
    }
}
