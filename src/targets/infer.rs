//! The columns of a list beyond the common ones: their names and types, found in its first
//! lines, and what of each line goes into which.
//!
//! A type is the narrowest that holds every value of the sample: `Boolean`, `Int64`, `Float64`,
//! else `Utf8`. What comes later and does not fit, or has a key that the sample did not have,
//! is not bent and not dropped: it goes into `extra` as it was.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use serde_json::Value as Json;

use super::format::{Cell, Raw};
use super::{Target, Value};

/// Columns that a list may have of its own; what is beyond goes into `extra`.
const MOST: usize = 256;
/// Integers up to this size are exact as `Float64`.
const EXACT: i64 = 1 << 53;
/// The columns that every list has.
const COMMON: [&str; 4] = ["ip", "port", "name", "extra"];

/// The columns of one list.
#[derive(Debug, Default)]
pub struct Layout {
    columns: Vec<Column>,
    /// The place of a column, by the key that the list uses.
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
    fn data_type(self) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Int => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Text => DataType::Utf8,
        }
    }
}

/// What values a column had in the sample.
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
        match cell {
            Cell::Csv(text) if csv_bool(text).is_some() => self.bool = true,
            Cell::Json(Json::Bool(_)) => self.bool = true,
            cell => match (int(cell), float(cell)) {
                (Some(value), _) => {
                    self.int = true;
                    self.wide |= value.checked_abs().is_none_or(|size| size > EXACT);
                }
                (None, Some(_)) => self.float = true,
                (None, None) => self.text = true,
            },
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

fn csv_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "True" => Some(true),
        "false" | "False" => Some(false),
        _ => None,
    }
}

/// The integer that a cell is. In CSV only what is written as integers are: a leading zero or
/// plus means that the text is something else, a telephone number perhaps.
fn int(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Csv(text) => text.parse::<i64>().ok().filter(|value| value.to_string() == *text),
        Cell::Json(value) => value.as_i64(),
    }
}

/// The number with a fraction or an exponent that a cell is.
fn float(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Csv(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
            let plain = digits.first().is_some_and(u8::is_ascii_digit)
                && !(digits[0] == b'0' && digits.get(1).is_some_and(u8::is_ascii_digit))
                && digits.iter().any(|digit| matches!(digit, b'.' | b'e' | b'E'));
            if !plain {
                return None;
            }
            text.parse::<f64>().ok().filter(|value| value.is_finite())
        }
        Cell::Json(Json::Number(number)) if number.is_f64() => number.as_f64(),
        Cell::Json(_) => None,
    }
}

impl Layout {
    /// Finds the columns: those of `header` first, then by their first appearance.
    pub fn infer(header: Vec<Arc<str>>, sample: &VecDeque<Raw>) -> Self {
        let mut keys = Vec::new();
        let mut places = HashMap::new();
        let mut seen: Vec<Seen> = Vec::new();
        let mut place = |key: &Arc<str>, seen: &mut Vec<Seen>| {
            if let Some(&place) = places.get(key) {
                return Some(place);
            }
            if keys.len() == MOST {
                return None;
            }
            places.insert(Arc::clone(key), keys.len());
            keys.push(Arc::clone(key));
            seen.push(Seen::default());
            Some(keys.len() - 1)
        };
        for key in &header {
            place(key, &mut seen);
        }
        for (key, cell) in sample.iter().flat_map(|raw| &raw.rest) {
            if let Some(place) = place(key, &mut seen) {
                seen[place].add(cell);
            }
        }
        let names = unique_names(&COMMON, keys.iter().map(AsRef::as_ref));
        let columns = names
            .into_iter()
            .zip(seen)
            .map(|(name, seen)| Column { name, kind: seen.kind() })
            .collect();
        Self { columns, places }
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
        let mut extra = serde_json::Map::new();
        for (key, cell) in raw.rest {
            match self.places.get(&key) {
                Some(&place) => match fit(cell, self.columns[place].kind) {
                    Ok(value) => more[place] = Some(value),
                    Err(misfit) => drop(extra.insert(key.to_string(), misfit)),
                },
                None => drop(extra.insert(key.to_string(), json(cell))),
            }
        }
        let extra = (!extra.is_empty()).then(|| Json::Object(extra).to_string());
        Target { position: raw.line, addr: raw.addr, port: raw.port, name: raw.name, more, extra }
    }
}

/// The value in the column's type, or as JSON if it does not fit.
fn fit(cell: Cell, kind: Kind) -> Result<Value, Json> {
    let fitting = match (kind, &cell) {
        (Kind::Text, _) => {
            return Ok(Value::Text(match json(cell) {
                Json::String(text) => text,
                other => other.to_string(),
            }));
        }
        (Kind::Bool, Cell::Csv(text)) => csv_bool(text).map(Value::Bool),
        (Kind::Bool, Cell::Json(value)) => value.as_bool().map(Value::Bool),
        (Kind::Int, cell) => int(cell).map(Value::Int),
        (Kind::Float, cell) => float(cell)
            .or_else(|| {
                int(cell).filter(|value| (-EXACT..=EXACT).contains(value)).map(|value| value as f64)
            })
            .map(Value::Float),
    };
    fitting.ok_or_else(|| json(cell))
}

/// The value with the type that it looks like: what goes into NDJSON.
pub fn looks_like(cell: Cell) -> Json {
    match (csv_bool_of(&cell), int(&cell), float(&cell)) {
        (Some(value), _, _) => value.into(),
        (None, Some(value), _) => value.into(),
        (None, None, Some(value)) => value.into(),
        (None, None, None) => json(cell),
    }
}

fn csv_bool_of(cell: &Cell) -> Option<bool> {
    match cell {
        Cell::Csv(text) => csv_bool(text),
        Cell::Json(_) => None,
    }
}

/// The value as text: what goes into CSV; arrays and objects as JSON.
pub fn text(cell: &Cell) -> String {
    match cell {
        Cell::Csv(text) | Cell::Json(Json::String(text)) => text.clone(),
        Cell::Json(value) => value.to_string(),
    }
}

fn json(cell: Cell) -> Json {
    match cell {
        Cell::Csv(text) => Json::String(text),
        Cell::Json(value) => value,
    }
}

/// Names that differ from `taken` and from each other also where case does not count (as in
/// SQL): a name that is there already gets a number.
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
