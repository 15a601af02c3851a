//! Evaluates rules: each record gets one of three outcomes per rule.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, RecordBatch, StringArray, StructArray,
    builder::{ListBuilder, StringBuilder, StringDictionaryBuilder},
    cast::AsArray as _,
    temporal_conversions::timestamp_ns_to_datetime,
    types::{Float64Type, Int32Type, Int64Type},
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema};

use super::columns::{Known, column};
use super::compare::{self, Rank, Side};
use super::confirm::{CONFIRMED, Confirmation, INCONCLUSIVE, Rounds};
use super::expr::{Column, Expr, Type};
use super::kernel::cast;
use super::known::{Reason, lossy};
use super::{Asked, INSUFFICIENT, METRIC, Metric, Rule, Rules};
use crate::error::{Error, Result};

/// The columns that judging adds.
pub const ADDED: [&str; 4] = ["conditions", "verdict", "insufficient", METRIC];

/// The type of the columns of `verdict`: words of a small set, which tools show as categories.
fn verdict_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// The texts of a column of words, whatever their encoding: earlier versions wrote plain text.
///
/// # Errors
/// If it is a column of something else.
pub fn words(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let texts = cast(column, &DataType::Utf8)?;
    texts.as_string_opt().cloned().ok_or_else(|| {
        ArrowError::CastError(format!("{} is not a column of words", column.data_type()))
    })
}

/// The outcome of a rule for one record.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// The word with this index.
    Word(usize),
    /// The computed value.
    Value,
    Insufficient(String),
    NotApplicable,
}

impl Rules {
    /// The fields that judging adds: [`ADDED`]. Parquet has no structs without fields, so those of missing rules and
    /// metrics are left out.
    fn fields(&self) -> Vec<Field> {
        let item = Field::new_list_field(DataType::Utf8, false);
        let of = |data_type: DataType| -> Fields {
            let fields = self.rules.iter();
            fields.map(|rule| Field::new(rule.column(), data_type.clone(), true)).collect()
        };
        let (words, reasons) = (of(verdict_type()), of(DataType::Utf8));
        let [conditions, verdict, insufficient, metric] = ADDED;
        let mut fields = vec![Field::new(conditions, DataType::List(Arc::new(item)), false)];
        if !words.is_empty() {
            fields.push(Field::new(verdict, DataType::Struct(words), false));
            fields.push(Field::new(insufficient, DataType::Struct(reasons), false));
        }
        let metrics: Fields = self.metrics.iter().map(Metric::field).collect();
        if !metrics.is_empty() {
            fields.push(Field::new(metric, DataType::Struct(metrics), false));
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

    /// Adds the outcomes of all rules to every record of a batch: `conditions`, the list of full labels; `verdict`, a
    /// column per rule with the last word, NULL where the rule does not apply; `insufficient`, a column per rule with
    /// the reason, NULL unless it is insufficient; `metric`, a column per metric. Without rules and without metrics
    /// their structs are missing.
    pub fn judge(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.judged(batch).map_err(|error| Error::failed("evaluate the conditions", error))
    }

    fn judged(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let local = self.local_errors(batch)?;
        let rules: Vec<(&Rule, Answers)> = self
            .rules
            .iter()
            .map(|rule| Ok((rule, Answers::new(rule, batch, &local)?)))
            .collect::<Result<_, ArrowError>>()?;
        let mut columns: Vec<Words> = rules.iter().map(|(rule, _)| Words::new(rule)).collect();
        let item = Field::new_list_field(DataType::Utf8, false);
        let mut conditions = ListBuilder::new(StringBuilder::new()).with_field(item);
        for row in 0..rows {
            for ((_, answers), words) in rules.iter().zip(&mut columns) {
                let outcome = words.confirm(answers.outcome(row), answers, row);
                words.append(outcome, answers, row, conditions.values());
            }
            conditions.append(true);
        }
        let fields = self.fields();
        let (mut verdicts, mut reasons): (Vec<ArrayRef>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        for mut words in columns {
            verdicts.push(Arc::new(words.verdict.finish()));
            reasons.push(Arc::new(words.reason.finish()));
        }
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(conditions.finish()));
        let metrics = self.metrics.iter().map(|metric| metric.evaluate(batch, &local));
        let metrics = metrics.collect::<Result<Vec<_>, _>>()?;
        let structs =
            [verdicts, reasons, metrics].into_iter().filter(|columns| !columns.is_empty());
        for (field, words) in fields.iter().skip(1).zip(structs) {
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

    /// For every configuration that a rule refers to: where this host caused the failure.
    fn local_errors(&self, batch: &RecordBatch) -> Result<Vec<(String, BooleanArray)>, ArrowError> {
        let mut local: Vec<(String, BooleanArray)> = Vec::new();
        let of_rules = self.rules.iter().flat_map(|rule| &rule.configurations);
        for name in of_rules.chain(self.metrics.iter().flat_map(Metric::configurations)) {
            if !local.iter().any(|(known, _)| known == name) {
                let state = cast(&column(batch, name, "state")?, &DataType::Utf8)?;
                let state = state.as_string::<i32>();
                let failed = state.iter().map(|state| Some(state == Some("local_error")));
                local.push((name.clone(), failed.collect()));
            }
        }
        Ok(local)
    }
}

/// The columns that a rule fills, and its words.
struct Words {
    /// Each word, and its full label.
    words: Vec<(String, String)>,
    insufficient: String,
    /// The label before the value.
    prefix: String,
    verdict: StringDictionaryBuilder<Int32Type>,
    reason: StringBuilder,
}

impl Words {
    fn new(rule: &Rule) -> Self {
        let name = rule.name();
        let words = rule.words().into_iter();
        Self {
            words: words.map(|word| (word.to_owned(), format!("{name}.{word}"))).collect(),
            insufficient: format!("{name}.{INSUFFICIENT}"),
            prefix: format!("{name}:"),
            verdict: StringDictionaryBuilder::new(),
            reason: StringBuilder::new(),
        }
    }

    /// The final outcome, given the confirmation rounds of a record that has them.
    fn confirm(&self, outcome: Outcome, answers: &Answers, row: usize) -> Outcome {
        let rounds = answers.rounds.as_ref().and_then(|rounds| rounds.at(row));
        let (Outcome::Word(number), Some(rounds)) = (&outcome, rounds) else { return outcome };
        let Some((word, _)) = self.words.get(*number) else { return outcome };
        match rounds.verdict(word) {
            Confirmation::Confirmed => outcome,
            // These words follow the rule's own.
            Confirmation::Instead(number) => {
                Outcome::Word(self.words.len() - CONFIRMED.len() + number)
            }
            Confirmation::Nothing => Outcome::Insufficient(INCONCLUSIVE.into()),
        }
    }

    fn append(
        &mut self,
        outcome: Outcome,
        answers: &Answers,
        row: usize,
        labels: &mut StringBuilder,
    ) {
        match (outcome, &answers.question) {
            (Outcome::Word(number), _) => match self.words.get(number) {
                Some((word, label)) => {
                    self.verdict.append_value(word);
                    labels.append_value(label);
                    self.reason.append_null();
                }
                None => self.nothing(),
            },
            (Outcome::Value, Values::Value(text, _)) => {
                let value = text.value(row);
                self.verdict.append_value(value);
                // Writing to a string builder cannot fail.
                let _ = write!(labels, "{}{value}", self.prefix);
                labels.append_value("");
                self.reason.append_null();
            }
            (Outcome::Insufficient(why), _) => {
                self.verdict.append_value(INSUFFICIENT);
                labels.append_value(&self.insufficient);
                self.reason.append_value(why);
            }
            (Outcome::NotApplicable | Outcome::Value, _) => self.nothing(),
        }
    }

    fn nothing(&mut self) {
        self.verdict.append_null();
        self.reason.append_null();
    }
}

/// The values of a rule's expressions over a batch.
struct Answers {
    /// For every configuration that the rule refers to: where this host caused the failure.
    local: Vec<(String, BooleanArray)>,
    given: Option<(BooleanArray, Unknown)>,
    question: Values,
    /// The confirmation rounds, if the rule has them.
    rounds: Option<Rounds>,
}

enum Values {
    Compare { zero: Box<SideValues>, one: Box<SideValues> },
    Online(Box<SideValues>),
    FirstOf(Vec<Option<(BooleanArray, Unknown)>>),
    Value(StringArray, Box<Unknown>),
}

/// One side of a comparison over a batch.
struct SideValues {
    truth: BooleanArray,
    answers: Option<StringArray>,
    unknown: Unknown,
}

impl SideValues {
    /// The column and the answer in a row; `None` if the column is NULL.
    fn at(&self, row: usize) -> Option<(bool, Option<&str>)> {
        Some((at(&self.truth, row)?, compare::at(self.answers.as_ref(), row)))
    }
}

/// Explains where an expression is NULL; empty if it is nowhere NULL.
#[derive(Default)]
struct Unknown {
    columns: Vec<(Column, ArrayRef)>,
    reasons: Vec<Reason>,
    /// Records whose packets may not all have been seen.
    lossy: Option<BooleanArray>,
}

impl Answers {
    fn new(
        rule: &Rule,
        batch: &RecordBatch,
        local: &[(String, BooleanArray)],
    ) -> Result<Self, ArrowError> {
        // If nothing failed there is nothing to check.
        let local = rule.configurations.iter().filter_map(|name| {
            local.iter().find(|(known, failed)| known == name && failed.has_true()).cloned()
        });
        let local = local.collect();
        let truth = |expr: &Expr| -> Result<_, ArrowError> {
            let values = expr.truth(batch)?;
            let unknown = Unknown::of(&values, expr, batch)?;
            Ok((values, unknown))
        };
        let given = rule.given.as_ref().map(truth).transpose()?;
        let values = |side: &Side| -> Result<_, ArrowError> {
            let (truth, unknown) = truth(&side.truth)?;
            Ok(Box::new(SideValues { truth, answers: side.answers(batch)?, unknown }))
        };
        let question = match &rule.asked {
            Asked::Compare { zero, one } => {
                Values::Compare { zero: values(zero)?, one: values(one)? }
            }
            Asked::Online(side) => Values::Online(values(side)?),
            Asked::FirstOf(choices) => {
                let whens = choices.iter().map(|(_, when)| when.as_ref().map(truth).transpose());
                Values::FirstOf(whens.collect::<Result<_, _>>()?)
            }
            Asked::Value(value) => {
                let values = text(&value.evaluate(batch)?, value.ty)?;
                let unknown = Unknown::of(&values, value, batch)?;
                Values::Value(values, Box::new(unknown))
            }
        };
        let rounds = rule.confirmed.then(|| Rounds::of(&rule.column(), batch)).transpose()?;
        Ok(Self { local, given, question, rounds })
    }

    fn outcome(&self, row: usize) -> Outcome {
        for (table, local) in &self.local {
            if local.value(row) {
                return Outcome::Insufficient(format!("{table}: local error"));
            }
        }
        if let Some((given, unknown)) = &self.given {
            match at(given, row) {
                Some(true) => {}
                Some(false) => return Outcome::NotApplicable,
                None => return unknown.insufficient(row),
            }
        }
        match &self.question {
            Values::Compare { zero, one } => match (zero.at(row), one.at(row)) {
                (Some(zero), Some(one)) => Outcome::Word(compare::word(zero, one)),
                (None, _) => zero.unknown.insufficient(row),
                (_, None) => one.unknown.insufficient(row),
            },
            Values::Online(side) => match side.at(row) {
                Some((truth, answer)) => {
                    Outcome::Word(usize::from(Rank::of(truth, answer) == Rank::Silent))
                }
                None => side.unknown.insufficient(row),
            },
            Values::Value(text, _) if text.is_valid(row) => Outcome::Value,
            Values::Value(_, unknown) => unknown.insufficient(row),
            Values::FirstOf(whens) => {
                for (number, when) in whens.iter().enumerate() {
                    let Some((when, unknown)) = when else { return Outcome::Word(number) };
                    match at(when, row) {
                        Some(true) => return Outcome::Word(number),
                        Some(false) => {}
                        None => return unknown.insufficient(row),
                    }
                }
                Outcome::NotApplicable
            }
        }
    }
}

impl Unknown {
    /// For an expression with these values.
    fn of(values: &dyn Array, expr: &Expr, batch: &RecordBatch) -> Result<Self, ArrowError> {
        if values.null_count() == 0 {
            return Ok(Self::default());
        }
        let mut columns = Vec::new();
        for name in expr.columns() {
            let values = name.sure(column(batch, &name.table, &name.name)?, batch)?;
            columns.push((name, values));
        }
        let reasons = expr.missing().reasons(batch)?;
        let lossy = columns.iter().any(|(column, _)| column.has_flags).then(|| lossy(batch));
        Ok(Self { columns, reasons, lossy: lossy.flatten() })
    }

    /// The reason why the expression is NULL in a row.
    fn why(&self, row: usize) -> String {
        if let Some(why) = self.reasons.iter().find_map(|reason| reason.of(row)) {
            return why.to_owned();
        }
        match self.columns.iter().find(|(_, values)| values.is_null(row)) {
            Some((column, _))
                if matches!(column.about.known, Known::Seen | Known::Added)
                    && self.lossy.as_ref().is_some_and(|lossy| lossy.value(row)) =>
            {
                format!("{column} is unknown: packets may be missing (see flags)")
            }
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

    fn insufficient(&self, row: usize) -> Outcome {
        Outcome::Insufficient(self.why(row))
    }
}

/// The value in a row; `None` if it is NULL.
fn at(values: &BooleanArray, row: usize) -> Option<bool> {
    values.is_valid(row).then(|| values.value(row))
}

/// Values as label suffixes, formatted like DuckDB, except times, which have a T between day and hour.
fn text(values: &ArrayRef, ty: Type) -> Result<StringArray, ArrowError> {
    if let (Type::Time, Some(times)) = (ty, values.as_primitive_opt::<Int64Type>()) {
        return Ok(times.iter().map(|time| Some(iso(time?))).collect());
    }
    match values.as_primitive_opt::<Float64Type>() {
        Some(floats) => Ok(floats.iter().map(|value| Some(shortest(value?))).collect()),
        None => Ok(cast(values, &DataType::Utf8)?.as_string::<i32>().clone()),
    }
}

/// `2026-11-22T18:30:00.000000001`, without trailing zeros in the fraction.
fn iso(nanoseconds: i64) -> String {
    let time = timestamp_ns_to_datetime(nanoseconds);
    let text = time.map_or_else(String::new, |t| t.format("%Y-%m-%dT%H:%M:%S%.9f").to_string());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The fewest digits that parse to the same float; with an exponent from 1e16 and below 1e-4.
fn shortest(value: f64) -> String {
    if !value.is_finite() {
        return match (value.is_nan(), value > 0.0) {
            (true, _) => "nan".into(),
            (_, true) => "inf".into(),
            (_, false) => "-inf".into(),
        };
    }
    let scientific = fewest_digits(value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, unsigned) =
        mantissa.strip_prefix('-').map_or(("", mantissa), |unsigned| ("-", unsigned));
    let digits = unsigned.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let size = usize::try_from(exponent.abs()).unwrap_or(0);
    match exponent {
        -4..0 => format!("{sign}0.{}{digits}", "0".repeat(size - 1)),
        0..16 => match digits.split_at_checked(size + 1) {
            Some((whole, fraction)) if !fraction.is_empty() => format!("{sign}{whole}.{fraction}"),
            _ => format!("{sign}{digits:0<width$}.0", width = size + 1),
        },
        _ => format!("{mantissa}e{}{size:02}", if exponent < 0 { '-' } else { '+' }),
    }
}

/// Scientific notation, as near to the value as this number of digits can be; of two equally near ones, the even one.
fn fewest_digits(value: f64) -> String {
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let places = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    // Only if all digits of a float are needed can two be equally near.
    if places < 14 {
        return shortest;
    }
    let exact = format!("{value:.40e}");
    let Some((down, rest)) = exact.split_at_checked(mantissa.len()) else { return shortest };
    let tie =
        rest.starts_with('5') && rest.bytes().skip(1).take_while(|b| *b != b'e').all(|b| b == b'0');
    let even = down.ends_with(['0', '2', '4', '6', '8']);
    let lower = format!("{down}e{exponent}");
    if tie && even && lower.parse() == Ok(value) { lower } else { shortest }
}
