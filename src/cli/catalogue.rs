//! What the program knows by name, as rows that `list`, `explain`, `schema` and `reference` show:
//! all from the registries' own tables.

use arrow::datatypes::DataType;

use crate::chain::{self, Chain};
use crate::flags;
use crate::run::controls::CONTROL;
use crate::run::record::POSITION;

/// The columns that every target has.
pub static TARGET: [(&str, DataType, &str); 4] = [
    ("ip", DataType::Utf8, "The address that was connected to."),
    ("port", DataType::UInt16, "The port that was connected to."),
    ("name", DataType::Utf8, "The target's name as its list has it; NULL without one."),
    (
        "extra",
        DataType::Utf8,
        "What of the target's line fits no column of its own, as a JSON object; NULL if nothing.",
    ),
];

/// What a record says of itself.
pub static RECORD: [(&str, &str, &str); 3] = [
    (
        POSITION,
        "uint64",
        "The target's place in its list: the number of its line, from 1. No two records of a run have the same.",
    ),
    (
        flags::COLUMN,
        "list of text",
        "Where something may be missing from the record, and why; empty if nothing is.",
    ),
    (
        CONTROL,
        "boolean",
        "Whether it is of a control (--control): under every configuration the baseline was in force, whatever \
         its title says, so that labels are false alarms.",
    ),
];

/// Said of a column that only the target list knows.
pub const FROM_LIST: &str = "As it stands in the target list.";

/// The words for a column's type.
pub fn type_word(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::List(item) => format!("list of {}", type_word(item.data_type())),
        DataType::Struct(_) => "struct".into(),
        other => other.to_string().to_lowercase(),
    }
}

/// A function's chains, by their keys.
pub fn chain_keys(function: &chain::FunctionDef) -> Vec<&'static str> {
    function.chains.iter().map(Chain::key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::fields;
    use std::collections::HashSet;

    #[test]
    fn types_have_words() {
        let words = fields().map(|field| type_word(&(field.data_type)())).collect::<HashSet<_>>();
        for known in ["boolean", "text", "timestamp", "uint16"] {
            assert!(words.contains(known), "{words:?}");
        }
    }
}
