//! Columns that a measurement defines itself: a count, the first, last, smallest or largest value, or whether any packet
//! is of a kind, by an expression over the fields of its headers.
//!
//! A packet counts only if its `when` is TRUE. Whatever depends on a part of a packet that was not captured is unknown,
//! and so is a column that would depend on it.

mod fields;
mod program;
mod value;

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array};
use arrow_schema::{DataType, Field};

pub use fields::{Kind, PACKET_FIELDS, PacketField, packet_field};
pub use program::{AT_LEAST, AT_MOST, EQUAL, Operator, Orders, Program};
pub use value::Value;

use super::{Admission, Closed, Group, Visit};
use crate::packet::{Direction, FlowKey, Packet};

/// What is kept of the packets that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// Their number.
    Count,
    /// Whether there is one.
    Any,
    /// The value of the first that has one.
    First,
    /// The value of the last that has one.
    Last,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
}

impl Fold {
    /// Each with its key in a file and its meaning.
    pub const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Count, "count", "How many packets of a flow are of a kind."),
        (Self::Any, "any", "Whether any packet of a flow is of a kind."),
        (Self::First, "first", "The value of an expression for the first packet that has one."),
        (Self::Last, "last", "The value of an expression for the last packet that has one."),
        (Self::Min, "min", "The smallest value of an expression over the packets of a flow."),
        (Self::Max, "max", "The largest value of an expression over the packets of a flow."),
    ];

    /// Whether there is always a value in a flow that was observed.
    pub fn adds_up(self) -> bool {
        matches!(self, Self::Count | Self::Any)
    }
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A boolean.
    Truth,
    /// A signed integer.
    Int,
    /// A float.
    Float,
    /// A number of packets.
    Count,
}

/// A column that a measurement defines.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnField {
    /// The column's name.
    pub name: String,
    /// Its meaning.
    pub doc: String,
    /// What is kept.
    pub fold: Fold,
    /// The packets of one direction only.
    pub direction: Option<Direction>,
    /// Which packets count; all without one.
    pub when: Option<Program>,
    /// What is taken of each; for counts nothing.
    pub value: Option<Program>,
    /// The type of the column.
    pub of: Of,
}

impl OwnField {
    /// The Arrow field.
    pub fn arrow(&self) -> Field {
        let data_type = match self.of {
            Of::Truth => DataType::Boolean,
            Of::Int => DataType::Int64,
            Of::Float => DataType::Float64,
            Of::Count => DataType::Int64,
        };
        Field::new(&self.name, data_type, true)
    }

    fn packet(&self, cell: &mut Cell, packet: &Packet<'_>, direction: Direction) {
        if self.direction.is_some_and(|only| only != direction) {
            return;
        }
        let counts = self.when.as_ref().map_or(Value::Truth(true), |when| when.evaluate(packet));
        let value = match counts {
            Value::Truth(true) => match &self.value {
                Some(value) => value.evaluate(packet),
                None => Value::Truth(true),
            },
            Value::Unknown => Value::Unknown,
            _ => Value::Null,
        };
        match (value, self.fold) {
            (Value::Null | Value::Truth(false), Fold::Count | Fold::Any) | (Value::Null, _) => {}
            // A later first value is not the first one; a later last one is.
            (Value::Unknown, Fold::First) => cell.is_hidden |= cell.value.is_none(),
            (Value::Unknown, _) => cell.is_hidden = true,
            (_, Fold::Count) => cell.count = cell.count.saturating_add(1),
            (value, Fold::Any) => cell.value = Some(value),
            (value, Fold::First) => {
                cell.value.get_or_insert(value);
            }
            (value, Fold::Last) => *cell = Cell { value: Some(value), ..Cell::default() },
            (value, fold) => {
                let better = |old: Value| match (value, old) {
                    (Value::Int(new), Value::Int(old)) if fold == Fold::Min => new < old,
                    (Value::Int(new), Value::Int(old)) => new > old,
                    (Value::Float(new), Value::Float(old)) => {
                        let order = program::order(new, old);
                        if fold == Fold::Min { order.is_lt() } else { order.is_gt() }
                    }
                    _ => false,
                };
                if cell.value.is_none_or(better) {
                    cell.value = Some(value);
                }
            }
        }
    }

    fn column(&self, cells: impl Iterator<Item = Cell>) -> ArrayRef {
        let seen = |cell: Cell| match (self.fold, cell.value) {
            // One that was seen was seen.
            (Fold::Any, Some(_)) => Some(Value::Truth(true)),
            _ if cell.is_hidden => None,
            (Fold::Any, None) => Some(Value::Truth(false)),
            (_, value) => value,
        };
        match self.of {
            Of::Count => Arc::new(
                cells.map(|cell| (!cell.is_hidden).then_some(cell.count)).collect::<Int64Array>(),
            ),
            Of::Truth => Arc::new(
                cells
                    .map(|cell| match seen(cell) {
                        Some(Value::Truth(value)) => Some(value),
                        _ => None,
                    })
                    .collect::<BooleanArray>(),
            ),
            Of::Int => Arc::new(
                cells
                    .map(|cell| match seen(cell) {
                        Some(Value::Int(value)) => Some(value),
                        _ => None,
                    })
                    .collect::<Int64Array>(),
            ),
            Of::Float => Arc::new(
                cells
                    .map(|cell| match seen(cell) {
                        Some(Value::Float(value)) => Some(value),
                        _ => None,
                    })
                    .collect::<Float64Array>(),
            ),
        }
    }
}

/// The state of one column in one flow.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    count: i64,
    value: Option<Value>,
    /// Whether it depends on something that was not captured.
    is_hidden: bool,
}

/// The state of all flows: a row of cells for each slot.
struct Own {
    fields: Arc<[OwnField]>,
    cells: Vec<Cell>,
    closed: Vec<Cell>,
}

/// The group of a measurement's own columns; there is at least one.
pub(super) fn group(fields: Arc<[OwnField]>) -> Box<dyn Group> {
    Box::new(Own { fields, cells: Vec::new(), closed: Vec::new() })
}

impl Own {
    fn row(&mut self, slot: usize) -> &mut [Cell] {
        let width = self.fields.len();
        let start = slot * width;
        if self.cells.len() < start + width {
            self.cells.resize(start + width, Cell::default());
        }
        &mut self.cells[start..start + width]
    }
}

impl Group for Own {
    fn open(&mut self, slot: usize, _: &FlowKey, _: &Packet<'_>) -> Admission {
        self.row(slot).fill(Cell::default());
        Admission::Watch
    }

    fn packets(&mut self, packets: &[Packet<'_>], visits: &[Visit]) -> u64 {
        let fields = self.fields.clone();
        for visit in visits {
            let cells = self.row(visit.slot);
            for (field, cell) in fields.iter().zip(cells) {
                field.packet(cell, &packets[visit.packet], visit.seen.direction);
            }
        }
        0
    }

    fn close(&mut self, slots: &[u32]) {
        for slot in slots {
            let width = self.fields.len();
            let start = *slot as usize * width;
            let Self { cells, closed, .. } = self;
            closed.extend_from_slice(&cells[start..start + width]);
        }
    }

    fn take(&mut self) -> Box<dyn Closed> {
        let next = Vec::with_capacity(self.closed.len());
        let cells = std::mem::replace(&mut self.closed, next);
        Box::new(Rows { fields: self.fields.clone(), cells })
    }
}

/// Complete flows, before they become columns.
struct Rows {
    fields: Arc<[OwnField]>,
    cells: Vec<Cell>,
}

impl Closed for Rows {
    fn columns(&self, _: &[FlowKey], wanted: Option<&[bool]>) -> Vec<ArrayRef> {
        let columns = self.fields.iter().enumerate().map(|(number, field)| {
            let rows = self.cells.chunks_exact(self.fields.len()).enumerate();
            let is_wanted =
                |row: usize| wanted.is_none_or(|wanted| wanted.get(row).copied().unwrap_or(false));
            field.column(rows.filter(|(row, _)| is_wanted(*row)).map(|(_, cells)| cells[number]))
        });
        columns.collect()
    }

    fn check(&self, _: usize, _: &FlowKey) {}
}
