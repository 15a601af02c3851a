//! The thread after the engine: merges each wave, judges it, writes it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StructArray};
use arrow_schema::{Fields, SchemaRef};

use super::again::Group;
use super::counts::Counts;
use super::events::Events;
use super::evidence::Evidence;
use super::held::{Held, Judged, Next};
use super::live::Live;
use super::locating::{self, Locating};
use super::networks::Networks;
use super::totals::Totals;
use super::wave::{Lost, Records, Sent, Wave};
use super::{about, record};
use crate::barrier::panic_point;
use crate::connect::{Ended, Prepared, State};
use crate::engine::driver::Progress;
use crate::engine::ports::{self, Bank};
use crate::error::{Error, Result};
use crate::field::{FieldDef, Row as _};
use crate::flags::{self, Flag, Flags as RecordFlags};
use crate::locate::Located;
use crate::measurement::{Plan, Swept};
use crate::merge::{Correction, Merged, Merger, Way};
use crate::observer::capture::Counters;
use crate::rule::confirm::{self, CONFIRM};
use crate::sink::{Metadata, Sink};
use crate::targets;

/// The result of writing.
#[derive(Debug, Default)]
pub struct Written {
    /// Totals of the records, earlier ones included.
    pub totals: Totals,
    /// Targets that a stop left unfinished.
    pub unfinished: u64,
    /// Attempts sent whose flow was not observed.
    pub unobserved: u64,
    /// The target of the first of them.
    pub unobserved_to: Option<IpAddr>,
    /// Flows that belonged to no attempt.
    pub strays: u64,
    /// Attempts whose state was corrected by their packets.
    pub corrected: HashMap<(State, Correction), u64>,
    /// Attempts that this host was too busy to time and that were repeated.
    pub repeated: u64,
    /// Flows ended by a panic of the observer.
    pub broken_flows: u64,
    /// As [`Counts::evidence`].
    pub evidence: [u64; 4],
}

impl Written {
    /// The counts of the writer, added to those of engine and capture, and to earlier ones.
    pub fn counts(&self, progress: &Progress, counters: &Counters, earlier: &Counts) -> Counts {
        let mut counts = Counts {
            unobserved: self.unobserved,
            strays: self.strays,
            ..Counts::now(progress, counters)
        };
        for ((state, correction), attempts) in &self.corrected {
            counts.correct(*state, *correction, *attempts);
        }
        // Nothing is lost by an attempt that was repeated.
        counts.starved = counts.starved.saturating_sub(self.repeated);
        counts.internal[1] = self.broken_flows;
        counts.evidence = self.evidence;
        counts += earlier;
        counts
    }
}

/// What the metadata of a part need besides its records.
pub struct Known<'a> {
    /// The metadata known at the start.
    pub about: &'a Metadata,
    /// The engine's counts.
    pub progress: &'a Progress,
    /// The capture's counts.
    pub counters: &'a Counters,
    /// The counts of earlier sessions.
    pub earlier: &'a Counts,
    /// When this session began.
    pub began: Instant,
    /// Published counters.
    pub live: &'a Live,
}

/// Turns waves into records.
pub struct Writer<'a> {
    plan: &'a Plan,
    networks: &'a Networks,
    /// The columns of the list.
    list: Fields,
    schema: SchemaRef,
    merger: Merger,
    sink: &'a mut dyn Sink,
    events: &'a dyn Events,
    known: Known<'a>,
    held: Held<'a>,
    locating: Locating,
    evidence: Option<Evidence>,
    /// For each wave, the groups to re-probe.
    answers: Sender<Vec<Group>>,
    written: Written,
}

impl<'a> Writer<'a> {
    /// A writer into `sink`, whose schema is [`record::schema`]; a target has the columns of the list, and in all
    /// `target_fields`; `totals` are those of earlier records.
    pub fn new(
        (plan, networks): (&'a Plan, &'a Networks),
        (list, target_fields): (Fields, Fields),
        sink: &'a mut dyn Sink,
        events: &'a dyn Events,
        known: Known<'a>,
        totals: Totals,
        answers: Sender<Vec<Group>>,
    ) -> Self {
        let schema = Arc::new(record::record(plan, &target_fields));
        let ways = plan.configs.iter().map(|config| {
            let connection = &config.connection;
            Way::new(connection.kind, connection.protocol(), connection.timeout)
        });
        let fields = plan.configuration_fields().into();
        let merger =
            Merger::new(fields, plan.reply_columns(), ways.collect(), totals.ports.middle());
        let written = Written { totals, ..Written::default() };
        known.live.tell(&written.totals);
        let held = Held::new(plan);
        Self {
            plan,
            networks,
            list,
            schema,
            merger,
            sink,
            events,
            known,
            held,
            locating: Locating::default(),
            evidence: None,
            answers,
            written,
        }
    }

    /// Keeps the packets of targets with certain labels.
    pub fn keep(self, evidence: Option<Evidence>) -> Self {
        Self { evidence, ..self }
    }

    /// Writes every wave that comes, until no more can; says what was written even if that ended in
    /// an error.
    pub fn run(mut self, waves: &Receiver<Sent>) -> (Written, Result<()>) {
        let end = waves.iter().try_for_each(|wave| self.wave(wave));
        self.written.strays = self.merger.strays();
        // Records pending a round that did not happen are dropped: a resumed run probes their targets anew.
        self.written.unfinished += (self.held.len() + self.locating.len()) as u64;
        (self.written, end)
    }

    fn wave(&mut self, sent: Sent) -> Result<()> {
        let Sent { mut wave, flows, lost, ports, repeated, flags: mut of_all } = sent;
        let mut flows =
            flows.recv().map_err(|_| Error::Failed("the capture ended early".into()))?;
        panic_point("writer");
        self.written.broken_flows += flows.broken() as u64;
        if !wave.traces.is_empty() {
            return self.located(wave);
        }
        self.locating.take_firsts(&mut flows);
        of_all |= lost.flags(Lost::now(self.known.counters));
        let Records { targets, prepared, mut attempts } =
            wave.take_records(self.plan.configs.len());
        self.merger.control(wave.is_control);
        let packets = std::mem::take(&mut flows.packets);
        let addresses: Vec<Option<SocketAddr>> = targets.iter().map(record::address).collect();
        let Merged { configurations, mut flags, corrected, unseen } = self.merger.merge(
            &addresses,
            &mut attempts,
            flows,
            &ports,
            &repeated,
            wave.repeated(),
        )?;
        self.written.unobserved += unseen.len() as u64;
        let first = unseen.first().and_then(|row| addresses.get(*row).copied().flatten());
        let known = &mut self.written.unobserved_to;
        *known = known.or(first.map(|address| address.ip()));
        for correction in corrected {
            *self.written.corrected.entry(correction).or_default() += 1;
        }
        // A wave that is repeated has nothing to write, and no answer.
        if wave.fates.is_empty() {
            return Ok(());
        }
        if self.plan.locate.is_some() {
            self.locating.hold(&targets, &attempts, &ports);
        }
        if let Some(evidence) = &mut self.evidence {
            evidence.hold(&targets, &attempts, packets, wave.repeated());
        }
        flags.iter_mut().for_each(|flags| *flags |= of_all);
        flag_internal_errors(&attempts, &mut flags);
        // No list has 2^63 lines.
        let at = |target: &targets::Target| i64::try_from(target.position).unwrap_or(i64::MAX);
        let positions = Int64Array::from_iter_values(targets.iter().map(at));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.networks.columns(&self.list, &targets)?),
            Arc::new(positions),
            flags::column(&flags),
            Arc::new(BooleanArray::from(vec![wave.is_control; targets.len()])),
        ];
        let failed = |why| Error::failed("assemble a record", why);
        if self.plan.prepare.is_something() {
            let fields = Prepared::FIELDS.iter().map(FieldDef::arrow).collect();
            let found = StructArray::try_new(fields, Prepared::collect(&prepared), None);
            columns.push(Arc::new(found.map_err(failed)?));
        }
        for (configuration, record) in self.plan.configs.iter().zip(configurations) {
            columns.push(Arc::new(Swept::append(&configuration.swept, record)?));
        }
        if let Ok(confirm) = self.schema.field_with_name(CONFIRM) {
            columns.push(confirm::column(confirm, &vec![None; targets.len()]).map_err(failed)?);
        }
        if self.plan.locate.is_some() {
            let nothing = vec![Located::default(); targets.len()];
            columns.push(locating::column(&self.schema, &nothing).map_err(failed)?);
        }
        let merged = RecordBatch::try_new(self.schema.clone(), columns).map_err(failed)?;
        let judged = self.plan.rules.judge(&merged)?;
        let wanted = (0..targets.len()).map(|row| {
            let first = attempts.iter().map(|attempts| &attempts[row].attempt);
            ports::exchanged(&first.map(|a| (a.source_port, a.state)).collect::<Vec<_>>())
        });
        let starved = (0..targets.len()).map(|row| starved(&attempts, row));
        let (wanted, starved) = (wanted.collect(), starved.collect());
        let all = Judged { merged, judged, flags, wanted, targets, starved };
        let answer = self.conclude(all, &wave)?;
        self.answer(answer)
    }

    /// Hands the feed what follows from a wave, and closes a part if it is time.
    fn answer(&mut self, answer: Vec<Group>) -> Result<()> {
        // The feed may have ended; then nothing is re-probed.
        let _ = self.answers.send(answer);
        if let Some(evidence) = &mut self.evidence {
            // A part's evidence is on disk before the part.
            evidence.sync()?;
            self.written.evidence = evidence.counts();
        }
        let Self { known, written, sink, .. } = self;
        known.live.tell(&written.totals);
        let metadata = || {
            let counts = written.counts(known.progress, known.counters, known.earlier);
            about::metadata_meanwhile(known.about, &counts, written.totals.records)
        };
        sink.checkpoint(known.began.elapsed(), &metadata)
    }
}

impl Writer<'_> {
    /// Writes the records of a wave that are final; returns the groups that need a confirmation round. The first
    /// targets of the wave are those of groups in a round.
    fn conclude(&mut self, mut all: Judged, wave: &Wave) -> Result<Vec<Group>> {
        let mut answer = Vec::new();
        let mut row = 0;
        for (id, targets) in &wave.again {
            let records = wave.ended(row..row + targets);
            row += targets;
            let round = all.split_off_first(records);
            if records < *targets {
                // The run ended during the round, so it does not count, and no other follows.
                continue;
            }
            let next = self.held.round(*id, round)?;
            self.follow(next, wave.bank, &mut answer)?;
        }
        self.written.unfinished += wave.stopped() as u64;
        let next = self.held.first(all, wave.is_control, wave.bank)?;
        self.follow(next, wave.bank, &mut answer)?;
        Ok(answer)
    }

    fn follow(&mut self, next: Next, bank: Bank, answer: &mut Vec<Group>) -> Result<()> {
        answer.extend(next.again);
        self.written.repeated += next.starved;
        let Some(records) = next.done else { return Ok(()) };
        if self.plan.locate.is_none() {
            return self.write(&records);
        }
        // Records with a label whose place is searched for wait for that.
        let id = self.held.next_id();
        let (others, traces) = self.locating.take(self.plan, id, records)?;
        let (targets, traces): (Vec<_>, Vec<_>) = traces.into_iter().unzip();
        if !traces.is_empty() {
            let (wanted, bank, is_control) = (vec![Vec::new(); targets.len()], bank.other(), false);
            answer.push(Group { id, targets, wanted, bank, is_control, traces });
        }
        self.write(&others)
    }

    /// Writes the records of a wave of searches.
    fn located(&mut self, wave: Wave) -> Result<()> {
        let mut found = wave.located.into_iter();
        for (id, targets) in wave.again {
            let located: Vec<_> = found.by_ref().take(targets).collect();
            let stopped = located.iter().filter(|one| one.is_none()).count();
            self.written.unfinished += stopped as u64;
            let records = self.locating.finish(self.plan, &self.schema, id, located)?;
            self.write(&records)?;
        }
        self.answer(Vec::new())
    }

    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        if records.num_rows() == 0 {
            return Ok(());
        }
        match &mut self.evidence {
            Some(evidence) => self.sink.write(&evidence.attach(records)?)?,
            None => self.sink.write(records)?,
        }
        self.events.records(records);
        self.written.totals.count(records);
        Ok(())
    }
}

/// How many attempts of a target this host was too busy to time.
fn starved(attempts: &[Vec<Ended>], row: usize) -> u64 {
    let is_starved = |ended: &&Ended| ended.attempt.error.as_deref() == Correction::Starved.error();
    attempts.iter().filter_map(|attempts| attempts.get(row)).filter(is_starved).count() as u64
}

/// Flags the records of targets with an attempt that a panic ended.
fn flag_internal_errors(attempts: &[Vec<Ended>], records: &mut [RecordFlags]) {
    for attempts in attempts {
        for (Ended { attempt, .. }, flags) in attempts.iter().zip(&mut *records) {
            if attempt.is_internal_error() {
                *flags |= Flag::InternalError.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::barrier::INTERNAL_ERROR;
    use crate::connect::Attempt;

    #[test]
    fn a_record_of_an_attempt_that_a_panic_ended_is_flagged() {
        let attempt = |error: &'static str| {
            let attempt = Attempt { error: Some(error.into()), ..Attempt::default() };
            Ended { attempt, ..Ended::default() }
        };
        let mut flags = [RecordFlags::default(); 2];
        let attempts = [
            vec![attempt("Connection refused"), attempt("Connection refused")],
            vec![attempt("Connection refused"), attempt(INTERNAL_ERROR)],
        ];
        flag_internal_errors(&attempts, &mut flags);
        assert_eq!(flags, [RecordFlags::default(), Flag::InternalError.into()]);
    }
}
