//! What the program knows by name, as rows that `list`, `explain`, `schema` and `reference` show:
//! all from the registries' own tables.

use arrow::datatypes::DataType;

use crate::chain::{self, Chain};
use crate::connect::{Attempt, OBSERVED};
use crate::field::FieldDef;
use crate::step::{Scope, Step};

/// A kind of step.
#[derive(Debug, Clone, Copy)]
pub struct StepDef {
    /// The key in a measurement file.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// How it is written.
    pub example: &'static str,
    /// How it is undone.
    pub undo: &'static str,
    /// Whom it affects.
    pub scope: Scope,
    /// What a process needs to be allowed to do it, if anything.
    pub privilege: Option<&'static str>,
}

/// Every kind of step.
pub static STEPS: &[StepDef] = &[StepDef {
    name: "sysctl",
    doc: "sets kernel parameters of the network namespace, and reads them back",
    example: "{ sysctl = { \"net.ipv4.tcp_ecn\" = 1 } }",
    undo: "puts the values back that were there before",
    scope: Scope::Namespace,
    privilege: Some("CAP_NET_ADMIN"),
}];

/// The row of a step.
pub fn step_def(step: &Step) -> &'static StepDef {
    match step {
        Step::Sysctl { .. } => &STEPS[0],
    }
}

/// What a step does, in a few words.
pub fn does(step: &Step) -> String {
    match step {
        Step::Sysctl { name, value } => format!("sets sysctl {name} to {value}"),
    }
}

/// How a step is undone, in a few words.
pub fn undoes(step: &Step) -> String {
    match step {
        Step::Sysctl { name, .. } => format!("{name} gets the value back that it had before"),
    }
}

/// A scope's word, and whom it affects.
pub fn scope(scope: Scope) -> (&'static str, &'static str) {
    match scope {
        Scope::Namespace => ("namespace", "every connection of this network namespace"),
    }
}

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

/// Said of a column that only the target list knows.
pub const FROM_LIST: &str = "As it stands in the target list.";

/// Every field of a configuration's struct, in the order of a record.
pub fn fields() -> impl Iterator<Item = &'static FieldDef> {
    let attempt = Attempt::FIELDS.iter().chain([&OBSERVED]);
    attempt.chain(chain::GROUPS.iter().flat_map(|group| group.fields))
}

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
    use std::collections::HashSet;

    #[test]
    fn steps_are_unique_and_their_examples_are_steps() {
        let mut names = HashSet::new();
        for step in STEPS {
            assert!(names.insert(step.name), "{} twice", step.name);
            let text =
                format!("name = \"x\"\n[config.zero]\n[config.one]\nsteps = [{}]\n", step.example);
            let plan = crate::measurement::Plan::load("x", &text, &Default::default()).unwrap();
            let [step_of_file] = plan.configs[1].steps.as_slice() else { panic!("{text}") };
            assert_eq!(step_def(step_of_file).name, step.name);
        }
    }

    #[test]
    fn types_have_words() {
        let words = fields().map(|field| type_word(&(field.data_type)())).collect::<HashSet<_>>();
        for known in ["boolean", "text", "timestamp", "uint16"] {
            assert!(words.contains(known), "{words:?}");
        }
    }
}
