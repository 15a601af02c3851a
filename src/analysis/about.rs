//! What a result says of itself: its measurement, as far as this version can read it, and its metadata.

use std::collections::BTreeMap;

use serde_json::Value;

use super::source::Source;
use crate::measurement::{Overrides, Plan};
use crate::record;
use crate::rule::column_of;

/// A condition of the measurement.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Its name, `ecn.connectivity`.
    pub name: String,
    /// Its column in the structs `verdict` and `insufficient`.
    pub column: String,
    /// Whether it compares the experiment with the baseline: then `broken` and `transient` are confirmed, and controls
    /// show false alarms.
    pub compares: bool,
}

/// What a result says of itself.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The title of the measurement.
    pub title: String,
    /// Its description.
    pub description: String,
    /// The documents that it names.
    pub references: Vec<String>,
    /// Its configurations with their titles, in record order.
    pub configurations: Vec<(String, String)>,
    /// Its conditions, in file order.
    pub conditions: Vec<Condition>,
    /// Its metrics by column, with their units.
    pub metrics: Vec<(String, Option<String>)>,
    /// The timeout of an attempt in milliseconds, if the measurement can be read.
    pub timeout_ms: Option<u128>,
}

impl About {
    /// Of a result.
    pub fn of(source: &Source) -> Self {
        let mut about = Self::of_columns(source);
        let params: BTreeMap<String, String> = source
            .value("params")
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let text = source.value("measurement").unwrap_or_default();
        let overrides = Overrides::new(params);
        // A measurement of another version may have what this one does not know: its columns still say enough.
        let Ok(plan) = Plan::load_with("results", text, &source.fields("target"), &overrides)
        else {
            if let Ok(file) = text.parse::<toml::Table>() {
                let of = |key: &str| file.get(key).and_then(toml::Value::as_str).map(str::to_owned);
                about.title = of("title").unwrap_or(about.title);
                about.description = of("description").unwrap_or_default();
            }
            return about;
        };
        about.title = plan.title.clone();
        about.description = plan.description.clone();
        about.references = plan.references.clone();
        about.timeout_ms = Some(plan.timeout.as_millis());
        for (name, title) in &mut about.configurations {
            let known = plan.configs.iter().find(|config| config.name == name);
            *title = known.map(|config| config.title.clone()).unwrap_or_default();
        }
        let comparing: Vec<String> = plan.rules.comparing().collect();
        for condition in &mut about.conditions {
            condition.compares = comparing.contains(&condition.column);
        }
        for (column, unit) in &mut about.metrics {
            let known = plan.rules.metrics().find(|metric| metric.column() == *column);
            *unit = known.and_then(|metric| metric.unit().map(str::to_owned));
        }
        about
    }

    /// What the columns and the SQL of the conditions say.
    fn of_columns(source: &Source) -> Self {
        let sql: Option<Value> =
            source.value("conditions_sql").and_then(|text| serde_json::from_str(text).ok());
        let names: Vec<String> = sql
            .as_ref()
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(n, _)| n.clone())
            .collect();
        let fields = source.fields("verdict");
        let condition = |column: &String| Condition {
            name: names.iter().find(|name| column_of(name) == *column).unwrap_or(column).clone(),
            column: column.clone(),
            compares: source.has(&["confirm", column]),
        };
        let mut columns: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        columns.sort_by_key(|column| names.iter().position(|name| column_of(name) == *column));
        Self {
            title: source.name(),
            configurations: record::configurations(&source.schema)
                .map(|name| (name.to_owned(), String::new()))
                .collect(),
            conditions: columns.iter().map(condition).collect(),
            metrics: source.fields("metric").iter().map(|f| (f.name().clone(), None)).collect(),
            ..Self::default()
        }
    }

    /// The condition with a label, and the word of it: `ecn.connectivity.broken`.
    pub fn label(&self, label: &str) -> Option<(usize, String)> {
        let known = self.conditions.iter().enumerate();
        let found = known.filter_map(|(at, condition)| {
            let word = label.strip_prefix(condition.name.as_str())?;
            let word = word.strip_prefix(['.', ':'])?;
            Some((at, word.to_owned()))
        });
        // The longest name.
        found.min_by_key(|(_, word)| word.len())
    }
}

/// The sums and the common values of several results' metadata.
pub fn together(sources: &[Source]) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (at, source) in sources.iter().enumerate() {
        for (key, value) in &source.metadata {
            match all.get_mut(key) {
                None if at == 0 => drop(all.insert(key.clone(), value.clone())),
                None => {}
                Some(known) if is_count(key) => {
                    let sum = known.parse::<u64>().ok().zip(value.parse::<u64>().ok());
                    if let Some((a, b)) = sum {
                        *known = (a + b).to_string();
                    }
                }
                Some(known) => match key.as_str() {
                    "started" => *known = known.clone().min(value.clone()),
                    "ended" => *known = known.clone().max(value.clone()),
                    "complete" if value != "true" => known.clone_from(value),
                    _ => {}
                },
            }
        }
    }
    all
}

/// Whether values of a key add up.
pub fn is_count(key: &str) -> bool {
    const COUNTS: [&str; 8] = [
        "attempts_",
        "packets_",
        "flows_",
        "waves_",
        "targets_read",
        "targets_asked",
        "targets_unfinished",
        "records",
    ];
    COUNTS.iter().any(|known| key.starts_with(known)) && key != "records_flagged"
}
