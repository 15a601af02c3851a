//! The `compare` rule: a baseline and an experiment.
//!
//! By the column `ok`, an attempt has one of three ranks: complete (`ok`, and no other answer), answered (with a word
//! in `answer`, [`connect::answer`](crate::connect::answer)) or silent. Equal rank and equal answer is `works`; a
//! lower experiment, or one with another answer, is `broken`; a higher experiment is `transient`; both silent is
//! `offline`. So a host that refuses the request in the same way under both configurations is not offline, and an
//! answer that a middlebox injects under one of them shows.
//!
//! Any other boolean column is true or false, which correspond to complete and silent.
//!
//! [`word`] and [`Side::sql`] must agree.

use arrow_array::{Array as _, RecordBatch, StringArray, cast::AsArray as _};
use arrow_schema::{ArrowError, DataType, Schema};

use super::Rule;
use super::expr::{Expr, Type};
use super::kernel::cast;

/// The column with ranks.
const RANKED: &str = "ok";
/// The column with the word of the answer.
const ANSWER: &str = "answer";

/// One of the two compared configurations.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// The boolean column.
    pub(super) truth: Expr,
    /// The answer, if the column has ranks and the records have answers.
    answer: Option<Expr>,
}

/// The outcome of an attempt, ordered by rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// No answer.
    Silent,
    /// An answer other than the requested one.
    Answered,
    /// Every request got the requested answer.
    Complete,
}

impl Rank {
    pub(super) fn of(truth: bool, answer: Option<&str>) -> Self {
        match (truth, answer) {
            (_, Some(_)) => Rank::Answered,
            (true, None) => Rank::Complete,
            (false, None) => Rank::Silent,
        }
    }
}

/// The index, in [`COMPARED`](super::COMPARED), of the word for the baseline's and the experiment's column and
/// answer.
pub(super) fn word(zero: (bool, Option<&str>), one: (bool, Option<&str>)) -> usize {
    const WORKS: usize = 0;
    const BROKEN: usize = 1;
    const TRANSIENT: usize = 2;
    const OFFLINE: usize = 3;
    match (Rank::of(zero.0, zero.1), Rank::of(one.0, one.1)) {
        (Rank::Silent, Rank::Silent) => OFFLINE,
        (zero, one) if zero < one => TRANSIENT,
        (zero_rank, one_rank) if zero_rank == one_rank && zero.1 == one.1 => WORKS,
        _ => BROKEN,
    }
}

impl Side {
    /// The side with this column, and the answer if the column has ranks and the records have answers.
    pub(super) fn new(truth: Expr, answer: Option<Expr>) -> Self {
        Self { truth, answer }
    }

    /// The answer column that belongs to a column, in records of a schema.
    pub(super) fn answer_of(truth: &Expr, schema: &Schema) -> Option<String> {
        let columns = truth.columns();
        let [column] = columns.as_slice() else { return None };
        let table = schema.field_with_name(&column.table).ok()?;
        let DataType::Struct(fields) = table.data_type() else { return None };
        let (_, field) = fields.find(ANSWER)?;
        let has_ranks = column.name == RANKED && Type::of(field.data_type()) == Some(Type::Text);
        has_ranks.then(|| format!("{}.{ANSWER}", column.table))
    }

    /// Whether the column has ranks, but the records have no answers because they are older than the column `answer`.
    pub(super) fn lacks_answers(&self) -> bool {
        self.answer.is_none() && self.truth.columns().iter().any(|column| column.name == RANKED)
    }

    /// The answers of a batch, if it has any.
    pub(super) fn answers(&self, batch: &RecordBatch) -> Result<Option<StringArray>, ArrowError> {
        let Some(answer) = &self.answer else { return Ok(None) };
        let words = cast(&answer.evaluate(batch)?, &DataType::Utf8)?;
        Ok(Some(words.as_string::<i32>().clone()))
    }

    /// `zero.answer`, if the records have it.
    fn answer_sql(&self) -> Option<String> {
        self.answer.as_ref().map(Expr::sql)
    }

    /// SQL for "the attempt is complete"; known wherever the column is.
    fn complete_sql(&self) -> String {
        match self.answer_sql() {
            Some(answer) => format!("{} AND {answer} IS NULL", self.truth.sql()),
            None => self.truth.sql(),
        }
    }

    /// SQL for "the attempt is not silent".
    pub(super) fn answered_sql(&self) -> String {
        match self.answer_sql() {
            Some(answer) => format!("{} OR {answer} IS NOT NULL", self.truth.sql()),
            None => self.truth.sql(),
        }
    }
}

impl Rule {
    /// The conditions in SQL for works, broken and transient, in this order; the first true one decides, and if none
    /// is true, the word is offline.
    pub(super) fn compare_sql(zero: &Side, one: &Side) -> [String; 3] {
        let [zero_complete, one_complete] = [zero, one].map(Side::complete_sql);
        match (zero.answer_sql(), one.answer_sql()) {
            (Some(zero_answer), Some(one_answer)) => [
                format!("{zero_answer} = {one_answer} OR ({zero_complete} AND {one_complete})"),
                format!(
                    "({zero_complete}) OR ({zero_answer} IS NOT NULL AND NOT ({one_complete}))"
                ),
                format!("({one_complete}) OR {one_answer} IS NOT NULL"),
            ],
            _ => {
                let [zero, one] = [zero, one].map(|side| side.truth.sql());
                [format!("{zero} AND {one}"), zero, one]
            }
        }
    }
}

/// The answer in a row.
pub(super) fn at(answers: Option<&StringArray>, row: usize) -> Option<&str> {
    answers.and_then(|answers| answers.is_valid(row).then(|| answers.value(row)))
}

#[cfg(test)]
mod tests {
    use super::super::COMPARED;
    use super::*;

    #[test]
    fn every_pair_of_attempts() {
        let cases = "\
            ok      ok      works\n\
            ok      alert   broken\n\
            ok      silent  broken\n\
            alert   ok      transient\n\
            alert   alert   works\n\
            alert   page    broken\n\
            page    alert   broken\n\
            alert   silent  broken\n\
            silent  ok      transient\n\
            silent  alert   transient\n\
            silent  silent  offline\n\
            refused refused works\n\
            refused servfail broken\n\
            ok      refused broken\n\
            refused ok      transient\n\
            refused silent  broken\n\
            silent  refused transient\n";
        let attempt = |name| match name {
            "ok" => (true, None),
            "silent" => (false, None),
            "alert" | "page" => (false, Some(name)),
            // A complete answer with a negative status.
            _ => (true, Some(name)),
        };
        for case in cases.lines() {
            let [zero, one, expected] = case.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("{case}")
            };
            let (said, _) = COMPARED[word(attempt(zero), attempt(one))];
            assert_eq!(said, expected, "{zero} {one}");
        }
    }
}
