//! Limits of a measurement file, so that checking an untrusted one takes at most a second and little memory.
//!
//! All limits are counts and sizes, so the same file gets the same answer everywhere. The mistake names the
//! place where a limit was exceeded.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::mistake::mistake;
use crate::error::Diagnostic;

/// Bytes of a file.
pub(super) const FILE: usize = 8 << 20;
/// Bytes of text that params and sweeps may add, in all.
pub(super) const ADDED: usize = 1 << 20;
/// Commas, equals signs and line ends: each value of a file has one of them. They are counted before parsing, since a
/// parsed value takes a hundred times the memory of its text.
const SEPARATORS: usize = 100_000;
/// The most mistakes that are reported; later ones would be of the same kind.
pub(super) const MISTAKES: usize = 100;

/// The limit of entries in an array or a table.
struct Row {
    /// The keys that lead there; `*` is every key or index.
    path: &'static [&'static str],
    most: usize,
    /// The name of its entries.
    what: &'static str,
    help: &'static str,
}

/// The arrays and tables whose entries cost more than their text.
static ROWS: &[Row] = &[
    Row {
        path: &["conditions"],
        most: 1000,
        what: "conditions, those of sweeps included",
        help: "divide it into several measurements",
    },
    Row {
        path: &["conditions", "*", "first_of"],
        most: 500,
        what: "entries in a `first_of`",
        help: "join entries by OR, or divide the condition",
    },
    Row {
        path: &["config", "*", "steps"],
        most: 100,
        what: "steps in a configuration",
        help: "a `sysctl` step may set several parameters at once",
    },
    Row {
        path: &["config", "*", "sweep"],
        most: 16,
        what: "names in a sweep",
        help: "a name with one value is not needed: write the value where it is used",
    },
    Row {
        path: &["metrics"],
        most: 100,
        what: "metrics, those of sweeps included",
        help: "divide it into several measurements",
    },
    Row {
        path: &["observer", "count"],
        most: 50,
        what: "columns of one kind",
        help: "a column takes memory in every flow: remove those that no condition uses",
    },
    Row {
        path: &["observer", "any"],
        most: 50,
        what: "columns of one kind",
        help: "a column takes memory in every flow: remove those that no condition uses",
    },
    Row {
        path: &["observer", "first"],
        most: 50,
        what: "columns of one kind",
        help: "a column takes memory in every flow: remove those that no condition uses",
    },
    Row {
        path: &["observer", "last"],
        most: 50,
        what: "columns of one kind",
        help: "a column takes memory in every flow: remove those that no condition uses",
    },
    Row {
        path: &["observer", "min"],
        most: 50,
        what: "columns of one kind",
        help: "a column takes memory in every flow: remove those that no condition uses",
    },
    Row {
        path: &["observer", "max"],
        most: 50,
        what: "columns of one kind",
        help: "a column takes memory in every flow: remove those that no condition uses",
    },
    Row { path: &["params"], most: 500, what: "params", help: "remove those that are not used" },
];

/// The mistake if a text exceeds the limits of size or values.
pub(super) fn values(text: &str) -> Option<Diagnostic> {
    if text.len() > FILE {
        let help = "divide it into several measurements";
        return Some(mistake("E0109", FILE..FILE, "a measurement has at most 8 MiB", help));
    }
    let separators = text.bytes().enumerate().filter(|(_, b)| matches!(b, b',' | b'=' | b'\n'));
    let (at, _) = separators.take(SEPARATORS + 1).nth(SEPARATORS)?;
    let message = format!("a measurement has at most {SEPARATORS} lines and values in all");
    Some(mistake("E0109", at..at + 1, &message, "divide it into several measurements"))
}

/// Reports arrays and tables with too many entries, and removes the excess from the document.
pub(super) fn entries(document: &mut DeTable<'_>, mistakes: &mut Vec<Diagnostic>) {
    for row in ROWS {
        if let [first, rest @ ..] = row.path
            && let Some(value) = document.get_mut(*first)
        {
            below(value, rest, row, mistakes);
        }
    }
}

fn below(
    value: &mut Spanned<DeValue<'_>>,
    path: &[&str],
    row: &Row,
    mistakes: &mut Vec<Diagnostic>,
) {
    let Some((key, rest)) = path.split_first() else { return cut(value, row, mistakes) };
    match value.get_mut() {
        DeValue::Array(items) if *key == "*" => {
            items.iter_mut().for_each(|item| below(item, rest, row, mistakes));
        }
        DeValue::Table(table) if *key == "*" => {
            table.iter_mut().for_each(|(_, value)| below(value, rest, row, mistakes));
        }
        DeValue::Table(table) => {
            if let Some(value) = table.get_mut(*key) {
                below(value, rest, row, mistakes);
            }
        }
        _ => {}
    }
}

fn cut(value: &mut Spanned<DeValue<'_>>, row: &Row, mistakes: &mut Vec<Diagnostic>) {
    let beyond = match value.get_mut() {
        DeValue::Array(items) if items.len() > row.most => {
            let beyond = items.get(row.most).map(Spanned::span);
            let mut kept = DeArray::new();
            items.iter().take(row.most).for_each(|item| kept.push(item.clone()));
            *items = kept;
            beyond
        }
        DeValue::Table(table) if table.len() > row.most => {
            let mut keys: Vec<_> = table.keys().cloned().collect();
            keys.sort_by_key(|key| key.span().start);
            let beyond = keys.split_off(row.most);
            beyond.iter().for_each(|key| drop(table.remove(key.get_ref().as_ref())));
            beyond.first().map(Spanned::span)
        }
        _ => None,
    };
    if let Some(span) = beyond {
        let message = format!("there are at most {} {}", row.most, row.what);
        mistakes.push(mistake("E0109", span, &message, row.help));
    }
}

/// The rest of the text that params and sweeps may add. Copies share it.
#[derive(Debug, Clone)]
pub(super) struct Budget(Rc<Cell<usize>>);

impl Default for Budget {
    fn default() -> Self {
        Self(Rc::new(Cell::new(ADDED)))
    }
}

impl Budget {
    /// Takes this many bytes for the value at a place.
    ///
    /// # Errors
    /// The mistake if not enough is left.
    pub(super) fn take(&self, bytes: usize, place: &Range<usize>) -> Result<(), Diagnostic> {
        match self.0.get().checked_sub(bytes) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => {
                self.0.set(0);
                let message = "params and sweeps add more than 1 MiB of text from here on";
                let help = "shorten the param's value, or use it less often";
                Err(mistake("E0109", place.clone(), message, help))
            }
        }
    }
}

/// The bytes of text in a value, at least one for each part of it.
pub(super) fn size(value: &DeValue<'_>) -> usize {
    match value {
        DeValue::String(text) => text.len().max(1),
        DeValue::Array(items) => 1 + items.iter().map(|item| size(item.get_ref())).sum::<usize>(),
        DeValue::Table(table) => {
            let pairs = table.iter();
            1 + pairs.map(|(key, value)| key.get_ref().len() + size(value.get_ref())).sum::<usize>()
        }
        _ => 1,
    }
}
