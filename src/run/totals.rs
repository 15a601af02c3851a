//! Totals of a run's records.

use std::collections::BTreeMap;

use arrow_array::types::{Float64Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array as _, RecordBatch, StructArray, cast::AsArray as _};
use arrow_schema::DataType;

use super::controls::{CONTROL, Controls};
use super::distribution::Distribution;
use super::port_outcomes::PortOutcomes;
use super::record;
use super::verdicts;
use crate::flags;
use crate::rule::METRIC;

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
    /// The numbers of each metric by its column, controls excluded.
    pub metrics: BTreeMap<String, Distribution>,
    /// The numbers of each `value` condition by its name, controls excluded.
    pub values: BTreeMap<String, Values>,
}

/// The numbers that a `value` condition gave.
#[derive(Debug, Clone)]
pub enum Values {
    /// At most [`MOST_NUMBERS`] different ones: each is a label.
    Few(Distribution),
    /// More: they have no labels in the totals.
    Many(Distribution),
    /// Not all of them are numbers.
    Words,
}

impl Values {
    /// The distribution, if it stands for the labels.
    pub fn many(&self) -> Option<&Distribution> {
        match self {
            Self::Many(numbers) => Some(numbers),
            Self::Few(_) | Self::Words => None,
        }
    }
}

/// The most different numbers of a `value` condition that are shown as labels.
pub const MOST_NUMBERS: usize = 20;

impl Totals {
    /// Counts judged records.
    pub fn count(&mut self, records: &RecordBatch) {
        self.ports.count(records);
        verdicts::count(records, &mut self.verdicts);
        let control = records.column_by_name(CONTROL).and_then(|c| c.as_boolean_opt());
        let positions = record::positions(records);
        let metrics = records.column_by_name(METRIC).and_then(|metrics| metrics.as_struct_opt());
        let started = records.column_by_name(STARTED_OF).and_then(|zero| zero.as_struct_opt());
        let started = started.and_then(|zero| zero.column_by_name("started"));
        let started = started.and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
        for (row, labels) in words(records, "conditions").enumerate() {
            let is_control = control.is_some_and(|control| control.value(row));
            if let Some(at) = started.filter(|at| at.is_valid(row) && at.value(row) > 0) {
                let Controls { started, others_started, .. } = &mut self.controls;
                (if is_control { started } else { others_started }).add(at.value(row));
            }
            let at =
                positions.as_ref().map_or(self.records + row as u64, |positions| positions[row]);
            for label in labels {
                if self.is_label(&label, at, is_control) {
                    let of_controls = &mut self.controls.labels;
                    increase(if is_control { of_controls } else { &mut self.labels }, label);
                }
            }
            if !is_control {
                self.measure(metrics, at, row);
            }
            self.controls.records += u64::from(is_control);
        }
        self.records += records.num_rows() as u64;
        let flags = words(records, flags::COLUMN).flatten();
        flags.for_each(|flag| increase(&mut self.flagged, flag));
    }

    /// Adds the metrics of a record.
    fn measure(&mut self, metrics: Option<&StructArray>, at: u64, row: usize) {
        let Some(metrics) = metrics else { return };
        for (field, column) in metrics.fields().iter().zip(metrics.columns()) {
            let number = match column.data_type() {
                _ if column.is_null(row) => None,
                DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row) as f64),
                DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(row)),
                _ => None,
            };
            let Some(number) = number else { continue };
            match self.metrics.get_mut(field.name()) {
                Some(numbers) => numbers.add(at, number),
                None => {
                    let mut numbers = Distribution::default();
                    numbers.add(at, number);
                    self.metrics.insert(field.name().clone(), numbers);
                }
            }
        }
    }

    /// Whether a label is counted as such. Of a condition with too many different numbers, labels are not.
    fn is_label(&mut self, label: &str, at: u64, is_control: bool) -> bool {
        let Some((name, value)) = label.split_once(':') else { return true };
        let number = value.parse::<f64>();
        if number.as_ref().is_ok_and(|number| !number.is_finite()) {
            return true;
        }
        if !self.values.contains_key(name) {
            self.values.insert(name.to_owned(), Values::Few(Distribution::default()));
        }
        let Some(values) = self.values.get_mut(name) else { return true };
        match (&mut *values, number) {
            (Values::Words, _) | (Values::Many(_), Err(_)) => return true,
            (Values::Few(_), Err(_)) => {
                *values = Values::Words;
                return true;
            }
            (Values::Few(numbers) | Values::Many(numbers), Ok(number)) if !is_control => {
                numbers.add(at, number);
            }
            (_, Ok(_)) => {}
        }
        let Values::Few(numbers) = values else { return false };
        let prefix = format!("{name}:");
        let of = |labels: &BTreeMap<String, u64>| {
            let labels = labels.range(prefix.clone()..).map(|(label, _)| label);
            labels.take_while(|label| label.starts_with(&prefix)).count()
        };
        let all = [&self.labels, &self.controls.labels];
        let is_new = !all.iter().any(|labels| labels.contains_key(label));
        if !is_new || all.iter().map(|labels| of(labels)).sum::<usize>() < MOST_NUMBERS {
            return true;
        }
        *values = Values::Many(std::mem::take(numbers));
        for labels in [&mut self.labels, &mut self.controls.labels] {
            labels.retain(|label, _| !label.starts_with(&prefix));
        }
        false
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{ListBuilder, StringBuilder};
    use arrow_array::{ArrayRef, BooleanArray, Int64Array};

    use super::*;

    fn count(totals: &mut Totals, labels: impl IntoIterator<Item = String>, control: bool) {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for label in labels {
            lists.values().append_value(label);
            lists.append(true);
        }
        let lists = lists.finish();
        let from = totals.records;
        let rows = lists.len() as u64;
        let positions: Int64Array = (from + 1..=from + rows).map(|at| Some(at as i64)).collect();
        let columns: [(&str, ArrayRef); 3] = [
            ("conditions", Arc::new(lists)),
            (CONTROL, Arc::new(BooleanArray::from(vec![control; rows as usize]))),
            (record::POSITION, Arc::new(positions)),
        ];
        totals.count(&RecordBatch::try_from_iter(columns).unwrap());
    }

    #[test]
    fn many_different_numbers_are_a_distribution_and_few_are_labels() {
        let numbers = |n: u32| (0..n).map(|i| format!("rtt:{i}"));
        let mut totals = Totals::default();
        count(&mut totals, numbers(20), false);
        count(&mut totals, numbers(20), false);
        count(&mut totals, ["a.works".to_owned(), "rtt.insufficient".to_owned()], false);
        assert_eq!((totals.labels.len(), totals.labels["rtt:7"]), (22, 2));
        assert!(totals.values["rtt"].many().is_none());
        // A control adds another number, but not to the distribution.
        count(&mut totals, ["rtt:20".to_owned()], true);
        count(&mut totals, numbers(3), true);
        let labels: Vec<&str> = totals.labels.keys().map(String::as_str).collect();
        assert_eq!(labels, ["a.works", "rtt.insufficient"]);
        assert!(totals.controls.labels.is_empty());
        let quantiles = totals.values["rtt"].many().unwrap().quantiles().unwrap();
        assert_eq!((quantiles.count, quantiles.ends, quantiles.median), (40, [0.0, 19.0], 9.5));
    }

    #[test]
    fn words_stay_labels_however_many_there_are() {
        let mut totals = Totals::default();
        count(&mut totals, (0..50).map(|i| format!("server:v{i}")), false);
        count(&mut totals, (0..50).map(|i| format!("server:{i}")), false);
        assert_eq!(totals.labels.len(), 100);
    }
}
