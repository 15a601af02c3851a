//! Sweeps: one configuration of a document becomes several, and so does each condition that contains
//! the swept value.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, StructArray,
};
use arrow_schema::{Field, FieldRef};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::mistake::mistake;
use super::scalar::Scalar;
use super::substitute::{CALCULATION, Names, is_name, mentions, names_in};
use crate::error::{Diagnostic, Error, Result};
use crate::record::{self, CONFIGURATIONS as NAMES};

/// A swept value and its name: a column of its configuration's struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Swept {
    /// The column.
    pub name: String,
    /// Its value, the same in every record.
    pub value: Scalar,
}

impl Swept {
    /// The struct of a configuration with the swept values after its own columns.
    ///
    /// # Errors
    ///
    /// If Arrow cannot combine them.
    pub fn append(all: &[Self], record: StructArray) -> Result<StructArray> {
        if all.is_empty() {
            return Ok(record);
        }
        let rows = record.len();
        let (fields, mut columns, nulls) = record.into_parts();
        let mut fields: Vec<FieldRef> = fields.iter().cloned().collect();
        for Self { name, value } in all {
            fields.push(Arc::new(Field::new(name, value.data_type(), true)));
            columns.push(match value {
                Scalar::Integer(value) => {
                    Arc::new(Int64Array::from(vec![*value; rows])) as ArrayRef
                }
                Scalar::Float(value) => Arc::new(Float64Array::from(vec![*value; rows])),
                Scalar::Boolean(value) => Arc::new(BooleanArray::from(vec![*value; rows])),
                Scalar::Text(value) => Arc::new(StringArray::from(vec![value.as_str(); rows])),
            });
        }
        StructArray::try_new(fields.into(), columns, nulls)
            .map_err(|why| Error::failed("add the swept values to a record", why))
    }
}

/// The sweep of a document.
struct Sweep<'a> {
    /// The number of the swept configuration.
    config: usize,
    /// The names, in file order.
    names: Vec<String>,
    /// The values of each resulting configuration; never empty.
    points: Vec<Vec<DeValue<'a>>>,
}

/// Substitutes names everywhere in a document, and expands a configuration with a
/// sweep into several. Returns the swept values of every configuration by its number.
pub(super) fn expand<'a>(
    text: &str,
    document: &mut DeTable<'a>,
    names: &Names<'a>,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Vec<Swept>> {
    settle_sweeps(text, document, names, mistakes);
    let sweep = find(document, names, mistakes);
    for (key, value) in document.iter_mut() {
        match (key.get_ref().as_ref(), value.get_mut()) {
            ("params", _) => {}
            ("config", DeValue::Table(configs)) => {
                expand_configs(text, configs, names, sweep.as_ref(), mistakes);
            }
            ("conditions" | "metrics", DeValue::Array(conditions)) => {
                if let Some(sweep) = &sweep {
                    *conditions = expand_conditions(text, conditions, names, sweep, mistakes);
                } else {
                    names.value(text, value, mistakes);
                }
            }
            _ => names.value(text, value, mistakes),
        }
    }
    let Some(sweep) = sweep else { return Vec::new() };
    let mut swept = vec![Vec::new(); sweep.config];
    swept.extend(sweep.points.iter().map(|point| {
        let pairs = sweep.names.iter().zip(point);
        pairs
            .filter_map(|(name, value)| {
                Some(Swept { name: name.clone(), value: Scalar::of(value)? })
            })
            .collect()
    }));
    swept
}

/// Substitutes names in the sweeps themselves: their values may be params.
fn settle_sweeps<'a>(
    text: &str,
    document: &mut DeTable<'a>,
    names: &Names<'a>,
    mistakes: &mut Vec<Diagnostic>,
) {
    let Some(DeValue::Table(configs)) = document.get_mut("config").map(Spanned::get_mut) else {
        return;
    };
    for (_, config) in configs.iter_mut() {
        if let DeValue::Table(config) = config.get_mut()
            && let Some(sweep) = config.get_mut("sweep")
        {
            names.value(text, sweep, mistakes);
        }
    }
}

/// Finds the sweep and its mistakes. Of an invalid one, the part that is needed
/// to check the rest of the file is kept.
fn find<'a>(
    document: &DeTable<'a>,
    names: &Names<'a>,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Sweep<'a>> {
    let configs = document.get("config")?.get_ref().as_table()?;
    let mut found: Option<Sweep<'a>> = None;
    for (number, name) in NAMES.iter().enumerate() {
        let Some(config) = configs.get(*name).and_then(|config| config.get_ref().as_table()) else {
            continue;
        };
        let Some((key, sweep)) = config.get_key_value("sweep") else { continue };
        let Some(table) = sweep.get_ref().as_table() else { continue };
        let later = NAMES[number + 1..].iter().find(|later| configs.get(**later).is_some());
        if number == 0 {
            let help = "move it to [config.one]: the baseline runs once";
            mistakes.push(mistake("E0219", key.span(), "the baseline cannot sweep", help));
        } else if let Some(later) = later {
            let message =
                format!("config.{name} cannot sweep, since config.{later} comes after it");
            let help = "let the last configuration sweep: the resulting configurations follow it";
            mistakes.push(mistake("E0219", key.span(), &message, help));
        }
        // The last of several sweeps applies; the others have a mistake.
        found = Some(read(number, table, sweep.span(), names, mistakes));
    }
    found
}

fn read<'a>(
    config: usize,
    table: &DeTable<'a>,
    span: Range<usize>,
    known: &Names<'a>,
    mistakes: &mut Vec<Diagnostic>,
) -> Sweep<'a> {
    let mut rows: Vec<_> = table.iter().collect();
    rows.sort_by_key(|(key, _)| key.span().start);
    if rows.is_empty() {
        let help = "write { codepoint = [1, 10, 46] }";
        mistakes.push(mistake("E0219", span.clone(), "this sweep has no names", help));
    }
    let mut sweep = Sweep { config, names: Vec::new(), points: vec![Vec::new()] };
    let most = NAMES.len() - config.max(1);
    let mut wanted = 1usize;
    for (key, values) in rows {
        let name = key.get_ref().to_string();
        if !is_name(&name) {
            let message = format!("`{name}` cannot be the name of a swept value");
            let help =
                "write lower-case letters, digits and _: it becomes a column of the configuration";
            mistakes.push(mistake("E0219", key.span(), &message, help));
        } else if known.has(&name) {
            let message = format!("`{name}` is already a param");
            mistakes.push(mistake("E0219", key.span(), &message, "give one of them another name"));
        }
        if record::field(&name).is_some() {
            let message = format!("`{name}` is already a column of every configuration");
            let help = "give the swept value another name";
            mistakes.push(mistake("E0219", key.span(), &message, help));
        }
        let list: Vec<_> =
            values.get_ref().as_array().map(|a| a.iter().collect()).unwrap_or_default();
        if list.is_empty() && values.get_ref().is_array() {
            let help = "list its values";
            mistakes.push(mistake(
                "E0219",
                values.span(),
                "there are no values to sweep over",
                help,
            ));
        }
        if let Some(other) = list.iter().find(|value| {
            list.first().is_some_and(|first| !alike(first.get_ref(), value.get_ref()))
        }) {
            let help = "write all of them as numbers, or all as strings: they become one column";
            let message = "the values of a sweep must have one type";
            mistakes.push(mistake("E0219", other.span(), message, help));
        }
        twice(&name, &list, mistakes);
        wanted = wanted.saturating_mul(list.len().max(1));
        let mut values: Vec<DeValue<'a>> =
            list.iter().map(|value| value.get_ref().clone()).collect();
        names_and_numbers(&mut values);
        if values.is_empty() {
            values.push(DeValue::String(Cow::Borrowed("")));
        }
        if wanted > most {
            values.truncate(1);
        }
        sweep.names.push(name);
        // The last name varies fastest, as in nested loops.
        let points = sweep.points.iter().flat_map(|point| {
            values.iter().map(|value| point.iter().chain([value]).cloned().collect::<Vec<_>>())
        });
        sweep.points = points.collect();
    }
    if wanted > most {
        let message =
            format!("this sweep makes {wanted} configurations, but there is room for {most}");
        let help = format!(
            "a measurement has at most {} experiments: divide it into several",
            NAMES.len() - 1
        );
        mistakes.push(mistake("E0219", span, &message, &help));
        sweep.points.truncate(1);
    }
    if config == 0 {
        sweep.points.truncate(1);
    }
    sweep
}

/// Whether two values may be in one sweep.
fn alike(a: &DeValue<'_>, b: &DeValue<'_>) -> bool {
    let is_word = |value: &DeValue<'_>| value.is_str() || value.is_integer();
    a.same_type(b) || (is_word(a) && is_word(b))
}

/// Makes all values texts if some are texts and others integers: `["cs1", 45]`.
fn names_and_numbers(values: &mut [DeValue<'_>]) {
    if !values.iter().any(DeValue::is_str) {
        return;
    }
    for value in values {
        if let DeValue::Integer(_) = value
            && let Some(number) = Scalar::of(value)
        {
            *value = DeValue::String(Cow::Owned(number.to_string()));
        }
    }
}

/// Reports a value that a list has twice.
fn twice(name: &str, list: &[&Spanned<DeValue<'_>>], mistakes: &mut Vec<Diagnostic>) {
    let mut seen = HashSet::new();
    let values = list.iter().filter_map(|item| Some((item, Scalar::of(item.get_ref())?)));
    for (item, value) in values {
        if !seen.insert(value.to_string()) {
            let message = format!("the sweep has `{name}` = {value} twice");
            mistakes.push(mistake("E0219", item.span(), &message, "remove one of them"));
            return;
        }
    }
}

impl<'a> Sweep<'a> {
    fn names_at(&self, names: &Names<'a>, point: &[DeValue<'a>]) -> Names<'a> {
        let mut all = names.clone();
        self.names.iter().zip(point).for_each(|(name, value)| all.set(name, value.clone()));
        all
    }
}

fn expand_configs<'a>(
    text: &str,
    configs: &mut DeTable<'a>,
    names: &Names<'a>,
    sweep: Option<&Sweep<'a>>,
    mistakes: &mut Vec<Diagnostic>,
) {
    let swept = sweep.map(|sweep| NAMES[sweep.config]);
    let template = swept.and_then(|name| configs.get_key_value(name));
    let template = template.map(|(key, value)| (key.span(), value.clone()));
    for (key, config) in configs.iter_mut() {
        if Some(key.get_ref().as_ref()) != swept {
            settle(text, config, names, mistakes);
        }
    }
    let (Some(sweep), Some((key, template))) = (sweep, template) else { return };
    for (offset, point) in sweep.points.iter().enumerate() {
        let Some(name) = NAMES.get(sweep.config + offset) else { break };
        if let Err(mistake) = names.copy(offset, template.get_ref(), &key) {
            mistakes.push(mistake);
            break;
        }
        let mut config = template.clone();
        let mut own = Vec::new();
        settle(text, &mut config, &sweep.names_at(names, point), &mut own);
        of_copy(offset, own, mistakes);
        configs.insert(Spanned::new(key.clone(), Cow::Borrowed(*name)), config);
    }
}

/// Adds the mistakes of a copy. They are the same in all copies, except those of calculations; a place has one.
fn of_copy(number: usize, own: Vec<Diagnostic>, mistakes: &mut Vec<Diagnostic>) {
    for mistake in own {
        let known = |mistake: &Diagnostic| {
            mistakes.iter().any(|known| known.code == mistake.code && known.span == mistake.span)
        };
        if number == 0 || (mistake.code == CALCULATION && !known(&mistake)) {
            mistakes.push(mistake);
        }
    }
}

/// Substitutes names everywhere in a configuration except in its sweep.
fn settle<'a>(
    text: &str,
    config: &mut Spanned<DeValue<'a>>,
    names: &Names<'a>,
    mistakes: &mut Vec<Diagnostic>,
) {
    let DeValue::Table(table) = config.get_mut() else {
        return names.value(text, config, mistakes);
    };
    for (key, value) in table.iter_mut() {
        if key.get_ref() != "sweep" {
            names.value(text, value, mistakes);
        }
    }
}

fn expand_conditions<'a>(
    text: &str,
    conditions: &DeArray<'a>,
    names: &Names<'a>,
    sweep: &Sweep<'a>,
    mistakes: &mut Vec<Diagnostic>,
) -> DeArray<'a> {
    let mut all = DeArray::new();
    for condition in conditions.iter() {
        let mut points = sweep.points.as_slice();
        if !mentions(condition.get_ref(), &sweep.names) {
            let mut condition = condition.clone();
            names.value(text, &mut condition, mistakes);
            all.push(condition);
            continue;
        }
        if let Some(unnamed) = unnamed(condition.get_ref(), sweep) {
            let place = condition.get_ref().get("name").map_or(condition.span(), Spanned::span);
            let message = format!(
                "this condition is repeated for every `{unnamed}`, but its name does not contain it"
            );
            let help =
                format!("make the names different: name = \"dscp.${{{unnamed}}}.connectivity\"");
            mistakes.push(mistake("E0309", place, &message, &help));
            points = &points[..1];
        }
        for (offset, point) in points.iter().enumerate() {
            if let Err(mistake) = names.copy(offset, condition.get_ref(), &condition.span()) {
                mistakes.push(mistake);
                return all;
            }
            let mut condition = condition.clone();
            let mut mistakes_of_copy = Vec::new();
            sweep.names_at(names, point).value(text, &mut condition, &mut mistakes_of_copy);
            of_copy(offset, mistakes_of_copy, mistakes);
            if let (DeValue::Table(table), Some(own)) =
                (condition.get_mut(), NAMES.get(sweep.config + offset))
            {
                stand_for(table, NAMES[sweep.config], own);
            }
            all.push(condition);
        }
    }
    all
}

/// A swept name with several values that the condition's name does not contain.
fn unnamed<'s>(condition: &DeValue<'_>, sweep: &'s Sweep<'_>) -> Option<&'s str> {
    let name = condition.get("name").and_then(|name| name.get_ref().as_str()).unwrap_or_default();
    let varies = |index: usize| {
        let mut values = sweep.points.iter().filter_map(|point| Scalar::of(point.get(index)?));
        let first = values.next();
        values.any(|value| Some(&value) != first.as_ref())
    };
    let mut names = sweep.names.iter().enumerate();
    let (_, missing) =
        names.find(|(index, swept)| varies(*index) && !names_in(name).any(|a| a == *swept))?;
    Some(missing)
}

/// Replaces the swept configuration's name in a condition by that of one resulting configuration.
fn stand_for<'a>(condition: &mut DeTable<'a>, swept: &'static str, own: &'static str) {
    for key in ["given", "value"] {
        if let Some(sql) = condition.get_mut(key) {
            rename(sql, swept, own);
        }
    }
    if let Some(DeValue::Array(answers)) = condition.get_mut("first_of").map(Spanned::get_mut) {
        for answer in answers.iter_mut() {
            if let DeValue::Table(answer) = answer.get_mut()
                && let Some(when) = answer.get_mut("when")
            {
                rename(when, swept, own);
            }
        }
    }
    let Some(span) = condition.get("compare").map(Spanned::span) else { return };
    if let Some(between) = condition.get_mut("between") {
        if let DeValue::Array(pair) = between.get_mut() {
            for name in pair.iter_mut() {
                if let DeValue::String(word) = name.get_mut()
                    && word == swept
                {
                    *word = Cow::Borrowed(own);
                }
            }
        }
        return;
    }
    let mut pair = DeArray::new();
    for name in [NAMES[0], own] {
        pair.push(Spanned::new(span.clone(), DeValue::String(Cow::Borrowed(name))));
    }
    let key = Spanned::new(span.clone(), Cow::Borrowed("between"));
    condition.insert(key, Spanned::new(span, DeValue::Array(pair)));
}

fn rename<'a>(sql: &mut Spanned<DeValue<'a>>, from: &str, to: &str) {
    if let DeValue::String(text) = sql.get_mut()
        && from != to
    {
        let new = rename_table(text, from, to);
        if new != text.as_ref() {
            *text = Cow::Owned(new);
        }
    }
}

/// `one.x` becomes `two.x`, except in quotes and comments.
fn rename_table(sql: &str, from: &str, to: &str) -> String {
    let mut new = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let after = |end: &str, skip: usize| {
            rest[skip..].find(end).map_or(rest.len(), |at| skip + at + end.len())
        };
        let length = match c {
            '\'' => after("'", 1),
            '"' => after("\"", 1),
            _ if rest.starts_with("--") => after("\n", 2),
            _ if rest.starts_with("/*") => after("*/", 2),
            _ if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ => c.len_utf8(),
        };
        let (token, tail) = rest.split_at(length);
        let table = token == from && tail.starts_with('.') && !new.ends_with('.');
        new.push_str(if table { to } else { token });
        rest = tail;
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_are_renamed() {
        for (sql, expected) in [
            ("one.ok AND NOT one.one", "two.ok AND NOT two.one"),
            ("zero.one.x = 'one.x' -- one.x\nOR one.ä", "zero.one.x = 'one.x' -- one.x\nOR two.ä"),
            ("/* one.x */ gone.x one 'open one.x", "/* one.x */ gone.x one 'open one.x"),
            ("(one.a)|one.b", "(two.a)|two.b"),
        ] {
            assert_eq!(rename_table(sql, "one", "two"), expected);
        }
    }
}
