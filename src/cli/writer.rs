//! The thread behind the engine: merges each wave, judges it, writes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arrow::array::{ArrayRef, AsArray as _};
use arrow::datatypes::{Fields, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::connect::Ended;
use crate::engine::driver::{Asked, Attempts};
use crate::error::{Error, Result};
use crate::lab::Tally;
use crate::measurement::{Plan, Swept};
use crate::merge::Merger;
use crate::observer::Flows;
use crate::sink::Sink;
use crate::targets::{self, Target};

/// A wave whose attempts have ended.
pub struct Wave {
    /// Its targets.
    pub targets: Vec<Target>,
    /// What became of each, under each configuration.
    pub asked: Asked,
    /// Where its flows will come from.
    pub flows: Receiver<Flows>,
    /// The source ports of the next wave.
    pub later: Vec<RangeInclusive<u16>>,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Totals {
    /// Records, one per target that was asked under every configuration.
    pub records: u64,
    /// Targets that a stop came before.
    pub unfinished: u64,
    /// Attempts that were sent and whose flow was not seen.
    pub unobserved: u64,
    /// Flows that belonged to no attempt.
    pub strays: u64,
    /// How often each label was given.
    pub labels: BTreeMap<String, u64>,
}

/// Turns waves into records.
pub struct Writer<'a> {
    plan: &'a Plan,
    target_fields: Fields,
    schema: SchemaRef,
    merger: Merger,
    sink: &'a mut dyn Sink,
    tally: Option<&'a mut Tally>,
    totals: Totals,
}

impl<'a> Writer<'a> {
    /// A writer into `sink`, whose schema is [`Plan::record_schema`] judged.
    pub fn new(
        plan: &'a Plan,
        target_fields: Fields,
        sink: &'a mut dyn Sink,
        tally: Option<&'a mut Tally>,
    ) -> Self {
        let schema = Arc::new(plan.record_schema(&target_fields));
        let protocols = plan.configs.iter().map(|config| config.connection.protocol()).collect();
        let fields = plan.configuration_fields().into();
        let merger = Merger::new(fields, plan.reply_columns(), protocols);
        Self { plan, target_fields, schema, merger, sink, tally, totals: Totals::default() }
    }

    /// Writes every wave that comes, until no more can; says what was written even if that ended in
    /// an error.
    pub fn run(mut self, waves: &Receiver<Wave>) -> (Totals, Result<()>) {
        let end = waves.iter().try_for_each(|wave| self.wave(wave));
        self.totals.strays = self.merger.strays();
        (self.totals, end)
    }

    fn wave(&mut self, wave: Wave) -> Result<()> {
        let flows =
            wave.flows.recv().map_err(|_| Error::Failed("the capture ended early".into()))?;
        let (targets, attempts) =
            finished(wave.targets, wave.asked.attempts, &mut self.totals.unfinished);
        let addresses: Vec<SocketAddr> = targets.iter().map(address).collect();
        let merged =
            self.merger.merge(&addresses, &attempts, flows, &wave.later, &wave.asked.repeated)?;
        for (configuration, attempts) in merged.iter().zip(&attempts) {
            let Some(observed) = configuration.column_by_name("observed") else { continue };
            let sent = attempts.iter().map(|ended| ended.attempt.state.tells());
            let unobserved = observed.as_boolean().iter().zip(sent);
            self.totals.unobserved += unobserved
                .filter(|(observed, sent)| *sent && *observed == Some(false))
                .count() as u64;
        }
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(targets::columns(&self.target_fields, &targets)?)];
        for (configuration, record) in self.plan.configs.iter().zip(merged) {
            columns.push(Arc::new(Swept::append(&configuration.swept, record)?));
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|why| Error::failed("put a record together", why))?;
        let judged = self.plan.rules.judge(&batch)?;
        self.count(&targets, &judged);
        self.sink.write(&judged)?;
        self.totals.records += judged.num_rows() as u64;
        Ok(())
    }

    fn count(&mut self, targets: &[Target], judged: &RecordBatch) {
        let Some(conditions) = judged.column_by_name("conditions") else { return };
        for (target, labels) in targets.iter().zip(conditions.as_list::<i32>().iter()) {
            let labels: Vec<String> = labels
                .map(|labels| {
                    labels.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
                })
                .unwrap_or_default();
            if let Some(tally) = &mut self.tally {
                let name = target.name.as_deref().unwrap_or_default();
                if let Some(host) = tally.rows().iter().position(|row| row.name == name) {
                    tally.add(host, target.addr.is_ipv6(), &labels);
                }
            }
            for label in labels {
                *self.totals.labels.entry(label).or_default() += 1;
            }
        }
    }
}

/// The schema of what a [`Writer`] writes.
pub fn schema(plan: &Plan, target_fields: &Fields) -> Schema {
    plan.rules.schema(&plan.record_schema(target_fields))
}

/// The address to connect to.
pub fn address(target: &Target) -> SocketAddr {
    SocketAddr::new(target.addr, target.port)
}

/// Leaves out targets that a stop came before.
fn finished(
    targets: Vec<Target>,
    attempts: Attempts,
    unfinished: &mut u64,
) -> (Vec<Target>, Vec<Vec<Ended>>) {
    let done: Vec<bool> = (0..targets.len())
        .map(|row| attempts.iter().all(|attempts| attempts[row].is_some()))
        .collect();
    *unfinished += done.iter().filter(|done| !**done).count() as u64;
    let keep = |rows: Vec<Option<Ended>>| {
        rows.into_iter()
            .zip(&done)
            .filter_map(|(attempt, done)| attempt.filter(|_| *done))
            .collect()
    };
    let attempts = attempts.into_iter().map(keep).collect();
    let targets = targets.into_iter().zip(&done).filter(|(_, done)| **done);
    (targets.map(|(target, _)| target).collect(), attempts)
}
