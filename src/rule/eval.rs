//! Evaluates typed expressions over a batch of records with Arrow's kernels, in three-valued logic.
//!
//! Arithmetic differs from DuckDB's in one way: where DuckDB stops with an error (an integer beyond its column's
//! width, a remainder by zero), integers here have 64 bits, and an overflow is NULL, so that one odd record does not
//! end an analysis. (DuckDB widens unsigned with signed 64-bit columns to 128 bits; the SQL of a rule says BIGINT.)
//! Division is in floats, and by zero gives infinity, as in DuckDB. Times and durations are integers of nanoseconds.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    cast::AsArray as _,
    new_null_array,
    types::{Float64Type, Int64Type},
};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use arrow_select::{filter::prep_null_mask_filter, nullif::nullif, zip::zip};

use super::columns::column;
use super::expr::{Arithmetic, Case, Column, Comparison, Expr, Literal, Node, Type};
use super::kernel::{boolean, cast, cmp};

type Result<T> = std::result::Result<T, ArrowError>;

impl Expr {
    /// The values for every record of a batch, in this expression's Arrow type.
    pub(super) fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        Ok(match &self.node {
            Node::Column(at @ Column { table, name, .. }) => {
                let mut values = column(batch, table, name)?;
                if let DataType::Timestamp(_, zone) = values.data_type() {
                    values =
                        cast(&values, &DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()))?;
                }
                at.sure(cast(&values, &self.ty.arrow())?, batch)?
            }
            Node::Literal(literal) => match literal {
                Literal::Null => new_null_array(&self.ty.arrow(), rows),
                Literal::Bool(value) => Arc::new(BooleanArray::from(vec![*value; rows])),
                Literal::Int(value) | Literal::Time(value) | Literal::Duration(value) => {
                    Arc::new(Int64Array::from_value(*value, rows))
                }
                Literal::Float(value) => Arc::new(Float64Array::from_value(*value, rows)),
                Literal::Text(value) => {
                    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows)))
                }
            },
            Node::Cast(a) if a.ty == Type::Null => new_null_array(&self.ty.arrow(), rows),
            Node::Cast(a) => cast(&a.evaluate(batch)?, &self.ty.arrow())?,
            Node::Not(a) => Arc::new(boolean::not(&a.truth(batch)?)?),
            Node::And(a, b) => Arc::new(boolean::and_kleene(&a.truth(batch)?, &b.truth(batch)?)?),
            Node::Or(a, b) => Arc::new(boolean::or_kleene(&a.truth(batch)?, &b.truth(batch)?)?),
            Node::Compare(op, a, b) => {
                Arc::new(compare(*op, &a.evaluate(batch)?, &b.evaluate(batch)?)?)
            }
            Node::Arithmetic(op, a, b) => {
                arithmetic(*op, &a.evaluate(batch)?, &b.evaluate(batch)?)?
            }
            Node::Negate(a) => negate(&a.evaluate(batch)?),
            Node::IsNull(a) => {
                let none = boolean::is_null(&a.evaluate(batch)?)?;
                a.hide(Arc::new(none.clone()), &none, batch)?
            }
            Node::Is(truth, a) => {
                let values = a.truth(batch)?;
                let values = if *truth { values } else { boolean::not(&values)? };
                a.hide(Arc::new(known(&values)), &boolean::is_null(&values)?, batch)?
            }
            Node::In(a, list) => {
                let values = a.evaluate(batch)?;
                let mut found = BooleanArray::from(vec![false; rows]);
                for item in list {
                    let same = compare(Comparison::Eq, &values, &item.evaluate(batch)?)?;
                    found = boolean::or_kleene(&found, &same)?;
                }
                Arc::new(found)
            }
            Node::Between(a, low, high) => {
                let values = a.evaluate(batch)?;
                let above = compare(Comparison::GreaterEq, &values, &low.evaluate(batch)?)?;
                let below = compare(Comparison::LessEq, &values, &high.evaluate(batch)?)?;
                Arc::new(boolean::and_kleene(&above, &below)?)
            }
            Node::Case(case) => self.case(case, batch)?,
            Node::Coalesce(list) => {
                let mut values = new_null_array(&self.ty.arrow(), rows);
                for at in list.iter().rev() {
                    let item = at.evaluate(batch)?;
                    values = zip(&boolean::is_not_null(&item)?, &item, &values)?;
                    values = at.hide(values, &boolean::is_null(&item)?, batch)?;
                }
                values
            }
        })
    }

    /// The values of a boolean expression.
    pub(super) fn truth(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let values = self.evaluate(batch)?;
        let other =
            || ArrowError::SchemaError(format!("{} instead of boolean", values.data_type()));
        values.as_boolean_opt().cloned().ok_or_else(other)
    }

    fn case(&self, case: &Case, batch: &RecordBatch) -> Result<ArrayRef> {
        let mut values = match &case.otherwise {
            Some(otherwise) => otherwise.evaluate(batch)?,
            None => new_null_array(&self.ty.arrow(), batch.num_rows()),
        };
        // From the last branch to the first, so that the first TRUE one wins.
        for (when, then) in case.branches.iter().rev() {
            let truth = when.truth(batch)?;
            values = zip(&known(&truth), &then.evaluate(batch)?, &values)?;
            values = when.hide(values, &boolean::is_null(&truth)?, batch)?;
        }
        Ok(values)
    }

    /// Values derived from this expression's, set back to NULL where it is unknown; `null` marks where it is NULL.
    fn hide(&self, values: ArrayRef, null: &BooleanArray, batch: &RecordBatch) -> Result<ArrayRef> {
        if !null.has_true() {
            return Ok(values);
        }
        match self.missing().mask(batch)? {
            Some(missing) => nullif(&values, &boolean::and(null, &missing)?),
            None => Ok(values),
        }
    }
}

/// Replaces NULL with FALSE: only for CASE and IS, which test whether something is known.
fn known(values: &BooleanArray) -> BooleanArray {
    if values.null_count() == 0 { values.clone() } else { prep_null_mask_filter(values) }
}

fn compare(op: Comparison, a: &ArrayRef, b: &ArrayRef) -> Result<BooleanArray> {
    let (a, b) = (&ordered(a), &ordered(b));
    match op {
        Comparison::Eq => cmp::eq(a, b),
        Comparison::NotEq => cmp::neq(a, b),
        Comparison::Less => cmp::lt(a, b),
        Comparison::LessEq => cmp::lt_eq(a, b),
        Comparison::Greater => cmp::gt(a, b),
        Comparison::GreaterEq => cmp::gt_eq(a, b),
    }
}

fn arithmetic(op: Arithmetic, a: &ArrayRef, b: &ArrayRef) -> Result<ArrayRef> {
    if let (Some(a), Some(b)) =
        (a.as_primitive_opt::<Int64Type>(), b.as_primitive_opt::<Int64Type>())
    {
        let op: fn(i64, i64) -> Option<i64> = match op {
            Arithmetic::Add => i64::checked_add,
            Arithmetic::Subtract => i64::checked_sub,
            Arithmetic::Multiply => i64::checked_mul,
            // For the smallest integer divided by -1 the quotient overflows, but the remainder is 0.
            Arithmetic::Remainder => |a, b| if b == -1 { Some(0) } else { a.checked_rem(b) },
            Arithmetic::BitAnd => |a, b| Some(a & b),
            Arithmetic::BitOr => |a, b| Some(a | b),
            Arithmetic::Divide => i64::checked_div,
        };
        let values = a.iter().zip(b).map(|(a, b)| op(a?, b?));
        return Ok(Arc::new(values.collect::<Int64Array>()));
    }
    if let (Some(a), Some(b)) =
        (a.as_primitive_opt::<Float64Type>(), b.as_primitive_opt::<Float64Type>())
    {
        let op: fn(f64, f64) -> f64 = match op {
            Arithmetic::Add => |a, b| a + b,
            Arithmetic::Subtract => |a, b| a - b,
            Arithmetic::Multiply => |a, b| a * b,
            Arithmetic::Divide => |a, b| a / b,
            Arithmetic::Remainder => |a, b| a % b,
            Arithmetic::BitAnd | Arithmetic::BitOr => |_, _| f64::NAN,
        };
        let values = a.iter().zip(b).map(|(a, b)| Some(op(a?, b?)));
        return Ok(Arc::new(values.collect::<Float64Array>()));
    }
    Err(ArrowError::ComputeError(format!(
        "no arithmetic on {} and {}",
        a.data_type(),
        b.data_type()
    )))
}

fn negate(a: &ArrayRef) -> ArrayRef {
    match a.as_primitive_opt::<Int64Type>() {
        Some(a) => Arc::new(a.iter().map(|a| a?.checked_neg()).collect::<Int64Array>()),
        None => match a.as_primitive_opt::<Float64Type>() {
            Some(a) => Arc::new(a.iter().map(|a| Some(-a?)).collect::<Float64Array>()),
            None => Arc::clone(a),
        },
    }
}

/// Floats in SQL's order; anything else unchanged.
fn ordered(values: &ArrayRef) -> ArrayRef {
    match values.as_primitive_opt::<Float64Type>() {
        Some(floats) => Arc::new(floats.unary::<_, Float64Type>(plain)),
        None => Arc::clone(values),
    }
}

/// Arrow orders -0 before 0 and a negative NaN before everything; SQL has one zero and one NaN.
fn plain(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}
