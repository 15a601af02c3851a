//! Compares records with the lab's known truth.

use arrow_array::{Array as _, RecordBatch, cast::AsArray as _};

use crate::lab::Tally;
use crate::run::controls::CONTROL;
use crate::run::totals::words;

/// Counts judged records by host.
pub fn count(tally: &mut Tally, records: &RecordBatch) {
    let target = records.column_by_name("target").and_then(|target| target.as_struct_opt());
    let text = |name: &str, row: usize| {
        let column = target?.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let control = records.column_by_name(CONTROL).and_then(|c| c.as_boolean_opt());
    for (row, labels) in words(records, "conditions").enumerate() {
        let name = text("name", row).unwrap_or_default();
        let Some(host) = tally.rows().iter().position(|row| row.name == name) else { continue };
        let is_v6 = text("ip", row).is_some_and(|ip| ip.contains(':'));
        match control.is_some_and(|control| control.value(row)) {
            true => tally.leave_out(host, is_v6),
            false => tally.add(host, is_v6, &labels),
        }
    }
}
