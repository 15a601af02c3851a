//! The columns of a measurement's record, before it is judged.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema};

use super::sweep::Swept;
use crate::chain::Selection;
use crate::connect;
use crate::field::FieldDef;
use crate::flags;
use crate::locate::{LOCATE, Located};
use crate::rule::confirm;

/// The struct with the facts that are gathered before all configurations.
pub const PREPARE: &str = "prepare";

/// The fields of a configuration's struct, without swept values.
pub(super) fn configuration_fields(
    selection: &Selection,
    reply: &[&'static FieldDef],
) -> Vec<Field> {
    let attempt = connect::Attempt::FIELDS.iter();
    attempt
        .chain(reply.iter().copied())
        .chain([&connect::OBSERVED])
        .map(FieldDef::arrow)
        .chain(selection.columns())
        .collect()
}

/// The schema of a record: the structs `target`, `prepare` if the measurement has it, `zero`, `one` and so on, and the
/// confirmation rounds of the rules that have any, and `locate` if the run locates labels.
pub(super) fn record_schema<'a>(
    selection: &Selection,
    reply: &[&'static FieldDef],
    (prepares, locates): (bool, bool),
    configs: impl IntoIterator<Item = (&'static str, &'a [Swept])>,
    target_columns: &Fields,
    rounds: impl IntoIterator<Item = String>,
) -> Schema {
    let facts = configuration_fields(selection, reply);
    let target = DataType::Struct(target_fields(target_columns));
    let mut fields = vec![Field::new("target", target, false)];
    if prepares {
        let found = connect::Prepared::FIELDS.iter().map(FieldDef::arrow);
        fields.push(Field::new(PREPARE, DataType::Struct(found.collect()), false));
    }
    for (name, swept) in configs {
        let swept =
            swept.iter().map(|swept| Field::new(&swept.name, swept.value.data_type(), true));
        let facts: Fields = facts.iter().cloned().chain(swept).collect();
        fields.push(Field::new(name, DataType::Struct(facts), false));
    }
    fields.extend(confirm::field(rounds));
    fields.extend(locates.then(locate_field));
    Schema::new(fields)
}

/// The struct of what was located.
fn locate_field() -> Field {
    let fields = Located::FIELDS.iter().map(FieldDef::arrow);
    Field::new(LOCATE, DataType::Struct(fields.collect()), false)
}

/// The same with the flags, which the writer adds: rules need to know what may be missing from a record.
pub(super) fn with_flags(record: Schema) -> Schema {
    let fields = record.fields().iter().cloned().chain([Arc::new(flags::field())]);
    Schema::new_with_metadata(fields.collect::<Fields>(), record.metadata().clone())
}

/// The columns that every target has, and those that the list adds.
fn target_fields(extra: &Fields) -> Fields {
    let base = [
        ("ip", DataType::Utf8),
        ("port", DataType::UInt16),
        ("name", DataType::Utf8),
        ("prefix", DataType::Utf8),
    ];
    let base = base.into_iter().filter(|(name, _)| extra.find(name).is_none());
    let base = base.map(|(name, data_type)| Field::new(name, data_type, true).into());
    base.chain(extra.iter().cloned()).collect()
}
