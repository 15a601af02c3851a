//! What is in a result: its columns with their meanings and the share of NULL, and how often each label was given.

use arrow_array::Array as _;
use arrow_schema::DataType;

use super::embedded::Embedded;
use super::flat::{self, FlatColumn};
use super::input::Input;
use crate::error::{Error, Result};
use crate::run::catalogue;
use crate::run::dictionary::{Dictionary, Meaning};
use crate::run::totals::Totals;

/// A column.
#[derive(Debug)]
pub struct Column {
    /// Its flat name, `zero.tcp_handshake_rtt`.
    pub name: String,
    /// Its struct; empty for a column of the record.
    pub table: String,
    /// The word for its type.
    pub type_word: String,
    /// Its meaning, unit, and what fills it; `None` if neither the file nor this program knows.
    pub meaning: Option<Meaning>,
    /// Records in which it is NULL.
    pub nulls: u64,
}

/// A result.
#[derive(Debug)]
pub struct Description {
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// Totals of its records.
    pub totals: Totals,
    /// Its measurement, if it has one that this version accepts.
    pub embedded: Option<Embedded>,
}

impl Description {
    /// Reads a result. `each` is called with the number of records so far.
    ///
    /// # Errors
    /// If it cannot be read, and those of `each`.
    pub fn of(input: &Input, mut each: impl FnMut(u64) -> Result<()>) -> Result<Self> {
        let embedded = Embedded::if_possible(input, "its labels have no meanings here");
        let dictionary = embedded.as_ref().map_or_else(Dictionary::default, |embedded| {
            Dictionary::judged(&embedded.plan, &embedded.rules)
        });
        let flat = flat::columns(&input.schema);
        // What the file says takes precedence: another version may have written it.
        let stored = flat::columns(&input.described);
        let described = flat::columns(&dictionary.describe(&input.schema));
        let of = |columns: &[FlatColumn], name: &str| {
            let column = columns.iter().find(|column| column.name() == name)?;
            Meaning::stored(&column.field)
        };
        let mut columns: Vec<Column> = flat
            .iter()
            .map(|column| {
                let name = column.name().to_owned();
                let (table, own) = name.rsplit_once('.').unwrap_or(("", &name));
                let known = of(&stored, &name).or_else(|| of(&described, &name));
                Column {
                    type_word: type_word(column),
                    meaning: known.or_else(|| dictionary.meaning(table, own)),
                    table: table.to_owned(),
                    nulls: 0,
                    name,
                }
            })
            .collect();
        let mut totals = Totals::default();
        input.read(&[], |batch| {
            for (column, of) in columns.iter_mut().zip(&flat) {
                let values = of
                    .values(&batch)
                    .map_err(|why| Error::failed(format!("read {}", input.path.display()), why))?;
                // A file of the folder that lacks the column has NULL there.
                let nulls = values.map_or(batch.num_rows(), |values| values.logical_null_count());
                column.nulls += nulls as u64;
            }
            totals.count(&batch);
            each(totals.records)
        })?;
        Ok(Self { columns, totals, embedded })
    }

    /// The share of records in which a column is NULL.
    pub fn share(&self, nulls: u64) -> f64 {
        nulls as f64 / self.totals.records.max(1) as f64
    }
}

fn type_word(column: &FlatColumn) -> String {
    match column.field.data_type() {
        DataType::Dictionary(_, values) => catalogue::type_word(values),
        other => catalogue::type_word(other),
    }
}
