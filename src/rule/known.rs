//! Distinguishes a NULL that means "there was none" from one that means "unknown".
//!
//! SQL has one NULL for both, and IS NULL, COALESCE and CASE turn it into a value. In a record the two can be
//! distinguished: a column has a known source, and the record has whether that part of the program saw anything
//! ([`Missing`]). An unknown NULL stays NULL through these operators, so a rule that depends on it ends as
//! insufficient.
//!
//! Evaluation and SQL use the same definition: an expression is unknown where it is NULL and any of its columns is
//! missing. A value that does not depend on what is missing (FALSE AND ..., the first operand of COALESCE) is a
//! value.

use arrow_array::{Array as _, ArrayRef, BooleanArray, RecordBatch, cast::AsArray as _};
use arrow_schema::{ArrowError, DataType};
use arrow_select::{filter::prep_null_mask_filter, nullif::nullif};

use super::columns::{Known, column};
use super::expr::{Column, Expr, Type};
use super::kernel::{boolean, cast};
use super::quote::{identifier, quoted};
use crate::flags::{self, Flag};

/// What must be present for a NULL to mean "there was none".
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// Configurations whose attempt must be conclusive about the target.
    sent: Vec<String>,
    /// Configurations whose flow must have been observed.
    seen: Vec<String>,
    /// Whether it requires that no packet was missed.
    whole: bool,
}

impl Expr {
    /// What can be missing for the columns in it.
    pub(super) fn missing(&self) -> Missing {
        let mut missing = Missing::default();
        self.columns().iter().for_each(|column| missing.add(column));
        missing
    }
}

impl Missing {
    fn add(&mut self, column: &Column) {
        let tables = match column.about.known {
            Known::Always => return,
            Known::Sent => &mut self.sent,
            Known::Seen | Known::Added => &mut self.seen,
        };
        if !tables.contains(&column.table) {
            tables.push(column.table.clone());
        }
        self.whole |= column.has_flags && column.about.known != Known::Sent;
    }

    /// As a condition in SQL, where NULL counts as FALSE; `None` if nothing can be missing.
    pub(super) fn sql(&self) -> Option<String> {
        let sent = self.sent.iter().map(|table| {
            let words: Vec<String> = UNSENT.map(quoted).into();
            format!("{}.state IN ({})", identifier(table), words.join(", "))
        });
        let seen = self.seen.iter().map(|t| format!("NOT {}.observed", identifier(t)));
        let whole = self.whole.then(lossy_sql);
        let all: Vec<String> = sent.chain(seen).chain(whole).collect();
        (!all.is_empty()).then(|| all.join(" OR "))
    }

    /// The records where something is missing; `None` if nothing can be.
    pub(super) fn mask(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>, ArrowError> {
        let mut masks = Vec::new();
        for table in &self.sent {
            for state in UNSENT {
                masks.push(is_state(batch, table, state)?);
            }
        }
        for table in &self.seen {
            masks.push(unobserved(batch, table)?);
        }
        masks.extend(self.whole.then(|| lossy(batch)).flatten());
        let mut masks = masks.into_iter();
        let Some(first) = masks.next() else { return Ok(None) };
        masks.try_fold(first, |all, mask| boolean::or(&all, &mask)).map(Some)
    }

    /// The reasons why a NULL of these columns is unknown, by row of a batch.
    pub(super) fn reasons(&self, batch: &RecordBatch) -> Result<Vec<Reason>, ArrowError> {
        let mut reasons = Vec::new();
        for table in self.sent.iter().chain(self.seen.iter().filter(|t| !self.sent.contains(*t))) {
            for state in UNSENT {
                let rows = is_state(batch, table, state)?;
                reasons.push(Reason { rows, why: format!("{table}: {state}") });
            }
        }
        for table in &self.seen {
            let why = format!("{table}: flow not observed");
            reasons.push(Reason { rows: unobserved(batch, table)?, why });
        }
        Ok(reasons)
    }
}

/// The rows where something is missing, and the reason.
pub(super) struct Reason {
    rows: BooleanArray,
    why: String,
}

impl Reason {
    /// The reason for a row, if it applies there.
    pub(super) fn of(&self, row: usize) -> Option<&str> {
        self.rows.value(row).then_some(&self.why)
    }
}

impl Column {
    /// Whether no value of it is certain where packets can have been missed.
    pub(super) fn is_uncertain(&self) -> bool {
        self.has_flags && self.about.known == Known::Added
    }

    /// The values as far as they are known.
    pub(super) fn sure(
        &self,
        values: ArrayRef,
        batch: &RecordBatch,
    ) -> Result<ArrayRef, ArrowError> {
        let Some(lossy) = self.is_uncertain().then(|| lossy(batch)).flatten() else {
            return Ok(values);
        };
        match values.as_boolean_opt() {
            // TRUE stays: what was seen was seen.
            Some(truth) => {
                let not_true = boolean::not(&prep(truth))?;
                nullif(&values, &boolean::and(&lossy, &not_true)?)
            }
            None => nullif(&values, &lossy),
        }
    }

    /// The same in SQL: `sql` is the expression of the values.
    pub(super) fn sure_sql(&self, sql: String, ty: Type) -> String {
        match (self.is_uncertain(), ty) {
            (false, _) => sql,
            (true, Type::Bool) => format!("({sql} OR NULLIF({}, TRUE))", lossy_sql()),
            (true, _) => format!("CASE WHEN {} THEN NULL ELSE {sql} END", lossy_sql()),
        }
    }
}

/// Records whose packets may not all have been seen.
pub(super) fn lossy(batch: &RecordBatch) -> Option<BooleanArray> {
    let flags = batch.column_by_name(flags::COLUMN)?.as_list_opt::<i32>()?;
    // Nearly always there are none.
    if flags.values().is_empty() {
        return None;
    }
    let has = |words: ArrayRef| {
        let words = words.as_string_opt::<i32>();
        words.is_some_and(|words| words.iter().flatten().any(|word| losses().any(|l| l == word)))
    };
    Some(flags.iter().map(|words| Some(words.is_some_and(has))).collect())
}

/// The flags that mark this.
fn losses() -> impl Iterator<Item = &'static str> {
    Flag::ALL.into_iter().filter(|(flag, ..)| flag.hides_packets()).map(|(_, word, _)| word)
}

fn lossy_sql() -> String {
    let words: Vec<String> = losses().map(quoted).collect();
    format!("list_has_any({}, [{}])", flags::COLUMN, words.join(", "))
}

/// The states of attempts that are inconclusive about the target.
const UNSENT: [&str; 2] = ["skipped", "local_error"];

fn is_state(batch: &RecordBatch, table: &str, word: &str) -> Result<BooleanArray, ArrowError> {
    let state = cast(&column(batch, table, "state")?, &DataType::Utf8)?;
    let is = state.as_string::<i32>().iter().map(|state| Some(state == Some(word)));
    Ok(is.collect())
}

fn unobserved(batch: &RecordBatch, table: &str) -> Result<BooleanArray, ArrowError> {
    let observed = cast(&column(batch, table, "observed")?, &DataType::Boolean)?;
    Ok(prep(&boolean::not(observed.as_boolean())?))
}

/// Replaces NULL with FALSE.
fn prep(values: &BooleanArray) -> BooleanArray {
    if values.null_count() == 0 { values.clone() } else { prep_null_mask_filter(values) }
}
