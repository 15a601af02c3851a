//! The columns of a list besides the common ones: their names and types, inferred from the first lines, and which
//! value of a line goes into which column.
//!
//! A type is the narrowest that holds every value of the sample: `Boolean`, `Int64`, `Float64`, else `Utf8`. A later
//! value that does not fit, or whose key the sample did not have, is neither converted nor dropped: it goes into
//! `extra` unchanged.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};

use super::cell::{self, Cell};
use super::raw::Raw;
use super::{Target, Value};

/// Maximum number of the list's own columns; further ones go into `extra`.
const MOST: usize = 256;
/// Integers up to this size are exact as `Float64`.
const EXACT: i64 = 1 << 53;
/// The columns of every list.
const COMMON: [&str; 4] = ["ip", "port", "name", "extra"];

/// The columns of one list.
#[derive(Debug, Default)]
pub struct Layout {
    columns: Vec<Column>,
    /// The index of a column, by the key that the list uses.
    places: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Float,
    Text,
}

impl Kind {
    /// Each with its word on the command line.
    const WORDS: [(&str, Kind); 4] =
        [("bool", Kind::Bool), ("int", Kind::Int), ("float", Kind::Float), ("text", Kind::Text)];

    fn data_type(self) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Int => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Text => DataType::Utf8,
        }
    }
}

/// A column with a fixed type, so that lists of several days give the same columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedColumn {
    name: String,
    kind: Kind,
}

impl FixedColumn {
    /// Parses `NAME:TYPE`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write NAME:TYPE, with the type bool, int, float or text".to_owned();
        let (name, word) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (name, word) = (name.trim(), word.trim());
        let kind = Kind::WORDS.iter().find(|(known, _)| *known == word).ok_or_else(wrong)?.1;
        if name.is_empty() {
            return Err(wrong());
        }
        if COMMON.iter().any(|common| common.eq_ignore_ascii_case(name)) {
            return Err(format!(
                "the type of the column {name} is given: NAME must be one of the list's own columns"
            ));
        }
        Ok(Self { name: name.to_owned(), kind })
    }
}

impl fmt::Display for FixedColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word =
            Kind::WORDS.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(word, _)| word);
        write!(f, "{}:{word}", self.name)
    }
}

/// The values that a column had in the sample.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    bool: bool,
    int: bool,
    /// An integer that is not exact as a float.
    wide: bool,
    float: bool,
    text: bool,
}

impl Seen {
    fn add(&mut self, cell: &Cell) {
        match (cell.bool(), cell.int(), cell.float()) {
            (Some(_), ..) => self.bool = true,
            (None, Some(value), _) => {
                self.int = true;
                self.wide |= value.checked_abs().is_none_or(|size| size > EXACT);
            }
            (None, None, Some(_)) => self.float = true,
            (None, None, None) => self.text = true,
        }
    }

    fn kind(self) -> Kind {
        match (self.bool, self.int || self.float, self.text) {
            (true, false, false) => Kind::Bool,
            (false, true, false) if !self.float => Kind::Int,
            (false, true, false) if !self.wide => Kind::Float,
            _ => Kind::Text,
        }
    }
}

impl Layout {
    /// Infers the columns: first those of `header`, then fixed ones, then in order of appearance. Fixed columns exist
    /// even if the list has no such column.
    pub fn infer(header: Vec<Arc<str>>, sample: &VecDeque<Raw>, fixed: &[FixedColumn]) -> Self {
        let mut keys: Vec<Arc<str>> = Vec::new();
        let mut places = HashMap::new();
        let mut seen: Vec<Seen> = Vec::new();
        let is_fixed = |key: &str, by: &FixedColumn| by.name.eq_ignore_ascii_case(key);
        let mut place = |key: &Arc<str>, seen: &mut Vec<Seen>| {
            if let Some(&place) = places.get(key) {
                return Some(place);
            }
            // Names of fixed columns are compared without case.
            let by = fixed.iter().find(|by| is_fixed(key, by));
            let known = by.and_then(|by| keys.iter().position(|key| is_fixed(key, by)));
            let place = match known {
                Some(place) => place,
                None if keys.len() == MOST => return None,
                None => {
                    keys.push(Arc::clone(key));
                    seen.push(Seen::default());
                    keys.len() - 1
                }
            };
            places.insert(Arc::clone(key), place);
            Some(place)
        };
        for key in &header {
            place(key, &mut seen);
        }
        for by in fixed {
            place(&by.name.as_str().into(), &mut seen);
        }
        for (key, cell) in sample.iter().flat_map(|raw| &raw.rest) {
            if let Some(place) = place(key, &mut seen) {
                seen[place].add(cell);
            }
        }
        let kinds = keys.iter().zip(seen).map(|(key, seen)| {
            fixed.iter().find(|by| is_fixed(key, by)).map_or_else(|| seen.kind(), |by| by.kind)
        });
        let names = unique_names(&COMMON, keys.iter().map(AsRef::as_ref));
        let columns = names.into_iter().zip(kinds).map(|(name, kind)| Column { name, kind });
        Self { columns: columns.collect(), places }
    }

    /// The columns of the record's `target`.
    pub fn fields(&self) -> Fields {
        let common = [("ip", DataType::Utf8), ("port", DataType::UInt16), ("name", DataType::Utf8)];
        common
            .into_iter()
            .chain(
                self.columns.iter().map(|column| (column.name.as_str(), column.kind.data_type())),
            )
            .chain([("extra", DataType::Utf8)])
            .map(|(name, data_type)| Field::new(name, data_type, true))
            .collect()
    }

    /// Puts a line's values into their columns.
    pub fn place(&self, raw: Raw) -> Target {
        let mut more: Vec<Option<Value>> = vec![None; self.columns.len()];
        let mut extra: Vec<(Arc<str>, Cell)> = Vec::new();
        for (key, cell) in raw.rest {
            match self.places.get(&key) {
                Some(&place) => match fit(cell, self.columns[place].kind) {
                    Ok(value) => more[place] = Some(value),
                    Err(misfit) => extra.push((key, misfit)),
                },
                None => extra.push((key, cell)),
            }
        }
        let members = || extra.iter().map(|(key, cell)| (key.as_ref(), cell.json()));
        let extra = (!extra.is_empty()).then(|| cell::object(members()));
        Target { position: raw.line, addr: raw.addr, port: raw.port, name: raw.name, more, extra }
    }
}

/// The value in the column's type; the error is the value unchanged, if it does not fit.
fn fit(cell: Cell, kind: Kind) -> Result<Value, Cell> {
    let fitting = match kind {
        Kind::Text => return Ok(Value::Text(cell.into_text())),
        Kind::Bool => cell.bool().map(Value::Bool),
        Kind::Int => cell.int().map(Value::Int),
        Kind::Float => cell
            .float()
            .or_else(|| {
                let exact = cell.int().filter(|value| (-EXACT..=EXACT).contains(value));
                exact.map(|value| value as f64)
            })
            .map(Value::Float),
    };
    fitting.ok_or(cell)
}

/// Names that differ from `taken` and from each other, also where case is ignored (as in SQL): a name that exists
/// already gets a number.
pub fn unique_names<'a>(taken: &[&str], names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut used: HashSet<String> = taken.iter().map(|name| name.to_lowercase()).collect();
    names
        .enumerate()
        .map(|(index, name)| {
            let name = match name {
                "" => format!("column_{}", index + 1),
                name => name.to_owned(),
            };
            let mut unique = name.clone();
            let mut number = 2_u32;
            while !used.insert(unique.to_lowercase()) {
                unique = format!("{name}_{number}");
                number += 1;
            }
            unique
        })
        .collect()
}
