//! Reads a [`File`], and does not stop at the first mistake: what serde refuses is noted, taken
//! out of the document, and the rest is read again.

use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

use super::file::File;
use super::limits;
use super::params::{Overrides, Param, Params};
use super::scalar::integer;
use super::substitute::mistake;
use super::sweep::{self, Swept};
use crate::error::{Diagnostic, did_you_mean};

/// The newest format that this version reads.
pub const FORMAT: i64 = 1;

/// More mistakes than this in one file, and the rest can wait.
const MOST: usize = 50;

/// Where something was taken out: the keys from the top.
pub(super) type Path = Vec<String>;

/// What could be read, what was wrong, and where something was taken out because of it.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) file: Option<File>,
    pub(super) mistakes: Vec<Diagnostic>,
    pub(super) removed: Vec<Path>,
    pub(super) params: Vec<Param>,
    /// What is wrong with the overrides: these have no place in the file.
    pub(super) refused: Vec<String>,
    /// The swept values of every configuration, by its number; may be shorter than they are many.
    pub(super) swept: Vec<Vec<Swept>>,
}

/// Reads the text of a measurement file.
pub(super) fn read<'a>(text: &'a str, overrides: &'a Overrides) -> Reading {
    let mut reading = Reading::default();
    if let Some(mistake) = limits::values(text) {
        reading.mistakes.push(mistake);
        return reading;
    }
    let (mut document, errors) = DeTable::parse_recoverable(text);
    match format(document.get_ref()) {
        Some((span, newer)) if newer => {
            // A newer format may be anything: nothing else that could be said of it is sure.
            let message = format!(
                "this file is of a newer format than {FORMAT}, the newest that this version reads"
            );
            let help = "use a newer pathspider for it";
            reading.mistakes = vec![mistake("E0104", span, &message, help)];
            return reading;
        }
        // Of what is no TOML, the parser makes up a value.
        Some((span, _)) if errors.is_empty() => {
            let help = format!("write format = {FORMAT}, or leave it out");
            reading.mistakes.push(mistake("E0104", span, "there is no such format", &help));
        }
        _ => {}
    }
    if !errors.is_empty() {
        let mut lines = Vec::new();
        // Of each line it looks for, it reads the text: of a file that is no TOML at all, not all.
        for error in errors.into_iter().take(10 * MOST) {
            // One slip often makes several errors on its line, of which the first is the real one.
            let start = error.span().map_or(text.len(), |span| span.start.min(text.len()));
            let line = text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count();
            if !lines.contains(&line) {
                lines.push(line);
                reading.mistakes.push(syntax(text, &error));
            }
            if lines.len() == MOST {
                break;
            }
        }
        return reading;
    }
    limits::entries(document.get_mut(), &mut reading.mistakes);
    let params = Params::read(document.get_ref(), overrides, &mut reading.mistakes);
    reading.swept = sweep::expand(text, document.get_mut(), &params.names, &mut reading.mistakes);
    limits::entries(document.get_mut(), &mut reading.mistakes);
    reading.params = params.list;
    reading.refused = params.refused;
    let most = reading.mistakes.len() + MOST;
    while reading.mistakes.len() < most {
        match File::deserialize(Deserializer::from(document.clone())) {
            Ok(file) => {
                reading.file = Some(file);
                break;
            }
            Err(error) => {
                reading.mistakes.push(refused(text, &error));
                let mut path = Path::new();
                let span = error.span().unwrap_or_default();
                if !remove(document.get_mut(), &span, &mut path) {
                    break;
                }
                reading.removed.push(path);
            }
        }
    }
    reading
}

/// A format that is not ours: its place, and whether it is a newer one.
fn format(document: &DeTable<'_>) -> Option<(Range<usize>, bool)> {
    let value = document.get("format")?;
    let DeValue::Integer(number) = value.get_ref() else { return None };
    match integer(number) {
        Some(FORMAT) => None,
        Some(number) => Some((value.span(), number > FORMAT)),
        None => Some((value.span(), !number.as_str().starts_with('-'))),
    }
}

fn syntax(text: &str, error: &Error) -> Diagnostic {
    let mut span = error.span().unwrap_or(text.len()..text.len());
    let next = text.get(span.start..).and_then(|rest| rest.chars().next());
    if let Some(next) = next.filter(|c| span.is_empty() && !c.is_control()) {
        // Something is missing in front of this character: there must be something to underline.
        span.end += next.len_utf8();
    }
    Diagnostic {
        code: "E0100",
        span,
        message: format!("this is not TOML: {}", error.message()),
        label: String::new(),
        help: None,
    }
}

/// Serde's words, made into a diagnostic.
fn refused(text: &str, error: &Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let message = error.message();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = |what: &str| {
        let (wrong, known) =
            quoted.split_first().map_or(("", &[][..]), |(wrong, known)| (*wrong, known));
        let near = did_you_mean(wrong, known.iter().copied());
        let all = || format!("what may stand here: {}", known.join(", "));
        (format!("unknown {what} `{wrong}`"), Some(near.unwrap_or_else(all)))
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
        let help = "write the name in quotes, since a dot outside them makes a table: \"net.ipv4.tcp_ecn\" = 1";
        ("E0102", (wrong_type(message), dotted.then(|| help.into())))
    };
    let span = if span.start > text.len() { 0..0 } else { span };
    Diagnostic { code, span, message, label: String::new(), help }
}

/// TOML's words instead of serde's.
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

/// Takes the innermost value out whose place (or whose key's place) this is.
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
