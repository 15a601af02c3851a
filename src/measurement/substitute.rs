//! `${name}` in the strings of a document becomes the value of a param or of a sweep, and `${name * 4}` the result of
//! a calculation.
//!
//! Substitution happens between TOML and serde, on values that keep their places in the file, so
//! later mistakes of a value are still underlined in the right place.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::arithmetic::{self, Cause, Operand};
use super::limits::{self, Budget};
use super::mistake::mistake;
use super::scalar::Scalar;
use super::texts::Texts;
use crate::error::{Diagnostic, did_you_mean};

/// The values of names at some place of the document.
#[derive(Debug, Clone, Default)]
pub(super) struct Names<'a> {
    values: Vec<(String, DeValue<'a>)>,
    /// Names whose value is wrong, which is already reported.
    broken: Vec<String>,
    /// The text that they may add to the document.
    pub(super) budget: Budget,
    /// The digits of calculated values.
    texts: Option<&'a Texts>,
}

/// The code of a calculation without a result.
pub(super) const CALCULATION: &str = "E0110";

/// What a calculation takes of the budget: at least as many bytes as its result may have.
const CALCULATED: usize = 20;

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

/// The names in a string, those in calculations included.
pub(super) fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let inside = pieces(text).into_iter().filter_map(|piece| match piece {
        Piece::Name(inside, _) => Some(inside),
        _ => None,
    });
    inside.flat_map(arithmetic::names)
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
    /// No names; calculated values borrow their digits from `texts`.
    pub(super) fn new(texts: &'a Texts) -> Self {
        Self { texts: Some(texts), ..Self::default() }
    }

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
            DeValue::String(string) if self.is_otherwise_named(string) => {
                let written = string.trim();
                let name = otherwise_named(written).unwrap_or_default();
                let message = format!("`{written}` is not replaced by the value of `{name}`");
                let help = format!("write ${{{name}}}");
                mistakes.push(mistake("E0105", span, &message, &help));
            }
            DeValue::String(string) if string.contains('$') => {
                if let Some(new) = self.string(text, string, span, mistakes) {
                    *value.get_mut() = new;
                }
            }
            _ => {}
        }
    }

    /// Whether a text is a known name, written in the way of another language.
    fn is_otherwise_named(&self, text: &str) -> bool {
        text.len() < 100 && otherwise_named(text).is_some_and(|name| self.has(name))
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
                    match self.inside(name, all, &place) {
                        Ok(value) if all == string => whole = Some(value),
                        Ok(value) => match Scalar::of(&value) {
                            Some(value) => new.push_str(&value.to_string()),
                            None => mistakes.push(list_in_text(name, place)),
                        },
                        Err(mistake) => mistakes.push(mistake),
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
            // Without a message: it only suppresses others in the text as it is now.
            mistakes.push(mistake("E0105", span, "", ""));
            return None;
        }
        Some(whole.unwrap_or(DeValue::String(Cow::Owned(new))))
    }

    /// The value of what is inside `${...}`: of a name, or of a calculation.
    fn inside(
        &self,
        inside: &str,
        all: &str,
        place: &Range<usize>,
    ) -> Result<DeValue<'a>, Diagnostic> {
        let name = inside.trim();
        // Without a message: it only suppresses others at this place.
        let broken = || mistake("E0105", place.clone(), "", "");
        if let Some(value) = self.get(name) {
            return Ok(value.clone());
        }
        if self.has(name) {
            return Err(broken());
        }
        let is_calculation = name.contains(|c: char| "+-*/%()".contains(c))
            || name.starts_with(|c: char| c.is_ascii_digit());
        if !is_calculation {
            return Err(self.unknown(name, place.clone()));
        }
        let lookup = |name: &str| match self.get(name).map(|value| (value, Scalar::of(value))) {
            Some((_, Some(value))) => Operand::Value(value),
            Some(_) => Operand::List,
            None => Operand::Unknown,
        };
        let fault = match arithmetic::evaluate(inside, &lookup) {
            Ok(value) => {
                self.budget.take(CALCULATED, place)?;
                return self.integer(value).ok_or_else(broken);
            }
            Err(fault) => fault,
        };
        // Only if the file has it verbatim.
        let part = match place.len() == all.len() {
            true => {
                let start = place.start + "${".len();
                start + fault.part.start..start + fault.part.end.max(fault.part.start + 1)
            }
            false => place.clone(),
        };
        Err(match fault.cause {
            Cause::Unknown(name) if self.has(&name) => broken(),
            Cause::Unknown(name) => self.unknown(&name, part),
            Cause::Other(message, help) => mistake(CALCULATION, part, &message, &help),
        })
    }

    /// A whole number as a value of a document.
    fn integer(&self, value: i64) -> Option<DeValue<'a>> {
        DeValue::parse(self.texts?.add(value.to_string())).ok().map(Spanned::into_inner)
    }

    fn unknown(&self, name: &str, place: Range<usize>) -> Diagnostic {
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

fn list_in_text(name: &str, place: Range<usize>) -> Diagnostic {
    let message = format!("`{name}` is a list, which cannot be part of a text");
    let help =
        format!("write it alone, where a list belongs: sweep = {{ value = \"${{{name}}}\" }}");
    mistake("E0105", place, &message, &help)
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

/// The name of a param that a text means in another way: `$name`, `{name}`, `$(name)`, `{{name}}`, `%name%` or `<name>`.
fn otherwise_named(text: &str) -> Option<&str> {
    const WAYS: [(&str, &str); 6] =
        [("{{", "}}"), ("$(", ")"), ("{", "}"), ("%", "%"), ("<", ">"), ("$", "")];
    let text = text.trim();
    let found =
        WAYS.iter().find_map(|(before, after)| text.strip_prefix(before)?.strip_suffix(after));
    found.map(str::trim).filter(|name| is_name(name))
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
        let texts = Texts::default();
        let mut names = Names::new(&texts);
        names.set("n", DeValue::parse("7").unwrap().into_inner());
        names.set("word", DeValue::parse("'five'").unwrap().into_inner());
        let mut mistakes = Vec::new();
        names.table(&text, &mut document, &mut mistakes);
        let value = Scalar::of(document.get("x").unwrap().get_ref()).unwrap();
        let said = mistakes.iter().filter(|mistake| !mistake.message.is_empty());
        let places = said.map(|m| text[m.span.clone()].to_owned()).collect();
        (format!("{}:{value}", value.type_name()), places)
    }

    #[test]
    fn names_become_values() {
        for (written, expected) in [
            (r#""${n}""#, "integer:7"),
            (r#""${ n * 4 }""#, "integer:28"),
            (r#""x${n - 8}""#, "string:x-1"),
            (r#""${n} ${word}""#, "string:7 five"),
            (r#""$${n} $ $$$$x""#, "string:${n} $ $$x"),
            (r#"'a $'"#, "string:a $"),
            (r#""$${""#, "string:${"),
        ] {
            assert_eq!(become_of(written), (expected.to_owned(), vec![]), "{written}");
        }
    }

    #[test]
    fn unknown_names_are_underlined() {
        assert_eq!(become_of(r#""a ${no} b ${n""#).1, ["${no}", "${n"]);
        assert_eq!(become_of(r#""\u0061 ${no}""#).1, [r#""\u0061 ${no}""#]);
        assert_eq!(become_of(r#""a ${4 * no + 1} ${n / 2}""#).1, ["no", "n / 2"]);
        assert_eq!(become_of(r#""\u0061 ${n / 2}""#).1, [r#""\u0061 ${n / 2}""#]);
    }
}
