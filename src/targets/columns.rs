//! Targets as the Arrow columns of a record's `target`.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, StructArray, UInt16Array,
    builder::StringBuilder,
};
use arrow_schema::{DataType, Fields};

use super::{Target, Value};
use crate::error::{Error, Result};

/// The columns that `fields` (of the [`Reader`](super::Reader) of the targets) name, one row per target.
///
/// # Errors
/// If `fields` are not those of a reader.
pub fn columns(fields: &Fields, targets: &[Target]) -> Result<StructArray> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(fields.len());
    columns.push(Arc::new(addresses(targets)));
    columns.push(Arc::new(UInt16Array::from_iter_values(targets.iter().map(|t| t.port))));
    columns.push(Arc::new(StringArray::from_iter(targets.iter().map(|t| t.name.as_deref()))));
    for (place, field) in fields.iter().skip(3).take(fields.len().saturating_sub(4)).enumerate() {
        columns.push(own(place, field.data_type(), targets));
    }
    columns.push(Arc::new(StringArray::from_iter(targets.iter().map(|t| t.extra.as_deref()))));
    StructArray::try_new(fields.clone(), columns, None)
        .map_err(|error| Error::failed("build the columns of the targets", error))
}

fn addresses(targets: &[Target]) -> StringArray {
    use std::fmt::Write as _;
    let mut builder = StringBuilder::with_capacity(targets.len(), targets.len() * 16);
    for target in targets {
        match target.addr {
            Some(addr) => {
                // Writing to a string builder cannot fail.
                let _ = write!(builder, "{addr}");
                builder.append_value("");
            }
            None => builder.append_null(),
        }
    }
    builder.finish()
}

/// One of the list's own columns.
fn own(place: usize, data_type: &DataType, targets: &[Target]) -> ArrayRef {
    let values = targets.iter().map(|target| target.more.get(place).and_then(Option::as_ref));
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values.map(|value| match value {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }))),
        DataType::Int64 => Arc::new(Int64Array::from_iter(values.map(|value| match value {
            Some(Value::Int(value)) => Some(*value),
            _ => None,
        }))),
        DataType::Float64 => Arc::new(Float64Array::from_iter(values.map(|value| match value {
            Some(Value::Float(value)) => Some(*value),
            _ => None,
        }))),
        _ => Arc::new(StringArray::from_iter(values.map(|value| match value {
            Some(Value::Text(value)) => Some(value.as_str()),
            _ => None,
        }))),
    }
}
