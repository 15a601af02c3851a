//! `${name}` in the strings of a document becomes the value of a param or of a sweep.
//!
//! Substitution happens between TOML and serde, on values that keep their places in the file, so
//! later mistakes of a value are still underlined in the right place.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::limits::{self, Budget};
use super::mistake::mistake;
use super::scalar::Scalar;
use crate::error::{Diagnostic, did_you_mean};

/// The values of names at some place of the document.
#[derive(Debug, Clone, Default)]
pub(super) struct Names<'a> {
    values: Vec<(String, DeValue<'a>)>,
    /// Names whose value is wrong, which is already reported.
    broken: Vec<String>,
    /// The text that they may add to the document.
    pub(super) budget: Budget,
}

/// The most names listed in a remedy.
const LISTED: usize = 50;

/// A part of a string.
enum Piece<'s> {
    Plain(&'s str),
    /// `$$`.
    Dollar,
    /// The name inside `${...}`, and all of it.
    Name(&'s str, &'s str),
    /// From a `${` to the end.
    Open(&'s str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (plain, tail) = rest.split_at(at);
        pieces.push(Piece::Plain(plain));
        if let Some(after) = tail.strip_prefix("$$") {
            pieces.push(Piece::Dollar);
            rest = after;
        } else if let Some(inner) = tail.strip_prefix("${") {
            let Some(end) = inner.find('}') else {
                pieces.push(Piece::Open(tail));
                return pieces;
            };
            pieces.push(Piece::Name(&inner[..end], &tail[..end + 3]));
            rest = &inner[end + 1..];
        } else {
            pieces.push(Piece::Plain("$"));
            rest = &tail[1..];
        }
    }
    pieces.push(Piece::Plain(rest));
    pieces
}

/// The names in a string.
pub(super) fn names_in(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).into_iter().filter_map(|piece| match piece {
        Piece::Name(name, _) => Some(name),
        _ => None,
    })
}

/// Whether any string in a value contains one of these names.
pub(super) fn mentions(value: &DeValue<'_>, names: &[String]) -> bool {
    match value {
        DeValue::String(text) => {
            text.contains('$') && names_in(text).any(|name| names.iter().any(|n| n == name))
        }
        DeValue::Array(items) => items.iter().any(|item| mentions(item.get_ref(), names)),
        DeValue::Table(table) => table.values().any(|value| mentions(value.get_ref(), names)),
        _ => false,
    }
}

impl<'a> Names<'a> {
    pub(super) fn set(&mut self, name: &str, value: DeValue<'a>) {
        self.values.push((name.to_owned(), value));
    }

    pub(super) fn set_broken(&mut self, name: &str) {
        self.broken.push(name.to_owned());
    }

    /// Counts a copy that a sweep makes of the value at a place; the first one is the original.
    pub(super) fn copy(
        &self,
        number: usize,
        of: &DeValue<'_>,
        place: &Range<usize>,
    ) -> Result<(), Diagnostic> {
        if number == 0 { Ok(()) } else { self.budget.take(limits::size(of), place) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some() || self.broken.iter().any(|broken| broken == name)
    }

    fn get(&self, name: &str) -> Option<&DeValue<'a>> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Substitutes names everywhere in a table.
    pub(super) fn table(
        &self,
        text: &str,
        table: &mut DeTable<'a>,
        mistakes: &mut Vec<Diagnostic>,
    ) {
        for (_, value) in table.iter_mut() {
            self.value(text, value, mistakes);
        }
    }

    /// Substitutes names everywhere in a value.
    pub(super) fn value(
        &self,
        text: &str,
        value: &mut Spanned<DeValue<'a>>,
        mistakes: &mut Vec<Diagnostic>,
    ) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Array(items) => {
                items.iter_mut().for_each(|item| self.value(text, item, mistakes));
            }
            DeValue::Table(table) => self.table(text, table, mistakes),
            DeValue::String(string) if string.contains('$') => {
                if let Some(new) = self.string(text, string, span, mistakes) {
                    *value.get_mut() = new;
                }
            }
            _ => {}
        }
    }

    /// The value of a string; `None` if it contains a mistake.
    fn string(
        &self,
        text: &str,
        string: &str,
        span: Range<usize>,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<DeValue<'a>> {
        let before = mistakes.len();
        if before > limits::MISTAKES {
            return None;
        }
        let mut new = String::new();
        let mut whole = None;
        let mut written = Written::new(text, string, &span);
        for piece in pieces(string) {
            match piece {
                Piece::Plain(plain) => {
                    new.push_str(plain);
                    written.skip(plain);
                }
                Piece::Dollar => {
                    new.push('$');
                    written.skip("$$");
                }
                Piece::Name(name, all) => {
                    let place = written.skip(all);
                    if mistakes.len() > before + limits::MISTAKES {
                        return None;
                    }
                    if let Some(value) = self.get(name)
                        && let Err(mistake) = self.budget.take(limits::size(value), &place)
                    {
                        mistakes.push(mistake);
                        return None;
                    }
                    match self.get(name) {
                        Some(value) if all == string => whole = Some(value.clone()),
                        Some(value) => match Scalar::of(value) {
                            Some(value) => new.push_str(&value.to_string()),
                            None => return None,
                        },
                        // Without a message: it only suppresses others at this place.
                        None if self.has(name) => mistakes.push(mistake("E0105", place, "", "")),
                        None => mistakes.push(self.unknown(name, place)),
                    }
                }
                Piece::Open(all) => mistakes.push(mistake(
                    "E0106",
                    written.skip(all),
                    "`${` is not closed",
                    "write ${name} for the value of a param, or $${ for the two characters themselves",
                )),
            }
        }
        if mistakes.len() > before {
            return None;
        }
        Some(whole.unwrap_or(DeValue::String(Cow::Owned(new))))
    }

    fn unknown(&self, name: &str, place: Range<usize>) -> Diagnostic {
        if name.contains(['+', '-', '*', '/', '%', '<', '>', '(']) {
            let message = format!("`{name}` is not a name; expressions are not evaluated");
            let result = match self.calculated(name) {
                Some(result) => format!("the result, {result},"),
                None => "the result".to_owned(),
            };
            let help = format!("write {result} itself, or define a param and write its name");
            return mistake("E0105", place, &message, &help);
        }
        let known: Vec<&str> = self.values.iter().map(|(name, _)| name.as_str()).collect();
        let listed = &known[..known.len().min(LISTED)];
        let help =
            did_you_mean(name, known.iter().copied()).unwrap_or_else(|| match known.is_empty() {
                true => format!(
                    "define it in [params]: {} = {{ default = ... }}; $$ stands for a dollar",
                    word(name)
                ),
                false => {
                    format!("names here: {}; $$ stands for a dollar", listed.join(", "))
                }
            });
        mistake("E0105", place, &format!("unknown name `{name}`"), &help)
    }
}

impl Names<'_> {
    /// The result of a calculation with two whole numbers, by name or in digits.
    fn calculated(&self, text: &str) -> Option<i64> {
        let at = text.find(['+', '-', '*', '/'])?;
        let number = |text: &str| match self.get(text.trim()).map(Scalar::of) {
            Some(Some(Scalar::Integer(value))) => Some(value),
            Some(_) => None,
            None => text.trim().parse().ok(),
        };
        let (a, b) = (number(&text[..at])?, number(&text[at + 1..])?);
        match &text[at..=at] {
            "+" => a.checked_add(b),
            "-" => a.checked_sub(b),
            "*" => a.checked_mul(b),
            _ => a.checked_div(b),
        }
    }
}

/// A name for an example.
fn word(name: &str) -> &str {
    if is_name(name) { name } else { "name" }
}

/// Whether a word can be a param's name.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.len() <= 60
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The places in the file of a string's parts.
struct Written {
    span: Range<usize>,
    /// The start of the next part; `None` if escapes make places inside the string inexact.
    next: Option<usize>,
}

impl Written {
    fn new(text: &str, string: &str, span: &Range<usize>) -> Self {
        let literal = text.get(span.clone()).and_then(|written| written.find(string));
        Self { span: span.clone(), next: literal.map(|at| span.start + at) }
    }

    /// Advances over a part and returns its place.
    fn skip(&mut self, part: &str) -> Range<usize> {
        match &mut self.next {
            Some(next) => {
                let start = *next;
                *next += part.len();
                start..*next
            }
            None => self.span.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The substituted value of `x`, and the places of mistakes.
    fn become_of(value: &str) -> (String, Vec<String>) {
        let text = format!("x = {value}");
        let mut document = DeTable::parse(&text).unwrap().into_inner();
        let mut names = Names::default();
        names.set("n", DeValue::parse("7").unwrap().into_inner());
        names.set("word", DeValue::parse("'five'").unwrap().into_inner());
        let mut mistakes = Vec::new();
        names.table(&text, &mut document, &mut mistakes);
        let value = Scalar::of(document.get("x").unwrap().get_ref()).unwrap();
        let places = mistakes.iter().map(|m| text[m.span.clone()].to_owned()).collect();
        (format!("{}:{value}", value.type_name()), places)
    }

    #[test]
    fn names_become_values() {
        for (written, expected) in [
            (r#""${n}""#, "integer:7"),
            (r#""${n} ${word}""#, "string:7 five"),
            (r#""$${n} $ $$$$x""#, "string:${n} $ $$x"),
            (r#"'a $'"#, "string:a $"),
            (r#""$${""#, "string:${"),
        ] {
            assert_eq!(become_of(written), (expected.to_owned(), vec![]), "{written}");
        }
    }

    #[test]
    fn the_remedy_for_an_expression_has_its_result() {
        let mut names = Names::default();
        names.set("n", DeValue::parse("46").unwrap().into_inner());
        for (text, result) in [
            ("n * 4", "184"),
            ("4*n", "184"),
            ("n + 1", "47"),
            ("n / 0", "the result itself"),
            ("m * 4", "the result itself"),
        ] {
            let help = names.unknown(text, 0..1).help.unwrap();
            assert!(help.contains(result), "{text}: {help}");
        }
    }

    #[test]
    fn unknown_names_are_underlined() {
        assert_eq!(become_of(r#""a ${no} b ${n""#).1, ["${no}", "${n"]);
        assert_eq!(become_of(r#""\u0061 ${no}""#).1, [r#""\u0061 ${no}""#]);
    }
}
