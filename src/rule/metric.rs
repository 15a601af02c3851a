//! Metrics: numbers of a record, as columns of the struct `metric`.
//!
//! A metric is never a wrong number: it is NULL where a fact is unknown, where this host caused a failure, where a
//! result overflows, and where a division gives no number.

use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, BooleanArray, Float64Array, RecordBatch,
    cast::AsArray as _,
    types::{Float64Type, Int64Type},
};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::{filter::prep_null_mask_filter, nullif::nullif};

use super::expr::{Expr, Type};
use super::kernel::boolean;
use super::parse::Sql;
use super::quote::identifier;
use super::{Columns, Compiler, Rules, column_of};
use crate::error::Diagnostic;
use crate::record;

/// The struct of the metrics.
pub const METRIC: &str = "metric";

/// Nanoseconds of each unit in which durations are reported.
pub const TIME_UNITS: [(&str, f64); 6] =
    [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 6e10), ("h", 3.6e12)];

/// A metric as written in a file.
#[derive(Debug, Clone)]
pub struct MetricSource {
    /// Its name, `rtt.difference`.
    pub name: String,
    /// When it applies; `None` means always.
    pub given: Option<Sql>,
    /// The number.
    pub value: Sql,
    /// Its unit, with its place: one of [`TIME_UNITS`] for a duration, else any word.
    pub unit: Option<Sql>,
}

/// A checked metric.
#[derive(Debug, Clone)]
pub struct Metric {
    source: MetricSource,
    given: Option<Expr>,
    value: Expr,
    /// The nanoseconds of its unit, for a duration in another unit than that.
    scale: Option<f64>,
    unit: Option<String>,
    /// The configurations that it refers to, in record order.
    configurations: Vec<String>,
}

impl Rules {
    /// Checks metrics against the schema of a record, and adds those that are correct. Returns every mistake.
    pub fn add_metrics(
        &mut self,
        sources: &[MetricSource],
        schema: &Schema,
        columns: &dyn Columns,
    ) -> Vec<Diagnostic> {
        let mut mistakes = Vec::new();
        let mut compiler = Compiler { schema, one: None, columns, mistakes: &mut mistakes };
        self.metrics.extend(sources.iter().filter_map(|source| compiler.metric(source)));
        mistakes
    }

    /// The metrics in file order.
    pub fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.iter()
    }
}

impl Compiler<'_> {
    fn metric(&mut self, source: &MetricSource) -> Option<Metric> {
        let given = source.given.as_ref().map(|sql| self.condition(sql));
        let value = self.typer(&source.value).number_only()?;
        let written = source.unit.as_ref();
        let unit = written.map(|unit| unit.text.clone());
        let known = unit.as_deref().and_then(|unit| TIME_UNITS.iter().find(|(u, _)| *u == unit));
        let (scale, unit) = match (value.is_duration(), known) {
            (true, Some((_, scale))) => (Some(*scale).filter(|scale| *scale != 1.0), unit),
            (true, None) => match written {
                None => (None, Some(TIME_UNITS[0].0.to_owned())),
                Some(written) => {
                    let units = TIME_UNITS.map(|(unit, _)| unit).join(", ");
                    let message =
                        format!("the value is a duration, which has no unit `{}`", written.text);
                    let help = Some(format!("write one of {units}"));
                    let span = written.span.clone();
                    self.mistakes.push(written.diagnostic("E0311", span, message, help));
                    return None;
                }
            },
            (false, Some((name, _))) => {
                let message =
                    format!("the value is a number without a unit, not a duration in {name}");
                let help =
                    "write what it counts, such as unit = \"packets\", or leave it out".to_owned();
                if let Some(written) = written {
                    let span = written.span.clone();
                    self.mistakes.push(written.diagnostic("E0311", span, message, Some(help)));
                }
                return None;
            }
            (false, None) => (None, unit),
        };
        let given = match given {
            None => None,
            Some(given) => Some(given?),
        };
        let tables: Vec<String> =
            given.iter().chain([&value]).flat_map(Expr::columns).map(|c| c.table).collect();
        let known = record::configurations(self.schema);
        let configurations = known.filter(|name| tables.iter().any(|table| table == name));
        let configurations = configurations.map(str::to_owned).collect();
        Some(Metric { source: source.clone(), given, value, scale, unit, configurations })
    }
}

impl Metric {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The expression as written.
    pub fn written(&self) -> &str {
        &self.source.value.text
    }

    /// When it applies, as written.
    pub fn given(&self) -> Option<&str> {
        self.source.given.as_ref().map(|given| given.text.as_str())
    }

    /// Its source.
    pub(super) fn source(&self) -> &MetricSource {
        &self.source
    }

    /// Its column in the struct [`METRIC`].
    pub fn column(&self) -> String {
        column_of(self.name())
    }

    /// Its unit, if it has one.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// Whether it is computed from several configurations, for each target: a paired difference, a ratio.
    pub fn is_paired(&self) -> bool {
        self.configurations.len() > 1
    }

    /// The configurations that it refers to, in record order.
    pub fn configurations(&self) -> &[String] {
        &self.configurations
    }

    fn is_whole(&self) -> bool {
        self.scale.is_none() && matches!(self.value.ty, Type::Int | Type::Duration)
    }

    pub(super) fn field(&self) -> Field {
        let data_type = if self.is_whole() { DataType::Int64 } else { DataType::Float64 };
        Field::new(self.column(), data_type, true)
    }

    /// Its values in every record of a batch; `local` says by configuration where this host caused a failure.
    pub(super) fn evaluate(
        &self,
        batch: &RecordBatch,
        local: &[(String, BooleanArray)],
    ) -> Result<ArrayRef, ArrowError> {
        let mut values = self.value.evaluate(batch)?;
        if !self.is_whole() {
            let scale = self.scale.unwrap_or(1.0);
            let scaled = |value: f64| Some(value / scale).filter(|value| value.is_finite());
            let floats: Float64Array = match values.as_primitive_opt::<Int64Type>() {
                Some(whole) => whole.iter().map(|value| scaled(value? as f64)).collect(),
                None => {
                    let floats = values.as_primitive::<Float64Type>();
                    floats.iter().map(|value| scaled(value?)).collect()
                }
            };
            values = Arc::new(floats);
        }
        for name in &self.configurations {
            if let Some((_, failed)) = local.iter().find(|(known, _)| known == name) {
                values = nullif(&values, failed)?;
            }
        }
        if let Some(given) = &self.given {
            let given = given.truth(batch)?;
            let given = if given.null_count() > 0 { prep_null_mask_filter(&given) } else { given };
            values = nullif(&values, &boolean::not(&given)?)?;
        }
        Ok(values)
    }

    /// Its value as one SQL expression over the stored records, equal to its column.
    pub fn sql(&self) -> String {
        let value = self.value.sql();
        let mut sql = match (self.value.ty, self.scale) {
            (Type::Int | Type::Duration, None) => format!("TRY_CAST({value} AS BIGINT)"),
            (Type::Int | Type::Duration, Some(scale)) => {
                format!("CAST(TRY_CAST({value} AS BIGINT) AS DOUBLE) / {scale:e}")
            }
            (_, scale) => {
                let scaled = match scale {
                    Some(scale) => format!("({value}) / {scale:e}"),
                    None => value,
                };
                format!("CASE WHEN isfinite({scaled}) THEN {scaled} END")
            }
        };
        if let Some(given) = &self.given {
            sql = format!("CASE WHEN {} THEN {sql} END", given.sql());
        }
        let local: Vec<String> = self
            .configurations
            .iter()
            .map(|name| format!("{}.state = 'local_error'", identifier(name)))
            .collect();
        if !local.is_empty() {
            sql = format!("CASE WHEN {} THEN NULL ELSE {sql} END", local.join(" OR "));
        }
        sql
    }
}
