//! Columns of truth values.

use arrow_array::BooleanArray;
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};

/// The column of truth values that some rows may not have: values and nulls in one pass over the rows.
pub(super) fn truths<R>(rows: &[R], truth: impl Fn(&R) -> Option<bool>) -> BooleanArray {
    let words = || Vec::with_capacity(rows.len().div_ceil(64));
    let (mut values, mut known) = (words(), words());
    for rows in rows.chunks(64) {
        let (mut is_true, mut is_known) = (0u64, 0u64);
        for (bit, row) in rows.iter().enumerate() {
            let truth = truth(row);
            is_true |= u64::from(truth == Some(true)) << bit;
            is_known |= u64::from(truth.is_some()) << bit;
        }
        // The first row's bit is the lowest of the first byte.
        values.push(is_true.to_le());
        known.push(is_known.to_le());
    }
    let buffer = |words: Vec<u64>| BooleanBuffer::new(Buffer::from_vec(words), 0, rows.len());
    let nulls = Some(NullBuffer::new(buffer(known))).filter(|nulls| nulls.null_count() > 0);
    BooleanArray::new(buffer(values), nulls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array as _;

    #[test]
    fn rows_of_every_word_are_in_the_column() {
        for (rows, kinds) in [(0, 3), (63, 3), (64, 2), (65, 3), (200, 3), (200, 2)] {
            let truth = |row: usize| [Some(true), Some(false), None][row % 5 % kinds];
            let all: Vec<_> = (0..rows).map(truth).collect();
            let column = truths(&all, |truth| *truth);
            assert_eq!(column, BooleanArray::from(all), "{rows}");
            assert_eq!(column.nulls().is_some(), kinds == 3 && rows > 0, "{rows}");
        }
    }
}
