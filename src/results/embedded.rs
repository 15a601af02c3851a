//! The measurement that a result carries, and its rules over the columns of the result.

use arrow_schema::{DataType, Fields, Schema};

use super::input::Input;
use super::judge::FromFile;
use crate::error::{Error, Report, Result};
use crate::measurement::{Overrides, Plan};
use crate::rule::{ADDED, Rules};

/// A measurement and its rules.
#[derive(Debug)]
pub struct Embedded {
    /// The measurement.
    pub plan: Plan,
    /// Its rules over the stored columns.
    pub rules: Rules,
}

impl Embedded {
    /// The measurement of a result; `None` if it carries none.
    ///
    /// # Errors
    /// If this version of the program does not accept it, or its rules do not fit the columns.
    pub fn of(input: &Input) -> Result<Option<Self>> {
        let Some(text) = input.value("measurement") else { return Ok(None) };
        let target = match input.schema.field_with_name("target").map(|field| field.data_type()) {
            Ok(DataType::Struct(fields)) => fields.clone(),
            _ => Fields::empty(),
        };
        let origin = format!("{} (its measurement)", input.path.display());
        let plan = Plan::load_with(&origin, text, &target, &Overrides::new(input.params()))?;
        let is_fact = |name: &str| !ADDED.contains(&name);
        let facts = input.schema.fields().iter().filter(|field| is_fact(field.name())).cloned();
        let facts = Schema::new(facts.collect::<Fields>());
        let rules = plan.rules.against(&facts, &FromFile(&plan.selection));
        let rules = rules.map_err(|why| Error::from(Report::new(origin.as_str(), text, why)))?;
        Ok(Some(Self { plan, rules }))
    }

    /// The same, or `None` with a warning about what is then missing.
    pub fn if_possible(input: &Input, without: &str) -> Option<Self> {
        Self::of(input).unwrap_or_else(|error| {
            let why = error.to_string();
            log::warn!(
                "{}: this version does not accept its measurement, so {without}: {}",
                input.path.display(),
                why.lines().next().unwrap_or_default()
            );
            None
        })
    }
}
