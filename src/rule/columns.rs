//! The columns of records: what is known of each, and how to get one from a batch.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, cast::AsArray as _};
use arrow_schema::ArrowError;
use arrow_select::nullif::nullif;

use super::kernel::boolean;

/// When a column's value is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// In every record: columns of the target, swept values, and what the engine itself knows.
    Always,
    /// If something was sent, and this host did not fail: whether it worked, and what the target replied.
    Sent,
    /// If the flow was observed; a NULL also requires that no packet can have been missed.
    Seen,
    /// Like `Seen`, but it counts packets or reports whether there was any, so FALSE and every number are also
    /// unknown if a packet can have been missed.
    Added,
}

/// What is known of a configuration's column besides its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// When its value is known.
    pub known: Known,
    /// Whether NULL also means "there was none".
    pub optional: bool,
    /// The smallest and largest possible value, if the range is narrower than the type.
    pub bounds: Option<(i64, i64)>,
    /// Whether it is a number of nanoseconds.
    pub nanoseconds: bool,
}

impl About {
    /// For a column that is known in every record.
    pub const ALWAYS: Self =
        Self { known: Known::Always, optional: true, bounds: None, nanoseconds: false };
}

/// Information about the columns that a record may have.
pub trait Columns {
    /// For a column that the record lacks: what to add to get it, if anything can.
    fn elsewhere(&self, column: &str) -> Option<String>;
    /// Information about a configuration's column.
    fn about(&self, column: &str) -> About;
    /// Whether expressions can refer to columns that are in no struct.
    fn has_bare(&self) -> bool {
        false
    }
}

/// A column of a batch as stored, NULL where its struct is. Without a table it is one of the record.
pub(super) fn column(batch: &RecordBatch, table: &str, name: &str) -> Result<ArrayRef, ArrowError> {
    if table.is_empty() {
        let missing = || ArrowError::SchemaError(format!("the records have no column {name}"));
        return batch.column_by_name(name).cloned().ok_or_else(missing);
    }
    let missing = || ArrowError::SchemaError(format!("the records have no column {table}.{name}"));
    let records =
        batch.column_by_name(table).and_then(|c| c.as_struct_opt()).ok_or_else(missing)?;
    let values = records.column_by_name(name).ok_or_else(missing)?;
    match records.null_count() {
        0 => Ok(Arc::clone(values)),
        _ => nullif(values, &boolean::is_null(records)?),
    }
}
