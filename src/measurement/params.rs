//! Params: values of a file that a user may change for a run without editing it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::mistake::mistake;
use super::scalar::Scalar;
use super::substitute::{Names, is_name};
use super::texts::Texts;
use crate::error::{Diagnostic, did_you_mean};

/// The user's changes to a file: values of params, the kind of connection, the number of rounds, the labels to
/// locate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    values: Vec<(String, String)>,
    pub(super) connect: Option<String>,
    pub(super) rounds: Option<u16>,
    pub(super) locate: Option<Vec<String>>,
}

impl Overrides {
    /// Overrides params with values as they were typed. The last value of a name applies.
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: values.into_iter().collect(), ..Self::default() }
    }

    /// The values of params, as they were typed.
    pub(super) fn values(&self) -> &[(String, String)] {
        &self.values
    }

    /// The same without values of params.
    pub(super) fn without_values(&self) -> Self {
        Self { values: Vec::new(), ..self.clone() }
    }

    /// The same with one more value.
    pub(super) fn value(mut self, name: &str, value: &str) -> Self {
        self.values.push((name.to_owned(), value.to_owned()));
        self
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

    /// Locates the labels of the file, and these; nothing if it is `None`.
    #[must_use]
    pub fn locate(self, labels: Option<Vec<String>>) -> Self {
        Self { locate: labels, ..self }
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

/// The value of a param.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamValue {
    /// One value.
    One(Scalar),
    /// A list, for a sweep or for an option that takes several values.
    List(Vec<Scalar>),
}

impl ParamValue {
    /// From a value of a document; `None` for tables, dates, lists of lists, and numbers beyond 64 bits.
    fn of(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::Array(items) => {
                let items = items.iter().map(|item| Scalar::of(item.get_ref()));
                items.collect::<Option<_>>().map(ParamValue::List)
            }
            value => Scalar::of(value).map(ParamValue::One),
        }
    }

    /// The words for its type.
    fn type_name(&self) -> String {
        match self {
            ParamValue::One(value) => value.type_name().to_owned(),
            ParamValue::List(items) => match items.first() {
                Some(first) => format!("list of {}s", first.type_name()),
                None => "list".to_owned(),
            },
        }
    }
}

impl<'de> Deserialize<'de> for ParamValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = ParamValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a string, a boolean or an array of these")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<ParamValue, E> {
                Ok(ParamValue::One(Scalar::Integer(value)))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<ParamValue, E> {
                Ok(ParamValue::One(Scalar::Float(value)))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<ParamValue, E> {
                Ok(ParamValue::One(Scalar::Boolean(value)))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<ParamValue, E> {
                Ok(ParamValue::One(Scalar::Text(value.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ParamValue, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(ParamValue::List(list))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// As the user sets it: the values of a list with commas between them, or as an array of TOML if a text contains a comma.
impl fmt::Display for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = match self {
            ParamValue::One(value) => return value.fmt(f),
            ParamValue::List(items) => items,
        };
        let plain = |item: &Scalar| match item {
            Scalar::Text(text) => {
                !text.is_empty() && text.trim() == text && !text.contains([',', '[', '"'])
            }
            _ => true,
        };
        let is_plain = !items.is_empty() && items.iter().all(plain);
        let written = |item: &Scalar| match item {
            Scalar::Text(text) if !is_plain => toml::Value::from(text.as_str()).to_string(),
            item => item.to_string(),
        };
        let written: Vec<String> = items.iter().map(written).collect();
        match is_plain {
            true => f.write_str(&written.join(",")),
            false => write!(f, "[{}]", written.join(", ")),
        }
    }
}

/// A named value that the user may change.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its value in this plan.
    pub value: ParamValue,
    /// Its value if the user does not change it.
    pub default: ParamValue,
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
        texts: &'a Texts,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Self {
        let names = Names::new(texts);
        let mut params = Params { list: Vec::new(), names, rejected: Vec::new() };
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
        let Some(written) = ParamValue::of(&value) else {
            self.names.set_broken(name);
            return;
        };
        if let Some(given) = given {
            match typed(&written, given) {
                Some(new) => value = new,
                None => self.rejected.push(format!(
                    "{name}={given}: {name} is of type {}, as its default {written}",
                    written.type_name()
                )),
            }
        }
        let help = table.get("help").and_then(|help| help.get_ref().as_str()).unwrap_or_default();
        self.list.push(Param {
            name: name.to_owned(),
            value: ParamValue::of(&value).unwrap_or_else(|| written.clone()),
            default: written,
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

/// A typed text as a value of the default's type. A list has commas between its values, or is an array of TOML.
fn typed<'a>(default: &ParamValue, given: &'a str) -> Option<DeValue<'a>> {
    let default = match default {
        ParamValue::One(default) => return one(default, given),
        ParamValue::List(items) => items.first(),
    };
    if given.trim_start().starts_with('[') {
        let value = DeValue::parse(given.trim()).ok()?.into_inner();
        let fits = |item: &Spanned<DeValue<'_>>| {
            default.is_none_or(|default| is_of(default, item.get_ref()))
        };
        return value.as_array()?.iter().all(fits).then_some(value);
    }
    let mut list = DeArray::new();
    for part in given.split(',') {
        let (part, text) = (part.trim(), Scalar::Text(String::new()));
        let value = match default {
            _ if part.is_empty() => return None,
            Some(default) => one(default, part)?,
            // Of an empty list, any value is a member.
            None => one(&Scalar::Integer(0), part).or_else(|| one(&text, part))?,
        };
        list.push(Spanned::new(0..0, value));
    }
    Some(DeValue::Array(list))
}

/// A typed text as one value of the default's type.
fn one<'a>(default: &Scalar, given: &'a str) -> Option<DeValue<'a>> {
    let value = match default {
        Scalar::Text(_) => return Some(DeValue::String(given.into())),
        _ => DeValue::parse(given.trim()).ok()?.into_inner(),
    };
    is_of(default, &value).then_some(value)
}

/// Whether a value has the type of a default.
fn is_of(default: &Scalar, value: &DeValue<'_>) -> bool {
    let fits = match default {
        // A whole number is a valid float.
        Scalar::Float(_) => value.is_float() || value.is_integer(),
        Scalar::Integer(_) => value.is_integer(),
        Scalar::Boolean(_) => value.is_bool(),
        Scalar::Text(_) => value.is_str(),
    };
    fits && Scalar::of(value).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_set_as_it_is_shown() {
        let numbers = ParamValue::List(vec![Scalar::Integer(8), Scalar::Integer(46)]);
        let texts = ParamValue::List(vec![Scalar::Text("a, b".into()), Scalar::Text("c".into())]);
        assert_eq!(numbers.to_string(), "8,46");
        assert_eq!(texts.to_string(), r#"["a, b", "c"]"#);
        for (value, given) in [(&numbers, "8,46"), (&numbers, "[8, 46]"), (&numbers, " 8 , 46 ")] {
            let read = typed(value, given).and_then(|value| ParamValue::of(&value));
            assert_eq!(read.as_ref(), Some(value), "{given}");
        }
        let shown = texts.to_string();
        assert_eq!(typed(&texts, &shown).and_then(|value| ParamValue::of(&value)), Some(texts));
        for wrong in ["", "8,", "8,ef", "[8", "[\"ef\"]", "8.5"] {
            assert!(typed(&numbers, wrong).is_none(), "{wrong}");
        }
    }
}
