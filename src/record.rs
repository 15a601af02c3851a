//! The columns of a record: all possible ones, and what fills each.
//!
//! The fields are declared where they are filled (`connect`, `chain`); this module looks them up by name. Imports
//! [`field`](crate::field), [`connect`](crate::connect) and [`chain`].

mod configurations;

use arrow_schema::{DataType, Schema};

use crate::chain;
use crate::connect::{Attempt, OBSERVED, Reply};
use crate::field::{FieldDef, FilledBy};

pub use configurations::CONFIGURATIONS;

/// Every possible field of a configuration's struct, in record order; swept values follow them.
pub fn fields() -> impl Iterator<Item = &'static FieldDef> {
    let attempt = Attempt::FIELDS.iter().chain(Reply::FIELDS).chain([&OBSERVED]);
    attempt.chain(chain::GROUPS.iter().flat_map(|group| group.fields))
}

/// The field of a configuration's struct with this name; `None` for a swept value.
pub fn field(name: &str) -> Option<&'static FieldDef> {
    fields().find(|field| field.name == name)
}

/// What fills a column of a configuration's struct. An unknown name is a swept value.
pub fn filled_by(name: &str) -> FilledBy {
    field(name).map_or(FilledBy::Sweep, |field| field.filled_by)
}

/// The configurations in records with this schema, in order.
pub fn configurations(schema: &Schema) -> impl Iterator<Item = &str> {
    let structs = schema.fields().iter().filter(|f| matches!(f.data_type(), DataType::Struct(_)));
    structs.map(|f| f.name().as_str()).filter(|name| CONFIGURATIONS.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_column_has_one_name_and_one_source() {
        let mut names = HashSet::new();
        for field in fields() {
            assert!(names.insert(field.name), "{} twice", field.name);
            // A chain function's column belongs to the observer, and no other column does.
            let observer = chain::function(field.by).is_some();
            assert_eq!(field.filled_by == FilledBy::Observer, observer, "{}", field.name);
        }
        for (name, by) in [
            ("stage", FilledBy::Engine),
            ("ip_version", FilledBy::Engine),
            ("observed", FilledBy::Engine),
            ("http_status", FilledBy::Reply),
            ("tcp_connected", FilledBy::Observer),
            ("codepoint", FilledBy::Sweep),
        ] {
            assert_eq!(filled_by(name), by, "{name}");
        }
    }
}
