//! Mistakes of a file that is not TOML: what its author probably meant.

use std::ops::Range;

use toml::de::{DeTable, DeValue, Error};

use super::mistake::mistake;
use crate::error::Diagnostic;

/// Quotation marks of word processors, and those that TOML has in their place.
const QUOTES: [(char, char); 8] = [
    ('\u{201c}', '"'),
    ('\u{201d}', '"'),
    ('\u{201e}', '"'),
    ('\u{ab}', '"'),
    ('\u{bb}', '"'),
    ('\u{2018}', '\''),
    ('\u{2019}', '\''),
    ('\u{201a}', '\''),
];

/// The one mistake of a file in another format.
pub(super) fn other_format(text: &str) -> Option<Diagnostic> {
    let is_content = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let line = text.trim_start_matches('\u{feff}').lines().find(is_content)?;
    let start = text.find(line)? + line.len() - line.trim_start().len();
    let line = line.trim();
    let format = match line.chars().next()? {
        '{' => "JSON",
        '<' => "XML or HTML",
        _ if line == "---" || line.starts_with("%YAML") || is_yaml(line) => "YAML",
        _ => return None,
    };
    let message = format!("this is {format}, but a measurement is written in TOML");
    let help = "write name = \"ecn\", and sections such as [config.zero]; `pathspider new NAME` writes a file to start from";
    Some(mistake("E0100", start..start + line.len(), &message, help))
}

/// `name: value` or `- value`.
fn is_yaml(line: &str) -> bool {
    let Some((key, value)) = line.split_once(':') else { return line.starts_with("- ") };
    let is_key = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !key.is_empty() && key.bytes().all(is_key) && (value.is_empty() || value.starts_with(' '))
}

/// A mistake from an error of the parser. `document` is what it could read all the same.
pub(super) fn syntax(text: &str, error: &Error, document: &DeTable<'_>) -> Diagnostic {
    let mut span = error.span().unwrap_or(text.len()..text.len());
    let next = text.get(span.start..).and_then(|rest| rest.chars().next());
    if let Some(next) = next.filter(|c| span.is_empty() && !c.is_control()) {
        // Something is missing before this character: underline the character.
        span.end += next.len_utf8();
    }
    let message = error.message();
    let here = text.get(span.start..).unwrap_or_default();
    if message.starts_with("duplicate key") {
        return duplicate(text, &span, document);
    }
    if let Some(mistake) = curly(text, &span) {
        return mistake;
    }
    if let Some(mistake) = bare(text, &span, here) {
        return mistake;
    }
    let help = match message {
        _ if message.contains("missing comma") => "write a comma between the elements",
        _ if message.starts_with("invalid basic string") => {
            "end the text with \" in the same line; one of several lines is between \"\"\" and \"\"\""
        }
        _ if message.starts_with("invalid literal string") => {
            "end the text with ' in the same line"
        }
        _ if message.starts_with("key with no value") => "write key = value",
        _ if message.contains("unclosed inline table") => "end the table with }",
        _ if message.contains("unclosed array") => "end the list with ]",
        _ if message.contains("unclosed table") => "end the name of the section with ]",
        _ => "",
    };
    Diagnostic {
        code: "E0100",
        span,
        message: format!("this is not TOML: {message}"),
        label: String::new(),
        help: (!help.is_empty()).then(|| help.to_owned()),
    }
}

/// A key that is there twice: where it is first.
fn duplicate(text: &str, span: &Range<usize>, document: &DeTable<'_>) -> Diagnostic {
    let key = text.get(span.clone()).unwrap_or_default().trim();
    let line_of = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let lines = text.lines();
    // A section with single brackets is often meant as an entry of a list.
    let list = ["conditions", "metrics"].into_iter().find(|list| *list == key);
    if let Some(list) = list {
        let header = format!("[{list}]");
        let mut start = 0;
        for line in lines {
            if line.trim() == header {
                let at = start + line.len() - line.trim_start().len();
                return double_brackets(at..at + header.len(), list);
            }
            start += line.len() + text[start + line.len()..].len().min(1);
        }
    }
    let header_at = |at: usize| {
        let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        Some(text[line..].lines().next()?.trim()).filter(|line| line.starts_with('['))
    };
    let mut first = header_at(span.start).and_then(|header| {
        let mut start = 0;
        text[..span.start].split('\n').find_map(|line| {
            let at = start;
            start += line.len() + 1;
            (line.trim() == header).then_some(at)
        })
    });
    earlier(document, key.trim_matches(['"', '\'']), span.start, &mut first);
    let message = match first {
        Some(at) => format!("`{key}` is already written in line {}", line_of(at)),
        None => format!("`{key}` is written twice"),
    };
    let help = "remove one of them: a key, or a section, is written once in each table";
    mistake("E0100", span.clone(), &message, help)
}

/// A list of tables written as one table.
pub(super) fn double_brackets(span: Range<usize>, list: &str) -> Diagnostic {
    let message = format!("`{list}` is a list of tables, and this is one table");
    let help = format!("write [[{list}]], with two brackets on each side, before each of them");
    mistake("E0100", span, &message, &help)
}

/// The last place before `at` that has this key.
fn earlier(table: &DeTable<'_>, key: &str, at: usize, found: &mut Option<usize>) {
    for (known, value) in table {
        let start = known.span().start;
        if known.get_ref() == key && start < at && found.is_none_or(|best| start > best) {
            *found = Some(start);
        }
        earlier_in(value.get_ref(), key, at, found);
    }
}

fn earlier_in(value: &DeValue<'_>, key: &str, at: usize, found: &mut Option<usize>) {
    match value {
        DeValue::Table(table) => earlier(table, key, at, found),
        DeValue::Array(items) => {
            items.iter().for_each(|item| earlier_in(item.get_ref(), key, at, found));
        }
        _ => {}
    }
}

/// Quotation marks of a word processor in the line of a mistake.
fn curly(text: &str, span: &Range<usize>) -> Option<Diagnostic> {
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..)?.lines().next()?;
    let value = line.find('=').map_or(0, |at| at + 1);
    let (at, (wrong, right)) =
        line.char_indices().skip_while(|(at, _)| *at < value).find_map(|(at, c)| {
            QUOTES.iter().find(|(wrong, _)| *wrong == c).map(|quotes| (at, *quotes))
        })?;
    // A text may contain them.
    if line[value..at].contains(['"', '\'', '#']) {
        return None;
    }
    let message =
        format!("{wrong} is a quotation mark of word processors, which TOML does not know");
    let help = format!("write texts between straight ones: {right}");
    let place = start + at..start + at + wrong.len_utf8();
    Some(mistake("E0100", place, &message, &help))
}

/// A word without quotes where a value belongs.
fn bare(text: &str, span: &Range<usize>, here: &str) -> Option<Diagnostic> {
    let before = text.get(..span.start)?;
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '$');
    // The parser may point into the word.
    let start = before.len()
        - before.chars().rev().take_while(|c| is_word(*c)).map(char::len_utf8).sum::<usize>();
    if !text.get(..start)?.trim_end_matches([' ', '\t']).ends_with(['=', '[', ',']) {
        return None;
    }
    let word = &text[start..];
    let word = &word[..word.find(|c| !is_word(c)).unwrap_or(word.len())];
    if here.is_empty() || !word.starts_with(|c: char| c.is_alphabetic() || "_$/.".contains(c)) {
        return None;
    }
    let (message, help) = match word.to_ascii_lowercase().as_str() {
        "none" | "null" | "nil" | "undefined" => (
            format!("there is no `{word}` in TOML"),
            "leave the key out: then it has its default".to_owned(),
        ),
        lower @ ("true" | "false") => (
            format!("`{word}` is not a value of TOML"),
            format!("write {lower}, in lower-case letters"),
        ),
        "yes" | "on" => (format!("`{word}` is not a value of TOML"), "write true".to_owned()),
        "no" | "off" => (format!("`{word}` is not a value of TOML"), "write false".to_owned()),
        _ => ("a text is written in quotes".to_owned(), format!("write \"{word}\"")),
    };
    Some(mistake("E0100", start..start + word.len(), &message, &help))
}

/// The text of a file that is not UTF-8, as far as it can be shown, and its mistake.
pub(super) fn not_utf8(octets: &[u8]) -> (String, Diagnostic) {
    let wide = |order: fn([u8; 2]) -> u16| {
        let units: Vec<u16> =
            octets[2..].chunks_exact(2).map(|pair| order([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    let utf16 = match octets {
        [0xff, 0xfe, ..] => Some(wide(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => Some(wide(u16::from_be_bytes)),
        _ => None,
    };
    let help = "save it as UTF-8, without a byte order mark";
    if let Some(text) = utf16 {
        let end = text.find('\n').unwrap_or(text.len());
        return (text, mistake("E0100", 0..end, "this file is UTF-16 text, not UTF-8", help));
    }
    let valid = std::str::from_utf8(octets).err().map_or(0, |error| error.valid_up_to());
    let text = String::from_utf8_lossy(octets).into_owned();
    let message = "this file is not UTF-8 text: an octet here is part of no character";
    (text, mistake("E0100", valid..valid + char::REPLACEMENT_CHARACTER.len_utf8(), message, help))
}
