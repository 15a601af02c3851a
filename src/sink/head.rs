//! The first lines of NDJSON, from which tools infer types.
//!
//! Polars looks at the first hundred lines. A column without a value in them is of type null to it: a later value is
//! an error, and the items of a list are lost. So the lines that are the first with a value of some column come first.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Float64Type;
use arrow_array::{Array as _, ArrayRef, RecordBatch, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType};
use arrow_select::take::take_record_batch;

/// Lines from which types are inferred.
const SAMPLE: usize = 100;

/// The lines that are the first with a value of some column, by their number from 0.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// For each column, those of structs included, whether it had a value.
    has_value: Vec<bool>,
    lines: u64,
    first: BTreeMap<u64, RecordBatch>,
}

impl Head {
    /// Notes the next lines.
    pub(super) fn note(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let mut rows = Vec::new();
        let mut at = 0;
        for column in batch.columns() {
            self.visit(column, None, &mut at, &mut rows);
        }
        for row in rows {
            let line = self.lines + row as u64;
            if self.first.len() < SAMPLE && !self.first.contains_key(&line) {
                let row = UInt32Array::from_iter_values(u32::try_from(row).ok());
                self.first.insert(line, take_record_batch(batch, &row)?);
            }
        }
        self.lines += batch.num_rows() as u64;
        Ok(())
    }

    /// Looks for the first value of each column that has had none. `above` are the rows in which all structs around the
    /// column exist, and `at` is the number of the column.
    fn visit(
        &mut self,
        column: &ArrayRef,
        above: Option<&NullBuffer>,
        at: &mut usize,
        rows: &mut Vec<usize>,
    ) {
        if let DataType::Struct(_) = column.data_type() {
            let of = column.as_struct();
            let exists = NullBuffer::union(above, of.nulls());
            for member in of.columns() {
                self.visit(member, exists.as_ref(), at, rows);
            }
            return;
        }
        if self.has_value.len() <= *at {
            self.has_value.resize(*at + 1, false);
        }
        if !self.has_value[*at]
            && let Some(row) = first_value(column, above)
        {
            self.has_value[*at] = true;
            rows.push(row);
        }
        *at += 1;
    }

    /// The lines to put first, if types cannot be inferred from the first lines as they are.
    pub(super) fn to_move(&self) -> Option<&BTreeMap<u64, RecordBatch>> {
        let last = self.first.last_key_value().map(|(line, _)| *line);
        last.is_some_and(|last| last >= SAMPLE as u64).then_some(&self.first)
    }
}

/// The first row with a value that has a type in JSON.
fn first_value(column: &ArrayRef, above: Option<&NullBuffer>) -> Option<usize> {
    let nulls = NullBuffer::union(above, column.logical_nulls().as_ref());
    let mut rows = (0..column.len()).filter(|row| nulls.as_ref().is_none_or(|n| n.is_valid(*row)));
    match column.data_type() {
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            rows.find(|row| lists.value_length(*row) > 0)
        }
        DataType::Float64 => {
            let floats = column.as_primitive::<Float64Type>();
            rows.find(|row| floats.value(*row).is_finite())
        }
        _ => rows.next(),
    }
}
