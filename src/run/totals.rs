//! Totals of a run's records.

use std::collections::BTreeMap;

use arrow_array::{Array as _, RecordBatch, cast::AsArray as _, types::TimestampNanosecondType};

use super::controls::{CONTROL, Controls};
use super::port_outcomes::PortOutcomes;
use super::verdicts;
use crate::flags;

/// The configuration whose attempts date the probe of a target.
const STARTED_OF: &str = crate::record::CONFIGURATIONS[0];

/// Totals of records.
#[derive(Debug, Default)]
pub struct Totals {
    /// Records, one per target that was probed under every configuration.
    pub records: u64,
    /// How often each label was given, controls excluded.
    pub labels: BTreeMap<String, u64>,
    /// Totals of controls.
    pub controls: Controls,
    /// Records by class.
    pub verdicts: [u64; verdicts::CLASSES.len()],
    /// Records by flag.
    pub flagged: BTreeMap<String, u64>,
    /// Whether outcomes depend on the source ports.
    pub ports: PortOutcomes,
}

impl Totals {
    /// Counts judged records.
    pub fn count(&mut self, records: &RecordBatch) {
        self.records += records.num_rows() as u64;
        self.ports.count(records);
        verdicts::count(records, &mut self.verdicts);
        let control = records.column_by_name(CONTROL).and_then(|c| c.as_boolean_opt());
        let started = records.column_by_name(STARTED_OF).and_then(|zero| zero.as_struct_opt());
        let started = started.and_then(|zero| zero.column_by_name("started"));
        let started = started.and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
        for (row, labels) in words(records, "conditions").enumerate() {
            let is_control = control.is_some_and(|control| control.value(row));
            if let Some(at) = started.filter(|at| at.is_valid(row) && at.value(row) > 0) {
                let Controls { started, others_started, .. } = &mut self.controls;
                (if is_control { started } else { others_started }).add(at.value(row));
            }
            let counts = if is_control { &mut self.controls.labels } else { &mut self.labels };
            labels.into_iter().for_each(|label| increase(counts, label));
            self.controls.records += u64::from(is_control);
        }
        let flags = words(records, flags::COLUMN).flatten();
        flags.for_each(|flag| increase(&mut self.flagged, flag));
    }
}

/// A list of words for each record.
pub fn words(records: &RecordBatch, column: &str) -> impl Iterator<Item = Vec<String>> {
    let lists = records.column_by_name(column).and_then(|lists| lists.as_list_opt::<i32>());
    lists.into_iter().flat_map(|lists| lists.iter()).map(|words| {
        let words = words.as_ref().and_then(|words| words.as_string_opt::<i32>());
        words.into_iter().flatten().flatten().map(str::to_owned).collect()
    })
}

fn increase(counts: &mut BTreeMap<String, u64>, word: String) {
    *counts.entry(word).or_default() += 1;
}
