//! Fields: a struct, its Arrow columns and its documentation from one declaration.
//!
//! Everything in a record (what a chain function saw, how an attempt ended) is declared once with
//! [`fields!`](crate::field::fields). The macro generates the struct that holds one row, the column builders that
//! rows are pushed to, and the [`FieldDef`]s from which schema, help and reference are made.
//!
//! What is counted or measured (`u32`, `u64`, `i64`) has a signed column, because analysts subtract it, and tools
//! compute a difference of unsigned columns modulo 2^64 or not at all. What is a code, a mark or a port (`u8`, `u16`)
//! keeps its width.
//!
//! Imports nothing from this crate.

mod text;
pub mod time;
mod truths;

use std::borrow::Cow;
use std::net::IpAddr;

use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, builder as b,
    builder::ArrayBuilder as _, types as t,
};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, Field, TimeUnit};
use std::sync::Arc;

pub use text::Texts;
use truths::truths;

/// The part of a run that fills a column. It decides what NULL can mean there: only the observer can have missed the
/// flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilledBy {
    /// The run itself, for every attempt, whether or not its flow was observed.
    Engine,
    /// The connection, from what the peer sent; NULL if the exchange did not get that far.
    Reply,
    /// The observer, from captured packets; also NULL if the flow was not observed.
    Observer,
    /// A sweep of the measurement: the same value in every record.
    Sweep,
}

impl FilledBy {
    /// The word in schemas and in the reference.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Reply => "reply",
            Self::Observer => "observer",
            Self::Sweep => "sweep",
        }
    }

    /// Its meaning, as a sentence.
    pub fn doc(self) -> &'static str {
        match self {
            Self::Engine => {
                "The run itself: known for every attempt, whether or not its flow was observed."
            }
            Self::Reply => "What the peer sent; NULL if the exchange did not get that far.",
            Self::Observer => "Captured packets; also NULL if the flow was not observed.",
            Self::Sweep => "A sweep of the measurement: the same value in every record.",
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::Engine, Self::Reply, Self::Observer, Self::Sweep];
}

/// One documented, typed column.
#[derive(Debug, Clone, Copy)]
pub struct FieldDef {
    /// The column's name.
    pub name: &'static str,
    /// The function of the registry (or the part of the program) that fills it.
    pub by: &'static str,
    /// The part of a run that knows its value.
    pub filled_by: FilledBy,
    /// Its meaning, with unit and RFC where applicable.
    pub doc: &'static str,
    /// Its Arrow type.
    pub data_type: fn() -> DataType,
    /// Whether a value is NULL if there was nothing to take it from. A column that is not optional counts, or says
    /// whether there was any: it has a value in every row.
    pub optional: bool,
    /// The smallest and largest possible value, if the range is known to be narrower than the type.
    pub bounds: Option<(i64, i64)>,
}

/// Bounds of a time from a packet to its answer in nanoseconds: 10 microseconds to an hour.
pub const ROUND_TRIP: (i64, i64) = (10_000, 3_600_000_000_000);

impl FieldDef {
    /// The Arrow field; always nullable, since a flow that was not seen has no facts.
    pub fn arrow(&self) -> Field {
        Field::new(self.name, (self.data_type)(), true)
    }

    /// Whether it is a number of nanoseconds; its documentation then begins with the unit.
    pub fn is_nanoseconds(&self) -> bool {
        self.doc.trim_start().starts_with("Nanoseconds")
    }
}

/// The bounds in a [`fields!`](crate::field::fields) declaration, if any, or those of the type.
#[doc(hidden)]
pub const fn first(bounds: &[(i64, i64)], of_type: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match bounds {
        [first, ..] => Some(*first),
        [] => of_type,
    }
}

/// Nanoseconds since 1970 in UTC, or [`Timestamp::UNKNOWN`], the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Default for Timestamp {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

/// A type for cells of a column.
pub trait Cell {
    /// The builder of such a column.
    type Column: Default;
    /// Whether a cell may have no value.
    const OPTIONAL: bool = false;
    /// The smallest and largest value that the Rust type has, where its column could hold others.
    const BOUNDS: Option<(i64, i64)> = None;
    /// The Arrow type of such a column.
    fn data_type() -> DataType;
    /// Adds this value at the end of a column.
    fn append(&self, column: &mut Self::Column);
    /// Takes the finished column and leaves an empty one.
    fn finish(column: &mut Self::Column) -> ArrayRef;
    /// The column with one cell of each row; where possible, faster than appending one after the other.
    fn collect<R>(rows: &[R], cell: impl Fn(&R) -> &Self) -> ArrayRef {
        let mut column = Self::Column::default();
        rows.iter().for_each(|row| cell(row).append(&mut column));
        Self::finish(&mut column)
    }
}

/// A type with a value for "no fact": its [`Option`] is a [`Cell`] too.
pub trait Nullable: Cell {
    /// Adds a null at the end of a column.
    fn append_null(column: &mut Self::Column);
    /// As [`Cell::collect`], for cells that may have no fact.
    fn collect_some<R>(rows: &[R], cell: impl Fn(&R) -> &Option<Self>) -> ArrayRef
    where
        Self: Sized,
    {
        let mut column = Self::Column::default();
        rows.iter().for_each(|row| cell(row).append(&mut column));
        Self::finish(&mut column)
    }
}

impl<T: Nullable> Cell for Option<T> {
    type Column = T::Column;
    const OPTIONAL: bool = true;
    const BOUNDS: Option<(i64, i64)> = T::BOUNDS;
    fn data_type() -> DataType {
        T::data_type()
    }
    fn append(&self, column: &mut Self::Column) {
        match self {
            Some(value) => value.append(column),
            None => T::append_null(column),
        }
    }
    fn finish(column: &mut Self::Column) -> ArrayRef {
        T::finish(column)
    }
    fn collect<R>(rows: &[R], cell: impl Fn(&R) -> &Self) -> ArrayRef {
        T::collect_some(rows, cell)
    }
}

/// Which rows have a fact, if some do not.
fn known<R>(rows: &[R], known: impl Fn(&R) -> bool) -> Option<NullBuffer> {
    let known = BooleanBuffer::collect_bool(rows.len(), |row| known(&rows[row]));
    Some(NullBuffer::new(known)).filter(|nulls| nulls.null_count() > 0)
}

/// A column of numbers.
fn numbers<T: ArrowPrimitiveType, R>(
    rows: &[R],
    number: impl Fn(&R) -> T::Native,
    nulls: Option<NullBuffer>,
) -> PrimitiveArray<T> {
    PrimitiveArray::new(rows.iter().map(number).collect(), nulls)
}

macro_rules! plain_cell {
    ($($type:ty => $builder:ty, $data_type:expr $(, $arrow:ty)?;)*) => {$(
        impl Cell for $type {
            type Column = $builder;
            fn data_type() -> DataType {
                $data_type
            }
            fn append(&self, column: &mut Self::Column) {
                column.append_value(*self);
            }
            fn finish(column: &mut Self::Column) -> ArrayRef {
                Arc::new(column.finish())
            }
            $(
                fn collect<R>(rows: &[R], cell: impl Fn(&R) -> &Self) -> ArrayRef {
                    Arc::new(numbers::<$arrow, R>(rows, |row| *cell(row), None))
                }
            )?
        }
        impl Nullable for $type {
            fn append_null(column: &mut Self::Column) {
                column.append_null();
            }
            $(
                fn collect_some<R>(rows: &[R], cell: impl Fn(&R) -> &Option<Self>) -> ArrayRef {
                    let nulls = known(rows, |row| cell(row).is_some());
                    let number = |row: &R| cell(row).unwrap_or_default();
                    Arc::new(numbers::<$arrow, R>(rows, number, nulls))
                }
            )?
        }
    )*};
}

plain_cell! {
    u8 => b::UInt8Builder, DataType::UInt8, t::UInt8Type;
    u16 => b::UInt16Builder, DataType::UInt16, t::UInt16Type;
    i64 => b::Int64Builder, DataType::Int64, t::Int64Type;
    f64 => b::Float64Builder, DataType::Float64, t::Float64Type;
    &'static str => b::StringBuilder, DataType::Utf8;
}

macro_rules! signed_cell {
    ($($type:ty: $most:expr;)*) => {$(
        impl Cell for $type {
            type Column = b::Int64Builder;
            const BOUNDS: Option<(i64, i64)> = Some((0, $most));
            fn data_type() -> DataType {
                DataType::Int64
            }
            fn append(&self, column: &mut Self::Column) {
                column.append_value(signed(*self));
            }
            fn finish(column: &mut Self::Column) -> ArrayRef {
                Arc::new(column.finish())
            }
            fn collect<R>(rows: &[R], cell: impl Fn(&R) -> &Self) -> ArrayRef {
                Arc::new(numbers::<t::Int64Type, R>(rows, |row| signed(*cell(row)), None))
            }
        }
        impl Nullable for $type {
            fn append_null(column: &mut Self::Column) {
                column.append_null();
            }
            fn collect_some<R>(rows: &[R], cell: impl Fn(&R) -> &Option<Self>) -> ArrayRef {
                let nulls = known(rows, |row| cell(row).is_some());
                let number = |row: &R| cell(row).map_or(0, signed);
                Arc::new(numbers::<t::Int64Type, R>(rows, number, nulls))
            }
        }
    )*};
}

signed_cell! {
    u32: u32::MAX as i64;
    u64: i64::MAX;
}

/// A count or a duration as its column has it. 2^63 nanoseconds are 292 years, and no count gets that far.
fn signed(number: impl Into<u64>) -> i64 {
    i64::try_from(number.into()).unwrap_or(i64::MAX)
}

impl Cell for bool {
    type Column = b::BooleanBuilder;
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn append(&self, column: &mut Self::Column) {
        column.append_value(*self);
    }
    fn finish(column: &mut Self::Column) -> ArrayRef {
        Arc::new(column.finish())
    }
    fn collect<R>(rows: &[R], cell: impl Fn(&R) -> &Self) -> ArrayRef {
        let values = BooleanBuffer::collect_bool(rows.len(), |row| *cell(&rows[row]));
        Arc::new(BooleanArray::new(values, None))
    }
}

impl Nullable for bool {
    fn append_null(column: &mut Self::Column) {
        column.append_null();
    }
    fn collect_some<R>(rows: &[R], cell: impl Fn(&R) -> &Option<Self>) -> ArrayRef {
        Arc::new(truths(rows, |row| *cell(row)))
    }
}

impl Cell for String {
    type Column = b::StringBuilder;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn append(&self, column: &mut Self::Column) {
        column.append_value(self);
    }
    fn finish(column: &mut Self::Column) -> ArrayRef {
        Arc::new(column.finish())
    }
}

impl Cell for Cow<'static, str> {
    type Column = b::StringBuilder;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn append(&self, column: &mut Self::Column) {
        column.append_value(self);
    }
    fn finish(column: &mut Self::Column) -> ArrayRef {
        Arc::new(column.finish())
    }
}

impl Nullable for Cow<'static, str> {
    fn append_null(column: &mut Self::Column) {
        column.append_null();
    }
}

impl Nullable for String {
    fn append_null(column: &mut Self::Column) {
        column.append_null();
    }
}

impl Cell for IpAddr {
    type Column = Texts;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn append(&self, column: &mut Self::Column) {
        match self {
            IpAddr::V4(address) => column.add_numbers(&address.octets(), b'.'),
            IpAddr::V6(address) => column.add_v6(*address),
        }
    }
    fn finish(column: &mut Self::Column) -> ArrayRef {
        column.finish()
    }
    fn collect<R>(rows: &[R], cell: impl Fn(&R) -> &Self) -> ArrayRef {
        Texts::of(rows.iter().map(|row| Some(cell(row))))
    }
}

impl Nullable for IpAddr {
    fn append_null(column: &mut Self::Column) {
        column.add_null();
    }
    fn collect_some<R>(rows: &[R], cell: impl Fn(&R) -> &Option<Self>) -> ArrayRef {
        Texts::of(rows.iter().map(|row| cell(row).as_ref()))
    }
}

/// Whether something was seen: NULL if it was not, but may be in a header or message that could not be read. Unlike
/// `Option<bool>`, NULL never means that there was nothing to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Perhaps(pub Option<bool>);

impl Perhaps {
    /// Whether it was seen, and whether some of the packets could not be read.
    pub fn new(seen: bool, hidden: bool) -> Self {
        Self((seen || !hidden).then_some(seen))
    }
}

impl Default for Perhaps {
    fn default() -> Self {
        Self(Some(false))
    }
}

impl Cell for Perhaps {
    type Column = b::BooleanBuilder;
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn append(&self, column: &mut Self::Column) {
        column.append_option(self.0);
    }
    fn finish(column: &mut Self::Column) -> ArrayRef {
        Arc::new(column.finish())
    }
    fn collect<R>(rows: &[R], cell: impl Fn(&R) -> &Self) -> ArrayRef {
        Arc::new(truths(rows, |row| cell(row).0))
    }
}

impl Timestamp {
    /// No time is known; smaller than every time. 0 is a time.
    pub const UNKNOWN: Self = Self(i64::MIN);
    /// The smallest time.
    pub const FIRST: Self = Self(i64::MIN + 1);

    /// The time, if it is known.
    pub fn known(self) -> Option<Self> {
        (self != Self::UNKNOWN).then_some(self)
    }

    /// The Arrow type: nanoseconds, UTC.
    pub fn arrow_type() -> DataType {
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
    }
}

/// A row of columns, as [`fields!`](crate::field::fields) declares it.
pub trait Row: Default {
    /// The columns, in order.
    const FIELDS: &'static [FieldDef];
    /// The column builders.
    type Columns: Default;
    /// Adds this row at the end of the columns.
    fn push(&self, columns: &mut Self::Columns);
    /// Takes the columns, in the order of `FIELDS`, and leaves them empty.
    fn finish(columns: &mut Self::Columns) -> Vec<ArrayRef>;
    /// The columns of many rows at once, in the order of `FIELDS`.
    fn collect(rows: &[Self]) -> Vec<ArrayRef>;
}

/// Builder of [`Timestamp`] columns; a separate type because it has a time zone.
pub struct TimestampColumn(b::TimestampNanosecondBuilder);

impl Default for TimestampColumn {
    fn default() -> Self {
        Self(b::TimestampNanosecondBuilder::new().with_data_type(Timestamp::arrow_type()))
    }
}

impl std::fmt::Debug for TimestampColumn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TimestampColumn({})", self.0.len())
    }
}

impl Cell for Timestamp {
    type Column = TimestampColumn;
    fn data_type() -> DataType {
        Self::arrow_type()
    }
    fn append(&self, column: &mut Self::Column) {
        column.0.append_option(self.known().map(|time| time.0));
    }
    fn finish(column: &mut Self::Column) -> ArrayRef {
        Arc::new(column.0.finish())
    }
    fn collect<R>(rows: &[R], cell: impl Fn(&R) -> &Self) -> ArrayRef {
        let nulls = known(rows, |row| cell(row).known().is_some());
        let number = |row: &R| cell(row).known().map_or(0, |time| time.0);
        Arc::new(times(numbers(rows, number, nulls)))
    }
}

impl Nullable for Timestamp {
    fn append_null(column: &mut Self::Column) {
        column.0.append_null();
    }
    fn collect_some<R>(rows: &[R], cell: impl Fn(&R) -> &Option<Self>) -> ArrayRef {
        let time = |row: &R| cell(row).and_then(Timestamp::known);
        let nulls = known(rows, |row| time(row).is_some());
        Arc::new(times(numbers(rows, |row| time(row).map_or(0, |time| time.0), nulls)))
    }
}

fn times(numbers: PrimitiveArray<t::TimestampNanosecondType>) -> impl arrow_array::Array {
    numbers.with_data_type(Timestamp::arrow_type())
}

/// Declares a row, its columns, and who fills them (a [`FilledBy`]).
///
/// ```
/// pathspider::field::fields! {
///     /// What `basic_count` counts.
///     pub struct Counts, CountColumns: Observer;
///     "basic_count" {
///         /// Packets in the forward direction.
///         pkt_fwd: u64,
///     }
/// }
/// use pathspider::field::Row as _;
/// let mut columns = CountColumns::default();
/// Counts { pkt_fwd: 3 }.push(&mut columns);
/// assert_eq!(Counts::finish(&mut columns), Counts::collect(&[Counts { pkt_fwd: 3 }]));
/// assert_eq!(Counts::FIELDS[0].doc.trim(), "Packets in the forward direction.");
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __fields {
    (
        $(#[$meta:meta])*
        pub struct $row:ident, $columns:ident: $filled_by:ident;
        $($by:literal {$(
            $(#[doc = $doc:literal])+
            $name:ident : $type:ty $(= $bounds:expr)?,
        )*})*
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        pub struct $row {
            $($($(#[doc = $doc])+ pub $name: $type,)*)*
        }

        impl $row {
            /// The columns, in order.
            pub const FIELDS: &'static [$crate::field::FieldDef] =
                <Self as $crate::field::Row>::FIELDS;
        }

        impl $crate::field::Row for $row {
            const FIELDS: &'static [$crate::field::FieldDef] = &[$($(
                $crate::field::FieldDef {
                    name: stringify!($name),
                    by: $by,
                    filled_by: $crate::field::FilledBy::$filled_by,
                    doc: concat!($($doc, "\n"),+),
                    data_type: <$type as $crate::field::Cell>::data_type,
                    optional: <$type as $crate::field::Cell>::OPTIONAL,
                    bounds: $crate::field::first(
                        &[$($bounds)?],
                        <$type as $crate::field::Cell>::BOUNDS,
                    ),
                },
            )*)*];
            type Columns = $columns;

            fn push(&self, columns: &mut $columns) {
                $($($crate::field::Cell::append(&self.$name, &mut columns.$name);)*)*
            }

            fn finish(columns: &mut $columns) -> Vec<arrow_array::ArrayRef> {
                vec![$($(<$type as $crate::field::Cell>::finish(&mut columns.$name),)*)*]
            }

            fn collect(rows: &[Self]) -> Vec<arrow_array::ArrayRef> {
                vec![$($(<$type as $crate::field::Cell>::collect(rows, |row| &row.$name),)*)*]
            }
        }

        #[doc = concat!("Column builders of [`", stringify!($row), "`].")]
        #[derive(Debug, Default)]
        pub struct $columns {
            $($($name: <$type as $crate::field::Cell>::Column,)*)*
        }
    };
}
#[doc(inline)]
pub use crate::__fields as fields;

#[cfg(test)]
mod tests;
