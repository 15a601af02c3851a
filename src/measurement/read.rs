//! Parses a [`File`], and does not stop at the first mistake: a value that serde rejects is reported and removed
//! from the document, and the rest is parsed again.

use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

use super::extends::{self, Origin, Sources};
use super::file::File;
use super::limits;
use super::mistake::{Path, mistake};
use super::params::{Overrides, Param, Params};
use super::remedy;
use super::scalar::integer;
use super::sweep::{self, Swept};
use super::syntax;
use super::texts::Texts;
use crate::error::Diagnostic;

/// The newest format that this version reads.
pub const FORMAT: i64 = 1;

/// The most mistakes of one kind that are reported.
const MOST: usize = 50;

/// The file as far as it could be parsed, its mistakes, and the places where values were removed.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) file: Option<File>,
    pub(super) mistakes: Vec<Diagnostic>,
    pub(super) removed: Vec<Path>,
    pub(super) params: Vec<Param>,
    /// The merged text of files that extend each other, and where each part of it is written.
    pub(super) flattened: Option<String>,
    pub(super) origins: Vec<Origin>,
    /// Overrides that do not fit the file; they have no place in it.
    pub(super) rejected: Vec<String>,
    /// The swept values of every configuration, by its number; may lack the last configurations.
    pub(super) swept: Vec<Vec<Swept>>,
}

/// Parses the text of a measurement file.
pub(super) fn read<'a>(
    sources: &'a Sources,
    overrides: &'a Overrides,
    texts: &'a Texts,
) -> Reading {
    let text = sources.text();
    let mut reading = Reading::default();
    if let Some(mistake) = limits::values(text) {
        reading.mistakes.push(mistake);
        return reading;
    }
    let Some(mut document) = joined(sources, &mut reading) else { return reading };
    if sources.bases().next().is_some() {
        reading.flattened = extends::flattened(&document, sources);
        reading.origins = sources.origins(&document);
    }
    limits::entries(&mut document, &mut reading.mistakes);
    let params = Params::read(&document, overrides, texts, &mut reading.mistakes);
    reading.swept = sweep::expand(text, &mut document, &params.names, &mut reading.mistakes);
    limits::entries(&mut document, &mut reading.mistakes);
    reading.params = params.list;
    reading.rejected = params.rejected;
    let most = reading.mistakes.len() + MOST;
    while reading.mistakes.len() < most {
        match File::deserialize(Deserializer::from(Spanned::new(0..text.len(), document.clone()))) {
            Ok(file) => {
                reading.file = Some(file);
                break;
            }
            Err(error) => {
                let mut path = Path::new();
                let span = error.span().unwrap_or_default();
                let removed = remove(&mut document, &span, &mut path);
                let rejected = rejected(text, &error, &path);
                // A list of one table has the place of the table.
                let same =
                    |known: &Diagnostic| known.code == rejected.code && known.span == rejected.span;
                if !reading.mistakes.iter().any(same) {
                    reading.mistakes.push(rejected);
                }
                if !removed {
                    break;
                }
                reading.removed.push(path);
            }
        }
    }
    reading
}

/// The document of all files; `None` with a mistake that leaves nothing else to check.
fn joined<'a>(sources: &'a Sources, reading: &mut Reading) -> Option<DeTable<'a>> {
    let mut document: Option<DeTable<'a>> = None;
    let before = reading.mistakes.len();
    for part in sources.parts() {
        let parsed = one(sources.text(), &part, reading)?;
        let moved = if part.start == 0 { parsed } else { extends::moved(parsed, part.start) };
        match &mut document {
            None => document = Some(moved),
            Some(document) => extends::merge(document, moved),
        }
    }
    document.filter(|_| !reading.mistakes[before..].iter().any(|mistake| mistake.code == "E0100"))
}

/// The document of one file, which is a part of the text.
fn one<'a>(text: &'a str, part: &Range<usize>, reading: &mut Reading) -> Option<DeTable<'a>> {
    let start = part.start;
    let text = &text[part.clone()];
    let in_whole = |span: Range<usize>| span.start + start..span.end + start;
    let (document, errors) = DeTable::parse_recoverable(text);
    match format(document.get_ref()) {
        Some((span, newer)) if newer => {
            // Nothing else is certain about a newer format.
            let message = format!(
                "this file has a newer format than {FORMAT}, the newest that this version supports"
            );
            let help = "use a newer pathspider";
            reading.mistakes = vec![mistake("E0104", in_whole(span), &message, help)];
            return None;
        }
        // For invalid TOML, the parser makes up a value.
        Some((span, _)) if errors.is_empty() => {
            let help = format!("write format = {FORMAT}, or leave it out");
            reading.mistakes.push(mistake(
                "E0104",
                in_whole(span),
                "there is no such format",
                &help,
            ));
        }
        _ => {}
    }
    if !errors.is_empty() {
        if let Some(other) = syntax::other_format(text) {
            let span = in_whole(other.span.clone());
            reading.mistakes.push(Diagnostic { span, ..other });
            return None;
        }
        let mut lines = Vec::new();
        // Finding a line scans the text, so a file that is not TOML at all is not reported completely.
        for error in errors.into_iter().take(10 * MOST) {
            // One slip often causes several errors on its line, of which the first is the real one.
            let start = error.span().map_or(text.len(), |span| span.start.min(text.len()));
            let line = text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count();
            if !lines.contains(&line) {
                lines.push(line);
                let syntax = syntax::syntax(text, &error, document.get_ref());
                reading.mistakes.push(Diagnostic { span: in_whole(syntax.span.clone()), ..syntax });
            }
            if lines.len() == MOST {
                break;
            }
        }
    }
    Some(document.into_inner())
}

/// The place of an unsupported format, and whether it is a newer one.
fn format(document: &DeTable<'_>) -> Option<(Range<usize>, bool)> {
    let value = document.get("format")?;
    let DeValue::Integer(number) = value.get_ref() else { return None };
    match integer(number) {
        Some(FORMAT) => None,
        Some(number) => Some((value.span(), number > FORMAT)),
        None => Some((value.span(), !number.as_str().starts_with('-'))),
    }
}

/// A diagnostic from an error of serde about the value, or the key, at a path.
fn rejected(text: &str, error: &Error, path: &Path) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let span = if span.start > text.len() { 0..0 } else { span };
    let message = error.message();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = |what: &str| {
        let (wrong, known) =
            quoted.split_first().map_or(("", &[][..]), |(wrong, known)| (*wrong, known));
        let help = remedy::unknown_key(path, wrong, known);
        (format!("unknown {what} `{wrong}`"), Some(help))
    };
    let (code, (message, help)) = if message.starts_with("unknown field") {
        ("E0101", unknown("key"))
    } else if message.starts_with("unknown variant") {
        ("E0101", unknown("step"))
    } else if message.starts_with("wanted exactly 1 element") {
        let help = "a step is a table with one key: { sysctl = { \"net.ipv4.tcp_ecn\" = 1 } }";
        ("E0209", ("a step does exactly one thing".into(), Some(help.into())))
    } else {
        let dotted =
            message.starts_with("invalid type: map") && message.contains("an integer, a string");
        let help = match dotted {
            true => Some("write the name in quotes, since a dot outside quotes makes a table: \"net.ipv4.tcp_ecn\" = 1".into()),
            false => remedy::instead(path, text.get(span.clone()).unwrap_or_default()),
        };
        ("E0102", (wrong_type(message), help))
    };
    Diagnostic { code, span, message, label: String::new(), help }
}

/// Replaces serde's words by TOML's.
fn wrong_type(message: &str) -> String {
    let words =
        [("a sequence", "an array"), ("sequence", "array"), ("a map", "a table"), ("map", "table")];
    let mut message = message.replace("invalid type: ", "wrong type: ");
    if message.contains("expected struct ") || message.contains("expected enum ") {
        let end = message.find("expected ").unwrap_or(message.len());
        message.truncate(end);
        message.push_str("expected a table");
    }
    message = message.replace("expected i64", "expected an integer");
    for (theirs, ours) in words {
        message = message.replace(theirs, ours);
    }
    message
}

/// Removes the innermost value with this place, or whose key has this place.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>, path: &mut Path) -> bool {
    let mut here = None;
    let mut keys: Vec<String> = Vec::new();
    for (key, value) in table.iter_mut() {
        keys.push(key.get_ref().to_string());
        path.push(key.get_ref().to_string());
        if inside(value, span, path) {
            return true;
        }
        path.pop();
        if key.span() == *span || value.span() == *span {
            here = Some(key.get_ref().to_string());
        }
    }
    let Some(key) = here else { return false };
    table.remove(key.as_str());
    path.push(key);
    true
}

fn inside(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>, path: &mut Path) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => remove(table, span, path),
        DeValue::Array(items) => {
            let mut here = None;
            for (index, item) in items.iter_mut().enumerate() {
                path.push(index.to_string());
                if inside(item, span, path) {
                    return true;
                }
                path.pop();
                if item.span() == *span {
                    here = Some(index);
                }
            }
            let Some(here) = here else { return false };
            let all = std::mem::replace(items, DeArray::new()).into_iter().enumerate();
            *items = all.filter(|(index, _)| *index != here).map(|(_, item)| item).collect();
            path.push(here.to_string());
            true
        }
        _ => false,
    }
}
