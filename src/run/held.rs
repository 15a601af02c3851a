//! Records that are not final: those pending confirmation, with the first facts of each target and the results of its
//! rounds, and those whose first facts are worthless because this host was too busy.

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

/// How often the first probe of a target is repeated because this host was too busy to time an answer. Only this
/// host's load is to blame, so it is likely to succeed later.
const REPEATS: u8 = 2;

/// Pending records, by the group in which their targets are re-probed.
pub struct Held<'a> {
    plan: &'a Plan,
    groups: HashMap<u64, Waiting>,
    /// Groups whose first probe is repeated; nothing is kept of it.
    anew: HashMap<u64, Anew>,
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

/// A group whose first probe is repeated.
struct Anew {
    targets: usize,
    is_control: bool,
    bank: Bank,
    /// How often it has been repeated with this time.
    repeats: u8,
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
    /// Attempts of each that this host was too busy to time.
    pub starved: Vec<u64>,
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
            starved: self.starved.split_off(records),
        };
        self.merged = self.merged.slice(records, rest);
        self.judged = self.judged.slice(records, rest);
        std::mem::swap(&mut first.flags, &mut self.flags);
        std::mem::swap(&mut first.targets, &mut self.targets);
        std::mem::swap(&mut first.wanted, &mut self.wanted);
        std::mem::swap(&mut first.starved, &mut self.starved);
        first
    }

    /// Divides the records into those that `is_chosen` and the rest.
    fn divide(self, is_chosen: &[bool]) -> Result<(Self, Self)> {
        let Self { merged, judged, flags, targets, wanted, starved } = self;
        let rows = |chosen: bool| -> BooleanArray {
            is_chosen.iter().map(|is| Some(*is == chosen)).collect()
        };
        let batch =
            |batch: &RecordBatch, chosen| filter_record_batch(batch, &rows(chosen)).map_err(failed);
        let (flags, targets) = (split(flags, is_chosen), split(targets, is_chosen));
        let (wanted, starved) = (split(wanted, is_chosen), split(starved, is_chosen));
        let chosen = Self {
            merged: batch(&merged, true)?,
            judged: batch(&judged, true)?,
            flags: flags.0,
            targets: targets.0,
            wanted: wanted.0,
            starved: starved.0,
        };
        let rest = Self {
            merged: batch(&merged, false)?,
            judged: batch(&judged, false)?,
            flags: flags.1,
            targets: targets.1,
            wanted: wanted.1,
            starved: starved.1,
        };
        Ok((chosen, rest))
    }
}

/// Divides values into those that `is_chosen` and the rest.
fn split<T>(values: Vec<T>, is_chosen: &[bool]) -> (Vec<T>, Vec<T>) {
    let (mut chosen, mut rest) = (Vec::new(), Vec::new());
    for (value, is_chosen) in values.into_iter().zip(is_chosen) {
        if *is_chosen { &mut chosen } else { &mut rest }.push(value);
    }
    (chosen, rest)
}

impl<'a> Held<'a> {
    /// No pending records.
    pub fn new(plan: &'a Plan) -> Self {
        Self { plan, groups: HashMap::new(), anew: HashMap::new(), ids: 0.. }
    }

    /// Number of pending records.
    pub fn len(&self) -> usize {
        let anew = self.anew.values().map(|anew| anew.targets);
        self.groups.values().map(|waiting| waiting.flags.len()).chain(anew).sum()
    }

    /// The identifier of the next group.
    pub fn next_id(&mut self) -> u64 {
        self.ids.next().unwrap_or_default()
    }

    /// Takes the records of new targets.
    pub fn first(&mut self, records: Judged, is_control: bool, bank: Bank) -> Result<Next> {
        self.look(records, Anew { targets: 0, is_control, bank, repeats: 0 })
    }

    /// Takes the first records of targets; `look` says of which probe.
    fn look(&mut self, records: Judged, look: Anew) -> Result<Next> {
        let Anew { is_control, bank, repeats, .. } = look;
        let mut next = Next::default();
        let is_starved: Vec<bool> = records.starved.iter().map(|attempts| *attempts > 0).collect();
        if repeats == REPEATS || !is_starved.contains(&true) {
            return self.confirm(records, is_control, bank, next);
        }
        let (starved, rest) = records.divide(&is_starved)?;
        next.starved = starved.starved.iter().sum();
        let id = self.ids.next().unwrap_or_default();
        let Judged { targets, wanted, .. } = starved;
        let anew = Anew { targets: targets.len(), repeats: repeats + 1, ..look };
        self.anew.insert(id, anew);
        next.again.push(Group { id, targets, wanted, bank, is_control, traces: Vec::new() });
        self.confirm(rest, is_control, bank, next)
    }

    /// Holds the records that need confirmation; the others are final.
    fn confirm(
        &mut self,
        records: Judged,
        is_control: bool,
        bank: Bank,
        mut next: Next,
    ) -> Result<Next> {
        let rules = words(&self.plan.rules, &records.judged);
        let looks = |row: usize| {
            rules.iter().any(|words| word(words, row).is_some_and(confirm::needs_confirmation))
        };
        let again: Vec<bool> = (0..records.judged.num_rows()).map(looks).collect();
        if self.plan.confirm.rounds == 0 || !again.contains(&true) {
            next.done = Some(records.judged);
            return Ok(next);
        }
        let counts = vec![Counts::default(); rules.len()];
        let (waits, done) = records.divide(&again)?;
        next.done = Some(done.judged);
        let Judged { merged: records, flags, targets, wanted, .. } = waits;
        let counts = vec![counts; flags.len()];
        let left = self.plan.confirm.rounds;
        let id = self.ids.next().unwrap_or_default();
        let waiting =
            Waiting { records, flags, counts, wanted: wanted.clone(), bank, left, is_control };
        self.groups.insert(id, waiting);
        next.again.push(Group { id, targets, wanted, bank, is_control, traces: Vec::new() });
        Ok(next)
    }

    /// Takes the records of a group that was re-probed.
    pub fn round(&mut self, id: u64, round: Judged) -> Result<Next> {
        if let Some(anew) = self.anew.remove(&id) {
            return self.look(round, anew);
        }
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
            let group = Group { id, targets, wanted, bank, is_control, traces: Vec::new() };
            return Ok(Next { again: vec![group], ..Next::default() });
        }
        let Some(waiting) = self.groups.remove(&id) else {
            return Ok(Next { done: Some(round.judged), ..Next::default() });
        };
        let records = waiting.finish().map_err(failed)?;
        Ok(Next { done: Some(self.plan.rules.judge(&records)?), ..Next::default() })
    }
}

/// What follows from records.
#[derive(Debug, Default)]
pub struct Next {
    /// The records that are final.
    pub done: Option<RecordBatch>,
    /// The groups to re-probe.
    pub again: Vec<Group>,
    /// Attempts that this host was too busy to time and that are repeated.
    pub starved: u64,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;
    use arrow_schema::Fields;

    use super::*;
    use crate::run::record;

    const MEASUREMENT: &str = r#"
name = "x"
[connect]
kind = "tcp"
[confirm]
rounds = 2
[config.zero]
[config.one]
steps = [{ sysctl = { "net.ipv4.tcp_ecn" = 1 } }]
[observer]
use = ["basic"]
[[conditions]]
name = "x.works"
compare = "ok"
"#;

    /// Records of targets at these positions, whose attempts all worked; `starved` of each could not be timed.
    fn judged(plan: &Plan, starved: &[(i64, u64)]) -> Judged {
        let schema = Arc::new(record::record(plan, &Fields::empty()));
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                record::POSITION => {
                    Arc::new(Int64Array::from_iter_values(starved.iter().map(|(at, _)| *at)))
                }
                _ => arrow_array::new_null_array(field.data_type(), starved.len()),
            }
        });
        let nullable =
            schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(arrow_schema::Schema::new(nullable.collect::<Vec<_>>()));
        let merged = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
        Judged {
            judged: plan.rules.judge(&merged).unwrap(),
            merged,
            flags: vec![Flags::default(); starved.len()],
            targets: starved
                .iter()
                .map(|(at, _)| Target {
                    position: *at as u64,
                    ..Target::new([192, 0, 2, 1].into(), 80, None)
                })
                .collect(),
            wanted: vec![vec![None]; starved.len()],
            starved: starved.iter().map(|(_, starved)| *starved).collect(),
        }
    }

    fn positions(next: &Next) -> (Vec<u64>, Vec<u64>) {
        let done = next.done.as_ref().and_then(record::positions);
        let again = next.again.iter().flat_map(|group| &group.targets);
        (done.unwrap_or_default(), again.map(|target| target.position).collect())
    }

    #[test]
    fn the_probe_of_a_target_that_this_host_could_not_time_is_repeated_twice() {
        let plan = Plan::load("x", MEASUREMENT, &Fields::empty());
        let plan = plan.unwrap_or_else(|report| panic!("{report}"));
        let mut held = Held::new(&plan);
        let first = held.first(judged(&plan, &[(1, 0), (2, 1), (3, 2)]), false, Bank::First);
        let first = first.unwrap();
        assert_eq!((positions(&first), first.starved), ((vec![1], vec![2, 3]), 3));
        assert_eq!(held.len(), 2, "a stop here leaves them unfinished");

        let second = held.round(first.again[0].id, judged(&plan, &[(2, 0), (3, 1)])).unwrap();
        assert_eq!((positions(&second), second.starved), ((vec![2], vec![3]), 1));

        let third = held.round(second.again[0].id, judged(&plan, &[(3, 1)])).unwrap();
        assert_eq!((positions(&third), third.starved), ((vec![3], vec![]), 0));
        assert_eq!(held.len(), 0);
    }
}
