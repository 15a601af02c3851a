//! Records pending confirmation: the first facts of each target, and the results of its rounds.

use std::collections::HashMap;

use arrow_array::{
    Array as _, ArrayRef, BooleanArray, RecordBatch, StringArray, cast::AsArray as _,
};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;

use super::again::Group;
use crate::engine::ports::Bank;
use crate::error::{Error, Result};
use crate::flags::{self, Flags};
use crate::measurement::Plan;
use crate::rule::confirm::{self, CONFIRM, Counts};
use crate::rule::{self, Rule, Rules};
use crate::targets::Target;

/// Pending records, by the group in which their targets are re-probed.
pub struct Held<'a> {
    plan: &'a Plan,
    groups: HashMap<u64, Waiting>,
    ids: std::ops::RangeFrom<u64>,
}

/// The pending records of a group.
struct Waiting {
    /// The merged records, not judged.
    records: RecordBatch,
    flags: Vec<Flags>,
    /// By record, then by rule.
    counts: Vec<Vec<Counts>>,
    /// The source ports wanted by their rounds, and the bank of these ports.
    wanted: Vec<Vec<Option<u16>>>,
    bank: Bank,
    /// Rounds left.
    left: u16,
    is_control: bool,
}

/// Merged and judged records with their targets, row by row.
pub struct Judged {
    /// The merged records.
    pub merged: RecordBatch,
    /// The same, judged.
    pub judged: RecordBatch,
    /// The flags of each.
    pub flags: Vec<Flags>,
    /// The target of each.
    pub targets: Vec<Target>,
    /// The source ports wanted by a further round of each, by configuration.
    pub wanted: Vec<Vec<Option<u16>>>,
}

impl Judged {
    /// Splits off the first `records` records.
    pub fn split_off_first(&mut self, records: usize) -> Self {
        let rest = self.merged.num_rows() - records;
        let mut first = Self {
            merged: self.merged.slice(0, records),
            judged: self.judged.slice(0, records),
            flags: self.flags.split_off(records),
            targets: self.targets.split_off(records),
            wanted: self.wanted.split_off(records),
        };
        self.merged = self.merged.slice(records, rest);
        self.judged = self.judged.slice(records, rest);
        std::mem::swap(&mut first.flags, &mut self.flags);
        std::mem::swap(&mut first.targets, &mut self.targets);
        std::mem::swap(&mut first.wanted, &mut self.wanted);
        first
    }
}

impl<'a> Held<'a> {
    /// No pending records.
    pub fn new(plan: &'a Plan) -> Self {
        Self { plan, groups: HashMap::new(), ids: 0.. }
    }

    /// Number of pending records.
    pub fn len(&self) -> usize {
        self.groups.values().map(|waiting| waiting.flags.len()).sum()
    }

    /// Takes the records of new targets. Returns those that are final, and the group to re-probe.
    pub fn first(
        &mut self,
        records: Judged,
        is_control: bool,
        bank: Bank,
    ) -> Result<(RecordBatch, Option<Group>)> {
        let Judged { merged, judged, flags, targets, wanted } = records;
        if self.plan.confirm.rounds == 0 {
            return Ok((judged, None));
        }
        let rules = words(&self.plan.rules, &judged);
        let looks = |row: usize| {
            rules.iter().any(|words| word(words, row).is_some_and(confirm::needs_confirmation))
        };
        let again: Vec<bool> = (0..judged.num_rows()).map(looks).collect();
        if !again.contains(&true) {
            return Ok((judged, None));
        }
        let rules = rules.len();
        let kept = |keep: bool| again.iter().map(move |again| Some(*again == keep)).collect();
        let (done, waits): (BooleanArray, BooleanArray) = (kept(false), kept(true));
        let done = filter_record_batch(&judged, &done).map_err(failed)?;
        let records = filter_record_batch(&merged, &waits).map_err(failed)?;
        let pick = flags.into_iter().zip(targets.into_iter().zip(wanted)).zip(again);
        let (flags, rest): (Vec<_>, Vec<_>) =
            pick.filter(|(_, again)| *again).map(|(of, _)| of).unzip();
        let (targets, wanted): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
        let counts = vec![vec![Counts::default(); rules]; flags.len()];
        let left = self.plan.confirm.rounds;
        let id = self.ids.next().unwrap_or_default();
        let waiting =
            Waiting { records, flags, counts, wanted: wanted.clone(), bank, left, is_control };
        self.groups.insert(id, waiting);
        Ok((done, Some(Group { id, targets, wanted, bank, is_control })))
    }

    /// Takes the records of a group's round. Returns the group's first records if that was its last round, else the
    /// group to re-probe.
    pub fn round(&mut self, id: u64, round: Judged) -> Result<Round> {
        let Some(waiting) = self.groups.get_mut(&id) else {
            return Err(Error::Failed(format!("confirm: there is no group {id}")));
        };
        let rules = words(&self.plan.rules, &round.judged);
        for (row, (counts, flags)) in waiting.counts.iter_mut().zip(&mut waiting.flags).enumerate()
        {
            counts.iter_mut().zip(&rules).for_each(|(counts, words)| counts.add(word(words, row)));
            if let Some(more) = round.flags.get(row) {
                *flags |= *more;
            }
        }
        waiting.left = waiting.left.saturating_sub(1);
        if waiting.left > 0 {
            let Waiting { wanted, bank, is_control, .. } = waiting;
            let (wanted, bank, is_control) = (wanted.clone(), *bank, *is_control);
            let targets = round.targets;
            return Ok(Round::Again(Group { id, targets, wanted, bank, is_control }));
        }
        let Some(waiting) = self.groups.remove(&id) else { return Ok(Round::Done(round.judged)) };
        let records = waiting.finish().map_err(failed)?;
        self.plan.rules.judge(&records).map(Round::Done)
    }
}

/// What follows a confirmation round.
pub enum Round {
    /// The records are final.
    Done(RecordBatch),
    /// Another round follows.
    Again(Group),
}

impl Waiting {
    /// The records with the results of their rounds.
    fn finish(self) -> Result<RecordBatch, ArrowError> {
        let schema = self.records.schema();
        let mut columns = self.records.columns().to_vec();
        let mut put =
            |name: &str, column: ArrayRef| schema.index_of(name).map(|at| columns[at] = column);
        let counts: Vec<_> = self.counts.iter().map(|counts| Some(counts.as_slice())).collect();
        put(CONFIRM, confirm::column(schema.field_with_name(CONFIRM)?, &counts)?)?;
        put(flags::COLUMN, flags::column(&self.flags))?;
        RecordBatch::try_new(schema, columns)
    }
}

/// The word of each rule with confirmation rounds, in the order of the record's counts.
fn words(rules: &Rules, judged: &RecordBatch) -> Vec<StringArray> {
    let verdict = judged.column_by_name("verdict").and_then(|verdict| verdict.as_struct_opt());
    let words = |rule: &Rule| rule::words(verdict?.column_by_name(&rule.column())?).ok();
    rules.confirmed().filter_map(words).collect()
}

fn word(words: &StringArray, row: usize) -> Option<&str> {
    (row < words.len() && words.is_valid(row)).then(|| words.value(row))
}

fn failed(why: ArrowError) -> Error {
    Error::failed("hold records for confirmation rounds", why)
}
