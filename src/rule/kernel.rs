//! The operations of expressions on Arrow arrays, for the types of expressions only: arrow's own kernels cover every
//! pair of Arrow's types, which costs minutes of compilation.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, Int64Array, StringArray, new_null_array};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use arrow_select::take::take;

type Result<T> = std::result::Result<T, ArrowError>;

/// Logic of three values.
pub(super) mod boolean {
    use arrow_array::{Array, BooleanArray};
    use arrow_buffer::{BooleanBuffer, NullBuffer};

    use super::{Result, both};

    /// NULL if any operand is.
    pub fn and(a: &BooleanArray, b: &BooleanArray) -> Result<BooleanArray> {
        both(a, b)?;
        let nulls = NullBuffer::union(a.nulls(), b.nulls());
        Ok(BooleanArray::new(a.values() & b.values(), nulls))
    }

    /// NULL if any operand is.
    pub fn or(a: &BooleanArray, b: &BooleanArray) -> Result<BooleanArray> {
        both(a, b)?;
        let nulls = NullBuffer::union(a.nulls(), b.nulls());
        Ok(BooleanArray::new(a.values() | b.values(), nulls))
    }

    /// FALSE if any operand is, however unknown the other.
    pub fn and_kleene(a: &BooleanArray, b: &BooleanArray) -> Result<BooleanArray> {
        both(a, b)?;
        let values = a.values() & b.values();
        Ok(BooleanArray::new(values, decided(a, b, |operand| !operand.values())))
    }

    /// TRUE if any operand is, however unknown the other.
    pub fn or_kleene(a: &BooleanArray, b: &BooleanArray) -> Result<BooleanArray> {
        both(a, b)?;
        // A value below a NULL is arbitrary, but a result that it makes TRUE is NULL, or TRUE without it.
        let values = a.values() | b.values();
        Ok(BooleanArray::new(values, decided(a, b, |operand| operand.values().clone())))
    }

    /// Where both operands are known, or one decides alone.
    fn decided(
        a: &BooleanArray,
        b: &BooleanArray,
        decides: impl Fn(&BooleanArray) -> BooleanBuffer,
    ) -> Option<NullBuffer> {
        if a.nulls().is_none() && b.nulls().is_none() {
            return None;
        }
        let known = |operand: &BooleanArray| match operand.nulls() {
            Some(nulls) => nulls.inner().clone(),
            None => BooleanBuffer::new_set(operand.len()),
        };
        let (known_a, known_b) = (known(a), known(b));
        let alone = &(&known_a & &decides(a)) | &(&known_b & &decides(b));
        Some(NullBuffer::new(&(&known_a & &known_b) | &alone))
    }

    /// NULL stays NULL.
    pub fn not(values: &BooleanArray) -> Result<BooleanArray> {
        Ok(BooleanArray::new(!values.values(), values.nulls().cloned()))
    }

    /// Whether a value is NULL.
    pub fn is_null(values: &dyn Array) -> Result<BooleanArray> {
        not(&is_not_null(values)?)
    }

    /// Whether a value is not NULL.
    pub fn is_not_null(values: &dyn Array) -> Result<BooleanArray> {
        Ok(BooleanArray::new(
            match values.logical_nulls() {
                Some(nulls) => nulls.into_inner(),
                None => BooleanBuffer::new_set(values.len()),
            },
            None,
        ))
    }
}

/// Comparisons of two arrays of one type; NULL if any operand is. Floats must be in SQL's order already.
pub(super) mod cmp {
    use std::cmp::Ordering;

    use arrow_array::{ArrayRef, BooleanArray};

    use super::{Result, rows_where};

    macro_rules! comparisons {
        ($($name:ident $test:expr;)+) => {$(
            pub fn $name(a: &ArrayRef, b: &ArrayRef) -> Result<BooleanArray> {
                rows_where(a, b, $test)
            }
        )+};
    }

    comparisons! {
        eq Ordering::is_eq;
        neq Ordering::is_ne;
        lt Ordering::is_lt;
        lt_eq Ordering::is_le;
        gt Ordering::is_gt;
        gt_eq Ordering::is_ge;
    }
}

/// Requires equal lengths.
fn both(a: &dyn Array, b: &dyn Array) -> Result<()> {
    if a.len() == b.len() {
        return Ok(());
    }
    let why = format!("{} and {} values in one expression", a.len(), b.len());
    Err(ArrowError::ComputeError(why))
}

fn rows_where(
    a: &ArrayRef,
    b: &ArrayRef,
    test: impl Fn(Ordering) -> bool,
) -> Result<arrow_array::BooleanArray> {
    use arrow_buffer::{BooleanBuffer, NullBuffer};
    both(a, b)?;
    let rows = a.len();
    let values = match (a.data_type(), b.data_type()) {
        (DataType::Int64, DataType::Int64) => {
            let (a, b) = (a.as_primitive::<Int64Type>(), b.as_primitive::<Int64Type>());
            let (a, b) = (a.values(), b.values());
            BooleanBuffer::collect_bool(rows, |row| test(a[row].cmp(&b[row])))
        }
        (DataType::Float64, DataType::Float64) => {
            let (a, b) = (a.as_primitive::<Float64Type>(), b.as_primitive::<Float64Type>());
            let (a, b) = (a.values(), b.values());
            BooleanBuffer::collect_bool(rows, |row| test(a[row].total_cmp(&b[row])))
        }
        (DataType::Utf8, DataType::Utf8) => {
            let (a, b) = (a.as_string::<i32>(), b.as_string::<i32>());
            BooleanBuffer::collect_bool(rows, |row| test(a.value(row).cmp(b.value(row))))
        }
        (DataType::Boolean, DataType::Boolean) => {
            let (a, b) = (a.as_boolean().values(), b.as_boolean().values());
            BooleanBuffer::collect_bool(rows, |row| test(a.value(row).cmp(&b.value(row))))
        }
        (a, b) => {
            return Err(ArrowError::InvalidArgumentError(format!("no comparison of {a} and {b}")));
        }
    };
    Ok(arrow_array::BooleanArray::new(values, NullBuffer::union(a.nulls(), b.nulls())))
}

/// The values as another type: a stored type as the type in which expressions compute, a number as a float, any of
/// them as text. What does not fit is NULL.
///
/// # Errors
/// Other pairs of types.
pub(super) fn cast(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let from = values.data_type();
    if from == to {
        return Ok(Arc::clone(values));
    }
    if from == &DataType::Null
        || (from == &DataType::Boolean && values.null_count() == values.len())
    {
        return Ok(new_null_array(to, values.len()));
    }
    if let Some(words) = values.as_any_dictionary_opt() {
        return cast(&take(words.values(), words.keys(), None)?, to);
    }
    let converted = match to {
        DataType::Int64 => integers(values).map(|array| Arc::new(array) as ArrayRef),
        DataType::Float64 => floats(values),
        DataType::Utf8 => texts(values).map(|array| Arc::new(array) as ArrayRef),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => nanoseconds(values).map(|times| {
            let times = times.reinterpret_cast::<TimestampNanosecondType>();
            Arc::new(times.with_timezone_opt(zone.clone())) as ArrayRef
        }),
        _ => None,
    };
    converted.ok_or_else(|| ArrowError::CastError(format!("{from} is not converted to {to}")))
}

fn wide<T: ArrowPrimitiveType>(values: &ArrayRef) -> Int64Array
where
    T::Native: Into<i64>,
{
    values.as_primitive::<T>().unary(Into::into)
}

fn integers(values: &ArrayRef) -> Option<Int64Array> {
    Some(match values.data_type() {
        DataType::Int8 => wide::<Int8Type>(values),
        DataType::Int16 => wide::<Int16Type>(values),
        DataType::Int32 => wide::<Int32Type>(values),
        DataType::Int64 => wide::<Int64Type>(values),
        DataType::UInt8 => wide::<UInt8Type>(values),
        DataType::UInt16 => wide::<UInt16Type>(values),
        DataType::UInt32 => wide::<UInt32Type>(values),
        DataType::UInt64 => {
            values.as_primitive::<UInt64Type>().unary_opt(|value| i64::try_from(value).ok())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => nanoseconds(values)?,
        _ => return None,
    })
}

/// Times of any unit as nanoseconds since 1970.
fn nanoseconds(values: &ArrayRef) -> Option<Int64Array> {
    fn of<T: ArrowPrimitiveType<Native = i64>>(values: &ArrayRef, factor: i64) -> Int64Array {
        let times = values.as_primitive::<T>();
        match factor {
            1 => times.reinterpret_cast::<Int64Type>(),
            _ => times.unary_opt(|time| time.checked_mul(factor)),
        }
    }
    Some(match values.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            of::<TimestampSecondType>(values, 1_000_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            of::<TimestampMillisecondType>(values, 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            of::<TimestampMicrosecondType>(values, 1_000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => of::<TimestampNanosecondType>(values, 1),
        _ => return None,
    })
}

fn floats(values: &ArrayRef) -> Option<ArrayRef> {
    Some(match values.data_type() {
        DataType::Float16 => {
            let floats = values.as_primitive::<Float16Type>();
            Arc::new(floats.unary::<_, Float64Type>(|value| value.to_f64()))
        }
        DataType::Float32 => {
            let floats = values.as_primitive::<Float32Type>();
            Arc::new(floats.unary::<_, Float64Type>(f64::from))
        }
        _ => Arc::new(integers(values)?.unary::<_, Float64Type>(|value| value as f64)),
    })
}

fn texts(values: &ArrayRef) -> Option<StringArray> {
    Some(match values.data_type() {
        DataType::LargeUtf8 => values.as_string::<i64>().iter().collect(),
        DataType::Utf8View => values.as_string_view().iter().collect(),
        DataType::Boolean => {
            let word = |value: bool| if value { "true" } else { "false" };
            values.as_boolean().iter().map(|value| value.map(word)).collect()
        }
        _ => integers(values)?.iter().map(|value| value.map(|value| value.to_string())).collect(),
    })
}
#[cfg(test)]
mod tests {
    use arrow_array::{
        BooleanArray, DictionaryArray, TimestampMicrosecondArray, UInt16Array, UInt64Array,
    };
    use arrow_buffer::{BooleanBuffer, NullBuffer};

    use super::*;

    const TRUTHS: [Option<bool>; 3] = [Some(true), Some(false), None];

    /// Every pair of truths, with every possible value below a NULL.
    #[test]
    fn unknown_truths_follow_kleene() {
        for below in [true, false] {
            let array = |truths: Vec<Option<bool>>| {
                let values: BooleanBuffer = truths.iter().map(|t| t.unwrap_or(below)).collect();
                let nulls: NullBuffer = truths.iter().map(Option::is_some).collect();
                BooleanArray::new(values, Some(nulls))
            };
            let pairs = TRUTHS.into_iter().flat_map(|a| TRUTHS.map(|b| (a, b)));
            let pairs: Vec<_> = pairs.collect();
            let a = array(pairs.iter().map(|(a, _)| *a).collect());
            let b = array(pairs.iter().map(|(_, b)| *b).collect());
            let strict =
                |a: Option<bool>, b: Option<bool>, op: fn(bool, bool) -> bool| Some(op(a?, b?));
            let kleene = |a: Option<bool>, b: Option<bool>, decides: bool| match (a, b) {
                _ if a == Some(decides) || b == Some(decides) => Some(decides),
                (Some(_), Some(_)) => Some(!decides),
                _ => None,
            };
            let all = |of: &dyn Fn(Option<bool>, Option<bool>) -> Option<bool>| -> Vec<_> {
                pairs.iter().map(|(a, b)| of(*a, *b)).collect()
            };
            let found = |array: BooleanArray| array.iter().collect::<Vec<_>>();
            assert_eq!(
                found(boolean::and_kleene(&a, &b).unwrap()),
                all(&|a, b| kleene(a, b, false))
            );
            assert_eq!(found(boolean::or_kleene(&a, &b).unwrap()), all(&|a, b| kleene(a, b, true)));
            assert_eq!(
                found(boolean::and(&a, &b).unwrap()),
                all(&|a, b| strict(a, b, |a, b| a && b))
            );
            assert_eq!(
                found(boolean::or(&a, &b).unwrap()),
                all(&|a, b| strict(a, b, |a, b| a || b))
            );
            assert_eq!(found(boolean::not(&a).unwrap()), all(&|a, _| a.map(|a| !a)));
            assert_eq!(found(boolean::is_null(&a).unwrap()), all(&|a, _| Some(a.is_none())));
            assert_eq!(found(boolean::is_not_null(&a).unwrap()), all(&|a, _| Some(a.is_some())));
            let bare = |array: &BooleanArray| BooleanArray::new(array.values().clone(), None);
            let mixed = found(boolean::and_kleene(&bare(&a), &b).unwrap());
            assert_eq!(mixed, all(&|a, b| kleene(Some(a.unwrap_or(below)), b, false)));
        }
    }

    #[test]
    fn stored_types_become_those_of_expressions() {
        let cast = |array: ArrayRef, to: DataType| super::cast(&array, &to).unwrap();
        let ports: ArrayRef = Arc::new(UInt16Array::from(vec![Some(u16::MAX), None]));
        let wide: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, i64::MAX as u64]));
        let times = vec![Some(1), None, Some(i64::MAX)];
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let words: DictionaryArray<Int8Type> = [Some("ok"), None, Some("ok")].into_iter().collect();
        let numbers = |values: Vec<Option<i64>>| Int64Array::from(values);
        assert_eq!(
            cast(ports.clone(), DataType::Int64).as_ref(),
            &numbers(vec![Some(65_535), None]) as &dyn Array
        );
        assert_eq!(
            cast(wide, DataType::Int64).as_ref(),
            &numbers(vec![None, Some(i64::MAX)]) as &dyn Array
        );
        let times = cast(times, nanoseconds.clone());
        assert_eq!(times.data_type(), &nanoseconds);
        assert_eq!(
            cast(times, DataType::Int64).as_ref(),
            &numbers(vec![Some(1000), None, None]) as &dyn Array
        );
        let text = |values: Vec<Option<&str>>| StringArray::from(values);
        assert_eq!(
            cast(Arc::new(words), DataType::Utf8).as_ref(),
            &text(vec![Some("ok"), None, Some("ok")]) as &dyn Array
        );
        assert_eq!(
            cast(ports, DataType::Utf8).as_ref(),
            &text(vec![Some("65535"), None]) as &dyn Array
        );
        let none: ArrayRef = new_null_array(&DataType::Boolean, 2);
        assert_eq!(cast(none, DataType::Utf8).null_count(), 2);
        let truth: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        assert!(super::cast(&truth, &DataType::Int64).is_err());
    }

    #[test]
    fn arrays_of_other_lengths_and_types_are_errors() {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let short: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["1", "2"]));
        assert!(cmp::eq(&ints, &short).is_err());
        assert!(cmp::eq(&ints, &texts).is_err());
        assert_eq!(cmp::lt_eq(&ints, &ints).unwrap().true_count(), 2);
    }
}
