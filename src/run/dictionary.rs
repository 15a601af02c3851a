//! The dictionary: what each column of a result means, in which unit it is, and what fills it.
//!
//! Results have it in the metadata of their Arrow fields, so that other programs can show it. The text is that of the
//! registries, in one line.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use super::catalogue;
use super::evidence::{self, EVIDENCE};
use super::networks::PREFIX;
use crate::chain::{self, Selection};
use crate::connect::Prepared;
use crate::field::FieldDef;
use crate::flags;
use crate::locate::{LOCATE, Located};
use crate::measurement::{PREPARE, Plan};
use crate::record;
use crate::rule::confirm::{CONFIRM, COUNTS};
use crate::rule::{ADDED, METRIC, Rule, Rules};
pub use crate::sink::plain;

/// The key of a field's meaning in its metadata.
pub const DESCRIPTION: &str = "description";
/// The key of its unit, if it has one.
pub const UNIT: &str = "unit";
/// The key of what fills it.
pub const FILLED_BY: &str = "filled_by";

/// How many configurations have all their columns described in a file. The columns of further ones mean the same, and
/// only have their units: each configuration takes some 10 kB of every file.
const DESCRIBED: usize = 2;

/// Units of numbers, by the first words of their documentation; a column has the unit of the longest one that fits.
static UNITS: &[(&str, &str)] = &[
    ("Nanoseconds", "ns"),
    ("Octets", "octets"),
    ("Length octet", "octets"),
    ("Packets", "packets"),
    ("Forward packets", "packets"),
    ("Reverse packets", "packets"),
    ("Forward TCP segments", "packets"),
    ("Reverse TCP segments", "packets"),
    ("SYNs", "packets"),
    ("Messages", "messages"),
    ("Resource records", "records"),
    ("Confirmation rounds", "rounds"),
    ("Rounds", "rounds"),
];

/// What a column means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// Its meaning, in one line.
    pub description: String,
    /// Its unit.
    pub unit: Option<String>,
    /// What fills it: `engine`, `reply`, `observer (FUNCTION)`, `sweep`, `target list`, `conditions`, ...
    pub filled_by: String,
}

/// What the columns of some results mean.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dictionary<'a> {
    selection: Option<&'a Selection>,
    rules: Option<&'a Rules>,
}

/// Text in one line.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The unit of a field that is a number with a unit.
pub fn unit_of(field: &FieldDef) -> Option<&'static str> {
    unit_in(&(field.data_type)(), field.doc)
}

/// The unit that the documentation of a number begins with.
fn unit_in(data_type: &DataType, doc: &str) -> Option<&'static str> {
    let doc = doc.trim_start();
    let fitting = UNITS.iter().filter(|(words, _)| doc.starts_with(words));
    let unit = fitting.max_by_key(|(words, _)| words.len()).map(|(_, unit)| *unit);
    unit.filter(|_| data_type.is_numeric())
}

impl Meaning {
    fn new(description: impl Into<String>, filled_by: &str) -> Self {
        Self { description: description.into(), unit: None, filled_by: filled_by.to_owned() }
    }

    fn of(field: &FieldDef) -> Self {
        let by = field.filled_by.as_str();
        let filled_by = match chain::function(field.by) {
            Some(_) => format!("{by} ({})", field.by),
            None => by.to_owned(),
        };
        let unit = unit_of(field).map(str::to_owned);
        Self { description: one_line(field.doc), unit, filled_by }
    }

    /// From the metadata of a field, if it has any.
    pub fn stored(field: &Field) -> Option<Self> {
        let value = |key: &str| field.metadata().get(key).cloned();
        Some(Self {
            description: value(DESCRIPTION)?,
            unit: value(UNIT),
            filled_by: value(FILLED_BY).unwrap_or_default(),
        })
    }
}

impl<'a> Dictionary<'a> {
    /// The dictionary of a plan's records.
    pub fn of(plan: &'a Plan) -> Self {
        Self { selection: Some(&plan.selection), rules: Some(&plan.rules) }
    }

    /// That of flows that these functions observed.
    pub fn observed(selection: &'a Selection) -> Self {
        Self { selection: Some(selection), rules: None }
    }

    /// That of records judged by these rules.
    pub fn judged(plan: &'a Plan, rules: &'a Rules) -> Self {
        Self { selection: Some(&plan.selection), rules: Some(rules) }
    }

    /// The documentation of a column; empty if it has none. `table` is its struct, empty for a column of the record.
    pub fn doc(&self, table: &str, name: &str) -> String {
        self.meaning(table, name).map_or_else(String::new, |meaning| meaning.description)
    }

    /// The meaning of a column. `table` is its struct (`zero`, `confirm.ecn`), empty for a column of the record.
    pub fn meaning(&self, table: &str, name: &str) -> Option<Meaning> {
        let rule = || {
            let rule = self.rules.and_then(|rules| rules.iter().find(|rule| rule.column() == name));
            rule.map_or(name, Rule::name)
        };
        let conditions = |text: String| Some(Meaning::new(text, "conditions"));
        match table {
            "" => self.of_record(name),
            "target" => {
                let known = catalogue::TARGET.iter().find(|(column, ..)| *column == name);
                let (asn, origins) = catalogue::ORIGINS;
                Some(match (name, known) {
                    (PREFIX, Some((.., doc))) => Meaning::new(one_line(doc), "engine"),
                    (_, Some((.., doc))) => Meaning::new(one_line(doc), "target list"),
                    (_, None) if name == asn => Meaning::new(origins, "AS table"),
                    (_, None) => Meaning::new(one_line(catalogue::FROM_LIST), "target list"),
                })
            }
            EVIDENCE => {
                let known = evidence::COLUMNS.iter().find(|(column, ..)| *column == name)?;
                let unit = unit_in(&known.1, known.2).map(str::to_owned);
                Some(Meaning { unit, ..Meaning::new(known.2, "engine") })
            }
            LOCATE => Located::FIELDS.iter().find(|field| field.name == name).map(Meaning::of),
            PREPARE => Prepared::FIELDS.iter().find(|field| field.name == name).map(Meaning::of),
            "verdict" => {
                conditions(format!("The result of {}; NULL where it does not apply.", rule()))
            }
            "insufficient" => conditions(format!(
                "Why {} is insufficient; NULL where it is not, or does not apply.",
                rule()
            )),
            METRIC => Some(self.of_metric(name)),
            CONFIRM => {
                let counts = COUNTS.map(|(name, _)| name).join(", ");
                let text = format!(
                    "Results of the confirmation rounds by {}: {counts}; NULL without any.",
                    rule()
                );
                Some(Meaning::new(text, "confirmation rounds"))
            }
            _ if table.starts_with(CONFIRM) => {
                let (_, doc) = COUNTS.iter().find(|(count, _)| *count == name)?;
                let unit = Some("rounds".to_owned());
                Some(Meaning { unit, ..Meaning::new(*doc, "confirmation rounds") })
            }
            _ => self.of_configuration(name),
        }
    }

    /// A column of the record itself, or one of `observe`.
    fn of_record(&self, name: &str) -> Option<Meaning> {
        let [conditions, ..] = ADDED;
        if name == conditions {
            return Some(Meaning::new("All labels of the record.", "conditions"));
        }
        if name == EVIDENCE {
            return Some(Meaning::new(evidence::DOC, "engine"));
        }
        let own = catalogue::RECORD.iter().find(|(column, ..)| *column == name);
        let by = if name == flags::COLUMN { "engine, observer" } else { "engine" };
        own.map(|(.., doc)| Meaning::new(one_line(doc), by))
            .or_else(|| record::field(name).map(Meaning::of).or_else(|| self.of_own(name)))
    }

    fn of_configuration(&self, name: &str) -> Option<Meaning> {
        let swept = || Meaning::new("A value of the measurement's sweep.", "sweep");
        record::field(name).map(Meaning::of).or_else(|| self.of_own(name)).or_else(|| {
            // Without the measurement, it may be a column that it defines.
            self.selection.map(|_| swept())
        })
    }

    /// A column that the measurement defines.
    fn of_own(&self, name: &str) -> Option<Meaning> {
        let own = self.selection?.own().iter().find(|own| own.name == name)?;
        Some(Meaning::new(one_line(&own.doc), "observer (measurement)"))
    }

    fn of_metric(&self, name: &str) -> Meaning {
        let metrics = self.rules.into_iter().flat_map(Rules::metrics);
        let metric = metrics.into_iter().find(|metric| metric.column() == name);
        let unit = metric.and_then(|metric| metric.unit()).map(str::to_owned);
        let of = metric.map_or(name, |metric| metric.name());
        let in_unit = unit.as_ref().map_or(String::new(), |unit| format!(", in {unit}"));
        let text = format!("The metric {of}{in_unit}; NULL where it is unknown.");
        Meaning { unit, ..Meaning::new(text, "metrics") }
    }

    /// The same columns with their meanings in the metadata of the fields. What has one keeps it if the dictionary does
    /// not know the column.
    pub fn describe(&self, schema: &Schema) -> SchemaRef {
        let configurations: Vec<&str> = record::configurations(schema).collect();
        let is_further = |name: &str| configurations.iter().skip(DESCRIBED).any(|one| *one == name);
        let fields = schema.fields().iter().map(|field| {
            let further = is_further(field.name());
            self.described("", field, further)
        });
        Arc::new(Schema::new_with_metadata(fields.collect::<Fields>(), schema.metadata().clone()))
    }

    fn described(&self, table: &str, field: &FieldRef, units_only: bool) -> FieldRef {
        let mut described = field.as_ref().clone();
        let below = match table {
            "" => field.name().clone(),
            table => format!("{table}.{}", field.name()),
        };
        if let DataType::Struct(inside) = field.data_type() {
            let inside = inside.iter().map(|inside| self.described(&below, inside, units_only));
            described = described.with_data_type(DataType::Struct(inside.collect()));
        }
        // Without the rules, what the file says of its conditions is better.
        let known = self.rules.is_none().then(|| Meaning::stored(field)).flatten();
        if let Some(meaning) = known.or_else(|| self.meaning(table, field.name())) {
            let mut metadata = HashMap::new();
            metadata.extend(meaning.unit.map(|unit| (UNIT.to_owned(), unit)));
            if !units_only && !meaning.description.is_empty() {
                metadata.insert(DESCRIPTION.to_owned(), meaning.description);
                metadata.insert(FILLED_BY.to_owned(), meaning.filled_by);
            }
            described = described.with_metadata(metadata);
        }
        Arc::new(described)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_of_every_registry_has_a_meaning_in_one_line() {
        let dictionary = Dictionary::default();
        let configurations = record::fields().map(|field| ("zero", field.name));
        let target = catalogue::TARGET.iter().map(|(name, ..)| ("target", *name));
        let own = catalogue::RECORD.iter().map(|(name, ..)| ("", *name));
        for (table, name) in configurations.chain(target).chain(own) {
            let Meaning { description, filled_by, .. } = dictionary.meaning(table, name).unwrap();
            assert!(!description.is_empty() && !filled_by.is_empty(), "{table}.{name}");
            assert!(!description.contains(['\n', '\r']), "{description}");
            assert!(!description.contains("  "), "{description}");
        }
    }

    #[test]
    fn numbers_that_measure_have_a_unit_and_others_have_none() {
        let unit = |name: &str| Dictionary::default().meaning("zero", name).unwrap().unit;
        for (name, expected) in [
            ("tcp_handshake_rtt", Some("ns")),
            ("oct_fwd", Some("octets")),
            ("pkt_oversized_rev", Some("packets")),
            ("tcp_syn_count_fwd", Some("packets")),
            ("icmp_too_big_mtu", Some("octets")),
            ("mss_value_rev", Some("octets")),
            ("dns_answers", Some("records")),
            ("http_status", None),
            ("tcp_synflags_fwd", None),
            ("source_port", None),
            ("ok", None),
        ] {
            assert_eq!(unit(name).as_deref(), expected, "{name}");
        }
        // A number of nanoseconds is one for the rules, too.
        for field in record::fields().filter(|field| field.is_nanoseconds()) {
            assert_eq!(unit(field.name).as_deref(), Some("ns"), "{}", field.name);
        }
    }

    #[test]
    fn descriptions_change_nothing_else_and_can_be_taken_off() {
        let inside = |name: &str| {
            let fields = vec![Field::new("tcp_handshake_rtt", DataType::UInt64, true)];
            Arc::new(Field::new(name, DataType::Struct(fields.into()), false))
        };
        let schema = Schema::new(vec![inside("zero"), inside("one"), inside("two")]);
        let described = Dictionary::default().describe(&schema);
        assert_eq!(*plain(&described), schema);
        let of = |place: usize| match described.field(place).data_type() {
            DataType::Struct(fields) => fields[0].metadata().clone(),
            _ => panic!(),
        };
        assert_eq!(of(1)[UNIT], "ns");
        assert!(of(0)[DESCRIPTION].starts_with("Nanoseconds from SYN to SYN-ACK"));
        assert_eq!(of(1)[FILLED_BY], "observer (tcp_handshake)");
        assert_eq!(of(2).keys().collect::<Vec<_>>(), [UNIT]);
    }
}
