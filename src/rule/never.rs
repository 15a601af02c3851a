//! Detects expressions that no record can make true: a condition with one is a mistake.

use std::sync::Arc;

use arrow_array::{Array as _, RecordBatch, RecordBatchOptions};
use arrow_schema::Schema;

use super::expr::{Expr, Node};

impl Expr {
    /// Whether its value is the same in every record, and not true. Finds only expressions whose columns do not
    /// matter.
    pub(super) fn is_never_true(&self) -> bool {
        match &self.node {
            Node::And(a, b) => a.is_never_true() || b.is_never_true(),
            Node::Or(a, b) => a.is_never_true() && b.is_never_true(),
            _ => self.constant().is_some_and(|value| value != Some(true)),
        }
    }

    /// The value of an expression without columns; the inner `None` is NULL.
    fn constant(&self) -> Option<Option<bool>> {
        if !self.columns().is_empty() {
            return None;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let nothing = Arc::new(Schema::empty());
        let row = RecordBatch::try_new_with_options(nothing, Vec::new(), &options).ok()?;
        let truth = self.truth(&row).ok()?;
        Some(truth.is_valid(0).then(|| truth.value(0)))
    }
}
