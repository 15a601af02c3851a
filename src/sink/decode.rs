//! Arrow arrays from JSON: the reverse of `encode`.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, ListArray, NullArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray, StructArray, TimestampNanosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, FieldRef, Fields, SchemaRef, TimeUnit};
use serde_json::{Map, Value};

use crate::field::time;

/// Records of a schema from the objects of their lines. A member that an object lacks is NULL.
///
/// # Errors
/// A value that is not of its column's type, a member that is no column, or NULL in a column that has none.
pub fn batch(schema: &SchemaRef, lines: &[Map<String, Value>]) -> Result<RecordBatch, ArrowError> {
    let lines: Vec<Option<&Map<String, Value>>> = lines.iter().map(Some).collect();
    let columns = columns(schema.fields(), &lines)?;
    let options = RecordBatchOptions::new().with_row_count(Some(lines.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn columns(
    fields: &Fields,
    objects: &[Option<&Map<String, Value>>],
) -> Result<Vec<ArrayRef>, ArrowError> {
    for object in objects.iter().flatten() {
        if let Some(other) = object.keys().find(|key| fields.find(key).is_none()) {
            return Err(ArrowError::JsonError(format!("there is no column {other}")));
        }
    }
    let column = |field: &FieldRef| {
        let values: Vec<Option<&Value>> = objects
            .iter()
            .map(|object| object.and_then(|o| o.get(field.name())).filter(|v| !v.is_null()))
            .collect();
        array(field, &values)
    };
    fields.iter().map(column).collect()
}

fn array(field: &FieldRef, values: &[Option<&Value>]) -> Result<ArrayRef, ArrowError> {
    Ok(match field.data_type() {
        DataType::Null => {
            each(field, values, |_| None::<()>)?;
            Arc::new(NullArray::new(values.len()))
        }
        DataType::Boolean => Arc::new(BooleanArray::from(each(field, values, Value::as_bool)?)),
        DataType::Int8 => integers::<Int8Type>(field, values)?,
        DataType::Int16 => integers::<Int16Type>(field, values)?,
        DataType::Int32 => integers::<Int32Type>(field, values)?,
        DataType::Int64 => integers::<Int64Type>(field, values)?,
        DataType::UInt8 => integers::<UInt8Type>(field, values)?,
        DataType::UInt16 => integers::<UInt16Type>(field, values)?,
        DataType::UInt32 => integers::<UInt32Type>(field, values)?,
        DataType::UInt64 => integers::<UInt64Type>(field, values)?,
        DataType::Float64 => {
            let floats = each(field, values, Value::as_f64)?;
            Arc::new(PrimitiveArray::<Float64Type>::from(floats))
        }
        DataType::Utf8 => Arc::new(StringArray::from(each(field, values, Value::as_str)?)),
        DataType::Dictionary(keys, words)
            if (keys.as_ref(), words.as_ref()) == (&DataType::Int32, &DataType::Utf8) =>
        {
            let words = each(field, values, Value::as_str)?;
            Arc::new(words.into_iter().collect::<DictionaryArray<Int32Type>>())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let times = each(field, values, |value| time::parse(value.as_str()?))?;
            Arc::new(TimestampNanosecondArray::from(times).with_timezone_opt(zone.clone()))
        }
        DataType::List(item) => {
            let lists = each(field, values, Value::as_array)?;
            let lengths = lists.iter().map(|list| list.map_or(0, Vec::len));
            let items: Vec<Option<&Value>> = lists
                .iter()
                .flatten()
                .copied()
                .flatten()
                .map(|v| Some(v).filter(|v| !v.is_null()))
                .collect();
            let nulls = nulls(&lists);
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, array(item, &items)?, nulls)?)
        }
        DataType::Struct(fields) => {
            let objects = each(field, values, Value::as_object)?;
            let (columns, nulls) = (columns(fields, &objects)?, nulls(&objects));
            Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                columns,
                nulls,
                values.len(),
            )?)
        }
        other => {
            let why = format!("{}: JSON has no form for {other}", field.name());
            return Err(ArrowError::JsonError(why));
        }
    })
}

/// Every value in the form that its column takes.
fn each<'v, T>(
    field: &FieldRef,
    values: &[Option<&'v Value>],
    read: impl Fn(&'v Value) -> Option<T>,
) -> Result<Vec<Option<T>>, ArrowError> {
    let one = |value: &Option<&'v Value>| {
        let Some(value) = *value else { return Ok(None) };
        let other = || {
            let (name, wanted) = (field.name(), field.data_type());
            ArrowError::JsonError(format!("{name}: {value} is no value of {wanted}"))
        };
        read(value).map(Some).ok_or_else(other)
    };
    values.iter().map(one).collect()
}

fn integers<T>(field: &FieldRef, values: &[Option<&Value>]) -> Result<ArrayRef, ArrowError>
where
    T: ArrowPrimitiveType<Native: TryFrom<i64> + TryFrom<u64>>,
{
    let read = |value: &Value| match value.as_i64() {
        Some(value) => T::Native::try_from(value).ok(),
        None => T::Native::try_from(value.as_u64()?).ok(),
    };
    let values = each(field, values, read)?;
    Ok(Arc::new(values.into_iter().collect::<PrimitiveArray<T>>()))
}

fn nulls<T>(values: &[Option<T>]) -> Option<NullBuffer> {
    let nulls: NullBuffer = values.iter().map(Option::is_some).collect();
    (nulls.null_count() > 0).then_some(nulls)
}
