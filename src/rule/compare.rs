//! What `compare` says of a baseline and an experiment.
//!
//! Of the column `ok`, an attempt has one of three ranks: complete (`ok`, and nothing else was answered), answered
//! (with a word in `answer`, [`connect::answer`](crate::connect::answer)) or silent. Equal rank and equal answer is
//! `works`; the experiment lower, or answered with another word, is `broken`; the experiment higher is
//! `transient`; both silent is `offline`. So a host that refuses what the kind asks for in the same way under
//! both configurations is not offline, and an answer that a middlebox injects under one of them shows.
//!
//! Any other boolean column is true or false, which are the ranks complete and silent.
//!
//! [`word`] and [`Side::sql`] must say the same.

use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;

use super::Rule;
use super::expr::{Expr, Type};

/// The column that has ranks.
const RANKED: &str = "ok";
/// The column of a configuration that has the answer's word.
const ANSWER: &str = "answer";

/// One of the two configurations that are compared.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// The boolean column.
    pub(super) truth: Expr,
    /// The answer, if the column has ranks and the records have it.
    answer: Option<Expr>,
}

/// What an attempt came to. The order is that of the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Nothing was answered.
    Silent,
    /// Something else was answered than what was asked for.
    Answered,
    /// Everything was answered as asked.
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

/// The number, in [`COMPARED`](super::COMPARED), of what is said of the baseline's and the experiment's column and answer.
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
    /// The side with this column, and the answer if the column has ranks and the records have it.
    pub(super) fn new(truth: Expr, answer: Option<Expr>) -> Self {
        Self { truth, answer }
    }

    /// The column of the answer that belongs to a column, in records of a schema.
    pub(super) fn answer_of(truth: &Expr, schema: &Schema) -> Option<String> {
        let columns = truth.columns();
        let [column] = columns.as_slice() else { return None };
        let table = schema.field_with_name(&column.table).ok()?;
        let DataType::Struct(fields) = table.data_type() else { return None };
        let (_, field) = fields.find(ANSWER)?;
        let has_ranks = column.name == RANKED && Type::of(field.data_type()) == Some(Type::Text);
        has_ranks.then(|| format!("{}.{ANSWER}", column.table))
    }

    /// Whether the column has ranks, but the records have no answers: they are older than the column `answer`.
    pub(super) fn lacks_answers(&self) -> bool {
        self.answer.is_none() && self.truth.columns().iter().any(|column| column.name == RANKED)
    }

    /// The answers of a batch, if there are any.
    pub(super) fn answers(&self, batch: &RecordBatch) -> Result<Option<StringArray>, ArrowError> {
        let Some(answer) = &self.answer else { return Ok(None) };
        let words = cast(&answer.evaluate(batch)?, &DataType::Utf8)?;
        Ok(Some(words.as_string::<i32>().clone()))
    }

    /// `zero.answer`, if it has one.
    fn answer_sql(&self) -> Option<String> {
        self.answer.as_ref().map(Expr::sql)
    }

    /// In SQL, that the attempt is complete: where the column is known, this is.
    fn complete_sql(&self) -> String {
        match self.answer_sql() {
            Some(answer) => format!("{} AND {answer} IS NULL", self.truth.sql()),
            None => self.truth.sql(),
        }
    }

    /// In SQL, that the attempt is not silent.
    pub(super) fn told_sql(&self) -> String {
        match self.answer_sql() {
            Some(answer) => format!("{} OR {answer} IS NOT NULL", self.truth.sql()),
            None => self.truth.sql(),
        }
    }
}

impl Rule {
    /// When the words works, broken and transient are said, in this order, in SQL: what comes after the first that is
    /// true does not matter, and if none is, it is offline.
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
            // A whole answer that says no.
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
