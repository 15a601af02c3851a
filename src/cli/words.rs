//! What a name that is no measurement is: a column, a function, a kind. `explain` says so.

use serde_json::{Value, json};

use crate::chain;
use crate::connect;
use crate::field::FieldDef;
use crate::record;
use crate::step;

/// A name of the program's registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The name.
    pub name: String,
    /// What it is: "a column of each configuration".
    pub is: &'static str,
    /// Its documentation.
    pub doc: String,
    /// Where it comes from, and how it is used.
    pub facts: Vec<[String; 2]>,
}

impl Word {
    /// The name in one of the registries. A column may be written with its configuration: `one.ok`.
    pub fn find(written: &str) -> Option<Self> {
        let name = match written.split_once('.') {
            Some((table, name)) if record::CONFIGURATIONS.contains(&table) => name,
            Some(_) => return None,
            None => written,
        };
        record::field(name)
            .map(of_column)
            .or_else(|| chain::function(name).map(|(group, function)| of_function(group, function)))
            .or_else(|| chain::GROUPS.iter().find(|group| group.name == name).map(|g| of_group(g)))
            .or_else(|| connect::kind(name).map(of_kind))
            .or_else(|| {
                let row = step::STEPS.iter().find(|row| row.name == name)?;
                Some(Self {
                    name: name.to_owned(),
                    is: "a kind of step",
                    doc: row.doc.to_owned(),
                    facts: pairs([
                        ("example", row.example.to_owned()),
                        ("undone", row.undo.to_owned()),
                    ]),
                })
            })
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let facts: serde_json::Map<String, Value> =
            self.facts.iter().map(|[key, value]| (key.clone(), value.as_str().into())).collect();
        json!({ "name": self.name, "is": self.is, "doc": self.doc, "facts": facts })
    }
}

fn pairs<const N: usize>(facts: [(&str, String); N]) -> Vec<[String; 2]> {
    facts.into_iter().map(|(key, value)| [key.to_owned(), value]).collect()
}

fn of_column(field: &'static FieldDef) -> Word {
    let mut facts = pairs([("type", (field.data_type)().to_string())]);
    if field.is_nanoseconds() {
        facts.extend(pairs([("unit", "nanoseconds".to_owned())]));
    }
    let by = match chain::function(field.by) {
        Some((group, function)) => {
            let chains: Vec<&str> = function.chains.iter().map(|chain| chain.key()).collect();
            format!(
                "the function {} ({}); use = [\"{}\"] in [observer] adds it",
                function.name,
                chains.join(", "),
                group.name
            )
        }
        None => {
            let kinds = connect::KINDS.iter().filter(|kind| kind.columns.contains(&field.name));
            let kinds: Vec<&str> = kinds.map(|kind| kind.name).collect();
            match kinds.is_empty() {
                true => "every measurement".to_owned(),
                false => format!("connections of kind {}", kinds.join(", ")),
            }
        }
    };
    facts.extend(pairs([
        ("recorded by", by),
        ("in conditions", format!("zero.{0}, one.{0}", field.name)),
    ]));
    let is = "a column of each configuration";
    Word { name: field.name.to_owned(), is, doc: field.doc.trim().to_owned(), facts }
}

fn of_function(group: &chain::GroupDef, function: &chain::FunctionDef) -> Word {
    let chains: Vec<&str> = function.chains.iter().map(|chain| chain.key()).collect();
    let columns = group.fields.iter().filter(|field| field.by == function.name);
    let columns: Vec<&str> = columns.map(|field| field.name).collect();
    let mut facts = pairs([("listed in", chains.join(", ")), ("group", group.name.to_owned())]);
    if !columns.is_empty() {
        facts.extend(pairs([("columns", columns.join(", "))]));
    }
    Word {
        name: function.name.to_owned(),
        is: "a function that reads packets",
        doc: function.doc.to_owned(),
        facts,
    }
}

fn of_group(group: &chain::GroupDef) -> Word {
    let functions: Vec<&str> = group.functions.iter().map(|function| function.name).collect();
    let columns: Vec<&str> = group.fields.iter().map(|field| field.name).collect();
    Word {
        name: group.name.to_owned(),
        is: "a group of functions that read packets",
        doc: group.doc.to_owned(),
        facts: pairs([
            ("used by", format!("use = [\"{}\"] in [observer]", group.name)),
            ("functions", functions.join(", ")),
            ("columns", columns.join(", ")),
        ]),
    }
}

fn of_kind(kind: &connect::KindDef) -> Word {
    Word {
        name: kind.name.to_owned(),
        is: "a kind of connection",
        doc: kind.doc.to_owned(),
        facts: pairs([
            ("written", format!("kind = \"{}\" in [connect]", kind.name)),
            ("port", kind.port.to_string()),
            ("columns", kind.columns.join(", ")),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_registries_are_found() {
        for (written, is) in [
            ("tcp_handshake_rtt", "a column of each configuration"),
            ("one.ok", "a column of each configuration"),
            ("tcp_handshake", "a function that reads packets"),
            ("basic", "a group of functions that read packets"),
            ("dns_udp", "a kind of connection"),
            ("netfilter", "a kind of step"),
        ] {
            let word = Word::find(written).unwrap_or_else(|| panic!("{written}"));
            assert_eq!(word.is, is, "{written}");
            assert!(!word.doc.is_empty() && !word.facts.is_empty(), "{written}");
        }
        for unknown in ["", "nothing", "target.ip", "one.nothing", "./ok"] {
            assert_eq!(Word::find(unknown), None, "{unknown}");
        }
    }
}
