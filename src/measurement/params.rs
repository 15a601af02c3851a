//! Params: values of a file that a user may change for a run without editing it.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::mistake;
use super::scalar::Scalar;
use super::substitute::{Names, is_name};
use crate::error::{Diagnostic, did_you_mean};

/// The user's changes to a file: values of params, the kind of connection, the number of rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    values: Vec<(String, String)>,
    pub(super) connect: Option<String>,
    pub(super) rounds: Option<u16>,
}

impl Overrides {
    /// Overrides params with values as they were typed. The last value of a name applies.
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: values.into_iter().collect(), ..Self::default() }
    }

    /// Selects another kind of connection, out of the file's `kinds`.
    #[must_use]
    pub fn connect(self, kind: Option<String>) -> Self {
        Self { connect: kind, ..self }
    }

    /// Sets the number of confirmation rounds, whatever the file says.
    #[must_use]
    pub fn rounds(self, rounds: Option<u16>) -> Self {
        Self { rounds, ..self }
    }

    /// Splits `name=value`.
    ///
    /// # Errors
    ///
    /// What to write, if there is no name or no equals sign.
    pub fn assignment(text: &str) -> Result<(String, String), String> {
        match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok((name.trim().to_owned(), value.to_owned()))
            }
            _ => Err("write NAME=VALUE, such as timeout=3s".into()),
        }
    }
}

/// A named value that the user may change.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its value in this plan.
    pub value: Scalar,
    /// Its value if the user does not change it.
    pub default: Scalar,
    /// Its purpose; may be empty.
    pub help: String,
}

/// The params of a document, their values by name, and the rejected overrides.
pub(super) struct Params<'a> {
    pub(super) list: Vec<Param>,
    pub(super) names: Names<'a>,
    pub(super) rejected: Vec<String>,
}

impl<'a> Params<'a> {
    /// Reads `[params]`. Serde reports values of a wrong type later; their names are defined all the same, so
    /// that their uses are not reported, too.
    pub(super) fn read(
        document: &DeTable<'a>,
        overrides: &'a Overrides,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut params = Params { list: Vec::new(), names: Names::default(), rejected: Vec::new() };
        let table = document.get("params").and_then(|params| params.get_ref().as_table());
        let mut rows: Vec<_> = table.into_iter().flat_map(|table| table.iter()).collect();
        rows.sort_by_key(|(key, _)| key.span().start);
        for (key, row) in rows {
            let name = key.get_ref().as_ref();
            if !is_name(name) {
                let help = "write lower-case letters, digits and _, beginning with a letter";
                let message = format!("`{name}` cannot be a param's name");
                mistakes.push(mistake("E0107", key.span(), &message, help));
            }
            let Some(table) = row.get_ref().as_table() else {
                params.names.set_broken(name);
                continue;
            };
            let Some(default) = table.get("default") else {
                let help =
                    "write a default, which determines the param's type: { default = \"5s\" }";
                let message = format!("the param `{name}` has no default");
                mistakes.push(mistake("E0107", key.span(), &message, help));
                params.names.set_broken(name);
                continue;
            };
            params.row(name, table, default, overrides);
        }
        params.check_names(overrides);
        params
    }

    fn row(
        &mut self,
        name: &str,
        table: &DeTable<'a>,
        default: &Spanned<DeValue<'a>>,
        overrides: &'a Overrides,
    ) {
        let given = overrides.values.iter().rev().find(|(given, _)| given == name);
        let given = given.map(|(_, value)| value.as_str());
        let mut value = default.get_ref().clone();
        let Some(scalar) = Scalar::of(&value) else {
            self.names.set_broken(name);
            return;
        };
        if let Some(given) = given {
            match typed(&scalar, given) {
                Some(new) => value = new,
                None => self.rejected.push(format!(
                    "{name}={given}: {name} is of type {}, as its default {scalar}",
                    scalar.type_name()
                )),
            }
        }
        let help = table.get("help").and_then(|help| help.get_ref().as_str()).unwrap_or_default();
        self.list.push(Param {
            name: name.to_owned(),
            value: Scalar::of(&value).unwrap_or_else(|| scalar.clone()),
            default: scalar,
            help: help.to_owned(),
        });
        self.names.set(name, value);
    }

    fn check_names(&mut self, overrides: &Overrides) {
        let known: Vec<&str> = self.list.iter().map(|param| param.name.as_str()).collect();
        for (name, value) in &overrides.values {
            if self.names.has(name) {
                continue;
            }
            let help = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| {
                match known.is_empty() {
                    true => "the measurement has no params".into(),
                    false => format!("the measurement has {}", known.join(", ")),
                }
            });
            self.rejected.push(format!("{name}={value}: there is no param {name}; {help}"));
        }
    }
}

/// A typed text as a value of the default's type.
fn typed<'a>(default: &Scalar, given: &'a str) -> Option<DeValue<'a>> {
    let value = match default {
        Scalar::Text(_) => return Some(DeValue::String(given.into())),
        _ => DeValue::parse(given.trim()).ok()?.into_inner(),
    };
    let fits = match default {
        // A whole number is a valid float.
        Scalar::Float(_) => value.is_float() || value.is_integer(),
        Scalar::Integer(_) => value.is_integer(),
        _ => value.is_bool(),
    };
    (fits && Scalar::of(&value).is_some()).then_some(value)
}
