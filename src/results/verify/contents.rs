//! Compares the contents of results with their metadata.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};

use super::problem::{Check, Problem};
use crate::error::{Error, Result};
use crate::measurement::{Overrides, Plan};
use crate::results::judge::{FromFile, Results};
use crate::rule::{self, ADDED, Rules};
use crate::run::about;
use crate::run::dictionary::plain;
use crate::run::evidence::{self, EVIDENCE};
use crate::run::record::{self, POSITION};
use crate::sink::{self, Checked, Stored};
use crate::targets::{Positions, Shard};
use crate::words::{counted, inflected};

/// Maximum number of positions in a message.
const SHOWN: usize = 100;

/// The contents of a result.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Records.
    pub records: u64,
    /// What was not checked, and why; these are not problems.
    pub notes: Vec<String>,
    /// Whether a file could not be read to its end.
    broken: bool,
    /// Positions of targets with records; `None` if records have no positions.
    seen: Option<Positions>,
    doubled: Positions,
    /// The columns of the first file, and the rules over them if labels can be computed.
    first: Option<(PathBuf, SchemaRef)>,
    rules: Option<Rules>,
    /// Records with differing labels: the number, and the position of the first.
    relabelled: Option<(u64, Option<u64>)>,
}

/// The metadata of a result, by key.
#[derive(Debug, Default)]
pub(super) struct About(BTreeMap<String, String>);

impl About {
    pub(super) fn new(metadata: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(metadata.into_iter().collect())
    }

    /// The columns of the records of a run.
    pub(super) fn schema(&self, plan: &Plan, target: &Fields) -> Schema {
        let schema = record::schema(plan, target);
        match self.value(EVIDENCE) {
            Some(_) => evidence::with_column(&schema),
            None => schema,
        }
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }

    /// Whether this version of the program computed its labels.
    fn is_of_this_version(&self) -> bool {
        let version = self.value("judged_by").or(self.value("version"));
        version == Some(env!("CARGO_PKG_VERSION"))
    }

    /// The measurement that defines its labels.
    pub(super) fn plan(&self, target: &Fields) -> Option<Result<Plan>> {
        let text = self.value("measurement")?;
        let params = self.value("params").and_then(|text| serde_json::from_str(text).ok());
        let params: BTreeMap<String, String> = params.unwrap_or_default();
        let overrides = Overrides::new(params)
            .connect(self.value("connect").map(str::to_owned))
            .rounds(self.value("confirm_rounds").and_then(|rounds| rounds.parse().ok()));
        Some(Plan::load_with("its measurement", text, target, &overrides))
    }
}

impl Contents {
    /// Records that a file could not be read to its end.
    pub(super) fn give_up(&mut self, file: &Path, why: &Error, problems: &mut Vec<Problem>) {
        self.broken = true;
        problems.push(Problem::spoiled(Check::Pages, file, why.to_string()));
    }

    /// Reads a Parquet file; `progress` is called with its records so far.
    pub(super) fn parquet(
        &mut self,
        file: &Path,
        about: &About,
        problems: &mut Vec<Problem>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let stored = Stored::open(file)?;
        let (rows, schema) = (stored.rows(), plain(stored.schema()));
        match &self.first {
            None => {
                self.first = Some((file.to_owned(), schema.clone()));
                self.rules = self.rules(file, &schema, about, problems);
            }
            Some((first, known)) if known.fields() != schema.fields() => {
                let why = format!("its columns differ from those of {}", first.display());
                problems.push(Problem::spoiled(Check::Metadata, file, why));
                self.broken = true;
                return Ok(());
            }
            Some(_) => {}
        }
        let before = self.records;
        // Lets the closures below borrow the other fields.
        let rules = self.rules.take();
        let read = match &rules {
            Some(rules) => Results::new(file, stored, Vec::new()).and_then(|results| {
                results.judge(rules, |stored, judged| {
                    self.compare(stored, judged);
                    self.count(stored);
                    progress(self.records - before);
                    Ok(())
                })
            }),
            None => stored.read(&[], |batch| {
                self.count(&batch);
                progress(self.records);
                Ok(())
            }),
        };
        self.rules = rules;
        read?;
        if self.records - before != rows {
            let read = counted(self.records - before, "record[s]");
            let why = format!("it has {read}, but its footer says {rows}");
            problems.push(Problem::spoiled(Check::Records, file, why));
        }
        Ok(())
    }

    /// The rules of a result's measurement over its columns, if it is a result and has one.
    fn rules(
        &mut self,
        file: &Path,
        schema: &SchemaRef,
        about: &About,
        problems: &mut Vec<Problem>,
    ) -> Option<Rules> {
        let DataType::Struct(target) = schema.field_with_name("target").ok()?.data_type() else {
            return None;
        };
        let plan = self.plan(file, target, about, problems)?;
        let is_fact = |field: &&Arc<Field>| !ADDED.contains(&field.name().as_str());
        let facts: Vec<_> = schema.fields().iter().filter(is_fact).cloned().collect();
        let facts = Schema::new(facts);
        let rules = match plan.rules.against(&facts, &FromFile(&plan.selection)) {
            Ok(rules) => rules,
            Err(diagnostics) => {
                let why =
                    diagnostics.first().map_or_else(String::new, |first| first.message.clone());
                let why = format!("labels cannot be computed from these columns: {why}");
                problems.push(self.doubt(about, Check::Metadata, file, why));
                return None;
            }
        };
        // Results judged by another measurement have labels of that one and facts of their own.
        let of_run = schema.field_with_name(POSITION).is_ok() && about.value("judged").is_none();
        let wanted = match of_run {
            true => about.schema(&plan, target),
            false => rules.schema(&facts),
        };
        if let Some(why) = difference(&wanted, schema) {
            problems.push(self.doubt(about, Check::Metadata, file, why));
            return None;
        }
        Some(rules)
    }

    /// The measurement of a result, if it matches the metadata.
    pub(super) fn plan(
        &mut self,
        file: &Path,
        target: &Fields,
        about: &About,
        problems: &mut Vec<Problem>,
    ) -> Option<Plan> {
        let Some(plan) = about.plan(target) else {
            self.notes.push(
                "labels: not computed again, as there is no measurement in the metadata".into(),
            );
            return None;
        };
        let stated = about.value("measurement_sha256");
        let found = about.value("measurement").map(about::sha256);
        if stated.is_some() && stated != found.as_deref() {
            let why = "the measurement in the metadata does not have the SHA-256 that they state";
            problems.push(Problem::spoiled(Check::Metadata, file, why));
            return None;
        }
        match plan {
            Ok(plan) => Some(plan),
            Err(error) => {
                let why = format!("its measurement cannot be read: {error}");
                problems.push(self.doubt(about, Check::Metadata, file, why));
                None
            }
        }
    }

    /// A problem; only *unchecked* if another version wrote the result.
    pub(super) fn doubt(&self, about: &About, check: Check, file: &Path, why: String) -> Problem {
        match about.is_of_this_version() {
            true => Problem::spoiled(check, file, why),
            false => {
                let version = about.value("version").unwrap_or("unknown");
                Problem::unchecked(check, file, format!("{why} (version {version} wrote it)"))
            }
        }
    }

    /// Counts records and their positions.
    fn count(&mut self, batch: &RecordBatch) {
        self.records += batch.num_rows() as u64;
        if let Some(positions) = record::positions(batch) {
            positions.into_iter().for_each(|position| self.position(position));
        }
    }

    /// Counts a record without its position.
    pub(super) fn record(&mut self) {
        self.records += 1;
    }

    /// Notes that a target has a record.
    pub(super) fn position(&mut self, position: u64) {
        if !self.seen.get_or_insert_default().insert(position) {
            self.doubled.insert(position);
        }
    }

    /// Notes records whose stored labels differ from the computed ones.
    pub(super) fn compare(&mut self, stored: &RecordBatch, judged: &RecordBatch) {
        let column = |batch: &RecordBatch, name: &str| batch.column_by_name(name).map(as_text);
        let differs = |from: usize, rows: usize| {
            ADDED.iter().any(|name| match (column(stored, name), column(judged, name)) {
                (Some(a), Some(b)) => !same(&a.slice(from, rows), &b.slice(from, rows)),
                (None, None) => false,
                _ => true,
            })
        };
        if !differs(0, stored.num_rows()) {
            return;
        }
        let positions = record::positions(stored);
        for row in (0..stored.num_rows()).filter(|row| differs(*row, 1)) {
            let position = positions.as_ref().map(|positions| positions[row]);
            let (count, _) = self.relabelled.get_or_insert((0, position));
            *count += 1;
        }
    }

    /// Compares the contents with the metadata of the whole.
    pub(super) fn conclude(
        &mut self,
        path: &Path,
        checked: &Checked,
        about: &About,
        problems: &mut Vec<Problem>,
    ) {
        if let Some((count, first)) = self.relabelled {
            let at = first.map_or_else(String::new, |at| format!(", first that of line {at}"));
            let what = "record[s] [has|have] labels that differ from those computed from [its|their] facts";
            let why = format!("{}{at}", counted(count, what));
            problems.push(self.doubt(about, Check::Labels, path, why));
        }
        // Records missing with a spoiled file were reported.
        let is_whole = checked.spoiled.is_empty() && !self.broken;
        if is_whole {
            let journal = checked.journal.as_ref();
            // A part without a line in the journal has its own counts.
            let listed = journal.map(|journal| journal.rows);
            let stated = (about.value("complete").is_some()
                && !is_part(about, path, journal.is_some()))
            .then(|| about.number("records"))
            .flatten();
            for (stated, by) in [(listed, "the journal"), (stated, "the metadata")] {
                if let Some(stated) = stated.filter(|stated| *stated != self.records) {
                    let found = counted(self.records, "record[s]");
                    let why = format!("there [is|are] {found}, but {by} says {stated}");
                    let why = inflected(self.records, &why);
                    problems.push(Problem::spoiled(Check::Records, path, why));
                }
            }
            if about.value("complete") == Some("false")
                && journal.is_none_or(|journal| journal.ended)
            {
                let why = "the run ended early; `run --resume` continues it if its parts exist";
                problems.push(Problem::incomplete(Check::Targets, path, why));
            }
        }
        if !self.doubled.is_empty() {
            let what = "target[s] [has|have] several records (line[s] ";
            let why = format!("{}{})", counted(self.doubled.len(), what), shown(&self.doubled));
            problems.push(Problem::spoiled(Check::Targets, path, why));
        }
        self.targets(path, about, problems);
    }

    /// Finds targets without a record, if the metadata list the targets.
    fn targets(&self, path: &Path, about: &About, problems: &mut Vec<Problem>) {
        let (Some(seen), Some(last)) = (&self.seen, about.number("targets_last_position")) else {
            return;
        };
        let read = |key: &str| Positions::parse(about.value(key).unwrap_or_default(), last);
        let (Some(vacant), Some(withheld)) = (read("targets_no_target"), read("targets_withheld"))
        else {
            let why = "its positions of targets cannot be read";
            problems.push(Problem::spoiled(Check::Metadata, path, why));
            return;
        };
        let shard = about.value("shard").and_then(|text| Shard::parse(text).ok());
        let is_target = |at: u64| {
            (1..=last).contains(&at)
                && !vacant.contains(at)
                && shard.is_none_or(|shard| shard.has(at))
        };
        let foreign: Positions = seen.iter().filter(|at| !is_target(*at)).collect();
        if !foreign.is_empty() {
            let what = "record[s] [is|are] of [a line|lines] without a target of this run: ";
            let why = format!("{}{}", counted(foreign.len(), what), shown(&foreign));
            problems.push(Problem::spoiled(Check::Targets, path, why));
        }
        let mut missing = Positions::default();
        missing.insert_range(1..=last);
        for others in [&vacant, seen, &withheld] {
            missing.subtract(others);
        }
        if let Some(shard) = shard {
            missing = missing.iter().filter(|at| shard.has(*at)).collect();
        }
        if !missing.is_empty() {
            let what = "target[s] [has|have] no record (line[s] ";
            let why = format!("{}{})", counted(missing.len(), what), shown(&missing));
            problems.push(Problem::incomplete(Check::Targets, path, why));
        }
    }
}

/// Whether a file is a part, whose metadata have the run's counts up to that point.
fn is_part(about: &About, path: &Path, has_journal: bool) -> bool {
    let in_folder = has_journal && !path.join(sink::RUN).is_file();
    in_folder || about.value("ended").is_none() && about.value("merged_from").is_none()
}

/// Whether two columns have the same values, whatever the file says of them.
fn same(a: &dyn Array, b: &dyn Array) -> bool {
    match (a.as_struct_opt(), b.as_struct_opt()) {
        (Some(a), Some(b)) => {
            a.nulls() == b.nulls()
                && a.column_names() == b.column_names()
                && a.columns().iter().zip(b.columns()).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}

/// How columns differ from the expected ones.
fn difference(wanted: &Schema, found: &Schema) -> Option<String> {
    let all = wanted.fields().iter().chain(found.fields());
    let differs = |name: &str| match [wanted, found].map(|schema| schema.field_with_name(name)) {
        [Ok(wanted), Ok(found)] => !has_no_others(wanted.data_type(), found.data_type()),
        _ => true,
    };
    let mut names: Vec<&str> = all.map(|field| field.name().as_str()).collect();
    names.retain(|name| differs(name));
    names.dedup();
    let first = names.first()?;
    Some(format!("column `{first}` does not match the measurement"))
}

/// Whether a column has the expected type, or one that an earlier version gave it: a struct may have fewer fields, and
/// a count or a duration may be unsigned, and words may be plain text.
fn has_no_others(wanted: &DataType, found: &DataType) -> bool {
    match (wanted, found) {
        (DataType::Struct(wanted), DataType::Struct(found)) => found.iter().all(|field| {
            wanted
                .find(field.name())
                .is_some_and(|(_, known)| has_no_others(known.data_type(), field.data_type()))
        }),
        (DataType::Int64, found) => wanted == found || found.is_unsigned_integer(),
        (DataType::Dictionary(_, words), found) => wanted == found || words.as_ref() == found,
        _ => wanted == found,
    }
}

/// A column with the words of its structs as plain text, as earlier versions wrote them.
fn as_text(column: &ArrayRef) -> ArrayRef {
    match column.as_any_dictionary_opt() {
        Some(_) => rule::words(column).map_or(column.clone(), |words| Arc::new(words)),
        None => match column.as_struct_opt() {
            Some(of) => {
                let columns: Vec<ArrayRef> = of.columns().iter().map(as_text).collect();
                let fields = of.fields().iter().zip(&columns);
                let fields = fields.map(|(field, column)| {
                    field.as_ref().clone().with_data_type(column.data_type().clone())
                });
                let plain = StructArray::try_new_with_length(
                    fields.collect(),
                    columns,
                    of.nulls().cloned(),
                    of.len(),
                );
                plain.map_or(column.clone(), |plain| Arc::new(plain))
            }
            None => column.clone(),
        },
    }
}

/// Ranges for a message; shortened if there are many.
fn shown(positions: &Positions) -> String {
    let text = positions.to_string();
    match text.match_indices(',').nth(SHOWN) {
        Some((at, _)) => format!("{}, ...", &text[..at]),
        None => text,
    }
}
