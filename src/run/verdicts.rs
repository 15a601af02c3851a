//! Records by class, for progress displays.

use arrow_array::{Array as _, RecordBatch, cast::AsArray as _};

use super::controls::CONTROL;
use crate::rule;

/// The classes of records. A record belongs to the first class whose word ends one of its labels, else to `insufficient`
/// if a condition is insufficient, else to `ok`.
pub const CLASSES: [&str; 7] =
    ["broken", "intermittent", "not_confirmed", "transient", "offline", "insufficient", "ok"];

/// Classes that are always shown.
pub const ALWAYS: [&str; 3] = ["ok", "broken", "insufficient"];

/// Counts judged records by class, without controls, where broken means a false alarm.
pub fn count(records: &RecordBatch, counts: &mut [u64; CLASSES.len()]) {
    const OK: usize = CLASSES.len() - 1;
    let mut classes = vec![OK; records.num_rows()];
    let columns = |name: &str| {
        let columns = records.column_by_name(name).and_then(|column| column.as_struct_opt());
        columns.into_iter().flat_map(|columns| columns.columns())
    };
    for reasons in columns("insufficient") {
        for row in (0..reasons.len()).filter(|row| reasons.is_valid(*row)) {
            classes[row] = classes[row].min(OK - 1);
        }
    }
    for words in columns("verdict") {
        let Ok(words) = rule::words(words) else { continue };
        for (row, word) in words.iter().enumerate() {
            let class = word.and_then(|word| CLASSES[..OK - 1].iter().position(|c| *c == word));
            classes[row] = classes[row].min(class.unwrap_or(OK));
        }
    }
    let control = records.column_by_name(CONTROL).and_then(|control| control.as_boolean_opt());
    for (row, class) in classes.into_iter().enumerate() {
        if !control.is_some_and(|control| control.value(row)) {
            counts[class] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringArray, StructArray};
    use arrow_schema::{DataType, Field};

    use super::*;

    fn columns(of: [&[Option<&str>]; 2]) -> ArrayRef {
        let column = |(name, values): (&str, &[Option<&str>])| {
            let field = Field::new(name, DataType::Utf8, true);
            (Arc::new(field), Arc::new(StringArray::from(values.to_vec())) as ArrayRef)
        };
        let columns: Vec<_> = ["a", "b"].into_iter().zip(of).map(column).collect();
        Arc::new(StructArray::from(columns))
    }

    #[test]
    fn a_record_has_its_gravest_class() {
        let verdict = columns([
            &[Some("works"), Some("works"), Some("broken"), Some("offline"), None],
            &[Some("succeeded"), None, Some("transient"), None, Some("insufficient")],
        ]);
        let insufficient =
            columns([&[None; 5], &[None, Some("not seen"), None, Some("x"), Some("y")]]);
        let columns = [("verdict", verdict), ("insufficient", insufficient)];
        let mut counts = [0; CLASSES.len()];
        count(&RecordBatch::try_from_iter(columns).unwrap(), &mut counts);
        let mut by_name = CLASSES.into_iter().zip(counts).filter(|(_, count)| *count > 0);
        assert_eq!(by_name.next(), Some(("broken", 1)));
        assert_eq!(by_name.next(), Some(("offline", 1)));
        assert_eq!(by_name.next(), Some(("insufficient", 2)));
        assert_eq!(by_name.next(), Some(("ok", 1)));
    }
}
