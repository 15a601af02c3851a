//! The metadata of the results, and their columns.

use std::collections::BTreeMap;

use arrow_schema::{DataType, Field, Fields};

use super::account::Account;
use super::cell::{Cell, Form, Table};
use crate::record;

/// Keys that the page shows elsewhere in full.
const ELSEWHERE: [&str; 3] = ["measurement", "conditions_sql", "metrics_sql"];
/// Characters of a value that are shown.
const LONGEST: usize = 300;
/// Rows of these tables that are shown.
const SHOWN: usize = 400;

/// The metadata.
pub(super) fn provenance(account: &Account) -> Vec<Table> {
    let known = account.metadata.iter().filter(|(key, _)| !ELSEWHERE.contains(&key.as_str()));
    let rows = known.map(|(key, value)| {
        let cut: String = value.chars().take(LONGEST).collect();
        let text = if cut.len() < value.len() { format!("{cut} ...") } else { cut };
        let text = if text.is_empty() { Cell::Missing } else { Cell::Text(text) };
        vec![Cell::text(&**key), text]
    });
    let table = Table::new(
        "provenance",
        "The metadata of the result",
        &[("key", Form::Text), ("value", Form::Text)],
    );
    let sql = format!(
        "SELECT key, CASE WHEN length(value) > {LONGEST} THEN left(value, {LONGEST}) || ' ...' ELSE value END FROM about WHERE \
         key NOT IN ('measurement', 'conditions_sql', 'metrics_sql', 'sha256', 'sha256_of') ORDER BY key"
    );
    let mut table = table.with_rows(rows);
    table.shown = SHOWN;
    vec![match account.value("merged_of_several") {
        Some(_) => table,
        None => table.with_sql(sql),
    }]
}

/// A column of the dictionary: equal columns of the configurations are one.
#[derive(Default)]
struct Entry {
    data_type: String,
    unit: String,
    filled_by: String,
    meaning: String,
    /// The least and the largest share of NULLs.
    nulls: Option<[f64; 2]>,
}

/// The columns of the records.
pub(super) fn dictionary(account: &Account) -> Vec<Table> {
    let configurations: Vec<&str> =
        account.about.configurations.iter().map(|(name, _)| name.as_str()).collect();
    let mut entries: Vec<(String, Entry)> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for leaf in &account.leaves {
        let Some(path) = shown_path(&leaf.path, &configurations) else { continue };
        let nulls = leaf.nulls.filter(|_| leaf.values > 0);
        let share = nulls.map(|nulls| nulls as f64 / leaf.values as f64);
        let at = *known.entry(path.clone()).or_insert_with(|| {
            entries.push((path, entry(&leaf.path, account.schema.fields())));
            entries.len() - 1
        });
        if let (Some(share), Some((_, entry))) = (share, entries.get_mut(at)) {
            let [low, high] = entry.nulls.unwrap_or([share; 2]);
            entry.nulls = Some([low.min(share), high.max(share)]);
        }
    }
    let rows = entries.into_iter().map(|(path, entry)| {
        let [low, high] = entry.nulls.map_or([None; 2], |ends| ends.map(Some));
        let words = [path, entry.data_type, entry.unit, entry.filled_by, entry.meaning];
        let words = words
            .into_iter()
            .map(|word| if word.is_empty() { Cell::Missing } else { Cell::Text(word) });
        words.chain([low.into(), high.into()]).collect()
    });
    let mut table = Table::new(
        "dictionary",
        "The columns of the records; equal columns of the configurations are one row",
        &[
            ("column", Form::Text),
            ("type", Form::Text),
            ("unit", Form::Text),
            ("filled by", Form::Text),
            ("meaning", Form::Text),
            ("NULL, least", Form::Share),
            ("NULL, most", Form::Share),
        ],
    )
    .with_rows(rows)
    .with_note(
        "Shares of NULL are those of the file's statistics: SELECT path_in_schema, sum(stats_null_count) / sum(num_values) \
         FROM parquet_metadata('FILE') GROUP BY ALL.",
    );
    table.shown = SHOWN;
    vec![table]
}

/// The name of a column, with `*` for a configuration; `None` for the items of lists.
fn shown_path(path: &[String], configurations: &[&str]) -> Option<String> {
    if path.iter().any(|part| part == "list") {
        return path.first().cloned();
    }
    let mut parts: Vec<&str> = path.iter().map(String::as_str).collect();
    if let Some(first) = parts.first_mut()
        && configurations.contains(first)
    {
        *first = "*";
    }
    Some(parts.join("."))
}

fn entry(path: &[String], fields: &Fields) -> Entry {
    let mut field: Option<&Field> = None;
    let mut fields = Some(fields);
    for part in path {
        let Some((_, found)) = fields.and_then(|fields| fields.find(part)) else { break };
        field = Some(found);
        fields = match found.data_type() {
            DataType::Struct(fields) => Some(fields),
            _ => None,
        };
    }
    let Some(field) = field else { return Entry::default() };
    let def = path.last().and_then(|name| record::field(name)).filter(|_| path.len() == 2);
    let stated = |key: &str| field.metadata().get(key).cloned();
    let first_sentence = |doc: &str| {
        let doc: String = doc.split_whitespace().collect::<Vec<_>>().join(" ");
        doc.split_once(". ").map_or(doc.clone(), |(first, _)| format!("{first}."))
    };
    let meaning = stated("description").or_else(|| def.map(|def| def.doc.to_owned()));
    let unit =
        stated("unit").or_else(|| def.filter(|def| def.is_nanoseconds()).map(|_| "ns".to_owned()));
    let filled_by = stated("filled_by").or_else(|| def.map(|def| def.by.to_owned()));
    Entry {
        data_type: type_name(field.data_type()),
        unit: unit.unwrap_or_default(),
        filled_by: filled_by.unwrap_or_default(),
        meaning: meaning.map(|doc| first_sentence(&doc)).unwrap_or_default(),
        nulls: None,
    }
}

/// The name of a type in DuckDB.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            "VARCHAR".into()
        }
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INTEGER".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "UTINYINT".into(),
        DataType::UInt16 => "USMALLINT".into(),
        DataType::UInt32 => "UINTEGER".into(),
        DataType::UInt64 => "UBIGINT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Timestamp(..) => "TIMESTAMPTZ_NS".into(),
        DataType::List(item) => format!("{}[]", type_name(item.data_type())),
        other => other.to_string(),
    }
}
