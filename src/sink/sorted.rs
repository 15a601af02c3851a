//! Rows of a row group, sorted by position before they are written.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, Schema};
use arrow_select::{concat::concat_batches, take::take};

use super::names::SORTED_BY;
use super::plain::plain_records;

/// Rows that wait until a row group is full.
#[derive(Debug, Default)]
pub(super) struct Unsorted {
    batches: Vec<RecordBatch>,
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// Whether rows with these columns can be sorted.
pub(super) fn can_sort(schema: &Schema) -> bool {
    schema.field_with_name(SORTED_BY).is_ok_and(|field| field.data_type().is_integer())
}

impl Unsorted {
    /// Adds rows.
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let batch = plain_records(batch)?;
        self.rows += batch.num_rows();
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
        Ok(())
    }

    /// Takes all rows, sorted; `None` if there are none.
    pub(super) fn take(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let batches = std::mem::take(self).batches;
        let Some(first) = batches.first() else { return Ok(None) };
        let all = concat_batches(&first.schema(), &batches)?;
        drop(batches);
        let Some(keys) = all.column_by_name(SORTED_BY).and_then(keys) else { return Ok(Some(all)) };
        if keys.is_sorted() {
            return Ok(Some(all));
        }
        let mut order: Vec<u32> = (0..).take(keys.len()).collect();
        order.sort_by_key(|row| keys[*row as usize]);
        let order = UInt32Array::from(order);
        let columns = all.columns().iter().map(|column| take(column, &order, None));
        Ok(Some(RecordBatch::try_new(all.schema(), columns.collect::<Result<_, _>>()?)?))
    }
}

/// The values of a column of integers.
fn keys(column: &ArrayRef) -> Option<Vec<i64>> {
    match column.as_primitive_opt::<Int64Type>() {
        Some(signed) => Some(signed.values().to_vec()),
        // Positions of earlier versions, which are far below 2^63.
        None => {
            let unsigned = column.as_primitive_opt::<UInt64Type>()?;
            Some(unsigned.values().iter().map(|at| at.cast_signed()).collect())
        }
    }
}
