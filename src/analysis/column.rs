//! Columns of a batch, whatever their exact type: files of several versions, and of other writers, are read.

use arrow_array::cast::AsArray as _;
use arrow_array::types as t;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, TimeUnit};

/// The column with this path (`zero.ok`), if it is there. A NULL of a struct is a NULL of its fields.
pub fn find(batch: &RecordBatch, path: &[&str]) -> Option<ArrayRef> {
    let (first, rest) = path.split_first()?;
    let mut column = batch.column_by_name(first)?.clone();
    for name in rest {
        column = member(column.as_struct_opt()?, name)?;
    }
    Some(column)
}

/// A field of a struct, with the struct's NULLs.
fn member(of: &StructArray, name: &str) -> Option<ArrayRef> {
    let field = of.column_by_name(name)?.clone();
    match of.nulls() {
        Some(nulls) if nulls.null_count() > 0 => {
            let absent = BooleanArray::new(!nulls.inner(), None);
            arrow_select::nullif::nullif(&field, &absent).ok()
        }
        _ => Some(field),
    }
}

/// A column of text.
pub enum Words {
    /// One text per row.
    Plain(StringArray),
    /// A code per row, and a text per code.
    Coded(Vec<Option<usize>>, StringArray),
    /// One text per row, of other types of text.
    Owned(Vec<Option<String>>),
    /// The column is not there, or is no text.
    Absent,
}

impl Words {
    /// Of the column with this path.
    pub fn of(batch: &RecordBatch, path: &[&str]) -> Self {
        find(batch, path).map_or(Self::Absent, |column| Self::from(&column))
    }

    /// Of a column.
    pub fn from(column: &ArrayRef) -> Self {
        if let Some(plain) = column.as_string_opt::<i32>() {
            return Self::Plain(plain.clone());
        }
        if let Some(large) = column.as_string_opt::<i64>() {
            return Self::Owned(large.iter().map(|word| word.map(str::to_owned)).collect());
        }
        if let Some(view) = column.as_string_view_opt() {
            return Self::Owned(view.iter().map(|word| word.map(str::to_owned)).collect());
        }
        let Some(coded) = column.as_any_dictionary_opt() else { return Self::Absent };
        let Some(values) = coded.values().as_string_opt::<i32>() else { return Self::Absent };
        if values.is_empty() {
            return Self::Owned(vec![None; column.len()]);
        }
        let keys = coded.normalized_keys().into_iter().enumerate();
        let keys = keys.map(|(row, key)| column.is_valid(row).then_some(key));
        Self::Coded(keys.collect(), values.clone())
    }

    /// The text of a row.
    pub fn at(&self, row: usize) -> Option<&str> {
        match self {
            Self::Plain(words) => words.is_valid(row).then(|| words.value(row)),
            Self::Coded(keys, values) => {
                keys.get(row).copied().flatten().map(|key| values.value(key))
            }
            Self::Owned(words) => words.get(row)?.as_deref(),
            Self::Absent => None,
        }
    }

    /// Whether there is such a column.
    pub fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// A column of truth values.
pub fn truth(batch: &RecordBatch, path: &[&str]) -> Option<BooleanArray> {
    find(batch, path)?.as_boolean_opt().cloned()
}

/// The numbers of a column of integers, durations or times; empty if it is another column.
pub fn wholes(column: &ArrayRef) -> Vec<Option<i64>> {
    macro_rules! signed {
        ($($type:ident)*) => {
            match column.data_type() {
                $(d if *d == <t::$type as arrow_array::ArrowPrimitiveType>::DATA_TYPE => {
                    let numbers = column.as_primitive::<t::$type>();
                    numbers.iter().map(|n| n.and_then(|n| i64::try_from(n).ok())).collect()
                })*
                DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                    column.as_primitive::<t::TimestampNanosecondType>().iter().collect()
                }
                DataType::Duration(TimeUnit::Nanosecond) => {
                    column.as_primitive::<t::DurationNanosecondType>().iter().collect()
                }
                _ => Vec::new(),
            }
        };
    }
    signed!(Int8Type Int16Type Int32Type Int64Type UInt8Type UInt16Type UInt32Type UInt64Type)
}

/// The numbers of a column of integers or floats; empty if it is another column.
pub fn reals(column: &ArrayRef) -> Vec<Option<f64>> {
    match column.data_type() {
        DataType::Float64 => column.as_primitive::<t::Float64Type>().iter().collect(),
        DataType::Float32 => {
            column.as_primitive::<t::Float32Type>().iter().map(|n| n.map(f64::from)).collect()
        }
        _ => wholes(column).into_iter().map(|n| n.map(|n| n as f64)).collect(),
    }
}

/// The values of a row, one or a list of them, joined by `_`: `64496`, or `64496_64497`. `None` without a value.
pub fn joined(column: &ArrayRef) -> impl Fn(usize) -> Option<String> + use<> {
    let lists = column.as_list_opt::<i32>().cloned();
    let one = single(column);
    move |row| match &lists {
        Some(lists) => {
            let list = lists.is_valid(row).then(|| lists.value(row))?;
            let one = single(&list);
            let all: Vec<String> = (0..list.len()).filter_map(one).collect();
            (!all.is_empty()).then(|| all.join("_"))
        }
        None => one(row),
    }
}

fn single(column: &ArrayRef) -> impl Fn(usize) -> Option<String> + use<> {
    let (words, numbers) = (Words::from(column), wholes(column));
    move |row| {
        let number = || numbers.get(row).copied().flatten().map(|number| number.to_string());
        words.at(row).map(str::to_owned).or_else(number)
    }
}

/// The words of a list in every row.
pub fn lists(batch: &RecordBatch, name: &str) -> Option<Vec<Vec<String>>> {
    let lists = batch.column_by_name(name)?.as_list_opt::<i32>()?.clone();
    let lists = lists.iter().map(|list| {
        let Some(list) = list else { return Vec::new() };
        let words = Words::from(&list);
        (0..list.len()).filter_map(|row| words.at(row).map(str::to_owned)).collect()
    });
    Some(lists.collect())
}
