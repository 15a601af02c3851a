//! The thread behind the engine: merges each wave, judges it, writes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StructArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::counts::Counts;
use super::summary;
use crate::connect::{Ended, Prepared};
use crate::engine::driver::{Asked, Attempts, Progress};
use crate::error::{Error, Result};
use crate::field::{FieldDef, Row as _};
use crate::flags::{self, Flag, Flags as RecordFlags};
use crate::lab::Tally;
use crate::measurement::{Plan, Swept};
use crate::merge::{Merged, Merger};
use crate::observer::Flows;
use crate::observer::capture::Counters;
use crate::sink::{Metadata, Sink};
use crate::targets::{self, Target};

/// A wave whose attempts have ended.
pub struct Wave {
    /// Its targets.
    pub targets: Vec<Target>,
    /// What was found out about each before, if anything was to be.
    pub prepared: Vec<Prepared>,
    /// What became of each, under each configuration.
    pub asked: Asked,
    /// Where its flows will come from.
    pub flows: Receiver<Flows>,
    /// What the capture had lost when it began.
    pub lost: Lost,
    /// The source ports of the next wave.
    pub later: Vec<RangeInclusive<u16>>,
}

/// The column of a record's position in the target list.
pub const POSITION: &str = "position";

/// What a capture has lost that cannot be put to any flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    dropped: u64,
    short: u64,
}

impl Lost {
    /// So far.
    pub fn now(counters: &Counters) -> Self {
        let load = |count: &std::sync::atomic::AtomicU64| count.load(Relaxed);
        let dropped = load(&counters.dropped) + load(&counters.interface_dropped);
        Self { dropped, short: load(&counters.bad_ip) }
    }

    /// What is to be said of records during whose time `self` became `later`.
    fn flags(self, later: Lost) -> RecordFlags {
        let dropped = (later.dropped > self.dropped).then_some(Flag::CaptureDropped);
        let short = (later.short > self.short).then_some(Flag::ShortPacket);
        dropped.into_iter().chain(short).collect()
    }
}

/// What the records say.
#[derive(Debug, Default)]
pub struct Totals {
    /// Records, one per target that was asked under every configuration.
    pub records: u64,
    /// How often each label was given.
    pub labels: BTreeMap<String, u64>,
    /// How many records have each flag.
    pub flagged: BTreeMap<String, u64>,
}

impl Totals {
    /// Counts judged records, and tells the tally of them.
    pub fn count(&mut self, records: &RecordBatch, mut tally: Option<&mut Tally>) {
        self.records += records.num_rows() as u64;
        let target = records.column_by_name("target").and_then(|target| target.as_struct_opt());
        let text = |name: &str, row: usize| {
            let column = target?.column_by_name(name)?.as_string_opt::<i32>()?;
            column.is_valid(row).then(|| column.value(row))
        };
        for (row, labels) in words(records, "conditions").enumerate() {
            if let Some(tally) = &mut tally {
                let name = text("name", row).unwrap_or_default();
                if let Some(host) = tally.rows().iter().position(|row| row.name == name) {
                    let is_v6 = text("ip", row).is_some_and(|ip| ip.contains(':'));
                    tally.add(host, is_v6, &labels);
                }
            }
            labels.into_iter().for_each(|label| increase(&mut self.labels, label));
        }
        let flags = words(records, flags::COLUMN).flatten();
        flags.for_each(|flag| increase(&mut self.flagged, flag));
    }
}

/// A list of words for each record.
fn words(records: &RecordBatch, column: &str) -> impl Iterator<Item = Vec<String>> {
    let lists = records.column_by_name(column).and_then(|lists| lists.as_list_opt::<i32>());
    lists.into_iter().flat_map(|lists| lists.iter()).map(|words| {
        let words = words.as_ref().and_then(|words| words.as_string_opt::<i32>());
        words.into_iter().flatten().flatten().map(str::to_owned).collect()
    })
}

fn increase(counts: &mut BTreeMap<String, u64>, word: String) {
    *counts.entry(word).or_default() += 1;
}

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// What the records say, earlier ones included.
    pub totals: Totals,
    /// Targets that a stop came before.
    pub unfinished: u64,
    /// Attempts that were sent and whose flow was not seen.
    pub unobserved: u64,
    /// Flows that belonged to no attempt.
    pub strays: u64,
}

impl Written {
    /// The counts that only the writer knows, added to those of engine and capture, and to earlier ones.
    pub fn counts(&self, progress: &Progress, counters: &Counters, earlier: &Counts) -> Counts {
        let mut counts = Counts {
            unobserved: self.unobserved,
            strays: self.strays,
            ..Counts::now(progress, counters)
        };
        counts += earlier;
        counts
    }
}

/// What a writer tells of the run when it brings records to disk.
pub struct Known<'a> {
    /// What was known at the beginning.
    pub about: &'a Metadata,
    /// The engine's counts.
    pub progress: &'a Progress,
    /// The capture's counts.
    pub counters: &'a Counters,
    /// What was counted before the run was resumed.
    pub earlier: &'a Counts,
    /// When it began, or was resumed.
    pub began: Instant,
}

/// Turns waves into records.
pub struct Writer<'a> {
    plan: &'a Plan,
    target_fields: Fields,
    schema: SchemaRef,
    merger: Merger,
    sink: &'a mut dyn Sink,
    tally: Option<&'a mut Tally>,
    known: Known<'a>,
    written: Written,
}

impl<'a> Writer<'a> {
    /// A writer into `sink`, whose schema is [`schema`]; `totals` are those of earlier records.
    pub fn new(
        plan: &'a Plan,
        target_fields: Fields,
        sink: &'a mut dyn Sink,
        tally: Option<&'a mut Tally>,
        known: Known<'a>,
        totals: Totals,
    ) -> Self {
        let schema = Arc::new(record(plan, &target_fields));
        let protocols = plan.configs.iter().map(|config| config.connection.protocol()).collect();
        let fields = plan.configuration_fields().into();
        let merger = Merger::new(fields, plan.reply_columns(), protocols);
        let written = Written { totals, ..Written::default() };
        Self { plan, target_fields, schema, merger, sink, tally, known, written }
    }

    /// Writes every wave that comes, until no more can; says what was written even if that ended in
    /// an error.
    pub fn run(mut self, waves: &Receiver<Wave>) -> (Written, Result<()>) {
        let end = waves.iter().try_for_each(|wave| self.wave(wave));
        self.written.strays = self.merger.strays();
        (self.written, end)
    }

    fn wave(&mut self, wave: Wave) -> Result<()> {
        let flows =
            wave.flows.recv().map_err(|_| Error::Failed("the capture ended early".into()))?;
        let mut of_all = wave.lost.flags(Lost::now(self.known.counters));
        if wave.asked.clock_step {
            of_all |= Flag::ClockStep.into();
        }
        let Done { targets, prepared, attempts, unfinished } =
            finished(wave.targets, wave.prepared, wave.asked.attempts);
        self.written.unfinished += unfinished;
        let addresses: Vec<Option<SocketAddr>> = targets.iter().map(address).collect();
        let Merged { configurations, mut flags } =
            self.merger.merge(&addresses, &attempts, flows, &wave.later, &wave.asked.repeated)?;
        for (configuration, attempts) in configurations.iter().zip(&attempts) {
            let Some(observed) = configuration.column_by_name("observed") else { continue };
            let sent = attempts.iter().map(|Ended { attempt, .. }| {
                attempt.state.tells() && attempt.source_port.is_some()
            });
            let unobserved = observed.as_boolean().iter().zip(sent);
            self.written.unobserved += unobserved
                .filter(|(observed, sent)| *sent && *observed == Some(false))
                .count() as u64;
        }
        flags.iter_mut().for_each(|flags| *flags |= of_all);
        let positions = UInt64Array::from_iter_values(targets.iter().map(|t| t.position));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(targets::columns(&self.target_fields, &targets)?),
            Arc::new(positions),
            flags::column(&flags),
        ];
        if self.plan.prepare.is_something() {
            let fields = Prepared::FIELDS.iter().map(FieldDef::arrow).collect();
            let found = StructArray::try_new(fields, Prepared::collect(&prepared), None);
            let found = found.map_err(|why| Error::failed("put a record together", why))?;
            columns.push(Arc::new(found));
        }
        for (configuration, record) in self.plan.configs.iter().zip(configurations) {
            columns.push(Arc::new(Swept::append(&configuration.swept, record)?));
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|why| Error::failed("put a record together", why))?;
        let judged = self.plan.rules.judge(&batch)?;
        self.sink.write(&judged)?;
        self.written.totals.count(&judged, self.tally.as_deref_mut());
        let Self { known, written, sink, .. } = self;
        let metadata = || {
            let counts = written.counts(known.progress, known.counters, known.earlier);
            summary::metadata_meanwhile(known.about, &counts, written.totals.records)
        };
        sink.checkpoint(known.began.elapsed(), &metadata)
    }
}

/// The schema of a record before it is judged.
fn record(plan: &Plan, target_fields: &Fields) -> Schema {
    let plain = plan.record_schema(target_fields);
    let mut fields = plain.fields().to_vec();
    let own = [Field::new(POSITION, DataType::UInt64, false), flags::field()];
    // Behind the target.
    let at = fields.len().min(1);
    fields.splice(at..at, own.map(Arc::new));
    Schema::new_with_metadata(fields, plain.metadata().clone())
}

/// The schema of what a [`Writer`] writes.
pub fn schema(plan: &Plan, target_fields: &Fields) -> Schema {
    plan.rules.schema(&record(plan, target_fields))
}

/// The address to connect to, if one is known.
pub fn address(target: &Target) -> Option<SocketAddr> {
    target.addr.map(|addr| SocketAddr::new(addr, target.port))
}

/// Targets that were asked under every configuration.
struct Done {
    targets: Vec<Target>,
    prepared: Vec<Prepared>,
    attempts: Vec<Vec<Ended>>,
    /// How many are left out.
    unfinished: u64,
}

/// Leaves out targets that a stop came before.
fn finished(targets: Vec<Target>, prepared: Vec<Prepared>, attempts: Attempts) -> Done {
    let done: Vec<bool> = (0..targets.len())
        .map(|row| attempts.iter().all(|attempts| attempts[row].is_some()))
        .collect();
    let unfinished = done.iter().filter(|done| !**done).count() as u64;
    let keep = |rows: Vec<Option<Ended>>| {
        rows.into_iter()
            .zip(&done)
            .filter_map(|(attempt, done)| attempt.filter(|_| *done))
            .collect()
    };
    let attempts = attempts.into_iter().map(keep).collect();
    let targets = targets.into_iter().zip(&done).filter(|(_, done)| **done);
    let prepared = prepared.into_iter().zip(&done).filter(|(_, done)| **done);
    Done {
        targets: targets.map(|(target, _)| target).collect(),
        prepared: prepared.map(|(prepared, _)| prepared).collect(),
        attempts,
        unfinished,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_meanwhile_flags_the_records_of_that_time() {
        let before = Lost { dropped: 3, short: 1 };
        assert!(before.flags(before).is_empty(), "it was lost before");
        assert_eq!(before.flags(Lost { dropped: 4, ..before }), Flag::CaptureDropped.into());
        assert_eq!(before.flags(Lost { short: 2, ..before }), Flag::ShortPacket.into());
    }
}
