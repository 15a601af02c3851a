//! Fields: one text from which a struct, its Arrow columns and its documentation are made.
//!
//! Whatever ends up in a record (what a chain function saw, how an attempt ended) is declared
//! once with [`fields!`](crate::field::fields). The macro writes the struct that holds one row, the column builders
//! that rows are pushed to, and the [`FieldDef`]s from which schema, help and reference come.
//!
//! Imports nothing from this crate.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use arrow::array::builder as b;
use arrow::array::{ArrayBuilder as _, ArrayRef};
use arrow::datatypes::{DataType, Field, TimeUnit};
use std::sync::Arc;

/// One documented, typed column.
#[derive(Debug, Clone, Copy)]
pub struct FieldDef {
    /// The column's name.
    pub name: &'static str,
    /// The function of the registry (or the part of the program) that fills it.
    pub by: &'static str,
    /// What it means, with unit and, where there is one, the RFC.
    pub doc: &'static str,
    /// Its Arrow type.
    pub data_type: fn() -> DataType,
}

impl FieldDef {
    /// The Arrow field. Every one is nullable: a flow that was not seen has no facts.
    pub fn arrow(&self) -> Field {
        Field::new(self.name, (self.data_type)(), true)
    }
}

/// Nanoseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// A type that can stand in a column.
pub trait Cell {
    /// The builder of such a column.
    type Column: Default;
    /// The Arrow type of such a column.
    fn data_type() -> DataType;
    /// Adds this value at the end of a column.
    fn append(&self, column: &mut Self::Column);
    /// Takes the finished column and leaves an empty one.
    fn finish(column: &mut Self::Column) -> ArrayRef;
}

/// A type with a value for "no fact": its [`Option`] is a [`Cell`] too.
pub trait Nullable: Cell {
    /// Adds a null at the end of a column.
    fn append_null(column: &mut Self::Column);
}

impl<T: Nullable> Cell for Option<T> {
    type Column = T::Column;
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
}

macro_rules! plain_cell {
    ($($type:ty => $builder:ty, $data_type:expr;)*) => {$(
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
        }
        impl Nullable for $type {
            fn append_null(column: &mut Self::Column) {
                column.append_null();
            }
        }
    )*};
}

plain_cell! {
    bool => b::BooleanBuilder, DataType::Boolean;
    u8 => b::UInt8Builder, DataType::UInt8;
    u16 => b::UInt16Builder, DataType::UInt16;
    u32 => b::UInt32Builder, DataType::UInt32;
    u64 => b::UInt64Builder, DataType::UInt64;
    &'static str => b::StringBuilder, DataType::Utf8;
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
    type Column = b::StringBuilder;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn append(&self, column: &mut Self::Column) {
        match self {
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        let _ = column.write_char('.');
                    }
                    decimal(column, octet);
                }
            }
            // Writing to the builder of a string cannot fail.
            IpAddr::V6(address) => drop(write!(column, "{address}")),
        }
        column.append_value("");
    }
    fn finish(column: &mut Self::Column) -> ArrayRef {
        Arc::new(column.finish())
    }
}

/// Adds a number to the string that is being built: two for every flow, so without the formatter.
pub(crate) fn decimal(column: &mut b::StringBuilder, number: u8) {
    for place in [100, 10, 1] {
        if number >= place || place == 1 {
            // Writing to the builder of a string cannot fail.
            let _ = column.write_char(char::from(b'0' + number / place % 10));
        }
    }
}

impl Nullable for IpAddr {
    fn append_null(column: &mut Self::Column) {
        column.append_null();
    }
}

impl Timestamp {
    /// No time is known; also what is written down by those who know none.
    pub const UNKNOWN: Self = Self(0);

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
}

/// Builder of [`Timestamp`] columns; stands apart because it carries its time zone.
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
        column.0.append_value(self.0);
    }
    fn finish(column: &mut Self::Column) -> ArrayRef {
        Arc::new(column.0.finish())
    }
}

impl Nullable for Timestamp {
    fn append_null(column: &mut Self::Column) {
        column.0.append_null();
    }
}

/// Declares a row and its columns.
///
/// ```
/// pathspider::field::fields! {
///     /// What `basic_count` counts.
///     pub struct Counts, CountColumns;
///     "basic_count" {
///         /// Packets in the forward direction.
///         pkt_fwd: u64,
///     }
/// }
/// use pathspider::field::Row as _;
/// let mut columns = CountColumns::default();
/// Counts { pkt_fwd: 3 }.push(&mut columns);
/// assert_eq!(Counts::finish(&mut columns)[0].len(), 1);
/// assert_eq!(Counts::FIELDS[0].doc.trim(), "Packets in the forward direction.");
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __fields {
    (
        $(#[$meta:meta])*
        pub struct $row:ident, $columns:ident;
        $($by:literal {$(
            $(#[doc = $doc:literal])+
            $name:ident : $type:ty,
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
                    doc: concat!($($doc, "\n"),+),
                    data_type: <$type as $crate::field::Cell>::data_type,
                },
            )*)*];
            type Columns = $columns;

            fn push(&self, columns: &mut $columns) {
                $($($crate::field::Cell::append(&self.$name, &mut columns.$name);)*)*
            }

            fn finish(columns: &mut $columns) -> Vec<arrow::array::ArrayRef> {
                vec![$($(<$type as $crate::field::Cell>::finish(&mut columns.$name),)*)*]
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
