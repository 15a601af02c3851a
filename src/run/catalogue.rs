//! Rows that `list`, `explain`, `schema` and `reference` show, from the registries' tables.

use arrow_schema::DataType;

use super::controls::CONTROL;
use super::networks::ASN;
use super::record::POSITION;
use crate::chain::{self, Chain};
use crate::flags;

/// The columns of every target.
pub static TARGET: [(&str, DataType, &str); 5] = [
    ("ip", DataType::Utf8, "The address of the connection."),
    ("port", DataType::UInt16, "The port of the connection."),
    ("name", DataType::Utf8, "The target's name as given in the list; NULL without one."),
    (
        "prefix",
        DataType::Utf8,
        "The prefix of the address, at the run's prefix lengths (--prefix-lengths): 192.0.2.0/24.",
    ),
    (
        "extra",
        DataType::Utf8,
        "Values of the target's line that have no column of their own, as a JSON object; NULL if none.",
    ),
];

/// The column that an AS table adds to every target.
pub static ORIGINS: (&str, &str) = (
    ASN,
    "The ASes that originate the longest prefix with the address, by the table of --as-table; NULL if it has none.",
);

/// The columns of the record itself.
pub static RECORD: [(&str, &str, &str); 3] = [
    (
        POSITION,
        "int64",
        "The target's position in its list: its line number, from 1. Unique within a run.",
    ),
    (
        flags::COLUMN,
        "list of text",
        "What may be missing from the record, and why; empty if nothing.",
    ),
    (
        CONTROL,
        "boolean",
        "Whether it is of a control (--control): under every configuration the baseline was in force, whatever \
         its title says, so that labels are false alarms.",
    ),
];

/// The description of a column of the target list.
pub const FROM_LIST: &str = "As in the target list.";

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
