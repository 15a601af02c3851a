//! Arrow arrays as JSON.

use std::io;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, OffsetSizeTrait, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field, TimeUnit};
use arrow_select::take::take;
use serde_json::Value;

use crate::field::time;

/// Writes the value of a row; the row is not NULL.
type Write = Box<dyn Fn(usize, &mut Vec<u8>) -> io::Result<()>>;

/// Writes the values of one array.
pub(super) struct Values {
    nulls: Option<NullBuffer>,
    write: Write,
}

/// How much text is collected before it is written.
const CHUNK: usize = 8 * 1024;

/// Writes every record of a batch as a line. Nulls are written; a float that JSON has no number for is null.
///
/// # Errors
/// A column of a type without a form in JSON, or an error of `to`.
pub(super) fn lines(batch: &RecordBatch, to: &mut dyn io::Write) -> Result<(), ArrowError> {
    let columns = members(batch.schema_ref().fields(), batch.columns())?;
    let mut text = Vec::with_capacity(2 * CHUNK);
    for row in 0..batch.num_rows() {
        object(&columns, row, &mut text)?;
        text.push(b'\n');
        if text.len() > CHUNK {
            to.write_all(&text)?;
            text.clear();
        }
    }
    Ok(to.write_all(&text)?)
}

/// One value; `None` if its type has no form in JSON.
pub(super) fn value(column: &ArrayRef, row: usize) -> Option<Value> {
    let mut text = Vec::new();
    values(column).ok()?.append(row, &mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

impl Values {
    /// Appends the value of a row; NULL as `null`.
    pub(super) fn append(&self, row: usize, out: &mut Vec<u8>) -> io::Result<()> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        (self.write)(row, out)
    }
}

/// A member of an object: its name with the colon, and its values.
type Member = (Vec<u8>, Values);

fn members<'f>(
    fields: impl IntoIterator<Item = &'f Arc<Field>>,
    columns: &[ArrayRef],
) -> Result<Vec<Member>, ArrowError> {
    let member = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let mut name = Vec::new();
        string(field.name(), &mut name)?;
        name.push(b':');
        Ok((name, values(column)?))
    };
    fields.into_iter().zip(columns).map(member).collect()
}

fn object(members: &[Member], row: usize, out: &mut Vec<u8>) -> io::Result<()> {
    out.push(b'{');
    for (index, (name, values)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        values.append(row, out)?;
    }
    out.push(b'}');
    Ok(())
}

pub(super) fn values(array: &ArrayRef) -> Result<Values, ArrowError> {
    let write = match array.data_type() {
        DataType::Null => Box::new(|_, _: &mut Vec<u8>| Ok(())),
        DataType::Boolean => {
            let array = array.as_boolean().clone();
            written(move |row, out| {
                out.extend_from_slice(if array.value(row) { b"true" } else { b"false" });
                Ok(())
            })
        }
        DataType::Int8 => integers::<Int8Type>(array),
        DataType::Int16 => integers::<Int16Type>(array),
        DataType::Int32 => integers::<Int32Type>(array),
        DataType::Int64 => integers::<Int64Type>(array),
        DataType::UInt8 => integers::<UInt8Type>(array),
        DataType::UInt16 => integers::<UInt16Type>(array),
        DataType::UInt32 => integers::<UInt32Type>(array),
        DataType::UInt64 => integers::<UInt64Type>(array),
        DataType::Float16 => floats::<Float16Type, _>(array, |value| value.to_f32()),
        // In their own width: the shortest digits of a wider float are others.
        DataType::Float32 => floats::<Float32Type, _>(array, |value| value),
        DataType::Float64 => floats::<Float64Type, _>(array, |value| value),
        DataType::Utf8 => texts::<i32>(array),
        DataType::LargeUtf8 => texts::<i64>(array),
        DataType::Utf8View => {
            let array = array.as_string_view().clone();
            written(move |row, out| string(array.value(row), out))
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            times::<TimestampSecondType>(array, 1_000_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            times::<TimestampMillisecondType>(array, 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            times::<TimestampMicrosecondType>(array, 1_000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => times::<TimestampNanosecondType>(array, 1),
        DataType::List(_) => lists::<i32>(array)?,
        DataType::LargeList(_) => lists::<i64>(array)?,
        DataType::Struct(fields) => {
            let members = members(fields, array.as_struct().columns())?;
            written(move |row, out| object(&members, row, out))
        }
        DataType::Dictionary(..) => {
            let words = array.as_any_dictionary();
            return values(&take(words.values(), words.keys(), None)?);
        }
        other => {
            return Err(ArrowError::JsonError(format!("JSON has no form for a column of {other}")));
        }
    };
    Ok(Values { nulls: array.logical_nulls(), write })
}

/// Infers the closure's lifetimes.
fn written(write: impl Fn(usize, &mut Vec<u8>) -> io::Result<()> + 'static) -> Write {
    Box::new(write)
}

fn string(text: &str, out: &mut Vec<u8>) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

fn texts<O: OffsetSizeTrait>(array: &ArrayRef) -> Write {
    let array = array.as_string::<O>().clone();
    written(move |row, out| string(array.value(row), out))
}

fn integers<T: ArrowPrimitiveType<Native: serde::Serialize>>(array: &ArrayRef) -> Write {
    let array = array.as_primitive::<T>().clone();
    written(move |row, out| serde_json::to_writer(out, &array.value(row)).map_err(io::Error::from))
}

fn floats<T: ArrowPrimitiveType, F: serde::Serialize>(
    array: &ArrayRef,
    own: impl Fn(T::Native) -> F + 'static,
) -> Write {
    let array = array.as_primitive::<T>().clone();
    // Serde's notation has the shortest digits; infinity and NaN are null.
    written(move |row, out| {
        let text = serde_json::to_string(&own(array.value(row)))?;
        match text.as_str() {
            "null" => out.extend_from_slice(b"null"),
            number => decimal(number, out),
        }
        Ok(())
    })
}

/// Appends a number of any notation: without an exponent from 0.00001 to below 10,000,000,000, and always with a point,
/// which distinguishes floats from integers.
fn decimal(number: &str, out: &mut Vec<u8>) {
    let (number, exponent) = number.split_once('e').unwrap_or((number, "0"));
    let exponent = exponent.parse::<i32>().unwrap_or(0);
    let unsigned = number.strip_prefix('-');
    if unsigned.is_some() {
        out.push(b'-');
    }
    let number = unsigned.unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_start_matches('0');
    // The power of ten of the first digit.
    let power = match digits {
        "" => 0,
        _ => exponent + whole.len() as i32 - 1 - (all.len() - digits.len()) as i32,
    };
    let digits = digits.trim_end_matches('0').as_bytes();
    let mut put = |digits: &[u8], count: i32| {
        let zeros = usize::try_from(count).unwrap_or(0).saturating_sub(digits.len());
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', zeros));
    };
    let split = match power {
        0..10 => power + 1,
        -5..0 => 0,
        _ => 1,
    };
    let (before, after) = digits.split_at(digits.len().min(usize::try_from(split).unwrap_or(0)));
    put(before, split.max(1));
    put(b".", 1);
    if (-5..0).contains(&power) {
        put(b"", -power - 1);
    }
    put(after, 1);
    if !(-5..10).contains(&power) {
        put(format!("e{power}").as_bytes(), 0);
    }
}

/// Times in `factor` nanoseconds; null if they do not fit in nanoseconds.
fn times<T: ArrowPrimitiveType<Native = i64>>(array: &ArrayRef, factor: i64) -> Write {
    let array = array.as_primitive::<T>().clone();
    written(move |row, out| {
        let Some(nanoseconds) = array.value(row).checked_mul(factor) else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        out.push(b'"');
        time::append(nanoseconds, out);
        out.push(b'"');
        Ok(())
    })
}

fn lists<O: OffsetSizeTrait>(array: &ArrayRef) -> Result<Write, ArrowError> {
    let array = array.as_list::<O>().clone();
    let items = values(array.values())?;
    Ok(written(move |row, out| {
        out.push(b'[');
        let offsets = array.value_offsets();
        let (start, end) = (offsets[row].as_usize(), offsets[row + 1].as_usize());
        for item in start..end {
            if item > start {
                out.push(b',');
            }
            items.append(item, out)?;
        }
        out.push(b']');
        Ok(())
    }))
}

#[cfg(test)]
mod tests;
