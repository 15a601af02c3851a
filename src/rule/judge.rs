//! From expressions to verdicts: every record, every rule, one of three outcomes.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, ListBuilder, RecordBatch, StringArray,
    StringBuilder, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimestampNanosecondType};
use arrow::error::ArrowError;

use super::eval::column;
use super::expr::Column;
use super::{COMPARED, CONFIGURATIONS, Compiled, INSUFFICIENT, Question, Rule, Rules};
use crate::error::{Error, Result};

/// The columns that the engine and the merge fill: known even if the flow was not observed.
const NOT_OBSERVERS: [&str; 7] =
    ["ok", "state", "error", "started", "ended", "source_port", "observed"];

/// What a rule says of one record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Outcome<'a> {
    Word(&'a str),
    Insufficient(String),
    #[default]
    NotApplicable,
}

impl Rules {
    /// The fields that judging adds: `conditions`, `verdict`, `insufficient`. Without rules only the
    /// first: Parquet has no structs without fields.
    fn fields(&self) -> Vec<Field> {
        let item = Field::new_list_field(DataType::Utf8, false);
        let words: Fields =
            self.0.iter().map(|rule| Field::new(rule.column(), DataType::Utf8, true)).collect();
        let mut fields = vec![Field::new("conditions", DataType::List(Arc::new(item)), false)];
        if !words.is_empty() {
            fields.push(Field::new("verdict", DataType::Struct(words.clone()), false));
            fields.push(Field::new("insufficient", DataType::Struct(words), false));
        }
        fields
    }

    /// The schema of judged records.
    pub fn schema(&self, record: &Schema) -> Schema {
        let fields: Vec<FieldRef> = record
            .fields()
            .iter()
            .cloned()
            .chain(self.fields().into_iter().map(Arc::new))
            .collect();
        Schema::new_with_metadata(fields, record.metadata().clone())
    }

    /// Adds to every record of a batch what the rules say of it: `conditions`, the list of full
    /// labels; `verdict`, a column per rule with the last word, NULL where the rule does not
    /// apply; `insufficient`, a column per rule with the reason, NULL unless it is insufficient.
    /// Without rules there are no structs.
    pub fn judge(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.judged(batch).map_err(|error| Error::failed("evaluate the conditions", error))
    }

    fn judged(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let (mut verdicts, mut reasons): (Vec<ArrayRef>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        let mut labels = vec![Vec::new(); rows];
        for rule in &self.0 {
            let (mut verdict, mut reason) = (StringBuilder::new(), StringBuilder::new());
            let answers = Answers::new(rule, batch)?;
            for (row, labels) in labels.iter_mut().enumerate() {
                let (word, why) = match rule.outcome(&answers, row) {
                    Outcome::Word(word) => (Some(word.to_owned()), None),
                    Outcome::Insufficient(why) => (Some(INSUFFICIENT.to_owned()), Some(why)),
                    Outcome::NotApplicable => (None, None),
                };
                if let Some(word) = &word {
                    let value = why.is_none() && matches!(rule.question, Question::Value(_));
                    labels.push(format!("{}{}{word}", rule.name, if value { ':' } else { '.' }));
                }
                verdict.append_option(word);
                reason.append_option(why);
            }
            verdicts.push(Arc::new(verdict.finish()));
            reasons.push(Arc::new(reason.finish()));
        }
        let fields = self.fields();
        let item = Field::new_list_field(DataType::Utf8, false);
        let mut conditions = ListBuilder::new(StringBuilder::new()).with_field(item);
        for labels in labels {
            labels.iter().for_each(|label| conditions.values().append_value(label));
            conditions.append(true);
        }
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(conditions.finish()));
        for (field, words) in fields.iter().skip(1).zip([verdicts, reasons]) {
            if let DataType::Struct(names) = field.data_type() {
                columns.push(Arc::new(StructArray::try_new_with_length(
                    names.clone(),
                    words,
                    None,
                    rows,
                )?));
            }
        }
        RecordBatch::try_new(Arc::new(self.schema(&batch.schema())), columns)
    }
}

/// The values of a rule's expressions over a batch.
struct Answers {
    /// For every configuration the rule refers to: whether this host failed by itself.
    local: Vec<(&'static str, BooleanArray)>,
    given: Option<(BooleanArray, Unknown)>,
    question: Values,
}

enum Values {
    Compare { zero: (BooleanArray, Unknown), one: (BooleanArray, Unknown) },
    FirstOf(Vec<Option<(BooleanArray, Unknown)>>),
    Value(StringArray, Unknown),
}

/// What is needed to say why an expression is NULL.
struct Unknown {
    columns: Vec<(Column, ArrayRef)>,
    observed: Vec<(&'static str, BooleanArray)>,
}

impl Answers {
    fn new(rule: &Rule, batch: &RecordBatch) -> Result<Self, ArrowError> {
        let mut local = Vec::new();
        for table in rule.configurations() {
            let state = cast(&column(batch, table, "state")?, &DataType::Utf8)?;
            let local_error =
                state.as_string::<i32>().iter().map(|state| Some(state == Some("local_error")));
            local.push((table, local_error.collect()));
        }
        let truth = |compiled: &Compiled| -> Result<_, ArrowError> {
            Ok((compiled.expr.truth(batch)?, Unknown::new(compiled, batch)?))
        };
        let given = rule.given.as_ref().map(truth).transpose()?;
        let question = match (&rule.question, &rule.baseline) {
            (Question::Compare(one), zero) => {
                let one = truth(one)?;
                let missing = || ArrowError::ComputeError(format!("{} has no baseline", rule.name));
                Values::Compare { zero: truth(zero.as_ref().ok_or_else(missing)?)?, one }
            }
            (Question::FirstOf(choices), _) => {
                let whens =
                    choices.iter().map(|choice| choice.when.as_ref().map(truth).transpose());
                Values::FirstOf(whens.collect::<Result<_, _>>()?)
            }
            (Question::Value(value), _) => {
                let values = value.expr.evaluate(batch)?;
                // Without a time zone, since Arrow knows the name UTC only with a database of all.
                let values = match values.as_primitive_opt::<TimestampNanosecondType>() {
                    Some(times) => Arc::new(times.clone().with_timezone_opt(None::<&str>)),
                    None => values,
                };
                let text = cast(&values, &DataType::Utf8)?;
                Values::Value(text.as_string::<i32>().clone(), Unknown::new(value, batch)?)
            }
        };
        Ok(Self { local, given, question })
    }
}

impl Unknown {
    fn new(compiled: &Compiled, batch: &RecordBatch) -> Result<Self, ArrowError> {
        let mut columns = Vec::new();
        for name in compiled.expr.columns() {
            let values = column(batch, &name.table, &name.name)?;
            columns.push((name, values));
        }
        let mut observed = Vec::new();
        for table in CONFIGURATIONS {
            let observers = columns
                .iter()
                .any(|(c, _)| c.table == table && !NOT_OBSERVERS.contains(&c.name.as_str()));
            if observers {
                observed.push((
                    table,
                    cast(&column(batch, table, "observed")?, &DataType::Boolean)?
                        .as_boolean()
                        .clone(),
                ));
            }
        }
        Ok(Self { columns, observed })
    }

    /// Why the expression is NULL in a row.
    fn why(&self, row: usize) -> String {
        for (table, observed) in &self.observed {
            if observed.is_valid(row) && !observed.value(row) {
                return format!("{table}: flow not observed");
            }
        }
        match self.columns.iter().find(|(_, values)| values.is_null(row)) {
            Some((column, _)) => format!("{column} is NULL"),
            None => {
                let mut why = "cannot be computed".to_owned();
                for (i, (column, _)) in self.columns.iter().enumerate() {
                    let _ = write!(why, "{} {column}", if i == 0 { " from" } else { "," });
                }
                why
            }
        }
    }

    fn insufficient<'a>(&self, row: usize) -> Outcome<'a> {
        Outcome::Insufficient(self.why(row))
    }
}

/// The value in a row; none if it is NULL.
fn at(values: &BooleanArray, row: usize) -> Option<bool> {
    values.is_valid(row).then(|| values.value(row))
}

impl Rule {
    fn outcome<'a>(&'a self, answers: &'a Answers, row: usize) -> Outcome<'a> {
        for (table, local) in &answers.local {
            if local.value(row) {
                return Outcome::Insufficient(format!("{table}: local error"));
            }
        }
        if let Some((given, unknown)) = &answers.given {
            match at(given, row) {
                Some(true) => {}
                Some(false) => return Outcome::NotApplicable,
                None => return unknown.insufficient(row),
            }
        }
        match (&answers.question, &self.question) {
            (Values::Compare { zero, one }, _) => match (at(&zero.0, row), at(&one.0, row)) {
                (Some(zero), Some(one)) => {
                    Outcome::Word(COMPARED[usize::from(!zero) * 2 + usize::from(!one)].0)
                }
                (None, _) => zero.1.insufficient(row),
                (_, None) => one.1.insufficient(row),
            },
            (Values::Value(text, unknown), _) => match text.is_valid(row) {
                true => Outcome::Word(text.value(row)),
                false => unknown.insufficient(row),
            },
            (Values::FirstOf(whens), Question::FirstOf(choices)) => {
                for (choice, when) in choices.iter().zip(whens) {
                    let Some((when, unknown)) = when else { return Outcome::Word(&choice.is) };
                    match at(when, row) {
                        Some(true) => return Outcome::Word(&choice.is),
                        Some(false) => {}
                        None => return unknown.insufficient(row),
                    }
                }
                Outcome::NotApplicable
            }
            (Values::FirstOf(_), _) => Outcome::NotApplicable,
        }
    }
}
